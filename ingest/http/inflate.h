/* Compressed request bodies: gzip and deflate (RFC 9110, 8.4.1), inflated by zlib into a buffer of
 * the caller.
 *
 * deflate is the zlib format (RFC 1950); many clients send the bare one (RFC 1951), which is taken
 * too. A gzip body may have several members. Anything after the end of the stream is an error.
 */
#ifndef INGEST_HTTP_INFLATE_H
#define INGEST_HTTP_INFLATE_H

#include "ingest/http/request.h"

/* Holds zlib's state and its memory; made once per process, used for every body: nothing is
 * allocated later. */
struct inflater;

/* NULL with errno when there is no memory. */
struct inflater *inflater_create(void);
void inflater_destroy(struct inflater *inflater);

/* Inflates data into out. Returns the length; -EMSGSIZE when room is too small for it (known
 * without inflating more than room + 1 bytes); -EBADMSG when it is not such a stream, ends early,
 * or its checksum is wrong. Then what is in out is undefined. coding is gzip or deflate. */
long inflater_run(struct inflater *inflater, enum request_coding coding, const char *data, size_t bytes,
                  char *out, size_t room);

#endif
