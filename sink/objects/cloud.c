#include "sink/objects/cloud.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "sink/objects/checksum.h"

#define PROBE_NAME          ".millrace-probe"
#define DIGEST_STEP         (1u << 20) /* bytes; some 5 ms of SHA-256 and MD5 on a slow core */
#define SKEW_LEAST_S        60
#define RETRY_AFTER_MOST_NS (300 * NS_PER_SEC)

/* A kind's struct store begins with its struct cloud. */
static struct cloud *cloud_of(const struct store *store)
{
	return (struct cloud *)store;
}

static struct cloud_work *work_at(const struct cloud *cloud, unsigned i)
{
	return (struct cloud_work *)(void *)(cloud->work + i * cloud->kind->work_bytes);
}

/* ---- opening ---- */

const char *cloud_first_set(const char *configured, const char *variable)
{
	const char *value = configured[0] != '\0' ? configured : getenv(variable);
	return value != NULL ? value : "";
}

/* The probe asks for what the sink may do, and that may be bound to a prefix: the text that all
 * keys begin with. */
static void name_probe(struct cloud *cloud, const char *key)
{
	size_t bytes = strcspn(key, "{");
	while (bytes > 0 && key[bytes - 1] != '/')
		bytes--;
	if (bytes > sizeof cloud->probe_name - sizeof PROBE_NAME)
		bytes = 0;
	snprintf(cloud->probe_name, sizeof cloud->probe_name, "%.*s" PROBE_NAME, (int)bytes, key);
}

static struct http_options http_options(const struct cloud_kind *kind, const struct config *config,
                                        const char *section)
{
	char key[CLOUD_KEY_MAX];
	snprintf(key, sizeof key, "%.60s.store.%s", section, kind->name);
	return (struct http_options){.connections = (unsigned)config_u64(config, "%s.connections", key),
	                             .connect_timeout_ns = config_ns(config, "%s.connect_timeout", key),
	                             .stall_timeout_ns = config_ns(config, "%s.stall_timeout", key),
	                             .total_timeout_ns = config_ns(config, "%s.request_timeout", key),
	                             .ca_file = config_string(config, "%s.ca_file", key),
	                             .answer_max = kind->answer_max};
}

int cloud_open(struct store **opened, const struct cloud_kind *kind, const struct config *config,
               const char *section, struct shm_error *error)
{
	struct http_options http = http_options(kind, config, section);
	struct store *store = calloc(1, kind->store_bytes);
	char *work = calloc(http.connections, kind->work_bytes), key[CLOUD_KEY_MAX];
	struct shm_error wrong;
	snprintf(key, sizeof key, "%.60s.store.%s", section, kind->name);
	if (store == NULL || work == NULL) {
		free(store);
		free(work);
		shm_explain(error, "%s: out of memory", key);
		return -ENOMEM;
	}
	struct cloud *cloud = cloud_of(store);
	cloud->kind = kind;
	cloud->work = work;
	cloud->n_work = http.connections;
	for (unsigned i = 0; i < cloud->n_work; i++)
		work_at(cloud, i)->store = store;
	snprintf(cloud->section, sizeof cloud->section, "%s", section);
	int result = kind->open(store, config, key, error);
	if (result == 0 && (result = http_open(&cloud->http, &http, &wrong)) != 0)
		shm_explain(error, "%s.ca_file: %s", key, wrong.text);
	if (result != 0) {
		cloud_close(store);
		return result;
	}
	cloud->traits.name = cloud->name;
	cloud->traits.requests = cloud->n_work;
	name_probe(cloud, config_string(config, "%s.key", section));
	*opened = store;
	return 0;
}

/* All that open looks at, and nothing is left of it. */
int cloud_check(const struct cloud_kind *kind, const struct config *config, const char *section,
                struct shm_error *error)
{
	struct store *store;
	int result = cloud_open(&store, kind, config, section, error);
	if (result == 0)
		cloud_close(store);
	return result;
}

uint64_t cloud_memory_max(const struct cloud_kind *kind, const struct config *config, const char *section,
                          uint64_t list_bytes)
{
	struct http_options http = http_options(kind, config, section);
	return kind->store_bytes + http.connections * (kind->work_bytes + list_bytes) +
	       http_memory_max(&http);
}

