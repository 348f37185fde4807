#include "serve/fleet.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "serve/fetch.h"
#include "serve/fleet_form.h"
#include "serve/problem.h"
#include "serve/serve.h"
#include "sink/tally/answer.h"
#include "stage/certificates.h"

#define GROWTH 30u /* from text to values, 15 times for short keys; parts and what is merged of them */

/* ---- which routes ---- */

struct kind {
	route_handler *handler;
	merge_function *merge; /* NULL: /fleet, which shows the replies themselves */
	const char *list; /* the member that limit and offset are about; "": the answer is that; NULL: none */
	size_t digits;    /* of reals; 0: as many as there are */
};

static const struct kind kinds[] = {
        {handle_events, merge_report, NULL, 0},
        {handle_account, merge_account, NULL, 0},
        {handle_hourly_total, merge_hourly, "", 0},
        {handle_hourly_per_user, merge_hourly, "", 0},
        {handle_distinct_daily, merge_distinct, "metrics", 0},
        {handle_distinct_monthly, merge_distinct, "metrics", 0},
        {handle_consumers, merge_consumers, NULL, 0},
        {handle_consumer, merge_consumer, "list", 0},
        {handle_delivery_counts, merge_attempts, "items", 6},
        {handle_stat, merge_stat, NULL, 0},
        {handle_sinks, merge_sinks, NULL, 0},
        {handle_fleet, NULL, NULL, 0},
};

static const struct kind *kind_of(const struct route *route)
{
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (kinds[i].handler == route->handle)
			return &kinds[i];
	return NULL;
}

/* ---- state ---- */

struct peer {
	const char *url;
	int64_t last_ms; /* its last good answer, CLOCK_REALTIME; 0: none */
};

enum reply_state { REPLY_AWAITED, REPLY_COUNTED, REPLY_NOTHING, REPLY_FAILED, REPLY_ITSELF, REPLY_TWICE };

struct reply {
	struct fetch fetch;
	struct question *question;
	struct peer *peer;
	enum reply_state state;
	json_t *json; /* while it is merged */
};

/* Somebody who asks. */
struct waiter {
	struct later later;
	struct waiter *next;
	struct question *question;
	const struct request *request;
	struct answer *answer;
};

/* A question to all boxes. It runs while replies are awaited; then it is kept for a while. */
struct question {
	struct question *next;
	struct fleet *fleet;
	const struct kind *kind;
	char *target; /* path and query, as peers are asked: who asks the same shares it */
	struct answer own;
	json_t *own_json; /* until it is merged */
	size_t own_bytes; /* that count in the fleet's */
	unsigned awaited;
	struct waiter *first;
	uint64_t done_ns; /* 0: it runs */
	json_t *merged;   /* NULL: nobody has counted anything of it, or there is no memory */
	char cut[300];    /* which box's list was too long; "" none */
	uint64_t missing; /* peers, by bit */
	struct reply reply[];
};

struct fleet {
	struct serve *serve;
	struct fetcher *fetcher;
	struct question *first; /* the newest first */
	unsigned n_questions;
	uint64_t own_bytes, own_bytes_max; /* of our own parts of all questions, as text */
	uint64_t fresh_ns;
	char box[FETCH_BOX_BYTES];
	unsigned n_peers;
	struct peer peer[FLEET_PEERS_MAX];
};

/* ---- questions ---- */

static void free_question(struct question *question)
{
	struct fleet *fleet = question->fleet;
	for (unsigned i = 0; i < fleet->n_peers; i++) {
		fetch_free(&question->reply[i].fetch);
		json_decref(question->reply[i].json);
	}
	answer_free(&question->own);
	json_decref(question->own_json);
	json_decref(question->merged);
	fleet->own_bytes -= question->own_bytes;
	fleet->n_questions--;
	free(question->target);
	free(question);
}

static void drop(struct question *question)
{
	struct question **at = &question->fleet->first;
	while (*at != question)
		at = &(*at)->next;
	*at = question->next;
	free_question(question);
}

