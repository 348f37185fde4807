/* Which HTTP requests an action takes, and what their answers mean. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "sink/objects/azure_work.h"
#include "sink/objects/checksum.h"
#include "sink/objects/xml.h"

#define VERSION      "x-ms-version: 2021-12-02"
#define TOKEN_HEADER "x-ms-meta-millracetoken"
#define PROBE_TOKEN  "00000000000000000000000000000000"
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

static void ask(struct cloud_work *work, enum azure_ask what, const char *method, const char *name,
                size_t bytes, const char *query)
{
	struct azure_work *own = azure_of(work);
	cloud_ask(work, (int)what, method);
	own->name = name;
	own->name_bytes = bytes;
	snprintf(own->query, sizeof own->query, "%s", query);
	cloud_add_header(work, VERSION);
}

static void ask_blob(struct cloud_work *work, enum azure_ask what, const char *method, const char *query)
{
	ask(work, what, method, work->request->name, work->request->name_bytes, query);
}

static void give_body(struct cloud_work *work, const struct iovec *piece, unsigned n_pieces, uint64_t bytes)
{
	cloud_add_body(work, piece, n_pieces, bytes, work->store->md5 ? CLOUD_MD5 : 0);
}

void azure_take_sums(struct cloud_work *work)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	char base64[CHECKSUM_BASE64_MAX];
	EVP_DigestFinal_ex(work->md5, digest, NULL);
	checksum_base64(base64, digest, 16);
	cloud_add_header(work, "Content-MD5: %s", base64);
}

static void add_content(struct cloud_work *work, const char *token, const char *encoding, const char *type)
{
	cloud_add_header(work, "x-ms-blob-content-type: %.255s", type);
	if (strcmp(encoding, "identity") != 0)
		cloud_add_header(work, "x-ms-blob-content-encoding: %.31s", encoding);
	cloud_add_header(work, TOKEN_HEADER ": %.*s", (int)JOURNAL_TOKEN_BYTES, token);
}

static void ask_block(struct cloud_work *work, const struct upload_id *upload)
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
static void give_list(struct cloud_work *work, const char *token, const struct store_part *part, uint32_t n)
{
	free(work->body);
	work->body = malloc(sizeof LIST_HEAD + sizeof LIST_END + (size_t)n * LINE_BLOCK);
	if (work->body == NULL) {
		cloud_end(work, -EAGAIN, "out of memory");
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

static void ask_put(struct cloud_work *work)
{
	const struct store_request *request = work->request;
	ask_blob(work, AZURE_ASK_PUT, "PUT", "");
	cloud_add_header(work, "x-ms-blob-type: BlockBlob");
	cloud_add_header(work, "If-None-Match: *");
	add_content(work, request->token, request->encoding, request->type);
	give_body(work, request->piece, request->n_pieces, request->bytes);
}

/* What an action is of an upload: its id is ours. */
static void begin_upload(struct cloud_work *work)
{
	const struct store_request *request = work->request;
	struct upload_id upload;
	if (!read_upload(&upload, request->upload)) {
		cloud_end(work, -EINVAL, "the id of the upload is not one of this store");
	} else if (request->action == STORE_LIST) {
		ask_blob(work, AZURE_ASK_BLOCKS, "GET", "comp=blocklist&blocklisttype=uncommitted");
	} else if (request->action == STORE_PART) {
		if (request->bytes == 0 || request->number == 0)
			cloud_end(work, -EINVAL, "a block of no bytes, or without a number");
		else
			ask_block(work, &upload);
	} else {
		ask_blob(work, AZURE_ASK_COMMIT, "PUT", "comp=blocklist");
		add_content(work, upload.token, upload.encoding, upload.type);
		give_list(work, upload.token, request->part, request->n_parts);
	}
}

/* No request: blocks make the upload. */
static void create(struct cloud_work *work)
{
	struct store_request *request = work->request;
	struct upload_id upload;
	int n = snprintf(request->upload_made, sizeof request->upload_made, "%.*s/%s/%s",
	                 (int)JOURNAL_TOKEN_BYTES, request->token, request->encoding, request->type);
	if (n < 0 || (size_t)n >= sizeof request->upload_made || !read_upload(&upload, request->upload_made))
		cloud_end(work, -EINVAL, "the content's type or encoding is too long");
	else
		cloud_end(work, 0, "%s", "");
}

static void probe(struct cloud_work *work)
{
	const struct store_part none = {.number = 1};
	ask(work, AZURE_ASK_WRITE, "PUT", work->store->cloud.probe_name,
	    strlen(work->store->cloud.probe_name), "comp=blocklist");
	give_list(work, PROBE_TOKEN, &none, 1);
}

