#include "sink/kafka/pipe.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define EVENTS_MAX        64u               /* taken in one call */
#define REPORTS_MAX       1024u             /* messages of a delivery report looked at together */
#define WELL_NS           (60 * NS_PER_SEC) /* open so long without a fault: the next pause is the least */
#define REFUSAL_NS        (60 * NS_PER_SEC) /* between two log lines about refused messages */
#define TROUBLE_NS        (3 * NS_PER_SEC)  /* what a worker waits for is no trouble before that */
#define REGISTER_NS       (500 * NS_PER_MS)
#define BATCH_BYTES       1000000u /* librdkafka's default of batch.size */
#define BATCH_BYTES_LEAST 1024u

/* The first one counts, until it is acted on. */
static void fail(struct pipe *pipe, enum pipe_fault fault, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

static void fail(struct pipe *pipe, enum pipe_fault fault, const char *format, ...)
{
	va_list arguments;
	if (pipe->fault != FAULT_NONE)
		return;
	va_start(arguments, format);
	vsnprintf(pipe->reason, sizeof pipe->reason, format, arguments);
	va_end(arguments);
	pipe->fault = fault;
	pipe->fault_ns = pipe->kafka->stage->now_ns;
}

/* ---- opening and closing ---- */

struct pipe *pipe_new(struct kafka *kafka)
{
	struct pipe *pipe = calloc(1, sizeof *pipe);
	if (pipe != NULL)
		pipe->kafka = kafka;
	return pipe;
}

struct pipe *pipe_new_exactly(struct kafka *kafka, unsigned i, unsigned lane, struct shm_error *error)
{
	struct pipe *pipe = pipe_new(kafka);
	if (pipe != NULL) {
		pipe->read = i;
		pipe->lane = lane;
		snprintf(pipe->id, sizeof pipe->id, "%s.%s.%u", kafka->transactional_id,
		         kafka->messages.topic[i].name, lane);
		pipe->worker = exactly_new(&kafka->cluster, pipe->id, kafka->positions, kafka->wake);
	}
	if (pipe != NULL && pipe->worker != NULL)
		return pipe;
	shm_explain(error, "no memory or no thread for lane %u of topic %s", lane,
	            kafka->messages.topic[i].name);
	free(pipe);
	return NULL;
}

/* The lanes whose records go through this pipe. */
#define EACH_LANE(pipe, i, k)                                                            \
	(unsigned i = 0; (i) < (pipe)->kafka->ports.n_reads;                             \
	 (i)++) for (unsigned k = 0; (k) < (pipe)->kafka->ports.reader[i].n_lanes;       \
	             (k)++) if ((pipe)->kafka->ports.reader[i].lane[k].shared != NULL && \
	                        (!(pipe)->kafka->exactly_once ||                         \
	                         ((pipe)->read == (i) && (pipe)->lane == (k))))

static void open_topics(struct pipe *pipe)
{
	struct kafka *kafka = pipe->kafka;
	for (unsigned i = 0; i < kafka->ports.n_reads; i++)
		if (!pipe->kafka->exactly_once || i == pipe->read)
			pipe->topic[i] = rd_kafka_topic_new(pipe->rk, kafka->messages.topic[i].kafka, NULL);
	if (pipe->kafka->exactly_once)
		pipe->positions = rd_kafka_topic_new(pipe->rk, kafka->positions, NULL);
}

static void pause_after(struct pipe *pipe, uint64_t now_ns)
{
	const struct kafka *kafka = pipe->kafka;
	if (pipe->opened_ns != 0 && now_ns - pipe->opened_ns >= WELL_NS)
		pipe->pause_ns = 0;
	pipe->pause_ns = pipe->pause_ns == 0 ? kafka->rebuild_least_ns : 2 * pipe->pause_ns;
	if (pipe->pause_ns > kafka->rebuild_most_ns)
		pipe->pause_ns = kafka->rebuild_most_ns;
	pipe->retry_ns = now_ns + pipe->pause_ns;
}

static void open_pipe(struct pipe *pipe, uint64_t now_ns)
{
	static const uint64_t one = 1;
	struct kafka *kafka = pipe->kafka;
	struct shm_error error = {""};
	struct cluster_producer wish = {.transactional_id = !pipe->kafka->exactly_once ? NULL : pipe->id,
	                                .batch_bytes = pipe->batch_bytes,
	                                .single = pipe->single};
	pipe->rk = cluster_producer(&kafka->cluster, &wish, &error);
	if (pipe->rk == NULL) {
		settle_fail(&kafka->settle, -EINVAL, &error);
		pause_after(pipe, now_ns);
		return;
	}
	pipe->queue = rd_kafka_queue_get_main(pipe->rk);
	rd_kafka_queue_io_event_enable(pipe->queue, kafka->wake, &one, sizeof one);
	open_topics(pipe);
	pipe->opened_ns = now_ns;
	pipe->full = false;
	pipe->fault = FAULT_NONE;
	pipe->state = PIPE_READY;
	if (pipe->kafka->exactly_once) {
		pipe->trouble_ns = now_ns + TROUBLE_NS;
		exactly_start(pipe->worker, pipe->rk);
		pipe->state = PIPE_STARTING;
	}
}

/* What is in flight is forgotten: nobody will answer for it. */
static void close_pipe(struct pipe *pipe)
{
	struct kafka *kafka = pipe->kafka;
	rd_kafka_event_t *event;
	if (pipe->rk != NULL) {
		stage_heartbeat(kafka->stage);
		rd_kafka_purge(pipe->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT |
		                                 RD_KAFKA_PURGE_F_NON_BLOCKING);
		rd_kafka_queue_io_event_enable(pipe->queue, -1, NULL, 0);
		while ((event = rd_kafka_queue_poll(pipe->queue, 0)) != NULL)
			rd_kafka_event_destroy(event);
		for (unsigned i = 0; i < PORTS_READS_MAX; i++)
			if (pipe->topic[i] != NULL)
				rd_kafka_topic_destroy(pipe->topic[i]);
		if (pipe->positions != NULL)
			rd_kafka_topic_destroy(pipe->positions);
		rd_kafka_queue_destroy(pipe->queue);
		rd_kafka_destroy(pipe->rk);
		stage_heartbeat(kafka->stage);
	}
	memset(pipe->topic, 0, sizeof pipe->topic);
	pipe->positions = NULL;
	pipe->rk = NULL;
	pipe->flight = NULL;
	kafka->queued -= pipe->queued;
	kafka->queued_bytes -= pipe->queued_bytes;
	pipe->queued = pipe->queued_bytes = 0;
	for
		EACH_LANE(pipe, i, k)
	settle_return(&kafka->settle, i, k);
	pipe->state = PIPE_CLOSED;
}

void pipe_free(struct pipe *pipe)
{
	if (pipe == NULL)
		return;
	exactly_free(pipe->worker); /* before the producer that it uses; close_pipe still knows the lane */
	close_pipe(pipe);
	free(pipe);
}

/* ---- faults ---- */

static void begin_single(struct pipe *pipe)
{
	log_warn("a batch was refused: its messages are sent one by one", "reason=\"%s\"", pipe->reason);
	for
		EACH_LANE(pipe, i, k)
	pipe->until[i][k] = pipe->kafka->ports.reader[i].lane[k].position;
	pipe->single = true;
	pipe->refused = false;
}

/* librdkafka 2.0.2 aborts the process when a producer is destroyed while it registers a partition
 * with its transaction: that is given time to end. */
static uint64_t act_ns(const struct pipe *pipe)
{
	return pipe->fault_ns + (pipe->flight == NULL ? 0 : REGISTER_NS);
}

static void act_on_fault(struct pipe *pipe, uint64_t now_ns)
{
	struct kafka *kafka = pipe->kafka;
	struct shm_error error = {""};
	enum pipe_fault fault = pipe->fault;
	if (fault != FAULT_STOP)
		metric_add(kafka->control, KAFKA_rebuilds, 1);
	if (pipe->flight != NULL)
		metric_add(kafka->control, KAFKA_transactions_failed, 1);
	shm_explain(&error, "%s", pipe->reason);
	pipe->retry_ns = now_ns;
	if (fault == FAULT_SINGLE)
		begin_single(pipe);
	if (fault == FAULT_AGAIN || fault == FAULT_STOP)
		settle_fail(&kafka->settle, fault == FAULT_STOP ? -EBADMSG : -EIO, &error);
	if (fault == FAULT_AGAIN) {
		log_warn("the producer is made anew, what was not confirmed is sent again", "reason=\"%s\"",
		         pipe->reason);
		pause_after(pipe, now_ns);
	}
	pipe->fault = FAULT_NONE;
	close_pipe(pipe);
	if (fault == FAULT_STOP)
		pipe->state = PIPE_STOPPED;
}

void pipe_renew(struct pipe *pipe)
{
	pipe->retry_ns = 0;
	if (pipe->state != PIPE_CLOSED)
		fail(pipe, FAULT_NOW, "properties_file has changed");
}

/* All that had been read when a batch was refused is safe: back to batches. */
static bool past_single(const struct pipe *pipe)
{
	for
		EACH_LANE(pipe, i, k)
		{
			const struct stream_reader *reader = &pipe->kafka->ports.reader[i].lane[k];
			if (reader->position < pipe->until[i][k])
				return false;
		}
	return true;
}

static void end_single(struct pipe *pipe)
{
	if (!pipe->refused) {
		uint64_t bytes = pipe->batch_bytes == 0 ? BATCH_BYTES : pipe->batch_bytes;
		pipe->batch_bytes = bytes / 2 < BATCH_BYTES_LEAST ? BATCH_BYTES_LEAST : bytes / 2;
		log_warn("each of its messages was taken alone: batches are smaller from now on",
		         "batch_bytes=%llu", (unsigned long long)pipe->batch_bytes);
	}
	pipe->single = false;
	pipe->retry_ns = 0;
	close_pipe(pipe);
}

/* ---- sending ---- */

bool pipe_takes(const struct pipe *pipe)
{
	bool single_done = pipe->single && !pipe->kafka->exactly_once && past_single(pipe);
	return (pipe->state == PIPE_READY || pipe->state == PIPE_OPEN) && !pipe->full &&
	       pipe->fault == FAULT_NONE && !single_done;
}

/* The message itself was refused; false when the sink stops for that. */
static bool refuse(struct pipe *pipe, unsigned i, rd_kafka_resp_err_t code)
{
	struct kafka *kafka = pipe->kafka;
	const char *topic = kafka->messages.topic[i].kafka;
	bool large =
	        code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE || code == RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE;
	metric_add(kafka->control, large ? KAFKA_refused_too_large : KAFKA_refused_invalid, 1);
	pipe->refused = true;
	if (kafka->stop_on_invalid)
		fail(pipe, FAULT_STOP, "a message to %s was refused, and when_invalid is stop: %s", topic,
		     rd_kafka_err2str(code));
	else if (kafka->stage->now_ns >= pipe->refusal_ns) {
		log_warn(
		        "a message was refused and is passed over; further ones are only counted for a while",
		        "topic=%s reason=\"%s\"", topic, rd_kafka_err2str(code));
		pipe->refusal_ns = kafka->stage->now_ns + REFUSAL_NS;
	}
	return !kafka->stop_on_invalid;
}

static bool fault_of_the_message(rd_kafka_resp_err_t code)
{
	return code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE || code == RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE ||
	       code == RD_KAFKA_RESP_ERR_INVALID_RECORD || code == RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP;
}

/* librdkafka has not taken the message; true when it was dealt with all the same. */
static bool not_taken(struct pipe *pipe, unsigned i)
{
	rd_kafka_resp_err_t code = rd_kafka_last_error();
	if (code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
		return refuse(pipe, i, code);
	if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL)
		pipe->full = true;
	else
		fail(pipe, FAULT_AGAIN, "%s: %s", pipe->kafka->messages.topic[i].kafka,
		     rd_kafka_err2str(code));
	return false;
}

static void count_queued(struct pipe *pipe, struct settle_flight *flight, uint64_t bytes)
{
	flight->awaited++;
	pipe->queued++;
	pipe->queued_bytes += bytes;
	pipe->kafka->queued++;
	pipe->kafka->queued_bytes += bytes;
}

_Static_assert(sizeof(void *) >= sizeof(uint64_t), "a position fits into a pointer");

/* What comes back with the delivery report: the flight; of a transaction, whose flight is known,
 * the record's position. */
static void *report_of(const struct pipe *pipe, struct settle_flight *flight, uint64_t position)
{
	return !pipe->kafka->exactly_once ? (void *)flight : (void *)(uintptr_t)position;
}

static bool produce(struct pipe *pipe, struct settle_flight *flight, uint64_t position,
                    const struct message *message)
{
	unsigned i = flight->reads;
	int result = rd_kafka_produce(pipe->topic[i], RD_KAFKA_PARTITION_UA,
	                              message->in_lane ? 0 : RD_KAFKA_MSG_F_COPY,
	                              (void *)(uintptr_t)message->value, message->value_bytes, message->key,
	                              message->key_bytes, report_of(pipe, flight, position));
	if (result != 0)
		return not_taken(pipe, i);
	count_queued(pipe, flight, message->value_bytes + message->key_bytes);
	return true;
}

static bool skipped(const struct pipe *pipe, uint64_t position)
{
	for (unsigned i = 0; i < pipe->n_skips; i++)
		if (pipe->skip[i] == position)
			return true;
	return false;
}

/* There is no room to note another record that is refused, and all that were noted lie before the
 * position: the transaction ends here. */
static bool skips_are_passed(const struct pipe *pipe, uint64_t position)
{
	for (unsigned i = 0; i < pipe->n_skips; i++)
		if (pipe->skip[i] >= position)
			return false;
	return pipe->n_skips == PIPE_SKIPS_MAX;
}

/* Produces the records of the batch; each message is an effect of the flight. batch moves past what
 * was dealt with. Returns how many records that was. */
static uint64_t fill(struct pipe *pipe, struct settle_flight *flight, struct record_batch *batch)
{
	struct kafka *kafka = pipe->kafka;
	uint64_t n = 0, filtered = 0, bad = 0;
	while (n < KAFKA_FLIGHT_RECORDS && kafka_has_room(kafka)) {
		struct message message;
		struct record_batch at = *batch;
		uint64_t position = batch->position;
		if (skips_are_passed(pipe, position))
			break;
		const struct record *record = record_next(&at);
		if (record == NULL) {
			batch->corrupt = at.corrupt;
			break;
		}
		enum message_kind kind = message_make(&kafka->messages, flight->reads, flight->lane, &at,
		                                      record, position, &message);
		if (kind == MESSAGE_SENT && !skipped(pipe, position) &&
		    !produce(pipe, flight, position, &message))
			break;
		filtered += kind == MESSAGE_FILTERED;
		bad += kind == MESSAGE_BAD;
		*batch = at;
		n++;
	}
	if (filtered != 0)
		metric_add(kafka->control, KAFKA_filtered, filtered);
	if (bad != 0)
		metric_add(kafka->control, KAFKA_bad_records, bad);
	return n;
}

/* The flight of the open transaction; begins one when there is none. NULL with a fault, or when
 * there is no room for a flight. */
static struct settle_flight *transaction(struct pipe *pipe, uint64_t now_ns)
{
	if (pipe->state == PIPE_OPEN)
		return pipe->flight;
	pipe->flight = settle_open_flight(&pipe->kafka->settle, pipe->read, pipe->lane, now_ns);
	if (pipe->flight == NULL)
		return NULL;
	rd_kafka_error_t *error = rd_kafka_begin_transaction(pipe->rk);
	if (error != NULL) {
		fail(pipe, FAULT_AGAIN, "cannot begin a transaction: %s", rd_kafka_error_string(error));
		rd_kafka_error_destroy(error);
		return NULL;
	}
	pipe->flight->awaited++; /* the commit */
	pipe->commit_ns = now_ns + pipe->kafka->commit_ns;
	pipe->state = PIPE_OPEN;
	return pipe->flight;
}

bool pipe_send(struct pipe *pipe, unsigned i, unsigned lane, struct record_batch *batch, uint64_t now_ns)
{
	struct kafka *kafka = pipe->kafka;
	uint64_t before = pipe->queued, bytes = pipe->queued_bytes;
	struct settle_flight *flight = !pipe->kafka->exactly_once
	                                       ? settle_open_flight(&kafka->settle, i, lane, now_ns)
	                                       : transaction(pipe, now_ns);
	if (flight == NULL)
		return false;
	uint64_t n = fill(pipe, flight, batch);
	bool damaged = batch->corrupt;
	settle_fly(&kafka->settle, flight, batch, n);
	if (!pipe->kafka->exactly_once)
		settle_close_flight(&kafka->settle, flight);
	metric_add(kafka->control, KAFKA_messages, pipe->queued - before);
	metric_add(kafka->control, KAFKA_message_bytes, pipe->queued_bytes - bytes);
	return n != 0 || damaged;
}

/* ---- events ---- */

/* A message came back, by its own fault, that of its batch, or that of neither. */
static void came_back(struct pipe *pipe, const rd_kafka_message_t *message, uint64_t now_ns)
{
	const char *topic = rd_kafka_topic_name(message->rkt), *why = rd_kafka_err2str(message->err);
	metric_add(pipe->kafka->control, KAFKA_undelivered, 1);
	if (!fault_of_the_message(message->err) || message->rkt == pipe->positions) {
		fail(pipe, FAULT_AGAIN, "%s: %s", topic, why);
	} else if (!pipe->single) {
		fail(pipe, FAULT_SINGLE, "%s: %s", topic, why);
	} else if (!pipe->kafka->exactly_once) {
		struct settle_flight *flight = message->_private;
		if (refuse(pipe, flight->reads, message->err))
			settle_land(&pipe->kafka->settle, flight, 1, now_ns);
	} else if (pipe->n_skips < PIPE_SKIPS_MAX) {
		if (refuse(pipe, pipe->read, message->err))
			pipe->skip[pipe->n_skips++] = (uint64_t)(uintptr_t)message->_private;
		fail(pipe, FAULT_NOW, "%s: %s", topic, why);
	}
}

static void take_reports(struct pipe *pipe, const rd_kafka_message_t *const *message, size_t n,
                         uint64_t now_ns)
{
	struct kafka *kafka = pipe->kafka;
	uint64_t bytes = 0;
	for (size_t i = 0, run; i < n; i += run) {
		void *report = message[i]->_private;
		bytes += message[i]->len + message[i]->key_len;
		run = 1;
		if (message[i]->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
			came_back(pipe, message[i], now_ns);
			continue;
		}
		for (; i + run < n && message[i + run]->err == RD_KAFKA_RESP_ERR_NO_ERROR &&
		       (pipe->kafka->exactly_once || message[i + run]->_private == report);
		     run++)
			bytes += message[i + run]->len + message[i + run]->key_len;
		/* Before the cursor moves: whoever sees that all was read looks at it next. */
		metric_add(kafka->control, KAFKA_delivered, run);
		settle_land(&kafka->settle, !pipe->kafka->exactly_once ? report : pipe->flight, (uint32_t)run,
		            now_ns);
	}
	pipe->queued -= n;
	pipe->queued_bytes -= bytes;
	kafka->queued -= n;
	kafka->queued_bytes -= bytes;
	pipe->full = false;
}

static void take_delivered(struct pipe *pipe, rd_kafka_event_t *event, uint64_t now_ns)
{
	const rd_kafka_message_t *message[REPORTS_MAX];
	size_t n;
	while ((n = rd_kafka_event_message_array(event, message, REPORTS_MAX)) != 0)
		take_reports(pipe, message, n, now_ns);
}

static void take_error(struct pipe *pipe, rd_kafka_event_t *event)
{
	struct kafka *kafka = pipe->kafka;
	struct shm_error error = {""};
	char fatal[256];
	const char *text = rd_kafka_event_error_string(event);
	rd_kafka_resp_err_t code = rd_kafka_event_error(event);
	metric_add(kafka->control, KAFKA_broker_errors, 1);
	if (rd_kafka_event_error_is_fatal(event)) {
		code = rd_kafka_fatal_error(pipe->rk, fatal, sizeof fatal);
		fail(pipe, FAULT_AGAIN, "fatal: %s", code == RD_KAFKA_RESP_ERR_NO_ERROR ? text : fatal);
		return;
	}
	if (code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
		snprintf(kafka->broker_error, sizeof kafka->broker_error, "%s", text);
	if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || code == RD_KAFKA_RESP_ERR__AUTHENTICATION ||
	    kafka->settle.failing != 0) {
		shm_explain(&error, "%s", kafka->broker_error[0] == '\0' ? text : kafka->broker_error);
		settle_fail(&kafka->settle, -ENOTCONN, &error);
	}
}

static void take_log(rd_kafka_event_t *event)
{
	const char *facility, *text;
	int level;
	if (rd_kafka_event_log(event, &facility, &text, &level) == 0)
		log_debug("librdkafka", "facility=%s text=\"%s\"", facility, text);
}

static bool take_events(struct pipe *pipe, uint64_t now_ns)
{
	rd_kafka_event_t *event;
	unsigned n = 0;
	for (; n < EVENTS_MAX && (event = rd_kafka_queue_poll(pipe->queue, 0)) != NULL; n++) {
		switch (rd_kafka_event_type(event)) {
		case RD_KAFKA_EVENT_DR:
			take_delivered(pipe, event, now_ns);
			break;
		case RD_KAFKA_EVENT_ERROR:
			take_error(pipe, event);
			break;
		case RD_KAFKA_EVENT_LOG:
			take_log(event);
			break;
		default:
			break;
		}
		rd_kafka_event_destroy(event);
	}
	return n != 0;
}

/* ---- transactions ---- */

/* Nothing more comes to the transaction: its end is its position. */
static void close_transaction(struct pipe *pipe)
{
	char text[EXACTLY_POSITION_BYTES];
	struct kafka *kafka = pipe->kafka;
	struct settle_flight *flight = pipe->flight;
	struct exactly_position position = {.generation = kafka->messages.generation,
	                                    .position = flight->end.position,
	                                    .records = flight->end.records};
	size_t bytes = exactly_write(text, &position), id_bytes = strlen(pipe->id);
	if (rd_kafka_produce(pipe->positions, 0, RD_KAFKA_MSG_F_COPY, text, bytes, pipe->id, id_bytes,
	                     NULL) != 0) {
		fail(pipe, FAULT_AGAIN, "%s: %s", kafka->positions, rd_kafka_err2str(rd_kafka_last_error()));
		return;
	}
	count_queued(pipe, flight, bytes + id_bytes);
	settle_close_flight(&kafka->settle, flight);
	pipe->state = PIPE_CLOSING;
}

static bool commit_is_due(const struct pipe *pipe, uint64_t now_ns)
{
	const struct kafka *kafka = pipe->kafka;
	const struct stream_reader *reader = &kafka->ports.reader[pipe->read].lane[pipe->lane];
	uint64_t passed =
	        reader->position - atomic_load_explicit(&reader->cursor->position, memory_order_relaxed);
	return now_ns >= pipe->commit_ns || !kafka_has_room(kafka) || pipe->full ||
	       passed >= reader->size / 4 || skips_are_passed(pipe, reader->position) ||
	       (kafka->stage->draining && stream_waiting_bytes(reader) == 0);
}

/* The worker has an answer, or is in trouble. True when it has one. */
static bool take_answer(struct pipe *pipe, uint64_t now_ns)
{
	struct kafka *kafka = pipe->kafka;
	struct shm_error error = {""};
	int result;
	if (!exactly_done(pipe->worker, &result, &error)) {
		if (error.text[0] != '\0' && now_ns >= pipe->trouble_ns) {
			snprintf(pipe->reason, sizeof pipe->reason, "%s", error.text);
			settle_fail(&kafka->settle, -ENOTCONN, &error);
			pipe->trouble_ns = now_ns + NS_PER_SEC;
		}
		return false;
	}
	if (result == 0 && pipe->state == PIPE_STARTING)
		result = settle_take_up_lane(&kafka->settle, pipe->read, pipe->lane, &kafka->lost, &error);
	if (result != 0) {
		fail(pipe, FAULT_AGAIN, "%s", error.text);
	} else if (pipe->state == PIPE_STARTING) {
		settle_is_well(&kafka->settle);
	} else {
		metric_add(kafka->control, KAFKA_transactions, 1);
		settle_land(&kafka->settle, pipe->flight, 1, now_ns);
		pipe->n_skips = 0;
	}
	pipe->flight = result == 0 ? NULL : pipe->flight;
	pipe->state = PIPE_READY;
	return true;
}

static bool step_transaction(struct pipe *pipe, uint64_t now_ns)
{
	switch (pipe->state) {
	case PIPE_STARTING:
	case PIPE_COMMITTING:
		return take_answer(pipe, now_ns);
	case PIPE_OPEN:
		if (pipe->fault != FAULT_NONE || !commit_is_due(pipe, now_ns))
			return false;
		close_transaction(pipe);
		return true;
	case PIPE_CLOSING:
		if (pipe->fault != FAULT_NONE || pipe->queued != 0)
			return false;
		pipe->trouble_ns = now_ns + TROUBLE_NS;
		exactly_commit(pipe->worker, pipe->rk);
		pipe->state = PIPE_COMMITTING;
		return true;
	default:
		return false;
	}
}

/* ---- the loop ---- */

bool pipe_serve(struct pipe *pipe, uint64_t now_ns)
{
	bool worker_has_it;
	if (pipe->state == PIPE_STOPPED || (pipe->state == PIPE_CLOSED && now_ns < pipe->retry_ns))
		return false;
	if (pipe->state == PIPE_CLOSED) {
		open_pipe(pipe, now_ns);
		return true;
	}
	bool did = take_events(pipe, now_ns);
	if (pipe->kafka->exactly_once)
		did |= step_transaction(pipe, now_ns);
	worker_has_it = pipe->state == PIPE_STARTING || pipe->state == PIPE_COMMITTING;
	if (pipe->fault != FAULT_NONE && !worker_has_it && now_ns >= act_ns(pipe)) {
		act_on_fault(pipe, now_ns);
		return true;
	}
	if (pipe->single && pipe->state == PIPE_READY && pipe->queued == 0 && past_single(pipe)) {
		end_single(pipe);
		return true;
	}
	return did;
}

uint64_t pipe_due_ns(const struct pipe *pipe)
{
	if (pipe->state == PIPE_CLOSED)
		return pipe->retry_ns;
	if (pipe->state == PIPE_STARTING || pipe->state == PIPE_COMMITTING)
		return UINT64_MAX; /* the worker's answer wakes the loop */
	if (pipe->fault != FAULT_NONE)
		return act_ns(pipe);
	return pipe->state == PIPE_OPEN ? pipe->commit_ns : UINT64_MAX;
}

void pipe_flush(struct pipe *pipe)
{
	if (pipe->rk != NULL && pipe->queued != 0)
		(void)rd_kafka_flush(pipe->rk, 1);
}
