/* Lines that are not written yet.
 *
 *     records --lines_add--> | line\n line\n ...          | --> file, standard output
 *                            0          written    used   most
 */
#ifndef SINK_FILE_LINES_H
#define SINK_FILE_LINES_H

#include "event/encode.h"
#include "shm/record_copy.h"
#include "stage/ports.h"

#define LINES_ORIGIN_BYTES (SHM_NAME_MAX + 32)

struct lines {
	enum encode_format format;
	char *text;
	size_t used, written;
	size_t room; /* allocated */
	size_t most; /* stop gathering there; one longer line makes it longer */
	/* of each topic that is read and each of its lanes, for the ids of events */
	char (*origin)[STREAM_LANES_MAX][LINES_ORIGIN_BYTES];
};

/* For what the ports read. Returns 0 or -ENOMEM. */
int lines_init(struct lines *lines, enum encode_format format, size_t most, const struct ports *ports);
void lines_fini(struct lines *lines);

/* Adds the event of lane `lane` of topic i that lies at position. The record is the caller's own
 * memory. Returns 0; -ENOSPC when there is no room beside the lines that wait: write them first;
 * -EINVAL when it is no event, or the format does not know it; -ENOMEM. */
int lines_add(struct lines *lines, const struct record *record, unsigned i, unsigned lane, uint64_t position);

/* All is written. */
static inline void lines_clear(struct lines *lines)
{
	lines->used = lines->written = 0;
}

static inline size_t lines_waiting(const struct lines *lines)
{
	return lines->used - lines->written;
}

#endif
