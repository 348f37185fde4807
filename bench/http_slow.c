/* bench-http-slow: a good client's p99 during 10,000 idle connections, and during 1,000 clients
 * that are slow on purpose.
 *
 *     good client: millrace's own sender at a fixed rate   --.
 *     this program: idle connections                       --+--> server (processor 0)
 *     slowhttptest: slow heads, slow bodies, slow readers  --'
 *
 * The server's time-outs are short; what must end by them is waited for and counted. */
#include <errno.h>
#include <netinet/in.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/http_server.h"
#include "bench/options.h"
#include "bench/turns.h"
#include "cli/load/send_http.h"
#include "base/clock.h"

#define TARGET_P99   2.0
#define TARGET_BYTES 1024.0
#define LATE_S       5 /* how late a time-out may be */
#define SPARE        256u
#define OPEN_NS      (20 * NS_PER_SEC)

struct options {
	unsigned idle, slow, rate, timeout_s, idle_timeout_s;
	unsigned rounds;
	double seconds;
	bool nginx;
	const char *backend; /* of ingest-http */
};

/* The others, during whose connections the good client is measured; those with a flag are
 * slowhttptest's. */
enum { IDLE, SLOW_HEADS, SLOW_BODIES, SLOW_READERS, KINDS };
static const struct kind {
	const char *name, *flag;
} kinds[KINDS] = {
        {"idle connections", NULL}, {"slow heads", "-H"}, {"slow bodies", "-B"}, {"slow readers", "-X"}};

static struct turns p99[KINDS]; /* ms: ours is with them, reference alone just before */
/* bytes of each idle connection; the first round's counts: later ones find it allocated */
static struct turns idle_memory;
static bool right = true;

/* ---- the good client ---- */

