#include "sink/tally/answer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define ESCAPE_GROWTH 6u /* \u007f for one byte, which is the most */

json_t *answer_string(const char *bytes, size_t length)
{
	char *text = malloc(2 * length + 1), *at = text;
	if (text == NULL)
		return NULL;
	for (size_t i = 0; i < length;) {
		unsigned char byte = (unsigned char)bytes[i];
		size_t n = text_sequence((const unsigned char *)bytes + i, length - i);
		if (n == 0) {
			*at++ = (char)(0xc0 | byte >> 6);
			*at++ = (char)(0x80 | (byte & 0x3f));
			i++;
			continue;
		}
		memcpy(at, bytes + i, n);
		at += n;
		i += n;
	}
	json_t *string = json_stringn(text, (size_t)(at - text));
	free(text);
	return string;
}

char *answer_print(const json_t *json, size_t flags)
{
	char *plain = json_dumps(json, flags);
	if (plain == NULL)
		return NULL;
	size_t length = strlen(plain), controls = 0;
	for (size_t i = 0; i < length; i++)
		controls += text_control((const unsigned char *)plain + i, length - i) != 0;
	if (controls == 0)
		return plain;
	size_t room = length + ESCAPE_GROWTH * controls;
	char *escaped = malloc(room + 1);
	struct text text = {.at = escaped, .end = escaped == NULL ? NULL : escaped + room};
	if (escaped != NULL) {
		text_json(&text, (const unsigned char *)plain, length);
		*text.at = '\0';
	}
	free(plain);
	return escaped;
}

int answer_no_memory(struct shm_error *error)
{
	shm_explain(error, "no memory for the report");
	return -ENOMEM;
}

int answer_give(json_t *answer, size_t flags, char **json, struct shm_error *error)
{
	char *text = answer == NULL ? NULL : answer_print(answer, flags);
	json_decref(answer);
	if (text == NULL)
		return answer_no_memory(error);
	*json = text;
	return 0;
}
