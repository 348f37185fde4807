/* The program that consume starts, feeds with batches of lines, and watches.
 *
 *     acknowledge by exit                          acknowledge by line
 *     start, write the batch, close its input,     start once; write a batch and an empty line;
 *     wait: exit 0 acknowledges                    wait: one line from its output acknowledges
 *     (it shares our standard output)              (its standard output is the acknowledgement channel)
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

/* Looks for the program as execvp(3) does. Returns 0 when it may be executed, otherwise -ENOENT or
 * -EACCES with the reason in `why`. */
int program_find(struct program *program);

/* Gives it one batch (with PROGRAM_LINE, the empty line is at its end) and waits for the
 * acknowledgement without a time limit. Returns 0 when the batch was acknowledged; -EAGAIN when the
 * program failed (reason in why; it no longer runs, and the caller may give the batch again);
 * -ENOEXEC when it cannot be started; -errno of fork or pipe. */
int program_deliver(struct program *program, const char *text, size_t bytes);

/* Closes its input and waits for it to end; sends SIGTERM after 5 s, SIGKILL after 10 s. */
void program_end(struct program *program);

#endif
