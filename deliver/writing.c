#include "deliver/writing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "deliver/attempt.h"
#include "deliver/gone.h"
#include "deliver/take.h"

#define RETRY_NS NS_PER_SEC /* between tries while the database fails */
#define TIDY_NS  (5 * NS_PER_SEC)
/* Between two looks for rows: after many were found, after some, and at most. */
#define CLAIM_LEAST_NS (2 * NS_PER_MS)
#define CLAIM_SOON_NS  (10 * NS_PER_MS)
#define CLAIM_MOST_NS  NS_PER_SEC
#define CLAIM_LAST_NS  (10 * NS_PER_SEC) /* whatever is due: the wall clock can be set, the machine sleep */
#define CLAIM_MANY     64u

/* ---- failing ---- */

static void fail(struct deliver *deliver, int result, const char *reason)
{
	struct writing *writing = &deliver->writing;
	/* Not of this turn: the try itself may have waited for another program. */
	writing->not_before_ns = clock_monotonic_ns() + RETRY_NS;
	metric_add(deliver->control, DELIVER_failed_commits, 1);
	metric_set(deliver->control, DELIVER_failing, 1);
	if (writing->failing != result)
		log_error("deliver.db cannot be written; what waits for it is kept in memory and tried again",
		          "reason=\"%s\" waiting=%u", reason, writing->n);
	writing->failing = result;
	snprintf(writing->reason, sizeof writing->reason, "%s", reason);
}

static void is_well(struct deliver *deliver)
{
	struct writing *writing = &deliver->writing;
	if (writing->failing != 0)
		log_info("deliver.db can be written again", "waiting=%u", writing->n);
	writing->failing = 0;
	metric_set(deliver->control, DELIVER_failing, 0);
}

static int open_database(struct deliver *deliver, struct shm_error *error)
{
	struct writing *writing = &deliver->writing;
	int result = waiting_open(&writing->waiting, writing->data_dir, writing->role, error);
	if (result != 0)
		writing->waiting = NULL;
	else
		waiting_limit_log(writing->waiting, config_u64(deliver->stage->config, "deliver.log_limit"));
	return result;
}

int writing_open(struct deliver *deliver, struct shm_error *error)
{
	struct writing *writing = &deliver->writing;
	writing->data_dir = config_string(deliver->stage->config, "data_dir");
	writing->role = deliver->stage->role;
	writing->claim_wait_ns = CLAIM_SOON_NS;
	writing->interval_ns = config_ns(deliver->stage->config, "deliver.commit_interval");
	return open_database(deliver, error);
}

void writing_close(struct deliver *deliver)
{
	if (deliver->writing.waiting != NULL)
		waiting_close(deliver->writing.waiting);
	deliver->writing.waiting = NULL;
}

/* After a failure: a file that is gone or another is left, and made or opened anew. */
static bool have_database(struct deliver *deliver)
{
	struct writing *writing = &deliver->writing;
	struct shm_error error = {""};
	if (writing->failing == -ESTALE)
		writing_close(deliver);
	if (writing->waiting != NULL)
		return true;
	int result = open_database(deliver, &error);
	if (result == 0)
		return true;
	fail(deliver, result, error.text);
	return false;
}

/* ---- the list ---- */

void writing_add(struct deliver *deliver, struct delivery *delivery, enum delivery_fate fate)
{
	struct writing *writing = &deliver->writing;
	deliver_end_attempt(deliver, delivery);
	delivery->state = DELIVERY_WRITING;
	delivery->fate = fate;
	delivery->next = NULL;
	delivery->previous = writing->last;
	if (writing->last != NULL)
		writing->last->next = delivery;
	else
		writing->first = delivery;
	writing->last = delivery;
	if (writing->n++ == 0)
		writing->since_ns = deliver->now_ns;
}

static void take_out(struct writing *writing, struct delivery *delivery)
{
	if (delivery->previous != NULL)
		delivery->previous->next = delivery->next;
	else
		writing->first = delivery->next;
	if (delivery->next != NULL)
		delivery->next->previous = delivery->previous;
	else
		writing->last = delivery->previous;
	writing->n--;
}

/* Its fate is safe. */
static void finish(struct deliver *deliver, struct delivery *delivery)
{
	if (delivery->fate == DELIVERY_DIES) {
		metric_add(deliver->control, DELIVER_dead, 1);
		suspects_clear(deliver->private, delivery->id);
	}
	if (delivery->from_queue && queue_done(&deliver->queue, &delivery->slot) != 0)
		metric_add(deliver->control, DELIVER_claims_lost, 1);
	deliver_free(deliver, delivery);
}

