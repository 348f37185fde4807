#include "ingest/http/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/http/connection.h"
#include "ingest/json/event.h"
#include "base/clock.h"

static struct connection *connection_at(struct server *server, uint32_t slot)
{
	return &server->connection[slot];
}

/* ---- events ---- */

static void opened(void *user, uint32_t slot, unsigned listener, const struct sockaddr_storage *peer)
{
	struct server *server = user;
	struct connection *connection = connection_at(server, slot);
	(void)listener;
	*connection = (struct connection){
	        .state = server->settings.proxy_protocol ? CONNECTION_PROXY : CONNECTION_HEAD,
	        .late = server->draining,
	        .route = ROUTE_other,
	};
	server->n_connections++;
	client_of_peer(connection->address, &connection->port, peer);
	connection->trusted =
	        peer->ss_family == AF_UNIX || client_trusted(&server->settings.trusted, connection->address);
	connection_deadline(server, connection, server->settings.header_timeout_ns);
	if (connection->state == CONNECTION_HEAD && !connection_enter(server, connection))
		connection_close(server, connection, false);
}

static void received(void *user, uint32_t slot, char *data, size_t bytes)
{
	struct server *server = user;
	struct connection *connection = connection_at(server, slot);
	if (connection->state >= CONNECTION_LAST)
		return;
	if (connection->input == NULL && !connection->sending) {
		connection_work_in_place(server, connection, data, bytes);
		return;
	}
	server->hasty = true;
	if (!connection_keep(server, connection, data, bytes)) {
		connection_refuse(server, connection);
		connection_send(server, connection);
		return;
	}
	if (!connection->sending) {
		connection_work(server, connection);
	} else if (connection->input_bytes > SERVER_BACKLOG_BYTES && !connection->paused) {
		connection->paused = true;
		transport_pause(&server->transport, slot);
	}
}

static void sent(void *user, uint32_t slot)
{
	struct server *server = user;
	struct connection *connection = connection_at(server, slot);
	connection->sending = false;
	connection->output.used = 0;
	if (connection->refused) {
		connection_refuse(server, connection);
		connection_send(server, connection);
		return;
	}
	if (connection->state < CONNECTION_LAST && connection->input_bytes != 0)
		connection_work(server, connection);
	else
		connection_drop_output(server, connection);
	if (connection->sending || connection->state == CONNECTION_CLOSING)
		return;
	if (connection->state == CONNECTION_LAST || connection->ended) {
		connection_close(server, connection, connection->linger && !connection->ended);
	} else if (connection->paused) {
		connection->paused = false;
		transport_resume(&server->transport, slot);
	}
}

static void ended(void *user, uint32_t slot, bool failed)
{
	struct server *server = user;
	struct connection *connection = connection_at(server, slot);
	connection->ended = true;
	server->hasty = true;
	if (failed || !connection->sending) {
		if (connection->began_ns != 0 || connection->sending)
			server_count(server, HTTP_connections_failed);
		connection_close(server, connection, false);
	}
}

static void closed(void *user, uint32_t slot)
{
	struct server *server = user;
	struct connection *connection = connection_at(server, slot);
	connection_drop_input(server, connection);
	connection_drop_output(server, connection);
	if (connection->counted)
		peers_leave(&server->peers, connection->address);
	wheel_set(&server->wheel, slot, 0);
	connection->state = CONNECTION_FREE;
	server->n_connections--;
}

static const struct transport_events events = {
        .opened = opened,
        .received = received,
        .sent = sent,
        .ended = ended,
        .closed = closed,
};

/* ---- time ---- */

static void answer_late(struct server *server, struct connection *connection)
{
	bool body = connection->state != CONNECTION_HEAD;
	server_count(server, HTTP_connections_late);
	connection_fail(server, connection, 408,
	                body ? "the body did not come in time" : "the head did not come in time",
	                body ? "body" : "head");
	connection_drop_input(server, connection);
	connection_send(server, connection);
}

static void end_idle(struct server *server, struct connection *connection)
{
	/* One that never sent anything has had header_timeout. */
	uint64_t until =
	        connection->sent_ns == 0 ? 0 : connection->sent_ns + server->settings.idle_timeout_ns;
	if (server->now_ns < until) {
		wheel_set(&server->wheel, connection_slot(server, connection), until);
		return;
	}
	server_count(server, HTTP_connections_idle_ended);
	connection_close(server, connection, false);
}

static void end_unread(struct server *server, struct connection *connection)
{
	uint64_t until = connection->sent_ns + server->settings.write_timeout_ns;
	if (server->now_ns < until) {
		wheel_set(&server->wheel, connection_slot(server, connection), until);
		return;
	}
	server_count(server, HTTP_connections_write_late);
	connection_close(server, connection, false);
}

static void expired(void *user, uint32_t slot)
{
	struct server *server = user;
	struct connection *connection = connection_at(server, slot);
	if (connection->state == CONNECTION_CLOSING || connection->state == CONNECTION_FREE)
		return;
	if (connection->sending)
		end_unread(server, connection);
	else if (connection->state == CONNECTION_PROXY)
		connection_close(server, connection, false);
	else if (connection->began_ns == 0)
		end_idle(server, connection);
	else
		answer_late(server, connection);
}

void server_tick(struct server *server, uint64_t now_ns)
{
	server->now_ns = now_ns;
	wheel_turn(&server->wheel, now_ns, expired, server);
}

