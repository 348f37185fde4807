/* Answers of connections going out: the head, the body, and the waiting for whoever reads slowly.
 *
 *     begin_answer --all of it taken--> end_answer --> libwebsockets has the connection again
 *          '--not all--> paused: libwebsockets neither reads nor writes
 *                          '--> writers (an epoll of ours, in the loop) --room--> the rest
 *
 * libwebsockets makes the text of the head and nothing more. It would send a body as well, but what
 * it does when the client goes on to send meanwhile differs: 4.1 does not read it but goes on being
 * woken, 4.3 takes the next request for a fault and ends the connection. Told not to read
 * (lws_rx_flow_control) it does not look whether it can write either. So it is told not to, and we
 * write.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "serve/connection.h"
#include "serve/live.h"
#include "serve/problem.h"
#include "serve/serve.h"

#define HEAD_BYTES  4096u   /* of an answer; a chunk has room for it */
#define TURN_BYTES  262144u /* of one body, in one turn of the loop */
#define WRITERS     64      /* connections looked at in one turn of the loop */
#define DATA_POLICY "default-src 'none'; frame-ancestors 'none'"
#define PAGE_POLICY \
	"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/* ---- the head ---- */

struct head {
	struct lws *wsi;
	uint8_t *at, *end;
	bool failed;
};

static void add(struct head *head, const char *name, const char *value)
{
	if (!head->failed)
		head->failed =
		        lws_add_http_header_by_name(head->wsi, (const uint8_t *)name, (const uint8_t *)value,
		                                    (int)strlen(value), &head->at, head->end) != 0;
}

static void add_date(struct head *head)
{
	char text[40];
	time_t now = time(NULL);
	struct tm tm;
	if (gmtime_r(&now, &tm) != NULL && strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &tm) > 0)
		add(head, "date:", text);
}

static void add_body_fields(struct head *head, const struct answer *answer)
{
	char varies[48];
	if (answer->type != NULL)
		add(head, "content-type:", answer->type);
	if (answer->gzip)
		add(head, "content-encoding:", "gzip");
	if (answer->etag[0] != '\0')
		add(head, "etag:", answer->etag);
	snprintf(varies, sizeof varies, "accept-encoding%s%s", answer->by_accept ? ", accept" : "",
	         answer->varies ? ", origin" : "");
	add(head, "vary:", varies);
	add(head, "cache-control:",
	    answer->stream   ? "no-store"
	    : answer->public ? "public, no-cache"
	                     : "private, no-cache");
}

static void add_rare_fields(struct head *head, const struct answer *answer)
{
	char text[ROUTER_METHODS_BYTES];
	if (answer->allow != 0)
		add(head, "allow:", router_methods(answer->allow, text));
	if (answer->challenge != NULL)
		add(head, "www-authenticate:", answer->challenge);
	if (answer->retry_after_s != 0) {
		snprintf(text, sizeof text, "%u", answer->retry_after_s);
		add(head, "retry-after:", text);
	}
	if (answer->status == 426) {
		add(head, "upgrade:", "websocket");
		add(head, "sec-websocket-version:", "13");
	}
	if (answer->origin != NULL) {
		add(head, "access-control-allow-origin:", answer->origin);
		add(head, "access-control-expose-headers:", "millrace-missing-peers");
	}
	if (answer->preflight) {
		add(head, "access-control-allow-methods:", router_methods(answer->allow, text));
		add(head, "access-control-allow-headers:", "authorization, if-none-match");
		add(head, "access-control-max-age:", "600");
	}
}

/* What boxes tell each other, and whom of them an answer is without. */
static void add_fleet_fields(struct head *head, const struct connection *connection)
{
	const struct fleet *fleet = connection->server->serve->fleet;
	char text[FLEET_MISSING_BYTES];
	if (request_field(connection->request, REQUEST_VIA) != NULL)
		add(head, "millrace-box:", fleet_box(fleet));
	if (connection->answer.missing != 0)
		add(head, "millrace-missing-peers:", fleet_missing(fleet, connection->answer.missing, text));
}

