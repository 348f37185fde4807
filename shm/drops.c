#include "shm/drops.h"

#include <stdbool.h>

static struct drops_entry *find(struct drops_page *page, uint64_t cookie)
{
	for (unsigned i = 0; i < DROPS_SOCKETS_MAX; i++)
		if (atomic_load_explicit(&page->socket[i].cookie, memory_order_acquire) == cookie)
			return &page->socket[i];
	return NULL;
}

struct drops_entry *drops_find(struct drops_page *page, uint64_t cookie)
{
	struct drops_entry *entry = find(page, cookie);
	while (entry == NULL) {
		uint64_t none = 0;
		struct drops_entry *vacant = find(page, 0);
		if (vacant == NULL)
			return NULL;
		if (atomic_compare_exchange_strong(&vacant->cookie, &none, cookie))
			entry = vacant;
	}
	return entry;
}

static bool is_kept(const struct drops_entry *entry, const uint64_t *cookie, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (atomic_load_explicit(&entry->cookie, memory_order_relaxed) == cookie[i])
			return true;
	return false;
}

void drops_keep(struct drops_page *page, const uint64_t *cookie, size_t n)
{
	for (unsigned i = 0; i < DROPS_SOCKETS_MAX; i++) {
		struct drops_entry *entry = &page->socket[i];
		if (is_kept(entry, cookie, n))
			continue;
		atomic_store_explicit(&entry->counted, 0, memory_order_relaxed);
		atomic_store_explicit(&entry->cookie, 0,
		                      memory_order_release); /* the next to take it finds 0 counted */
	}
}
