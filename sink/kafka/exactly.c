#include "sink/kafka/exactly.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/thread.h"

#define SLICE_MS  1000  /* how long a call waits before it looks whether it is to end */
#define CREATE_MS 10000 /* for the topic of positions */
#define PAUSE_US  200000
#define FETCH_MS  500
#define PATIENCE  6 /* fetches without an answer before that is trouble */

enum job { JOB_NONE, JOB_START, JOB_COMMIT, JOB_END };

struct exactly {
	struct cluster *cluster;
	const char *id, *positions;
	int wake;
	pthread_t thread;
	pthread_mutex_t lock; /* job, done, result, error */
	pthread_cond_t changed;
	enum job job;
	bool done;
	int result;
	struct shm_error error; /* the trouble it is in, then the reason */
	atomic_bool end;
	/* the worker's while it has a job */
	rd_kafka_t *rk;
	bool found;
	struct exactly_position position;
};

/* ---- texts ---- */

size_t exactly_write(char text[EXACTLY_POSITION_BYTES], const struct exactly_position *position)
{
	return (size_t)snprintf(text, EXACTLY_POSITION_BYTES,
	                        "{\"generation\":%" PRIu64 ",\"position\":%" PRIu64 ",\"records\":%" PRIu64
	                        "}",
	                        position->generation, position->position, position->records);
}

bool exactly_read(const char *text, size_t bytes, struct exactly_position *position)
{
	char copy[EXACTLY_POSITION_BYTES], again[EXACTLY_POSITION_BYTES];
	struct exactly_position read;
	if (bytes >= sizeof copy)
		return false;
	memcpy(copy, text, bytes);
	copy[bytes] = '\0';
	if (sscanf(copy, "{\"generation\":%" SCNu64 ",\"position\":%" SCNu64 ",\"records\":%" SCNu64 "}",
	           &read.generation, &read.position, &read.records) != 3)
		return false;
	(void)exactly_write(again, &read);
	if (strcmp(copy, again) != 0)
		return false;
	*position = read;
	return true;
}

/* ---- the worker: what it waits for ---- */

static void in_trouble(struct exactly *exactly, const char *what, const char *why)
{
	pthread_mutex_lock(&exactly->lock);
	shm_explain(&exactly->error, "%s%s", what, why);
	pthread_mutex_unlock(&exactly->lock);
}

static int ended(struct exactly *exactly)
{
	in_trouble(exactly, "", "the sink ends");
	return -ECANCELED;
}

/* Frees error. */
static int failed(struct exactly *exactly, const char *what, rd_kafka_error_t *error)
{
	in_trouble(exactly, what, rd_kafka_error_string(error));
	rd_kafka_error_destroy(error);
	return -EIO;
}

static int init_transactions(struct exactly *exactly)
{
	while (!atomic_load(&exactly->end)) {
		rd_kafka_error_t *error = rd_kafka_init_transactions(exactly->rk, SLICE_MS);
		if (error == NULL)
			return 0;
		if (!rd_kafka_error_is_retriable(error))
			return failed(exactly, "cannot begin with transactions: ", error);
		(void)failed(exactly, "cannot begin with transactions: ", error);
		usleep(PAUSE_US);
	}
	return ended(exactly);
}

/* ---- the topic of positions ---- */

static rd_kafka_event_t *create_topic(struct exactly *exactly, rd_kafka_queue_t *queue)
{
	char why[256];
	rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(exactly->positions, 1, -1, why, sizeof why);
	if (topic == NULL) {
		in_trouble(exactly, "topic of positions: ", why);
		return NULL;
	}
	rd_kafka_AdminOptions_t *options =
	        rd_kafka_AdminOptions_new(exactly->rk, RD_KAFKA_ADMIN_OP_CREATETOPICS);
	(void)rd_kafka_AdminOptions_set_request_timeout(options, CREATE_MS, why, sizeof why);
	(void)rd_kafka_NewTopic_set_config(topic, "cleanup.policy", "compact");
	/* Small segments: the last one is never compacted, and all is read at each start. */
	(void)rd_kafka_NewTopic_set_config(topic, "segment.bytes", "4194304");
	(void)rd_kafka_NewTopic_set_config(topic, "min.cleanable.dirty.ratio", "0.1");
	rd_kafka_CreateTopics(exactly->rk, &topic, 1, options, queue);
	rd_kafka_event_t *event = NULL;
	for (int waited = 0; event == NULL && waited < 2 * CREATE_MS && !atomic_load(&exactly->end);
	     waited += SLICE_MS)
		event = rd_kafka_queue_poll(queue, SLICE_MS);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_NewTopic_destroy(topic);
	return event;
}

