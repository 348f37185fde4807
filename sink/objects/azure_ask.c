/* Which HTTP requests an action takes, and what their answers mean. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "sink/objects/azure_work.h"
#include "sink/objects/xml.h"

#define VERSION      "x-ms-version: 2021-12-02"
#define TOKEN_HEADER "x-ms-meta-millracetoken"
#define PROBE_TOKEN  "00000000000000000000000000000000"
#define DIGEST_STEP  ((size_t)2 << 20)
#define LINE_BLOCK   (AZURE_BLOCK_MAX + sizeof "<Latest></Latest>")
#define LIST_HEAD    "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>"
#define LIST_END     "</BlockList>"

/* ---- upload ids and block ids ---- */

/* "TOKEN/ENCODING/TYPE" */
struct upload_id {
	char token[JOURNAL_TOKEN_BYTES + 1], encoding[32], type[256];
};

static bool read_upload(struct upload_id *upload, const char *text)
{
	const char *encoding = text + JOURNAL_TOKEN_BYTES + 1;
	if (strnlen(text, JOURNAL_TOKEN_BYTES + 1) <= JOURNAL_TOKEN_BYTES || encoding[-1] != '/')
		return false;
	const char *type = strchr(encoding, '/');
	if (type == NULL || type == encoding || (size_t)(type - encoding) >= sizeof upload->encoding ||
	    strlen(type + 1) >= sizeof upload->type || strpbrk(text, "\r\n") != NULL)
		return false;
	snprintf(upload->token, sizeof upload->token, "%.*s", (int)JOURNAL_TOKEN_BYTES, text);
	snprintf(upload->encoding, sizeof upload->encoding, "%.*s", (int)(type - encoding), encoding);
	snprintf(upload->type, sizeof upload->type, "%s", type + 1);
	return true;
}

static void block_id(char out[AZURE_BLOCK_MAX], const char *token, uint32_t number)
{
	char text[AZURE_BLOCK_BYTES + 2];
	snprintf(text, sizeof text, "%.*s-%09u", (int)JOURNAL_TOKEN_BYTES, token, number % 1000000000u);
	EVP_EncodeBlock((unsigned char *)out, (const unsigned char *)text, (int)AZURE_BLOCK_BYTES);
}

/* The number of a block of ours, 0 when it is not. */
static uint32_t block_number(const char *id, const char *token)
{
	unsigned char text[AZURE_BLOCK_MAX];
	char again[AZURE_BLOCK_MAX];
	if (strlen(id) != AZURE_BLOCK_MAX - 1 ||
	    EVP_DecodeBlock(text, (const unsigned char *)id, (int)(AZURE_BLOCK_MAX - 1)) !=
	            (int)AZURE_BLOCK_BYTES)
		return 0;
	text[AZURE_BLOCK_BYTES] = '\0';
	uint32_t number = (uint32_t)strtoul((const char *)text + JOURNAL_TOKEN_BYTES + 1, NULL, 10);
	block_id(again, token, number);
	return strcmp(id, again) == 0 ? number : 0;
}

/* ---- questions ---- */

static void add_header(struct azure_work *work, const char *format, ...)
        __attribute__((format(printf, 2, 3)));
static void add_header(struct azure_work *work, const char *format, ...)
{
	char *line = work->lines + work->lines_bytes;
	size_t room = sizeof work->lines - work->lines_bytes;
	va_list list;
	va_start(list, format);
	int n = vsnprintf(line, room, format, list);
	va_end(list);
	if (n < 0 || (size_t)n >= room || work->n_headers + 2 >= HTTP_HEADERS_MAX)
		abort(); /* the lengths are bounded before */
	work->header[work->n_headers++] = line;
	work->lines_bytes += (size_t)n + 1;
}

static void ask(struct azure_work *work, enum azure_ask what, const char *method, const char *name,
                size_t bytes, const char *query)
{
	work->ask = what;
	work->method = method;
	work->name = name;
	work->name_bytes = bytes;
	snprintf(work->query, sizeof work->query, "%s", query);
	work->lines_bytes = 0;
	work->n_headers = 0;
	work->piece = NULL;
	work->n_pieces = 0;
	work->bytes = 0;
	add_header(work, VERSION);
	work->state = AZURE_READY;
}

static void ask_blob(struct azure_work *work, enum azure_ask what, const char *method, const char *query)
{
	ask(work, what, method, work->request->name, work->request->name_bytes, query);
}

