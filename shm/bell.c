#include "shm/bell.h"

#include <ck_ec.h>
#include <errno.h>
#include <linux/futex.h>
#include <limits.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

_Static_assert(sizeof(struct ck_ec32) == sizeof(uint32_t), "a bell's word is a ck_ec32");

/* Set when a wait ended by a signal: ck_ec would go back to sleep, the predicate below stops it. */
static _Thread_local bool interrupted;
static _Thread_local struct timespec
        limit; /* of the wait in progress: ck_ec would sleep its first wait whole */

static int read_clock(const struct ck_ec_ops *ops, struct timespec *out)
{
	(void)ops;
	return clock_gettime(CLOCK_MONOTONIC, out);
}

/* Returns 0 or errno. Never FUTEX_PRIVATE_FLAG: waiter and waker are different processes. */
static int sleep_on(const uint32_t *address, uint32_t expected, const struct timespec *deadline)
{
	return syscall(SYS_futex, address, FUTEX_WAIT_BITSET, expected, deadline, NULL,
	               FUTEX_BITSET_MATCH_ANY) == 0
	               ? 0
	               : errno;
}

static void futex_wait(const struct ck_ec_wait_state *state, const uint32_t *address, uint32_t expected,
                       const struct timespec *deadline)
{
	(void)state;
	if (sleep_on(address, expected, deadline) == EINTR)
		interrupted = true;
}

static void futex_wake(const struct ck_ec_ops *ops, const uint32_t *address)
{
	(void)ops;
	syscall(SYS_futex, address, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static int bound_the_sleep(const struct ck_ec_wait_state *state, struct timespec *deadline)
{
	(void)state;
	if (limit.tv_sec < deadline->tv_sec ||
	    (limit.tv_sec == deadline->tv_sec && limit.tv_nsec < deadline->tv_nsec))
		*deadline = limit;
	return interrupted ? 1 : 0;
}

/* Several processes ring one bell, so it is ck_ec's multiple-producer kind, which loses no flag.
 * The exponential back-off that the single-producer kind needs would only cost wake-ups, hence the
 * long first wait. */
static const struct ck_ec_ops bell_ops = {
        .gettime = read_clock,
        .wait32 = futex_wait,
        .wake32 = futex_wake,
        .initial_wait_ns = 1000000000u,
};
static const struct ck_ec_mode bell_mode = {.ops = &bell_ops, .single_producer = false};

static struct ck_ec32 *count_of(const struct bell *bell)
{
	return (struct ck_ec32 *)(uintptr_t)&bell->word;
}

void bell_ring(struct bell *bell)
{
	ck_ec32_inc(count_of(bell), &bell_mode);
}

uint32_t bell_value(const struct bell *bell)
{
	return ck_ec32_value(count_of(bell));
}

static struct timespec time_after(struct timespec from, uint64_t ns)
{
	ns += (uint64_t)from.tv_nsec;
	return (struct timespec){.tv_sec = from.tv_sec + (time_t)(ns / 1000000000u),
	                         .tv_nsec = (long)(ns % 1000000000u)};
}

static struct timespec time_now(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now;
}

static bool time_is_before(struct timespec a, struct timespec b)
{
	return a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

bool bell_wait(struct bell *bell, uint32_t seen, uint64_t timeout_ns)
{
	struct timespec deadline = time_after(time_now(), timeout_ns);
	interrupted = false;
	limit = deadline;
	return ck_ec32_wait_pred(count_of(bell), &bell_mode, seen, bound_the_sleep, NULL, &deadline) == 0;
}

/* ---- several bells ---- */

/* The bit of a ck_ec32 that says: a process sleeps. A ring that finds it clears it and wakes. */
#define SLEEPER (1u << 31)

/* Marks the bell as slept on. False: it was rung since `seen`. */
static bool announce_sleeper(struct bell *bell, uint32_t seen)
{
	uint32_t word = __atomic_load_n(&bell->word, __ATOMIC_ACQUIRE);
	while (word == seen)
		if (__atomic_compare_exchange_n(&bell->word, &word, seen | SLEEPER, false, __ATOMIC_SEQ_CST,
		                                __ATOMIC_ACQUIRE))
			return true;
	return word == (seen | SLEEPER);
}

/* Until one of the words is no longer its `seen` with SLEEPER. Returns 0, or errno of the wait. */
static int sleep_on_any(struct bell *const bell[], const uint32_t seen[], unsigned n,
                        const struct timespec *deadline)
{
	static _Atomic bool denied;
	struct futex_waitv word[BELL_WAIT_MAX];
	for (unsigned i = 0; i < n; i++)
		word[i] = (struct futex_waitv){
		        .val = seen[i] | SLEEPER, .uaddr = (uintptr_t)&bell[i]->word, .flags = FUTEX_32};
	if (n > 1 && !denied) {
		if (syscall(SYS_futex_waitv, word, n, 0, deadline, CLOCK_MONOTONIC) >= 0)
			return 0;
		if (errno != ENOSYS && errno != EPERM)
			return errno;
		denied = true;
	}
	struct timespec slice = time_after(time_now(), BELL_WAIT_SLICE_NS);
	if (n == 1 || time_is_before(*deadline, slice))
		slice = *deadline;
	int result = sleep_on(&bell[0]->word, seen[0] | SLEEPER, &slice);
	return result == ETIMEDOUT && time_is_before(time_now(), *deadline) ? 0 : result;
}

bool bell_wait_any(struct bell *const bell[], const uint32_t seen[], unsigned n, uint64_t timeout_ns)
{
	struct timespec deadline = time_after(time_now(), timeout_ns);
	for (int result = 0;;) {
		for (unsigned i = 0; i < n; i++)
			if (!announce_sleeper(bell[i], seen[i]))
				return true;
		if (result != 0 && result != EAGAIN)
			return false;
		result = sleep_on_any(bell, seen, n, &deadline);
	}
}
