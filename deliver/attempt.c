#include "deliver/attempt.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deliver/redirect.h"
#include "deliver/request.h"
#include "deliver/take.h"

#define IS_GONE     "its endpoint has answered 410: it is gone"
#define RESENT_MOST 2u /* times that a dead kept connection makes an attempt start over */

static void count(struct deliver *deliver, enum deliver_metric metric)
{
	metric_add(deliver->control, metric, 1);
}

/* xorshift64: chance for jitter, nothing that anybody gains by guessing. */
static uint64_t chance(struct deliver *deliver)
{
	deliver->chance ^= deliver->chance << 13;
	deliver->chance ^= deliver->chance >> 7;
	deliver->chance ^= deliver->chance << 17;
	return deliver->chance;
}

/* ---- ends ---- */

/* No host has it any more, and its target is that of the postback again. */
static void leave(struct deliver *deliver, struct delivery *delivery)
{
	if (delivery->host != NULL)
		hosts_release(deliver->hosts, delivery, deliver->now_ns);
	delivery->state = DELIVERY_FREE;
	if (delivery->first_target != NULL) {
		target_release(deliver->targets, delivery->target);
		delivery->target = delivery->first_target;
		delivery->first_target = NULL;
	}
}

static void record(struct deliver *deliver, const struct delivery *delivery, enum retry_outcome outcome,
                   const char *error, int64_t next_ms)
{
	const struct record_attempt attempt = {
	        .delivery = delivery, .outcome = outcome, .error = error, .next_ms = next_ms};
	(void)record_keep(&deliver->lane, deliver->redact, &attempt);
}

