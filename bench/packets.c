#include "bench/packets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/lab.h"
#include "bench/packets_bare.h"
#include "bench/pipeline.h"
#include "bench/turns.h"
#include "cli/load/generator.h"
#include "cli/load/send_xdp.h"
#include "base/clock.h"
#include "base/program.h"

#define LISTEN  LAB_SERVER_ADDRESS ":4002"
#define SOURCES "\x0a\x4d\x01\x00" /* 10.77.1.0/24, a part of the lab's network */
/* Room for packets in the AF_XDP sockets of A and B, and as many bytes for the ordinary one, whose
 * packets take up a page each: other work on the machine does not lose them at once. */
#define FRAMES       "65536"
#define BUFFER       "256MiB"
#define SEARCH_STEPS 8u
#define LOWER        0.8 /* of the highest rate, in the longer run */
#define SENDER_CPU \
	1u /* the sender's, and of what the kernel does with its packets until they are in a socket */
#define RECEIVER_CPU 0u /* of whatever takes them from there */

/* Where the datagrams of a run are: all of these add up to what was sent. */
struct places {
	uint64_t sent;
	uint64_t no_frame, ring_full; /* lost at the AF_XDP socket */
	uint64_t socket_full;         /* lost at the ordinary socket */
	uint64_t refused;             /* by the kernel: checksum, no port */
	uint64_t rejected, dropped, written;
	/* not places of their own: */
	uint64_t received;             /* by the stage */
	uint64_t redirected, passed;   /* by the program, to the stage and to the ordinary socket */
	uint64_t counted, valid, full; /* valid: when sent; full: times that the sender was told to wait */
};

struct run {
	struct places places;
	double rate; /* received per second */
	double seconds;
	double sender_cpu;
	struct pipeline_cpu cpu;
	bool exact; /* nothing is lost or unknown */
};

/* The sender's words to its parent. */
struct sender {
	struct send_udp_result result;
	double cpu;
	char mode[16]; /* send_xdp_mode */
	char fallback[SEND_XDP_WHY_MAX];
	bool done;
};

struct bench {
	const struct packets_options *options;
	struct lab lab;
	struct generator generator;
	struct sender *sender; /* shared */
};

static void fail(const char *what, const char *why)
{
	fprintf(stderr, "bench-udp: %s: %s\n", what, why);
	exit(1);
}

/* ---- sending ---- */

static void send_all(struct bench *bench, double rate, double seconds)
{
	static struct send_xdp xdp;
	static const volatile bool never = false;
	char why[SEND_XDP_WHY_MAX];
	struct sockaddr_storage to = {0};
	struct send_xdp_settings settings = {.way = bench->options->way,
	                                     .interface = LAB_CLIENT,
	                                     .to_mac_given = true,
	                                     .to_mac = LAB_SERVER_MAC,
	                                     .network_given = true,
	                                     .network = {[10] = 0xff, [11] = 0xff},
	                                     .bits = 96 + 24,
	                                     .first_port = 1024,
	                                     .last_port = 65535,
	                                     .sources = bench->options->sources};
	const struct send_udp_settings amount = {
	        .rate = (uint64_t)rate, .count = UINT64_MAX, .duration_ns = (uint64_t)(seconds * 1e9)};
	struct sockaddr_in *address = (struct sockaddr_in *)&to;
	*address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(4002)};
	address->sin_addr.s_addr = inet_addr(LAB_SERVER_ADDRESS);
	memcpy(settings.network + 12, SOURCES, 4);
	turns_pin(SENDER_CPU);
	lab_enter(bench->lab.client_namespace);
	if (send_xdp_open(&xdp, &settings, &bench->generator, &to, why) != 0) {
		fprintf(stderr, "bench-udp: %s\n", why);
		_exit(1);
	}
	snprintf(bench->sender->mode, sizeof bench->sender->mode, "%s", send_xdp_mode(&xdp));
	snprintf(bench->sender->fallback, sizeof bench->sender->fallback, "%s", xdp.fallback);
	bench->sender->result = send_xdp_run(&xdp, &bench->generator, &amount, &never);
	bench->sender->cpu = (double)clock_read_ns(CLOCK_PROCESS_CPUTIME_ID) / 1e9;
	bench->sender->done = bench->sender->result.error == 0;
	_exit(0);
}

