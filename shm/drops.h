/* Remembers, per datagram socket, how many kernel drops the ledger already includes.
 *
 *     the kernel's counter  |---- counted ----|-- to be counted at the next tick --|
 *                           0                 entry->counted                        SO_MEMINFO
 *
 * The counter belongs to the socket and lives as long as the supervisor keeps the socket, whichever
 * role has it: a stage dies, listeners change their order, a role gets other buffers. So the count
 * lies under the socket's cookie (SO_COOKIE: no two sockets ever have the same), in a segment of
 * the instance, and not with the role.
 *
 * An entry is taken by the stage that has the socket, which alone writes `counted`, and given back
 * by the supervisor when the socket is closed.
 */
#ifndef SHM_DROPS_H
#define SHM_DROPS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define DROPS_SOCKETS_MAX 256u

struct drops_entry {
	_Atomic uint64_t cookie;  /* 0: free */
	_Atomic uint64_t counted; /* 0 in a free one */
};

/* Body of the segment "drops". */
struct drops_page {
	struct drops_entry socket[DROPS_SOCKETS_MAX];
};

/* The entry of the socket; takes a free one when it has none yet. NULL when none is free. */
struct drops_entry *drops_find(struct drops_page *page, uint64_t cookie);

/* Gives back all entries but those of these n sockets. By the supervisor. */
void drops_keep(struct drops_page *page, const uint64_t *cookie, size_t n);

#endif
