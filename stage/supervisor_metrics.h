/* The supervisor's metrics: declared in supervisor_metrics.def, kept in the instance page, shown by
 * `millrace stat`.
 *
 *     page->supervisor_metric[SUPERVISOR_log_lines_dropped]
 */
#ifndef STAGE_SUPERVISOR_METRICS_H
#define STAGE_SUPERVISOR_METRICS_H

#include "shm/instance.h"

enum supervisor_metric {
#define METRIC(name, kind, help) SUPERVISOR_##name,
#include "stage/supervisor_metrics.def"
#undef METRIC
	SUPERVISOR_METRIC_COUNT
};
_Static_assert((int)SUPERVISOR_METRIC_COUNT <= (int)INSTANCE_METRICS_MAX, "the instance page holds them");

#endif
