/* The way of a postback: the queue, deliver.db, and its attempts in topic `delivery`. */
#include "cli/trace.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "deliver/known.h"
#include "shm/queue_look.h"

#define QUEUE        "postback"
#define ATTEMPTS     "delivery"
#define BUSY_MS      2000u
#define ATTEMPTS_MAX 1000u

struct search {
	struct trace *trace;
	const uint64_t *number;
	json_t *attempts;
	uint64_t postback_ns; /* when it arrived; 0: nobody says */
};

/* ---- the queue ---- */

/* 1: it is there, *taken says whether a process works on it. */
static int sweep(const struct queue *queue, const uint64_t number[2], bool *taken, uint64_t *arrival_ns)
{
	struct queue_look look;
	int found = queue_look_open(&look, queue);
	if (found != 0)
		return found;
	while (found == 0 && queue_look(&look, queue)) {
		const struct event_postback *postback = look.data;
		if (!event_postback_check(look.data, look.length) || postback->id[0] != number[0] ||
		    postback->id[1] != number[1])
			continue;
		*taken = look.taken;
		*arrival_ns = postback->arrival_ns;
		found = 1;
	}
	queue_look_close(&look);
	return found;
}

static int look_at_queue(struct search *search, bool *taken)
{
	char name[SEGMENT_NAME_MAX];
	struct trace *trace = search->trace;
	struct shm_error error = {""};
	struct queue queue;
	if (!trace->running || instance_queue_index(&trace->instance, QUEUE) < 0)
		return 0;
	int result = queue_attach(&queue, trace->instance.directory, instance_queue_name(name, QUEUE),
	                          SEGMENT_READ, 0, &error);
	if (result != 0) {
		trace_note(trace, "the queue was not asked: %s",
		           error.text[0] != '\0' ? error.text : strerror(-result));
		return 0;
	}
	result = sweep(&queue, search->number, taken, &search->postback_ns);
	queue_detach(&queue);
	if (result < 0)
		trace_note(trace, "the queue was not asked: %s", strerror(-result));
	return result > 0;
}

/* ---- deliver.db ---- */

static json_t *look_at_database(struct trace *trace, const char *id)
{
	struct shm_error error = {""};
	struct waiting *waiting = NULL;
	json_t *known = NULL;
	struct redact *redact = redact_new(trace->config);
	int result = redact == NULL ? -ENOMEM
	                            : waiting_open_to_read(&waiting, config_string(trace->config, "data_dir"),
	                                                   BUSY_MS, &error);
	if (result == 0)
		result = known_json(waiting, redact, id, &known, &error);
	/* no file: nothing has ever waited, or another folder is meant */
	if (result == -ENOENT && !trace->running)
		trace_note(trace, "there is no %s/" WAITING_FILE, config_string(trace->config, "data_dir"));
	else if (result < 0 && result != -ENOENT)
		trace_note(trace, "deliver.db was not asked: %s",
		           error.text[0] != '\0' ? error.text : strerror(-result));
	waiting_close(waiting);
	redact_free(redact);
	return known;
}

/* ---- its attempts ---- */

static bool add_attempt(void *argument, unsigned lane, uint64_t position, uint64_t number,
                        const struct record *record)
{
	struct search *search = argument;
	const struct event_delivery *event = (const void *)record->payload;
	if (record->type != EVENT_DELIVERY || !event_check(record) || event->id[0] != search->number[0] ||
	    event->id[1] != search->number[1])
		return true;
	search->postback_ns = event->postback_ns;
	(void)json_array_append_new(search->attempts,
	                            trace_found(search->trace, ATTEMPTS, lane, position, number, record));
	return json_array_size(search->attempts) < ATTEMPTS_MAX;
}

static json_int_t began(const json_t *attempts, size_t i)
{
	return json_integer_value(json_object_get(json_array_get(attempts, i), "began_ts"));
}

/* By the time of their begin: lanes were read one after the other. There are few. */
static void sort(json_t *attempts)
{
	for (size_t i = 1; i < json_array_size(attempts); i++) {
		for (size_t k = i; k > 0 && began(attempts, k) < began(attempts, k - 1); k--) {
			json_t *later = json_incref(json_array_get(attempts, k - 1));
			(void)json_array_remove(attempts, k - 1);
			(void)json_array_insert_new(attempts, k, later);
		}
	}
}

static const char *last_outcome(const json_t *attempts)
{
	const json_t *last = json_array_get(attempts, json_array_size(attempts) - 1);
	return json_string_value(json_object_get(json_object_get(last, "event"), "outcome"));
}

/* deliver.db tells of what waits or is dead, then the queue, then the last attempt. A process may
 * have it in its memory alone between two attempts; its slot of the queue is taken then. */
static const char *state_of(const json_t *known, bool queued, bool taken, const json_t *attempts)
{
	const char *stored = json_string_value(json_object_get(known, "state"));
	const char *outcome = last_outcome(attempts);
	if (stored != NULL)
		return strcmp(stored, "dead") == 0 ? "dead" : "waiting";
	if (queued)
		return taken ? "taken" : "queued";
	return outcome != NULL && strcmp(outcome, "again") == 0 ? "waiting" : outcome;
}

void trace_postback(struct trace *trace, const struct trace_id *id, json_t *root)
{
	char lower[EVENT_POSTBACK_ID_BYTES + 1];
	struct search search = {.trace = trace, .number = id->number, .attempts = json_array()};
	bool taken = false;
	snprintf(lower, sizeof lower, "%016" PRIx64 "%016" PRIx64, id->number[0], id->number[1]);
	/* In the order of its way, so that what moves on meanwhile is still seen. */
	bool queued = look_at_queue(&search, &taken);
	json_t *known = look_at_database(trace, lower);
	if (trace->running)
		trace_scan(trace, ATTEMPTS, add_attempt, &search);
	sort(search.attempts);
	const char *state = state_of(known, queued, taken, search.attempts);
	if (state == NULL) {
		trace_note(
		        trace,
		        "it is not in the queue, does not wait and is no dead letter, and none of its attempts is in memory: it is delivered and newer attempts took their place, purged, or was never there");
		json_decref(search.attempts);
		return;
	}
	(void)json_object_set_new(root, "known", json_true());
	(void)json_object_set_new(root, "state", json_string(state));
	if (search.postback_ns != 0)
		(void)json_object_set_new(root, "arrived_ts",
		                          json_integer((json_int_t)(search.postback_ns / NS_PER_MS)));
	if (queued)
		(void)json_object_set_new(root, "queue", json_pack("{s:b}", "taken", (int)taken));
	if (known != NULL)
		(void)json_object_set_new(root, "postback", known);
	(void)json_object_set_new(root, "attempts", search.attempts);
}
