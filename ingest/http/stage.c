#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/http/http.h"
#include "base/log.h"

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
	/* The port stays up: what tokens may open is answered 503 until the file is good (file.h
	 * tries again). */
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

/* Once, and again only when it is another number: a role that is started again has nothing new to
 * say. */
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
	metric_set(stage->control, HTTP_uring_in_use, http->server.transport.ops == &transport_uring);
	say_connections(http);
	log_info("answering", "backend=%s sockets=%u", http->server.transport.ops->name, stage->n_sockets);
	return 0;
}

static bool poll_stage(struct stage *stage)
{
	struct http *http = stage->own;
	return server_poll(&http->server);
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

/* Ends in order: for HTTP_GRACE_NS whoever asks, on an open connection or a new one, gets an answer
 * that ends its connection; so a client that is just sending learns from the answer what it would
 * else learn from a broken connection. Then what is idle is closed and no more is accepted. Called
 * until the stage ends, also while there is always something to do: clients that come again at once
 * must not keep it alive. */
static void drain(struct http *http, uint64_t now_ns)
{
	if (http->drain_until_ns == 0) {
		http->drain_until_ns = now_ns + HTTP_DRAIN_NS;
		server_drain(&http->server);
	}
	if (now_ns + HTTP_DRAIN_NS >= http->drain_until_ns + HTTP_GRACE_NS) {
		server_refuse(&http->server);
		server_end_idle(&http->server);
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

/* Called when a turn found nothing: then nobody waits in the backlog either. */
static bool drained(struct stage *stage)
{
	struct http *http = stage->own;
	bool began = http->drain_until_ns != 0;
	drain(http, stage->now_ns);
	if (began && http->server.n_connections == 0)
		server_refuse(&http->server);
	return began && (http->server.n_connections == 0 || stage->now_ns >= http->drain_until_ns);
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
#define METRIC    METRIC_ROW
#define HISTOGRAM HISTOGRAM_ROW
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
        .files = http_files,
        .n_files = HTTP_FILES,
};
