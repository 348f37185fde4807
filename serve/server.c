#include "serve/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "serve/connection.h"
#include "serve/live.h"
#include "serve/serve.h"

#define SYSTEM_FOLDER "/usr"
#define SECONDS(ns)   ((ns) / NS_PER_SEC + 2)
#define HEAD_HELD_S \
	(10 * 365 * 86400) /* libwebsockets keeps a stream's head, and ends who does for too long */
#define SPARE_FILES  256u  /* that are no connections */
#define CLOSE_ROUNDS 1000  /* of the loop, at the end */

/* ---- the library's log ---- */

static uint64_t complaints;
static bool running;

/* While it starts, what it says is of use. Later its lines are about requests, and any client could
 * fill the log with them. */
static void take_line(int level, const char *line)
{
	int bytes = (int)strcspn(line, "\n");
	if (running) {
		complaints++;
		log_debug("libwebsockets", "text=\"%.*s\"", bytes, line);
	} else if (level == LLL_ERR) {
		log_error("libwebsockets", "text=\"%.*s\"", bytes, line);
	} else {
		log_warn("libwebsockets", "text=\"%.*s\"", bytes, line);
	}
}

/* ---- a connection's memory ---- */

void connection_set_deadline(struct connection *connection, enum connection_state state, uint64_t after_ns)
{
	connection->state = state;
	connection->deadline_ns = clock_monotonic_ns() + after_ns;
}

void connection_free_request(struct connection *connection)
{
	free(connection->request);
	connection->request = NULL;
}

static struct connection *add_connection(struct server *server)
{
	struct connection *connection = calloc(1, sizeof *connection);
	if (connection == NULL)
		return NULL;
	connection->server = server;
	connection->next = server->first;
	connection->at = &server->first;
	if (connection->next != NULL)
		connection->next->at = &connection->next;
	server->first = connection;
	server->counts.connections++;
	return connection;
}

/* Nobody waits for it any more. */
static void forget_later(struct connection *connection)
{
	struct later *later = connection->answer.later;
	connection->answer.later = NULL;
	if (later != NULL)
		later->gone(later);
}

static void remove_connection(struct connection *connection)
{
	struct server *server = connection->server;
	if (connection->state != CONNECTION_HEAD && connection->state != CONNECTION_IDLE &&
	    connection->state != CONNECTION_LIVE)
		server->counts.aborted++;
	forget_later(connection);
	connection_free_answer(connection);
	connection_free_request(connection);
	live_leave(connection->live);
	*connection->at = connection->next;
	if (connection->next != NULL)
		connection->next->at = connection->at;
	server->counts.connections--;
	free(connection);
}

/* ---- the request ---- */

static enum request_method method_of(struct lws *wsi, char **path, int *bytes)
{
	switch (lws_http_get_uri_and_method(wsi, path, bytes)) {
	case LWSHUMETH_GET:
		return REQUEST_GET;
	case LWSHUMETH_HEAD:
		return REQUEST_HEAD;
	case LWSHUMETH_POST:
		return REQUEST_POST;
	case LWSHUMETH_PUT:
		return REQUEST_PUT;
	case LWSHUMETH_PATCH:
		return REQUEST_PATCH;
	case LWSHUMETH_DELETE:
		return REQUEST_DELETE;
	case LWSHUMETH_OPTIONS:
		return REQUEST_OPTIONS;
	default:
		return REQUEST_OTHER;
	}
}

/* One field of the head; several of one name are put together with commas. */
static void take_field(struct request *request, struct lws *wsi, enum request_field field,
                       enum lws_token_indexes token)
{
	char value[REQUEST_FIELD_MAX + 1];
	if (lws_hdr_total_length(wsi, token) <= 0)
		return;
	int bytes = lws_hdr_copy(wsi, value, sizeof value, token);
	request_set_field(request, field, value, bytes > 0 ? (size_t)bytes : 0);
}

