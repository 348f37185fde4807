#include "cli/catch/catch.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "cli/catch/catch_log.h"
#include "cli/catch/catch_signature.h"
#include "cli/load/generator_message.h"

#define EVENTS       256
#define INPUT_BYTES  (256u << 10)
#define OUTPUT_BYTES (64u << 10)
#define KEPT_BYTES   4096u /* the least that a torn request gets */
#define TICK_NS      (100 * NS_PER_MS)
#define SWEEP_NS     NS_PER_SEC /* between two looks for idle connections */
#define LINGER_NS    NS_PER_SEC /* how long a peer may take to notice the end */
#define SPARE_FILES  64u        /* descriptors besides the connections */
#define LISTENER     UINT32_MAX

enum state { FREE, READING, DELAYED, HUNG, WRITING, LINGERING };

struct connection {
	int fd;
	uint8_t state;
	uint8_t after;  /* WRITING: READING, DELAYED or HUNG comes next */
	bool finishing; /* close after the last answer */
	bool told_go;   /* 100 Continue was sent for this request */
	bool head;      /* the delayed answer has no body */
	uint16_t status;
	uint32_t bytes, room; /* of data */
	uint32_t out_bytes, out_at;
	uint64_t active_ns, due_ns;
	uint64_t received_us; /* of the delayed request */
	char *data;           /* the beginning of a torn request, or requests after a delayed one */
	char *out;            /* answers that the socket did not take */
	struct catch_postback postback;
	struct catch_request request;
};

struct catch
{
	const struct catch_settings *settings;
	struct catch_account account;
	struct sockaddr_storage address;
	int listener, epoll;
	bool listening; /* the listener is watched */
	struct connection *connection;
	uint32_t *free; /* indexes of those that are free */
	uint32_t n_free;
	uint32_t *due; /* heap of delayed ones, the earliest first */
	uint32_t n_due;
	char *input, *output;
	size_t output_bytes, answer_room;
	uint64_t memory; /* bytes kept of all connections */
	struct generator_random random;
	uint64_t now_ns, tick_ns, sweep_ns, last_ns;
	int error;
};

/* ---- the delayed ---- */

static bool earlier(const struct catch *catch, uint32_t a, uint32_t b)
{
	return catch->connection[catch->due[a]].due_ns < catch->connection[catch->due[b]].due_ns;
}

static void swap(struct catch *catch, uint32_t a, uint32_t b)
{
	uint32_t index = catch->due[a];
	catch->due[a] = catch->due[b];
	catch->due[b] = index;
}

static void add_due(struct catch *catch, uint32_t index)
{
	uint32_t at = catch->n_due++;
	catch->due[at] = index;
	for (; at > 0 && earlier(catch, at, (at - 1) / 2); at = (at - 1) / 2)
		swap(catch, at, (at - 1) / 2);
}

static uint32_t take_due(struct catch *catch)
{
	uint32_t index = catch->due[0];
	catch->due[0] = catch->due[--catch->n_due];
	for (uint32_t at = 0, child; (child = at * 2 + 1) < catch->n_due; at = child) {
		if (child + 1 < catch->n_due && earlier(catch, child + 1, child))
			child++;
		if (!earlier(catch, child, at))
			break;
		swap(catch, child, at);
	}
	return index;
}

/* ---- connections ---- */

static void watch(struct catch *catch, uint32_t index, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.u32 = index};
	int fd = catch->connection[index].fd;
	/* One whose peer has gone during a delay is not watched any more. */
	if (epoll_ctl(catch->epoll, EPOLL_CTL_MOD, fd, &event) < 0 &&
	    (errno != ENOENT || epoll_ctl(catch->epoll, EPOLL_CTL_ADD, fd, &event) < 0))
		catch->error = -errno;
}

static void forget(struct catch *catch, char **kept, uint32_t bytes)
{
	if (*kept != NULL)
		catch->memory -= bytes;
	free(*kept);
	*kept = NULL;
}

/* Not for one that is delayed: it is in the heap. */
static void close_connection(struct catch *catch, uint32_t index)
{
	struct connection *connection = &catch->connection[index];
	close(connection->fd);
	forget(catch, &connection->data, connection->room);
	forget(catch, &connection->out, connection->out_bytes);
	connection->fd = -1;
	connection->bytes = connection->room = connection->out_bytes = connection->out_at = 0;
	connection->state = FREE;
	catch->free[catch->n_free++] = index;
}

