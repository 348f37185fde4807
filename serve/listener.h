/* The sockets that the stage listens on: bound by itself, tried again while an address is in use.
 *
 *     serve.listen --listener_open--> bound --uv_poll--> accept --> struct server
 *                        ^              |
 *                        '-- each second, what is not
 *
 * SO_REUSEADDR, so that a new life binds while connections of the last one fade. A Unix socket that
 * a dead life left is replaced; one that somebody listens on is in use.
 */
#ifndef SERVE_LISTENER_H
#define SERVE_LISTENER_H

#include <uv.h>

#include "base/address.h"
#include "config/config.h"
#include "shm/segment.h"

#define LISTENERS_MAX 16u

struct server;

struct listener {
	struct listeners *all;
	const char *text; /* as configured */
	int fd;           /* -1: not bound */
	bool polled;
	uv_poll_t poll;
	char bound[ADDRESS_TEXT_MAX]; /* with the port that the kernel chose */
	int failed;                   /* -errno of the last try */
};

struct listeners {
	uv_loop_t *loop;
	struct server *server;
	unsigned n, n_bound;
	int backlog;
	struct listener listener[LISTENERS_MAX];
};

/* Notes the addresses of serve.listen; binds nothing yet. Returns 0 or -errno with the reason. */
int listener_init(struct listeners *listeners, const struct config *config, uv_loop_t *loop,
                  struct server *server, struct shm_error *error);

/* Binds what is not bound. Returns true when something changed: bound, or failed for another
 * reason; each is logged once. */
bool listener_open(struct listeners *listeners);

/* "127.0.0.1:4003, [::1]:4003; 127.0.0.1:3001: Address already in use" */
void listener_note(const struct listeners *listeners, char *text, size_t size);

/* Closes the sockets; the handles go with the next run of the loop. */
void listener_close(struct listeners *listeners);

/* True when an address of serve.listen is reached from this host alone: loopback, or a Unix socket.
 * False for what is no address. */
bool listener_is_loopback(const char *text);

#endif
