/* Signatures of postbacks, as Standard Webhooks has them (standardwebhooks.com, specification of
 * 2023).
 *
 *     webhook-id: <id of the postback>           the same at each attempt
 *     webhook-timestamp: 1674087231              seconds, of this attempt
 *     webhook-signature: v1,<base64> v1,<base64> HMAC-SHA256 over "id.timestamp.body", one for each secret
 *
 * A file has one secret a line, "whsec_" and 24 to 64 bytes in base64; empty lines and lines with #
 * are passed over. To change a secret: the new one in the first line, the old one stays until every
 * receiver knows the new one. The file should be readable by its owner alone (a warning says so).
 * It is read again when it has changed.
 */
#ifndef DELIVER_SIGN_H
#define DELIVER_SIGN_H

#include "shm/segment.h"

#define SIGN_SECRETS_MAX 8u
#define SIGN_HEADER_MAX  (24u + SIGN_SECRETS_MAX * 48u)

struct sign; /* opaque; one thread */

/* Reads the file. Returns 0, or -errno with "PATH: ..." in error, without anything of a secret in
 * it. */
int sign_open(struct sign **sign, const char *path, struct shm_error *error);

/* Wipes the secrets. NULL does nothing. */
void sign_close(struct sign *sign);

/* Reads the file again when it is another one by now (inode, size, time). Returns 1 when new
 * secrets are in force, 0 when nothing changed, -errno with the reason when it cannot be read: the
 * old ones stay in force. */
int sign_refresh(struct sign *sign, struct shm_error *error);

/* Writes "webhook-signature: v1,..." with a final 0. Returns its bytes. */
size_t sign_header(const struct sign *sign, const char *id, int64_t timestamp_s, const void *body,
                   size_t bytes, char out[SIGN_HEADER_MAX]);

/* For receivers: whether a header's value (signatures with spaces between) has one that a secret
 * made. Compares in constant time. */
bool sign_verify(const struct sign *sign, const char *id, int64_t timestamp_s, const void *body, size_t bytes,
                 const char *value);

#endif
