#include "sink/kafka/kafka.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "sink/kafka/pipe.h"

/* While records come more often than this, the stage sleeps so long after work and looks again by
 * itself. README.md has what that saves. */
#define NAP_NS         (500 * NS_PER_US)
#define LOOK_MS        100         /* for the brokers' answer while failing and nothing is in flight */
#define OVERHEAD       256u        /* of librdkafka for one message: 180 measured */
#define FIXED_BYTES    (48u << 20) /* of librdkafka for a producer: requests in flight, threads, lists */
#define LANES_EXPECTED 4u          /* exactly once: producers that memory_max counts */

/* ---- the options ---- */

static int init_transactional(struct kafka *kafka, const struct config *config, const char *section,
                              struct shm_error *error)
{
	char name[TRANSACTIONAL_MAX / 2];
	struct shm_error why = {""};
	kafka->positions = config_string(config, "%s.transaction.positions", section);
	int result = message_name(name, sizeof name, config_string(config, "%s.transaction.name", section),
	                          NULL, kafka->messages.host, kafka->messages.instance, &why);
	if (result != 0)
		shm_explain(error, "transaction.name: %s", why.text);
	else if (!message_topic_valid(kafka->positions)) {
		shm_explain(
		        error,
		        "transaction.positions: \"%s\" is no name of a Kafka topic; allowed: a-z A-Z 0-9 . _ -",
		        kafka->positions);
		result = -EINVAL;
	}
	snprintf(kafka->transactional_id, sizeof kafka->transactional_id, "%s.%s", name,
	         config_string(config, "%s.name", section));
	return result;
}

static int init_options(struct kafka *kafka, const struct config *config, const char *section,
                        const char *const *topics, struct shm_error *error)
{
	int result = cluster_init(&kafka->cluster, config, section, error);
	if (result == 0)
		result = messages_init(&kafka->messages, config, section, topics, error);
	kafka->exactly_once = config_u64(config, "%s.exactly_once", section) != 0;
	kafka->stop_on_invalid = strcmp(config_string(config, "%s.when_invalid", section), "stop") == 0;
	kafka->rebuild_least_ns = config_ns(config, "%s.rebuild.least", section);
	kafka->rebuild_most_ns = config_ns(config, "%s.rebuild.most", section);
	kafka->stalled_ns = config_ns(config, "%s.stalled", section);
	kafka->commit_ns = config_ns(config, "%s.transaction.interval", section);
	if (result == 0)
		result = init_transactional(kafka, config, section, error);
	if (result == 0 && kafka->exactly_once &&
	    kafka->commit_ns / NS_PER_MS >= kafka->cluster.transaction_ms) {
		shm_explain(error, "transaction.interval: not below transaction.timeout");
		result = -EINVAL;
	}
	return result;
}

/* ---- the file of properties ---- */

static int load_properties(const struct config *config, const char *path, void **loaded,
                           struct shm_error *error)
{
	struct shm_error why = {""};
	struct properties *properties = calloc(1, sizeof *properties);
	(void)config;
	if (properties == NULL)
		return -ENOMEM;
	int result = properties_read(properties, path, &why);
	if (result != 0) {
		shm_explain(error, "%s: %s", path, why.text);
		properties_fini(properties);
		free(properties);
		return result;
	}
	*loaded = properties;
	return 0;
}

static void discard_properties(void *loaded)
{
	properties_fini(loaded);
	free(loaded);
}

/* The producers are made anew with them. */
static void replace_properties(struct stage *stage, void *loaded)
{
	struct kafka *kafka = stage->own;
	struct properties *properties = loaded;
	cluster_replace_file(&kafka->cluster, properties);
	free(properties);
	for (unsigned i = 0; i < kafka->n_pipes; i++)
		pipe_renew(kafka->pipes[i]);
}

static const struct stage_file files[] = {{.option = "properties_file",
                                           .load = load_properties,
                                           .discard = discard_properties,
                                           .replace = replace_properties}};

