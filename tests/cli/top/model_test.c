/* Samples of an instance as rows of numbers. */
#include "cli/top/model.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/fixture/top_sample.h"

static struct model *model;
static struct sample *sample; /* the last one shown */

static int make(void **state)
{
	(void)state;
	model = model_new();
	sample = NULL;
	return model == NULL ? -1 : 0;
}

static int unmake(void **state)
{
	(void)state;
	model_free(model);
	free(sample);
	return 0;
}

static void show(struct sample *next, enum average_window window)
{
	model_show(model, next, window);
	if (next != sample)
		free(sample);
	sample = next;
}

static const struct row *find(enum table table, const char *name)
{
	for (unsigned i = 0; i < model->table[table].n; i++)
		if (strcmp(model->table[table].row[i].name, name) == 0)
			return &model->table[table].row[i];
	fail_msg("no row %s", name);
	return NULL;
}

static const struct cell *cell(enum table table, const char *name, unsigned column)
{
	return &find(table, name)->cell[column];
}

static void assert_near(double number, double expected)
{
	if (!(fabs(number - expected) <= 1e-6 * (1 + fabs(expected))))
		fail_msg("%g, not %g", number, expected);
}

static void rows_stand_in_flow_order_with_the_groups_below_their_topics(void **state)
{
	(void)state;
	static const char *const stages[] = {"supervisor", "ingest-udp.0", "ingest-http.0", "enrich.0",
	                                     "deliver.0",  "tally.0",      "objects.tracks"};
	static const char *const topics[][2] = {{"ip", NULL},        {"tally", "ip"},
	                                        {"track.raw", NULL}, {"enrich", "track.raw"},
	                                        {"track", NULL},     {"tracks", "track"}};
	show(top_sample(1, 100), AVERAGE_NOW);
	assert_int_equal(model->table[TABLE_STAGES].n, 7);
	for (unsigned i = 0; i < 7; i++)
		assert_string_equal(model->table[TABLE_STAGES].row[i].name, stages[i]);
	assert_int_equal(model->table[TABLE_TOPICS].n, 6);
	for (unsigned i = 0; i < 6; i++) {
		const struct row *row = &model->table[TABLE_TOPICS].row[i];
		assert_string_equal(row->name, topics[i][0]);
		assert_true(topics[i][1] == NULL ? row->topic == NULL
		                                 : strcmp(row->topic, topics[i][1]) == 0);
	}
	assert_int_equal(model->table[TABLE_QUEUES].n, 1);
	assert_int_equal(model->table[TABLE_LEDGERS].n, 3);
	assert_int_equal(model->n_stages, 6);
}

static void rates_are_gains_per_second(void **state)
{
	(void)state;
	show(top_sample(10, 1000), AVERAGE_NOW);
	assert_near(cell(TABLE_TOPICS, "ip", TOPICS_RATE)->number, 0);
	show(top_sample(12, 3000), AVERAGE_NOW);
	assert_near(cell(TABLE_TOPICS, "ip", TOPICS_RATE)->number, 1000);
	assert_near(cell(TABLE_TOPICS, "tally", TOPICS_RATE)->number, 1000);
	assert_near(cell(TABLE_QUEUES, "postback", QUEUES_RATE)->number, 1000);
	assert_near(cell(TABLE_QUEUES, "postback", QUEUES_DONE)->number, 1000);
	/* a stage that writes: what it received; one that only reads: what its group read */
	assert_near(cell(TABLE_STAGES, "ingest-udp.0", STAGES_RATE)->number, 1000);
	assert_near(cell(TABLE_STAGES, "enrich.0", STAGES_RATE)->number, 1000);
	assert_near(cell(TABLE_STAGES, "tally.0", STAGES_RATE)->number, 1000);
	assert_near(cell(TABLE_STAGES, "objects.tracks", STAGES_RATE)->number, 1000);
	/* ip, track.raw and postbacks come from outside; tally, tracks and postbacks leave */
	assert_near(model->in, 3000);
	assert_near(model->out, 3000);
	assert_near(model->uptime_s, 12);
}

