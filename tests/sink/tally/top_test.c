/* The list of the most frequent keys against an exact count: its bounds hold for every key, at
 * every moment, whatever comes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sink/tally/top.h"
#include "tests/fixture/draw.h"

#define KEYS_MAX    50000u
#define ADDITIONS   30000u
#define CHECK_EVERY 1000u

/* A list, and how often each of its keys truly occurred. */
struct trial {
	struct top *top;
	uint32_t capacity;
	uint64_t n[KEYS_MAX];
	uint64_t total;
	uint32_t keys;    /* 0 .. keys-1 may occur */
	bool counts_sum;  /* the sum of all counts is the total */
	bool from_itself; /* no other list came in */
};

static size_t name(char text[32], uint32_t key)
{
	return (size_t)snprintf(text, 32, "key %u", key);
}

static void start(struct trial *trial, uint32_t capacity)
{
	*trial = (struct trial){
	        .top = top_new(capacity, 0), .capacity = capacity, .counts_sum = true, .from_itself = true};
	assert_non_null(trial->top);
}

static void add(struct trial *trial, uint32_t key, uint64_t n)
{
	char text[32];
	size_t bytes = name(text, key);
	assert_true(key < KEYS_MAX);
	top_add(trial->top, text, bytes, n);
	trial->n[key] += n;
	trial->total += n;
	if (key >= trial->keys)
		trial->keys = key + 1;
}

static void check_key(const struct trial *trial, uint32_t key)
{
	char text[32];
	size_t bytes = name(text, key);
	struct top_counter counter;
	uint64_t n = trial->n[key];
	if (!top_find(trial->top, text, bytes, &counter)) {
		assert_true(n <= top_smallest(trial->top));
		assert_true(!trial->from_itself || n <= trial->total / trial->capacity);
		return;
	}
	assert_true(counter.count - counter.error <= n && n <= counter.count);
	assert_true(counter.error <= counter.count);
	assert_int_equal(counter.key_bytes, bytes);
	assert_memory_equal(counter.key, text, bytes);
}

static void check(const struct trial *trial)
{
	uint64_t sum = 0;
	uint32_t distinct = 0;
	for (uint32_t key = 0; key < trial->keys; key++) {
		check_key(trial, key);
		distinct += trial->n[key] != 0;
	}
	for (uint32_t i = 0; i < top_used(trial->top); i++) {
		struct top_counter counter = top_at(trial->top, i), same;
		assert_true(counter.count >= top_smallest(trial->top));
		assert_true(top_find(trial->top, counter.key, counter.key_bytes, &same));
		assert_ptr_equal(same.key, counter.key);
		assert_true(!trial->from_itself || distinct > trial->capacity || counter.error == 0);
		sum += counter.count;
	}
	assert_int_equal(top_total(trial->top), trial->total);
	assert_true(!trial->counts_sum || sum == trial->total);
	assert_int_equal(top_used(trial->top), distinct < trial->capacity ? distinct : trial->capacity);
}

/* ---- streams ---- */

typedef uint32_t (*stream)(uint32_t i, uint32_t capacity);

static uint32_t zipf(uint32_t i, uint32_t capacity)
{
	(void)i;
	(void)capacity;
	/* Inverse of the distribution function of 1/x. */
	double u = (double)(draw() >> 11) / (double)(UINT64_C(1) << 53);
	return (uint32_t)(pow(20000, u) - 1);
}

static uint32_t uniform(uint32_t i, uint32_t capacity)
{
	(void)i;
	return draw_below(3 * capacity);
}

static uint32_t all_distinct(uint32_t i, uint32_t capacity)
{
	(void)capacity;
	return i;
}

/* Each key comes just after it was forgotten. */
static uint32_t one_more_than_fit_in_turns(uint32_t i, uint32_t capacity)
{
	return i % (capacity + 1);
}

/* One that comes again and again among others that never do. */
static uint32_t alternating(uint32_t i, uint32_t capacity)
{
	(void)capacity;
	return i % 2 == 0 ? 0 : 1 + i / 2;
}

/* Those of the first half are never seen again. */
static uint32_t changing(uint32_t i, uint32_t capacity)
{
	return i < ADDITIONS / 2 ? draw_below(capacity) : capacity + draw_below(2 * capacity);
}

static uint32_t few(uint32_t i, uint32_t capacity)
{
	(void)i;
	return draw_below(capacity);
}

