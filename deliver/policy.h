/* Settings of deliveries: those of `deliver`, and of `deliver.endpoints` for some endpoints.
 *
 *     deliver:
 *       timeout: 30s
 *       endpoints:
 *         - {match: hooks.example.com, per_host: {connections: 8}}        a host: every endpoint there
 *         - {match: "https://api.example.com/v2/", timeout: 5s, body: json}  the beginning of a URL
 *
 * Of several entries that match, the one with the longest `match` counts, and a URL's beginning
 * before a host. What an entry does not say is as `deliver` says it. A URL's beginning matches
 * whole segments: "https://h/v2" takes /v2 and /v2/x, not /v20; "https://h/v2/" takes /v2/x alone.
 * It is read as a target's URL is, so case, default ports and names beyond ASCII are as there.
 * Limits of a host (connections, rate, waiting) are those of the entry for its host, of `match:
 * HOST` or HOST:PORT, for its endpoints share them: the entry of a URL's beginning cannot have its
 * own.
 */
#ifndef DELIVER_POLICY_H
#define DELIVER_POLICY_H

#include "deliver/retry.h"
#include "deliver/sign.h"
#include "deliver/target.h"

struct policy_host {
	unsigned connections; /* at a time, of this process */
	uint64_t rate;        /* requests a second, of this process; 0: no limit */
	uint64_t burst;       /* requests at once after a pause */
	unsigned waiting;     /* postbacks in memory besides those under way; more go to deliver.db */
};

struct policy_circuit {
	unsigned failures;                /* in a row until it opens; 0: never */
	uint64_t pause_ns, pause_most_ns; /* until it is probed; doubles */
};

struct policy {
	uint64_t connect_timeout_ns, first_byte_timeout_ns, timeout_ns;
	const char *unmatched;
	bool json; /* body of POST, PUT, PATCH: the data as JSON; else as a form */
	bool http2;
	unsigned redirects; /* that are followed; 0: they are answers */
	struct sign *sign;  /* NULL: no signature */
	uint64_t gone_ns;   /* how long an endpoint that answered 410 is left alone */
	struct retry retry;
	struct policy_host host;
	struct policy_circuit circuit;
};

struct policies; /* opaque; one thread */

/* Reads `deliver`, its entries and their files. Returns 0, to be given to policies_close, or -errno
 * with "deliver.endpoints[1].match: ..." in error. config outlives it. */
int policies_open(struct policies **policies, const struct config *config, struct shm_error *error);
void policies_close(struct policies *policies);

/* Of an endpoint (target.endpoint); lives as long as the policies. */
const struct policy *policies_for(const struct policies *policies, const struct target *target);

/* Of an origin: only .host counts. */
const struct policy_host *policies_for_host(const struct policies *policies, const char *host, uint16_t port);

/* About once a second: files with secrets that have changed are read again. One that cannot be read
 * is told in error (-errno), once, and stays in force as it was; the number of files in
 * *changed. */
int policies_refresh(struct policies *policies, unsigned *changed, struct shm_error *error);

#endif
