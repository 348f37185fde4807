/* Lists of the most frequent keys: of metrics, of the consumers of tracking events.
 *
 * With S the sum of what each list can have forgotten of a key (f), a key's merged count is the sum
 * of its counts, and f for each list that does not have it:
 *
 *     sum(count) + sum(f of the lists without it) = sum(count - f of the lists with it) + S
 *
 * and its error likewise.
 */
#include <stdlib.h>
#include <string.h>

#include "base/wide.h"
#include "serve/merge.h"
#include "sink/tally/consumers.h"

struct counter {
	struct merge_text key;
	int64_t count, error;
};

struct tops {
	struct counter *counter;
	size_t n, room;
	int64_t total, forgotten;
	json_t *first; /* the first part, whose name or date is everybody's */
};

/* ---- reading ---- */

static bool read_counter(const json_t *item, const char *member, struct counter *counter)
{
	counter->key = merge_text(json_object_get(item, member));
	return counter->key.at != NULL && merge_number(item, "count", &counter->count) &&
	       merge_number(item, "error", &counter->error) && counter->error <= counter->count;
}

/* Returns 1; 0: it is no such list; -1: no memory. */
static int add_part(struct tops *tops, json_t *json, const char *list_name, const char *member)
{
	const json_t *list = json_object_get(json, list_name), *item;
	int64_t total, keys, forgotten, least = INT64_MAX;
	size_t n = json_array_size(list), i;
	if (!json_is_array(list) || !merge_number(json, "total", &total) ||
	    !merge_number(json, "keys", &keys) || !merge_number(json, "forgotten", &forgotten))
		return 0;
	struct counter *counter = merge_room(tops->counter, &tops->room, tops->n, n, sizeof *counter);
	if (counter == NULL)
		return -1;
	tops->counter = counter;
	counter += tops->n;
	json_array_foreach(list, i, item)
	{
		if (!read_counter(item, member, &counter[i]))
			return 0;
		least = counter[i].count < least ? counter[i].count : least;
	}
	/* The rest of a list that was cut is as good as forgotten. */
	if ((uint64_t)keys > n)
		forgotten = least != INT64_MAX ? least : total;
	for (i = 0; i < n; i++) {
		counter[i].count -= forgotten;
		counter[i].error -= forgotten;
	}
	tops->n += n;
	if (tops->first == NULL)
		tops->first = json;
	tops->total += total;
	tops->forgotten += forgotten;
	return 1;
}

/* ---- merging ---- */

static int by_key(const void *a, const void *b)
{
	const struct counter *x = a, *y = b;
	return merge_compare(&x->key, &y->key);
}

static int by_count(const void *a, const void *b)
{
	const struct counter *x = a, *y = b;
	return x->count != y->count ? (x->count < y->count ? 1 : -1) : by_key(x, y);
}

/* Of each key one counter. */
static void unite(struct tops *tops)
{
	struct counter *counter = tops->counter;
	size_t n = 0;
	if (tops->n == 0)
		return;
	qsort(counter, tops->n, sizeof *counter, by_key);
	for (size_t i = 0; i < tops->n; i++) {
		if (n > 0 && by_key(&counter[n - 1], &counter[i]) == 0) {
			counter[n - 1].count += counter[i].count;
			counter[n - 1].error += counter[i].error;
		} else {
			counter[n++] = counter[i];
		}
	}
	for (size_t i = 0; i < n; i++) {
		counter[i].count += tops->forgotten;
		counter[i].error += tops->forgotten;
	}
	tops->n = n;
	qsort(counter, n, sizeof *counter, by_count);
}

