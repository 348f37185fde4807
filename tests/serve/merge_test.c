/* Answers of several boxes merged, against what one box would say that had seen all of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/wide.h"
#include "serve/merge.h"
#include "sink/tally/attempts_sum.h"
#include "sink/tally/hourly.h"
#include "sink/tally/top.h"
#include "tests/fixture/draw.h"

#define BOXES_MAX 5u
#define KEYS      60u
#define ROUNDS    200u

static struct merge_part part[BOXES_MAX];
static unsigned n_parts;

static void begin(void)
{
	n_parts = 1 + draw_below(BOXES_MAX);
	memset(part, 0, sizeof part);
	for (unsigned i = 1; i < n_parts; i++)
		part[i].peer = "http://box";
}

static void end(json_t *merged)
{
	json_decref(merged);
	for (unsigned i = 0; i < n_parts; i++)
		json_decref((json_t *)(uintptr_t)part[i].json);
}

static void assert_json(const json_t *found, const json_t *expected)
{
	char *a = json_dumps(found, JSON_ENCODE_ANY | JSON_SORT_KEYS),
	     *b = json_dumps(expected, JSON_ENCODE_ANY | JSON_SORT_KEYS);
	assert_non_null(a);
	assert_non_null(b);
	assert_string_equal(a, b);
	free(a);
	free(b);
}

static int64_t number(const json_t *object, const char *name)
{
	assert_true(json_is_integer(json_object_get(object, name)));
	return json_integer_value(json_object_get(object, name));
}

/* ---- the most frequent keys ---- */

static int descending(const void *a, const void *b)
{
	const struct top_counter *x = a, *y = b;
	return (x->count < y->count) - (x->count > y->count);
}

/* The list as consumers.h shows it, of its counters the first `shown`. */
static json_t *show_top(const struct top *top, uint32_t shown)
{
	struct top_counter counter[KEYS] = {0};
	json_t *list = json_array();
	for (uint32_t i = 0; i < top_used(top); i++)
		counter[i] = top_at(top, i);
	qsort(counter, top_used(top), sizeof *counter, descending);
	for (uint32_t i = 0; i < top_used(top) && i < shown; i++)
		json_array_append_new(list, json_pack("{s:o, s:I, s:I}", "key",
		                                      json_stringn(counter[i].key, counter[i].key_bytes),
		                                      "count", (json_int_t)counter[i].count, "error",
		                                      (json_int_t)counter[i].error));
	return json_pack("{s:s, s:I, s:I, s:I, s:o}", "name", "type", "total", (json_int_t)top_total(top),
	                 "keys", (json_int_t)top_used(top), "forgotten", (json_int_t)top_smallest(top),
	                 "list", list);
}

/* Boxes that have seen some keys, each with its own capacity. Returns all of them together, truth
 * in n. */
static struct top *draw_tops(uint64_t n[KEYS], bool cut)
{
	struct top *all = top_new(2 * KEYS, 0);
	assert_non_null(all);
	memset(n, 0, KEYS * sizeof *n);
	begin();
	for (unsigned i = 0; i < n_parts; i++) {
		struct top *top = top_new(1 + draw_below(KEYS), 0);
		unsigned additions = draw_below(400);
		assert_non_null(top);
		for (unsigned k = 0; k < additions; k++) {
			char key[16];
			unsigned which = draw_below(1 + draw_below(KEYS)), times = 1 + draw_below(3);
			snprintf(key, sizeof key, "key %u", which);
			top_add(top, key, strlen(key), times);
			n[which] += times;
		}
		part[i].json = show_top(top, cut ? 1 + draw_below(KEYS) : KEYS);
		top_merge(all, top);
		top_free(top);
	}
	return all;
}

static void lists_of_keys_are_merged_as_one_box_merges_them(void **state)
{
	(void)state;
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t n[KEYS];
		struct top *all = draw_tops(n, false);
		json_t *merged = merge_consumer(part, n_parts), *item;
		json_t *list = json_object_get(merged, "list");
		size_t i;
		assert_int_equal(number(merged, "total"), top_total(all));
		assert_int_equal(number(merged, "keys"), top_used(all));
		assert_int_equal(number(merged, "forgotten"), top_smallest(all));
		assert_int_equal(json_array_size(list), top_used(all));
		int64_t before = INT64_MAX;
		json_array_foreach(list, i, item)
		{
			struct top_counter counter;
			const json_t *key = json_object_get(item, "key");
			assert_true(top_find(all, json_string_value(key), json_string_length(key), &counter));
			assert_int_equal(number(item, "count"), counter.count);
			assert_int_equal(number(item, "error"), counter.error);
			assert_true(number(item, "count") <= before);
			before = number(item, "count");
		}
		end(merged);
		top_free(all);
	}
}

