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

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "sink/objects/checksum.h"
#include "sink/objects/xml.h"

#define TOKEN_HEADER  "x-amz-meta-millrace-token"
#define PROBE_UPLOAD  "millrace-probe"
#define MARK_NAME     ".millrace-probe"
#define CRC_WORD      " crc32c" /* after the id of an upload */
#define PAGE_PARTS    1000u
#define PART_TEXT_MAX 224u /* of one part in the list that completes an upload */
#define EXPECT_BYTES  (1u << 20)
#define QUERY_MAX     (3 * JOURNAL_UPLOAD_MAX + 128)

/* ---- building ---- */

/* A request without headers or body. */
static void build(struct cloud_work *work, enum s3_ask ask, const char *method, const char *name,
                  size_t bytes, const char *query)
{
	cloud_ask(work, (int)ask, method);
	snprintf(s3_of(work)->hash, sizeof s3_of(work)->hash, "%s", SIGV4_EMPTY);
	int at = s3_place_url(&work->store->place, work->url, sizeof work->url, name, bytes, query);
	if (at < 0)
		cloud_end(work, -EINVAL, "the name is too long");
	work->query_at = at < 0 ? 0 : (size_t)at;
}

static void build_object(struct cloud_work *work, enum s3_ask ask, const char *method, const char *query)
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
static void build_upload(struct cloud_work *work, enum s3_ask ask, const char *method, const char *upload,
                         const char *before)
{
	char query[QUERY_MAX];
	bool crc;
	size_t n = (size_t)snprintf(query, sizeof query, "%suploadId=", before);
	if (sigv4_encode(query + n, sizeof query - n, upload, upload_bytes(upload, &crc), false) < 0)
		cloud_end(work, -EINVAL, "the id of the upload is too long");
	else
		build_object(work, ask, method, query);
}

/* The body, and the sums that it is sent with. */
static void add_body(struct cloud_work *work, const struct iovec *piece, unsigned n, uint64_t bytes,
                     unsigned sums)
{
	/* a store that is going to refuse it says so before it is sent */
	work->http.expect = bytes >= EXPECT_BYTES;
	snprintf(s3_of(work)->hash, sizeof s3_of(work)->hash, SIGV4_UNSIGNED);
	cloud_add_body(work, piece, n, bytes, sums | (work->store->sign_payload ? CLOUD_SHA256 : 0));
}

void s3_take_sums(struct cloud_work *work)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	char text[CHECKSUM_BASE64_MAX];
	if (work->sums & CLOUD_SHA256) {
		EVP_DigestFinal_ex(work->sha256, digest, NULL);
		sigv4_hex(s3_of(work)->hash, digest);
	}
	if (work->sums & CLOUD_MD5) {
		EVP_DigestFinal_ex(work->md5, digest, NULL);
		checksum_base64(text, digest, 16);
		cloud_add_header(work, "Content-MD5: %s", text);
	} else if (work->sums & CLOUD_CRC32C) {
		checksum_crc32c_base64(text, work->crc);
		cloud_add_header(work, "x-amz-checksum-crc32c: %s", text);
	}
}

static void add_encryption(struct cloud_work *work)
{
	const struct store *store = work->store;
	if (store->encryption == NULL)
		return;
	cloud_add_header(work, "x-amz-server-side-encryption: %s", store->encryption);
	if (store->kms_key[0] != '\0')
		cloud_add_header(work, "x-amz-server-side-encryption-aws-kms-key-id: %s", store->kms_key);
}

/* What an object is to keep. */
static void add_object_headers(struct cloud_work *work)
{
	const struct store_request *request = work->request;
	cloud_add_header(work, TOKEN_HEADER ": %.*s", (int)JOURNAL_TOKEN_BYTES, request->token);
	if (request->type != NULL && request->type[0] != '\0')
		cloud_add_header(work, "Content-Type: %s", request->type);
	if (request->encoding != NULL && request->encoding[0] != '\0' &&
	    strcmp(request->encoding, "identity") != 0)
		cloud_add_header(work, "Content-Encoding: %s", request->encoding);
	add_encryption(work);
}

static void ask_head(struct cloud_work *work)
{
	build_object(work, S3_ASK_HEAD, "HEAD", "");
}

