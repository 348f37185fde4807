/* Where a postback goes: its URL, a template, compiled once and filled in for each.
 *
 *     https://user:secret@api.example.com/users/{user}/seen?title={mascot}
 *     '-- scheme          '-- host               '-- path    '-- query
 *
 *     origin      https://api.example.com:443                   connections, rate, addresses (hosts.h)
 *     endpoint    https://api.example.com/users/{user}/seen     circuit, account, settings of its own (policy.h)
 *
 * {key} becomes the percent-encoded text of the data's member of that name, or the text that the
 * configuration has for keys that are not there. A key is any text without braces; braces that
 * hold no key go out as %7B and %7D. What stands outside of braces goes out as it is, but for bytes
 * that a URL cannot have (", <, >, \, ^, `, | and all beyond ASCII), which are percent-encoded.
 * Spaces and control characters are refused, as POST /ingest does.
 *
 * A value cannot lead elsewhere. Its bytes are letters, digits, - . _ ~ and %XX, so it ends neither
 * segment nor parameter. A brace in front of the path (in scheme, user, host or port) is refused
 * when the template is compiled. A value that makes a segment of the path, or what a segment has
 * before its first ";", into "." or ".." is refused when it is filled in, since servers and proxies
 * resolve those, also as %2E (RFC 3986, 6.2.2.3; WHATWG URL; parameters of segments are cut off
 * first by some). An empty segment may come of an empty value: it stays, and leads nowhere else.
 *
 * The fragment is left out (RFC 9110, 4.2.4: it is never sent).
 *
 * Whatever POST /ingest takes (ingest/json/url.h) is compiled here, except hosts beyond ASCII that
 * IDNA refuses: the tables for that are here alone.
 */
#ifndef DELIVER_TARGET_H
#define DELIVER_TARGET_H

#include "deliver/authority.h"
#include "deliver/data.h"
#include "shm/segment.h"

#define TARGET_HOST_MAX   AUTHORITY_HOST_MAX
#define TARGET_ORIGIN_MAX (TARGET_HOST_MAX + 20u) /* final 0 included */
/* Final 0 included. A longer one is cut and ends with "~" and a hash of all of it. */
#define TARGET_ENDPOINT_MAX 512u

struct target_piece {
	uint32_t at, bytes; /* in text; of a key without its braces */
	bool key;
	bool in_path; /* a key: its value is of a segment's name, which must not become "." or ".." */
	/* Of other pieces, when they are of the path: bytes up to the end of the segment that the
	 * piece before began, TARGET_GOES_ON when it does not end here; bytes up to the begin of
	 * the last segment, 0 when none begins here. */
	uint32_t ends, begins;
};
#define TARGET_GOES_ON UINT32_MAX

struct target {
	bool tls; /* https */
	uint16_t port;
	/* As authority.h has it: lower case, ASCII, no dot at the end; IPv4 as four numbers; an
	 * IPv6 address without brackets, with its zone. The URL has the same host. */
	char host[TARGET_HOST_MAX + 1];
	char origin[TARGET_ORIGIN_MAX];     /* "https://[::1]:8443": the port always there */
	char endpoint[TARGET_ENDPOINT_MAX]; /* without user and default port */
	char *text; /* the URL up to its path, then path and query with keys without braces */
	struct target_piece *piece;
	unsigned n_pieces;
	uint32_t fixed_bytes; /* of all that is no key */
	size_t memory;        /* of all this */
	/* the cache's */
	char *url; /* as it was given */
	size_t url_bytes;
	uint64_t hash;
	unsigned references;
	struct target *older, *newer, *next;
};

/* Compiles a URL. Returns 0, to be given to target_free; -EINVAL with what is wrong in error
 * ("host: it is neither a name nor an address"); -ENOMEM. *target is unchanged on failure. */
int target_compile(struct target **target, const char *url, size_t bytes, struct shm_error *error);

void target_free(struct target *target);

/* Fills the template in: the whole URL, with a final 0. unmatched: text for keys that the data does
 * not have, percent-encoded here. Returns the bytes without the 0; -ENOSPC when size is too small
 * (a key may stand often in a template, so there is no size that is always enough); -EINVAL with
 * the reason in error when a value makes a segment "." or "..". Allocates nothing. */
long target_fill(const struct target *target, const struct data *data, const char *unmatched, char *out,
                 size_t size, struct shm_error *error);

/* ---- the cache ---- */

struct targets; /* opaque; one thread. Keyed by a secret of its own: URLs are strangers' choice */

#define TARGETS_BYTES 4096u /* of memory for each of `most`, on the average */

/* Keeps at most `most` targets besides those that are in use, and at most TARGETS_BYTES times as
 * much memory; those that were in use last. NULL: no memory. */
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
	unsigned kept; /* now, besides those in use */
	size_t memory; /* of these */
};
struct targets_counts targets_counts(const struct targets *targets);

#endif