static void clear(struct cloud_work *work)
{
	free(work->body);
	work->body = NULL;
	if (cloud_of(work->store)->kind->clear != NULL)
		cloud_of(work->store)->kind->clear(work);
}

void cloud_close(struct store *store)
{
	if (store == NULL)
		return;
	struct cloud *cloud = cloud_of(store);
	size_t store_bytes = cloud->kind->store_bytes;
	http_close(cloud->http);
	cloud->kind->close(store);
	for (unsigned i = 0; i < cloud->n_work; i++) {
		struct cloud_work *work = work_at(cloud, i);
		EVP_MD_CTX_free(work->sha256);
		EVP_MD_CTX_free(work->md5);
		clear(work);
	}
	/* keys, signatures and tokens are in them */
	OPENSSL_cleanse(cloud->work, cloud->n_work * cloud->kind->work_bytes);
	free(cloud->work);
	OPENSSL_cleanse(store, store_bytes);
	free(store);
}

const struct store_traits *cloud_traits(const struct store *store)
{
	return &cloud_of(store)->traits;
}

/* ---- building ---- */

void cloud_ask(struct cloud_work *work, int ask, const char *method)
{
	work->ask = ask;
	work->state = CLOUD_READY;
	work->lines_bytes = 0;
	work->http = (struct http_request){.method = method, .url = work->url};
}

void cloud_add_header(struct cloud_work *work, const char *format, ...)
{
	size_t room = sizeof work->lines - work->lines_bytes;
	char *line = work->lines + work->lines_bytes;
	va_list list;
	if (work->state == CLOUD_ENDED)
		return; /* it could not be built */
	va_start(list, format);
	int n = vsnprintf(line, room, format, list);
	va_end(list);
	if (n < 0 || (size_t)n >= room || work->http.n_headers == HTTP_HEADERS_MAX - CLOUD_SIGNED_HEADERS) {
		cloud_end(work, -EINVAL, "the headers are too long");
		return;
	}
	work->lines_bytes += (size_t)n + 1;
	work->http.header[work->http.n_headers++] = line;
}

static void begin_sum(struct cloud_work *work, EVP_MD_CTX **context, const EVP_MD *method, const char *name)
{
	if (*context == NULL)
		*context = EVP_MD_CTX_new();
	if (*context == NULL)
		cloud_end(work, -EAGAIN, "out of memory");
	else if (EVP_DigestInit_ex(*context, method, NULL) != 1)
		cloud_end(work, -EINVAL, "OpenSSL gives no %s here: set %s.checksum", name,
		          cloud_of(work->store)->kind->name);
}

void cloud_add_body(struct cloud_work *work, const struct iovec *piece, unsigned n, uint64_t bytes,
                    unsigned sums)
{
	work->http.piece = piece;
	work->http.n_pieces = n;
	work->http.bytes = bytes;
	work->sums = sums;
	work->piece = 0;
	work->piece_at = 0;
	work->crc = 0;
	if (work->state != CLOUD_READY || sums == 0)
		return;
	work->state = CLOUD_DIGEST;
	if (sums & CLOUD_SHA256)
		begin_sum(work, &work->sha256, EVP_sha256(), "SHA-256");
	if (sums & CLOUD_MD5)
		begin_sum(work, &work->md5, EVP_md5(), "MD5");
}

/* Goes on with the sums of the body, for at most a few milliseconds. */
static void sum_up(struct cloud_work *work)
{
	size_t left = DIGEST_STEP;
	while (left > 0 && work->piece < work->http.n_pieces) {
		const struct iovec *piece = &work->http.piece[work->piece];
		const char *at = (const char *)piece->iov_base + work->piece_at;
		size_t bytes = piece->iov_len - work->piece_at;
		bytes = bytes < left ? bytes : left;
		if (work->sums & CLOUD_SHA256)
			EVP_DigestUpdate(work->sha256, at, bytes);
		if (work->sums & CLOUD_MD5)
			EVP_DigestUpdate(work->md5, at, bytes);
		if (work->sums & CLOUD_CRC32C)
			work->crc = checksum_crc32c(work->crc, at, bytes);
		left -= bytes;
		work->piece_at += bytes;
		if (work->piece_at == piece->iov_len)
			work->piece++, work->piece_at = 0;
	}
	if (work->piece < work->http.n_pieces)
		return;
	work->state = CLOUD_READY;
	cloud_of(work->store)->kind->take_sums(work);
}

