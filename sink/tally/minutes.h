/* Attempts in memory: how many, by minute, endpoint and outcome, with their latencies.
 *
 *     minute[64]:  29,903,040 --> endpoint --> endpoint --> ...      each with a cell for each outcome:
 *                  29,903,041 --> endpoint ...                       count, sum of latencies, histogram
 *                       '-- other: those over the limit, and attempts without an endpoint
 *
 *     (minute, endpoint) --keyed hash--> chain --> endpoint
 *
 * Attempts end in another order than they begin, and a lane that waited holds many minutes, so
 * several are held: as many as fit. Clean ones (all committed) make room, the one that was longest
 * not touched first; when none is clean there is no room, and a commit must come first.
 *
 * A minute that comes back holds at first only what came since. What the table has of it is added
 * by the next write, endpoint by endpoint (minutes_make_whole): from then on its cells are what the
 * rows are to be. So nothing reads a database while attempts are counted.
 *
 * Limit: at most `endpoints` endpoints are told apart in a minute, in memory and in the table.
 * Which of them the table has is known when they are written; those that it may not have go to
 * `other` then.
 *
 * Memory is bounded: MINUTES_FULL minutes with all their endpoints, at most MINUTES_HELD in all.
 * One thread.
 */
#ifndef SINK_TALLY_MINUTES_H
#define SINK_TALLY_MINUTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/event.h"
#include "sink/tally/latency.h"

#define MINUTES_HELD          64u
#define MINUTES_FULL          4u
#define MINUTES_ENDPOINT_MAX  512u /* a longer one is cut, and so may fall together with others */
#define MINUTES_ENDPOINTS_MAX 100000u
#define MINUTES_NONE          UINT32_MAX

/* Of an outcome. Sums stop at INT64_MAX, which is what the database holds. */
struct minutes_cell {
	uint64_t count, sum_us;
	uint64_t bucket[LATENCY_BUCKETS]; /* of the attempts that came as far as a request */
	bool dirty;
};

struct minutes_endpoint {
	struct minutes_cell outcome[OUTCOME_COUNT];
	uint64_t hash;
	uint32_t next, next_of_minute; /* MINUTES_NONE ends */
	uint16_t bytes;
	uint8_t slot; /* of its minute */
	bool whole;   /* the cells hold what the table had too */
	bool entered; /* the table has it, or gets it by the next write */
	char text[MINUTES_ENDPOINT_MAX];
};

struct minute {
	int64_t minute; /* since 1970 */
	uint64_t touched;
	uint64_t dirty;   /* cells */
	uint64_t entered; /* endpoints, those in the table included; once known */
	uint32_t first;   /* of its endpoints here, without `other` */
	uint32_t held;    /* how many these are */
	bool used, known;
	struct minutes_endpoint other;
};

struct minutes {
	struct minute *minute; /* MINUTES_HELD */
	struct minutes_endpoint *endpoint;
	uint32_t *chain; /* first of each */
	uint32_t chain_mask;
	uint32_t capacity, n_taken; /* of endpoint[]; those from n_taken on were never used */
	uint32_t free, n_free;      /* of those before: a list by next_of_minute */
	uint32_t n_minutes, last;   /* last: the one found last, likely the next too */
	uint32_t limit;
	uint64_t dirty, clock;
	uint64_t beyond; /* attempts counted in `other` because of the limit, of this life */
	uint64_t key[2];
};

/* 1 <= endpoints <= MINUTES_ENDPOINTS_MAX. seed: 0 draws the key from the kernel (always, but in
 * tests). Returns 0; -ENOMEM; -EIO. Memory is address space, taken as it is needed. */
int minutes_init(struct minutes *minutes, uint32_t endpoints, uint64_t seed);
void minutes_fini(struct minutes *minutes);

/* Bytes that minutes of this limit can come to hold. */
uint64_t minutes_bytes_max(uint32_t endpoints);

/* There may be no room for an attempt of yet another minute or endpoint: commit first. */
bool minutes_full(const struct minutes *minutes);

/* Counts an attempt; not while full. A latency of 0 says that it came to no request: it is counted
 * without one. */
void minutes_add(struct minutes *minutes, int64_t minute, const char *endpoint, size_t bytes,
                 enum delivery_outcome outcome, uint32_t latency_us);

/* ---- writing ---- */

/* Puts a row of the table into what is stored of an endpoint, which begins as {0}. False, and
 * nothing is put, when the row makes no sense. */
bool minutes_put_stored(struct minutes_endpoint *stored, int64_t outcome, int64_t count, int64_t sum_us,
                        int64_t first, const void *latency, size_t bytes);

/* Adds what is stored to the endpoint, which is whole from then on. */
void minutes_make_whole(struct minutes_endpoint *endpoint, const struct minutes_endpoint *stored);

/* The table has so many endpoints of the minute: once, before minutes_enter. */
void minutes_know(struct minute *minute, uint64_t endpoints);

/* All endpoints of the minute are whole: those that the table does not have are entered, as far as
 * the limit allows; others are counted in `other` from now on. */
void minutes_enter(struct minutes *minutes, struct minute *minute);

/* The endpoint after this one of its minute; after NULL the first, which is `other`. NULL: no
 * more. */
struct minutes_endpoint *minutes_next(struct minutes *minutes, struct minute *minute,
                                      struct minutes_endpoint *endpoint);

/* All that is changed has been stored. */
void minutes_clean(struct minutes *minutes);

/* Forgets the minutes before this one that are clean. */
void minutes_forget(struct minutes *minutes, int64_t before);

#endif
