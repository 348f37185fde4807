#include "deliver/record.h"

#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/text.h"

#define HIDDEN    "***"
#define PATH_ENDS "?#?#"
#define NAME_TAIL 256u /* bytes of a parameter's name that are looked at, from its end */

struct redact {
	size_t n;
	struct word {
		char *text; /* lower case */
		size_t bytes;
	} word[];
};

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

struct redact *redact_new(const struct config *config)
{
	size_t n = config_count(config, "deliver.redact");
	struct redact *redact = calloc(1, sizeof *redact + n * sizeof redact->word[0]);
	if (redact == NULL)
		return NULL;
	for (redact->n = 0; redact->n < n; redact->n++) {
		struct word *word = &redact->word[redact->n];
		word->text = strdup(config_item(config, redact->n, "deliver.redact"));
		if (word->text == NULL) {
			redact_free(redact);
			return NULL;
		}
		word->bytes = strlen(word->text);
		for (char *c = word->text; *c != '\0'; c++)
			*c = lower(*c);
	}
	return redact;
}

void redact_free(struct redact *redact)
{
	if (redact == NULL)
		return;
	for (size_t i = 0; i < redact->n; i++)
		free(redact->word[i].text);
	free(redact);
}

/* ---- names of parameters ---- */

/* The end of a name with its %XX resolved. Returns the bytes. */
static size_t decode_tail(char out[NAME_TAIL], const char *name, size_t bytes)
{
	size_t used = 0;
	if (bytes > NAME_TAIL) {
		name += bytes - NAME_TAIL;
		bytes = NAME_TAIL;
	}
	for (size_t i = 0; i < bytes; i++) {
		char c = name[i];
		int high = c == '%' && i + 2 < bytes ? hex_value(name[i + 1]) : -1;
		int low = high >= 0 ? hex_value(name[i + 2]) : -1;
		if (low >= 0) {
			c = (char)((unsigned)high << 4 | (unsigned)low);
			i += 2;
		}
		out[used++] = c;
	}
	return used;
}

/* Whether a part of its own begins at `at`: x_token, x-token, x.token, x[token], xToken. */
static bool begins_part(const char *name, size_t at)
{
	if (at == 0 || strchr("_-.[", name[at - 1]) != NULL)
		return true;
	char c = name[at], before = name[at - 1];
	return c >= 'A' && c <= 'Z' && !(before >= 'A' && before <= 'Z');
}

static bool same_word(const char *text, const struct word *word)
{
	for (size_t i = 0; i < word->bytes; i++)
		if (lower(text[i]) != word->text[i])
			return false;
	return true;
}

static bool is_secret(const struct redact *redact, const char *name, size_t bytes)
{
	char tail[NAME_TAIL] = {0};
	size_t n = decode_tail(tail, name, bytes);
	while (n > 0 && (tail[n - 1] == ']' || tail[n - 1] == '['))
		n--; /* user[token], token[] */
	for (size_t i = 0; i < redact->n; i++) {
		const struct word *word = &redact->word[i];
		if (word->bytes <= n && same_word(tail + n - word->bytes, word) &&
		    begins_part(tail, n - word->bytes))
			return true;
	}
	return false;
}

/* ---- URLs ---- */

/* As much as there is room for: unlike text_put, which writes all or nothing. */
static void put_some(struct text *text, const char *from, size_t bytes)
{
	size_t room = (size_t)(text->end - text->at);
	text_put(text, from, bytes < room ? bytes : room);
	text->full |= bytes > room;
}

/* Bytes before the first of these four characters, or all. */
static size_t until(const char *at, size_t bytes, const char set[4])
{
	size_t n = 0;
	while (n < bytes && at[n] != set[0] && at[n] != set[1] && at[n] != set[2] && at[n] != set[3])
		n++;
	return n;
}

static size_t until_one(const char *at, size_t bytes, char c)
{
	const char *found = memchr(at, c, bytes);
	return found != NULL ? (size_t)(found - at) : bytes;
}

/* Scheme, user and host: what ends before the path. Returns its bytes. */
static size_t put_authority(struct text *text, const char *url, size_t bytes)
{
	const char *host = memmem(url, until(url, bytes, PATH_ENDS), "//", 2);
	size_t start = host != NULL ? (size_t)(host + 2 - url) : 0;
	size_t end = start + until(url + start, bytes - start, "/?#\\");
	const char *at = memrchr(url + start, '@', end - start);
	put_some(text, url, start);
	if (at != NULL) {
		const char *colon = memchr(url + start, ':', (size_t)(at - url) - start);
		if (colon != NULL)
			put_some(text, url + start, (size_t)(colon + 1 - url) - start);
		put_some(text, HIDDEN, strlen(HIDDEN));
		start = (size_t)(at - url);
	}
	put_some(text, url + start, end - start);
	return end;
}

