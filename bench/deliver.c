/* bench-deliver: GETs to nginx that answers 200, by the deliver stage, by each of its senders
 * alone, by a plain loop of libcurl's multi interface, by a bare loop of epoll, and by two
 * programs in Go, in turns. What sends has one processor, nginx the other one.
 *
 *     deliver.0 (queue, template, hosts, records, sender) -----.
 *     sender_auto, sender_curl (vetting, time-outs, answers) --.
 *     plain loop (URL after URL, answers thrown away) ---------.
 *     bare loop (send, recv) ----------------------------------+--> 64 kept connections --> nginx: return 200
 *     net/http, a worker for each connection ------------------'
 *     net/http, a goroutine for each request, its defaults --------> 64 connections at a time, two kept
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/output.h"
#include "bench/deliver_bare.h"
#include "bench/deliver_plain.h"
#include "bench/deliver_stage.h"
#include "bench/http_server.h"
#include "bench/options.h"
#include "bench/turns.h"
#include "deliver/sender_auto.h"

#define KEY      "Idempotency-Key: 0123456789abcdef0123456789abcdef"
#define ENCODING "Accept-Encoding: gzip, deflate"

struct options {
	unsigned turns, requests, connections;
	bool json, no_go, curl;
};

static struct {
	struct http_server nginx;
	struct sender *plain_sender,
	        *curl_sender; /* `plain`: what deliver takes unless it is told otherwise */
	struct sender_place place;
	struct sender_request *request, **free;
	unsigned n_free;
	char (*url)[128]; /* of each request of a turn */
	struct plain *plain;
	struct bare *bare;
	char go[300]; /* the program; "" none */
	char go_version[64];
	unsigned vetted;
	unsigned parked; /* postbacks that went through deliver.db */
} b;

/* Rates and processor time of one side in each turn. */
struct side {
	const char *name;
	struct turns rate, cpu; /* `ours` of both; cpu: seconds a request */
};

static void fail(const char *what)
{
	fprintf(stderr, "bench-deliver: %s\n", what);
	exit(1);
}

static double cpu_seconds(void)
{
	return (double)clock_read_ns(CLOCK_PROCESS_CPUTIME_ID) / NS_PER_SEC;
}

static const char *url_of(unsigned i)
{
	return b.url[i];
}

/* ---- the sender ---- */

static bool vet(void *context, const uint8_t address[16], uint16_t port, void *owner)
{
	(void)context;
	(void)owner;
	b.vetted++;
	return address[15] == 1 && port == b.place.port;
}

static struct sender *open_sender(const struct options *options, const struct sender_ops *ops)
{
	struct shm_error error = {""};
	struct sender *sender;
	const struct sender_options about = {.requests = options->connections,
	                                     .connections_kept = options->connections,
	                                     .lifetime_ns = 300 * NS_PER_SEC,
	                                     .ca_file = "",
	                                     .user_agent = "millrace",
	                                     .vet = vet};
	if (ops->open(&sender, &about, &error) != 0)
		fail(error.text);
	return sender;
}

