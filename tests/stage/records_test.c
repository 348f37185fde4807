/* Records from a file: whole files, long records, and every place at which a file may end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "stage/records.h"

#define MANY 100000u

/* Writes a record whose payload is `length` bytes of its type. */
static void put(FILE *file, uint16_t type, uint32_t length)
{
	size_t bytes = record_bytes(length);
	char *record = calloc(1, bytes);
	assert_non_null(record);
	memset(record_put(record, type, length), type, length);
	assert_int_equal(fwrite(record, 1, bytes, file), bytes);
	free(record);
}

static FILE *make(void)
{
	FILE *file = tmpfile();
	assert_non_null(file);
	return file;
}

static uint64_t count(struct records *records)
{
	struct record_batch batch;
	uint64_t n = 0;
	while (records_read(records, &batch)) {
		assert_true(batch.at < batch.end);
		for (; record_next(&batch) != NULL; n++)
			assert_false(batch.corrupt);
		assert_false(batch.corrupt);
	}
	return n;
}

static void a_file_of_any_size_is_read_record_by_record(void **state)
{
	(void)state;
	FILE *file = make();
	for (unsigned i = 0; i < MANY; i++)
		put(file, (uint16_t)i, i % 100);
	rewind(file);
	struct records records = {.file = file};
	struct record_batch batch;
	const struct record *record;
	unsigned i = 0;
	while (records_read(&records, &batch))
		for (; (record = record_next(&batch)) != NULL; i++) {
			assert_int_equal(batch.type, (uint16_t)i);
			assert_int_equal(batch.length, i % 100);
			if (batch.length > 0)
				assert_int_equal(record->payload[batch.length - 1], i & 0xff);
		}
	assert_int_equal(i, MANY);
	assert_int_equal(records_end(&records), 0);
	(void)fclose(file);
}

static void an_empty_file_has_no_records_and_is_no_error(void **state)
{
	(void)state;
	FILE *file = make();
	struct records records = {.file = file};
	assert_int_equal(count(&records), 0);
	assert_int_equal(records_end(&records), 0);
	(void)fclose(file);
}

static void a_record_longer_than_a_piece_is_read_whole(void **state)
{
	(void)state;
	FILE *file = make();
	put(file, 1, 5);
	put(file, 2, 5 * RECORDS_PIECE_BYTES);
	put(file, 3, 0);
	rewind(file);
	struct records records = {.file = file};
	assert_int_equal(count(&records), 3);
	assert_int_equal(records_end(&records), 0);
	(void)fclose(file);
}

static void a_file_cut_at_any_byte_gives_what_is_whole_and_an_error(void **state)
{
	(void)state;
	for (size_t cut = 0; cut <= record_bytes(5) + record_bytes(9); cut++) {
		FILE *file = make();
		put(file, 1, 5);
		put(file, 2, 9);
		assert_int_equal(fflush(file), 0);
		assert_int_equal(ftruncate(fileno(file), (off_t)cut), 0);
		rewind(file);
		struct records records = {.file = file};
		uint64_t whole = (cut >= record_bytes(5)) + (cut >= record_bytes(5) + record_bytes(9));
		assert_int_equal(count(&records), whole);
		bool between = cut == 0 || cut == record_bytes(5) || cut == record_bytes(5) + record_bytes(9);
		assert_int_equal(records_end(&records), between ? 0 : -EINVAL);
		(void)fclose(file);
	}
}

static void a_length_that_the_file_does_not_have_takes_no_memory(void **state)
{
	(void)state;
	FILE *file = make();
	struct record head = {.length = UINT32_MAX, .type = 1};
	assert_int_equal(fwrite(&head, sizeof head, 1, file), 1);
	rewind(file);
	struct records records = {.file = file};
	assert_int_equal(count(&records), 0);
	assert_true(records.room <= RECORDS_PIECE_BYTES);
	assert_int_equal(records_end(&records), -EINVAL);
	(void)fclose(file);
}

static void a_file_that_cannot_be_read_is_an_error(void **state)
{
	(void)state;
	FILE *folder = fopen("/", "r");
	assert_non_null(folder);
	struct records records = {.file = folder};
	assert_int_equal(count(&records), 0);
	assert_int_equal(records_end(&records), -EISDIR);
	(void)fclose(folder);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_file_of_any_size_is_read_record_by_record),
	        cmocka_unit_test(an_empty_file_has_no_records_and_is_no_error),
	        cmocka_unit_test(a_record_longer_than_a_piece_is_read_whole),
	        cmocka_unit_test(a_file_cut_at_any_byte_gives_what_is_whole_and_an_error),
	        cmocka_unit_test(a_length_that_the_file_does_not_have_takes_no_memory),
	        cmocka_unit_test(a_file_that_cannot_be_read_is_an_error),
	};
	alarm(60);
	log_init("test", LOG_ERROR, LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
