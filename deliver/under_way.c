#include "deliver/under_way.h"

#include "deliver/sender_limits.h"

static struct sender_request *request_of(struct link *link)
{
	return link != NULL ? LIST_OF(struct sender_request, link, link) : NULL;
}

void under_way_open(struct under_way *all)
{
	list_init(&all->busy);
	list_init(&all->ended);
	all->n_busy = 0;
	all->due_ns = SENDER_NEVER;
}

void under_way_begin(struct under_way *all, struct sender_request *request, void *own, uint64_t now_ns)
{
	request->own = own;
	request->begun_ns = now_ns;
	request->due_ns = SENDER_NEVER;
	list_push(&all->busy, &request->link);
	all->n_busy++;
}

void under_way_due(struct under_way *all, struct sender_request *request, uint64_t timeout_ns,
                   uint64_t now_ns)
{
	uint64_t end_ns = request->begun_ns + request->timeout_ns;
	request->due_ns = now_ns + timeout_ns;
	if (request->due_ns > end_ns)
		request->due_ns = end_ns;
	if (request->due_ns < all->due_ns)
		all->due_ns = request->due_ns;
}

void under_way_leave(struct under_way *all, struct sender_request *request)
{
	list_remove(&request->link);
	if (request->own == NULL)
		return;
	request->own = NULL;
	if (--all->n_busy == 0)
		all->due_ns = SENDER_NEVER;
}

void under_way_ended(struct under_way *all, struct sender_request *request)
{
	list_push(&all->ended, &request->link);
}

bool under_way_any_ended(const struct under_way *all)
{
	return list_first(&all->ended) != NULL;
}

struct sender_request *under_way_next(struct under_way *all)
{
	struct sender_request *request = request_of(list_first(&all->ended));
	if (request != NULL)
		under_way_leave(all, request);
	return request;
}

void under_way_close(struct under_way *all)
{
	while (under_way_next(all) != NULL) {
	}
}

struct sender_request *under_way_busy(const struct under_way *all)
{
	return request_of(list_first(&all->busy));
}

void under_way_late(struct under_way *all, uint64_t now_ns, void (*late)(struct sender_request *request))
{
	uint64_t due_ns = SENDER_NEVER;
	if (all->due_ns > now_ns)
		return;
	all->due_ns = SENDER_NEVER;
	for (struct link *link = list_first(&all->busy), *after; link != NULL; link = after) {
		struct sender_request *request = request_of(link);
		after = list_after(&all->busy, link);
		if (request->due_ns <= now_ns)
			late(request);
		else if (request->due_ns < due_ns)
			due_ns = request->due_ns;
	}
	if (due_ns < all->due_ns)
		all->due_ns = due_ns;
}

uint64_t under_way_timeout(const struct under_way *all, uint64_t timeout_ns, uint64_t now_ns)
{
	uint64_t left_ns = all->due_ns <= now_ns ? 0 : all->due_ns - now_ns;
	if (under_way_any_ended(all))
		return 0;
	return all->due_ns != SENDER_NEVER && left_ns < timeout_ns ? left_ns : timeout_ns;
}
