/* Which HTTP requests an action takes, and what their answers mean for it.
 *
 *     PROBE    UploadPart of an upload that there is not --> [GET, where the store stumbles over that]
 *     FIND     HEAD --> [GET, when it is not 200: HEAD has no body to say why] --> [an empty object, HEAD of it: see forbidden]
 *     CREATE   [ListMultipartUploads, ListParts, when it may have been done before] --> CreateMultipartUpload
 *     PART     UploadPart
 *     LIST     ListParts, page by page
 *     FINISH   CompleteMultipartUpload
 *     PUT      PutObject with If-None-Match --> [where that is not implemented: FIND, PutObject]
 *
 * A part's ETag goes to the caller with its CRC32C after a space, when it has one: completing needs
 * both. So does an upload's id with the word crc32c, because its parts must all have one or none,
 * whatever the option says by then.
 */
#include "sink/objects/s3_work.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "sink/objects/checksum.h"

#define TOKEN_HEADER   "x-amz-meta-millrace-token"
#define PROBE_UPLOAD   "millrace-probe"
#define MARK_NAME      ".millrace-probe"
#define CRC_WORD       " crc32c" /* after the id of an upload */
#define PAGE_PARTS     1000u
#define PART_TEXT_MAX  224u       /* of one part in the list that completes an upload */
#define DIGEST_STEP    (1u << 20) /* bytes; some 5 ms of SHA-256 and MD5 on a slow core */
#define SKEW_LEAST_S   60
#define SIGNED_HEADERS 4u /* that signing adds */
#define QUERY_MAX      (3 * JOURNAL_UPLOAD_MAX + 128)

/* ---- building ---- */

static void add_header(struct s3_work *work, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add_header(struct s3_work *work, const char *format, ...)
{
	size_t room = sizeof work->lines - work->lines_bytes;
	char *line = work->lines + work->lines_bytes;
	va_list list;
	if (work->state == S3_ENDED)
		return; /* it could not be built */
	va_start(list, format);
	int n = vsnprintf(line, room, format, list);
	va_end(list);
	if (n < 0 || (size_t)n >= room || work->http.n_headers == HTTP_HEADERS_MAX - SIGNED_HEADERS) {
		s3_end(work, -EINVAL, "the headers are too long");
		return;
	}
	work->lines_bytes += (size_t)n + 1;
	work->http.header[work->http.n_headers++] = line;
}

/* A request without headers or body. */
static void build(struct s3_work *work, enum s3_ask ask, const char *method, const char *name, size_t bytes,
                  const char *query)
{
	work->ask = ask;
	work->state = S3_READY;
	work->lines_bytes = 0;
	work->http = (struct http_request){.method = method, .url = work->url, .owner = work};
	snprintf(work->hash, sizeof work->hash, "%s", SIGV4_EMPTY);
	int at = s3_place_url(&work->store->place, work->url, sizeof work->url, name, bytes, query);
	if (at < 0)
		s3_end(work, -EINVAL, "the name is too long");
	work->query_at = at < 0 ? 0 : (size_t)at;
}

static void build_object(struct s3_work *work, enum s3_ask ask, const char *method, const char *query)
{
	build(work, ask, method, work->request->name, work->request->name_bytes, query);
}

/* The length of an upload's id without our word; *crc: whether it has it. */
static size_t upload_bytes(const char *upload, bool *crc)
{
	size_t bytes = strcspn(upload, " ");
	*crc = strcmp(upload + bytes, CRC_WORD) == 0;
	return bytes;
}

/* A request about an upload. before: what stands in the query before the id. */
static void build_upload(struct s3_work *work, enum s3_ask ask, const char *method, const char *upload,
                         const char *before)
{
	char query[QUERY_MAX];
	bool crc;
	size_t n = (size_t)snprintf(query, sizeof query, "%suploadId=", before);
	if (sigv4_encode(query + n, sizeof query - n, upload, upload_bytes(upload, &crc), false) < 0)
		s3_end(work, -EINVAL, "the id of the upload is too long");
	else
		build_object(work, ask, method, query);
}

/* The body, and what is to be known of it before it is sent. */
static void add_body(struct s3_work *work, const struct iovec *piece, unsigned n, uint64_t bytes,
                     enum s3_checksum sums)
{
	work->http.piece = piece;
	work->http.n_pieces = n;
	work->http.bytes = bytes;
	/* a store that is going to refuse it says so before it is sent */
	work->http.expect = bytes >= DIGEST_STEP;
	work->sums = sums;
	work->sums_sha256 = work->store->sign_payload;
	work->piece = 0;
	work->piece_at = 0;
	work->crc = 0;
	if (work->state != S3_READY)
		return;
	if (!work->sums_sha256 && sums == S3_CHECKSUM_OFF) {
		snprintf(work->hash, sizeof work->hash, SIGV4_UNSIGNED);
		return;
	}
	work->state = S3_DIGEST;
	if (work->sha256 == NULL)
		work->sha256 = EVP_MD_CTX_new();
	if (work->md5 == NULL)
		work->md5 = EVP_MD_CTX_new();
	if (work->sha256 == NULL || work->md5 == NULL)
		s3_end(work, -EAGAIN, "out of memory");
	else if ((work->sums_sha256 && EVP_DigestInit_ex(work->sha256, EVP_sha256(), NULL) != 1) ||
	         (sums == S3_CHECKSUM_MD5 && EVP_DigestInit_ex(work->md5, EVP_md5(), NULL) != 1))
		s3_end(work, -EINVAL, "OpenSSL gives no %s here: set s3.checksum",
		       sums == S3_CHECKSUM_MD5 ? "MD5" : "SHA-256");
}

static void end_digest(struct s3_work *work)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	char text[CHECKSUM_BASE64_MAX];
	work->state = S3_READY;
	snprintf(work->hash, sizeof work->hash, SIGV4_UNSIGNED);
	if (work->sums_sha256) {
		EVP_DigestFinal_ex(work->sha256, digest, NULL);
		sigv4_hex(work->hash, digest);
	}
	if (work->sums == S3_CHECKSUM_MD5) {
		EVP_DigestFinal_ex(work->md5, digest, NULL);
		checksum_base64(text, digest, 16);
		add_header(work, "Content-MD5: %s", text);
	} else if (work->sums == S3_CHECKSUM_CRC32C) {
		checksum_crc32c_base64(text, work->crc);
		add_header(work, "x-amz-checksum-crc32c: %s", text);
	}
}

