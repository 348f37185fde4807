/* Routes that write no record: /ingest, whose items go to the queue, and what is asked about the
 * process. */
#include <stdio.h>
#include <string.h>

#include "ingest/http/handlers.h"
#include "base/clock.h"

/* ---- /ingest ---- */

static void reply_element(struct exchange *exchange, uint32_t number)
{
	char where[32];
	snprintf(where, sizeof where, "data[%u]", number - 1);
	reply_error(exchange, 413, "is longer than the queue takes (queues.postback.slot_size)", where);
}

void handle_ingest(struct exchange *exchange, const struct body *body)
{
	struct exchange_shared *shared = exchange->shared;
	struct json_postback postback;
	struct json_fault fault;
	uint32_t number;
	if (!json_postback_open(&postback, body->text, body->bytes, &fault)) {
		reply_wrong(exchange, &fault);
		return;
	}
	uint32_t n = postback.n;
	switch (outlet_postbacks(shared->outlet, &postback, &exchange->peer->source, &number)) {
	case OUTLET_TAKEN: {
		char text[48];
		int bytes = snprintf(text, sizeof text, "{\"accepted\": %u}", n);
		shared->metrics->own[HTTP_postbacks] += n;
		reply_json(exchange, 202, text, (size_t)bytes);
		break;
	}
	case OUTLET_FULL:
		shared->metrics->own[HTTP_postbacks_refused] += n;
		reply_full(exchange, OUTLET_QUEUE);
		break;
	case OUTLET_TOO_LARGE:
		reply_element(exchange, number);
		break;
	case OUTLET_TOO_MANY:
		reply_error(exchange, 413,
		            "has more elements than the queue has slots (queues.postback.slots)", "data");
		break;
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
