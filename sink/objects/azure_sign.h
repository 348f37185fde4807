/* Shared Key: the signature of a request to Azure Blob (learn.microsoft.com,
 * rest/api/storageservices/authorize-with-shared-key).
 *
 *     method, some headers, x-ms-* headers sorted, "/ACCOUNT" and the path as it is sent, query sorted and decoded
 *        '--HMAC-SHA256 with the account's key--> "SharedKey ACCOUNT:BASE64"
 */
#ifndef SINK_OBJECTS_AZURE_SIGN_H
#define SINK_OBJECTS_AZURE_SIGN_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define AZURE_ACCOUNT_MAX       63u
#define AZURE_KEY_MAX           128u   /* bytes of an account's key: 64 */
#define AZURE_SIGN_MAX          16384u /* bytes of the text that is signed */
#define AZURE_AUTHORIZATION_MAX 160u
#define AZURE_DATE_MAX          48u

struct azure_key {
	char account[AZURE_ACCOUNT_MAX + 1];
	unsigned char bytes[AZURE_KEY_MAX];
	size_t n_bytes;
};

/* Reads the key as the portal shows it, base64. Returns 0, or -EINVAL when it is none. */
int azure_key_read(struct azure_key *key, const char *account, const char *text);

/* A request as it goes out. */
struct azure_signed {
	const char *method;
	const char *path;          /* percent-encoded, up to "?" or the final 0 */
	const char *query;         /* percent-encoded, without "?"; "" none. No name twice. */
	const char *const *header; /* "name: value" */
	unsigned n_headers;
	uint64_t bytes; /* of the body */
};

/* Writes "x-ms-date: Sun, 06 Nov 1994 08:49:37 GMT". */
void azure_date(char out[AZURE_DATE_MAX], time_t now);

/* Writes the text that is signed, 0-ended. Returns its length, or -E2BIG; -EINVAL for a query that
 * is none. */
int azure_string_to_sign(char *out, size_t size, const char *account, const struct azure_signed *request);

/* Writes "Authorization: SharedKey ACCOUNT:SIGNATURE". Returns 0 or as azure_string_to_sign. */
int azure_sign(char out[AZURE_AUTHORIZATION_MAX], const struct azure_key *key,
               const struct azure_signed *request);

#endif
