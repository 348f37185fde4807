/* The stream in one thread: every state, the end of the ring, overruns, damage, counters about to
 * wrap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/stream.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/sandbox.h"

#define SIZE STREAM_SIZE_MIN

struct fixture {
	struct sandbox sandbox;
	struct stream_group group; /* required, the writer heeds it */
	struct stream_writer writer;
	struct stream_reader reader;
	struct shm_error error;
};

static int set_up(void **state)
{
	struct fixture *f = aligned_alloc(SHM_LINE, (sizeof *f + SHM_LINE - 1) / SHM_LINE * SHM_LINE);
	memset(f, 0, sizeof *f);
	*state = f;
	if (sandbox_make(&f->sandbox) != 0 ||
	    stream_create(f->sandbox.directory, "lane", 7, SIZE, &f->error) != 0)
		return -1;
	atomic_store(&f->group.state, GROUP_REQUIRED);
	if (stream_writer_attach(&f->writer, f->sandbox.directory, "lane", 0, &f->error) != 0)
		return -1;
	stream_writer_group(&f->writer, 0, &f->group);
	return stream_reader_attach(&f->reader, f->sandbox.directory, "lane", &f->group.cursor[0], false,
	                            STREAM_FROM_CURSOR, &f->error);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	stream_writer_detach(&f->writer);
	stream_reader_detach(&f->reader);
	sandbox_remove(&f->sandbox);
	free(f);
	return 0;
}

/* Writes n records with the numbers from..; each `length` bytes, filled with the number. False when
 * full. */
static bool write_records(struct stream_writer *writer, uint64_t from, unsigned n, uint32_t length)
{
	char *at = stream_reserve(writer, n * record_bytes(length));
	if (at == NULL)
		return false;
	for (unsigned i = 0; i < n; i++, at += record_bytes(length)) {
		uint64_t *payload = record_put(at, 9, length);
		for (unsigned k = 0; k < length / 8; k++)
			payload[k] = from + i;
	}
	stream_commit(writer, n * record_bytes(length), n);
	return true;
}

/* Reads all there is; asserts that the numbers follow each other from *next on. */
static uint64_t read_all(struct stream_reader *reader, uint64_t *next)
{
	struct record_batch batch;
	uint64_t total = 0;
	while (stream_peek(reader, &batch)) {
		uint64_t n = 0;
		for (const struct record *record; (record = record_next(&batch)) != NULL; n++) {
			uint64_t number;
			assert_int_equal(record->type, 9);
			for (unsigned k = 0; k + 8 <= record->length; k += 8) {
				memcpy(&number, record->payload + k, 8);
				assert_int_equal(number, *next);
			}
			++*next;
		}
		stream_advance(reader, &batch, n);
		total += n;
		if (batch.corrupt)
			break;
	}
	return total;
}

static void an_empty_stream_gives_nothing(void **state)
{
	struct fixture *f = *state;
	struct record_batch batch;
	assert_false(stream_peek(&f->reader, &batch));
	assert_int_equal(stream_waiting_bytes(&f->reader), 0);
}

static void uncommitted_records_are_not_seen(void **state)
{
	struct fixture *f = *state;
	struct record_batch batch;
	char *at = stream_reserve(&f->writer, 800);
	assert_non_null(at);
	record_put(at, 9, 72);
	assert_false(stream_peek(&f->reader, &batch));
	assert_ptr_equal(stream_reserve(&f->writer, 800), at);
}

static void records_come_out_in_order_over_many_laps(void **state)
{
	struct fixture *f = *state;
	unsigned long random = draw_seed(1);
	uint64_t written = 0, read = 0;
	while (f->writer.tail < 50 * SIZE) {
		unsigned n = 1 + draw_next(&random) % 40;
		uint32_t length = 8 * (draw_next(&random) % 30);
		if (length == 0)
			length = 8;
		if (write_records(&f->writer, written, n, length))
			written += n;
		else
			read_all(&f->reader, &read);
	}
	read_all(&f->reader, &read);
	assert_int_equal(read, written);
	assert_int_equal(atomic_load(&f->writer.shared->records), written);
	assert_int_equal(stream_cursor_read(&f->group.cursor[0]), written);
}

