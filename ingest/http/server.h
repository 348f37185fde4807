/* The server: connections and their deadlines. It is between the transport, which moves bytes, and
 * exchanges, which are one request each.
 *
 *     received --> [PROXY header] --> head --> [body] --> exchange --> output --transport_send--> sent --.
 *                                      ^                                                              |
 *                                      '---------------- keep-alive, or the rest of a pipeline -------'
 *
 * A request that is complete in the receive buffer is parsed and answered there: nothing is copied.
 * What is incomplete is kept in a block of the pool until it is complete. While answers are under
 * way (one send at a time) what comes is kept too, and past SERVER_BACKLOG_BYTES the connection is
 * paused, so a client that does not read its answers holds one output and so much input, no more.
 *
 * What is kept comes from one pool, outputs from another, so complete requests are answered however
 * many others are held. Each address has a share of what is kept. When there is no memory for a
 * request, it is answered 503 and the connection ends.
 *
 * One turn (server_poll): the transport's events, as above; then outlet_commit; then the transport
 * may let the answers go. So an answer never leaves before its event is in shared memory.
 *
 * Deadlines, one per connection at a time: header_timeout from the first byte of a head (or the
 * connection's start) to its end, body_timeout for the whole body, idle_timeout between requests,
 * write_timeout while the client does not take an answer.
 */
#ifndef INGEST_HTTP_SERVER_H
#define INGEST_HTTP_SERVER_H

#include "ingest/http/chunked.h"
#include "ingest/http/exchange.h"
#include "ingest/http/peers.h"
#include "ingest/http/transport.h"
#include "ingest/http/wheel.h"

#define SERVER_OUTPUT_BYTES  8192u
#define SERVER_BACKLOG_BYTES 32768u

struct server_settings {
	struct request_limits limits;
	bool proxy_protocol;
	uint32_t max_connections_per_address;
	uint64_t header_timeout_ns, body_timeout_ns, idle_timeout_ns, write_timeout_ns;
	uint64_t request_memory, answer_memory;
	uint32_t request_memory_share; /* of one address, in percent */
	struct client_networks trusted;
	struct transport_settings transport;
};

enum connection_state {
	CONNECTION_FREE,
	CONNECTION_PROXY,   /* the PROXY header is awaited */
	CONNECTION_HEAD,    /* a head is awaited, or is coming */
	CONNECTION_BODY,    /* its body is coming: need bytes in all */
	CONNECTION_CHUNKED, /* the same, chunked */
	CONNECTION_LAST,    /* no more is read: the last answer is on its way */
	CONNECTION_CLOSING  /* `closed` is awaited */
};

struct connection {
	uint8_t state; /* enum connection_state */
	uint8_t route; /* enum route, of the request whose body is coming; else ROUTE_other */
	bool trusted, counted, sending, ended, paused, continued, linger;
	bool late; /* was opened while the server drains: its one request may be on its way */
	/* there was no memory for what came: to be told when the answers under way have gone;
	 * CONNECTION_LAST */
	bool refused;
	uint8_t address[16];
	uint16_t port;
	char *input; /* what is kept; a block of the pool */
	uint32_t input_bytes, input_room;
	uint32_t held_bytes; /* counted for its address (peers.h) */
	uint32_t need;       /* bytes from the head on that make the request whole; CONNECTION_BODY */
	uint32_t head_bytes; /* CONNECTION_CHUNKED */
	size_t seen;         /* of a head that comes in pieces (request_ready) */
	struct chunked chunked;
	uint32_t coded_bytes; /* of the chunked body */
	struct output output; /* under way while `sending` */
	uint64_t began_ns;    /* first byte of the request at hand; 0: none */
	uint64_t sent_ns;     /* when the last answers were given to the transport; 0: none yet */
};

struct server {
	struct server_settings settings;
	struct exchange_shared shared;
	struct transport transport;
	struct connection *connection; /* max_connections */
	uint32_t n_connections;
	struct wheel wheel;
	struct pool pool;    /* of requests */
	struct pool answers; /* of outputs */
	struct peers peers;
	uint64_t share_bytes; /* of the pool, that the requests of one address may hold */
	struct metrics metrics;
	uint64_t now_ns;           /* CLOCK_MONOTONIC of this turn */
	uint64_t least_timeout_ns; /* of write and idle */
	bool draining, refusing;
	bool hasty; /* of this turn's answers: there is something to do as soon as one has gone */
	bool rest;  /* set by server_poll: another one at once would find little (server_wait) */
};

static inline void server_count(struct server *server, enum http_metric metric)
{
	server->metrics.own[metric]++;
}

/* Prepares a server whose settings, shared.settings, shared.outlet, shared.stage and shared.tokens
 * are set, the rest zero. Returns 0 or -errno with the reason; then nothing is held. */
int server_open(struct server *server, const int *socket, unsigned n_sockets, struct shm_error *error);

/* The same, with a transport that the caller has filled (ops, events are set here): a stage
 * alone. */
int server_open_with(struct server *server, const struct transport_ops *ops, struct shm_error *error);

/* One turn; true when it did something. */
bool server_poll(struct server *server);

/* Time-outs; at least every 500 ms. */
void server_tick(struct server *server, uint64_t now_ns);

/* Sleeps until something happens, at most timeout_ns. */
void server_wait(struct server *server, uint64_t timeout_ns);

/* From here on each connection ends with its next answer, new ones too. */
void server_drain(struct server *server);

/* Ends connections that have no request under way; those that were opened after server_drain, only
 * when late_too. */
void server_end_idle(struct server *server, bool late_too);

/* Accepts no more. May be called again. */
void server_refuse(struct server *server);

/* Ends all connections and frees everything. */
void server_close(struct server *server);

#endif
