/* Routes that write no record: /ingest, whose items go to the queue, and what is asked about the
 * process. */
#include <stdio.h>
#include <string.h>

#include "ingest/http/handlers.h"
#include "ingest/json/postback.h"
#include "base/clock.h"

/* ---- /ingest ---- */

static void reply_element(struct exchange *exchange, uint32_t i)
{
	char where[32];
	snprintf(where, sizeof where, "data[%u]", i);
	reply_error(exchange, 413, "is longer than the queue takes (queues.postback.slot_size)", where);
}

/* The first element that does not fit a slot; n when all do. A copy goes through the elements, and
 * nothing is claimed yet. */
static uint32_t too_long(const struct exchange *exchange, const struct json_postback *postback)
{
	struct json_postback look = *postback;
	size_t most = outlet_slot_bytes(exchange->shared->outlet, exchange_place(exchange));
	uint32_t i = 0;
	for (; i < look.n && json_postback_room(&look) <= most; i++)
		json_postback_pass(&look);
	return i;
}

static void fill(struct exchange *exchange, struct json_postback *postback)
{
	struct outlet *outlet = exchange->shared->outlet;
	uint32_t n = postback->n;
	for (uint32_t i = 0; i < n; i++) {
		struct event_postback *event = outlet_slot(outlet, i);
		uint32_t length = 0;
		(void)json_postback_next(postback, event, &length);
		outlet_next_id(outlet, event->id);
		outlet_fill(outlet, i, length, &exchange->peer->source);
	}
	outlet_put(outlet, exchange_place(exchange), n);
}

static void reply_accepted(struct exchange *exchange, uint32_t n)
{
	char text[48];
	int bytes = snprintf(text, sizeof text, "{\"accepted\": %u}", n);
	reply_json(exchange, 202, text, (size_t)bytes);
}

/* All elements are taken, or none. */
void handle_ingest(struct exchange *exchange, const struct body *body)
{
	struct exchange_shared *shared = exchange->shared;
	struct json_postback postback;
	struct json_fault fault;
	if (!json_postback_open(&postback, body->text, body->bytes, &fault)) {
		reply_wrong(exchange, &fault);
		return;
	}
	uint32_t n = postback.n, wrong = too_long(exchange, &postback);
	if (n > outlet_slots(shared->outlet, exchange_place(exchange))) {
		reply_error(exchange, 413,
		            "has more elements than the queue has slots (queues.postback.slots)", "data");
	} else if (wrong < n) {
		reply_element(exchange, wrong);
	} else if (!outlet_claim(shared->outlet, exchange_place(exchange), n)) {
		shared->metrics->own[HTTP_postbacks_refused] += n;
		reply_full(exchange);
	} else {
		fill(exchange, &postback);
		shared->metrics->own[HTTP_postbacks] += n;
		reply_accepted(exchange, n);
	}
}

/* ---- /healthz, /readyz, /debug/vars ---- */

void handle_healthz(struct exchange *exchange, const struct body *body)
{
	(void)body;
	reply_json(exchange, 200, REPLY_OK, sizeof REPLY_OK - 1);
}

void handle_readyz(struct exchange *exchange, const struct body *body)
{
	(void)body;
	static const char ready[] = "{\"status\":\"ready\"}";
	const struct exchange_shared *shared = exchange->shared;
	const struct stage *stage = shared->stage;
	char text[OUTLET_OBSTACLE_BYTES];
	const char *obstacle = NULL;
	if (stage != NULL)
		obstacle = stage->lost       ? "the instance's shared memory was removed"
		           : stage->draining ? "draining"
		                             : outlet_obstacle(shared->outlet, &stage->instance, text);
	if (obstacle == NULL && shared->tokens.unread)
		obstacle = TOKENS_UNREAD;
	if (obstacle == NULL)
		reply_json(exchange, 200, ready, sizeof ready - 1);
	else
		reply_error(exchange, 503, obstacle, "instance");
}

/* Sums over all HTTP stages; another role's control block is mapped for the moment. */
static void sum_roles(struct exchange_shared *shared, struct metrics_sum *sum)
{
	const struct stage *stage = shared->stage;
	const struct instance_page *page = stage->instance.page;
	metrics_flush(shared->metrics, stage->control);
	for (unsigned i = 0; i < page->n_roles; i++) {
		const struct instance_role *role = &page->role[i];
		if (strcmp(role->program, stage->ops->name) != 0)
			continue;
		if (strcmp(role->name, stage->role) == 0) {
			metrics_sum_add(sum, stage->control);
			continue;
		}
		char name[SEGMENT_NAME_MAX];
		struct shm_error error;
		struct segment segment;
		if (segment_attach(&segment, stage->instance.directory, instance_stage_name(name, role->name),
		                   SEGMENT_STAGE, SEGMENT_READ, &error) != 0)
			continue;
		metrics_sum_add(sum, segment.body);
		segment_detach(&segment);
	}
}

void handle_vars(struct exchange *exchange, const struct body *body)
{
	(void)body;
	struct metrics_sum sum = {0};
	char text[320];
	if (exchange->shared->stage != NULL)
		sum_roles(exchange->shared, &sum);
	double average = sum.requests == 0 ? 0 : (double)sum.time_ns / (double)sum.requests;
	int n = snprintf(
	        text, sizeof text,
	        "{\"requests\": {\"total\": %llu, \"failed\": %llu, \"successful\": %llu}, \"response_time\": {\"minimum\": %.9f, \"maximum\": %.9f, \"average\": %.9f}}",
	        (unsigned long long)sum.requests, (unsigned long long)sum.failed,
	        (unsigned long long)(sum.requests - sum.failed), (double)sum.time_min_ns / NS_PER_SEC,
	        (double)sum.time_max_ns / NS_PER_SEC, average / NS_PER_SEC);
	reply_json(exchange, 200, text, (size_t)n);
}
