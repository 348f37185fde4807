/* What goes to deliver.db, and what comes from there: one transaction for many deliveries.
 *
 *     writing_add: fate of a delivery --> list --commit--> its slot of the queue is freed (law 2), the delivery is free
 *     rows that are due --promote, claim--> deliveries ----'     (in the same transaction)
 *
 * A transaction begins when something has waited for commit_interval, when a quarter of the
 * deliveries waits, or when rows may be claimed and there is room for them; after one that took
 * long not before four times as long, unless a quarter waits, so that a slow disk leaves time for
 * sending.
 *
 * While the database fails nothing of the list is lost or freed, nothing spins, and what succeeds
 * goes on in the deliveries that are left: a try a second, `failing` and the note say so.
 */
#ifndef DELIVER_WRITING_H
#define DELIVER_WRITING_H

#include "deliver/delivery.h"
#include "deliver/waiting.h"

#define WRITING_MOST  1024u /* deliveries that one transaction writes, and rows that it claims */
#define WRITING_LOOKS 256u  /* endpoints that it asks about */

struct deliver;

struct writing {
	struct waiting *waiting; /* NULL while it cannot be opened again */
	const char *data_dir, *role;
	struct delivery *first, *last; /* in the order in which they came */
	unsigned n;
	struct delivery *claimed[WRITING_MOST]; /* by the open transaction */
	unsigned n_claimed;
	bool no_memory; /* for a row that the open transaction gave */
	uint64_t interval_ns;
	uint64_t since_ns;      /* the first one waits */
	uint64_t not_before_ns; /* the next transaction */
	uint64_t claim_ns;      /* rows are looked for then */
	uint64_t claimed_ns;    /* that was done last */
	uint64_t claim_wait_ns; /* and is done again after so long */
	uint64_t tidy_ns;       /* deliver.db is tidied up then */
	uint64_t longest_ns;
	struct waiting_counts counts;
	int failing; /* 0, or the -errno of the last try */
	char reason[160];
};

/* Opens deliver.db. Returns 0 or -errno with the reason. */
int writing_open(struct deliver *deliver, struct shm_error *error);
void writing_close(struct deliver *deliver);

/* The delivery, known to no host any more, waits for its fate to become safe. */
void writing_add(struct deliver *deliver, struct delivery *delivery, enum delivery_fate fate);

/* Runs a transaction when one is due. True when it did something. */
bool writing_poll(struct deliver *deliver);

/* How long to sleep at most, of timeout_ns. */
uint64_t writing_timeout(const struct deliver *deliver, uint64_t timeout_ns);

/* Rows that had no room may have some: a circuit is probed, or has closed. */
void writing_look(struct deliver *deliver);

/* Metrics; what others wrote; a failed database tried again. */
void writing_tick(struct deliver *deliver);

#endif
