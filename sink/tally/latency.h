/* Histograms of the latencies of deliveries, in microseconds.
 *
 *     bucket   0        1        2        3        4         5         ...  104
 *     up to    64       80       96       112      128       160       ...  2^32       (inclusive)
 *
 * Four buckets for each power of two, so a bucket's bound is at most a quarter above any latency in
 * it. In tally.db (book_delivery.h) a histogram is the number of its first bucket that is not 0,
 * and the counts from there to the last one that is not 0, as unsigned 64-bit numbers, little
 * endian.
 */
#ifndef SINK_TALLY_LATENCY_H
#define SINK_TALLY_LATENCY_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LATENCY_FIRST_POWER 6u
#define LATENCY_BUCKETS     (1u + 4u * (32u - LATENCY_FIRST_POWER))
#define LATENCY_BYTES_MAX   (LATENCY_BUCKETS * sizeof(uint64_t))

static inline unsigned latency_bucket(uint32_t us)
{
	if (us <= 1u << LATENCY_FIRST_POWER)
		return 0;
	uint32_t below = us - 1;
	unsigned power = 31u - (unsigned)__builtin_clz(below);
	return 1u + 4u * (power - LATENCY_FIRST_POWER) + (below >> (power - 2u) & 3u);
}

/* Upper bound of a bucket, inclusive. */
static inline uint64_t latency_bound(unsigned bucket)
{
	if (bucket == 0)
		return 1u << LATENCY_FIRST_POWER;
	unsigned power = LATENCY_FIRST_POWER + (bucket - 1u) / 4u;
	return ((uint64_t)5u + (bucket - 1u) % 4u) << (power - 2u);
}

/* How many latencies there are. */
static inline uint64_t latency_total(const uint64_t bucket[LATENCY_BUCKETS])
{
	uint64_t total = 0;
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
		total += bucket[i];
	return total;
}

/* The bound of the bucket in which the latency lies that `percent` of all do not exceed (the
 * nearest rank). 0 when there are none. 0 < percent <= 100. */
static inline uint64_t latency_percentile(const uint64_t bucket[LATENCY_BUCKETS], unsigned percent)
{
	uint64_t total = latency_total(bucket), passed = 0;
	uint64_t rank = (uint64_t)(((unsigned __int128)total * percent + 99u) / 100u);
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
		passed += bucket[i];
		if (total != 0 && passed >= rank)
			return latency_bound(i);
	}
	return 0;
}

/* As it is stored. Returns the bytes; 0, with *first 0, for an empty one. */
static inline size_t latency_pack(const uint64_t bucket[LATENCY_BUCKETS],
                                  unsigned char out[LATENCY_BYTES_MAX], unsigned *first)
{
	unsigned begin = 0, end = LATENCY_BUCKETS;
	while (end > 0 && bucket[end - 1] == 0)
		end--;
	while (begin < end && bucket[begin] == 0)
		begin++;
	*first = begin < end ? begin : 0;
	for (unsigned i = begin; i < end; i++) {
		uint64_t word = htole64(bucket[i]);
		memcpy(out + (i - begin) * sizeof word, &word, sizeof word);
	}
	return (end - begin) * sizeof(uint64_t);
}

/* Adds a stored one. False, and nothing is added, for what latency_pack has not made. */
static inline bool latency_add(uint64_t bucket[LATENCY_BUCKETS], int64_t first, const void *packed,
                               size_t bytes)
{
	if (first < 0 || bytes % sizeof(uint64_t) != 0 || bytes > LATENCY_BYTES_MAX ||
	    (uint64_t)first > LATENCY_BUCKETS - bytes / sizeof(uint64_t))
		return false;
	for (size_t i = 0; i < bytes / sizeof(uint64_t); i++) {
		uint64_t word;
		memcpy(&word, (const unsigned char *)packed + i * sizeof word, sizeof word);
		bucket[(size_t)first + i] += le64toh(word);
	}
	return true;
}

#endif
