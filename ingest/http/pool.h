/* Memory for requests that do not come in one piece and for answers under way: one bounded region,
 * blocks of powers of two (a buddy allocator: D. Knuth, The Art of Computer Programming, vol. 1,
 * 2.5). No other memory is taken per request.
 *
 *     region:  | 4K | 4K |   8K   |      16K      | ...      pool_take(9000) --> a 16 KiB block
 *
 *     used --give--> ready (small blocks, at most POOL_READY of an order) --more, or a larger one is wanted--> free, merged with its buddy
 *      '------------ give (others) --------------------------------------------------------------------------^
 *
 * Taking and giving back a small block is a list operation, because the last ones given back are
 * kept as they are. Large blocks that were given back return their pages to the kernel, so a large
 * request leaves no memory in use.
 *
 * Under AddressSanitizer a block is poisoned while it is not in use, and so is what follows it: the
 * region is twice as large then, and each block has as much again after it that belongs to none.
 * Otherwise a write past the end of a block would only reach the next one, unnoticed.
 */
#ifndef INGEST_HTTP_POOL_H
#define INGEST_HTTP_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "base/poison.h"

#define POOL_BLOCK_MIN    4096u
#define POOL_STRIDE       ((1u + MEMORY_POISON) * POOL_BLOCK_MIN) /* from one page of the region to the next */
#define POOL_ORDERS       20u                                     /* 4 KiB .. 2 GiB */
#define POOL_READY_ORDERS 4u            /* 4 .. 32 KiB: blocks that may stay unmerged */
#define POOL_READY        64u           /* of each order, at most */
#define POOL_RETURN_BYTES (256u * 1024) /* blocks from this size on return their pages */

struct pool {
	char *region; /* mapped, touched only as far as used */
	size_t bytes; /* of the mapping */
	uint32_t n_pages;
	/* per page: order and state of the block that begins there */
	uint8_t *page;
	struct pool_free *free[POOL_ORDERS];        /* doubly linked through the free blocks themselves */
	struct pool_free *ready[POOL_READY_ORDERS]; /* the last given back first */
	uint32_t n_ready[POOL_READY_ORDERS];
	size_t used_bytes; /* in blocks that are out */
};

/* bytes is a multiple of POOL_BLOCK_MIN, at most 2^31 pages. Returns 0, -EINVAL or -ENOMEM. */
int pool_init(struct pool *pool, size_t bytes);

/* Does nothing to a pool that is all zero. */
void pool_fini(struct pool *pool);

/* A block of at least `bytes`, which begins on a page; *size is set to what it has. With size NULL
 * only `bytes` of it may be used. NULL when there is none. */
void *pool_take(struct pool *pool, size_t bytes, size_t *size);

/* Gives a block back. Anything that pool_take did not return, or twice, aborts. */
void pool_give(struct pool *pool, void *block);

#endif