/* It is over, and what was merged is kept for others who ask. */
static bool is_kept(const struct question *question)
{
	return question->done_ns != 0 && question->first == NULL;
}

/* The oldest that is kept makes way; false: none is. */
static bool drop_oldest(struct fleet *fleet)
{
	struct question *oldest = NULL;
	for (struct question *question = fleet->first; question != NULL; question = question->next)
		if (is_kept(question) && (oldest == NULL || question->done_ns < oldest->done_ns))
			oldest = question;
	if (oldest != NULL)
		drop(oldest);
	return oldest != NULL;
}

static bool give_up_oldest(void *context)
{
	return drop_oldest(context);
}

static struct question *find(const struct fleet *fleet, const char *target, uint64_t now_ns)
{
	for (struct question *question = fleet->first; question != NULL; question = question->next)
		if (strcmp(question->target, target) == 0 &&
		    (question->done_ns == 0 || now_ns - question->done_ns < fleet->fresh_ns))
			return question;
	return NULL;
}

/* ---- answers ---- */

static json_t *missing_of(const struct question *question)
{
	const struct fleet *fleet = question->fleet;
	json_t *list = json_array();
	for (unsigned i = 0; i < fleet->n_peers; i++)
		if ((question->missing >> i & 1) != 0)
			json_array_append_new(list, json_string(fleet->peer[i].url));
	return list;
}

static json_t *cut_page(const json_t *list, const struct request *request)
{
	json_t *page = json_array();
	size_t offset = (size_t)request_number(request, "offset", 0),
	       limit = (size_t)request_number(request, "limit", MERGE_LIMIT);
	for (size_t i = offset; i < json_array_size(list) && i - offset < limit; i++)
		if (json_array_append(page, json_array_get(list, i)) != 0) {
			json_decref(page);
			return NULL;
		}
	return page;
}

/* What of the merged answer the request is about. */
static json_t *part_of(const struct question *question, const struct request *request)
{
	const char *list = question->kind->list;
	json_t *merged = question->merged;
	if (json_is_array(merged))
		return list == NULL ? json_incref(merged) : cut_page(merged, request);
	json_t *copy = json_copy(merged);
	json_t *whole = list != NULL ? json_object_get(merged, list) : NULL;
	bool good =
	        copy != NULL &&
	        (whole == NULL || json_object_set_new(copy, list, cut_page(whole, request)) == 0) &&
	        (question->missing == 0 || json_object_set_new(copy, "missing", missing_of(question)) == 0);
	if (good)
		return copy;
	json_decref(copy);
	return NULL;
}

/* Whether no box that answered has counted anything of it. */
static bool is_unknown(const struct question *question)
{
	bool unknown = question->own.status == 404;
	for (unsigned i = 0; i < question->fleet->n_peers; i++)
		unknown &= question->reply[i].state != REPLY_COUNTED;
	return unknown;
}

/* What our own part says, and who else may have counted something. */
static void say_unknown(const struct question *question, const struct request *request, struct answer *answer)
{
	const struct answer *own = &question->own;
	json_t *said = json_loadb(own->body != NULL ? own->body : "", own->bytes, JSON_ALLOW_NUL, NULL);
	const char *detail = json_string_value(json_object_get(said, "detail"));
	char missing[FLEET_MISSING_BYTES];
	problem(answer, 404, request->path, "%s%s%s", detail != NULL ? detail : "nothing was counted",
	        question->missing != 0 ? "; these did not answer: " : "",
	        fleet_missing(question->fleet, question->missing, missing));
	json_decref(said);
}

