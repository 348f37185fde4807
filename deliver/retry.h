/* What an attempt's end means, and when the next one is.
 *
 *     2xx                              delivered
 *     410                              gone: the endpoint takes no more (with `gone: 0` as below)
 *     status in `final`                dead (400 405 413 414 422 and 3xx by default)
 *     all other answers                again: 408 425 429 5xx, other 4xx, 1xx, what is no status; Retry-After counts
 *     no answer: name, connection,     again
 *       TLS, time
 *     refused by the guard; a URL      dead
 *       that no request can have
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

/* What `final` can name: from 300 up to 599. */
#define RETRY_STATUS     300u
#define RETRY_STATUS_END 600u

enum retry_outcome { RETRY_DELIVERED, RETRY_AGAIN, RETRY_DEAD, RETRY_GONE };

struct retry {
	uint64_t wait_ns[RETRY_SCHEDULE_MAX];
	unsigned n; /* waits; attempts are one more */
	double jitter;
	uint64_t retry_after_most_ns;
	bool gone; /* 410 says that the endpoint is gone (section.gone is not 0) */
	uint8_t final[(RETRY_STATUS_END - RETRY_STATUS + 7) /
	              8]; /* bit (status - RETRY_STATUS): not tried again */
};

/* From section.retry.*, section.final and section.gone. Returns 0, or -EINVAL with "KEY: ..." in
 * error. */
int retry_init(struct retry *retry, const struct config *config, const char *section,
               struct shm_error *error);

/* result: sender_request.result; status: 0 when there was none. */
enum retry_outcome retry_judge(const struct retry *retry, int result, unsigned status);

/* Wait after `attempts` have failed (at least 1), or UINT64_MAX: it was the last. chance: any 64
 * random bits. retry_after_s: -1 none. */
uint64_t retry_wait_ns(const struct retry *retry, unsigned attempts, int64_t retry_after_s, uint64_t chance);

/* The longest that a postback can be on its way by its waits, and a day at least, since a backlog
 * takes its time also where nothing is tried again: one that waits for its endpoint longer than
 * that is dead. */
uint64_t retry_horizon_ns(const struct retry *retry);

#endif
