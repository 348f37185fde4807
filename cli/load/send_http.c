#include "cli/load/send_http.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/load/send_http_connection.h"

#define EVENTS         256
#define INPUT_BYTES    (256u << 10)
#define OUTPUT_BYTES   (256u << 10)
#define TICK_NS        (100 * NS_PER_MS) /* between two checks of time-outs */
#define TICK_DOWN_NS   (10 * NS_PER_MS)  /* the same while connections are down */
#define START_NS       NS_PER_SEC        /* longest wait of the first request for all connections */
#define BACKOFF_NS     (10 * NS_PER_MS)  /* before the second attempt to connect; doubles */
#define BACKOFF_MAX_NS (500 * NS_PER_MS)
#define TIMER_SLACK_NS 1000ul /* the default of 50 us would be in every latency of a paced run */
#define SPARE_FILES    64u    /* descriptors besides the connections */

struct load {
	const struct send_http_settings *settings;
	struct send_http_result *result;
	int epoll;
	struct send_http_connection *connection;
	struct send_http_pending *pending;
	char *input, *output;
	size_t output_bytes, room; /* size of output; room for one request */
	uint64_t now_ns, begun_ns, end_ns, tick_ns;
	uint64_t made;     /* numbers used so far: 0 .. made - 1 */
	uint64_t released; /* requests sent, repetitions included; the pace counts these */
	uint64_t in_flight;
	uint64_t open_ns; /* time when a connection was last open */
	uint64_t *again;  /* numbers to repeat */
	size_t n_again, again_room;
	uint32_t n_open, turn;
	bool started; /* the connections are open, the clock runs */
	bool enough;  /* no more requests are sent */
	int connect_error;
};

/* ---- counting answers ---- */

/* The number after "accepted" in the first bytes of the body, or `otherwise`. */
static uint64_t accepted(const struct send_http_answer *answer, uint64_t otherwise)
{
	size_t bytes =
	        answer->body_bytes < sizeof answer->body ? (size_t)answer->body_bytes : sizeof answer->body;
	static const char key[] = "\"accepted\":";
	const char *at = memmem(answer->body, bytes, key, sizeof key - 1), *end = answer->body + bytes;
	if (at == NULL)
		return otherwise;
	uint64_t number = 0;
	for (at += sizeof key - 1; at < end && *at == ' ';)
		at++;
	for (; at < end && *at >= '0' && *at <= '9'; at++)
		number = number * 10 + (uint64_t)(*at - '0');
	return number;
}

static bool expected(const struct send_http_settings *settings, const struct send_http_pending *pending,
                     const struct send_http_answer *answer)
{
	if (pending->corruption != SEND_HTTP_VALID)
		return answer->status >= 400 && answer->status <= 499;
	if (answer->status < 200 || answer->status > 299)
		return false;
	uint32_t batch = settings->request.batch;
	enum send_http_route route = settings->request.route;
	bool counted = route == SEND_HTTP_BATCH || route == SEND_HTTP_INGEST || route == SEND_HTTP_POSTBACK;
	return !counted || accepted(answer, batch) == batch;
}

static int write_numbers(const struct send_http_settings *settings, const struct send_http_pending *pending)
{
	uint64_t first = send_http_request_first(&settings->request, pending->number);
	for (uint32_t i = 0; i < settings->request.batch; i++) {
		char line[24];
		struct send_http_text text = {line};
		send_http_put_number(&text, pending->example ? SEND_HTTP_EXAMPLE : first + i);
		send_http_put(&text, "\n");
		size_t bytes = (size_t)(text.at - line);
		if (fwrite_unlocked(line, 1, bytes, settings->acknowledged) < bytes)
			return errno != 0 ? -errno : -EIO;
	}
	return 0;
}

static void count_retry_after(struct send_http_result *result, uint32_t seconds)
{
	if (result->retry_after++ == 0 || seconds < result->retry_after_min_s)
		result->retry_after_min_s = seconds;
	if (seconds > result->retry_after_max_s)
		result->retry_after_max_s = seconds;
}

/* Counts the answer to a request: expected or not, acknowledged or not, and its latency. Returns 0,
 * or -errno when it cannot write the acknowledged numbers. */
