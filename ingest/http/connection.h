/* One connection of the server: from its bytes to answers under way. Internal to server.c and
 * connection.c; the picture is in server.h.
 *
 * All of them may end the connection: look at its state afterwards.
 */
#ifndef INGEST_HTTP_CONNECTION_H
#define INGEST_HTTP_CONNECTION_H

#include "ingest/http/server.h"

static inline uint32_t connection_slot(const struct server *server, const struct connection *connection)
{
	return (uint32_t)(connection - server->connection);
}

/* Deadlines mostly move later, which costs one store (wheel.h). So an answer sets the shortest of
 * the time-outs that may follow it; when it expires, `expired` (server.c) finds out which one
 * counts. */
static inline void connection_deadline(struct server *server, const struct connection *connection,
                                       uint64_t timeout_ns)
{
	wheel_set(&server->wheel, connection_slot(server, connection), server->now_ns + timeout_ns);
}

/* Works on bytes where they lie, which may be written to: answers what is whole, keeps the rest,
 * lets answers go. Only while nothing is kept and nothing is being sent. */
void connection_work_in_place(struct server *server, struct connection *connection, char *data, size_t bytes);

/* The same with what is kept. */
void connection_work(struct server *server, struct connection *connection);

/* Appends to what is kept. False when there is no memory. */
bool connection_keep(struct server *server, struct connection *connection, const char *data, size_t bytes);

/* Lets answers go, or gives their memory back when there are none. */
void connection_send(struct server *server, struct connection *connection);

/* Counts the connection for its address. False when it has too many. */
bool connection_enter(struct server *server, struct connection *connection);

/* An answer that ends the connection, when something did not become a request. */
void connection_fail(struct server *server, struct connection *connection, unsigned status, const char *error,
                     const char *where);

/* There is no memory for what has come: answers 503, after what is under way, and ends the
 * connection. */
void connection_refuse(struct server *server, struct connection *connection);

/* Ends it: at once, or lingering until the peer has had what was sent (transport.h). */
void connection_close(struct server *server, struct connection *connection, bool linger);

/* The same, for something wrong that cannot be answered. */
void connection_break(struct server *server, struct connection *connection);

/* Give memory back. */
void connection_drop_input(struct server *server, struct connection *connection);
void connection_drop_output(struct server *server, struct connection *connection);

#endif