static void a_full_stream_refuses_and_takes_again_after_reading(void **state)
{
	struct fixture *f = *state;
	uint64_t written = 0, read = 0;
	while (write_records(&f->writer, written, 1, 1000))
		written++;
	assert_int_equal(written, SIZE / record_bytes(1000));
	assert_null(stream_reserve(&f->writer, record_bytes(1000)));
	assert_int_equal(read_all(&f->reader, &read), written);
	assert_true(write_records(&f->writer, written, 1, 1000));
	assert_int_equal(read_all(&f->reader, &read), 1);
}

static void more_than_half_the_size_is_never_given(void **state)
{
	struct fixture *f = *state;
	assert_null(stream_reserve(&f->writer, SIZE / 2 + 8));
	assert_non_null(stream_reserve(&f->writer, SIZE / 2));
}

static void passing_does_not_free_room_but_settling_does(void **state)
{
	struct fixture *f = *state;
	struct record_batch batch;
	uint64_t n = 0;
	while (write_records(&f->writer, n, 1, 1000))
		n++;
	assert_true(stream_peek(&f->reader, &batch));
	while (record_next(&batch) != NULL)
		;
	stream_pass(&f->reader, &batch, n);
	assert_null(stream_reserve(&f->writer, record_bytes(1000)));
	assert_false(stream_peek(&f->reader, &batch));
	stream_settle(&f->reader);
	assert_non_null(stream_reserve(&f->writer, record_bytes(1000)));
}

static void a_reader_goes_on_at_its_cursor(void **state)
{
	struct fixture *f = *state;
	uint64_t read = 0;
	write_records(&f->writer, 0, 10, 64);
	read_all(&f->reader, &read);
	write_records(&f->writer, 10, 10, 64);
	stream_reader_detach(&f->reader);
	/* died between the cursor's two words: the number of records is a batch behind */
	atomic_store(&f->group.cursor[0].records, 3);
	assert_int_equal(stream_reader_attach(&f->reader, f->sandbox.directory, "lane", &f->group.cursor[0],
	                                      false, STREAM_FROM_CURSOR, &f->error),
	                 0);
	assert_int_equal(atomic_load(&f->group.cursor[0].records), 10);
	assert_int_equal(read_all(&f->reader, &read), 10);
	assert_int_equal(stream_cursor_read(&f->group.cursor[0]), 20);
}

static void the_writer_counts_its_records_anew(void **state)
{
	struct fixture *f = *state;
	uint64_t read = 0, written = 0;
	for (; written < 5000; written += 10) {
		write_records(&f->writer, written, 10, 40);
		read_all(&f->reader, &read);
	}
	stream_writer_detach(&f->writer);
	assert_int_equal(stream_writer_attach(&f->writer, f->sandbox.directory, "lane", 0, &f->error), 0);
	atomic_store(&f->writer.shared->records, written - 10);
	stream_writer_detach(&f->writer);
	assert_int_equal(stream_writer_attach(&f->writer, f->sandbox.directory, "lane", 0, &f->error), 0);
	assert_int_equal(f->writer.records, written);
	assert_int_equal(atomic_load(&f->writer.shared->records), written);
}

static void an_overrun_optional_reader_counts_exactly_what_it_missed(void **state)
{
	struct fixture *f = *state;
	static struct stream_cursor cursor;
	struct stream_reader tap;
	struct record_batch batch;
	uint64_t written = 0, read = 0;
	memset(&cursor, 0, sizeof cursor);
	assert_int_equal(stream_reader_attach(&tap, f->sandbox.directory, "lane", &cursor, true,
	                                      STREAM_FROM_TAIL, &f->error),
	                 0);
	for (; written < 20000; written++) {
		assert_true(write_records(&f->writer, written, 1, 48));
		read_all(&f->reader, &read);
	}
	uint64_t seen = 0, last = 0;
	while (stream_peek(&tap, &batch)) {
		uint64_t n = 0;
		for (const struct record *record; (record = record_next(&batch)) != NULL; n++)
			memcpy(&last, record->payload, 8);
		stream_advance(&tap, &batch, n);
		seen += n;
	}
	assert_int_equal(last, written - 1);
	assert_true(atomic_load(&cursor.missed_records) > 0);
	assert_int_equal(seen + atomic_load(&cursor.missed_records), written);
	assert_int_equal(stream_cursor_read(&cursor), seen);
	assert_true(seen >
	            /* it goes on among what is still there, not at the tail */
	            SIZE / record_bytes(48) / 2);
	stream_reader_detach(&tap);
}

