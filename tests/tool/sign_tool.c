/* sign-tool: signs postbacks that it reads from standard input, one a line, or verifies them, for
 * the comparison with the library of Standard Webhooks. Fields are separated by tabs:
 *
 *     id, time (seconds), body in hexadecimal            prints the value of webhook-signature
 *     id, time, body, value of webhook-signature         prints good or bad
 *
 * The secrets are in the file that its argument names.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "deliver/sign.h"

enum { ID, TIME, BODY, VALUE, FIELDS };

static void handle_line(const struct sign *sign, char *line)
{
	char *field[FIELDS] = {0}, out[SIGN_HEADER_MAX];
	unsigned n = 0;
	line[strcspn(line, "\n")] = '\0';
	for (char *word; n < FIELDS && (word = strsep(&line, "\t")) != NULL;)
		field[n++] = word;
	if (n < VALUE) {
		printf("error: %u fields\n", n);
		return;
	}
	size_t bytes = strlen(field[BODY]) / 2;
	for (size_t i = 0; i < bytes; i++)
		field[BODY][i] =
		        (char)(hex_value(field[BODY][2 * i]) << 4 | hex_value(field[BODY][2 * i + 1]));
	int64_t timestamp_s = strtoll(field[TIME], NULL, 10);
	if (n == FIELDS) {
		bool good = sign_verify(sign, field[ID], timestamp_s, field[BODY], bytes, field[VALUE]);
		puts(good ? "good" : "bad");
		return;
	}
	sign_header(sign, field[ID], timestamp_s, field[BODY], bytes, out);
	puts(strchr(out, ' ') + 1);
}

int main(int argc, char **argv)
{
	struct sign *sign;
	struct shm_error error = {""};
	char *line = NULL;
	size_t room = 0;
	if (argc != 2 || sign_open(&sign, argv[1], &error) != 0) {
		fprintf(stderr, "sign-tool: %s\n", argc != 2 ? "FILE is wanted" : error.text);
		return 1;
	}
	while (getline(&line, &room, stdin) >= 0)
		handle_line(sign, line);
	free(line);
	sign_close(sign);
	return 0;
}