/* Sends from a process of its own and waits for its end. */
static void run_sender(struct bench *bench, double rate, double seconds)
{
	memset(bench->sender, 0, sizeof *bench->sender);
	pid_t pid = turns_fork(SIGKILL);
	if (pid < 0)
		fail("fork", strerror(errno));
	if (pid == 0)
		send_all(bench, rate, seconds);
	waitpid(pid, NULL, 0);
	if (!bench->sender->done)
		fail("the sender", strerror(-bench->sender->result.error));
}

/* ---- millrace ---- */

static struct places look(const struct bench *bench, const struct pipeline *pipeline)
{
	struct pipeline_count count = pipeline_count(pipeline);
	struct lab_count lab = lab_count(&bench->lab);
	return (struct places){
	        .no_frame = pipeline_metric(pipeline, "xdp_dropped"),
	        .ring_full = pipeline_metric(pipeline, "xdp_ring_full"),
	        .redirected = pipeline_metric(pipeline, "xdp_redirected"),
	        .passed = pipeline_metric(pipeline, "xdp_passed_form") +
	                  pipeline_metric(pipeline, "xdp_passed_source") +
	                  pipeline_metric(pipeline, "xdp_passed_large") +
	                  pipeline_metric(pipeline, "xdp_passed_closed"),
	        .socket_full = lab.udp_buffer,
	        .refused = lab.udp_errors - lab.udp_buffer + lab.udp_no_port,
	        .rejected = count.rejected,
	        .dropped = count.dropped,
	        .written = count.written,
	        .received = count.received,
	        .counted = count.counted,
	};
}

static struct places minus(struct places a, const struct places *b)
{
	a.no_frame -= b->no_frame;
	a.ring_full -= b->ring_full;
	a.redirected -= b->redirected;
	a.passed -= b->passed;
	a.socket_full -= b->socket_full;
	a.refused -= b->refused;
	a.rejected -= b->rejected;
	a.dropped -= b->dropped;
	a.written -= b->written;
	a.received -= b->received;
	a.counted -= b->counted;
	return a;
}

static uint64_t lost(const struct places *places)
{
	return places->no_frame + places->ring_full + places->socket_full + places->refused;
}

/* Sent, and at none of the places. */
static int64_t unknown(const struct places *places)
{
	return (int64_t)(places->sent - lost(places) - places->rejected - places->dropped - places->written);
}

static struct run run_millrace(struct bench *bench, const struct pipeline *pipeline, double rate,
                               double seconds)
{
	struct places before = look(bench, pipeline);
	struct pipeline_cpu cpu = pipeline_cpu(pipeline);
	run_sender(bench, rate, seconds);
	pipeline_settle(pipeline, 15);
	struct pipeline_cpu after = pipeline_cpu(pipeline);
	const struct send_udp_result *result = &bench->sender->result;
	struct generator_account account;
	generator_count(&bench->generator, result->sent, &account);
	struct run run = {.places = minus(look(bench, pipeline), &before),
	                  .seconds = (double)result->elapsed_ns / 1e9,
	                  .sender_cpu = bench->sender->cpu,
	                  .cpu = {after.supervisor - cpu.supervisor, after.ingest - cpu.ingest,
	                          after.tally - cpu.tally}};
	run.places.sent = result->sent;
	run.places.full = result->busy;
	run.places.valid = account.valid;
	run.rate = (double)run.places.received / run.seconds;
	run.exact = run.places.received == run.places.sent && run.places.written == account.valid &&
	            run.places.counted == account.valid && unknown(&run.places) == 0;
	return run;
}