static void processors_and_memory_are_those_of_the_processes(void **state)
{
	(void)state;
	show(top_sample(10, 0), AVERAGE_NOW);
	show(top_sample(11, 0), AVERAGE_NOW);
	assert_near(cell(TABLE_STAGES, "ingest-udp.0", STAGES_CPU)->number, 50);
	assert_near(cell(TABLE_STAGES, "tally.0", STAGES_CPU)->number, 5);
	assert_near(cell(TABLE_STAGES, "enrich.0", STAGES_MEMORY)->number, 3 << 20);
	assert_near(cell(TABLE_STAGES, "enrich.0", STAGES_PID)->number, 1002);
	assert_near(model->cpu_percent, 50 + 25 + 10 + 5 + 1 + 0.1);
	/* another process: its time is not the gain of the one before */
	struct sample *next = top_sample(12, 0);
	next->snapshot.stage[SAMPLE_TALLY].pid = 2000;
	next->stage[SAMPLE_TALLY].cpu_ns = 100 * NS_PER_SEC;
	show(next, AVERAGE_NOW);
	assert_near(cell(TABLE_STAGES, "tally.0", STAGES_CPU)->number, 0);
	/* no process: no figures of it */
	next = top_sample(13, 0);
	next->snapshot.stage[SAMPLE_TALLY].alive = false;
	next->stage[SAMPLE_TALLY] = (struct process_cost){0};
	show(next, AVERAGE_NOW);
	assert_true(isnan(cell(TABLE_STAGES, "tally.0", STAGES_MEMORY)->number));
	assert_string_equal(cell(TABLE_STAGES, "tally.0", STAGES_STATE)->text, "dead");
	assert_int_equal(model->n_dead, 1);
}

static void the_same_sample_can_be_shown_over_another_window(void **state)
{
	(void)state;
	for (unsigned i = 0; i <= 20; i++)
		show(top_sample(i + 1, i * 100), AVERAGE_NOW);
	show(top_sample(22, 2000 + 1000), AVERAGE_NOW);
	assert_near(cell(TABLE_TOPICS, "ip", TOPICS_RATE)->number, 1000);
	show(sample, AVERAGE_10);
	assert_near(cell(TABLE_TOPICS, "ip", TOPICS_RATE)->number, 190);
	show(sample, AVERAGE_100);
	assert_near(cell(TABLE_TOPICS, "ip", TOPICS_RATE)->number, 3000 / 21.0);
	show(sample, AVERAGE_NOW);
	assert_near(cell(TABLE_TOPICS, "ip", TOPICS_RATE)->number, 1000);
}

static void what_was_lost_is_told_since_the_start_and_now(void **state)
{
	(void)state;
	show(top_sample(1, 100), AVERAGE_1000);
	assert_false(model_lost(model));
	struct sample *next = top_sample(2, 100);
	next->snapshot.topic[SAMPLE_IP].ledger.dropped = 30;
	next->snapshot.topic[SAMPLE_TRACK].ledger.dropped = 50;
	next->snapshot.topic[SAMPLE_RAW].ledger.refused = 4;
	next->snapshot.topic[SAMPLE_IP].ledger.kernel_dropped = 5;
	top_sample_group(next, SAMPLE_IP)->missed_records = 6;
	top_sample_group(next, SAMPLE_IP)->damaged = 7;
	show(next, AVERAGE_1000);
	assert_true(model_lost(model));
	assert_near(model->loss[LOSS_DROPPED].since, 80);
	assert_near(model->loss[LOSS_DROPPED].now, 80);
	assert_string_equal(model->loss[LOSS_DROPPED].where, "track");
	assert_int_equal(model->loss[LOSS_DROPPED].n_where, 2);
	assert_near(model->loss[LOSS_REFUSED].since, 4);
	assert_near(model->loss[LOSS_KERNEL].since, 5);
	assert_near(model->loss[LOSS_MISSED].since, 6);
	assert_near(model->loss[LOSS_DAMAGED].since, 7);
	/* a second later nothing more is lost, and what was stays */
	struct sample *later = top_sample(3, 100);
	memcpy(later->snapshot.topic, next->snapshot.topic, sizeof next->snapshot.topic);
	show(later, AVERAGE_1000);
	assert_near(model->loss[LOSS_DROPPED].since, 80);
	assert_near(model->loss[LOSS_DROPPED].now, 0);
}

