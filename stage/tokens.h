/* Bearer tokens (RFC 6750, 2.1): which client may use a route.
 *
 * The file has a line for each token: the token, then the routes that it opens, by their names,
 * none for all of them. '#' begins a comment. A route that some token opens is closed
 * to requests without one; without a file all are open. A file without a token is an error, because
 * naming a file means that something should be closed.
 *
 *     8Jq0...k3 event log
 *     Zx91...0a
 *
 * Tokens are compared by their SHA-256 (OpenSSL) in constant time: every token is compared whatever
 * the result, so the time reveals nothing but their number. A file that others can read gets a
 * warning (mode & 077).
 *
 * Alone in its archive, so that a program without tokens does not link OpenSSL.
 */
#ifndef STAGE_TOKENS_H
#define STAGE_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

/* What a file that could not be read stands for: none of the named routes is open, and no token
 * opens one. */
void tokens_close(struct tokens *tokens, const char *const *names, unsigned n_names);

/* Reads the file, which must be a regular one of at most TOKENS_FILE_MAX bytes. names[i] is the
 * route of bit i (NULL: one that stays open), n_names of them (at most 32). Returns 0, or -errno
 * with "FILE:LINE: what is wrong, what is allowed" in error (never with a token in it); tokens is
 * empty then. */
int tokens_load(struct tokens *tokens, const char *path, const char *const *names, unsigned n_names,
                struct shm_error *error);

/* Reads such a file for its first token as text: for a client, which has to say it. Returns as
 * tokens_load; first is unchanged on failure. */
int tokens_load_first(char first[TOKEN_BYTES_MAX + 1], const char *path, const char *const *names,
                      unsigned n_names, struct shm_error *error);

/* True when the route is open to a request with this Authorization field (NULL: it has none): it
 * needs no token, or the field has one that opens it. *challenged: a token was given that is not
 * right (401 with error="invalid_token"); otherwise there was none, or another scheme's
 * credentials. Allocates nothing. */
bool tokens_allow(const struct tokens *tokens, unsigned route, const char *field, size_t bytes,
                  bool *challenged);

#endif
