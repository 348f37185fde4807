#include "bench/deliver_stage.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench/http_server.h"

#define STAGE      "deliver.0"
#define BATCH      500u                 /* postbacks in a request */
#define LOOK_US    1000u                /* between looks at the counter, by the processor of the stage */
#define PATIENCE_S 120u                 /* for a turn */
#define BODY_MAX   (BATCH * 64u + 512u) /* bytes */

static struct {
	struct http_server millrace, deliver; /* deliver: its process, for its processor time */
	unsigned port;
} s;

static void fail(const char *what, const char *why)
{
	fprintf(stderr, "bench-deliver: %s: %s\n", what, why);
	exit(1);
}

void deliver_stage_start(unsigned port, unsigned connections, unsigned most, bool curl)
{
	char further[600];
	unsigned slots = 16384;
	cpu_set_t set;
	while (slots / 4 < most)
		slots *= 2;
	/* room for a whole turn in memory: what is measured is delivering, not deliver.db */
	snprintf(
	        further, sizeof further,
	        "stage_timeout: 0\n"
	        "queues: {postback: {slots: %u, slot_size: 512}}\n"
	        "deliver: {sender: %s, processes: 1, in_flight: %u, guard: {allow: ['127.0.0.1:%u']}, per_host: {connections: %u, waiting: %u}}\n",
	        slots, curl ? "curl" : "auto", slots / 2, port, connections, slots / 2);
	http_server_start_millrace(&s.millrace, "", further);
	s.port = port;
	s.deliver = (struct http_server){.name = STAGE, .worker = http_server_stage_pid(STAGE)};
	CPU_ZERO(&set);
	CPU_SET(HTTP_CLIENT_CPU, &set);
	(void)sched_setaffinity(s.deliver.worker, sizeof set, &set);
}

void deliver_stage_stop(void)
{
	http_server_stop(&s.millrace);
}

/* The postbacks from `first` on, in one request. */
static void post(unsigned first, unsigned n)
{
	static char text[BODY_MAX + 256], body[BODY_MAX];
	size_t bytes = (size_t)snprintf(
	        body, sizeof body,
	        "{\"endpoint\":{\"method\":\"GET\",\"url\":\"http://127.0.0.1:%u/hook?title={title}&n={n}\"},\"data\":[",
	        s.port);
	for (unsigned i = 0; i < n; i++)
		bytes += (size_t)snprintf(body + bytes, sizeof body - bytes,
		                          "%s{\"title\":\"Gopher\",\"n\":%u}", i == 0 ? "" : ",", first + i);
	bytes += (size_t)snprintf(body + bytes, sizeof body - bytes, "]}");
	int length = snprintf(text, sizeof text,
	                      "POST /ingest HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
	                      "Connection: close\r\nContent-Length: %zu\r\n\r\n%s",
	                      bytes, body);
	int fd = http_server_connect(&s.millrace);
	if (fd < 0)
		fail("POST /ingest", strerror(-fd));
	ssize_t got = send(fd, text, (size_t)length, MSG_NOSIGNAL) == length
	                      ? recv(fd, text, sizeof text - 1, MSG_WAITALL)
	                      : -1;
	text[got > 0 ? got : 0] = '\0';
	if (strncmp(text, "HTTP/1.1 202", 12) != 0)
		fail("POST /ingest", got > 0 ? text : "no answer");
	close(fd);
}

static void signal_stage(int number)
{
	if (kill(s.deliver.worker, number) != 0)
		fail(STAGE, strerror(errno));
}

struct deliver_stage_turn deliver_stage_run(unsigned n)
{
	struct deliver_stage_turn turn = {0};
	const _Atomic uint64_t *word = http_server_stage_word(STAGE, "delivered");
	uint64_t delivered = atomic_load_explicit(word, memory_order_relaxed), now;
	uint64_t failed = http_server_stage_metric(STAGE, "failed");
	uint64_t parked = http_server_stage_metric(STAGE, "parked");
	signal_stage(SIGSTOP);
	for (unsigned i = 0; i < n; i += BATCH)
		post(i, n - i < BATCH ? n - i : BATCH);
	double cpu = http_server_cpu(&s.deliver);
	uint64_t begun_ns = clock_monotonic_ns();
	signal_stage(SIGCONT);
	while ((now = atomic_load_explicit(word, memory_order_relaxed) - delivered) < n) {
		if (clock_monotonic_ns() - begun_ns > PATIENCE_S * NS_PER_SEC)
			break;
		usleep(LOOK_US);
	}
	turn.seconds = (double)(clock_monotonic_ns() - begun_ns) / NS_PER_SEC;
	turn.cpu = http_server_cpu(&s.deliver) - cpu;
	failed = http_server_stage_metric(STAGE, "failed") - failed;
	turn.good = (unsigned)(now > failed ? now - failed : 0);
	turn.parked = (unsigned)(http_server_stage_metric(STAGE, "parked") - parked);
	return turn;
}
