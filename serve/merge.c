/* What all have; and what is merged without lists: accounts, and what is put together. */
#include "serve/merge.h"

#include <stdlib.h>
#include <string.h>

#define ROOM_LEAST 256u /* entries */

bool merge_number(const json_t *object, const char *name, int64_t *number)
{
	const json_t *value = json_object_get(object, name);
	*number = json_integer_value(value);
	return json_is_integer(value) && *number >= 0 && *number <= MERGE_COUNT_MAX;
}

int merge_compare(const struct merge_text *x, const struct merge_text *y)
{
	int order = memcmp(x->at, y->at, x->bytes < y->bytes ? x->bytes : y->bytes);
	return order != 0 ? order : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

void *merge_room(void *list, size_t *room, size_t n, size_t more, size_t size)
{
	size_t larger = *room != 0 ? *room : ROOM_LEAST;
	while (larger - n < more)
		larger *= 2;
	if (larger == *room)
		return list;
	void *grown = reallocarray(list, larger, size);
	if (grown != NULL)
		*room = larger;
	return grown;
}

/* ---- accounts ---- */

json_t *merge_account(struct merge_part *part, size_t n)
{
	const json_t *first = NULL;
	int64_t first_ms = INT64_MAX, ms;
	for (size_t i = 0; i < n; i++) {
		const json_t *json = part[i].json;
		if (json == NULL)
			continue;
		part[i].wrong = !merge_number(json, "first_seen_ms", &ms) ||
		                !json_is_string(json_object_get(json, "first_seen")) ||
		                !json_is_string(json_object_get(json, "username"));
		if (part[i].wrong || ms >= first_ms)
			continue;
		first_ms = ms;
		first = json;
	}
	return first == NULL ? NULL
	                     : json_pack("{s:O, s:O, s:I}", "username", json_object_get(first, "username"),
	                                 "first_seen", json_object_get(first, "first_seen"), "first_seen_ms",
	                                 (json_int_t)first_ms);
}

/* ---- what is put together ---- */

/* The items of the list, each with the peer it is of. */
static bool put_together(json_t *to, const char *name, const struct merge_part *part)
{
	json_t *list = json_object_get(to, name);
	size_t i;
	json_t *item;
	if (list == NULL && json_object_set_new(to, name, list = json_array()) != 0)
		return false;
	json_array_foreach(json_object_get(part->json, name), i, item)
	{
		json_t *copy = json_copy(item);
		bool good = copy != NULL &&
		            json_object_set_new(copy, "peer",
		                                part->peer == NULL ? json_null() : json_string(part->peer)) ==
		                    0 &&
		            json_array_append(list, copy) == 0;
		json_decref(copy);
		if (!good)
			return false;
	}
	return true;
}

/* Whether the object has lists of objects of all these names. */
static bool has_lists(const json_t *object, const char *const *name, size_t n)
{
	size_t at;
	const json_t *item;
	for (size_t i = 0; i < n; i++) {
		const json_t *list = json_object_get(object, name[i]);
		if (!json_is_array(list))
			return false;
		json_array_foreach(list, at, item) if (!json_is_object(item)) return false;
	}
	return true;
}

json_t *merge_sinks(struct merge_part *part, size_t n)
{
	static const char *const lists[] = {"sinks"};
	json_t *all = json_object();
	bool good = all != NULL, any = false;
	for (size_t i = 0; good && i < n; i++) {
		if (part[i].json == NULL)
			continue;
		json_t *instance = json_object_get(part[i].json, "instance");
		part[i].wrong = !json_is_string(instance) || !has_lists(part[i].json, lists, 1);
		if (part[i].wrong)
			continue;
		good = (any || json_object_set(all, "instance", instance) == 0) &&
		       put_together(all, "sinks", &part[i]);
		any = true;
	}
	if (good && any)
		return all;
	json_decref(all);
	return NULL;
}

/* ---- stat ---- */

/* What is of a box as a whole. */
static const char *const whole[] = {"instance", "generation", "created_ms", "draining", "supervisor"};
#define WHOLE (sizeof whole / sizeof *whole)

static const char *const lists[] = {"stages", "topics", "queues", "ledger"};
#define LISTS       (sizeof lists / sizeof *lists)
#define LIST_LEDGER 3u /* which is summed */

static bool is_stat(const json_t *json)
{
	for (size_t i = 0; i < WHOLE; i++)
		if (json_object_get(json, whole[i]) == NULL)
			return false;
	return has_lists(json, lists, LISTS);
}

static bool copy_whole(json_t *to, const json_t *from)
{
	for (size_t i = 0; i < WHOLE; i++)
		if (json_object_set(to, whole[i], json_object_get(from, whole[i])) != 0)
			return false;
	return true;
}

static bool add_box(json_t *boxes, const struct merge_part *part)
{
	json_t *box = json_pack("{s:s?}", "peer", part->peer);
	bool good = box != NULL && copy_whole(box, part->json) && json_array_append(boxes, box) == 0;
	json_decref(box);
	return good;
}

static json_int_t sum_up(json_int_t a, json_int_t b)
{
	json_int_t sum;
	return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

/* Adds the numbers of a line of the ledger; what is balanced is so when all are. */
static bool add_line(json_t *to, const json_t *from)
{
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)(uintptr_t)from, name, value)
	{
		json_t *sum = json_object_get(to, name), *now = NULL;
		if (sum == NULL)
			now = json_deep_copy(value);
		else if (json_is_integer(sum) && json_is_integer(value))
			now = json_integer(sum_up(json_integer_value(sum), json_integer_value(value)));
		else if (json_is_boolean(sum) && json_is_boolean(value))
			now = json_boolean(json_is_true(sum) && json_is_true(value));
		else if (!json_is_object(sum) || !json_is_object(value))
			continue; /* the topic's name */
		else if (add_line(sum, value))
			continue;
		if (now == NULL || json_object_set_new(to, name, now) != 0)
			return false;
	}
	return true;
}

static bool add_ledger(json_t *ledger, const json_t *lines)
{
	size_t i, k;
	const json_t *line;
	json_t *sum;
	json_array_foreach(lines, i, line)
	{
		const char *topic = json_string_value(json_object_get(line, "topic"));
		bool found = false;
		json_array_foreach(ledger, k, sum)
		{
			const char *name = json_string_value(json_object_get(sum, "topic"));
			found = topic != NULL && name != NULL && strcmp(topic, name) == 0;
			if (found)
				break;
		}
		if (found ? !add_line(sum, line) : json_array_append_new(ledger, json_deep_copy(line)) != 0)
			return false;
	}
	return true;
}

json_t *merge_stat(struct merge_part *part, size_t n)
{
	json_t *all = json_object(), *boxes = json_array(), *ledger = json_array();
	bool good = all != NULL && boxes != NULL && ledger != NULL, any = false;
	for (size_t i = 0; good && i < n; i++) {
		if (part[i].json == NULL)
			continue;
		part[i].wrong = !is_stat(part[i].json);
		if (part[i].wrong)
			continue;
		good = (any || copy_whole(all, part[i].json)) && add_box(boxes, &part[i]) &&
		       add_ledger(ledger, json_object_get(part[i].json, lists[LIST_LEDGER]));
		for (size_t k = 0; good && k < LIST_LEDGER; k++)
			good = put_together(all, lists[k], &part[i]);
		any = true;
	}
	if (good)
		good = json_object_set(all, "ledger", ledger) == 0 &&
		       json_object_set(all, "boxes", boxes) == 0;
	json_decref(boxes);
	json_decref(ledger);
	if (good && any)
		return all;
	json_decref(all);
	return NULL;
}
