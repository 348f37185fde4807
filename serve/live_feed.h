/* What several clients of /live share that want the same events: the filters, which events of the
 * last moment are sent, and their text.
 *
 *     record --filters--> passed --rate--> text "{...},{...}"  --every 250 ms--> one message for all
 *                                   '----> left out: clients see it in their counts
 *
 * One thread.
 */
#ifndef SERVE_LIVE_FEED_H
#define SERVE_LIVE_FEED_H

#include "event/filter.h"
#include "serve/live_wish.h"

/* So many a second, and as many at once after a quiet second. */
struct live_rate {
	unsigned per_second;
	uint64_t credit_ns, at_ns;
};

void live_rate_init(struct live_rate *rate, unsigned per_second, uint64_t now_ns);

/* Whether one more may go now. */
bool live_rate_take(struct live_rate *rate, uint64_t now_ns);

struct live_client;
struct live_topic;

struct live_feed {
	struct live_feed *next; /* of the topic */
	struct live_topic *topic;
	struct live_client *first; /* of those who want it */
	char *key;
	struct filters filters;
	struct live_rate rate;
	uint64_t passed; /* by the filters, since it began */
	/* Since the last message. */
	char *text; /* events, with commas between them */
	size_t used, room, max;
	unsigned n;
};

/* NULL: no memory. max: bytes of the text of a message. */
struct live_feed *live_feed_new(const struct live_wish *wish, unsigned per_second, size_t max,
                                uint64_t now_ns);

void live_feed_free(struct live_feed *feed);

/* A record of the topic, which passes event_check; origin: "<generation>-<topic>-<lane>". */
void live_feed_take(struct live_feed *feed, const struct record *record, const char *origin,
                    uint64_t position, uint64_t now_ns);

/* The text has become a message: begins the next one. */
void live_feed_clear(struct live_feed *feed);

#endif
