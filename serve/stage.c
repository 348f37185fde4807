/* The stage: start, loop, end. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "deliver/record.h"
#include "serve/limit.h"
#include "serve/serve.h"
#include "stage/errand.h"

#define DRAIN_NS     (2 * NS_PER_SEC) /* answers under way may take so long */
#define CLOSE_TURNS  1000             /* of the loop, until its handles are closed */
#define FUTILE_TURNS 4
#define PAUSE_NS     (2 * NS_PER_MS)

struct process {
	struct serve serve;
	uv_loop_t loop;
	uint64_t bound_ns; /* the last try */
	uint64_t drain_until_ns;
	unsigned futile; /* turns in a row for which the loop woke us and nothing came of it */
	bool woken;
	bool forgets; /* somebody waits for tally to forget */
};

static const struct metric_description metrics[] = {
#define METRIC    METRIC_ROW
#define HISTOGRAM HISTOGRAM_ROW
#include "serve/metrics.def"
#undef HISTOGRAM
#undef METRIC
};

/* ---- tokens ---- */

static int load_tokens(const struct config *config, const char *path, void **loaded, struct shm_error *error,
                       const char *const *name)
{
	struct tokens *tokens = malloc(sizeof *tokens);
	(void)config;
	if (tokens == NULL)
		return -ENOMEM;
	int result = tokens_load(tokens, path, name, 1, error);
	if (result == 0)
		*loaded = tokens;
	else
		free(tokens);
	return result;
}

static int load_read(const struct config *config, const char *path, void **loaded, struct shm_error *error)
{
	return load_tokens(config, path, loaded, error, auth_read_name);
}

static int load_admin(const struct config *config, const char *path, void **loaded, struct shm_error *error)
{
	return load_tokens(config, path, loaded, error, auth_admin_name);
}

/* Between two turns of the loop: no request is half-way. */
static void replace_read(struct stage *stage, void *loaded)
{
	struct process *process = stage->own;
	process->serve.auth.read = *(struct tokens *)loaded;
	free(loaded);
}

static void replace_charts(struct stage *stage, void *loaded)
{
	struct process *process = stage->own;
	page_set_charts(process->serve.page, loaded);
}

static void replace_admin(struct stage *stage, void *loaded)
{
	struct process *process = stage->own;
	process->serve.auth.admin = *(struct tokens *)loaded;
	free(loaded);
}

static void replace_peer_token(struct stage *stage, void *loaded)
{
	struct process *process = stage->own;
	fleet_set_token(process->serve.fleet, loaded);
	free(loaded);
}

enum { FILE_READ, FILE_ADMIN, FILE_PEER, FILE_CHARTS };

static const struct stage_file files[] = {
        [FILE_READ] = {.option = "read_tokens", .load = load_read, .discard = free, .replace = replace_read},
        [FILE_ADMIN] = {.option = "admin_tokens",
                        .load = load_admin,
                        .discard = free,
                        .replace = replace_admin},
        [FILE_PEER] = {.option = "peer_token",
                       .load = fleet_load_token,
                       .discard = free,
                       .replace = replace_peer_token},
        [FILE_CHARTS] = {.option = "charts",
                         .dispensable = true,
                         .find = charts_find,
                         .beside = charts_style,
                         .load = charts_load,
                         .discard = charts_free,
                         .replace = replace_charts},
};

/* What is in the file; NULL: none is named, or it cannot be read, which is told with what follows
 * from it. */
static void *read_file(struct stage *stage, const struct stage_file *file, const char *consequence)
{
	void *loaded = NULL;
	char key[64];
	struct shm_error error = {""};
	snprintf(key, sizeof key, "serve.%s", file->option);
	if (stage_file_load(file, stage->config, key, &loaded, &error) == 0)
		return loaded;
	log_line(file->dispensable ? LOG_WARN : LOG_ERROR, consequence, "reason=\"%s\"", error.text);
	stage_file_report(stage, file->option, false, error.text);
	return NULL;
}

/* A file that cannot be read closes its routes until it can: the others stay up. */
static void read_tokens(struct stage *stage, const struct stage_file *file, const char *const *name,
                        struct tokens *tokens, bool *configured)
{
	*configured = config_string(stage->config, "serve.%s", file->option)[0] != '\0';
	if (!*configured)
		return;
	struct tokens *loaded =
	        read_file(stage, file, "the tokens cannot be read, requests that need one are refused");
	if (loaded != NULL)
		*tokens = *loaded;
	else
		tokens_close(tokens, name, 1);
	free(loaded);
}

