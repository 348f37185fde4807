/* What is due when: a binary heap of things that have their time within them. The earliest in one
 * step, in and out in log2(n) steps; of one time in no order.
 */
#ifndef DELIVER_DUE_H
#define DELIVER_DUE_H

#include <stddef.h>
#include <stdint.h>

/* Zero at first: in no heap. */
struct due {
	uint64_t at_ns;
	size_t place; /* in the heap, from 1; 0: not there */
};

struct dues {
	struct due **item; /* item[1] is the earliest */
	size_t n, most;
};

/* Room for `most`. Returns 0 or -ENOMEM. */
int dues_init(struct dues *dues, size_t most);
void dues_fini(struct dues *dues);

/* Puts it in, or to its new time. */
void dues_set(struct dues *dues, struct due *due, uint64_t at_ns);

/* Out of the heap; nothing when it is not there. */
void dues_remove(struct dues *dues, struct due *due);

/* The earliest, or NULL. */
static inline struct due *dues_first(const struct dues *dues)
{
	return dues->n == 0 ? NULL : dues->item[1];
}

#endif