/* ---- a transaction ---- */

static struct waiting_row row_of(const struct delivery *delivery)
{
	const struct target *target =
	        delivery->first_target != NULL ? delivery->first_target : delivery->target;
	return (struct waiting_row){
	        .postback = delivery->postback,
	        .bytes = delivery->bytes,
	        .endpoint = target != NULL ? target->endpoint : "",
	        .origin = target != NULL ? target->origin : "",
	        .attempts = delivery->attempts,
	        .first_ms = delivery->first_ms,
	        .due_ms = delivery->due_ms,
	        .history = delivery->history != NULL ? delivery->history : "",
	};
}

static int write_one(struct waiting *waiting, const struct delivery *delivery, int64_t at_ms)
{
	struct waiting_row row = row_of(delivery);
	int result = 0;
	if (delivery->gone_until_ms != 0)
		result = waiting_put_gone(waiting, row.endpoint, delivery->gone_until_ms);
	if (result != 0)
		return result;
	switch (delivery->fate) {
	case DELIVERY_DELETE:
		return waiting_delete(waiting, delivery->postback);
	case DELIVERY_LATER:
		return waiting_put_later(waiting, &row);
	case DELIVERY_PARK:
		return waiting_put_parked(waiting, &row);
	case DELIVERY_DIES:
		return waiting_put_dead(waiting, &row, delivery->reason, at_ms);
	}
	return -EINVAL;
}

static int write_list(struct writing *writing, unsigned n, int64_t at_ms)
{
	const struct delivery *delivery = writing->first;
	int result = 0;
	for (unsigned i = 0; result == 0 && i < n; i++, delivery = delivery->next)
		result = write_one(writing->waiting, delivery, at_ms);
	return result;
}

/* ---- claiming ---- */

static unsigned claim_room(void *argument, const char *origin, const char *endpoint)
{
	struct deliver *deliver = argument;
	return hosts_room(deliver->hosts, origin, endpoint, deliver->now_ns);
}

static bool copy_row(struct delivery *delivery, const struct waiting_row *row)
{
	delivery->copy = malloc(row->bytes);
	if (delivery->copy == NULL)
		return false;
	memcpy(delivery->copy, row->postback, row->bytes);
	delivery->postback = delivery->copy;
	delivery->bytes = row->bytes;
	delivery->attempts = row->attempts;
	delivery->first_ms = row->first_ms;
	delivery->due_ms = row->due_ms;
	if (row->history[0] == '\0')
		return true;
	delivery->history = strdup(row->history);
	return delivery->history != NULL;
}

/* It is offered to its host at once, so that the room for the next is told rightly; nothing starts
 * before the commit. Without memory for it the transaction fails, and is tried again. */
static void claim_give(void *argument, const struct waiting_row *row)
{
	struct deliver *deliver = argument;
	struct writing *writing = &deliver->writing;
	struct delivery *delivery = deliver_new(deliver, false);
	if (delivery == NULL || !copy_row(delivery, row)) {
		if (delivery != NULL)
			deliver_free(deliver, delivery);
		writing->no_memory = true;
		return;
	}
	writing->claimed[writing->n_claimed++] = delivery;
	(void)attempt_begin(deliver, delivery, false);
}

static unsigned room_for_rows(const struct deliver *deliver)
{
	unsigned most = deliver->n - deliver->kept;
	unsigned room = deliver->n_rows < most ? most - deliver->n_rows : 0;
	if (room > deliver->n_free)
		room = deliver->n_free;
	return room < WRITING_MOST ? room : WRITING_MOST;
}

static bool may_claim(const struct deliver *deliver)
{
	return deliver->drain_ns == 0 && deliver->now_ns >= deliver->writing.claim_ns &&
	       room_for_rows(deliver) > 0;
}

/* Returns how many, or -errno. */
static int claim(struct deliver *deliver)
{
	struct writing *writing = &deliver->writing;
	if (waiting_changed(writing->waiting)) /* before a replayed row meets an endpoint that was gone */
		gone_learn(deliver);
	writing->no_memory = false;
	int result = waiting_promote(writing->waiting, clock_real_ms(), WRITING_MOST);
	if (result >= 0)
		result = waiting_claim(writing->waiting, WRITING_LOOKS, room_for_rows(deliver), claim_room,
		                       claim_give, deliver);
	return writing->no_memory ? -ENOMEM : result;
}

