/* Where a container is: the URL of its blobs.
 *
 *     https://ACCOUNT.blob.core.windows.net/CONTAINER/NAME          Azure
 *     http://127.0.0.1:10000/ACCOUNT/CONTAINER/NAME                 an emulator: endpoint "http://127.0.0.1:10000/ACCOUNT"
 */
#ifndef SINK_OBJECTS_AZURE_PLACE_H
#define SINK_OBJECTS_AZURE_PLACE_H

#include <stdbool.h>
#include <stddef.h>

#include "shm/segment.h"
#include "sink/objects/azure_sign.h"

#define AZURE_CONTAINER_MAX 63u
#define AZURE_BASE_MAX      640u
#define AZURE_SAS_MAX       2048u
#define AZURE_URL_MAX       8192u /* a name of 1024 bytes percent-encoded, a query, a SAS */

struct azure_place {
	char account[AZURE_ACCOUNT_MAX + 1]; /* "" when there is only an endpoint */
	char container[AZURE_CONTAINER_MAX + 1];
	char base[AZURE_BASE_MAX]; /* before a blob's name: ends with CONTAINER and a slash */
	size_t path_at;            /* of base: where its path begins */
	bool tls;
};

/* endpoint "": Azure's of the account. Returns 0, or -EINVAL with "KEY: WHAT" in error, KEY being
 * account, container or endpoint. */
int azure_place_init(struct azure_place *place, const char *account, const char *container,
                     const char *endpoint, struct shm_error *error);

/* The URL of a blob. query: encoded, "" none; sas: the query of a shared access signature, "" none.
 * Returns where the query begins in url (after "?", or at the final 0), or -E2BIG. */
int azure_place_url(const struct azure_place *place, char *url, size_t size, const char *name, size_t bytes,
                    const char *query, const char *sas);

/* Reads a shared access signature: with or without "?" before it and white space after it. Returns
 * 0, or -EINVAL when it is none. */
int azure_sas_read(char out[AZURE_SAS_MAX + 1], const char *text);

#endif
