/* The target of the load, and one connection to it: its socket, the requests in flight, and the
 * bytes not written yet.
 *
 *     DOWN --open--> CONNECTING --writable--> OPEN --broken, closed, replaced--> DOWN
 *       '-- not before retry_at_ns
 *
 *     in flight:  | oldest | ... | newest |     a ring of `pipeline` places; answers come in this order (RFC 9112, 9.3.2)
 */
#ifndef CLI_LOAD_SEND_HTTP_CONNECTION_H
#define CLI_LOAD_SEND_HTTP_CONNECTION_H

#include "cli/load/send_http.h"
#include "cli/load/send_http_answer.h"

struct send_http_target {
	struct sockaddr_storage address;
	socklen_t address_bytes;
	char host[300];                  /* for the Host field */
	char prefix[SEND_HTTP_TEXT_MAX]; /* path of a URL, without the slash at its end */
};

/* Takes "http://host:port/path" (port 80 when not given), "127.0.0.1:8080", "host", "[::1]:8080"
 * (port 8080 when not given) and "unix:/path". Of a name with several addresses it takes the first
 * that accepts a connection. Returns 0, or -EINVAL with the reason in *why. */
int send_http_target(const char *text, struct send_http_target *target, const char **why);

enum send_http_state { SEND_HTTP_DOWN, SEND_HTTP_CONNECTING, SEND_HTTP_OPEN };

struct send_http_pending {
	uint64_t number;
	uint64_t since_ns;
	uint8_t corruption;
	bool last, head, example;
};

struct send_http_connection {
	int fd; /* -1 when down */
	enum send_http_state state;
	/* its last request is in flight or answered: nothing more is sent */
	bool finishing;
	bool want_write;    /* epoll reports when it is writable */
	uint32_t oldest, n; /* in flight */
	struct send_http_pending *pending;
	char *rest; /* bytes that the socket did not take */
	size_t rest_at, rest_bytes, rest_room;
	uint64_t active_ns; /* time of the last sign of life, or start of the wait for one */
	uint64_t retry_at_ns, backoff_ns;
	struct send_http_answer answer;
};

/* Begins to connect and adds the socket to epoll, with `index` as its data. Returns 0 (CONNECTING)
 * or -errno (DOWN). */
int send_http_connection_open(struct send_http_connection *connection,
                              const struct send_http_settings *settings, int epoll, uint32_t index);

/* After the socket became writable while CONNECTING: OPEN, or -errno. */
int send_http_connection_opened(struct send_http_connection *connection, int epoll, uint32_t index);

/* Closes the socket and drops the unwritten bytes. The caller counts the requests in flight and
 * sets n to 0. */
void send_http_connection_close(struct send_http_connection *connection);

/* Sends the bytes left over, then data (bytes may be 0), and keeps the part that the socket does
 * not take. Returns 0 or -errno. */
int send_http_connection_send(struct send_http_connection *connection, int epoll, uint32_t index,
                              const char *data, size_t bytes);

/* Number of requests that may be added now. */
static inline uint32_t send_http_connection_room(const struct send_http_connection *connection,
                                                 uint32_t pipeline)
{
	if (connection->state != SEND_HTTP_OPEN || connection->finishing || connection->want_write)
		return 0;
	return pipeline - connection->n;
}

static inline struct send_http_pending *send_http_connection_add(struct send_http_connection *connection,
                                                                 uint32_t pipeline)
{
	uint32_t at = connection->oldest + connection->n++;
	return &connection->pending[at < pipeline ? at : at - pipeline];
}

static inline struct send_http_pending send_http_connection_take(struct send_http_connection *connection,
                                                                 uint32_t pipeline)
{
	struct send_http_pending pending = connection->pending[connection->oldest];
	connection->oldest = connection->oldest + 1 == pipeline ? 0 : connection->oldest + 1;
	connection->n--;
	return pending;
}

#endif