/* Whether it is there: 1, 0, -ECANCELED. Asked as a consumer, which does not have brokers create
 * it, or it would not be compacted. */
static int topic_exists(struct exactly *exactly, rd_kafka_t *reader, rd_kafka_topic_t *topic)
{
	while (!atomic_load(&exactly->end)) {
		const struct rd_kafka_metadata *metadata;
		rd_kafka_resp_err_t code = rd_kafka_metadata(reader, 0, topic, &metadata, SLICE_MS);
		if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
			int exists = metadata->topic_cnt == 1 &&
			             metadata->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR &&
			             metadata->topics[0].partition_cnt > 0;
			rd_kafka_metadata_destroy(metadata);
			return exists;
		}
		in_trouble(exactly, "topic of positions: ", rd_kafka_err2str(code));
		usleep(PAUSE_US);
	}
	return ended(exactly);
}

/* Why brokers did not create it; NULL when they did, or when it has come meanwhile. */
static const char *not_created(rd_kafka_event_t *event)
{
	size_t n = 0;
	if (event == NULL)
		return "no answer";
	const rd_kafka_CreateTopics_result_t *result = rd_kafka_event_CreateTopics_result(event);
	const rd_kafka_topic_result_t **topics =
	        result == NULL ? NULL : rd_kafka_CreateTopics_result_topics(result, &n);
	if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR || n != 1)
		return rd_kafka_event_error_string(event);
	rd_kafka_resp_err_t code = rd_kafka_topic_result_error(topics[0]);
	bool there = code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS;
	return there ? NULL : rd_kafka_err2str(code);
}

static int ensure_topic(struct exactly *exactly, rd_kafka_t *reader, rd_kafka_topic_t *topic)
{
	int exists = topic_exists(exactly, reader, topic);
	if (exists != 0)
		return exists < 0 ? exists : 0;
	rd_kafka_queue_t *queue = rd_kafka_queue_new(exactly->rk);
	rd_kafka_event_t *event = create_topic(exactly, queue);
	const char *why = not_created(event);
	if (why != NULL) {
		char what[400];
		snprintf(
		        what, sizeof what,
		        "there is no topic %s, and the brokers do not create it (make one of one partition, with cleanup.policy=compact): ",
		        exactly->positions);
		in_trouble(exactly, what, why);
	}
	if (event != NULL)
		rd_kafka_event_destroy(event);
	rd_kafka_queue_destroy(queue);
	return why == NULL ? 0 : -ENOENT;
}

/* The end of the partition as it is now, open transactions included. */
static int find_end(struct exactly *exactly, int64_t *end)
{
	int64_t low;
	while (!atomic_load(&exactly->end)) {
		rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(exactly->rk, exactly->positions,
		                                                            0, &low, end, SLICE_MS);
		if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
			return 0;
		in_trouble(exactly, "topic of positions: ", rd_kafka_err2str(code));
		if (code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
			return -EACCES;
		usleep(PAUSE_US);
	}
	return ended(exactly);
}

/* True at the end. */
static bool take_position(struct exactly *exactly, const rd_kafka_message_t *message, int64_t end)
{
	if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
		return message->offset >= end;
	if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
		in_trouble(exactly, "reading the position back: ", rd_kafka_message_errstr(message));
		return false;
	}
	if (message->key_len == strlen(exactly->id) &&
	    memcmp(message->key, exactly->id, message->key_len) == 0 &&
	    exactly_read(message->payload, message->len, &exactly->position))
		exactly->found = true;
	return message->offset + 1 >= end;
}

static int read_position(struct exactly *exactly, rd_kafka_t *reader, rd_kafka_topic_t *topic, int64_t end)
{
	exactly->found = false;
	if (end == 0)
		return 0;
	int result = rd_kafka_consume_start(topic, 0, RD_KAFKA_OFFSET_BEGINNING) == 0 ? -EAGAIN : -EIO;
	for (unsigned silent = 0; result == -EAGAIN && !atomic_load(&exactly->end);) {
		rd_kafka_message_t *message = rd_kafka_consume(topic, 0, FETCH_MS);
		rd_kafka_poll(reader, 0);
		silent = message == NULL ? silent + 1 : 0;
		if (silent >= PATIENCE)
			in_trouble(exactly, "reading the position back: ",
			           "no answer, or a transaction of another sink is open");
		if (message != NULL && take_position(exactly, message, end))
			result = 0;
		if (message != NULL)
			rd_kafka_message_destroy(message);
	}
	(void)rd_kafka_consume_stop(topic, 0);
	return result == -EAGAIN ? ended(exactly) : result;
}

