#include "deliver/deliver.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/log.h"
#include "deliver/attempt.h"
#include "deliver/gone.h"
#include "deliver/parts.h"
#include "deliver/request.h"
#include "deliver/take.h"

#define TURN       256u       /* of each kind in one poll */
#define NAP_NS     NS_PER_MS  /* under load the queue is looked at so often, unasked */
#define REFRESH_NS NS_PER_SEC /* addresses of this machine, files with secrets */
#define IS_DRAINED (deliver->n_free == deliver->n)

static const struct metric_description metrics[] = {
#define METRIC    METRIC_ROW
#define HISTOGRAM HISTOGRAM_ROW
#include "deliver/metrics.def"
#undef METRIC
#undef HISTOGRAM
};

/* ---- times ---- */

void deliver_time_attempt(struct deliver *deliver, uint64_t us)
{
	metric_observe(deliver->control, deliver->attempt_times, DELIVER_attempt_us, us);
}

void deliver_time_delivered(struct deliver *deliver, uint64_t us)
{
	metric_observe(deliver->control, deliver->delivered_times, DELIVER_delivered_after_us, us);
}

/* ---- deliveries ---- */

struct delivery *deliver_new(struct deliver *deliver, bool from_queue)
{
	struct delivery *delivery = deliver->free;
	if (delivery == NULL)
		return NULL;
	deliver->free = delivery->next;
	deliver->n_free--;
	*(from_queue ? &deliver->n_fresh : &deliver->n_rows) += 1;
	delivery->from_queue = from_queue;
	delivery->next = NULL;
	return delivery;
}

void deliver_begin_attempt(struct deliver *deliver, struct delivery *delivery)
{
	struct attempt *attempt = deliver->attempts.free;
	if (delivery->attempt != NULL)
		return;
	if (attempt != NULL)
		deliver->attempts.free = attempt->next;
	else
		attempt = &deliver->attempts.all[deliver->attempts.made++];
	sender_clear(&attempt->request);
	attempt->url = attempt->body = NULL;
	delivery->attempt = attempt;
}

void deliver_end_attempt(struct deliver *deliver, struct delivery *delivery)
{
	struct attempt *attempt = delivery->attempt;
	if (attempt == NULL)
		return;
	free(attempt->url);
	free(attempt->body);
	attempt->next = deliver->attempts.free;
	deliver->attempts.free = attempt;
	delivery->attempt = NULL;
}

/* All but the reason, which is written before it is read. */
static void clear(struct delivery *delivery)
{
	memset(delivery, 0, offsetof(struct delivery, reason));
	delivery->reason[0] = '\0';
	delivery->hosts_part = 0;
}

void deliver_free(struct deliver *deliver, struct delivery *delivery)
{
	if (delivery->target != NULL)
		target_release(deliver->targets, delivery->target);
	if (delivery->first_target != NULL)
		target_release(deliver->targets, delivery->first_target);
	free(delivery->copy);
	free(delivery->history);
	deliver_end_attempt(deliver, delivery);
	*(delivery->from_queue ? &deliver->n_fresh : &deliver->n_rows) -= 1;
	clear(delivery);
	delivery->next = deliver->free;
	deliver->free = delivery;
	deliver->n_free++;
}

/* ---- sending ---- */

static bool start(struct deliver *deliver)
{
	struct delivery *delivery;
	unsigned n = 0;
	while (n < TURN && (delivery = hosts_next(deliver->hosts, deliver->now_ns)) != NULL) {
		attempt_start(deliver, delivery);
		n++;
	}
	return n > 0;
}

static bool hear(struct deliver *deliver)
{
	struct sender *sender = deliver->sender;
	struct sender_request *request;
	unsigned n = 0;
	while (n < TURN && (request = sender->ops->next(sender, deliver->now_ns)) != NULL) {
		attempt_end(deliver, request->owner);
		n++;
	}
	return n > 0;
}

