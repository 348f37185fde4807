/* /batch: tracking calls, many in one request. All that are right are taken, or, when the topic has
 * no room for one of them, none. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/http/handlers.h"

#define LINE_ERROR_BYTES 200u /* of one entry of "errors", about */

/* What the answer will say. */
struct report {
	uint64_t accepted, rejected;
	char *errors; /* a block of the pool; NULL: none yet, or no memory: then they are only counted */
	size_t used, room;
	uint32_t listed;
	bool in_pieces; /* a part is committed already: the rest will be */
};

static void add_error(struct exchange *exchange, struct report *report, uint32_t line,
                      const struct json_fault *fault)
{
	struct exchange_shared *shared = exchange->shared;
	uint32_t most = shared->settings.batch_errors;
	char text[ANSWER_ERROR_BYTES];
	report->rejected++;
	shared->metrics->own[HTTP_batch_lines_rejected]++;
	outlet_reject(shared->outlet, exchange_place(exchange), fault->reason);
	if (report->listed == most)
		return;
	if (report->errors == NULL)
		report->errors =
		        pool_take(exchange->output->pool, (size_t)most * LINE_ERROR_BYTES, &report->room);
	if (report->errors == NULL)
		return;
	struct json_words words;
	(void)json_fault_words(&words, fault);
	size_t bytes = answer_error(text, words.what, words.where);
	size_t left = report->room - report->used;
	/* {"line": 3, "error": ...: the error without its opening brace. */
	int n = snprintf(report->errors + report->used, left, "%s{\"line\": %u, %.*s",
	                 report->listed == 0 ? "" : ", ", line, (int)bytes - 1, text + 1);
	if (n < 0 || (size_t)n >= left)
		return;
	report->used += (size_t)n;
	report->listed++;
}

/* The headers of the request hold for each call: they are the last two pieces of the payload. */
static void add_headers(const struct exchange *exchange, const struct call_from *from,
                        struct event_track_raw *event, uint32_t length)
{
	char *at = (char *)event + length;
	event->agent_bytes = (uint16_t)from->agent.bytes;
	event->host_bytes = (uint16_t)from->host.bytes;
	if (exchange->request->do_not_track)
		event->flags |= EVENT_TRACK_DNT;
	if (event->agent_bytes != 0)
		memcpy(at, from->agent.text, event->agent_bytes);
	if (event->host_bytes != 0)
		memcpy(at + event->agent_bytes, from->host.text, event->host_bytes);
}

static enum taken take_line(struct exchange *exchange, const struct call_from *from, const char *data,
                            size_t bytes, struct json_fault *fault)
{
	struct exchange_shared *shared = exchange->shared;
	uint32_t length;
	bool never = false;
	if (!json_track(data, bytes, shared->scratch, &length, fault))
		return TAKEN_NOT;
	size_t whole = length + from->agent.bytes + from->host.bytes;
	void *room = outlet_room(shared->outlet, exchange_place(exchange), whole, &never);
	if (room == NULL) {
		*fault = fault_too_large;
		return never ? TAKEN_NOT : TAKEN_FULL;
	}
	memcpy(room, shared->scratch, length);
	add_headers(exchange, from, room, length);
	outlet_keep(shared->outlet, exchange_place(exchange), whole, &exchange->peer->source);
	return TAKEN;
}

/* ---- when there is no room for a line ---- */

/* Lines from the one at data on: how many, and the bytes of those that are right. */
struct rest {
	uint64_t lines;
	size_t bytes;
};

static struct rest measure(const struct exchange *exchange, const struct call_from *from,
                           struct json_batch batch, const char *data, size_t bytes)
{
	const struct lane *lane = &exchange->shared->outlet->lane[exchange_place(exchange)];
	struct rest rest = {0};
	struct json_fault ignored;
	uint32_t length;
	do {
		rest.lines++;
		if (!json_track(data, bytes, exchange->shared->scratch, &length, &ignored))
			continue;
		size_t record = record_bytes(length + from->agent.bytes + from->host.bytes);
		rest.bytes += record <= lane->most ? record : 0;
	} while (json_batch_next(&batch, &data, &bytes));
	return rest;
}

/* Takes back what was kept. It is counted with the line that found no room and all after it: as too
 * large, when the lane could not even hold it while it is empty, else as refused. */