static int account(const struct send_http_settings *settings, struct send_http_result *result,
                   const struct send_http_pending *pending, const struct send_http_answer *answer,
                   uint64_t now_ns)
{
	result->answered++;
	result->code[answer->status]++;
	result->corrupted[pending->corruption]++;
	send_http_histogram_add(&result->latency,
	                        now_ns > pending->since_ns ? now_ns - pending->since_ns : 0);
	if (answer->status == 503 && answer->retry_after)
		count_retry_after(result, answer->retry_after_s);
	if (!expected(settings, pending, answer)) {
		result->unexpected++;
		result->unexpected_of[pending->corruption]++;
		result->unexpected_code[pending->corruption] = answer->status;
		return 0;
	}
	if (pending->corruption != SEND_HTTP_VALID)
		return 0;
	result->acknowledged += settings->request.batch;
	return settings->acknowledged != NULL ? write_numbers(settings, pending) : 0;
}

/* ---- the next request ---- */

static uint64_t left(const struct load *load)
{
	return load->enough ? 0 : load->settings->count - load->made + load->n_again;
}

static uint64_t due_ns(const struct load *load, uint64_t n)
{
	return load->begun_ns + (uint64_t)((double)n * 1e9 / (double)load->settings->rate);
}

/* How many requests are due and not released yet. */
static uint64_t wanted(const struct load *load)
{
	uint64_t n = load->started ? left(load) : 0;
	if (load->settings->rate == 0 || n == 0)
		return n;
	uint64_t due =
	        1 + (uint64_t)((double)(load->now_ns - load->begun_ns) * (double)load->settings->rate / 1e9);
	uint64_t late = due > load->released ? due - load->released : 0;
	return late < n ? late : n;
}

static uint64_t next_number(struct load *load)
{
	if (load->n_again == 0)
		return load->made++;
	load->result->repeated++;
	return load->again[--load->n_again];
}

static void repeat_later(struct load *load, uint64_t number)
{
	if (load->n_again == load->again_room) {
		size_t room = load->again_room * 2 + 256;
		uint64_t *larger = realloc(load->again, room * sizeof *larger);
		if (larger == NULL) {
			load->result->error = -ENOMEM;
			return;
		}
		load->again = larger;
		load->again_room = room;
	}
	load->again[load->n_again++] = number;
}

/* ---- one connection ---- */

/* Counts the requests in flight on a connection that ends as lost. With retry, it repeats them. */
static void lose_pending(struct load *load, struct send_http_connection *connection)
{
	uint32_t pipeline = load->settings->pipeline;
	while (connection->n > 0) {
		struct send_http_pending pending = send_http_connection_take(connection, pipeline);
		load->result->unanswered++;
		load->in_flight--;
		if (load->settings->retry)
			repeat_later(load, pending.number);
	}
}

static void connect_failed(struct load *load, struct send_http_connection *connection, int error)
{
	bool first = load->result->opened == 0 && error != -EAGAIN;
	load->result->refused++;
	load->connect_error = error;
	if (first || error == -EMFILE || error == -ENFILE || error == -ENOMEM)
		load->result->error = error;
	send_http_connection_close(connection);
	connection->retry_at_ns = load->now_ns + connection->backoff_ns;
	connection->backoff_ns *= 2;
	if (connection->backoff_ns > BACKOFF_MAX_NS)
		connection->backoff_ns = BACKOFF_MAX_NS;
}

static void open_one(struct load *load, uint32_t index)
{
	struct send_http_connection *connection = &load->connection[index];
	int error = send_http_connection_open(connection, load->settings, load->epoll, index);
	connection->active_ns = load->now_ns;
	if (error != 0)
		connect_failed(load, connection, error);
}

/* Closes the connection, and connects again when there is work left. */
static void replace(struct load *load, uint32_t index)
{
	struct send_http_connection *connection = &load->connection[index];
	load->n_open -= connection->state == SEND_HTTP_OPEN;
	if (connection->n > 0)
		load->result->broken++;
	lose_pending(load, connection);
	send_http_connection_close(connection);
	connection->backoff_ns = BACKOFF_NS;
	connection->retry_at_ns = load->now_ns;
	if (left(load) > 0)
		open_one(load, index);
}

