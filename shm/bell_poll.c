#include "shm/bell_poll.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/thread.h"

#define REST_NS (3600ull * 1000000000u)

/*               bell_poll_arm (loop)
 *     PARKED -------------------------> ARMED         STOPPED: bell_poll_close, from either
 *       ^                                 |
 *       '---------------------------------'
 *         a bell has rung (helper, which then writes the descriptor)
 *
 * `watched` belongs to the loop while PARKED and to the helper while ARMED.
 */
enum state { PARKED, ARMED, STOPPED };

struct bell_poll {
	struct bell ask; /* rung by the loop when the helper has to look at the state */
	_Atomic int state;
	int fd;
	bool armed; /* the loop's: the descriptor is, or will be, readable after the next ring; not yet read */
	unsigned n;
	struct bell *bell[BELL_WAIT_MAX]; /* n, and `ask` */
	uint32_t noted[BELL_WAIT_MAX];    /* the loop's */
	uint32_t watched[BELL_WAIT_MAX];  /* noted when the loop armed */
	uint64_t armed_count, read_count;
	_Atomic uint64_t fired_count;
	bell_poll_also *also;
	void *argument;
	pthread_t helper;
};

static bool any_rung(const struct bell_poll *poll, const uint32_t *seen)
{
	for (unsigned i = 0; i < poll->n; i++)
		if (bell_value(poll->bell[i]) != seen[i])
			return true;
	return false;
}

/* ---- the helper ---- */

static void fire(struct bell_poll *poll)
{
	int armed = ARMED;
	/* Before the write: a loop that finds the descriptor readable can read and arm again at
	 * once. */
	if (!atomic_compare_exchange_strong_explicit(&poll->state, &armed, PARKED, memory_order_acq_rel,
	                                             memory_order_relaxed))
		return; /* stopped */
	atomic_fetch_add_explicit(&poll->fired_count, 1, memory_order_relaxed);
	/* It cannot be full: the loop arms again only after it has read. */
	(void)eventfd_write(poll->fd, 1);
}

static void *help(void *argument)
{
	struct bell_poll *poll = argument;
	struct bell *ask = &poll->ask;
	for (;;) {
		uint32_t asked = bell_value(ask);
		int state = atomic_load_explicit(&poll->state, memory_order_acquire);
		if (state == STOPPED)
			return NULL;
		if (state == PARKED) {
			(void)bell_wait_any(&ask, &asked, 1, REST_NS);
			continue;
		}
		poll->watched[poll->n] = asked;
		bool rung = bell_wait_any(poll->bell, poll->watched, poll->n + 1, BELL_POLL_BOUND_NS);
		if (any_rung(poll, poll->watched) ||
		    (!rung && poll->also != NULL && poll->also(poll->argument)))
			fire(poll);
	}
}

static int start_helper(struct bell_poll *poll)
{
	int result = thread_start(&poll->helper, 0, help, poll);
	if (result == 0)
		(void)pthread_setname_np(poll->helper, "bell");
	return result;
}

int bell_poll_open(struct bell_poll **out, struct bell *const bell[], unsigned n, bell_poll_also *also,
                   void *argument)
{
	*out = NULL;
	if (n == 0 || n > BELL_POLL_MAX)
		return -EINVAL;
	struct bell_poll *poll = aligned_alloc(alignof(struct bell_poll), sizeof *poll);
	if (poll == NULL)
		return -ENOMEM;
	memset(poll, 0, sizeof *poll);
	poll->n = n;
	poll->also = also;
	poll->argument = argument;
	poll->armed = true; /* it has as good as fired */
	for (unsigned i = 0; i < n; i++)
		poll->bell[i] = bell[i];
	poll->bell[n] = &poll->ask;
	poll->fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	int result = poll->fd < 0 ? -errno : start_helper(poll);
	if (result != 0) {
		if (poll->fd >= 0)
			close(poll->fd);
		free(poll);
		return result;
	}
	*out = poll;
	return 0;
}

void bell_poll_close(struct bell_poll *poll)
{
	if (poll == NULL)
		return;
	atomic_store_explicit(&poll->state, STOPPED, memory_order_release);
	bell_ring(&poll->ask);
	pthread_join(poll->helper, NULL);
	close(poll->fd);
	free(poll);
}

/* ---- the loop ---- */

int bell_poll_fd(const struct bell_poll *poll)
{
	return poll->fd;
}

/* Reads the descriptor when the helper has fired. It may be about to write: then the loop stays as
 * good as armed. */
static void unfire(struct bell_poll *poll)
{
	eventfd_t ignored;
	if (!poll->armed || atomic_load_explicit(&poll->state, memory_order_acquire) != PARKED)
		return;
	poll->read_count++;
	poll->armed = eventfd_read(poll->fd, &ignored) != 0;
}

void bell_poll_note(struct bell_poll *poll)
{
	unfire(poll);
	for (unsigned i = 0; i < poll->n; i++)
		poll->noted[i] = bell_value(poll->bell[i]);
}

bool bell_poll_arm(struct bell_poll *poll)
{
	if (any_rung(poll, poll->noted))
		return true;
	/* Still armed, with older values: a ring that comes now is new to these too. If it has
	 * fired, or is about to, the descriptor says so. */
	if (poll->armed)
		return false;
	memcpy(poll->watched, poll->noted, poll->n * sizeof *poll->noted);
	poll->armed = true;
	poll->armed_count++;
	atomic_store_explicit(&poll->state, ARMED, memory_order_release);
	bell_ring(&poll->ask);
	return false;
}

struct bell_poll_counts bell_poll_counts(const struct bell_poll *poll)
{
	return (struct bell_poll_counts){
	        .armed = poll->armed_count,
	        .read = poll->read_count,
	        .fired = atomic_load_explicit(&poll->fired_count, memory_order_relaxed)};
}
