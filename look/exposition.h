/* The text formats that Prometheus reads, line by line: families and samples.
 *
 *     exposition_family      # HELP millrace_tally_events_total ...      (_total, _info: what the type adds)
 *                            # TYPE millrace_tally_events_total counter
 *     exposition_begin       millrace_tally_events_total
 *     exposition_label       {role="tally.0"
 *     exposition_end         } 12
 *
 * Text format 0.0.4 and OpenMetrics 1.0.0 (the OpenMetrics specification, "Text format"). What is
 * not printable ASCII comes out as '?', for what shared memory says may be damaged. Writes into the
 * text that the caller gives; where that is full, text.full says so and nothing else is harmed.
 */
#ifndef LOOK_EXPOSITION_H
#define LOOK_EXPOSITION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"
#include "look/prometheus.h"

enum exposition_type {
	COUNTER = METRIC_COUNTER,
	GAUGE = METRIC_GAUGE,
	HISTOGRAM = METRIC_HISTOGRAM,
	INFO, /* facts as labels, its value is 1 */
};

/* The family that is being written, and the sample. */
struct exposition {
	struct text text;
	bool openmetrics;
	char name[PROMETHEUS_NAME_MAX]; /* without what its type adds */
	const char *added;              /* "_total" */
	unsigned labels;                /* that the sample has already */
};

/* "counter"; 0.0.4 has no "info" and calls it a gauge. */
const char *exposition_type_name(enum exposition_type type, bool openmetrics);

/* What a type adds to the names of its samples: "_total", "_info" or "". */
const char *exposition_added(enum exposition_type type);

/* Begins a family. name: without "millrace_" before and what its type adds after it. help: of n
 * bytes. */
void exposition_family(struct exposition *out, const char *name, enum exposition_type type, const char *help,
                       size_t n);

/* Begins a sample of the family; `ending` in place of what the type adds ("_sum"). */
void exposition_begin(struct exposition *out);
void exposition_begin_ending(struct exposition *out, const char *ending);

/* A label of the sample. In pieces: exposition_begin_label, its value, then exposition_put of a
 * quotation mark. */
void exposition_label(struct exposition *out, const char *key, const char *value);
void exposition_label_number(struct exposition *out, const char *key, uint64_t value);
void exposition_begin_label(struct exposition *out, const char *key);

/* Ends the sample: value / 10^digits, exactly. */
void exposition_end(struct exposition *out, uint64_t value, unsigned digits);

/* The same as the bound of a bucket, in a label. */
void exposition_bound(struct exposition *out, uint64_t number, unsigned digits);

/* As it is, and n bytes with \ (and ", with quotes) escaped. */
void exposition_put(struct exposition *out, const char *string);
void exposition_escaped(struct exposition *out, const char *string, size_t n, bool quotes);

#endif