static const stream streams[] = {zipf,        uniform,  all_distinct, one_more_than_fit_in_turns,
                                 alternating, changing, few};

static void run(stream next, uint32_t capacity, unsigned most)
{
	static struct trial trial;
	start(&trial, capacity);
	for (uint32_t i = 0; i < ADDITIONS; i++) {
		add(&trial, next(i, capacity), 1 + draw_below(most));
		if ((i + 1) % CHECK_EVERY == 0)
			check(&trial);
	}
	top_free(trial.top);
}

static void the_bounds_hold_for_every_key_of_every_stream(void **state)
{
	(void)state;
	static const uint32_t capacities[] = {1, 2, 7, 100, 1000};
	for (unsigned s = 0; s < sizeof streams / sizeof streams[0]; s++)
		for (unsigned c = 0; c < sizeof capacities / sizeof capacities[0]; c++)
			run(streams[s], capacities[c], 1);
}

static void the_bounds_hold_when_keys_occur_many_times_at_once(void **state)
{
	(void)state;
	for (unsigned s = 0; s < sizeof streams / sizeof streams[0]; s++)
		run(streams[s], 50, 1000);
}

static void an_addition_of_nothing_changes_nothing(void **state)
{
	(void)state;
	struct top *top = top_new(2, 0);
	top_add(top, "a", 1, 0);
	assert_int_equal(top_used(top), 0);
	assert_int_equal(top_total(top), 0);
	assert_int_equal(top_dirty(top), 0);
	top_free(top);
}

static void of_equal_counts_the_oldest_gives_way(void **state)
{
	(void)state;
	struct top *top = top_new(3, 0);
	struct top_counter counter;
	for (const char *key = "abc"; *key != '\0'; key++)
		top_add(top, key, 1, 1);
	top_add(top, "d", 1, 1);
	assert_false(top_find(top, "a", 1, &counter));
	assert_true(top_find(top, "b", 1, &counter) && top_find(top, "c", 1, &counter));
	assert_true(top_find(top, "d", 1, &counter));
	assert_int_equal(counter.count, 2);
	assert_int_equal(counter.error, 1);
	assert_int_equal(top_smallest(top), 1);
	top_free(top);
}

/* ---- merging ---- */

static void feed(struct trial *trial, stream next, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		add(trial, next(i, trial->capacity) % KEYS_MAX, 1);
}

static void merge(struct trial *trial, const struct trial *other)
{
	uint32_t used = top_used(other->top);
	top_merge(trial->top, other->top);
	assert_int_equal(top_used(other->top), used);
	for (uint32_t key = 0; key < other->keys; key++)
		trial->n[key] += other->n[key];
	trial->total += other->total;
	trial->keys = other->keys > trial->keys ? other->keys : trial->keys;
	trial->counts_sum = trial->from_itself = false;
}

/* As check, but of how many keys have a counter. */
static void check_merged(const struct trial *trial)
{
	for (uint32_t key = 0; key < trial->keys; key++)
		check_key(trial, key);
	for (uint32_t i = 0; i < top_used(trial->top); i++)
		assert_true(top_at(trial->top, i).count >= top_smallest(trial->top));
	assert_int_equal(top_total(trial->top), trial->total);
}

static void lists_of_any_capacities_merge_within_the_bounds_and_go_on(void **state)
{
	(void)state;
	static struct trial one, other;
	static const uint32_t capacities[] = {1, 20, 300, 40000};
	for (unsigned i = 0; i < 4 * 4 * 3; i++) {
		start(&one, capacities[i % 4]);
		start(&other, capacities[i / 4 % 4]);
		feed(&one, streams[draw_below(6)], draw_below(5000));
		feed(&other, streams[draw_below(6)], draw_below(5000));
		merge(&one, &other);
		check_merged(&one);
		check(&other);
		feed(&one, zipf, 3000);
		check_merged(&one);
		merge(&one, &other); /* the same once more, as if it were another's */
		check_merged(&one);
		top_free(one.top);
		top_free(other.top);
	}
}

static void thirty_days_become_a_month(void **state)
{
	(void)state;
	static struct trial month, day;
	start(&month, 500);
	for (unsigned i = 0; i < 30; i++) {
		start(&day, 500);
		feed(&day, i % 3 == 0 ? uniform : zipf, 3000);
		merge(&month, &day);
		check_merged(&month);
		top_free(day.top);
	}
	/* What is frequent on all days is near the truth for all the errors of the others. */
	struct top_counter counter;
	assert_true(top_find(month.top, "key 0", 5, &counter));
	assert_true(counter.error * 10 <= counter.count);
	top_free(month.top);
}

