/* OpenSSL 3 prefers its EVP functions, but those allocate for every digest. */
#define OPENSSL_API_COMPAT 0x10100000L

#include "serve/answer.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/hex.h"
#include "serve/problem.h"

void answer_init(struct answer *answer)
{
	memset(answer, 0, sizeof *answer);
}

void answer_free(struct answer *answer)
{
	free(answer->body);
	answer->body = NULL;
	answer->bytes = 0;
}

void answer_body(struct answer *answer, unsigned status, const char *type, char *body, size_t bytes)
{
	answer_free(answer);
	answer->status = status;
	answer->type = type;
	answer->body = body;
	answer->bytes = bytes;
}

void answer_json(struct answer *answer, unsigned status, json_t *json)
{
	char *text = json != NULL ? json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
	json_decref(json);
	if (text == NULL) {
		problem(answer, 503, "", "no memory");
		return;
	}
	answer_body(answer, status, "application/json", text, strlen(text));
}

void answer_text(struct answer *answer, unsigned status, const char *type, const char *text)
{
	char *copy = strdup(text);
	if (copy == NULL)
		problem(answer, 503, "", "no memory");
	else
		answer_body(answer, status, type, copy, strlen(copy));
}

void answer_later(struct answer *answer, struct later *later)
{
	answer->later = later;
}

/* ---- ETag ---- */

static void make_etag(struct answer *answer)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	char *at = answer->etag;
	SHA256((const unsigned char *)answer->body, answer->bytes, digest);
	at = mempcpy(at, "W/\"", 3);
	for (unsigned i = 0; i < 8; i++) {
		*at++ = hex_lower(digest[i] >> 4);
		*at++ = hex_lower(digest[i] & 15);
	}
	memcpy(at, "\"", 2);
}

/* Weak comparison (RFC 9110, 13.1.2): W/ does not matter. */
static bool has_etag(const char *list, const char *etag)
{
	const char *opaque = etag + 2;
	size_t length = strlen(opaque);
	while (list != NULL && *list != '\0') {
		list += strspn(list, " \t,");
		if (strncmp(list, "W/", 2) == 0)
			list += 2;
		size_t item = strcspn(list, ", \t");
		if ((item == 1 && *list == '*') || (item == length && strncmp(list, opaque, length) == 0))
			return true;
		list += item;
	}
	return false;
}

/* ---- gzip ---- */

static void compress_body(struct answer *answer)
{
	z_stream stream = {0};
	if (answer->bytes > UINT32_MAX / 2 ||
	    deflateInit2(&stream, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return;
	size_t room = deflateBound(&stream, answer->bytes);
	char *out = malloc(room);
	stream.next_in = (Bytef *)answer->body;
	stream.avail_in = (uInt)answer->bytes;
	stream.next_out = (Bytef *)out;
	stream.avail_out = (uInt)room;
	bool done =
	        out != NULL && deflate(&stream, Z_FINISH) == Z_STREAM_END && stream.total_out < answer->bytes;
	size_t bytes = stream.total_out;
	deflateEnd(&stream);
	if (!done) {
		free(out);
		return;
	}
	free(answer->body);
	answer->body = out;
	char *less = realloc(out, bytes);
	if (less != NULL)
		answer->body = less;
	answer->bytes = bytes;
	answer->gzip = true;
}

void answer_finish(struct answer *answer, const struct request *request)
{
	bool looked = request->method == REQUEST_GET || request->method == REQUEST_HEAD;
	if (answer->body == NULL)
		return;
	if (looked && answer->status == 200) {
		make_etag(answer);
		if (has_etag(request_field(request, REQUEST_IF_NONE_MATCH), answer->etag)) {
			answer_free(answer);
			answer->status = 304;
			answer->type = NULL;
			return;
		}
	}
	if (answer->bytes >= ANSWER_GZIP_LEAST &&
	    request_accepts(request_field(request, REQUEST_ACCEPT_ENCODING), "gzip"))
		compress_body(answer);
}

const char *answer_reason(unsigned status)
{
	static const struct {
		unsigned status;
		const char *reason;
	} known[] = {
	        {200, "OK"},
	        {202, "Accepted"},
	        {204, "No Content"},
	        {304, "Not Modified"},
	        {400, "Bad Request"},
	        {401, "Unauthorized"},
	        {403, "Forbidden"},
	        {404, "Not Found"},
	        {405, "Method Not Allowed"},
	        {411, "Length Required"},
	        {413, "Content Too Large"},
	        {414, "URI Too Long"},
	        {421, "Misdirected Request"},
	        {426, "Upgrade Required"},
	        {500, "Internal Server Error"},
	        {501, "Not Implemented"},
	        {503, "Service Unavailable"},
	};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (known[i].status == status)
			return known[i].reason;
	return "Error";
}