static void send_bytes(struct load *load, uint32_t index, size_t bytes)
{
	struct send_http_connection *connection = &load->connection[index];
	load->result->bytes_sent += bytes;
	int error = send_http_connection_send(connection, load->epoll, index, load->output, bytes);
	if (error == -ENOMEM)
		load->result->error = error;
	/* Data that the peer wrote before it closed may still be unread. The read path notices the
	 * end. */
}

/* Makes and sends up to n requests. */
static void fill(struct load *load, uint32_t index, uint64_t n)
{
	const struct send_http_settings *settings = load->settings;
	struct send_http_connection *connection = &load->connection[index];
	uint32_t space = send_http_connection_room(connection, settings->pipeline);
	size_t bytes = 0;
	for (n = n < space ? n : space; n > 0 && !connection->finishing; n--) {
		if (load->output_bytes - bytes < load->room) {
			send_bytes(load, index, bytes);
			bytes = 0;
		}
		uint64_t number = next_number(load);
		struct send_http_request request =
		        send_http_request_make(&settings->request, number, load->output + bytes);
		bytes += request.bytes;
		if (connection->n == 0) {
			connection->active_ns = load->now_ns;
			if (!connection->answer.begun)
				send_http_answer_begin(&connection->answer, request.head);
		}
		*send_http_connection_add(connection, settings->pipeline) = (struct send_http_pending){
		        .number = number,
		        .since_ns = settings->rate > 0 ? due_ns(load, load->released) : load->now_ns,
		        .corruption = request.corruption,
		        .last = request.last,
		        .head = request.head,
		        .example = request.example};
		connection->finishing = request.last;
		load->released++;
		load->in_flight++;
		load->result->sent++;
	}
	if (bytes > 0)
		send_bytes(load, index, bytes);
}

/* Handles a complete answer. Returns false when the connection was replaced. */
static bool take_answer(struct load *load, uint32_t index)
{
	struct send_http_connection *connection = &load->connection[index];
	struct send_http_answer *answer = &connection->answer;
	bool over = answer->close, last = false;
	if (connection->n == 0) {
		load->result->unasked++;
		load->result->code[answer->status]++;
	} else {
		struct send_http_pending pending =
		        send_http_connection_take(connection, load->settings->pipeline);
		load->in_flight--;
		last = pending.last;
		int error = account(load->settings, load->result, &pending, answer, load->now_ns);
		if (error != 0)
			load->result->error = error;
	}
	send_http_answer_begin(answer, connection->n > 0 && connection->pending[connection->oldest].head);
	/* A server that announces the close closes the connection itself. Otherwise the client
	 * closes it after the last request. */
	if (last && !over) {
		replace(load, index);
		return false;
	}
	if (over)
		connection->finishing = true;
	return true;
}

/* Parses the received bytes. Returns false when the connection was replaced. */
static bool take_input(struct load *load, uint32_t index, size_t bytes)
{
	struct send_http_connection *connection = &load->connection[index];
	connection->active_ns = load->now_ns;
	load->result->bytes_received += bytes;
	for (size_t at = 0, used; at < bytes; at += used) {
		switch (send_http_answer_feed(&connection->answer, load->input + at, bytes - at, &used)) {
		case SEND_HTTP_ANSWER_MORE:
			break;
		case SEND_HTTP_ANSWER_DONE:
			if (!take_answer(load, index))
				return false;
			break;
		case SEND_HTTP_ANSWER_BAD:
			load->result->bad_answers++;
			load->result->bad_answer = connection->answer.error;
			replace(load, index);
			return false;
		}
	}
	return true;
}

static void end_of_input(struct load *load, uint32_t index, bool reset)
{
	struct send_http_connection *connection = &load->connection[index];
	enum send_http_answer_result result = send_http_answer_end(&connection->answer);
	if (result == SEND_HTTP_ANSWER_DONE && !reset && !take_answer(load, index))
		return;
	if (result == SEND_HTTP_ANSWER_BAD && connection->n == 0)
		load->result->broken++;
	replace(load, index);
}

