/* The supervisor's look at full topics: what it says of a group that nobody reads, of a slow one,
 * of a stage, and how often. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "supervisor/watch.h"
#include "tests/fixture/instance.h"

#define LANE_BYTES   (64u * 1024)
#define RECORD_BYTES 64u
#define REMINDER_NS  (60 * NS_PER_SEC)

struct fixture {
	struct sandbox sandbox;
	struct instance instance;
	struct topic_writer writer;
	struct topic_reader tally;
	struct watch watch;
	struct config *config;
	struct shm_error error;
	uint64_t now_ns;
	FILE *log; /* in place of standard error */
	int standard_error;
	char text[8192]; /* what the last look said */
};

static struct config *limits(const char *ip)
{
	char text[160], *errors = NULL;
	int n = snprintf(text, sizeof text, "topics: {ip: %s}", ip);
	struct config *config = config_load_text("test.yaml", text, (size_t)n, NULL, 0, &errors);
	if (config == NULL)
		fail_msg("%s", errors);
	return config;
}

static int set_up(void **state)
{
	static const struct test_topic topic = {"ip", LANE_BYTES, 1, {"w.0"}, "tally"};
	struct fixture *f = calloc(1, sizeof *f);
	*state = f;
	if (f == NULL || sandbox_make(&f->sandbox) != 0 ||
	    instance_make(f->sandbox.directory, &topic, 1, &f->error) != 0 ||
	    instance_attach(&f->instance, "test", SEGMENT_WRITE, &f->error) != 0 ||
	    topic_writer_attach(&f->writer, &f->instance, "ip", "w.0", &f->error) != 0 ||
	    topic_reader_attach_stage(&f->tally, &f->instance, "ip", "tally", (struct topic_share){.n = 1},
	                              &f->error) != 0)
		return -1;
	f->config = limits("{}");
	f->now_ns = 1000 * NS_PER_SEC;
	f->watch.reminder_ns = REMINDER_NS;
	f->log = tmpfile();
	f->standard_error = dup(STDERR_FILENO);
	log_init("supervisor", LOG_INFO, LOG_TEXT);
	return f->log == NULL || f->standard_error < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	watch_close(&f->watch);
	topic_reader_detach(&f->tally);
	topic_writer_detach(&f->writer);
	instance_detach(&f->instance);
	sandbox_remove(&f->sandbox);
	config_free(f->config);
	fclose(f->log);
	close(f->standard_error);
	free(f);
	return 0;
}

static void open_watch(struct fixture *f)
{
	watch_open(&f->watch, f->sandbox.directory, "test", f->instance.page);
}

/* A look `after_ns` after the last one; text becomes what it said. Returns how many lines. */
static unsigned look(struct fixture *f, uint64_t after_ns)
{
	f->now_ns += after_ns;
	rewind(f->log);
	assert_int_equal(ftruncate(fileno(f->log), 0), 0);
	dup2(fileno(f->log), STDERR_FILENO);
	assert_true(watch_step(&f->watch, f->config, f->now_ns) > f->now_ns);
	dup2(f->standard_error, STDERR_FILENO);
	rewind(f->log);
	size_t n = fread(f->text, 1, sizeof f->text - 1, f->log);
	f->text[n] = '\0';
	unsigned lines = 0;
	for (const char *at = f->text; (at = strchr(at, '\n')) != NULL; at++)
		lines++;
	return lines;
}

static void says(struct fixture *f, const char *part)
{
	if (strstr(f->text, part) == NULL)
		fail_msg("\"%s\" is not in: %s", part, f->text);
}

/* A group of an outside program that comes once and leaves. */
static void visit(struct fixture *f, const char *group)
{
	struct topic_reader reader;
	assert_int_equal(topic_reader_attach(&reader, &f->instance, "ip", group, GROUP_REQUIRED,
	                                     STREAM_FROM_TAIL, &f->error),
	                 0);
	topic_reader_detach(&reader);
}

