#include "look/rates.h"

#include <string.h>

bool rates_init(struct rates *rates, const struct snapshot *now, const struct snapshot *before)
{
	*rates = (struct rates){.now = now};
	if (before == NULL || before->generation != now->generation || before->taken_ns >= now->taken_ns)
		return false;
	rates->before = before;
	rates->seconds = (double)(now->taken_ns - before->taken_ns) / 1e9;
	return true;
}

static double rate(const struct rates *rates, uint64_t now, uint64_t before)
{
	return now > before ? (double)(now - before) / rates->seconds : 0;
}

static const struct snapshot_topic *find_topic(const struct rates *rates, const struct snapshot_topic *topic)
{
	for (unsigned i = 0; rates->before != NULL && i < rates->before->n_topics; i++)
		if (strcmp(rates->before->topic[i].name, topic->name) == 0)
			return &rates->before->topic[i];
	return NULL;
}

static const struct snapshot_lane *find_lane(const struct rates *rates, const struct snapshot_topic *topic,
                                             unsigned lane)
{
	const struct snapshot_topic *before = find_topic(rates, topic);
	return before != NULL && lane < before->n_lanes ? &before->lane[lane] : NULL;
}

double rates_topic(const struct rates *rates, const struct snapshot_topic *topic)
{
	const struct snapshot_topic *before = find_topic(rates, topic);
	return before != NULL ? rate(rates, topic->ledger.received, before->ledger.received) : 0;
}

double rates_lane(const struct rates *rates, const struct snapshot_topic *topic, unsigned lane)
{
	const struct snapshot_lane *before = find_lane(rates, topic, lane);
	return before != NULL ? rate(rates, topic->lane[lane].written_records, before->written_records) : 0;
}

double rates_group(const struct rates *rates, const struct snapshot_topic *topic, unsigned lane,
                   const struct snapshot_group *group)
{
	const struct snapshot_lane *before = find_lane(rates, topic, lane);
	for (unsigned i = 0; before != NULL && i < before->n_groups; i++)
		if (strcmp(before->group[i].name, group->name) == 0)
			return rate(rates, group->read_records, before->group[i].read_records);
	return 0;
}

/* Finds the metric of the same name. A table usually keeps its order, so it looks at the same index
 * first. */
static const struct snapshot_metric *find_metric(const struct snapshot_metric *table, unsigned n,
                                                 const char *name, unsigned place)
{
	for (unsigned i = 0; i < n; i++) {
		const struct snapshot_metric *metric = &table[(place + i) % n];
		if (strcmp(metric->about.name, name) == 0)
			return metric;
	}
	return NULL;
}

double rates_metric(const struct rates *rates, const struct snapshot_stage *stage,
                    const struct snapshot_metric *metric)
{
	const struct snapshot *before = rates->before;
	const struct snapshot_metric *past = NULL;
	const char *name = metric->about.name;
	if (before == NULL || metric->about.kind == METRIC_GAUGE)
		return 0;
	if (stage == NULL)
		past = find_metric(before->supervisor_metric, SUPERVISOR_METRIC_COUNT, name,
		                   (unsigned)(metric - rates->now->supervisor_metric));
	for (unsigned i = 0; stage != NULL && i < before->n_stages; i++)
		if (strcmp(before->stage[i].name, stage->name) == 0)
			past = find_metric(before->stage[i].metric, before->stage[i].n_metrics, name,
			                   (unsigned)(metric - stage->metric));
	return past != NULL ? rate(rates, metric->value, past->value) : 0;
}
