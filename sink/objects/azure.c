/* The store that is a container of Azure Blob. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "sink/objects/azure_work.h"

#define ANSWER_MAX  (2u << 20) /* the list of 10,000 blocks is 1.3 MB */
#define PART_MIN    ((uint64_t)1 << 20)
#define PART_MAX    ((uint64_t)4000 << 20)
#define OBJECT_MAX  (AZURE_PARTS_MAX * PART_MAX)
#define BLOCK_LINE  80u /* bytes of a block in the list that is sent */
#define PROBE_NAME  ".millrace-probe"
#define SECTION_MAX 96u

/* Uncommitted blocks are forgotten seven days after the last one: a day to spare. */
#define UPLOAD_MAX_NS (UINT64_C(6) * 86400 * NS_PER_SEC)

/* While the store fails, a body of this size waits for 100 Continue. */
#define EXPECT_BYTES 65536u

/* ---- opening ---- */

static bool meant(const struct config *config, const char *section)
{
	return config_string(config, "%s.store.azure.container", section)[0] != '\0';
}

/* Of the environment's variable, or "". */
static const char *environment(const char *name)
{
	const char *value = getenv(name);
	return value != NULL ? value : "";
}

static const char *first_set(const char *configured, const char *name)
{
	return configured[0] != '\0' ? configured : environment(name);
}

/* Reads a key or SAS from its file, without white space after it. */
static int read_secret(char out[AZURE_SECRET_MAX + 1], const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, out, AZURE_SECRET_MAX + 1);
	int result = n < 0 ? -errno : n > (ssize_t)AZURE_SECRET_MAX ? -E2BIG : 0;
	close(fd);
	if (result != 0)
		return result;
	size_t bytes = (size_t)n;
	while (bytes > 0 && strchr(" \t\r\n", out[bytes - 1]))
		bytes--;
	out[bytes] = '\0';
	return strlen(out) == bytes ? 0 : -EINVAL;
}

static int take_secret(struct store *store, const char *text)
{
	return store->kind == AZURE_BY_KEY ? azure_key_read(&store->key, store->place.account, text)
	                                   : azure_sas_read(store->sas, text);
}

/* The key or the SAS: of the configuration, a file, or the environment. */
static int open_secret(struct store *store, const char *key, const char *word, const char *configured,
                       const char *file, const char *name, struct shm_error *error)
{
	char read[AZURE_SECRET_MAX + 1];
	const char *text = first_set(configured, file[0] != '\0' ? "" : name);
	int result = 0;
	if (configured[0] != '\0' && file[0] != '\0') {
		shm_explain(error, "%s.%s: is set, and %s_file as well; allowed: one of them", key, word,
		            word);
		return -EINVAL;
	}
	if (file[0] != '\0') {
		result = read_secret(read, file);
		text = read;
		store->secret_file = file;
		if (result != 0) {
			shm_explain(error, "%s.%s_file: %s: %s", key, word, file, strerror(-result));
			return result;
		}
	}
	if (text[0] == '\0') {
		shm_explain(error, "%s.%s: is not set, and neither is %s_file or %s in the environment", key,
		            word, word, name);
		return -EINVAL;
	}
	result = take_secret(store, text);
	OPENSSL_cleanse(read, sizeof read);
	if (result != 0)
		shm_explain(error, "%s.%s%s: is none; allowed: %s", key, word, file[0] != '\0' ? "_file" : "",
		            store->kind == AZURE_BY_KEY
		                    ? "base64, as the portal shows it"
		                    : "the query of a shared access signature, with sig=");
	return result;
}

/* Which kind of credentials, once and for all: a kind that fails is an error, and no other is
 * tried. */
