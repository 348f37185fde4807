/* What an attempt's end means, and when the next one is.
 *
 *     2xx                              delivered
 *     no answer: connection, TLS, time again
 *     408 425 429 5xx                  again; Retry-After counts
 *     status in `final`                dead (400 405 413 414 422 and 3xx by default)
 *     410                              gone: the endpoint takes no more
 *     other 4xx, 1xx, what is left     again
 *     refused by the guard             dead
 *
 * Waits: schedule[i] after attempt i + 1, or base * factor^i, at most cap. Each is shortened or
 * lengthened by up to `jitter` of itself, by chance. Retry-After lengthens the wait, up to
 * retry_after_most, and never shortens it. After the last entry, or `attempts`, the postback is
 * dead.
 *
 * Everything here is a function of its arguments: the clock and chance are the caller's.
 */
#ifndef DELIVER_RETRY_H
#define DELIVER_RETRY_H

#include "config/config.h"
#include "shm/segment.h"

#define RETRY_SCHEDULE_MAX 64u

enum retry_outcome { RETRY_DELIVERED, RETRY_AGAIN, RETRY_DEAD, RETRY_GONE };

struct retry {
	uint64_t wait_ns[RETRY_SCHEDULE_MAX];
	unsigned n; /* waits; attempts are one more */
	double jitter;
	uint64_t retry_after_most_ns;
	uint8_t final[75]; /* bit (status - 100 + ...): a status 100 to 699 that is not tried again */
};

/* From section.retry.* and section.final. Returns 0, or -EINVAL with "KEY: ..." in error. */
int retry_init(struct retry *retry, const struct config *config, const char *section,
               struct shm_error *error);

/* result: sender_request.result; status: 0 when there was none. */
enum retry_outcome retry_judge(const struct retry *retry, int result, unsigned status);

/* Wait after `attempts` have failed (at least 1), or UINT64_MAX: it was the last. chance: any 64
 * random bits. retry_after_s: -1 none. */
uint64_t retry_wait_ns(const struct retry *retry, unsigned attempts, int64_t retry_after_s, uint64_t chance);

/* The longest that a postback can be on its way by its waits: one that waits for its endpoint
 * longer than that is dead. */
uint64_t retry_horizon_ns(const struct retry *retry);

#endif