static void lists_that_were_never_full_merge_exactly(void **state)
{
	(void)state;
	static struct trial one, other;
	start(&one, 100);
	start(&other, 5);
	for (uint32_t i = 0; i < 1000; i++) {
		add(&one, draw_below(60), 1);
		add(&other, 58 + draw_below(4), 1);
	}
	merge(&one, &other);
	assert_int_equal(top_used(one.top), 62);
	assert_int_equal(top_smallest(one.top), 0);
	for (uint32_t i = 0; i < top_used(one.top); i++)
		assert_int_equal(top_at(one.top, i).error, 0);
	check_merged(&one);
	top_free(one.top);
	top_free(other.top);
}

/* A list with room that took in one that had forgotten keys: those may come now, for the first time
 * as it seems. */
static void what_a_merged_list_forgot_counts_into_the_bounds_of_new_keys(void **state)
{
	(void)state;
	static struct trial one, other;
	start(&one, 1000);
	start(&other, 4);
	feed(&other, one_more_than_fit_in_turns, 500);
	merge(&one, &other);
	assert_true(top_smallest(one.top) >= 100);
	assert_int_equal(top_used(one.top), 4);
	for (uint32_t key = 0; key < 10; key++) {
		add(&one, key, 1);
		check_merged(&one);
	}
	top_free(one.top);
	top_free(other.top);
}

static void a_merge_into_an_empty_list_is_a_copy(void **state)
{
	(void)state;
	static struct trial one, other;
	start(&one, 64);
	start(&other, 64);
	feed(&other, zipf, 5000);
	merge(&one, &other);
	assert_int_equal(top_used(one.top), 64);
	for (uint32_t i = 0; i < 64; i++) {
		struct top_counter theirs = top_at(other.top, i), ours;
		assert_true(top_find(one.top, theirs.key, theirs.key_bytes, &ours));
		assert_int_equal(ours.count, theirs.count);
		assert_int_equal(ours.error, theirs.error);
	}
	assert_int_equal(top_dirty(one.top), 64);
	top_free(one.top);
	top_free(other.top);
}

/* ---- loading and committing ---- */

/* A list made of what another says of itself. */
static struct top *restored(const struct top *top, uint32_t capacity)
{
	struct top *made = top_new(capacity, 0);
	for (uint32_t i = 0; i < top_used(top); i++) {
		struct top_counter counter = top_at(top, i);
		assert_int_equal(
		        top_restore(made, counter.key, counter.key_bytes, counter.count, counter.error), 0);
	}
	assert_int_equal(top_restore_end(made, top_total(top), top_smallest(top)), 0);
	assert_int_equal(top_dirty(made), 0);
	return made;
}

static void a_restored_list_says_the_same_and_goes_on_within_the_bounds(void **state)
{
	(void)state;
	static struct trial trial;
	start(&trial, 100);
	for (unsigned life = 0; life < 20; life++) {
		feed(&trial, streams[life % 6], 1000);
		trial.capacity += life % 4 == 3 ? 37 : 0;
		struct top *made = restored(trial.top, trial.capacity);
		assert_int_equal(top_used(made), top_used(trial.top));
		assert_int_equal(top_smallest(made), top_smallest(trial.top));
		for (uint32_t i = 0; i < top_used(made); i++)
			assert_memory_equal(top_at(made, i).key, top_at(trial.top, i).key,
			                    top_at(made, i).key_bytes);
		top_free(trial.top);
		trial.top = made;
		trial.counts_sum = trial.from_itself = false; /* some have had less capacity */
		check_merged(&trial);
	}
	top_free(trial.top);
}

static void what_cannot_have_been_stored_is_refused(void **state)
{
	(void)state;
	static const char bytes[TOP_KEY_MAX + 1];
	struct top *top = top_new(2, 0);
	assert_int_equal(top_restore(top, "a", 1, 0, 0), -EINVAL);
	assert_int_equal(top_restore(top, "a", 1, 3, 3), -EINVAL);
	assert_int_equal(top_restore(top, "a", 1, 3, 4), -EINVAL);
	assert_int_equal(top_restore(top, bytes, sizeof bytes, 3, 0), -EINVAL);
	assert_int_equal(top_restore(top, "a", 1, 3, 2), 0);
	assert_int_equal(top_restore(top, "a", 1, 3, 2), -EINVAL);
	assert_int_equal(top_restore(top, bytes, sizeof bytes - 1, 5, 0), 0);
	assert_int_equal(top_restore(top, "b", 1, 3, 2), -ENOSPC);
	assert_int_equal(top_restore_end(top, 8, 4), -EINVAL);
	assert_int_equal(top_restore_end(top, 8, 3), 0);
	assert_int_equal(top_smallest(top), 3);
	top_free(top);
}

