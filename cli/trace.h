/* millrace trace: where one event has been, as far as it is still known.
 *
 *     ID --trace_id--> of a postback --trace_postback--.
 *                 '--> of a record  --trace_record_id--+--> one JSON object --> --json
 *                                                                          '--> lines for people (trace_text.c)
 *
 * What is asked of whom:
 *
 *     the lane, while it holds the record     the event; when it arrived, when it was enriched
 *     the groups' cursors on that lane        who has finished with it, and how much is before it for the others
 *     track.raw and track                     the call and the event that was made of it: same arrival, type and time
 *     a sink's journal, a directory of files  the object (sink/objects/where.h)
 *     the queue, deliver.db, topic delivery   of a postback: where it waits, its attempts with their answers
 *
 * It looks as `tap` does: nothing is written, locked or delayed.
 */
#ifndef CLI_TRACE_H
#define CLI_TRACE_H

#include <jansson.h>

#include "config/config.h"
#include "event/event.h"
#include "shm/topic.h"

/* An id as the events have it. */
struct trace_id {
	bool postback;
	uint64_t number[2]; /* of a postback */
	/* of a record */
	uint64_t generation, position;
	unsigned lane;
	char topic[SHM_NAME_MAX];
};

/* False: text is no id. */
bool trace_id(const char *text, struct trace_id *id);

struct trace {
	const char *name;            /* of the instance */
	const struct config *config; /* that names data_dir and the sinks */
	bool running;                /* its memory is there: `instance` is attached */
	struct instance instance;
	json_t *notes; /* what could not be looked at, for people */
};

/* A note, as printf. */
void trace_note(struct trace *trace, const char *text, ...) __attribute__((format(printf, 2, 3)));

/* ---- records (trace_record.c) ---- */

/* The record at a place that a reader has found, as one JSON object (millrace-trace(1) has its
 * keys). NULL without memory. */
json_t *trace_found(struct trace *trace, const char *topic, unsigned lane, uint64_t position, uint64_t number,
                    const struct record *record);

/* Calls each for every record that the topic's lanes hold, lane after lane, until it returns
 * false. Does nothing for a topic that is not there. */
typedef bool trace_each(void *argument, unsigned lane, uint64_t position, uint64_t number,
                        const struct record *record);
void trace_scan(struct trace *trace, const char *topic, trace_each *each, void *argument);

/* Fills root, which has "id" and "known": false: the record, and what it was made of or became. The
 * instance runs. */
void trace_record(struct trace *trace, const struct trace_id *id, json_t *root);

/* ---- postbacks (trace_postback.c) ---- */

/* Fills root in the same way. Without a running instance it asks deliver.db alone. */
void trace_postback(struct trace *trace, const struct trace_id *id, json_t *root);

/* ---- for people (trace_text.c) ---- */

void trace_print(const json_t *root, FILE *out);

#endif