/* It dies without an attempt. */
static void die_early(struct deliver *deliver, struct delivery *delivery, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

static void die_early(struct deliver *deliver, struct delivery *delivery, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(delivery->reason, sizeof delivery->reason, format, arguments);
	va_end(arguments);
	leave(deliver, delivery);
	delivery->begun_real_ns = clock_real_ns();
	deliver_begin_attempt(deliver, delivery);
	sender_clear(&delivery->attempt->request);
	record(deliver, delivery, RETRY_DEAD, delivery->reason, 0);
	writing_add(deliver, delivery, DELIVERY_DIES);
}

void attempt_park(struct deliver *deliver, struct delivery *delivery)
{
	leave(deliver, delivery);
	if (delivery->due_ms == 0)
		delivery->due_ms = (int64_t)(delivery->postback->arrival_ns / NS_PER_MS);
	count(deliver, DELIVER_parked);
	writing_add(deliver, delivery, DELIVERY_PARK);
}

void attempt_overflow(struct deliver *deliver, struct delivery *delivery)
{
	if (delivery->endpoint->circuit.state == CIRCUIT_GONE)
		die_early(deliver, delivery, "%s", IS_GONE);
	else
		attempt_park(deliver, delivery);
}

void attempt_take_back(struct deliver *deliver, struct delivery *delivery)
{
	deliver->sender->ops->cancel(deliver->sender, &delivery->attempt->request);
	(void)hosts_ended(deliver->hosts, delivery, false, false, false, deliver->now_ns);
	count(deliver, DELIVER_taken_back);
	attempt_park(deliver, delivery);
}

static void delivered(struct deliver *deliver, struct delivery *delivery)
{
	uint64_t arrival_ns = delivery->postback->arrival_ns, now_ns = clock_real_ns();
	count(deliver, DELIVER_delivered);
	deliver_time_delivered(deliver, clock_since_ns(arrival_ns, now_ns) / NS_PER_US);
	suspects_clear(deliver->private, delivery->id);
	if (!delivery->from_queue) {
		writing_add(deliver, delivery, DELIVERY_DELETE);
		return;
	}
	deliver_end_attempt(deliver, delivery);
	delivery->next = deliver->done;
	deliver->done = delivery;
}

/* ---- the outcome of an attempt ---- */

struct outcome {
	int result;
	unsigned status;
	const char *error; /* "" none: the status says it */
};

/* What counts against an endpoint: no answer, for reasons that are not ours, or one that says "not
 * now". */
static bool counts_against(const struct outcome *outcome)
{
	unsigned status = outcome->status;
	if (outcome->result != 0)
		return outcome->result != -EACCES && outcome->result != -EINVAL && outcome->result != -ENOMEM;
	return status == 408 || status == 425 || status == 429 || status >= 500;
}

static void count_answer(struct deliver *deliver, const struct outcome *outcome)
{
	unsigned status = outcome->status;
	if (outcome->result == -ETIMEDOUT)
		count(deliver, DELIVER_timeouts);
	else if (outcome->result == -EACCES)
		count(deliver, DELIVER_refused_by_guard);
	else if (outcome->result != 0)
		count(deliver, DELIVER_no_answer);
	else if (status < 300)
		count(deliver, DELIVER_answers_2xx);
	else if (status < 400)
		count(deliver, DELIVER_answers_3xx);
	else if (status < 500)
		count(deliver, DELIVER_answers_4xx);
	else
		count(deliver, DELIVER_answers_5xx);
}

static void explain_death(struct delivery *delivery, const struct outcome *outcome, bool used_up)
{
	char last[DELIVERY_REASON_BYTES - 64];
	if (outcome->result != 0)
		snprintf(last, sizeof last, "%s", outcome->error);
	else
		snprintf(last, sizeof last, "answered %u", outcome->status);
	if (used_up)
		snprintf(delivery->reason, sizeof delivery->reason, "%u attempts, the last: %s",
		         delivery->attempts, last);
	else
		snprintf(delivery->reason, sizeof delivery->reason, "%s%s",
		         outcome->result == -EACCES ? "refused: " : "", last);
}

static void remember(struct delivery *delivery, const struct outcome *outcome, uint64_t took_ns)
{
	int64_t begun_ms = (int64_t)(delivery->begun_real_ns / NS_PER_MS);
	char *history = waiting_history(delivery->history, begun_ms, outcome->status, outcome->error,
	                                (uint32_t)(took_ns / NS_PER_US));
	if (history != NULL)
		delivery->history = history;
	if (delivery->first_ms == 0)
		delivery->first_ms = begun_ms;
}

/* Judged, told to hosts, recorded; the delivery goes where the outcome sends it. */
static void conclude(struct deliver *deliver, struct delivery *delivery, const struct outcome *outcome)
{
	const struct retry *retry = &delivery->policy->retry;
	enum retry_outcome judged = retry_judge(retry, outcome->result, outcome->status);
	bool failed = counts_against(outcome), probe = delivery->probe;
	if (judged == RETRY_GONE && delivery->policy->gone_ns == 0)
		judged = RETRY_AGAIN;
	if (hosts_ended(deliver->hosts, delivery, outcome->result == 0 && !failed, failed,
	                judged == RETRY_GONE, deliver->now_ns))
		count(deliver, DELIVER_circuits_opened);
	if (probe && !failed)
		writing_look(deliver); /* its circuit has closed */
	leave(deliver, delivery);
	count(deliver, DELIVER_attempts);
	count_answer(deliver, outcome);
	uint64_t took_ns = deliver->now_ns - delivery->begun_ns;
	deliver_time_attempt(deliver, took_ns / NS_PER_US);
	uint64_t wait_ns = UINT64_MAX;
	if (judged == RETRY_AGAIN)
		wait_ns = retry_wait_ns(retry, delivery->attempts + 1,
		                        delivery->attempt->request.retry_after_s, chance(deliver));
	bool used_up = judged == RETRY_AGAIN && wait_ns == UINT64_MAX;
	if (used_up)
		judged = RETRY_DEAD;
	/* the millisecond that is not before it */
	uint64_t due_ns = clock_real_ns() + wait_ns + NS_PER_MS - 1;
	delivery->due_ms = judged == RETRY_AGAIN ? (int64_t)(due_ns / NS_PER_MS) : 0;
	record(deliver, delivery, judged, outcome->error, delivery->due_ms);
	delivery->attempts++;
	if (judged == RETRY_DELIVERED) {
		delivered(deliver, delivery);
		return;
	}
	remember(delivery, outcome, took_ns);
	count(deliver, DELIVER_failed);
	if (judged == RETRY_AGAIN) {
		writing_add(deliver, delivery, DELIVERY_LATER);
		return;
	}
	explain_death(delivery, outcome, used_up);
	if (judged == RETRY_GONE) {
		count(deliver, DELIVER_gone);
		delivery->gone_until_ms = clock_real_ms() + (int64_t)(delivery->policy->gone_ns / NS_PER_MS);
	}
	writing_add(deliver, delivery, DELIVERY_DIES);
}

static void fail(struct deliver *deliver, struct delivery *delivery, int result, const char *error)
{
	conclude(deliver, delivery, &(struct outcome){.result = result, .error = error});
}

/* ---- the beginning ---- */

/* Out of the queue. A host has at most as many as are free for the queue, so that many that hang
 * leave room for the next; and while rows wait in deliver.db, a quarter of its room is for
 * them. */
static bool is_over(const struct deliver *deliver, const struct delivery *delivery)
{
	const struct host *host = delivery->host;
	unsigned most = host->policy->waiting, free = take_room(deliver);
	if (!delivery->from_queue)
		return false;
	return host->in_memory > free + 1 ||
	       (deliver->writing.counts.parked > 0 && host->held > most - most / 4);
}

static void refused(struct deliver *deliver, struct delivery *delivery, enum guard_verdict why)
{
	count(deliver, DELIVER_refused_by_guard);
	die_early(deliver, delivery, "refused: %s", guard_verdict_text(why));
}

/* *full: it is parked because its host has no room, not because of its circuit. */
static enum hosts_verdict ask_hosts(struct deliver *deliver, struct delivery *delivery,
                                    enum guard_verdict *why, bool *full)
{
	enum hosts_verdict verdict = hosts_offer(deliver->hosts, delivery, why, deliver->now_ns);
	if (verdict == HOSTS_HELD && is_over(deliver, delivery)) {
		hosts_release(deliver->hosts, delivery, deliver->now_ns); /* endpoint is NULL */
		verdict = HOSTS_PARK;
	}
	*full = verdict == HOSTS_PARK && delivery->endpoint == NULL;
	if (verdict != HOSTS_HELD) {
		delivery->state = DELIVERY_FREE;
		delivery->host = NULL;
		delivery->endpoint = NULL;
	}
	return verdict;
}

/* Returns false when it is to be offered again. */
static bool offer(struct deliver *deliver, struct delivery *delivery, bool may_stall)
{
	enum guard_verdict why = GUARD_PASSES;
	bool full;
	switch (ask_hosts(deliver, delivery, &why, &full)) {
	case HOSTS_HELD:
		stall_passed(&deliver->stalls, delivery->target->origin);
		return true;
	case HOSTS_PARK:
		if (may_stall && full &&
		    stall_waits(&deliver->stalls, delivery->target->origin, deliver->now_ns))
			return false;
		attempt_park(deliver, delivery);
		return true;
	case HOSTS_GONE:
		die_early(deliver, delivery, "%s", IS_GONE);
		return true;
	case HOSTS_REFUSED:
		refused(deliver, delivery, why);
		return true;
	}
	return true;
}

/* One that waited longer for its endpoint than all its attempts together may take: since its first
 * attempt, or, without one, since it was parked or replayed. */
static bool is_too_old(const struct delivery *delivery)
{
	int64_t since_ms = delivery->first_ms != 0 ? delivery->first_ms : delivery->due_ms;
	int64_t horizon_ms = (int64_t)(retry_horizon_ns(&delivery->policy->retry) / NS_PER_MS);
	return !delivery->from_queue && clock_real_ms() - since_ms > horizon_ms;
}

static bool find_target(struct deliver *deliver, struct delivery *delivery)
{
	struct shm_error error = {""};
	const struct event_postback *postback = delivery->postback;
	int result = targets_find(deliver->targets, &delivery->target, postback->text, postback->url_bytes,
	                          &error);
	if (result == 0) {
		delivery->policy = policies_for(deliver->policies, delivery->target);
		return true;
	}
	delivery->target = NULL;
	if (result == -ENOMEM)
		attempt_park(deliver, delivery);
	else
		die_early(deliver, delivery, "URL: %s", error.text);
	return false;
}

bool attempt_begin(struct deliver *deliver, struct delivery *delivery, bool may_stall)
{
	const struct event_postback *postback = delivery->postback;
	bool done = true;
	if (delivery->target == NULL) {
		uint64_t deaths = suspects_deaths(deliver->private, postback->id);
		memcpy(delivery->id, postback->id, sizeof delivery->id);
		if (deaths >= deliver->deaths_most) {
			count(deliver, DELIVER_set_aside);
			die_early(deliver, delivery, "killed its sender %llu times",
			          (unsigned long long)deaths);
			return true;
		}
	}
	handling_begin(deliver->private, delivery->id);
	if (delivery->target != NULL || find_target(deliver, delivery)) {
		if (is_too_old(delivery))
			die_early(deliver, delivery,
			          "waited for its endpoint for longer than all its retries last");
		else
			done = offer(deliver, delivery, may_stall);
	}
	handling_end(deliver->private);
	return done;
}

/* ---- sending ---- */

static void send(struct deliver *deliver, struct delivery *delivery)
{
	struct sender_request *request = &delivery->attempt->request;
	uint64_t most_ns = delivery->policy->timeout_ns, used_ns = deliver->now_ns - delivery->begun_ns;
	int result = -ETIMEDOUT;
	request->timeout_ns = used_ns < most_ns ? most_ns - used_ns : 0;
	if (request->timeout_ns > 0)
		result = deliver->sender->ops->start(deliver->sender, request, deliver->now_ns);
	else
		sender_clear(request); /* of the answer before this one, in the same attempt */
	if (result != 0)
		fail(deliver, delivery, result, strerror(-result));
}

void attempt_start(struct deliver *deliver, struct delivery *delivery)
{
	struct shm_error error = {""};
	int result = 0;
	handling_begin(deliver->private, delivery->id);
	if (delivery->first_target == NULL) {
		delivery->begun_ns = deliver->now_ns;
		delivery->begun_real_ns = clock_real_ns();
		delivery->redirects = delivery->resent = 0;
		deliver_begin_attempt(deliver, delivery);
		result = request_make(delivery, &deliver->data, deliver->url, deliver->url_most, &error);
	}
	request_place(delivery);
	if (result == 0) {
		send(deliver, delivery);
	} else if (result == -ENOMEM) {
		(void)hosts_ended(deliver->hosts, delivery, false, false, false, deliver->now_ns);
		attempt_park(deliver, delivery);
	} else {
		(void)hosts_ended(deliver->hosts, delivery, false, false, false, deliver->now_ns);
		die_early(deliver, delivery, "%s", error.text);
	}
	handling_end(deliver->private);
}

/* ---- redirects ---- */

static void move_on(struct deliver *deliver, struct delivery *delivery)
{
	enum guard_verdict why = GUARD_PASSES;
	char text[DELIVERY_REASON_BYTES];
	if (hosts_redirect(deliver->hosts, delivery, &why, deliver->now_ns) == HOSTS_HELD)
		return;
	snprintf(text, sizeof text, "redirect to %.150s: %s", delivery->target->endpoint,
	         guard_verdict_text(why));
	sender_clear(&delivery->attempt->request);
	fail(deliver, delivery, -EACCES, text);
}

/* Follows the answer's Location. False: it is an answer like others. */
static bool follow(struct deliver *deliver, struct delivery *delivery)
{
	struct sender_request *request = &delivery->attempt->request;
	struct shm_error error = {""};
	struct target *target;
	char *url = deliver->url;
	unsigned status = request->status;
	if (request->result != 0 || !redirect_is(status) || request->location[0] == '\0' ||
	    delivery->redirects >= delivery->policy->redirects)
		return false;
	if (redirect_resolve(delivery->attempt->url, request->location, url, deliver->url_most + 1) != 0 ||
	    targets_find(deliver->targets, &target, url, strlen(url), &error) != 0)
		return false;
	/* In the one form of its host that is judged, not in one that libcurl reads in its own way.
	 * It has no keys. */
	long bytes = target_fill(target, NULL, "", url, deliver->url_most + 1, &error);
	char *copy = bytes < 0 ? NULL : strdup(url);
	if (copy == NULL) {
		target_release(deliver->targets, target);
		return false;
	}
	if (delivery->first_target == NULL)
		delivery->first_target = delivery->target;
	else
		target_release(deliver->targets, delivery->target);
	delivery->target = target;
	delivery->redirects++;
	count(deliver, DELIVER_redirects);
	request_move(delivery, copy, redirect_keeps(status));
	move_on(deliver, delivery);
	return true;
}

/* ---- the end ---- */

static bool died_idle(const struct sender_request *request)
{
	return request->result == -EPIPE && request->reused && request->status == 0 &&
	       request->first_byte_us == 0;
}

void attempt_end(struct deliver *deliver, struct delivery *delivery)
{
	struct sender_request *request = &delivery->attempt->request;
	handling_begin(deliver->private, delivery->id);
	if (died_idle(request) && delivery->resent < RESENT_MOST) {
		delivery->resent++;
		count(deliver, DELIVER_resent);
		send(deliver, delivery);
	} else if (!follow(deliver, delivery)) {
		const char *error = request->result == 0         ? ""
		                    : request->reason[0] != '\0' ? request->reason
		                                                 : strerror(-request->result);
		conclude(deliver, delivery,
		         &(struct outcome){
		                 .result = request->result, .status = request->status, .error = error});
	}
	handling_end(deliver->private);
}

void attempt_refused(struct deliver *deliver, struct delivery *delivery, int result, enum guard_verdict why,
                     const char *reason)
{
	if (delivery->first_target == NULL) {
		delivery->begun_ns = delivery->held_ns;
		delivery->begun_real_ns = clock_real_ns() - (deliver->now_ns - delivery->held_ns);
	}
	deliver_begin_attempt(deliver, delivery);
	sender_clear(&delivery->attempt->request);
	if (result == -EACCES)
		fail(deliver, delivery, result, guard_verdict_text(why));
	else
		fail(deliver, delivery, result, reason[0] != '\0' ? reason : strerror(-result));
}
