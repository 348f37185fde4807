/* The pool against a model: random takes and gives, by chance; MILLRACE_SEED gives the seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ingest/http/pool.h"
#include "tests/fixture/draw.h"

#define PAGES 3000u /* no power of two: 2048 + 512 + 256 + 128 + 32 + 16 + 8 */
#define HELD  400u
#define STEPS 60000u

struct held {
	unsigned char *block;
	size_t size;
	unsigned char mark;
};

static struct pool pool;
static struct held held[HELD];
static unsigned n_held;
static unsigned char owner[PAGES]; /* of each page: whether it is out */

static void mark_pages(const struct held *one, unsigned char before, unsigned char after)
{
	size_t first = (size_t)(one->block - (unsigned char *)pool.region) / POOL_STRIDE;
	assert_true(first + one->size / POOL_BLOCK_MIN <= PAGES);
	for (size_t i = first; i < first + one->size / POOL_BLOCK_MIN; i++) {
		assert_int_equal(owner[i], before);
		owner[i] = after;
	}
}

/* Both ends and the middle: a whole block would take too long. */
static void fill(const struct held *one)
{
	one->block[0] = one->block[one->size / 2] = one->block[one->size - 1] = one->mark;
}

static void check(const struct held *one)
{
	assert_int_equal(one->block[0], one->mark);
	assert_int_equal(one->block[one->size / 2], one->mark);
	assert_int_equal(one->block[one->size - 1], one->mark);
}

static size_t draw_bytes(void)
{
	size_t most = (size_t)POOL_BLOCK_MIN << draw_below(draw_one_in(8) ? 12 : 4);
	return 1 + draw_below((unsigned)most);
}

static bool take_one(void)
{
	struct held *one = &held[n_held];
	size_t bytes = draw_bytes();
	one->block = pool_take(&pool, bytes, &one->size);
	if (one->block == NULL)
		return false;
	assert_true(one->size >= bytes && one->size >= POOL_BLOCK_MIN);
	assert_true(one->size == POOL_BLOCK_MIN || one->size / 2 < bytes);
	assert_int_equal((uintptr_t)one->block % POOL_BLOCK_MIN, 0);
	mark_pages(one, 0, 1);
	one->mark = (unsigned char)draw();
	fill(one);
	n_held++;
	return true;
}

static void give_one(unsigned i)
{
	check(&held[i]);
	mark_pages(&held[i], 1, 0);
	pool_give(&pool, held[i].block);
	held[i] = held[--n_held];
}

static size_t bytes_held(void)
{
	size_t sum = 0;
	for (unsigned i = 0; i < n_held; i++)
		sum += held[i].size;
	return sum;
}

/* ---- tests ---- */

static int open_pool(void **state)
{
	(void)state;
	n_held = 0;
	memset(owner, 0, sizeof owner);
	return pool_init(&pool, (size_t)PAGES * POOL_BLOCK_MIN);
}

static int close_pool(void **state)
{
	(void)state;
	pool_fini(&pool);
	pool_fini(&pool);
	return 0;
}

static void blocks_never_overlap_and_keep_what_is_in_them(void **state)
{
	(void)state;
	unsigned full = 0;
	for (unsigned step = 0; step < STEPS; step++) {
		/* Now rather more, now rather less. */
		unsigned wish = step / 2000 % 2 == 0 ? 6 : 3;
		if (n_held < HELD && draw_below(10) < wish)
			full += !take_one();
		else if (n_held > 0)
			give_one(draw_below(n_held));
		assert_int_equal(pool.used_bytes, bytes_held());
	}
	assert_true(full > 0);
}

static void everything_given_back_merges_to_what_it_was(void **state)
{
	(void)state;
	size_t size;
	void *largest = pool_take(&pool, (size_t)2048 * POOL_BLOCK_MIN, &size);
	assert_non_null(largest);
	pool_give(&pool, largest);
	for (unsigned round = 0; round < 20; round++) {
		while (n_held < HELD && take_one())
			;
		while (n_held > 0)
			give_one(draw_below(n_held));
		assert_int_equal(pool.used_bytes, 0);
		/* What the region was cut into in the beginning is there again, all of it. */
		static const unsigned parts[] = {2048, 512, 256, 128, 32, 16, 8};
		void *part[7];
		for (unsigned i = 0; i < 7; i++) {
			part[i] = pool_take(&pool, (size_t)parts[i] * POOL_BLOCK_MIN, &size);
			assert_non_null(part[i]);
			assert_int_equal(size, (size_t)parts[i] * POOL_BLOCK_MIN);
		}
		assert_ptr_equal(part[0], largest);
		assert_null(pool_take(&pool, 1, &size));
		for (unsigned i = 0; i < 7; i++)
			pool_give(&pool, part[i]);
	}
}

