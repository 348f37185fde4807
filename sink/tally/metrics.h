/* The stage's metrics by number; each book sets the gauges of its own part. */
#ifndef SINK_TALLY_METRICS_H
#define SINK_TALLY_METRICS_H

#include "stage/control.h"

enum tally_metric {
#define METRIC(name, kind, help) TALLY_##name,
#include "sink/tally/metrics.def"
#undef METRIC
	TALLY_METRIC_COUNT
};
_Static_assert((int)TALLY_METRIC_COUNT <= (int)METRICS_MAX, "a control block holds them");

#endif
