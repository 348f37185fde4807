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

/* Never FUTEX_PRIVATE_FLAG: waiter and waker are different processes. */
static void futex_wait(const struct ck_ec_wait_state *state, const uint32_t *address, uint32_t expected,
                       const struct timespec *deadline)
{
	(void)state;
	long result = syscall(SYS_futex, address, FUTEX_WAIT_BITSET, expected, deadline, NULL,
	                      FUTEX_BITSET_MATCH_ANY);
	if (result != 0 && errno == EINTR)
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

/* Many ring one bell, so it is ck_ec's multiple-producer kind, which loses no flag: the exponential
 * back-off that the single-producer kind needs would only cost wake-ups, hence the long first
 * wait. */
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

bool bell_wait(struct bell *bell, uint32_t seen, uint64_t timeout_ns)
{
	struct timespec deadline;
	clock_gettime(CLOCK_MONOTONIC, &deadline);
	uint64_t ns = (uint64_t)deadline.tv_nsec + timeout_ns % 1000000000u;
	deadline.tv_sec += (time_t)(timeout_ns / 1000000000u + ns / 1000000000u);
	deadline.tv_nsec = (long)(ns % 1000000000u);
	interrupted = false;
	limit = deadline;
	return ck_ec32_wait_pred(count_of(bell), &bell_mode, seen, bound_the_sleep, NULL, &deadline) == 0;
}
