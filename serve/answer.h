/* An answer: status, type, body, and the fields that go with them.
 *
 *     handler --answer_json, answer_text, problem--> answer --answer_finish--> ETag, 304, gzip --> server
 *
 * An answer that has to wait for others comes later: the handler parks its request (answer_later),
 * the connection waits without holding up the loop, and
 *
 *     handler --answer_later--> ... --the owner sets the answer--> server_resume --> answer_finish --> server
 *                                '-- the client is gone, or serve.answer_timeout is over --> later->gone
 *
 * A body is at most serve.max_answer long; a longer one becomes a problem (500). ETag is a hash of
 * the body before it is compressed, weak, so that both forms have one.
 */
#ifndef SERVE_ANSWER_H
#define SERVE_ANSWER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "serve/request.h"

#define ANSWER_GZIP_LEAST 1024u /* bytes; a shorter body goes as it is */
#define ANSWER_ETAG_BYTES 24u

struct connection;
struct answer;

/* A request that is parked; part of what its owner keeps. */
struct later {
	/* There is nobody to answer any more: the owner forgets the request and the answer. */
	void (*gone)(struct later *later);
	struct connection *connection; /* the server's */
};

struct answer {
	unsigned status; /* 0: not set */
	const char *type;
	char *body; /* malloced; NULL: none */
	size_t bytes;
	char etag[ANSWER_ETAG_BYTES]; /* "" none */
	bool gzip;                    /* the body is compressed */
	bool public;                  /* others than who asked may keep it */
	bool close;                   /* the connection ends with it */
	const char *challenge;        /* WWW-Authenticate; NULL: none */
	unsigned retry_after_s;       /* 0: none */
	unsigned allow;               /* methods for Allow, 0: none */
	/* the Origin that may read it (CORS); NULL: none */
	const char *origin;
	bool varies;         /* by Origin */
	uint64_t missing;    /* peers that have no part in it (fleet.h) */
	struct later *later; /* it comes later; NULL: it is here */
	uint64_t began_ns;   /* when the request was whole */
	bool by_accept;      /* it varies by Accept */
	bool page;           /* of the live page: a browser may run what this server has */
	bool borrowed;       /* the body is not its own, and stays */
	bool preflight;      /* it answers one */
	bool stream;         /* its length is not known: it ends with its connection */
	/* whose messages it consists of (live.h); NULL: it has none */
	struct live_client *live;
};

/* A body that is made once. */
struct answer_kept {
	const char *body;
	size_t bytes;
	char *gzip; /* malloced; NULL: it is not shorter */
	size_t gzip_bytes;
	char etag[ANSWER_ETAG_BYTES];
};

/* Makes what goes with body and bytes. */
void answer_keep(struct answer_kept *kept);

void answer_init(struct answer *answer);
void answer_free(struct answer *answer);

/* The JSON value as it is printed on one line; takes it over. NULL: no memory, which becomes a
 * problem. */
void answer_json(struct answer *answer, unsigned status, json_t *json);

/* The items of one page of a list, as many as serve.max_answer has room for. */
struct answer_list {
	json_t *items;                /* an array; the caller's */
	uint64_t bytes, answer_bytes; /* of the items so far; of the whole answer at most */
};

/* Appends an item and takes it over; NULL: no memory. Returns 0; 1: it has no room, and is left to
 * the next page (the first one always has: a page with nothing on it leads nowhere); -ENOMEM. */
int answer_list_add(struct answer_list *list, json_t *item);

/* Takes over a malloced body. */
void answer_body(struct answer *answer, unsigned status, const char *type, char *body, size_t bytes);

/* The same with bytes that outlive the answer: the body as it is, and as gzip (NULL: none), with
 * its ETag. */
void answer_borrow(struct answer *answer, const char *type, const struct answer_kept *kept, bool gzip);

/* Copies a text; the type is a literal. */
void answer_text(struct answer *answer, unsigned status, const char *type, const char *text);

/* Parks the request instead of answering it. Request and answer stay where they are until the owner
 * calls server_resume, once, or is told that they are gone. */
void answer_later(struct answer *answer, struct later *later);

/* After the handler: ETag and 304 for a good answer to GET or HEAD, gzip when it is accepted. */
void answer_finish(struct answer *answer, const struct request *request);

/* "Not Found"; "Error" for a status that is not known. */
const char *answer_reason(unsigned status);

#endif
