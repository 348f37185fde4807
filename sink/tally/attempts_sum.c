#include "sink/tally/attempts_sum.h"

#include <errno.h>
#include <string.h>

#include "base/wide.h"

/* What one sum can have at most, so that 2^7 of them add up without overflow. */
#define COUNT_MAX (INT64_MAX >> 7)

void attempts_sum_add(struct attempts_sum *into, const struct attempts_sum *from)
{
	into->count += from->count;
	into->us += from->us;
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
		into->bucket[i] += from->bucket[i];
}

/* ---- to JSON ---- */

static int put(json_t *object, const char *key, json_t *value)
{
	return json_object_set_new(object, key, value) == 0 ? 0 : -ENOMEM;
}

static int put_latencies(json_t *object, const struct attempts_sum *sum)
{
	static const struct {
		const char *key;
		unsigned percent;
	} percentiles[] = {{"p50_us", 50}, {"p90_us", 90}, {"p99_us", 99}};
	uint64_t timed = latency_total(sum->bucket);
	if (timed == 0)
		return 0;
	/* Rounded down; the exact sum is of integers. */
	int result = put(object, "average_us", json_integer((json_int_t)(sum->us / timed)));
	for (unsigned i = 0; result == 0 && i < sizeof percentiles / sizeof *percentiles; i++)
		result = put(
		        object, percentiles[i].key,
		        json_integer((json_int_t)latency_percentile(sum->bucket, percentiles[i].percent)));
	return result;
}

static json_t *histogram(const uint64_t bucket[LATENCY_BUCKETS])
{
	unsigned first = 0, end = LATENCY_BUCKETS;
	json_t *list = json_array();
	while (end > 0 && bucket[end - 1] == 0)
		end--;
	while (first < end && bucket[first] == 0)
		first++;
	int result = end == 0 ? 0 : json_array_append_new(list, json_integer(first));
	for (unsigned i = first; result == 0 && i < end; i++)
		result = json_array_append_new(list, json_integer((json_int_t)bucket[i]));
	if (result == 0)
		return list;
	json_decref(list);
	return NULL;
}

static int put_outcome(json_t *outcomes, unsigned outcome, const struct attempts_sum *sum, bool sums)
{
	char text[WIDE_TEXT_BYTES];
	json_t *one = json_object();
	int result = put(one, "count", json_integer((json_int_t)sum->count));
	if (result == 0)
		result = put_latencies(one, sum);
	if (result == 0 && sums)
		result = put(one, "sum_us", json_string(wide_print(text, (__int128)sum->us)));
	if (result == 0 && sums)
		result = put(one, "latency", histogram(sum->bucket));
	if (result == 0)
		result = put(outcomes, delivery_outcome_name(outcome), json_incref(one));
	json_decref(one);
	return result;
}

int attempts_sums_put(json_t *object, const struct attempts_sum outcome[OUTCOME_COUNT], bool sums)
{
	struct attempts_sum whole = {0};
	json_t *outcomes = json_object();
	int result = outcomes == NULL ? -ENOMEM : 0;
	for (unsigned i = 0; i < OUTCOME_COUNT; i++) {
		attempts_sum_add(&whole, &outcome[i]);
		if (result == 0 && outcome[i].count != 0)
			result = put_outcome(outcomes, i, &outcome[i], sums);
	}
	if (result == 0)
		result = put(object, "attempts", json_integer((json_int_t)whole.count));
	if (result == 0 && whole.count != 0)
		result = put(object, "success",
		             json_real((double)outcome[OUTCOME_DELIVERED].count / (double)whole.count));
	if (result == 0)
		result = put_latencies(object, &whole);
	if (result == 0)
		result = put(object, "outcomes", json_incref(outcomes));
	json_decref(outcomes);
	return result;
}

/* ---- from JSON ---- */

static bool take_number(const json_t *value, uint64_t *number)
{
	json_int_t integer = json_integer_value(value);
	*number = (uint64_t)integer;
	return json_is_integer(value) && integer >= 0 && integer <= COUNT_MAX;
}

static bool take_histogram(const json_t *list, uint64_t bucket[LATENCY_BUCKETS])
{
	size_t n = json_array_size(list);
	uint64_t first;
	if (n == 0)
		return json_is_array(list);
	if (!take_number(json_array_get(list, 0), &first) || first >= LATENCY_BUCKETS ||
	    n - 1 > LATENCY_BUCKETS - first)
		return false;
	for (size_t i = 1; i < n; i++)
		if (!take_number(json_array_get(list, i), &bucket[first + i - 1]))
			return false;
	return true;
}

static bool take_outcome(const json_t *one, struct attempts_sum *sum)
{
	const char *text = json_string_value(json_object_get(one, "sum_us"));
	__int128 us;
	if (text == NULL || !wide_parse(text, &us) || us < 0 || us >> 96 != 0)
		return false;
	sum->us = (unsigned __int128)us;
	return take_number(json_object_get(one, "count"), &sum->count) &&
	       take_histogram(json_object_get(one, "latency"), sum->bucket);
}

bool attempts_sums_take(const json_t *object, struct attempts_sum outcome[OUTCOME_COUNT])
{
	const json_t *outcomes = json_object_get(object, "outcomes");
	struct attempts_sum taken[OUTCOME_COUNT] = {0};
	size_t known = 0;
	if (!json_is_object(outcomes))
		return false;
	for (unsigned i = 0; i < OUTCOME_COUNT; i++) {
		const json_t *one = json_object_get(outcomes, delivery_outcome_name(i));
		known += one != NULL;
		if (one != NULL && !take_outcome(one, &taken[i]))
			return false;
	}
	if (known != json_object_size(outcomes))
		return false;
	for (unsigned i = 0; i < OUTCOME_COUNT; i++)
		attempts_sum_add(&outcome[i], &taken[i]);
	return true;
}
