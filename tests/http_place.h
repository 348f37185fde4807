/* A server without a network, for tests: one connection after the other, whose bytes the test gives and whose answers it gets.
 *
 *     http_place_open(&place); http_place_connect(&place); text = http_place_say(&place, "GET / HTTP/1.1\r\n..."); http_place_close(&place);
 */
#ifndef TESTS_HTTP_PLACE_H
#define TESTS_HTTP_PLACE_H

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/http/server.h"
#include "stage/clock.h"

#define HTTP_PLACE_ANSWERS (4u * 1024 * 1024)

struct http_place {
	struct server server;
	struct outlet outlet;
	char *answers;
	size_t used;
	/* of the connection, slot 0 */
	const char *sending; /* what the server has given to the transport; NULL: nothing */
	size_t sending_bytes;
	uint32_t sending_slot;
	bool hold; /* the client does not read: what is sent stays where it is */
	bool open, lingered, paused;
	uint8_t closing; /* bits by slot: `closed` is due */
};

static inline struct http_place *http_place_of(struct transport *transport)
{
	return transport->own;
}

static inline void http_place_send(struct transport *transport, uint32_t slot, const char *data, size_t bytes)
{
	struct http_place *place = http_place_of(transport);
	if (place->sending != NULL)
		abort(); /* one at a time */
	place->sending = data;
	place->sending_bytes = bytes;
	place->sending_slot = slot;
}

static inline void http_place_pause(struct transport *transport, uint32_t slot)
{
	(void)slot;
	http_place_of(transport)->paused = true;
}

static inline void http_place_resume(struct transport *transport, uint32_t slot)
{
	(void)slot;
	http_place_of(transport)->paused = false;
}

static inline void http_place_end(struct transport *transport, uint32_t slot, bool linger)
{
	struct http_place *place = http_place_of(transport);
	place->closing |= (uint8_t)(1u << slot);
	if (slot == place->sending_slot)
		place->sending = NULL;
	if (slot != 0)
		return;
	place->lingered = linger;
	place->open = false;
}

/* As a transport does: not within transport_close. */
static inline void http_place_settle(struct http_place *place)
{
	while (place->closing != 0) {
		uint32_t slot = (uint32_t)__builtin_ctz(place->closing);
		place->closing &= (uint8_t)(place->closing - 1);
		place->server.transport.events->closed(&place->server, slot);
	}
}

static inline void http_place_nothing(struct transport *transport)
{
	(void)transport;
}

static inline bool http_place_poll(struct transport *transport)
{
	(void)transport;
	return false;
}

static const struct transport_ops http_place_ops = {
        .name = "place",
        .poll = http_place_poll,
        .flush = http_place_nothing,
        .send = http_place_send,
        .pause = http_place_pause,
        .resume = http_place_resume,
        .close = http_place_end,
        .refuse = http_place_nothing,
        .shut = http_place_nothing,
};

/* Settings that a test may change before http_place_open. */
static inline void http_place_init(struct http_place *place)
{
	memset(place, 0, sizeof *place);
	place->server.settings = (struct server_settings){
	        .limits = {.line_bytes = 2048, .head_bytes = 4096, .fields = 20},
	        .max_connections_per_address = 4,
	        .header_timeout_ns = 10 * NS_PER_SEC,
	        .body_timeout_ns = 20 * NS_PER_SEC,
	        .idle_timeout_ns = 60 * NS_PER_SEC,
	        .write_timeout_ns = 30 * NS_PER_SEC,
	        .request_memory = 16u * 1024 * 1024,
	        .request_memory_share = 100,
	        .answer_memory = 16u * 1024 * 1024,
	        .transport = {.max_connections = 8},
	};
	place->server.shared.settings = (struct exchange_settings){.max_body = 65536,
	                                                           .max_inflated = 262144,
	                                                           .batch_errors = 3, .agent_longest = 1024,
	                                                           .origin = {"*"},
	                                                           .n_origins = 1};
	(void)client_network_add(&place->server.settings.trusted, "127.0.0.0/8");
}

/* Returns 0 or -errno. */
static inline int http_place_open(struct http_place *place)
{
	struct shm_error error;
	int result = outlet_open_alone(&place->outlet, 4u * 1024 * 1024);
	if (result != 0)
		return result;
	place->outlet.retry_after_max_s = 60;
	place->outlet.arrival_ns = 1700000000ull * NS_PER_SEC + 5 * NS_PER_MS;
	place->answers = malloc(HTTP_PLACE_ANSWERS);
	place->server.shared.outlet = &place->outlet;
	place->server.transport.own = place;
	return place->answers == NULL ? -ENOMEM : server_open_with(&place->server, &http_place_ops, &error);
}

static inline void http_place_close(struct http_place *place)
{
	server_close(&place->server);
	outlet_close(&place->outlet);
	free(place->answers);
}

/* A new connection in slot 0 from an address ("10.0.0.1", "::1"). */
static inline void http_place_connect_from(struct http_place *place, const char *address)
{
	struct sockaddr_storage peer = {0};
	struct sockaddr_in *four = (void *)&peer;
	struct sockaddr_in6 *six = (void *)&peer;
	if (inet_pton(AF_INET, address, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(4711);
	} else if (inet_pton(AF_INET6, address, &six->sin6_addr) == 1) {
		six->sin6_family = AF_INET6;
		six->sin6_port = htons(4711);
	}
	http_place_settle(place);
	place->open = true;
	place->lingered = place->paused = false;
	place->sending = NULL;
	place->server.transport.events->opened(&place->server, 0, 0, &peer);
}

static inline void http_place_connect(struct http_place *place)
{
	http_place_connect_from(place, "10.9.8.7");
}

/* The client reads what is under way. */
static inline void http_place_read(struct http_place *place)
{
	while (place->sending != NULL) {
		memcpy(place->answers + place->used, place->sending, place->sending_bytes);
		place->used += place->sending_bytes;
		place->answers[place->used] = 0;
		place->sending = NULL;
		place->server.transport.events->sent(&place->server, place->sending_slot);
	}
	http_place_settle(place);
}

/* Bytes come, at most `piece` at a time, each piece in memory of exactly its size. Returns all answers so far since the last http_place_forget. */
static inline const char *http_place_say_pieces(struct http_place *place, const char *data, size_t bytes,
                                                size_t piece)
{
	for (size_t at = 0; at < bytes && place->open;) {
		size_t n = bytes - at < piece ? bytes - at : piece;
		char *copy = malloc(n);
		memcpy(copy, data + at, n);
		place->server.transport.events->received(&place->server, 0, copy, n);
		free(copy);
		at += n;
		if (!place->hold)
			http_place_read(place);
		http_place_settle(place);
	}
	return place->answers;
}

static inline const char *http_place_say(struct http_place *place, const char *text)
{
	return http_place_say_pieces(place, text, strlen(text), 4096);
}

static inline void http_place_forget(struct http_place *place)
{
	place->used = 0;
	place->answers[0] = 0;
}

/* Time goes on. */
static inline void http_place_pass(struct http_place *place, uint64_t ns)
{
	for (uint64_t end = place->server.now_ns + ns; place->server.now_ns < end;) {
		uint64_t step = end - place->server.now_ns < WHEEL_TICK_NS ? end - place->server.now_ns
		                                                           : WHEEL_TICK_NS;
		server_tick(&place->server, place->server.now_ns + step);
		if (!place->hold)
			http_place_read(place);
		http_place_settle(place);
	}
}

#endif
