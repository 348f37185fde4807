/* Lists of slots, first in, first out, for the transport: a slot is in each list at most once and
 * leaves it from anywhere.
 *
 *     place:  0 (none)   1 (the list itself)   2 (slot 0)   3 (slot 1) ...     next and previous name places
 *
 * Memory that is all zero is a list without slots, so what no connection has used is never touched.
 */
#ifndef INGEST_HTTP_SLOT_LIST_H
#define INGEST_HTTP_SLOT_LIST_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define SLOT_NONE UINT32_MAX

struct slot_link {
	uint32_t next, previous; /* 0: not in the list */
};

struct slot_list {
	struct slot_link *link; /* n + 2 */
	uint32_t n_in;
};

/* False when there is no memory. */
static inline bool slot_list_init(struct slot_list *list, uint32_t n)
{
	list->n_in = 0;
	list->link = calloc((size_t)n + 2, sizeof *list->link);
	if (list->link == NULL)
		return false;
	list->link[1] = (struct slot_link){1, 1};
	return true;
}

static inline void slot_list_fini(struct slot_list *list)
{
	free(list->link);
	list->link = NULL;
}

static inline bool slot_list_has(const struct slot_list *list, uint32_t slot)
{
	return list->link[slot + 2].next != 0;
}

/* Appends it, unless it is in the list. */
static inline void slot_list_add(struct slot_list *list, uint32_t slot)
{
	struct slot_link *link = list->link;
	uint32_t place = slot + 2;
	if (link[place].next != 0)
		return;
	link[place] = (struct slot_link){.next = 1, .previous = link[1].previous};
	link[link[1].previous].next = place;
	link[1].previous = place;
	list->n_in++;
}

/* Takes it out, if it is in the list. */
static inline void slot_list_remove(struct slot_list *list, uint32_t slot)
{
	struct slot_link *link = list->link;
	uint32_t place = slot + 2;
	if (link[place].next == 0)
		return;
	link[link[place].previous].next = link[place].next;
	link[link[place].next].previous = link[place].previous;
	link[place] = (struct slot_link){0};
	list->n_in--;
}

/* The first, or SLOT_NONE. */
static inline uint32_t slot_list_first(const struct slot_list *list)
{
	return list->link[1].next == 1 ? SLOT_NONE : list->link[1].next - 2;
}

#endif
