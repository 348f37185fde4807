/* A token bucket: `rate` requests a second, and up to `burst` at once after a pause.
 *
 *     next      when the next request is due at the rate, were there no bursts
 *     allowed   from next - (burst - 1) / rate on
 *
 * It is kept as one time (the generic cell rate algorithm, ITU-T I.371, virtual scheduling), and
 * the part of a nanosecond that 1/rate leaves is kept too: over any time there are at most burst +
 * time * rate requests, and no fewer than that by rounding, however long it runs.
 */
#ifndef DELIVER_BUCKET_H
#define DELIVER_BUCKET_H

#include <stdint.h>

#include "base/clock.h"

/* Zero at first: full. */
struct bucket {
	uint64_t next_ns;
	uint64_t part; /* of a nanosecond, in 1/rate */
};

/* When the next request may go: at most now_ns when it may now. rate 0: always. */
static inline uint64_t bucket_due_ns(const struct bucket *bucket, uint64_t rate, uint64_t burst)
{
	uint64_t ahead_ns = rate == 0 ? 0 : (burst - 1) * NS_PER_SEC / rate;
	return rate == 0 || bucket->next_ns < ahead_ns ? 0 : bucket->next_ns - ahead_ns;
}

/* A request goes. */
static inline void bucket_take(struct bucket *bucket, uint64_t rate, uint64_t now_ns)
{
	if (rate == 0)
		return;
	if (bucket->next_ns < now_ns)
		*bucket = (struct bucket){.next_ns = now_ns};
	bucket->next_ns += NS_PER_SEC / rate;
	bucket->part += NS_PER_SEC % rate;
	if (bucket->part >= rate) {
		bucket->part -= rate;
		bucket->next_ns++;
	}
}

#endif
