/* The kafka stage, by its own five functions, against librdkafka's mock cluster: two lanes of
 * numbered records, and what of them lies in the Kafka topic. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "sink/kafka/pipe.h"
#include "tests/fixture/config.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/instance.h"
#include "tests/fixture/kafka_mock.h"

#define LANES       2u
#define LANE_BYTES  (4u << 20)
#define RECORDS_MAX 60000u
#define PRODUCE     0 /* ApiKey of ProduceRequest */
#define WAIT_NS     (30 * NS_PER_SEC)

static struct {
	struct sandbox sandbox;
	struct instance instance;
	struct topic_writer writer[LANES];
	struct kafka_mock mock;
	struct control *control; /* shared with children */
	struct stage stage;
	bool lives;
	uint64_t written[LANES];
	uint64_t n_read[LANES], last[LANES];
	uint64_t disordered,
	        strange; /* a message after one with a higher number: sent again, or out of order */
	unsigned char seen[LANES][RECORDS_MAX];
	struct shm_error error;
	unsigned long random;
} f;

static int set_up(void **state)
{
	static const struct test_topic topic = {"in", LANE_BYTES, LANES, {"w.0", "w.1"}, "bus"};
	(void)state;
	memset(&f, 0, sizeof f);
	f.random = draw_seed(clock_real_ns() | 1);
	f.control = mmap(NULL, sizeof *f.control, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	log_init("kafka", LOG_ERROR + 1, LOG_TEXT);
	if (f.control == MAP_FAILED || !kafka_mock_start(&f.mock, 1) || sandbox_make(&f.sandbox) != 0 ||
	    rd_kafka_mock_topic_create(f.mock.cluster, "in", 1, 1) != 0 ||
	    instance_make(f.sandbox.directory, &topic, 1, &f.error) != 0 ||
	    instance_attach(&f.instance, "test", SEGMENT_WRITE, &f.error) != 0)
		return -1;
	for (unsigned i = 0; i < LANES; i++)
		if (topic_writer_attach(&f.writer[i], &f.instance, "in", topic.lane_role[i], &f.error) != 0)
			return -1;
	return 0;
}

/* ---- a life of the sink ---- */

static int begin_with(const char *options)
{
	char text[1024];
	snprintf(text, sizeof text,
	         "ingest: {}\nsinks:\n  - {name: bus, kind: kafka, topics: [in], format: record,\n"
	         "     brokers: [\"%s\"], rebuild: {least: 50ms}%s%s}\n",
	         f.mock.brokers, options[0] == '\0' ? "" : ", ", options);
	f.stage = (struct stage){.ops = &kafka_stage, .role = "kafka.bus", .control = f.control};
	f.stage.config = load(text, "");
	assert_int_equal(instance_attach(&f.stage.instance, "test", SEGMENT_WRITE, &f.error), 0);
	int result = kafka_stage.init(&f.stage, &f.error);
	f.lives = result == 0;
	if (!f.lives) {
		instance_detach(&f.stage.instance);
		config_free(f.stage.config);
	}
	return result;
}

static void begin(const char *options)
{
	if (begin_with(options) != 0)
		fail_msg("%s", f.error.text);
}

static void end(void)
{
	if (!f.lives)
		return;
	kafka_stage.fini(&f.stage);
	instance_detach(&f.stage.instance);
	config_free(f.stage.config);
	f.lives = false;
}

static int tear_down(void **state)
{
	(void)state;
	end();
	for (unsigned i = 0; i < LANES; i++)
		topic_writer_detach(&f.writer[i]);
	instance_detach(&f.instance);
	sandbox_remove(&f.sandbox);
	kafka_mock_stop(&f.mock);
	munmap(f.control, sizeof *f.control);
	return 0;
}

static struct kafka *sink(void)
{
	return f.stage.own;
}

/* A turn of the stage's loop. */
static void turn(void)
{
	static uint64_t ticked_ns;
	f.stage.now_ns = clock_monotonic_ns();
	if (f.stage.now_ns - ticked_ns > 10 * NS_PER_MS) {
		kafka_stage.tick(&f.stage);
		ticked_ns = f.stage.now_ns;
	}
	if (!kafka_stage.poll(&f.stage))
		kafka_stage.idle(&f.stage, 10 * NS_PER_MS);
}

#define run_until(condition)                                               \
	do {                                                               \
		uint64_t deadline_ns = clock_monotonic_ns() + WAIT_NS;     \
		while (!(condition) && clock_monotonic_ns() < deadline_ns) \
			turn();                                            \
		assert_true(condition);                                    \
	} while (0)

static void run_for(uint64_t ns)
{
	uint64_t end_ns = clock_monotonic_ns() + ns;
	while (clock_monotonic_ns() < end_ns)
		turn();
}

static uint64_t metric(unsigned which)
{
	return atomic_load(&f.control->metric[which]);
}

static uint64_t settled(unsigned metric_of_settle)
{
	return metric(KAFKA_waiting_records + metric_of_settle);
}

static const char *note(void)
{
	static char text[CONTROL_NOTE_BYTES];
	control_read_note(f.control, text);
	return text;
}

/* ---- what is written, and what has come ---- */

static void write_numbers(unsigned lane, uint64_t n, uint32_t bytes)
{
	for (uint64_t i = 0; i < n; i++) {
		char *at = stream_reserve(&f.writer[lane].stream, record_bytes(bytes));
		assert_non_null(at);
		char *payload = record_put(at, 1, bytes);
		memset(payload, 'x', bytes);
		snprintf(payload, bytes, "%u %llu", lane, (unsigned long long)f.written[lane]++);
		stream_commit(&f.writer[lane].stream, record_bytes(bytes), 1);
	}
	topic_ring(&f.writer[lane]);
}

static bool all_safe(void)
{
	for (unsigned i = 0; i < LANES; i++)
		if (atomic_load(&sink()->ports.reader[0].group->cursor[i].records) != f.written[i])
			return false;
	return sink()->settle.n_flights == 0;
}

static void look_at_message(void *argument, const rd_kafka_message_t *message)
{
	unsigned lane;
	unsigned long long number;
	(void)argument;
	if (message->len < 4 || sscanf(message->payload, "%u %llu", &lane, &number) != 2 || lane >= LANES ||
	    number >= RECORDS_MAX || message->key != NULL) {
		f.strange++;
		return;
	}
	if (f.n_read[lane]++ != 0 && number <= f.last[lane])
		f.disordered++;
	f.last[lane] = number;
	f.seen[lane][number] = 1;
}

/* Reads what the topic holds now, in addition to what was seen before. */
static void look_at_topic(void)
{
	assert_true(kafka_mock_read(f.mock.brokers, "in", 1, look_at_message, NULL) >= 0);
	assert_int_equal(f.strange, 0);
}

/* Of what was written. */
static uint64_t unseen(void)
{
	uint64_t n = 0;
	for (unsigned lane = 0; lane < LANES; lane++)
		for (uint64_t i = 0; i < f.written[lane]; i++)
			n += f.seen[lane][i] == 0;
	return n;
}

static void forget_seen(void)
{
	memset(f.seen, 0, sizeof f.seen);
	memset(f.n_read, 0, sizeof f.n_read);
	f.disordered = f.strange = 0;
}

/* Reads the topic. Returns how many of what was written are missing. */
static uint64_t missing(void)
{
	forget_seen();
	look_at_topic();
	return unseen();
}

static void assert_each_once_in_order(void)
{
	assert_int_equal(missing(), 0);
	assert_int_equal(f.n_read[0] + f.n_read[1], f.written[0] + f.written[1]);
	assert_int_equal(f.disordered, 0);
}

/* ---- tests ---- */

static void messages_come_in_the_order_of_their_lane(void **state)
{
	(void)state;
	begin("");
	for (unsigned i = 0; i < 20; i++) {
		write_numbers(0, 300, 100);
		write_numbers(1, 200, 60);
		run_for(NS_PER_MS);
	}
	run_until(all_safe());
	assert_each_once_in_order();
	assert_int_equal(metric(KAFKA_messages), 10000);
	assert_int_equal(metric(KAFKA_message_bytes), 6000 * 100 + 4000 * 60);
	assert_int_equal(metric(KAFKA_delivered), 10000);
	assert_int_equal(sink()->queued, 0);
	assert_int_equal(sink()->queued_bytes, 0);
	assert_int_equal(settled(SETTLE_failing), 0);
	assert_string_equal(note(), f.mock.brokers);
}

static void while_the_brokers_are_away_the_reason_is_told_and_nothing_is_lost(void **state)
{
	(void)state;
	assert_int_equal(rd_kafka_mock_broker_set_down(f.mock.cluster, 1), 0);
	begin("properties: [reconnect.backoff.max.ms=100]");
	write_numbers(0, 1000, 100);
	run_until(settled(SETTLE_failing) == 1 && strstr(note(), "127.0.0.1") != NULL);
	assert_non_null(strstr(note(), "cannot deliver: "));
	assert_true(metric(KAFKA_broker_errors) != 0);
	write_numbers(1, 1000, 100);
	run_for(50 * NS_PER_MS);
	assert_false(all_safe());
	assert_int_equal(rd_kafka_mock_broker_set_up(f.mock.cluster, 1), 0);
	run_until(all_safe());
	assert_each_once_in_order();
	assert_int_equal(settled(SETTLE_failing), 0);
	assert_string_equal(note(), f.mock.brokers);
	assert_int_equal(metric(KAFKA_rebuilds), 0);
}

static void brokers_that_come_back_are_noticed_without_an_event(void **state)
{
	(void)state;
	begin("properties: [reconnect.backoff.max.ms=100]");
	write_numbers(0, 1, 100);
	run_until(all_safe());
	assert_int_equal(rd_kafka_mock_broker_set_down(f.mock.cluster, 1), 0);
	run_until(settled(SETTLE_failing) == 1);
	assert_int_equal(rd_kafka_mock_broker_set_up(f.mock.cluster, 1), 0);
	run_until(settled(SETTLE_failing) == 0);
	assert_string_equal(note(), f.mock.brokers);
}

static void a_full_queue_stops_reading_and_drops_nothing(void **state)
{
	(void)state;
	assert_int_equal(rd_kafka_mock_broker_set_down(f.mock.cluster, 1), 0);
	begin("queue: {messages: 100, bytes: 1MiB}, properties: [reconnect.backoff.max.ms=100]");
	write_numbers(0, 5000, 100);
	run_for(100 * NS_PER_MS);
	assert_int_equal(sink()->queued, 100);
	assert_int_equal(sink()->ports.reader[0].lane[0].records, 100);
	assert_int_equal(rd_kafka_mock_broker_set_up(f.mock.cluster, 1), 0);
	run_until(all_safe());
	assert_each_once_in_order();
}

static void bytes_bound_the_queue_too(void **state)
{
	(void)state;
	assert_int_equal(rd_kafka_mock_broker_set_down(f.mock.cluster, 1), 0);
	begin("queue: {bytes: 1MiB}, properties: [reconnect.backoff.max.ms=100]");
	write_numbers(0, 100, 20000);
	write_numbers(1, 100, 20000);
	run_for(100 * NS_PER_MS);
	assert_true(sink()->queued_bytes >= 1 << 20);
	assert_true(sink()->queued_bytes < (1 << 20) + 20000);
	assert_int_equal(rd_kafka_mock_broker_set_up(f.mock.cluster, 1), 0);
	run_until(all_safe());
	assert_each_once_in_order();
}

static void a_message_too_large_for_librdkafka_is_counted_and_passed_over(void **state)
{
	(void)state;
	begin("properties: [message.max.bytes=2000]");
	write_numbers(0, 10, 100);
	write_numbers(0, 1, 5000);
	write_numbers(0, 10, 100);
	run_until(all_safe());
	assert_int_equal(metric(KAFKA_refused_too_large), 1);
	assert_int_equal(metric(KAFKA_rebuilds), 0);
	assert_int_equal(missing(), 1);
	assert_int_equal(f.seen[0][10], 0);
}

static void a_batch_that_is_too_large_is_sent_in_smaller_ones(void **state)
{
	(void)state;
	rd_kafka_mock_push_request_errors(f.mock.cluster, PRODUCE, 1, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
	write_numbers(0, 200, 100);
	begin("");
	run_until(all_safe());
	assert_int_equal(missing(), 0);
	assert_int_equal(metric(KAFKA_refused_too_large), 0);
	assert_true(metric(KAFKA_undelivered) >= 1);
	run_until(!sink()->pipes[0]->single);
	assert_int_equal(sink()->pipes[0]->batch_bytes, 500000);
	write_numbers(1, 200, 100);
	run_until(all_safe());
	assert_int_equal(missing(), 0);
}

static void a_message_that_is_refused_alone_is_counted_and_passed_over(void **state)
{
	(void)state;
	rd_kafka_mock_push_request_errors(f.mock.cluster, PRODUCE, 2, RD_KAFKA_RESP_ERR_INVALID_RECORD,
	                                  RD_KAFKA_RESP_ERR_INVALID_RECORD);
	write_numbers(0, 100, 100);
	begin("");
	run_until(all_safe());
	assert_int_equal(metric(KAFKA_refused_invalid), 1);
	assert_int_equal(missing(), 1);
	assert_int_equal(f.seen[0][0], 0);
	run_until(!sink()->pipes[0]->single);
	assert_int_equal(sink()->pipes[0]->batch_bytes, 0); /* the batch was not at fault */
}

static void when_invalid_is_stop_the_sink_stops_before_the_message(void **state)
{
	(void)state;
	begin("when_invalid: stop, properties: [message.max.bytes=2000]");
	write_numbers(0, 5, 100);
	run_until(all_safe());
	write_numbers(0, 1, 5000);
	write_numbers(0, 5, 100);
	run_until(settled(SETTLE_failing) == 1);
	assert_non_null(strstr(note(), "when_invalid is stop"));
	run_for(50 * NS_PER_MS);
	assert_int_equal(settled(SETTLE_failing), 1);
	assert_int_equal(sink()->ports.reader[0].lane[0].records, 5);
	f.stage.draining = true;
	assert_true(kafka_stage.drained(&f.stage)); /* nobody waits for it */
	end();
	begin("when_invalid: skip, properties: [message.max.bytes=2000]");
	run_until(all_safe());
	assert_int_equal(missing(), 1);
}

static void a_topic_that_is_not_allowed_is_tried_again_from_the_cursor(void **state)
{
	(void)state;
	rd_kafka_mock_push_request_errors(f.mock.cluster, PRODUCE, 2,
	                                  RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
	                                  RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
	write_numbers(0, 500, 100);
	begin("");
	run_until(metric(KAFKA_rebuilds) >= 1);
	assert_int_equal(settled(SETTLE_failing), 1);
	assert_non_null(strstr(note(), "uthoriz"));
	run_until(all_safe());
	assert_int_equal(metric(KAFKA_rebuilds), 2);
	assert_each_once_in_order();
	assert_int_equal(settled(SETTLE_failing), 0);
}

static void a_fatal_error_makes_the_producer_anew_from_the_cursor(void **state)
{
	(void)state;
	begin("");
	for (unsigned i = 0; i < 5; i++) {
		write_numbers(0, 1000, 100);
		run_for(3 * NS_PER_MS);
		run_until(sink()->pipes[0]->state == PIPE_READY);
		assert_int_equal(rd_kafka_test_fatal_error(sink()->pipes[0]->rk,
		                                           RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
		                                           "a test"),
		                 RD_KAFKA_RESP_ERR_NO_ERROR);
		run_until(metric(KAFKA_rebuilds) == i + 1);
		assert_non_null(strstr(note(), "fatal: "));
		assert_int_equal(sink()->queued, 0);
	}
	run_until(all_safe());
	assert_int_equal(missing(), 0); /* at least once */
}

static void another_file_of_properties_is_taken_up_without_loss(void **state)
{
	char path[256], options[512];
	(void)state;
	snprintf(path, sizeof path, "%s/properties", f.sandbox.root);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs("# nothing secret\nlinger.ms = 1\n", file);
	fclose(file);
	snprintf(options, sizeof options, "properties_file: %s", path);
	begin(options);
	assert_int_equal(sink()->cluster.file.n, 1);
	write_numbers(0, 1000, 100);
	run_for(2 * NS_PER_MS);
	void *loaded;
	assert_int_equal(kafka_stage.files[0].load(f.stage.config, path, &loaded, &f.error), 0);
	kafka_stage.files[0].replace(&f.stage, loaded);
	write_numbers(1, 1000, 100);
	run_until(all_safe());
	assert_int_equal(metric(KAFKA_rebuilds), 1);
	assert_int_equal(missing(), 0);
}

/* "" where librdkafka does not know the property. */
static const char *property_of_producer(const char *name)
{
	static char value[64];
	size_t bytes = sizeof value;
	run_until(sink()->pipes[0]->state == PIPE_READY);
	if (rd_kafka_conf_get(rd_kafka_conf(sink()->pipes[0]->rk), name, value, &bytes) != RD_KAFKA_CONF_OK)
		value[0] = '\0';
	return value;
}

static void a_producer_pushes_metrics_only_when_it_is_asked_to(void **state)
{
	(void)state;
	bool known = rd_kafka_version() >= 0x02050000;
	begin("");
	assert_string_equal(property_of_producer("client.id"), "millrace");
	assert_string_equal(property_of_producer("enable.metrics.push"), known ? "false" : "");
	end();
	if (!known)
		return;
	begin("properties: [enable.metrics.push=true]");
	assert_string_equal(property_of_producer("enable.metrics.push"), "true");
}

/* In a child: a life that ends when it is killed. */
static void live(const char *options)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	begin(options);
	for (;;)
		turn();
}

/* The mock keeps the last 5 MiB. On a slow machine more is sent, as each life begins at the cursor;
 * so the topic is read after each life, which sends less. */
static void killed_under_load_nothing_is_missing(void **state)
{
	(void)state;
	forget_seen();
	for (unsigned life = 0; life < 15; life++) {
		write_numbers(0, 1000, 100);
		pid_t pid = fork();
		if (pid == 0)
			live("");
		for (unsigned i = 0; i < 5; i++) {
			write_numbers(1, 200, 100);
			usleep(draw_next(&f.random) % 10000);
		}
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		look_at_topic();
	}
	begin("");
	run_until(all_safe());
	look_at_topic();
	assert_int_equal(unseen(), 0);
}

static void draining_sends_at_once_what_linger_keeps_back(void **state)
{
	(void)state;
	begin("properties: [linger.ms=60000]");
	write_numbers(0, 10, 100);
	run_until(sink()->queued == 10);
	f.stage.draining = true;
	assert_false(kafka_stage.drained(&f.stage));
	uint64_t begun_ns = clock_monotonic_ns();
	while (kafka_stage.poll(&f.stage) || !kafka_stage.drained(&f.stage))
		f.stage.now_ns = clock_monotonic_ns();
	assert_true(clock_monotonic_ns() - begun_ns < WAIT_NS);
	assert_true(all_safe());
	assert_each_once_in_order();
}

static void transactions_carry_the_position_and_the_next_life_reads_it_back(void **state)
{
	(void)state;
	static const char options[] = "exactly_once: true, transaction: {interval: 100ms}";
	assert_int_equal(rd_kafka_mock_topic_create(f.mock.cluster, "millrace-positions", 1, 1), 0);
	begin(options);
	write_numbers(0, 3000, 100);
	write_numbers(1, 500, 100);
	run_until(all_safe());
	assert_true(metric(KAFKA_transactions) >= 2);
	assert_each_once_in_order();
	struct stream_group *group = sink()->ports.reader[0].group;
	uint64_t end_at = atomic_load(&group->cursor[0].position);
	/* As if it had been killed after the commit, before the cursor moved. */
	atomic_store(&group->cursor[0].position, 0);
	atomic_store(&group->cursor[0].records, 0);
	end();
	begin(options);
	run_until(all_safe());
	assert_int_equal(atomic_load(&sink()->ports.reader[0].group->cursor[0].position), end_at);
	write_numbers(0, 100, 100);
	run_until(all_safe());
	assert_each_once_in_order();
	assert_int_equal(settled(SETTLE_lost_records), 0);
}

static void a_transaction_that_fails_is_begun_again_from_the_cursor(void **state)
{
	(void)state;
	assert_int_equal(rd_kafka_mock_topic_create(f.mock.cluster, "millrace-positions", 1, 1), 0);
	begin("exactly_once: true, transaction: {interval: 100ms}");
	write_numbers(0, 100, 100);
	run_until(all_safe());
	write_numbers(0, 100, 100);
	run_until(sink()->pipe[0][0]->state == PIPE_OPEN);
	(void)rd_kafka_test_fatal_error(sink()->pipe[0][0]->rk,
	                                RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "a test");
	run_until(metric(KAFKA_transactions_failed) == 1);
	run_until(all_safe());
	assert_int_equal(missing(), 0);
}

static void a_record_that_fails_its_transaction_is_passed_over(void **state)
{
	(void)state;
	assert_int_equal(rd_kafka_mock_topic_create(f.mock.cluster, "millrace-positions", 1, 1), 0);
	begin("exactly_once: true, transaction: {interval: 100ms}");
	write_numbers(0, 10, 100);
	run_until(all_safe());
	rd_kafka_mock_push_request_errors(f.mock.cluster, PRODUCE, 2, RD_KAFKA_RESP_ERR_INVALID_RECORD,
	                                  RD_KAFKA_RESP_ERR_INVALID_RECORD);
	write_numbers(0, 5, 100);
	run_until(all_safe());
	assert_int_equal(metric(KAFKA_refused_invalid), 1);
	assert_int_equal(missing(), 1);
	assert_int_equal(f.seen[0][10], 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(messages_come_in_the_order_of_their_lane),
	        T(while_the_brokers_are_away_the_reason_is_told_and_nothing_is_lost),
	        T(brokers_that_come_back_are_noticed_without_an_event),
	        T(a_full_queue_stops_reading_and_drops_nothing),
	        T(bytes_bound_the_queue_too),
	        T(a_message_too_large_for_librdkafka_is_counted_and_passed_over),
	        T(a_batch_that_is_too_large_is_sent_in_smaller_ones),
	        T(a_message_that_is_refused_alone_is_counted_and_passed_over),
	        T(when_invalid_is_stop_the_sink_stops_before_the_message),
	        T(a_topic_that_is_not_allowed_is_tried_again_from_the_cursor),
	        T(a_fatal_error_makes_the_producer_anew_from_the_cursor),
	        T(another_file_of_properties_is_taken_up_without_loss),
	        T(a_producer_pushes_metrics_only_when_it_is_asked_to),
	        T(killed_under_load_nothing_is_missing),
	        T(draining_sends_at_once_what_linger_keeps_back),
	        T(transactions_carry_the_position_and_the_next_life_reads_it_back),
	        T(a_transaction_that_fails_is_begun_again_from_the_cursor),
	        T(a_record_that_fails_its_transaction_is_passed_over),
	};
	alarm(240);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