static int load_file(struct kafka *kafka, const struct config *config, const char *section,
                     struct shm_error *error)
{
	char key[128];
	void *loaded = NULL;
	snprintf(key, sizeof key, "%s.properties_file", section);
	int result = stage_file_load(&files[0], config, key, &loaded, error);
	if (result != 0 || loaded == NULL)
		return result;
	kafka->cluster.file = *(struct properties *)loaded;
	free(loaded);
	return 0;
}

/* ---- the store, as settle.h wants it ---- */

/* A position that is behind the cursor, or missing, says only that the sink was not always exactly
 * once: what the cursor has passed is in its topics all the same. */
static int stored(void *sink, struct settle_cursor *cursor, struct shm_error *error)
{
	struct kafka *kafka = sink;
	struct exactly_position position;
	unsigned i = 0;
	(void)error;
	while (strcmp(kafka->ports.wanted.reads[i], cursor->topic) != 0)
		i++;
	const struct stream_reader *reader = &kafka->ports.reader[i].lane[cursor->lane];
	cursor->generation = kafka->messages.generation;
	cursor->position = reader->position;
	cursor->records = reader->records;
	const struct pipe *pipe = kafka->pipe[i][cursor->lane];
	if (pipe != NULL && pipe->worker != NULL && exactly_position(pipe->worker, &position) &&
	    position.generation == cursor->generation && position.position > cursor->position) {
		cursor->position = position.position;
		cursor->records = position.records;
	}
	return 0;
}

static int look_at_pipe(const struct pipe *pipe, struct shm_error *error)
{
	const struct rd_kafka_metadata *metadata;
	const struct kafka *kafka = pipe->kafka;
	if (pipe->state == PIPE_STOPPED || pipe->state == PIPE_CLOSED || pipe->state == PIPE_STARTING) {
		shm_explain(error, "%s", pipe->reason[0] == '\0' ? "waiting for the brokers" : pipe->reason);
		return pipe->state == PIPE_STOPPED ? -EBADMSG : -EIO;
	}
	rd_kafka_resp_err_t code =
	        rd_kafka_metadata(pipe->rk, 0, pipe->topic[pipe->read], &metadata, LOOK_MS);
	if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
		rd_kafka_metadata_destroy(metadata);
		return 0;
	}
	shm_explain(error, "%s",
	            kafka->broker_error[0] == '\0' ? rd_kafka_err2str(code) : kafka->broker_error);
	return -ENOTCONN;
}

/* Asked while nothing is in flight. librdkafka tells when brokers go, and nothing when they come.
 * */
static int look(void *sink, struct shm_error *error)
{
	struct kafka *kafka = sink;
	int result = 0;
	for (unsigned i = 0; i < kafka->n_pipes; i++)
		if (result == 0 && kafka->settle.failing != 0)
			result = look_at_pipe(kafka->pipes[i], error);
	return result;
}

static const struct settle_store brokers = {.name = "brokers", .stored = stored, .look = look};

/* ---- starting ---- */

static unsigned words(void *argument, struct sleep_word *word)
{
	return ports_words(&((struct kafka *)argument)->ports, word);
}

static int open_sleep(struct kafka *kafka, struct shm_error *error)
{
	int result = sleep_poll_open(&kafka->sleep, words, NULL, kafka);
	kafka->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (result == 0 && kafka->wake < 0)
		result = -errno;
	if (result != 0)
		shm_explain(error, "cannot wait for events: %s", strerror(-result));
	return result;
}

static int init_settle(struct kafka *kafka, struct shm_error *error)
{
	settle_init(&kafka->settle, &brokers, kafka, &kafka->ports, kafka->control, KAFKA_waiting_records);
	kafka->messages.generation = kafka->stage->instance.generation;
	int result = settle_init_flights(&kafka->settle, KAFKA_FLIGHTS);
	return result == 0 ? open_sleep(kafka, error) : result;
}

static void leave(struct kafka *kafka)
{
	for (unsigned i = 0; i < kafka->n_pipes; i++)
		pipe_free(kafka->pipes[i]);
	sleep_poll_close(kafka->sleep);
	if (kafka->wake >= 0)
		close(kafka->wake);
	ports_close(&kafka->ports); /* after the producers, which may still read from the lanes */
	messages_fini(&kafka->messages);
	cluster_fini(&kafka->cluster);
	free(kafka->settle.flights);
	free(kafka);
}

