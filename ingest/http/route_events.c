/* Routes of which one request becomes one record: /event, /log, tracking calls. */
#include <string.h>

#include "ingest/http/handlers.h"

const struct json_fault fault_too_large = {
        .reason = LEDGER_TOO_LARGE, .where = "body", .what = "is longer than the topic takes"};

typedef bool parser(const char *data, size_t bytes, void *payload, uint32_t *length,
                    struct json_fault *fault);

/* Copies a payload from the scratch memory into the lane. */
static enum taken copy_scratch(struct exchange *exchange, uint32_t length, struct json_fault *fault)
{
	struct outlet *outlet = exchange->shared->outlet;
	bool never = false;
	void *room = outlet_room_alone(outlet, exchange_place(exchange), length, &never);
	if (room == NULL) {
		*fault = fault_too_large;
		return never ? TAKEN_NOT : TAKEN_FULL;
	}
	memcpy(room, exchange->shared->scratch, length);
	outlet_keep(outlet, exchange_place(exchange), length, &exchange->peer->source);
	return TAKEN;
}

/* Parses one body straight into the lane, or through the scratch memory when the lane has no room
 * for the worst case. Counts nothing. */
static enum taken take(struct exchange *exchange, parser *parse, const char *data, size_t bytes,
                       struct json_fault *fault)
{
	struct outlet *outlet = exchange->shared->outlet;
	bool never = false;
	uint32_t length = 0;
	void *room = outlet_room(outlet, exchange_place(exchange), json_room_plain(bytes), &never);
	if (!parse(data, bytes, room != NULL ? room : exchange->shared->scratch, &length, fault))
		return TAKEN_NOT;
	if (room == NULL)
		return copy_scratch(exchange, length, fault);
	outlet_keep(outlet, exchange_place(exchange), length, &exchange->peer->source);
	return TAKEN;
}

void reply_wrong(struct exchange *exchange, const struct json_fault *fault)
{
	struct json_words room;
	const struct json_words *words = json_fault_words(&room, fault);
	reply_error(exchange, fault->reason == LEDGER_TOO_LARGE ? 413 : 400, words->what, words->where);
}

static void reply_fault(struct exchange *exchange, const struct json_fault *fault)
{
	outlet_reject(exchange->shared->outlet, exchange_place(exchange), fault->reason);
	reply_wrong(exchange, fault);
}

static void reply_refused(struct exchange *exchange)
{
	outlet_refuse(exchange->shared->outlet, exchange_place(exchange), 1);
	reply_full(exchange);
}

/* ---- /event, /log ---- */

void handle_event(struct exchange *exchange, const struct body *body)
{
	struct json_fault fault = fault_too_large;
	switch (take(exchange, json_metric, body->text, body->bytes, &fault)) {
	case TAKEN:
		reply_json(exchange, 200, REPLY_OK, sizeof REPLY_OK - 1);
		break;
	case TAKEN_NOT:
		reply_fault(exchange, &fault);
		break;
	case TAKEN_FULL:
		reply_refused(exchange);
		break;
	}
}

void handle_log(struct exchange *exchange, const struct body *body)
{
	struct answer ok = {.status = 200, .type = ANSWER_TEXT, .body = "OK", .body_bytes = 2};
	struct json_fault fault = fault_too_large;
	if (exchange->request->method != REQUEST_POST) {
		reply(exchange, &ok);
		return;
	}
	switch (take(exchange, json_log, body->text, body->bytes, &fault)) {
	case TAKEN:
		reply(exchange, &ok);
		break;
	case TAKEN_NOT:
		reply_fault(exchange, &fault);
		break;
	case TAKEN_FULL:
		reply_refused(exchange);
		break;
	}
}

/* ---- tracking calls ---- */

/* The smallest transparent GIF (GIF89a, one pixel). */
static const unsigned char gif[] = {'G', 'I',  'F',  '8',  '9',  'a',  1, 0, 1, 0,    0x80, 0, 0,    0, 0,
                                    0,   0xff, 0xff, 0xff, 0x21, 0xf9, 4, 1, 0, 0,    0,    0, 0x2c, 0, 0,
                                    0,   0,    1,    0,    1,    0,    0, 2, 2, 0x44, 1,    0, 0x3b};

static bool ends_in_gif(const struct slice *path)
{
	return path->bytes > 4 && memcmp(path->text + path->bytes - 4, ".gif", 4) == 0;
}

static void reply_tracked(struct exchange *exchange)
{
	bool image = exchange->request->method != REQUEST_POST && ends_in_gif(&exchange->request->path);
	struct answer answer = {
	        .status = 200,
	        .type = image ? ANSWER_GIF : ANSWER_JSON,
	        .body = image ? (const char *)gif : REPLY_OK,
	        .body_bytes = image ? sizeof gif : sizeof REPLY_OK - 1,
	        .no_store = true,
	};
	reply(exchange, &answer);
}

/* The pieces of a tracking record, in the order of the record. */
struct call {
	struct slice segment; /* last of the path, percent-encoded */
	struct slice query;
	struct call_from from;
	const char *more; /* parameters from the body */
	uint32_t more_bytes;
};