/* ---- jobs ---- */

static int start(struct exactly *exactly)
{
	int64_t end;
	struct shm_error error = {""};
	int result = init_transactions(exactly);
	if (result != 0)
		return result;
	rd_kafka_t *reader = cluster_reader(exactly->cluster, &error);
	if (reader == NULL) {
		in_trouble(exactly, "reading the position back: ", error.text);
		return -EINVAL;
	}
	rd_kafka_topic_t *topic = rd_kafka_topic_new(reader, exactly->positions, NULL);
	result = ensure_topic(exactly, reader, topic);
	if (result == 0)
		result = find_end(exactly, &end);
	if (result == 0)
		result = read_position(exactly, reader, topic, end);
	rd_kafka_topic_destroy(topic);
	rd_kafka_destroy(reader);
	return result;
}

static int commit(struct exactly *exactly)
{
	for (;;) {
		rd_kafka_error_t *error = rd_kafka_commit_transaction(exactly->rk, -1);
		if (error == NULL)
			return 0;
		if (!rd_kafka_error_is_retriable(error) || atomic_load(&exactly->end))
			return failed(exactly, "cannot commit the transaction: ", error);
		(void)failed(exactly, "cannot commit the transaction: ", error);
		usleep(PAUSE_US);
	}
}

static void *work(void *argument)
{
	static const uint64_t one = 1;
	struct exactly *exactly = argument;
	pthread_mutex_lock(&exactly->lock);
	for (;;) {
		while (exactly->job == JOB_NONE || exactly->done)
			pthread_cond_wait(&exactly->changed, &exactly->lock);
		enum job job = exactly->job;
		if (job == JOB_END)
			break;
		pthread_mutex_unlock(&exactly->lock);
		int result = job == JOB_START ? start(exactly) : commit(exactly);
		pthread_mutex_lock(&exactly->lock);
		exactly->result = result;
		exactly->done = true;
		if (write(exactly->wake, &one, sizeof one) != sizeof one && errno != EAGAIN)
			abort();             /* an eventfd takes it, or is full and readable */
		if (exactly->job == JOB_END) /* while it worked */
			break;
	}
	pthread_mutex_unlock(&exactly->lock);
	return NULL;
}

/* ---- the loop's side ---- */

struct exactly *exactly_new(struct cluster *cluster, const char *id, const char *positions, int wake)
{
	struct exactly *exactly = calloc(1, sizeof *exactly);
	if (exactly == NULL)
		return NULL;
	exactly->cluster = cluster;
	exactly->id = id;
	exactly->positions = positions;
	exactly->wake = wake;
	pthread_mutex_init(&exactly->lock, NULL);
	pthread_cond_init(&exactly->changed, NULL);
	if (thread_start(&exactly->thread, 0, work, exactly) == 0)
		return exactly;
	free(exactly);
	return NULL;
}

static void give(struct exactly *exactly, enum job job, rd_kafka_t *rk)
{
	pthread_mutex_lock(&exactly->lock);
	exactly->job = job;
	exactly->error.text[0] = '\0';
	if (job == JOB_END)
		atomic_store(&exactly->end, true);
	else
		exactly->rk = rk;
	exactly->done = false;
	pthread_cond_signal(&exactly->changed);
	pthread_mutex_unlock(&exactly->lock);
}

void exactly_start(struct exactly *exactly, rd_kafka_t *rk)
{
	give(exactly, JOB_START, rk);
}

void exactly_commit(struct exactly *exactly, rd_kafka_t *rk)
{
	give(exactly, JOB_COMMIT, rk);
}

void exactly_free(struct exactly *exactly)
{
	if (exactly == NULL)
		return;
	give(exactly, JOB_END, NULL);
	pthread_join(exactly->thread, NULL);
	pthread_cond_destroy(&exactly->changed);
	pthread_mutex_destroy(&exactly->lock);
	free(exactly);
}

bool exactly_done(struct exactly *exactly, int *result, struct shm_error *error)
{
	pthread_mutex_lock(&exactly->lock);
	bool done = exactly->done;
	if (done) {
		*result = exactly->result;
		exactly->job = JOB_NONE;
		exactly->done = false;
	}
	*error = exactly->error;
	pthread_mutex_unlock(&exactly->lock);
	return done;
}

bool exactly_position(const struct exactly *exactly, struct exactly_position *position)
{
	*position = exactly->position;
	return exactly->found;
}