/* Without it peers that want one refuse us, and are named as missing. */
static void read_peer_token(struct stage *stage, struct fleet *fleet)
{
	char *token = read_file(stage, &files[FILE_PEER], "the token for peers cannot be read");
	if (token != NULL)
		fleet_set_token(fleet, token);
	free(token);
}

/* ---- what the configuration says ---- */

static bool all_loopback(const struct config *config)
{
	size_t n = config_count(config, "serve.listen");
	for (size_t i = 0; i < n; i++)
		if (!listener_is_loopback(config_item(config, i, "serve.listen")))
			return false;
	return true;
}

int serve_check(const struct config *config, const char *section, struct shm_error *error)
{
	size_t n = config_count(config, "serve.listen");
	(void)section;
	for (size_t i = 0; i < n && config_string(config, "serve.read_tokens")[0] == '\0'; i++) {
		const char *text = config_item(config, i, "serve.listen");
		if (listener_is_loopback(text))
			continue;
		shm_explain(
		        error,
		        "serve.listen: %s is open to other hosts, and serve.read_tokens names no file, so that anybody could read; allowed: a file of tokens, or addresses such as 127.0.0.1:4003, [::1]:4003, unix:/run/millrace.sock",
		        text);
		return -EINVAL;
	}
	return fleet_check(config, error);
}

static void read_auth(struct stage *stage, struct auth *auth)
{
	const struct config *config = stage->config;
	size_t n = config_count(config, "serve.origins");
	read_tokens(stage, &files[FILE_READ], auth_read_name, &auth->read, &auth->has_read);
	read_tokens(stage, &files[FILE_ADMIN], auth_admin_name, &auth->admin, &auth->has_admin);
	auth->loopback = all_loopback(config);
	for (size_t i = 0; i < n && auth->n_origins < AUTH_ORIGINS_MAX; i++)
		auth->origin[auth->n_origins++] = config_item(config, i, "serve.origins");
}

static struct server_settings read_settings(const struct config *config)
{
	return (struct server_settings){
	        .max_connections = (unsigned)config_u64(config, "serve.max_connections"),
	        .other_files = fleet_files_max(config),
	        .max_head = (unsigned)config_u64(config, "serve.max_head"),
	        .max_body = config_u64(config, "serve.max_body"),
	        .answer_memory = config_u64(config, "serve.answer_memory"),
	        .header_ns = config_ns(config, "serve.header_timeout"),
	        .body_ns = config_ns(config, "serve.body_timeout"),
	        .answer_ns = config_ns(config, "serve.answer_timeout"),
	        .idle_ns = config_ns(config, "serve.idle_timeout"),
	};
}

static struct live_settings read_live(const struct config *config, struct serve *serve)
{
	return (struct live_settings){
	        .clients = (unsigned)config_u64(config, "serve.live_clients"),
	        .subscriptions = (unsigned)config_u64(config, "serve.live_subscriptions"),
	        .events = (unsigned)config_u64(config, "serve.live_events"),
	        .message = config_u64(config, "serve.live_message"),
	        .memory = config_u64(config, "serve.live_memory"),
	        .wake = server_wake,
	        .tick = live_tick_text,
	        .argument = serve,
	};
}

static uint64_t memory_max(const struct config *config, const char *section)
{
	struct server_settings settings = read_settings(config);
	struct live_settings live = read_live(config, NULL);
	(void)section;
	/* An answer that is being made is there as text and compressed. */
	return settings.answer_memory + 2 * config_u64(config, "serve.max_answer") +
	       settings.max_connections * (server_connection_bytes() + settings.max_head) + view_bytes() +
	       fleet_bytes_max(config) + live_bytes_max(&live) +
	       recent_bytes_max(config_u64(config, "serve.recent_deliveries"),
	                        config_u64(config, "serve.recent_bytes"));
}

/* ---- start ---- */

static int open_parts(struct process *process, struct stage *stage, struct shm_error *error)
{
	struct serve *serve = &process->serve;
	struct server_settings settings = read_settings(stage->config);
	struct live_settings live = read_live(stage->config, serve);
	*serve = (struct serve){
	        .stage = stage,
	        .control = stage->control,
	        .config = stage->config,
	        .query_ns = config_ns(stage->config, "serve.query_timeout"),
	        .answer_max = config_u64(stage->config, "serve.max_answer"),
	};
	serve->answer_times = metric_row(metrics, SERVE_answer_time_us);
	serve->peer_times = metric_row(metrics, SERVE_peer_time_us);
	read_auth(stage, &serve->auth);
	host_init(&serve->hosts, stage->config);
	serve->redact = redact_new(stage->config);
	serve->recent = recent_new(config_u64(stage->config, "serve.recent_deliveries"),
	                           config_u64(stage->config, "serve.recent_bytes"));
	serve->live = live_new(&live);
	serve->page = page_open();
	if (serve->redact == NULL || serve->recent == NULL || serve->live == NULL || serve->page == NULL ||
	    view_init(&serve->view, config_string(stage->config, "instance")) != 0 || !limit_init()) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	page_set_charts(serve->page, read_file(stage, &files[FILE_CHARTS], "the live page has no charts"));
	int result = fleet_open(&serve->fleet, stage->config, stage->instance.generation, &process->loop,
	                        serve, error);
	if (result != 0)
		return result;
	read_peer_token(stage, serve->fleet);
	result = server_open(&serve->server, &settings, &process->loop, serve, error);
	if (result == 0)
		result =
		        listener_init(&serve->listeners, stage->config, &process->loop, serve->server, error);
	return result;
}

