/* High-water marks of what waits, in a running instance whose reader comes and goes. */
#include "look/peaks.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "shm/topic.h"
#include "tests/fixture/instance.h"

#define RECORD_BYTES 72u

static struct sandbox sandbox;
static struct snapshot *snapshot;
static struct snapshot_source *source;
static struct peaks *peaks;
static struct instance instance;
static struct topic_writer writer;
static struct topic_reader reader;

static const struct test_topic topics[] = {{"ip", 1 << 20, 1, {"writer.0"}, "tally"}};

static int make(void **state)
{
	(void)state;
	struct shm_error error = {""};
	snapshot = calloc(1, sizeof *snapshot);
	source = calloc(1, sizeof *source);
	peaks = calloc(1, sizeof *peaks);
	if (snapshot == NULL || source == NULL || peaks == NULL || sandbox_make(&sandbox) != 0 ||
	    instance_make(sandbox.directory, topics, 1, &error) != 0 ||
	    instance_attach(&instance, "test", SEGMENT_READ, &error) != 0 ||
	    topic_writer_attach(&writer, &instance, "ip", "writer.0", &error) != 0 ||
	    topic_reader_attach_stage(&reader, &instance, "ip", "tally", (struct topic_share){.n = 1},
	                              &error) != 0 ||
	    snapshot_open(source, "test", &error) != 0) {
		print_error("%s\n", error.text);
		return -1;
	}
	return 0;
}

static int unmake(void **state)
{
	(void)state;
	snapshot_close(source);
	topic_reader_detach(&reader);
	topic_writer_detach(&writer);
	instance_detach(&instance);
	free(snapshot);
	free(source);
	free(peaks);
	sandbox_remove(&sandbox);
	return 0;
}

static void write_records(unsigned n)
{
	char *at = stream_reserve(&writer.stream, n * RECORD_BYTES);
	assert_non_null(at);
	for (unsigned i = 0; i < n; i++)
		memset(record_put(at + i * RECORD_BYTES, 1, 64), 0, 64);
	stream_commit(&writer.stream, n * RECORD_BYTES, n);
}

static void read_all(void)
{
	struct record_batch batch;
	unsigned lane, n = 0;
	while (topic_peek(&reader, &lane, &batch)) {
		for (n = 0; record_next(&batch) != NULL;)
			n++;
		stream_advance(&reader.lane[lane], &batch, n);
	}
}

static uint64_t most(void)
{
	struct shm_error error;
	assert_int_equal(snapshot_take(source, snapshot, &error), 0);
	return peaks_of(peaks, snapshot, 0, 0, &snapshot->topic[0].lane[0].group[0]);
}

static void a_burst_between_two_scrapes_is_remembered_for_a_minute(void **state)
{
	(void)state;
	uint64_t now = 1000 * PEAKS_WINDOW_NS;
	assert_int_equal(most(), 0);
	peaks_sample(peaks, source, now);
	write_records(50);
	peaks_sample(peaks, source, now += PEAKS_SAMPLE_NS);
	read_all();
	peaks_sample(peaks, source, now += PEAKS_SAMPLE_NS);
	assert_int_equal(most(), 50 * RECORD_BYTES);
	assert_int_equal(snapshot->topic[0].lane[0].group[0].waiting_bytes, 0);
	/* any number may ask */
	assert_int_equal(most(), 50 * RECORD_BYTES);
	write_records(20);
	peaks_sample(peaks, source, now += PEAKS_SAMPLE_NS);
	read_all();
	peaks_sample(peaks, source, now = 1001 * PEAKS_WINDOW_NS);
	assert_int_equal(most(), 50 * RECORD_BYTES);
	write_records(10);
	peaks_sample(peaks, source, now += PEAKS_SAMPLE_NS);
	read_all();
	peaks_sample(peaks, source, now = 1002 * PEAKS_WINDOW_NS);
	assert_int_equal(most(), 10 * RECORD_BYTES);
	/* looked at late: all is long ago */
	peaks_sample(peaks, source, now = 1010 * PEAKS_WINDOW_NS);
	assert_int_equal(most(), 0);
}

static void what_waits_now_counts_although_nobody_has_looked(void **state)
{
	(void)state;
	peaks_sample(peaks, source, PEAKS_WINDOW_NS);
	assert_int_equal(most(), 0);
	write_records(3);
	assert_int_equal(most(), 3 * RECORD_BYTES);
}

static void a_group_under_another_name_begins_anew(void **state)
{
	(void)state;
	struct stream_group *group = reader.group;
	write_records(5);
	(void)most();
	peaks_sample(peaks, source, PEAKS_WINDOW_NS);
	read_all();
	assert_int_equal(most(), 5 * RECORD_BYTES);
	strcpy(group->name, "other");
	peaks_sample(peaks, source, PEAKS_WINDOW_NS + 1);
	assert_int_equal(most(), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)
	const struct CMUnitTest tests[] = {
	        TEST(a_burst_between_two_scrapes_is_remembered_for_a_minute),
	        TEST(what_waits_now_counts_although_nobody_has_looked),
	        TEST(a_group_under_another_name_begins_anew),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
