/* The sinks of an instance, as `millrace sinks`, `millrace flush` and the stage `serve` see them in
 * a snapshot.
 *
 *     snapshot --sinks_json--> what `millrace sinks --json` prints; millrace-sinks(1) lists the keys
 *                 ^
 *                 '-- data_dir/sinks/NAME.abandoned, when data_dir is known
 */
#ifndef LOOK_SINKS_H
#define LOOK_SINKS_H

#include <jansson.h>
#include <limits.h>

#include "look/snapshot.h"

#define SINKS_ABANDONED_MAX 1000u /* lines of a sink's file that are read */

/* What to do about uploads that a store has lost. */
#define SINKS_REMEDY                                                                                 \
	"the store may still have its parts: list them by the upload's id and complete it by hand; " \
	"then delete the line in the file"

/* True for a stage that serves an entry of the list `sinks`. */
bool sink_is(const struct snapshot_stage *stage);

/* "logs" of the role "objects.logs". */
const char *sink_name(const struct snapshot_stage *stage);

bool sink_has_metric(const struct snapshot_stage *stage, const char *name);

/* 0 when it has none of this name. */
uint64_t sink_metric(const struct snapshot_stage *stage, const char *name);

/* The objects in data_dir/sinks/NAME.abandoned, whose path is written to path; NULL: there is none.
 * A line that is no JSON is left out: the file is for people, who may have edited it. The caller
 * frees it with json_decref. */
json_t *sink_abandoned(const char *data_dir, const char *sink, char path[PATH_MAX]);

/* All sinks as one object; data_dir "": what is abandoned is left out. The caller frees it with
 * json_decref. NULL when out of memory. */
json_t *sinks_json(const struct snapshot *snapshot, const char *instance, const char *data_dir);

#endif