/* What a commit would have written so far. */
struct written {
	uint64_t count[200], error[200];
	char key[200][32];
};

static void write_dirty(struct top *top, struct written *written)
{
	uint32_t n = 0;
	int64_t last = -1;
	for (int64_t i = -1; (i = top_next_dirty(top, (uint32_t)(i + 1))) >= 0; n++) {
		struct top_counter counter = top_at(top, (uint32_t)i);
		assert_true(i > last && i < (int64_t)top_used(top));
		last = i;
		written->count[i] = counter.count;
		written->error[i] = counter.error;
		snprintf(written->key[i], sizeof written->key[i], "%.*s", (int)counter.key_bytes,
		         counter.key);
	}
	assert_int_equal(n, top_dirty(top));
	top_clean(top);
	assert_int_equal(top_next_dirty(top, 0), -1);
	assert_int_equal(top_dirty(top), 0);
}

static void what_changed_is_all_that_need_be_written(void **state)
{
	(void)state;
	static struct trial trial, other;
	static struct written written;
	start(&trial, 200);
	start(&other, 300);
	feed(&other, zipf, 3000);
	for (unsigned commit = 0; commit < 100; commit++) {
		feed(&trial, streams[commit % 6], draw_below(300));
		if (commit % 40 == 39)
			top_merge(trial.top, other.top);
		write_dirty(trial.top, &written);
		for (uint32_t i = 0; i < top_used(trial.top); i++) {
			struct top_counter counter = top_at(trial.top, i);
			assert_int_equal(written.count[i], counter.count);
			assert_int_equal(written.error[i], counter.error);
			assert_int_equal(strlen(written.key[i]), counter.key_bytes);
			assert_memory_equal(written.key[i], counter.key, counter.key_bytes);
		}
	}
	top_add(trial.top, "key 0", 5, 1);
	assert_int_equal(top_dirty(trial.top), 1);
	top_free(trial.top);
	top_free(other.top);
}

/* ---- keys ---- */

static void check_cut(const char *key, size_t bytes, size_t expected)
{
	struct top *top = top_new(2, 0);
	top_add(top, key, bytes, 1);
	struct top_counter counter = top_at(top, 0);
	assert_int_equal(counter.key_bytes, expected);
	assert_memory_equal(counter.key, key, expected);
	assert_true(top_find(top, key, bytes, &counter));
	top_add(top, key, expected, 1);
	assert_int_equal(top_used(top), 1);
	top_free(top);
}

static void a_long_key_is_cut_where_a_character_ends(void **state)
{
	(void)state;
	char key[TOP_KEY_MAX + 10];
	memset(key, 'x', sizeof key);
	check_cut(key, 0, 0);
	check_cut(key, TOP_KEY_MAX, TOP_KEY_MAX);
	check_cut(key, TOP_KEY_MAX + 1, TOP_KEY_MAX);
	static const char *const characters[] = {"\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
	for (unsigned c = 0; c < 3; c++)
		for (size_t back = 1; back <= strlen(characters[c]); back++) {
			memset(key, 'x', sizeof key);
			memcpy(key + TOP_KEY_MAX - back, characters[c], strlen(characters[c]));
			check_cut(key, sizeof key,
			          back < strlen(characters[c]) ? TOP_KEY_MAX - back : TOP_KEY_MAX);
		}
	memset(key, 0xbf, sizeof key); /* no UTF-8 */
	check_cut(key, sizeof key, TOP_KEY_MAX);
	memset(key, 'x', sizeof key);
	key[TOP_KEY_MAX - 1] = (char)0xe2; /* a character that never ends */
	check_cut(key, sizeof key, TOP_KEY_MAX);
	check_cut(key, TOP_KEY_MAX + 1, TOP_KEY_MAX);
}

static void keys_are_bytes(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		size_t bytes;
	} keys[] = {{"", 0}, {"", 1}, {"a", 1}, {"a\0", 2}, {"a\0b", 3}, {"\xff", 1}, {"\xff\xff", 2}};
	struct top *top = top_new(100, 0);
	for (unsigned turn = 1; turn <= 2; turn++)
		for (unsigned i = 0; i < sizeof keys / sizeof keys[0]; i++) {
			struct top_counter counter;
			top_add(top, keys[i].text, keys[i].bytes, 1);
			assert_true(top_find(top, keys[i].text, keys[i].bytes, &counter));
			assert_int_equal(counter.count, turn);
		}
	assert_int_equal(top_used(top), sizeof keys / sizeof keys[0]);
	top_free(top);
}