/* ---- requests ---- */

int64_t cloud_now_s(const struct store *store)
{
	return (int64_t)(clock_real_ns() / NS_PER_SEC) + cloud_of(store)->skew_s;
}

void cloud_end(struct cloud_work *work, int result, const char *format, ...)
{
	struct store_request *request = work->request;
	request->result = result;
	va_list list;
	va_start(list, format);
	vsnprintf(request->reason, sizeof request->reason, format, list);
	va_end(list);
	if (result != 0)
		request->etag[0] = '\0';
	work->state = CLOUD_ENDED;
}

bool cloud_start(struct store *store, struct store_request *request)
{
	struct cloud *cloud = cloud_of(store);
	unsigned i = 0;
	while (i < cloud->n_work && work_at(cloud, i)->state != CLOUD_FREE)
		i++;
	if (i == cloud->n_work)
		return false;
	struct cloud_work *work = work_at(cloud, i);
	request->result = 0;
	request->reason[0] = '\0';
	request->wait_ns = 0;
	request->etag[0] = request->upload_made[0] = request->token_found[0] = '\0';
	request->bytes_found = 0;
	request->found = NULL;
	request->n_found = 0;
	request->next = NULL;
	work->request = request;
	work->refreshed = work->reclocked = false;
	cloud->kind->begin(work);
	return true;
}

/* Called when the request goes out, so that neither its date nor its keys are old by then. */
static int sign(struct http_request *http, void *owner)
{
	(void)http; /* the work's */
	struct cloud_work *work = owner;
	work->sign_result = cloud_of(work->store)->kind->sign(work, cloud_now_s(work->store));
	return work->sign_result;
}

/* Sends the request when there are keys; ends it when there will be none for now. */
static void send_ready(struct cloud *cloud, struct cloud_work *work, uint64_t now_ns)
{
	const char *reason;
	int result = cloud->kind->prepare(work, now_ns, &reason);
	if (result == -EINPROGRESS)
		return;
	if (result != 0) {
		cloud_end(work, result, "%.250s", reason);
		return;
	}
	work->http.sign = sign;
	work->http.owner = work;
	work->sign_result = 0;
	if (http_start(cloud->http, &work->http))
		work->state = CLOUD_SENT;
}

static void take_answers(struct cloud *cloud, uint64_t now_ns)
{
	for (struct http_request *http; (http = http_next(cloud->http, now_ns)) != NULL;) {
		struct cloud_work *work = http->owner;
		struct http_request answer = *http;
		int result = work->sign_result;
		if (result == -EINPROGRESS)
			work->state = CLOUD_READY; /* the keys have just run out */
		else if (result != 0)
			cloud_end(work, result == -EACCES || result == -EAGAIN ? result : -EINVAL,
			          "cannot be signed: %s", strerror(-result));
		else
			cloud->kind->take(work, &answer);
		http_request_fini(&answer);
	}
}

/* A work that has ended is given back. */
static struct store_request *take_ended(struct cloud *cloud)
{
	for (unsigned i = 0; i < cloud->n_work; i++) {
		struct cloud_work *work = work_at(cloud, i);
		if (work->state != CLOUD_ENDED)
			continue;
		clear(work);
		work->state = CLOUD_FREE;
		if (work->request->result != 0) {
			free(work->request->found);
			work->request->found = NULL;
			work->request->n_found = 0;
		}
		return work->request;
	}
	return NULL;
}

struct store_request *cloud_next(struct store *store, uint64_t now_ns)
{
	struct cloud *cloud = cloud_of(store);
	struct store_request *ended = take_ended(cloud);
	if (ended != NULL)
		return ended;
	cloud->kind->drive(store, now_ns);
	take_answers(cloud, now_ns);
	for (unsigned i = 0; i < cloud->n_work; i++) {
		struct cloud_work *work = work_at(cloud, i);
		if (work->state == CLOUD_DIGEST)
			sum_up(work);
		if (work->state == CLOUD_READY)
			send_ready(cloud, work, now_ns);
	}
	return take_ended(cloud);
}