static void take_query(struct request *request, struct lws *wsi)
{
	char text[REQUEST_QUERY_ROOM];
	for (int i = 0; request->fault == NULL; i++) {
		int bytes = lws_hdr_copy_fragment(wsi, text, sizeof text, WSI_TOKEN_HTTP_URI_ARGS, i);
		/* below 0: there is none, or it is longer than there is room for */
		if (bytes < 0 && lws_hdr_fragment_length(wsi, WSI_TOKEN_HTTP_URI_ARGS, i) <= 0)
			return;
		/* of "?" alone the library makes a parameter "/" */
		if (bytes == 1 && text[0] == '/')
			continue;
		request_add_query(request, text, bytes < 0 ? sizeof text : (size_t)bytes);
	}
}

/* Returns 0 or -ENOMEM. A request is large, and most connections wait for their next one. */
int connection_read_head(struct connection *connection, struct lws *wsi)
{
	static const struct {
		enum request_field field;
		enum lws_token_indexes token;
	} fields[] = {
	        {REQUEST_HOST, WSI_TOKEN_HOST},
	        {REQUEST_ORIGIN, WSI_TOKEN_ORIGIN},
	        {REQUEST_AUTHORIZATION, WSI_TOKEN_HTTP_AUTHORIZATION},
	        {REQUEST_ACCEPT, WSI_TOKEN_HTTP_ACCEPT},
	        {REQUEST_ACCEPT_ENCODING, WSI_TOKEN_HTTP_ACCEPT_ENCODING},
	        {REQUEST_IF_NONE_MATCH, WSI_TOKEN_HTTP_IF_NONE_MATCH},
	        {REQUEST_VIA, WSI_TOKEN_HTTP_VIA},
	        {REQUEST_PROTOCOL, WSI_TOKEN_PROTOCOL},
	};
	char *path = NULL;
	int bytes = 0;
	struct request *request = malloc(sizeof *request);
	connection_free_request(connection);
	if (request == NULL)
		return -ENOMEM;
	connection->request = request;
	enum request_method method = method_of(wsi, &path, &bytes);
	request_init(request, method);
	request_set_path(request, path != NULL ? path : "", path != NULL ? (size_t)bytes : 0);
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
		take_field(request, wsi, fields[i].field, fields[i].token);
	take_query(request, wsi);
	return 0;
}

/* The length of the body; -1: the head does not say it as it should. */
static int64_t body_length(struct lws *wsi)
{
	char text[24];
	char *end;
	if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING) > 0)
		return -1;
	if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH) <= 0)
		return 0;
	if (lws_hdr_copy(wsi, text, sizeof text, WSI_TOKEN_HTTP_CONTENT_LENGTH) <= 0 || text[0] < '0' ||
	    text[0] > '9')
		return -1;
	errno = 0;
	long long length = strtoll(text, &end, 10);
	return errno == 0 && *end == '\0' ? length : -1;
}

/* ---- the answer ---- */

static int answer_request(struct connection *connection)
{
	answer_init(&connection->answer);
	serve_answer(connection->server->serve, connection->request, &connection->answer);
	if (connection->answer.later == NULL)
		return connection_begin_answer(connection);
	connection->answer.later->connection = connection;
	return connection_wait_later(connection);
}

