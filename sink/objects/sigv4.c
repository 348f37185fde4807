#include "sink/objects/sigv4.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/hex.h"
#include "base/text.h"

#define CANONICAL_MAX 65536u /* path, query and headers; the limits of the parts are far below */
#define STAMP_MAX     17u    /* 20130524T000000Z */
#define DAY_BYTES     8u
#define SCOPE_MAX     128u

/* A piece of the caller's text. */
struct piece {
	const char *at;
	size_t bytes;
};

/* A header or a name of the query, as both are sorted. */
struct pair {
	struct piece name, value;
};

int sigv4_encode(char *out, size_t size, const char *text, size_t bytes, bool path)
{
	size_t n = 0;
	for (size_t i = 0; i < bytes; i++) {
		unsigned char c = (unsigned char)text[i];
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		             (c != '\0' && strchr("-._~", c) != NULL) || (c == '/' && path);
		if (n + (plain ? 1 : 3) >= size)
			return -E2BIG;
		if (plain) {
			out[n++] = (char)c;
			continue;
		}
		out[n++] = '%';
		out[n++] = hex_upper(c >> 4);
		out[n++] = hex_upper(c);
	}
	if (n >= size)
		return -E2BIG;
	out[n] = '\0';
	return (int)n;
}

void sigv4_hex(char hash[SIGV4_HASH_MAX], const unsigned char digest[32])
{
	struct text text = {.at = hash, .end = hash + SIGV4_HASH_MAX};
	text_hex(&text, digest, 32);
	*text.at = '\0';
}

static int compare_pieces(const struct piece *a, const struct piece *b)
{
	size_t least = a->bytes < b->bytes ? a->bytes : b->bytes;
	int order = memcmp(a->at, b->at, least);
	return order != 0 ? order : a->bytes < b->bytes ? -1 : a->bytes > b->bytes;
}

static int compare_pairs(const void *one, const void *other)
{
	const struct pair *a = one, *b = other;
	int order = compare_pieces(&a->name, &b->name);
	return order != 0 ? order : compare_pieces(&a->value, &b->value);
}

/* "b=2&a" --> a= & b=2 */
static int put_query(struct text *text, const char *query)
{
	struct pair pair[SIGV4_QUERY_MAX] = {{.name = {.at = query}}};
	size_t n = 0;
	for (const char *at = query; *at != '\0';) {
		size_t length = strcspn(at, "&"), name = strcspn(at, "=&");
		if (length > 0) {
			if (n == SIGV4_QUERY_MAX)
				return -E2BIG;
			size_t skip = name < length ? name + 1 : name; /* the "=" */
			pair[n++] = (struct pair){{at, name}, {at + skip, length - skip}};
		}
		at += length + (at[length] == '&');
	}
	qsort(pair, n, sizeof *pair, compare_pairs);
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			text_literal(text, "&");
		text_put(text, pair[i].name.at, pair[i].name.bytes);
		text_literal(text, "=");
		text_put(text, pair[i].value.at, pair[i].value.bytes);
	}
	return 0;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

/* The value without white space around it, and one space in place of several. */
static void put_value(struct text *text, const struct piece *value)
{
	const char *at = value->at, *end = at + value->bytes;
	while (at < end && is_space(*at))
		at++;
	while (end > at && is_space(end[-1]))
		end--;
	for (; at < end; at++) {
		if (!is_space(*at))
			text_put(text, at, 1);
		else if (!is_space(at[-1]))
			text_literal(text, " ");
	}
}

/* Changed by libcurl or by a proxy on the way, so they are not signed. */
static bool is_left_out(const struct piece *name)
{
	static const char *const names[] = {"expect", "user-agent", "content-length"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strlen(names[i]) == name->bytes && memcmp(names[i], name->at, name->bytes) == 0)
			return true;
	return false;
}

/* What one signature is made of. */
struct work {
	char stamp[STAMP_MAX];
	char scope[SCOPE_MAX];         /* 20130524/us-east-1/s3/aws4_request */
	char names[1024];              /* of the signed headers */
	char lower[CANONICAL_MAX / 4]; /* their names in lower case, for sorting */
	char canonical[CANONICAL_MAX];
	size_t canonical_bytes;
	struct pair header[SIGV4_HEADER_MAX + 4];
	size_t n_headers;
};

static int add_header(struct work *work, struct text *lower, const char *name, size_t name_bytes,
                      const char *value)
{
	if (work->n_headers == sizeof work->header / sizeof *work->header)
		return -E2BIG;
	struct piece small = {lower->at, name_bytes};
	for (size_t i = 0; i < name_bytes; i++) {
		char c = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] | 0x20) : name[i];
		text_put(lower, &c, 1);
	}
	if (lower->full)
		return -E2BIG;
	if (!is_left_out(&small))
		work->header[work->n_headers++] = (struct pair){small, {value, strlen(value)}};
	return 0;
}

/* The caller's headers and those that signing adds, sorted. */
static int collect_headers(struct work *work, const struct sigv4_keys *keys,
                           const struct sigv4_request *request)
{
	struct text lower = {.at = work->lower, .end = work->lower + sizeof work->lower};
	const struct {
		const char *name, *value;
	} own[] = {{"host", request->host},
	           {"x-amz-date", work->stamp},
	           {"x-amz-content-sha256", request->hash},
	           {"x-amz-security-token", keys->session_token}};
	int result = 0;
	for (size_t i = 0; i < sizeof own / sizeof *own && result == 0; i++)
		if (own[i].value[0] != '\0')
			result = add_header(work, &lower, own[i].name, strlen(own[i].name), own[i].value);
	for (unsigned i = 0; i < request->n_headers && result == 0; i++) {
		const char *header = request->header[i], *colon = strchr(header, ':');
		result = colon == NULL
		                 ? -E2BIG
		                 : add_header(work, &lower, header, (size_t)(colon - header), colon + 1);
	}
	qsort(work->header, work->n_headers, sizeof *work->header, compare_pairs);
	return result;
}