static int choose_kind(struct store *store, const struct config *config, const char *key,
                       struct shm_error *error)
{
	const char *kind = config_string(config, "%s.credentials", key);
	bool has_key = config_string(config, "%s.key", key)[0] != '\0' ||
	               config_string(config, "%s.key_file", key)[0] != '\0';
	bool has_sas = config_string(config, "%s.sas", key)[0] != '\0' ||
	               config_string(config, "%s.sas_file", key)[0] != '\0';
	bool is_auto = strcmp(kind, "auto") == 0;
	if (is_auto && has_key && has_sas) {
		shm_explain(error, "%s.credentials: auto, and both key and sas are set; allowed: key, sas",
		            key);
		return -EINVAL;
	}
	if (is_auto && !has_key && !has_sas) {
		has_key = environment("AZURE_STORAGE_KEY")[0] != '\0';
		has_sas = !has_key && environment("AZURE_STORAGE_SAS_TOKEN")[0] != '\0';
	}
	if (is_auto)
		kind = has_key ? "key" : has_sas ? "sas" : "managed_identity";
	store->kind = strcmp(kind, "key") == 0   ? AZURE_BY_KEY
	              : strcmp(kind, "sas") == 0 ? AZURE_BY_SAS
	                                         : AZURE_BY_IDENTITY;
	if (store->kind != AZURE_BY_KEY || store->place.account[0] != '\0')
		return 0;
	shm_explain(error, "%s.account: is not set; a key needs it", key);
	return -EINVAL;
}

static int open_credentials(struct store *store, const struct config *config, const char *section,
                            struct shm_error *error)
{
	char key[SECTION_MAX];
	struct shm_error wrong;
	snprintf(key, sizeof key, "%.60s.store.azure", section);
	int result = choose_kind(store, config, key, error);
	if (result != 0)
		return result;
	if (store->kind == AZURE_BY_KEY)
		return open_secret(store, key, "key", config_string(config, "%s.key", key),
		                   config_string(config, "%s.key_file", key), "AZURE_STORAGE_KEY", error);
	if (store->kind == AZURE_BY_SAS)
		return open_secret(store, key, "sas", config_string(config, "%s.sas", key),
		                   config_string(config, "%s.sas_file", key), "AZURE_STORAGE_SAS_TOKEN",
		                   error);
	struct azure_identity_options options = {
	        .endpoint = config_string(config, "%s.identity_endpoint", key),
	        .client_id = config_string(config, "%s.client_id", key),
	        .connect_timeout_ns = config_ns(config, "%s.connect_timeout", key),
	        .request_timeout_ns = config_ns(config, "%s.stall_timeout", key)};
	result = azure_identity_open(&store->identity, &options, &wrong);
	if (result != 0)
		shm_explain(error, "%s.%s", key, wrong.text);
	return result;
}

static int find_place(struct azure_place *place, const struct config *config, const char *section,
                      struct shm_error *error)
{
	struct shm_error wrong;
	int result = azure_place_init(
	        place,
	        first_set(config_string(config, "%s.store.azure.account", section), "AZURE_STORAGE_ACCOUNT"),
	        config_string(config, "%s.store.azure.container", section),
	        config_string(config, "%s.store.azure.endpoint", section), &wrong);
	if (result != 0)
		shm_explain(error, "%s.store.azure.%s", section, wrong.text);
	return result;
}

/* The probe asks for what the sink may do, next to where its objects go: the text that all keys
 * begin with. */
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
	        .connections = (unsigned)config_u64(config, "%s.store.azure.connections", section),
	        .connect_timeout_ns = config_ns(config, "%s.store.azure.connect_timeout", section),
	        .stall_timeout_ns = config_ns(config, "%s.store.azure.stall_timeout", section),
	        .total_timeout_ns = config_ns(config, "%s.store.azure.request_timeout", section),
	        .ca_file = config_string(config, "%s.store.azure.ca_file", section),
	        .answer_max = ANSWER_MAX};
}

static void close_store(struct store *store)
{
	if (store == NULL)
		return;
	http_close(store->http);
	azure_identity_close(store->identity);
	for (unsigned i = 0; i < store->n_work; i++) {
		EVP_MD_CTX_free(store->work[i].md5);
		free(store->work[i].body);
	}
	/* keys, signatures and tokens are in them */
	OPENSSL_cleanse(store->work, store->n_work * sizeof *store->work);
	free(store->work);
	OPENSSL_cleanse(store, sizeof *store);
	free(store);
}

