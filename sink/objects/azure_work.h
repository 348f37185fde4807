/* What azure.c (options, credentials) and azure_ask.c (which HTTP requests an action takes, and
 * what their answers mean) share; nobody else needs it. cloud.h drives them.
 *
 * Azure has no uploads: blocks are put under a blob's name, and a list of them makes the blob. Our
 * upload id is what the list needs besides the blocks: "TOKEN/ENCODING/TYPE". A block's id is made
 * from token and number, so another writer's blocks are never taken for ours.
 */
#ifndef SINK_OBJECTS_AZURE_WORK_H
#define SINK_OBJECTS_AZURE_WORK_H

#include <assert.h>

#include "sink/objects/azure_answer.h"
#include "sink/objects/azure_identity.h"
#include "sink/objects/azure_place.h"
#include "sink/objects/azure_sign.h"
#include "sink/objects/cloud.h"

#define AZURE_NAME_MAX    1024u /* bytes of a blob's name; Azure counts characters */
#define AZURE_PARTS_MAX   50000u
#define AZURE_QUERY_MAX   160u
#define AZURE_BEARER_MAX  (AZURE_TOKEN_MAX + 32u)
#define AZURE_SECRET_MAX  4096u /* bytes of key_file and sas_file */
#define AZURE_BLOCK_BYTES 42u   /* TOKEN-NUMBER, the same for all: Azure demands it */
#define AZURE_BLOCK_MAX   57u   /* base64 of it, with a final 0 */

enum azure_ask {
	/* PROBE: a list of a block that there is not: InvalidBlockList says that we may write */
	AZURE_ASK_WRITE,
	AZURE_ASK_READ, /* PROBE: HEAD of a blob that there is not: BlobNotFound says that we may read */
	AZURE_ASK_HEAD,
	AZURE_ASK_BLOCK,
	AZURE_ASK_BLOCKS, /* the list of uncommitted blocks */
	AZURE_ASK_COMMIT,
	AZURE_ASK_PUT,
};

enum azure_kind { AZURE_BY_KEY, AZURE_BY_SAS, AZURE_BY_IDENTITY };

struct azure_work {
	struct cloud_work cloud; /* first */
	/* the URL is made when it is sent: the SAS may be another one by then */
	const char *name;
	size_t name_bytes;
	char query[AZURE_QUERY_MAX];
	char date[AZURE_DATE_MAX];
	char authorization[AZURE_BEARER_MAX];
};

static inline struct azure_work *azure_of(struct cloud_work *work)
{
	return (struct azure_work *)work;
}

struct store {
	struct cloud cloud; /* first */
	struct azure_place place;
	bool md5; /* bodies are sent with their digest */
	enum azure_kind kind;
	struct azure_key key;
	char sas[AZURE_SAS_MAX + 1];
	const char *
	        /* key or SAS are read from it, again when they are refused; NULL: from the
	         * configuration */
	        secret_file;
	struct azure_identity *identity; /* NULL: another kind */
	bool doubt;                      /* the last request failed: bodies wait for 100 Continue */
};

static_assert(offsetof(struct azure_work, cloud) == 0 && offsetof(struct store, cloud) == 0, "cloud.h");

/* Of struct cloud_kind. */
void azure_begin(struct cloud_work *work);
void azure_take_sums(struct cloud_work *work);
void azure_take(struct cloud_work *work, const struct http_request *answer);

#endif
