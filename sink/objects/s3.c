/* The store that is a bucket of S3, or of a store that speaks like it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "sink/objects/asked.h"
#include "sink/objects/s3_work.h"

#define ANSWER_MAX  (1u << 20) /* a page of 1000 parts is below 512 KiB */
#define PART_MIN    ((uint64_t)5 << 20)
#define PART_MAX    ((uint64_t)5 << 30)
#define OBJECT_MAX  ((uint64_t)5 << 40)
#define NAME_MAX_S3 1024u

/* ---- opening ---- */

static const char *region_of(const struct config *config, const char *key)
{
	const char *region = cloud_first_set(config_string(config, "%s.region", key), "AWS_REGION");
	region = cloud_first_set(region, "AWS_DEFAULT_REGION");
	return region[0] != '\0' ? region : "us-east-1";
}

static int find_place(struct s3_place *place, const struct config *config, const char *key,
                      struct shm_error *error)
{
	struct shm_error wrong;
	const char *endpoint =
	        cloud_first_set(config_string(config, "%s.endpoint", key), "AWS_ENDPOINT_URL_S3");
	int result = s3_place_init(place, config_string(config, "%s.bucket", key), region_of(config, key),
	                           cloud_first_set(endpoint, "AWS_ENDPOINT_URL"),
	                           config_string(config, "%s.style", key), &wrong);
	if (result != 0)
		shm_explain(error, "%s.%s", key, wrong.text);
	return result;
}

static int choose_encryption(struct store *store, const struct config *config, const char *key,
                             struct shm_error *error)
{
	const char *method = config_string(config, "%s.encryption", key);
	const char *kms_key = config_string(config, "%s.kms_key", key);
	bool kms = strcmp(method, "kms") == 0;
	store->encryption = kms ? "aws:kms" : strcmp(method, "aes256") == 0 ? "AES256" : NULL;
	if (kms_key[0] == '\0')
		return 0;
	if (kms && credentials_take(store->kms_key, sizeof store->kms_key, kms_key, strlen(kms_key)))
		return 0;
	shm_explain(error, "%s.kms_key: %s", key,
	            kms ? "is no id or ARN of a key" : "is for encryption: kms alone");
	return -EINVAL;
}

static unsigned choose_checksum(const char *method, bool aws)
{
	if (strcmp(method, "auto") == 0)
		return aws ? CLOUD_CRC32C : CLOUD_MD5;
	return strcmp(method, "crc32c") == 0 ? CLOUD_CRC32C : strcmp(method, "md5") == 0 ? CLOUD_MD5 : 0;
}

static int open_credentials(struct store *store, const struct config *config, const char *key,
                            struct shm_error *error)
{
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

static int open_kind(struct store *store, const struct config *config, const char *key,
                     struct shm_error *error)
{
	int result = find_place(&store->place, config, key, error);
	if (result == 0)
		result = choose_encryption(store, config, key, error);
	if (result == 0)
		result = open_credentials(store, config, key, error);
	if (result != 0)
		return result;
	const char *payload = config_string(config, "%s.sign_payload", key);
	store->sign_payload =
	        strcmp(payload, "always") == 0 || (strcmp(payload, "auto") == 0 && !store->place.tls);
	store->checksum = choose_checksum(config_string(config, "%s.checksum", key), store->place.aws);
	snprintf(store->cloud.name, sizeof store->cloud.name, "s3://%s", store->place.bucket);
	store->cloud.traits = (struct store_traits){.part_min = PART_MIN,
	                                            .part_max = PART_MAX,
	                                            .parts_max = S3_PARTS_MAX,
	                                            .object_max = OBJECT_MAX,
	                                            .name_max = NAME_MAX_S3,
	                                            .keeps_token = true};
	return 0;
}

static void close_kind(struct store *store)
{
	credentials_close(store->credentials);
}

/* ---- keys ---- */

static int prepare(struct cloud_work *work, uint64_t now_ns, const char **reason)
{
	const struct credentials_keys *keys;
	uint64_t generation;
	return credentials_get(work->store->credentials, now_ns, &keys, &generation, reason);
}

static int sign(struct cloud_work *work, int64_t now_s)
{
	struct store *store = work->store;
	struct http_request *http = &work->http;
	const struct credentials_keys *keys;
	const char *reason;
	int result =
	        credentials_get(store->credentials, clock_monotonic_ns(), &keys, &work->generation, &reason);
	if (result != 0)
		return result;
	struct sigv4_keys with = {.access_key = keys->access_key,
	                          .secret_key = keys->secret_key,
	                          .session_token = keys->session_token,
	                          .region = store->place.region,
	                          .service = "s3"};
	char path[CLOUD_URL_MAX];
	const char *url = work->url + store->place.path_at;
	snprintf(path, sizeof path, "%.*s", (int)strcspn(url, "?"), url);
	struct sigv4_request request = {.method = http->method,
	                                .host = store->place.host,
	                                .path = path,
	                                .query = work->url + work->query_at,
	                                .header = http->header,
	                                .n_headers = http->n_headers,
	                                .hash = s3_of(work)->hash};
	struct sigv4_signed *out = &s3_of(work)->signature;
	result = sigv4_sign(out, &with, &request, (time_t)now_s);
	if (result != 0)
		return result;
	const char *added[] = {out->date, out->hash, out->authorization, out->token};
	for (unsigned i = 0; i < sizeof added / sizeof *added; i++)
		if (added[i][0] != '\0')
			http->header[http->n_headers++] = added[i];
	return 0;
}

static bool refresh(struct cloud_work *work)
{
	return credentials_refused(work->store->credentials, work->generation, clock_monotonic_ns());
}

static void drive(struct store *store, uint64_t now_ns)
{
	credentials_drive(store->credentials, now_ns);
}

static unsigned wait_for(struct store *store, struct store_wait *wait, unsigned n, uint64_t *timeout_ns)
{
	return credentials_wait(store->credentials, wait, n, timeout_ns);
}

static void clear(struct cloud_work *work)
{
	free(s3_of(work)->parts.part);
	s3_of(work)->parts.part = NULL;
}

/* ---- the store ---- */

static const struct cloud_kind kind = {
        .name = "s3",
        .store_bytes = sizeof(struct store),
        .work_bytes = sizeof(struct s3_work),
        .answer_max = ANSWER_MAX,
        .open = open_kind,
        .close = close_kind,
        .begin = s3_begin,
        .take_sums = s3_take_sums,
        .prepare = prepare,
        .sign = sign,
        .take = s3_take,
        .refresh = refresh,
        .drive = drive,
        .wait = wait_for,
        .clear = clear,
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
	return cloud_memory_max(&kind, config, section, (uint64_t)S3_PARTS_MAX * 256) +
	       credentials_memory_max();
}

const struct store_ops store_s3 = {
        .kind = "s3",
        .meant = asked_s3,
        .open = open_store,
        .close = cloud_close,
        .traits = cloud_traits,
        .start = cloud_start,
        .next = cloud_next,
        .wait = cloud_wait,
        .memory_max = memory_max,
        .check = check,
};
