#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/http/http.h"
#include "base/clock.h"

static enum transport_backend backend_of(const char *name)
{
	return strcmp(name, "uring") == 0   ? TRANSPORT_URING
	       : strcmp(name, "epoll") == 0 ? TRANSPORT_EPOLL
	                                    : TRANSPORT_AUTO;
}

static int read_networks(struct client_networks *networks, const struct config *config, size_t entry,
                         struct shm_error *error)
{
	size_t n = config_count(config, "ingest.http[%zu].trusted_proxies", entry);
	for (size_t i = 0; i < n; i++) {
		const char *text = config_item(config, i, "ingest.http[%zu].trusted_proxies", entry);
		int result = client_network_add(networks, text);
		if (result == 0)
			continue;
		shm_explain(
		        error,
		        result == -ENOSPC
		                ? "ingest.http[%zu].trusted_proxies: \"%s\" is one too many"
		                : "ingest.http[%zu].trusted_proxies: \"%s\" is not a network; allowed: 10.0.0.0/8, 2001:db8::/32, an address alone",
		        entry, text);
		return result;
	}
	return 0;
}

static int read_origins(struct exchange_settings *settings, const struct config *config, size_t entry,
                        struct shm_error *error)
{
	size_t n = config_count(config, "ingest.http[%zu].cors", entry);
	if (n > EXCHANGE_ORIGINS_MAX) {
		shm_explain(error, "ingest.http[%zu].cors: at most %u origins", entry, EXCHANGE_ORIGINS_MAX);
		return -EINVAL;
	}
	settings->n_origins = (unsigned)n;
	for (size_t i = 0; i < n; i++) {
		settings->origin[i] = config_item(config, i, "ingest.http[%zu].cors", entry);
		if (strlen(settings->origin[i]) > ANSWER_ORIGIN_MAX) {
			shm_explain(error, "ingest.http[%zu].cors: origin %zu is longer than %u bytes", entry,
			            i + 1, ANSWER_ORIGIN_MAX);
			return -EINVAL;
		}
	}
	return 0;
}

static int load_tokens(const struct config *config, const char *path, void **loaded, struct shm_error *error)
{
	struct tokens *tokens = malloc(sizeof *tokens);
	(void)config;
	if (tokens == NULL)
		return -ENOMEM;
	int result = tokens_load(tokens, path, route_token_names, ROUTE_COUNT, error);
	if (result == 0)
		*loaded = tokens;
	else
		free(tokens);
	return result;
}

/* Between two polls: no exchange is half-way. */
static void replace_tokens(struct stage *stage, void *loaded)
{
	struct http *http = stage->own;
	http->server.shared.tokens = *(struct tokens *)loaded;
	free(loaded);
}

const struct stage_file http_files[HTTP_FILES] = {
        {.option = "tokens", .load = load_tokens, .discard = free, .replace = replace_tokens},
};

int http_read_tokens(struct server *server, const struct config *config, size_t entry,
                     struct shm_error *error)
{
	char key[64];
	void *loaded = NULL;
	snprintf(key, sizeof key, "ingest.http[%zu].tokens", entry);
	int result = stage_file_load(&http_files[0], config, key, &loaded, error);
	if (result != 0)
		tokens_close(&server->shared.tokens, route_token_names, ROUTE_COUNT);
	else if (loaded != NULL)
		server->shared.tokens = *(struct tokens *)loaded;
	free(loaded);
	return result;
}

static uint64_t number(const struct config *config, size_t entry, const char *key)
{
	return config_u64(config, "ingest.http[%zu].%s", entry, key);
}

static uint64_t time_ns(const struct config *config, size_t entry, const char *key)
{
	return config_ns(config, "ingest.http[%zu].%s", entry, key);
}

/* 0 is no cap. */
static uint32_t cap_of(uint64_t most)
{
	return most == 0 ? UINT32_MAX : (uint32_t)most;
}

int http_read_settings(struct server *server, const struct config *config, size_t entry,
                       struct shm_error *error)
{
	struct server_settings *settings = &server->settings;
	*settings = (struct server_settings){
	        .limits = {.line_bytes = (uint32_t)number(config, entry, "max_request_line"),
	                   .head_bytes = (uint32_t)number(config, entry, "max_head"),
	                   .fields = (uint32_t)number(config, entry, "max_fields")},
	        .proxy_protocol =
	                strcmp(config_string(config, "ingest.http[%zu].proxy_protocol", entry), "on") == 0,
	        .max_connections_per_address = cap_of(number(config, entry, "max_connections_per_address")),
	        .header_timeout_ns = time_ns(config, entry, "header_timeout"),
	        .body_timeout_ns = time_ns(config, entry, "body_timeout"),
	        .idle_timeout_ns = time_ns(config, entry, "idle_timeout"),
	        .write_timeout_ns = time_ns(config, entry, "write_timeout"),
	        .request_memory = number(config, entry, "request_memory"),
	        .request_memory_share = (uint32_t)number(config, entry, "request_memory_share"),
	        .answer_memory = number(config, entry, "answer_memory"),
	        .transport = {.backend = backend_of(config_string(config, "ingest.http[%zu].backend", entry)),
	                      .max_connections = (uint32_t)number(config, entry, "max_connections"),
	                      .buffers = (uint32_t)number(config, entry, "buffers"),
	                      .buffer_bytes = (uint32_t)number(config, entry, "buffer_size"),
	                      .batch_wait_ns = time_ns(config, entry, "batch_wait")},
	};
	server->shared.settings = (struct exchange_settings){
	        .max_body = number(config, entry, "max_body"),
	        .max_inflated = number(config, entry, "max_inflated"),
	        .batch_errors = (uint32_t)number(config, entry, "batch_errors"),
	        .agent_longest = (uint32_t)config_u64(config, "enrich.agent_longest"),
	};
	server->shared.outlet->retry_after_max_s = time_ns(config, entry, "retry_after_max") / NS_PER_SEC;
	int result = read_networks(&settings->trusted, config, entry, error);
	if (result == 0)
		result = read_origins(&server->shared.settings, config, entry, error);
	return result;
}
