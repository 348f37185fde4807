/* Attempts to deliver: sums and histograms of each endpoint and step, added up. */
#include <stdlib.h>

#include "serve/merge.h"
#include "sink/tally/attempts_sum.h"

struct item {
	int64_t ts;
	struct merge_text endpoint; /* none: those that are together as "other", which come first */
	const json_t *json;
};

struct items {
	struct item *item;
	size_t n, room;
	struct attempts_sum all[OUTCOME_COUNT];
	const json_t *first; /* whose span is everybody's */
};

/* ---- reading ---- */

static bool read_item(const json_t *json, bool steps, struct item *item)
{
	struct attempts_sum sums[OUTCOME_COUNT] = {0};
	const json_t *endpoint = json_object_get(json, "endpoint");
	*item = (struct item){.endpoint = merge_text(endpoint), .json = json};
	return (json_is_string(endpoint) || json_is_null(endpoint)) &&
	       (!steps || merge_number(json, "ts", &item->ts)) && attempts_sums_take(json, sums);
}

static bool same_span(const json_t *a, const json_t *b)
{
	static const char *const name[] = {"from_ts", "to_ts", "step_s"};
	int64_t x, y;
	for (size_t i = 0; i < sizeof name / sizeof *name; i++)
		if (!merge_number(a, name[i], &x) || !merge_number(b, name[i], &y) || x != y)
			return false;
	return true;
}

/* Returns 1; 0: it is no such report; -1: no memory. */
static int add_part(struct items *items, const json_t *json)
{
	const json_t *list = json_object_get(json, "items"), *one;
	size_t n = json_array_size(list), i;
	bool steps = json_integer_value(json_object_get(json, "step_s")) != 0;
	if (!same_span(json, items->first != NULL ? items->first : json) || !json_is_array(list))
		return 0;
	struct item *item = merge_room(items->item, &items->room, items->n, n, sizeof *item);
	if (item == NULL)
		return -1;
	items->item = item;
	json_array_foreach(list, i, one) if (!read_item(one, steps, &item[items->n + i])) return 0;
	if (!attempts_sums_take(json_object_get(json, "all"), items->all))
		return 0;
	items->n += n;
	if (items->first == NULL)
		items->first = json;
	return 1;
}

/* ---- merging ---- */

static int by_place(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	if (x->ts != y->ts)
		return x->ts < y->ts ? -1 : 1;
	if (x->endpoint.at == NULL || y->endpoint.at == NULL)
		return (x->endpoint.at != NULL) - (y->endpoint.at != NULL);
	return merge_compare(&x->endpoint, &y->endpoint);
}

/* One item of the n that are of the same place. */
static json_t *show_item(const struct item *item, size_t n, bool steps)
{
	struct attempts_sum sums[OUTCOME_COUNT] = {0};
	json_t *json = json_object();
	for (size_t i = 0; i < n; i++)
		(void)attempts_sums_take(item[i].json, sums); /* it was read before */
	bool good = json != NULL &&
	            (!steps || json_object_set_new(json, "ts", json_integer(item->ts)) == 0) &&
	            json_object_set(json, "endpoint", json_object_get(item->json, "endpoint")) == 0 &&
	            (item->endpoint.at != NULL || json_object_set_new(json, "other", json_true()) == 0) &&
	            attempts_sums_put(json, sums, false) == 0;
	if (good)
		return json;
	json_decref(json);
	return NULL;
}

static json_t *show_items(struct items *items)
{
	json_t *list = json_array();
	bool steps = json_integer_value(json_object_get(items->first, "step_s")) != 0;
	if (items->n > 0)
		qsort(items->item, items->n, sizeof *items->item, by_place);
	for (size_t i = 0, n; list != NULL && i < items->n; i += n) {
		const struct item *item = &items->item[i];
		for (n = 1; i + n < items->n && by_place(item, &item[n]) == 0;)
			n++;
		if (json_array_append_new(list, show_item(item, n, steps)) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *show(struct items *items)
{
	json_t *list = show_items(items), *all = json_object(), *report = NULL;
	if (list != NULL && all != NULL && attempts_sums_put(all, items->all, false) == 0)
		report = json_pack("{s:O, s:O, s:O, s:O, s:O, s:I}", "from_ts",
		                   json_object_get(items->first, "from_ts"), "to_ts",
		                   json_object_get(items->first, "to_ts"), "step_s",
		                   json_object_get(items->first, "step_s"), "all", all, "items", list,
		                   "total", (json_int_t)json_array_size(list));
	json_decref(list);
	json_decref(all);
	return report;
}

json_t *merge_attempts(struct merge_part *part, size_t n)
{
	struct items items = {0};
	json_t *report = NULL;
	int added = 1;
	for (size_t i = 0; added >= 0 && i < n; i++) {
		int64_t total = 0;
		if (part[i].json == NULL)
			continue;
		added = add_part(&items, part[i].json);
		part[i].wrong = added == 0;
		part[i].cut = added > 0 && merge_number(part[i].json, "total", &total) &&
		              (uint64_t)total > json_array_size(json_object_get(part[i].json, "items"));
	}
	if (added >= 0 && items.first != NULL)
		report = show(&items);
	free(items.item);
	return report;
}
