/* Names as numbers: none is lost, none is taken for another, and nobody can choose names that make
 * it slow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sink/tally/names.h"
#include "tests/fixture/draw.h"

#define NONE UINT32_MAX

static void start(struct names *names, uint64_t limit)
{
	assert_int_equal(names_init(names, limit, 0, 1), 0);
}

static uint32_t take(struct names *names, const char *text, size_t bytes)
{
	struct names_key key;
	memset(&key, 0xee, sizeof key); /* what a name before it has left */
	assert_true(names_key_set(&key, text, bytes));
	names_hash(names, &key);
	const struct names_text *name = names_take(names, &key);
	return name == NULL ? NONE : name->number;
}

static void names_get_numbers_in_the_order_in_which_they_come(void **state)
{
	(void)state;
	struct names names;
	start(&names, 100);
	assert_int_equal(take(&names, "anna", 4), 0);
	assert_int_equal(take(&names, "", 0), 1);
	assert_int_equal(take(&names, "bert", 4), 2);
	assert_int_equal(take(&names, "anna", 4), 0);
	assert_int_equal(take(&names, "", 0), 1);
	assert_int_equal(names.n, 3);
	assert_int_equal(names_at(&names, 2)->bytes, 4);
	assert_memory_equal(names_at(&names, 2)->text, "bert", 4);
	names_fini(&names);
}

static void names_of_all_lengths_that_begin_alike_are_told_apart(void **state)
{
	(void)state;
	struct names names;
	char text[NAMES_BYTES_MAX + 1] = {0};
	start(&names, 1000);
	for (unsigned round = 0; round < 2; round++)
		for (unsigned bytes = 0; bytes <= NAMES_BYTES_MAX; bytes++) {
			memset(text, 0, sizeof text);
			assert_int_equal(take(&names, text, bytes), bytes);
		}
	struct names_key key;
	assert_false(names_key_set(&key, text, NAMES_BYTES_MAX + 1));
	memset(text, 'a', NAMES_BYTES_MAX);
	for (unsigned i = 0; i < NAMES_BYTES_MAX; i++) {
		text[i] = 'b';
		assert_int_equal(take(&names, text, NAMES_BYTES_MAX), NAMES_BYTES_MAX + 1 + i);
		text[i] = 'a';
	}
	names_fini(&names);
}

static void over_the_limit_new_names_have_no_number_and_known_ones_keep_theirs(void **state)
{
	(void)state;
	struct names names;
	start(&names, 2);
	assert_int_equal(take(&names, "a", 1), 0);
	assert_int_equal(take(&names, "b", 1), 1);
	assert_int_equal(take(&names, "c", 1), NONE);
	assert_int_equal(take(&names, "b", 1), 1);
	assert_int_equal(names.n, 2);
	names_fini(&names);
	assert_int_equal(names_init(&names, 2, 3, 1), 0); /* what is stored has room */
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(take(&names, &"abc"[i], 1), i);
	assert_int_equal(take(&names, "d", 1), NONE);
	names_fini(&names);
	assert_int_equal(names_init(&names, NAMES_LIMIT_MAX + 1ull, 0, 1), -EINVAL);
}

static unsigned write_name(char text[NAMES_BYTES_MAX], uint64_t n)
{
	unsigned bytes = (unsigned)sprintf(text, "user%llu", (unsigned long long)n);
	/* Some are long, and differ in the middle alone. */
	if (n % 7 == 0) {
		memset(text + bytes, 'x', 150);
		bytes += 150;
	}
	return bytes;
}

static void a_table_that_has_grown_finds_all_names(void **state)
{
	(void)state;
	enum { N = 100000 };
	struct names names;
	char text[NAMES_BYTES_MAX + 1];
	start(&names, N);
	for (uint64_t i = 0; i < N; i++)
		assert_int_equal(take(&names, text, write_name(text, i)), i);
	for (uint64_t i = 0; i < N; i++) {
		struct names_key key;
		unsigned bytes = write_name(text, i);
		assert_true(names_key_set(&key, text, bytes));
		names_hash(&names, &key);
		assert_ptr_equal(names_take(&names, &key), names_at(&names, i));
		assert_int_equal(names_at(&names, i)->bytes, bytes);
		assert_memory_equal(names_at(&names, i)->text, text, bytes);
	}
	assert_int_equal(names.n, N);
	assert_true(names_bytes_max(N) > names.used * 8);
	names_fini(&names);
}

/* How far the farthest name lies from its home. */
static unsigned farthest(const struct names *names)
{
	unsigned most = 0, mask = (1u << names->slot_bits) - 1;
	for (unsigned i = 0; i <= mask; i++) {
		unsigned far = (i - (names->slot[i].tag >> (32 - names->slot_bits))) & mask;
		if (names->slot[i].where_plus != 0 && far > most)
			most = far;
	}
	return most;
}

/* 60 secrets; a table of 43,690 names in 65,536 slots, as full as it gets. Random ones lie 30 to 90
 * from home at the farthest. */
static void names_that_follow_a_pattern_lie_no_farther_from_home_than_random_ones(void **state)
{
	(void)state;
	enum { N = 43690, PATTERNS = 4 };
	for (uint64_t seed = 1; seed <= 15; seed++)
		for (unsigned pattern = 0; pattern < PATTERNS; pattern++) {
			struct names names;
			assert_int_equal(names_init(&names, N, 0, seed * 7919 + pattern), 0);
			for (uint64_t i = 0; i < N; i++) {
				uint64_t word[4] = {0};
				word[pattern] = pattern == 3 ? i << 48 : i * (pattern == 2 ? 65536 : 1);
				assert_int_equal(take(&names, (const char *)word, sizeof word), i);
			}
			assert_int_equal(names.slot_bits, 16);
			assert_true(farthest(&names) < 300);
			names_fini(&names);
		}
}

int main(void)
{
	alarm(120);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(names_get_numbers_in_the_order_in_which_they_come),
	        cmocka_unit_test(names_of_all_lengths_that_begin_alike_are_told_apart),
	        cmocka_unit_test(over_the_limit_new_names_have_no_number_and_known_ones_keep_theirs),
	        cmocka_unit_test(a_table_that_has_grown_finds_all_names),
	        cmocka_unit_test(names_that_follow_a_pattern_lie_no_farther_from_home_than_random_ones),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