static void set_traits(struct store *store)
{
	snprintf(store->name, sizeof store->name, "azure://%s%s%s", store->place.account,
	         store->place.account[0] != '\0' ? "/" : "", store->place.container);
	store->traits = (struct store_traits){.name = store->name,
	                                      .part_min = PART_MIN,
	                                      .part_max = PART_MAX,
	                                      .parts_max = AZURE_PARTS_MAX,
	                                      .object_max = OBJECT_MAX,
	                                      .name_max = AZURE_NAME_MAX,
	                                      .requests = store->n_work,
	                                      .upload_max_ns = UPLOAD_MAX_NS,
	                                      .keeps_token = true};
}

static int open_store(struct store **opened, const struct config *config, const char *section,
                      struct shm_error *error)
{
	struct http_options http = http_options(config, section);
	struct shm_error wrong;
	struct store *store = calloc(1, sizeof *store);
	struct azure_work *work = calloc(http.connections, sizeof *work);
	if (store == NULL || work == NULL) {
		free(store);
		free(work);
		shm_explain(error, "%s.store.azure: out of memory", section);
		return -ENOMEM;
	}
	store->work = work;
	store->n_work = http.connections;
	for (unsigned i = 0; i < store->n_work; i++)
		work[i].store = store;
	snprintf(store->section, sizeof store->section, "%s", section);
	int result = find_place(&store->place, config, section, error);
	if (result == 0)
		result = open_credentials(store, config, section, error);
	if (result == 0 && (result = http_open(&store->http, &http, &wrong)) != 0)
		shm_explain(error, "%s.store.azure.ca_file: %s", section, wrong.text);
	if (result != 0) {
		close_store(store);
		return result;
	}
	store->md5 = strcmp(config_string(config, "%s.store.azure.checksum", section), "md5") == 0;
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
	/* a list of blocks that is sent, or that is read */
	uint64_t list =
	        (uint64_t)JOURNAL_PARTS_MAX *
	        (sizeof(struct store_part) * 2 > BLOCK_LINE ? sizeof(struct store_part) * 2 : BLOCK_LINE);
	return sizeof(struct store) + http.connections * (sizeof(struct azure_work) + list) +
	       http_memory_max(&http) + azure_identity_memory_max();
}

/* ---- credentials ---- */

bool azure_refresh(struct azure_work *work)
{
	struct store *store = work->store;
	char text[AZURE_SECRET_MAX + 1];
	if (store->kind == AZURE_BY_IDENTITY) {
		azure_identity_renew(store->identity, work->token_number);
		return true;
	}
	/* what is in the file now; when it is none, the old one stays */
	bool read = store->secret_file != NULL && read_secret(text, store->secret_file) == 0 &&
	            take_secret(store, text) == 0;
	OPENSSL_cleanse(text, sizeof text);
	return read;
}

/* Called when the request goes out, so that its date is not old by then. */
static int sign(struct http_request *http, void *owner)
{
	struct azure_work *work = owner;
	struct store *store = work->store;
	azure_date(work->date, (time_t)((int64_t)(clock_real_ns() / NS_PER_SEC) + store->skew_s));
	http->header[http->n_headers++] = work->date;
	if (store->kind == AZURE_BY_SAS)
		return 0;
	if (store->kind == AZURE_BY_KEY) {
		struct azure_signed request = {.method = http->method,
		                               .path = work->url + store->place.path_at,
		                               .query = work->url + work->query_at,
		                               .header = http->header,
		                               .n_headers = http->n_headers,
		                               .bytes = http->bytes};
		int result = azure_sign(work->authorization, &store->key, &request);
		if (result != 0)
			return result;
	}
	http->header[http->n_headers++] = work->authorization;
	return 0;
}

/* The token of an identity is put into the work. False: there is none yet, or the work has ended.
 * */
