/* Events as lines of JSON in a buffer that grows: the output of tap and the input of consume's
 * programs.
 *
 *     record --ndjson_add--> | {"id": ...}\n{"id": ...}\n ... |  --> one write(2) for many
 */
#ifndef CLI_NDJSON_H
#define CLI_NDJSON_H

#include "event/event.h"
#include "shm/topic.h"

struct ndjson {
	char *text;
	size_t used, room;
	char origin[STREAM_LANES_MAX][SHM_NAME_MAX + 40]; /* by lane: "<generation>-<topic>-<lane>" */
};

/* Prepares it for the events of one topic. */
void ndjson_init(struct ndjson *ndjson, const struct instance *instance, const char *topic);

/* Appends the record's line. Returns 0; -EINVAL when its payload does not fit its type, -ENOSPC
 * when its line would not fit half a GiB (nothing is appended). Aborts when out of memory. */
int ndjson_add(struct ndjson *ndjson, const struct record *record, unsigned lane, uint64_t position);

/* Appends the tracking line of the record (event/line.h). Returns as ndjson_add does, and -EINVAL
 * also for a record other than EVENT_TRACK. */
int ndjson_add_line(struct ndjson *ndjson, const struct record *record);

/* Appends bytes as they are. */
void ndjson_append(struct ndjson *ndjson, const void *bytes, size_t n);

void ndjson_fini(struct ndjson *ndjson);

#endif
