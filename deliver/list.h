/* A doubly linked list of things that have the link within them: in and out in one step, without
 * memory of its own.
 *
 *     struct list list;  list_init(&list);
 *     list_push(&list, &host->turn);  struct host *host = LIST_OF(struct host, turn, list_first(&list));
 *
 * A link that is all zero is in no list.
 */
#ifndef DELIVER_LIST_H
#define DELIVER_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct link {
	struct link *next, *previous;
};

struct list {
	struct link head; /* a ring, of which this is one */
};

#define LIST_OF(type, member, link) ((type *)(void *)((char *)(link)-offsetof(type, member)))

static inline void list_init(struct list *list)
{
	list->head.next = list->head.previous = &list->head;
}

static inline bool list_has(const struct link *link)
{
	return link->next != NULL;
}

/* The first one, or NULL. */
static inline struct link *list_first(const struct list *list)
{
	return list->head.next == &list->head ? NULL : list->head.next;
}

/* The one after it, or NULL. */
static inline struct link *list_after(const struct list *list, const struct link *link)
{
	return link->next == &list->head ? NULL : link->next;
}

/* The last one, or NULL. */
static inline struct link *list_last(const struct list *list)
{
	return list->head.previous == &list->head ? NULL : list->head.previous;
}

/* The one before it, or NULL. */
static inline struct link *list_before(const struct list *list, const struct link *link)
{
	return link->previous == &list->head ? NULL : link->previous;
}

/* At the end. The link is in no list. */
static inline void list_push(struct list *list, struct link *link)
{
	link->next = &list->head;
	link->previous = list->head.previous;
	link->previous->next = link;
	list->head.previous = link;
}

/* Out of its list; nothing when it is in none. */
static inline void list_remove(struct link *link)
{
	if (link->next == NULL)
		return;
	link->next->previous = link->previous;
	link->previous->next = link->next;
	link->next = link->previous = NULL;
}

#endif