void azure_begin(struct cloud_work *work)
{
	const struct store_request *request = work->request;
	if (request->action == STORE_PROBE) {
		probe(work);
	} else if (request->name_bytes == 0 || request->name_bytes > AZURE_NAME_MAX) {
		cloud_end(work, -EINVAL, "the name of the blob has %zu bytes; allowed: 1 to %u",
		          request->name_bytes, AZURE_NAME_MAX);
	} else if (request->action == STORE_FIND) {
		ask_blob(work, AZURE_ASK_HEAD, "HEAD", "");
	} else if (request->action == STORE_CREATE) {
		create(work);
	} else if (request->action == STORE_PUT) {
		if (strlen(request->type) > 255 || strlen(request->encoding) > 31)
			cloud_end(work, -EINVAL, "the content's type or encoding is too long");
		else
			ask_put(work);
	} else {
		begin_upload(work);
	}
}

/* ---- answers ---- */

/* An answer that is not plain success: another try with what can be mended, or the end. */
static void refuse(struct cloud_work *work, const struct http_request *answer)
{
	struct store *store = work->store;
	struct cloud_meaning meaning;
	azure_judge(&meaning, answer, work->request->action, cloud_now_s(store));
	store->doubt =
	        meaning.result == -EAGAIN || meaning.result == -EINPROGRESS || meaning.result == -EACCES;
	/* with a SAS nothing of our clock is in the request */
	if (meaning.remedy == CLOUD_NEW_CLOCK && (store->kind == AZURE_BY_SAS || work->reclocked))
		meaning.remedy = CLOUD_NEW_KEYS;
	cloud_refuse(work, answer, &meaning);
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

static void succeed(struct cloud_work *work)
{
	work->store->doubt = false;
	cloud_end(work, 0, "%s", "");
}

/* The code of an answer that refuses, "" of any other. */
static void code_of(const struct cloud_work *work, const struct http_request *answer,
                    struct cloud_meaning *meaning)
{
	meaning->code[0] = '\0';
	if (answer->result == 0 && answer->status >= 400)
		azure_judge(meaning, answer, work->request->action, (int64_t)(clock_real_ns() / NS_PER_SEC));
}

static void take_write(struct cloud_work *work, const struct http_request *answer)
{
	struct cloud_meaning meaning;
	code_of(work, answer, &meaning);
	if (strcmp(meaning.code, "InvalidBlockList") == 0)
		ask(work, AZURE_ASK_READ, "HEAD", work->store->cloud.probe_name,
		    strlen(work->store->cloud.probe_name), "");
	else
		refuse(work, answer);
}

static void take_read(struct cloud_work *work, const struct http_request *answer)
{
	struct cloud_meaning meaning;
	code_of(work, answer, &meaning);
	if (is_plain(answer, 200) || strcmp(meaning.code, "BlobNotFound") == 0)
		succeed(work);
	else
		refuse(work, answer);
}

static void take_head(struct cloud_work *work, const struct http_request *answer)
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
		cloud_end(work, -EINVAL, "the store does not say how long the blob is");
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

static void take_blocks(struct cloud_work *work, const struct http_request *answer)
{
	struct store_request *request = work->request;
	struct upload_id upload;
	if (!read_upload(&upload, request->upload))
		abort(); /* begin_upload has looked */
	struct list list = {.request = request, .token = upload.token};
	if (is_plain(answer, 200) && answer->body_cut) {
		cloud_end(work, -EINVAL, "the list of blocks is longer than %zu bytes", answer->body_bytes);
	} else if (!is_plain(answer, 200) || answer->body == NULL ||
	           xml_read(answer->body, answer->body_bytes, each_block, &list) != 0 || !list.root) {
		refuse(work, answer);
	} else if (list.bad) {
		cloud_end(work, -EAGAIN, "out of memory");
	} else if (request->n_found == 0) {
		work->store->doubt = false;
		cloud_end(work, -ENOENT, "there are no uncommitted blocks of ours under this name");
	} else {
		qsort(request->found, request->n_found, sizeof *request->found, by_number);
		succeed(work);
	}
}

static void take_stored(struct cloud_work *work, const struct http_request *answer)
{
	if (is_plain(answer, 201))
		succeed(work);
	else
		refuse(work, answer);
}

void azure_take(struct cloud_work *work, const struct http_request *answer)
{
	switch ((enum azure_ask)work->ask) {
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
