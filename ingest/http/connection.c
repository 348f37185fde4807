#include "ingest/http/connection.h"

#include <stdlib.h>
#include <string.h>

/* ---- memory of a connection ---- */

void connection_drop_input(struct server *server, struct connection *connection)
{
	if (connection->input != NULL)
		pool_give(&server->pool, connection->input);
	if (connection->held_bytes != 0)
		peers_release(&server->peers, connection->address, connection->held_bytes);
	connection->held_bytes = 0;
	connection->input = NULL;
	connection->input_bytes = connection->input_room = 0;
	connection->seen = 0;
}

void connection_drop_output(struct server *server, struct connection *connection)
{
	if (connection->output.base != NULL)
		pool_give(&server->answers, connection->output.base);
	connection->output = (struct output){0};
}

/* Counts a block of so many bytes, instead of the one before, for the connection's address. False
 * when that holds its share already. */
static bool hold(struct server *server, struct connection *connection, size_t room)
{
	if (!connection->counted)
		return true;
	if (!peers_hold(&server->peers, connection->address, room - connection->held_bytes,
	                server->share_bytes))
		return false;
	connection->held_bytes = (uint32_t)room;
	return true;
}

bool connection_keep(struct server *server, struct connection *connection, const char *data, size_t bytes)
{
	size_t needed = connection->input_bytes + bytes;
	if (needed > connection->input_room) {
		size_t room;
		char *larger = pool_take(&server->pool, needed, &room);
		if (larger == NULL) {
			server_count(server, HTTP_memory_short);
			return false;
		}
		if (!hold(server, connection, room)) {
			pool_give(&server->pool, larger);
			server_count(server, HTTP_memory_over_share);
			return false;
		}
		if (connection->input != NULL) {
			memcpy(larger, connection->input, connection->input_bytes);
			pool_give(&server->pool, connection->input);
		}
		connection->input = larger;
		connection->input_room = (uint32_t)room;
	}
	memcpy(connection->input + connection->input_bytes, data, bytes);
	connection->input_bytes += (uint32_t)bytes;
	return true;
}

/* Whether an answer finds room. If not, and the output is empty, there is no memory for answers. */
static bool output_ready(struct server *server, struct connection *connection)
{
	struct output *output = &connection->output;
	if (output->base == NULL) {
		output->base = pool_take(&server->answers, SERVER_OUTPUT_BYTES, &output->room);
		output->used = 0;
		output->pool = &server->answers;
		if (output->base == NULL)
			return false;
	}
	return output->room - output->used >= ANSWER_ROOM;
}

/* ---- ends ---- */

void connection_close(struct server *server, struct connection *connection, bool linger)
{
	if (connection->state == CONNECTION_CLOSING)
		return;
	connection->state = CONNECTION_CLOSING;
	wheel_set(&server->wheel, connection_slot(server, connection), 0);
	transport_close(&server->transport, connection_slot(server, connection), linger);
}

void connection_break(struct server *server, struct connection *connection)
{
	server_count(server, HTTP_connections_failed);
	connection_close(server, connection, false);
}

/* ---- answers ---- */

static struct exchange exchange_of(struct server *server, struct connection *connection,
                                   const struct request *request, const struct exchange_peer *peer)
{
	return (struct exchange){
	        .shared = &server->shared,
	        .request = request,
	        .peer = peer,
	        .output = &connection->output,
	        .last = server->draining,
	        .route = ROUTE_other,
	};
}

static void answered(struct server *server, struct connection *connection, const struct exchange *exchange)
{
	uint64_t took = server->now_ns - connection->began_ns;
	metrics_answer(&server->metrics, exchange->route, exchange->status, took);
	connection->began_ns = 0;
	connection->continued = false;
	connection->route = ROUTE_other;
	connection->state = exchange->closed ? CONNECTION_LAST : CONNECTION_HEAD;
	/* Unread bytes would make the kernel reset the connection, and the answer might
	 * be lost: unless the client itself said that this was its last request, more may be on the
	 * way. */
	connection->linger = exchange->last || exchange->request == NULL;
}

