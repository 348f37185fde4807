/* Landlock: which files, TCP ports and processes a thread may reach, and those that it starts
 * later. There is no way back.
 *
 *     struct landlock box = {.fd = -1};
 *     landlock_begin                            a set of rules that allows nothing
 *     landlock_path, landlock_bind, ...         exceptions
 *     landlock_enforce                          from here on
 *
 * What is not in the kernel is left out: before ABI 2 (Linux 5.19) nothing is used, because a
 * folder could not be renamed into another; ABI 3 (6.2) has cutting files, 4 (6.7) TCP ports, 6
 * (6.12) signals. See landlock(7). The constants are here because the headers of Debian 12 are
 * those of Linux 6.1.
 */
#ifndef STAGE_LANDLOCK_H
#define STAGE_LANDLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

enum landlock_has {
	LANDLOCK_HAS_PATHS = 1,
	LANDLOCK_HAS_BINDING = 2, /* TCP ports: binding them */
	LANDLOCK_HAS_CONNECTING = 4,
	LANDLOCK_HAS_SIGNALS = 8, /* and Unix sockets without a file */
};

enum landlock_access {
	LANDLOCK_READ,   /* files and folders */
	LANDLOCK_WRITE,  /* besides: files that are there, and new ones */
	LANDLOCK_CHANGE, /* besides: everything but devices */
};

struct landlock {
	int fd; /* -1: nothing is used */
	unsigned has;
};

/* What this kernel has: enum landlock_has; 0 before ABI 2, or where it is switched off. */
unsigned landlock_look(void);

/* Begins with what the kernel has of `wanted`; 0 is fine. Returns 0 or -errno. */
int landlock_begin(struct landlock *box, unsigned wanted);

/* Allows access to what is at path, and to all below it. Returns 0 with its identity in about;
 * -ENOENT when there is nothing; other -errno. */
int landlock_path(const struct landlock *box, const char *path, enum landlock_access access,
                  struct stat *about);

/* Allows writing to what the descriptor has open, a terminal or a file, by another open(2). What
 * has no path (a pipe) needs no rule. Returns 0 or -errno. */
int landlock_descriptor(const struct landlock *box, int fd);

/* Allows connecting to the TCP port, or binding it (0: one that the kernel chooses). */
int landlock_connect(const struct landlock *box, uint16_t port);
int landlock_bind(const struct landlock *box, uint16_t port);

/* Returns 0 or -errno. The thread must have no new privileges. */
int landlock_enforce(struct landlock *box);

/* Closes a set that was not enforced. */
void landlock_drop(struct landlock *box);

#endif