/* What a browser is told of everything: nothing here is a page of somebody else's. */
static void add_guards(struct head *head, const struct answer *answer)
{
	add(head, "x-content-type-options:", "nosniff");
	add(head, "content-security-policy:", answer->page ? PAGE_POLICY : DATA_POLICY);
	add(head, "referrer-policy:", "no-referrer");
	add(head, "cross-origin-resource-policy:", "same-origin");
}

/* Its text in the server's chunk. Returns its bytes, or -1. */
static int make_head(struct connection *connection)
{
	uint8_t *start = connection->server->chunk + LWS_PRE;
	const struct answer *answer = &connection->answer;
	struct head head = {.wsi = connection->wsi, .at = start, .end = start + HEAD_BYTES};
	if (lws_add_http_header_status(head.wsi, answer->status | LWSAHH_FLAG_NO_SERVER_NAME, &head.at,
	                               head.end) != 0)
		return -1;
	add_date(&head);
	if (answer->body != NULL || answer->status == 304 || answer->stream)
		add_body_fields(&head, answer);
	add_rare_fields(&head, answer);
	add_fleet_fields(&head, connection);
	add_guards(&head, answer);
	if (connection->close)
		add(&head, "connection:", "close");
	/* 204 and 304 have no body, and 204 no length (RFC 9110, 8.6). A stream ends with its
	 * connection. */
	if (answer->status != 204 && answer->status != 304 && !answer->stream && !head.failed)
		head.failed =
		        lws_add_http_header_content_length(head.wsi, answer->bytes, &head.at, head.end) != 0;
	if (head.failed || lws_finalize_http_header(head.wsi, &head.at, head.end) != 0)
		return -1;
	return (int)(head.at - start);
}

/* ---- waiting ---- */

/* For room (EPOLLOUT), or with 0 for nothing but the end of the connection. Returns what a callback
 * of libwebsockets returns. */
static int wait_for(struct connection *connection, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = connection};
	int operation = connection->paused ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
	if (epoll_ctl(connection->server->writers, operation, lws_get_socket_fd(connection->wsi), &event) !=
	    0)
		return -1;
	if (!connection->paused) {
		(void)lws_rx_flow_control(connection->wsi, 0);
		/* the library's own time-out was set when the request came */
		lws_set_timeout(connection->wsi, NO_PENDING_TIMEOUT, 0);
	}
	connection->paused = true;
	return 0;
}

void connection_stop_waiting(struct connection *connection)
{
	if (!connection->paused)
		return;
	connection->paused = false;
	(void)epoll_ctl(connection->server->writers, EPOLL_CTL_DEL, lws_get_socket_fd(connection->wsi), NULL);
	if (!connection->closing)
		(void)lws_rx_flow_control(connection->wsi, 1);
}

int connection_wait_later(struct connection *connection)
{
	connection_set_deadline(connection, CONNECTION_LATER, connection->server->settings.answer_ns);
	return wait_for(connection, 0);
}

int connection_wait_to_write(struct connection *connection)
{
	if (connection->paused && connection->state == CONNECTION_ANSWER)
		return 0; /* it does already */
	return wait_for(connection, EPOLLOUT);
}

/* ---- sending ---- */

static int end_answer(struct connection *connection)
{
	connection_stop_waiting(connection);
	connection_free_answer(connection);
	connection_free_request(connection);
	connection_set_deadline(connection, CONNECTION_IDLE, connection->server->settings.idle_ns);
	if (connection->close)
		return -1;
	return lws_http_transaction_completed(connection->wsi) != 0 ? -1 : 0;
}

/* What is left of the head, and of the body as much as one turn may send. Returns what a callback
 * of libwebsockets returns. */
