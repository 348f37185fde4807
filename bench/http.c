/* bench-http: POST /event, one core for the server and one for wrk, against nginx that reads no
 * body and stores nothing.
 *
 *     nginx, millrace, nginx, millrace ...   (the other one idles meanwhile)
 *       wrk -t1 -c64, one request at a time on each connection; then 16 at once
 *
 * All answers must be 2xx, and millrace's ledger must have every request that wrk saw answered. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/http_server.h"
#include "bench/http_steer.h"
#include "bench/options.h"
#include "bench/turns.h"

#define DEPTH          16u
#define TARGET_RATE    1.1
#define TARGET_PER_CPU 1.25
#define TARGET_DEEP    6.0

struct options {
	unsigned pairs, connections;
	double seconds;
	bool json, itself, steer;
	const char *script;
	const char *backend; /* of ingest-http */
};

/* What one turn of wrk saw. */
struct turn {
	double requests, seconds, p50_us, p99_us, max_us;
	double errors; /* answers over 399, time-outs, broken connections */
	double cpu;    /* of the server, seconds */
	double client; /* of wrk, shares of its processor: at 1 it is wrk that is measured */
	uint64_t written;
};

/* Both servers' turns at one depth; ours and reference as in turns.h. */
struct comparison {
	struct turns rate, per_cpu, p99;
	bool right; /* every answer was 2xx, every event was written */
};

static FILE *start_wrk(const struct options *options, const struct http_server *server, unsigned depth,
                       pid_t *pid)
{
	char connections[16], duration[32], url[64], deep[16];
	int out[2];
	snprintf(connections, sizeof connections, "-c%u", options->connections);
	snprintf(duration, sizeof duration, "-d%.0fs", options->seconds);
	snprintf(url, sizeof url, "http://127.0.0.1:%u", server->port);
	snprintf(deep, sizeof deep, "%u", depth);
	fflush(NULL);
	if (pipe(out) != 0 || (*pid = fork()) < 0) {
		perror("bench-http: wrk");
		exit(1);
	}
	if (*pid == 0) {
		turns_pin(HTTP_CLIENT_CPU);
		dup2(out[1], STDOUT_FILENO);
		setenv("DEPTH", deep, 1);
		execlp("wrk", "wrk", "-t1", connections, duration, "-s", options->script, url, NULL);
		fprintf(stderr, "bench-http: wrk: %s; install it with: scripts/install-packages bench-http\n",
		        strerror(errno));
		_exit(127);
	}
	close(out[1]);
	return fdopen(out[0], "r");
}