static void a_record_larger_than_the_copy_reaches_an_optional_reader(void **state)
{
	struct fixture *f = *state;
	static struct stream_cursor cursor;
	struct stream_reader tap;
	uint64_t next = 0;
	memset(&cursor, 0, sizeof cursor);
	assert_int_equal(stream_reader_attach(&tap, f->sandbox.directory, "lane", &cursor, true,
	                                      STREAM_FROM_TAIL, &f->error),
	                 0);
	tap.copy_bytes = 512;
	assert_true(write_records(&f->writer, 0, 3, 8000));
	assert_int_equal(read_all(&tap, &next), 3);
	stream_reader_detach(&tap);
}

static void a_reader_can_begin_any_number_of_records_back(void **state)
{
	struct fixture *f = *state;
	uint64_t written = 0, read = 0;
	for (; written < 3000; written++) {
		write_records(&f->writer, written, 1, 48);
		read_all(&f->reader, &read);
	}
	static const unsigned back[] = {0, 1, 7, 100, 500};
	for (unsigned i = 0; i < sizeof back / sizeof *back; i++) {
		static struct stream_cursor cursor;
		struct stream_reader tap;
		memset(&cursor, 0, sizeof cursor);
		assert_int_equal(stream_reader_attach(&tap, f->sandbox.directory, "lane", &cursor, true,
		                                      STREAM_FROM_TAIL, &f->error),
		                 0);
		assert_int_equal(stream_reader_rewind(&tap, back[i]), back[i]);
		uint64_t next = written - back[i];
		assert_int_equal(read_all(&tap, &next), back[i]);
		stream_reader_detach(&tap);
	}
}

static void rewinding_further_than_memory_gives_the_oldest(void **state)
{
	struct fixture *f = *state;
	static struct stream_cursor cursor;
	struct stream_reader tap;
	uint64_t written = 0, read = 0;
	for (; written < 9000; written++) {
		write_records(&f->writer, written, 1, 48);
		read_all(&f->reader, &read);
	}
	memset(&cursor, 0, sizeof cursor);
	assert_int_equal(stream_reader_attach(&tap, f->sandbox.directory, "lane", &cursor, true,
	                                      STREAM_FROM_TAIL, &f->error),
	                 0);
	uint64_t waiting = stream_reader_rewind(&tap, 1u << 30);
	assert_in_range(waiting, SIZE / record_bytes(48) / 2, SIZE / record_bytes(48));
	uint64_t next = written - waiting;
	assert_int_equal(read_all(&tap, &next), waiting);
	stream_reader_detach(&tap);
}