/* The transaction failed: what it gave is not ours. */
static void let_go_claimed(struct deliver *deliver)
{
	struct writing *writing = &deliver->writing;
	for (unsigned i = 0; i < writing->n_claimed; i++) {
		struct delivery *delivery = writing->claimed[i];
		if (delivery->host != NULL)
			hosts_release(deliver->hosts, delivery, deliver->now_ns);
		else if (delivery->state == DELIVERY_WRITING)
			take_out(writing, delivery);
		deliver_free(deliver, delivery);
	}
	writing->n_claimed = 0;
}

/* When to look again: soon after something was found, ever later after nothing. hosts
 * (writing_look) and what others write (writing_tick) bring it forward. */
static void plan_claim(struct deliver *deliver, bool claims, unsigned claimed)
{
	struct writing *writing = &deliver->writing;
	int64_t due_ms = waiting_next_due_ms(writing->waiting), at_ms = clock_real_ms();
	uint64_t wait_ns = CLAIM_LAST_NS;
	(void)waiting_count(writing->waiting, &writing->counts);
	if (claims) {
		writing->claimed_ns = deliver->now_ns;
		uint64_t longer_ns = 2 * writing->claim_wait_ns;
		writing->claim_wait_ns = claimed >= CLAIM_MANY       ? CLAIM_LEAST_NS
		                         : claimed > 0               ? CLAIM_SOON_NS
		                         : longer_ns < CLAIM_MOST_NS ? longer_ns
		                                                     : CLAIM_MOST_NS;
	}
	if (writing->counts.parked > 0)
		wait_ns = writing->claim_wait_ns;
	if (due_ms != INT64_MAX) {
		uint64_t due_ns = due_ms > at_ms ? (uint64_t)(due_ms - at_ms) * NS_PER_MS : CLAIM_LEAST_NS;
		if (due_ns < wait_ns)
			wait_ns = due_ns;
	}
	writing->claim_ns = deliver->now_ns + wait_ns;
}

void writing_look(struct deliver *deliver)
{
	struct writing *writing = &deliver->writing;
	writing->claim_wait_ns = CLAIM_SOON_NS;
	if (writing->counts.parked > 0 && writing->claim_ns > writing->claimed_ns + CLAIM_SOON_NS)
		writing->claim_ns = writing->claimed_ns + CLAIM_SOON_NS;
}

/* ---- running one ---- */

static int transact(struct deliver *deliver, unsigned n, bool claims, struct shm_error *error)
{
	struct writing *writing = &deliver->writing;
	int result = waiting_begin(writing->waiting, n > 0, error);
	if (result != 0)
		return result;
	result = write_list(writing, n, clock_real_ms());
	if (result == 0 && claims) {
		int claimed = claim(deliver);
		result = claimed < 0 ? claimed : 0;
	}
	if (result == 0)
		return waiting_commit(writing->waiting, error);
	shm_explain(error, "deliver.db: %s", strerror(-result));
	waiting_cancel(writing->waiting);
	return result;
}

static void time_it(struct deliver *deliver, uint64_t took_ns)
{
	struct writing *writing = &deliver->writing;
	writing->not_before_ns = deliver->now_ns + 4 * took_ns;
	if (took_ns > writing->longest_ns)
		writing->longest_ns = took_ns;
	metric_add(deliver->control, DELIVER_commits, 1);
	metric_set(deliver->control, DELIVER_commit_last_us, took_ns / NS_PER_US);
	metric_set(deliver->control, DELIVER_commit_max_us, writing->longest_ns / NS_PER_US);
}

/* Those that began to wait during the transaction (dead at their claim) come after the first n. */
static bool run(struct deliver *deliver)
{
	struct writing *writing = &deliver->writing;
	struct shm_error error = {""};
	unsigned n = writing->n < WRITING_MOST ? writing->n : WRITING_MOST;
	bool claims = may_claim(deliver);
	if (!have_database(deliver))
		return true;
	uint64_t begun_ns = clock_monotonic_ns();
	int result = transact(deliver, n, claims, &error);
	if (result != 0) {
		let_go_claimed(deliver);
		fail(deliver, result, error.text);
		return true;
	}
	unsigned claimed = writing->n_claimed;
	writing->n_claimed = 0;
	is_well(deliver);
	for (unsigned i = 0; i < n; i++) {
		struct delivery *delivery = writing->first;
		take_out(writing, delivery);
		finish(deliver, delivery);
	}
	writing->since_ns = deliver->now_ns;
	time_it(deliver, clock_monotonic_ns() - begun_ns);
	metric_add(deliver->control, DELIVER_claimed, claimed);
	plan_claim(deliver, claims, claimed);
	return true;
}