static void take_back(struct exchange *exchange, const struct report *report, const struct rest *rest,
                      struct lane_mark mark, bool never)
{
	struct outlet *outlet = exchange->shared->outlet;
	struct lane *lane = &outlet->lane[exchange_place(exchange)];
	uint64_t lines = report->accepted + rest->lines;
	lane_back(lane, mark);
	lane->received -= report->accepted;
	if (never) {
		lane->received += lines;
		lane->rejected[LEDGER_TOO_LARGE] += lines;
		reply_error(
		        exchange, 413,
		        "becomes longer than the topic (topics.track.raw.size): send it in several requests",
		        "body");
	} else {
		outlet_refuse(outlet, exchange_place(exchange), lines);
		reply_full(exchange);
	}
}

/* The batch and what this turn has kept before it are too much for one commit (half a lane), or
 * readers are in the way. When all of the batch has room, what is kept so far is committed and the
 * rest continues after it: the room cannot be lost any more, so the batch is still taken as a
 * whole. Otherwise none of it is taken: returns false, and it is answered. */
static bool make_way(struct exchange *exchange, struct report *report, const struct call_from *from,
                     struct lane_mark mark, const struct json_batch *batch, const char *data, size_t bytes)
{
	struct outlet *outlet = exchange->shared->outlet;
	struct lane *lane = &outlet->lane[exchange_place(exchange)];
	if (!report->in_pieces) {
		struct rest rest = measure(exchange, from, *batch, data, bytes);
		bool never = lane->used - mark.used + rest.bytes > lane_capacity(lane);
		if (never || !lane_permits(lane, rest.bytes)) {
			take_back(exchange, report, &rest, mark, never);
			return false;
		}
		report->in_pieces = true;
	} else if (lane->used == 0) {
		abort(); /* the room was permitted */
	}
	(void)outlet_commit(outlet);
	return true;
}

static void reply_report(struct exchange *exchange, const struct report *report)
{
	struct pool *pool = exchange->output->pool;
	size_t bytes = report->used + 128;
	char *text = pool_take(pool, bytes, NULL);
	/* Without memory for the list the answer still has the numbers: what was taken was
	 * taken. */
	if (text == NULL || !output_grow(exchange->output, bytes + ANSWER_ROOM)) {
		char few[128];
		int n = snprintf(few, sizeof few, "{\"accepted\": %llu, \"rejected\": %llu, \"errors\": []}",
		                 (unsigned long long)report->accepted, (unsigned long long)report->rejected);
		reply_json(exchange, report->accepted == 0 ? 400 : 200, few, (size_t)n);
	} else {
		int n = snprintf(text, bytes, "{\"accepted\": %llu, \"rejected\": %llu, \"errors\": [%.*s]}",
		                 (unsigned long long)report->accepted, (unsigned long long)report->rejected,
		                 (int)report->used, report->used == 0 ? "" : report->errors);
		reply_json(exchange, report->accepted == 0 ? 400 : 200, text, (size_t)n);
	}
	if (text != NULL)
		pool_give(pool, text);
}

void handle_batch(struct exchange *exchange, const struct body *body)
{
	struct outlet *outlet = exchange->shared->outlet;
	struct lane_mark mark = lane_mark(&outlet->lane[exchange_place(exchange)]);
	struct report report = {0};
	struct json_batch batch;
	struct json_fault fault;
	struct call_from from = call_from(exchange);
	enum taken taken = TAKEN;
	const char *data;
	size_t bytes;
	if (!json_batch_open(&batch, body->text, body->bytes, &fault)) {
		outlet_reject(outlet, exchange_place(exchange), fault.reason);
		reply_wrong(exchange, &fault);
		return;
	}
	while (taken != TAKEN_FULL && json_batch_next(&batch, &data, &bytes)) {
		taken = take_line(exchange, &from, data, bytes, &fault);
		while (taken == TAKEN_FULL && make_way(exchange, &report, &from, mark, &batch, data, bytes))
			taken = take_line(exchange, &from, data, bytes, &fault);
		if (taken == TAKEN)
			report.accepted++;
		else if (taken == TAKEN_NOT)
			add_error(exchange, &report, batch.number, &fault);
	}
	if (taken != TAKEN_FULL) { /* else it is answered */
		if (report.accepted + report.rejected == 0)
			reply_error(exchange, 400, "holds no event", "body");
		else
			reply_report(exchange, &report);
	}
	if (report.errors != NULL)
		pool_give(exchange->output->pool, report.errors);
}