void connection_kill(struct connection *connection)
{
	connection->deadline_ns = UINT64_MAX; /* its end comes with a turn of the loop */
	connection_stop_waiting(connection);
	connection->closing = true;
	forget_later(connection);
	lws_set_timeout(connection->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
}

void server_resume(struct later *later)
{
	struct connection *connection = later->connection;
	connection->server->events++;
	connection->answer.later = NULL;
	serve_finish(connection->server->serve, connection->request, &connection->answer);
	if (connection_wait_to_write(connection) != 0)
		connection_kill(connection);
}

int connection_refuse(struct connection *connection, unsigned status, const char *detail)
{
	if (connection->request->fault == NULL) {
		connection->request->fault = detail;
		connection->request->fault_status = status;
	}
	connection->close = true;
	return answer_request(connection);
}

/* ---- what libwebsockets tells ---- */

/* The whole head is there. */
static int handle_head(struct connection *connection, struct lws *wsi)
{
	const struct server_settings *settings = &connection->server->settings;
	if (connection_read_head(connection, wsi) != 0)
		return -1;
	int64_t length = body_length(wsi);
	if (length < 0)
		return connection_refuse(connection, 411,
		                         "a body must have a Content-Length, and no Transfer-Encoding");
	if ((uint64_t)length > settings->max_body)
		return connection_refuse(connection, 413, "the body is longer than serve.max_body");
	if (length > 0) {
		connection_set_deadline(connection, CONNECTION_BODY, settings->body_ns);
		return 0;
	}
	/* Without a length libwebsockets would go on to read a body after the answer. */
	if (connection->request->method != REQUEST_GET && connection->request->method != REQUEST_HEAD)
		connection->close = true;
	return answer_request(connection);
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t length)
{
	struct connection *connection = lws_get_opaque_user_data(wsi);
	(void)user;
	if (connection == NULL)
		return lws_callback_http_dummy(wsi, reason, user, in, length);
	connection->server->events++;
	switch (reason) {
	case LWS_CALLBACK_HTTP:
		return handle_head(connection, wsi);
	case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
		return connection_upgrade(connection, wsi);
	case LWS_CALLBACK_ESTABLISHED:
		return connection_open_live(connection);
	case LWS_CALLBACK_RECEIVE:
		return connection_receive(connection, length);
	case LWS_CALLBACK_SERVER_WRITEABLE:
		return connection_write_live(connection);
	case LWS_CALLBACK_HTTP_BODY_COMPLETION:
		return connection->state == CONNECTION_BODY ? answer_request(connection) : 0;
	case LWS_CALLBACK_HTTP_WRITEABLE:
		return connection->state == CONNECTION_LIVE ? connection_write_live(connection) : 0;
	case LWS_CALLBACK_CLOSED:
	case LWS_CALLBACK_CLOSED_HTTP:
		connection->closing = true;
		connection_stop_waiting(connection);
		return 0;
	case LWS_CALLBACK_WSI_DESTROY:
		lws_set_opaque_user_data(wsi, NULL);
		remove_connection(connection);
		return 0;
	default:
		return 0;
	}
}

/* A WebSocket that names no protocol gets the first. The sizes are what a WebSocket has in memory
 * for a client's text, and what is sent at once, which would otherwise be the same. */
#define SIZES .rx_buffer_size = LIVE_TEXT_BYTES, .tx_packet_size = CHUNK_BYTES
static const struct lws_protocols protocols[] = {
        {.name = "http", .callback = on_event, SIZES},
        {.name = LIVE_PROTOCOL, .callback = on_event, SIZES},
        {.name = NULL},
};

/* ---- start and end ---- */

/* libwebsockets finds a connection by its descriptor at once only when it may have as many as the
 * process may have files; so that is made to fit. Where fewer files are allowed there are fewer
 * connections. */
static void limit_files(struct server_settings *settings)
{
	struct rlimit limit;
	rlim_t others = (rlim_t)SPARE_FILES + settings->other_files,
	       wanted = settings->max_connections + others;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur == wanted)
		return;
	settings->max_connections = limit.rlim_cur > 2 * others ? (unsigned)(limit.rlim_cur - others)
	                                                        : (unsigned)limit.rlim_cur / 2;
	log_warn(
	        "fewer connections than serve.max_connections, because of the limit of open files (ulimit -n)",
	        "connections=%u files=%llu", settings->max_connections, (unsigned long long)limit.rlim_cur);
}

static int start_library(struct server *server, struct shm_error *error)
{
	const struct server_settings *settings = &server->settings;
	limit_files(&server->settings);
	uint64_t longest = settings->header_ns;
	longest = settings->body_ns > longest ? settings->body_ns : longest;
	longest = settings->answer_ns > longest ? settings->answer_ns : longest;
	longest = settings->idle_ns > longest ? settings->idle_ns : longest;
	void *loops[] = {server->loop};
	struct lws_context_creation_info info = {
	        .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
	        .port = CONTEXT_PORT_NO_LISTEN_SERVER,
	        .foreign_loops = loops,
	        .protocols = protocols,
	        .vhost_name = "millrace",
	        .user = server,
	        .pcontext = &server->context, /* NULL once it is no more */
	        .server_string = "millrace",
	        .max_http_header_data = (unsigned short)settings->max_head,
	        .max_http_header_pool = (unsigned short)settings->max_connections,
	        .pt_serv_buf_size = CHUNK_BYTES,
	        /* ours come first; these are for what we do not see */
	        .timeout_secs = (unsigned)SECONDS(longest),
	        .timeout_secs_ah_idle = HEAD_HELD_S,
	        .keepalive_timeout = (int)SECONDS(longest),
	};
	/* It looks for its plugin in the current folder first (4.3), which is anybody's and which
	 * the sandbox refuses. */
	if (chdir(SYSTEM_FOLDER) != 0)
		log_debug("no such folder", "path=" SYSTEM_FOLDER);
	running = false;
	lws_set_log_level(LLL_ERR | LLL_WARN, take_line);
	server->context = lws_create_context(&info);
	if (server->context != NULL)
		server->vhost = lws_create_vhost(server->context, &info);
	running = true;
	if (server->vhost != NULL)
		return 0;
	shm_explain(error, "libwebsockets does not start (is libwebsockets-evlib-uv installed?)");
	return -EIO;
}