static void a_record_is_found_by_its_position_as_long_as_it_is_there(void **state)
{
	struct fixture *f = *state;
	static struct stream_cursor cursor;
	struct stream_reader tap;
	struct record_batch batch;
	const uint64_t bytes = record_bytes(48);
	uint64_t written = 0, read = 0, found = 0;
	memset(&cursor, 0, sizeof cursor);
	assert_int_equal(stream_reader_attach(&tap, f->sandbox.directory, "lane", &cursor, true,
	                                      STREAM_FROM_TAIL, &f->error),
	                 0);
	assert_int_equal(stream_reader_find(&tap, 0), STREAM_NOT_YET);
	for (; written < 5000; written++) {
		write_records(&f->writer, written, 1, 48);
		read_all(&f->reader, &read);
	}
	assert_int_equal(stream_reader_find(&tap, written * bytes), STREAM_NOT_YET);
	assert_int_equal(stream_reader_find(&tap, 0), STREAM_OVERWRITTEN);
	assert_int_equal(stream_reader_find(&tap, (written - 100) * bytes + 8), STREAM_NO_RECORD);
	for (uint64_t number = written; number-- > 0;) {
		uint64_t payload;
		enum stream_found result = stream_reader_find(&tap, number * bytes);
		if (result != STREAM_FOUND) {
			assert_int_equal(result, STREAM_OVERWRITTEN);
			continue;
		}
		assert_int_equal(found, written - 1 - number); /* none newer was missing */
		found++;
		assert_int_equal(tap.records, number);
		assert_true(stream_peek(&tap, &batch));
		assert_int_equal(batch.position, number * bytes);
		memcpy(&payload, record_next(&batch)->payload, sizeof payload);
		assert_int_equal(payload, number);
	}
	/* All but what the writer may be overwriting, and what lies before a waypoint. */
	assert_in_range(found, SIZE / bytes * 3 / 4, SIZE / bytes);
	stream_reader_detach(&tap);
}

static void a_wrong_length_costs_only_the_records_up_to_the_next_waypoint(void **state)
{
	struct fixture *f = *state;
	uint64_t written = 0, read = 0;
	for (; written < 600; written++)
		assert_true(write_records(&f->writer, written, 1, 48));
	/* damage record 100 */
	memory_unpoison(f->writer.data, SIZE);
	struct record *record = (struct record *)(void *)(f->writer.data + 100 * record_bytes(48));
	record->length = 0x7fffffff;
	assert_int_equal(read_all(&f->reader, &read), 100);
	uint64_t missed = atomic_load(&f->group.cursor[0].missed_records);
	assert_int_equal(atomic_load(&f->group.cursor[0].damaged), 1);
	assert_in_range(missed, 1, 100);
	read += missed;
	read_all(&f->reader, &read);
	assert_int_equal(read, written);
	assert_int_equal(stream_cursor_read(&f->group.cursor[0]) + missed, written);
}

/* Words of another process, which may be anything: readers go on at places where a record can
 * begin. */
static void a_tail_and_waypoints_between_places_of_records_lead_nobody_there(void **state)
{
	struct fixture *f = *state;
	struct stream_shared *shared = f->writer.shared;
	struct record_batch batch;
	uint64_t next = 0;
	assert_true(write_records(&f->writer, 0, 10, 48));
	atomic_store(&shared->tail, f->writer.tail + 3);
	assert_int_equal(read_all(&f->reader, &next), 10);
	assert_int_equal(f->reader.position, f->writer.tail);
	assert_false(stream_peek(&f->reader, &batch));
	/* after damage it looks for a waypoint */
	assert_true(write_records(&f->writer, 10, 10, 48));
	memory_unpoison(f->writer.data, SIZE);
	((struct record *)(void *)(f->writer.data + f->reader.position))->length = UINT32_MAX;
	for (unsigned i = 0; i < STREAM_WAYPOINTS; i++) {
		atomic_store(&shared->waypoint[i].position, f->reader.position + 57 + 2 * i);
		atomic_store(&shared->waypoint[i].records, 11);
	}
	while (stream_peek(&f->reader, &batch)) {
		assert_null(record_next(&batch));
		stream_advance(&f->reader, &batch, 0);
		assert_int_equal(f->reader.position % RECORD_ALIGN, 0);
	}
	assert_int_equal(f->reader.position, f->writer.tail);
}