static void show(const struct question *question, const struct request *request, struct answer *answer)
{
	size_t digits = question->kind->digits;
	answer->missing = question->missing;
	if (question->cut[0] != '\0') {
		problem(answer, 500, request->path,
		        "the list of %s has more than %u entries, too many to merge: ask each box by itself, with peers=0",
		        question->cut, MERGE_LIMIT);
		return;
	}
	if (is_unknown(question)) {
		say_unknown(question, request, answer);
		return;
	}
	json_t *json = question->merged != NULL ? part_of(question, request) : NULL;
	char *text = json == NULL  ? NULL
	             : digits != 0 ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(digits))
	                           : answer_print(json, 0);
	json_decref(json);
	if (text != NULL)
		answer_body(answer, 200, "application/json", text, strlen(text));
	else
		problem(answer, 503, request->path, "no memory to merge the answers of all boxes");
}

/* ---- merging ---- */

static void fail(struct reply *reply, const char *why)
{
	reply->state = REPLY_FAILED;
	snprintf(reply->fetch.why, sizeof reply->fetch.why, "%s", why);
}

/* Whether a good reply before the i-th is of the same box. */
static bool was_before(const struct question *question, unsigned i)
{
	const struct reply *reply = question->reply;
	for (unsigned k = 0; k < i; k++)
		if ((reply[k].state == REPLY_COUNTED || reply[k].state == REPLY_NOTHING) &&
		    strcmp(reply[k].fetch.box, reply[i].fetch.box) == 0)
			return true;
	return false;
}

/* What the i-th reply is worth. */
static void judge(struct question *question, unsigned i)
{
	struct reply *reply = &question->reply[i];
	struct fetch *fetch = &reply->fetch;
	if (reply->state != REPLY_AWAITED)
		return;
	if (fetch->status == 0) {
		reply->state = REPLY_FAILED; /* why is there */
	} else if (strcmp(fetch->box, question->fleet->box) == 0) {
		reply->state = REPLY_ITSELF;
	} else if (fetch->status != 200 && fetch->status != 404) {
		snprintf(fetch->why, sizeof fetch->why, "it answered %u%s", fetch->status,
		         fetch->status == 401 ? ": it wants another token (serve.peer_token)" : "");
		reply->state = REPLY_FAILED;
	} else if (fetch->box[0] == '\0') {
		fail(reply, "what answers there is no millrace, or one that does not know of peers");
	} else if (was_before(question, i)) {
		reply->state = REPLY_TWICE;
	} else {
		reply->state = fetch->status == 200 ? REPLY_COUNTED : REPLY_NOTHING;
	}
	if (reply->state != REPLY_COUNTED)
		return;
	reply->json = json_loadb(fetch->body != NULL ? fetch->body : "", fetch->bytes, JSON_ALLOW_NUL, NULL);
	if (reply->json == NULL)
		fail(reply, "its answer is no JSON");
}

static const char *const state_names[] = {
        [REPLY_AWAITED] = "awaited", [REPLY_COUNTED] = "up",    [REPLY_NOTHING] = "up",
        [REPLY_FAILED] = "down",     [REPLY_ITSELF] = "itself", [REPLY_TWICE] = "twice",
};

/* A peer as /fleet shows it. */
static json_t *peer_json(const struct reply *reply)
{
	static const char *const names[] = {"name", "instance", "version", "box"};
	const struct peer *peer = reply->peer;
	json_t *json = json_pack("{s:s, s:s}", "url", peer->url, "state", state_names[reply->state]);
	if (reply->state == REPLY_FAILED)
		json_object_set_new(json, "reason", json_string(reply->fetch.why));
	json_object_set_new(json, "last_answer_ms",
	                    peer->last_ms != 0 ? json_integer((json_int_t)peer->last_ms) : json_null());
	json_object_set_new(json, "took_ms", json_real((double)reply->fetch.took_us / 1000));
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		json_t *value = json_object_get(reply->json, names[i]);
		if (json_is_string(value))
			json_object_set(json, names[i], value);
	}
	return json;
}

static json_t *show_fleet(const struct question *question)
{
	const struct fleet *fleet = question->fleet;
	json_t *all = json_copy(question->own_json), *peers = json_array();
	for (unsigned i = 0; i < fleet->n_peers; i++)
		json_array_append_new(peers, peer_json(&question->reply[i]));
	if (all != NULL && json_object_set(all, "peers", peers) != 0) {
		json_decref(all);
		all = NULL;
	}
	json_decref(peers);
	return all;
}

