/* SipHash against values that others computed. */
#include "base/siphash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* Appendix A of the paper: key 00 .. 0f, input 00 .. 0e. */
static void the_example_of_the_paper_comes_out(void **state)
{
	(void)state;
	unsigned char bytes[16];
	uint64_t key[2];
	for (unsigned i = 0; i < sizeof bytes; i++)
		bytes[i] = (unsigned char)i;
	memcpy(key, bytes, sizeof key);
	struct siphash hash;
	siphash_init(&hash, key, 2, 4);
	siphash_add(&hash, bytes, 15);
	assert_true(siphash_end(&hash) == 0xa129ca6149be45e5);
	siphash_init(&hash, key, 2, 4);
	assert_true(siphash_end(&hash) == 0x726fdb47dd0e0e31);
}

/* PYTHONHASHSEED=0 python3.11 -c "print(hash(b'hello world, abc'))" */
static void with_fewer_rounds_it_is_the_one_of_python(void **state)
{
	(void)state;
	struct siphash hash;
	siphash_init(&hash, (const uint64_t[]){0, 0}, 1, 3);
	siphash_add(&hash, "hello world, abc", 16);
	assert_true(siphash_end(&hash) == 5876327869744847490u);
}

static void pieces_make_no_difference(void **state)
{
	(void)state;
	static const uint64_t key[] = {7, 9};
	static const char bytes[] = "twenty-nine bytes, in 3 parts";
	size_t n = sizeof bytes - 1;
	struct siphash whole, parts;
	siphash_init(&whole, key, 1, 3);
	siphash_add(&whole, bytes, n);
	uint64_t expected = siphash_end(&whole);
	for (size_t first = 0; first <= n; first++)
		for (size_t second = first; second <= n; second++) {
			siphash_init(&parts, key, 1, 3);
			siphash_add(&parts, bytes, first);
			siphash_add(&parts, bytes + first, second - first);
			siphash_add(&parts, bytes + second, n - second);
			assert_true(siphash_end(&parts) == expected);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_example_of_the_paper_comes_out),
	        cmocka_unit_test(with_fewer_rounds_it_is_the_one_of_python),
	        cmocka_unit_test(pieces_make_no_difference),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
