/* Lanes from outside: how much waits in one, and giving an empty one another size.
 *
 *     cursor of the slowest required group      tail
 *     |<------------- waiting ----------------->|
 *
 * Neither reads a record. A lane may be resized only while no process is attached to it as writer
 * or required reader; its positions, counts and ledger go on, so cursors that were at the tail
 * still are (and counts that were stored with a position stay true).
 */
#ifndef SUPERVISOR_LANE_FILE_H
#define SUPERVISOR_LANE_FILE_H

#include <stdbool.h>

#include "shm/stream.h"

#define NEXT_DIRECTORY ".next" /* below the instance's: where a successor is made ready under its own name */

struct lane_file_state {
	uint64_t size_bytes;
	uint64_t tail;
	uint64_t waiting_records; /* of the required group that is furthest behind */
	uint64_t waiting_bytes;
	char slowest[SHM_NAME_MAX]; /* that group's name; "" when there is no required group */
	/* a required group that no stage of the configuration reads has something waiting */
	bool outside_waits;
	bool outside_reads; /* such a group, live, has something waiting */
	bool required_live; /* some required group has a live reader */
};

/* Looks at a lane and at all groups of its topic. Returns 0, or -errno with the reason in error. */
int lane_file_look(const char *directory, const char *topic, unsigned lane, struct lane_file_state *state,
                   struct shm_error *error);

/* Whether some process reads the group now. */
bool lane_file_has_reader(const char *directory, const char *topic, unsigned group);

/* Does an outside program hold the lane (topic_writer_attach_outside)? */
bool lane_file_has_writer(const char *directory, const char *topic, unsigned lane);

/* Replaces an empty lane's file by one of size_bytes, in one rename. The caller has seen to it that
 * it is empty and that no writer and no required reader is attached; optional readers notice when
 * they attach anew. Returns 0 or -errno with the reason; then the lane is as it was. */
int lane_file_resize(const char *directory, const char *topic, unsigned lane, uint64_t size_bytes,
                     struct shm_error *error);

#endif