static int put_headers(struct work *work, struct text *text)
{
	struct text names = {.at = work->names, .end = work->names + sizeof work->names - 1};
	for (size_t i = 0; i < work->n_headers; i++) {
		const struct pair *header = &work->header[i];
		text_put(text, header->name.at, header->name.bytes);
		text_literal(text, ":");
		put_value(text, &header->value);
		text_literal(text, "\n");
		if (i > 0)
			text_literal(&names, ";");
		text_put(&names, header->name.at, header->name.bytes);
	}
	*names.at = '\0';
	return names.full ? -E2BIG : 0;
}

/* Fills work up to the canonical request. */
static int canonicalise(struct work *work, const struct sigv4_keys *keys, const struct sigv4_request *request,
                        time_t now)
{
	struct tm utc;
	if (gmtime_r(&now, &utc) == NULL || strftime(work->stamp, STAMP_MAX, "%Y%m%dT%H%M%SZ", &utc) == 0)
		return -E2BIG;
	int length = snprintf(work->scope, SCOPE_MAX, "%.*s/%s/%s/aws4_request", (int)DAY_BYTES, work->stamp,
	                      keys->region, keys->service);
	if (length >= (int)SCOPE_MAX || strlen(keys->access_key) >= SIGV4_KEY_MAX ||
	    strlen(keys->secret_key) >= SIGV4_KEY_MAX || strlen(keys->session_token) >= SIGV4_TOKEN_MAX ||
	    strlen(request->hash) >= SIGV4_HASH_MAX)
		return -E2BIG;
	int result = collect_headers(work, keys, request);
	if (result != 0)
		return result;
	struct text text = {.at = work->canonical, .end = work->canonical + sizeof work->canonical - 1};
	text_put(&text, request->method, strlen(request->method));
	text_literal(&text, "\n");
	text_put(&text, request->path, strlen(request->path));
	text_literal(&text, "\n");
	result = put_query(&text, request->query);
	text_literal(&text, "\n");
	if (result == 0)
		result = put_headers(work, &text);
	text_literal(&text, "\n");
	text_put(&text, work->names, strlen(work->names));
	text_literal(&text, "\n");
	text_put(&text, request->hash, strlen(request->hash));
	*text.at = '\0';
	work->canonical_bytes = (size_t)(text.at - work->canonical);
	return result == 0 && text.full ? -E2BIG : result;
}

static bool hmac(unsigned char out[32], const unsigned char *key, size_t key_bytes, const char *text)
{
	unsigned length = 0;
	return HMAC(EVP_sha256(), key, (int)key_bytes, (const unsigned char *)text, strlen(text), out,
	            &length) != NULL &&
	       length == 32;
}

/* The key of the day, then the signature. */
static bool sign_text(unsigned char signature[32], const struct sigv4_keys *keys, const char *stamp,
                      const char *text)
{
	char secret[SIGV4_KEY_MAX + 4], day[DAY_BYTES + 1];
	snprintf(secret, sizeof secret, "AWS4%s", keys->secret_key);
	snprintf(day, sizeof day, "%.*s", (int)DAY_BYTES, stamp);
	unsigned char key[32];
	bool good = hmac(key, (const unsigned char *)secret, strlen(secret), day) &&
	            hmac(key, key, sizeof key, keys->region) && hmac(key, key, sizeof key, keys->service) &&
	            hmac(key, key, sizeof key, "aws4_request") && hmac(signature, key, sizeof key, text);
	OPENSSL_cleanse(secret, sizeof secret);
	OPENSSL_cleanse(key, sizeof key);
	return good;
}

static int write_headers(struct sigv4_signed *out, const struct sigv4_keys *keys,
                         const struct sigv4_request *request, const struct work *work)
{
	unsigned char digest[32];
	unsigned length = 0;
	if (EVP_Digest(work->canonical, work->canonical_bytes, digest, &length, EVP_sha256(), NULL) != 1)
		return -EIO;
	char hash[SIGV4_HASH_MAX], text[512];
	sigv4_hex(hash, digest);
	snprintf(text, sizeof text, "AWS4-HMAC-SHA256\n%s\n%s\n%s", work->stamp, work->scope, hash);
	unsigned char signature[32];
	if (!sign_text(signature, keys, work->stamp, text))
		return -EIO;
	sigv4_hex(hash, signature);
	snprintf(out->date, sizeof out->date, "x-amz-date: %s", work->stamp);
	snprintf(out->hash, sizeof out->hash, "x-amz-content-sha256: %s", request->hash);
	out->token[0] = '\0';
	if (keys->session_token[0] != '\0')
		snprintf(out->token, sizeof out->token, "x-amz-security-token: %s", keys->session_token);
	int n = snprintf(out->authorization, sizeof out->authorization,
	                 "Authorization: AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s",
	                 keys->access_key, work->scope, work->names, hash);
	return n >= (int)sizeof out->authorization ? -E2BIG : 0;
}

int sigv4_sign(struct sigv4_signed *out, const struct sigv4_keys *keys, const struct sigv4_request *request,
               time_t now)
{
	struct work work = {.n_headers = 0};
	int result = canonicalise(&work, keys, request, now);
	return result == 0 ? write_headers(out, keys, request, &work) : result;
}

char *sigv4_canonical(const struct sigv4_keys *keys, const struct sigv4_request *request, time_t now)
{
	struct work work = {.n_headers = 0};
	int result = canonicalise(&work, keys, request, now);
	if (result == 0)
		return strdup(work.canonical);
	errno = -result;
	return NULL;
}
