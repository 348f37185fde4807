/* The store that is a bucket of S3, or of a store that speaks like it. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "sink/objects/s3_work.h"

#define ANSWER_MAX  (1u << 20) /* a page of 1000 parts is below 512 KiB */
#define PART_MIN    ((uint64_t)5 << 20)
#define PART_MAX    ((uint64_t)5 << 30)
#define OBJECT_MAX  ((uint64_t)5 << 40)
#define NAME_MAX_S3 1024u
#define PROBE_NAME  ".millrace-probe"
#define SECTION_MAX 64u

/* ---- opening ---- */

static bool meant(const struct config *config, const char *section)
{
	return config_string(config, "%s.store.s3.bucket", section)[0] != '\0';
}

static const char *first_set(const char *configured, const char *const *names)
{
	for (; configured[0] == '\0' && *names != NULL; names++) {
		const char *value = getenv(*names);
		configured = value != NULL ? value : "";
	}
	return configured;
}

static const char *region_of(const struct config *config, const char *section)
{
	static const char *const names[] = {"AWS_REGION", "AWS_DEFAULT_REGION", NULL};
	const char *region = first_set(config_string(config, "%s.store.s3.region", section), names);
	return region[0] != '\0' ? region : "us-east-1";
}

static int find_place(struct s3_place *place, const struct config *config, const char *section,
                      struct shm_error *error)
{
	static const char *const names[] = {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", NULL};
	struct shm_error wrong;
	int result = s3_place_init(place, config_string(config, "%s.store.s3.bucket", section),
	                           region_of(config, section),
	                           first_set(config_string(config, "%s.store.s3.endpoint", section), names),
	                           config_string(config, "%s.store.s3.style", section), &wrong);
	if (result != 0)
		shm_explain(error, "%s.store.s3.%s", section, wrong.text);
	return result;
}

static int choose_encryption(struct store *store, const struct config *config, const char *section,
                             struct shm_error *error)
{
	const char *method = config_string(config, "%s.store.s3.encryption", section);
	const char *key = config_string(config, "%s.store.s3.kms_key", section);
	bool kms = strcmp(method, "kms") == 0;
	store->encryption = kms ? "aws:kms" : strcmp(method, "aes256") == 0 ? "AES256" : NULL;
	if (key[0] == '\0')
		return 0;
	if (kms && credentials_take(store->kms_key, sizeof store->kms_key, key, strlen(key)))
		return 0;
	shm_explain(error, "%s.store.s3.kms_key: %s", section,
	            kms ? "is no id or ARN of a key" : "is for encryption: kms alone");
	return -EINVAL;
}

static enum s3_checksum choose_checksum(const char *method, bool aws)
{
	if (strcmp(method, "auto") == 0)
		return aws ? S3_CHECKSUM_CRC32C : S3_CHECKSUM_MD5;
	return strcmp(method, "crc32c") == 0 ? S3_CHECKSUM_CRC32C
	       : strcmp(method, "md5") == 0  ? S3_CHECKSUM_MD5
	                                     : S3_CHECKSUM_OFF;
}

/* The probe asks for what the sink may do, and that may be bound to a prefix: the text that all
 * keys begin with. */
static void name_probe(struct store *store, const char *key)
{
	size_t bytes = strcspn(key, "{");
	while (bytes > 0 && key[bytes - 1] != '/')
		bytes--;
	if (bytes > sizeof store->probe_name - sizeof PROBE_NAME)
		bytes = 0;
	snprintf(store->probe_name, sizeof store->probe_name, "%.*s" PROBE_NAME, (int)bytes, key);
}

static struct http_options http_options(const struct config *config, const char *section)
{
	return (struct http_options){
	        .connections = (unsigned)config_u64(config, "%s.store.s3.connections", section),
	        .connect_timeout_ns = config_ns(config, "%s.store.s3.connect_timeout", section),
	        .stall_timeout_ns = config_ns(config, "%s.store.s3.stall_timeout", section),
	        .total_timeout_ns = config_ns(config, "%s.store.s3.request_timeout", section),
	        .ca_file = config_string(config, "%s.store.s3.ca_file", section),
	        .answer_max = ANSWER_MAX};
}

static int open_credentials(struct store *store, const struct config *config, const char *section,
                            struct shm_error *error)
{
	char key[SECTION_MAX + 16];
	snprintf(key, sizeof key, "%s.store.s3", section);
	struct credentials_options options = {
	        .section = key,
	        .kind = config_string(config, "%s.credentials", key),
	        .access_key = config_string(config, "%s.access_key", key),
	        .secret_key = config_string(config, "%s.secret_key", key),
	        .session_token = config_string(config, "%s.session_token", key),
	        .profile = config_string(config, "%s.profile", key),
	        .region = store->place.region,
	        .sts_endpoint = config_string(config, "%s.sts_endpoint", key),
	        .ca_file = config_string(config, "%s.ca_file", key),
	        .connect_timeout_ns = config_ns(config, "%s.connect_timeout", key),
	        .request_timeout_ns = config_ns(config, "%s.stall_timeout", key)};
	return credentials_open(&store->credentials, &options, error);
}

static void close_store(struct store *store)
{
	if (store == NULL)
		return;
	http_close(store->http);
	credentials_close(store->credentials);
	for (unsigned i = 0; i < store->n_work; i++) {
		EVP_MD_CTX_free(store->work[i].sha256);
		EVP_MD_CTX_free(store->work[i].md5);
		free(store->work[i].body);
		free(store->work[i].parts.part);
	}
	free(store->work);
	free(store);
}

static void set_traits(struct store *store)
{
	snprintf(store->name, sizeof store->name, "s3://%s", store->place.bucket);
	store->traits = (struct store_traits){.name = store->name,
	                                      .part_min = PART_MIN,
	                                      .part_max = PART_MAX,
	                                      .parts_max = S3_PARTS_MAX,
	                                      .object_max = OBJECT_MAX,
	                                      .name_max = NAME_MAX_S3,
	                                      .requests = store->n_work,
	                                      .keeps_token = true};
}

static int open_store(struct store **opened, const struct config *config, const char *section,
                      struct shm_error *error)
{
	struct http_options http = http_options(config, section);
	struct store *store = calloc(1, sizeof *store);
	struct s3_work *work = calloc(http.connections, sizeof *work);
	if (store == NULL || work == NULL) {
		free(store);
		free(work);
		shm_explain(error, "%s.store.s3: out of memory", section);
		return -ENOMEM;
	}
	store->work = work;
	store->n_work = http.connections;
	for (unsigned i = 0; i < store->n_work; i++)
		work[i].store = store;
	snprintf(store->section, sizeof store->section, "%s", section);
	int result = find_place(&store->place, config, section, error);
	if (result == 0)
		result = choose_encryption(store, config, section, error);
	if (result == 0)
		result = open_credentials(store, config, section, error);
	if (result == 0)
		result = http_open(&store->http, &http, error);
	if (result != 0) {
		close_store(store);
		return result;
	}
	const char *payload = config_string(config, "%s.store.s3.sign_payload", section);
	store->sign_payload =
	        strcmp(payload, "always") == 0 || (strcmp(payload, "auto") == 0 && !store->place.tls);
	store->checksum =
	        choose_checksum(config_string(config, "%s.store.s3.checksum", section), store->place.aws);
	name_probe(store, config_string(config, "%s.key", section));
	set_traits(store);
	*opened = store;
	return 0;
}

static const struct store_traits *traits(const struct store *store)
{
	return &store->traits;
}

/* All that open looks at, and nothing is left of it. */
static int check(const struct config *config, const char *section, struct shm_error *error)
{
	struct store *store;
	int result = open_store(&store, config, section, error);
	if (result == 0)
		close_store(store);
	return result;
}

static uint64_t memory_max(const struct config *config, const char *section)
{
	struct http_options http = http_options(config, section);
	/* a list of parts that is sent, or that is read */
	uint64_t list = (uint64_t)S3_PARTS_MAX * 256;
	return sizeof(struct store) + http.connections * (sizeof(struct s3_work) + list) +
	       http_memory_max(&http) + credentials_memory_max();
}

/* ---- requests ---- */

void s3_end(struct s3_work *work, int result, const char *format, ...)
{
	struct store_request *request = work->request;
	request->result = result;
	va_list list;
	va_start(list, format);
	vsnprintf(request->reason, sizeof request->reason, format, list);
	va_end(list);
	work->state = S3_ENDED;
}

static bool start(struct store *store, struct store_request *request)
{
	struct s3_work *work = store->work, *end = work + store->n_work;
	while (work < end && work->state != S3_FREE)
		work++;
	if (work == end)
		return false;
	request->result = 0;
	request->reason[0] = '\0';
	request->wait_ns = 0;
	request->etag[0] = request->upload_made[0] = request->token_found[0] = '\0';
	request->bytes_found = 0;
	request->found = NULL;
	request->n_found = 0;
	request->next = NULL;
	if (!store->said_place)
		log_info("objects go to S3", "section=%s store=%s url=%s region=%s credentials=%s",
		         store->section, store->name, store->place.base, store->place.region,
		         credentials_kind(store->credentials));
	store->said_place = true;
	work->request = request;
	work->refreshed = work->reclocked = false;
	work->parts = (struct s3_parts){.n = 0};
	work->candidate[0] = '\0';
	s3_begin(work);
	return true;
}

/* Called when the request goes out, so that neither its date nor its keys are old by then. */
static int sign(struct http_request *http, void *owner)
{
	struct s3_work *work = owner;
	struct store *store = work->store;
	const struct credentials_keys *keys;
	const char *reason;
	work->sign_result =
	        credentials_get(store->credentials, clock_monotonic_ns(), &keys, &work->generation, &reason);
	if (work->sign_result != 0)
		return work->sign_result;
	struct sigv4_keys with = {.access_key = keys->access_key,
	                          .secret_key = keys->secret_key,
	                          .session_token = keys->session_token,
	                          .region = store->place.region,
	                          .service = "s3"};
	char path[S3_URL_MAX];
	const char *url = work->url + store->place.path_at;
	snprintf(path, sizeof path, "%.*s", (int)strcspn(url, "?"), url);
	struct sigv4_request request = {.method = http->method,
	                                .host = store->place.host,
	                                .path = path,
	                                .query = work->url + work->query_at,
	                                .header = http->header,
	                                .n_headers = http->n_headers,
	                                .hash = work->hash};
	struct sigv4_signed *out = &work->signature;
	time_t now = (time_t)((int64_t)(clock_real_ns() / NS_PER_SEC) + store->skew_s);
	work->sign_result = sigv4_sign(out, &with, &request, now);
	if (work->sign_result != 0)
		return work->sign_result;
	const char *added[] = {out->date, out->hash, out->authorization, out->token};
	for (unsigned i = 0; i < sizeof added / sizeof *added; i++)
		if (added[i][0] != '\0')
			http->header[http->n_headers++] = added[i];
	return 0;
}

/* Sends the request when there are keys; ends it when there will be none for now. */
static void send_ready(struct s3_work *work, uint64_t now_ns)
{
	const struct credentials_keys *keys;
	const char *reason;
	uint64_t generation;
	int result = credentials_get(work->store->credentials, now_ns, &keys, &generation, &reason);
	if (result == -EINPROGRESS)
		return;
	if (result != 0) {
		s3_end(work, result, "%.250s", reason);
		return;
	}
	work->http.sign = sign;
	work->http.owner = work;
	work->sign_result = 0;
	if (http_start(work->store->http, &work->http))
		work->state = S3_SENT;
}

static void take_answers(struct store *store, uint64_t now_ns)
{
	for (struct http_request *http; (http = http_next(store->http, now_ns)) != NULL;) {
		struct s3_work *work = http->owner;
		struct http_request answer = *http;
		if (work->sign_result == -EINPROGRESS)
			work->state = S3_READY; /* the keys have just run out */
		else if (work->sign_result != 0)
			s3_end(work,
			       work->sign_result == -EACCES || work->sign_result == -EAGAIN
			               ? work->sign_result
			               : -EINVAL,
			       "cannot be signed: %s", strerror(-work->sign_result));
		else
			s3_take(work, &answer, now_ns);
		http_request_fini(&answer);
	}
}

/* A work that has ended is given back, its body with it. */
static struct store_request *take_ended(struct store *store)
{
	for (unsigned i = 0; i < store->n_work; i++) {
		struct s3_work *work = &store->work[i];
		if (work->state != S3_ENDED)
			continue;
		free(work->body);
		work->body = NULL;
		work->state = S3_FREE;
		free(work->parts.part);
		work->parts.part = NULL;
		return work->request;
	}
	return NULL;
}

static struct store_request *next(struct store *store, uint64_t now_ns)
{
	struct store_request *ended = take_ended(store);
	if (ended != NULL)
		return ended;
	credentials_drive(store->credentials, now_ns);
	take_answers(store, now_ns);
	for (unsigned i = 0; i < store->n_work; i++) {
		if (store->work[i].state == S3_DIGEST)
			s3_digest(&store->work[i]);
		if (store->work[i].state == S3_READY)
			send_ready(&store->work[i], now_ns);
	}
	return take_ended(store);
}

static unsigned wait_for(struct store *store, struct store_wait *wait, unsigned n, uint64_t *timeout_ns)
{
	for (unsigned i = 0; i < store->n_work; i++)
		if (store->work[i].state == S3_DIGEST || store->work[i].state == S3_ENDED)
			*timeout_ns = 0;
	unsigned used = credentials_wait(store->credentials, wait, n, timeout_ns);
	return used + http_wait(store->http, wait + used, n - used, timeout_ns);
}

const struct store_ops store_s3 = {
        .kind = "s3",
        .meant = meant,
        .open = open_store,
        .close = close_store,
        .traits = traits,
        .start = start,
        .next = next,
        .wait = wait_for,
        .memory_max = memory_max,
        .check = check,
};