static void a_list_that_was_cut_keeps_its_bounds(void **state)
{
	(void)state;
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t n[KEYS];
		struct top *all = draw_tops(n, true);
		json_t *merged = merge_consumer(part, n_parts);
		for (unsigned which = 0; which < KEYS; which++) {
			int64_t most = number(merged, "forgotten"), least = 0;
			char key[16];
			size_t i;
			json_t *item;
			snprintf(key, sizeof key, "key %u", which);
			json_array_foreach(json_object_get(merged, "list"), i, item)
			{
				if (strcmp(json_string_value(json_object_get(item, "key")), key) != 0)
					continue;
				most = number(item, "count");
				least = most - number(item, "error");
			}
			assert_true((int64_t)n[which] <= most && (int64_t)n[which] >= least);
		}
		end(merged);
		top_free(all);
	}
}

static void summaries_have_bounds_of_what_their_lists_would_say(void **state)
{
	(void)state;
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t n[KEYS];
		struct top *all = draw_tops(n, false);
		for (unsigned i = 0; i < n_parts; i++) {
			json_t *one = (json_t *)(uintptr_t)part[i].json;
			json_object_del(one, "list");
			part[i].json = json_pack("[o, {s:s, s:i}]", one, "name", "timing", "total", 3);
		}
		json_t *merged = merge_consumers(part, n_parts), *one = json_array_get(merged, 0);
		assert_int_equal(json_array_size(merged), 2);
		assert_int_equal(number(one, "total"), top_total(all));
		assert_int_equal(number(one, "forgotten"), top_smallest(all));
		assert_true(number(one, "keys") <= top_used(all) &&
		            top_used(all) <= number(one, "keys_at_most"));
		assert_int_equal(number(json_array_get(merged, 1), "total"), 3 * n_parts);
		end(merged);
		top_free(all);
	}
}

/* ---- statistics of the hour ---- */

#define USERS   3u
#define METRICS 4u /* the last one is "other" */

struct cell {
	int64_t least, greatest, count;
	__int128 sum;
};

static int64_t draw_value(void)
{
	static const int64_t edges[] = {INT64_MIN, INT64_MAX, 0, -1, 1};
	return draw_one_in(3) ? edges[draw_below(5)] : (int64_t)draw_below(2000) - 1000;
}

static void add_value(struct cell *cell, int64_t value)
{
	cell->least = cell->count == 0 || value < cell->least ? value : cell->least;
	cell->greatest = cell->count == 0 || value > cell->greatest ? value : cell->greatest;
	cell->sum += value;
	cell->count++;
}

static json_t *show_cell(const struct cell *cell, unsigned user, unsigned metric, bool sums)
{
	char text[WIDE_TEXT_BYTES], name[2][16];
	snprintf(name[0], sizeof name[0], "user %u", user);
	snprintf(name[1], sizeof name[1], "metric %u", metric);
	json_t *id = metric + 1 == METRICS ? json_pack("{s:s, s:b}", "username", name[0], "other", 1)
	                                   : json_pack("{s:s, s:s}", "username", name[0], "metric", name[1]);
	json_t *item =
	        json_pack("{s:o, s:I, s:I, s:f, s:I}", "_id", id, "minimum", (json_int_t)cell->least,
	                  "maximum", (json_int_t)cell->greatest, "average",
	                  hourly_average(cell->sum, (uint64_t)cell->count), "count", (json_int_t)cell->count);
	if (sums)
		json_object_set_new(item, "sum", json_string(wide_print(text, cell->sum)));
	return item;
}

static json_t *show_cells(struct cell cell[USERS][METRICS], bool sums)
{
	json_t *list = json_array();
	for (unsigned u = 0; u < USERS; u++)
		for (unsigned m = 0; m < METRICS; m++)
			if (cell[u][m].count != 0)
				json_array_append_new(list, show_cell(&cell[u][m], u, m, sums));
	return list;
}

static void shuffle(json_t *list)
{
	for (size_t i = json_array_size(list); i > 1; i--) {
		size_t k = draw_below((unsigned)i);
		json_t *a = json_incref(json_array_get(list, i - 1)),
		       *b = json_incref(json_array_get(list, k));
		json_array_set_new(list, i - 1, b);
		json_array_set_new(list, k, a);
	}
}

