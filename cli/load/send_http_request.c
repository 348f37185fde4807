#include "cli/load/send_http_request.h"

#include "base/clock.h"
#include "cli/load/generator_message.h"

/* ---- bodies and queries ---- */

#define USERS       1000u
#define EVENT_BYTES 256u /* the most bytes of one event, without the texts of the settings */
#define ENVELOPE    256u /* bytes around the events */

#define PICK(random, list) (list)[generator_below(random, sizeof(list) / sizeof(list)[0])]

static const char *const metrics[] = {"kite_call", "login",     "vm_start",
                                      "build",     "page_view", "\u00fcbersicht"};
static const char *const types[] = {"app_open", "offr", "purchase", "search", "heartbeat"};
static const char *const mascots[] = {"Gopher", "Tux", "Ferris & friends", "Duke", "\u00c9l\u00e9phant"};

static void put_user(struct send_http_text *out, struct generator_random *random)
{
	send_http_put(out, "user");
	send_http_put_number(out, generator_below(random, USERS));
}

static void event(struct send_http_text *out, struct generator_random *random, uint64_t number, bool example,
                  enum send_http_corruption corruption)
{
	bool empty = corruption == SEND_HTTP_MISSING_FIELD && generator_below(random, 2) == 0;
	if (example) {
		send_http_put(
		        out, "{\"username\": \"kodingbot\", \"count\": 12412414, \"metric\": \"kite_call\"}");
		return;
	}
	send_http_put(out, "{\"username\":\"");
	if (corruption == SEND_HTTP_NOT_UTF8)
		send_http_put(out, "\xff");
	if (!empty)
		put_user(out, random);
	send_http_put(out, corruption == SEND_HTTP_WRONG_TYPE ? "\",\"count\":\"" : "\",\"count\":");
	send_http_put_number(out, number);
	if (corruption == SEND_HTTP_WRONG_TYPE)
		send_http_put(out, "\"");
	if (corruption != SEND_HTTP_MISSING_FIELD || empty) {
		send_http_put(out, ",\"metric\":\"");
		send_http_put(out, PICK(random, metrics));
		send_http_put(out, "\"");
	}
	send_http_put(out, "}");
}

static void log_message(struct send_http_text *out, const struct send_http_request_settings *settings,
                        struct generator_random *random, uint64_t number,
                        enum send_http_corruption corruption)
{
	send_http_put(out, "{\"text\":\"hello world ");
	if (corruption == SEND_HTTP_NOT_UTF8)
		send_http_put(out, "\xc3(");
	send_http_put_number(out, generator_below(random, 1000000));
	send_http_put(out,
	              corruption == SEND_HTTP_WRONG_TYPE ? "\",\"content_id\":\"" : "\",\"content_id\":");
	send_http_put_number(out, number);
	if (corruption == SEND_HTTP_WRONG_TYPE)
		send_http_put(out, "\"");
	if (corruption != SEND_HTTP_MISSING_FIELD) {
		send_http_put(out, ",\"client_id\":");
		send_http_put_number(out, 1 + generator_below(random, USERS));
	}
	send_http_put(out, ",\"timestamp\":");
	send_http_put_number(out, settings->time_ms + number % 1000);
	send_http_put(out, "}");
}

static void track(struct send_http_text *out, const struct send_http_request_settings *settings,
                  struct generator_random *random, uint64_t number)
{
	send_http_put(out, "{\"type\":\"");
	send_http_put(out, PICK(random, types));
	send_http_put(out, "\",\"ts\":");
	send_http_put_number(out, settings->time_ms + number % 1000);
	send_http_put(out, ",\"params\":{\"n\":");
	send_http_put_number(out, number);
	send_http_put(out, ",\"action\":\"preview\",\"text\":\"shoes & ");
	send_http_put_number(out, generator_below(random, USERS));
	send_http_put(out, "\"}}");
}

/* One event a line. A corrupted body is an array, because the server answers a wrong line of NDJSON
 * with the line's number, not with 4xx. */
static void batch(struct send_http_text *out, const struct send_http_request_settings *settings,
                  struct generator_random *random, uint64_t first, enum send_http_corruption corruption)
{
	bool spoiled = corruption != SEND_HTTP_VALID;
	if (spoiled)
		send_http_put(out, "[");
	for (uint32_t i = 0; i < settings->batch; i++) {
		if (spoiled && i > 0)
			send_http_put(out, ",");
		track(out, settings, random, first + i);
		if (!spoiled)
			send_http_put(out, "\n");
	}
	if (corruption == SEND_HTTP_NOT_UTF8)
		send_http_put(out, ",\"\xed\xa0\x80\"");
	if (spoiled)
		send_http_put(out, "]");
}