/* Of a lane that has none; at least once, the one for all lanes. */
static void make_pipe(struct kafka *kafka, unsigned i, unsigned k)
{
	struct shm_error error = {"no memory"};
	struct pipe *pipe = kafka->exactly_once ? pipe_new_exactly(kafka, i, k, &error) : pipe_new(kafka);
	if (pipe == NULL) {
		settle_fail(&kafka->settle, -EAGAIN, &error);
		return;
	}
	kafka->pipe[i][k] = pipe;
	kafka->pipes[kafka->n_pipes++] = pipe;
}

/* Lanes may come with a reload. What cannot be made is tried again at the next tick. */
static void make_pipes(struct kafka *kafka)
{
	if (!kafka->exactly_once && kafka->n_pipes == 0)
		make_pipe(kafka, 0, 0);
	for (unsigned i = 0; kafka->exactly_once && i < kafka->ports.n_reads; i++)
		for (unsigned k = 0; k < kafka->ports.reader[i].n_lanes; k++)
			if (kafka->ports.reader[i].lane[k].shared != NULL && kafka->pipe[i][k] == NULL)
				make_pipe(kafka, i, k);
}

static uint64_t memory_max(const struct config *config, const char *section)
{
	uint64_t messages = config_u64(config, "%s.queue.messages", section);
	uint64_t producers = config_u64(config, "%s.exactly_once", section) != 0 ? LANES_EXPECTED : 1;
	return config_u64(config, "%s.queue.bytes", section) + messages * OVERHEAD + producers * FIXED_BYTES +
	       KAFKA_FLIGHTS * sizeof(struct settle_flight);
}

static int begin(struct kafka *kafka, struct stage *stage, const char *section, struct shm_error *error)
{
	struct shm_error why = {""};
	struct ports_wanted wanted = ports_declared(&stage->instance, stage->role, NULL);
	ports_declare_listed(&wanted, stage->config);
	int result = ports_open(&kafka->ports, &wanted, error);
	if (result != 0)
		return result;
	result = init_options(kafka, stage->config, section, kafka->ports.wanted.reads, &why);
	if (result != 0) {
		shm_explain(error, "%s.%s", section, why.text);
		return result;
	}
	result = load_file(kafka, stage->config, section, error);
	return result == 0 ? init_settle(kafka, error) : result;
}

static int init(struct stage *stage, struct shm_error *error)
{
	char section[64];
	struct kafka *kafka = calloc(1, sizeof *kafka);
	int result = stage_section(stage, section, sizeof section, error);
	if (kafka == NULL || result != 0) {
		free(kafka);
		return result != 0 ? result : -ENOMEM;
	}
	kafka->stage = stage;
	kafka->control = stage->control;
	kafka->wake = -1;
	result = begin(kafka, stage, section, error);
	if (result != 0) {
		leave(kafka);
		return result;
	}
	stage->own = kafka;
	stage->ports = &kafka->ports;
	make_pipes(kafka);
	settle_note(&kafka->settle, "%s%s", kafka->exactly_once ? "exactly once to " : "",
	            kafka->cluster.brokers);
	metric_set(kafka->control, KAFKA_memory_max_bytes, memory_max(stage->config, section));
	log_info("sending", "brokers=%s topics=%u exactly_once=%d", kafka->cluster.brokers,
	         kafka->ports.n_reads, kafka->exactly_once);
	return 0;
}

/* ---- the loop ---- */

/* The next batch of any lane. */
static bool send_batch(struct kafka *kafka, uint64_t now_ns)
{
	struct record_batch batch;
	unsigned lane;
	struct pipe *pipe = kafka->pipe[0][0];
	if (pipe == NULL || !pipe_takes(pipe))
		return false;
	for (unsigned n = 0; n < kafka->ports.n_reads; n++) {
		unsigned i = kafka->next_read++ % kafka->ports.n_reads;
		if (topic_peek(&kafka->ports.reader[i], &lane, &batch))
			return pipe_send(pipe, i, lane, &batch, now_ns);
	}
	return false;
}