static void a_tail_far_beyond_what_was_written_holds_up_no_reader(void **state)
{
	struct fixture *f = *state;
	struct stream_cursor cursor = {0};
	struct stream_reader tap;
	struct record_batch batch;
	unsigned looks = 0;
	for (uint64_t i = 0; i < 200; i++)
		assert_true(write_records(&f->writer, i, 1, 48));
	assert_int_equal(stream_reader_attach(&tap, f->sandbox.directory, "lane", &cursor, true,
	                                      STREAM_FROM_OLDEST, &f->error),
	                 0);
	atomic_store(&f->writer.shared->tail, f->writer.tail + SIZE + 4096);
	while (stream_peek(&tap, &batch)) {
		uint64_t n = 0;
		assert_true(looks++ < 1000);
		while (record_next(&batch) != NULL)
			n++;
		stream_advance(&tap, &batch, n);
	}
	assert_int_equal(tap.position, f->writer.tail + SIZE + 4096);
	stream_reader_detach(&tap);
}

/* What the sanitizer sees of a lane: a process that touches more is ended. */
static void under_asan_a_writer_has_what_it_reserved_and_a_reader_its_batch(void **state)
{
#if MEMORY_POISON
	struct fixture *f = *state;
	struct record_batch batch;
	char *at = stream_reserve(&f->writer, 64);
	memset(at, 1, 64);
	assert_true(__asan_address_is_poisoned(at + 64) && __asan_address_is_poisoned(f->writer.data + SIZE));
	pid_t child = fork();
	if (child == 0) {
		(void)dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
		memset(record_put(at, 9, 56), 1, 57);
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	memset(record_put(at, 9, 56), 1, 56);
	stream_commit(&f->writer, 64, 1);
	assert_true(__asan_address_is_poisoned(at) && __asan_address_is_poisoned(at + 63));
	assert_true(stream_peek(&f->reader, &batch));
	assert_false(__asan_address_is_poisoned(batch.at + 63));
	assert_true(__asan_address_is_poisoned(batch.end));
	assert_non_null(record_next(&batch));
	stream_advance(&f->reader, &batch, 1);
	assert_true(write_records(&f->writer, 0, 1, 48));
	assert_true(stream_peek(&f->reader, &batch));
	assert_false(__asan_address_is_poisoned(batch.at));
#else
	(void)state;
	skip();
#endif
}

static void a_cursor_beyond_the_tail_is_mended(void **state)
{
	struct fixture *f = *state;
	uint64_t next = 0;
	write_records(&f->writer, 0, 10, 64);
	stream_reader_detach(&f->reader);
	atomic_store(&f->group.cursor[0].position, 1ull << 40);
	assert_int_equal(stream_reader_attach(&f->reader, f->sandbox.directory, "lane", &f->group.cursor[0],
	                                      false, STREAM_FROM_CURSOR, &f->error),
	                 0);
	assert_int_equal(atomic_load(&f->group.cursor[0].position), 0);
	assert_int_equal(read_all(&f->reader, &next), 10);
}

/* Laps on end with the fixture's reader keeping up; ends with nothing unread. */
static uint64_t write_laps(struct fixture *f, unsigned records)
{
	uint64_t written = 0, read = 0;
	for (; written < records; written++) {
		assert_true(write_records(&f->writer, written, 1, 48));
		read_all(&f->reader, &read);
	}
	return written;
}

/* A second required group, which the writer heeds from its next question on. */
static void join_second(struct fixture *f, struct stream_group *group, struct stream_reader *reader,
                        enum stream_start start)
{
	memset(group, 0, sizeof *group);
	f->writer.group[1] = group;
	assert_int_equal(stream_reader_map(reader, f->sandbox.directory, "lane", false, &f->error), 0);
	stream_reader_begin(reader, &group->cursor[0], start);
}

static void a_group_that_joins_begins_where_the_writer_has_no_leave(void **state)
{
	struct fixture *f = *state;
	static struct stream_group group;
	struct stream_reader joiner;
	uint64_t written = write_laps(f, 5000), read = written;
	join_second(f, &group, &joiner, STREAM_FROM_OLDEST);
	uint64_t first = joiner.position;
	/* Before the writer can see it, it takes more leave than the joiner's place allows. */
	for (; f->writer.limit <= first + SIZE; written++) {
		assert_true(write_records(&f->writer, written, 1, 48));
		read_all(&f->reader, &read);
	}
	atomic_store(&group.state, GROUP_REQUIRED);
	stream_reader_join(&joiner);
	assert_true(joiner.position + SIZE >= f->writer.limit);
	assert_true(joiner.position > first);
	/* It is not far from what it could have had, and has missed nothing: it begins here. */
	assert_true(joiner.position + SIZE <= f->writer.limit + SIZE / 64);
	assert_int_equal(atomic_load(&group.cursor[0].missed_records), 0);
	assert_int_equal(atomic_load(&group.cursor[0].first), joiner.records);
	struct record_batch batch;
	assert_true(stream_peek(&joiner, &batch));
	uint64_t held = joiner.records, next = held;
	while (write_records(&f->writer, written, 1, 48)) {
		written++;
		read_all(&f->reader, &read);
	}
	assert_int_equal(f->writer.limit, joiner.position + SIZE);
	for (const struct record *record; (record = record_next(&batch)) != NULL; held++)
		assert_memory_equal(record->payload, &held, sizeof held);
	assert_int_equal(read_all(&joiner, &next), written - atomic_load(&group.cursor[0].first));
	stream_reader_detach(&joiner);
}

static void a_new_required_group_gets_most_of_the_lane(void **state)
{
	struct fixture *f = *state;
	static struct stream_group group;
	struct stream_reader joiner;
	for (unsigned i = 0; i < 40; i++) {
		uint64_t written = atomic_load(&f->writer.shared->records), read = written;
		for (unsigned k = 0; k < 97; k++, written++) {
			assert_true(write_records(&f->writer, written, 1, 48));
			read_all(&f->reader, &read);
		}
		if (f->writer.tail < SIZE)
			continue;
		join_second(f, &group, &joiner, STREAM_FROM_OLDEST);
		atomic_store(&group.state, GROUP_REQUIRED);
		stream_reader_join(&joiner);
		assert_true(stream_waiting_bytes(&joiner) >= SIZE - SIZE / 8 - SIZE / 64);
		atomic_store(&group.state, GROUP_FREE);
		stream_reader_detach(&joiner);
	}
}

static void a_required_reader_that_was_overrun_counts_what_it_skips(void **state)
{
	struct fixture *f = *state;
	static struct stream_group group;
	struct stream_reader joiner;
	uint64_t written = write_laps(f, 100), read = written;
	/* a cursor that was left behind: no writer heeded it */
	join_second(f, &group, &joiner, STREAM_FROM_OLDEST);
	stream_reader_detach(&joiner);
	for (; written < 3000; written++) {
		assert_true(write_records(&f->writer, written, 1, 48));
		read_all(&f->reader, &read);
	}
	atomic_store(&group.state, GROUP_REQUIRED);
	assert_int_equal(stream_reader_attach(&joiner, f->sandbox.directory, "lane", &group.cursor[0], false,
	                                      STREAM_FROM_CURSOR, &f->error),
	                 0);
	uint64_t missed = atomic_load(&group.cursor[0].missed_records), next = missed;
	assert_true(missed > 0);
	assert_int_equal(atomic_load(&group.cursor[0].damaged), 0);
	assert_int_equal(read_all(&joiner, &next), written - missed);
	assert_int_equal(next, written);
	assert_int_equal(stream_cursor_read(&group.cursor[0]), written - missed);
	stream_reader_detach(&joiner);
	/* and it is not forgotten by the next */
	assert_int_equal(stream_reader_attach(&joiner, f->sandbox.directory, "lane", &group.cursor[0], false,
	                                      STREAM_FROM_CURSOR, &f->error),
	                 0);
	assert_int_equal(atomic_load(&group.cursor[0].missed_records), missed);
	stream_reader_detach(&joiner);
}

/* The next life of a writer may do what the last may have done, and no more before it has
 * looked. */
static void a_writer_s_next_life_asks_before_it_writes(void **state)
{
	struct fixture *f = *state;
	static struct stream_group group;
	struct stream_reader joiner;
	uint64_t written = write_laps(f, 5000);
	uint64_t limit = atomic_load(&f->writer.shared->limit),
	         intent = atomic_load(&f->writer.shared->intent);
	assert_true(intent <= limit && limit != 0);
	stream_writer_detach(&f->writer);
	join_second(f, &group, &joiner, STREAM_FROM_OLDEST);
	atomic_store(&group.state, GROUP_REQUIRED);
	stream_reader_join(&joiner);
	assert_true(joiner.position + SIZE >= limit);
	assert_int_equal(stream_writer_attach(&f->writer, f->sandbox.directory, "lane", 0, &f->error), 0);
	stream_writer_group(&f->writer, 0, &f->group);
	stream_writer_group(&f->writer, 1, &group);
	assert_true(write_records(&f->writer, written, 1, 48));
	assert_true(atomic_load(&f->writer.shared->limit) >= intent);
	assert_true(atomic_load(&f->writer.shared->limit) <= joiner.position + SIZE);
	stream_reader_detach(&joiner);
}

/* The writer stores tail and records one after the other and may rest between them for long. */
static void a_group_that_begins_at_the_tail_numbers_its_records_right(void **state)
{
	struct fixture *f = *state;
	static struct stream_group group;
	struct stream_reader joiner;
	uint64_t written = write_laps(f, 5000);
	for (unsigned step = 0; step < 300; step++) {
		assert_true(write_records(&f->writer, written, 10, 48));
		written += 10;
		atomic_store(&f->writer.shared->records, written - 10);
		for (unsigned i = 0; i < 2; i++) {
			join_second(f, &group, &joiner, i == 0 ? STREAM_FROM_TAIL : STREAM_FROM_OLDEST);
			uint64_t waiting = 0;
			struct record_batch batch;
			while (stream_peek(&joiner, &batch)) {
				uint64_t n = 0;
				while (record_next(&batch) != NULL)
					n++;
				waiting += n;
				stream_pass(&joiner, &batch, n);
			}
			assert_int_equal(atomic_load(&group.cursor[0].first) + waiting, written);
			stream_reader_detach(&joiner);
		}
		atomic_store(&f->writer.shared->records, written);
		uint64_t read = written - 10;
		read_all(&f->reader, &read);
	}
}

static void positions_near_the_top_of_64_bits_still_order(void **state)
{
	struct fixture *f = *state;
	/* 2^63: 29,000 years at 10 GB/s, and the sign bit of a careless cast */
	uint64_t top = 1ull << 63;
	stream_writer_detach(&f->writer);
	stream_reader_detach(&f->reader);
	assert_int_equal(stream_writer_attach(&f->writer, f->sandbox.directory, "lane", 0, &f->error), 0);
	atomic_store(&f->writer.shared->tail, top - SIZE / 2);
	atomic_store(&f->writer.shared->intent, top - SIZE / 2);
	atomic_store(&f->group.cursor[0].position, top - SIZE / 2);
	stream_writer_detach(&f->writer);
	assert_int_equal(stream_writer_attach(&f->writer, f->sandbox.directory, "lane", 0, &f->error), 0);
	stream_writer_group(&f->writer, 0, &f->group);
	assert_int_equal(stream_reader_attach(&f->reader, f->sandbox.directory, "lane", &f->group.cursor[0],
	                                      false, STREAM_FROM_CURSOR, &f->error),
	                 0);
	uint64_t written = 0, read = 0;
	for (; written < 4000; written++) {
		assert_true(write_records(&f->writer, written, 1, 48));
		read_all(&f->reader, &read);
	}
	assert_int_equal(read, written);
}

static void readers_cannot_write_the_data(void **state)
{
	struct fixture *f = *state;
	write_records(&f->writer, 0, 1, 64);
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];
	unsigned found = 0;
	uintptr_t data = (uintptr_t)f->reader.data;
	while (fgets(line, sizeof line, maps) != NULL) {
		unsigned long from, to;
		char rights[8];
		if (sscanf(line, "%lx-%lx %7s", &from, &to, rights) == 3 && data >= from && data < to) {
			assert_int_equal(rights[1], '-');
			found++;
		}
	}
	fclose(maps);
	assert_int_equal(found, 1);
}

