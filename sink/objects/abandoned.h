/* Uploads that a store lost for good, kept in data_dir/sinks/NAME.abandoned, one JSON object a
 * line: `millrace sinks` lists them with the remedy. The file is for people; they delete it.
 *
 *     {"time": 1764244800, "store": "s3://bucket", "key": "...", "name": "...", "upload": "...", "token": "...", "bytes": 8388608, "reason": "..."}
 */
#ifndef SINK_OBJECTS_ABANDONED_H
#define SINK_OBJECTS_ABANDONED_H

#include "sink/objects/journal.h"

/* Appends a line and makes it safe. Returns 0 or -errno. */
int abandoned_add(const char *data_dir, const char *sink, const char *store,
                  const struct journal_view *object, uint64_t bytes, const char *reason);

#endif