/* Without memory for answers there is one that needs none. */
static void answer_without(struct server *server, struct connection *connection)
{
	size_t bytes;
	const char *text = answer_without_output(&bytes);
	uint64_t took = connection->began_ns == 0 ? 0 : server->now_ns - connection->began_ns;
	server_count(server, HTTP_answer_memory_short);
	metrics_answer(&server->metrics, (enum route)connection->route, 503, took);
	connection->began_ns = 0;
	connection->state = CONNECTION_LAST;
	connection->linger = connection->sending = true;
	connection->sent_ns = server->now_ns;
	server->hasty = true;
	connection_deadline(server, connection, server->least_timeout_ns);
	transport_send(&server->transport, connection_slot(server, connection), text, bytes);
}

void connection_fail(struct server *server, struct connection *connection, unsigned status, const char *error,
                     const char *where)
{
	struct exchange exchange = exchange_of(server, connection, NULL, NULL);
	exchange.route = (enum route)connection->route;
	if (!output_ready(server, connection)) {
		answer_without(server, connection);
		return;
	}
	exchange_fail(&exchange, status, error, where);
	answered(server, connection, &exchange);
}

void connection_refuse(struct server *server, struct connection *connection)
{
	const struct output *output = &connection->output;
	connection_drop_input(server, connection);
	connection->refused =
	        connection->sending || (output->base != NULL && output->room - output->used < ANSWER_ROOM);
	if (connection->refused)
		connection->state = CONNECTION_LAST;
	else
		connection_fail(server, connection, 503,
		                "no memory for a request that comes in pieces: try again later", "request");
}

static struct exchange_peer peer_of(const struct connection *connection, const struct request *request)
{
	struct exchange_peer peer = {.source.port = connection->port, .trusted = connection->trusted};
	memcpy(peer.source.address, connection->address, sizeof peer.source.address);
	/* The port is the peer's; the client's own is not known. */
	if (connection->trusted && client_of_request(peer.source.address, request))
		peer.source.port = 0;
	return peer;
}

static void finish(struct server *server, struct connection *connection, const struct request *request,
                   char *body, size_t bytes)
{
	struct exchange_peer peer = peer_of(connection, request);
	struct exchange exchange = exchange_of(server, connection, request, &peer);
	exchange_finish(&exchange, body, bytes);
	answered(server, connection, &exchange);
}

/* ---- requests ---- */

/* All the functions below look at bytes [0, bytes) of data, which begin with a request, and return
 * how many of them are done with. 0: more is needed, or the connection's state says that nothing
 * more is read. */

/* The body is not here yet. */
static void await_body(struct server *server, struct connection *connection, const struct request *request,
                       enum connection_state state)
{
	connection->state = (uint8_t)state;
	connection_deadline(server, connection, server->settings.body_timeout_ns);
	server_count(server, HTTP_kept_requests);
	if (request->expect_continue && !connection->continued) {
		connection->continued = answer_continue(&connection->output);
	}
}

static size_t take_sized(struct server *server, struct connection *connection, const struct request *request,
                         char *data, size_t bytes)
{
	uint64_t need = request->head_bytes + request->content_length;
	if (bytes < need) {
		connection->need = (uint32_t)need;
		await_body(server, connection, request, CONNECTION_BODY);
		return 0;
	}
	finish(server, connection, request, data + request->head_bytes, request->content_length);
	return need;
}

/* Goes on with a chunked body whose data so far lies after the head, at [head, in), and whose
 * coding is at [in, bytes). */