/* The next batch of a lane whose transaction takes it. */
static bool send_exactly(struct kafka *kafka, uint64_t now_ns)
{
	bool did = false;
	for (unsigned i = 0; i < kafka->ports.n_reads; i++)
		for (unsigned k = 0; k < kafka->ports.reader[i].n_lanes; k++) {
			struct record_batch batch;
			struct pipe *pipe = kafka->pipe[i][k];
			if (pipe != NULL && pipe_takes(pipe) && kafka_has_room(kafka) &&
			    stream_peek(&kafka->ports.reader[i].lane[k], &batch))
				did |= pipe_send(pipe, i, k, &batch, now_ns);
		}
	return did;
}

/* Something lies in a lane whose pipe takes nothing: its tail would go on changing. */
static bool is_blocked(const struct kafka *kafka)
{
	for (unsigned i = 0; i < kafka->ports.n_reads; i++)
		for (unsigned k = 0; k < kafka->ports.reader[i].n_lanes; k++) {
			const struct stream_reader *lane = &kafka->ports.reader[i].lane[k];
			if (lane->shared != NULL && stream_waiting_bytes(lane) != 0)
				return true;
		}
	return false;
}

static bool poll_stage(struct stage *stage)
{
	struct kafka *kafka = stage->own;
	bool did = false;
	for (unsigned i = 0; i < kafka->n_pipes; i++)
		did |= pipe_serve(kafka->pipes[i], stage->now_ns);
	if (kafka_has_room(kafka))
		did |= kafka->exactly_once ? send_exactly(kafka, stage->now_ns)
		                           : send_batch(kafka, stage->now_ns);
	if (did) {
		kafka->worked = true;
		kafka->noted = false;
	}
	return did;
}

/* Brokers that are there and say nothing. */
static void look_for_stall(struct kafka *kafka, uint64_t now_ns)
{
	struct shm_error error = {""};
	uint64_t oldest_ns = settle_oldest_ns(&kafka->settle);
	uint64_t age_ns = oldest_ns < now_ns ? now_ns - oldest_ns : 0;
	metric_set(kafka->control, KAFKA_oldest_ms, age_ns / NS_PER_MS);
	uint64_t most_ns = kafka->stalled_ns + (kafka->exactly_once ? kafka->commit_ns : 0);
	if (age_ns < most_ns || now_ns < kafka->stalled_told_ns + NS_PER_SEC)
		return;
	kafka->stalled_told_ns = now_ns;
	shm_explain(&error, "no answer for %llu s%s%s", (unsigned long long)(age_ns / NS_PER_SEC),
	            kafka->broker_error[0] == '\0' ? "" : "; last error: ", kafka->broker_error);
	settle_fail(&kafka->settle, -ENOTCONN, &error);
}

static void tick(struct stage *stage)
{
	struct kafka *kafka = stage->own;
	make_pipes(kafka);
	settle_tick(&kafka->settle, stage->now_ns);
	look_for_stall(kafka, stage->now_ns);
	metric_set(kafka->control, KAFKA_in_flight, kafka->queued);
	metric_set(kafka->control, KAFKA_in_flight_bytes, kafka->queued_bytes);
}

static void sleep_ns(uint64_t ns)
{
	struct timespec time = {.tv_sec = (time_t)(ns / NS_PER_SEC), .tv_nsec = (long)(ns % NS_PER_SEC)};
	(void)nanosleep(&time, NULL); /* a signal ends it early, and that is right */
}

/* Until librdkafka has an event, and, unless nothing more could be read, a writer commits. */
static void wait_for_events(struct kafka *kafka, uint64_t timeout_ns)
{
	struct pollfd fd[2] = {{.fd = kafka->wake, .events = POLLIN},
	                       {.fd = sleep_poll_fd(kafka->sleep), .events = POLLIN}};
	struct timespec time = {.tv_sec = (time_t)(timeout_ns / NS_PER_SEC),
	                        .tv_nsec = (long)(timeout_ns % NS_PER_SEC)};
	uint64_t value, begun_ns = clock_monotonic_ns();
	int ready = ppoll(fd, kafka->blocked ? 1 : 2, &time, NULL);
	kafka->dense = ready > 0 && clock_monotonic_ns() - begun_ns < NAP_NS;
	if (ready > 0 && fd[0].revents != 0 && read(kafka->wake, &value, sizeof value) < 0 && errno != EAGAIN)
		log_warn("an eventfd cannot be read", "reason=\"%s\"", strerror(errno));
	metric_add(kafka->control, KAFKA_waits, 1);
}

