/* GET requests to other boxes, in the loop of the stage: libcurl's multi interface on libuv.
 *
 *     fetch_begin --> libcurl --sockets and timers--> libuv --> ... --> fetch->done, once
 *                        '-- fetcher.timeout, fetcher.bytes_max, memory: an answer that is none
 *
 * Nothing here waits. An answer is over when the peer has sent all of it, or when the time is over
 * that was given for everything together: name, connection, TLS, head, body. Redirects are not
 * followed, no proxy is asked, http and https alone are spoken. Connections are kept and used
 * again.
 *
 * The memory of all bodies together is bounded: what is held counts until fetch_free. When it is
 * used up the owner is asked to give something up (full); then the answer is one that is too long.
 */
#ifndef SERVE_FETCH_H
#define SERVE_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "shm/segment.h"

#define FETCH_WHY_BYTES 160u
#define FETCH_BOX_BYTES 17u

struct fetcher; /* opaque */

struct fetch_options {
	uint64_t timeout_ns;
	uint64_t bytes_max;  /* of one body */
	uint64_t memory_max; /* of all of them */
	const char *ca_file; /* "": the system's certificates */
	/* The memory is used up; whether some was given up. */
	bool (*full)(void *context);
	void *context;
};

/* One request; all zero before fetch_begin. In its owner's memory, which stays until it is done or
 * fetch_free has ended it. */
struct fetch {
	void (*done)(struct fetch *fetch); /* called once, never within fetch_begin */
	/* when it is done: */
	unsigned status;           /* 0: there is no answer */
	char why[FETCH_WHY_BYTES]; /* there is none: why */
	char *body;                /* ends with a 0 that does not count */
	size_t bytes;
	char box[FETCH_BOX_BYTES]; /* the field Millrace-Box of the answer; "" none */
	uint64_t took_us;
	/* the fetcher's: */
	struct fetcher *fetcher;
	void *easy; /* NULL: it does not run */
	void *fields;
	size_t room;
	uint64_t began_ns;
};

/* Returns 0, or -errno with the reason in error. The options' texts must outlive it. */
int fetcher_open(struct fetcher **fetcher, const struct fetch_options *options, uv_loop_t *loop,
                 struct shm_error *error);

/* The token that further requests have; "": none. At most TOKEN_BYTES_MAX (stage/tokens.h). */
void fetcher_set_token(struct fetcher *fetcher, const char *token);

/* Asks url. False, and done is not called: there is no memory, or it is no URL. */
bool fetch_begin(struct fetcher *fetcher, struct fetch *fetch, const char *url);

/* Ends it if it runs, without done, and frees what it holds. Also for one that is all zero. */
void fetch_free(struct fetch *fetch);

/* Goes up with everything that happens. */
uint64_t fetcher_events(const struct fetcher *fetcher);

/* Nothing runs any more. Its handles are closed by further turns of the loop. NULL is allowed. */
void fetcher_close(struct fetcher *fetcher);

#endif
