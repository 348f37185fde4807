#include "serve/live_feed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define ROOM_MIN 8192u

/* ---- rate ---- */

void live_rate_init(struct live_rate *rate, unsigned per_second, uint64_t now_ns)
{
	*rate = (struct live_rate){.per_second = per_second, .credit_ns = NS_PER_SEC, .at_ns = now_ns};
}

bool live_rate_take(struct live_rate *rate, uint64_t now_ns)
{
	uint64_t cost_ns = NS_PER_SEC / rate->per_second;
	uint64_t since_ns = now_ns > rate->at_ns ? now_ns - rate->at_ns : 0;
	rate->at_ns += since_ns;
	rate->credit_ns = since_ns > NS_PER_SEC - rate->credit_ns ? NS_PER_SEC : rate->credit_ns + since_ns;
	if (rate->credit_ns < cost_ns)
		return false;
	rate->credit_ns -= cost_ns;
	return true;
}

/* ---- memory ---- */

struct live_feed *live_feed_new(const struct live_wish *wish, unsigned per_second, size_t max,
                                uint64_t now_ns)
{
	struct filters_why why;
	struct live_feed *feed = calloc(1, sizeof *feed);
	if (feed == NULL)
		return NULL;
	feed->key = strdup(wish->key);
	feed->max = max;
	live_rate_init(&feed->rate, per_second, now_ns);
	/* The wish has tried them. */
	if (filters_init(&feed->filters, wish->type, wish->topic, (const char *const *)wish->filter, wish->n,
	                 &why) != 0 ||
	    feed->key == NULL) {
		live_feed_free(feed);
		return NULL;
	}
	return feed;
}

void live_feed_free(struct live_feed *feed)
{
	filters_fini(&feed->filters);
	free(feed->key);
	free(feed->text);
	free(feed);
}

static bool grow(struct live_feed *feed)
{
	size_t room = feed->room == 0 ? ROOM_MIN : 2 * feed->room;
	if (feed->room == feed->max)
		return false;
	if (room > feed->max)
		room = feed->max;
	char *text = realloc(feed->text, room);
	if (text == NULL)
		return false;
	feed->text = text;
	feed->room = room;
	return true;
}

/* ---- records ---- */

/* An event that does not fit in the message any more is left out. */
static bool add(struct live_feed *feed, const struct record *record, const char *origin, uint64_t position)
{
	for (;;) {
		size_t comma = feed->n > 0;
		if (feed->room > feed->used + comma) {
			char *at = feed->text + feed->used;
			int n = event_json(at + comma, feed->room - feed->used - comma, record, origin,
			                   position);
			if (n >= 0) {
				if (comma > 0)
					*at = ',';
				feed->used += comma + (size_t)n;
				return true;
			}
			if (n != -ENOSPC)
				return false;
		}
		if (!grow(feed))
			return false;
	}
}

void live_feed_take(struct live_feed *feed, const struct record *record, const char *origin,
                    uint64_t position, uint64_t now_ns)
{
	if (!filters_hold(&feed->filters, record))
		return;
	feed->passed++;
	if (live_rate_take(&feed->rate, now_ns))
		feed->n += add(feed, record, origin, position);
}

void live_feed_clear(struct live_feed *feed)
{
	feed->used = 0;
	feed->n = 0;
}