/* Gives the question its body; the digest comes first. */
static void give_body(struct azure_work *work, const struct iovec *piece, unsigned n_pieces, uint64_t bytes)
{
	work->piece = piece;
	work->n_pieces = n_pieces;
	work->bytes = bytes;
	work->digest_piece = 0;
	work->digest_at = 0;
	if (!work->store->md5)
		return;
	if (work->md5 == NULL)
		work->md5 = EVP_MD_CTX_new();
	if (work->md5 == NULL || EVP_DigestInit_ex(work->md5, EVP_md5(), NULL) != 1)
		azure_end(work, -EAGAIN, "out of memory");
	else
		work->state = AZURE_DIGEST;
}

void azure_digest(struct azure_work *work)
{
	size_t left = DIGEST_STEP;
	while (left > 0 && work->digest_piece < work->n_pieces) {
		const struct iovec *piece = &work->piece[work->digest_piece];
		size_t bytes = piece->iov_len - work->digest_at;
		if (bytes > left)
			bytes = left;
		EVP_DigestUpdate(work->md5, (const char *)piece->iov_base + work->digest_at, bytes);
		work->digest_at += bytes;
		left -= bytes;
		if (work->digest_at == piece->iov_len) {
			work->digest_piece++;
			work->digest_at = 0;
		}
	}
	if (work->digest_piece < work->n_pieces)
		return;
	unsigned char digest[EVP_MAX_MD_SIZE], base64[2 * EVP_MAX_MD_SIZE];
	unsigned bytes;
	EVP_DigestFinal_ex(work->md5, digest, &bytes);
	EVP_EncodeBlock(base64, digest, (int)bytes);
	add_header(work, "Content-MD5: %s", (char *)base64);
	work->state = AZURE_READY;
}

static void add_content(struct azure_work *work, const char *token, const char *encoding, const char *type)
{
	add_header(work, "x-ms-blob-content-type: %.255s", type);
	if (strcmp(encoding, "identity") != 0)
		add_header(work, "x-ms-blob-content-encoding: %.31s", encoding);
	add_header(work, TOKEN_HEADER ": %.*s", (int)JOURNAL_TOKEN_BYTES, token);
}

static void ask_block(struct azure_work *work, const struct upload_id *upload)
{
	const struct store_request *request = work->request;
	char id[AZURE_BLOCK_MAX], query[AZURE_QUERY_MAX];
	block_id(id, upload->token, request->number);
	/* 42 bytes come out without "=", and of digits, letters and "-" without "+" and "/" */
	snprintf(query, sizeof query, "comp=block&blockid=%s", id);
	snprintf(work->request->etag, sizeof work->request->etag, "%s", id);
	ask_blob(work, AZURE_ASK_BLOCK, "PUT", query);
	give_body(work, request->piece, request->n_pieces, request->bytes);
}

/* A list of the parts' blocks as the body. "Latest": also those that are committed already, so that
 * a list that worked and whose answer was lost works again. */
static void give_list(struct azure_work *work, const char *token, const struct store_part *part, uint32_t n)
{
	free(work->body);
	work->body = malloc(sizeof LIST_HEAD + sizeof LIST_END + (size_t)n * LINE_BLOCK);
	if (work->body == NULL) {
		azure_end(work, -EAGAIN, "out of memory");
		return;
	}
	char *at = stpcpy(work->body, LIST_HEAD);
	for (uint32_t i = 0; i < n; i++) {
		char id[AZURE_BLOCK_MAX];
		block_id(id, token, part[i].number);
		at = stpcpy(stpcpy(stpcpy(at, "<Latest>"), id), "</Latest>");
	}
	at = stpcpy(at, LIST_END);
	work->body_piece = (struct iovec){work->body, (size_t)(at - work->body)};
	give_body(work, &work->body_piece, 1, work->body_piece.iov_len);
}

static void ask_put(struct azure_work *work)
{
	const struct store_request *request = work->request;
	ask_blob(work, AZURE_ASK_PUT, "PUT", "");
	add_header(work, "x-ms-blob-type: BlockBlob");
	add_header(work, "If-None-Match: *");
	add_content(work, request->token, request->encoding, request->type);
	give_body(work, request->piece, request->n_pieces, request->bytes);
}

/* What an action is of an upload: its id is ours. */
static void begin_upload(struct azure_work *work)
{
	const struct store_request *request = work->request;
	struct upload_id upload;
	if (!read_upload(&upload, request->upload)) {
		azure_end(work, -EINVAL, "the id of the upload is not one of this store");
	} else if (request->action == STORE_LIST) {
		ask_blob(work, AZURE_ASK_BLOCKS, "GET", "comp=blocklist&blocklisttype=uncommitted");
	} else if (request->action == STORE_PART) {
		if (request->bytes == 0 || request->number == 0)
			azure_end(work, -EINVAL, "a block of no bytes, or without a number");
		else
			ask_block(work, &upload);
	} else {
		ask_blob(work, AZURE_ASK_COMMIT, "PUT", "comp=blocklist");
		add_content(work, upload.token, upload.encoding, upload.type);
		give_list(work, upload.token, request->part, request->n_parts);
	}
}

