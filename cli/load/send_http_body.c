#include "cli/load/send_http_body.h"

#define USERS       1000u
#define EVENT_BYTES 256u /* bytes that one event may take, texts of the settings aside */
#define ENVELOPE    256u /* what stands around them */

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

/* One event a line; spoiled ones are arrays, for of lines that are wrong the server answers which,
 * not 4xx. */
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

size_t send_http_body_room(const struct send_http_request_settings *settings)
{
	return ENVELOPE + SEND_HTTP_TEXT_MAX + (size_t)settings->batch * EVENT_BYTES;
}

void send_http_body(struct send_http_text *out, const struct send_http_request_settings *settings,
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
	}
	size_t bytes = (size_t)(out->at - begin);
	if (corruption == SEND_HTTP_TRUNCATED)
		out->at = begin + 1 + generator_below(random, (uint32_t)bytes - 1);
	if (corruption == SEND_HTTP_MALFORMED) /* the bracket that closes it */
		out->at[-1] = ';';
}

void send_http_tracking_target(struct send_http_text *out, struct generator_random *random, uint64_t number)
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