static void close_parts(struct process *process)
{
	struct serve *serve = &process->serve;
	listener_close(&serve->listeners);
	server_close(serve->server);
	fleet_close(serve->fleet);
	live_free(serve->live);
	page_close(serve->page);
	view_fini(&serve->view);
	redact_free(serve->redact);
	recent_free(serve->recent);
	for (int i = 0; i < CLOSE_TURNS && uv_run(&process->loop, UV_RUN_NOWAIT) != 0; i++)
		;
	if (uv_loop_close(&process->loop) != 0)
		log_debug("the loop has handles left", NULL);
	free(process);
}

/* What is not bound is tried again; the note says what is. */
static void bind_addresses(struct process *process, uint64_t now_ns)
{
	struct serve *serve = &process->serve;
	char text[CONTROL_NOTE_BYTES];
	process->bound_ns = now_ns;
	if (!listener_open(&serve->listeners))
		return;
	listener_note(&serve->listeners, text, sizeof text);
	control_note(serve->control, "%s", text);
	metric_set(serve->control, SERVE_addresses_bound, serve->listeners.n_bound);
}

static int init(struct stage *stage, struct shm_error *error)
{
	int result = serve_check(stage->config, "serve", error);
	if (result != 0)
		return result;
	struct process *process = calloc(1, sizeof *process);
	if (process == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	result = uv_loop_init(&process->loop);
	if (result != 0) {
		shm_explain(error, "libuv: %s", uv_strerror(result));
		free(process);
		return result;
	}
	result = open_parts(process, stage, error);
	if (result != 0) {
		close_parts(process);
		return result;
	}
	stage->own = process;
	bind_addresses(process, clock_monotonic_ns());
	return 0;
}

/* ---- loop ---- */

static uint64_t events(const struct process *process)
{
	return server_events(process->serve.server) + fleet_events(process->serve.fleet);
}

static bool poll_stage(struct stage *stage)
{
	struct process *process = stage->own;
	uint64_t before = events(process);
	uv_run(&process->loop, UV_RUN_NOWAIT);
	bool any = events(process) != before;
	bool read = recent_poll(process->serve.recent, &stage->instance, stage->now_ns);
	bool live = live_poll(process->serve.live, &stage->instance, clock_monotonic_ns());
	process->forgets = serve_forget(&process->serve);
	process->futile = any || !process->woken ? 0 : process->futile + 1;
	process->woken = false;
	return !stage->draining && (any || read || live); /* drained is asked whatever clients do */
}

/* libwebsockets asks to write on a connection that has sent several requests at once, and while the
 * first of them waits for its answer (server_answer.c) it does nothing with that: a client could
 * keep us awake. */
static void pause_if_futile(struct process *process)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	if (process->futile >= FUTILE_TURNS)
		(void)ppoll(NULL, 0, &pause, NULL);
}

/* uv_run would take up its wait again after a signal. */
static void idle(struct stage *stage, uint64_t timeout_ns)
{
	struct process *process = stage->own;
	struct pollfd loop = {.fd = uv_backend_fd(&process->loop), .events = POLLIN};
	int timer_ms = uv_backend_timeout(&process->loop);
	if (timer_ms >= 0 && (uint64_t)timer_ms * NS_PER_MS < timeout_ns)
		timeout_ns = (uint64_t)timer_ms * NS_PER_MS;
	uint64_t now_ns = clock_monotonic_ns();
	uint64_t sample_ns = view_sample(&process->serve.view, now_ns);
	uint64_t live_ns = live_wait(process->serve.live, now_ns);
	if (sample_ns < timeout_ns)
		timeout_ns = sample_ns;
	if (live_ns < timeout_ns)
		timeout_ns = live_ns;
	if (process->forgets && ERRAND_LOOK_NS < timeout_ns)
		timeout_ns = ERRAND_LOOK_NS;
	struct timespec wait = {.tv_sec = (time_t)(timeout_ns / NS_PER_SEC),
	                        .tv_nsec = (long)(timeout_ns % NS_PER_SEC)};
	metric_add(stage->control, SERVE_waits, 1);
	pause_if_futile(process);
	process->woken = ppoll(&loop, 1, &wait, NULL) > 0 || timer_ms == 0;
}

