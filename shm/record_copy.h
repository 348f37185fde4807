/* One record in private memory. Other processes can write to a lane at any time; a copy stays as it
 * was when it was checked, so that lengths within it may be read twice.
 *
 *     record_next --> payload, batch.length, batch.type --record_copy--> event_check, event_json, ...
 */
#ifndef SHM_RECORD_COPY_H
#define SHM_RECORD_COPY_H

#include "shm/record.h"

/* Begins as {0}. Grows to the largest record that it has held, which no lane exceeds. */
struct record_copy {
	struct record *record;
	size_t bytes;
};

/* A record with this payload, type and no flags; valid until the next call. NULL without memory,
 * the copy is then empty. */
const struct record *record_copy(struct record_copy *copy, const void *payload, uint32_t length,
                                 uint16_t type);

void record_copy_fini(struct record_copy *copy);

#endif