/* No request: blocks make the upload. */
static void create(struct azure_work *work)
{
	struct store_request *request = work->request;
	struct upload_id upload;
	int n = snprintf(request->upload_made, sizeof request->upload_made, "%.*s/%s/%s",
	                 (int)JOURNAL_TOKEN_BYTES, request->token, request->encoding, request->type);
	if (n < 0 || (size_t)n >= sizeof request->upload_made || !read_upload(&upload, request->upload_made))
		azure_end(work, -EINVAL, "the content's type or encoding is too long");
	else
		azure_end(work, 0, "%s", "");
}

static void probe(struct azure_work *work)
{
	const struct store_part none = {.number = 1};
	ask(work, AZURE_ASK_WRITE, "PUT", work->store->probe_name, strlen(work->store->probe_name),
	    "comp=blocklist");
	give_list(work, PROBE_TOKEN, &none, 1);
}

void azure_begin(struct azure_work *work)
{
	const struct store_request *request = work->request;
	if (request->action == STORE_PROBE) {
		probe(work);
	} else if (request->name_bytes == 0 || request->name_bytes > AZURE_NAME_MAX) {
		azure_end(work, -EINVAL, "the name of the blob has %zu bytes; allowed: 1 to %u",
		          request->name_bytes, AZURE_NAME_MAX);
	} else if (request->action == STORE_FIND) {
		ask_blob(work, AZURE_ASK_HEAD, "HEAD", "");
	} else if (request->action == STORE_CREATE) {
		create(work);
	} else if (request->action == STORE_PUT) {
		if (strlen(request->type) > 255 || strlen(request->encoding) > 31)
			azure_end(work, -EINVAL, "the content's type or encoding is too long");
		else
			ask_put(work);
	} else {
		begin_upload(work);
	}
}

/* ---- answers ---- */

/* An answer that is not plain success: another try with what can be mended, or the end. */
static void refuse(struct azure_work *work, const struct http_request *answer)
{
	struct store *store = work->store;
	struct azure_meaning meaning;
	azure_judge(&meaning, answer, work->request->action,
	            (int64_t)(clock_real_ns() / NS_PER_SEC) + store->skew_s);
	store->doubt =
	        meaning.result == -EAGAIN || meaning.result == -EINPROGRESS || meaning.result == -EACCES;
	if (meaning.remedy == AZURE_NEW_CLOCK && store->kind == AZURE_BY_SAS)
		meaning.remedy = AZURE_NEW_CREDENTIALS; /* nothing of our clock is in the request */
	if (meaning.remedy == AZURE_NEW_CLOCK && !work->reclocked) {
		store->skew_s += meaning.skew_s;
		log_warn("the store's clock is not ours: requests are dated by the store's",
		         "section=%s store=%s ahead_s=%lld", store->section, store->name,
		         (long long)store->skew_s);
		work->reclocked = true;
		work->state = AZURE_READY;
	} else if (meaning.remedy != AZURE_NO_REMEDY && !work->refreshed && azure_refresh(work)) {
		work->refreshed = true;
		work->state = AZURE_READY;
	} else {
		work->request->wait_ns = meaning.wait_ns;
		azure_end(work, meaning.result, "%.250s", meaning.reason);
	}
}

static bool has_error(const struct http_request *answer)
{
	char code[64];
	return http_header(answer, "x-ms-error-code", code, sizeof code) != -ENOENT;
}

static bool is_plain(const struct http_request *answer, long status)
{
	return answer->result == 0 && answer->status == status && !has_error(answer);
}

static void succeed(struct azure_work *work)
{
	work->store->doubt = false;
	azure_end(work, 0, "%s", "");
}

/* The code of an answer that refuses, "" of any other. */
static void code_of(const struct azure_work *work, const struct http_request *answer,
                    struct azure_meaning *meaning)
{
	meaning->code[0] = '\0';
	if (answer->result == 0 && answer->status >= 400)
		azure_judge(meaning, answer, work->request->action, (int64_t)(clock_real_ns() / NS_PER_SEC));
}

static void take_write(struct azure_work *work, const struct http_request *answer)
{
	struct azure_meaning meaning;
	code_of(work, answer, &meaning);
	if (strcmp(meaning.code, "InvalidBlockList") == 0)
		ask(work, AZURE_ASK_READ, "HEAD", work->store->probe_name, strlen(work->store->probe_name),
		    "");
	else
		refuse(work, answer);
}