static void another_build_is_refused(void **state)
{
	struct fixture *f = *state;
	char path[256];
	snprintf(path, sizeof path, "%s/lane", f->sandbox.directory);
	int fd = open(path, O_RDWR);
	uint64_t other = segment_layout_hash() + 1;
	assert_int_equal(pwrite(fd, &other, sizeof other, offsetof(struct segment_header, layout_hash)),
	                 sizeof other);
	close(fd);
	struct stream_writer writer;
	assert_int_equal(stream_writer_attach(&writer, f->sandbox.directory, "lane", 0, &f->error), -EPROTO);
	assert_non_null(strstr(f->error.text, "another build"));
}

static void a_file_that_is_no_segment_is_refused(void **state)
{
	struct fixture *f = *state;
	struct segment segment;
	char path[256];
	snprintf(path, sizeof path, "%s/noise", f->sandbox.directory);
	FILE *noise = fopen(path, "w");
	for (int i = 0; i < 10000; i++)
		fputc(i * 7, noise);
	fclose(noise);
	assert_int_equal(segment_attach(&segment, f->sandbox.directory, "noise", SEGMENT_LANE, SEGMENT_READ,
	                                &f->error),
	                 -EPROTO);
	assert_int_equal(segment_attach(&segment, f->sandbox.directory, "lane", SEGMENT_QUEUE, SEGMENT_READ,
	                                &f->error),
	                 -EPROTO);
	assert_int_equal(segment_attach(&segment, f->sandbox.directory, "absent", SEGMENT_LANE, SEGMENT_READ,
	                                &f->error),
	                 -ENOENT);
}

