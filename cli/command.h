/* The subcommands of `millrace`, and what they share.
 *
 *     millrace stat --json          main.c finds "stat" in the table and calls
 *              '----------'         command_stat(argc, argv) with argv[0] = "stat"; its result is the exit status
 *
 * Exit status everywhere: 0 done, 1 failed (one line on standard error: the thing and the remedy),
 * 2 wrong use. What else a command returns stands in its --help and its manual page.
 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "shm/instance.h"

struct command {
	const char *name;
	const char *help; /* one line */
	int (*run)(int argc, char **argv);
};

#define COMMAND(name, help, function) int function(int argc, char **argv);
#include "cli/command.def"
#undef COMMAND

/* All of them; *n is set to their number. */
const struct command *command_table(size_t *n);

/* "millrace NAME: " and the text, as one line on standard error; what a terminal would obey is
 * escaped (text_plain); a text of more than 4 KiB is cut. Returns 1. */
int command_fail(const char *name, const char *text, ...) __attribute__((format(printf, 2, 3)));

/* What --instance is when it is not given: $MILLRACE_INSTANCE or "default". */
const char *command_instance(void);

/* Says why the instance cannot be attached to, with the remedy; result and error are those of
 * instance_attach or snapshot_open. Returns 1. */
int command_no_instance(const char *command, const char *name, int result, const struct shm_error *error);

/* Attaches to the instance; when it cannot, says why, with the remedy. Returns 0 or the exit
 * status. */
int command_attach(const char *command, struct instance *instance, const char *name,
                   enum segment_access access);

/* Says that no supervisor runs the instance, with the remedy: for a command that then ends.
 * Returns 1. */
int command_say_down(const char *command, const struct instance *instance, const char *name);

/* For commands that follow an instance whose supervisor may die and have a successor: says so
 * once, and again when another one runs it. */
struct command_follow {
	uint64_t next_ns; /* CLOCK_MONOTONIC; when to look again */
	bool down;
};

/* While nothing comes; looks once a second. */
void command_follow(struct command_follow *follow, const char *command, const struct instance *instance,
                    const char *name);

/* Becomes the program libexec/millrace/<program> with these arguments after argv[0]; n of them.
 * Returns 1 when that fails, after it has said why. */
int command_exec(const char *command, const char *program, const char *const *arguments, size_t n);

/* Writes all of it, whatever write(2) takes at a time. Returns 0 or -errno: -EPIPE when the reader
 * has gone (main ignores SIGPIPE), -EINTR when *stop was set meanwhile (stop may be NULL: then it
 * goes on until all is written). */
int command_write(int fd, const void *data, size_t bytes, const volatile bool *stop);

/* Prints root and a newline; what a terminal would obey is escaped in strings (text_json). flags
 * are those of json_dumps. Returns 0, or -ENOMEM and nothing was printed; whether out took it is
 * found when it is flushed. */
int command_print_json(const json_t *root, size_t flags, FILE *out);

/* A flag that SIGINT and SIGTERM set from now on; system calls are interrupted. Another signal more
 * than a second after the first ends the process. */
const volatile bool *command_stop_on_signals(void);

#endif