bool server_poll(struct server *server)
{
	server->now_ns = clock_monotonic_ns();
	server->shared.outlet->arrival_ns = clock_real_ns();
	answer_set_time(server->shared.outlet->arrival_ns / NS_PER_SEC);
	server->hasty = false;
	bool any = transport_poll(&server->transport);
	bool committed = outlet_commit(server->shared.outlet);
	server->rest = any && !server->hasty && server->transport.calm;
	if (!any && !committed)
		return false;
	uint64_t turn_ns = clock_monotonic_ns() - server->now_ns;
	if (committed) {
		server_count(server, HTTP_commits);
		metrics_to_ring(&server->metrics, turn_ns);
	}
	if (any)
		metrics_turn(&server->metrics, turn_ns);
	return any;
}

void server_wait(struct server *server, uint64_t timeout_ns)
{
	if (server->rest)
		transport_rest(&server->transport, timeout_ns);
	else
		transport_wait(&server->transport, timeout_ns);
}

void server_drain(struct server *server)
{
	server->draining = true;
}

void server_end_idle(struct server *server, bool late_too)
{
	for (uint32_t slot = 0; slot < server->settings.transport.max_connections; slot++) {
		struct connection *connection = connection_at(server, slot);
		if (connection->late && !late_too)
			continue;
		if (connection->state == CONNECTION_PROXY ||
		    (connection->state == CONNECTION_HEAD && connection->began_ns == 0 &&
		     !connection->sending))
			connection_close(server, connection, true);
	}
}

void server_refuse(struct server *server)
{
	if (server->refusing)
		return;
	server->refusing = true;
	transport_refuse(&server->transport);
}

/* ---- whole ---- */

static int take_memory(struct server *server, struct shm_error *error)
{
	struct exchange_shared *shared = &server->shared;
	uint32_t n = server->settings.transport.max_connections;
	uint64_t longest = shared->settings.max_body > shared->settings.max_inflated
	                           ? shared->settings.max_body
	                           : shared->settings.max_inflated;
	server->connection = calloc(n, sizeof *server->connection);
	/* Touched only as far as a body needs it. */
	shared->scratch_bytes = json_room(longest);
	shared->scratch = malloc(shared->scratch_bytes);
	shared->inflater = inflater_create();
	shared->pool = &server->pool;
	shared->metrics = &server->metrics;
	if (server->connection != NULL && shared->scratch != NULL && shared->inflater != NULL &&
	    wheel_init(&server->wheel, n, server->now_ns) == 0 && peers_init(&server->peers, n) == 0 &&
	    pool_init(&server->pool, server->settings.request_memory) == 0 &&
	    pool_init(&server->answers, server->settings.answer_memory) == 0)
		return 0;
	shm_explain(error, "no memory for %u connections, %llu bytes of requests and %llu of answers", n,
	            (unsigned long long)server->settings.request_memory,
	            (unsigned long long)server->settings.answer_memory);
	return -ENOMEM;
}

/* What one address may hold; at least one request of any length, with what may have come after it,
 * in the block that it gets. */
static uint64_t share_of(const struct server_settings *settings, uint64_t max_body)
{
	uint64_t share = settings->request_memory / 100 * settings->request_memory_share;
	uint64_t most = settings->limits.head_bytes + max_body + SERVER_BACKLOG_BYTES +
	                2 * (uint64_t)settings->transport.buffer_bytes;
	uint64_t block = POOL_BLOCK_MIN;
	while (block < most)
		block *= 2;
	return share > block ? share : block;
}

static int prepare(struct server *server, struct shm_error *error)
{
	const struct server_settings *settings = &server->settings;
	server->now_ns = clock_monotonic_ns();
	server->least_timeout_ns = settings->idle_timeout_ns < settings->write_timeout_ns
	                                   ? settings->idle_timeout_ns
	                                   : settings->write_timeout_ns;
	server->share_bytes = share_of(settings, server->shared.settings.max_body);
	server->transport.settings = settings->transport;
	server->transport.events = &events;
	server->transport.user = server;
	int result = exchange_find_outlets(&server->shared, error);
	return result == 0 ? take_memory(server, error) : result;
}

int server_open_with(struct server *server, const struct transport_ops *ops, struct shm_error *error)
{
	int result = prepare(server, error);
	server->transport.ops = ops;
	if (result != 0)
		server_close(server);
	return result;
}

int server_open(struct server *server, const int *socket, unsigned n_sockets, struct shm_error *error)
{
	int result = n_sockets <= TRANSPORT_SOCKETS_MAX ? prepare(server, error) : -EINVAL;
	if (n_sockets > TRANSPORT_SOCKETS_MAX) {
		shm_explain(error, "%u sockets; one process takes at most %u", n_sockets,
		            TRANSPORT_SOCKETS_MAX);
		return result;
	}
	server->transport.n_sockets = n_sockets;
	for (unsigned i = 0; i < n_sockets; i++)
		server->transport.socket[i] = socket[i];
	if (result == 0)
		result = transport_open(&server->transport, error);
	if (result != 0)
		server_close(server);
	return result;
}

void server_close(struct server *server)
{
	if (server->transport.own != NULL)
		transport_shut(&server->transport);
	wheel_fini(&server->wheel);
	peers_fini(&server->peers);
	pool_fini(&server->pool);
	pool_fini(&server->answers);
	if (server->shared.inflater != NULL)
		inflater_destroy(server->shared.inflater);
	free(server->shared.scratch);
	free(server->connection);
	server->shared.inflater = NULL;
	server->shared.scratch = NULL;
	server->connection = NULL;
}
