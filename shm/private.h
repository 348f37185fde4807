/* Private segments: what a role's next life takes up. The first word of the body says which kind it
 * is.
 *
 * The private segment of a stage that needs its redo note there and nothing else:
 *
 *     body of <role>.private:   | layout | lives | told | decided | redo note |
 *
 * The supervisor creates it zeroed, PRIVATE_NOTE_BYTES long (flow/flow.def); the first life sets
 * the layout, each one counts itself.
 */
#ifndef SHM_PRIVATE_H
#define SHM_PRIVATE_H

#include "shm/instance.h"
#include "shm/redo.h"

#define PRIVATE_NOTE_BYTES 4096u

struct private_note {
	_Atomic uint64_t layout; /* 0: never used; otherwise PRIVATE_LAYOUT */
	_Atomic uint64_t lives;  /* of this role, the present one included */
	/* what one life has logged and later ones do not repeat while it lasts; the stage chooses
	 * the value */
	_Atomic uint64_t told;
	/* not 0: all that the role is filling in queues is to be published (queue_commit_all) */
	_Atomic uint64_t decided;
	alignas(SHM_LINE) struct redo_note note;
};
#define PRIVATE_KIND_NOTE (1ull << 48) /* in the upper 16 bits of the layout */
#define PRIVATE_LAYOUT    (PRIVATE_KIND_NOTE | sizeof(struct private_note))
_Static_assert(sizeof(struct private_note) <= PRIVATE_NOTE_BYTES, "it fits its segment");

/* Attaches the role's segment and makes it region 0 of redo, with its note. Nothing is recovered:
 * first set the other regions, then call redo_recover. Returns 0 or -errno with the reason: -EPROTO
 * when another build laid it out; otherwise as segment_attach. */
int private_attach(struct segment *segment, struct redo *redo, const struct instance *instance,
                   const char *role, struct shm_error *error);

/* The word by which the dead process of the role may have decided (`decided` above); NULL in a
 * segment of another kind. */
_Atomic uint64_t *private_decided(const struct segment *segment);

/* The beginning of a private segment that holds receive buffers (ingest/udp/buffers.h) or a journal
 * (sink/objects/journal.h): enough for others to count the buffers that are filled and not
 * committed, or the objects that are not complete. */
#define PRIVATE_KIND_BUFFERS (2ull << 48)
#define PRIVATE_KIND_JOURNAL (3ull << 48)
struct private_buffers {
	_Atomic uint64_t layout; /* 0: never used; the upper 16 bits are one of these two */
	uint64_t n;              /* buffers, or places of objects */
	/* from the body's beginning to the first one's mark, a word that is not 0 while it holds
	 * something */
	uint64_t mark_bytes;
	uint64_t stride_bytes; /* from mark to mark */
};

/* Buffers that are filled and not committed, or objects that are not complete; 0 for a segment of
 * another kind. The role must have no live process. */
uint64_t private_filled(const struct segment *segment);

#endif
