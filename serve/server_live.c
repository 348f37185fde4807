/* Connections of /live: the upgrade to a WebSocket, messages going out, and the little that comes
 * in. libwebsockets does frames, ping and close (RFC 6455).
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "serve/connection.h"
#include "serve/live.h"
#include "serve/serve.h"

/* ---- going over ---- */

static int refuse_protocol(struct connection *connection)
{
	(void)connection_refuse(
	        connection, 426,
	        "no other protocol is spoken here: ask without Upgrade; /live has a WebSocket");
	return -1;
}

static int refuse_upgrade(struct connection *connection, unsigned status, const char *detail)
{
	(void)connection_refuse(connection, status, detail);
	return -1;
}

static bool field_says(struct lws *wsi, enum lws_token_indexes token, const char *word)
{
	char text[128];
	return lws_hdr_copy(wsi, text, sizeof text, token) > 0 && request_accepts(text, word);
}

/* What libwebsockets would take amiss without an answer. */
static const char *fault_of(struct lws *wsi)
{
	int protocols = lws_hdr_total_length(wsi, WSI_TOKEN_PROTOCOL);
	if (!field_says(wsi, WSI_TOKEN_CONNECTION, "upgrade"))
		return "a WebSocket needs Connection: Upgrade";
	if (lws_hdr_total_length(wsi, WSI_TOKEN_KEY) <= 0 || lws_hdr_total_length(wsi, WSI_TOKEN_KEY) > 64)
		return "a WebSocket needs Sec-WebSocket-Key";
	if (protocols > (int)LIVE_PROTOCOLS_MAX)
		return "Sec-WebSocket-Protocol is longer than 127 bytes; a longer token goes with Authorization and Accept: text/event-stream";
	if (protocols > 0 && !field_says(wsi, WSI_TOKEN_PROTOCOL, LIVE_PROTOCOL))
		return "of Sec-WebSocket-Protocol only " LIVE_PROTOCOL " is spoken here";
	return NULL;
}

/* A connection that is refused ends with the answer, whatever became of it. Of protocols that the
 * library does not know it has refused the upgrade itself, with 403, and the head is gone. */
int connection_upgrade(struct connection *connection, struct lws *wsi)
{
	if (lws_hdr_total_length(wsi, WSI_TOKEN_UPGRADE) <= 0 || connection_read_head(connection, wsi) != 0)
		return -1;
	struct request *request = connection->request;
	bool websocket = field_says(wsi, WSI_TOKEN_UPGRADE, "websocket");
	if (!websocket || strcmp(request->path, "/live") != 0 || request->method != REQUEST_GET)
		return refuse_protocol(connection);
	if (!field_says(wsi, WSI_TOKEN_VERSION, "13"))
		return refuse_upgrade(connection, 426, "of WebSocket version 13 (RFC 6455) is spoken here");
	const char *fault = fault_of(wsi);
	if (fault != NULL)
		return refuse_upgrade(connection, 400, fault);
	request->upgrade = true;
	answer_init(&connection->answer);
	serve_answer(connection->server->serve, request, &connection->answer);
	if (connection->answer.live == NULL) {
		connection->close = true;
		(void)connection_begin_answer(connection);
		return -1;
	}
	connection->answer.status = 101;
	serve_count(connection->server->serve, &connection->answer);
	connection->live = connection->answer.live;
	connection->websocket = true;
	connection->state = CONNECTION_LIVE;
	connection->deadline_ns = clock_monotonic_ns() + connection->server->settings.header_ns;
	connection_free_request(connection);
	return 0;
}

/* A small buffer of the kernel, so that a client that does not read is noticed early. */
int connection_open_live(struct connection *connection)
{
	const int bytes = LIVE_SEND_BUFFER;
	if (connection->live == NULL)
		return -1; /* no upgrade that we allowed */
	(void)setsockopt(lws_get_socket_fd(connection->wsi), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
	connection->open = true;
	connection->deadline_ns = UINT64_MAX;
	live_own(connection->live, connection);
	return 0;
}

/* ---- messages ---- */

static int write_piece(struct connection *connection, const struct live_piece *piece)
{
	uint8_t *bytes = connection->server->chunk + LWS_PRE;
	int kind = LWS_WRITE_HTTP;
	if (connection->websocket)
		kind = (piece->first ? LWS_WRITE_TEXT : LWS_WRITE_CONTINUATION) |
		       (piece->last ? 0 : LWS_WRITE_NO_FIN);
	if (lws_write(connection->wsi, bytes, piece->bytes, (enum lws_write_protocol)kind) <
	    (int)piece->bytes)
		return -1;
	connection->server->counts.sent_bytes += piece->bytes;
	connection->deadline_ns = clock_monotonic_ns() + connection->server->settings.answer_ns;
	return 0;
}

int connection_write_live(struct connection *connection)
{
	char *chunk = (char *)connection->server->chunk + LWS_PRE;
	struct live_piece piece;
	if (!connection->open || connection->closing)
		return 0;
	/* What the kernel did not take libwebsockets keeps; the next turn comes when it is gone. */
	while (lws_partial_buffered(connection->wsi) == 0) {
		if (!live_take(connection->live, chunk, LIVE_CHUNK_BYTES, &piece)) {
			connection->deadline_ns = UINT64_MAX;
			return 0;
		}
		if (write_piece(connection, &piece) != 0)
			return -1;
		if (!piece.last && lws_send_pipe_choked(connection->wsi))
			break;
	}
	(void)lws_callback_on_writable(connection->wsi);
	return 0;
}

/* Not from within a callback of the connection: where libwebsockets checks itself, as Debian builds
 * it, one that asks to end in its turn to write is ended at once, without a word. */
void connection_end_live(struct connection *connection)
{
	if (connection->closing || !connection->open || live_busy(connection->live))
		return;
	connection->closing = true;
	if (connection->websocket)
		lws_close_reason(connection->wsi, LWS_CLOSE_STATUS_GOINGAWAY, NULL, 0);
	lws_set_timeout(connection->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
}

/* ---- what clients send ---- */

int connection_receive(struct connection *connection, size_t bytes)
{
	connection->received += bytes + lws_remaining_packet_payload(connection->wsi);
	if (connection->received > LIVE_TEXT_BYTES) {
		connection->closing = true;
		lws_close_reason(connection->wsi, LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE, NULL, 0);
		return -1;
	}
	connection->received = lws_is_final_fragment(connection->wsi)
	                               ? 0
	                               : connection->received - lws_remaining_packet_payload(connection->wsi);
	return 0;
}

bool connection_live_gone(const struct connection *connection)
{
	char byte;
	if (connection->state != CONNECTION_LIVE || connection->websocket || connection->closing)
		return false;
	ssize_t n = recv(lws_get_socket_fd(connection->wsi), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	return n >= 0 || (errno != EAGAIN && errno != EINTR);
}
