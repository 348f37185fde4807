#include "shm/sleep_poll.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/thread.h"

#define REST_NS (3600ull * NS_PER_SEC)

/*               sleep_poll_arm (loop)
 *     PARKED -------------------------> ARMED         STOPPED: sleep_poll_close, from either
 *       ^                                 |
 *       '---------------------------------'
 *         a word has changed (helper, which then writes the descriptor)
 *
 * `watched` belongs to the loop while PARKED and to the helper while ARMED.
 */
enum state { PARKED, ARMED, STOPPED };

struct sleep_poll {
	struct bell ask; /* rung by the loop when the helper has to look at the state */
	_Atomic int state;
	int fd;
	bool armed; /* the loop's: the descriptor is, or will be, readable after the next change; not yet read */
	unsigned n_noted, n_watched;
	struct sleep_word noted[SLEEP_WORDS_MAX];   /* the loop's */
	struct sleep_word watched[SLEEP_WORDS_MAX]; /* noted when the loop armed, and `ask` */
	uint64_t armed_count, read_count;
	_Atomic uint64_t fired_count;
	sleep_poll_words *words;
	sleep_poll_also *also;
	void *argument;
	pthread_t helper;
};

/* ---- the helper ---- */

static void fire(struct sleep_poll *poll)
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

/* Sleeps on the words that were watched when the loop armed; `ask` ends that too. */
static void watch(struct sleep_poll *poll, uint32_t asked)
{
	struct sleep_word *ask = &poll->watched[poll->n_watched];
	*ask = sleep_on_bell(&poll->ask);
	ask->seen = asked;
	if (!bell_mark(&poll->ask, asked))
		return;
	int result =
	        sleep_wait(poll->watched, poll->n_watched + 1, clock_monotonic_ns() + SLEEP_POLL_BOUND_NS);
	if (bell_value(&poll->ask) != asked)
		return;
	if (result == 0 || (result == -ETIMEDOUT && poll->also != NULL && poll->also(poll->argument)))
		fire(poll);
}

static void *help(void *argument)
{
	struct sleep_poll *poll = argument;
	for (;;) {
		uint32_t asked = bell_value(&poll->ask);
		int state = atomic_load_explicit(&poll->state, memory_order_acquire);
		if (state == STOPPED)
			return NULL;
		if (state == PARKED)
			(void)bell_wait(&poll->ask, asked, REST_NS);
		else
			watch(poll, asked);
	}
}

static int start_helper(struct sleep_poll *poll)
{
	int result = thread_start(&poll->helper, 0, help, poll);
	if (result == 0)
		(void)pthread_setname_np(poll->helper, "sleep");
	return result;
}

int sleep_poll_open(struct sleep_poll **out, sleep_poll_words *words, sleep_poll_also *also, void *argument)
{
	*out = NULL;
	struct sleep_poll *poll = aligned_alloc(alignof(struct sleep_poll), sizeof *poll);
	if (poll == NULL)
		return -ENOMEM;
	memset(poll, 0, sizeof *poll);
	poll->words = words;
	poll->also = also;
	poll->argument = argument;
	poll->armed = true; /* it has as good as fired */
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

void sleep_poll_close(struct sleep_poll *poll)
{
	if (poll == NULL)
		return;
	atomic_store_explicit(&poll->state, STOPPED, memory_order_release);
	bell_ring(&poll->ask);
	pthread_join(poll->helper, NULL);
	sleep_end(poll->watched, poll->n_watched);
	close(poll->fd);
	free(poll);
}

/* ---- the loop ---- */

int sleep_poll_fd(const struct sleep_poll *poll)
{
	return poll->fd;
}

/* Reads the descriptor when the helper has fired. It may be about to write: then the loop stays as
 * good as armed. */
static void unfire(struct sleep_poll *poll)
{
	eventfd_t ignored;
	if (!poll->armed || atomic_load_explicit(&poll->state, memory_order_acquire) != PARKED)
		return;
	poll->read_count++;
	poll->armed = eventfd_read(poll->fd, &ignored) != 0;
	if (poll->armed)
		return;
	sleep_end(poll->watched, poll->n_watched);
	poll->n_watched = 0;
}

void sleep_poll_note(struct sleep_poll *poll)
{
	unfire(poll);
	poll->n_noted = poll->words(poll->argument, poll->noted);
	sleep_note(poll->noted, poll->n_noted);
}

bool sleep_poll_arm(struct sleep_poll *poll)
{
	/* Still armed, with older values: a change that comes now is new to these too. If it has
	 * fired, or is about to, the descriptor says so. */
	if (poll->armed)
		return sleep_over(poll->noted, poll->n_noted);
	if (sleep_begin(poll->noted, poll->n_noted))
		return true;
	memcpy(poll->watched, poll->noted, poll->n_noted * sizeof *poll->noted);
	poll->n_watched = poll->n_noted;
	poll->armed = true;
	poll->armed_count++;
	atomic_store_explicit(&poll->state, ARMED, memory_order_release);
	bell_ring(&poll->ask);
	return false;
}

struct sleep_poll_counts sleep_poll_counts(const struct sleep_poll *poll)
{
	return (struct sleep_poll_counts){
	        .armed = poll->armed_count,
	        .read = poll->read_count,
	        .fired = atomic_load_explicit(&poll->fired_count, memory_order_relaxed)};
}
