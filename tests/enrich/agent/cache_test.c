/* The cache of agents: right answers, a bound, and that agents which come once flush nothing; and
 * its parts, the keyed hash and the sketch. */
#include "enrich/agent/cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "enrich/agent/keyed_hash.h"
#include "enrich/agent/sketch.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/page_end.h"

#define HEAD offsetof(struct agent, text)

/* An answer that can be told from those of other agents: its text is a number. */
static const struct agent *answer_for(uint64_t n, size_t bytes)
{
	static struct agent agent;
	memset(&agent, (int)(n % 251), sizeof agent);
	agent.used = (uint16_t)(HEAD + bytes);
	memcpy(agent.text, &n, sizeof n);
	return &agent;
}

static void assert_answer(const struct agent *agent, uint64_t n, size_t bytes)
{
	const struct agent *expected = answer_for(n, bytes);
	assert_int_equal(agent->used, expected->used);
	assert_memory_equal(agent, expected, expected->used);
}

struct name {
	char text[2048];
	size_t bytes;
};

/* The n-th agent: as long as agents are, and similar to the next. */
static struct name name_of(uint64_t n)
{
	struct name name;
	name.bytes = (size_t)snprintf(
	        name.text, sizeof name.text, "Mozilla/5.0 (X11; Linux; %llu) Firefox/%llu %.*s",
	        (unsigned long long)n, (unsigned long long)(n % 97), (int)(n * 7 % 300),
	        "..................................................................................");
	return name;
}

/* Asks for agent n and puts it when it is not there. True: it was, and right. */
static bool ask(struct agent_cache *cache, uint64_t n)
{
	struct name name = name_of(n);
	size_t bytes = 8 + n % 200;
	const struct agent *agent = agent_cache_get(cache, name.text, name.bytes);
	if (agent) {
		assert_answer(agent, n, bytes);
		return true;
	}
	agent = agent_cache_put(cache, name.text, name.bytes, answer_for(n, bytes));
	assert_answer(agent, n, bytes);
	return false;
}

static void what_was_put_is_found_until_the_cache_is_full(void **state)
{
	(void)state;
	struct agent_cache *cache = agent_cache_create(1000, draw());
	assert_non_null(cache);
	for (uint64_t n = 0; n < 1000; n++) {
		assert_false(ask(cache, n));
		assert_true(ask(cache, n));
	}
	for (uint64_t n = 0; n < 1000; n++)
		assert_true(ask(cache, n));
	assert_int_equal(agent_cache_counts(cache)->entries, 1000);
	assert_int_equal(agent_cache_counts(cache)->refused + agent_cache_counts(cache)->admitted, 0);
	agent_cache_clear(cache);
	assert_int_equal(agent_cache_counts(cache)->entries, 0);
	assert_false(ask(cache, 1));
	assert_true(ask(cache, 1));
	agent_cache_destroy(cache);
}

static void every_answer_belongs_to_its_agent_and_each_is_accounted_for(void **state)
{
	(void)state;
	for (uint32_t entries = AGENT_CACHE_ENTRIES_MIN; entries <= 4096; entries *= 4) {
		struct agent_cache *cache = agent_cache_create(entries, draw());
		assert_non_null(cache);
		const struct agent_cache_counts *counts = agent_cache_counts(cache);
		uint64_t asked = 200000, hits = 0;
		for (uint64_t i = 0; i < asked; i++)
			hits += ask(cache, draw_below(draw_one_in(2) ? entries / 2 : 20 * entries));
		assert_int_equal(counts->hits, hits);
		assert_int_equal(counts->hits + counts->misses, asked);
		assert_int_equal(counts->entries, entries);
		assert_int_equal(counts->misses, counts->entries + counts->admitted + counts->refused);
		assert_true(hits > asked / 10);
		agent_cache_destroy(cache);
	}
}

static void an_agent_that_was_just_put_is_there(void **state)
{
	(void)state;
	struct agent_cache *cache = agent_cache_create(AGENT_CACHE_ENTRIES_MIN, draw());
	assert_non_null(cache);
	for (uint64_t n = 0; n < 20000; n++) {
		ask(cache, n);
		assert_true(ask(cache, n));
	}
	agent_cache_destroy(cache);
}

static void an_answer_that_is_put_again_replaces_the_older(void **state)
{
	(void)state;
	struct agent_cache *cache = agent_cache_create(AGENT_CACHE_ENTRIES_MIN, draw());
	assert_non_null(cache);
	for (uint64_t n = 0; n < 1000; n++)
		assert_answer(agent_cache_put(cache, "again", 5, answer_for(n, 20)), n, 20);
	assert_answer(agent_cache_get(cache, "again", 5), 999, 20);
	assert_int_equal(agent_cache_counts(cache)->entries, 1);
	agent_cache_destroy(cache);
}