static void start_millrace(const struct bench *bench, struct pipeline *pipeline, bool xdp)
{
	static const char *const with[] = {
	        "--set", "ingest.udp[0].backend=xdp",    "--set", "ingest.udp[0].interface=" LAB_SERVER,
	        "--set", "ingest.udp[0].frames=" FRAMES, NULL};
	static const char *const without[] = {"--set", "ingest.udp[0].receive_buffer=" BUFFER, NULL};
	const struct pipeline_place place = {
	        .network = bench->lab.server, .listen = LISTEN, .pinned = true, .processor = RECEIVER_CPU};
	pipeline_start_at(pipeline, &place, xdp ? with : without);
	if (xdp && pipeline_metric(pipeline, "xdp_mode") == 0)
		fail("--backend xdp", "the stage takes no packets by AF_XDP; its log says why");
}

static struct run turn_millrace(struct bench *bench, bool xdp)
{
	struct pipeline pipeline;
	start_millrace(bench, &pipeline, xdp);
	struct run run = run_millrace(bench, &pipeline, 0, bench->options->turn_seconds);
	pipeline_stop(&pipeline);
	return run;
}

static void print_table(const char *what, const struct run *run)
{
	const struct places *p = &run->places;
	printf("%s: %.3f M datagrams/s for %.1f s\n", what, (double)p->sent / run->seconds / 1e6,
	       run->seconds);
	printf("  %-52s %12llu\n", "sent by the generator", (unsigned long long)p->sent);
	printf("  %-52s %12llu\n", "lost at the AF_XDP socket: no free frame",
	       (unsigned long long)p->no_frame);
	printf("  %-52s %12llu\n", "lost at the AF_XDP socket: ring full", (unsigned long long)p->ring_full);
	printf("  %-52s %12llu\n", "lost at the ordinary socket: its buffer full",
	       (unsigned long long)p->socket_full);
	printf("  %-52s %12llu\n", "refused by the kernel: checksum, nobody at the port",
	       (unsigned long long)p->refused);
	printf("  %-52s %12llu\n", "rejected by the stage", (unsigned long long)p->rejected);
	printf("  %-52s %12llu\n", "dropped by the stage: stream full", (unsigned long long)p->dropped);
	printf("  %-52s %12llu\n", "written", (unsigned long long)p->written);
	printf("  %-52s %12lld\n", "sent, and at none of these places", (long long)unknown(p));
	printf("  received %llu; the program sent %llu to the stage and %llu to the ordinary socket; counted %llu; valid when sent %llu\n",
	       (unsigned long long)p->received, (unsigned long long)p->redirected,
	       (unsigned long long)p->passed, (unsigned long long)p->counted, (unsigned long long)p->valid);
	printf("  the generator was told to wait %llu times\n", (unsigned long long)p->full);
	printf("  processor time: sender and the kernel for it %.2f s, ingest-udp %.2f s, tally %.2f s, supervisor %.2f s\n",
	       run->sender_cpu, run->cpu.ingest, run->cpu.tally, run->cpu.supervisor);
	printf("  %s\n", run->exact ? "nothing lost: every datagram is accounted for" : "LOSS");
	fflush(stdout);
}

/* ---- the reference: a bare AF_XDP loop ---- */

struct bare {
	pid_t pid;
	FILE *out;
};

static void start_bare(const struct bench *bench, struct bare *bare)
{
	int out[2];
	char folder[480], path[512], line[16] = "";
	if (program_libexec(folder, sizeof folder) != 0 || pipe2(out, O_CLOEXEC) != 0)
		fail("bench-packets-bare", strerror(errno));
	snprintf(path, sizeof path, "%s/bench-packets-bare", folder);
	const char *arguments[] = {"ip",       "netns",
	                           "exec",     bench->lab.server,
	                           path,       "--interface",
	                           LAB_SERVER, "--frames",
	                           FRAMES,     bench->options->spin ? "--spin" : NULL,
	                           NULL};
	bare->pid = turns_fork(SIGTERM);
	if (bare->pid == 0) {
		turns_pin(RECEIVER_CPU);
		dup2(out[1], STDOUT_FILENO);
		execvp(arguments[0], (char *const *)(uintptr_t)arguments);
		_exit(127);
	}
	close(out[1]);
	bare->out = fdopen(out[0], "r");
	if (bare->pid < 0 || bare->out == NULL || fgets(line, sizeof line, bare->out) == NULL)
		fail("bench-packets-bare", "it did not start");
}

