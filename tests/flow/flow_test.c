/* The flow table: that its rows fit one another, and what is worked out from them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "event/event.h"
#include "flow/flow.h"

static const struct flow_stage *stage_of(const char *name)
{
	const struct flow_stage *stage = flow_stage_find(name);
	if (stage == NULL)
		fail_msg("there is no stage %s", name);
	return stage;
}

static bool has(const char *const *list, const char *name)
{
	for (FLOW_EACH(one, list))
		if (strcmp(*one, name) == 0)
			return true;
	return false;
}

static bool writes(const struct flow_stage *stage, const char *topic)
{
	for (const struct flow_format *row = stage->formats; row != NULL && row->name != NULL; row++)
		if (has(row->writes, topic))
			return true;
	return has(stage->writes, topic);
}

static const struct flow_topic *topic_of(const char *name)
{
	size_t n;
	const struct flow_topic *topics = flow_topics(&n);
	for (size_t i = 0; i < n; i++)
		if (strcmp(topics[i].name, name) == 0)
			return &topics[i];
	fail_msg("%s is not in topics.def", name);
	return NULL;
}

static void a_stage_reads_and_takes_what_rows_above_it_write(void **state)
{
	(void)state;
	size_t n;
	const struct flow_stage *stages = flow_stages(&n);
	assert_true(n >= 4);
	for (size_t i = 0; i < n; i++) {
		for (FLOW_EACH(topic, stages[i].reads)) {
			size_t above = 0;
			while (above < i && !writes(&stages[above], *topic))
				above++;
			if (above == i)
				fail_msg("%s reads %s, which no row above it writes", stages[i].name, *topic);
		}
		for (FLOW_EACH(queue, stages[i].takes)) {
			size_t above = 0;
			while (above < i && !has(stages[above].puts, *queue))
				above++;
			if (above == i)
				fail_msg("%s takes %s, which no row above it puts", stages[i].name, *queue);
		}
	}
}

static void every_topic_and_queue_of_a_stage_is_declared(void **state)
{
	(void)state;
	size_t n;
	const struct flow_stage *stages = flow_stages(&n);
	for (size_t i = 0; i < n; i++) {
		const char *const *topics[] = {stages[i].reads, stages[i].writes};
		const char *const *queues[] = {stages[i].takes, stages[i].puts};
		for (size_t k = 0; k < 2; k++) {
			for (FLOW_EACH(topic, topics[k]))
				assert_false(topic_of(*topic)->queue);
			for (FLOW_EACH(queue, queues[k]))
				assert_true(topic_of(*queue)->queue);
		}
		for (const struct flow_format *row = stages[i].formats; row != NULL && row->name != NULL;
		     row++)
			for (FLOW_EACH(topic, row->writes))
				assert_false(topic_of(*topic)->queue);
	}
}

static void the_folder_of_every_stage_is_in_the_tree(void **state)
{
	(void)state;
	size_t n;
	const struct flow_stage *stages = flow_stages(&n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(access(stages[i].folder, F_OK), 0);
}

static void every_stage_has_a_user(void **state)
{
	(void)state;
	size_t n;
	const struct flow_stage *stages = flow_stages(&n);
	for (size_t i = 0; i < n; i++)
		assert_non_null(stages[i].user);
}

static void a_format_says_what_its_entry_writes(void **state)
{
	(void)state;
	const struct flow_stage *udp = stage_of("ingest-udp"), *http = stage_of("ingest-http");
	assert_true(has(flow_writes(udp, "ipevent"), "ip"));
	assert_false(has(flow_writes(udp, "ipevent"), "metric"));
	assert_true(has(flow_writes(udp, "json"), "metric"));
	assert_true(has(flow_writes(udp, "json"), "track.raw"));
	assert_null(flow_writes(udp, "none")[0]);
	assert_null(flow_writes(udp, NULL)[0]);
	assert_string_equal(flow_writes(http, NULL)[0], "metric");
	assert_string_equal(flow_writes(http, "")[0], "metric");
	assert_null(flow_writes(stage_of("tally"), NULL)[0]);
}

static void a_stage_is_found_by_its_name_and_by_its_role(void **state)
{
	(void)state;
	assert_ptr_equal(flow_stage_of_role("ingest-udp.12"), stage_of("ingest-udp"));
	assert_ptr_equal(flow_stage_of_role("tally"), stage_of("tally"));
	assert_null(flow_stage_of_role("tallyman.0"));
	assert_null(flow_stage_of_role("tall.0"));
	assert_null(flow_stage_find("tally.0"));
}

static void the_rank_grows_along_the_flow(void **state)
{
	(void)state;
	size_t n;
	const struct flow_stage *stages = flow_stages(&n);
	assert_int_equal(flow_rank(stage_of("ingest-udp")), 0);
	assert_int_equal(flow_rank(stage_of("ingest-http")), 0);
	assert_int_equal(flow_rank(stage_of("enrich")), 1);
	assert_true(flow_rank(stage_of("tally")) >= 1);
	for (size_t i = 0; i < n; i++) {
		assert_true(flow_rank(&stages[i]) < flow_ranks());
		for (size_t above = 0; above < i; above++)
			for (FLOW_EACH(topic, stages[i].reads))
				if (writes(&stages[above], *topic))
					assert_true(flow_rank(&stages[above]) < flow_rank(&stages[i]));
	}
}

static void a_topic_says_which_records_it_carries(void **state)
{
	(void)state;
	assert_int_equal(flow_topic_type("ip"), EVENT_IP);
	assert_int_equal(flow_topic_type("track.raw"), EVENT_TRACK_RAW);
	assert_int_equal(flow_topic_type("postback"), EVENT_POSTBACK);
	assert_int_equal(flow_topic_type("orders"), EVENT_NONE);
}

static void processes_that_share_lanes_read_as_one_group(void **state)
{
	(void)state;
	char group[SHM_NAME_MAX];
	assert_string_equal(flow_group(stage_of("enrich"), "enrich.3", group), "enrich");
	assert_string_equal(flow_group(stage_of("tally"), "tally.0", group), "tally");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_stage_reads_and_takes_what_rows_above_it_write),
	        cmocka_unit_test(every_topic_and_queue_of_a_stage_is_declared),
	        cmocka_unit_test(the_folder_of_every_stage_is_in_the_tree),
	        cmocka_unit_test(every_stage_has_a_user),
	        cmocka_unit_test(a_format_says_what_its_entry_writes),
	        cmocka_unit_test(a_stage_is_found_by_its_name_and_by_its_role),
	        cmocka_unit_test(the_rank_grows_along_the_flow),
	        cmocka_unit_test(a_topic_says_which_records_it_carries),
	        cmocka_unit_test(processes_that_share_lanes_read_as_one_group),
	};
	alarm(20);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