static void make_requests(const struct options *options)
{
	b.place = (struct sender_place){
	        .host = "127.0.0.1",
	        .port = (uint16_t)b.nginx.port,
	        .n = 1,
	        .address = {{[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}},
	        .serial = 1,
	};
	b.request = calloc(options->connections, sizeof *b.request);
	b.free = calloc(options->connections, sizeof(struct sender_request *));
	if (b.request == NULL || b.free == NULL)
		fail("no memory");
	for (; b.n_free < options->connections; b.n_free++)
		b.free[b.n_free] = &b.request[b.n_free];
}

static void start(struct sender *sender, unsigned i)
{
	struct sender_request *request = b.free[--b.n_free];
	request->method = "GET";
	request->url = b.url[i];
	request->place = &b.place;
	request->header[0] = KEY;
	request->n_headers = 1;
	request->connect_timeout_ns = 3 * NS_PER_SEC;
	request->first_byte_timeout_ns = 15 * NS_PER_SEC;
	request->timeout_ns = 30 * NS_PER_SEC;
	if (sender->ops->start(sender, request, clock_monotonic_ns()) != 0)
		fail("the sender takes no request");
}

static unsigned run_sender(struct sender *sender, unsigned n)
{
	unsigned begun = 0, ended = 0, good = 0;
	while (ended < n) {
		while (begun < n && b.n_free > 0)
			start(sender, begun++);
		struct sender_request *request;
		unsigned before = ended;
		while ((request = sender->ops->next(sender, clock_monotonic_ns())) != NULL) {
			good += request->result == 0 && request->status == 200;
			b.free[b.n_free++] = request;
			ended++;
		}
		if (ended != before || ended == n)
			continue;
		uint64_t wait_ns = sender->ops->timeout(sender, NS_PER_SEC, clock_monotonic_ns());
		struct pollfd look = {.fd = sender->ops->fd(sender), .events = POLLIN};
		struct timespec most = {(time_t)(wait_ns / NS_PER_SEC), (long)(wait_ns % NS_PER_SEC)};
		ppoll(&look, 1, &most, NULL);
	}
	return good;
}

/* ---- turns ---- */

static void add(struct side *side, unsigned n, unsigned good, double seconds, double cpu)
{
	if (good != n) {
		fprintf(stderr, "bench-deliver: %s: %u of %u were answered 200\n", side->name, good, n);
		exit(1);
	}
	turns_add(&side->rate, n / seconds, 0);
	turns_add(&side->cpu, cpu / n, 0);
}

static unsigned run_ours(unsigned n)
{
	return run_sender(b.plain_sender, n);
}

static unsigned run_curl(unsigned n)
{
	return run_sender(b.curl_sender, n);
}

static const char *path_of(unsigned i)
{
	return strchr(b.url[i] + sizeof "http://", '/');
}

static unsigned run_bare(unsigned n)
{
	return bare_run(b.bare, n, path_of);
}

static unsigned run_plain(unsigned n)
{
	return plain_run(b.plain, n, url_of);
}

static void turn(struct side *side, unsigned n, unsigned (*run)(unsigned n))
{
	double cpu = cpu_seconds();
	uint64_t begun_ns = clock_monotonic_ns();
	unsigned good = run(n);
	double seconds = (double)(clock_monotonic_ns() - begun_ns) / NS_PER_SEC;
	add(side, n, good, seconds, cpu_seconds() - cpu);
}

static void turn_of_stage(struct side *side, unsigned n)
{
	struct deliver_stage_turn turn = deliver_stage_run(n);
	add(side, n, turn.good, turn.seconds, turn.cpu);
	b.parked += turn.parked;
}

/* ---- Go ---- */

/* The source lies in this program, so that it can be built where the tree is not. */
__asm__(".section .rodata\n"
        "deliver_go_source: .incbin \"bench/deliver_go.go\"\n"
        "deliver_go_end:\n"
        ".previous\n");
extern const char deliver_go_source[], deliver_go_end[];

static bool run_command(const char *command)
{
	int status = system(command);
	return status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Debian's, where it is installed; otherwise the one of the PATH. */
static const char *find_go(void)
{
	static const char debian[] = "/usr/lib/go/bin/go";
	if (access(debian, X_OK) == 0)
		return debian;
	return run_command("command -v go >/dev/null 2>&1") ? "go" : NULL;
}

static void ask_version(const char *go)
{
	char command[100];
	snprintf(command, sizeof command, "%s env GOVERSION", go);
	FILE *out = popen(command, "re");
	if (out == NULL || fscanf(out, "%63s", b.go_version) != 1)
		fail("go does not tell its version");
	(void)pclose(out);
}

static void build_go(void)
{
	char source[300], command[900];
	const char *go = find_go();
	if (go == NULL) {
		fputs("bench-deliver: go is not installed, so there is no turn of it; install it with: apt-get install golang-go\n",
		      stderr);
		return;
	}
	ask_version(go);
	snprintf(source, sizeof source, "%s/deliver_go.go", turns_directory());
	FILE *file = fopen(source, "we");
	size_t bytes = (size_t)((uintptr_t)deliver_go_end - (uintptr_t)deliver_go_source);
	if (file == NULL || fwrite(deliver_go_source, 1, bytes, file) != bytes || fclose(file) != 0)
		fail(source);
	snprintf(b.go, sizeof b.go, "%s/deliver_go", turns_directory());
	snprintf(command, sizeof command, "GO111MODULE=off GOFLAGS= CGO_ENABLED=0 %s build -o %s %s", go,
	         b.go, source);
	if (!run_command(command)) {
		fputs("bench-deliver: go did not build its sender, so there is no turn of it\n", stderr);
		b.go[0] = '\0';
	}
}

static void turn_of_go(struct side *side, const struct options *options, const char *form)
{
	char command[400];
	unsigned good = 0;
	double seconds = 0, cpu = 0;
	snprintf(command, sizeof command, "exec %s %u %u %u %s", b.go, b.nginx.port, options->requests,
	         options->connections, form);
	FILE *out = popen(command, "re");
	if (out == NULL || fscanf(out, "%u %lf %lf", &good, &seconds, &cpu) != 3 || pclose(out) != 0)
		fail("the sender in Go failed");
	add(side, options->requests, good, seconds, cpu);
}

/* ---- the measurement ---- */

static double rate_of(const struct side *side)
{
	return turns_median(side->rate.ours, side->rate.n);
}

static double cpu_of(const struct side *side)
{
	return turns_median(side->cpu.ours, side->cpu.n) * 1e6;
}

#define SIDES 7u

static void print_json(const struct options *options, const struct side side[SIDES])
{
	printf("{\"bench\":\"deliver\",\"connections\":%u,\"requests\":%u", options->connections,
	       options->requests);
	for (unsigned i = 0; i < SIDES && side[i].rate.n > 0; i++)
		printf(",\"%s\":{\"per_s\":%.0f,\"cpu_us\":%.2f,\"ratio\":%.3f,\"cpu_ratio\":%.3f}",
		       side[i].name, rate_of(&side[i]), cpu_of(&side[i]),
		       rate_of(&side[0]) / rate_of(&side[i]), cpu_of(&side[0]) / cpu_of(&side[i]));
	printf(",\"go\":\"%s\",\"parked\":%u}\n", b.go_version, b.parked);
}

static void print(const struct options *options, const struct side side[SIDES])
{
	if (options->json) {
		print_json(options, side);
		return;
	}
	printf("%u requests a turn over %u connections to nginx; medians of %u turns\n\n"
	       "                  requests/s   us of CPU each   stage: rate   CPU\n",
	       options->requests, options->connections, side[0].rate.n);
	for (unsigned i = 0; i < SIDES && side[i].rate.n > 0; i++)
		printf("  %-14s %11.0f %16.2f %13.2f %5.2f\n", side[i].name, rate_of(&side[i]),
		       cpu_of(&side[i]), rate_of(&side[0]) / rate_of(&side[i]),
		       cpu_of(&side[0]) / cpu_of(&side[i]));
	if (b.go[0] != '\0')
		printf("\nGo is %s. Its default: a goroutine for each request, two idle connections kept for a host\n",
		       b.go_version);
	if (b.parked > 0)
		printf("\n%u postbacks went through deliver.db, so the stage was not measured alone\n",
		       b.parked);
}

static void make_urls(const struct options *options)
{
	b.url = calloc(options->requests, sizeof *b.url);
	if (b.url == NULL)
		fail("no memory");
	for (unsigned i = 0; i < options->requests; i++)
		snprintf(b.url[i], sizeof b.url[i], "http://127.0.0.1:%u/hook?title=Gopher&n=%u",
		         b.nginx.port, i);
}

static int run(const struct options *options)
{
	struct side side[SIDES] = {{.name = "deliver stage"},  {.name = "its sender"},
	                           {.name = "sender on curl"}, {.name = "libcurl multi"},
	                           {.name = "bare loop"},      {.name = "Go, all kept"},
	                           {.name = "Go, default"}};
	const char *header[] = {KEY, ENCODING};
	static const char lines[] = "User-Agent: millrace\r\nAccept: */*\r\n" ENCODING "\r\n" KEY "\r\n";
	http_server_descriptors(65536);
	http_server_start_nginx(&b.nginx, "location /hook { return 200; }");
	turns_pin(HTTP_CLIENT_CPU);
	deliver_stage_start(b.nginx.port, options->connections, options->requests, options->curl);
	make_urls(options);
	make_requests(options);
	b.plain_sender = open_sender(options, &sender_auto);
	b.curl_sender = open_sender(options, &sender_curl);
	b.bare = bare_open(b.nginx.port, options->connections, lines);
	b.plain = plain_open(options->connections, header);
	if (!options->no_go)
		build_go();
	unsigned few = options->requests < 2000 ? options->requests : 2000;
	(void)deliver_stage_run(few); /* not counted: connections, memory */
	(void)run_ours(few);
	(void)run_curl(few);
	(void)run_bare(few);
	(void)run_plain(few);
	for (unsigned i = 0; i < options->turns; i++) {
		turn_of_stage(&side[0], options->requests);
		turn(&side[1], options->requests, run_ours);
		turn(&side[2], options->requests, run_curl);
		turn(&side[3], options->requests, run_plain);
		turn(&side[4], options->requests, run_bare);
		if (b.go[0] == '\0')
			continue;
		turn_of_go(&side[5], options, "workers");
		turn_of_go(&side[6], options, "each");
	}
	print(options, side);
	deliver_stage_stop();
	b.plain_sender->ops->close(b.plain_sender);
	b.curl_sender->ops->close(b.curl_sender);
	bare_close(b.bare);
	plain_close(b.plain);
	http_server_stop(&b.nginx);
	free(b.request);
	free(b.free);
	free(b.url);
	return 0;
}

static void help(void)
{
	puts("Usage: millrace bench deliver [options]\n"
	     "\n"
	     "Sends GETs to nginx on this machine by the deliver stage out of its queue, by its sender alone\n"
	     "and by that on libcurl, by a plain loop of libcurl's multi interface, by a bare loop of epoll,\n"
	     "and by two programs in Go, in turns. Needs nginx; go, unless --no-go.\n"
	     "\n"
	     "  --turns N           turns of each, 1 to 64 (default 9)\n"
	     "  --requests N        requests in a turn, 1 to 15000 (default 15000)\n"
	     "  --connections N     requests at a time (default 64)\n"
	     "  --curl              the stage sends by libcurl, too (deliver.sender: curl)\n"
	     "  --no-go             without the programs in Go\n"
	     "  --json              one JSON object instead of text\n"
	     "\n"
	     "Exit status: 0 measured, 1 failed, 2 usage.");
}

static int run_bench(int argc, char **argv)
{
	struct options options = {.turns = 9, .requests = 15000, .connections = 64};
	const struct option_row rows[] = {
	        {"turns", OPTION_COUNT, &options.turns, 1, TURNS_MAX},
	        {"requests", OPTION_COUNT, &options.requests, 1, 15000},
	        {"connections", OPTION_COUNT, &options.connections, 1, 10000},
	        {"curl", OPTION_ON, &options.curl, 0, 0},
	        {"no-go", OPTION_ON, &options.no_go, 0, 0},
	        {"json", OPTION_ON, &options.json, 0, 0},
	};
	int done = options_read(argc, argv, "bench-deliver", rows, sizeof rows / sizeof *rows, help);
	if (done >= 0)
		return done;
	log_init("bench-deliver", LOG_ERROR, LOG_TEXT);
	return run(&options);
}

int main(int argc, char **argv)
{
	output_no_size_signal();
	signal(SIGPIPE, SIG_IGN);
	int status = run_bench(argc, argv);
	return status != 0 ? status : output_finish("bench-deliver");
}