static void listen_again(struct catch *catch, bool on)
{
	if (catch->listening == on)
		return;
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = LISTENER};
	if (epoll_ctl(catch->epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, catch->listener, &event) < 0)
		catch->error = -errno;
	catch->listening = on;
}

static void accept_all(struct catch *catch)
{
	while (catch->n_free > 0) {
		int fd = accept4(catch->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0 && errno == EAGAIN)
			return;
		if (fd < 0)
			break; /* no descriptors or memory: again at the next tick */
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
		uint32_t index = catch->free[--catch->n_free];
		struct connection *connection = &catch->connection[index];
		*connection = (struct connection){.fd = fd, .state = READING, .active_ns = catch->now_ns};
		struct epoll_event event = {.events = EPOLLIN, .data.u32 = index};
		catch->account.connections++;
		if (epoll_ctl(catch->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
			close_connection(catch, index);
	}
	listen_again(catch, false);
}

/* ---- answers ---- */

/* Adds bytes to what the connection keeps at *kept, whose room is *room. False when the memory is
 * used up. */
static bool keep(struct catch *catch, char **kept, uint32_t *room, uint32_t used, uint64_t more)
{
	uint64_t wanted = used + more;
	if (wanted <= *room)
		return true;
	uint64_t larger = *room * 2ull > wanted ? *room * 2ull : wanted;
	larger = larger > KEPT_BYTES ? larger : KEPT_BYTES;
	if (larger > UINT32_MAX || catch->memory + larger - *room > catch->settings->memory)
		return false;
	char *grown = realloc(*kept, larger);
	if (grown == NULL)
		return false;
	catch->memory += larger - *room;
	*kept = grown;
	*room = (uint32_t)larger;
	return true;
}

/* Sends the answers of the output buffer. Returns false when the connection is closed. */
static bool flush(struct catch *catch, uint32_t index)
{
	struct connection *connection = &catch->connection[index];
	size_t at = 0;
	while (at < catch->output_bytes) {
		ssize_t n = send(connection->fd, catch->output + at, catch->output_bytes - at, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		at += (size_t)n;
	}
	size_t left = catch->output_bytes - at;
	catch->output_bytes = 0;
	if (left == 0)
		return true;
	if (errno != EAGAIN || !keep(catch, &connection->out, &connection->out_bytes, 0, left)) {
		catch->account.refused += errno == EAGAIN;
		close_connection(catch, index);
		return false;
	}
	/* out_bytes is the room; what is to be sent stands at its end. */
	connection->out_at = connection->out_bytes - (uint32_t)left;
	memcpy(connection->out + connection->out_at, catch->output + at, left);
	connection->after = connection->state;
	connection->state = WRITING;
	watch(catch, index, EPOLLOUT);
	return true;
}

static void put_field(struct text *text, const char *name, const char *value)
{
	text_put(text, name, strlen(name));
	text_put(text, value, strlen(value));
	text_literal(text, "\r\n");
}

/* Writes an answer to the output buffer, which has room. */
static void put_answer(struct catch *catch, uint16_t status, bool head, bool last)
{
	const struct catch_settings *settings = catch->settings;
	struct text text = {.at = catch->output + catch->output_bytes, .end = catch->output + OUTPUT_BYTES};
	size_t body = strlen(settings->body);
	bool bodiless = status == 204 || status == 304;
	text_literal(&text, "HTTP/1.1 ");
	text_unsigned(&text, status);
	if (status < 300)
		text_literal(&text, " OK\r\n");
	else
		text_literal(&text, " As chosen\r\n");
	if (!bodiless) {
		text_literal(&text, "Content-Length: ");
		text_unsigned(&text, body);
		text_literal(&text, "\r\n");
	}
	if (settings->retry_after_s > 0 && (status == 429 || status == 503)) {
		text_literal(&text, "Retry-After: ");
		text_unsigned(&text, settings->retry_after_s);
		text_literal(&text, "\r\n");
	}
	if (settings->location != NULL && status / 100 == 3)
		put_field(&text, "Location: ", settings->location);
	if (last)
		text_literal(&text, "Connection: close\r\n");
	text_literal(&text, "\r\n");
	if (!bodiless && !head)
		text_put(&text, settings->body, body);
	catch->output_bytes = (size_t)(text.at - catch->output);
}

/* ---- requests ---- */

static double draw(struct catch *catch)
{
	return (double)(generator_draw(&catch->random) >> 11) * 0x1p-53;
}

/* Answers what the parser refused. */
static void answer_bad(struct catch *catch, struct connection *connection)
{
	catch->account.bad_requests++;
	catch->account.bad_request = connection->request.error;
	catch->account.status[connection->request.status]++;
	put_answer(catch, connection->request.status, false, true);
	connection->finishing = true;
}

/* Lets the connection wait, after answers that the socket did not take yet. */
static void hold(struct catch *catch, uint32_t index, enum state state)
{
	struct connection *connection = &catch->connection[index];
	if (connection->state == WRITING) {
		connection->after = (uint8_t)state;
		return;
	}
	connection->state = (uint8_t)state;
	if (state == DELAYED)
		add_due(catch, index);
}

/* Returns false when the connection is closed, true when it will be after the answers before. */
static bool close_unanswered(struct catch *catch, uint32_t index)
{
	struct connection *connection = &catch->connection[index];
	catch->account.closed++;
	connection->finishing = true;
	if (connection->state == WRITING)
		return true;
	close_connection(catch, index);
	return false;
}

/* Deals with a whole request at data. Returns false when the connection is closed. */
static bool take_request(struct catch *catch, uint32_t index, const char *data)
{
	struct connection *connection = &catch->connection[index];
	const struct catch_request *request = &connection->request;
	uint64_t now_us = clock_real_ns() / NS_PER_US;
	struct catch_postback postback = catch_postback_read(request, data);
	double draws[2] = {draw(catch), draw(catch)};
	struct catch_fate fate = catch_rules_fate(catch->settings->rules, data + request->target.at,
	                                          request->target.bytes, draws);
	enum catch_signature signature =
	        catch_signature_check(catch->settings->sign, catch->settings->tolerance_s, request, data,
	                              (int64_t)(now_us / 1000000));
	catch->account.signature[signature]++;
	catch_account_take(&catch->account, &postback);
	catch->last_ns = catch->now_ns;
	if (catch->settings->log != NULL) {
		int error = catch_log_write(catch->settings->log, request, data, &postback, &fate, signature,
		                            now_us);
		catch->error = error != 0 ? error : catch->error;
	}
	connection->finishing = request->close;
	if (!fate.closes && !fate.hangs && fate.delay_ns == 0) {
		put_answer(catch, fate.status, request->head, request->close);
		catch_account_answered(&catch->account, &postback, fate.status, now_us);
		return true;
	}
	if (!flush(catch, index)) /* the answers before this one do not wait */
		return false;
	if (fate.closes)
		return close_unanswered(catch, index);
	connection->postback = postback;
	connection->status = fate.status;
	connection->head = request->head;
	connection->received_us = now_us;
	connection->due_ns = catch->now_ns + fate.delay_ns;
	catch->account.hung += fate.hangs;
	hold(catch, index, fate.hangs ? HUNG : DELAYED);
	return true;
}

/* Tells a client that waits to go on with its body. */
static void tell_go(struct catch *catch, struct connection *connection)
{
	static const char go[] = "HTTP/1.1 100 Continue\r\n\r\n";
	if (!connection->request.wants_go || connection->told_go ||
	    !catch_request_in_body(&connection->request))
		return;
	connection->told_go = true;
	memcpy(catch->output + catch->output_bytes, go, sizeof go - 1);
	catch->output_bytes += sizeof go - 1;
}

/* Takes the requests in data. Sets *used to the bytes that are done with, and *bytes to how many
 * there are. Returns false when the connection is closed. */
static bool take_requests(struct catch *catch, uint32_t index, char *data, uint32_t *bytes, uint32_t *used)
{
	struct connection *connection = &catch->connection[index];
	*used = 0;
	while (connection->state == READING && !connection->finishing && *used < *bytes) {
		if (OUTPUT_BYTES - catch->output_bytes < catch->answer_room && !flush(catch, index))
			return false;
		if (connection->state != READING)
			break;
		uint32_t left = *bytes - *used;
		enum catch_request_result result = catch_request_parse(&connection->request, data + *used,
		                                                       &left, &catch->settings->limits);
		*bytes = *used + left;
		if (result == CATCH_MORE) {
			tell_go(catch, connection);
			break;
		}
		if (result == CATCH_BAD) {
			answer_bad(catch, connection);
			break;
		}
		if (!take_request(catch, index, data + *used))
			return false;
		*used += connection->request.used;
		connection->request = (struct catch_request){0};
		connection->told_go = false;
	}
	return true;
}

/* Keeps what is left of data. Returns false when the connection is closed. */
static bool keep_left(struct catch *catch, uint32_t index, const char *data, uint32_t left)
{
	struct connection *connection = &catch->connection[index];
	if (left == 0) {
		forget(catch, &connection->data, connection->room);
		connection->bytes = connection->room = 0;
		return true;
	}
	if (!keep(catch, &connection->data, &connection->room, 0, left)) {
		catch->account.refused++;
		close_connection(catch, index);
		return false;
	}
	memmove(connection->data, data, left);
	connection->bytes = left;
	return true;
}

/* Sets what epoll watches for, by the state after requests were taken. */
static void settle(struct catch *catch, uint32_t index, bool was_reading)
{
	struct connection *connection = &catch->connection[index];
	if (connection->finishing && connection->state == READING) {
		/* Closing with bytes unread would take the answer back (RFC 9112, 9.6). */
		shutdown(connection->fd, SHUT_WR);
		connection->state = LINGERING;
		connection->active_ns = catch->now_ns;
		watch(catch, index, EPOLLIN);
	} else if (connection->state == READING && !was_reading) {
		watch(catch, index, EPOLLIN);
	} else if (connection->state == DELAYED && was_reading) {
		watch(catch, index, 0);
	} else if (connection->state == HUNG) {
		watch(catch, index, EPOLLRDHUP);
	}
}

/* Takes the requests in data, which is the shared buffer or the connection's own, sends the answers
 * and keeps the rest. */
static void proceed(struct catch *catch, uint32_t index, char *data, uint32_t bytes, bool was_reading)
{
	uint32_t used;
	if (!take_requests(catch, index, data, &bytes, &used) || !flush(catch, index) ||
	    !keep_left(catch, index, data + used, bytes - used))
		return;
	settle(catch, index, was_reading);
}

/* The same with the requests that the connection kept. */
static void proceed_own(struct catch *catch, uint32_t index)
{
	struct connection *connection = &catch->connection[index];
	proceed(catch, index, connection->data != NULL ? connection->data : catch->input, connection->bytes,
	        false);
}

/* Drops what a peer still sends after the last answer, until it closes. */
static void linger(struct catch *catch, uint32_t index)
{
	ssize_t n = recv(catch->connection[index].fd, catch->input, INPUT_BYTES, 0);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		close_connection(catch, index);
}

static void receive(struct catch *catch, uint32_t index)
{
	struct connection *connection = &catch->connection[index];
	char *data = catch->input;
	uint32_t before = connection->bytes, room = INPUT_BYTES;
	if (before > 0) {
		if (!keep(catch, &connection->data, &connection->room, before, before / 2 + 1024)) {
			catch->account.refused++;
			close_connection(catch, index);
			return;
		}
		data = connection->data;
		room = connection->room;
	}
	ssize_t n = recv(connection->fd, data + before, room - before, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		catch->account.cut += before > 0;
		close_connection(catch, index);
		return;
	}
	catch->account.bytes += (uint64_t)n;
	connection->active_ns = catch->now_ns;
	proceed(catch, index, data, before + (uint32_t)n, true);
}

/* Sends answers that waited. */
static void write_more(struct catch *catch, uint32_t index)
{
	struct connection *connection = &catch->connection[index];
	ssize_t n = send(connection->fd, connection->out + connection->out_at,
	                 connection->out_bytes - connection->out_at, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		close_connection(catch, index);
		return;
	}
	connection->out_at += n > 0 ? (uint32_t)n : 0;
	if (connection->out_at < connection->out_bytes)
		return;
	forget(catch, &connection->out, connection->out_bytes);
	connection->out_bytes = connection->out_at = 0;
	connection->active_ns = catch->now_ns;
	connection->state = READING;
	if (connection->after != READING) {
		hold(catch, index, (enum state)connection->after);
		settle(catch, index, true);
		return;
	}
	proceed_own(catch, index);
}

/* Answers the delayed requests that are due. */
static void answer_due(struct catch *catch)
{
	while (catch->n_due > 0 && catch->connection[catch->due[0]].due_ns <= catch->now_ns) {
		uint32_t index = take_due(catch);
		struct connection *connection = &catch->connection[index];
		connection->state = READING;
		connection->active_ns = catch->now_ns;
		put_answer(catch, connection->status, connection->head, connection->finishing);
		catch_account_answered(&catch->account, &connection->postback, connection->status,
		                       connection->received_us);
		proceed_own(catch, index);
	}
}

static void handle_event(struct catch *catch, const struct epoll_event *event)
{
	uint32_t index = event->data.u32;
	if (index == LISTENER) {
		accept_all(catch);
		return;
	}
	switch (catch->connection[index].state) {
	case READING:
		receive(catch, index);
		break;
	case WRITING:
		write_more(catch, index);
		break;
	case LINGERING:
		linger(catch, index);
		break;
	case HUNG:
		close_connection(catch, index);
		break;
	case DELAYED: /* the peer has gone: the answer will find that out */
		epoll_ctl(catch->epoll, EPOLL_CTL_DEL, catch->connection[index].fd, NULL);
		catch->connection[index].finishing = true;
		break;
	default:
		break;
	}
}

/* ---- the loop ---- */

/* Closes connections on which nothing comes. */
static void sweep(struct catch *catch)
{
	for (uint32_t i = 0; i < catch->settings->connections; i++) {
		const struct connection *connection = &catch->connection[i];
		uint64_t idle_ns = catch->now_ns - connection->active_ns;
		bool waits = connection->state == READING || connection->state == WRITING;
		if (waits && idle_ns > catch->settings->idle_ns) {
			catch->account.idle++;
			close_connection(catch, i);
		} else if (connection->state == LINGERING && idle_ns > LINGER_NS) {
			close_connection(catch, i);
		}
	}
	catch->sweep_ns = catch->now_ns + SWEEP_NS;
}

static void tick(struct catch *catch)
{
	if (catch->now_ns >= catch->sweep_ns)
		sweep(catch);
	listen_again(catch, catch->n_free > 0);
	catch->tick_ns = catch->now_ns + TICK_NS;
}

static void print_progress(const struct catch_account *account, uint64_t *before)
{
	fprintf(stderr, "received %llu (+%llu), delivered %llu, duplicates %llu\n",
	        (unsigned long long)account->received, (unsigned long long)(account->received - *before),
	        (unsigned long long)account->delivered, (unsigned long long)account->duplicates);
	*before = account->received;
}

static bool ended(const struct catch *catch, const struct catch_until *until, uint64_t begun_ns)
{
	const struct catch_account *account = &catch->account;
	uint64_t since = catch->last_ns > begun_ns ? catch->last_ns : begun_ns;
	return (until->delivered > 0 && account->delivered >= until->delivered) ||
	       (until->complete && account->missing == 0) ||
	       (until->duration_ns > 0 && catch->now_ns >= begun_ns + until->duration_ns) ||
	       (until->quiet_ns > 0 && (account->received > 0 || until->complete) &&
	        catch->now_ns >= since + until->quiet_ns);
}

static int wait_ms(const struct catch *catch)
{
	uint64_t next = catch->tick_ns;
	if (catch->n_due > 0 && catch->connection[catch->due[0]].due_ns < next)
		next = catch->connection[catch->due[0]].due_ns;
	return next > catch->now_ns ? (int)((next - catch->now_ns + NS_PER_MS - 1) / NS_PER_MS) : 0;
}

int catch_run(struct catch *catch, const struct catch_until *until, const volatile bool *stop)
{
	struct epoll_event events[EVENTS];
	uint64_t begun_ns = clock_monotonic_ns(), told_ns = begun_ns, before = catch->account.received;
	catch->now_ns = begun_ns;
	while (!*stop && catch->error == 0 && !ended(catch, until, begun_ns)) {
		int n = epoll_wait(catch->epoll, events, EVENTS, wait_ms(catch));
		if (n < 0 && errno != EINTR)
			return -errno;
		catch->now_ns = clock_monotonic_ns();
		for (int i = 0; i < n; i++)
			handle_event(catch, &events[i]);
		answer_due(catch);
		if (catch->now_ns >= catch->tick_ns)
			tick(catch);
		if (until->progress && catch->now_ns >= told_ns + NS_PER_SEC) {
			print_progress(&catch->account, &before);
			told_ns = catch->now_ns;
		}
	}
	return catch->error;
}

/* ---- open and close ---- */

struct catch_settings catch_defaults(const struct catch_rules *rules)
{
	struct catch_settings settings = {.connections = 10000,
	                                  .limits = {.head_bytes = 16384, .body_bytes = 1 << 20},
	                                  .memory = 256 << 20,
	                                  .idle_ns = 600 * NS_PER_SEC,
	                                  .entries = 10000000,
	                                  .rules = rules,
	                                  .body = ""};
	struct sockaddr_in *address = (struct sockaddr_in *)&settings.address;
	address->sin_family = AF_INET;
	address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	settings.address_bytes = sizeof *address;
	return settings;
}

static int raise_limit(uint32_t connections)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return -errno;
	if (limit.rlim_cur >= connections + SPARE_FILES)
		return 0;
	limit.rlim_cur = limit.rlim_max; /* fewer than wanted: more connections wait in the kernel */
	return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? -errno : 0;
}

static int listen_at(struct catch *catch)
{
	const struct catch_settings *settings = catch->settings;
	socklen_t bytes = sizeof catch->address;
	catch->listener = socket(settings->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (catch->listener < 0)
		return -errno;
	setsockopt(catch->listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	if (bind(catch->listener, (const struct sockaddr *)&settings->address, settings->address_bytes) < 0 ||
	    listen(catch->listener, 4096) < 0 ||
	    getsockname(catch->listener, (struct sockaddr *)&catch->address, &bytes) < 0)
		return -errno;
	listen_again(catch, true);
	return catch->error;
}

static int prepare(struct catch *catch)
{
	const struct catch_settings *settings = catch->settings;
	int error = raise_limit(settings->connections);
	if (error == 0)
		error = catch_account_init(&catch->account, settings->entries);
	catch->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (error != 0 || catch->epoll < 0)
		return error != 0 ? error : -errno;
	catch->connection = calloc(settings->connections, sizeof *catch->connection);
	catch->free = calloc(settings->connections, sizeof *catch->free);
	catch->due = calloc(settings->connections, sizeof *catch->due);
	catch->input = malloc(INPUT_BYTES);
	catch->output = malloc(OUTPUT_BYTES);
	if (catch->connection == NULL || catch->free == NULL || catch->due == NULL || catch->input == NULL ||
	    catch->output == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < settings->connections; i++) {
		catch->connection[i].fd = -1;
		catch->free[catch->n_free++] = settings->connections - 1 - i;
	}
	catch->answer_room = 512 + strlen(settings->body);
	if (settings->location != NULL)
		catch->answer_room += strlen(settings->location);
	return catch->answer_room <= OUTPUT_BYTES / 2 ? listen_at(catch) : -E2BIG;
}

int catch_open(struct catch **made, const struct catch_settings *settings)
{
	struct catch *catch = calloc(1, sizeof *catch);
	if (catch == NULL)
		return -ENOMEM;
	catch->settings = settings;
	catch->listener = catch->epoll = -1;
	catch->random.state = settings->seed;
	int error = prepare(catch);
	if (error != 0)
		catch_close(catch);
	else
		*made = catch;
	return error;
}

void catch_close(struct catch *catch)
{
	for (uint32_t i = 0; catch->connection != NULL && i < catch->settings->connections; i++)
		if (catch->connection[i].fd >= 0)
			close_connection(catch, i);
	if (catch->listener >= 0)
		close(catch->listener);
	if (catch->epoll >= 0)
		close(catch->epoll);
	catch_account_fini(&catch->account);
	free(catch->connection);
	free(catch->free);
	free(catch->due);
	free(catch->input);
	free(catch->output);
	free(catch);
}

const struct sockaddr_storage *catch_address(const struct catch *catch)
{
	return &catch->address;
}

struct catch_account *catch_account_of(struct catch *catch)
{
	return &catch->account;
}
