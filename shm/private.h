/* The private segment of a stage that needs its redo note there and nothing else.
 *
 *     body of <role>.private:   | layout | lives | redo note |
 *
 * The supervisor creates it zeroed, PRIVATE_NOTE_BYTES long (stages.def); the first life sets the layout, each one counts itself.
 */
#ifndef SHM_PRIVATE_H
#define SHM_PRIVATE_H

#include "shm/instance.h"
#include "shm/redo.h"

#define PRIVATE_NOTE_BYTES 4096u

struct private_note {
	_Atomic uint64_t layout; /* 0: never used; otherwise PRIVATE_LAYOUT */
	_Atomic uint64_t lives;  /* of this role, the present one included */
	alignas(SHM_LINE) struct redo_note note;
};
#define PRIVATE_LAYOUT (1ull << 48 | sizeof(struct private_note))
_Static_assert(sizeof(struct private_note) <= PRIVATE_NOTE_BYTES, "it fits its segment");

/* Attaches the role's segment and makes it region 0 of redo, with its note. Nothing is recovered: first set the other regions, then call
 * redo_recover. Returns 0 or -errno with the reason: -EPROTO when another build laid it out; otherwise as segment_attach. */
int private_attach(struct segment *segment, struct redo *redo, const struct instance *instance, const char *role,
                   struct shm_error *error);

#endif
