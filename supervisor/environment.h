/* The environment of a stage: what any program may need, and the variables that its row in
 * stage/sandbox.def names. Whoever starts an instance often has keys in the environment; a stage
 * that parses what strangers send must not have them in its memory, nor in /proc/PID/environ. */
#ifndef SUPERVISOR_ENVIRONMENT_H
#define SUPERVISOR_ENVIRONMENT_H

/* The part of this process's environment that the program gets, for execve(2). The strings are the
 * environment's own; the list is allocated and is meant for a process that execs. NULL: no
 * memory. */
char **environment_of(const char *program);

#endif