void s3_digest(struct s3_work *work)
{
	size_t left = DIGEST_STEP;
	while (left > 0 && work->piece < work->http.n_pieces) {
		const struct iovec *piece = &work->http.piece[work->piece];
		const char *at = (const char *)piece->iov_base + work->piece_at;
		size_t bytes = piece->iov_len - work->piece_at;
		bytes = bytes < left ? bytes : left;
		if (work->sums_sha256)
			EVP_DigestUpdate(work->sha256, at, bytes);
		if (work->sums == S3_CHECKSUM_MD5)
			EVP_DigestUpdate(work->md5, at, bytes);
		else if (work->sums == S3_CHECKSUM_CRC32C)
			work->crc = checksum_crc32c(work->crc, at, bytes);
		left -= bytes;
		work->piece_at += bytes;
		if (work->piece_at == piece->iov_len)
			work->piece++, work->piece_at = 0;
	}
	if (work->piece == work->http.n_pieces)
		end_digest(work);
}

static void add_encryption(struct s3_work *work)
{
	const struct store *store = work->store;
	if (store->encryption == NULL)
		return;
	add_header(work, "x-amz-server-side-encryption: %s", store->encryption);
	if (store->kms_key[0] != '\0')
		add_header(work, "x-amz-server-side-encryption-aws-kms-key-id: %s", store->kms_key);
}

/* What an object is to keep. */
static void add_object_headers(struct s3_work *work)
{
	const struct store_request *request = work->request;
	add_header(work, TOKEN_HEADER ": %.*s", (int)JOURNAL_TOKEN_BYTES, request->token);
	if (request->type != NULL && request->type[0] != '\0')
		add_header(work, "Content-Type: %s", request->type);
	if (request->encoding != NULL && request->encoding[0] != '\0' &&
	    strcmp(request->encoding, "identity") != 0)
		add_header(work, "Content-Encoding: %s", request->encoding);
	add_encryption(work);
}

static void ask_head(struct s3_work *work)
{
	build_object(work, S3_ASK_HEAD, "HEAD", "");
}

