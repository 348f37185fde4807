/* What s3.c (options, keys, signing) and s3_ask.c (which HTTP requests an action takes, and what
 * their answers mean) share; nobody else needs it. cloud.h drives them.
 */
#ifndef SINK_OBJECTS_S3_WORK_H
#define SINK_OBJECTS_S3_WORK_H

#include <assert.h>

#include "sink/objects/cloud.h"
#include "sink/objects/credentials.h"
#include "sink/objects/s3_answer.h"
#include "sink/objects/s3_list.h"
#include "sink/objects/s3_place.h"
#include "sink/objects/sigv4.h"

#define S3_KMS_MAX 2048u

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

struct s3_work {
	struct cloud_work cloud; /* first */
	struct sigv4_signed signature;
	char hash[SIGV4_HASH_MAX];              /* of the body */
	struct s3_parts parts;                  /* LIST: the pages so far */
	char candidate[JOURNAL_UPLOAD_MAX + 1]; /* CREATE: an upload that is open already */
};

static inline struct s3_work *s3_of(struct cloud_work *work)
{
	return (struct s3_work *)work;
}

struct store {
	struct cloud cloud; /* first */
	struct s3_place place;
	bool sign_payload;
	unsigned checksum;      /* enum cloud_sum, or 0 */
	const char *encryption; /* the header's value; NULL: none */
	char kms_key[S3_KMS_MAX];
	struct credentials *credentials;
	/* what was learned of this store */
	bool no_condition; /* it knows no If-None-Match */
	bool may_head;     /* HEAD of an object that is there works: 403 means that there is none */
	bool said_place;   /* once, with the first request */
	bool said_listing; /* that 403 was met */
	bool no_uploads;   /* ListMultipartUploads is not allowed */
};

static_assert(offsetof(struct s3_work, cloud) == 0 && offsetof(struct store, cloud) == 0, "cloud.h");

/* Of struct cloud_kind. */
void s3_begin(struct cloud_work *work);
void s3_take_sums(struct cloud_work *work);
void s3_take(struct cloud_work *work, const struct http_request *answer);

#endif
