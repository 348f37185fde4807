#include "deliver/due.h"

#include <errno.h>
#include <stdlib.h>

int dues_init(struct dues *dues, size_t most)
{
	*dues = (struct dues){.item = calloc(most + 1, sizeof(struct due *)), .most = most};
	return dues->item == NULL ? -ENOMEM : 0;
}

void dues_fini(struct dues *dues)
{
	free(dues->item);
	*dues = (struct dues){.item = NULL};
}

static void put(struct dues *dues, size_t place, struct due *due)
{
	dues->item[place] = due;
	due->place = place;
}

/* From a place that is free on, up or down to where it belongs. */
static void settle(struct dues *dues, size_t place, struct due *due)
{
	while (place > 1 && due->at_ns < dues->item[place / 2]->at_ns) {
		put(dues, place, dues->item[place / 2]);
		place /= 2;
	}
	for (size_t child; (child = place * 2) <= dues->n; place = child) {
		if (child < dues->n && dues->item[child + 1]->at_ns < dues->item[child]->at_ns)
			child++;
		if (due->at_ns <= dues->item[child]->at_ns)
			break;
		put(dues, place, dues->item[child]);
	}
	put(dues, place, due);
}

void dues_set(struct dues *dues, struct due *due, uint64_t at_ns)
{
	due->at_ns = at_ns;
	if (due->place == 0) {
		if (dues->n == dues->most)
			abort(); /* more than its owner has */
		due->place = ++dues->n;
	}
	settle(dues, due->place, due);
}

void dues_remove(struct dues *dues, struct due *due)
{
	size_t place = due->place;
	if (place == 0)
		return;
	struct due *last = dues->item[dues->n--];
	due->place = 0;
	if (last != due)
		settle(dues, place, last);
}