/* Returns false when the connection was replaced. */
static bool receive(struct load *load, uint32_t index)
{
	struct send_http_connection *connection = &load->connection[index];
	for (;;) {
		ssize_t n = recv(connection->fd, load->input, INPUT_BYTES, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n <= 0) {
			end_of_input(load, index, n < 0);
			return false;
		}
		load->now_ns = clock_monotonic_ns();
		if (!take_input(load, index, (size_t)n))
			return false;
		if ((size_t)n < INPUT_BYTES)
			return true;
	}
}

static void handle_event(struct load *load, uint32_t index, uint32_t events)
{
	struct send_http_connection *connection = &load->connection[index];
	if (connection->state == SEND_HTTP_CONNECTING) {
		int error = send_http_connection_opened(connection, load->epoll, index);
		if (error != 0) {
			connect_failed(load, connection, error);
			return;
		}
		load->result->opened++;
		load->n_open++;
		connection->backoff_ns = BACKOFF_NS;
	} else {
		if (events & EPOLLOUT)
			send_bytes(load, index, 0);
		if (events & (EPOLLIN | EPOLLERR | EPOLLHUP) && !receive(load, index))
			return;
	}
	if (load->settings->rate == 0)
		fill(load, index, wanted(load));
}

/* ---- the loop ---- */

/* Lets the connections send the due requests, in turn. */
static void send_due(struct load *load)
{
	uint64_t n = load->settings->rate > 0 ? wanted(load) : 0;
	if (n == 0 || load->n_open == 0)
		return;
	uint64_t share = n / load->n_open + 1;
	for (uint32_t i = 0; i < load->settings->connections && n > 0; i++) {
		uint64_t before = load->released;
		fill(load, load->turn, share < n ? share : n);
		n -= load->released - before;
		load->turn = load->turn + 1 == load->settings->connections ? 0 : load->turn + 1;
	}
}

static void check_time(struct load *load, uint32_t index)
{
	struct send_http_connection *connection = &load->connection[index];
	bool late = load->now_ns > connection->active_ns + load->settings->timeout_ns;
	if (connection->state == SEND_HTTP_DOWN) {
		if (load->now_ns >= connection->retry_at_ns && left(load) > 0)
			open_one(load, index);
	} else if (connection->state == SEND_HTTP_CONNECTING && late) {
		connect_failed(load, connection, -ETIMEDOUT);
	} else if (late && (connection->n > 0 || connection->finishing)) {
		load->result->timeouts += connection->n > 0;
		replace(load, index);
	}
}

static void tick(struct load *load)
{
	for (uint32_t i = 0; i < load->settings->connections && load->result->error == 0; i++)
		check_time(load, i);
	if (load->n_open > 0)
		load->open_ns = load->now_ns;
	else if (left(load) > 0 && load->now_ns > load->open_ns + load->settings->timeout_ns)
		load->result->error = load->connect_error != 0 ? load->connect_error : -ETIMEDOUT;
	load->tick_ns = load->now_ns + (load->n_open < load->settings->connections ? TICK_DOWN_NS : TICK_NS);
}

/* Starts the clock when all are connected, one was refused, or START_NS has passed. */
static void start(struct load *load)
{
	const struct send_http_settings *settings = load->settings;
	if (load->n_open < settings->connections && load->result->refused == 0 &&
	    load->now_ns < load->begun_ns + START_NS)
		return;
	load->started = true;
	load->begun_ns = load->now_ns;
	if (__builtin_add_overflow(load->begun_ns, settings->duration_ns, &load->end_ns))
		load->end_ns = UINT64_MAX;
	for (uint32_t i = 0; settings->rate == 0 && i < settings->connections; i++)
		fill(load, i, wanted(load));
}