static void let_tally_read(struct fixture *f)
{
	unsigned lane;
	struct record_batch batch;
	while (topic_peek(&f->tally, &lane, &batch)) {
		uint64_t n = 0;
		while (record_next(&batch) != NULL)
			n++;
		stream_advance(&f->tally.lane[lane], &batch, n);
	}
}

/* Writes n records; what finds no room is dropped and counted. */
static void write_records(struct fixture *f, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		char *at = stream_reserve(&f->writer.stream, RECORD_BYTES);
		if (at == NULL) {
			ledger_add(&f->writer.stream.shared->ledger.dropped, 1);
			continue;
		}
		memset(record_put(at, 7, RECORD_BYTES - sizeof(struct record)), 0,
		       RECORD_BYTES - sizeof(struct record));
		stream_commit(&f->writer.stream, RECORD_BYTES, 1);
	}
}

static void a_group_that_nobody_reads_is_named_with_its_remedy(void **state)
{
	struct fixture *f = *state;
	open_watch(f);
	assert_int_equal(look(f, 0), 0);
	visit(f, "archive");
	assert_int_equal(look(f, NS_PER_SEC), 0);
	write_records(f, 500); /* half full: nothing to say */
	let_tally_read(f);
	assert_int_equal(look(f, NS_PER_SEC), 0);
	write_records(f, 1000);
	let_tally_read(f);
	assert_int_equal(look(f, NS_PER_SEC), 1);
	says(f, "warn supervisor[");
	says(f,
	     "a topic is full: its writers wait for a group that nobody reads topic=ip group=archive no_reader_since=2");
	says(f, "waiting_records=1024 dropped=476 refused=0");
	says(f, "millrace consume ip --group archive --forget --instance test");
}

static void it_is_said_again_at_intervals_and_when_it_is_over(void **state)
{
	struct fixture *f = *state;
	open_watch(f);
	visit(f, "archive");
	(void)look(f, 0);
	write_records(f, 1100);
	assert_int_equal(look(f, NS_PER_SEC), 1);
	for (uint64_t s = 1; s < REMINDER_NS / NS_PER_SEC; s++) {
		write_records(f, 1);
		assert_int_equal(look(f, NS_PER_SEC), 0);
	}
	assert_int_equal(look(f, NS_PER_SEC), 1);
	says(f, "dropped=135"); /* all since it began */
	let_tally_read(f);
	assert_int_equal(topic_group_forget(&f->instance, "ip", "archive", &f->error), 0);
	for (unsigned s = 0; s < 4; s++)
		assert_int_equal(look(f, NS_PER_SEC), 0);
	assert_int_equal(look(f, 2 * NS_PER_SEC), 1);
	says(f, "info supervisor[");
	says(f, "a topic has room again topic=ip group=archive seconds=");
	assert_int_equal(look(f, REMINDER_NS), 0);
}

static void a_group_without_a_reader_from_the_start_is_said_to_be_older(void **state)
{
	struct fixture *f = *state;
	visit(f, "archive");
	open_watch(f);
	assert_int_equal(look(f, 0), 0);
	write_records(f, 1100);
	let_tally_read(f);
	assert_int_equal(look(f, NS_PER_SEC), 1);
	says(f, "no_reader_since=before_2");
}

static void writers_that_wait_without_dropping_are_seen(void **state)
{
	struct fixture *f = *state;
	open_watch(f);
	visit(f, "archive");
	(void)look(f, 0);
	write_records(f, 1000);
	let_tally_read(f);
	assert_int_equal(look(f, NS_PER_SEC), 0); /* it may be on its way */
	assert_int_equal(look(f, NS_PER_SEC), 1);
	says(f, "group=archive");
	says(f, "dropped=0");
}