static void an_optional_group_that_misses_records_is_no_loss(void **state)
{
	(void)state;
	struct sample *next = top_sample(1, 100);
	top_sample_group(next, SAMPLE_IP)->required = false;
	top_sample_group(next, SAMPLE_IP)->missed_records = 9;
	show(next, AVERAGE_NOW);
	assert_false(model_lost(model));
	assert_near(cell(TABLE_TOPICS, "tally", TOPICS_MISSED)->number, 9);
	assert_string_equal(cell(TABLE_TOPICS, "ip", TOPICS_KIND)->text, "not kept");
	assert_true(isnan(cell(TABLE_TOPICS, "ip", TOPICS_FILL)->number));
	next = top_sample(2, 100);
	top_sample_group(next, SAMPLE_IP)->required = false;
	top_sample_group(next, SAMPLE_IP)->lapsed = true;
	top_sample_group(next, SAMPLE_IP)->missed_records = 9;
	show(next, AVERAGE_NOW);
	assert_near(model->loss[LOSS_MISSED].since, 9);
}

static void refused_postbacks_count_as_refused(void **state)
{
	(void)state;
	struct sample *next = top_sample(1, 100);
	struct snapshot_stage *stage = &next->snapshot.stage[SAMPLE_HTTP];
	stage->n_metrics = 2;
	snprintf(stage->metric[0].about.name, sizeof stage->metric[0].about.name, "postbacks");
	snprintf(stage->metric[1].about.name, sizeof stage->metric[1].about.name, "postbacks_refused");
	stage->metric[1].value = 11;
	show(next, AVERAGE_NOW);
	assert_near(model->loss[LOSS_REFUSED].since, 11);
	assert_string_equal(model->loss[LOSS_REFUSED].where, "postback");
}

static void groups_of_several_lanes_are_one_row(void **state)
{
	(void)state;
	struct sample *next = top_sample(1, 100);
	struct snapshot_topic *topic = &next->snapshot.topic[SAMPLE_IP];
	topic->n_lanes = 2;
	topic->lane[1] = topic->lane[0];
	topic->lane[0].group[0].waiting_records = 10;
	topic->lane[0].group[0].waiting_bytes = SAMPLE_LANE_BYTES / 4;
	topic->lane[1].group[0].waiting_records = 20;
	topic->lane[1].group[0].waiting_bytes = SAMPLE_LANE_BYTES / 2;
	topic->lane[0].group[0].oldest_age_ns = 3 * NS_PER_SEC;
	topic->lane[1].group[0].oldest_age_ns = SNAPSHOT_NO_AGE;
	/* a group that reads the second lane alone */
	topic->lane[1].group[1] = topic->lane[1].group[0];
	snprintf(topic->lane[1].group[1].name, SHM_NAME_MAX, "late");
	topic->lane[1].n_groups = 2;
	show(next, AVERAGE_NOW);
	assert_int_equal(model->table[TABLE_TOPICS].n, 7);
	assert_near(cell(TABLE_TOPICS, "tally", TOPICS_WAITING)->number, 30);
	assert_near(cell(TABLE_TOPICS, "tally", TOPICS_BYTES)->number, SAMPLE_LANE_BYTES * 3 / 4);
	assert_near(cell(TABLE_TOPICS, "tally", TOPICS_FILL)->number, 0.5);
	assert_near(cell(TABLE_TOPICS, "tally", TOPICS_OLDEST)->number, 3);
	assert_near(cell(TABLE_TOPICS, "ip", TOPICS_FILL)->number, 0.5);
	assert_near(cell(TABLE_TOPICS, "late", TOPICS_WAITING)->number, 20);
	assert_string_equal(find(TABLE_TOPICS, "late")->topic, "ip");
}