/* Waits until the next request is due, or for the next tick. */
static int wait_events(struct load *load, struct epoll_event *events)
{
	uint64_t until = load->tick_ns;
	if (load->settings->rate > 0 && left(load) > 0 && wanted(load) == 0) {
		uint64_t due = due_ns(load, load->released);
		until = due < until ? due : until;
	}
	until = load->end_ns < until && !load->enough ? load->end_ns : until;
	uint64_t ns = until > load->now_ns ? until - load->now_ns : 0;
	if (load->settings->rate == 0)
		return epoll_wait(load->epoll, events, EVENTS, (int)((ns + NS_PER_MS - 1) / NS_PER_MS));
	if (ns > 0) { /* finer than epoll_wait's milliseconds */
		struct pollfd ready = {.fd = load->epoll, .events = POLLIN};
		struct timespec time = {.tv_sec = (time_t)(ns / NS_PER_SEC),
		                        .tv_nsec = (long)(ns % NS_PER_SEC)};
		if (ppoll(&ready, 1, &time, NULL) <= 0)
			return 0;
	}
	return epoll_wait(load->epoll, events, EVENTS, 0);
}

static void run(struct load *load, const volatile bool *stop)
{
	struct epoll_event events[EVENTS];
	for (uint32_t i = 0; i < load->settings->connections && load->result->error == 0; i++)
		open_one(load, i);
	while (load->result->error == 0) {
		load->now_ns = clock_monotonic_ns();
		load->enough |= *stop || load->now_ns >= load->end_ns;
		if (left(load) == 0 && load->in_flight == 0)
			break;
		if (!load->started)
			start(load);
		send_due(load);
		int n = wait_events(load, events);
		uint64_t waited_ns = load->now_ns = clock_monotonic_ns();
		for (int i = 0; i < n && load->result->error == 0; i++)
			handle_event(load, events[i].data.u32, events[i].events);
		/* All answers that came before now are read, unless there were more than fit. So no
		 * connection times out because this process was late. */
		load->now_ns = waited_ns;
		if (waited_ns >= load->tick_ns + (n == EVENTS ? NS_PER_SEC : 0))
			tick(load);
	}
	load->result->elapsed_ns = clock_monotonic_ns() - load->begun_ns;
}

/* Raises the limit on descriptors to what the connections need, where the hard limit allows it. */
static int raise_limit(uint32_t connections)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return -errno;
	if (limit.rlim_cur >= connections + SPARE_FILES)
		return 0;
	if (limit.rlim_max < connections + SPARE_FILES)
		return -EMFILE;
	limit.rlim_cur = limit.rlim_max;
	return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? -errno : 0;
}

static int prepare(struct load *load)
{
	const struct send_http_settings *settings = load->settings;
	load->room = send_http_request_room(&settings->request);
	load->output_bytes = load->room > OUTPUT_BYTES ? load->room : OUTPUT_BYTES;
	load->connection = calloc(settings->connections, sizeof *load->connection);
	load->pending = calloc((size_t)settings->connections * settings->pipeline, sizeof *load->pending);
	load->input = malloc(INPUT_BYTES);
	load->output = malloc(load->output_bytes);
	load->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (load->epoll < 0)
		return -errno;
	if (load->connection == NULL || load->pending == NULL || load->input == NULL || load->output == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < settings->connections; i++) {
		load->connection[i].fd = -1;
		load->connection[i].backoff_ns = BACKOFF_NS;
		load->connection[i].pending = load->pending + (size_t)i * settings->pipeline;
	}
	prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS);
	load->begun_ns = load->now_ns = load->open_ns = clock_monotonic_ns();
	load->tick_ns = load->begun_ns + TICK_DOWN_NS;
	load->end_ns = UINT64_MAX; /* until the clock starts */
	return raise_limit(settings->connections);
}

void send_http_run(const struct send_http_settings *settings, struct send_http_result *result,
                   const volatile bool *stop)
{
	struct load load = {.settings = settings, .result = result, .epoll = -1};
	memset(result, 0, sizeof *result);
	result->error = prepare(&load);
	if (result->error == 0)
		run(&load, stop);
	for (uint32_t i = 0; load.connection != NULL && i < settings->connections; i++) {
		lose_pending(&load, &load.connection[i]);
		send_http_connection_close(&load.connection[i]);
	}
	if (load.epoll >= 0)
		close(load.epoll);
	free(load.connection);
	free(load.pending);
	free(load.input);
	free(load.output);
	free(load.again);
}

bool send_http_as_expected(const struct send_http_result *result)
{
	return result->error == 0 && result->unexpected == 0 && result->unasked == 0 &&
	       result->bad_answers == 0 && result->answered > 0 && result->unanswered == result->repeated;
}
