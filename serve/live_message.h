/* A message that several clients hold: made once, gone with the last of them.
 *
 *     live_message_new (1) --live_message_hold--> 2, 3 ... --live_message_release--> 0: freed
 *
 * All of a budget together have at most its bytes, so that clients that do not read cannot make
 * the process grow. One thread.
 */
#ifndef SERVE_LIVE_MESSAGE_H
#define SERVE_LIVE_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

struct live_budget {
	uint64_t held, max; /* bytes */
};

struct live_message {
	struct live_budget *budget;
	unsigned references;
	size_t bytes;
	char text[];
};

/* One with room for so many bytes, held once. NULL: the budget is used up, or no memory. */
struct live_message *live_message_new(struct live_budget *budget, size_t bytes);

struct live_message *live_message_hold(struct live_message *message);

/* NULL is allowed. */
void live_message_release(struct live_message *message);

#endif
