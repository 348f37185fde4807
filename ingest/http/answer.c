#include "ingest/http/answer.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ingest/http/metrics.h"

static char date_field[] = "\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT";

void answer_set_time(uint64_t seconds)
{
	static uint64_t shown;
	static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
	static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
	                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	if (seconds == shown)
		return;
	shown = seconds;
	time_t at = (time_t)seconds;
	struct tm t;
	gmtime_r(&at, &t);
	char text[96];
	/* RFC 9110, 5.6.7: always this length, in English whatever the locale. */
	int n = snprintf(text, sizeof text, "\r\nDate: %s, %02d %s %04d %02d:%02d:%02d GMT", days[t.tm_wday],
	                 t.tm_mday, months[t.tm_mon], t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
	if (n == (int)sizeof date_field - 1)
		memcpy(date_field, text, sizeof date_field - 1);
}

/* Errors have theirs in failures.h. */
static const char *reason_of(unsigned status)
{
	switch (status) {
	case 200:
		return "200 OK";
	case 202:
		return "202 Accepted";
	case 204:
		return "204 No Content";
	default: {
		const char *reason = metrics_reason(status);
		return reason != NULL ? reason : "500 Internal Server Error";
	}
	}
}

/* ---- pieces ---- */

/* Where an answer is being written. What does not fit is left out, and then everything after it
 * too. */
struct writer {
	char *at;
	const char *end;
	bool full;
};

static inline void put(struct writer *to, const char *text, size_t bytes)
{
	if ((size_t)(to->end - to->at) < bytes) {
		to->end = to->at;
		to->full = true;
		return;
	}
	memcpy(to->at, text, bytes);
	to->at += bytes;
}

/* Text whose length the compiler knows. */
#define PUT(to, text) put(to, text, sizeof(text) - 1)

static void put_text(struct writer *to, const char *text)
{
	put(to, text, strlen(text));
}

static void put_number(struct writer *to, size_t number)
{
	char digits[20];
	unsigned at = sizeof digits;
	do
		digits[--at] = (char)('0' + number % 10);
	while ((number /= 10) != 0);
	put(to, digits + at, sizeof digits - at);
}

static void put_cors(struct writer *to, const struct answer *answer)
{
	/* The origin is named, and credentials are allowed, because that is what
	 * navigator.sendBeacon asks for; the answer is the same with and without cookies, so
	 * nothing is given away by it. */
	PUT(to, "\r\nVary: Origin\r\nAccess-Control-Allow-Origin: ");
	put(to, answer->allow_origin.text, answer->allow_origin.bytes);
	PUT(to, "\r\nAccess-Control-Allow-Credentials: true");
	if (answer->allow_methods == NULL)
		return;
	PUT(to, "\r\nAccess-Control-Allow-Methods: ");
	put_text(to, answer->allow_methods);
	if (answer->allow_headers.text != NULL) {
		PUT(to, "\r\nAccess-Control-Allow-Headers: ");
		put(to, answer->allow_headers.text, answer->allow_headers.bytes);
	}
	PUT(to, "\r\nAccess-Control-Max-Age: 86400");
}

/* Fields of the rarer answers. */
static void put_rare(struct writer *to, const struct answer *answer)
{
	if (answer->allow != NULL) {
		PUT(to, "\r\nAllow: ");
		put_text(to, answer->allow);
	}
	if (answer->retry_after_s != 0) {
		PUT(to, "\r\nRetry-After: ");
		put_number(to, answer->retry_after_s);
	}
	if (answer->challenge != NULL) {
		PUT(to, "\r\nWWW-Authenticate: ");
		put_text(to, answer->challenge);
	}
	if (answer->no_store)
		PUT(to, "\r\nCache-Control: no-store");
	if (answer->allow_origin.text != NULL)
		put_cors(to, answer);
}

static void put_answer(struct writer *to, const struct answer *answer)
{
	if (answer->status == 200) {
		PUT(to, "HTTP/1.1 200 OK");
	} else {
		PUT(to, "HTTP/1.1 ");
		put_text(to, reason_of(answer->status));
	}
	PUT(to, date_field);
	put_rare(to, answer);
	if (answer->close)
		PUT(to, "\r\nConnection: close");
	else if (answer->http_1_0)
		PUT(to, "\r\nConnection: keep-alive");
	if (answer->type != NULL) {
		PUT(to, "\r\nContent-Type: ");
		put_text(to, answer->type);
		PUT(to, "\r\nContent-Length: ");
		put_number(to, answer->body_bytes);
	}
	PUT(to, "\r\n\r\n");
	if (answer->type != NULL && !answer->head_only)
		put(to, answer->body, answer->body_bytes);
}

/* ---- outputs ---- */

static struct writer writer_of(const struct output *output)
{
	return (struct writer){output->base + output->used, output->base + output->room, false};
}

bool output_grow(struct output *output, size_t bytes)
{
	if (output->room - output->used >= bytes)
		return true;
	size_t size;
	char *larger = pool_take(output->pool, output->used + bytes, &size);
	if (larger == NULL)
		return false;
	memcpy(larger, output->base, output->used);
	pool_give(output->pool, output->base);
	output->base = larger;
	output->room = size;
	return true;
}

bool answer_write(const struct answer *answer, struct output *output)
{
	struct writer to = writer_of(output);
	put_answer(&to, answer);
	for (size_t more = answer->body_bytes + ANSWER_ROOM + ANSWER_HEADERS_MAX; to.full; more *= 2) {
		if (!output_grow(output, more))
			return false;
		to = writer_of(output);
		put_answer(&to, answer);
	}
	output->used = (size_t)(to.at - output->base);
	return true;
}

bool answer_continue(struct output *output)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
	if (!output_grow(output, sizeof text - 1))
		return false;
	memcpy(output->base + output->used, text, sizeof text - 1);
	output->used += sizeof text - 1;
	return true;
}

/* No body, because the request may be a HEAD; no Date, which a 5xx need not have (RFC 9110,
 * 6.6.1). */
const char *answer_without_output(size_t *bytes)
{
	static const char text[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"
	                           "Connection: close\r\nContent-Length: 0\r\n\r\n";
	*bytes = sizeof text - 1;
	return text;
}

/* ---- errors ---- */

/* At most `most` bytes of text as the inside of a JSON string. */
static void put_escaped(struct writer *to, const char *text, size_t most)
{
	for (; *text != 0 && most >= 6; text++) {
		const char *before = to->at;
		unsigned char c = (unsigned char)*text;
		char code[8];
		if (c == '"' || c == '\\')
			PUT(to, "\\");
		if (c < 0x20 || c >= 0x7f)
			put(to, code, (size_t)snprintf(code, sizeof code, "\\u%04x", c));
		else
			put(to, text, 1);
		most -= (size_t)(to->at - before);
	}
}

size_t answer_error(char text[ANSWER_ERROR_BYTES], const char *error, const char *where)
{
	struct writer to = {text, text + ANSWER_ERROR_BYTES, false};
	PUT(&to, "{\"error\": \"");
	put_escaped(&to, error, ANSWER_ERROR_BYTES - 128);
	PUT(&to, "\", \"where\": \"");
	put_escaped(&to, where, 80);
	PUT(&to, "\"}");
	return (size_t)(to.at - text);
}
