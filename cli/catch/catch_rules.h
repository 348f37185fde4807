/* What `millrace catch` answers: chosen codes, delays and failures, for all paths or for some.
 *
 *     --answer 200:0.9,500:0.1   --answer /down=503   --delay /slow=2s   --close /down=0.1
 *              '- share                    '- for paths that begin so; the longest that fits counts
 *
 * What a path does not say is as for all paths. One draw decides whether a request hangs, whether
 * its connection is closed, and then its status.
 */
#ifndef CLI_CATCH_RULES_H
#define CLI_CATCH_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CATCH_RULES_MAX   64u
#define CATCH_CHOICES_MAX 16u

struct catch_choice {
	uint16_t status; /* 200 .. 599 */
	double share;
};

struct catch_rule {
	const char *path; /* in argv; "" for all */
	size_t path_bytes;
	struct catch_choice choice[CATCH_CHOICES_MAX];
	unsigned n;
	uint64_t delay_ns, delay_more_ns; /* at least, and up to so much more */
	double hang, close;               /* shares */
	bool says_delay, says_hang, says_close;
};

struct catch_rules {
	struct catch_rule rule[CATCH_RULES_MAX]; /* [0] is that for all paths */
	unsigned n;
};

/* What happens to one request. */
struct catch_fate {
	uint16_t status; /* when it is answered */
	bool hangs, closes;
	uint64_t delay_ns;
};

/* 200 at once, for all. */
void catch_rules_init(struct catch_rules *rules);

/* Adds one option's value: "[/PATH=]VALUE". option is "answer", "delay", "hang" or "close". Returns
 * NULL, or what would be right. */
const char *catch_rules_add(struct catch_rules *rules, const char *option, const char *value);

/* After the last of them: fills in what the paths do not say. */
void catch_rules_end(struct catch_rules *rules);

/* draw: two random numbers from 0 up to 1. */
struct catch_fate catch_rules_fate(const struct catch_rules *rules, const char *target, size_t bytes,
                                   const double draw[2]);

#endif
