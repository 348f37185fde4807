/* The record of an attempt: topic `delivery`, struct event_delivery (event/event.h).
 *
 * Secrets are redacted before anything is written: in URLs the user's password (the user, where
 * there is no password), and the values of parameters, in query or fragment, whose name is a word
 * of deliver.redact or ends with one as a part of its own: token, api_token, X-Token, user.token,
 * user[token], userToken. They become "***". Case does not count, and %XX in names is looked
 * through. What stands in a path is not redacted: nothing there says what it is. The answer's body
 * is written as it came, its first 4 KiB.
 */
#ifndef DELIVER_RECORD_H
#define DELIVER_RECORD_H

#include "deliver/delivery.h"
#include "deliver/retry.h"
#include "shm/lane.h"

#define RECORD_URL_MAX   8192u /* bytes of it that are kept */
#define RECORD_ERROR_MAX 512u

struct redact; /* opaque; one thread */

/* From deliver.redact. NULL: no memory. */
struct redact *redact_new(const struct config *config);
void redact_free(struct redact *redact);

/* Writes the URL with *** for secrets, cut to `size` - 1 bytes, and a final 0. size is at least 1.
 * Works for a template and for what is no URL too. Returns its bytes. */
size_t redact_url(const struct redact *redact, const char *url, size_t bytes, char *out, size_t size);

struct record_attempt {
	/* Its request has ended, or it was never started. `attempts` are those that ended before
	 * this one. It has an attempt; where that has no `url`, the postback's is shown. */
	const struct delivery *delivery;
	enum retry_outcome outcome;
	const char *error; /* "" none */
	int64_t next_ms;   /* of the next attempt, CLOCK_REALTIME; 0 none */
};

/* Keeps a record in the lane; the caller commits. False when the lane is full: counted there as
 * dropped. */
bool record_keep(struct lane *lane, const struct redact *redact, const struct record_attempt *attempt);

#endif