/* The empty object next to the one in question. */
static void build_mark(struct s3_work *work, enum s3_ask ask, const char *method)
{
	const struct store_request *request = work->request;
	char name[JOURNAL_KEY_MAX + sizeof MARK_NAME];
	size_t bytes = request->name_bytes < JOURNAL_KEY_MAX ? request->name_bytes : JOURNAL_KEY_MAX;
	while (bytes > 0 && request->name[bytes - 1] != '/')
		bytes--;
	int n = snprintf(name, sizeof name, "%.*s" MARK_NAME, (int)bytes, request->name);
	build(work, ask, method, name, (size_t)n, "");
}

static void ask_create(struct s3_work *work)
{
	build_object(work, S3_ASK_CREATE, "POST", "uploads");
	add_object_headers(work);
	if (work->store->checksum == S3_CHECKSUM_CRC32C)
		add_header(work, "x-amz-checksum-algorithm: CRC32C");
}

static void ask_put(struct s3_work *work, enum s3_ask ask)
{
	const struct store_request *request = work->request;
	build_object(work, ask, "PUT", "");
	add_object_headers(work);
	if (ask == S3_ASK_PUT)
		add_header(work, "If-None-Match: *");
	add_body(work, request->piece, request->n_pieces, request->bytes, work->store->checksum);
}

static void ask_part(struct s3_work *work)
{
	const struct store_request *request = work->request;
	char before[64];
	bool crc;
	upload_bytes(request->upload, &crc);
	snprintf(before, sizeof before, "partNumber=%u&", request->number);
	build_upload(work, S3_ASK_PART, "PUT", request->upload, before);
	enum s3_checksum other = work->store->checksum == S3_CHECKSUM_MD5 ? S3_CHECKSUM_MD5 : S3_CHECKSUM_OFF;
	add_body(work, request->piece, request->n_pieces, request->bytes, crc ? S3_CHECKSUM_CRC32C : other);
}

static void ask_parts(struct s3_work *work)
{
	char before[64];
	snprintf(before, sizeof before, "max-parts=%u&part-number-marker=%u&", PAGE_PARTS, work->parts.last);
	build_upload(work, S3_ASK_PARTS, "GET", work->request->upload, before);
}

static void ask_uploads(struct s3_work *work)
{
	char query[3 * JOURNAL_KEY_MAX + 64];
	size_t n = (size_t)snprintf(query, sizeof query, "uploads&max-uploads=1000&prefix=");
	if (sigv4_encode(query + n, sizeof query - n, work->request->name, work->request->name_bytes, false) <
	    0) {
		s3_end(work, -EINVAL, "the name is too long");
		return;
	}
	build(work, S3_ASK_UPLOADS, "GET", "", 0, query);
}

/* One part of the list, whose etag is "ETAG" or "ETAG CRC". Returns its length; 0 when it is
 * none. */
static size_t write_part(char *out, size_t size, const struct store_part *part)
{
	size_t bytes = strcspn(part->etag, " ");
	const char *crc = part->etag[bytes] == ' ' ? part->etag + bytes + 1 : "";
	char etag[JOURNAL_ETAG_MAX];
	snprintf(etag, sizeof etag, "%.*s", (int)bytes, part->etag);
	if (!s3_is_etag(etag) || (crc[0] != '\0' && !s3_is_etag(crc)))
		return 0;
	return (size_t)snprintf(out, size, "<Part><PartNumber>%u</PartNumber><ETag>%s</ETag>%s%s%s</Part>",
	                        part->number, etag, crc[0] != '\0' ? "<ChecksumCRC32C>" : "", crc,
	                        crc[0] != '\0' ? "</ChecksumCRC32C>" : "");
}

