/* OpenSSL 3 prefers its EVP functions, but those allocate for every digest. */
#define OPENSSL_API_COMPAT 0x10100000L

#include "serve/answer.h"

#include <errno.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/hex.h"
#include "serve/problem.h"

#define TEXT_FLAGS (JSON_COMPACT | JSON_ENCODE_ANY)
#define LIST_ROOM  256u /* bytes of what is around the items of a list */

void answer_init(struct answer *answer)
{
	memset(answer, 0, sizeof *answer);
}

void answer_free(struct answer *answer)
{
	if (!answer->borrowed)
		free(answer->body);
	answer->borrowed = false;
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
	char *text = json != NULL ? json_dumps(json, TEXT_FLAGS) : NULL;
	json_decref(json);
	if (text == NULL) {
		problem(answer, 503, "", "no memory");
		return;
	}
	answer_body(answer, status, "application/json", text, strlen(text));
}

int answer_list_add(struct answer_list *list, json_t *item)
{
	size_t n = json_array_size(list->items);
	size_t bytes = item != NULL ? json_dumpb(item, NULL, 0, TEXT_FLAGS) + 1 : 0; /* and a comma */
	if (bytes == 0 || list->items == NULL) {
		json_decref(item);
		return -ENOMEM;
	}
	if (n > 0 && list->bytes + bytes + LIST_ROOM > list->answer_bytes) {
		json_decref(item);
		return 1;
	}
	list->bytes += bytes;
	return json_array_append_new(list->items, item) == 0 ? 0 : -ENOMEM;
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

static void make_etag(char etag[ANSWER_ETAG_BYTES], const char *body, size_t bytes)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	char *at = etag;
	SHA256((const unsigned char *)body, bytes, digest);
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

/* Returns it malloced, or NULL: no memory, or it would not be shorter. */
static char *compress_bytes(const char *body, size_t bytes, int level, size_t *compressed)
{
	z_stream stream = {0};
	if (bytes > UINT32_MAX / 2 ||
	    deflateInit2(&stream, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return NULL;
	size_t room = deflateBound(&stream, bytes);
	char *out = malloc(room);
	stream.next_in = (Bytef *)body;
	stream.avail_in = (uInt)bytes;
	stream.next_out = (Bytef *)out;
	stream.avail_out = (uInt)room;
	bool done = out != NULL && deflate(&stream, Z_FINISH) == Z_STREAM_END && stream.total_out < bytes;
	*compressed = stream.total_out;
	deflateEnd(&stream);
	if (!done) {
		free(out);
		return NULL;
	}
	char *less = realloc(out, *compressed);
	if (less != NULL)
		out = less;
	return out;
}

static void compress_body(struct answer *answer)
{
	size_t bytes;
	char *out = compress_bytes(answer->body, answer->bytes, 1, &bytes);
	if (out == NULL)
		return;
	free(answer->body);
	answer->body = out;
	answer->bytes = bytes;
	answer->gzip = true;
}

/* ---- kept bodies ---- */

void answer_keep(struct answer_kept *kept)
{
	make_etag(kept->etag, kept->body, kept->bytes);
	kept->gzip = compress_bytes(kept->body, kept->bytes, 9, &kept->gzip_bytes);
}

void answer_borrow(struct answer *answer, const char *type, const struct answer_kept *kept, bool gzip)
{
	bool packed = gzip && kept->gzip != NULL;
	answer_body(answer, 200, type, packed ? kept->gzip : (char *)(uintptr_t)kept->body,
	            packed ? kept->gzip_bytes : kept->bytes);
	memcpy(answer->etag, kept->etag, sizeof answer->etag);
	answer->borrowed = true;
	answer->gzip = packed;
}

void answer_finish(struct answer *answer, const struct request *request)
{
	bool looked = request->method == REQUEST_GET || request->method == REQUEST_HEAD;
	if (answer->body == NULL)
		return;
	if (looked && answer->status == 200) {
		if (answer->etag[0] == '\0')
			make_etag(answer->etag, answer->body, answer->bytes);
		if (has_etag(request_field(request, REQUEST_IF_NONE_MATCH), answer->etag)) {
			answer_free(answer);
			answer->status = 304;
			answer->type = NULL;
			answer->gzip = false;
			return;
		}
	}
	if (!answer->borrowed && !answer->gzip && answer->bytes >= ANSWER_GZIP_LEAST &&
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
	        {406, "Not Acceptable"},
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
