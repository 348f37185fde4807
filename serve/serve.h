/* The stage `serve`: what an instance knows, over HTTP. It reads and shows; only routes for
 * administrators change something.
 *
 *     client --> server (libwebsockets on libuv) --> request --> router --> handler --> answer --> client
 *                  bounds: connections, bytes,        |            |           |
 *                  times                              Host, Origin,  routes.def  reads a snapshot (look/), tally.db, deliver.db
 *                                                     tokens                     through the readers of sink/ and deliver/
 *
 * **One loop.** The stage's loop (stage/stage.h) drives libuv, and libwebsockets lives in libuv's
 * loop. `poll` runs it once without waiting and says whether anything happened. `idle` waits on the
 * loop's descriptor (uv_backend_fd), for as long as libuv's timers allow; a signal ends the wait,
 * which uv_run itself would go on with. Nothing else waits.
 *
 * **It holds nobody up.** It reads no topic as a required group, locks nothing that the pipeline
 * locks, and opens databases read-only (a replay of dead letters writes as `millrace dead` does;
 * to forget counts it asks tally, and the request waits parked).
 * It has no thread: a handler runs in the loop, so it is bounded in time (limit.h) and in what it
 * makes (answer.h).
 *
 * **It is not needed.** It binds its sockets itself, as what comes over them is no event. An
 * address that is in use is tried again every second, and the note of the control block says which
 * are bound.
 *
 * A handler gets a request that has passed all checks and makes one answer:
 *
 *     void handle_NAME(struct serve *serve, const struct request *request, struct answer *answer);
 *
 *   - its parameters are those of its row in routes.def, checked: request_text, request_number
 *   - it sets the answer by answer_json, answer_text or problem; one that sets nothing is our own bug
 *   - one that has to wait for others parks its request by answer_later (answer.h)
 *   - it returns within serve.query_timeout, by when what reads a database is ended; waits for a lock
 *     come on top (limit.h)
 *   - it keeps nothing of the request, unless it has parked it
 *
 * A new route is a row in routes.def and its handler in a route_*.c file. The check of methods and
 * parameters, 404 and 405, tokens, the documents and /openapi.json follow from the row.
 */
#ifndef SERVE_SERVE_H
#define SERVE_SERVE_H

#include "serve/answer.h"
#include "serve/auth.h"
#include "serve/fleet.h"
#include "serve/host.h"
#include "serve/listener.h"
#include "serve/live.h"
#include "serve/page.h"
#include "serve/recent.h"
#include "serve/request.h"
#include "serve/router.h"
#include "serve/server.h"
#include "serve/view.h"
#include "stage/stage.h"

extern const struct stage_ops serve_stage;

struct forgetter;
struct redact;

enum serve_metric {
#define METRIC(name, kind, help) SERVE_##name,
#define HISTOGRAM(name, help, ...) \
	SERVE_##name, SERVE_##name##_end = SERVE_##name + HISTOGRAM_WORDS(__VA_ARGS__) - 1,
#include "serve/metrics.def"
#undef METRIC
#undef HISTOGRAM
	SERVE_METRIC_COUNT
};

/* The stage's own state. */
struct serve {
	struct stage *stage;
	struct control *control; /* metrics */
	const struct config *config;
	struct auth auth;
	struct hosts_allowed hosts;
	struct view view;
	struct listeners listeners;
	struct server *server;
	uint64_t query_ns;     /* serve.query_timeout */
	uint64_t answer_max;   /* serve.max_answer */
	struct redact *redact; /* of URLs of postbacks */
	struct recent *recent; /* the last attempts to deliver */
	struct fleet *fleet;   /* other boxes */
	struct live *live;     /* clients of /live */
	struct page *page;     /* the files of the live page */
	/* who waits for tally to forget (route_events.c) */
	struct forgetter *forgetters;
	const struct metric_description *answer_times, *peer_times;
	struct server_counts told; /* in the metrics already */
	struct recent_state told_recent;
	bool recent_refused; /* and the log has why */
	struct live_counts told_live;
};

/* The answer to a request, whatever it is: checks, handler, ETag, gzip. With answer->later it comes
 * later, and serve_finish makes what is left to do then. */
void serve_answer(struct serve *serve, struct request *request, struct answer *answer);
void serve_finish(struct serve *serve, const struct request *request, struct answer *answer);

/* What this box alone knows, from the route's handler. */
void serve_ask(struct serve *serve, const struct request *request, struct answer *answer);

/* The message of a tick of /live, malloced; NULL: the instance cannot be read. argument: the struct
 * serve. */
char *live_tick_text(void *argument, size_t *bytes);

/* Looks what became of the requests DELETE /events that wait for tally, and answers those that need
 * not wait any more. Returns whether there are others: they are looked at after ERRAND_LOOK_NS. */
bool serve_forget(struct serve *serve);

/* Counts it, as it goes out. */
void serve_count(struct serve *serve, const struct answer *answer);

/* What cannot be answered by the configuration: a listener beyond loopback without tokens.
 * Returns 0 or -EINVAL with "KEY: WHAT" in error. */
int serve_check(const struct config *config, const char *section, struct shm_error *error);

#endif
