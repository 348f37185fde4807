/* A snapshot in the formats that Prometheus reads: its text format 0.0.4, and OpenMetrics 1.0.0.
 *
 *     # HELP millrace_tally_events_total messages counted, those counted again after a death included
 *     # TYPE millrace_tally_events_total counter
 *     millrace_tally_events_total{role="tally.0"} 1207
 *     # HELP millrace_tally_commit_seconds ...
 *     # TYPE millrace_tally_commit_seconds histogram
 *     millrace_tally_commit_seconds_bucket{role="tally.0",le="0.001"} 4
 *     ...
 *     millrace_tally_commit_seconds_bucket{role="tally.0",le="+Inf"} 9
 *     millrace_tally_commit_seconds_sum{role="tally.0"} 0.023114
 *     millrace_tally_commit_seconds_count{role="tally.0"} 9
 *
 * Sources: Prometheus, "Exposition formats" and "Metric and label naming"; OpenMetrics 1.0.0.
 *
 * Families. Those that each instance has are in prometheus.def. All others are made of the tables
 * in which stages declare metrics (stage/control.h), by one rule:
 *
 *     millrace_<stage>_<metric>      "-" of the stage's name becomes "_"; "stage" for what every stage has
 *     ..._ns, ..._us, ..._ms         become ..._seconds, and their values and bounds seconds
 *     a counter                      gets _total
 *     a metric that each route has   (track_requests, log_requests) is one family with the label `route`
 *
 * Each family is written once, in one piece, with its help and type: over all roles of a program,
 * also while an upgrade has left them with different tables.
 *
 * Labels. role, topic, lane, group, queue, option, route: the instance bounds how many of each
 * there are (shm/instance.h, shm/stream.h). state, outcome, reason, place, le: fixed sets. No
 * label's value comes from the network. Optional groups have no series: a tap names its group by
 * its pid, it comes and goes, and nobody waits for it. There is no label `instance`, since
 * Prometheus gives each series one (the address that it scraped); millrace_instance_info has the
 * name.
 *
 * Counters of roles and lanes go on over the lives of a process and begin again with the instance,
 * which rate() and increase() expect.
 */
#ifndef LOOK_PROMETHEUS_H
#define LOOK_PROMETHEUS_H

#include <stdbool.h>
#include <stddef.h>

#include "look/peaks.h"

#define PROMETHEUS_TEXT_TYPE        "text/plain; version=0.0.4; charset=utf-8"
#define PROMETHEUS_OPENMETRICS_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"

struct prometheus {
	const struct snapshot *snapshot;
	const char *instance;      /* its name */
	const struct peaks *peaks; /* NULL: without high-water marks */
	const char *data_dir;      /* NULL: without the room there */
	bool openmetrics;
};

/* All of it, *bytes long, without a final 0; the caller frees it. NULL when out of memory. */
char *prometheus_text(const struct prometheus *prometheus, size_t *bytes);

/* Whether a client with this header field Accept (NULL: it has none) is answered in OpenMetrics:
 * when it takes its version 1.0.0 (or names none), and no text/plain rather. RFC 9110, 12.5.1. */
bool prometheus_asks_openmetrics(const char *accept);

/* ---- names, for the documents ---- */

#define PROMETHEUS_NAME_MAX 128u

/* The name of the family that a metric of a stage belongs to, as it stands in the text format.
 * program NULL: the metric is one that every stage has. */
void prometheus_name(char name[PROMETHEUS_NAME_MAX], const char *program,
                     const struct metric_description *metric);

/* Family i of prometheus.def; false after the last. */
struct prometheus_family {
	char name[PROMETHEUS_NAME_MAX]; /* as in the text format */
	const char *type;               /* "counter", "gauge" */
	const char *labels;             /* "topic, lane" */
	const char *help;
};
bool prometheus_family(unsigned i, struct prometheus_family *family);

#endif
