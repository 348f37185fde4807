/* The HTTP stage: from the sockets that the supervisor bound to topics and the queue of postbacks.
 *
 *     sockets --> transport --> server --> exchange --> outlet --> lanes, queue
 *
 *     open --> [ poll ... idle, tick ]* --draining--> answer what waits, each connection's last answer --> refuse --> drained
 *
 * A life that is killed leaves what it had committed; what it had not committed was not answered.
 * The listening sockets stay open with the supervisor, so connections wait in the backlog for the
 * next life.
 */
#ifndef INGEST_HTTP_HTTP_H
#define INGEST_HTTP_HTTP_H

#include "ingest/http/server.h"

#define HTTP_GRACE_NS \
	(200ull * 1000 * 1000) /* for one more request of each client when the stage is to end */
#define HTTP_DRAIN_NS \
	(5ull * 1000 * 1000 * 1000) /* for requests that are under way when the stage is to end */

struct http {
	struct server server;
	struct outlet outlet;
	struct control *control;
	uint64_t drain_until_ns; /* CLOCK_MONOTONIC; 0 while not draining */
};

extern const struct stage_ops http_stage;

/* Reads entry `entry` of ingest.http except its tokens. Returns 0, or -errno with key and
 * reason in error. */
int http_read_settings(struct server *server, const struct config *config, size_t entry,
                       struct shm_error *error);

/* Reads its tokens. Returns 0, or -errno with key, file and reason in error; then the routes are
 * closed (tokens_close), and answered 503. */
int http_read_tokens(struct server *server, const struct config *config, size_t entry,
                     struct shm_error *error);

/* The stage alone: input is what one client sends; records go to output, answers to standard error.
 * Returns the exit status. */
int http_alone(const struct config *config, FILE *input, FILE *output);

#endif