/* Its beginning, without a part of a character (UTF-8) at the end. */
static struct slice cut(struct slice text, uint32_t most)
{
	if (text.bytes <= most)
		return text;
	uint32_t n = most;
	while (n > 0 && most - n < 3 && ((unsigned char)text.text[n] & 0xc0) == 0x80)
		n--;
	text.bytes = n;
	return text;
}

struct call_from call_from(const struct exchange *exchange)
{
	return (struct call_from){
	        .agent = cut(exchange->request->user_agent, exchange->shared->settings.agent_longest),
	        .host = cut(exchange->request->host, HOST_LONGEST),
	};
}

static struct slice last_segment(const struct slice *path)
{
	uint32_t at = path->bytes;
	while (at > 0 && path->text[at - 1] != '/')
		at--;
	return (struct slice){.text = path->text + at, .bytes = path->bytes - at};
}

/* Where a form's text would break a query string: the first white space, control, or byte that must
 * be encoded; or bytes. */
static size_t form_bytes(const char *text, size_t bytes)
{
	size_t n = 0;
	while (n < bytes && (unsigned char)text[n] > 0x20 && (unsigned char)text[n] < 0x7f)
		n++;
	return n;
}

/* The parameters of a POST. A form is a query string already; an object becomes one in the scratch
 * memory. */
static bool read_parameters(struct exchange *exchange, const struct body *body, struct call *call,
                            struct json_fault *fault)
{
	struct exchange_shared *shared = exchange->shared;
	bool json = exchange_type(exchange, "application/json");
	if (!json && !exchange_type(exchange, "application/x-www-form-urlencoded"))
		json = json_begins_object(body->text, body->bytes);
	if (json) {
		call->more = shared->scratch;
		return json_params(body->text, body->bytes, shared->scratch, shared->scratch_bytes,
		                   &call->more_bytes, fault);
	}
	call->more = body->text;
	call->more_bytes = (uint32_t)body->bytes;
	size_t form = form_bytes(body->text, body->bytes);
	*fault = (struct json_fault){.reason = LEDGER_MALFORMED,
	                             .where = "body",
	                             .what = "is no form: a character is not percent-encoded",
	                             .at = form,
	                             .structure = true};
	return form == body->bytes;
}

static size_t call_bytes(const struct call *call)
{
	return sizeof(struct event_track_raw) + call->segment.bytes + 1 + call->query.bytes + 1 +
	       call->more_bytes + call->from.agent.bytes + call->from.host.bytes;
}

static char *append(char *at, const char *text, size_t bytes)
{
	if (bytes != 0)
		memcpy(at, text, bytes);
	return at + bytes;
}

/* Writes the payload; returns its length, or 0 with *fault set. room has call_bytes(). */
static size_t write_call(const struct call *call, bool do_not_track, void *room, struct json_fault *fault)
{
	struct event_track_raw *event = room;
	memset(event, 0, sizeof *event);
	long type_bytes = percent_decode(event->text, call->segment.text, call->segment.bytes);
	if (type_bytes < 0) {
		*fault = (struct json_fault){.reason = LEDGER_MALFORMED,
		                             .where = "path",
		                             .what = "has a % without two hexadecimal digits"};
		return 0;
	}
	if (type_bytes == 0)
		event->text[type_bytes++] = '/';
	char *at = event->text + type_bytes;
	char *query = at;
	at = append(at, call->query.text, call->query.bytes);
	if (call->query.bytes != 0 && call->more_bytes != 0)
		*at++ = '&';
	at = append(at, call->more, call->more_bytes);
	event->type_bytes = (uint16_t)type_bytes;
	event->query_bytes = (uint32_t)(at - query);
	event->agent_bytes = (uint16_t)call->from.agent.bytes;
	event->host_bytes = (uint16_t)call->from.host.bytes;
	event->flags = do_not_track ? EVENT_TRACK_DNT : 0;
	at = append(at, call->from.agent.text, call->from.agent.bytes);
	at = append(at, call->from.host.text, call->from.host.bytes);
	return (size_t)(at - (char *)room);
}

static enum taken take_call(struct exchange *exchange, const struct call *call, struct json_fault *fault)
{
	struct outlet *outlet = exchange->shared->outlet;
	bool never = false;
	void *room = outlet_room_alone(outlet, exchange_place(exchange), call_bytes(call), &never);
	if (room == NULL) {
		*fault = fault_too_large;
		return never ? TAKEN_NOT : TAKEN_FULL;
	}
	size_t length = write_call(call, exchange->request->do_not_track, room, fault);
	if (length == 0)
		return TAKEN_NOT;
	outlet_keep(outlet, exchange_place(exchange), length, &exchange->peer->source);
	return TAKEN;
}

void handle_track(struct exchange *exchange, const struct body *body)
{
	const struct request *request = exchange->request;
	if (request->method == REQUEST_HEAD) {
		reply_tracked(exchange);
		return;
	}
	struct call call = {
	        .segment = last_segment(&request->path),
	        .query = request->query,
	        .from = call_from(exchange),
	};
	struct json_fault fault = fault_too_large;
	enum taken taken = TAKEN_NOT;
	if (request->method != REQUEST_POST || body->bytes == 0 ||
	    read_parameters(exchange, body, &call, &fault))
		taken = take_call(exchange, &call, &fault);
	if (taken == TAKEN)
		reply_tracked(exchange);
	else if (taken == TAKEN_FULL)
		reply_refused(exchange);
	else
		reply_fault(exchange, &fault);
}
