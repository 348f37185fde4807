/* bench-kafka: messages from a lane to the brokers and confirmed, by the kafka stage's own loop,
 * against a bare loop of rd_kafka_producev on the same bytes with the same properties.
 *
 *     lane (filled while the clock stands) --kafka stage--> librdkafka --> mock cluster, a process of its own
 *     array of the same messages ---------producev loop---> librdkafka --> the same
 *
 * A turn ends when the last message is confirmed (and, of ours, the lane's cursor has moved). The
 * mock answers for what it then throws away: it keeps 5 MiB a partition. */
#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/options.h"
#include "bench/turns.h"
#include "base/log.h"
#include "base/output.h"
#include "sink/kafka/kafka.h"

#define INSTANCE   "bench"
#define TOPIC      "in"
#define GENERATION 1u
#define LANE_BYTES (256u << 20)

struct options {
	unsigned turns, messages, bytes;
	const char *brokers, *property;
	bool json;
};

static struct {
	struct instance instance;
	struct topic_writer writer;
	struct stage stage;
	struct control *control;
	char *message; /* the same bytes for both */
	rd_kafka_t *rk;
	rd_kafka_topic_t *topic;
	uint64_t confirmed;
	pid_t mock;
} b;

static void must(int result, const struct shm_error *error)
{
	if (result == 0)
		return;
	fprintf(stderr, "bench-kafka: %s\n", error->text);
	exit(1);
}

static void no_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
	(void)rk;
	(void)level;
	(void)facility;
	(void)text;
}

/* ---- the brokers ---- */

static void run_mock(int out)
{
	char why[256];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_conf_set_log_cb(conf, no_log);
	rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
	rd_kafka_mock_cluster_t *mock = rk == NULL ? NULL : rd_kafka_mock_cluster_new(rk, 1);
	if (mock == NULL || rd_kafka_mock_topic_create(mock, TOPIC, 1, 1) != 0)
		_exit(1);
	const char *brokers = rd_kafka_mock_cluster_bootstraps(mock);
	if (write(out, brokers, strlen(brokers)) < 0)
		_exit(1);
	close(out);
	for (;;)
		pause();
}

static void end_mock(void)
{
	if (b.mock > 0 && kill(b.mock, SIGKILL) == 0)
		(void)waitpid(b.mock, NULL, 0);
	b.mock = 0;
}

/* Before any thread of this process. */
static const char *start_mock(void)
{
	static char brokers[128];
	int end[2];
	if (pipe(end) != 0)
		exit(1);
	b.mock = turns_fork(SIGKILL);
	if (b.mock == 0) {
		close(end[0]);
		run_mock(end[1]);
	}
	close(end[1]);
	ssize_t n = read(end[0], brokers, sizeof brokers - 1);
	close(end[0]);
	atexit(end_mock);
	if (b.mock < 0 || n <= 0) {
		fprintf(stderr, "bench-kafka: the mock cluster does not start\n");
		exit(1);
	}
	return brokers;
}

/* ---- ours ---- */

static void fill_page(void *body, void *argument)
{
	struct instance_page *page = body;
	(void)argument;
	page->n_topics = 1;
	snprintf(page->topic[0].name, SHM_NAME_MAX, TOPIC);
	snprintf(page->topic[0].lane_role[0], SHM_NAME_MAX, "bench.0");
	page->topic[0].size_bytes = LANE_BYTES;
	page->topic[0].n_lanes = 1;
}

static void make_instance(void)
{
	struct shm_error error = {""};
	char directory[256], name[SEGMENT_NAME_MAX];
	const char *group = "bus";
	snprintf(directory, sizeof directory, "%s/" INSTANCE, turns_directory());
	if (mkdir(directory, 0700) != 0 || setenv("MILLRACE_SHM", turns_directory(), 1) != 0) {
		perror(directory);
		exit(1);
	}
	must(stream_create(directory, instance_lane_name(name, TOPIC, 0), GENERATION, LANE_BYTES, &error),
	     &error);
	must(topic_groups_create(directory, TOPIC, GENERATION, &group, 1, &error), &error);
	must(segment_create(directory, "instance", SEGMENT_INSTANCE, GENERATION, sizeof(struct instance_page),
	                    fill_page, NULL, &error),
	     &error);
	must(instance_attach(&b.instance, INSTANCE, SEGMENT_WRITE, &error), &error);
	must(topic_writer_attach(&b.writer, &b.instance, TOPIC, "bench.0", &error), &error);
}