static void postbacks(struct send_http_text *out, const struct send_http_request_settings *settings,
                      struct generator_random *random, uint64_t first, enum send_http_corruption corruption)
{
	send_http_put(out, "{\"endpoint\":{\"method\":\"GET\",\"url\":");
	if (corruption == SEND_HTTP_WRONG_TYPE) {
		send_http_put(out, "1");
	} else {
		send_http_put(out, "\"");
		send_http_put(out, settings->endpoint);
		send_http_put(out, "?title={mascot}&n={n}\"");
	}
	send_http_put(out, corruption == SEND_HTTP_MISSING_FIELD ? "},\"date\":[" : "},\"data\":[");
	for (uint32_t i = 0; i < settings->batch; i++) {
		send_http_put(out, i > 0 ? ",{\"mascot\":\"" : "{\"mascot\":\"");
		if (corruption == SEND_HTTP_NOT_UTF8)
			send_http_put(out, "\xc0\xaf");
		send_http_put(out, PICK(random, mascots));
		send_http_put(out, "\",\"n\":\"");
		send_http_put_number(out, first + i);
		send_http_put(out, "\"}");
	}
	send_http_put(out, "]}");
}

/* A letter for each 6 bits of a draw: the data does not compress to nothing. */
static void put_data(struct send_http_text *out, struct generator_random *random, uint32_t bytes)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint64_t bits = 0;
	for (uint32_t i = 0; i < bytes; i++, bits >>= 6) {
		if (i % 10 == 0)
			bits = generator_draw(random);
		*out->at++ = letters[bits & 63];
	}
}

static void numbered_postbacks(struct send_http_text *out, const struct send_http_request_settings *settings,
                               struct generator_random *random, uint64_t first)
{
	uint64_t now_us = clock_real_ns() / NS_PER_US;
	send_http_put(out, "{\"endpoint\":{\"method\":\"");
	send_http_put(out, settings->method);
	send_http_put(out, "\",\"url\":\"");
	send_http_put(out, settings->endpoint);
	send_http_put(out, "\"},\"data\":[");
	for (uint32_t i = 0; i < settings->batch; i++) {
		send_http_put(out, i > 0 ? ",{\"n\":" : "{\"n\":");
		send_http_put_number(out, first + i);
		send_http_put(out, ",\"t\":");
		send_http_put_number(out, now_us);
		if (settings->data_bytes > 0) {
			send_http_put(out, ",\"data\":\"");
			put_data(out, random, settings->data_bytes);
			send_http_put(out, "\"");
		}
		send_http_put(out, "}");
	}
	send_http_put(out, "]}");
}

/* The most bytes of the body. */
static size_t body_room(const struct send_http_request_settings *settings)
{
	return ENVELOPE + SEND_HTTP_TEXT_MAX + (size_t)settings->batch * (EVENT_BYTES + settings->data_bytes);
}

/* Makes the body. Only the corruptions of bodies change it. first: unique number of the first
 * event. */
static void make_body(struct send_http_text *out, const struct send_http_request_settings *settings,
                      struct generator_random *random, uint64_t first, bool example,
                      enum send_http_corruption corruption)
{
	char *begin = out->at;
	if (corruption == SEND_HTTP_EMPTY)
		return;
	switch (settings->route) {
	case SEND_HTTP_EVENT:
		event(out, random, first, example, corruption);
		break;
	case SEND_HTTP_LOG:
		log_message(out, settings, random, first, corruption);
		break;
	case SEND_HTTP_TRACK:
		return;
	case SEND_HTTP_BATCH:
		batch(out, settings, random, first, corruption);
		break;
	case SEND_HTTP_INGEST:
		postbacks(out, settings, random, first, corruption);
		break;
	case SEND_HTTP_POSTBACK:
		numbered_postbacks(out, settings, random, first);
		break;
	}
	size_t bytes = (size_t)(out->at - begin);
	if (corruption == SEND_HTTP_TRUNCATED)
		out->at = begin + 1 + generator_below(random, (uint32_t)bytes - 1);
	if (corruption == SEND_HTTP_MALFORMED) /* drop the closing bracket */
		out->at[-1] = ';';
}