static struct run turn_bare(struct bench *bench)
{
	struct bare bare;
	unsigned long long received, waits, dropped, full, empty, cpu_ns;
	start_bare(bench, &bare);
	run_sender(bench, 0, bench->options->turn_seconds);
	kill(bare.pid, SIGTERM);
	if (fscanf(bare.out, PACKETS_BARE_LINE, &received, &waits, &dropped, &full, &empty, &cpu_ns) != 6)
		fail("bench-packets-bare", "it did not tell what it counted");
	fclose(bare.out);
	waitpid(bare.pid, NULL, 0);
	const struct send_udp_result *result = &bench->sender->result;
	struct run run = {.places = {.sent = result->sent,
	                             .no_frame = dropped,
	                             .ring_full = full,
	                             .received = received,
	                             .written = received,
	                             .full = result->busy},
	                  .seconds = (double)result->elapsed_ns / 1e9,
	                  .sender_cpu = bench->sender->cpu,
	                  .cpu.ingest = (double)cpu_ns / 1e9};
	run.rate = (double)received / run.seconds;
	run.exact = received == result->sent;
	return run;
}

/* ---- all of it ---- */

static void print_turn(const char *who, const struct run *run)
{
	const struct places *p = &run->places;
	printf("    %-9s %.3f M/s (a datagram: sender and kernel %.2f us, receiver %.2f us, tally %.2f us; ",
	       who, run->rate / 1e6, 1e6 * run->sender_cpu / (double)p->sent,
	       1e6 * run->cpu.ingest / (double)p->sent, 1e6 * run->cpu.tally / (double)p->sent);
	if (run->exact)
		printf("nothing lost)\n");
	else
		printf("of %llu lost: no free frame %llu, ring full %llu, socket full %llu, refused %llu, stream full %llu, unknown %lld)\n",
		       (unsigned long long)p->sent, (unsigned long long)p->no_frame,
		       (unsigned long long)p->ring_full, (unsigned long long)p->socket_full,
		       (unsigned long long)p->refused, (unsigned long long)p->dropped, (long long)unknown(p));
	fflush(stdout);
}

static void take_turns(struct bench *bench, struct turns *bare, struct turns *socket)
{
	for (unsigned i = 0; i < bench->options->turns; i++) {
		struct run ours = turn_millrace(bench, true);
		struct run loop = turn_bare(bench);
		struct run plain = turn_millrace(bench, false);
		turns_add(bare, ours.rate, loop.rate);
		turns_add(socket, ours.rate, plain.rate);
		if (bench->options->json)
			continue;
		printf("  turn %u\n", i + 1);
		print_turn("xdp", &ours);
		print_turn("bare loop", &loop);
		print_turn("socket", &plain);
	}
}

/* The highest rate without loss: as fast as the sender can, then halving the gap. */
static double search_rate(struct bench *bench, const struct pipeline *pipeline)
{
	double good = 0, bad = 0, rate = 0;
	for (unsigned step = 0; step < SEARCH_STEPS && (bad == 0 || (bad - good) / bad > 0.04); step++) {
		struct run run = run_millrace(bench, pipeline, rate, bench->options->turn_seconds);
		double reached = (double)run.places.sent / run.seconds;
		if (!bench->options->json)
			printf("  search: %.3f M/s sent, %s\n", reached / 1e6,
			       run.exact ? "nothing lost" : "loss");
		fflush(stdout);
		if (run.exact && reached > good)
			good = reached;
		if (run.exact && rate == 0)
			break; /* the sender is the limit */
		if (!run.exact)
			bad = reached;
		rate = (good + bad) / 2;
	}
	return good;
}