/* What hosts give back: no address, a circuit that has opened, addresses that have changed. */
static bool hear_hosts(struct deliver *deliver)
{
	struct delivery *delivery;
	const struct sender_place *place;
	enum guard_verdict why = GUARD_PASSES;
	const char *reason = "";
	int result;
	bool did = false;
	for (unsigned i = 0; i < TURN; i++, did = true) {
		delivery = hosts_refused(deliver->hosts, &result, &why, &reason, deliver->now_ns);
		if (delivery == NULL)
			break;
		attempt_refused(deliver, delivery, result, why, reason);
	}
	for (; (delivery = hosts_overflow(deliver->hosts, deliver->now_ns)) != NULL; did = true)
		attempt_overflow(deliver, delivery);
	while ((place = hosts_moved(deliver->hosts)) != NULL)
		deliver->sender->ops->forget(deliver->sender, place);
	return did;
}

/* The records of the turn, then the slots of those that were delivered in it. */
static void end_turn(struct deliver *deliver)
{
	if (deliver->lane.received != 0)
		ports_commit(&deliver->ports);
	while (deliver->done != NULL) {
		struct delivery *delivery = deliver->done;
		deliver->done = delivery->next;
		if (queue_done(&deliver->queue, &delivery->slot) != 0)
			metric_add(deliver->control, DELIVER_claims_lost, 1);
		deliver_free(deliver, delivery);
	}
}

/* ---- the loop ---- */

static bool poll_stage(struct stage *stage)
{
	struct deliver *deliver = stage->own;
	deliver->now_ns = stage->now_ns;
	bool did = hear(deliver);
	if (hosts_due_ns(deliver->hosts, deliver->now_ns) <= deliver->now_ns)
		writing_look(deliver);
	if (stage->draining)
		did |= drain(deliver);
	did |= hear_hosts(deliver);
	if (!stage->draining) {
		did |= take_stalled(deliver);
		did |= take(deliver);
	}
	did |= start(deliver); /* nothing is held after drain_timeout; it drives names and dues too */
	end_turn(deliver);
	did |= writing_poll(deliver);
	end_turn(deliver); /* rows that died when they were claimed */
	deliver->worked |= did;
	if (did)
		deliver->noted = false;
	return did;
}

static uint64_t time_left(const struct deliver *deliver, uint64_t timeout_ns)
{
	uint64_t now_ns = deliver->now_ns, due_ns = hosts_due_ns(deliver->hosts, now_ns);
	timeout_ns = writing_timeout(deliver, timeout_ns);
	timeout_ns = deliver->sender->ops->timeout(deliver->sender, timeout_ns, now_ns);
	timeout_ns = names_timeout(deliver->names, timeout_ns, now_ns);
	if (due_ns != UINT64_MAX) {
		uint64_t left_ns = due_ns > now_ns ? due_ns - now_ns : 0;
		timeout_ns = left_ns < timeout_ns ? left_ns : timeout_ns;
	}
	if (deliver->stalled != NULL && timeout_ns > NAP_NS)
		timeout_ns = NAP_NS;
	return timeout_ns;
}

/* Until the sender or names have something, or, unless nothing more could be taken, a bell
 * rings. */
static void wait_for_work(struct deliver *deliver, uint64_t timeout_ns, bool bell)
{
	struct pollfd fd[3] = {
	        {.fd = deliver->sender->ops->fd(deliver->sender), .events = POLLIN},
	        {.fd = names_fd(deliver->names), .events = POLLIN},
	        {.fd = sleep_poll_fd(deliver->sleep), .events = POLLIN},
	};
	struct timespec time = {.tv_sec = (time_t)(timeout_ns / NS_PER_SEC),
	                        .tv_nsec = (long)(timeout_ns % NS_PER_SEC)};
	uint64_t begun_ns = clock_monotonic_ns();
	int ready = ppoll(fd, bell ? 3 : 2, &time, NULL);
	if (bell)
		deliver->dense = ready > 0 && fd[2].revents != 0 && clock_monotonic_ns() - begun_ns < NAP_NS;
	metric_add(deliver->control, DELIVER_waits, 1);
}

/* While postbacks come one after the other, the queue is looked at every NAP_NS or whenever an
 * answer has come, and nobody is asked to ring. */
