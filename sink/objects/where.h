/* In which object an event is, as far as anybody but the sink can tell.
 *
 *     the event --template--> its key --.
 *     the journal (seen.h) -------------+--> objects of that key --> those that cannot have it are left out
 *     a directory store: its files -----'
 *
 * Objects of one key follow each other: the next one opens when the last takes no more lines. Names
 * with a suffix, and objects in the journal, tell their first event. So of the objects that began
 * in the event's own lane only the last one that began at or before it can have it; none that began
 * after it in its lane; no file that was written last before the event arrived. What remains is
 * told: one object, which is then sure, or several.
 *
 *     {"key": "log/2026-11-27/7", "store": "directory", "sure": true,
 *      "objects": [{"name": "log/2026-11-27/7", "state": "stored", "stored_ts": ...,
 *                   "path": "/var/lib/millrace/objects/log/2026-11-27/7"}]}
 *
 * Its state can also be open or finishing: then there are lines and opened_ts. Its name is null
 * while it has none yet.
 *
 * Without the event's record there is no key, and nothing is known. What S3 or Azure hold is not
 * asked: only objects in the journal are known there; `note` says what a finished one is called.
 */
#ifndef SINK_OBJECTS_WHERE_H
#define SINK_OBJECTS_WHERE_H

#include <jansson.h>
#include <stdint.h>

#include "config/config.h"
#include "shm/record.h"

#define WHERE_OBJECTS_MAX 16u /* that are told */

struct where_question {
	const struct config *config; /* in force */
	const char *section;         /* of the sink: "sinks[0]" */
	const char *role;            /* "objects.logs" */
	const char *directory;       /* of the instance */
	uint64_t generation;
	const char *topic;
	uint16_t topic_number; /* in the instance */
	unsigned lane;
	uint64_t position;
	const struct record *record; /* the event, checked */
};

/* The sink has passed the event and its filters take it. Returns an object for json_decref, NULL
 * without memory. */
json_t *where_json(const struct where_question *question);

#endif