static bool take_identity(struct azure_work *work, uint64_t now_ns)
{
	const char *token, *reason;
	int result = azure_identity_get(work->store->identity, now_ns, &token, &work->token_number, &reason);
	if (result == 0)
		snprintf(work->authorization, sizeof work->authorization, "Authorization: Bearer %s", token);
	else if (result != -EINPROGRESS)
		azure_end(work, result, "%.250s", reason);
	return result == 0;
}

/* ---- requests ---- */

void azure_end(struct azure_work *work, int result, const char *format, ...)
{
	struct store_request *request = work->request;
	request->result = result;
	va_list list;
	va_start(list, format);
	vsnprintf(request->reason, sizeof request->reason, format, list);
	va_end(list);
	if (result != 0)
		request->etag[0] = '\0';
	work->state = AZURE_ENDED;
}

static bool start(struct store *store, struct store_request *request)
{
	struct azure_work *work = store->work, *end = work + store->n_work;
	while (work < end && work->state != AZURE_FREE)
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
	work->request = request;
	work->refreshed = work->reclocked = false;
	azure_begin(work);
	return true;
}

static void send_ready(struct azure_work *work, uint64_t now_ns)
{
	struct store *store = work->store;
	if (store->kind == AZURE_BY_IDENTITY && !take_identity(work, now_ns))
		return;
	work->query_at =
	        azure_place_url(&store->place, work->url, sizeof work->url, work->name, work->name_bytes,
	                        work->query, store->kind == AZURE_BY_SAS ? store->sas : "");
	if (work->query_at < 0) {
		azure_end(work, -EINVAL, "the URL of the blob is too long");
		return;
	}
	work->http = (struct http_request){.method = work->method,
	                                   .url = work->url,
	                                   .n_headers = work->n_headers,
	                                   .piece = work->piece,
	                                   .n_pieces = work->n_pieces,
	                                   .bytes = work->bytes,
	                                   .expect = store->doubt && work->bytes >= EXPECT_BYTES,
	                                   .sign = sign,
	                                   .owner = work};
	memcpy(work->http.header, work->header, work->n_headers * sizeof *work->header);
	if (http_start(store->http, &work->http))
		work->state = AZURE_SENT;
}

static void take_answers(struct store *store, uint64_t now_ns)
{
	for (struct http_request *http; (http = http_next(store->http, now_ns)) != NULL;) {
		azure_take(http->owner, http);
		http_request_fini(http);
	}
}

/* A work that has ended is given back. */
static struct store_request *take_ended(struct store *store)
{
	for (unsigned i = 0; i < store->n_work; i++) {
		struct azure_work *work = &store->work[i];
		if (work->state != AZURE_ENDED)
			continue;
		free(work->body);
		work->body = NULL;
		work->state = AZURE_FREE;
		if (work->request->result != 0) {
			free(work->request->found);
			work->request->found = NULL;
			work->request->n_found = 0;
		}
		return work->request;
	}
	return NULL;
}

static struct store_request *next(struct store *store, uint64_t now_ns)
{
	struct store_request *ended = take_ended(store);
	if (ended != NULL)
		return ended;
	if (store->identity != NULL)
		azure_identity_drive(store->identity, now_ns);
	take_answers(store, now_ns);
	for (unsigned i = 0; i < store->n_work; i++) {
		if (store->work[i].state == AZURE_DIGEST)
			azure_digest(&store->work[i]);
		if (store->work[i].state == AZURE_READY)
			send_ready(&store->work[i], now_ns);
	}
	return take_ended(store);
}

static unsigned wait_for(struct store *store, struct store_wait *wait, unsigned n, uint64_t *timeout_ns)
{
	for (unsigned i = 0; i < store->n_work; i++)
		if (store->work[i].state == AZURE_DIGEST || store->work[i].state == AZURE_ENDED)
			*timeout_ns = 0;
	unsigned used =
	        store->identity != NULL ? azure_identity_wait(store->identity, wait, n, timeout_ns) : 0;
	return used + http_wait(store->http, wait + used, n - used, timeout_ns);
}

const struct store_ops store_azure = {
        .kind = "azure",
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
