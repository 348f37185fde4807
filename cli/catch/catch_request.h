/* Requests of HTTP/1 clients (RFC 9112) as `millrace catch` takes them: the same however the bytes
 * are split.
 *
 *     data:  POST /x HTTP/1.1 CRLF ... CRLF CRLF | body, chunks joined | not read yet
 *            0                                   body                  body + body_bytes
 *
 * The caller keeps all bytes of a request in one buffer and calls again when more have come; the
 * buffer may have moved meanwhile, so everything here is an offset. What smuggles requests is
 * refused: bare LF, folded lines, two lengths, a length and chunks.
 */
#ifndef CLI_CATCH_REQUEST_H
#define CLI_CATCH_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CATCH_LINE_MAX 256u /* bytes of a chunk's line */

/* A part of the data. bytes 0: not there. */
struct catch_part {
	uint32_t at, bytes;
};

enum catch_field {
	CATCH_WEBHOOK_ID,
	CATCH_WEBHOOK_TIMESTAMP,
	CATCH_WEBHOOK_SIGNATURE,
	CATCH_IDEMPOTENCY_KEY,
	CATCH_CONTENT_TYPE,
	CATCH_FIELDS
};

struct catch_limits {
	uint32_t head_bytes; /* request line and fields; also the trailers of chunks */
	uint32_t body_bytes;
};

/* All zero before the first byte of a request. */
struct catch_request {
	struct catch_part method, target, fields, field[CATCH_FIELDS];
	uint32_t body, body_bytes;
	uint32_t used;     /* after DONE: bytes of the whole request */
	bool close;        /* the connection ends after it */
	bool head;         /* its method is HEAD: an answer has no body */
	bool wants_go;     /* Expect: 100-continue */
	uint16_t status;   /* after BAD: what it is answered with */
	const char *error; /* after BAD: a phrase */
	/* private to the parser */
	uint8_t state;
	bool chunked, host, length_given, old; /* old: HTTP/1.0 */
	uint64_t length;                       /* of the body, or of what is left of the current chunk */
	uint32_t at;                           /* next byte to look at */
	uint32_t trailer_bytes;
};

enum catch_request_result { CATCH_MORE, CATCH_DONE, CATCH_BAD };

/* Parses the *bytes of data that are there. MORE: the request goes on; *bytes is less where chunk
 * lines were taken out. DONE: request->used tells where the next begins. BAD: request->status is
 * the answer, after which the connection has to end. */
enum catch_request_result catch_request_parse(struct catch_request *request, char *data, uint32_t *bytes,
                                              const struct catch_limits *limits);

/* True when the head is complete and the body is not: time for 100 Continue. */
bool catch_request_in_body(const struct catch_request *request);

#endif
