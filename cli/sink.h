/* The sinks of an instance, as `millrace sinks` and `millrace flush` see them in a snapshot. */
#ifndef CLI_SINK_H
#define CLI_SINK_H

#include "look/snapshot.h"

/* True for a stage that serves an entry of the list `sinks`. */
bool sink_is(const struct snapshot_stage *stage);

/* "logs" of the role "objects.logs". */
const char *sink_name(const struct snapshot_stage *stage);

bool sink_has_metric(const struct snapshot_stage *stage, const char *name);

/* 0 when it has none of this name. */
uint64_t sink_metric(const struct snapshot_stage *stage, const char *name);

#endif
