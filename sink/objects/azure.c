/* The store that is a container of Azure Blob. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "sink/objects/asked.h"
#include "sink/objects/azure_work.h"

#define ANSWER_MAX (2u << 20) /* the list of 10,000 blocks is 1.3 MB */
#define PART_MIN   ((uint64_t)1 << 20)
#define PART_MAX   ((uint64_t)4000 << 20)
#define OBJECT_MAX (AZURE_PARTS_MAX * PART_MAX)
#define BLOCK_LINE 80u /* bytes of a block in the list that is sent */

/* Uncommitted blocks are forgotten seven days after the last one: a day to spare. */
#define UPLOAD_MAX_NS (UINT64_C(6) * 86400 * NS_PER_SEC)

/* While the store fails, a body of this size waits for 100 Continue. */
#define EXPECT_BYTES 65536u

/* ---- opening ---- */

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
	const char *text = file[0] != '\0' ? configured : cloud_first_set(configured, name);
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
	/* --check may not see what is the sink's own process's alone. */
	bool unseen = text == configured && config_credential(text) != NULL;
	result = unseen ? 0 : take_secret(store, text);
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
		has_key = cloud_first_set("", "AZURE_STORAGE_KEY")[0] != '\0';
		has_sas = !has_key && cloud_first_set("", "AZURE_STORAGE_SAS_TOKEN")[0] != '\0';
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

static int open_credentials(struct store *store, const struct config *config, const char *key,
                            struct shm_error *error)
{
	struct shm_error wrong;
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

static int find_place(struct azure_place *place, const struct config *config, const char *key,
                      struct shm_error *error)
{
	struct shm_error wrong;
	int result = azure_place_init(
	        place, cloud_first_set(config_string(config, "%s.account", key), "AZURE_STORAGE_ACCOUNT"),
	        config_string(config, "%s.container", key), config_string(config, "%s.endpoint", key),
	        &wrong);
	if (result != 0)
		shm_explain(error, "%s.%s", key, wrong.text);
	return result;
}

static int open_kind(struct store *store, const struct config *config, const char *key,
                     struct shm_error *error)
{
	int result = find_place(&store->place, config, key, error);
	if (result == 0)
		result = open_credentials(store, config, key, error);
	if (result != 0)
		return result;
	store->md5 = strcmp(config_string(config, "%s.checksum", key), "md5") == 0;
	snprintf(store->cloud.name, sizeof store->cloud.name, "azure://%s%s%s", store->place.account,
	         store->place.account[0] != '\0' ? "/" : "", store->place.container);
	store->cloud.traits = (struct store_traits){.part_min = PART_MIN,
	                                            .part_max = PART_MAX,
	                                            .parts_max = AZURE_PARTS_MAX,
	                                            .object_max = OBJECT_MAX,
	                                            .name_max = AZURE_NAME_MAX,
	                                            .upload_max_ns = UPLOAD_MAX_NS,
	                                            .keeps_token = true};
	return 0;
}

static void close_kind(struct store *store)
{
	azure_identity_close(store->identity);
}

/* ---- credentials ---- */

static bool refresh(struct cloud_work *work)
{
	struct store *store = work->store;
	char text[AZURE_SECRET_MAX + 1];
	if (store->kind == AZURE_BY_IDENTITY) {
		azure_identity_renew(store->identity, work->generation);
		return true;
	}
	/* what is in the file now; when it is none, the old one stays */
	bool read = store->secret_file != NULL && read_secret(text, store->secret_file) == 0 &&
	            take_secret(store, text) == 0;
	OPENSSL_cleanse(text, sizeof text);
	return read;
}

static int sign(struct cloud_work *work, int64_t now_s)
{
	struct azure_work *own = azure_of(work);
	struct store *store = work->store;
	struct http_request *http = &work->http;
	azure_date(own->date, (time_t)now_s);
	http->header[http->n_headers++] = own->date;
	if (store->kind == AZURE_BY_SAS)
		return 0;
	if (store->kind == AZURE_BY_KEY) {
		struct azure_signed request = {.method = http->method,
		                               .path = work->url + store->place.path_at,
		                               .query = work->url + work->query_at,
		                               .header = http->header,
		                               .n_headers = http->n_headers,
		                               .bytes = http->bytes};
		int result = azure_sign(own->authorization, &store->key, &request);
		if (result != 0)
			return result;
	}
	http->header[http->n_headers++] = own->authorization;
	return 0;
}

/* The token of an identity is put into the work, and the SAS into its URL. */
static int prepare(struct cloud_work *work, uint64_t now_ns, const char **reason)
{
	struct azure_work *own = azure_of(work);
	struct store *store = work->store;
	if (store->kind == AZURE_BY_IDENTITY) {
		const char *token;
		int result = azure_identity_get(store->identity, now_ns, &token, &work->generation, reason);
		if (result != 0)
			return result;
		snprintf(own->authorization, sizeof own->authorization, "Authorization: Bearer %s", token);
	}
	int at = azure_place_url(&store->place, work->url, sizeof work->url, own->name, own->name_bytes,
	                         own->query, store->kind == AZURE_BY_SAS ? store->sas : "");
	*reason = "the URL of the blob is too long";
	work->query_at = at < 0 ? 0 : (size_t)at;
	work->http.expect = store->doubt && work->http.bytes >= EXPECT_BYTES;
	return at < 0 ? -EINVAL : 0;
}

static void drive(struct store *store, uint64_t now_ns)
{
	if (store->identity != NULL)
		azure_identity_drive(store->identity, now_ns);
}

static unsigned wait_for(struct store *store, struct store_wait *wait, unsigned n, uint64_t *timeout_ns)
{
	return store->identity != NULL ? azure_identity_wait(store->identity, wait, n, timeout_ns) : 0;
}

/* ---- the store ---- */

static const struct cloud_kind kind = {
        .name = "azure",
        .store_bytes = sizeof(struct store),
        .work_bytes = sizeof(struct azure_work),
        .answer_max = ANSWER_MAX,
        .open = open_kind,
        .close = close_kind,
        .begin = azure_begin,
        .take_sums = azure_take_sums,
        .prepare = prepare,
        .sign = sign,
        .take = azure_take,
        .refresh = refresh,
        .drive = drive,
        .wait = wait_for,
};

static int open_store(struct store **opened, const struct config *config, const char *section,
                      struct shm_error *error)
{
	return cloud_open(opened, &kind, config, section, error);
}

static int check(const struct config *config, const char *section, struct shm_error *error)
{
	return cloud_check(&kind, config, section, error);
}

static uint64_t memory_max(const struct config *config, const char *section)
{
	/* a list of blocks that is sent, or that is read */
	uint64_t block =
	        sizeof(struct store_part) * 2 > BLOCK_LINE ? sizeof(struct store_part) * 2 : BLOCK_LINE;
	return cloud_memory_max(&kind, config, section, JOURNAL_PARTS_MAX * block) +
	       azure_identity_memory_max();
}

const struct store_ops store_azure = {
        .kind = "azure",
        .meant = asked_azure,
        .open = open_store,
        .close = cloud_close,
        .traits = cloud_traits,
        .start = cloud_start,
        .next = cloud_next,
        .wait = cloud_wait,
        .memory_max = memory_max,
        .check = check,
};