static void idle(struct stage *stage, uint64_t timeout_ns)
{
	struct deliver *deliver = stage->own;
	bool bell = !stage->draining && take_may(deliver);
	uint64_t left_ns = time_left(deliver, timeout_ns);
	if (bell && deliver->worked && deliver->dense) {
		deliver->worked = false;
		wait_for_work(deliver, left_ns < NAP_NS ? left_ns : NAP_NS, false);
		return;
	}
	deliver->worked = false;
	if (bell && !deliver->noted) {
		sleep_poll_note(deliver->sleep);
		deliver->noted = true;
		return; /* one more look */
	}
	deliver->noted = false;
	if (!bell || !sleep_poll_arm(deliver->sleep))
		wait_for_work(deliver, left_ns, bell);
}

static bool drained(struct stage *stage)
{
	struct deliver *deliver = stage->own;
	return deliver->drain_ns != 0 && IS_DRAINED && deliver->taken_up;
}

/* ---- now and then ---- */

struct open_list {
	unsigned n;
	char name[80];
};

static void first_open(void *argument, const struct endpoint *endpoint)
{
	struct open_list *list = argument;
	if (list->n++ == 0)
		snprintf(list->name, sizeof list->name, "%.*s", (int)sizeof list->name - 1, endpoint->name);
}

static void tell(struct deliver *deliver, const struct hosts_counts *counts)
{
	struct open_list list = {0};
	if (deliver->writing.failing != 0) {
		control_note(deliver->control, "deliver.db: %s", deliver->writing.reason);
		return;
	}
	if (counts->open + counts->gone == 0) {
		control_note(deliver->control, "%s", "");
		return;
	}
	hosts_each_open(deliver->hosts, 1, first_open, &list);
	control_note(deliver->control, "circuit open of %u endpoint%s, gone (410): %u; %s%s", counts->open,
	             counts->open == 1 ? "" : "s", counts->gone, list.name,
	             counts->open + counts->gone > 1 ? ", ..." : "");
}

static void set_metrics(struct deliver *deliver)
{
	struct control *control = deliver->control;
	struct hosts_counts counts = hosts_counts(deliver->hosts);
	struct targets_counts targets = targets_counts(deliver->targets);
	metric_set(control, DELIVER_in_memory, deliver->n - deliver->n_free);
	metric_set(control, DELIVER_held, counts.held);
	metric_set(control, DELIVER_started, counts.started);
	metric_set(control, DELIVER_hosts, counts.hosts);
	metric_set(control, DELIVER_endpoints, counts.endpoints);
	metric_set(control, DELIVER_circuits_open, counts.open);
	metric_set(control, DELIVER_endpoints_gone, counts.gone);
	metric_add(control, DELIVER_name_lookups, counts.asked - deliver->told.asked);
	metric_add(control, DELIVER_templates_compiled, targets.compiled - deliver->told.compiled);
	metric_set(control, DELIVER_templates, targets.kept);
	deliver->told.asked = counts.asked;
	deliver->told.compiled = targets.compiled;
	tell(deliver, &counts);
}

static void refresh(struct deliver *deliver)
{
	struct shm_error error = {""};
	unsigned changed = 0;
	if (deliver->now_ns < deliver->refresh_ns)
		return;
	deliver->refresh_ns = deliver->now_ns + REFRESH_NS;
	(void)guard_refresh(deliver->guard);
	if (policies_refresh(deliver->policies, &changed, &error) != 0)
		log_warn("secrets are used as they were", "reason=\"%s\"", error.text);
	if (changed > 0)
		log_info("secrets were read again", "files=%u", changed);
}

static void tick(struct stage *stage)
{
	struct deliver *deliver = stage->own;
	deliver->now_ns = stage->now_ns;
	refresh(deliver);
	writing_tick(deliver);
	set_metrics(deliver);
}

/* ---- starting, ending ---- */

static void make_deliveries(struct deliver *deliver)
{
	for (unsigned i = deliver->n; i-- > 0;) {
		deliver->delivery[i].next = deliver->free;
		deliver->free = &deliver->delivery[i];
	}
	deliver->n_free = deliver->n;
}