static void a_stage_that_does_not_keep_up_is_named_as_one(void **state)
{
	struct fixture *f = *state;
	open_watch(f);
	(void)look(f, 0);
	write_records(f, 1100);
	assert_int_equal(look(f, NS_PER_SEC), 1);
	says(f, "its writers wait for a stage topic=ip group=tally reader=");
	assert_null(strstr(f->text, "--forget"));
}

static void a_reader_that_lives_and_is_slow_is_named_with_its_process(void **state)
{
	struct fixture *f = *state;
	struct topic_reader slow;
	char reader[32];
	open_watch(f);
	assert_int_equal(topic_reader_attach(&slow, &f->instance, "ip", "slow", GROUP_REQUIRED,
	                                     STREAM_FROM_TAIL, &f->error),
	                 0);
	(void)look(f, 0);
	write_records(f, 1100);
	let_tally_read(f);
	assert_int_equal(look(f, NS_PER_SEC), 1);
	snprintf(reader, sizeof reader, "group=slow reader=%d ", (int)getpid());
	says(f, "its writers wait for a reader topic=ip");
	says(f, reader);
	/* It goes: that is another case, said at the next interval. */
	topic_reader_detach(&slow);
	assert_int_equal(look(f, REMINDER_NS), 1);
	says(f, "a group that nobody reads topic=ip group=slow");
}

static void bursts_do_not_fill_the_log(void **state)
{
	struct fixture *f = *state;
	unsigned lines = 0;
	open_watch(f);
	(void)look(f, 0);
	for (unsigned s = 0; s < 50; s++) {
		write_records(f, 1100);
		let_tally_read(f);
		lines += look(f, NS_PER_SEC);
	}
	assert_int_equal(lines, 1);
	assert_int_equal(look(f, WATCH_CLEAR_NS), 1);
	says(f, "a topic has room again");
}

static void a_second_group_is_named_when_the_first_is_gone(void **state)
{
	struct fixture *f = *state;
	open_watch(f);
	visit(f, "first");
	write_records(f, 100);
	visit(f, "second");
	(void)look(f, 0);
	write_records(f, 1100);
	let_tally_read(f);
	assert_int_equal(look(f, NS_PER_SEC), 1);
	says(f, "group=first");
	assert_int_equal(topic_group_forget(&f->instance, "ip", "first", &f->error), 0);
	write_records(f, 200);
	let_tally_read(f);
	assert_int_equal(look(f, NS_PER_SEC), 1);
	says(f, "group=second");
}

static void what_was_known_survives_a_reload(void **state)
{
	struct fixture *f = *state;
	open_watch(f);
	visit(f, "archive");
	(void)look(f, 0);
	write_records(f, 1100);
	let_tally_read(f);
	assert_int_equal(look(f, NS_PER_SEC), 1);
	open_watch(f);
	assert_int_equal(f->watch.reminder_ns, REMINDER_NS);
	write_records(f, 10);
	assert_int_equal(look(f, NS_PER_SEC), 0);
	assert_int_equal(look(f, REMINDER_NS), 1);
}

static uint32_t state_of(struct fixture *f, const char *name)
{
	for (unsigned i = 0; i < STREAM_GROUPS_MAX; i++) {
		const struct stream_group *group = f->watch.topic[0].group_segment[i].body;
		if (group != NULL && strcmp(group->name, name) == 0)
			return atomic_load(&group->state);
	}
	return GROUP_FREE;
}

static void limit(struct fixture *f, const char *ip)
{
	config_free(f->config);
	f->config = limits(ip);
}

