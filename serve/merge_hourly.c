/* Statistics of the last hour: averages from sums. Ordered by user, then metric; what is together
 * as "other" comes last. */
#include <stdlib.h>

#include "base/wide.h"
#include "serve/merge.h"
#include "sink/tally/hourly.h"

struct row {
	const json_t *id;
	struct merge_text user, metric; /* no metric: "other" */
	int64_t least, greatest, count;
	__int128 sum;
};

struct rows {
	struct row *row;
	size_t n, room;
};

/* ---- reading ---- */

/* "metric", {"other": true}, {"username": ..., "metric": ...}, {"username": ..., "other": true} */
static bool read_id(struct row *row)
{
	const json_t *user = json_object_get(row->id, "username"),
	             *metric = json_is_string(row->id) ? row->id : json_object_get(row->id, "metric");
	row->user = merge_text(user);
	row->metric = merge_text(metric);
	return (user == NULL || json_is_string(user)) &&
	       (metric == NULL ? json_is_true(json_object_get(row->id, "other")) : json_is_string(metric));
}

static bool read_row(const json_t *item, struct row *row)
{
	const json_t *least = json_object_get(item, "minimum"), *greatest = json_object_get(item, "maximum");
	const char *sum = json_string_value(json_object_get(item, "sum"));
	row->id = json_object_get(item, "_id");
	row->least = json_integer_value(least);
	row->greatest = json_integer_value(greatest);
	return row->id != NULL && read_id(row) && json_is_integer(least) && json_is_integer(greatest) &&
	       row->least <= row->greatest && merge_number(item, "count", &row->count) && row->count > 0 &&
	       sum != NULL && wide_parse(sum, &row->sum) && row->sum >= (__int128)row->least * row->count &&
	       row->sum <= (__int128)row->greatest * row->count;
}

/* Returns 1; 0: it is no such list; -1: no memory. */
static int add_part(struct rows *rows, const json_t *list)
{
	size_t n = json_array_size(list), i;
	const json_t *item;
	if (!json_is_array(list))
		return 0;
	struct row *row = merge_room(rows->row, &rows->room, rows->n, n, sizeof *row);
	if (row == NULL)
		return -1;
	rows->row = row;
	json_array_foreach(list, i, item) if (!read_row(item, &row[rows->n + i])) return 0;
	rows->n += n;
	return 1;
}

/* ---- merging ---- */

/* without: of a text that is none to one that is. */
static int compare(const struct merge_text *x, const struct merge_text *y, int without)
{
	if (x->at == NULL || y->at == NULL)
		return x->at == y->at ? 0 : x->at == NULL ? without : -without;
	return merge_compare(x, y);
}

static int by_id(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int order = compare(&x->user, &y->user, -1);
	return order != 0 ? order : compare(&x->metric, &y->metric, 1);
}

static void unite(struct rows *rows)
{
	struct row *row = rows->row;
	size_t n = 0;
	if (rows->n == 0)
		return;
	qsort(row, rows->n, sizeof *row, by_id);
	for (size_t i = 0; i < rows->n; i++) {
		struct row *to = &row[n - (n > 0)];
		if (n == 0 || by_id(to, &row[i]) != 0) {
			row[n++] = row[i];
			continue;
		}
		to->count += row[i].count;
		to->sum += row[i].sum;
		to->least = row[i].least < to->least ? row[i].least : to->least;
		to->greatest = row[i].greatest > to->greatest ? row[i].greatest : to->greatest;
	}
	rows->n = n;
}

static json_t *show(const struct rows *rows)
{
	json_t *list = json_array();
	for (size_t i = 0; list != NULL && i < rows->n; i++) {
		const struct row *row = &rows->row[i];
		json_t *item = json_pack("{s:O, s:I, s:I, s:f, s:I}", "_id", row->id, "minimum",
		                         (json_int_t)row->least, "maximum", (json_int_t)row->greatest,
		                         "average", hourly_average(row->sum, (uint64_t)row->count), "count",
		                         (json_int_t)row->count);
		if (item == NULL || json_array_append_new(list, item) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

json_t *merge_hourly(struct merge_part *part, size_t n)
{
	struct rows rows = {NULL, 0, 0};
	json_t *all = NULL;
	bool any = false;
	int added = 1;
	for (size_t i = 0; added >= 0 && i < n; i++) {
		if (part[i].json == NULL)
			continue;
		added = add_part(&rows, part[i].json);
		part[i].wrong = added == 0;
		part[i].cut = added > 0 && json_array_size(part[i].json) >= MERGE_LIMIT;
		any |= added > 0;
	}
	if (added >= 0 && any) {
		unite(&rows);
		all = show(&rows);
	}
	free(rows.row);
	return all;
}
