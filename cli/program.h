/* The program that consume feeds: started, given batches of lines, watched.
 *
 *     acknowledge by exit                          acknowledge by line
 *     start, write the batch, close its input,     start once; write a batch and an empty line;
 *     wait: exit 0 acknowledges                    wait: one line from its output acknowledges
 *     (its standard output is ours)                (its standard output is the acknowledgement channel)
 *
 * The program runs in a process group of its own, so that Ctrl-C reaches consume alone, which then
 * finishes the batch; it gets SIGTERM when consume dies.
 */
#ifndef CLI_PROGRAM_H
#define CLI_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum program_acknowledge { PROGRAM_EXIT, PROGRAM_LINE };

struct program {
	char **argv; /* ends with NULL */
	enum program_acknowledge acknowledge;
	pid_t pid;     /* 0: not running */
	int input;     /* its standard input, written by us */
	int output;    /* its standard output, read by us; PROGRAM_LINE only */
	char why[160]; /* of the last failure */
};

void program_init(struct program *program, char **argv, enum program_acknowledge acknowledge);

/* Whether the program is there and may be executed, found as execvp(3) finds it. Returns 0, or
 * -ENOENT or -EACCES with the reason in `why`. */
int program_find(struct program *program);

/* Gives it one batch (for PROGRAM_LINE with the empty line at its end) and waits for the
 * acknowledgement, however long that takes. Returns 0 when it was acknowledged; -EAGAIN when the
 * program failed (why says how; it is not running any more, the batch may be given again); -ENOEXEC
 * when it cannot be started at all; other -errno of fork or pipe. */
int program_deliver(struct program *program, const char *text, size_t bytes);

/* Closes its input and waits for its end; after 5 s SIGTERM, after 10 s SIGKILL. */
void program_end(struct program *program);

#endif