static void be_good(const struct http_server *server, const struct options *options,
                    struct send_http_result *result)
{
	static const bool never;
	struct sockaddr_in address = {.sin_family = AF_INET,
	                              .sin_port = htons((uint16_t)server->port),
	                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct send_http_settings settings = {.address_bytes = sizeof address,
	                                      .connections = 16,
	                                      .pipeline = 1,
	                                      .rate = options->rate,
	                                      .count = UINT64_MAX,
	                                      .duration_ns = (uint64_t)(options->seconds * 1e9),
	                                      .timeout_ns = 30 * NS_PER_SEC,
	                                      .request = {.route = SEND_HTTP_EVENT,
	                                                  .first = 1,
	                                                  .batch = 1,
	                                                  .host = "localhost",
	                                                  .prefix = "",
	                                                  .endpoint = ""}};
	memcpy(&settings.address, &address, sizeof address);
	turns_pin(HTTP_CLIENT_CPU);
	send_http_run(&settings, result, &never);
}

/* Runs it in a process of its own and prints its latency; returns the p99 in ms. */
static double measure(const struct http_server *server, const struct options *options, const char *with)
{
	struct send_http_result *result =
	        mmap(NULL, sizeof *result, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = result != MAP_FAILED ? turns_fork(SIGKILL) : -1;
	if (pid < 0) {
		perror("bench-http-slow: good client");
		exit(1);
	}
	if (pid == 0) {
		be_good(server, options, result);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	double p50_ms = (double)send_http_histogram_percentile(&result->latency, 50) / 1e6;
	double p99_ms = (double)send_http_histogram_percentile(&result->latency, 99) / 1e6;
	printf("  %-34s %8llu answers   p50 %7.3f ms   p99 %7.3f ms   max %8.3f ms\n", with,
	       (unsigned long long)result->answered, p50_ms, p99_ms, (double)result->latency.max / 1e6);
	fflush(stdout);
	if (!send_http_as_expected(result)) {
		right = false;
		fprintf(stderr, "bench-http-slow: the good client: %llu answers not as expected, %llu lost\n",
		        (unsigned long long)result->unexpected, (unsigned long long)result->unanswered);
	}
	munmap(result, sizeof *result);
	return p99_ms;
}

/* ---- idle connections ---- */

/* One answered request makes it a connection that is kept, not one that has still to say
 * something. */
static void say_something(int fd)
{
	static const char request[] = "GET /t/idle HTTP/1.1\r\nHost: localhost\r\n\r\n";
	char answer[512];
	if (send(fd, request, sizeof request - 1, MSG_NOSIGNAL) < 0 ||
	    recv(fd, answer, sizeof answer, 0) <= 0) {
		fprintf(stderr, "bench-http-slow: an idle connection got no answer\n");
		exit(1);
	}
}

static struct pollfd *open_idle(const struct http_server *server, unsigned n)
{
	struct pollfd *all = calloc(n, sizeof *all);
	if (all == NULL)
		abort();
	for (unsigned i = 0; i < n; i++) {
		int fd = http_server_connect(server);
		if (fd < 0) {
			fprintf(stderr, "bench-http-slow: connection %u: %s\n", i, strerror(-fd));
			exit(1);
		}
		say_something(fd);
		all[i] = (struct pollfd){.fd = fd, .events = POLLIN};
	}
	return all;
}

/* Closes those that the server has closed; returns how many are left. */
static unsigned close_ended(struct pollfd *all, unsigned n)
{
	unsigned left = 0;
	char answer[512];
	(void)poll(all, n, 100);
	for (unsigned i = 0; i < n; i++) {
		if (all[i].fd >= 0 && all[i].revents != 0 && recv(all[i].fd, answer, sizeof answer, 0) <= 0) {
			close(all[i].fd);
			all[i].fd = -1; /* poll leaves it out */
		}
		left += all[i].fd >= 0;
	}
	return left;
}

static void print_end(const char *what, unsigned left, unsigned n, uint64_t begun_ns, unsigned timeout_s)
{
	printf("  %-34s %8u of %u ended, %.1f s after the measurement (time-outs up to %u s)%s\n", what,
	       n - left, n, (double)(clock_monotonic_ns() - begun_ns) / 1e9, timeout_s,
	       left > 0 ? "   NOT ALL" : "");
	right &= left == 0;
}

static void beside_idle(const struct http_server *server, const struct options *options, double alone_ms)
{
	char name[64];
	uint64_t memory = http_server_memory(server);
	struct pollfd *idle = open_idle(server, options->idle);
	double each = ((double)http_server_memory(server) - (double)memory) / options->idle;
	snprintf(name, sizeof name, "with %u idle connections", options->idle);
	turns_add(&p99[IDLE], measure(server, options, name), alone_ms);
	turns_add(&idle_memory, each, TARGET_BYTES);
	uint64_t begun_ns = clock_monotonic_ns();
	uint64_t end_ns = begun_ns + (options->idle_timeout_s + LATE_S) * NS_PER_SEC;
	unsigned left;
	while ((left = close_ended(idle, options->idle)) > 0 && clock_monotonic_ns() < end_ns)
		usleep(20000);
	print_end("idle connections", left, options->idle, begun_ns, options->idle_timeout_s);
	for (unsigned i = 0; i < options->idle; i++)
		if (idle[i].fd >= 0)
			close(idle[i].fd);
	free(idle);
}

/* ---- slow clients ---- */

static pid_t start_attack(const struct http_server *server, const struct options *options, const char *flag)
{
	char url[64], n[16], length[16];
	/* A body that the route takes, or an answer that can be read. */
	snprintf(url, sizeof url, "http://127.0.0.1:%u/%s", server->port,
	         strcmp(flag, "-X") == 0 ? "t/slow" : "event");
	snprintf(n, sizeof n, "%u", options->slow);
	snprintf(length, sizeof length, "%.0f", options->seconds + options->idle_timeout_s + 2 * LATE_S);
	pid_t pid = turns_fork(SIGKILL);
	if (pid < 0) {
		perror("bench-http-slow: slowhttptest");
		exit(1);
	}
	if (pid == 0) {
		turns_pin(HTTP_CLIENT_CPU);
		if (freopen("/dev/null", "w", stdout) == NULL)
			_exit(127);
		/* A piece every second; slow readers take 8 bytes of a window of 64 every
		 * second. */
		execlp("slowhttptest", "slowhttptest", flag, "-c", n, "-r", n, "-l", length, "-u", url, "-i",
		       "1", "-s", "8192", "-w", "64", "-y", "128", "-n", "1", "-z", "8", "-k", "8", "-p",
		       "60", "-f", "application/json", NULL);
		fprintf(stderr,
		        "bench-http-slow: slowhttptest: %s; install it with: scripts/install-packages bench-http\n",
		        strerror(errno));
		_exit(127);
	}
	return pid;
}

static void beside_slow(const struct http_server *server, const struct options *options, unsigned kind,
                        double alone_ms)
{
	char name[64];
	unsigned most = 0, left;
	uint64_t begun_ns = clock_monotonic_ns();
	pid_t pid = start_attack(server, options, kinds[kind].flag);
	while (most < options->slow && clock_monotonic_ns() < begun_ns + OPEN_NS) {
		unsigned n = http_server_connections(server);
		most = n > most ? n : most;
		if (waitpid(pid, NULL, WNOHANG) != 0) {
			fprintf(stderr, "bench-http-slow: slowhttptest ended early\n");
			exit(1);
		}
		usleep(20000);
	}
	snprintf(name, sizeof name, "with %u %s", most, kinds[kind].name);
	turns_add(&p99[kind], measure(server, options, name), alone_ms);
	/* The longest time-out that can apply: one that reads slowly may have got all its answers
	 * and be idle. */
	begun_ns = clock_monotonic_ns();
	uint64_t end_ns = begun_ns + (options->idle_timeout_s + LATE_S) * NS_PER_SEC;
	while ((left = http_server_connections(server)) > 0 && clock_monotonic_ns() < end_ns)
		usleep(20000);
	print_end(kinds[kind].name, left, most, begun_ns, options->idle_timeout_s);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* ---- the program ---- */

static void help(void)
{
	puts("Usage: bench-http-slow [options]\n"
	     "\n"
	     "Measures a good client's latency while others hold connections open, and whether time-outs end those.\n"
	     "\n"
	     "  --idle N           idle connections (default 10000)\n"
	     "  --slow N           slow clients of each kind (default 1000)\n"
	     "  --rounds N         how often all of it is measured; medians are compared (default 3)\n"
	     "  --rate N           the good client's requests a second (default 2000)\n"
	     "  --duration S       length of each measurement (default 4)\n"
	     "  --timeout S        the server's header, body and write time-out (default 6)\n"
	     "  --idle-timeout S   its idle time-out (default 12)\n"
	     "  --backend NAME     of millrace: auto, uring, uring-plain or epoll (default auto)\n"
	     "  --server NAME      millrace or nginx (default millrace)\n"
	     "\n"
	     "Exit status: 0 measured, 1 failed, an answer was not 2xx or a connection outlived its time-out, 2 usage.");
}

static int parse(int argc, char **argv, struct options *options)
{
	const char *server = "millrace";
	const struct option_row rows[] = {
	        {"idle", OPTION_COUNT, &options->idle, 1, 1000000},
	        {"slow", OPTION_COUNT, &options->slow, 1, 65536},
	        {"rate", OPTION_COUNT, &options->rate, 1, INT_MAX},
	        {"rounds", OPTION_COUNT, &options->rounds, 1, TURNS_MAX},
	        {"duration", OPTION_REAL, &options->seconds, 0.1, 86400},
	        {"timeout", OPTION_COUNT, &options->timeout_s, 1, 86400},
	        {"idle-timeout", OPTION_COUNT, &options->idle_timeout_s, 1, 86400},
	        {"backend", OPTION_TEXT, &options->backend, 0, 0},
	        {"server", OPTION_TEXT, &server, 0, 0},
	};
	int done = options_read(argc, argv, "bench-http-slow", rows, sizeof rows / sizeof *rows, help);
	options->nginx = strcmp(server, "nginx") == 0;
	if (done < 0 && !options->nginx && strcmp(server, "millrace") != 0) {
		fprintf(stderr, "bench-http-slow: --server %s: millrace or nginx is allowed\n", server);
		return 2;
	}
	if (done < 0 && options->idle_timeout_s < options->timeout_s) {
		fprintf(stderr, "bench-http-slow: --idle-timeout is not allowed to be less than --timeout\n");
		return 2;
	}
	return done;
}

static void start(struct http_server *server, const struct options *options)
{
	char text[256];
	unsigned s = options->timeout_s, idle = options->idle_timeout_s;
	if (options->nginx) {
		snprintf(
		        text, sizeof text,
		        "client_header_timeout %us; client_body_timeout %us; send_timeout %us; keepalive_timeout %us;",
		        s, s, s, idle);
		http_server_start_nginx(server, text);
	} else {
		snprintf(
		        text, sizeof text,
		        "backend: %s, header_timeout: %us, body_timeout: %us, write_timeout: %us, idle_timeout: %us",
		        options->backend, s, s, s, idle);
		http_server_start_millrace(server, text, "");
	}
}

/* Alone before each kind, not once for all: the machine's own share of a p99 changes within a
 * minute. */
static void run_round(const struct http_server *server, const struct options *options)
{
	beside_idle(server, options, measure(server, options, "alone"));
	for (unsigned kind = SLOW_HEADS; kind < KINDS; kind++)
		beside_slow(server, options, kind, measure(server, options, "alone"));
}

static void print_result(const struct http_server *server)
{
	for (unsigned kind = 0; kind < KINDS; kind++)
		printf("p99 with %-17s %7.3f ms, alone %7.3f ms: ratio %.2f, target %.0f: %s\n",
		       kinds[kind].name, turns_median(p99[kind].ours, p99[kind].n),
		       turns_median(p99[kind].reference, p99[kind].n), turns_ratio(&p99[kind]), TARGET_P99,
		       turns_ratio(&p99[kind]) <= TARGET_P99 ? "met" : "NOT MET");
	printf("memory of an idle connection: %.0f bytes, target %.0f: %s\n", idle_memory.ours[0],
	       TARGET_BYTES, idle_memory.ours[0] < TARGET_BYTES ? "met" : "NOT MET");
	if (server->is_millrace)
		printf("the stage counted: %llu idle ended, %llu late with head or body, %llu late with reading\n",
		       (unsigned long long)http_server_metric(server, "connections_idle_ended"),
		       (unsigned long long)http_server_metric(server, "connections_late"),
		       (unsigned long long)http_server_metric(server, "connections_write_late"));
}

int main(int argc, char **argv)
{
	struct options options = {.idle = 10000,
	                          .slow = 1000,
	                          .rate = 2000,
	                          .rounds = 3,
	                          .backend = "auto",
	                          .seconds = 4,
	                          .timeout_s = 6,
	                          .idle_timeout_s = 12};
	struct http_server server;
	int done = parse(argc, argv, &options);
	if (done >= 0)
		return done;
	unsigned allowed = http_server_descriptors(options.idle + options.slow + SPARE);
	if (allowed < options.idle + SPARE) {
		options.idle = allowed - SPARE;
		printf("only %u idle connections: the limit of open files is %u (ulimit -Hn)\n", options.idle,
		       allowed);
	}
	start(&server, &options);
	printf("%s, a good client at %u requests/s\n", server.name, options.rate);
	for (unsigned i = 0; i < options.rounds; i++)
		run_round(&server, &options);
	print_result(&server);
	http_server_stop(&server);
	return right ? 0 : 1;
}