unsigned cloud_wait(struct store *store, struct store_wait *wait, unsigned n, uint64_t *timeout_ns)
{
	struct cloud *cloud = cloud_of(store);
	for (unsigned i = 0; i < cloud->n_work; i++)
		if (work_at(cloud, i)->state == CLOUD_DIGEST || work_at(cloud, i)->state == CLOUD_ENDED)
			*timeout_ns = 0;
	unsigned used = cloud->kind->wait(store, wait, n, timeout_ns);
	return used + http_wait(cloud->http, wait + used, n - used, timeout_ns);
}

/* ---- answers ---- */

bool cloud_is_final(enum store_action action)
{
	return action == STORE_FINISH || action == STORE_PUT;
}

static bool is_harmless(enum store_action action)
{
	return action == STORE_PROBE || action == STORE_FIND || action == STORE_LIST;
}

static int result_of_status(long status, enum store_action action)
{
	switch (status) {
	case 200: /* an error that we do not know, or no whole answer */
	case 201:
	case 202:
		return is_harmless(action) ? -EAGAIN : -EINPROGRESS;
	case 408:
	case 417: /* no Expect from now on */
	case 425:
	case 429:
		return -EAGAIN;
	case 301:
	case 302:
	case 307:
	case 308:
	case 401:
	case 403:
	case 404: /* no such bucket, container or account */
	case 407:
		return -EACCES;
	case 409:
	case 412:
		return action == STORE_PUT ? -EEXIST : cloud_is_final(action) ? -EINPROGRESS : -EAGAIN;
	case 501:
		return -EINVAL;
	default:
		return status >= 500 ? -EAGAIN : -EINVAL;
	}
}

static void judge_silence(struct cloud_meaning *meaning, const struct http_request *answer,
                          enum store_action action)
{
	snprintf(meaning->reason, sizeof meaning->reason, "%s", answer->reason);
	if (answer->result == -EINVAL)
		meaning->result = -EINVAL;
	else if (answer->result == -EPROTO && !answer->sent)
		meaning->result = -EACCES; /* a certificate that is not trusted */
	else
		meaning->result = answer->sent && !is_harmless(action) ? -EINPROGRESS : -EAGAIN;
}

void cloud_judge(struct cloud_meaning *meaning, const struct http_request *answer, enum store_action action,
                 const struct cloud_code *codes, size_t n_codes, const char *code, const char *message)
{
	*meaning = (struct cloud_meaning){.remedy = CLOUD_NO_REMEDY};
	if (answer->result != 0) {
		judge_silence(meaning, answer, action);
		return;
	}
	snprintf(meaning->code, sizeof meaning->code, "%s", code);
	meaning->result = result_of_status(answer->status, action);
	for (size_t i = 0; i < n_codes; i++)
		if (strcmp(codes[i].code, code) == 0) {
			meaning->result = codes[i].result;
			meaning->remedy = codes[i].remedy;
		}
	if (meaning->result == -EAGAIN)
		meaning->wait_ns = http_retry_after_ns(answer, RETRY_AFTER_MOST_NS);
	snprintf(meaning->reason, sizeof meaning->reason, "%ld%s%s%s%s", answer->status,
	         code[0] != '\0' ? " " : "", code, message[0] != '\0' ? ": " : "", message);
}

/* Another request may have learned it meanwhile: then nothing changes. */
static void learn_clock(struct cloud *cloud, const struct http_request *answer)
{
	int64_t theirs = http_date(answer), skew = theirs - (int64_t)(clock_real_ns() / NS_PER_SEC);
	if (theirs == 0 || llabs(skew - cloud->skew_s) < SKEW_LEAST_S)
		return;
	cloud->skew_s = skew;
	log_warn("the clock here is not that of the store: requests are signed for the store's time",
	         "section=%s store=%s ahead_s=%lld", cloud->section, cloud->name, (long long)-skew);
}

void cloud_refuse(struct cloud_work *work, const struct http_request *answer,
                  const struct cloud_meaning *meaning)
{
	struct cloud *cloud = cloud_of(work->store);
	if (meaning->remedy == CLOUD_NEW_CLOCK && !work->reclocked) {
		work->reclocked = true;
		learn_clock(cloud, answer);
		work->state = CLOUD_READY;
	} else if (meaning->remedy == CLOUD_NEW_KEYS && !work->refreshed && cloud->kind->refresh(work)) {
		work->refreshed = true;
		work->state = CLOUD_READY;
	} else {
		work->request->wait_ns = meaning->wait_ns;
		cloud_end(work, meaning->result, "%s", meaning->reason);
	}
}
