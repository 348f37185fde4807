/* bench-http: POST /event, one core for the server and one for wrk, against nginx that reads no
 * body and stores nothing.
 *
 *     nginx, millrace, nginx, millrace ...   (the other one idles meanwhile)
 *       wrk -t1 -c4, one request at a time on each connection; the same with 8, 16 and 64; then 16 at once
 *
 * Few connections are a proxy's: it keeps them open and sends on them what all its clients ask.
 *
 * All answers must be 2xx, and millrace's ledger must have every request that wrk saw answered. */
#include <errno.h>
#include <signal.h>
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

#define DEPTH              16u
#define FEW                16u /* so many connections, or fewer */
#define TARGET_RATE        1.1
#define TARGET_PER_CPU     1.25
#define TARGET_FEW_RATE    1.0
#define TARGET_FEW_PER_CPU 1.2
#define TARGET_DEEP        6.0
#define COUNTS_MAX         16u
#define CONNECTIONS_MAX    65536ul

struct options {
	unsigned pairs, connections[COUNTS_MAX], n_counts;
	const char *counts; /* as they were given: "4,8" */
	double seconds;
	bool json, itself, steer, shallow;
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

/* So many connections with so many requests at once on each. */
struct load {
	unsigned connections, depth;
};

/* Both servers' turns under one load; ours and reference as in turns.h. */
struct comparison {
	struct load load;
	struct turns rate, per_cpu, p99;
	bool right; /* every answer was 2xx, every event was written */
};

static FILE *start_wrk(const struct options *options, const struct http_server *server,
                       const struct load *load, pid_t *pid)
{
	char connections[16], duration[32], url[64], deep[16];
	int out[2];
	snprintf(connections, sizeof connections, "-c%u", load->connections);
	snprintf(duration, sizeof duration, "-d%.0fs", options->seconds);
	snprintf(url, sizeof url, "http://127.0.0.1:%u", server->port);
	snprintf(deep, sizeof deep, "%u", load->depth);
	if (pipe(out) != 0 || (*pid = turns_fork(SIGKILL)) < 0) {
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

static struct turn run_wrk(const struct options *options, const struct http_server *server,
                           const struct load *load)
{
	struct turn turn = {0};
	double duration_us = 0, connect, receive, send, status, timeout;
	char line[512];
	bool told = false;
	pid_t pid;
	double cpu = http_server_cpu(server);
	uint64_t written = http_server_written(server);
	FILE *in = start_wrk(options, server, load, &pid);
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
static bool check(const struct http_server *server, const struct turn *turn, const struct load *load)
{
	double under_way = (double)load->connections * load->depth;
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
                    const struct http_server *reference, unsigned connections, unsigned depth,
                    struct comparison *comparison)
{
	*comparison = (struct comparison){.load = {connections, depth}, .right = true};
	const struct load *load = &comparison->load;
	if (!options->json)
		printf("%u connections, requests at once on each: %u\n", connections, depth);
	for (unsigned i = 0; i < options->pairs; i++) {
		struct turn other = run_wrk(options, reference, load);
		struct turn turn = run_wrk(options, ours, load);
		comparison->right &= check(reference, &other, load);
		comparison->right &= check(ours, &turn, load);
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

/* What a ratio is to reach, 0 for nothing. */
static double target_rate(const struct load *load)
{
	return load->depth > 1 ? TARGET_DEEP : load->connections <= FEW ? TARGET_FEW_RATE : TARGET_RATE;
}

static double target_per_cpu(const struct load *load)
{
	return load->depth > 1 ? 0 : load->connections <= FEW ? TARGET_FEW_PER_CPU : TARGET_PER_CPU;
}

static void print_comparison(const struct comparison *comparison, const struct http_server *ours,
                             const struct http_server *reference)
{
	const struct load *load = &comparison->load;
	printf("%u connections, %u at once on each: every answer 2xx, every event written: %s\n",
	       load->connections, load->depth, comparison->right ? "yes" : "NO");
	print_measure("requests a second", &comparison->rate, ours, reference, "/s", target_rate(load));
	print_measure("requests per second of the server's processor", &comparison->per_cpu, ours, reference,
	              "/s", target_per_cpu(load));
	if (comparison->p99.n > 0)
		print_measure("p99", &comparison->p99, ours, reference, "ms", 0);
}

static void print_json_comparison(const struct comparison *comparison)
{
	const struct turns *rate = &comparison->rate, *cpu = &comparison->per_cpu, *p99 = &comparison->p99;
	printf("{\"connections\":%u,\"depth\":%u,\"right\":%s,\"pairs\":%u,\"per_s\":%.0f,\"reference_per_s\":%.0f,\"ratio\":%.3f,\"per_cpu_s\":%.0f,\"reference_per_cpu_s\":%.0f,\"ratio_per_cpu\":%.3f",
	       comparison->load.connections, comparison->load.depth, comparison->right ? "true" : "false",
	       rate->n, turns_median(rate->ours, rate->n), turns_median(rate->reference, rate->n),
	       turns_ratio(rate), turns_median(cpu->ours, cpu->n), turns_median(cpu->reference, cpu->n),
	       turns_ratio(cpu));
	if (p99->n > 0)
		printf(",\"p99_ms\":%.3f,\"reference_p99_ms\":%.3f", turns_median(p99->ours, p99->n),
		       turns_median(p99->reference, p99->n));
	putchar('}');
}

/* All comparisons, a line each. */
static void print_table(const struct comparison *comparison, unsigned n)
{
	printf("connections x at once   requests/s      nginx   ratio   per CPU-second      nginx   ratio\n");
	for (unsigned i = 0; i < n; i++) {
		const struct comparison *one = &comparison[i];
		const struct turns *rate = &one->rate, *cpu = &one->per_cpu;
		printf("%11u x %-7u   %10.0f %10.0f   %5.2f   %14.0f %10.0f   %5.2f\n", one->load.connections,
		       one->load.depth, turns_median(rate->ours, rate->n),
		       turns_median(rate->reference, rate->n), turns_ratio(rate),
		       turns_median(cpu->ours, cpu->n), turns_median(cpu->reference, cpu->n),
		       turns_ratio(cpu));
	}
}

static void help(void)
{
	puts("Usage: bench-http [options]\n"
	     "\n"
	     "Measures POST /event: a millrace of its own that parses, checks and stores each, and nginx that answers 204, under wrk.\n"
	     "\n"
	     "  --pairs N          turns of each server (default 7)\n"
	     "  --duration S       length of each, whole seconds (default 4)\n"
	     "  --connections N,N  of wrk, one after the other (default 4,8,16,64); the last also with 16 requests at once on each\n"
	     "  --shallow          without those 16 at once\n"
	     "  --script FILE      what wrk sends (default bench/http.lua)\n"
	     "  --backend NAME     of millrace: auto, uring, uring-plain or epoll (default auto)\n"
	     "  --steer            the server's receiving is done on its own core, not on wrk's (root; RPS in a network namespace of its own)\n"
	     "  --itself           nginx takes both roles: what the machine's noise makes of a ratio of 1\n"
	     "  --json             one JSON object instead of text\n"
	     "\n"
	     "Exit status: 0 measured, 1 failed, an answer was not 2xx or an event was not written, 2 usage.");
}

/* False: not a list of numbers. */
static bool read_counts(struct options *options)
{
	const char *at = options->counts;
	for (char *end;; at = end + 1) {
		unsigned long n = *at >= '0' && *at <= '9' ? strtoul(at, &end, 10) : 0;
		if (n == 0 || n > CONNECTIONS_MAX || options->n_counts == COUNTS_MAX)
			return false;
		options->connections[options->n_counts++] = (unsigned)n;
		if (*end != ',')
			return *end == '\0';
	}
}

static int parse(int argc, char **argv, struct options *options)
{
	const struct option_row rows[] = {
	        {"pairs", OPTION_COUNT, &options->pairs, 1, TURNS_MAX},
	        {"duration", OPTION_REAL, &options->seconds, 1, 86400},
	        {"connections", OPTION_TEXT, &options->counts, 0, 0},
	        {"shallow", OPTION_ON, &options->shallow, 0, 0},
	        {"script", OPTION_TEXT, &options->script, 0, 0},
	        {"backend", OPTION_TEXT, &options->backend, 0, 0},
	        {"steer", OPTION_ON, &options->steer, 0, 0},
	        {"itself", OPTION_ON, &options->itself, 0, 0},
	        {"json", OPTION_ON, &options->json, 0, 0},
	};
	int done = options_read(argc, argv, "bench-http", rows, sizeof rows / sizeof *rows, help);
	if (done < 0 && !read_counts(options)) {
		fprintf(stderr,
		        "bench-http: --connections %s: up to %u numbers from 1 to %lu with commas are allowed\n",
		        options->counts, COUNTS_MAX, CONNECTIONS_MAX);
		return 2;
	}
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

/* Measures under each load. Returns how many comparisons there are. */
static unsigned measure(const struct options *options, const struct http_server *ours,
                        const struct http_server *reference, struct comparison *comparison)
{
	unsigned n = 0;
	for (; n < options->n_counts; n++)
		compare(options, ours, reference, options->connections[n], 1, &comparison[n]);
	if (!options->shallow) {
		compare(options, ours, reference, options->connections[n - 1], DEPTH, &comparison[n]);
		n++;
	}
	return n;
}

/* True when all was right. */
static bool report(const struct options *options, const struct http_server *ours,
                   const struct http_server *reference, const struct comparison *comparison, unsigned n)
{
	bool right = true;
	if (options->json)
		printf("{\"bench\":\"http\",\"loads\":[");
	for (unsigned i = 0; i < n; i++) {
		right &= comparison[i].right;
		if (!options->json) {
			print_comparison(&comparison[i], ours, reference);
			continue;
		}
		if (i > 0)
			putchar(',');
		print_json_comparison(&comparison[i]);
	}
	if (options->json)
		puts("]}");
	else
		print_table(comparison, n);
	return right;
}

int main(int argc, char **argv)
{
	struct options options = {.pairs = 7,
	                          .counts = "4,8,16,64",
	                          .seconds = 4,
	                          .script = "bench/http.lua",
	                          .backend = "auto"};
	static struct comparison comparison[COUNTS_MAX + 1];
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
	unsigned n = measure(&options, &ours, &nginx, comparison);
	if (!options.itself)
		http_server_stop(&ours);
	http_server_stop(&nginx);
	return report(&options, &ours, &nginx, comparison, n) ? 0 : 1;
}