static void what_does_not_fit_is_handed_back_and_not_kept(void **state)
{
	(void)state;
	static char text[KEYED_HASH_MAX + 1];
	struct agent_cache *cache = agent_cache_create(AGENT_CACHE_ENTRIES_MIN, draw());
	assert_non_null(cache);
	memset(text, 'x', sizeof text);
	size_t most = AGENT_CACHE_SLOT - HEAD - 20;
	for (size_t bytes = most - 2; bytes < most + 3; bytes++) {
		const struct agent *agent = answer_for(bytes, 20);
		bool kept = agent_cache_put(cache, text, bytes, agent) != agent;
		assert_int_equal(kept, bytes <= most);
		assert_int_equal(agent_cache_get(cache, text, bytes) != NULL, bytes <= most);
	}
	assert_int_equal(agent_cache_counts(cache)->too_long, 2);
	assert_null(agent_cache_get(cache, text, sizeof text));
	assert_ptr_equal(agent_cache_put(cache, text, sizeof text, answer_for(1, 20)), answer_for(1, 20));
	assert_null(agent_cache_get(cache, "", 0));
	assert_answer(agent_cache_put(cache, "", 0, answer_for(5, 20)), 5, 20);
	assert_answer(agent_cache_get(cache, "", 0), 5, 20);
	agent_cache_destroy(cache);
}

static void sizes_outside_the_bounds_are_refused(void **state)
{
	(void)state;
	assert_null(agent_cache_create(AGENT_CACHE_ENTRIES_MIN - 1, 1));
	assert_int_equal(errno, EINVAL);
	assert_null(agent_cache_create(AGENT_CACHE_ENTRIES_MAX + 1, 1));
	assert_int_equal(errno, EINVAL);
	struct agent_cache *cache =
	        agent_cache_create(AGENT_CACHE_ENTRIES_MIN, 0); /* a key from the kernel */
	assert_non_null(cache);
	assert_false(ask(cache, 1));
	assert_true(ask(cache, 1));
	agent_cache_destroy(cache);
}

