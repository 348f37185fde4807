/* The subcommands of `millrace`, and their shared functions.
 *
 *     millrace stat --json          main.c finds "stat" in the table and calls
 *              '----------'         command_stat(argc, argv) with argv[0] = "stat"; its result is the exit status
 *
 * Exit status everywhere: 0 done, 1 failed (one line on standard error: the fault and the remedy),
 * 2 wrong use. A command lists further codes in its --help and its manual page.
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

/* All commands; sets *n to their number. */
const struct command *command_table(size_t *n);

/* Prints "millrace NAME: " and the text as one line on standard error. Escapes control characters
 * (text_plain) and cuts the text at 4 KiB. Returns 1. */
int command_fail(const char *name, const char *text, ...) __attribute__((format(printf, 2, 3)));

/* The default of --instance: $MILLRACE_INSTANCE or "default". */
const char *command_instance(void);

struct config;
struct argument_list;

/* For commands that read what lies in data_dir: the configuration that names it, from the command
 * line, else from the running instance, else the default. NULL after it printed the reason. */
struct config *command_config(const char *command, const char *file, const struct argument_list *sets,
                              const char *instance);

/* The rows of such a command's argument table (arguments.h). file and instance: const char *, the
 * default of the latter being command_instance; sets: struct argument_list. */
// clang-format off
#define COMMAND_CONFIG_ARGUMENTS(file, sets, instance) \
	{"config", 'c', ARGUMENT_STRING, "FILE", \
	 "the configuration that names data_dir (default: that of the running\ninstance, else the embedded one)", \
	 &(file), 0, 0, NULL}, \
	{"set", 0, ARGUMENT_LIST, "KEY=VALUE", "replace one value of it, as for millrace run", &(sets), 0, 0, NULL}, \
	{"instance", 0, ARGUMENT_STRING, "NAME", "which instance (default: $MILLRACE_INSTANCE or default)", \
	 &(instance), 0, 0, NULL}
// clang-format on

/* Prints why it cannot attach to the instance, with the remedy. result and error come from
 * instance_attach or snapshot_open. Returns 1. */
int command_no_instance(const char *command, const char *name, int result, const struct shm_error *error);

/* Attaches to the instance. On failure it prints the reason and the remedy. Returns 0 or the exit
 * status. */
int command_attach(const char *command, struct instance *instance, const char *name,
                   enum segment_access access);

/* Prints that no supervisor runs the instance, with the remedy, for a command that then ends.
 * Returns 1. */
int command_say_down(const char *command, const struct instance *instance, const char *name);

/* For commands that follow an instance: its supervisor may die and another may take over. Prints
 * one line when it dies, and one when another runs the instance. */
struct command_follow {
	uint64_t next_ns; /* CLOCK_MONOTONIC; time of the next check */
	bool down;
};

/* Call it while no records come; it checks once a second. */
void command_follow(struct command_follow *follow, const char *command, const struct instance *instance,
                    const char *name);

/* Becomes the program libexec/millrace/<program>, with these n arguments after argv[0]. On failure
 * prints the reason and returns 1. */
int command_exec(const char *command, const char *program, const char *const *arguments, size_t n);

/* Writes all the data, in as many calls of write(2) as it takes. Returns 0 or -errno: -EPIPE when
 * the reader has gone (main ignores SIGPIPE), -EINTR when *stop was set meanwhile. With stop NULL
 * it goes on until all is written. */
int command_write(int fd, const void *data, size_t bytes, const volatile bool *stop);

/* Prints root and a newline. Escapes control characters in strings (text_json). flags are those of
 * json_dumps. Returns 0, or -ENOMEM with nothing printed. Errors of out show when the caller
 * flushes it. */
int command_print_json(const json_t *root, size_t flags, FILE *out);

/* Returns a flag that SIGINT and SIGTERM set from now on; they also interrupt system calls. Another
 * signal more than a second after the first ends the process. */
const volatile bool *command_stop_on_signals(void);

#endif