int server_open(struct server **server, const struct server_settings *settings, uv_loop_t *loop,
                struct serve *serve, struct shm_error *error)
{
	struct server *made = calloc(1, sizeof *made);
	if (made == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	made->settings = *settings;
	made->loop = loop;
	made->serve = serve;
	int result = server_open_writers(made);
	if (result != 0)
		shm_explain(error, "no epoll in libuv's loop: %s", strerror(-result));
	else
		result = start_library(made, error);
	if (result != 0) {
		server_close(made);
		return result;
	}
	*server = made;
	return 0;
}

void server_take(struct server *server, int fd)
{
	server->events++;
	struct connection *connection =
	        server->counts.connections < server->settings.max_connections && !server->draining
	                ? add_connection(server)
	                : NULL;
	if (connection == NULL) {
		server->counts.turned_away++;
		close(fd);
		return;
	}
	server->counts.accepted++;
	connection_set_deadline(connection, CONNECTION_HEAD, server->settings.header_ns);
	connection->wsi = lws_adopt_socket_vhost(server->vhost, fd);
	if (connection->wsi != NULL)
		lws_set_opaque_user_data(connection->wsi, connection);
	else
		remove_connection(connection); /* the library has closed it */
}

void server_wake(void *owner)
{
	struct connection *connection = owner;
	if (!connection->open || connection->closing)
		return;
	if (connection->deadline_ns == UINT64_MAX)
		connection->deadline_ns = clock_monotonic_ns() + connection->server->settings.answer_ns;
	(void)lws_callback_on_writable(connection->wsi);
}

void server_tick(struct server *server, uint64_t now_ns)
{
	for (struct connection *connection = server->first, *next; connection != NULL; connection = next) {
		next = connection->next;
		if (now_ns >= connection->deadline_ns)
			server->counts.late++;
		else if (!connection_live_gone(connection))
			continue;
		connection_kill(connection);
	}
	server->counts.complaints += complaints;
	complaints = 0;
}

void server_drain(struct server *server)
{
	server->draining = true;
	for (struct connection *connection = server->first, *next; connection != NULL; connection = next) {
		next = connection->next;
		bool waits = connection->state == CONNECTION_IDLE || connection->state == CONNECTION_HEAD;
		if (connection->state == CONNECTION_LIVE)
			connection_end_live(connection);
		else if (waits && connection->deadline_ns != UINT64_MAX)
			connection_kill(connection);
	}
}

size_t server_connection_bytes(void)
{
	return sizeof(struct connection) + sizeof(struct request);
}

uint64_t server_events(const struct server *server)
{
	return server->events;
}

const struct server_counts *server_counts(const struct server *server)
{
	return &server->counts;
}

void server_close(struct server *server)
{
	if (server == NULL)
		return;
	running = true;
	/* A context in somebody else's loop is destroyed in two steps, between which the loop
	 * closes what the first one gave up. */
	server_close_writers(server);
	for (int step = 0; step < 2; step++) {
		if (server->context != NULL)
			lws_context_destroy(server->context);
		for (int i = 0; i < CLOSE_ROUNDS && uv_run(server->loop, UV_RUN_NOWAIT) != 0; i++)
			;
	}
	for (struct connection *connection = server->first, *next; connection != NULL; connection = next) {
		next = connection->next;
		remove_connection(connection);
	}
	free(server);
}
