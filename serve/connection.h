/* What the files of the server know of a connection: server.c, server_answer.c for answers that go
 * out, and server_live.c for those that went over to /live. Nobody else includes this.
 */
#ifndef SERVE_CONNECTION_H
#define SERVE_CONNECTION_H

#include <libwebsockets.h>

#include "serve/answer.h"
#include "serve/server.h"

#define CHUNK_BYTES        65536u /* that libwebsockets reads or sends at once */
#define LIVE_CHUNK_BYTES   16384u /* of a message of /live; what the kernel does not take is copied */
#define LIVE_TEXT_BYTES    1024u  /* the longest text that a client of /live may send */
#define LIVE_SEND_BUFFER   131072 /* of the kernel, for a connection to /live */
#define LIVE_PROTOCOL      "millrace.v1"
#define LIVE_PROTOCOLS_MAX 127u /* bytes of Sec-WebSocket-Protocol that libwebsockets takes */

enum connection_state {
	CONNECTION_HEAD,
	CONNECTION_BODY,
	CONNECTION_LATER,
	CONNECTION_ANSWER,
	CONNECTION_IDLE,
	CONNECTION_LIVE, /* until its end */
};

struct connection {
	struct connection *next, **at; /* what points to it */
	struct server *server;
	struct lws *wsi;
	enum connection_state state;
	uint64_t deadline_ns;
	struct request *request; /* from its head to the end of its answer; NULL: there is none */
	struct answer answer;
	uint64_t held;                      /* bytes of the answer that count in held_bytes */
	uint8_t *head;                      /* of the answer, malloced */
	size_t head_bytes, head_sent, sent; /* sent: of the body */
	bool paused;              /* libwebsockets neither reads nor writes: the server waits itself */
	bool close;               /* after the answer */
	struct live_client *live; /* NULL: it is not one of /live */
	bool websocket, open;     /* of /live; open: messages can be sent */
	bool closing;             /* nothing goes out any more */
	size_t received;          /* bytes of the client's text so far */
};

struct server {
	struct server_settings settings;
	struct server_counts counts;
	struct serve *serve;
	uv_loop_t *loop;
	struct lws_context *context;
	struct lws_vhost *vhost;
	struct connection *first;
	int writers; /* an epoll of the connections that are paused */
	uv_poll_t writers_poll;
	uint64_t events;
	bool draining;
	/* a head or a piece of /live; LWS_PRE bytes are libwebsockets' */
	uint8_t chunk[LWS_PRE + LIVE_CHUNK_BYTES];
};

/* ---- server.c ---- */

int connection_read_head(struct connection *connection, struct lws *wsi);

/* Answers that the request cannot be answered, and ends the connection. Returns what a callback of
 * libwebsockets returns, as those below do: -1 closes the connection. */
int connection_refuse(struct connection *connection, unsigned status, const char *detail);

void connection_set_deadline(struct connection *connection, enum connection_state state, uint64_t after_ns);
void connection_free_request(struct connection *connection);

/* Ends it with a turn of the loop, whatever it waits for. */
void connection_kill(struct connection *connection);

/* ---- server_answer.c ---- */

int server_open_writers(struct server *server); /* 0 or -errno */
void server_close_writers(struct server *server);

/* The answer is made: sends it, now or as the client reads. */
int connection_begin_answer(struct connection *connection);
void connection_free_answer(struct connection *connection);

/* The answer comes later: until then nothing is read, and the end of the connection is noticed. */
int connection_wait_later(struct connection *connection);

/* It has come: it goes out with a turn of the loop. */
int connection_wait_to_write(struct connection *connection);

/* Before its socket is closed; the library may read again. */
void connection_stop_waiting(struct connection *connection);

/* ---- server_live.c ---- */

/* A request with a field Upgrade. 0: libwebsockets may go on with it. */
int connection_upgrade(struct connection *connection, struct lws *wsi);

/* Messages may go out: the upgrade is answered, or the head of the stream is written. */
int connection_open_live(struct connection *connection);

int connection_write_live(struct connection *connection);

/* The client is told that this is the end, once it has its last message. */
void connection_end_live(struct connection *connection);

/* Text from the client, of which nothing is needed. */
int connection_receive(struct connection *connection, size_t bytes);

/* A client of a stream that has gone, or sends what nobody reads. */
bool connection_live_gone(const struct connection *connection);

#endif