static json_t *show_list(const struct tops *tops, const char *member)
{
	json_t *list = json_array();
	for (size_t i = 0; list != NULL && i < tops->n; i++) {
		const struct counter *counter = &tops->counter[i];
		json_t *item = json_pack("{s:o, s:I, s:I}", member,
		                         json_stringn(counter->key.at, counter->key.bytes), "count",
		                         (json_int_t)counter->count, "error", (json_int_t)counter->error);
		if (item == NULL || json_array_append_new(list, item) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *merge_lists(struct merge_part *part, size_t n, const char *title, const char *list_name,
                           const char *member)
{
	struct tops tops = {0};
	json_t *all = NULL;
	int added = 1;
	for (size_t i = 0; added >= 0 && i < n; i++) {
		json_t *json = (json_t *)(uintptr_t)part[i].json;
		if (json == NULL)
			continue;
		added = json_is_string(json_object_get(json, title))
		                ? add_part(&tops, json, list_name, member)
		                : 0;
		part[i].wrong = added == 0;
	}
	if (added >= 0 && tops.first != NULL) {
		unite(&tops);
		all = json_pack("{s:O, s:I, s:I, s:I, s:o}", title, json_object_get(tops.first, title),
		                "total", (json_int_t)tops.total, "keys", (json_int_t)tops.n, "forgotten",
		                (json_int_t)tops.forgotten, list_name, show_list(&tops, member));
	}
	free(tops.counter);
	return all;
}

json_t *merge_distinct(struct merge_part *part, size_t n)
{
	return merge_lists(part, n, "date", "metrics", "_id");
}

/* ---- timing ---- */

static bool read_sum(const json_t *json, const char *name, unsigned __int128 *sum)
{
	const char *text = json_string_value(json_object_get(json, name));
	__int128 number;
	if (text == NULL || !wide_parse(text, &number) || number < 0 || number >> 112 != 0)
		return false;
	*sum = (unsigned __int128)number;
	return true;
}

static json_t *merge_timing(struct merge_part *part, size_t n)
{
	unsigned __int128 klag = 0, counting = 0, klag_sum, counting_sum;
	int64_t events = 0, total;
	bool any = false;
	for (size_t i = 0; i < n; i++) {
		const json_t *json = part[i].json;
		if (json == NULL)
			continue;
		part[i].wrong = !merge_number(json, "total", &total) ||
		                !read_sum(json, "klag_sum_ns", &klag_sum) ||
		                !read_sum(json, "counting_sum_ns", &counting_sum);
		if (part[i].wrong)
			continue;
		any = true;
		events += total;
		klag += klag_sum;
		counting += counting_sum;
	}
	return !any ? NULL
	            : json_pack("{s:s, s:I, s:o, s:o}", "name", "timing", "total", (json_int_t)events,
	                        "klag_ms", consumers_average_ms(klag, (uint64_t)events), "counting_ms",
	                        consumers_average_ms(counting, (uint64_t)events));
}

json_t *merge_consumer(struct merge_part *part, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (part[i].json != NULL && json_object_get(part[i].json, "klag_sum_ns") != NULL)
			return merge_timing(part, n);
	return merge_lists(part, n, "name", "list", "key");
}

/* ---- the summary ---- */

static json_t *find(json_t *all, const char *name)
{
	size_t i;
	json_t *item;
	json_array_foreach(all, i, item) if (strcmp(json_string_value(json_object_get(item, "name")), name) ==
	                                     0) return item;
	return NULL;
}

static bool is_summary(const json_t *list)
{
	size_t i;
	const json_t *item;
	int64_t number;
	if (!json_is_array(list))
		return false;
	json_array_foreach(list, i, item)
	{
		if (!json_is_string(json_object_get(item, "name")) || !merge_number(item, "total", &number))
			return false;
		if (json_object_get(item, "keys") != NULL &&
		    (!merge_number(item, "keys", &number) || !merge_number(item, "forgotten", &number)))
			return false;
	}
	return true;
}

/* Keys cannot be united without their lists: they are at least as many as one box has, and at most
 * as many as all have together. */
static bool add_summary(json_t *all, const json_t *item)
{
	int64_t total = 0, keys = 0, forgotten = 0, sum = 0, most = 0, at_most = 0, lost = 0;
	json_t *to = find(all, json_string_value(json_object_get(item, "name")));
	bool has_keys = merge_number(item, "keys", &keys) && merge_number(item, "forgotten", &forgotten);
	(void)merge_number(item, "total", &total);
	if (to == NULL) {
		to = json_pack("{s:O}", "name", json_object_get(item, "name"));
		if (to == NULL || json_array_append_new(all, to) != 0)
			return false;
	}
	sum = json_integer_value(json_object_get(to, "total"));
	most = json_integer_value(json_object_get(to, "keys"));
	at_most = json_integer_value(json_object_get(to, "keys_at_most"));
	lost = json_integer_value(json_object_get(to, "forgotten"));
	if (json_object_set_new(to, "total", json_integer(sum + total)) != 0)
		return false;
	return !has_keys || (json_object_set_new(to, "keys", json_integer(keys > most ? keys : most)) == 0 &&
	                     json_object_set_new(to, "keys_at_most", json_integer(at_most + keys)) == 0 &&
	                     json_object_set_new(to, "forgotten", json_integer(lost + forgotten)) == 0);
}

json_t *merge_consumers(struct merge_part *part, size_t n)
{
	json_t *all = json_array();
	bool good = all != NULL, any = false;
	for (size_t i = 0; good && i < n; i++) {
		size_t k;
		const json_t *item;
		if (part[i].json == NULL)
			continue;
		part[i].wrong = !is_summary(part[i].json);
		if (part[i].wrong)
			continue;
		any = true;
		json_array_foreach(part[i].json, k, item) good = good && add_summary(all, item);
	}
	if (good && any)
		return all;
	json_decref(all);
	return NULL;
}