static void sizes_that_are_no_powers_of_two_are_refused(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(stream_create(f->sandbox.directory, "odd", 7, SIZE + 4096, &f->error), -EINVAL);
	assert_int_equal(stream_create(f->sandbox.directory, "small", 7, SIZE / 2, &f->error), -EINVAL);
	assert_int_equal(stream_create(f->sandbox.directory, "lane", 7, SIZE, &f->error), -EEXIST);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        T(an_empty_stream_gives_nothing),
	        T(uncommitted_records_are_not_seen),
	        T(records_come_out_in_order_over_many_laps),
	        T(a_full_stream_refuses_and_takes_again_after_reading),
	        T(more_than_half_the_size_is_never_given),
	        T(passing_does_not_free_room_but_settling_does),
	        T(a_reader_goes_on_at_its_cursor),
	        T(the_writer_counts_its_records_anew),
	        T(an_overrun_optional_reader_counts_exactly_what_it_missed),
	        T(a_record_larger_than_the_copy_reaches_an_optional_reader),
	        T(a_reader_can_begin_any_number_of_records_back),
	        T(rewinding_further_than_memory_gives_the_oldest),
	        T(a_record_is_found_by_its_position_as_long_as_it_is_there),
	        T(a_wrong_length_costs_only_the_records_up_to_the_next_waypoint),
	        T(a_tail_and_waypoints_between_places_of_records_lead_nobody_there),
	        T(a_tail_far_beyond_what_was_written_holds_up_no_reader),
	        T(under_asan_a_writer_has_what_it_reserved_and_a_reader_its_batch),
	        T(a_cursor_beyond_the_tail_is_mended),
	        T(a_group_that_joins_begins_where_the_writer_has_no_leave),
	        T(a_new_required_group_gets_most_of_the_lane),
	        T(a_required_reader_that_was_overrun_counts_what_it_skips),
	        T(a_writer_s_next_life_asks_before_it_writes),
	        T(a_group_that_begins_at_the_tail_numbers_its_records_right),
	        T(positions_near_the_top_of_64_bits_still_order),
	        T(readers_cannot_write_the_data),
	        T(another_build_is_refused),
	        T(a_file_that_is_no_segment_is_refused),
	        T(sizes_that_are_no_powers_of_two_are_refused),
	};
	alarm(60);
	return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
