#include "ingest/http/pool.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* What lies at the beginning of a block that is not out. */
struct pool_free {
	struct pool_free *next, *previous; /* previous: of merged ones only */
};

/* pool->page[]: 0 where no block begins. The state of a page inside a block stays 0, so an address
 * there is no block's. */
#define PAGE_ORDER 0x1fu
#define PAGE_USED  0x20u
#define PAGE_READY 0x40u
#define PAGE_FREE  0x80u

static size_t block_bytes(unsigned order)
{
	return (size_t)POOL_BLOCK_MIN << order;
}

static uint32_t page_of(const struct pool *pool, const void *block)
{
	return (uint32_t)((size_t)((const char *)block - pool->region) / POOL_STRIDE);
}

static struct pool_free *block_at(const struct pool *pool, uint32_t page)
{
	return (void *)(pool->region + (size_t)page * POOL_STRIDE);
}

/* ---- merged blocks ---- */

MEMORY_TOUCHES_POISON static void link_free(struct pool *pool, uint32_t page, unsigned order)
{
	struct pool_free *block = block_at(pool, page);
	block->previous = NULL;
	block->next = pool->free[order];
	if (block->next != NULL)
		block->next->previous = block;
	pool->free[order] = block;
	pool->page[page] = (uint8_t)(PAGE_FREE | order);
}

MEMORY_TOUCHES_POISON static void unlink_free(struct pool *pool, uint32_t page, unsigned order)
{
	const struct pool_free *block = block_at(pool, page);
	if (block->previous != NULL)
		block->previous->next = block->next;
	else
		pool->free[order] = block->next;
	if (block->next != NULL)
		block->next->previous = block->previous;
	pool->page[page] = 0;
}

/* A buddy that reaches over the end of the region does not exist, and its page never says that it
 * is free. */
static void merge(struct pool *pool, uint32_t page, unsigned order)
{
	pool->page[page] = 0;
	for (; order + 1 < POOL_ORDERS; order++) {
		uint32_t buddy = page ^ (1u << order);
		if (buddy >= pool->n_pages || pool->page[buddy] != (PAGE_FREE | order))
			break;
		unlink_free(pool, buddy, order);
		page &= ~(1u << order);
	}
	link_free(pool, page, order);
}

static void *split(struct pool *pool, unsigned wanted)
{
	unsigned order = wanted;
	while (order < POOL_ORDERS && pool->free[order] == NULL)
		order++;
	if (order == POOL_ORDERS)
		return NULL;
	uint32_t page = page_of(pool, pool->free[order]);
	unlink_free(pool, page, order);
	while (order > wanted) {
		order--;
		link_free(pool, page + (1u << order), order);
	}
	return block_at(pool, page);
}

/* ---- blocks kept ready ---- */

MEMORY_TOUCHES_POISON static void *pop_ready(struct pool *pool, unsigned order)
{
	struct pool_free *block = pool->ready[order];
	if (block != NULL) {
		pool->ready[order] = block->next;
		pool->n_ready[order]--;
	}
	return block;
}

MEMORY_TOUCHES_POISON static bool push_ready(struct pool *pool, struct pool_free *block, unsigned order)
{
	if (order >= POOL_READY_ORDERS || pool->n_ready[order] == POOL_READY)
		return false;
	block->next = pool->ready[order];
	pool->ready[order] = block;
	pool->n_ready[order]++;
	pool->page[page_of(pool, block)] = (uint8_t)(PAGE_READY | order);
	return true;
}

static void merge_ready(struct pool *pool)
{
	for (unsigned order = 0; order < POOL_READY_ORDERS; order++) {
		const void *block;
		while ((block = pop_ready(pool, order)) != NULL)
			merge(pool, page_of(pool, block), order);
	}
}

/* ---- out and back ---- */

static unsigned order_of(size_t bytes)
{
	unsigned order = 0;
	while (order < POOL_ORDERS && block_bytes(order) < bytes)
		order++;
	return order;
}

/* A block is poisoned as far as `usable` does not reach; usable 0: it is not out any more. */
static void lend(const void *block, size_t usable, unsigned order)
{
	memory_unpoison(block, usable);
	memory_poison((const char *)block + usable,
	              block_bytes(order) / POOL_BLOCK_MIN * POOL_STRIDE - usable);
}

void *pool_take(struct pool *pool, size_t bytes, size_t *size)
{
	unsigned order = order_of(bytes);
	if (order == POOL_ORDERS)
		return NULL;
	void *block = order < POOL_READY_ORDERS ? pop_ready(pool, order) : NULL;
	if (block == NULL)
		block = split(pool, order);
	if (block == NULL) {
		merge_ready(pool);
		block = split(pool, order);
	}
	if (block == NULL)
		return NULL;
	pool->page[page_of(pool, block)] = (uint8_t)(PAGE_USED | order);
	pool->used_bytes += block_bytes(order);
	if (size != NULL)
		*size = block_bytes(order);
	lend(block, size != NULL ? *size : bytes, order);
	return block;
}

void pool_give(struct pool *pool, void *block)
{
	size_t at = (size_t)((char *)block - pool->region);
	if (at >= (size_t)pool->n_pages * POOL_STRIDE || at % POOL_STRIDE != 0)
		abort();
	uint32_t page = page_of(pool, block);
	if ((pool->page[page] & PAGE_USED) == 0)
		abort();
	unsigned order = pool->page[page] & PAGE_ORDER;
	pool->used_bytes -= block_bytes(order);
	lend(block, 0, order);
	if (push_ready(pool, block, order))
		return;
	if (block_bytes(order) >= POOL_RETURN_BYTES)
		(void)madvise(block, block_bytes(order),
		              MADV_DONTNEED); /* if not, they stay in use: no harm */
	merge(pool, page, order);
}

/* ---- whole ---- */

int pool_init(struct pool *pool, size_t bytes)
{
	memset(pool, 0, sizeof *pool);
	if (bytes == 0 || bytes % POOL_BLOCK_MIN != 0 || bytes / POOL_BLOCK_MIN > 1u << 31)
		return -EINVAL;
	pool->n_pages = (uint32_t)(bytes / POOL_BLOCK_MIN);
	pool->page = calloc(pool->n_pages, sizeof *pool->page);
	if (pool->page == NULL)
		return -ENOMEM;
	pool->bytes = (size_t)pool->n_pages * POOL_STRIDE;
	void *region = mmap(NULL, pool->bytes, PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (region == MAP_FAILED) {
		free(pool->page);
		memset(pool, 0, sizeof *pool);
		return -ENOMEM;
	}
	pool->region = region;
	/* The largest blocks first: each begins at a multiple of its size. */
	for (uint32_t page = 0; page < pool->n_pages;) {
		unsigned order = POOL_ORDERS - 1;
		while (pool->n_pages - page < 1u << order)
			order--;
		link_free(pool, page, order);
		page += 1u << order;
	}
	return 0;
}

void pool_fini(struct pool *pool)
{
	if (pool->region != NULL) {
		memory_unpoison(pool->region, pool->bytes);
		munmap(pool->region, pool->bytes);
	}
	free(pool->page);
	memset(pool, 0, sizeof *pool);
}
