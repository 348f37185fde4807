/* Signature version 4 of AWS, as S3 wants it, in headers.
 *
 *     method, host, path, query, headers, hash of the body --> canonical request --SHA-256--> string to sign
 *     secret key --HMAC--> day --HMAC--> region --HMAC--> "s3" --HMAC--> key of the day --HMAC--> Authorization
 *
 * Source: "Signature Calculations for the Authorization Header" of the S3 API reference. What
 * others get wrong: the query is sorted by its encoded names, a name without a value is signed with
 * "=", and S3 takes the path as it is in the URL (other services encode it twice).
 */
#ifndef SINK_OBJECTS_SIGV4_H
#define SINK_OBJECTS_SIGV4_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#define SIGV4_HASH_MAX 65u                /* 64 hexadecimal digits and a 0 */
#define SIGV4_UNSIGNED "UNSIGNED-PAYLOAD" /* in place of the hash of a body that TLS protects */
/* SHA-256 of nothing: the hash of a request without a body. */
#define SIGV4_EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

#define SIGV4_KEY_MAX    256u  /* bytes of an access key or a secret key, the final 0 included */
#define SIGV4_TOKEN_MAX  8192u /* of a session token; AWS names no limit, theirs are below 4 KiB */
#define SIGV4_QUERY_MAX  48u   /* names in a query */
#define SIGV4_HEADER_MAX 32u   /* headers of a request */

struct sigv4_keys {
	const char *access_key, *secret_key;
	const char *session_token; /* "": none */
	const char *region, *service;
};

struct sigv4_request {
	const char *method;
	const char *host;          /* as the header has it: with the port when it is not the scheme's */
	const char *path;          /* as in the URL, encoded; begins with "/" */
	const char *query;         /* as in the URL without "?", encoded; "" */
	const char *const *header; /* "name: value"; all are signed but Expect and User-Agent */
	unsigned n_headers;
	const char *hash; /* of the body: hexadecimal digits, or SIGV4_UNSIGNED */
};

/* The headers that signing adds, "name: value". */
struct sigv4_signed {
	char date[40];
	char hash[96];
	char token[SIGV4_TOKEN_MAX + 32]; /* "" without a session token */
	char authorization[2048];
};

/* Signs for the time now. Returns 0; -E2BIG when something is longer than the limits above; -EIO
 * when OpenSSL fails. */
int sigv4_sign(struct sigv4_signed *out, const struct sigv4_keys *keys, const struct sigv4_request *request,
               time_t now);

/* Writes text percent-encoded as S3 wants it: all but A-Z a-z 0-9 - . _ ~ becomes %XX, "/" too
 * unless it is a path. Returns the length, or -E2BIG when size is too small. The result ends with
 * 0. */
int sigv4_encode(char *out, size_t size, const char *text, size_t bytes, bool path);

/* Lower-case hexadecimal digits of a SHA-256, with a final 0. */
void sigv4_hex(char hash[SIGV4_HASH_MAX], const unsigned char digest[32]);

/* The canonical request, malloced, that sigv4_sign hashes: what is compared when a store answers
 * SignatureDoesNotMatch. NULL with errno: as above, or ENOMEM. */
char *sigv4_canonical(const struct sigv4_keys *keys, const struct sigv4_request *request, time_t now);

#endif
