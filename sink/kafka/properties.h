/* Properties of librdkafka as the user sets them: "NAME=VALUE", in the option `properties` or one a
 * line in the file `properties_file`.
 *
 * Which ones are ours: those that the promises of the sink hang on (acks, enable.idempotence),
 * those that an option of ours says (queue.buffering.max.messages), and those that change what
 * comes back to us (delivery.report.only.error). librdkafka itself says which names and values
 * there are.
 */
#ifndef SINK_KAFKA_PROPERTIES_H
#define SINK_KAFKA_PROPERTIES_H

#include <stdbool.h>
#include <stddef.h>

#include "shm/segment.h"

struct property {
	char *name, *value;
};

struct properties {
	struct property *property;
	size_t n;
};

/* Adds "NAME=VALUE"; white space around both goes. Returns 0; -EINVAL, without the value in error:
 * no "=", or a name that is reserved; -ENOMEM. */
int properties_add(struct properties *properties, const char *text, struct shm_error *error);

/* Adds the lines of a file; empty ones and those that begin with # are passed over. Returns 0 or
 * -errno with "LINE: WHAT" or the reason in error. What was added stays. */
int properties_read(struct properties *properties, const char *path, struct shm_error *error);

/* Frees; all is zero then. */
void properties_fini(struct properties *properties);

/* Why this property is not the user's to set, or NULL. */
const char *property_reserved(const char *name);

/* Whether its value is a secret (checks.def). */
bool property_secret(const char *name);

#endif
