#include "ingest/http/answer.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

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

static const char *reason_of(unsigned status)
{
	switch (status) {
	case 200:
		return "200 OK";
	case 202:
		return "202 Accepted";
	case 204:
		return "204 No Content";
	case 400:
		return "400 Bad Request";
	case 401:
		return "401 Unauthorized";
	case 404:
		return "404 Not Found";
	case 405:
		return "405 Method Not Allowed";
	case 408:
		return "408 Request Timeout";
	case 413:
		return "413 Content Too Large";
	case 414:
		return "414 URI Too Long";
	case 415:
		return "415 Unsupported Media Type";
	case 417:
		return "417 Expectation Failed";
	case 431:
		return "431 Request Header Fields Too Large";
	case 501:
		return "501 Not Implemented";
	case 503:
		return "503 Service Unavailable";
	case 505:
		return "505 HTTP Version Not Supported";
	default:
		return "500 Internal Server Error";
	}
}

/* ---- pieces ---- */

static inline char *put(char *at, const char *text, size_t bytes)
{
	memcpy(at, text, bytes);
	return at + bytes;
}

/* Text whose length the compiler knows. */
#define PUT(at, text) put(at, text, sizeof(text) - 1)

static char *put_text(char *at, const char *text)
{
	return put(at, text, strlen(text));
}

static char *put_number(char *at, size_t number)
{
	char digits[20];
	unsigned n = 0;
	do
		digits[n++] = (char)('0' + number % 10);
	while ((number /= 10) != 0);
	while (n > 0)
		*at++ = digits[--n];
	return at;
}

/* Fields of the rarer answers. */
static char *put_rare(char *at, const struct answer *answer)
{
	if (answer->allow != NULL)
		at = put_text(PUT(at, "\r\nAllow: "), answer->allow);
	if (answer->retry_after_s != 0)
		at = put_number(PUT(at, "\r\nRetry-After: "), answer->retry_after_s);
	if (answer->challenge != NULL)
		at = put_text(PUT(at, "\r\nWWW-Authenticate: "), answer->challenge);
	if (answer->no_store)
		at = PUT(at, "\r\nCache-Control: no-store");
	if (answer->allow_origin.text == NULL)
		return at;
	/* The origin is named, and credentials are allowed, because that is what navigator.sendBeacon asks for; the answer is the same with and
	 * without cookies, so nothing is given away by it. */
	at = put(PUT(at, "\r\nVary: Origin\r\nAccess-Control-Allow-Origin: "), answer->allow_origin.text,
	         answer->allow_origin.bytes);
	at = PUT(at, "\r\nAccess-Control-Allow-Credentials: true");
	if (answer->allow_methods == NULL)
		return at;
	at = put_text(PUT(at, "\r\nAccess-Control-Allow-Methods: "), answer->allow_methods);
	if (answer->allow_headers.text != NULL)
		at = put(PUT(at, "\r\nAccess-Control-Allow-Headers: "), answer->allow_headers.text,
		         answer->allow_headers.bytes);
	return PUT(at, "\r\nAccess-Control-Max-Age: 86400");
}

void answer_write(const struct answer *answer, struct output *output)
{
	char *at = output->base + output->used;
	if (answer->status == 200)
		at = PUT(at, "HTTP/1.1 200 OK");
	else
		at = put_text(PUT(at, "HTTP/1.1 "), reason_of(answer->status));
	at = put(at, date_field, sizeof date_field - 1);
	at = put_rare(at, answer);
	if (answer->close)
		at = PUT(at, "\r\nConnection: close");
	else if (answer->http_1_0)
		at = PUT(at, "\r\nConnection: keep-alive");
	if (answer->type != NULL) {
		at = put_text(PUT(at, "\r\nContent-Type: "), answer->type);
		at = put_number(PUT(at, "\r\nContent-Length: "), answer->body_bytes);
	}
	at = PUT(at, "\r\n\r\n");
	if (answer->type != NULL && !answer->head_only)
		at = put(at, answer->body, answer->body_bytes);
	output->used = (size_t)(at - output->base);
}

void answer_continue(struct output *output)
{
	char *at = output->base + output->used;
	output->used = (size_t)(PUT(at, "HTTP/1.1 100 Continue\r\n\r\n") - output->base);
}

/* ---- errors ---- */

/* Appends at most `most` bytes of text as the inside of a JSON string. */
static char *put_escaped(char *at, const char *text, size_t most)
{
	for (const char *end = at + most; *text != 0 && at + 6 <= end; text++) {
		unsigned char c = (unsigned char)*text;
		if (c == '"' || c == '\\')
			*at++ = '\\';
		if (c < 0x20 || c >= 0x7f)
			at += snprintf(at, 7, "\\u%04x", c);
		else
			*at++ = (char)c;
	}
	return at;
}

size_t answer_error(char text[ANSWER_ERROR_BYTES], const char *error, const char *where)
{
	char *at = PUT(text, "{\"error\": \"");
	at = put_escaped(at, error, ANSWER_ERROR_BYTES - 128);
	at = PUT(at, "\", \"where\": \"");
	at = put_escaped(at, where, 80);
	at = PUT(at, "\"}");
	return (size_t)(at - text);
}
