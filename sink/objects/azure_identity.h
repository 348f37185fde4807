/* Tokens of a managed identity, for requests to Azure Blob.
 *
 *     virtual machine    GET http://169.254.169.254/metadata/identity/oauth2/token, Metadata: true
 *     App Service, ...   GET $IDENTITY_ENDPOINT, X-IDENTITY-HEADER: $IDENTITY_HEADER
 *
 * (learn.microsoft.com: entra/identity/managed-identities-azure-resources/how-to-use-vm-token,
 * app-service/overview-managed-identity). Which of the two is decided when it is opened: by a
 * configured endpoint, the first; else by $IDENTITY_ENDPOINT and $IDENTITY_HEADER, when both are
 * set.
 *
 * A token is asked for when it is first needed and again before it ends. When that fails the old
 * one serves until its end; the next try comes after a wait that doubles.
 */
#ifndef SINK_OBJECTS_AZURE_IDENTITY_H
#define SINK_OBJECTS_AZURE_IDENTITY_H

#include <stdint.h>

#include "shm/segment.h"
#include "sink/objects/azure_token.h"
#include "sink/objects/store.h"

struct azure_identity; /* opaque; one thread */

struct azure_identity_options {
	const char *endpoint;  /* "http://HOST:PORT"; "": as above */
	const char *client_id; /* of a user-assigned identity; "": the system-assigned one */
	uint64_t connect_timeout_ns, request_timeout_ns;
};

/* Asks nothing yet. Returns 0, or -errno with "KEY: WHAT" in error, KEY being identity_endpoint or
 * client_id. */
int azure_identity_open(struct azure_identity **identity, const struct azure_identity_options *options,
                        struct shm_error *error);
void azure_identity_close(struct azure_identity *identity); /* NULL does nothing */

/* The token, good at least for a request that begins now, and its number, which grows with each new
 * one. Returns 0; -EINPROGRESS when it is being asked for; -EAGAIN when the service fails, -EACCES
 * when it refuses: *reason has its words until the next call. The token stays until
 * azure_identity_drive is called. */
int azure_identity_get(struct azure_identity *identity, uint64_t now_ns, const char **token, uint64_t *number,
                       const char **reason);

/* The store does not take the token of that number (any more): another one is asked for. */
void azure_identity_renew(struct azure_identity *identity, uint64_t number);

/* Goes on with what is under way; never blocks. now_ns: clock_monotonic_ns. */
void azure_identity_drive(struct azure_identity *identity, uint64_t now_ns);

/* As store_ops.wait. */
unsigned azure_identity_wait(struct azure_identity *identity, struct store_wait *wait, unsigned n,
                             uint64_t *timeout_ns);

uint64_t azure_identity_memory_max(void);

#endif