static uint64_t time_left(const struct kafka *kafka, uint64_t timeout_ns, uint64_t now_ns)
{
	uint64_t due_ns = now_ns + timeout_ns;
	for (unsigned i = 0; i < kafka->n_pipes; i++)
		if (pipe_due_ns(kafka->pipes[i]) < due_ns)
			due_ns = pipe_due_ns(kafka->pipes[i]);
	return due_ns > now_ns ? due_ns - now_ns : 0;
}

static void idle(struct stage *stage, uint64_t timeout_ns)
{
	struct kafka *kafka = stage->own;
	uint64_t left_ns = time_left(kafka, timeout_ns, stage->now_ns);
	bool nap = kafka->worked && kafka->dense;
	kafka->worked = false;
	if (nap) {
		metric_add(kafka->control, KAFKA_naps, 1);
		sleep_ns(left_ns < NAP_NS ? left_ns : NAP_NS);
		return;
	}
	kafka->blocked = is_blocked(kafka);
	if (!kafka->blocked && !kafka->noted) {
		sleep_poll_note(kafka->sleep);
		kafka->noted = true;
		return; /* one more look */
	}
	kafka->noted = false;
	if (kafka->blocked || !sleep_poll_arm(kafka->sleep))
		wait_for_events(kafka, left_ns);
}

static bool all_stopped(const struct kafka *kafka)
{
	for (unsigned i = 0; i < kafka->n_pipes; i++)
		if (kafka->pipes[i]->state != PIPE_STOPPED)
			return false;
	return true;
}

static bool drained(struct stage *stage)
{
	struct kafka *kafka = stage->own;
	for (unsigned i = 0; i < kafka->n_pipes; i++)
		pipe_flush(kafka->pipes[i]);
	return settle_drained(&kafka->settle) && (!is_blocked(kafka) || all_stopped(kafka));
}

static void fini(struct stage *stage)
{
	struct kafka *kafka = stage->own;
	tick(stage);
	(void)settle_finish(&kafka->settle);
	leave(kafka);
	stage->own = NULL;
}

/* ---- the command line ---- */

static int check(const struct config *config, const char *section, struct shm_error *error)
{
	struct shm_error why = {""};
	struct kafka *kafka = calloc(1, sizeof *kafka);
	size_t n = config_count(config, "%s.topics", section);
	const char *topics[PORTS_READS_MAX + 1] = {NULL};
	if (kafka == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < n && i < PORTS_READS_MAX; i++)
		topics[i] = config_item(config, i, "%s.topics", section);
	int result = init_options(kafka, config, section, topics, &why);
	/* Without a file that is the sink's own process's alone, what there is may not fit
	 * together. */
	bool whole = config_credential(config_string(config, "%s.properties_file", section)) == NULL;
	if (result == 0 && whole && load_file(kafka, config, section, &(struct shm_error){""}) == 0)
		result = cluster_check(&kafka->cluster, kafka->exactly_once, &why);
	if (result != 0)
		shm_explain(error, "%s.%s", section, why.text);
	messages_fini(&kafka->messages);
	cluster_fini(&kafka->cluster);
	free(kafka);
	return result;
}

static const struct metric_description metrics[] = {
#define METRIC    METRIC_ROW
#define HISTOGRAM HISTOGRAM_ROW
#include "sink/kafka/metrics.def"
#undef METRIC
#undef HISTOGRAM
};

const struct stage_ops kafka_stage = {
        .name = "kafka",
        .help = "brings events to a Kafka cluster, at least once or exactly once",
        .metrics = metrics,
        .n_metrics = sizeof metrics / sizeof metrics[0],
        .init = init,
        .poll = poll_stage,
        .tick = tick,
        .idle = idle,
        .drained = drained,
        .fini = fini,
        .alone = kafka_alone,
        .check = check,
        .memory_max = memory_max,
        .files = files,
        .n_files = 1,
};