static void merge_replies(struct question *question)
{
	const struct fleet *fleet = question->fleet;
	struct merge_part part[MERGE_PARTS_MAX] = {{.json = question->own_json}};
	for (unsigned i = 0; i < fleet->n_peers; i++)
		part[i + 1] =
		        (struct merge_part){.peer = fleet->peer[i].url, .json = question->reply[i].json};
	question->merged = question->kind->merge(part, fleet->n_peers + 1);
	for (unsigned i = 0; i <= fleet->n_peers; i++) {
		if (part[i].wrong && i > 0)
			fail(&question->reply[i - 1],
			     "its answer has not the form of this one's: another version?");
		if (part[i].cut)
			snprintf(question->cut, sizeof question->cut, "%.250s",
			         i == 0 ? "this box" : part[i].peer);
	}
}

/* What the replies say of their peers. */
static void note_peers(struct question *question)
{
	struct fleet *fleet = question->fleet;
	for (unsigned i = 0; i < fleet->n_peers; i++) {
		if (question->reply[i].state != REPLY_FAILED) {
			fleet->peer[i].last_ms = clock_real_ms();
			continue;
		}
		question->missing |= (uint64_t)1 << i;
		metric_add(fleet->serve->control, SERVE_peers_failed, 1);
	}
}

/* All replies are there. */
static void finish(struct question *question)
{
	struct fleet *fleet = question->fleet;
	for (unsigned i = 0; i < fleet->n_peers; i++)
		judge(question, i);
	if (question->kind->merge != NULL)
		merge_replies(question);
	note_peers(question);
	if (question->kind->merge == NULL)
		question->merged = show_fleet(question);
	for (unsigned i = 0; i < fleet->n_peers; i++) {
		json_decref(question->reply[i].json);
		question->reply[i].json = NULL;
	}
	json_decref(question->own_json);
	question->own_json = NULL;
	question->done_ns = clock_monotonic_ns();
}

/* ---- asking ---- */

static void answer_waiters(struct question *question)
{
	struct waiter *waiter;
	while ((waiter = question->first) != NULL) {
		question->first = waiter->next;
		show(question, waiter->request, waiter->answer);
		server_resume(&waiter->later);
		free(waiter);
	}
}

static void on_reply(struct fetch *fetch)
{
	struct reply *reply = (struct reply *)fetch;
	struct question *question = reply->question;
	const struct serve *serve = question->fleet->serve;
	metric_observe(serve->control, serve->peer_times, SERVE_peer_time_us, fetch->took_us);
	if (--question->awaited > 0)
		return;
	finish(question);
	answer_waiters(question);
	if (question->fleet->fresh_ns == 0)
		drop(question);
}

static void ask_peers(struct question *question)
{
	struct fleet *fleet = question->fleet;
	for (unsigned i = 0; i < fleet->n_peers; i++) {
		struct reply *reply = &question->reply[i];
		char *url = NULL;
		reply->question = question;
		reply->peer = &fleet->peer[i];
		reply->fetch.done = on_reply;
		if (asprintf(&url, "%s%s", reply->peer->url, question->target) < 0)
			url = NULL;
		if (url != NULL && fetch_begin(fleet->fetcher, &reply->fetch, url))
			question->awaited++;
		else
			fail(reply, "no memory to ask it");
		free(url);
	}
	metric_add(fleet->serve->control, SERVE_peer_questions, 1);
	if (question->awaited == 0)
		finish(question);
}

/* Whether there is room for our own part; what is kept makes way. */
static bool has_room(struct question *question)
{
	struct fleet *fleet = question->fleet;
	question->own_bytes = question->own.bytes;
	fleet->own_bytes += question->own_bytes;
	while (fleet->own_bytes > fleet->own_bytes_max)
		if (!drop_oldest(fleet))
			return false;
	return true;
}