static size_t resident_bytes(void)
{
	unsigned long all = 0, resident = 0;
	FILE *file = fopen("/proc/self/statm", "r");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%lu %lu", &all, &resident), 2);
	fclose(file);
	return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void memory_stays_within_what_was_said_whatever_comes(void **state)
{
	(void)state;
	struct agent_cache *cache = agent_cache_create(2000, draw());
	assert_non_null(cache);
	size_t before = resident_bytes();
	for (uint64_t n = 0; n < 300000; n++)
		ask(cache, draw());
	size_t after = resident_bytes(), grown = after > before ? after - before : 0;
	printf("2,000 entries after 300,000 agents: %zu KiB resident, %zu KiB at most\n", grown / 1024,
	       agent_cache_bytes(2000) / 1024);
	/* a quarter more: the sanitizers' shadow */
	assert_true(grown <= agent_cache_bytes(2000) / 4 * 5 + (1u << 20));
	assert_true(agent_cache_bytes(2000) < 2000 * 1200 + (1u << 16));
	agent_cache_destroy(cache);
}

/* Rounds in which each hot agent is asked for once, and `flood` new ones between any two of them.
 * Returns the share of hits among the hot. */
static double hit_rate(struct agent_cache *cache, uint64_t first, unsigned hot, unsigned rounds,
                       unsigned flood)
{
	static uint64_t stranger = 1ull << 40;
	uint64_t hits = 0;
	for (unsigned round = 0; round < rounds; round++) {
		for (unsigned i = 0; i < hot; i++) {
			hits += ask(cache, first + i);
			for (unsigned other = 0; other < flood; other++)
				ask(cache, stranger++);
		}
	}
	return (double)hits / ((double)rounds * hot);
}

static void agents_that_come_once_do_not_flush_those_that_come_back(void **state)
{
	(void)state;
	struct agent_cache *cache = agent_cache_create(1024, draw());
	assert_non_null(cache);
	hit_rate(cache, 0, 500, 3, 0);
	double flooded = hit_rate(cache, 0, 500, 20, 10);
	printf("500 agents in a cache of 1,024, 10 strangers after each: %.1f %% hits (an LRU cache has none: 5,499 others come between two visits)\n",
	       100 * flooded);
	assert_true(flooded > 0.9);
	agent_cache_destroy(cache);
}

static void what_becomes_popular_under_a_flood_gets_in(void **state)
{
	(void)state;
	struct agent_cache *cache = agent_cache_create(1024, draw());
	assert_non_null(cache);
	hit_rate(cache, 0, 500, 20, 2);
	hit_rate(cache, 1000000, 500, 40, 2); /* others, never the first again */
	double later = hit_rate(cache, 1000000, 500, 5, 2);
	printf("500 other agents after these: %.1f %% hits\n", 100 * later);
	assert_true(later > 0.9);
	agent_cache_destroy(cache);
}

/* ---- the sketch ---- */

static void an_estimate_is_never_too_low_until_counters_are_halved(void **state)
{
	(void)state;
	static _Alignas(64) uint64_t block[128][SKETCH_WORDS];
	static uint64_t hash[1024];
	static unsigned added[1024];
	struct sketch sketch;
	assert_int_equal(sketch_blocks(1024), 128);
	sketch_init(&sketch, block, 1024);
	for (unsigned i = 0; i < 1024; i++)
		hash[i] = draw();
	unsigned too_high = 0;
	for (unsigned i = 0; i < 10000 && sketch.halvings == 0; i++) {
		unsigned at = draw_below(draw_one_in(2) ? 16 : 1024);
		sketch_add(&sketch, hash[at]);
		added[at]++;
	}
	for (unsigned i = 0; i < 1024; i++) {
		unsigned true_count = added[i] < SKETCH_MOST ? added[i] : SKETCH_MOST;
		unsigned estimate = sketch_estimate(&sketch, hash[i]);
		assert_true(estimate >= true_count && estimate <= SKETCH_MOST);
		too_high += estimate > true_count;
	}
	printf("%u of 1,024 estimates too high\n", too_high);
	assert_true(too_high < 300);
}

static void counters_are_halved_after_ten_additions_an_entry(void **state)
{
	(void)state;
	static _Alignas(64) uint64_t block[8][SKETCH_WORDS];
	struct sketch sketch;
	sketch_init(&sketch, block, 64);
	for (unsigned i = 0; i < 100; i++)
		sketch_add(&sketch, 12345);
	assert_int_equal(sketch_estimate(&sketch, 12345), SKETCH_MOST);
	assert_int_equal(sketch.additions, SKETCH_MOST); /* a counter that is full takes no more */
	for (unsigned i = 0; i < 100000 && sketch.halvings == 0; i++)
		sketch_add(&sketch, draw());
	assert_int_equal(sketch.halvings, 1);
	assert_int_equal(sketch_estimate(&sketch, 12345), SKETCH_MOST / 2);
}

/* ---- the hash ---- */

static void a_hash_depends_on_every_bit_the_length_and_the_key(void **state)
{
	(void)state;
	static struct keyed_hash key, other;
	char text[70] = {0};
	unsigned flipped = 0, n = 0;
	keyed_hash_init_seed(&key, draw());
	assert_int_equal(keyed_hash_init(&other), 0);
	for (size_t bytes = 0; bytes < sizeof text; bytes++) {
		uint64_t plain = keyed_hash(&key, text, bytes);
		assert_int_not_equal(plain,
		                     keyed_hash(&key, text, bytes + (bytes + 1 < sizeof text ? 1 : -1)));
		assert_int_not_equal(plain, keyed_hash(&other, text, bytes));
		for (size_t bit = 0; bit < 8 * bytes; bit++) {
			text[bit / 8] ^= (char)(1 << bit % 8);
			uint64_t difference = plain ^ keyed_hash(&key, text, bytes);
			text[bit / 8] ^= (char)(1 << bit % 8);
			assert_int_not_equal(difference, 0);
			flipped += (unsigned)__builtin_popcountll(difference);
			n++;
		}
	}
	assert_true(flipped > 28 * n && flipped < 36 * n); /* half of 64 bits */
}

static void a_hash_reads_nothing_but_its_text(void **state)
{
	(void)state;
	static struct keyed_hash key;
	char *end = page_end_make(8192);
	assert_non_null(end);
	keyed_hash_init_seed(&key, draw());
	memset(end - 8192, 'a', 8192);
	for (size_t bytes = 0; bytes <= 8192; bytes += bytes < 200 ? 1 : 333)
		assert_int_equal(keyed_hash(&key, end - bytes, bytes), keyed_hash(&key, end - 8192, bytes));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(what_was_put_is_found_until_the_cache_is_full),
	        cmocka_unit_test(every_answer_belongs_to_its_agent_and_each_is_accounted_for),
	        cmocka_unit_test(an_agent_that_was_just_put_is_there),
	        cmocka_unit_test(an_answer_that_is_put_again_replaces_the_older),
	        cmocka_unit_test(what_does_not_fit_is_handed_back_and_not_kept),
	        cmocka_unit_test(sizes_outside_the_bounds_are_refused),
	        cmocka_unit_test(memory_stays_within_what_was_said_whatever_comes),
	        cmocka_unit_test(agents_that_come_once_do_not_flush_those_that_come_back),
	        cmocka_unit_test(what_becomes_popular_under_a_flood_gets_in),
	        cmocka_unit_test(an_estimate_is_never_too_low_until_counters_are_halved),
	        cmocka_unit_test(counters_are_halved_after_ten_additions_an_entry),
	        cmocka_unit_test(a_hash_depends_on_every_bit_the_length_and_the_key),
	        cmocka_unit_test(a_hash_reads_nothing_but_its_text),
	};
	draw_init(0x6361636865);
	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
