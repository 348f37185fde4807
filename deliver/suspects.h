/* Postbacks at which the process died, in the private segment, where the next life finds them.
 *
 *     suspects_begin: handling left by the last life? --yes--> one death more for it
 *     [ handling_begin --work on one--> handling_end ]*        killed in between: handling stays
 *     suspects_deaths: how many for this one?                  suspects_clear: it is delivered, or dead
 *
 * Written by the one live process of the role.
 */
#ifndef DELIVER_SUSPECTS_H
#define DELIVER_SUSPECTS_H

#include "event/event.h"
#include "shm/private.h"

#define DELIVER_SUSPECTS 64u

struct deliver_suspect {
	_Atomic uint64_t id[2]; /* of the postback; zero: none */
	_Atomic uint64_t deaths;
};

/* Body of the private segment, PRIVATE_NOTE_BYTES long. */
struct deliver_private {
	struct private_note note;
	_Atomic uint64_t handling[2]; /* id, zero while nothing is worked on */
	_Atomic uint64_t listed;      /* suspects ever listed: place of the next one, round and round */
	struct deliver_suspect suspect[DELIVER_SUSPECTS];
};
_Static_assert(sizeof(struct deliver_private) <= PRIVATE_NOTE_BYTES, "it fits its segment");

/* At the start of a life. Returns the deaths of the postback at which the last one died, its id in
 * id; 0 when it died at none. */
uint64_t suspects_begin(struct deliver_private *private, uint64_t id[2]);

/* Deaths at this postback. */
uint64_t suspects_deaths(const struct deliver_private *private, const uint64_t id[2]);

/* Forgets it. */
void suspects_clear(struct deliver_private *private, const uint64_t id[2]);

/* A death between the two stores leaves half an id, which is nobody's. */
static inline void handling_begin(struct deliver_private *private, const uint64_t id[2])
{
	atomic_store_explicit(&private->handling[0], id[0], memory_order_relaxed);
	atomic_store_explicit(&private->handling[1], id[1], memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
}

static inline void handling_end(struct deliver_private *private)
{
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&private->handling[0], 0, memory_order_relaxed);
	atomic_store_explicit(&private->handling[1], 0, memory_order_relaxed);
}

#endif
