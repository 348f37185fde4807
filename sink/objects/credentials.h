/* The keys that requests to S3 are signed with: where they come from, and that they are fresh.
 *
 *     config         access_key, secret_key, session_token
 *     environment    AWS_ACCESS_KEY_ID (or AWS_ACCESS_KEY), AWS_SECRET_ACCESS_KEY (or AWS_ACCESS_SECRET), AWS_SESSION_TOKEN
 *     web_identity   AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN, AWS_ROLE_SESSION_NAME: exchanged at STS
 *     file           a profile of AWS_SHARED_CREDENTIALS_FILE, ~/.aws/credentials without it
 *     container      AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI, AWS_CONTAINER_AUTHORIZATION_TOKEN or _TOKEN_FILE
 *     instance       EC2's metadata, version 2; AWS_EC2_METADATA_SERVICE_ENDPOINT
 *
 * `auto` takes the first of these in this order that something is set for (the file: that there is
 * one), and instance when there is nothing. It is chosen once, when it is opened, by what is set
 * and not by what works: a web identity that is refused is an error, and never becomes the role of
 * the machine below.
 *
 *     (no keys) --fetch--> fresh --10 minutes before their end, or after two thirds of a short life--> fetched again, the old ones stay in use
 *                            '-- the store says that they are over: credentials_refused --> (no keys), fetched at once
 *
 * Token files are read again at each fetch, because they are replaced. A fetch that fails is tried
 * again after 1 s, 2 s, ... 60 s. Nothing blocks; files are small and local.
 */
#ifndef SINK_OBJECTS_CREDENTIALS_H
#define SINK_OBJECTS_CREDENTIALS_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/segment.h"
#include "sink/objects/credentials_text.h"
#include "sink/objects/store.h"

struct credentials; /* opaque; one thread */

struct credentials_options {
	const char *section; /* "sinks[0].store.s3": for errors and the log */
	const char *kind;    /* "auto" or one of the above */
	const char *access_key, *secret_key, *session_token;
	const char *profile;      /* "": AWS_PROFILE, or "default" */
	const char *region;       /* whose STS is asked */
	const char *sts_endpoint; /* "": AWS_ENDPOINT_URL_STS, AWS_ENDPOINT_URL, or AWS's of the region */
	const char *ca_file;
	uint64_t connect_timeout_ns;
	uint64_t request_timeout_ns;
};

/* Chooses the kind. Nothing is fetched yet. Returns 0, or -errno with "SECTION.KEY: WHAT" in error
 * when what is set makes no sense: one half of a pair, a kind for which nothing is set. */
int credentials_open(struct credentials **credentials, const struct credentials_options *options,
                     struct shm_error *error);
void credentials_close(struct credentials *credentials);

/* "config", "environment", ... */
const char *credentials_kind(const struct credentials *credentials);

/* Takes answers and starts what is due. Call it often. */
void credentials_drive(struct credentials *credentials, uint64_t now_ns);

/* The keys that are in force: *keys stays until the next call of credentials_drive. *generation is
 * another number for other keys. Returns 0; -EINPROGRESS while they are being fetched; -EAGAIN or
 * -EACCES as in store.h, with the reason, when the last fetch failed and there are none. */
int credentials_get(const struct credentials *credentials, uint64_t now_ns,
                    const struct credentials_keys **keys, uint64_t *generation, const char **reason);

/* The store refused the keys of this generation as being over. True when newer ones are there or
 * will be fetched; false when there is no hope: keys that do not change, or that have just been
 * fetched. */
bool credentials_refused(struct credentials *credentials, uint64_t generation, uint64_t now_ns);

/* As store_ops.wait. */
unsigned credentials_wait(const struct credentials *credentials, struct store_wait *wait, unsigned n,
                          uint64_t *timeout_ns);

/* Bytes of ordinary memory. */
uint64_t credentials_memory_max(void);

#endif