static void draw_hourly(struct cell all[USERS][METRICS])
{
	begin();
	for (unsigned i = 0; i < n_parts; i++) {
		struct cell cell[USERS][METRICS] = {0};
		unsigned events = draw_below(100);
		for (unsigned k = 0; k < events; k++) {
			unsigned user = draw_below(USERS), metric = draw_below(METRICS);
			int64_t value = draw_value();
			add_value(&cell[user][metric], value);
			add_value(&all[user][metric], value);
		}
		json_t *list = show_cells(cell, true);
		shuffle(list); /* by whose event was the first */
		part[i].json = list;
	}
}

static void averages_of_the_hour_come_from_sums(void **state)
{
	(void)state;
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct cell all[USERS][METRICS] = {0};
		draw_hourly(all);
		json_t *merged = merge_hourly(part, n_parts), *expected = show_cells(all, false);
		assert_json(merged, expected);
		json_decref(expected);
		end(merged);
	}
}

/* ---- deliveries ---- */

#define STEPS     3u
#define ENDPOINTS 4u /* the first is "other" */

typedef struct attempts_sum sums[OUTCOME_COUNT];

static void add_attempt(sums to, unsigned outcome, uint32_t us)
{
	to[outcome].count++;
	if (us == 0)
		return; /* no request */
	to[outcome].us += us;
	to[outcome].bucket[latency_bucket(us)]++;
}

static uint64_t attempts_of(const sums of)
{
	uint64_t n = 0;
	for (unsigned i = 0; i < OUTCOME_COUNT; i++)
		n += of[i].count;
	return n;
}

static json_t *show_attempts(sums cell[STEPS][ENDPOINTS], const sums whole, bool with_sums)
{
	json_t *items = json_array(), *all = json_object();
	assert_int_equal(attempts_sums_put(all, whole, with_sums), 0);
	for (unsigned s = 0; s < STEPS; s++)
		for (unsigned e = 0; e < ENDPOINTS; e++) {
			char name[16];
			snprintf(name, sizeof name, "http://%u", e);
			json_t *item = json_pack("{s:i}", "ts", (int)(60000 * s));
			json_object_set_new(item, "endpoint", e == 0 ? json_null() : json_string(name));
			if (e == 0)
				json_object_set_new(item, "other", json_true());
			assert_int_equal(attempts_sums_put(item, cell[s][e], with_sums), 0);
			if (attempts_of(cell[s][e]) != 0)
				json_array_append(items, item);
			json_decref(item);
		}
	return json_pack("{s:i, s:i, s:i, s:o, s:o, s:I}", "from_ts", 0, "to_ts", 180000, "step_s", 60, "all",
	                 all, "items", items, "total", (json_int_t)json_array_size(items));
}

static void draw_attempts(sums all[STEPS][ENDPOINTS], sums whole)
{
	begin();
	for (unsigned i = 0; i < n_parts; i++) {
		sums cell[STEPS][ENDPOINTS] = {0}, part_whole = {0};
		unsigned attempts = draw_below(100);
		for (unsigned k = 0; k < attempts; k++) {
			unsigned s = draw_below(STEPS), e = draw_below(ENDPOINTS),
			         outcome = draw_below(OUTCOME_COUNT);
			uint32_t us = draw_one_in(5) ? 0 : (uint32_t)(draw() >> draw_below(64));
			add_attempt(cell[s][e], outcome, us);
			add_attempt(part_whole, outcome, us);
			add_attempt(all[s][e], outcome, us);
			add_attempt(whole, outcome, us);
		}
		part[i].json = show_attempts(cell, part_whole, true);
	}
}

static void latencies_come_from_sums_and_histograms(void **state)
{
	(void)state;
	for (unsigned round = 0; round < ROUNDS / 4; round++) {
		static sums all[STEPS][ENDPOINTS], whole;
		memset(all, 0, sizeof all);
		memset(whole, 0, sizeof whole);
		draw_attempts(all, whole);
		json_t *merged = merge_attempts(part, n_parts), *expected = show_attempts(all, whole, false);
		assert_json(merged, expected);
		json_decref(expected);
		end(merged);
	}
}

static void a_list_that_is_not_whole_says_so(void **state)
{
	(void)state;
	static sums all[STEPS][ENDPOINTS], whole;
	do {
		memset(all, 0, sizeof all);
		memset(whole, 0, sizeof whole);
		draw_attempts(all, whole);
		if (json_array_size(json_object_get(part[0].json, "items")) > 0)
			break;
		end(NULL);
	} while (true);
	json_t *first = (json_t *)(uintptr_t)part[0].json;
	json_decref(merge_attempts(part, n_parts));
	assert_false(part[0].cut);
	json_array_remove(json_object_get(first, "items"), 0);
	json_decref(merge_attempts(part, n_parts));
	assert_true(part[0].cut);
	end(NULL);
}