/* Keys that all belong in the same place of a table with this seed, found by trying: a key that
 * lies one place from its home has the home of the one before it. */
#define HOSTILE          40u
#define HOSTILE_CAPACITY 64u

static void find_hostile(uint64_t seed, uint32_t key[HOSTILE])
{
	unsigned n = 1;
	key[0] = 0;
	for (uint32_t candidate = 1; n < HOSTILE; candidate++) {
		char text[32];
		struct top *top = top_new(HOSTILE_CAPACITY, seed);
		for (unsigned i = 0; i < n; i++)
			top_add(top, text, name(text, key[i]), 1);
		uint32_t before = top_farthest(top);
		top_add(top, text, name(text, candidate), 1);
		if (top_farthest(top) > before)
			key[n++] = candidate;
		top_free(top);
	}
}

static uint32_t farthest_of(uint64_t seed, const uint32_t key[HOSTILE])
{
	char text[32];
	struct top *top = top_new(HOSTILE_CAPACITY, seed);
	for (unsigned i = 0; i < HOSTILE; i++)
		top_add(top, text, name(text, key[i]), 1);
	uint32_t farthest = top_farthest(top);
	top_free(top);
	return farthest;
}

static void keys_chosen_against_one_secret_are_random_to_every_other(void **state)
{
	(void)state;
	uint32_t key[HOSTILE], sum = 0;
	find_hostile(7, key);
	assert_true(farthest_of(7, key) >= HOSTILE - 1);
	for (uint64_t seed = 100; seed < 160; seed++)
		sum += farthest_of(seed, key);
	assert_true(sum / 60 < 8); /* 40 in 128 places: two or three */
	for (unsigned i = 0; i < 60; i++)
		sum += farthest_of(0, key); /* secrets of the kernel, another each time */
	assert_true(sum / 120 < 8);
}

static void memory_is_taken_as_it_is_needed(void **state)
{
	(void)state;
	struct top *top = top_new(TOP_CAPACITY_MAX, 0);
	assert_non_null(top);
	assert_true(top_bytes_max(TOP_CAPACITY_MAX) > UINT64_C(4) << 30);
	assert_true(top_bytes_max(10000) < UINT64_C(4) << 20);
	top_add(top, "a", 1, 1);
	assert_int_equal(top_used(top), 1);
	top_free(top);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_bounds_hold_for_every_key_of_every_stream),
	        cmocka_unit_test(the_bounds_hold_when_keys_occur_many_times_at_once),
	        cmocka_unit_test(an_addition_of_nothing_changes_nothing),
	        cmocka_unit_test(of_equal_counts_the_oldest_gives_way),
	        cmocka_unit_test(lists_of_any_capacities_merge_within_the_bounds_and_go_on),
	        cmocka_unit_test(thirty_days_become_a_month),
	        cmocka_unit_test(lists_that_were_never_full_merge_exactly),
	        cmocka_unit_test(what_a_merged_list_forgot_counts_into_the_bounds_of_new_keys),
	        cmocka_unit_test(a_merge_into_an_empty_list_is_a_copy),
	        cmocka_unit_test(a_restored_list_says_the_same_and_goes_on_within_the_bounds),
	        cmocka_unit_test(what_cannot_have_been_stored_is_refused),
	        cmocka_unit_test(what_changed_is_all_that_need_be_written),
	        cmocka_unit_test(a_long_key_is_cut_where_a_character_ends),
	        cmocka_unit_test(keys_are_bytes),
	        cmocka_unit_test(keys_chosen_against_one_secret_are_random_to_every_other),
	        cmocka_unit_test(memory_is_taken_as_it_is_needed),
	};
	alarm(120);
	draw_init(20261127);
	return cmocka_run_group_tests_name("sink/tally/top", tests, NULL, NULL);
}