/* Our own part. False with the answer set: there is none to merge with. */
static bool ask_here(struct question *question, struct fleet_form *form, struct answer *answer)
{
	struct answer *own = &question->own;
	answer_init(own);
	serve_ask(question->fleet->serve, &form->request, own);
	if (own->status != 200 && own->status != 404) {
		answer_body(answer, own->status, own->type, own->body, own->bytes);
		answer->retry_after_s = own->retry_after_s;
		own->body = NULL;
		return false;
	}
	if (!has_room(question)) {
		problem(answer, 503, form->request.path,
		        "no room in serve.peer_memory for this box's part: try again later, or ask each box alone, with peers=0");
		answer->retry_after_s = 1;
		return false;
	}
	if (own->status == 404)
		return true;
	question->own_json = json_loadb(own->body, own->bytes, JSON_ALLOW_NUL, NULL);
	answer_free(own);
	if (question->own_json == NULL)
		problem(answer, 503, form->request.path, "no memory");
	return question->own_json != NULL;
}

/* NULL with the answer set. */
static struct question *begin(struct fleet *fleet, struct fleet_form *form, struct answer *answer)
{
	if (fleet->n_questions >= FLEET_QUESTIONS_MAX && !drop_oldest(fleet)) {
		problem(answer, 503, form->request.path,
		        "%u questions to peers run already: try again later, or ask this box alone, with peers=0",
		        fleet->n_questions);
		answer->retry_after_s = 1;
		return NULL;
	}
	struct question *question = calloc(1, sizeof *question + fleet->n_peers * sizeof question->reply[0]);
	if (question == NULL || (question->target = strdup(form->target)) == NULL) {
		free(question);
		problem(answer, 503, form->request.path, "no memory");
		return NULL;
	}
	question->fleet = fleet;
	question->kind = kind_of(form->request.route);
	fleet->n_questions++;
	if (!ask_here(question, form, answer)) {
		free_question(question);
		return NULL;
	}
	question->next = fleet->first;
	fleet->first = question;
	ask_peers(question);
	return question;
}

/* Nobody waits for it any more. */
static void give_up(struct later *later)
{
	struct waiter *waiter = (struct waiter *)later, **at = &waiter->question->first;
	while (*at != waiter)
		at = &(*at)->next;
	*at = waiter->next;
	free(waiter);
}

static void wait_for(struct question *question, const struct request *request, struct answer *answer)
{
	struct waiter *waiter = malloc(sizeof *waiter);
	if (waiter == NULL) {
		problem(answer, 503, request->path, "no memory");
		return;
	}
	*waiter = (struct waiter){
	        .later = {.gone = give_up},
	        .next = question->first,
	        .question = question,
	        .request = request,
	        .answer = answer,
	};
	question->first = waiter;
	answer_later(answer, &waiter->later);
}

void fleet_answer(struct fleet *fleet, const struct request *request, struct answer *answer)
{
	struct fleet_form *form = fleet_form(request, answer);
	if (form == NULL)
		return;
	struct question *question = find(fleet, form->target, clock_monotonic_ns());
	if (question == NULL)
		question = begin(fleet, form, answer);
	free(form);
	if (question != NULL && question->done_ns == 0)
		wait_for(question, request, answer);
	else if (question != NULL)
		show(question, request, answer);
}

/* ---- who asks ---- */

/* Whether a list of the form of Via (RFC 9110, 7.6.3) names a millrace. */
static bool came_via(const char *list)
{
	static const char us[] = "millrace";
	while (list != NULL && *list != '\0') {
		list += strspn(list, " \t,");
		size_t item = strcspn(list, ","), version = strcspn(list, " \t,");
		const char *name = list + version + strspn(list + version, " \t");
		if (strcspn(name, " \t,") == sizeof us - 1 && strncasecmp(name, us, sizeof us - 1) == 0)
			return true;
		list += item;
	}
	return false;
}

bool fleet_asks(const struct fleet *fleet, const struct request *request)
{
	return fleet->n_peers > 0 && kind_of(request->route) != NULL &&
	       request_number(request, "peers", 1) != 0 && !came_via(request_field(request, REQUEST_VIA));
}

