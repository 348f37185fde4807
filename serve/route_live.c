/* /live: what a client may ask for (live_wish.h), and the message of a tick. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "flow/flow.h"
#include "look/json.h"
#include "serve/live.h"
#include "serve/problem.h"
#include "serve/serve.h"

/* The histograms that the live page shows: there are many, and a tick goes to many. */
static const char *const histograms[] = {"attempt_us", NULL};

char *live_tick_text(void *argument, size_t *bytes)
{
	struct serve *serve = argument;
	struct shm_error error = {""};
	struct rates rates;
	const struct snapshot *snapshot = view_take(&serve->view, &error);
	if (snapshot == NULL)
		return NULL;
	(void)rates_init(&rates, snapshot, NULL);
	json_t *json = json_pack("{s:s, s:I, s:o}", "type", "tick", "now_ms", (json_int_t)clock_real_ms(),
	                         "stat", look_json_lean(&rates, serve->view.instance, histograms));
	char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
	json_decref(json);
	*bytes = text != NULL ? strlen(text) : 0;
	return text;
}

/* Returns false when the answer is a problem. */
static bool read_wish(const struct serve *serve, const struct request *request, struct live_wish *wish,
                      struct answer *answer)
{
	const char *topic = request_text(request, "topic"), *where[LIVE_WHERE_MAX];
	struct filters_why why = {""};
	unsigned n = 0;
	for (const char *one; n < LIVE_WHERE_MAX && (one = request_each(request, "where", n)) != NULL; n++)
		where[n] = one;
	int result = live_wish_init(wish, topic, topic != NULL ? flow_topic_type(topic) : EVENT_NONE,
	                            request_text(request, "filter"), where, n,
	                            request_number(request, "ticks", 1) != 0, &why);
	if (topic != NULL && instance_topic_index(&serve->stage->instance, topic) < 0)
		problem(answer, 404, request->path, "there is no such topic");
	else if (result == -ENOMEM)
		problem(answer, 503, request->path, "no memory");
	else if (result != 0)
		problem(answer, 400, request->path, "%s", why.text);
	return answer->status == 0;
}

static void join(struct serve *serve, const struct request *request, const struct live_wish *wish,
                 struct answer *answer)
{
	unsigned status;
	struct shm_error error = {""};
	answer->live = live_join(serve->live, &serve->stage->instance, wish, !request->upgrade,
	                         clock_monotonic_ns(), &status, &error);
	if (answer->live != NULL)
		return;
	answer->stream = false;
	problem(answer, status, request->path, "%s", error.text);
	if (status == 503)
		answer->retry_after_s = 5;
}

void handle_live(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct live_wish wish = {.n = 0};
	if (!request->upgrade &&
	    request_weight(request_field(request, REQUEST_ACCEPT), "text/event-stream") == 0) {
		problem(answer, 406, request->path,
		        "this is a WebSocket, or server-sent events (Accept: text/event-stream)");
		return;
	}
	if (!read_wish(serve, request, &wish, answer)) {
		live_wish_fini(&wish);
		return;
	}
	answer->status = 200;
	answer->type = "text/event-stream";
	answer->by_accept = answer->stream = true;
	if (request->method != REQUEST_HEAD)
		join(serve, request, &wish, answer);
	live_wish_fini(&wish);
}
