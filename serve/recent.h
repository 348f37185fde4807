/* The last attempts to deliver postbacks, in memory: what GET /deliveries shows.
 *
 *     topic delivery --an onlooker--> recent_poll --> entry[N], a ring: id, time, outcome, status, where
 *                                                           '--> bytes[B], a ring: the records themselves
 *                                                                    recent_list: the newest first, filtered, in pages
 *                                                                    recent_find: all of one postback, the oldest first
 *
 * Bounded by serve.recent_deliveries and serve.recent_bytes: the oldest go. The onlooker holds up
 * no writer; what it missed is counted. At the start, and when a reload has brought lanes, it takes
 * what the lanes still have. Attempts have numbers, from 1 on in the order in which they were read;
 * they are those of this life.
 *
 * A search goes over the entries; of those that pass, one for a host looks at the record. One
 * thread.
 */
#ifndef SERVE_RECENT_H
#define SERVE_RECENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "event/event.h"
#include "shm/topic.h"

#define RECENT_TOPIC        "delivery"
#define RECENT_POLL_RECORDS 1000u
#define RECENT_RECORD_MAX   32768u /* a longer one is left out; deliver writes at most half of that */
#define RECENT_BYTES_MIN    65536u

struct recent; /* opaque */

/* At most so many attempts, and so many bytes of them. NULL: no memory. */
struct recent *recent_new(uint64_t attempts, uint64_t bytes);

/* Leaves. The instance that recent_poll had last must still be attached. */
void recent_free(struct recent *recent);

/* Bytes that it takes. */
uint64_t recent_bytes_max(uint64_t attempts, uint64_t bytes);

/* Reads what has come, at most RECENT_POLL_RECORDS. Attaches to the topic when it is there (an
 * instance has it when it delivers), and anew when the instance has another page. Returns true when
 * it read something. */
bool recent_poll(struct recent *recent, const struct instance *instance, uint64_t now_ns);

struct recent_state {
	bool attached;
	uint64_t held, held_bytes; /* now */
	uint64_t read, missed;     /* of this life; missed: overrun by the writer */
	uint64_t left_out;         /* that were too long, or no attempts */
	const char *reason;        /* why it is not attached; "" it is, or there is no such topic; recent's */
};
void recent_look(const struct recent *recent, struct recent_state *state);

#define RECENT_ANY       (-1)
#define RECENT_NEXT_PAGE 2

/* What an attempt has to be; all of it counts. */
struct recent_filter {
	int outcome; /* enum delivery_outcome, or RECENT_ANY */
	int status;  /* of the answer, 0: there was none; or RECENT_ANY */
	/* "api.example.com", "api.example.com:8443", "::1", "[::1]:80"; case does not count; NULL:
	 * any */
	const char *host;
	uint64_t since_ns; /* it began then or later, CLOCK_REALTIME */
	uint64_t before;   /* its number is smaller; 0: any */
};

/* An attempt as it is held, until the next call of recent_poll. */
struct recent_attempt {
	uint64_t number;
	const struct record *record; /* passes event_check */
	unsigned lane;
	uint64_t position, generation; /* with lane the name of the record */
};

/* 0: go on; RECENT_NEXT_PAGE: end before this one; anything else: end after it. */
typedef int recent_each(void *argument, struct recent *recent, const struct recent_attempt *attempt);

/* Calls each for those that pass, the newest first, `most` at most, until it returns other than 0.
 * Returns how many it took; *next is set to `before` for the rest, 0 when there are no more, or it
 * ended after one. */
uint64_t recent_list(struct recent *recent, const struct recent_filter *filter, uint64_t most,
                     recent_each *each, void *argument, uint64_t *next);

/* The same for all attempts of the postback with this id, the oldest first. */
uint64_t recent_find(struct recent *recent, const uint64_t id[2], recent_each *each, void *argument);

/* An attempt as JSON, as `millrace tap delivery` prints it; without the answer's body unless whole.
 * NULL: no memory. */
json_t *recent_json(struct recent *recent, const struct recent_attempt *attempt, bool whole);

#endif
