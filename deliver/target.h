/* Where a postback goes: its URL, a template, compiled once and filled in for each.
 *
 *     https://user:secret@api.example.com/users/{user}/seen?title={mascot}
 *     '-- scheme          '-- host               '-- path    '-- query
 *
 *     origin      https://api.example.com:443                   connections, rate, addresses (hosts.h)
 *     endpoint    https://api.example.com/users/{user}/seen     circuit, account, settings of its own (policy.h)
 *
 * {key} becomes the percent-encoded text of the data's member of that name, or the text that the
 * configuration has for keys that are not there. A key is any text without braces. What stands
 * outside of braces goes out as it is, but for bytes that a URL cannot have (controls, space, ",
 * <, >, \, ^, `, | and all beyond ASCII), which are percent-encoded.
 *
 * A value cannot lead elsewhere. Its bytes are letters, digits, - . _ ~ and %XX, so it ends neither
 * segment nor parameter. A {key} in scheme, user, host or port is refused when the template is
 * compiled. A value that makes a segment of the path "." or ".." is refused when it is filled in,
 * since servers and proxies resolve those, also as %2E (RFC 3986, 6.2.2.3; WHATWG URL). An empty
 * segment may come of an empty value: it stays, and leads nowhere else.
 *
 * The fragment is left out (RFC 9110, 4.2.4: it is never sent).
 */
#ifndef DELIVER_TARGET_H
#define DELIVER_TARGET_H

#include "deliver/data.h"
#include "shm/segment.h"

#define TARGET_HOST_MAX   253u
#define TARGET_ORIGIN_MAX (TARGET_HOST_MAX + 20u) /* final 0 included */
#define TARGET_ENDPOINT_MAX \
	512u /* final 0 included; a longer one is cut and ends with "~" and a hash of all of it */

struct target_piece {
	uint32_t at, bytes; /* in text; of a key without its braces */
	bool key;
	bool in_path;
};

struct target {
	bool tls; /* https */
	uint16_t port;
	char host[TARGET_HOST_MAX +
	          /* lower case; an IPv6 address without brackets, with its zone; a name in ASCII
	          * (IDNA, UTS 46) */
	          1];
	char origin[TARGET_ORIGIN_MAX];     /* "https://[::1]:8443": the port always there */
	char endpoint[TARGET_ENDPOINT_MAX]; /* without user and default port */
	char *text; /* the URL up to its path, then path and query with keys without braces */
	struct target_piece *piece;
	unsigned n_pieces;
	uint32_t fixed_bytes; /* of all that is no key */
	/* the cache's */
	uint64_t hash;
	unsigned references;
	struct target *older, *newer, *next;
};

/* Compiles a URL. Returns 0, to be given to target_free; -EINVAL with what is wrong in error
 * ("host: a {key} cannot stand there"); -ENOMEM. */
int target_compile(struct target **target, const char *url, size_t bytes, struct shm_error *error);

void target_free(struct target *target);

/* Fills the template in: the whole URL, with a final 0. unmatched: text for keys that the data does
 * not have, percent-encoded here. Returns the bytes without the 0; -ENOSPC when size is too small;
 * -EINVAL with the reason in error when a value makes a segment "." or "..". */
long target_fill(const struct target *target, const struct data *data, const char *unmatched, char *out,
                 size_t size, struct shm_error *error);

/* ---- the cache ---- */

struct targets; /* opaque; one thread. Keyed by a secret of its own: URLs are strangers' choice */

/* Keeps at most `most` targets besides those that are in use. NULL: no memory. */
struct targets *targets_new(unsigned most);
void targets_free(struct targets *targets);

/* The target of a URL, compiled when it is not there; in use until target_release. Errors as
 * target_compile; a URL that is refused is not kept. */
int targets_find(struct targets *targets, struct target **target, const char *url, size_t bytes,
                 struct shm_error *error);
void target_release(struct targets *targets, struct target *target);

/* Since the start. */
struct targets_counts {
	uint64_t found, compiled;
	unsigned kept;
};
struct targets_counts targets_counts(const struct targets *targets);

#endif