/* ---- reports ---- */

#define HOSTS 64u

static json_t *show_report(const bool seen[HOSTS], int64_t count)
{
	json_t *good = json_array(), *bad = json_array();
	for (unsigned i = 0; i < HOSTS; i++) {
		unsigned network = 0;
		char text[16];
		for (unsigned k = i / 16 * 16; k < i / 16 * 16 + 16; k++)
			network += seen[k];
		snprintf(text, sizeof text, "255.255.255.%u", 192 + i);
		if (seen[i])
			json_array_append_new(network >= 2 ? good : bad, json_string(text));
	}
	return json_pack("{s:I, s:o, s:o}", "count", (json_int_t)count, "good_ips", good, "bad_ips", bad);
}

static void draw_reports(bool all[HOSTS], int64_t *sum)
{
	begin();
	for (unsigned i = 0; i < n_parts; i++) {
		bool seen[HOSTS] = {false};
		unsigned n = draw_below(6);
		for (unsigned k = 0; k < n; k++) {
			unsigned host = draw_below(HOSTS);
			seen[host] = all[host] = true;
		}
		*sum += n;
		part[i].json = show_report(seen, n);
	}
}

static void networks_are_judged_by_what_all_boxes_saw(void **state)
{
	(void)state;
	for (unsigned round = 0; round < ROUNDS; round++) {
		bool all[HOSTS] = {false};
		int64_t sum = 0;
		draw_reports(all, &sum);
		json_t *merged = merge_report(part, n_parts), *expected = show_report(all, sum);
		assert_json(merged, expected);
		json_decref(expected);
		end(merged);
	}
}

static void a_report_that_a_limit_cut_is_one_of_all(void **state)
{
	(void)state;
	bool all[HOSTS] = {false};
	int64_t sum = 0;
	draw_reports(all, &sum);
	json_object_set_new((json_t *)(uintptr_t)part[n_parts - 1].json, "truncated", json_true());
	json_t *merged = merge_report(part, n_parts);
	assert_true(json_is_true(json_object_get(merged, "truncated")));
	end(merged);
}

/* ---- what is put together ---- */

static json_t *line(const char *topic, int64_t received, bool balanced)
{
	return json_pack("{s:s, s:I, s:{s:I}, s:b}", "topic", topic, "received", (json_int_t)received,
	                 "rejected", "bad", (json_int_t)received, "balanced", balanced);
}

static json_t *stat_of(const char *generation, json_t *ledger)
{
	return json_pack("{s:s, s:s, s:i, s:b, s:{}, s:[{s:s}], s:[], s:[], s:o}", "instance", "default",
	                 "generation", generation, "created_ms", 7, "draining", 0, "supervisor", "stages",
	                 "name", "tally.0", "topics", "queues", "ledger", ledger);
}

static void ledgers_are_summed_and_stages_are_put_together(void **state)
{
	(void)state;
	n_parts = 3;
	memset(part, 0, sizeof part);
	part[1].peer = "http://b";
	part[2].peer = "http://c";
	part[0].json = stat_of("1", json_pack("[o, o]", line("ip", 3, true), line("log", 4, true)));
	part[1].json = stat_of("2", json_pack("[o]", line("log", INT64_MAX - 4, false)));
	part[2].json = stat_of("3", json_pack("[o, o]", line("track", 1, true), line("log", 8, true)));
	json_t *merged = merge_stat(part, n_parts);
	json_t *ledger = json_pack("[o, o, o]", line("ip", 3, true), line("log", INT64_MAX, false),
	                           line("track", 1, true));
	json_t *stages = json_pack("[{s:s, s:n}, {s:s, s:s}, {s:s, s:s}]", "name", "tally.0", "peer", "name",
	                           "tally.0", "peer", "http://b", "name", "tally.0", "peer", "http://c");
	assert_json(json_object_get(merged, "ledger"), ledger);
	assert_json(json_object_get(merged, "stages"), stages);
	assert_string_equal(json_string_value(json_object_get(merged, "generation")), "1");
	assert_int_equal(json_array_size(json_object_get(merged, "boxes")), 3);
	assert_string_equal(json_string_value(json_object_get(
	                            json_array_get(json_object_get(merged, "boxes"), 2), "generation")),
	                    "3");
	json_decref(ledger);
	json_decref(stages);
	end(merged);
}

