/* Latencies of answers: a log-linear histogram, as in HdrHistogram (G. Tene, hdrhistogram.org).
 *
 *     value    0 1 2 ... 127 | 128 .. 255 | 256 .. 511  | 512 .. 1023 | ...      nanoseconds
 *     buckets  one each      | 128 of 1   | 128 of 2    | 128 of 4    | ...
 *
 * Every power of two has the same number of buckets. So every value is known to within 1/128, and
 * the memory does not grow with the number of values.
 */
#ifndef CLI_LOAD_SEND_HTTP_HISTOGRAM_H
#define CLI_LOAD_SEND_HTTP_HISTOGRAM_H

#include <math.h>
#include <stdint.h>

#define SEND_HTTP_HISTOGRAM_BITS    7u
#define SEND_HTTP_HISTOGRAM_STEP    (1u << SEND_HTTP_HISTOGRAM_BITS)
#define SEND_HTTP_HISTOGRAM_BUCKETS ((64 - SEND_HTTP_HISTOGRAM_BITS + 1) * SEND_HTTP_HISTOGRAM_STEP)

/* All zero: empty. */
struct send_http_histogram {
	uint64_t n;
	uint64_t max;
	uint64_t bucket[SEND_HTTP_HISTOGRAM_BUCKETS];
};

/* The bucket of a value. */
static inline uint32_t send_http_histogram_index(uint64_t value)
{
	if (value < SEND_HTTP_HISTOGRAM_STEP)
		return (uint32_t)value;
	uint32_t shift = 63 - SEND_HTTP_HISTOGRAM_BITS - (uint32_t)__builtin_clzll(value);
	return (shift << SEND_HTTP_HISTOGRAM_BITS) + (uint32_t)(value >> shift);
}

static inline void send_http_histogram_add(struct send_http_histogram *histogram, uint64_t value)
{
	histogram->bucket[send_http_histogram_index(value)]++;
	histogram->n++;
	if (value > histogram->max)
		histogram->max = value;
}

/* The greatest value of a bucket. */
static inline uint64_t send_http_histogram_value(uint32_t index)
{
	if (index < SEND_HTTP_HISTOGRAM_STEP)
		return index;
	uint32_t shift = (index >> SEND_HTTP_HISTOGRAM_BITS) - 1;
	uint64_t first = (uint64_t)(index - (shift << SEND_HTTP_HISTOGRAM_BITS)) << shift;
	return first + ((1ull << shift) - 1);
}

/* The value that `percent` (0 .. 100) of all values do not exceed: the greatest of its bucket, at
 * most max. 0 when empty. */
static inline uint64_t send_http_histogram_percentile(const struct send_http_histogram *histogram,
                                                      double percent)
{
	double rank = ceil(percent / 100 * (double)histogram->n);
	uint64_t wanted = rank < 1 ? 1 : (uint64_t)rank, seen = 0;
	for (uint32_t i = 0; i < SEND_HTTP_HISTOGRAM_BUCKETS; i++) {
		seen += histogram->bucket[i];
		if (seen >= wanted) {
			uint64_t value = send_http_histogram_value(i);
			return value < histogram->max ? value : histogram->max;
		}
	}
	return histogram->max;
}

#endif
