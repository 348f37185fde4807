#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/http/http.h"
#include "base/clock.h"
#include "base/log.h"

/* ---- settings ---- */

static enum transport_backend backend_of(const char *name)
{
	if (strcmp(name, "uring") == 0)
		return TRANSPORT_URING;
	if (strcmp(name, "uring-plain") == 0)
		return TRANSPORT_URING_PLAIN;
	return strcmp(name, "epoll") == 0 ? TRANSPORT_EPOLL : TRANSPORT_AUTO;
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

static const struct stage_file files[] = {
        {.option = "tokens", .load = load_tokens, .discard = free, .replace = replace_tokens},
};

int http_read_tokens(struct server *server, const struct config *config, size_t entry,
                     struct shm_error *error)
{
	char key[64];
	void *loaded = NULL;
	snprintf(key, sizeof key, "ingest.http[%zu].tokens", entry);
	int result = stage_file_load(&files[0], config, key, &loaded, error);
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

/* ---- start ---- */

static int open_all(struct http *http, struct stage *stage, size_t entry, struct shm_error *error)
{
	int result = outlet_open(&http->outlet, &stage->instance, stage->role, stage->control,
	                         HTTP_recovered_notes, error);
	if (result != 0)
		return result;
	http->control = stage->control;
	http->server.shared.outlet = &http->outlet;
	http->server.shared.stage = stage;
	result = http_read_settings(&http->server, stage->config, entry, error);
	/* The port stays up: routes that tokens may close are answered 503 until the file is good
	 * (file.h tries again). */
	if (result == 0 && http_read_tokens(&http->server, stage->config, entry, error) != 0) {
		log_error("the tokens cannot be read, requests that may need one are refused",
		          "reason=\"%s\"", error->text);
		stage_file_report(stage, "tokens", false, error->text);
	}
	if (result == 0)
		result = server_open(&http->server, stage->socket, stage->n_sockets, error);
	if (result != 0)
		outlet_close(&http->outlet);
	return result;
}

/* Said once, and again only when the number changes: a restarted role has nothing new to say. */
static void say_connections(const struct http *http)
{
	const struct transport *transport = &http->server.transport;
	struct private_note *own = ports_private(&http->outlet.ports);
	uint32_t possible = transport->settings.max_connections;
	uint64_t told = transport->files == 0 ? 0 : (uint64_t)transport->wanted << 32 | possible;
	if (told != 0 && told != atomic_load_explicit(&own->told, memory_order_relaxed))
		log_warn("fewer connections than wanted: the limit of open files is too low",
		         "max_connections=%u possible=%u limit=%llu", transport->wanted, possible,
		         (unsigned long long)transport->files);
	atomic_store_explicit(&own->told, told, memory_order_relaxed);
}

static void tell_backend(struct stage *stage, const struct transport *transport)
{
	char text[CONTROL_NOTE_BYTES];
	transport_tell(transport, text, sizeof text);
	control_note(stage->control, "%s", text);
	metric_set(stage->control, HTTP_uring_in_use, transport->ops == &transport_uring);
	log_info("answering", "backend=%s descriptors=%s sockets=%u", transport->ops->name,
	         transport->ops == &transport_uring && !transport->plain ? "direct" : "plain",
	         stage->n_sockets);
}

static int init(struct stage *stage, struct shm_error *error)
{
	size_t entry;
	if (stage_listener(stage, "ingest.http", &entry, error) != 0)
		return -EINVAL;
	struct http *http = calloc(1, sizeof *http);
	if (http == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	int result = open_all(http, stage, entry, error);
	if (result != 0) {
		free(http);
		return result;
	}
	stage->own = http;
	stage->ports = &http->outlet.ports;
	say_connections(http);
	tell_backend(stage, &http->server.transport);
	return 0;
}

static bool poll_stage(struct stage *stage)
{
	struct http *http = stage->own;
	bool any = server_poll(&http->server);
	stage->rest = http->server.rest;
	return any;
}

/* ---- tick ---- */

static void flush_transport_counts(struct http *http)
{
	struct transport_counts *counts = &http->server.transport.counts;
	const struct {
		enum http_metric metric;
		uint64_t n;
	} lines[] = {
	        {HTTP_connections_accepted, counts->accepted},
	        {HTTP_connections_turned_away, counts->turned_away},
	        {HTTP_waits, counts->waits},
	        {HTTP_polls, counts->polls},
	        {HTTP_empty_polls, counts->empty_polls},
	        {HTTP_enobufs, counts->enobufs},
	        {HTTP_accept_failures, counts->failures},
	        {HTTP_received_bytes, counts->received_bytes},
	        {HTTP_sent_bytes, counts->sent_bytes},
	};
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
		if (lines[i].n != 0)
			metric_add(http->control, lines[i].metric, lines[i].n);
	*counts = (struct transport_counts){0};
}

/* Ends in order. For HTTP_GRACE_NS every request, on an open connection or a new one, gets an
 * answer that ends its connection, so a client that is just sending sees no broken connection. Then
 * idle connections are closed and no more are accepted; one that was opened meanwhile has as long
 * again to send its request. Called until the stage ends, even while there is always something to
 * do: clients that connect again at once must not keep it alive. */
static void drain(struct http *http, uint64_t now_ns)
{
	if (http->drain_until_ns == 0) {
		http->drain_until_ns = now_ns + HTTP_DRAIN_NS;
		server_drain(&http->server);
	}
	uint64_t began_ns = http->drain_until_ns - HTTP_DRAIN_NS;
	if (now_ns >= began_ns + HTTP_GRACE_NS) {
		server_refuse(&http->server);
		server_end_idle(&http->server, now_ns >= began_ns + 2 * HTTP_GRACE_NS);
	}
}

static void tick(struct stage *stage)
{
	struct http *http = stage->own;
	server_tick(&http->server, stage->now_ns);
	outlet_look(&http->outlet, stage->now_ns);
	flush_transport_counts(http);
	metrics_flush(&http->server.metrics, http->control);
	metric_set(http->control, HTTP_connections, http->server.n_connections);
	metric_set(http->control, HTTP_memory_bytes, http->server.pool.used_bytes);
	metric_set(http->control, HTTP_answer_memory_bytes, http->server.answers.used_bytes);
	if (stage->lost && !http->outlet.shut)
		outlet_shut(&http->outlet);
	if (stage->draining)
		drain(http, stage->now_ns);
}

static void idle(struct stage *stage, uint64_t timeout_ns)
{
	struct http *http = stage->own;
	server_wait(&http->server, timeout_ns);
}

/* Called when a turn found nothing: then no connection waits in the backlog either. What the kernel
 * accepted before it was told to refuse comes in the turn after that. */
static bool drained(struct stage *stage)
{
	struct http *http = stage->own;
	bool began = http->drain_until_ns != 0, refused = http->server.refusing;
	drain(http, stage->now_ns);
	if (began && http->server.n_connections == 0)
		server_refuse(&http->server);
	return began &&
	       ((refused && http->server.n_connections == 0) || stage->now_ns >= http->drain_until_ns);
}

static void fini(struct stage *stage)
{
	struct http *http = stage->own;
	tick(stage);
	server_close(&http->server);
	outlet_close(&http->outlet);
	free(http);
	stage->own = NULL;
}

static const struct metric_description metrics[] = {
#define METRIC          METRIC_ROW
#define HISTOGRAM       HISTOGRAM_ROW
#define ROUTE_METRIC    ROUTE_METRIC_ROW
#define ROUTE_HISTOGRAM ROUTE_HISTOGRAM_ROW
#include "ingest/http/metrics.def"
#undef HISTOGRAM
#undef METRIC
};

const struct stage_ops http_stage = {
        .name = "ingest-http",
        .help = "answers HTTP requests, checks what is in them and writes it to the topics metric, log, track.raw and the queue postback",
        .metrics = metrics,
        .n_metrics = sizeof metrics / sizeof metrics[0],
        .init = init,
        .poll = poll_stage,
        .tick = tick,
        .idle = idle,
        .drained = drained,
        .fini = fini,
        .alone = http_alone,
        .files = files,
        .n_files = sizeof files / sizeof files[0],
};