static void open_stage(const struct options *options, const char *brokers)
{
	struct shm_error error = {""};
	char text[1024], *errors = NULL;
	snprintf(text, sizeof text,
	         "ingest: {}\nsinks:\n  - {name: bus, kind: kafka, topics: [" TOPIC
	         "], format: record, brokers: [\"%s\"], properties: [\"%s\"]}\n",
	         brokers, options->property);
	b.control = calloc(1, sizeof *b.control);
	b.stage = (struct stage){.ops = &kafka_stage, .role = "kafka.bus", .control = b.control};
	b.stage.config = config_load_text("bench", text, strlen(text), NULL, 0, &errors);
	if (b.control == NULL || b.stage.config == NULL) {
		fprintf(stderr, "bench-kafka: %s\n", errors);
		exit(1);
	}
	must(instance_attach(&b.stage.instance, INSTANCE, SEGMENT_WRITE, &error), &error);
	must(kafka_stage.init(&b.stage, &error), &error);
}

static void fill_lane(const struct options *options)
{
	size_t bytes = record_bytes(options->bytes);
	for (unsigned i = 0, n; i < options->messages; i += n) {
		n = options->messages - i < 64 ? options->messages - i : 64;
		char *at = stream_reserve(&b.writer.stream, n * bytes);
		if (at == NULL) {
			fprintf(stderr, "bench-kafka: the lane has no room for so many messages\n");
			exit(1);
		}
		for (unsigned k = 0; k < n; k++)
			memcpy(record_put(at + k * bytes, 1, options->bytes),
			       b.message + (size_t)(i + k) * options->bytes, options->bytes);
		stream_commit(&b.writer.stream, n * bytes, n);
	}
	topic_ring(&b.writer);
}

/* The stage's loop (stage/loop.c) until all is confirmed. */
static double turn_of_ours(const struct options *options)
{
	struct kafka *kafka = b.stage.own;
	fill_lane(options);
	uint64_t begun_ns = clock_monotonic_ns(), ticked_ns = begun_ns;
	do {
		b.stage.now_ns = clock_monotonic_ns();
		if (b.stage.now_ns - ticked_ns >= STAGE_TICK_NS) {
			kafka_stage.tick(&b.stage);
			ticked_ns = b.stage.now_ns;
		}
		if (!kafka_stage.poll(&b.stage))
			kafka_stage.idle(&b.stage, STAGE_TICK_NS);
	} while (kafka->settle.n_flights != 0 || stream_waiting_bytes(&kafka->ports.reader[0].lane[0]) != 0);
	return options->messages / ((double)(clock_monotonic_ns() - begun_ns) / NS_PER_SEC);
}

/* ---- the reference ---- */

static void on_report(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	(void)rk;
	(void)opaque;
	b.confirmed += message->err == RD_KAFKA_RESP_ERR_NO_ERROR;
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char why[256];
	if (rd_kafka_conf_set(conf, name, value, why, sizeof why) == RD_KAFKA_CONF_OK)
		return;
	fprintf(stderr, "bench-kafka: %s\n", why);
	exit(1);
}

static void open_reference(const struct options *options, const char *brokers)
{
	char why[256], name[128];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_conf_set_log_cb(conf, no_log);
	rd_kafka_conf_set_dr_msg_cb(conf, on_report);
	set(conf, "bootstrap.servers", brokers);
	set(conf, "enable.idempotence", "true");
	set(conf, "acks", "all");
	set(conf, "message.timeout.ms", "0");
	set(conf, "queue.buffering.max.messages", "100000");
	set(conf, "queue.buffering.max.kbytes", "65536");
	size_t length = strcspn(options->property, "=");
	snprintf(name, sizeof name, "%.*s", (int)length, options->property);
	set(conf, name, options->property + length + 1);
	b.rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
	if (b.rk == NULL) {
		fprintf(stderr, "bench-kafka: %s\n", why);
		exit(1);
	}
	b.topic = rd_kafka_topic_new(b.rk, TOPIC, NULL);
}

static double turn_of_reference(const struct options *options)
{
	b.confirmed = 0;
	uint64_t begun_ns = clock_monotonic_ns();
	for (unsigned i = 0; i < options->messages;) {
		rd_kafka_resp_err_t code = rd_kafka_producev(
		        b.rk, RD_KAFKA_V_RKT(b.topic), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
		        RD_KAFKA_V_VALUE(b.message + (size_t)i * options->bytes, options->bytes),
		        RD_KAFKA_V_END);
		if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
			i++;
		(void)rd_kafka_poll(b.rk, code == RD_KAFKA_RESP_ERR__QUEUE_FULL ? 1 : 0);
	}
	while (b.confirmed < options->messages && rd_kafka_outq_len(b.rk) != 0)
		(void)rd_kafka_poll(b.rk, 1);
	double rate = options->messages / ((double)(clock_monotonic_ns() - begun_ns) / NS_PER_SEC);
	if (b.confirmed != options->messages) {
		fprintf(stderr, "bench-kafka: %llu of %u messages confirmed\n",
		        (unsigned long long)b.confirmed, options->messages);
		exit(1);
	}
	return rate;
}