static void take_read(struct azure_work *work, const struct http_request *answer)
{
	struct azure_meaning meaning;
	code_of(work, answer, &meaning);
	if (is_plain(answer, 200) || strcmp(meaning.code, "BlobNotFound") == 0)
		succeed(work);
	else
		refuse(work, answer);
}

static void take_head(struct azure_work *work, const struct http_request *answer)
{
	struct store_request *request = work->request;
	char number[32], token[JOURNAL_TOKEN_BYTES + 1], *end;
	if (!is_plain(answer, 200)) {
		refuse(work, answer);
		return;
	}
	if (http_header(answer, "Content-Length", number, sizeof number) <= 0)
		number[0] = '\0';
	request->bytes_found = strtoull(number, &end, 10);
	if (end == number || *end != '\0') {
		azure_end(work, -EINVAL, "the store does not say how long the blob is");
		return;
	}
	if (http_header(answer, TOKEN_HEADER, token, sizeof token) == (int)JOURNAL_TOKEN_BYTES)
		memcpy(request->token_found, token, sizeof token);
	succeed(work);
}

/* What the list of blocks is read into. */
struct list {
	struct store_request *request;
	const char *token;
	char id[AZURE_BLOCK_MAX];
	uint64_t bytes;
	uint32_t room;
	bool root, bad;
};

static void add_block(struct list *list)
{
	struct store_request *request = list->request;
	uint32_t number = block_number(list->id, list->token);
	if (number == 0)
		return; /* another writer's */
	if (request->n_found == list->room) {
		list->room = list->room ? 2 * list->room : 64;
		struct store_part *grown = realloc(request->found, list->room * sizeof *grown);
		if (grown == NULL) {
			list->bad = true;
			return;
		}
		request->found = grown;
	}
	struct store_part *part = &request->found[request->n_found++];
	*part = (struct store_part){.number = number, .bytes = list->bytes};
	snprintf(part->etag, sizeof part->etag, "%s", list->id);
}

static void each_block(void *argument, const char *path, const char *text)
{
	struct list *list = argument;
	if (strcmp(path, "BlockList") == 0) {
		list->root = true;
	} else if (strcmp(path, "BlockList/UncommittedBlocks/Block") == 0) {
		if (!list->bad)
			add_block(list);
		list->id[0] = '\0';
		list->bytes = 0;
	} else if (text != NULL && strcmp(path, "BlockList/UncommittedBlocks/Block/Name") == 0) {
		if ((size_t)snprintf(list->id, sizeof list->id, "%s", text) >= sizeof list->id)
			list->id[0] = '\0';
	} else if (text != NULL && strcmp(path, "BlockList/UncommittedBlocks/Block/Size") == 0) {
		list->bytes = strtoull(text, NULL, 10);
	}
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = ((const struct store_part *)a)->number, y = ((const struct store_part *)b)->number;
	return (x > y) - (x < y);
}

static void take_blocks(struct azure_work *work, const struct http_request *answer)
{
	struct store_request *request = work->request;
	struct upload_id upload;
	if (!read_upload(&upload, request->upload))
		abort(); /* begin_upload has looked */
	struct list list = {.request = request, .token = upload.token};
	if (is_plain(answer, 200) && answer->body_cut) {
		azure_end(work, -EINVAL, "the list of blocks is longer than %zu bytes", answer->body_bytes);
	} else if (!is_plain(answer, 200) || answer->body == NULL ||
	           xml_read(answer->body, answer->body_bytes, each_block, &list) != 0 || !list.root) {
		refuse(work, answer);
	} else if (list.bad) {
		azure_end(work, -EAGAIN, "out of memory");
	} else if (request->n_found == 0) {
		work->store->doubt = false;
		azure_end(work, -ENOENT, "there are no uncommitted blocks of ours under this name");
	} else {
		qsort(request->found, request->n_found, sizeof *request->found, by_number);
		succeed(work);
	}
}

static void take_stored(struct azure_work *work, const struct http_request *answer)
{
	if (is_plain(answer, 201))
		succeed(work);
	else
		refuse(work, answer);
}

void azure_take(struct azure_work *work, const struct http_request *answer)
{
	switch (work->ask) {
	case AZURE_ASK_WRITE:
		take_write(work, answer);
		return;
	case AZURE_ASK_READ:
		take_read(work, answer);
		return;
	case AZURE_ASK_HEAD:
		take_head(work, answer);
		return;
	case AZURE_ASK_BLOCKS:
		take_blocks(work, answer);
		return;
	case AZURE_ASK_BLOCK:
	case AZURE_ASK_COMMIT:
	case AZURE_ASK_PUT:
		take_stored(work, answer);
		return;
	}
}