/* The empty object next to the one in question. */
static void build_mark(struct cloud_work *work, enum s3_ask ask, const char *method)
{
	const struct store_request *request = work->request;
	char name[JOURNAL_KEY_MAX + sizeof MARK_NAME];
	size_t bytes = request->name_bytes < JOURNAL_KEY_MAX ? request->name_bytes : JOURNAL_KEY_MAX;
	while (bytes > 0 && request->name[bytes - 1] != '/')
		bytes--;
	int n = snprintf(name, sizeof name, "%.*s" MARK_NAME, (int)bytes, request->name);
	build(work, ask, method, name, (size_t)n, "");
}

static void ask_create(struct cloud_work *work)
{
	build_object(work, S3_ASK_CREATE, "POST", "uploads");
	add_object_headers(work);
	if (work->store->checksum == CLOUD_CRC32C)
		cloud_add_header(work, "x-amz-checksum-algorithm: CRC32C");
}

static void ask_put(struct cloud_work *work, enum s3_ask ask)
{
	const struct store_request *request = work->request;
	build_object(work, ask, "PUT", "");
	add_object_headers(work);
	if (ask == S3_ASK_PUT)
		cloud_add_header(work, "If-None-Match: *");
	add_body(work, request->piece, request->n_pieces, request->bytes, work->store->checksum);
}

static void ask_part(struct cloud_work *work)
{
	const struct store_request *request = work->request;
	char before[64];
	bool crc;
	upload_bytes(request->upload, &crc);
	snprintf(before, sizeof before, "partNumber=%u&", request->number);
	build_upload(work, S3_ASK_PART, "PUT", request->upload, before);
	unsigned other = work->store->checksum == CLOUD_MD5 ? CLOUD_MD5 : 0;
	add_body(work, request->piece, request->n_pieces, request->bytes, crc ? CLOUD_CRC32C : other);
}

static void ask_parts(struct cloud_work *work)
{
	char before[64];
	snprintf(before, sizeof before, "max-parts=%u&part-number-marker=%u&", PAGE_PARTS,
	         s3_of(work)->parts.last);
	build_upload(work, S3_ASK_PARTS, "GET", work->request->upload, before);
}

