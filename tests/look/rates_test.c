/* Rates between two snapshots, and the JSON that shows them. */
#include "look/json.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct snapshot *before, *now;
static struct rates rates;

static void assert_rate(double rate, double expected)
{
	assert_true(rate > expected - 1e-9 && rate < expected + 1e-9);
}

static void add_metric(struct snapshot_stage *stage, const char *name, enum metric_kind kind, uint64_t value)
{
	struct snapshot_metric *metric = &stage->metric[stage->n_metrics++];
	snprintf(metric->about.name, sizeof metric->about.name, "%s", name);
	metric->about.kind = kind;
	metric->value = value;
}

/* One stage that reads one topic of one lane, two seconds apart. */
static void fill(struct snapshot *snapshot, uint64_t taken_ns, uint64_t n)
{
	snapshot->generation = 7;
	snapshot->taken_ns = taken_ns;
	snapshot->n_topics = 1;
	struct snapshot_topic *topic = &snapshot->topic[0];
	snprintf(topic->name, sizeof topic->name, "ip");
	topic->n_lanes = 1;
	topic->ledger = (struct snapshot_ledger){.received = 10 * n, .written = 10 * n};
	topic->lane[0].written_records = 10 * n;
	topic->lane[0].n_groups = 1;
	snprintf(topic->lane[0].group[0].name, SHM_NAME_MAX, "tally");
	topic->lane[0].group[0].read_records = 4 * n;
	snapshot->n_stages = 1;
	struct snapshot_stage *stage = &snapshot->stage[0];
	snprintf(stage->name, sizeof stage->name, "tally.0");
	add_metric(stage, "events", METRIC_COUNTER, 6 * n);
	add_metric(stage, "kept", METRIC_GAUGE, 5 * n);
	snapshot->supervisor_metric[0].value = 2 * n;
}

static int make(void **state)
{
	(void)state;
	before = calloc(1, sizeof *before);
	now = calloc(1, sizeof *now);
	if (before == NULL || now == NULL)
		return -1;
	fill(before, 1000000000, 10);
	fill(now, 3000000000, 20);
	return 0;
}

static int unmake(void **state)
{
	(void)state;
	free(before);
	free(now);
	return 0;
}

static void what_was_gained_counts_per_second(void **state)
{
	(void)state;
	const struct snapshot_topic *topic = &now->topic[0];
	assert_true(rates_init(&rates, now, before));
	assert_rate(rates_topic(&rates, topic), 50);
	assert_rate(rates_lane(&rates, topic, 0), 50);
	assert_rate(rates_group(&rates, topic, 0, &topic->lane[0].group[0]), 20);
	assert_rate(rates_metric(&rates, &now->stage[0], &now->stage[0].metric[0]), 30);
	assert_rate(rates_metric(&rates, &now->stage[0], &now->stage[0].metric[1]), 0);
	assert_rate(rates_metric(&rates, NULL, &now->supervisor_metric[0]), 10);
}

static void without_an_earlier_snapshot_of_the_same_life_all_rates_are_zero(void **state)
{
	(void)state;
	const struct snapshot_topic *topic = &now->topic[0];
	assert_false(rates_init(&rates, now, NULL));
	assert_rate(rates_topic(&rates, topic), 0);
	before->generation = 8;
	assert_false(rates_init(&rates, now, before));
	assert_rate(rates_lane(&rates, topic, 0), 0);
	assert_rate(rates_metric(&rates, NULL, &now->supervisor_metric[0]), 0);
	assert_false(rates_init(&rates, now, now));
}

static void a_counter_that_went_back_has_no_rate(void **state)
{
	(void)state;
	now->topic[0].lane[0].written_records = 1;
	assert_true(rates_init(&rates, now, before));
	assert_rate(rates_lane(&rates, &now->topic[0], 0), 0);
}

static void what_moved_is_found_by_its_name(void **state)
{
	(void)state;
	now->topic[1] = now->topic[0];
	snprintf(now->topic[0].name, sizeof now->topic[0].name, "new");
	now->n_topics = 2;
	now->stage[1] = now->stage[0];
	snprintf(now->stage[0].name, sizeof now->stage[0].name, "enrich.0");
	now->n_stages = 2;
	struct snapshot_metric swap = now->stage[1].metric[0];
	now->stage[1].metric[0] = now->stage[1].metric[1];
	now->stage[1].metric[1] = swap;
	assert_true(rates_init(&rates, now, before));
	assert_rate(rates_topic(&rates, &now->topic[0]), 0);
	assert_rate(rates_topic(&rates, &now->topic[1]), 50);
	assert_rate(rates_metric(&rates, &now->stage[0], &now->stage[0].metric[0]), 0);
	assert_rate(rates_metric(&rates, &now->stage[1], &now->stage[1].metric[1]), 30);
}

static void the_json_has_rates_when_there_are_two_snapshots(void **state)
{
	(void)state;
	static const char *const path[] = {"received_per_second", "written_per_second"};
	for (unsigned two = 0; two < 2; two++) {
		(void)rates_init(&rates, now, two ? before : NULL);
		json_t *root = look_json(&rates, "test");
		assert_non_null(root);
		const json_t *lane = json_array_get(
		        json_object_get(json_array_get(json_object_get(root, "topics"), 0), "lanes"), 0);
		const json_t *of[] = {json_array_get(json_object_get(root, "ledger"), 0), lane};
		for (unsigned i = 0; i < 2; i++) {
			const json_t *rate = json_object_get(of[i], path[i]);
			assert_int_equal(rate != NULL, two);
			assert_rate(json_real_value(rate), two ? 50 : 0);
		}
		assert_int_equal(json_integer_value(json_object_get(
		                         json_object_get(json_array_get(json_object_get(root, "stages"), 0),
		                                         "metrics"),
		                         "events")),
		                 120);
		json_decref(root);
	}
}

int main(void)
{
	alarm(60);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(what_was_gained_counts_per_second, make, unmake),
	        cmocka_unit_test_setup_teardown(
	                without_an_earlier_snapshot_of_the_same_life_all_rates_are_zero, make, unmake),
	        cmocka_unit_test_setup_teardown(a_counter_that_went_back_has_no_rate, make, unmake),
	        cmocka_unit_test_setup_teardown(what_moved_is_found_by_its_name, make, unmake),
	        cmocka_unit_test_setup_teardown(the_json_has_rates_when_there_are_two_snapshots, make,
	                                        unmake),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
