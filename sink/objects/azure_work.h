/* What azure.c (options, the loop of requests, credentials) and azure_ask.c (which HTTP requests an
 * action takes, and what their answers mean) share; nobody else needs it.
 *
 *     azure.c       start --> azure_begin --> [MD5 of the body] --> credentials --> sent --> azure_take --> end, or the next request of the action
 *     azure_ask.c              '- says what to ask                                             '- reads the answer
 *
 * Azure has no uploads: blocks are put under a blob's name, and a list of them makes the blob. Our
 * upload id is what the list needs besides the blocks: "TOKEN/ENCODING/TYPE". A block's id is made
 * from token and number, so another writer's blocks are never taken for ours.
 */
#ifndef SINK_OBJECTS_AZURE_WORK_H
#define SINK_OBJECTS_AZURE_WORK_H

#include <openssl/evp.h>

#include "sink/objects/azure_answer.h"
#include "sink/objects/azure_identity.h"
#include "sink/objects/azure_place.h"
#include "sink/objects/azure_sign.h"
#include "sink/objects/http.h"
#include "sink/objects/store.h"

#define AZURE_NAME_MAX    1024u /* bytes of a blob's name; Azure counts characters */
#define AZURE_PARTS_MAX   50000u
#define AZURE_LINES_MAX   2048u
#define AZURE_QUERY_MAX   160u
#define AZURE_BEARER_MAX  (AZURE_TOKEN_MAX + 32u)
#define AZURE_SECRET_MAX  4096u /* bytes of key_file and sas_file */
#define AZURE_BLOCK_BYTES 42u   /* TOKEN-NUMBER, the same for all: Azure demands it */
#define AZURE_BLOCK_MAX   57u   /* base64 of it, with a final 0 */

enum azure_ask {
	AZURE_ASK_WRITE, /* PROBE: a list of a block that there is not: InvalidBlockList says that we may write */
	AZURE_ASK_READ, /* PROBE: HEAD of a blob that there is not: BlobNotFound says that we may read */
	AZURE_ASK_HEAD,
	AZURE_ASK_BLOCK,
	AZURE_ASK_BLOCKS, /* the list of uncommitted blocks */
	AZURE_ASK_COMMIT,
	AZURE_ASK_PUT,
};

enum azure_state { AZURE_FREE, AZURE_DIGEST, AZURE_READY, AZURE_SENT, AZURE_ENDED };

enum azure_kind { AZURE_BY_KEY, AZURE_BY_SAS, AZURE_BY_IDENTITY };

/* A request of the caller under way. */
struct azure_work {
	struct store *store;
	struct store_request *request;
	enum azure_state state;
	enum azure_ask ask;
	bool refreshed, reclocked; /* the two remedies help once */
	uint64_t token_number;     /* of the identity's token that it was sent with */

	/* what is asked */
	const char *method;
	const char *name;
	size_t name_bytes;
	char query[AZURE_QUERY_MAX];
	char lines[AZURE_LINES_MAX]; /* the headers' text */
	size_t lines_bytes;
	const char *header[HTTP_HEADERS_MAX];
	unsigned n_headers;
	const struct iovec *piece;
	unsigned n_pieces;
	uint64_t bytes;

	/* as it is sent */
	struct http_request http;
	char url[AZURE_URL_MAX];
	int query_at; /* of url */
	char date[AZURE_DATE_MAX];
	char authorization[AZURE_BEARER_MAX];

	/* the digest of the body, as far as it has got */
	unsigned digest_piece;
	size_t digest_at;
	EVP_MD_CTX *md5; /* made when first needed */

	char *body; /* the list of blocks that is sent */
	struct iovec body_piece;
};

struct store {
	struct store_traits traits;
	char name[AZURE_ACCOUNT_MAX + AZURE_CONTAINER_MAX + 16];
	char section[64];
	struct azure_place place;
	char probe_name[256];
	bool md5; /* bodies are sent with their digest */
	enum azure_kind kind;
	struct azure_key key;
	char sas[AZURE_SAS_MAX + 1];
	const char *
	        secret_file; /* key or SAS are read from it, again when they are refused; NULL: from the configuration */
	struct azure_identity *identity; /* NULL: another kind */
	struct http *http;
	struct azure_work *work;
	unsigned n_work;
	bool doubt;     /* the last request failed: bodies wait for 100 Continue */
	int64_t skew_s; /* what is added to our clock */
};

/* Says what to ask first for work->request. The work is then AZURE_DIGEST, AZURE_READY or
 * AZURE_ENDED. */
void azure_begin(struct azure_work *work);

/* Reads the answer to work->ask: the work is AZURE_ENDED, with its result in the request, or has
 * its next question, or the same once more. */
void azure_take(struct azure_work *work, const struct http_request *answer);

/* Goes on with the digest of the body, for at most a few milliseconds; the work is AZURE_READY when
 * it is whole. */
void azure_digest(struct azure_work *work);

/* Credentials were refused: true when others are to be had, or may be. */
bool azure_refresh(struct azure_work *work);

/* Ends the work: reason "" or what is wrong, as printf has it. */
void azure_end(struct azure_work *work, int result, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

#endif
