#include "deliver/take.h"

#include "base/log.h"
#include "deliver/attempt.h"

/* ---- out of the queue ---- */

/* A message that this process cannot read is nobody's postback: another build, a damaged slot. */
static bool is_postback(struct deliver *deliver, const struct queue_slot *slot)
{
	if (event_postback_check(slot->data, slot->length))
		return true;
	metric_add(deliver->control, DELIVER_bad_messages, 1);
	log_warn("a message of the queue is no postback and is thrown away", "length=%u", slot->length);
	(void)queue_done(&deliver->queue, slot);
	return false;
}

/* What the last life had taken, and written to deliver.db before it died, is safe there. */
static bool is_written(struct deliver *deliver, const struct queue_slot *slot)
{
	struct waiting *waiting = deliver->writing.waiting;
	if (deliver->taken_up || waiting == NULL || waiting_has(waiting, slot->data) != 1)
		return false;
	(void)queue_done(&deliver->queue, slot);
	return true;
}

/* True when there is one. */
static bool take_slot(struct deliver *deliver, struct queue_slot *slot)
{
	if (!deliver->taken_up) {
		if (ports_take_up(&deliver->ports, "postback", slot)) {
			metric_add(deliver->control, DELIVER_taken_up, 1);
			return true;
		}
		deliver->taken_up = true;
	}
	if (!queue_take(&deliver->queue, slot))
		return false;
	metric_add(deliver->control, DELIVER_taken, 1);
	return true;
}

unsigned take_room(const struct deliver *deliver)
{
	unsigned most = deliver->n - deliver->kept;
	unsigned room = deliver->n_fresh < most ? most - deliver->n_fresh : 0;
	return room < deliver->n_free ? room : deliver->n_free;
}

bool take_may(const struct deliver *deliver)
{
	return take_room(deliver) > 0 && deliver->stalled == NULL;
}

/* One that this stage will not send: it is going to end, the instance is not. */
static void give_back(struct deliver *deliver, const struct queue_slot *slot)
{
	metric_add(deliver->control, DELIVER_given_back, 1);
	(void)queue_give_back(&deliver->queue, slot);
}

static void put_in(struct deliver *deliver, const struct queue_slot *slot)
{
	struct delivery *delivery = deliver_new(deliver, true);
	delivery->slot = *slot;
	delivery->postback = slot->data;
	delivery->bytes = slot->length;
	if (!attempt_begin(deliver, delivery, deliver->drain_ns == 0))
		deliver->stalled = delivery;
}

bool take(struct deliver *deliver)
{
	bool did = false;
	struct queue_slot slot;
	for (unsigned i = 0; i < TURN && take_may(deliver) && take_slot(deliver, &slot); i++) {
		did = true;
		if (is_postback(deliver, &slot) && !is_written(deliver, &slot))
			put_in(deliver, &slot);
	}
	return did;
}

bool take_stalled(struct deliver *deliver)
{
	struct delivery *stalled = deliver->stalled;
	if (stalled == NULL)
		return false;
	deliver->stalled = NULL;
	if (attempt_begin(deliver, stalled, true))
		return true;
	deliver->stalled = stalled;
	return false;
}

/* ---- draining ---- */

static bool whole_instance_drains(const struct deliver *deliver)
{
	const struct instance_page *page = deliver->stage->instance.page;
	return atomic_load_explicit(&page->draining, memory_order_relaxed) != 0;
}

/* When the whole instance ends, the queue ends with it: what lies there goes to deliver.db. When
 * only this stage ends, others or the next life take it. */
static void leave_queue(struct deliver *deliver, struct delivery *delivery, bool whole)
{
	if (whole || !delivery->from_queue || delivery->attempts > 0) {
		attempt_park(deliver, delivery);
		return;
	}
	if (delivery->host != NULL)
		hosts_release(deliver->hosts, delivery, deliver->now_ns);
	give_back(deliver, &delivery->slot);
	deliver_free(deliver, delivery);
}

static bool empty_queue(struct deliver *deliver, bool whole)
{
	bool did = false;
	struct queue_slot slot;
	for (unsigned i = 0; i < TURN && deliver->n_free > 0 && (whole || !deliver->taken_up); i++) {
		if (whole ? !take_slot(deliver, &slot) : !ports_take_up(&deliver->ports, "postback", &slot)) {
			deliver->taken_up = true;
			break;
		}
		did = true;
		if (!is_postback(deliver, &slot) || is_written(deliver, &slot))
			continue;
		if (whole)
			put_in(deliver, &slot);
		else
			give_back(deliver, &slot);
	}
	return did;
}

/* Those that wait for their host; after drain_timeout those that are under way too. */
static bool take_back(struct deliver *deliver, bool whole)
{
	bool did = false, all = deliver->now_ns >= deliver->drain_ns;
	if (deliver->stalled != NULL) {
		leave_queue(deliver, deliver->stalled, whole);
		deliver->stalled = NULL;
		did = true;
	}
	for (unsigned i = 0; i < deliver->n; i++) {
		struct delivery *delivery = &deliver->delivery[i];
		if (delivery->state == DELIVERY_HELD && delivery->first_target == NULL) {
			leave_queue(deliver, delivery, whole);
			did = true;
		} else if (all && delivery->state == DELIVERY_STARTED) {
			attempt_take_back(deliver, delivery);
			did = true;
		} else if (all && delivery->state == DELIVERY_HELD) {
			attempt_park(deliver, delivery);
			did = true;
		}
	}
	return did;
}

bool drain(struct deliver *deliver)
{
	bool whole = whole_instance_drains(deliver);
	if (deliver->drain_ns == 0) {
		deliver->drain_ns = deliver->now_ns + deliver->drain_most_ns;
		log_info("no more is sent; what is under way may end", "started=%u held=%u whole_instance=%d",
		         hosts_counts(deliver->hosts).started, hosts_counts(deliver->hosts).held, whole);
	}
	bool did = empty_queue(deliver, whole);
	return take_back(deliver, whole) || did;
}
