#include "cli/print_json.h"

#include <errno.h>
#include <stdlib.h>

#include "base/text.h"

int print_json(const json_t *root, size_t flags, FILE *out)
{
	char *json = json_dumps(root, flags);
	if (json == NULL)
		return -ENOMEM;
	/* DEL is the one character of one byte that is escaped, into 6; of the others each byte
	 * becomes at most 3. */
	size_t bytes = strlen(json), room = 6 * bytes + 1;
	char *line = malloc(room);
	int result = line == NULL ? -ENOMEM : 0;
	if (line != NULL) {
		struct text text = {.at = line, .end = line + room};
		text_json(&text, (const unsigned char *)json, bytes);
		text_literal(&text, "\n");
		fwrite(line, 1, (size_t)(text.at - line), out);
	}
	free(line);
	free(json);
	return result;
}
