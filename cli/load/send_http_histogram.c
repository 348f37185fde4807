#include "cli/load/send_http_histogram.h"

#include <math.h>

uint64_t send_http_histogram_value(uint32_t index)
{
	if (index < SEND_HTTP_HISTOGRAM_STEP)
		return index;
	uint32_t shift = (index >> SEND_HTTP_HISTOGRAM_BITS) - 1;
	uint64_t first = (uint64_t)(index - (shift << SEND_HTTP_HISTOGRAM_BITS)) << shift;
	return first + ((1ull << shift) - 1);
}

uint64_t send_http_histogram_percentile(const struct send_http_histogram *histogram, double percent)
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