static void tell_counts(struct serve *serve)
{
	const struct server_counts *counts = server_counts(serve->server);
	const struct {
		enum serve_metric metric;
		uint64_t now, *told;
	} rows[] = {
	        {SERVE_connections_accepted, counts->accepted, &serve->told.accepted},
	        {SERVE_connections_turned_away, counts->turned_away, &serve->told.turned_away},
	        {SERVE_connections_late, counts->late, &serve->told.late},
	        {SERVE_connections_aborted, counts->aborted, &serve->told.aborted},
	        {SERVE_sent_bytes, counts->sent_bytes, &serve->told.sent_bytes},
	        {SERVE_library_complaints, counts->complaints, &serve->told.complaints},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		metric_add(serve->control, rows[i].metric, rows[i].now - *rows[i].told);
		*rows[i].told = rows[i].now;
	}
	metric_set(serve->control, SERVE_connections, counts->connections);
	metric_set(serve->control, SERVE_answer_memory_bytes, counts->held_bytes);
}

static void tell_recent(struct serve *serve)
{
	struct recent_state now;
	recent_look(serve->recent, &now);
	metric_set(serve->control, SERVE_recent_deliveries, now.held);
	metric_set(serve->control, SERVE_recent_bytes, now.held_bytes);
	metric_add(serve->control, SERVE_deliveries_missed, now.missed - serve->told_recent.missed);
	metric_add(serve->control, SERVE_deliveries_left_out, now.left_out - serve->told_recent.left_out);
	if (now.reason[0] != '\0' && !serve->recent_refused)
		log_warn("attempts to deliver cannot be read, trying again", "reason=\"%s\"", now.reason);
	serve->recent_refused = now.reason[0] != '\0';
	serve->told_recent = now;
}

static void tell_live(struct serve *serve)
{
	struct live_counts now;
	live_look(serve->live, &now);
	const struct {
		enum serve_metric metric;
		uint64_t now, told;
	} rows[] = {
	        {SERVE_live_refused, now.refused, serve->told_live.refused},
	        {SERVE_live_ticks_skipped, now.ticks_skipped, serve->told_live.ticks_skipped},
	        {SERVE_live_events_sent, now.events_sent, serve->told_live.events_sent},
	        {SERVE_live_events_skipped, now.events_skipped, serve->told_live.events_skipped},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		metric_add(serve->control, rows[i].metric, rows[i].now - rows[i].told);
	metric_set(serve->control, SERVE_live_clients, now.clients);
	metric_set(serve->control, SERVE_live_subscriptions, now.subscriptions);
	metric_set(serve->control, SERVE_live_memory_bytes, now.held_bytes);
	serve->told_live = now;
}

static void tick(struct stage *stage)
{
	struct process *process = stage->own;
	struct serve *serve = &process->serve;
	server_tick(serve->server, stage->now_ns);
	fleet_tick(serve->fleet, stage->now_ns);
	(void)view_sample(&serve->view, stage->now_ns); /* also while idle has no turn */
	if (!stage->draining && stage->now_ns >= process->bound_ns + NS_PER_SEC)
		bind_addresses(process, stage->now_ns);
	tell_counts(serve);
	tell_recent(serve);
	tell_live(serve);
}

/* Answers under way are finished, for a while; new connections are not taken. */
static bool drained(struct stage *stage)
{
	struct process *process = stage->own;
	struct serve *serve = &process->serve;
	if (process->drain_until_ns == 0) {
		process->drain_until_ns = stage->now_ns + DRAIN_NS;
		listener_close(&serve->listeners);
	}
	server_drain(serve->server);
	return server_counts(serve->server)->connections == 0 || stage->now_ns >= process->drain_until_ns;
}

static void fini(struct stage *stage)
{
	struct process *process = stage->own;
	tell_counts(&process->serve);
	close_parts(process);
	stage->own = NULL;
}

const struct stage_ops serve_stage = {
        .name = "serve",
        .help = "answers over HTTP what an instance knows: counts, stages, topics, sinks, attempts to deliver, dead letters",
        .metrics = metrics,
        .n_metrics = sizeof metrics / sizeof metrics[0],
        .init = init,
        .poll = poll_stage,
        .tick = tick,
        .idle = idle,
        .drained = drained,
        .fini = fini,
        .check = serve_check,
        .memory_max = memory_max,
        .files = files,
        .n_files = sizeof files / sizeof files[0],
};
