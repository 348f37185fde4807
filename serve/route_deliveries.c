/* Attempts to deliver postbacks: the last ones (recent.h), one postback with what deliver.db has of
 * it, and counts by endpoint (sink/tally/attempts.h). */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "deliver/known.h"
#include "serve/problem.h"
#include "serve/serve.h"
#include "sink/tally/attempts.h"

#define BUSY_MS 200u /* readers wait only while one recovers the log */
#define POLLS   100u /* batches that are read before an answer, so that it has what came just now */
#define NO_ATTEMPTS \
	"no attempt has this id, and it waits nowhere: it is delivered and more recent ones took its place, purged, not begun, or was never there"

static void read_what_came(struct serve *serve)
{
	for (unsigned i = 0; i < POLLS; i++)
		if (!recent_poll(serve->recent, &serve->stage->instance, serve->stage->now_ns))
			return;
}

/* ---- the last ones ---- */

struct page {
	struct answer_list attempts;
	bool whole, failed;
};

static int add_attempt(void *argument, struct recent *recent, const struct recent_attempt *attempt)
{
	struct page *page = argument;
	int result = answer_list_add(&page->attempts, recent_json(recent, attempt, page->whole));
	page->failed = result < 0;
	return result > 0 ? RECENT_NEXT_PAGE : result;
}

/* A time before 1970 is 0, one that no clock shows is the last one. */
static uint64_t since_ns(const struct request *request)
{
	int64_t ms = request_number(request, "since", 0);
	if (ms < 0)
		return 0;
	return (uint64_t)ms > UINT64_MAX / NS_PER_MS ? UINT64_MAX : (uint64_t)ms * NS_PER_MS;
}

/* False: the answer is made. */
static bool read_filter(const struct request *request, struct recent_filter *filter, struct answer *answer)
{
	const char *outcome = request_text(request, "outcome");
	*filter = (struct recent_filter){
	        .outcome = RECENT_ANY,
	        .status = (int)request_number(request, "status", RECENT_ANY),
	        .host = request_text(request, "host"),
	        .since_ns = since_ns(request),
	        .before = (uint64_t)request_number(request, "before", 0),
	};
	for (int i = 0; outcome != NULL && i < OUTCOME_COUNT; i++)
		if (strcmp(outcome, delivery_outcome_name((unsigned)i)) == 0)
			filter->outcome = i;
	if (outcome == NULL || filter->outcome != RECENT_ANY)
		return true;
	problem(answer, 400, request->path, "outcome: must be one of delivered, again, dead, gone");
	return false;
}

static json_t *page_json(const struct serve *serve, const struct page *page, uint64_t next)
{
	struct recent_state state;
	recent_look(serve->recent, &state);
	json_t *json = json_pack("{s:O, s:I, s:I}", "attempts", page->attempts.items, "held",
	                         (json_int_t)state.held, "missed", (json_int_t)state.missed);
	if (json != NULL && next != 0)
		json_object_set_new(json, "next", json_integer((json_int_t)next));
	return json;
}

void handle_deliveries(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct recent_filter filter;
	uint64_t next = 0;
	if (!read_filter(request, &filter, answer))
		return;
	struct page page = {.attempts = {.items = json_array(), .answer_bytes = serve->answer_max}};
	read_what_came(serve);
	(void)recent_list(serve->recent, &filter, (uint64_t)request_number(request, "limit", 0), add_attempt,
	                  &page, &next);
	answer_json(answer, 200, page.failed ? NULL : page_json(serve, &page, next));
	json_decref(page.attempts.items);
}

/* ---- one postback ---- */

/* What deliver.db has of it. 1, 0, or -errno with the answer made. */
static int look_up(struct serve *serve, const struct request *request, const char *id, json_t **json,
                   struct answer *answer)
{
	struct shm_error error = {""};
	struct waiting *waiting = NULL;
	int result =
	        waiting_open_to_read(&waiting, config_string(serve->config, "data_dir"), BUSY_MS, &error);
	if (result == -ENOENT)
		return 0; /* nothing has ever waited */
	if (result == 0)
		result = known_json(waiting, serve->redact, id, json, &error);
	waiting_close(waiting);
	if (result < 0)
		problem_of(answer, result, request->path, error.text);
	return result;
}

/* In deliver.db it waits or is dead; otherwise the last attempt tells. */
static const char *state_of(const json_t *known, const json_t *attempts)
{
	const json_t *last = json_array_get(attempts, json_array_size(attempts) - 1);
	const char *outcome = json_string_value(json_object_get(last, "outcome"));
	if (known != NULL)
		return strcmp(json_string_value(json_object_get(known, "state")), "dead") == 0 ? "dead"
		                                                                               : "waiting";
	/* Between two attempts it may be in the memory of its process alone. */
	return outcome != NULL && strcmp(outcome, "again") == 0 ? "waiting" : outcome;
}

static void answer_postback(const char *id, const json_t *known, json_t *attempts, struct answer *answer)
{
	json_t *json = json_pack("{s:s, s:s, s:O}", "id", id, "state", state_of(known, attempts), "attempts",
	                         attempts);
	if (json != NULL && known != NULL &&
	    json_object_set(json, "postback", (json_t *)(uintptr_t)known) != 0) {
		json_decref(json);
		json = NULL;
	}
	answer_json(answer, 200, json);
}

void handle_delivery(struct serve *serve, const struct request *request, struct answer *answer)
{
	char id[EVENT_POSTBACK_ID_BYTES + 1];
	uint64_t number[2];
	struct page page = {.attempts = {.answer_bytes = UINT64_MAX}, .whole = true}; /* all of them */
	json_t *known = NULL;
	if (!request_postback(request, number, id)) {
		problem(answer, 404, request->path, "an id of a postback is 32 hexadecimal digits");
		return;
	}
	page.attempts.items = json_array();
	read_what_came(serve);
	uint64_t n = recent_find(serve->recent, number, add_attempt, &page);
	int found = look_up(serve, request, id, &known, answer);
	if (page.failed)
		answer_json(answer, 200, NULL);
	else if (found > 0 || (found == 0 && n > 0))
		answer_postback(id, known, page.attempts.items, answer);
	else if (found == 0)
		problem(answer, 404, request->path, NO_ATTEMPTS);
	json_decref(known);
	json_decref(page.attempts.items);
}

/* ---- counts ---- */

void handle_delivery_counts(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct shm_error error = {""};
	char *json = NULL;
	int64_t now_ms = clock_real_ms();
	struct attempts_question question = {
	        .from_ms = request_number(request, "since", now_ms - ATTEMPTS_SPAN_MS),
	        .to_ms = request_number(request, "until", now_ms),
	        .step_ms = request_number(request, "step", 0) * ATTEMPTS_STEP_MS,
	        .endpoint = request_text(request, "endpoint"),
	        .limit = (uint64_t)request_number(request, "limit", ATTEMPTS_LIMIT),
	        .offset = (uint64_t)request_number(request, "offset", 0),
	        .sums = request_number(request, "sums", 0) != 0,
	};
	int result = attempts_json(config_string(serve->config, "data_dir"), &question, &json, &error);
	problem_or_json(answer, result, request->path, json, error.text);
}
