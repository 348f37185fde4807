#include <http_parser.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ingest/http/chunked.h"
#include "tests/fuzz/http_oracle.h"

/* A body taken off, by whomever. */
struct decoded {
	enum chunked_result result;
	char *body;
	size_t bytes, used; /* of the body, of the coding */
	bool undecided;
};

static void *room_for(size_t bytes)
{
	void *room = malloc(bytes ? bytes : 1);
	if (!room)
		abort();
	return room;
}

/* ---- http-parser ---- */

static int on_body(http_parser *parser, const char *at, size_t bytes)
{
	struct decoded *decoded = parser->data;
	memcpy(decoded->body + decoded->bytes, at, bytes);
	decoded->bytes += bytes;
	return 0;
}

static int on_name(http_parser *parser, const char *at, size_t bytes)
{
	struct decoded *decoded = parser->data;
	if ((parser->flags & F_TRAILING) && bytes == 14 && strncasecmp(at, "Content-Length", 14) == 0)
		decoded->undecided = true;
	return 0;
}

static int on_complete(http_parser *parser)
{
	struct decoded *decoded = parser->data;
	decoded->result = CHUNKED_DONE;
	http_parser_pause(parser, 1);
	return 0;
}

static struct decoded ask(const char *data, size_t bytes)
{
	static const char head[] = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
	static const http_parser_settings settings = {
	        .on_body = on_body, .on_header_field = on_name, .on_message_complete = on_complete};
	struct decoded decoded = {.result = CHUNKED_MORE, .body = room_for(bytes)};
	http_parser parser;
	http_parser_init(&parser, HTTP_REQUEST);
	parser.data = &decoded;
	http_parser_execute(&parser, &settings, head, sizeof head - 1);
	if (bytes > 0) /* none would be the connection's end */
		decoded.used = http_parser_execute(&parser, &settings, data, bytes);
	if (decoded.result != CHUNKED_DONE && HTTP_PARSER_ERRNO(&parser) != HPE_OK)
		decoded.result = CHUNKED_BAD;
	return decoded;
}

/* ---- ours ---- */

/* As a server feeds it: what is kept of the body so far, and after it the next piece. Seed 0: one
 * piece. */
static struct decoded decode(const char *data, size_t bytes, uint64_t seed)
{
	struct decoded decoded = {.result = CHUNKED_MORE, .body = room_for(bytes)};
	struct chunked chunked = {0};
	const char *error = NULL;
	while (decoded.result == CHUNKED_MORE && decoded.used < bytes) {
		size_t piece = bytes;
		if (seed != 0) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			piece = 1 + (seed >> 33) % (seed >> 63 ? 3 : bytes);
		}
		piece = piece < bytes - decoded.used ? piece : bytes - decoded.used;
		size_t in = decoded.bytes, end = in + piece, out = in;
		/* of its own size: a sanitizer sees what is touched after it */
		char *buffer = room_for(end);
		memcpy(buffer, decoded.body, in);
		memcpy(buffer + in, data + decoded.used, piece);
		decoded.result = chunked_decode(&chunked, buffer, &in, end, &out, &error);
		if (out > in || in > end || (decoded.result == CHUNKED_MORE && in != end) ||
		    (decoded.result == CHUNKED_BAD) != (error != NULL))
			abort();
		decoded.used += in - (end - piece);
		if (memcmp(buffer + in, data + decoded.used, end - in) != 0)
			abort(); /* what is not of the body must stay as it is */
		decoded.bytes = out;
		memcpy(decoded.body, buffer, out);
		free(buffer);
	}
	return decoded;
}

static bool same_body(const struct decoded *a, const struct decoded *b)
{
	return a->bytes == b->bytes && (a->bytes == 0 || memcmp(a->body, b->body, a->bytes) == 0);
}

static const char *differs(const struct decoded *pieces, const struct decoded *once,
                           const struct decoded *theirs)
{
	if (pieces->result != once->result || pieces->used != once->used || !same_body(pieces, once))
		return "pieces make a difference";
	if (pieces->result == CHUNKED_BAD || theirs->undecided)
		return NULL;
	if (pieces->result != theirs->result)
		return theirs->result == CHUNKED_BAD ? "chunked coding, which it refuses" : "end of the body";
	if (pieces->result == CHUNKED_DONE && pieces->used != theirs->used)
		return "length of the coding";
	return same_body(pieces, theirs) ? NULL : "body";
}

enum http_agreement http_oracle_chunked(const char *data, size_t bytes, uint64_t seed)
{
	struct decoded pieces = decode(data, bytes, seed), once = decode(data, bytes, 0);
	struct decoded theirs = ask(data, bytes);
	const char *what = differs(&pieces, &once, &theirs);
	enum http_agreement agreement = pieces.result == CHUNKED_DONE   ? HTTP_WHOLE
	                                : pieces.result == CHUNKED_MORE ? HTTP_PARTIAL
	                                                                : HTTP_REFUSED;
	if (agreement != HTTP_REFUSED && theirs.undecided)
		agreement = HTTP_UNDECIDED;
	if (what)
		agreement = http_oracle_differs(what, data, bytes);
	free(pieces.body);
	free(once.body);
	free(theirs.body);
	return agreement;
}
