/* Dead letters, from deliver.db: listed, shown, sent again. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hex.h"
#include "deliver/dead_json.h"
#include "event/event.h"
#include "serve/problem.h"
#include "serve/serve.h"

#define BUSY_MS 200u /* readers wait only while one recovers the log */

struct listing {
	const struct redact *redact;
	struct answer_list letters;
	uint64_t most;
	char next[64]; /* the place of the last letter */
	bool more, failed;
};

/* ---- opening ---- */

/* NULL: the answer is made. *none: nothing has ever waited for delivery. */
static struct waiting *open_letters(struct serve *serve, const struct request *request, struct answer *answer,
                                    bool to_write, bool *none)
{
	struct shm_error error = {""};
	struct waiting *waiting = NULL;
	const char *data_dir = config_string(serve->config, "data_dir");
	int result = to_write ? waiting_open(&waiting, data_dir, "", &error)
	                      : waiting_open_to_read(&waiting, data_dir, BUSY_MS, &error);
	*none = result == -ENOENT;
	if (result != 0 && !*none)
		problem_of(answer, result, request->path, error.text);
	return waiting;
}

/* ---- list ---- */

static int add_letter(void *argument, const struct dead_letter *letter)
{
	struct listing *listing = argument;
	listing->more = json_array_size(listing->letters.items) == listing->most;
	if (listing->more)
		return 1;
	int result = answer_list_add(&listing->letters, dead_json(letter, listing->redact, false));
	listing->more = result > 0;
	listing->failed = result < 0;
	if (result == 0)
		snprintf(listing->next, sizeof listing->next, "%" PRId64 "-%" PRId64, letter->dead_ms,
		         letter->seq);
	return result != 0;
}

static void read_filter(const struct request *request, struct dead_filter *filter)
{
	const char *after = request_text(request, "after");
	*filter = (struct dead_filter){
	        .endpoint = request_text(request, "endpoint"),
	        .host = request_text(request, "host"),
	        .reason = request_text(request, "reason"),
	        .status = (int)request_number(request, "status", DEAD_ANY_STATUS),
	        .since_ms = request_number(request, "since", 0),
	        .until_ms = request_number(request, "until", INT64_MAX),
	};
	if (after != NULL)
		(void)router_place(after, &filter->after_ms, &filter->after_seq);
}

static void list(struct serve *serve, struct waiting *waiting, const struct request *request,
                 const struct dead_filter *filter, struct answer *answer)
{
	struct shm_error error = {""};
	struct listing listing = {.redact = serve->redact,
	                          .letters = {.items = json_array(), .answer_bytes = serve->answer_max},
	                          .most = (uint64_t)request_number(request, "limit", 0)};
	int64_t n = waiting == NULL
	                    ? 0
	                    : dead_list(waiting, filter, listing.most + 1, add_letter, &listing, &error);
	if (n < 0) {
		json_decref(listing.letters.items);
		problem_of(answer, (int)n, request->path, error.text);
		return;
	}
	json_t *page = listing.failed ? NULL : json_pack("{s:O}", "letters", listing.letters.items);
	json_decref(listing.letters.items);
	if (page != NULL && listing.more)
		json_object_set_new(page, "next", json_string(listing.next));
	answer_json(answer, 200, page);
}

void handle_dead(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct dead_filter filter;
	bool none;
	read_filter(request, &filter);
	struct waiting *waiting = open_letters(serve, request, answer, false, &none);
	if (waiting != NULL || none)
		list(serve, waiting, request, &filter, answer);
	waiting_close(waiting);
}

/* ---- one ---- */

static void no_such(const struct request *request, struct answer *answer)
{
	problem(answer, 404, request->path, "no dead letter has this id; /dead lists them");
}

struct shown {
	const struct redact *redact;
	json_t *letter;
};

static int show_letter(void *argument, const struct dead_letter *letter)
{
	struct shown *shown = argument;
	shown->letter = dead_json(letter, shown->redact, true);
	return 0;
}

void handle_dead_letter(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct shm_error error = {""};
	struct shown shown = {.redact = serve->redact};
	char id[EVENT_POSTBACK_ID_BYTES + 1];
	uint64_t number[2];
	bool none = !request_postback(request, number, id);
	struct waiting *waiting = none ? NULL : open_letters(serve, request, answer, false, &none);
	int result = waiting == NULL ? 0 : dead_show(waiting, id, show_letter, &shown, &error);
	waiting_close(waiting);
	if (result < 0)
		problem_of(answer, result, request->path, error.text);
	else if (result > 0)
		answer_json(answer, 200, shown.letter);
	else if (answer->status == 0)
		no_such(request, answer);
}

static int is_there(void *argument, const struct dead_letter *letter)
{
	(void)argument, (void)letter;
	return 0;
}

/* Looked up first: only what is there to be sent waits for the lock of those who write. */
void handle_dead_replay(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct shm_error error = {""};
	char id[EVENT_POSTBACK_ID_BYTES + 1];
	uint64_t number[2];
	bool none = !request_postback(request, number, id);
	struct waiting *waiting = none ? NULL : open_letters(serve, request, answer, false, &none);
	int result = waiting == NULL ? 0 : dead_show(waiting, id, is_there, NULL, &error);
	waiting_close(waiting);
	waiting = result <= 0 ? NULL : open_letters(serve, request, answer, true, &none);
	if (result > 0)
		result = waiting == NULL ? 0
		                         : dead_change_one(waiting, DEAD_REPLAY, id, clock_real_ms(), &error);
	waiting_close(waiting);
	if (result < 0)
		problem_of(answer, result, request->path, error.text);
	else if (result > 0)
		answer_json(answer, 200, json_pack("{s:s, s:i}", "id", id, "replayed", 1));
	else if (answer->status == 0)
		no_such(request, answer);
}