static int send_answer(struct connection *connection)
{
	struct iovec pieces[2];
	struct msghdr message = {.msg_iov = pieces};
	size_t body_bytes = connection->request->method == REQUEST_HEAD ? 0 : connection->answer.bytes;
	size_t head_left = connection->head_bytes - connection->head_sent,
	       body_left = body_bytes - connection->sent;
	if (head_left > 0)
		pieces[message.msg_iovlen++] =
		        (struct iovec){connection->head + connection->head_sent, head_left};
	if (body_left > 0)
		pieces[message.msg_iovlen++] =
		        (struct iovec){connection->answer.body + connection->sent,
		                       body_left < TURN_BYTES ? body_left : TURN_BYTES};
	ssize_t n = sendmsg(lws_get_socket_fd(connection->wsi), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? connection_wait_to_write(connection) : -1;
	size_t sent = (size_t)n, of_head = sent < head_left ? sent : head_left;
	connection->head_sent += of_head;
	connection->sent += sent - of_head;
	connection->server->counts.sent_bytes += sent;
	return sent == head_left + body_left ? end_answer(connection) : connection_wait_to_write(connection);
}

/* A stream of /live, which libwebsockets sends; its own time-out for it goes. */
static int begin_live(struct connection *connection)
{
	connection->state = CONNECTION_LIVE;
	connection->deadline_ns = UINT64_MAX;
	connection->close = true;
	int bytes = make_head(connection);
	if (bytes < 0 || lws_write(connection->wsi, connection->server->chunk + LWS_PRE, (size_t)bytes,
	                           LWS_WRITE_HTTP_HEADERS) < bytes)
		return -1;
	connection_free_request(connection);
	lws_set_timeout(connection->wsi, NO_PENDING_TIMEOUT, 0);
	return connection_open_live(connection);
}

static int begin_plain(struct connection *connection)
{
	struct server *server = connection->server;
	connection->held = connection->answer.bytes;
	server->counts.held_bytes += connection->held;
	connection->close |= connection->answer.close || server->draining;
	connection_set_deadline(connection, CONNECTION_ANSWER, server->settings.answer_ns);
	int bytes = make_head(connection);
	if (bytes < 0)
		return -1;
	connection->sent = connection->head_sent = 0;
	connection->head_bytes = (size_t)bytes;
	connection->head = malloc(connection->head_bytes);
	if (connection->head == NULL)
		return -1;
	memcpy(connection->head, server->chunk + LWS_PRE, connection->head_bytes);
	return send_answer(connection);
}

int connection_begin_answer(struct connection *connection)
{
	struct server *server = connection->server;
	struct answer *answer = &connection->answer;
	if (server->counts.held_bytes + answer->bytes > server->settings.answer_memory) {
		metric_add(server->serve->control, SERVE_refused_memory, 1);
		problem(answer, 503, connection->request->path,
		        "too much waits for clients to read it (serve.answer_memory): try again later");
		answer->retry_after_s = 1;
		answer->etag[0] = '\0';
		answer->gzip = false;
	}
	serve_count(server->serve, answer);
	connection->live = answer->live;
	return connection->live != NULL ? begin_live(connection) : begin_plain(connection);
}

void connection_free_answer(struct connection *connection)
{
	connection->server->counts.held_bytes -= connection->held;
	connection->held = 0;
	free(connection->head);
	connection->head = NULL;
	answer_free(&connection->answer);
}

/* ---- turns ---- */

/* There is room, an answer has come, or the connection has ended. */
static int go_on(struct connection *connection, uint32_t events)
{
	if ((events & (EPOLLERR | EPOLLHUP)) != 0)
		return -1;
	if (connection->state == CONNECTION_ANSWER)
		return send_answer(connection);
	return connection_begin_answer(connection);
}

static void on_writers(uv_poll_t *handle, int status, int events)
{
	struct server *server = handle->data;
	struct epoll_event event[WRITERS];
	(void)status;
	(void)events;
	int n = epoll_wait(server->writers, event, WRITERS, 0);
	for (int i = 0; i < n; i++) {
		struct connection *connection = event[i].data.ptr;
		server->events++;
		if (go_on(connection, event[i].events) != 0)
			connection_kill(connection);
	}
}

int server_open_writers(struct server *server)
{
	server->writers = epoll_create1(EPOLL_CLOEXEC);
	if (server->writers < 0)
		return -errno;
	int result = uv_poll_init(server->loop, &server->writers_poll, server->writers);
	if (result != 0)
		return result;
	server->writers_poll.data = server;
	return uv_poll_start(&server->writers_poll, UV_READABLE, on_writers);
}

static void on_writers_closed(uv_handle_t *handle)
{
	struct server *server = handle->data;
	close(server->writers);
	server->writers = -1;
}

void server_close_writers(struct server *server)
{
	if (server->writers_poll.data != NULL)
		uv_close((uv_handle_t *)&server->writers_poll, on_writers_closed);
	else if (server->writers >= 0)
		close(server->writers);
}
