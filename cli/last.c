#include "cli/last.h"

#include <errno.h>
#include <stdlib.h>

#include "event/event.h"

struct found {
	uint64_t arrival_ns;
	uint64_t back; /* records between it and the end of its lane */
	uint64_t position;
	unsigned lane;
};

struct list {
	struct found *item;
	size_t n, room;
};

static bool append(struct list *list, const struct found *found)
{
	if (list->n == list->room) {
		size_t room = list->room == 0 ? 4096 : 2 * list->room;
		struct found *item = reallocarray(list->item, room, sizeof *item);
		if (item == NULL)
			return false;
		list->item = item;
		list->room = room;
	}
	list->item[list->n++] = *found;
	return true;
}

/* Newest first. Records without a time (outside programs') count by their distance from the end of
 * their lane. */
static int newest_first(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	if (x->arrival_ns != y->arrival_ns)
		return x->arrival_ns < y->arrival_ns ? 1 : -1;
	return (x->back > y->back) - (x->back < y->back);
}

/* Lists the last n records of one lane, through a reader of its own that nobody sees. */
static int scan(const struct topic_reader *reader, unsigned lane, uint64_t n, struct list *list,
                struct shm_error *error)
{
	const struct instance *instance = reader->instance;
	char name[SEGMENT_NAME_MAX];
	struct stream_cursor cursor = {0};
	struct stream_reader own;
	instance_lane_name(name, instance->page->topic[reader->topic].name, lane);
	int result =
	        stream_reader_attach(&own, instance->directory, name, &cursor, true, STREAM_FROM_TAIL, error);
	if (result != 0)
		return result;
	uint64_t end = own.position;
	size_t first = list->n;
	(void)stream_reader_rewind(&own, n);
	struct record_batch batch;
	while (result == 0 && own.position < end && stream_peek(&own, &batch)) {
		uint64_t records = 0, position = batch.position;
		const struct record *record;
		while (result == 0 && position < end && (record = record_next(&batch)) != NULL) {
			struct found found = {.position = position, .lane = lane};
			if (record->type < EVENT_OUTSIDE && event_check(record))
				found.arrival_ns = ((const struct event_head *)(const void *)record->payload)
				                           ->arrival_ns;
			if (!append(list, &found))
				result = -ENOMEM;
			position = batch.position;
			records++;
		}
		stream_pass(&own, &batch, records);
	}
	stream_reader_detach(&own);
	for (size_t i = first; i < list->n; i++)
		list->item[i].back = list->n - i;
	return result;
}

int last_records(struct topic_reader *reader, uint64_t n, uint64_t start[STREAM_LANES_MAX],
                 struct shm_error *error)
{
	struct list list = {0};
	int result = 0;
	for (unsigned lane = 0; lane < reader->n_lanes; lane++) {
		(void)stream_reader_rewind(&reader->lane[lane], n);
		start[lane] = 0;
	}
	if (reader->n_lanes == 1)
		return 0;
	for (unsigned lane = 0; result == 0 && lane < reader->n_lanes; lane++)
		result = scan(reader, lane, n, &list, error);
	if (result == 0 && list.n > n) {
		/* Of each lane the kept records are its newest, so the oldest kept one is where it
		 * starts. */
		qsort(list.item, list.n, sizeof *list.item, newest_first);
		bool kept[STREAM_LANES_MAX] = {false};
		for (size_t i = 0; i < list.n; i++) {
			const struct found *found = &list.item[i];
			if (i < n && (!kept[found->lane] || found->position < start[found->lane])) {
				start[found->lane] = found->position;
				kept[found->lane] = true;
			} else if (!kept[found->lane] && found->position >= start[found->lane]) {
				start[found->lane] = found->position + 1; /* past all that was there */
			}
		}
	}
	free(list.item);
	return result;
}
