/* Who may use a route: bearer tokens (stage/tokens.h) of two files, and pages of other origins.
 *
 *                      no file at all      read_tokens               admin_tokens
 *     EVERYBODY        open                open                      open
 *     READER           open                a token of either file    open, unless there are read_tokens
 *     ADMIN            open on loopback    closed (403)              a token of that file
 *
 * "On loopback": every address of serve.listen is a loopback address or a Unix socket. Elsewhere
 * the stage does not listen without read_tokens (serve_check).
 *
 * A page of another origin cannot read an answer unless serve.origins names it (CORS), but its
 * browser would send what changes something: a request other than GET and HEAD with an Origin that
 * is neither ours nor named is refused. (GET changes nothing here.) So is a WebSocket, which CORS
 * does not cover.
 */
#ifndef SERVE_AUTH_H
#define SERVE_AUTH_H

#include "serve/router.h"
#include "stage/tokens.h"

#define AUTH_ORIGINS_MAX 64u

/* The names under which the files' tokens open everything. */
extern const char *const auth_read_name[1], *const auth_admin_name[1];

struct auth {
	bool has_read, has_admin; /* the files are configured */
	bool loopback;            /* all that is listened on is */
	struct tokens read, admin;
	unsigned n_origins;
	const char *origin[AUTH_ORIGINS_MAX];
};

enum auth_verdict {
	AUTH_ALLOWED,
	AUTH_NO_TOKEN,  /* 401: it needs one */
	AUTH_BAD_TOKEN, /* 401: not that one */
	AUTH_CLOSED,    /* 403: nobody may, as things are configured */
	AUTH_UNREAD     /* 503: the file of tokens cannot be read */
};

/* field: of Authorization, NULL when there is none. Every token is compared, in constant time. */
enum auth_verdict auth_judge(const struct auth *auth, enum route_who who, const char *field);

/* A browser cannot give a WebSocket an Authorization: it offers "millrace.v1, bearer.TOKEN" as
 * protocols, the token in base64url without padding (RFC 4648, 5). Returns "Bearer TOKEN" in field,
 * or NULL: the list (which may be NULL) has none. */
#define AUTH_BEARER_BYTES 800u
const char *auth_from_protocols(const char *list, char field[AUTH_BEARER_BYTES]);

/* Whether serve.origins has it. */
bool auth_origin_named(const struct auth *auth, const char *origin);

/* Whether the origin is that of the request itself, "http://HOST" or "https://HOST" (TLS ends in
 * front of us). */
bool auth_origin_own(const char *origin, const char *host);

#endif