static size_t take_chunked(struct server *server, struct connection *connection,
                           const struct request *request, char *data, size_t in, size_t bytes)
{
	const char *error = NULL;
	size_t began = in, out = in;
	uint64_t most = server->shared.settings.max_body;
	enum chunked_result result = chunked_decode(&connection->chunked, data, &in, bytes, &out, &error);
	connection->coded_bytes += (uint32_t)(in - began);
	size_t body = out - request->head_bytes;
	if (result == CHUNKED_BAD) {
		connection_fail(server, connection, 400, error, "chunked body");
	} else if (body > most || connection->coded_bytes > 2 * most + SERVER_BACKLOG_BYTES) {
		connection_fail(server, connection, 413, "body is longer than max_body", "chunked body");
	} else if (result == CHUNKED_MORE) {
		/* What is kept is the head and the data, without their coding. */
		connection->head_bytes = request->head_bytes;
		connection->need = (uint32_t)out;
		if (connection->state != CONNECTION_CHUNKED)
			await_body(server, connection, request, CONNECTION_CHUNKED);
	} else {
		finish(server, connection, request, data + request->head_bytes, body);
		return in;
	}
	return 0;
}

/* A new head: decides at once, or asks for the body. */
static size_t take_request(struct server *server, struct connection *connection,
                           const struct request *request, char *data, size_t bytes)
{
	struct exchange exchange = exchange_of(server, connection, request, NULL);
	uint64_t whole = request->head_bytes + request->content_length;
	/* An answer that does not want the body does not wait for it either: then the connection
	 * has to end. */
	exchange.last = exchange.last || request->chunked || bytes < whole;
	if (!exchange_begin(&exchange)) {
		answered(server, connection, &exchange);
		return exchange.closed ? bytes : whole;
	}
	connection->route = (uint8_t)exchange.route;
	if (!request->chunked)
		return take_sized(server, connection, request, data, bytes);
	connection->chunked = (struct chunked){0};
	connection->coded_bytes = 0;
	return take_chunked(server, connection, request, data, request->head_bytes, bytes);
}

/* The bytes that came since `before` may have made the request line too long; the limit counts from
 * after the empty lines that may come before it. */
static bool passes_line(const struct server *server, size_t before, size_t bytes)
{
	size_t most = server->settings.limits.line_bytes;
	return bytes > most && before <= most + REQUEST_EMPTY_BYTES;
}

static size_t take_head(struct server *server, struct connection *connection, char *data, size_t bytes)
{
	struct request request;
	bool first = connection->began_ns == 0;
	if (first)
		connection->began_ns = server->now_ns;
	/* A head in pieces is parsed again only when its end has come or a limit is passed. */
	size_t before = connection->seen;
	if (!first && connection->input == data && !request_ready(data, bytes, &connection->seen) &&
	    bytes <= server->settings.limits.head_bytes && !passes_line(server, before, bytes))
		return 0;
	switch (request_parse(&request, data, bytes, &server->settings.limits)) {
	case REQUEST_WHOLE:
		connection->seen = 0;
		return take_request(server, connection, &request, data, bytes);
	case REQUEST_PARTIAL:
		if (first)
			connection_deadline(server, connection, server->settings.header_timeout_ns);
		return 0;
	case REQUEST_BAD:
		break;
	}
	connection_fail(server, connection, request.status, request.error, request.where);
	return bytes;
}

/* The body of a request whose head was seen before: both are in what was kept. The head is parsed
 * again, because the slices have moved. */
static size_t take_body(struct server *server, struct connection *connection, char *data, size_t bytes)
{
	struct request request;
	if (connection->state == CONNECTION_BODY && bytes < connection->need)
		return 0;
	if (request_parse(&request, data, bytes, &server->settings.limits) != REQUEST_WHOLE)
		abort(); /* it was whole before */
	if (connection->state == CONNECTION_CHUNKED)
		return take_chunked(server, connection, &request, data, connection->need, bytes);
	return take_sized(server, connection, &request, data, bytes);
}

/* ---- PROXY protocol ---- */