static void print_json(const struct bench *bench, const struct turns *bare, const struct turns *socket,
                       double highest, const struct run *run)
{
	const struct places *p = &run->places;
	printf("{\"bench\":\"udp\",\"backend\":\"xdp\",\"mode\":\"%s\",\"sources\":%u,\"turns\":%u,\"per_s\":%.0f,\"bare_loop_per_s\":%.0f,\"ratio_to_bare_loop\":%.3f,"
	       "\"socket_per_s\":%.0f,\"ratio_to_socket\":%.3f,\"highest_lossless_per_s\":%.0f,",
	       bench->sender->mode, bench->options->sources, bare->n, turns_median(bare->ours, bare->n),
	       turns_median(bare->reference, bare->n), turns_ratio(bare),
	       turns_median(socket->reference, socket->n), turns_ratio(socket), highest);
	printf("\"run\":{\"per_s\":%.0f,\"seconds\":%.1f,\"sent\":%llu,\"no_free_frame\":%llu,\"ring_full\":%llu,\"socket_full\":%llu,"
	       "\"refused_by_kernel\":%llu,\"rejected\":%llu,\"dropped\":%llu,\"written\":%llu,\"unknown\":%lld,\"received\":%llu,\"redirected\":%llu,\"passed\":%llu,"
	       "\"counted\":%llu,\"valid\":%llu,\"exact\":%s,\"cpu_s\":{\"sender\":%.2f,\"ingest_udp\":%.2f,\"tally\":%.2f}}}\n",
	       (double)p->sent / run->seconds, run->seconds, (unsigned long long)p->sent,
	       (unsigned long long)p->no_frame, (unsigned long long)p->ring_full,
	       (unsigned long long)p->socket_full, (unsigned long long)p->refused,
	       (unsigned long long)p->rejected, (unsigned long long)p->dropped,
	       (unsigned long long)p->written, (long long)unknown(p), (unsigned long long)p->received,
	       (unsigned long long)p->redirected, (unsigned long long)p->passed,
	       (unsigned long long)p->counted, (unsigned long long)p->valid, run->exact ? "true" : "false",
	       run->sender_cpu, run->cpu.ingest, run->cpu.tally);
}

static void prepare(struct bench *bench)
{
	char moderate[16];
	const char *const extra[] = {"--moderate", moderate, "--gro", "on", NULL};
	const struct generator_settings settings = {.format = GENERATOR_IPEVENT,
	                                            .apps = bench->options->apps,
	                                            .run = 1,
	                                            .corrupt_percent = bench->options->corrupt_percent,
	                                            .seed = 1};
	char folder[480], path[512];
	if (program_libexec(folder, sizeof folder) != 0)
		fail("libexec", strerror(errno));
	snprintf(path, sizeof path, "%s/bench-packets-bare", folder);
	if (access(path, X_OK) != 0)
		fail("--backend xdp", "this build has none (make XDP=0)");
	if (geteuid() != 0)
		fail("--backend xdp", "needs root: it makes network namespaces and AF_XDP sockets");
	if (generator_init(&bench->generator, &settings) != 0)
		fail("the generator", "cannot make the datagrams");
	bench->sender =
	        mmap(NULL, sizeof *bench->sender, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (bench->sender == MAP_FAILED)
		fail("mmap", strerror(errno));
	snprintf(moderate, sizeof moderate, "%u", bench->options->moderate);
	lab_start(&bench->lab, extra);
}

int packets_run(const struct packets_options *options)
{
	struct bench bench = {.options = options};
	struct turns bare = {0}, socket = {0};
	prepare(&bench);
	take_turns(&bench, &bare, &socket);
	if (!options->json) {
		printf("  the generator sends %s%s%s\n",
		       strcmp(bench.sender->mode, "live") == 0 ? "live frames" : "by an AF_XDP socket",
		       bench.sender->fallback[0] != '\0' ? ": " : "", bench.sender->fallback);
		turns_print(&bare, "as fast as the generator sends", "millrace, backend xdp",
		            "bare AF_XDP loop");
		turns_print(&socket, "the same", "millrace, backend xdp", "millrace, ordinary socket");
	}
	struct pipeline pipeline;
	start_millrace(&bench, &pipeline, true);
	double highest = options->search ? search_rate(&bench, &pipeline) : turns_median(bare.ours, bare.n);
	struct run run = run_millrace(&bench, &pipeline, LOWER * highest, options->seconds);
	pipeline_stop(&pipeline);
	lab_stop(&bench.lab);
	if (options->json)
		print_json(&bench, &bare, &socket, highest, &run);
	else
		print_table("at 0.8 of the highest rate without loss", &run);
	generator_fini(&bench.generator);
	return run.exact ? 0 : 1;
}
