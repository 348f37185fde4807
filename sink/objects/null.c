/* The store that keeps nothing: every request succeeds at once. For benchmarks, and for
 * NO_UPLOAD=1. */
#include "sink/objects/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "sink/objects/asked.h"

#define REQUESTS 64u

struct store {
	struct store_request *first, **last;
	unsigned n;
};

static int open_store(struct store **store, const struct config *config, const char *section,
                      struct shm_error *error)
{
	(void)config;
	(void)section;
	*store = calloc(1, sizeof **store);
	if (*store == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	(*store)->last = &(*store)->first;
	return 0;
}

static void close_store(struct store *store)
{
	free(store);
}

static const struct store_traits *traits(const struct store *store)
{
	static const struct store_traits all = {
	        .name = "null",
	        .part_min = 1,
	        .part_max = UINT64_MAX,
	        .parts_max = JOURNAL_PARTS_MAX,
	        .object_max = UINT64_MAX,
	        .name_max = JOURNAL_KEY_MAX,
	        .requests = REQUESTS,
	};
	(void)store;
	return &all;
}

static bool start(struct store *store, struct store_request *request)
{
	if (store->n == REQUESTS)
		return false;
	request->result = request->action == STORE_FIND ? -ENOENT : 0;
	request->reason[0] = '\0';
	request->wait_ns = 0;
	snprintf(request->etag, sizeof request->etag, "null");
	snprintf(request->upload_made, sizeof request->upload_made, "null");
	request->found = NULL;
	request->n_found = 0;
	request->next = NULL;
	*store->last = request;
	store->last = &request->next;
	store->n++;
	return true;
}

static struct store_request *next(struct store *store, uint64_t now_ns)
{
	struct store_request *request = store->first;
	(void)now_ns;
	if (request == NULL)
		return NULL;
	store->first = request->next;
	if (store->first == NULL)
		store->last = &store->first;
	store->n--;
	return request;
}

static unsigned wait_for(struct store *store, struct store_wait *wait, unsigned n, uint64_t *timeout_ns)
{
	(void)wait;
	(void)n;
	if (store->first != NULL)
		*timeout_ns = 0;
	return 0;
}

static uint64_t memory_max(const struct config *config, const char *section)
{
	(void)config;
	(void)section;
	return sizeof(struct store);
}

const struct store_ops store_null = {
        .kind = "null",
        .meant = asked_null,
        .open = open_store,
        .close = close_store,
        .traits = traits,
        .start = start,
        .next = next,
        .wait = wait_for,
        .memory_max = memory_max,
};