bool connection_enter(struct server *server, struct connection *connection)
{
	if (connection->trusted)
		return true;
	connection->counted = peers_enter(&server->peers, connection->address,
	                                  server->settings.max_connections_per_address);
	if (!connection->counted)
		server_count(server, HTTP_connections_over_cap);
	return connection->counted;
}

static size_t take_proxy(struct server *server, struct connection *connection, const char *data, size_t bytes)
{
	size_t used;
	switch (proxy_parse(data, bytes, &used, connection->address, &connection->port)) {
	case PROXY_WHOLE:
		connection->state = CONNECTION_HEAD;
		connection->trusted = client_trusted(&server->settings.trusted, connection->address);
		if (!connection_enter(server, connection))
			connection_close(server, connection, false);
		return used;
	case PROXY_PARTIAL:
		return 0;
	case PROXY_BAD:
		break;
	}
	server_count(server, HTTP_proxy_headers_bad);
	connection_close(server, connection, false);
	return 0;
}

/* ---- from bytes to answers ---- */

static size_t take_one(struct server *server, struct connection *connection, char *data, size_t bytes)
{
	switch ((enum connection_state)connection->state) {
	case CONNECTION_PROXY:
		return take_proxy(server, connection, data, bytes);
	case CONNECTION_HEAD:
		return take_head(server, connection, data, bytes);
	case CONNECTION_BODY:
	case CONNECTION_CHUNKED:
		return take_body(server, connection, data, bytes);
	default:
		return 0;
	}
}

/* Takes request after request, as long as there is room for answers. Returns the bytes that are
 * done with. */
static size_t consume(struct server *server, struct connection *connection, char *data, size_t bytes)
{
	size_t at = 0;
	while (at < bytes && connection->state < CONNECTION_LAST) {
		if (!output_ready(server, connection)) {
			if (connection->output.base == NULL)
				answer_without(server, connection);
			break;
		}
		size_t used = take_one(server, connection, data + at, bytes - at);
		if (used == 0)
			break;
		at += used;
	}
	return at;
}

/* Lets answers go, or gives their memory back when there are none. */
void connection_send(struct server *server, struct connection *connection)
{
	struct output *output = &connection->output;
	if (connection->state == CONNECTION_CLOSING || connection->sending || output->base == NULL)
		return;
	if (output->used == 0) {
		connection_drop_output(server, connection);
		return;
	}
	connection->sending = true;
	connection->sent_ns = server->now_ns;
	server->hasty |= connection->state == CONNECTION_LAST || connection->input != NULL ||
	                 connection->ended || connection->paused;
	if (connection->began_ns == 0 && connection->state <= CONNECTION_LAST)
		connection_deadline(server, connection, server->least_timeout_ns);
	transport_send(&server->transport, connection_slot(server, connection), output->base, output->used);
}

/* Bytes of the input that are still wanted: all after what is done with; of a chunked body its
 * coding is gone. */
static size_t left_over(const struct connection *connection, size_t used, size_t bytes)
{
	if (connection->state >= CONNECTION_LAST)
		return 0;
	return connection->state == CONNECTION_CHUNKED ? connection->need : bytes - used;
}

/* Works on what is kept. */
void connection_work(struct server *server, struct connection *connection)
{
	size_t used = consume(server, connection, connection->input, connection->input_bytes);
	size_t left = left_over(connection, used, connection->input_bytes);
	if (used != 0) {
		memmove(connection->input, connection->input + used, left);
		connection->seen = 0;
	}
	connection->input_bytes = (uint32_t)left;
	if (left == 0)
		connection_drop_input(server, connection);
	connection_send(server, connection);
}

/* Works on what has just come, where it lies; what is not whole is kept. */
void connection_work_in_place(struct server *server, struct connection *connection, char *data, size_t bytes)
{
	size_t used = consume(server, connection, data, bytes);
	size_t left = left_over(connection, used, bytes);
	if (left != 0 && !connection_keep(server, connection, data + used, left))
		connection_refuse(server, connection);
	connection_send(server, connection);
}
