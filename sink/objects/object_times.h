#ifndef SINK_OBJECTS_OBJECT_TIMES_H
#define SINK_OBJECTS_OBJECT_TIMES_H

/* Bounds of the histogram of the time from an object's first line until it is complete in the
 * store, milliseconds. */
#define OBJECT_TIMES_MS \
	100, 1000, 5000, 10000, 30000, 60000, 120000, 300000, 600000, 1800000, 3600000, 86400000

#endif
