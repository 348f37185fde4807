#include "shm/sleep.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

struct sleep_word sleep_on_tail(const _Atomic uint64_t *tail, _Atomic uint32_t *asleep)
{
	return (struct sleep_word){.word = sleep_low_half(tail), .asleep = asleep};
}

struct sleep_word sleep_on_bell(struct bell *bell)
{
	return (struct sleep_word){.word = &bell->word, .bell = bell};
}

struct sleep_word sleep_on_call(const _Atomic uint32_t *word)
{
	return (struct sleep_word){.word = word};
}

static uint32_t value_of(const struct sleep_word *word)
{
	return word->bell != NULL ? bell_value(word->bell)
	                          : atomic_load_explicit(word->word, memory_order_acquire);
}

void sleep_note(struct sleep_word *word, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		word[i].seen = value_of(&word[i]);
}

bool sleep_over(const struct sleep_word *word, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (value_of(&word[i]) != word[i].seen)
			return true;
	return false;
}

/* ---- asleep and awake ---- */

/* The sleeper's word has one writer, this process: no locked operation. */
static void set_asleep(_Atomic uint32_t *word, uint32_t odd)
{
	uint32_t count = atomic_load_explicit(word, memory_order_relaxed);
	if ((count & 1) != odd)
		atomic_store_explicit(word, count + 1, memory_order_relaxed);
	else if (odd == 1) /* left by a life that was killed asleep: a sleep of its own */
		atomic_store_explicit(word, count + 2, memory_order_relaxed);
}

bool sleep_begin(const struct sleep_word *word, unsigned n)
{
	bool changed = false;
	for (unsigned i = 0; i < n; i++)
		if (word[i].asleep != NULL)
			set_asleep(word[i].asleep, 1);
	/* Pairs with the fence of whoever publishes (topic_ring). */
	atomic_thread_fence(memory_order_seq_cst);
	for (unsigned i = 0; i < n && !changed; i++)
		changed = word[i].bell != NULL ? !bell_mark(word[i].bell, word[i].seen)
		                               : value_of(&word[i]) != word[i].seen;
	if (changed)
		sleep_end(word, n);
	return changed;
}

void sleep_end(const struct sleep_word *word, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (word[i].asleep != NULL)
			set_asleep(word[i].asleep, 0);
}

/* ---- the kernel ---- */

static struct timespec at(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_SEC), .tv_nsec = (long)(ns % NS_PER_SEC)};
}

/* What a futex call came to: 0, a word has changed or somebody was woken. */
static int outcome(long result)
{
	return result >= 0 || (errno != ETIMEDOUT && errno != EINTR && errno != ENOSYS && errno != EPERM)
	               ? 0
	               : -errno;
}

static uint32_t expected(const struct sleep_word *word)
{
	return word->bell != NULL ? word->seen | BELL_MARK : word->seen;
}

static int wait_for_one(const struct sleep_word *word, uint64_t until_ns)
{
	struct timespec until = at(until_ns);
	return outcome(syscall(SYS_futex, word->word, FUTEX_WAIT_BITSET, expected(word), &until, NULL,
	                       FUTEX_BITSET_MATCH_ANY));
}

static int wait_for_several(const struct sleep_word *word, unsigned n, uint64_t until_ns)
{
	struct futex_waitv wait[SLEEP_AT_ONCE];
	struct timespec until = at(until_ns);
	for (unsigned i = 0; i < n; i++)
		wait[i] = (struct futex_waitv){
		        .val = expected(&word[i]), .uaddr = (uintptr_t)word[i].word, .flags = FUTEX_32};
	return outcome(syscall(SYS_futex_waitv, wait, n, 0, &until, CLOCK_MONOTONIC));
}

int sleep_wait(const struct sleep_word *word, unsigned n, uint64_t deadline_ns)
{
	static _Atomic bool denied;
	struct timespec deadline = at(deadline_ns);
	if (n == 0)
		return -(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, NULL) == EINTR
		                 ? EINTR
		                 : ETIMEDOUT);
	for (;;) {
		unsigned first = n == 1 || denied ? 1 : n < SLEEP_AT_ONCE ? n : SLEEP_AT_ONCE;
		uint64_t slice_ns = clock_monotonic_ns() + SLEEP_SLICE_NS;
		uint64_t until_ns = first == n || deadline_ns < slice_ns ? deadline_ns : slice_ns;
		int result =
		        first == 1 ? wait_for_one(word, until_ns) : wait_for_several(word, first, until_ns);
		if (first > 1 && (result == -ENOSYS || result == -EPERM)) {
			denied = true;
			continue;
		}
		/* A wait whose time is over compares, and is back at once. */
		for (unsigned i = first; i < n && result == -ETIMEDOUT; i++)
			result = wait_for_one(&word[i], 0);
		if (result != -ETIMEDOUT || clock_monotonic_ns() >= deadline_ns)
			return result;
	}
}

bool sleep_any(const struct sleep_word *word, unsigned n, uint64_t timeout_ns)
{
	uint64_t now_ns = clock_monotonic_ns();
	if (sleep_begin(word, n))
		return true;
	int result = sleep_wait(word, n,
	                        timeout_ns > UINT64_MAX / 2 - now_ns ? UINT64_MAX / 2 : now_ns + timeout_ns);
	sleep_end(word, n);
	return result == 0;
}

void sleep_wake(const _Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}
