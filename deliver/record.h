/* The record of an attempt: topic `delivery`, struct event_delivery (event/event.h).
 *
 * Secrets are redacted before anything is written: in URLs the user's password, and the values of
 * parameters whose name is, or ends with after "_" or "-", a word of deliver.redact (api_key,
 * X-Token); they become "***". The answer's body is written as it came, its first 4 KiB.
 */
#ifndef DELIVER_RECORD_H
#define DELIVER_RECORD_H

#include "deliver/delivery.h"
#include "deliver/retry.h"
#include "shm/lane.h"

struct redact; /* opaque; one thread */

/* From deliver.redact. NULL: no memory. */
struct redact *redact_new(const struct config *config);
void redact_free(struct redact *redact);

/* Writes the URL with *** for secrets, cut to `size` - 1 bytes, and a final 0. Returns its
 * bytes. */
size_t redact_url(const struct redact *redact, const char *url, char *out, size_t size);

struct record_attempt {
	const struct delivery
	        *delivery; /* its request has ended, or it was never started (request.result says why) */
	enum retry_outcome outcome;
	const char *error; /* "" none */
	int64_t next_ms;   /* of the next attempt, CLOCK_REALTIME; 0 none */
};

/* Keeps a record in the lane; the caller commits. False when the lane is full: counted there as
 * dropped. */
bool record_keep(struct lane *lane, const struct redact *redact, const struct record_attempt *attempt);

#endif