static void a_pool_of_pages_gives_out_every_page(void **state)
{
	(void)state;
	static void *page[PAGES];
	size_t size;
	for (unsigned i = 0; i < PAGES; i++) {
		page[i] = pool_take(&pool, 1, &size);
		assert_non_null(page[i]);
		assert_int_equal(size, POOL_BLOCK_MIN);
	}
	assert_null(pool_take(&pool, 1, &size));
	assert_int_equal(pool.used_bytes, (size_t)PAGES * POOL_BLOCK_MIN);
	for (unsigned i = 0; i < PAGES; i++)
		pool_give(&pool, page[i]);
	assert_null(pool_take(&pool, (size_t)2049 * POOL_BLOCK_MIN, &size));
	assert_null(pool_take(&pool, SIZE_MAX, &size));
	assert_non_null(pool_take(&pool, (size_t)2048 * POOL_BLOCK_MIN, &size));
}

static bool poisoned(const void *at)
{
#if MEMORY_POISON
	return __asan_address_is_poisoned(at);
#else
	(void)at;
	return true;
#endif
}

static void under_asan_only_what_was_asked_for_may_be_touched(void **state)
{
	(void)state;
	size_t size;
	for (size_t bytes = 1; bytes < 1024 * 1024; bytes = bytes * 3 + 7) {
		char *before = pool_take(&pool, bytes, &size), *block = pool_take(&pool, bytes, NULL);
		memset(before, 1, size);
		memset(block, 2, bytes);
		assert_true(poisoned(before + size) && poisoned(before + 2 * size - 1));
		assert_true(poisoned(block + bytes) && poisoned(block + 2 * size - 1));
		pool_give(&pool, before);
		pool_give(&pool, block);
		assert_true(poisoned(before) && poisoned(block + bytes - 1));
	}
}

static void sizes_that_are_no_pool_are_refused(void **state)
{
	(void)state;
	struct pool other;
	assert_int_equal(pool_init(&other, 0), -EINVAL);
	assert_int_equal(pool_init(&other, POOL_BLOCK_MIN + 1), -EINVAL);
	assert_int_equal(pool_init(&other, POOL_BLOCK_MIN), 0);
	pool_fini(&other);
}

static unsigned resident_pages(const void *block, size_t bytes)
{
	static unsigned char in[4096];
	unsigned n = 0;
	assert_true(bytes / 4096 <= sizeof in);
	assert_int_equal(mincore((void *)(uintptr_t)block, bytes, in), 0);
	for (size_t i = 0; i < bytes / 4096; i++)
		n += in[i] & 1;
	return n;
}

static void a_large_block_leaves_no_memory_in_use(void **state)
{
	(void)state;
	size_t size;
	unsigned char *block = pool_take(&pool, 4u * 1024 * 1024, &size);
	assert_non_null(block);
	memset(block, 7, size);
	assert_int_equal(resident_pages(block, size), size / 4096);
	pool_give(&pool, block);
	assert_true(resident_pages(block, size) <= 1);
}

/* What a child does that gives something wrong. */
static void give_twice(void)
{
	size_t size;
	void *block = pool_take(&pool, 1, &size);
	pool_give(&pool, block);
	pool_give(&pool, block);
}

static void give_large_twice(void)
{
	size_t size;
	void *block = pool_take(&pool, 1u << 20, &size);
	pool_give(&pool, block);
	pool_give(&pool, block);
}

static void give_after_merging(void)
{
	size_t size;
	void *first = pool_take(&pool, 64u * 1024, &size), *second = pool_take(&pool, 64u * 1024, &size);
	pool_give(&pool, first);
	pool_give(&pool, second);
	pool_give(&pool, second);
}

static void give_inside(void)
{
	size_t size;
	char *block = pool_take(&pool, 3 * POOL_BLOCK_MIN, &size);
	pool_give(&pool, block + POOL_BLOCK_MIN);
}

static void give_unaligned(void)
{
	size_t size;
	char *block = pool_take(&pool, 1, &size);
	pool_give(&pool, block + 8);
}

static void give_foreign(void)
{
	static char foreign[8192];
	pool_give(&pool, foreign);
}

static void giving_what_is_not_out_aborts(void **state)
{
	(void)state;
	static void (*const wrong[])(void) = {give_twice,  give_large_twice, give_after_merging,
	                                      give_inside, give_unaligned,   give_foreign};
	for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		int status;
		pid_t child = fork();
		if (child == 0) {
			setrlimit(RLIMIT_CORE, &(struct rlimit){0});
			signal(SIGABRT, SIG_DFL);
			wrong[i]();
			_exit(0);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	}
}

int main(void)
{
	alarm(60);
	draw_init(20261121);
#define WITH_POOL(test) cmocka_unit_test_setup_teardown(test, open_pool, close_pool)
	const struct CMUnitTest tests[] = {
	        WITH_POOL(blocks_never_overlap_and_keep_what_is_in_them),
	        WITH_POOL(everything_given_back_merges_to_what_it_was),
	        WITH_POOL(a_pool_of_pages_gives_out_every_page),
	        WITH_POOL(a_large_block_leaves_no_memory_in_use),
	        WITH_POOL(giving_what_is_not_out_aborts),
	        WITH_POOL(under_asan_only_what_was_asked_for_may_be_touched),
	        cmocka_unit_test(sizes_that_are_no_pool_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
