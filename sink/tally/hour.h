/* Statistics of the last hour, a minute each: of every metric, and of every account and metric.
 *
 *     minute & 63 --> minute: head[account] --> cell --> cell ...     least, greatest, sum, count of one metric,
 *                             total[metric] --> cell                  one cache line
 *                             (account, metric) --hash--> cell
 *
 * The window as seen at time t are the minutes floor(t/60s) - 59 .. floor(t/60s); hour_turn tells
 * the time. An event of a minute before it, or more than HOUR_AHEAD after it (the clock was set
 * back), belongs to no minute that is kept. Minutes that have left the window are forgotten at once
 * and deleted by the next commit.
 *
 * Sums have 128 bits, so nothing overflows. Account 0 stands for all accounts together, metric 0
 * for all metrics that have no number: names.h gives the numbers, here one more than there.
 *
 * At most `cells` pairs of account and metric are kept, counted over all minutes. What comes over
 * that, or from an account without a number, is in the totals of its metric and in the minute's
 * `beyond`. Cells lie in chunks that belong to one minute, so that a minute is forgotten as fast
 * however many it has. The hash is keyed: who sends events chooses the pairs. One thread.
 */
#ifndef SINK_TALLY_HOUR_H
#define SINK_TALLY_HOUR_H

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>

#define HOUR_MINUTES   60u
#define HOUR_AHEAD     3u
#define HOUR_SLOTS     64u
#define HOUR_CHUNK     256u /* cells */
#define HOUR_CELLS_MAX 1000000000u
#define HOUR_SECRETS   4u
#define HOUR_GONE_MAX  256u
#define HOUR_ALL       0u         /* account */
#define HOUR_OTHER     0u         /* metric */
#define HOUR_NOBODY    UINT32_MAX /* an account without a number */

_Static_assert(HOUR_MINUTES + HOUR_AHEAD <= HOUR_SLOTS, "no two minutes of a window share a slot");

struct hour_value {
	uint64_t count;
	int64_t least, greatest;
	__int128 sum;
};

struct hour_cell {
	alignas(64) uint32_t account;
	uint32_t metric;
	uint32_t next_plus; /* of the same account; 0: the last */
	struct hour_value value;
};
_Static_assert(sizeof(struct hour_cell) == 64, "a cell fills one line");

struct hour_slot {
	uint32_t tag;
	uint32_t cell_plus; /* 0: empty */
};

struct hour_minute {
	uint32_t minute; /* since 1970; 0: the slot is free */
	bool stored;     /* it may have rows in the database */
	struct hour_slot *slot;
	unsigned slot_bits;
	uint32_t *head;  /* by account: its last new cell + 1 */
	uint32_t *total; /* by metric: the cell of all accounts + 1 */
	uint64_t *dirty; /* bitmap of accounts */
	uint64_t n_dirty;
	uint64_t cells;                  /* of accounts */
	uint64_t beyond;                 /* events in the totals alone */
	uint32_t chunk_plus, chunk_used; /* where the next cell comes from */
};

struct hour_limits {
	uint64_t cells;             /* of accounts */
	uint32_t accounts, metrics; /* the greatest numbers there can be, as above */
};

struct hour {
	struct hour_minute minute[HOUR_SLOTS];
	uint32_t now; /* minute; 0: not known yet */
	struct hour_cell *cell;
	uint32_t *chunk_next; /* chunk + 1 of the same minute, or of the free ones */
	uint32_t free_plus, chunks_used, n_chunks;
	uint64_t cells;               /* of accounts, in all minutes */
	uint64_t room;                /* for them: the limit, or what was stored */
	uint64_t n_dirty;             /* rows that are changed, in all minutes */
	uint64_t outside;             /* events of no minute that is kept, in this life */
	uint32_t gone[HOUR_GONE_MAX]; /* minutes whose rows are to be deleted */
	unsigned n_gone;
	struct hour_limits limits;
	uint64_t secret[HOUR_SECRETS];
};

