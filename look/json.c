#include "look/json.h"

#include <string.h>

#include "base/clock.h"

/* What of it is wanted. */
struct form {
	bool lean;
	const char *const *histograms; /* when it is lean; NULL-ended */
};

/* Counters stay far below 2^63; a damaged one must still come out as JSON. */
static json_t *number(uint64_t value)
{
	return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

static void set(json_t *object, const char *key, uint64_t value)
{
	json_object_set_new(object, key, number(value));
}

static json_t *time_json(uint64_t real_ns)
{
	return real_ns == 0 ? json_null() : number(real_ns / NS_PER_MS);
}

static json_t *file_json(const struct control_file *file)
{
	json_t *object = json_object();
	json_object_set_new(object, "option", json_string(file->option));
	json_object_set_new(object, "path", json_string(file->path));
	json_object_set_new(object, "in_force_since_ms", time_json(file->in_force_ns));
	json_object_set_new(object, "refused_ms", time_json(file->refused_ns));
	json_object_set_new(object, "refusal", json_string(file->refusal));
	return object;
}

/* Buckets are cumulative, as in Prometheus: each counts all values up to its bound. */
static json_t *histogram_json(const struct snapshot_metric *metric)
{
	json_t *object = json_object(), *buckets = json_array();
	uint64_t within = 0;
	set(object, "count", metric->value);
	set(object, "sum", metric->sum);
	for (unsigned i = 0; i <= metric->about.n_bounds; i++) {
		json_t *bucket = json_object();
		within += metric->bucket[i];
		json_object_set_new(bucket, "le",
		                    i < metric->about.n_bounds ? number(metric->about.bound[i])
		                                               : json_null());
		set(bucket, "count", within);
		json_array_append_new(buckets, bucket);
	}
	json_object_set_new(object, "buckets", buckets);
	return object;
}

static void set_metrics(json_t *object, const struct snapshot_metric *metric, unsigned n,
                        const struct form *form)
{
	json_t *metrics = json_object();
	for (unsigned i = 0; i < n; i++)
		if (metric[i].about.kind != METRIC_HISTOGRAM && (metric[i].value != 0 || !form->lean))
			set(metrics, metric[i].about.name, metric[i].value);
	json_object_set_new(object, "metrics", metrics);
}

static bool wants_histogram(const struct form *form, const char *name)
{
	if (!form->lean)
		return true;
	for (const char *const *one = form->histograms; *one != NULL; one++)
		if (strcmp(*one, name) == 0)
			return true;
	return false;
}

static void set_histograms(json_t *object, const struct snapshot_metric *metric, unsigned n,
                           const struct form *form)
{
	json_t *histograms = json_object();
	for (unsigned i = 0; i < n; i++)
		if (metric[i].about.kind == METRIC_HISTOGRAM && wants_histogram(form, metric[i].about.name))
			json_object_set_new(histograms, metric[i].about.name, histogram_json(&metric[i]));
	json_object_set_new(object, "histograms", histograms);
}

static json_t *stage_json(const struct snapshot_stage *stage, const struct form *form)
{
	json_t *object = json_object(), *files = form->lean ? NULL : json_array();
	json_object_set_new(object, "name", json_string(stage->name));
	json_object_set_new(object, "program", json_string(stage->program));
	set(object, "pid", stage->pid);
	json_object_set_new(object, "state", json_string(snapshot_state(stage)));
	json_object_set_new(object, "alive", json_boolean(stage->alive));
	set(object, "restarts", stage->restarts);
	json_object_set_new(object, "last_exit",
	                    stage->last_exit < 0 ? json_null() : json_integer(stage->last_exit));
	set(object, "started_ms", stage->started_ns / NS_PER_MS);
	set(object, "heartbeat_age_ms", stage->heartbeat_age_ns / NS_PER_MS);
	json_object_set_new(object, "note", json_string(stage->note));
	for (unsigned i = 0; files != NULL && i < stage->n_files; i++)
		json_array_append_new(files, file_json(&stage->file[i]));
	if (files != NULL)
		json_object_set_new(object, "files", files);
	set_metrics(object, stage->metric, stage->n_metrics, form);
	set_histograms(object, stage->metric, stage->n_metrics, form);
	return object;
}

/* Adds rates when there are two snapshots. */
static void set_rate(json_t *object, const char *key, const struct rates *rates, double rate)
{
	if (rates->before != NULL)
		json_object_set_new(object, key, json_real(rate));
}

static json_t *group_json(const struct snapshot_group *group)
{
	json_t *object = json_object();
	json_object_set_new(object, "group", json_string(group->name));
	json_object_set_new(object, "required", json_boolean(group->required));
	json_object_set_new(object, "lapsed", json_boolean(group->lapsed));
	set(object, "reader_pid", group->reader_pid);
	set(object, "read_records", group->read_records);
	set(object, "waiting_records", group->waiting_records);
	set(object, "waiting_bytes", group->waiting_bytes);
	set(object, "missed_records", group->missed_records);
	set(object, "damaged", group->damaged);
	json_object_set_new(object, "oldest_age_ms",
	                    group->oldest_age_ns == SNAPSHOT_NO_AGE
	                            ? json_null()
	                            : number(group->oldest_age_ns / NS_PER_MS));
	return object;
}

static json_t *rejected_json(const struct snapshot_ledger *ledger, const struct form *form)
{
	json_t *object = json_object();
	for (unsigned i = 0; i < LEDGER_REASON_COUNT; i++)
		if (ledger->rejected[i] != 0 || !form->lean)
			set(object, ledger_reason_name(i), ledger->rejected[i]);
	return object;
}

static void set_ledger(json_t *object, const struct snapshot_ledger *ledger, const struct form *form)
{
	set(object, "received", ledger->received);
	set(object, "kernel_dropped", ledger->kernel_dropped);
	json_object_set_new(object, "rejected", rejected_json(ledger, form));
	set(object, "dropped", ledger->dropped);
	set(object, "refused", ledger->refused);
	set(object, "written", ledger->written);
	json_object_set_new(object, "balanced", json_boolean(snapshot_balanced(ledger)));
}

static json_t *lane_json(const struct snapshot_topic *topic, unsigned index, const struct rates *rates,
                         const struct form *form)
{
	const struct snapshot_lane *lane = &topic->lane[index];
	json_t *object = json_object(), *groups = json_array(), *ledger = json_object();
	set(object, "lane", index);
	json_object_set_new(object, "role", json_string(lane->role));
	set(object, "size_bytes", lane->size_bytes);
	set(object, "written_records", lane->written_records);
	set(object, "written_bytes", lane->written_bytes);
	set_ledger(ledger, &lane->ledger, form);
	json_object_set_new(object, "ledger", ledger);
	set_rate(object, "written_per_second", rates, rates_lane(rates, topic, index));
	for (unsigned i = 0; i < lane->n_groups; i++) {
		json_t *group = group_json(&lane->group[i]);
		set_rate(group, "read_per_second", rates, rates_group(rates, topic, index, &lane->group[i]));
		json_array_append_new(groups, group);
	}
	json_object_set_new(object, "groups", groups);
	return object;
}

static json_t *topic_json(const struct snapshot_topic *topic, const struct rates *rates,
                          const struct form *form)
{
	json_t *object = json_object(), *lanes = json_array();
	json_object_set_new(object, "topic", json_string(topic->name));
	json_object_set_new(object, "when_full",
	                    json_string(topic->when_full == WHEN_FULL_REFUSE ? "refuse" : "drop"));
	json_object_set_new(object, "kept", json_boolean(snapshot_kept(topic)));
	for (unsigned i = 0; i < topic->n_lanes; i++)
		json_array_append_new(lanes, lane_json(topic, i, rates, form));
	json_object_set_new(object, "lanes", lanes);
	return object;
}

static json_t *queue_json(const struct snapshot_queue *queue)
{
	json_t *object = json_object();
	json_object_set_new(object, "queue", json_string(queue->name));
	set(object, "slots", queue->counts.slots);
	set(object, "slot_bytes", queue->slot_bytes);
	set(object, "free", queue->counts.free);
	set(object, "filling", queue->counts.filling);
	set(object, "ready", queue->counts.ready);
	set(object, "taken", queue->counts.taken);
	return object;
}

static json_t *ledger_json(const struct snapshot_topic *topic, const struct rates *rates,
                           const struct form *form)
{
	json_t *object = json_object();
	json_object_set_new(object, "topic", json_string(topic->name));
	set_ledger(object, &topic->ledger, form);
	set_rate(object, "received_per_second", rates, rates_topic(rates, topic));
	return object;
}

static void set_supervisor(json_t *root, const struct snapshot *snapshot, const struct form *form)
{
	json_t *object = json_object();
	set(object, "pid", snapshot->supervisor_pid);
	json_object_set_new(object, "alive", json_boolean(snapshot->supervisor_alive));
	json_object_set_new(object, "managed", json_boolean(snapshot->managed));
	set_metrics(object, snapshot->supervisor_metric, SUPERVISOR_METRIC_COUNT, form);
	json_object_set_new(root, "supervisor", object);
}

static json_t *whole_json(const struct rates *rates, const char *instance, const struct form *form)
{
	const struct snapshot *snapshot = rates->now;
	json_t *root = json_object(), *stages = json_array(), *topics = json_array(), *queues = json_array(),
	       *ledger = json_array();
	char generation[24];
	snprintf(generation, sizeof generation, "%016llx", (unsigned long long)snapshot->generation);
	json_object_set_new(root, "instance", json_string(instance));
	json_object_set_new(root, "generation", json_string(generation));
	set(root, "created_ms", snapshot->created_ns / NS_PER_MS);
	json_object_set_new(root, "draining", json_boolean(snapshot->draining));
	set_supervisor(root, snapshot, form);
	for (unsigned i = 0; i < snapshot->n_stages; i++)
		json_array_append_new(stages, stage_json(&snapshot->stage[i], form));
	for (unsigned i = 0; i < snapshot->n_topics; i++) {
		json_array_append_new(topics, topic_json(&snapshot->topic[i], rates, form));
		json_array_append_new(ledger, ledger_json(&snapshot->topic[i], rates, form));
	}
	for (unsigned i = 0; i < snapshot->n_queues; i++)
		json_array_append_new(queues, queue_json(&snapshot->queue[i]));
	json_object_set_new(root, "stages", stages);
	json_object_set_new(root, "topics", topics);
	json_object_set_new(root, "queues", queues);
	if (json_object_set_new(root, "ledger", ledger) == 0)
		return root;
	json_decref(root);
	return NULL;
}

json_t *look_json(const struct rates *rates, const char *instance)
{
	return whole_json(rates, instance, &(struct form){.lean = false});
}

json_t *look_json_lean(const struct rates *rates, const char *instance, const char *const *histograms)
{
	return whole_json(rates, instance, &(struct form){.lean = true, .histograms = histograms});
}
