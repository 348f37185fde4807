/* The lists that S3 answers with: the parts of an upload, and the uploads that are open. */
#ifndef SINK_OBJECTS_S3_LIST_H
#define SINK_OBJECTS_S3_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sink/objects/store.h"

#define S3_PARTS_MAX 10000u

/* Parts, page after page. */
struct s3_parts {
	struct store_part *part; /* malloced; ascending */
	uint32_t n, room;
	uint32_t last;  /* the last part's number, 0 before the first: where the next page begins */
	bool truncated; /* there is a next page */
};

/* Adds a page. A part's etag is "ETAG", or "ETAG CRC32C" when the store has its CRC32C. Returns 0;
 * -EINVAL when the text is no such list; -EPROTO when it is one that makes no sense: parts out of
 * order, too many, or none on a page that is not the last; -ENOMEM. */
int s3_read_parts(struct s3_parts *parts, const char *text, size_t bytes);

/* An upload that is open. */
struct s3_upload {
	char id[JOURNAL_UPLOAD_MAX + 1]; /* "": there is none */
	char checksum[32];               /* "CRC32C"; "" when the store does not say */
};

/* Finds the youngest open upload of exactly this name. Returns 0, or -EINVAL when the text is no
 * such list. */
int s3_read_uploads(struct s3_upload *upload, const char *name, size_t name_bytes, const char *text,
                    size_t bytes);

/* True for an ETag that may stand in XML as it is. */
bool s3_is_etag(const char *etag);

#endif
