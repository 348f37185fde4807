/* An outside program that writes to a topic through libmillrace, step by step.
 *
 *     outside_writer INSTANCE TOPIC     prints "ready", or why not, and then exits with 1
 *       a line on standard input        is appended and committed as one record; prints the result
 *       the end of standard input       gives the lane back
 */
#include <stdio.h>
#include <string.h>

#include "lib/millrace.h"

#define RECORD_TYPE 256u /* of records of our own */
#define WAIT_MS     1000

static int put(struct millrace_writer *writer, const char *line)
{
	int result = millrace_append(writer, RECORD_TYPE, line, strlen(line), WAIT_MS);
	return result != 0 ? result : millrace_commit(writer);
}

int main(int argc, char **argv)
{
	char line[256], error[300];
	if (argc != 3)
		return 2;
	struct millrace *millrace = millrace_attach(argv[1], error, sizeof error);
	struct millrace_writer *writer = millrace != NULL ? millrace_write(millrace, argv[2]) : NULL;
	if (writer == NULL) {
		puts(millrace != NULL ? millrace_error(millrace) : error);
		return 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("ready");
	while (fgets(line, sizeof line, stdin) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		printf("%d\n", put(writer, line));
	}
	millrace_write_end(writer);
	millrace_detach(millrace);
	return 0;
}