/* One parameter, from its name to the character that ends it. Returns its bytes. */
static size_t put_parameter(struct text *text, const struct redact *redact, const char *at, size_t bytes)
{
	size_t all = until(at, bytes, "&;?#");
	size_t name = until_one(at, all, '=');
	if (name + 1 >= all || !is_secret(redact, at, name)) {
		put_some(text, at, all);
		return all;
	}
	put_some(text, at, name + 1);
	put_some(text, HIDDEN, strlen(HIDDEN));
	return all;
}

size_t redact_url(const struct redact *redact, const char *url, size_t bytes, char *out, size_t size)
{
	struct text text = {.at = out, .end = out + size - 1};
	size_t at = put_authority(&text, url, bytes);
	size_t path = until(url + at, bytes - at, PATH_ENDS);
	put_some(&text, url + at, path);
	at += path;
	while (at < bytes && !text.full) {
		put_some(&text, url + at, 1); /* ? & ; # */
		at++;
		at += put_parameter(&text, redact, url + at, bytes - at);
	}
	*text.at = '\0';
	return (size_t)(text.at - out);
}

/* ---- the record ---- */

/* Where a body was cut, without the beginning of a character that was cut with it: text stays
 * text. */
static uint32_t body_bytes(const struct sender_request *request)
{
	const unsigned char *body = (const unsigned char *)request->answer;
	uint32_t n = request->answer_bytes;
	if (n < SENDER_BODY_KEPT)
		return n;
	for (uint32_t back = 1; back <= 3; back++) {
		unsigned char c = body[n - back];
		if (c >= 0xc0) /* the first of a character: of 2, 3 or 4 bytes */
			return back < (c >= 0xf0 ? 4u : c >= 0xe0 ? 3u : 2u) ? n - back : n;
		if (c < 0x80)
			return n;
	}
	return n;
}

static enum delivery_outcome outcome_of(enum retry_outcome outcome)
{
	switch (outcome) {
	case RETRY_DELIVERED:
		return OUTCOME_DELIVERED;
	case RETRY_AGAIN:
		return OUTCOME_AGAIN;
	case RETRY_GONE:
		return OUTCOME_GONE;
	case RETRY_DEAD:
		break;
	}
	return OUTCOME_DEAD;
}

static void fill(struct event_delivery *event, const struct record_attempt *attempt)
{
	const struct delivery *delivery = attempt->delivery;
	const struct sender_request *request = &delivery->attempt->request;
	const struct event_postback *postback = delivery->postback;
	event->arrival_ns = delivery->begun_real_ns;
	memcpy(event->source, request->address, sizeof event->source);
	event->source_port = request->port;
	event->status = (uint16_t)request->status;
	event->attempt = delivery->attempts + 1;
	memcpy(event->id, delivery->id, sizeof event->id);
	event->postback_ns = postback->arrival_ns;
	event->next_ms = attempt->next_ms;
	event->dns_us = delivery->dns_us;
	event->connect_us = request->connect_us;
	event->tls_us = request->tls_us;
	event->first_byte_us = request->first_byte_us;
	event->total_us = request->total_us;
	event->method = (uint8_t)postback->method;
	event->outcome = (uint8_t)outcome_of(attempt->outcome);
}

bool record_keep(struct lane *lane, const struct redact *redact, const struct record_attempt *attempt)
{
	const struct delivery *delivery = attempt->delivery;
	const char *endpoint = delivery->target != NULL ? delivery->target->endpoint : "";
	const struct sender_request *request = &delivery->attempt->request;
	const char *sent = delivery->attempt->url; /* NULL: nothing was */
	char url[RECORD_URL_MAX + 1];
	struct event_delivery event = {0};
	fill(&event, attempt);
	event.endpoint_bytes = (uint16_t)strlen(endpoint);
	event.url_bytes = (uint32_t)redact_url(redact, sent != NULL ? sent : delivery->postback->text,
	                                       sent != NULL ? strlen(sent) : delivery->postback->url_bytes,
	                                       url, sizeof url);
	event.error_bytes = (uint16_t)strnlen(attempt->error, RECORD_ERROR_MAX);
	event.body_bytes = body_bytes(request);
	uint32_t length = (uint32_t)sizeof event + event.endpoint_bytes + event.url_bytes +
	                  event.error_bytes + event.body_bytes;
	lane->received++;
	char *room = lane_room(lane, record_bytes(length));
	if (room == NULL) {
		lane->dropped++;
		return false;
	}
	char *at = record_put(room, EVENT_DELIVERY, length);
	memcpy(at, &event, sizeof event);
	at = mempcpy(at + sizeof event, endpoint, event.endpoint_bytes);
	at = mempcpy(at, url, event.url_bytes);
	at = mempcpy(at, attempt->error, event.error_bytes);
	memcpy(at, request->answer, event.body_bytes);
	lane_keep(lane, record_bytes(length));
	return true;
}