/* stored: cells of accounts that the database can hold; room is made for them even when the limit
 * is lower now. seed: 0 draws the secret words from the kernel (always, but in tests). Returns 0;
 * -ENOMEM; -EIO; -EINVAL when there are too many cells. */
int hour_init(struct hour *hour, const struct hour_limits *limits, uint64_t stored, uint64_t seed);

void hour_fini(struct hour *hour);

/* Bytes that an hour with these limits can come to hold. */
uint64_t hour_bytes_max(const struct hour_limits *limits);

/* The minute of now: forgets what has left the window. Time may go back. */
void hour_turn(struct hour *hour, uint32_t minute);

/* The minute of an event, begun when it is the first of it; NULL: it is not kept (counted in
 * `outside`). Before the first hour_turn the first event's minute is taken for now. Valid until
 * hour_turn. */
struct hour_minute *hour_minute(struct hour *hour, uint32_t minute);

/* No other minute may begin before a commit. */
static inline bool hour_full(const struct hour *hour)
{
	return hour->n_gone >= HOUR_GONE_MAX / 2;
}

static inline uint32_t hour_tag(const struct hour *hour, uint32_t account, uint32_t metric)
{
	const uint64_t *secret = hour->secret;
	uint64_t hash = (((uint64_t)account << 32 | metric) ^ secret[0]) * secret[1];
	hash = (hash ^ hash >> 32) * secret[2];
	return (uint32_t)((hash ^ hash >> 32) * secret[3] >> 32);
}

static inline const struct hour_slot *hour_home(const struct hour_minute *minute, uint32_t tag)
{
	return minute->slot + (tag >> (32 - minute->slot_bits));
}

/* Before hour_add, for events of a run: first this for all ... */
static inline void hour_fetch_slot(const struct hour_minute *minute, uint32_t tag)
{
	__builtin_prefetch(hour_home(minute, tag));
}

/* ... then this. */
static inline void hour_fetch_cell(const struct hour *hour, const struct hour_minute *minute, uint32_t tag)
{
	const struct hour_slot *slot = hour_home(minute, tag),
	                       *end = minute->slot + (1ull << minute->slot_bits);
	while (slot < end && slot->cell_plus != 0 && slot->tag != tag)
		slot++;
	if (slot < end && slot->cell_plus != 0)
		__builtin_prefetch(&hour->cell[slot->cell_plus - 1], 1);
}

/* Counts one event. account: HOUR_NOBODY or a number from 1 to limits.accounts; metric: HOUR_OTHER
 * or 1 to limits.metrics; tag: hour_tag of both (unused for HOUR_NOBODY). */
void hour_add(struct hour *hour, struct hour_minute *minute, uint32_t account, uint32_t metric, uint32_t tag,
              int64_t value);

/* The value of a pair in a minute; NULL: none. */
const struct hour_value *hour_find(const struct hour *hour, uint32_t minute, uint32_t account,
                                   uint32_t metric);

/* ---- loading: before anything is added ---- */

/* A cell as it was stored. Returns 0; -EINVAL for numbers over the limits, and for a minute that
 * has no place beside the others; -EEXIST; -ENOSPC. */
int hour_restore(struct hour *hour, uint32_t minute, uint32_t account, uint32_t metric,
                 const struct hour_value *value);

/* The same for a minute's `beyond`. */
int hour_restore_beyond(struct hour *hour, uint32_t minute, uint64_t beyond);

/* ---- committing ---- */

/* The first changed account of the minute from this number on; -1: none. */
int64_t hour_next_dirty(const struct hour *hour, const struct hour_minute *minute, uint32_t from);

/* Events of the window that are in no account's cells. */
uint64_t hour_beyond(const struct hour *hour);

/* Rows that a commit would write, or minutes whose rows it would delete. */
static inline uint64_t hour_rows(const struct hour *hour)
{
	return hour->n_dirty + hour->n_gone;
}

/* All that is changed has been stored. */
void hour_clean(struct hour *hour);

#endif
