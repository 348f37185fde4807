/* Where a bucket is: the URL and the Host of its objects.
 *
 *     virtual   https://logs.s3.eu-central-1.amazonaws.com/chat/a     on AWS, when the bucket's name may stand in a certificate's name
 *     path      http://minio:9000/logs/chat/a                         elsewhere, and for names with dots or upper case
 */
#ifndef SINK_OBJECTS_S3_PLACE_H
#define SINK_OBJECTS_S3_PLACE_H

#include <stdbool.h>
#include <stddef.h>

#include "shm/segment.h"

#define S3_BUCKET_MAX 255u
#define S3_BASE_MAX   768u

struct s3_place {
	char bucket[S3_BUCKET_MAX + 1];
	char region[64];
	char host[S3_BUCKET_MAX + 256]; /* as the header has it */
	char base[S3_BASE_MAX];         /* before an object's name: "http://minio:9000/logs/" */
	size_t path_at;                 /* of base: where its path begins */
	bool tls, aws, virtual_host;
};

/* endpoint: "http://host:port" or with a path; "": AWS's of the region. style: "auto", "virtual",
 * "path". Returns 0, or -EINVAL with "KEY: WHAT" in error, KEY being bucket, region, endpoint or
 * style. */
int s3_place_init(struct s3_place *place, const char *bucket, const char *region, const char *endpoint,
                  const char *style, struct shm_error *error);

/* The URL of an object, or of the bucket when bytes is 0. query: encoded, "" none. Returns where
 * the query begins in url (after "?", or at the final 0), or -E2BIG. */
int s3_place_url(const struct s3_place *place, char *url, size_t size, const char *name, size_t bytes,
                 const char *query);

#endif