static void the_earliest_event_is_the_first(void **state)
{
	(void)state;
	n_parts = 4;
	memset(part, 0, sizeof part);
	static const int64_t ms[] = {50, 20, 30};
	for (unsigned i = 0; i < 3; i++)
		part[i].json = json_pack("{s:s, s:s, s:I}", "username", "ann", "first_seen",
		                         i == 1 ? "early" : "late", "first_seen_ms", (json_int_t)ms[i]);
	json_t *merged = merge_account(part, n_parts);
	assert_json(merged, part[1].json);
	end(merged);
}

/* ---- what has another form ---- */

static json_t *draw_json(void)
{
	switch (draw_below(9)) {
	case 0:
		return json_null();
	case 1:
		return json_string("x");
	case 2:
		return json_integer(-1);
	case 3:
		return json_integer(INT64_MAX);
	case 4:
		return json_real(1e300);
	case 5:
		return json_array();
	case 6:
		return json_object();
	case 7:
		return json_true();
	default:
		return json_string("99999999999999999999999999999999999999");
	}
}

/* Puts something else in the place of a value somewhere in it. */
static void spoil(json_t *json)
{
	size_t n = json_is_array(json) ? json_array_size(json) : json_object_size(json), which;
	if (n == 0)
		return;
	which = draw_below((unsigned)n);
	if (json_is_array(json)) {
		json_t *item = json_array_get(json, which);
		if (draw_one_in(4) || !(json_is_array(item) || json_is_object(item)))
			json_array_set_new(json, which, draw_json());
		else
			spoil(item);
		return;
	}
	void *at = json_object_iter(json);
	while (which-- > 0)
		at = json_object_iter_next(json, at);
	json_t *value = json_object_iter_value(at);
	if (draw_one_in(4) || !(json_is_array(value) || json_is_object(value)))
		json_object_iter_set_new(json, at, draw_json());
	else
		spoil(value);
}

/* One part is spoiled: it is left out whole, or what it says is taken as it is. */
static void spoil_one(merge_function *merge)
{
	unsigned which = draw_below(n_parts);
	spoil((json_t *)(uintptr_t)part[which].json);
	json_t *merged = merge(part, n_parts), *without;
	if (part[which].wrong) {
		struct merge_part rest[BOXES_MAX];
		memcpy(rest, part, sizeof rest);
		rest[which].json = NULL;
		without = merge(rest, n_parts);
		assert_int_equal(merged == NULL, without == NULL);
		if (merged != NULL)
			assert_json(merged, without);
		json_decref(without);
	}
	end(merged);
}

static void what_has_another_form_is_left_out_and_harms_nobody(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 4 * ROUNDS; round++) {
		uint64_t n[KEYS];
		top_free(draw_tops(n, draw_one_in(2)));
		spoil_one(merge_consumer);

		struct cell cell[USERS][METRICS] = {0};
		draw_hourly(cell);
		spoil_one(merge_hourly);

		bool seen[HOSTS] = {false};
		int64_t sum = 0;
		draw_reports(seen, &sum);
		spoil_one(merge_report);

		static sums attempts[STEPS][ENDPOINTS], whole;
		draw_attempts(attempts, whole);
		spoil_one(merge_attempts);

		n_parts = 2;
		memset(part, 0, sizeof part);
		part[0].json = stat_of("1", json_pack("[o]", line("ip", 3, true)));
		part[1].json = stat_of("2", json_pack("[o]", line("ip", 4, true)));
		spoil_one(merge_stat);
	}
}

static void nobody_has_anything(void **state)
{
	(void)state;
	static merge_function *const all[] = {merge_report,   merge_account,   merge_hourly,
	                                      merge_distinct, merge_consumers, merge_consumer,
	                                      merge_attempts, merge_stat,      merge_sinks};
	memset(part, 0, sizeof part);
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		assert_null(all[i](part, 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(lists_of_keys_are_merged_as_one_box_merges_them),
	        cmocka_unit_test(a_list_that_was_cut_keeps_its_bounds),
	        cmocka_unit_test(summaries_have_bounds_of_what_their_lists_would_say),
	        cmocka_unit_test(averages_of_the_hour_come_from_sums),
	        cmocka_unit_test(latencies_come_from_sums_and_histograms),
	        cmocka_unit_test(a_list_that_is_not_whole_says_so),
	        cmocka_unit_test(networks_are_judged_by_what_all_boxes_saw),
	        cmocka_unit_test(a_report_that_a_limit_cut_is_one_of_all),
	        cmocka_unit_test(ledgers_are_summed_and_stages_are_put_together),
	        cmocka_unit_test(the_earliest_event_is_the_first),
	        cmocka_unit_test(what_has_another_form_is_left_out_and_harms_nobody),
	        cmocka_unit_test(nobody_has_anything),
	};
	draw_init(1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
