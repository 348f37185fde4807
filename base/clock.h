/* Time: nanoseconds as 64-bit integers.
 *
 * clock_monotonic_ns is for intervals and deadlines, clock_real_ns for time stamps that leave the
 * process. Units are in every name. See clock_gettime(2).
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_US     1000ull
#define NS_PER_MS     1000000ull
#define NS_PER_SEC    1000000000ull
#define NS_PER_MINUTE (60 * NS_PER_SEC)
#define MS_PER_MINUTE 60000
#define MS_PER_DAY    86400000

static inline uint64_t clock_read_ns(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_nsec;
}

static inline uint64_t clock_monotonic_ns(void)
{
	return clock_read_ns(CLOCK_MONOTONIC);
}

static inline uint64_t clock_real_ns(void)
{
	return clock_read_ns(CLOCK_REALTIME);
}

static inline int64_t clock_real_ms(void)
{
	return (int64_t)(clock_real_ns() / NS_PER_MS);
}

/* From one reading of a clock to a later one; 0 when the clock was set back meanwhile. */
static inline uint64_t clock_since_ns(uint64_t then, uint64_t now)
{
	return now > then ? now - then : 0;
}

#endif
