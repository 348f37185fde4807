/* Bearer tokens (RFC 6750, 2.1): who may use a route.
 *
 * The file has a line for each token: the token, then the routes that it opens (names as in the
 * metrics: event log track batch ingest), none for all of them. '#' begins a comment. A route that
 * some token opens is closed to requests without one; without a file all are open. A file without a
 * token is an error, for whoever names one wants something closed.
 *
 *     8Jq0...k3 event log
 *     Zx91...0a
 *
 * Tokens are compared by their SHA-256 (OpenSSL) in constant time: every token is looked at
 * whatever the result, so time tells nothing but their number. The file must not be readable by
 * others (mode & 077 warns).
 */
#ifndef INGEST_HTTP_TOKENS_H
#define INGEST_HTTP_TOKENS_H

#include <stdbool.h>

#include "ingest/http/request.h"
#include "shm/segment.h"

#define TOKENS_MAX      256u
#define TOKENS_FILE_MAX (1u << 20) /* bytes */
#define TOKEN_BYTES_MIN 16u
#define TOKEN_BYTES_MAX 512u

/* For answers while the file cannot be read. */
#define TOKENS_UNREAD "the tokens cannot be read: try again later"

struct tokens {
	unsigned n;
	struct token {
		uint8_t digest[32];
		uint32_t routes; /* bits */
	} token[TOKENS_MAX];
	uint32_t closed; /* routes that need a token; bits */
	bool unread;     /* the file could not be read: which routes it closes is not known */
};

/* What a file that could not be read stands for: none of the n_names routes is open, and no token
 * opens one. */
void tokens_close(struct tokens *tokens, unsigned n_names);

/* Reads the file, which must be a regular one of at most TOKENS_FILE_MAX bytes. names[i] is the
 * route of bit i, n_names of them (at most 32). Returns 0, or -errno with "FILE:LINE: what is
 * wrong, what is allowed" in error (never with a token in it); tokens is empty then. */
int tokens_load(struct tokens *tokens, const char *path, const char *const *names, unsigned n_names,
                struct shm_error *error);

/* True when the route is open to the request: it needs none, or its Authorization field has a token
 * that opens it. *challenged is set when a token was given that is not right (401 with
 * error="invalid_token") as against none at all, or another scheme's credentials. Allocates
 * nothing. */
bool tokens_allow(const struct tokens *tokens, unsigned route, const struct request *request,
                  bool *challenged);

#endif