static void what_is_watched_is_marked_when_it_changes_and_for_three_seconds(void **state)
{
	(void)state;
	static const struct {
		double at_s;
		unsigned restarts;
		bool changed;
	} steps[] = {{1, 5, false}, {2, 5, false},  {3, 6, true},
	             {4, 6, true},  {5.9, 6, true}, {6.1, 6, false}};
	for (unsigned i = 0; i < sizeof steps / sizeof *steps; i++) {
		struct sample *next = top_sample(steps[i].at_s, 100 * i);
		next->snapshot.stage[SAMPLE_TALLY].restarts = steps[i].restarts;
		show(next, AVERAGE_NOW);
		assert_int_equal(cell(TABLE_STAGES, "tally.0", STAGES_RESTARTS)->changed, steps[i].changed);
		assert_false(cell(TABLE_STAGES, "tally.0", STAGES_RATE)->changed);
	}
	struct sample *next = top_sample(7, 0);
	next->snapshot.stage[SAMPLE_TALLY].heartbeat_age_ns = 60 * NS_PER_SEC;
	show(next, AVERAGE_NOW);
	assert_string_equal(cell(TABLE_STAGES, "tally.0", STAGES_STATE)->text, "silent");
	assert_true(cell(TABLE_STAGES, "tally.0", STAGES_STATE)->changed);
	assert_int_equal(model->n_silent, 1);
}

static void another_life_of_the_instance_begins_anew(void **state)
{
	(void)state;
	show(top_sample(1, 1000), AVERAGE_NOW);
	show(top_sample(2, 2000), AVERAGE_NOW);
	struct sample *next = top_sample(3, 500000);
	next->snapshot.generation = 8;
	next->snapshot.stage[SAMPLE_TALLY].restarts = 3;
	show(next, AVERAGE_NOW);
	assert_near(model->in, 0);
	assert_false(cell(TABLE_STAGES, "tally.0", STAGES_RESTARTS)->changed);
}

/* A reload may take away what is remembered in the middle and bring other names, as many as there
 * can be, again and again. */
static void topics_and_groups_come_and_go(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 20; round++) {
		struct sample *next = top_sample(1 + round, 100 * round);
		next->snapshot.n_topics = INSTANCE_TOPICS_MAX;
		for (unsigned i = SAMPLE_TOPICS; i < INSTANCE_TOPICS_MAX; i++) {
			struct snapshot_topic *topic = &next->snapshot.topic[i];
			*topic = next->snapshot.topic[SAMPLE_IP];
			snprintf(topic->name, sizeof topic->name, "topic-%u-%u", round, i);
			topic->lane[0].n_groups = STREAM_GROUPS_MAX;
			for (unsigned g = 0; g < STREAM_GROUPS_MAX; g++) {
				topic->lane[0].group[g] = topic->lane[0].group[0];
				snprintf(topic->lane[0].group[g].name, SHM_NAME_MAX, "group-%u-%u", round, g);
			}
		}
		show(next, AVERAGE_NOW);
		assert_int_equal(model->table[TABLE_TOPICS].n,
		                 6 + (INSTANCE_TOPICS_MAX - SAMPLE_TOPICS) * (STREAM_GROUPS_MAX + 1));
		assert_near(cell(TABLE_TOPICS, "tally", TOPICS_RATE)->number, round == 0 ? 0 : 100);
	}
}

int main(void)
{
	alarm(60);
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)
	const struct CMUnitTest tests[] = {
	        TEST(rows_stand_in_flow_order_with_the_groups_below_their_topics),
	        TEST(rates_are_gains_per_second),
	        TEST(processors_and_memory_are_those_of_the_processes),
	        TEST(the_same_sample_can_be_shown_over_another_window),
	        TEST(what_was_lost_is_told_since_the_start_and_now),
	        TEST(an_optional_group_that_misses_records_is_no_loss),
	        TEST(refused_postbacks_count_as_refused),
	        TEST(groups_of_several_lanes_are_one_row),
	        TEST(what_is_watched_is_marked_when_it_changes_and_for_three_seconds),
	        TEST(another_life_of_the_instance_begins_anew),
	        TEST(topics_and_groups_come_and_go),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
