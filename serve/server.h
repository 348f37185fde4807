/* Connections: libwebsockets on our libuv loop, with bounds and time-outs of our own.
 *
 *     accept --> lws_adopt_socket --> HEAD --whole head--> [BODY --all of it-->] [LATER -->] ANSWER --> IDLE --> HEAD ...
 *                 at most max_connections   |                |                     |            |          |
 *                                     header_timeout     body_timeout     answer_timeout  answer_timeout  idle_timeout    --> closed
 *
 * LATER is a request that its handler has parked (answer.h).
 *
 * What is too much is refused at once: a connection over serve.max_connections is closed, a head
 * over serve.max_head ends its connection (libwebsockets does), a body over serve.max_body is
 * answered 413, an answer for which serve.answer_memory has no room becomes 503. A body within
 * bounds is read and thrown away: no route takes one.
 *
 * A request to /live goes over to LIVE instead and stays there (server_live.c, live.h): messages go
 * out as its client's state in struct live has them, and one that was not taken within
 * answer_timeout ends the connection.
 *
 * While an answer is awaited or sent, nothing more is read from its connection: what a client sends
 * meanwhile stays in the kernel. Everything runs in the stage's one thread.
 */
#ifndef SERVE_SERVER_H
#define SERVE_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "shm/segment.h"

struct later;
struct serve;
struct server; /* opaque */

struct server_settings {
	unsigned max_connections;
	unsigned other_files; /* that the stage may have open besides; some hundred are not counted */
	unsigned max_head;
	uint64_t max_body, answer_memory;
	uint64_t header_ns, body_ns, answer_ns, idle_ns;
};

struct server_counts {
	uint64_t accepted, turned_away, late, aborted, sent_bytes, complaints;
	unsigned connections; /* now */
	uint64_t held_bytes;  /* of answers, now */
};

/* Memory of a connection besides its head and its answer. */
size_t server_connection_bytes(void);

/* Starts libwebsockets on the loop. Returns 0, or -errno with the reason in error. */
int server_open(struct server **server, const struct server_settings *settings, uv_loop_t *loop,
                struct serve *serve, struct shm_error *error);

/* Takes over a connected socket, or closes it when there are enough. */
void server_take(struct server *server, int fd);

/* The answer of a parked request is set: it goes out. `later` is the owner's alone again. */
void server_resume(struct later *later);

/* A client of /live, which connection `owner` is, has a message to take. */
void server_wake(void *owner);

/* Closes what is too late. now_ns: CLOCK_MONOTONIC. */
void server_tick(struct server *server, uint64_t now_ns);

/* From now on every answer ends its connection, and connections without a request are closed. */
void server_drain(struct server *server);

/* Goes up with everything that happens. */
uint64_t server_events(const struct server *server);

const struct server_counts *server_counts(const struct server *server);

/* Closes all connections and ends libwebsockets; runs the loop until its handles are closed. NULL
 * is allowed. */
void server_close(struct server *server);

#endif