static void a_group_that_nobody_reads_lapses_after_max_idle(void **state)
{
	struct fixture *f = *state;
	limit(f, "{max_idle: 1h}");
	open_watch(f);
	assert_int_equal(look(f, 0), 0);
	visit(f, "archive");
	assert_int_equal(look(f, NS_PER_SEC), 0);
	write_records(f, 1500);
	let_tally_read(f);
	(void)look(f, NS_PER_SEC);
	assert_int_equal(state_of(f, "archive"), GROUP_REQUIRED);
	assert_int_equal(f->watch.lapsed, 0);
	assert_true(look(f, 3600 * NS_PER_SEC) >= 1);
	says(f, "a group lapsed: nobody reads it");
	says(f, "topic=ip group=archive limit=topics.ip.max_idle no_reader_since=2");
	says(f, "waiting_bytes=65536");
	assert_int_equal(state_of(f, "archive"), GROUP_LAPSED);
	assert_int_equal(f->watch.lapsed, 1);
	write_records(f, 1000); /* there is room, though it has read nothing */
	assert_int_equal(atomic_load(&f->writer.stream.shared->ledger.dropped), 476);
	(void)look(f, NS_PER_SEC);
	assert_int_equal(f->watch.lapsed, 1);
}

static void a_group_that_nobody_reads_lapses_when_too_much_waits_for_it(void **state)
{
	struct fixture *f = *state;
	limit(f, "{max_idle: 0, max_lag: 32KiB}");
	open_watch(f);
	visit(f, "archive");
	assert_int_equal(look(f, 0), 0);
	write_records(f, 511);
	let_tally_read(f);
	assert_int_equal(look(f, 24 * 3600 * NS_PER_SEC), 0);
	write_records(f, 1);
	assert_int_equal(look(f, NS_PER_SEC), 1);
	says(f, "group=archive limit=topics.ip.max_lag");
	assert_int_equal(state_of(f, "archive"), GROUP_LAPSED);
}

static void a_group_with_a_reader_and_one_of_a_stage_never_lapse(void **state)
{
	struct fixture *f = *state;
	struct topic_reader reader;
	limit(f, "{max_idle: 1s, max_lag: 1KiB}");
	open_watch(f);
	assert_int_equal(topic_reader_attach(&reader, &f->instance, "ip", "slow", GROUP_REQUIRED,
	                                     STREAM_FROM_TAIL, &f->error),
	                 0);
	topic_reader_detach(&f->tally);
	write_records(f, 1500);
	for (unsigned i = 0; i < 3; i++)
		(void)look(f, 3600 * NS_PER_SEC);
	assert_int_equal(state_of(f, "slow"), GROUP_REQUIRED);
	assert_int_equal(state_of(f, "tally"), GROUP_REQUIRED);
	assert_int_equal(topic_group_lapse(&f->instance, "ip", "slow", &f->error), -EBUSY);
	assert_int_equal(topic_group_lapse(&f->instance, "ip", "tally", &f->error), -EPERM);
	assert_int_equal(topic_group_lapse(&f->instance, "ip", "none", &f->error), -ENOENT);
	topic_reader_detach(&reader);
	(void)look(f, NS_PER_SEC / 2);
	assert_int_equal(state_of(f, "slow"), GROUP_REQUIRED); /* the look before it was a moment ago */
	(void)look(f, NS_PER_SEC);
	assert_int_equal(state_of(f, "slow"), GROUP_LAPSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(a_group_that_nobody_reads_is_named_with_its_remedy, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(it_is_said_again_at_intervals_and_when_it_is_over, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(a_group_without_a_reader_from_the_start_is_said_to_be_older,
	                                        set_up, tear_down),
	        cmocka_unit_test_setup_teardown(writers_that_wait_without_dropping_are_seen, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(a_stage_that_does_not_keep_up_is_named_as_one, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(a_reader_that_lives_and_is_slow_is_named_with_its_process,
	                                        set_up, tear_down),
	        cmocka_unit_test_setup_teardown(bursts_do_not_fill_the_log, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(a_second_group_is_named_when_the_first_is_gone, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(what_was_known_survives_a_reload, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(a_group_that_nobody_reads_lapses_after_max_idle, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(a_group_that_nobody_reads_lapses_when_too_much_waits_for_it,
	                                        set_up, tear_down),
	        cmocka_unit_test_setup_teardown(a_group_with_a_reader_and_one_of_a_stage_never_lapse, set_up,
	                                        tear_down),
	};
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
