/* Apache Kafka that runs already (--kafka), by librdkafka: an idempotent producer, acks=all; a
 * consumer that commits what it took. */
#include "bench/hop.h"

#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOPIC   "millrace-bench-hop"
#define GROUP   "millrace-bench-hop"
#define WAIT_MS 30000

static char why[512];
static rd_kafka_t *handle; /* of a child */
static rd_kafka_topic_t *topic;
static uint64_t refused;

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	if (rd_kafka_conf_set(conf, name, value, why, sizeof why) != RD_KAFKA_CONF_OK)
		hop_fail("kafka", why);
}

static rd_kafka_t *make(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
	set(conf, "bootstrap.servers", hop_kafka_brokers);
	rd_kafka_t *made = rd_kafka_new(type, conf, why, sizeof why);
	if (made == NULL)
		hop_fail("kafka", why);
	return made;
}

static const char *open_kafka(void)
{
	return hop_kafka_brokers != NULL ? NULL : "no --kafka BROKERS given";
}

static void close_kafka(void)
{
}

static pid_t kafka_pid(void)
{
	return (pid_t)hop_kafka_pid;
}

/* ---- the writer ---- */

static void on_delivery(rd_kafka_t *of, const rd_kafka_message_t *message, void *argument)
{
	(void)of;
	(void)argument;
	refused += message->err != RD_KAFKA_RESP_ERR_NO_ERROR;
}

static void writer_begin(void)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	set(conf, "enable.idempotence", "true");
	set(conf, "queue.buffering.max.messages", "200000");
	rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
	handle = make(RD_KAFKA_PRODUCER, conf);
	topic = rd_kafka_topic_new(handle, TOPIC, NULL);
}

static void hand_in(const struct hop_message *message, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		while (rd_kafka_produce(topic, 0, RD_KAFKA_MSG_F_COPY, (void *)(uintptr_t)&message[i],
		                        sizeof message[i], NULL, 0, NULL) != 0) {
			if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
				hop_fail("kafka", rd_kafka_err2str(rd_kafka_last_error()));
			rd_kafka_poll(handle, 10);
		}
	rd_kafka_poll(handle, 0);
}

static void writer_done(void)
{
	if (rd_kafka_flush(handle, WAIT_MS) != RD_KAFKA_RESP_ERR_NO_ERROR || refused > 0)
		hop_fail("kafka", "not everything was acknowledged");
}

/* ---- the reader ---- */

static rd_kafka_queue_t *queue;

static void reader_begin(void)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	set(conf, "group.id", GROUP);
	set(conf, "auto.offset.reset", "earliest");
	set(conf, "fetch.wait.max.ms", "5");
	handle = make(RD_KAFKA_CONSUMER, conf);
	rd_kafka_poll_set_consumer(handle);
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(list, TOPIC, 0)->offset = RD_KAFKA_OFFSET_STORED;
	rd_kafka_resp_err_t failed = rd_kafka_assign(handle, list);
	rd_kafka_topic_partition_list_destroy(list);
	if (failed)
		hop_fail("kafka", rd_kafka_err2str(failed));
	queue = rd_kafka_queue_get_consumer(handle);
}

/* librdkafka waits for as many as are asked for: so for the first, then for none. */
static unsigned take(struct hop_message *message)
{
	rd_kafka_message_t *got[HOP_BATCH];
	ssize_t n = rd_kafka_consume_batch_queue(queue, 100, got, 1);
	ssize_t more = n == 1 ? rd_kafka_consume_batch_queue(queue, 0, got + 1, HOP_BATCH - 1) : 0;
	n += more > 0 ? more : 0;
	unsigned used = 0;
	for (ssize_t i = 0; i < n; i++) {
		if (got[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR && got[i]->len == sizeof *message)
			memcpy(&message[used++], got[i]->payload, sizeof *message);
		else if (got[i]->err != RD_KAFKA_RESP_ERR_NO_ERROR &&
		         got[i]->err != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
			hop_fail("kafka", rd_kafka_message_errstr(got[i]));
		rd_kafka_message_destroy(got[i]);
	}
	return used;
}

static void done(void)
{
	rd_kafka_resp_err_t failed = rd_kafka_commit(handle, NULL, 0);
	if (failed != RD_KAFKA_RESP_ERR_NO_ERROR && failed != RD_KAFKA_RESP_ERR__NO_OFFSET)
		hop_fail("kafka", rd_kafka_err2str(failed));
	rd_kafka_consumer_close(handle);
}

const struct hop_way hop_kafka = {
        .name = "kafka",
        .promise = "outlives processes (page cache)",
        .open = open_kafka,
        .close = close_kafka,
        .server = kafka_pid,
        .writer_begin = writer_begin,
        .hand_in = hand_in,
        .writer_done = writer_done,
        .reader_begin = reader_begin,
        .take = take,
        .reader_done = done,
};