/* So many wait that the process soon has nothing to send with. */
static bool in_a_hurry(const struct deliver *deliver)
{
	unsigned n = deliver->writing.n;
	return n > 0 && (deliver->drain_ns != 0 || n >= (deliver->n + 3) / 4 || take_room(deliver) == 0);
}

static uint64_t due_ns(const struct deliver *deliver)
{
	const struct writing *writing = &deliver->writing;
	uint64_t due = UINT64_MAX;
	bool hurry = in_a_hurry(deliver);
	if (writing->n > 0)
		due = hurry ? 0 : writing->since_ns + writing->interval_ns;
	if (deliver->drain_ns == 0 && room_for_rows(deliver) > 0 && writing->claim_ns < due)
		due = writing->claim_ns;
	if (due != UINT64_MAX && (!hurry || writing->failing != 0) && due < writing->not_before_ns)
		due = writing->not_before_ns;
	return due;
}

bool writing_poll(struct deliver *deliver)
{
	return due_ns(deliver) <= deliver->now_ns && run(deliver);
}

uint64_t writing_timeout(const struct deliver *deliver, uint64_t timeout_ns)
{
	uint64_t due = due_ns(deliver), now_ns = deliver->now_ns;
	uint64_t left_ns = due <= now_ns ? 0 : due - now_ns;
	return left_ns < timeout_ns ? left_ns : timeout_ns;
}

/* ---- now and then ---- */

static bool is_no_role(void *argument, const char *role)
{
	const struct deliver *deliver = argument;
	const struct instance *instance = &deliver->stage->instance;
	return instance_role_index(instance, role) < 0 && control_alive(instance->directory, role, NULL) == 0;
}

/* By the first process: what is left of roles that are configured no longer, and old dead
 * letters. */
static void tidy(struct deliver *deliver)
{
	struct writing *writing = &deliver->writing;
	const struct config *config = deliver->stage->config;
	struct shm_error error = {""};
	int adopted = 0, expired = 0;
	writing->tidy_ns = deliver->now_ns + TIDY_NS;
	int result = waiting_begin(writing->waiting, false, &error);
	if (result != 0)
		return; /* the next try tells, or the next thing that is to be written */
	adopted = waiting_adopt(writing->waiting, is_no_role, deliver);
	if (adopted >= 0)
		expired = waiting_expire_dead(writing->waiting, clock_real_ms(),
		                              (int64_t)(config_ns(config, "deliver.dead.keep") / NS_PER_MS),
		                              config_u64(config, "deliver.dead.most"));
	if (adopted < 0 || expired < 0) {
		waiting_cancel(writing->waiting);
		return;
	}
	if (waiting_commit(writing->waiting, &error) != 0)
		return;
	metric_add(deliver->control, DELIVER_adopted, (uint64_t)adopted);
	metric_add(deliver->control, DELIVER_expired, (uint64_t)expired);
	if (expired >= WAITING_EXPIRE_MOST)
		writing->tidy_ns = 0; /* more than one call deletes */
	if (adopted > 0) {
		log_info("postbacks of processes that are configured no longer were taken over", "n=%d",
		         adopted);
		writing->claim_ns = 0;
	}
}

void writing_tick(struct deliver *deliver)
{
	struct writing *writing = &deliver->writing;
	struct control *control = deliver->control;
	if (writing->waiting != NULL && writing->failing == 0 && waiting_changed(writing->waiting)) {
		gone_learn(deliver);
		(void)waiting_count(writing->waiting, &writing->counts);
		writing->claim_ns = 0;
	}
	if (deliver->stage->index == 0 && writing->waiting != NULL && writing->failing == 0 &&
	    deliver->drain_ns == 0 && deliver->now_ns >= writing->tidy_ns)
		tidy(deliver);
	metric_set(control, DELIVER_writing, writing->n);
	metric_set(control, DELIVER_waiting_later, writing->counts.later);
	metric_set(control, DELIVER_waiting_parked, writing->counts.parked);
	metric_set(control, DELIVER_waiting_claimed, writing->counts.claimed);
	metric_set(control, DELIVER_dead_letters, writing->counts.dead);
}