static void ask_uploads(struct cloud_work *work)
{
	char query[3 * JOURNAL_KEY_MAX + 64];
	size_t n = (size_t)snprintf(query, sizeof query, "uploads&max-uploads=1000&prefix=");
	if (sigv4_encode(query + n, sizeof query - n, work->request->name, work->request->name_bytes, false) <
	    0) {
		cloud_end(work, -EINVAL, "the name is too long");
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

static void ask_finish(struct cloud_work *work)
{
	const struct store_request *request = work->request;
	build_upload(work, S3_ASK_FINISH, "POST", request->upload, "");
	size_t size = 256 + (size_t)request->n_parts * PART_TEXT_MAX;
	work->body = malloc(size);
	if (work->body == NULL || request->n_parts > S3_PARTS_MAX) {
		cloud_end(work, request->n_parts > S3_PARTS_MAX ? -EINVAL : -EAGAIN,
		          "no memory for the list of parts");
		return;
	}
	size_t n = (size_t)snprintf(
	        work->body, size,
	        "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
	for (uint32_t i = 0; i < request->n_parts; i++) {
		size_t bytes = write_part(work->body + n, size - n, &request->part[i]);
		if (bytes == 0) {
			cloud_end(work, -EINVAL, "part %u has no ETag", request->part[i].number);
			return;
		}
		n += bytes;
	}
	n += (size_t)snprintf(work->body + n, size - n, "</CompleteMultipartUpload>");
	cloud_add_header(work, "Content-Type: application/xml");
	work->body_piece = (struct iovec){work->body, n};
	add_body(work, &work->body_piece, 1, n, 0);
	work->http.expect = false;
}

void s3_begin(struct cloud_work *work)
{
	struct store *store = work->store;
	struct s3_work *own = s3_of(work);
	if (!store->said_place)
		log_info("objects go to S3", "section=%s store=%s url=%s region=%s credentials=%s",
		         store->cloud.section, store->cloud.name, store->place.base, store->place.region,
		         credentials_kind(store->credentials));
	store->said_place = true;
	own->parts = (struct s3_parts){.n = 0};
	own->candidate[0] = '\0';
	switch (work->request->action) {
	case STORE_PROBE:
		build(work, S3_ASK_PROBE, "PUT", store->cloud.probe_name, strlen(store->cloud.probe_name),
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

/* Ends the work as the answer says, or sends the same request again when there is a remedy. */
static void refuse(struct cloud_work *work, const struct http_request *answer)
{
	struct cloud_meaning meaning;
	s3_judge(&meaning, answer, work->request->action, work->store->place.region);
	cloud_refuse(work, answer, &meaning);
}

/* Of an object that is there: HEAD, or GET of its first byte. */
static void take_found(struct cloud_work *work, const struct http_request *answer)
{
	struct store_request *request = work->request;
	char value[64], token[JOURNAL_TOKEN_BYTES + 1], *end;
	work->store->may_head = true;
	if (request->action == STORE_PUT) {
		cloud_end(work, -EEXIST, "an object of this name is there");
		return;
	}
	const char *number = value;
	if (http_header(answer, "Content-Range", value, sizeof value) > 0 && strrchr(value, '/') != NULL)
		number = strrchr(value, '/') + 1;
	else if (http_header(answer, "Content-Length", value, sizeof value) <= 0)
		value[0] = '\0';
	request->bytes_found = strtoull(number, &end, 10);
	if (end == number || *end != '\0') {
		cloud_end(work, -EINVAL, "the store does not say how long the object is");
		return;
	}
	if (http_header(answer, TOKEN_HEADER, token, sizeof token) == (int)JOURNAL_TOKEN_BYTES)
		memcpy(request->token_found, token, sizeof token);
	cloud_end(work, 0, "%s", "");
}

static void take_missing(struct cloud_work *work)
{
	if (work->request->action == STORE_PUT)
		ask_put(work, S3_ASK_PUT_PLAIN);
	else
		cloud_end(work, -ENOENT, "there is no object of this name");
}

static void say_listing(struct store *store)
{
	if (!store->said_listing)
		log_info(
		        "without s3:ListBucket the store answers 403 for an object that is missing: taken as such",
		        "section=%s store=%s", store->cloud.section, store->cloud.name);
	store->said_listing = true;
}

/* Without s3:ListBucket S3 answers 403 for an object that is missing, as it does without
 * s3:GetObject for one that is there: and to take the latter for missing would overwrite it. AWS's
 * message often names the right that is missing. Otherwise an object that is surely there is looked
 * at: an empty one, next to the object in question. */
static void take_forbidden(struct cloud_work *work, const struct xml_error *error,
                           const struct http_request *answer)
{
	struct store *store = work->store;
	bool lists = strstr(error->message, "s3:ListBucket") != NULL;
	if (!lists && strstr(error->message, "s3:GetObject") != NULL) {
		refuse(work, answer);
	} else if (lists || store->may_head) {
		say_listing(store);
		take_missing(work);
	} else {
		build_mark(work, S3_ASK_MARK, "PUT");
		add_encryption(work);
	}
}

static void take_head(struct cloud_work *work, const struct http_request *answer)
{
	if (answer->result == 0 && answer->status == 200) {
		take_found(work, answer);
	} else if (answer->result != 0 || answer->status >= 500 || answer->status == 429) {
		refuse(work, answer);
	} else {
		build_object(work, S3_ASK_WHY, "GET", "");
		cloud_add_header(work, "Range: bytes=0-0");
	}
}

static void take_why(struct cloud_work *work, const struct http_request *answer)
{
	struct xml_error error = {.code = ""};
	if (answer->body != NULL)
		(void)xml_error(&error, answer->body, answer->body_bytes);
	if (answer->result == 0 && (answer->status == 200 || answer->status == 206))
		take_found(work, answer);
	else if (answer->result == 0 && answer->status == 416)
		cloud_end(work, -EAGAIN, "an object of this name has just come");
	else if (answer->result == 0 && answer->status == 404 && strcmp(error.code, "NoSuchKey") == 0)
		take_missing(work);
	else if (answer->result == 0 && answer->status == 403 && strcmp(error.code, "AccessDenied") == 0)
		take_forbidden(work, &error, answer);
	else
		refuse(work, answer);
}

static void take_mark(struct cloud_work *work, const struct http_request *answer)
{
	if (answer->result == 0 && answer->status == 200)
		build_mark(work, S3_ASK_MARK_HEAD, "HEAD");
	else
		refuse(work, answer);
}

static void take_mark_head(struct cloud_work *work, const struct http_request *answer)
{
	if (answer->result == 0 && answer->status == 200) {
		work->store->may_head = true;
		say_listing(work->store);
		take_missing(work);
	} else if (answer->result == 0 && (answer->status == 403 || answer->status == 401)) {
		cloud_end(work, -EACCES,
		          "%ld to HEAD of an object that is there: s3:GetObject must be allowed",
		          answer->status);
	} else {
		refuse(work, answer);
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
static void take_uploads(struct cloud_work *work, const struct http_request *answer)
{
	struct store *store = work->store;
	const struct store_request *request = work->request;
	struct s3_upload upload;
	if (answer->result == 0 && (answer->status == 403 || answer->status == 501)) {
		store->no_uploads = true;
		log_info(
		        "without s3:ListBucketMultipartUploads an upload whose creation got no answer stays open",
		        "section=%s store=%s", store->cloud.section, store->cloud.name);
		ask_create(work);
	} else if (answer->result != 0 || answer->status != 200 || answer->body == NULL || answer->body_cut ||
	           s3_read_uploads(&upload, request->name, request->name_bytes, answer->body,
	                           answer->body_bytes) != 0) {
		refuse(work, answer);
	} else if (is_upload(upload.id)) {
		bool crc = upload.checksum[0] == '\0' ? store->checksum == CLOUD_CRC32C
		                                      : strcmp(upload.checksum, "CRC32C") == 0;
		name_upload(s3_of(work)->candidate, upload.id, crc);
		build_upload(work, S3_ASK_EMPTY, "GET", s3_of(work)->candidate, "max-parts=1&");
	} else {
		ask_create(work);
	}
}

static void take_empty(struct cloud_work *work, const struct http_request *answer)
{
	struct s3_parts parts = {.n = 0};
	bool empty = answer->result == 0 && answer->status == 200 && answer->body != NULL &&
	             s3_read_parts(&parts, answer->body, answer->body_bytes) == 0 && parts.n == 0;
	free(parts.part);
	if (!empty) {
		ask_create(work);
		return;
	}
	snprintf(work->request->upload_made, sizeof work->request->upload_made, "%s", s3_of(work)->candidate);
	cloud_end(work, 0, "%s", "");
}

static void take_parts(struct cloud_work *work, const struct http_request *answer)
{
	struct s3_parts *parts = &s3_of(work)->parts;
	int result = answer->result == 0 && answer->status == 200 && answer->body != NULL && !answer->body_cut
	                     ? s3_read_parts(parts, answer->body, answer->body_bytes)
	                     : -EINVAL;
	if (result == -EINVAL) {
		refuse(work, answer);
	} else if (result != 0) {
		cloud_end(work, result == -ENOMEM ? -EAGAIN : -EINVAL,
		          "the store's list of parts makes no sense after part %u", parts->last);
	} else if (parts->truncated) {
		ask_parts(work);
	} else {
		work->request->found = parts->part;
		work->request->n_found = parts->n;
		*parts = (struct s3_parts){.n = 0};
		cloud_end(work, 0, "%s", "");
	}
}

static void each_created(void *argument, const char *path, const char *text)
{
	char *upload = argument;
	if (text != NULL && strcmp(path, "InitiateMultipartUploadResult/UploadId") == 0)
		snprintf(upload, JOURNAL_UPLOAD_MAX + 1, "%s", text);
}

static void take_created(struct cloud_work *work, const struct http_request *answer)
{
	struct store_request *request = work->request;
	char upload[JOURNAL_UPLOAD_MAX + 1] = "";
	bool crc = work->store->checksum == CLOUD_CRC32C;
	if (answer->result != 0 || answer->status != 200 || answer->body == NULL || answer->body_cut ||
	    xml_read(answer->body, answer->body_bytes, each_created, upload) != 0 || upload[0] == '\0') {
		refuse(work, answer);
	} else if (!is_upload(upload)) {
		cloud_end(work, -EINVAL, "the store's id of the upload is too long, or none");
	} else {
		name_upload(request->upload_made, upload, crc);
		cloud_end(work, 0, "%s", "");
	}
}

static void take_part(struct cloud_work *work, const struct http_request *answer)
{
	struct store_request *request = work->request;
	char etag[JOURNAL_ETAG_MAX], crc[CHECKSUM_BASE64_MAX] = "";
	if (answer->result != 0 || answer->status != 200) {
		refuse(work, answer);
		return;
	}
	if (work->sums & CLOUD_CRC32C)
		checksum_crc32c_base64(crc, work->crc);
	int n = http_header(answer, "ETag", etag, sizeof etag);
	if (n > 0 && s3_is_etag(etag))
		n = snprintf(request->etag, sizeof request->etag, "%s%s%s", etag, crc[0] != '\0' ? " " : "",
		             crc);
	if (n <= 0 || (size_t)n >= sizeof request->etag || !s3_is_etag(etag))
		cloud_end(work, -EINVAL, "the store gave no ETag for the part, or one that is too long");
	else
		cloud_end(work, 0, "%s", "");
}

static void take_finished(struct cloud_work *work, const struct http_request *answer)
{
	struct xml_error error = {.root = ""};
	if (answer->result == 0 && answer->status == 200 && answer->body != NULL && !answer->body_cut)
		(void)xml_error(&error, answer->body, answer->body_bytes);
	if (strcmp(error.root, "CompleteMultipartUploadResult") == 0)
		cloud_end(work, 0, "%s", "");
	else
		refuse(work, answer);
}

static void take_put(struct cloud_work *work, const struct http_request *answer)
{
	struct store *store = work->store;
	bool done = answer->result == 0 && answer->status >= 200 && answer->status < 300;
	if (answer->result == 0 && answer->status == 501 && work->ask == S3_ASK_PUT) {
		ask_head(work);
		return;
	}
	if (!done) {
		refuse(work, answer);
		return;
	}
	if (work->ask == S3_ASK_PUT_PLAIN && !store->no_condition) {
		store->no_condition = true;
		log_warn("the store does not know If-None-Match: objects are looked for before they are put",
		         "section=%s store=%s", store->cloud.section, store->cloud.name);
	}
	cloud_end(work, 0, "%s", "");
}

/* Some stores stumble over an upload that they never made. */
static bool is_stumble(const struct http_request *answer, const char *code)
{
	static const char *const codes[] = {"InvalidArgument", "InvalidRequest", "MethodNotAllowed",
	                                    "NotImplemented"};
	if (answer->result != 0)
		return false;
	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
		if (strcmp(code, codes[i]) == 0)
			return true;
	return code[0] == '\0' && (answer->status == 400 || answer->status == 500);
}

static void take_probe(struct cloud_work *work, const struct http_request *answer)
{
	const struct store *store = work->store;
	struct cloud_meaning meaning = {.result = 0};
	s3_judge(&meaning, answer, STORE_PROBE, store->place.region);
	if (meaning.result == -ENOENT ||
	    (answer->result == 0 && answer->status >= 200 && answer->status < 300)) {
		cloud_end(work, 0, "%s", "");
	} else if (is_stumble(answer, meaning.code)) {
		build(work, S3_ASK_LOOK, "GET", store->cloud.probe_name, strlen(store->cloud.probe_name), "");
		cloud_add_header(work, "Range: bytes=0-0");
	} else {
		refuse(work, answer);
	}
}

static void take_look(struct cloud_work *work, const struct http_request *answer)
{
	struct cloud_meaning meaning = {.result = 0};
	s3_judge(&meaning, answer, STORE_PROBE, work->store->place.region);
	bool found = answer->result == 0 &&
	             (answer->status == 200 || answer->status == 206 || answer->status == 416);
	if (found || strcmp(meaning.code, "NoSuchKey") == 0)
		cloud_end(work, 0, "%s", "");
	else
		refuse(work, answer);
}

void s3_take(struct cloud_work *work, const struct http_request *answer)
{
	switch ((enum s3_ask)work->ask) {
	case S3_ASK_PROBE:
		take_probe(work, answer);
		return;
	case S3_ASK_LOOK:
		take_look(work, answer);
		return;
	case S3_ASK_HEAD:
		take_head(work, answer);
		return;
	case S3_ASK_WHY:
		take_why(work, answer);
		return;
	case S3_ASK_MARK:
		take_mark(work, answer);
		return;
	case S3_ASK_MARK_HEAD:
		take_mark_head(work, answer);
		return;
	case S3_ASK_UPLOADS:
		take_uploads(work, answer);
		return;
	case S3_ASK_EMPTY:
		take_empty(work, answer);
		return;
	case S3_ASK_CREATE:
		take_created(work, answer);
		return;
	case S3_ASK_PART:
		take_part(work, answer);
		return;
	case S3_ASK_PARTS:
		take_parts(work, answer);
		return;
	case S3_ASK_FINISH:
		take_finished(work, answer);
		return;
	case S3_ASK_PUT:
	case S3_ASK_PUT_PLAIN:
		take_put(work, answer);
		return;
	}
}
