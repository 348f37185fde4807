/* sigv4-tool: signs requests that it reads from standard input, one a line, for the comparison with
 * botocore. Fields are separated by tabs:
 *
 *     access key, secret key, session token, region, method, host, path, query, hash, time (seconds), "name: value"...
 *
 * For each it prints the value of Authorization, or "error" with the errno.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sink/objects/sigv4.h"

enum { ACCESS, SECRET, TOKEN, REGION, METHOD, HOST, PATH, QUERY, HASH, TIME, HEADERS };

static void sign_line(char *line)
{
	const char *field[HEADERS + SIGV4_HEADER_MAX] = {0};
	unsigned n = 0;
	for (char *word; n < sizeof field / sizeof *field && (word = strsep(&line, "\t")) != NULL;)
		field[n++] = word;
	if (n < HEADERS) {
		printf("error: %u fields\n", n);
		return;
	}
	struct sigv4_keys keys = {.access_key = field[ACCESS],
	                          .secret_key = field[SECRET],
	                          .session_token = field[TOKEN],
	                          .region = field[REGION],
	                          .service = "s3"};
	struct sigv4_request request = {.method = field[METHOD],
	                                .host = field[HOST],
	                                .path = field[PATH],
	                                .query = field[QUERY],
	                                .header = field + HEADERS,
	                                .n_headers = n - HEADERS,
	                                .hash = field[HASH]};
	struct sigv4_signed out;
	int result = sigv4_sign(&out, &keys, &request, (time_t)strtoll(field[TIME], NULL, 10));
	if (result == 0)
		printf("%s\n", out.authorization + strlen("Authorization: "));
	else
		printf("error: %s\n", strerror(-result));
}

int main(void)
{
	char *line = NULL;
	size_t room = 0;
	for (ssize_t length; (length = getline(&line, &room, stdin)) > 0;) {
		if (line[length - 1] == '\n')
			line[length - 1] = '\0';
		sign_line(line);
	}
	free(line);
	return 0;
}
