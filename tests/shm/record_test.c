/* Records in memory that somebody else writes. */
#include "shm/record.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shm/record_copy.h"

/* A page that may be read; nothing behind it may. */
static char *make_page(size_t *bytes)
{
	*bytes = (size_t)sysconf(_SC_PAGESIZE);
	char *page = mmap(NULL, 2 * *bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(page != MAP_FAILED);
	assert_int_equal(mprotect(page + *bytes, *bytes, PROT_NONE), 0);
	return page;
}

static void a_batch_that_ends_within_a_header_is_corrupt_and_nothing_is_read_behind_it(void **state)
{
	size_t bytes;
	char *page = make_page(&bytes), *end = page + bytes;
	(void)state;
	for (size_t left = 1; left < sizeof(struct record); left++) {
		struct record_batch batch = {.at = end - left, .end = end, .position = 7};
		assert_null(record_next(&batch));
		assert_true(batch.corrupt);
		assert_ptr_equal(batch.at, end - left);
		assert_int_equal(batch.position, 7);
	}
	munmap(page, 2 * bytes);
}

static void the_end_of_a_batch_is_no_damage(void **state)
{
	size_t bytes;
	char *page = make_page(&bytes), *end = page + bytes;
	(void)state;
	(void)record_put(end - sizeof(struct record), 300, 0);
	struct record_batch batch = {.at = end - sizeof(struct record), .end = end};
	assert_non_null(record_next(&batch));
	assert_int_equal(batch.length, 0);
	assert_int_equal(batch.type, 300);
	assert_null(record_next(&batch));
	assert_false(batch.corrupt);
	munmap(page, 2 * bytes);
}

static void a_length_past_the_end_is_damage(void **state)
{
	size_t bytes;
	char *page = make_page(&bytes), *end = page + bytes;
	(void)state;
	for (uint32_t length = 9; length != 0; length <<= 1) {
		(void)record_put(end - 16, 300, length);
		struct record_batch batch = {.at = end - 16, .end = end};
		assert_null(record_next(&batch));
		assert_true(batch.corrupt);
	}
	munmap(page, 2 * bytes);
}

static void a_header_that_changes_after_the_check_does_not_matter(void **state)
{
	size_t bytes;
	char *page = make_page(&bytes), *end = page + bytes;
	struct record_copy copy = {0};
	(void)state;
	memcpy(record_put(end - 16, 300, 8), "abcdefgh", 8);
	struct record_batch batch = {.at = end - 16, .end = end};
	const struct record *record = record_next(&batch);
	assert_non_null(record);
	(void)record_put(end - 16, 1, 1u << 30);
	assert_int_equal(batch.length, 8);
	assert_int_equal(batch.type, 300);
	assert_ptr_equal(batch.at, end);
	record = record_copy(&copy, record->payload, batch.length, batch.type);
	assert_non_null(record);
	memset(end - 16, 0xff, 16);
	assert_int_equal(record->length, 8);
	assert_int_equal(record->type, 300);
	assert_memory_equal(record->payload, "abcdefgh", 8);
	record_copy_fini(&copy);
	munmap(page, 2 * bytes);
}

static void a_copy_grows_to_what_it_holds(void **state)
{
	static char payload[100000];
	struct record_copy copy = {0};
	(void)state;
	memset(payload, 'x', sizeof payload);
	for (uint32_t length = 0; length <= sizeof payload; length = 3 * length + 1) {
		const struct record *record = record_copy(&copy, payload, length, 256);
		assert_non_null(record);
		assert_int_equal(record->length, length);
		assert_memory_equal(record->payload, payload, length);
	}
	record_copy_fini(&copy);
	assert_null(copy.record);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_batch_that_ends_within_a_header_is_corrupt_and_nothing_is_read_behind_it),
	        cmocka_unit_test(the_end_of_a_batch_is_no_damage),
	        cmocka_unit_test(a_length_past_the_end_is_damage),
	        cmocka_unit_test(a_header_that_changes_after_the_check_does_not_matter),
	        cmocka_unit_test(a_copy_grows_to_what_it_holds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
