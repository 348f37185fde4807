/* Old objects of a directory, removed by age and by size.
 *
 * Only regular files below the directory whose name begins with `prefix` (the text of the sink's
 * key before its first field), so that two sinks may share a directory; never what is in +open, and
 * never through a symbolic link. The oldest go first, by time of modification. At most KEEP_ONCE at
 * a call: the memory is bounded, and the next call goes on. A directory that has become empty goes,
 * too.
 */
#ifndef SINK_OBJECTS_KEEP_H
#define SINK_OBJECTS_KEEP_H

#include <stdint.h>

#include "sink/objects/tree.h"

#define KEEP_ONCE 1024u

struct keep_counts {
	uint64_t removed, bytes; /* by this call */
};

/* age_ns, bytes: 0 is no limit. now_ns: CLOCK_REALTIME. Returns 0, or -errno of the first thing
 * that failed, having done what could be done. */
int keep_remove(const struct tree *tree, const char *prefix, uint64_t age_ns, uint64_t bytes, uint64_t now_ns,
                struct keep_counts *counts);

#endif
