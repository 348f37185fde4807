/* Sieve: which records of its topics an entry of the list `sinks` keeps, by its option `filter`.
 *
 *     filter: ["client_id=7", "ip=10.0.0.1"]   compiled for each topic's type; all must match
 *
 *     sieve_compile for --check and at start --> sieve_keeps for a copy of each record
 */
#ifndef STAGE_SIEVE_H
#define STAGE_SIEVE_H

#include "config/config.h"
#include "event/filter.h"
#include "stage/ports.h"

struct sieve {
	struct filters filters[PORTS_READS_MAX]; /* of topic i of `reads` */
	unsigned n_topics;
	bool any; /* there is a filter at all */
};

/* Compiles the filters of the section ("sinks[1]") for these topics (NULL-ended, at most
 * PORTS_READS_MAX); NULL: for those that the section names. Returns 0, or -EINVAL with "KEY: WHAT"
 * in error; sieve_fini in both cases. */
int sieve_compile(struct sieve *sieve, const struct config *config, const char *section,
                  const char *const *topics, struct shm_error *error);

/* Whether the record, of topic i, passes. The record is the caller's own memory (record_copy.h). */
static inline bool sieve_keeps(struct sieve *sieve, unsigned i, const struct record *record)
{
	return !sieve->any || filters_hold(&sieve->filters[i], record);
}

void sieve_fini(struct sieve *sieve);

#endif