static void ask_finish(struct s3_work *work)
{
	const struct store_request *request = work->request;
	build_upload(work, S3_ASK_FINISH, "POST", request->upload, "");
	size_t size = 256 + (size_t)request->n_parts * PART_TEXT_MAX;
	work->body = malloc(size);
	if (work->body == NULL || request->n_parts > S3_PARTS_MAX) {
		s3_end(work, request->n_parts > S3_PARTS_MAX ? -EINVAL : -EAGAIN,
		       "no memory for the list of parts");
		return;
	}
	size_t n = (size_t)snprintf(
	        work->body, size,
	        "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
	for (uint32_t i = 0; i < request->n_parts; i++) {
		size_t bytes = write_part(work->body + n, size - n, &request->part[i]);
		if (bytes == 0) {
			s3_end(work, -EINVAL, "part %u has no ETag", request->part[i].number);
			return;
		}
		n += bytes;
	}
	n += (size_t)snprintf(work->body + n, size - n, "</CompleteMultipartUpload>");
	add_header(work, "Content-Type: application/xml");
	work->body_piece = (struct iovec){work->body, n};
	add_body(work, &work->body_piece, 1, n, S3_CHECKSUM_OFF);
	work->http.expect = false;
}

void s3_begin(struct s3_work *work)
{
	struct store *store = work->store;
	switch (work->request->action) {
	case STORE_PROBE:
		build(work, S3_ASK_PROBE, "PUT", store->probe_name, strlen(store->probe_name),
		      "partNumber=1&uploadId=" PROBE_UPLOAD);
		return;
	case STORE_FIND:
		ask_head(work);
		return;
	case STORE_CREATE:
		if (work->request->again && !store->no_uploads)
			ask_uploads(work);
		else
			ask_create(work);
		return;
	case STORE_PART:
		ask_part(work);
		return;
	case STORE_LIST:
		ask_parts(work);
		return;
	case STORE_FINISH:
		ask_finish(work);
		return;
	case STORE_PUT:
		if (store->no_condition)
			ask_head(work);
		else
			ask_put(work, S3_ASK_PUT);
		return;
	}
}

/* ---- answers ---- */

static bool learn_clock(struct store *store, const struct http_request *answer)
{
	char date[64];
	if (http_header(answer, "Date", date, sizeof date) <= 0)
		return false;
	time_t theirs = curl_getdate(date, NULL);
	int64_t skew = (int64_t)theirs - (int64_t)(clock_real_ns() / NS_PER_SEC);
	if (theirs <= 0 || llabs(skew - store->skew_s) < SKEW_LEAST_S)
		return false;
	store->skew_s = skew;
	log_warn("the clock here is not that of the store: requests are signed for the store's time",
	         "section=%s ahead_s=%lld", store->section, (long long)-skew);
	return true;
}

/* Ends the work as the answer says, or sends the same request again when there is a remedy. */
static void refuse(struct s3_work *work, const struct http_request *answer, uint64_t now_ns)
{
	struct store *store = work->store;
	struct s3_meaning meaning;
	s3_judge(&meaning, answer, work->request->action, store->place.region);
	if (meaning.remedy == S3_NEW_KEYS && !work->refreshed &&
	    credentials_refused(store->credentials, work->generation, now_ns)) {
		work->refreshed = true;
		work->state = S3_READY;
	} else if (meaning.remedy == S3_NEW_CLOCK && !work->reclocked) {
		work->reclocked = true;
		/* another request may have learned it meanwhile */
		(void)learn_clock(store, answer);
		work->state = S3_READY;
	} else {
		work->request->wait_ns = meaning.wait_ns;
		s3_end(work, meaning.result, "%s", meaning.reason);
	}
}

/* Of an object that is there: HEAD, or GET of its first byte. */
static void take_found(struct s3_work *work, const struct http_request *answer)
{
	struct store_request *request = work->request;
	char value[64], token[JOURNAL_TOKEN_BYTES + 1], *end;
	work->store->may_head = true;
	if (request->action == STORE_PUT) {
		s3_end(work, -EEXIST, "an object of this name is there");
		return;
	}
	const char *number = value;
	if (http_header(answer, "Content-Range", value, sizeof value) > 0 && strrchr(value, '/') != NULL)
		number = strrchr(value, '/') + 1;
	else if (http_header(answer, "Content-Length", value, sizeof value) <= 0)
		value[0] = '\0';
	request->bytes_found = strtoull(number, &end, 10);
	if (end == number || *end != '\0') {
		s3_end(work, -EINVAL, "the store does not say how long the object is");
		return;
	}
	if (http_header(answer, TOKEN_HEADER, token, sizeof token) == (int)JOURNAL_TOKEN_BYTES)
		memcpy(request->token_found, token, sizeof token);
	s3_end(work, 0, "%s", "");
}

static void take_missing(struct s3_work *work)
{
	if (work->request->action == STORE_PUT)
		ask_put(work, S3_ASK_PUT_PLAIN);
	else
		s3_end(work, -ENOENT, "there is no object of this name");
}

static void say_listing(struct store *store)
{
	if (!store->said_listing)
		log_info(
		        "without s3:ListBucket the store answers 403 for an object that is missing: taken as such",
		        "section=%s store=%s", store->section, store->name);
	store->said_listing = true;
}

/* Without s3:ListBucket S3 answers 403 for an object that is missing, as it does without
 * s3:GetObject for one that is there: and to take the latter for missing would overwrite it. AWS's
 * message often names the right that is missing. Otherwise an object that is surely there is looked
 * at: an empty one, next to the object in question. */
static void take_forbidden(struct s3_work *work, const struct xml_error *error,
                           const struct http_request *answer, uint64_t now_ns)
{
	struct store *store = work->store;
	bool lists = strstr(error->message, "s3:ListBucket") != NULL;
	if (!lists && strstr(error->message, "s3:GetObject") != NULL) {
		refuse(work, answer, now_ns);
	} else if (lists || store->may_head) {
		say_listing(store);
		take_missing(work);
	} else {
		build_mark(work, S3_ASK_MARK, "PUT");
		add_encryption(work);
	}
}

static void take_head(struct s3_work *work, const struct http_request *answer, uint64_t now_ns)
{
	if (answer->result == 0 && answer->status == 200) {
		take_found(work, answer);
	} else if (answer->result != 0 || answer->status >= 500 || answer->status == 429) {
		refuse(work, answer, now_ns);
	} else {
		build_object(work, S3_ASK_WHY, "GET", "");
		add_header(work, "Range: bytes=0-0");
	}
}

static void take_why(struct s3_work *work, const struct http_request *answer, uint64_t now_ns)
{
	struct xml_error error = {.code = ""};
	if (answer->body != NULL)
		(void)xml_error(&error, answer->body, answer->body_bytes);
	if (answer->result == 0 && (answer->status == 200 || answer->status == 206))
		take_found(work, answer);
	else if (answer->result == 0 && answer->status == 416)
		s3_end(work, -EAGAIN, "an object of this name has just come");
	else if (answer->result == 0 && answer->status == 404 && strcmp(error.code, "NoSuchKey") == 0)
		take_missing(work);
	else if (answer->result == 0 && answer->status == 403 && strcmp(error.code, "AccessDenied") == 0)
		take_forbidden(work, &error, answer, now_ns);
	else
		refuse(work, answer, now_ns);
}

static void take_mark(struct s3_work *work, const struct http_request *answer, uint64_t now_ns)
{
	if (answer->result == 0 && answer->status == 200)
		build_mark(work, S3_ASK_MARK_HEAD, "HEAD");
	else
		refuse(work, answer, now_ns);
}

static void take_mark_head(struct s3_work *work, const struct http_request *answer, uint64_t now_ns)
{
	if (answer->result == 0 && answer->status == 200) {
		work->store->may_head = true;
		say_listing(work->store);
		take_missing(work);
	} else if (answer->result == 0 && (answer->status == 403 || answer->status == 401)) {
		s3_end(work, -EACCES, "%ld to HEAD of an object that is there: s3:GetObject must be allowed",
		       answer->status);
	} else {
		refuse(work, answer, now_ns);
	}
}

/* ---- uploads ---- */

/* An id that has room for our word, and no space of its own. */
static bool is_upload(const char *id)
{
	char copy[JOURNAL_UPLOAD_MAX + 1 - sizeof CRC_WORD];
	return credentials_take(copy, sizeof copy, id, strlen(id)) && strcmp(copy, id) == 0;
}

static void name_upload(char out[JOURNAL_UPLOAD_MAX + 1], const char *id, bool crc)
{
	snprintf(out, JOURNAL_UPLOAD_MAX + 1, "%.*s%s", (int)(JOURNAL_UPLOAD_MAX - sizeof CRC_WORD), id,
	         crc ? CRC_WORD : "");
}

/* An upload whose creation got no answer has no parts: only such a one is taken up. */
static void take_uploads(struct s3_work *work, const struct http_request *answer, uint64_t now_ns)
{
	struct store *store = work->store;
	const struct store_request *request = work->request;
	struct s3_upload upload;
	if (answer->result == 0 && (answer->status == 403 || answer->status == 501)) {
		store->no_uploads = true;
		log_info(
		        "without s3:ListBucketMultipartUploads an upload whose creation got no answer stays open",
		        "section=%s store=%s", store->section, store->name);
		ask_create(work);
	} else if (answer->result != 0 || answer->status != 200 || answer->body == NULL || answer->body_cut ||
	           s3_read_uploads(&upload, request->name, request->name_bytes, answer->body,
	                           answer->body_bytes) != 0) {
		refuse(work, answer, now_ns);
	} else if (is_upload(upload.id)) {
		bool crc = upload.checksum[0] == '\0' ? store->checksum == S3_CHECKSUM_CRC32C
		                                      : strcmp(upload.checksum, "CRC32C") == 0;
		name_upload(work->candidate, upload.id, crc);
		build_upload(work, S3_ASK_EMPTY, "GET", work->candidate, "max-parts=1&");
	} else {
		ask_create(work);
	}
}

static void take_empty(struct s3_work *work, const struct http_request *answer)
{
	struct s3_parts parts = {.n = 0};
	bool empty = answer->result == 0 && answer->status == 200 && answer->body != NULL &&
	             s3_read_parts(&parts, answer->body, answer->body_bytes) == 0 && parts.n == 0;
	free(parts.part);
	if (!empty) {
		ask_create(work);
		return;
	}
	snprintf(work->request->upload_made, sizeof work->request->upload_made, "%s", work->candidate);
	s3_end(work, 0, "%s", "");
}

static void take_parts(struct s3_work *work, const struct http_request *answer, uint64_t now_ns)
{
	struct s3_parts *parts = &work->parts;
	int result = answer->result == 0 && answer->status == 200 && answer->body != NULL && !answer->body_cut
	                     ? s3_read_parts(parts, answer->body, answer->body_bytes)
	                     : -EINVAL;
	if (result == -EINVAL) {
		refuse(work, answer, now_ns);
	} else if (result != 0) {
		s3_end(work, result == -ENOMEM ? -EAGAIN : -EINVAL,
		       "the store's list of parts makes no sense after part %u", parts->last);
	} else if (parts->truncated) {
		ask_parts(work);
	} else {
		work->request->found = parts->part;
		work->request->n_found = parts->n;
		*parts = (struct s3_parts){.n = 0};
		s3_end(work, 0, "%s", "");
	}
}

static void each_created(void *argument, const char *path, const char *text)
{
	char *upload = argument;
	if (text != NULL && strcmp(path, "InitiateMultipartUploadResult/UploadId") == 0)
		snprintf(upload, JOURNAL_UPLOAD_MAX + 1, "%s", text);
}

static void take_created(struct s3_work *work, const struct http_request *answer, uint64_t now_ns)
{
	struct store_request *request = work->request;
	char upload[JOURNAL_UPLOAD_MAX + 1] = "";
	bool crc = work->store->checksum == S3_CHECKSUM_CRC32C;
	if (answer->result != 0 || answer->status != 200 || answer->body == NULL || answer->body_cut ||
	    xml_read(answer->body, answer->body_bytes, each_created, upload) != 0 || upload[0] == '\0') {
		refuse(work, answer, now_ns);
	} else if (!is_upload(upload)) {
		s3_end(work, -EINVAL, "the store's id of the upload is too long, or none");
	} else {
		name_upload(request->upload_made, upload, crc);
		s3_end(work, 0, "%s", "");
	}
}

static void take_part(struct s3_work *work, const struct http_request *answer, uint64_t now_ns)
{
	struct store_request *request = work->request;
	char etag[JOURNAL_ETAG_MAX], crc[CHECKSUM_BASE64_MAX] = "";
	if (answer->result != 0 || answer->status != 200) {
		refuse(work, answer, now_ns);
		return;
	}
	if (work->sums == S3_CHECKSUM_CRC32C)
		checksum_crc32c_base64(crc, work->crc);
	int n = http_header(answer, "ETag", etag, sizeof etag);
	if (n > 0 && s3_is_etag(etag))
		n = snprintf(request->etag, sizeof request->etag, "%s%s%s", etag, crc[0] != '\0' ? " " : "",
		             crc);
	if (n <= 0 || (size_t)n >= sizeof request->etag || !s3_is_etag(etag))
		s3_end(work, -EINVAL, "the store gave no ETag for the part, or one that is too long");
	else
		s3_end(work, 0, "%s", "");
}

static void take_finished(struct s3_work *work, const struct http_request *answer, uint64_t now_ns)
{
	struct xml_error error = {.root = ""};
	if (answer->result == 0 && answer->status == 200 && answer->body != NULL && !answer->body_cut)
		(void)xml_error(&error, answer->body, answer->body_bytes);
	if (strcmp(error.root, "CompleteMultipartUploadResult") == 0)
		s3_end(work, 0, "%s", "");
	else
		refuse(work, answer, now_ns);
}

static void take_put(struct s3_work *work, const struct http_request *answer, uint64_t now_ns)
{
	struct store *store = work->store;
	bool done = answer->result == 0 && answer->status >= 200 && answer->status < 300;
	if (answer->result == 0 && answer->status == 501 && work->ask == S3_ASK_PUT) {
		ask_head(work);
		return;
	}
	if (!done) {
		refuse(work, answer, now_ns);
		return;
	}
	if (work->ask == S3_ASK_PUT_PLAIN && !store->no_condition) {
		store->no_condition = true;
		log_warn("the store does not know If-None-Match: objects are looked for before they are put",
		         "section=%s store=%s", store->section, store->name);
	}
	s3_end(work, 0, "%s", "");
}

/* Some stores stumble over an upload that they never made. */
static bool is_stumble(const struct http_request *answer, const struct xml_error *error)
{
	static const char *const codes[] = {"InvalidArgument", "InvalidRequest", "MethodNotAllowed",
	                                    "NotImplemented"};
	if (answer->result != 0)
		return false;
	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
		if (strcmp(error->code, codes[i]) == 0)
			return true;
	return error->code[0] == '\0' && (answer->status == 400 || answer->status == 500);
}

static void take_probe(struct s3_work *work, const struct http_request *answer, uint64_t now_ns)
{
	const struct store *store = work->store;
	struct s3_meaning meaning = {.result = 0};
	s3_judge(&meaning, answer, STORE_PROBE, store->place.region);
	if (meaning.result == -ENOENT ||
	    (answer->result == 0 && answer->status >= 200 && answer->status < 300)) {
		s3_end(work, 0, "%s", "");
	} else if (is_stumble(answer, &meaning.error)) {
		build(work, S3_ASK_LOOK, "GET", store->probe_name, strlen(store->probe_name), "");
		add_header(work, "Range: bytes=0-0");
	} else {
		refuse(work, answer, now_ns);
	}
}

static void take_look(struct s3_work *work, const struct http_request *answer, uint64_t now_ns)
{
	struct s3_meaning meaning = {.result = 0};
	s3_judge(&meaning, answer, STORE_PROBE, work->store->place.region);
	bool found = answer->result == 0 &&
	             (answer->status == 200 || answer->status == 206 || answer->status == 416);
	if (found || strcmp(meaning.error.code, "NoSuchKey") == 0)
		s3_end(work, 0, "%s", "");
	else
		refuse(work, answer, now_ns);
}

void s3_take(struct s3_work *work, const struct http_request *answer, uint64_t now_ns)
{
	switch (work->ask) {
	case S3_ASK_PROBE:
		take_probe(work, answer, now_ns);
		return;
	case S3_ASK_LOOK:
		take_look(work, answer, now_ns);
		return;
	case S3_ASK_HEAD:
		take_head(work, answer, now_ns);
		return;
	case S3_ASK_WHY:
		take_why(work, answer, now_ns);
		return;
	case S3_ASK_MARK:
		take_mark(work, answer, now_ns);
		return;
	case S3_ASK_MARK_HEAD:
		take_mark_head(work, answer, now_ns);
		return;
	case S3_ASK_UPLOADS:
		take_uploads(work, answer, now_ns);
		return;
	case S3_ASK_EMPTY:
		take_empty(work, answer);
		return;
	case S3_ASK_CREATE:
		take_created(work, answer, now_ns);
		return;
	case S3_ASK_PART:
		take_part(work, answer, now_ns);
		return;
	case S3_ASK_PARTS:
		take_parts(work, answer, now_ns);
		return;
	case S3_ASK_FINISH:
		take_finished(work, answer, now_ns);
		return;
	case S3_ASK_PUT:
	case S3_ASK_PUT_PLAIN:
		take_put(work, answer, now_ns);
		return;
	}
}
