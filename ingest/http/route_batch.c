/* /batch: tracking calls, many in one request. All that are right are taken, or, when the topic has no room for one of them, none. */
#include <stdio.h>
#include <string.h>

#include "ingest/http/handlers.h"

#define LINE_ERROR_BYTES 200u /* of one entry of "errors", about */

/* What the answer will say. */
struct report {
	uint64_t accepted, rejected;
	char *errors; /* a block of the pool; NULL: none yet, or no memory: then they are only counted */
	size_t used, room;
	uint32_t listed;
};

static void add_error(struct exchange *exchange, struct report *report, uint32_t line,
                      const struct json_fault *fault)
{
	struct exchange_shared *shared = exchange->shared;
	uint32_t most = shared->settings.batch_errors;
	char text[ANSWER_ERROR_BYTES];
	report->rejected++;
	shared->counts->own[HTTP_batch_lines_rejected]++;
	outlet_reject(shared->outlet, OUTLET_TRACK, fault->reason);
	if (report->listed == most)
		return;
	if (report->errors == NULL)
		report->errors = pool_take(shared->pool, (size_t)most * LINE_ERROR_BYTES, &report->room);
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

/* The request's own headers stand for each call: they are the last two pieces of the payload. */
static void add_headers(const struct request *request, struct event_track_raw *event, uint32_t length)
{
	char *at = (char *)event + length;
	event->agent_bytes = (uint16_t)request->user_agent.bytes;
	event->host_bytes = (uint16_t)request->host.bytes;
	if (request->do_not_track)
		event->flags |= EVENT_TRACK_DNT;
	if (event->agent_bytes != 0)
		memcpy(at, request->user_agent.text, event->agent_bytes);
	if (event->host_bytes != 0)
		memcpy(at + event->agent_bytes, request->host.text, event->host_bytes);
}

static enum taken take_line(struct exchange *exchange, const char *data, size_t bytes,
                            struct json_fault *fault)
{
	struct exchange_shared *shared = exchange->shared;
	const struct request *request = exchange->request;
	uint32_t length;
	bool never = false;
	if (!json_track(data, bytes, shared->scratch, &length, fault))
		return TAKEN_NOT;
	size_t whole = length + request->user_agent.bytes + request->host.bytes;
	void *room = outlet_room(shared->outlet, OUTLET_TRACK, EVENT_TRACK_RAW, whole, &never);
	if (room == NULL) {
		*fault = fault_too_large;
		return never ? TAKEN_NOT : TAKEN_FULL;
	}
	memcpy(room, shared->scratch, length);
	add_headers(request, room, length);
	outlet_keep(shared->outlet, OUTLET_TRACK, EVENT_TRACK_RAW, whole, &exchange->peer->source);
	return TAKEN;
}

/* Takes back what was kept and counts it, the line that found no room and all after it as refused. */
static void refuse_all(struct exchange *exchange, struct json_batch *batch, const struct report *report,
                       struct lane_mark mark)
{
	struct lane *lane = &exchange->shared->outlet->lane[OUTLET_TRACK];
	uint64_t refused = report->accepted + 1;
	const char *data;
	size_t bytes;
	while (json_batch_next(batch, &data, &bytes))
		refused++;
	lane_back(lane, mark);
	lane->received -= report->accepted;
	outlet_refuse(exchange->shared->outlet, OUTLET_TRACK, refused);
	reply_full(exchange, OUTLET_TRACK);
}

static void reply_report(struct exchange *exchange, const struct report *report)
{
	struct exchange_shared *shared = exchange->shared;
	size_t bytes = report->used + 128;
	char *text = pool_take(shared->pool, bytes, NULL);
	/* Without memory for the list the numbers are said all the same: what was taken was taken. */
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
		pool_give(shared->pool, text);
}

void handle_batch(struct exchange *exchange, const struct body *body)
{
	struct outlet *outlet = exchange->shared->outlet;
	struct lane_mark mark = lane_mark(&outlet->lane[OUTLET_TRACK]);
	struct report report = {0};
	struct json_batch batch;
	struct json_fault fault;
	enum taken taken = TAKEN;
	const char *data;
	size_t bytes;
	if (!json_batch_open(&batch, body->text, body->bytes, &fault)) {
		outlet_reject(outlet, OUTLET_TRACK, fault.reason);
		reply_wrong(exchange, &fault);
		return;
	}
	while (taken != TAKEN_FULL && json_batch_next(&batch, &data, &bytes)) {
		taken = take_line(exchange, data, bytes, &fault);
		if (taken == TAKEN)
			report.accepted++;
		else if (taken == TAKEN_NOT)
			add_error(exchange, &report, batch.number, &fault);
	}
	if (taken == TAKEN_FULL)
		refuse_all(exchange, &batch, &report, mark);
	else if (report.accepted + report.rejected == 0)
		reply_error(exchange, 400, "holds no event", "body");
	else
		reply_report(exchange, &report);
	if (report.errors != NULL)
		pool_give(exchange->shared->pool, report.errors);
}