const char *fleet_box(const struct fleet *fleet)
{
	return fleet->box;
}

const char *fleet_missing(const struct fleet *fleet, uint64_t peers, char text[FLEET_MISSING_BYTES])
{
	static const char more[] = ", ...";
	size_t n = 0;
	text[0] = '\0';
	for (unsigned i = 0; i < fleet->n_peers; i++) {
		const char *url = fleet->peer[i].url;
		if ((peers >> i & 1) == 0)
			continue;
		if (n + 2 + strlen(url) + sizeof more > FLEET_MISSING_BYTES) {
			memcpy(text + n, more, sizeof more);
			break;
		}
		n += (size_t)sprintf(text + n, "%s%s", n > 0 ? ", " : "", url);
	}
	return text;
}

/* ---- start and end ---- */

uint64_t fleet_bytes_max(const struct config *config)
{
	/* Peers' parts and our own, each as text and as values. */
	return config_count(config, "serve.peers") == 0
	               ? 0
	               : 2 * (1 + GROWTH) * config_u64(config, "serve.peer_memory");
}

unsigned fleet_files_max(const struct config *config)
{
	return (unsigned)config_count(config, "serve.peers") * FLEET_QUESTIONS_MAX;
}

int fleet_check(const struct config *config, struct shm_error *error)
{
	struct shm_error why = {""};
	if (config_count(config, "serve.peers") == 0)
		return 0;
	if (config_ns(config, "serve.peer_timeout") > config_ns(config, "serve.answer_timeout")) {
		shm_explain(
		        error,
		        "serve.peer_timeout: longer than serve.answer_timeout, which would end the wait for peers");
		return -EINVAL;
	}
	int result = certificates_check(config_string(config, "serve.peer_ca"), &why);
	if (result != 0)
		shm_explain(error, "serve.peer_ca: %s", why.text);
	return result;
}

int fleet_open(struct fleet **fleet, const struct config *config, uint64_t generation, uv_loop_t *loop,
               struct serve *serve, struct shm_error *error)
{
	struct fleet *made = calloc(1, sizeof *made);
	const struct fetch_options options = {
	        .timeout_ns = config_ns(config, "serve.peer_timeout"),
	        .bytes_max = config_u64(config, "serve.max_answer"),
	        .memory_max = config_u64(config, "serve.peer_memory"),
	        .ca_file = config_string(config, "serve.peer_ca"),
	        .full = give_up_oldest,
	        .context = made,
	};
	if (made == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	made->serve = serve;
	made->own_bytes_max = options.memory_max;
	made->fresh_ns = config_ns(config, "serve.peer_fresh");
	made->n_peers = (unsigned)config_count(config, "serve.peers");
	for (unsigned i = 0; i < made->n_peers; i++)
		made->peer[i].url = config_item(config, i, "serve.peers");
	snprintf(made->box, sizeof made->box, "%016llx", (unsigned long long)generation);
	int result = fetcher_open(&made->fetcher, &options, loop, error);
	if (result != 0) {
		free(made);
		return result;
	}
	*fleet = made;
	return 0;
}

void fleet_set_token(struct fleet *fleet, const char *token)
{
	fetcher_set_token(fleet->fetcher, token);
}

void fleet_tick(struct fleet *fleet, uint64_t now_ns)
{
	for (struct question *question = fleet->first, *next; question != NULL; question = next) {
		next = question->next;
		if (is_kept(question) && now_ns >= question->done_ns + fleet->fresh_ns)
			drop(question);
	}
}

uint64_t fleet_events(const struct fleet *fleet)
{
	return fetcher_events(fleet->fetcher);
}

void fleet_close(struct fleet *fleet)
{
	if (fleet == NULL)
		return;
	for (struct question *question = fleet->first, *next; question != NULL; question = next) {
		next = question->next;
		free_question(question);
	}
	fetcher_close(fleet->fetcher);
	free(fleet);
}