/* "/t/app_open?deviceid=...&n=<number>" */
static void tracking_target(struct send_http_text *out, struct generator_random *random, uint64_t number)
{
	send_http_put(out, "/t/");
	send_http_put(out, PICK(random, types));
	send_http_put(out, "?deviceid=");
	send_http_put_number(out, generator_below(random, 100000));
	send_http_put(out, "&n=");
	send_http_put_number(out, number);
	send_http_put(out, "&action=preview&text=shoes%20%26%20");
	send_http_put_number(out, generator_below(random, USERS));
}

/* ---- requests ---- */

#define HEAD_BYTES      1024u /* a head, without the texts of the settings */
#define COLLECTOR_CYCLE 21u   /* 20 random events, 1 example event */

#define BIT(route)   (1u << SEND_HTTP_##route)
#define HAS_FIELDS   (BIT(EVENT) | BIT(LOG) | BIT(INGEST))
#define HAS_BODY     (HAS_FIELDS | BIT(BATCH))
#define HEAD_REFUSED (BIT(EVENT) | BIT(BATCH) | BIT(INGEST))
#define ANY_ROUTE    (HAS_BODY | BIT(TRACK))

static const struct corruption {
	const char *name;
	uint32_t routes;
	bool last;
} corruptions[] = {
        {"valid", ANY_ROUTE, false},
#define CORRUPTION(symbol, name, routes, last, help) {#name, routes, last},
#include "cli/load/send_http_corruptions.def"
#undef CORRUPTION
};

static const char *const path[] = {"/event", "/log", "", "/batch", "/ingest", "/ingest"};
static const char *const agents[] = {
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.13; rv:56.0) Gecko/20100101 Firefox/56.0",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 16_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.5 Mobile/15E148 Safari/604.1",
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
};

const char *send_http_corruption_name(enum send_http_corruption corruption)
{
	return corruptions[corruption].name;
}

size_t send_http_request_room(const struct send_http_request_settings *settings)
{
	return HEAD_BYTES + 4 * SEND_HTTP_TEXT_MAX + body_room(settings);
}

static enum send_http_corruption draw_corruption(const struct send_http_request_settings *settings,
                                                 struct generator_random *random)
{
	if ((double)(generator_draw(random) >> 11) * 0x1p-53 * 100 >= settings->corrupt_percent)
		return SEND_HTTP_VALID;
	for (;;) {
		uint32_t i = 1 + generator_below(random, SEND_HTTP_CORRUPTIONS - 1);
		if (corruptions[i].routes & 1u << settings->route)
			return (enum send_http_corruption)i;
	}
}

static void put_target(struct send_http_text *out, const struct send_http_request_settings *settings,
                       struct generator_random *random, uint64_t first, enum send_http_corruption corruption)
{
	if (corruption == SEND_HTTP_METHOD)
		send_http_put(out, "PUT ");
	else if (corruption == SEND_HTTP_HEAD_METHOD)
		send_http_put(out, "HEAD ");
	else
		send_http_put(out, settings->route == SEND_HTTP_TRACK ? "GET " : "POST ");
	send_http_put(out, settings->prefix);
	send_http_put(out, path[settings->route]);
	if (settings->route == SEND_HTTP_TRACK)
		tracking_target(out, random, first);
	send_http_put(out, " HTTP/1.1\r\n");
}

/* Adds Host, and the corruptions in fields that do not describe the body. */
static void put_fields(struct send_http_text *out, const struct send_http_request_settings *settings,
                       enum send_http_corruption corruption)
{
	if (corruption != SEND_HTTP_NO_HOST) {
		send_http_put(out, "Host: ");
		send_http_put(out, settings->host);
		send_http_put(out, corruption == SEND_HTTP_BARE_LF ? "\n" : "\r\n");
	}
	if (corruption == SEND_HTTP_TWO_HOSTS)
		send_http_put(out, "Host: example.org\r\n");
	if (corruption == SEND_HTTP_SPACE)
		send_http_put(out, "X-Space : 1\r\n");
	if (corruption == SEND_HTTP_FOLDED)
		send_http_put(out, "X-Folded: 1\r\n 2\r\n");
	if (settings->token != NULL) {
		send_http_put(out, "Authorization: Bearer ");
		send_http_put(out, settings->token);
		send_http_put(out, "\r\n");
	}
	if (settings->close)
		send_http_put(out, "Connection: close\r\n");
}