/* ---- the measurement ---- */

static void make_messages(const struct options *options)
{
	size_t bytes = (size_t)options->messages * options->bytes;
	if (options->messages * record_bytes(options->bytes) > LANE_BYTES / 2) {
		fprintf(stderr, "bench-kafka: %zu bytes of messages do not fit the lane\n", bytes);
		exit(1);
	}
	b.message = malloc(bytes);
	if (b.message == NULL)
		exit(1);
	for (size_t i = 0; i < bytes; i++)
		b.message[i] = (char)('a' + (i * 7 + i / options->bytes) % 26);
}

static void print(const struct options *options, const struct turns *turns)
{
	const char *where = options->brokers[0] == '\0' ? "librdkafka's mock cluster" : options->brokers;
	if (options->json) {
		printf("{\"bench\":\"kafka\",\"brokers\":\"%s\",\"bytes\":%u,",
		       options->brokers[0] == '\0' ? "mock" : options->brokers, options->bytes);
		printf("\"librdkafka\":\"%s\",\"per_s\":%.0f,\"producev_per_s\":%.0f,\"ratio\":%.3f}\n",
		       rd_kafka_version_str(), turns_median(turns->ours, turns->n),
		       turns_median(turns->reference, turns->n), turns_ratio(turns));
		return;
	}
	printf("%u messages of %u bytes a turn, to %s, librdkafka %s\n", options->messages, options->bytes,
	       where, rd_kafka_version_str());
	turns_print(turns, "lane to confirmed", "kafka stage", "producev");
}

static int run(const struct options *options)
{
	struct turns turns = {0};
	const char *brokers = options->brokers[0] == '\0' ? start_mock() : options->brokers;
	make_messages(options);
	make_instance();
	open_stage(options, brokers);
	open_reference(options, brokers);
	(void)turn_of_ours(options); /* not counted: connections, memory */
	(void)turn_of_reference(options);
	for (unsigned i = 0; i < options->turns; i++) {
		double ours = turn_of_ours(options);
		turns_add(&turns, ours, turn_of_reference(options));
	}
	print(options, &turns);
	kafka_stage.fini(&b.stage);
	rd_kafka_topic_destroy(b.topic);
	rd_kafka_destroy(b.rk);
	instance_detach(&b.stage.instance);
	config_free(b.stage.config);
	topic_writer_detach(&b.writer);
	instance_detach(&b.instance);
	free(b.message);
	free(b.control);
	return 0;
}

static void help(void)
{
	puts("Usage: millrace bench kafka [options]\n"
	     "\n"
	     "Sends the same messages by the kafka stage's own loop, out of a lane, and by a bare loop of\n"
	     "rd_kafka_producev, with the same properties, until all are confirmed.\n"
	     "\n"
	     "  --turns N           turns of each side, 1 to 64 (default 9)\n"
	     "  --messages N        messages in a turn (default 500000)\n"
	     "  --bytes N           bytes of a message (default 100)\n"
	     "  --brokers LIST      a real cluster with a topic \"in\" (default: librdkafka's mock cluster, in a\n"
	     "                      process of its own on this machine)\n"
	     "  --property NAME=VALUE  of librdkafka, for both (default linger.ms=5)\n"
	     "  --json              one JSON object instead of text\n"
	     "\n"
	     "Exit status: 0 measured, 1 failed, 2 usage.");
}

static int run_bench(int argc, char **argv)
{
	struct options options = {
	        .turns = 9, .messages = 500000, .bytes = 100, .brokers = "", .property = "linger.ms=5"};
	const struct option_row rows[] = {
	        {"turns", OPTION_COUNT, &options.turns, 1, TURNS_MAX},
	        {"messages", OPTION_COUNT, &options.messages, 1, 10000000},
	        {"bytes", OPTION_COUNT, &options.bytes, 1, 900000},
	        {"brokers", OPTION_TEXT, &options.brokers, 0, 0},
	        {"property", OPTION_TEXT, &options.property, 0, 0},
	        {"json", OPTION_ON, &options.json, 0, 0},
	};
	int done = options_read(argc, argv, "bench-kafka", rows, sizeof rows / sizeof *rows, help);
	if (done >= 0)
		return done;
	if (strchr(options.property, '=') == NULL) {
		fputs("bench-kafka: --property: NAME=VALUE is wanted\n", stderr);
		return 2;
	}
	log_init("bench-kafka", LOG_ERROR, LOG_TEXT);
	return run(&options);
}

int main(int argc, char **argv)
{
	output_no_size_signal();
	int status = run_bench(argc, argv);
	return status != 0 ? status : output_finish("bench-kafka");
}