static struct turn run_wrk(const struct options *options, const struct http_server *server, unsigned depth)
{
	struct turn turn = {0};
	double duration_us = 0, connect, receive, send, status, timeout;
	char line[512];
	bool told = false;
	pid_t pid;
	double cpu = http_server_cpu(server);
	uint64_t written = http_server_written(server);
	FILE *in = start_wrk(options, server, depth, &pid);
	while (in != NULL && fgets(line, sizeof line, in) != NULL)
		told |= sscanf(line,
		               "RESULT requests %lf duration %lf p50 %lf p99 %lf max %lf connect %lf read %lf write %lf status %lf timeout %lf",
		               &turn.requests, &duration_us, &turn.p50_us, &turn.p99_us, &turn.max_us,
		               &connect, &receive, &send, &status, &timeout) == 10;
	if (in != NULL)
		fclose(in);
	struct rusage usage = {0};
	wait4(pid, NULL, 0, &usage);
	if (!told || turn.requests < 1) {
		fprintf(stderr, "bench-http: wrk told no result\n");
		exit(1);
	}
	turn.errors = connect + receive + send + status + timeout;
	turn.seconds = duration_us / 1e6;
	turn.cpu = http_server_cpu(server) - cpu;
	turn.client = ((double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6) /
	              turn.seconds;
	turn.written = http_server_written(server) - written;
	return turn;
}

/* What wrk saw answered was written, and besides that no more than was under way when it ended. */
static bool check(const struct options *options, const struct http_server *server, const struct turn *turn,
                  unsigned depth)
{
	double under_way = (double)options->connections * depth;
	bool written = !server->is_millrace || ((double)turn->written >= turn->requests &&
	                                        (double)turn->written <= turn->requests + under_way);
	if (turn->errors > 0)
		fprintf(stderr, "bench-http: %s: %.0f errors or answers that were not 2xx\n", server->name,
		        turn->errors);
	if (!written)
		fprintf(stderr, "bench-http: %.0f answered, but %llu written\n", turn->requests,
		        (unsigned long long)turn->written);
	return turn->errors == 0 && written;
}

/* What wrk makes of latencies is nothing when it pipelines: it corrects them by an interval that is
 * not theirs. */
static void print_turn(const struct http_server *server, const struct turn *turn, unsigned depth)
{
	printf("    %-9s %9.0f requests/s   %6.3f us of processor each   server %3.0f %%, wrk %3.0f %% busy",
	       server->name, turn->requests / turn->seconds, turn->cpu / turn->requests * 1e6,
	       turn->cpu / turn->seconds * 100, turn->client * 100);
	if (depth == 1)
		printf("   p50 %7.3f ms   p99 %7.3f ms", turn->p50_us / 1e3, turn->p99_us / 1e3);
	putchar('\n');
	fflush(stdout);
}

static void compare(const struct options *options, const struct http_server *ours,
                    const struct http_server *reference, unsigned depth, struct comparison *comparison)
{
	*comparison = (struct comparison){.right = true};
	for (unsigned i = 0; i < options->pairs; i++) {
		struct turn other = run_wrk(options, reference, depth);
		struct turn turn = run_wrk(options, ours, depth);
		comparison->right &= check(options, reference, &other, depth);
		comparison->right &= check(options, ours, &turn, depth);
		turns_add(&comparison->rate, turn.requests / turn.seconds, other.requests / other.seconds);
		turns_add(&comparison->per_cpu, turn.requests / turn.cpu, other.requests / other.cpu);
		if (depth == 1)
			turns_add(&comparison->p99, turn.p99_us / 1e3, other.p99_us / 1e3);
		if (!options->json) {
			print_turn(reference, &other, depth);
			print_turn(ours, &turn, depth);
		}
	}
}

static void print_side(const char *name, const double *values, unsigned n, const char *unit)
{
	double least = values[0], greatest = values[0];
	for (unsigned i = 1; i < n; i++) {
		least = values[i] < least ? values[i] : least;
		greatest = values[i] > greatest ? values[i] : greatest;
	}
	printf("    %-10s %12.3f %s   (%.3f .. %.3f)\n", name, turns_median(values, n), unit, least,
	       greatest);
}

static void print_measure(const char *what, const struct turns *turns, const struct http_server *ours,
                          const struct http_server *reference, const char *unit, double target)
{
	printf("  %s, median of %u turns each\n", what, turns->n);
	print_side(ours->name, turns->ours, turns->n, unit);
	print_side(reference->name, turns->reference, turns->n, unit);
	printf("    ratio      %12.2f", turns_ratio(turns));
	if (target > 0)
		printf("   target %.2f: %s", target, turns_ratio(turns) >= target ? "met" : "NOT MET");
	putchar('\n');
}

static void print_comparison(const char *what, const struct comparison *comparison,
                             const struct http_server *ours, const struct http_server *reference,
                             double target, double target_per_cpu)
{
	printf("%s: every answer 2xx, every event written: %s\n", what, comparison->right ? "yes" : "NO");
	print_measure("requests a second", &comparison->rate, ours, reference, "/s", target);
	print_measure("requests per second of the server's processor", &comparison->per_cpu, ours, reference,
	              "/s", target_per_cpu);
	if (comparison->p99.n > 0)
		print_measure("p99", &comparison->p99, ours, reference, "ms", 0);
}

static void print_json_comparison(const char *name, const struct comparison *comparison)
{
	const struct turns *rate = &comparison->rate, *cpu = &comparison->per_cpu, *p99 = &comparison->p99;
	printf("\"%s\":{\"right\":%s,\"pairs\":%u,\"per_s\":%.0f,\"reference_per_s\":%.0f,\"ratio\":%.3f,\"per_cpu_s\":%.0f,\"reference_per_cpu_s\":%.0f,\"ratio_per_cpu\":%.3f",
	       name, comparison->right ? "true" : "false", rate->n, turns_median(rate->ours, rate->n),
	       turns_median(rate->reference, rate->n), turns_ratio(rate), turns_median(cpu->ours, cpu->n),
	       turns_median(cpu->reference, cpu->n), turns_ratio(cpu));
	if (p99->n > 0)
		printf(",\"p99_ms\":%.3f,\"reference_p99_ms\":%.3f", turns_median(p99->ours, p99->n),
		       turns_median(p99->reference, p99->n));
	putchar('}');
}

static void help(void)
{
	puts("Usage: bench-http [options]\n"
	     "\n"
	     "Measures POST /event: a millrace of its own that parses, checks and stores each, and nginx that answers 204, under wrk.\n"
	     "\n"
	     "  --pairs N          turns of each server (default 7)\n"
	     "  --duration S       length of each, whole seconds (default 4)\n"
	     "  --connections N    of wrk (default 64)\n"
	     "  --script FILE      what wrk sends (default bench/http.lua)\n"
	     "  --backend NAME     of millrace: auto, uring or epoll (default auto)\n"
	     "  --steer            the server's receiving is done on its own core, not on wrk's (root; RPS in a network namespace of its own)\n"
	     "  --itself           nginx takes both roles: what the machine's noise makes of a ratio of 1\n"
	     "  --json             one JSON object instead of text\n"
	     "\n"
	     "Exit status: 0 measured, 1 failed, an answer was not 2xx or an event was not written, 2 usage.");
}

static int parse(int argc, char **argv, struct options *options)
{
	const struct option_row rows[] = {
	        {"pairs", OPTION_COUNT, &options->pairs, 1, TURNS_MAX},
	        {"duration", OPTION_REAL, &options->seconds, 1, 86400},
	        {"connections", OPTION_COUNT, &options->connections, 1, 65536},
	        {"script", OPTION_TEXT, &options->script, 0, 0},
	        {"backend", OPTION_TEXT, &options->backend, 0, 0},
	        {"steer", OPTION_ON, &options->steer, 0, 0},
	        {"itself", OPTION_ON, &options->itself, 0, 0},
	        {"json", OPTION_ON, &options->json, 0, 0},
	};
	int done = options_read(argc, argv, "bench-http", rows, sizeof rows / sizeof *rows, help);
	if (done < 0 && access(options->script, R_OK) != 0) {
		fprintf(stderr, "bench-http: --script: %s cannot be read\n", options->script);
		return 2;
	}
	return done;
}

static void start_millrace(const struct options *options, struct http_server *server)
{
	char entry[64];
	snprintf(entry, sizeof entry, "backend: %s", options->backend);
	http_server_start_millrace(server, entry, "");
}

int main(int argc, char **argv)
{
	struct options options = {
	        .pairs = 7, .connections = 64, .seconds = 4, .script = "bench/http.lua", .backend = "auto"};
	static struct comparison single, deep;
	struct http_server nginx, ours;
	int done = parse(argc, argv, &options);
	if (done >= 0)
		return done;
	if (options.steer)
		http_steer();
	if (!options.json)
		printf("receiving is done on %s\n",
		       options.steer ? "the server's core" : "the sender's core (loopback as it is)");
	http_server_start_nginx(&nginx, "");
	if (options.itself)
		ours = nginx;
	else
		start_millrace(&options, &ours);
	if (!options.json)
		printf("one request at a time on each of %u connections\n", options.connections);
	compare(&options, &ours, &nginx, 1, &single);
	if (!options.json)
		printf("%u requests at once on each\n", DEPTH);
	compare(&options, &ours, &nginx, DEPTH, &deep);
	if (!options.itself)
		http_server_stop(&ours);
	http_server_stop(&nginx);
	if (options.json) {
		printf("{\"bench\":\"http\",\"connections\":%u,", options.connections);
		print_json_comparison("single", &single);
		putchar(',');
		print_json_comparison("pipelined", &deep);
		puts("}");
	} else {
		print_comparison("one at a time", &single, &ours, &nginx, TARGET_RATE, TARGET_PER_CPU);
		print_comparison("pipelined", &deep, &ours, &nginx, TARGET_DEEP, 0);
	}
	return single.right && deep.right ? 0 : 1;
}