static void put_visitor(struct send_http_text *out, struct generator_random *random)
{
	send_http_put(out, "User-Agent: ");
	send_http_put(out, agents[generator_below(random, sizeof agents / sizeof agents[0])]);
	send_http_put(out, "\r\nX-Forwarded-For: ");
	for (unsigned i = 0; i < 4; i++) {
		send_http_put(out, i > 0 ? "." : "");
		send_http_put_number(out, 1 + generator_below(random, 222));
	}
	send_http_put(out, "\r\n");
}

/* Adds the fields for the length of the body. */
static void put_length(struct send_http_text *out, uint64_t bytes, enum send_http_corruption corruption)
{
	if (corruption == SEND_HTTP_BAD_CHUNK || corruption == SEND_HTTP_LENGTH_AND_CHUNKED)
		send_http_put(out, "Transfer-Encoding: chunked\r\n");
	if (corruption == SEND_HTTP_BAD_CHUNK)
		return;
	send_http_put(out, "Content-Length: ");
	send_http_put_number(out, bytes);
	send_http_put(out, corruption == SEND_HTTP_BAD_LENGTH ? "x\r\n" : "\r\n");
	if (corruption == SEND_HTTP_TWO_LENGTHS) {
		send_http_put(out, "Content-Length: ");
		send_http_put_number(out, bytes + 1);
		send_http_put(out, "\r\n");
	}
}

static bool spoils_length(enum send_http_corruption corruption)
{
	return corruption == SEND_HTTP_BAD_CHUNK || corruption == SEND_HTTP_LENGTH_AND_CHUNKED ||
	       corruption == SEND_HTTP_BAD_LENGTH || corruption == SEND_HTTP_TWO_LENGTHS;
}

/* Adds Content-Type, length and body. It leaves room for the longest possible length, makes the
 * body after it, then moves the body up. */
static void put_body(struct send_http_text *out, const struct send_http_request_settings *settings,
                     struct generator_random *random, uint64_t first, const struct send_http_request *request)
{
	enum send_http_corruption corruption = (enum send_http_corruption)request->corruption;
	if (settings->route != SEND_HTTP_TRACK)
		send_http_put(out, settings->route == SEND_HTTP_BATCH && corruption == SEND_HTTP_VALID
		                           ? "Content-Type: application/x-ndjson\r\n"
		                           : "Content-Type: application/json\r\n");
	struct send_http_text body = {out->at + 128};
	if (corruption == SEND_HTTP_BAD_CHUNK)
		send_http_put(&body, "zz\r\n");
	if (!request->head && corruption != SEND_HTTP_METHOD)
		make_body(&body, settings, random, first, request->example, corruption);
	size_t bytes = (size_t)(body.at - (out->at + 128));
	const char *from = out->at + 128;
	if (settings->route != SEND_HTTP_TRACK || spoils_length(corruption))
		put_length(out, bytes, corruption);
	send_http_put(out, "\r\n");
	memmove(out->at, from, bytes);
	out->at += bytes;
}

struct send_http_request send_http_request_make(const struct send_http_request_settings *settings,
                                                uint64_t number, char *out)
{
	/* The state is a draw from number and seed: adjacent states of SplitMix64 would share their
	 * draws. */
	struct generator_random mixed = {settings->seed ^ (number * 0xd1342543de82ef95u)};
	struct generator_random random = {generator_draw(&mixed)};
	enum send_http_corruption corruption = draw_corruption(settings, &random);
	uint64_t first = send_http_request_first(settings, number);
	struct send_http_request request = {
	        .corruption = (uint8_t)corruption,
	        .last = corruptions[corruption].last || settings->close,
	        .head = corruption == SEND_HTTP_HEAD_METHOD,
	        .example = settings->collector && corruption == SEND_HTTP_VALID &&
	                   number % COLLECTOR_CYCLE == COLLECTOR_CYCLE - 1,
	};
	struct send_http_text text = {out};
	put_target(&text, settings, &random, first, corruption);
	put_fields(&text, settings, corruption);
	if (settings->route == SEND_HTTP_TRACK)
		put_visitor(&text, &random);
	put_body(&text, settings, &random, first, &request);
	request.bytes = (uint32_t)(text.at - out);
	return request;
}