/* The last life may have died at a postback. */
static void look_back(struct deliver *deliver)
{
	uint64_t id[2];
	char text[EVENT_POSTBACK_ID_BYTES + 1] = "";
	uint64_t deaths = suspects_begin(deliver->private, id);
	if (deaths == 0)
		return;
	event_postback_id(text, &(struct event_postback){.id = {id[0], id[1]}});
	metric_add(deliver->control, DELIVER_deaths_at_postback, 1);
	log_warn("the last process died while it worked on a postback", "postback=%s deaths=%llu", text,
	         (unsigned long long)deaths);
}

static unsigned words(void *argument, struct sleep_word *word)
{
	*word = sleep_on_bell(((struct deliver *)argument)->queue.pushed);
	return 1;
}

static int join(struct deliver *deliver, struct shm_error *error)
{
	const struct stage *stage = deliver->stage;
	struct ports_wanted wanted = ports_declared(&stage->instance, stage->role, NULL);
	wanted.lane = &deliver->lane;
	wanted.queue = &deliver->queue;
	wanted.redo = &deliver->redo;
	wanted.takes_up = true;
	wanted.control = stage->control;
	wanted.recovered_notes = DELIVER_recovered_notes;
	int result = ports_open(&deliver->ports, &wanted, error);
	if (result != 0)
		return result;
	deliver->private = deliver->ports.private_segment.body;
	look_back(deliver);
	result = sleep_poll_open(&deliver->sleep, words, NULL, deliver);
	if (result != 0)
		shm_explain(error, "cannot wait for postbacks: %s", strerror(-result));
	return result;
}

static void leave(struct deliver *deliver)
{
	writing_close(deliver);
	parts_close(deliver);
	sleep_poll_close(deliver->sleep);
	ports_close(&deliver->ports); /* after the sender, whose bodies may lie in slots */
	free(deliver);
}

static int init(struct stage *stage, struct shm_error *error)
{
	struct deliver *deliver = calloc(1, sizeof *deliver);
	if (deliver == NULL)
		return -ENOMEM;
	deliver->stage = stage;
	deliver->control = stage->control;
	int result = parts_open(deliver, stage->config, error);
	if (result == 0)
		result = join(deliver, error);
	if (result == 0)
		result = writing_open(deliver, error);
	if (result != 0) {
		leave(deliver);
		return result;
	}
	if (getrandom(&deliver->chance, sizeof deliver->chance, 0) < 0 || deliver->chance == 0)
		deliver->chance = clock_real_ns();
	deliver->attempt_times = metric_row(metrics, DELIVER_attempt_us);
	deliver->delivered_times = metric_row(metrics, DELIVER_delivered_after_us);
	deliver->now_ns = clock_monotonic_ns();
	gone_learn(deliver);
	make_deliveries(deliver);
	stage->own = deliver;
	stage->ports = &deliver->ports;
	metric_set(stage->control, DELIVER_memory_max_bytes, parts_memory_max(stage->config, "deliver"));
	log_info("delivering", "in_flight=%u waiting=%llu dead=%llu", deliver->n,
	         (unsigned long long)(deliver->writing.counts.later + deliver->writing.counts.parked),
	         (unsigned long long)deliver->writing.counts.dead);
	return 0;
}

static void fini(struct stage *stage)
{
	struct deliver *deliver = stage->own;
	tick(stage);
	end_turn(deliver);
	leave(deliver);
	stage->own = NULL;
}

const struct stage_ops deliver_stage = {
        .name = "deliver",
        .help = "takes postbacks from the queue and sends them, again and again until they are delivered or dead",
        .metrics = metrics,
        .n_metrics = sizeof metrics / sizeof metrics[0],
        .init = init,
        .poll = poll_stage,
        .tick = tick,
        .idle = idle,
        .drained = drained,
        .fini = fini,
        .alone = deliver_alone,
        .check = parts_check,
        .memory_max = parts_memory_max,
};
