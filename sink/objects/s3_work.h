/* What s3.c (options, the loop of requests, signing) and s3_ask.c (which HTTP requests an action
 * takes, and what their answers mean) share; nobody else needs it.
 *
 *     s3.c       start --> s3_begin --> [digest of the body] --> keys --> sent --> s3_take --> end, or the next request of the action
 *     s3_ask.c              '- builds a request                                      '- reads the answer
 */
#ifndef SINK_OBJECTS_S3_WORK_H
#define SINK_OBJECTS_S3_WORK_H

#include <openssl/evp.h>

#include "sink/objects/credentials.h"
#include "sink/objects/http.h"
#include "sink/objects/s3_answer.h"
#include "sink/objects/s3_list.h"
#include "sink/objects/s3_place.h"
#include "sink/objects/sigv4.h"
#include "sink/objects/store.h"

#define S3_URL_MAX   8192u /* name and upload id percent-encoded */
#define S3_LINES_MAX 6144u /* of headers */
#define S3_KMS_MAX   2048u

enum s3_checksum { S3_CHECKSUM_OFF, S3_CHECKSUM_CRC32C, S3_CHECKSUM_MD5 };

/* An HTTP request of an action. */
enum s3_ask {
	S3_ASK_PROBE,     /* a part of an upload that there is not: NoSuchUpload says that we may write */
	S3_ASK_LOOK,      /* is the bucket there at all: when the store stumbles over the former */
	S3_ASK_HEAD,      /* is there such an object */
	S3_ASK_WHY,       /* HEAD has no body: what is wrong is asked with GET */
	S3_ASK_MARK,      /* writes an empty object, to learn with HEAD whether 403 means "missing" */
	S3_ASK_MARK_HEAD, /* reads it */
	S3_ASK_UPLOADS,   /* is an upload of this name open already */
	S3_ASK_EMPTY,     /* has it no parts */
	S3_ASK_CREATE,
	S3_ASK_PART,
	S3_ASK_PARTS, /* a page of the list */
	S3_ASK_FINISH,
	S3_ASK_PUT,       /* if there is no such object */
	S3_ASK_PUT_PLAIN, /* without a condition, after HEAD said that there is none */
};

enum s3_state { S3_FREE, S3_DIGEST, S3_READY, S3_SENT, S3_ENDED };

/* A request of the caller under way. */
struct s3_work {
	struct store *store;
	struct store_request *request;
	enum s3_state state;
	enum s3_ask ask;
	bool refreshed, reclocked; /* the two remedies help once */
	uint64_t generation;       /* of the keys that it was signed with */
	int sign_result;

	struct http_request http;
	char url[S3_URL_MAX];
	size_t query_at;
	char lines[S3_LINES_MAX]; /* the headers' text */
	size_t lines_bytes;
	struct sigv4_signed signature;
	char hash[SIGV4_HASH_MAX]; /* of the body */

	/* the digest of the body, as far as it has got */
	unsigned piece;
	size_t piece_at;
	bool sums_sha256;
	enum s3_checksum sums;
	EVP_MD_CTX *sha256, *md5; /* made when first needed */
	uint32_t crc;

	char *body; /* FINISH: the list of parts */
	struct iovec body_piece;
	struct s3_parts parts;                  /* LIST: the pages so far */
	char candidate[JOURNAL_UPLOAD_MAX + 1]; /* CREATE: an upload that is open already */
};

struct store {
	struct store_traits traits;
	char name[S3_BUCKET_MAX + 8];
	char section[64];
	struct s3_place place;
	char probe_name[256];
	bool sign_payload;
	enum s3_checksum checksum;
	const char *encryption; /* the header's value; NULL: none */
	char kms_key[S3_KMS_MAX];
	struct credentials *credentials;
	struct http *http;
	struct s3_work *work;
	unsigned n_work;
	/* what was learned of this store */
	bool no_condition; /* it knows no If-None-Match */
	bool may_head;     /* HEAD of an object that is there works: 403 means that there is none */
	bool said_place;   /* once, with the first request */
	bool said_listing; /* that 403 was met */
	bool no_uploads;   /* ListMultipartUploads is not allowed */
	int64_t skew_s;    /* what is added to our clock */
};

/* Builds the first HTTP request of work->request. The work is then S3_DIGEST, S3_READY, or S3_ENDED
 * when it cannot be built. */
void s3_begin(struct s3_work *work);

/* Reads the answer to work->ask: the work is S3_ENDED, with its result in the request, or has its
 * next HTTP request, or the same once more. answer is a copy of work->http, which is built anew. */
void s3_take(struct s3_work *work, const struct http_request *answer, uint64_t now_ns);

/* Goes on with the digest of the body, for at most a few milliseconds; the work is S3_READY when
 * it is whole. */
void s3_digest(struct s3_work *work);

/* Ends the work: reason "" or what is wrong, as printf has it. */
void s3_end(struct s3_work *work, int result, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
