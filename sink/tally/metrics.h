/* The stage's metrics by number; each book sets the gauges of its own part. */
#ifndef SINK_TALLY_METRICS_H
#define SINK_TALLY_METRICS_H

#include "event/event.h"
#include "stage/control.h"

enum tally_metric {
#define METRIC(name, kind, help) TALLY_##name,
#define HISTOGRAM(name, help, ...) \
	TALLY_##name, TALLY_##name##_end = TALLY_##name + HISTOGRAM_WORDS(__VA_ARGS__) - 1,
#include "sink/tally/metrics.def"
#undef METRIC
#undef HISTOGRAM
	TALLY_METRIC_COUNT
};
_Static_assert((int)TALLY_METRIC_COUNT <= (int)METRIC_WORDS_MAX, "a control block holds them");

#endif
