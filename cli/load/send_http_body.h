/* The bodies, and the query, of the requests that send_http_request.h makes. */
#ifndef CLI_LOAD_SEND_HTTP_BODY_H
#define CLI_LOAD_SEND_HTTP_BODY_H

#include <string.h>

#include "cli/load/generator_message.h"
#include "cli/load/send_http_request.h"

/* Where text goes; the caller has made room. */
struct send_http_text {
	char *at;
};

static inline void send_http_put(struct send_http_text *text, const char *from)
{
	size_t n = strlen(from);
	memcpy(text->at, from, n);
	text->at += n;
}

static inline void send_http_put_number(struct send_http_text *text, uint64_t number)
{
	char digits[20], *first = digits + sizeof digits;
	do
		*--first = (char)('0' + number % 10);
	while ((number /= 10) != 0);
	size_t n = (size_t)(digits + sizeof digits - first);
	memcpy(text->at, first, n);
	text->at += n;
}

/* Bytes that the body may take. */
size_t send_http_body_room(const struct send_http_request_settings *settings);

/* The body for `corruption`, of which only those of bodies change anything. first: unique number of
 * the first event. */
void send_http_body(struct send_http_text *out, const struct send_http_request_settings *settings,
                    struct generator_random *random, uint64_t first, bool example,
                    enum send_http_corruption corruption);

/* "/t/app_open?deviceid=...&n=<number>" */
void send_http_tracking_target(struct send_http_text *out, struct generator_random *random, uint64_t number);

#endif
