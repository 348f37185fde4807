/* bench-udp: from datagram to count, on loopback, sender included.
 *
 *   1. with GRO:   sender (UDP_SEGMENT, 64 datagrams a message) --> ingest-udp --> stream --> tally, at a fixed rate: what is lost, and where;
 *                  then the highest rate at which nothing is lost
 *   2. without:    the same pipeline and a bare recvmmsg loop in turns, fed one datagram a message as fast as the sender can
 *
 * The datagrams are the generator's IpEvents, 30 % of them corrupted unless --corrupt says
 * otherwise for part 1. --backend xdp measures something else: packets.h. */
#include <errno.h>
#include <netinet/udp.h>
#include <signal.h>
#include <stdbool.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/packets.h"
#include "bench/pipeline.h"
#include "bench/options.h"
#include "bench/turns.h"
#include "cli/load/generator.h"
#include "cli/load/send_frame.h"
#include "cli/load/send_udp.h"
#include "base/clock.h"
#include "base/output.h"

#define BARE_MESSAGES  64u
#define BARE_BYTES     2048u
#define SEARCH_STEPS   6u
#define RECEIVE_BUFFER (64 << 20)

struct options {
	double seconds, search_seconds, turn_seconds, rate, corrupt_percent;
	unsigned gso, apps, turns;
	bool json, search;
	const char *backend, *transmit;
	unsigned sources, moderate;
	bool spin;
};

struct run {
	double rate; /* datagrams per second that the sender reached */
	double seconds;
	uint64_t sent;
	uint64_t account_valid;
	struct pipeline_count count;
	struct pipeline_cpu cpu; /* used during the run */
	double sender_cpu;
	bool exact; /* sent = received, valid = written = counted */
};

/* The sender's words to its parent. */
struct sender {
	struct send_udp_result result;
	double cpu;
};

static pid_t start_sender(struct sender *shared, const struct generator *generator,
                          const struct sockaddr_in *address, double rate, double seconds, unsigned gso)
{
	pid_t pid = turns_fork(SIGKILL);
	if (pid != 0)
		return pid;
	struct send_udp_settings settings = {.rate = (uint64_t)rate,
	                                     .count = UINT64_MAX,
	                                     .duration_ns = (uint64_t)(seconds * 1e9),
	                                     .gso = gso,
	                                     .sources = 1};
	struct sockaddr_storage to = {0};
	memcpy(&to, address, sizeof *address);
	static const volatile bool never = false;
	shared->result = send_udp_run(generator, &to, sizeof *address, &settings, &never);
	shared->cpu = (double)clock_read_ns(CLOCK_PROCESS_CPUTIME_ID) / 1e9;
	_exit(0);
}

static void *shared_memory(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		perror("bench-udp: mmap");
		exit(1);
	}
	return memory;
}

static void make_generator(struct generator *generator, const struct options *options, unsigned run)
{
	struct generator_settings settings = {.format = GENERATOR_IPEVENT,
	                                      .apps = options->apps,
	                                      .run = run,
	                                      .corrupt_percent = options->corrupt_percent,
	                                      .seed = 1};
	if (generator_init(generator, &settings) != 0) {
		fprintf(stderr, "bench-udp: cannot make the datagrams\n");
		exit(1);
	}
}

static struct pipeline_count minus(struct pipeline_count a, struct pipeline_count b)
{
	return (struct pipeline_count){a.received - b.received, a.rejected - b.rejected,
	                               a.dropped - b.dropped,   a.kernel_dropped - b.kernel_dropped,
	                               a.written - b.written,   a.counted - b.counted};
}

/* Sends for some seconds through a running pipeline and accounts for every datagram. */
static struct run run_pipeline(const struct pipeline *pipeline, const struct generator *generator,
                               double rate, double seconds, unsigned gso)
{
	struct sender *sender = shared_memory(sizeof *sender);
	struct pipeline_count before = pipeline_count(pipeline);
	struct pipeline_cpu cpu = pipeline_cpu(pipeline);
	pid_t pid = start_sender(sender, generator, &pipeline->address, rate, seconds, gso);
	waitpid(pid, NULL, 0);
	pipeline_settle(pipeline, 15);
	struct pipeline_cpu after = pipeline_cpu(pipeline);
	struct generator_account account;
	generator_count(generator, sender->result.sent, &account);
	struct run run = {
	        .seconds = (double)sender->result.elapsed_ns / 1e9,
	        .sent = sender->result.sent,
	        .account_valid = account.valid,
	        .count = minus(pipeline_count(pipeline), before),
	        .cpu = {after.supervisor - cpu.supervisor, after.ingest - cpu.ingest,
	                after.tally - cpu.tally},
	        .sender_cpu = sender->cpu,
	};
	run.rate = (double)run.sent / run.seconds;
	run.exact = run.count.received == run.sent && run.count.written == run.account_valid &&
	            run.count.counted == run.count.written && run.count.dropped == 0;
	munmap(sender, sizeof *sender);
	return run;
}

static void print_run(const char *what, const struct run *run)
{
	printf("%s: %.2f M datagrams/s for %.1f s\n", what, run->rate / 1e6, run->seconds);
	printf("  sent %llu = received %llu + lost before the stage %lld (kernel counts %llu queue entries dropped)\n",
	       (unsigned long long)run->sent, (unsigned long long)run->count.received,
	       (long long)(run->sent - run->count.received), (unsigned long long)run->count.kernel_dropped);
	printf("  received = rejected %llu + dropped at a full stream %llu + written %llu; counted %llu; valid when sent %llu\n",
	       (unsigned long long)run->count.rejected, (unsigned long long)run->count.dropped,
	       (unsigned long long)run->count.written, (unsigned long long)run->count.counted,
	       (unsigned long long)run->account_valid);
	printf("  processor time: sender %.2f s, ingest-udp %.2f s, tally %.2f s, supervisor %.2f s\n",
	       run->sender_cpu, run->cpu.ingest, run->cpu.tally, run->cpu.supervisor);
	printf("  %s\n", run->exact ? "nothing lost: every datagram is accounted for" : "LOSS");
	fflush(stdout);
}

/* The highest rate without loss: up in steps of a quarter until something is lost, then halving the
 * gap. */
static double search_rate(const struct pipeline *pipeline, const struct generator *generator,
                          const struct options *options)
{
	double good = 0, bad = 0, rate = options->rate;
	for (unsigned step = 0; step < 2 * SEARCH_STEPS && (bad == 0 || (bad - good) / bad > 0.04); step++) {
		struct run run =
		        run_pipeline(pipeline, generator, rate, options->search_seconds, options->gso);
		bool reached = run.rate > rate * 0.97;
		if (!options->json)
			printf("  search: %.2f M/s asked, %.2f M/s sent, %s\n", rate / 1e6, run.rate / 1e6,
			       run.exact ? "nothing lost" : "loss");
		fflush(stdout);
		if (run.exact && run.rate > good)
			good = run.rate;
		if (!run.exact)
			bad = rate;
		if (run.exact && !reached)
			break; /* the sender is the limit */
		rate = bad == 0 ? rate * 1.25 : (good == 0 ? bad / 2 : (good + bad) / 2);
	}
	return good;
}

/* ---- the reference: a bare recvmmsg loop ---- */

struct bare {
	_Atomic uint64_t received;
	_Atomic bool stop;
	double cpu;
};

static int bind_bare(struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int bytes = RECEIVE_BUFFER;
	socklen_t length = sizeof *address;
	*address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
	struct timeval wait = {.tv_usec = 100000};
	if (fd < 0 || bind(fd, (struct sockaddr *)address, length) != 0 ||
	    getsockname(fd, (struct sockaddr *)address, &length) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) != 0) {
		perror("bench-udp: bare socket");
		exit(1);
	}
	return fd;
}

static void bare_loop(int fd, struct bare *bare)
{
	static unsigned char data[BARE_MESSAGES][BARE_BYTES];
	static struct sockaddr_storage name[BARE_MESSAGES];
	static struct iovec vector[BARE_MESSAGES];
	static struct mmsghdr message[BARE_MESSAGES];
	uint64_t received = 0;
	for (unsigned i = 0; i < BARE_MESSAGES; i++)
		vector[i] = (struct iovec){data[i], BARE_BYTES};
	while (!atomic_load_explicit(&bare->stop, memory_order_relaxed)) {
		for (unsigned i = 0; i < BARE_MESSAGES; i++)
			message[i].msg_hdr = (struct msghdr){.msg_iov = &vector[i],
			                                     .msg_iovlen = 1,
			                                     .msg_name = &name[i],
			                                     .msg_namelen = sizeof name[i]};
		int n = recvmmsg(fd, message, BARE_MESSAGES, MSG_WAITFORONE, NULL);
		if (n > 0) {
			received += (uint64_t)n;
			atomic_store_explicit(&bare->received, received, memory_order_relaxed);
		}
	}
	bare->cpu = (double)clock_read_ns(CLOCK_PROCESS_CPUTIME_ID) / 1e9;
	_exit(0);
}

struct bare_run {
	double rate; /* received per second */
	uint64_t sent, received;
	double cpu;
};

static struct bare_run run_bare(const struct generator *generator, double seconds)
{
	struct sockaddr_in address;
	struct bare *bare = shared_memory(sizeof *bare);
	struct sender *sender = shared_memory(sizeof *sender);
	int fd = bind_bare(&address);
	pid_t receiver = turns_fork(SIGKILL);
	if (receiver == 0)
		bare_loop(fd, bare);
	waitpid(start_sender(sender, generator, &address, 0, seconds, 1), NULL, 0);
	uint64_t last = 0;
	do { /* what the socket still holds */
		last = atomic_load(&bare->received);
		usleep(50000);
	} while (atomic_load(&bare->received) != last);
	atomic_store(&bare->stop, true);
	waitpid(receiver, NULL, 0);
	close(fd);
	struct bare_run run = {.rate = (double)last / ((double)sender->result.elapsed_ns / 1e9),
	                       .sent = sender->result.sent,
	                       .received = last,
	                       .cpu = bare->cpu};
	munmap(bare, sizeof *bare);
	munmap(sender, sizeof *sender);
	return run;
}

static void run_single(const struct options *options, struct turns *turns)
{
	struct generator generator;
	struct pipeline pipeline;
	make_generator(&generator, options, 1);
	for (unsigned i = 0; i < options->turns; i++) {
		static const char *const nothing[] = {NULL};
		pipeline_start(&pipeline, nothing);
		struct run run = run_pipeline(&pipeline, &generator, 0, options->turn_seconds, 1);
		pipeline_stop(&pipeline);
		struct bare_run bare = run_bare(&generator, options->turn_seconds);
		turns_add(turns, (double)run.count.received / run.seconds, bare.rate);
		if (!options->json)
			printf("  turn %u: millrace %.3f M/s (sent %llu, lost %lld; ingest-udp %.2f s, tally %.2f s), bare recvmmsg %.3f M/s (sent %llu, lost %lld; %.2f s)\n",
			       i + 1, (double)run.count.received / run.seconds / 1e6,
			       (unsigned long long)run.sent, (long long)(run.sent - run.count.received),
			       run.cpu.ingest, run.cpu.tally, bare.rate / 1e6, (unsigned long long)bare.sent,
			       (long long)(bare.sent - bare.received), bare.cpu);
		fflush(stdout);
	}
	generator_fini(&generator);
}

static void help(void)
{
	puts("Usage: millrace bench udp [options]\n"
	     "\n"
	     "Sends IpEvents over loopback through a millrace of its own (ingest-udp, stream, tally, SQLite) and accounts for each.\n"
	     "\n"
	     "  --duration S      length of the run at a fixed rate (default 10)\n"
	     "  --rate N          that rate, datagrams a second (default 5000000)\n"
	     "  --gso N           datagrams a message, 1 to 64 (default 64)\n"
	     "  --apps N          applications (default 1000)\n"
	     "  --corrupt P       percent corrupted (default 0: equal lengths make full messages)\n"
	     "  --no-search       do not look for the highest rate without loss\n"
	     "  --turns N         pairs without GRO: this pipeline and a bare recvmmsg loop (default 5, 0 for none)\n"
	     "  --turn-duration S length of each (default 2)\n"
	     "  --json            one JSON object instead of text\n"
	     "\n"
	     "  --backend xdp     as root: frames of many sources through a lab of two network namespaces, taken in by AF_XDP; in turns with a bare\n"
	     "                    AF_XDP loop and with the ordinary socket, then at 0.8 of the highest rate without loss (no --rate, no --gso)\n"
	     "  --sources N       that take turns one by one (default 1024)\n"
	     "  --moderate US     microseconds in which packets gather at the receiving end, as a card's interrupt moderation does (default 0)\n"
	     "  --transmit WAY    of the generator: live, socket, or auto: live frames where they can be had (default auto)\n"
	     "  --spin            the bare loop never sleeps\n"
	     "\n"
	     "Exit status: 0 measured, 1 failed or datagrams were lost at the fixed rate, 2 usage.");
}

static int parse(int argc, char **argv, struct options *options)
{
	const struct option_row rows[] = {
	        {"duration", OPTION_REAL, &options->seconds, 0.001, 86400},
	        {"rate", OPTION_REAL, &options->rate, 1, 1e12},
	        {"gso", OPTION_COUNT, &options->gso, 1, GENERATOR_RUN_MAX},
	        {"apps", OPTION_COUNT, &options->apps, 1, INT_MAX},
	        {"corrupt", OPTION_REAL, &options->corrupt_percent, 0, 100},
	        {"no-search", OPTION_OFF, &options->search, 0, 0},
	        {"turns", OPTION_COUNT, &options->turns, 0, TURNS_MAX},
	        {"turn-duration", OPTION_REAL, &options->turn_seconds, 0.001, 86400},
	        {"json", OPTION_ON, &options->json, 0, 0},
	        {"backend", OPTION_TEXT, &options->backend, 0, 0},
	        {"sources", OPTION_COUNT, &options->sources, 1, SEND_FRAME_SOURCES_MAX},
	        {"moderate", OPTION_COUNT, &options->moderate, 0, 10000},
	        {"transmit", OPTION_TEXT, &options->transmit, 0, 0},
	        {"spin", OPTION_ON, &options->spin, 0, 0},
	};
	return options_read(argc, argv, "bench-udp", rows, sizeof rows / sizeof *rows, help);
}

static void print_json(const struct options *options, const struct run *fixed, double best,
                       const struct turns *turns)
{
	printf("{\"bench\":\"udp\",\"gro\":{\"asked_per_s\":%.0f,\"per_s\":%.0f,\"seconds\":%.1f,\"sent\":%llu,\"received\":%llu,"
	       "\"rejected\":%llu,\"dropped\":%llu,\"kernel_dropped_entries\":%llu,\"written\":%llu,\"counted\":%llu,\"exact\":%s,"
	       "\"highest_lossless_per_s\":%.0f,\"cpu_s\":{\"sender\":%.2f,\"ingest_udp\":%.2f,\"tally\":%.2f,\"supervisor\":%.2f}}",
	       options->rate, fixed->rate, fixed->seconds, (unsigned long long)fixed->sent,
	       (unsigned long long)fixed->count.received, (unsigned long long)fixed->count.rejected,
	       (unsigned long long)fixed->count.dropped, (unsigned long long)fixed->count.kernel_dropped,
	       (unsigned long long)fixed->count.written, (unsigned long long)fixed->count.counted,
	       fixed->exact ? "true" : "false", best, fixed->sender_cpu, fixed->cpu.ingest, fixed->cpu.tally,
	       fixed->cpu.supervisor);
	printf(",\"single\":{\"per_s\":%.0f,\"bare_recvmmsg_per_s\":%.0f,\"ratio\":%.3f,\"turns\":%u}}\n",
	       turns_median(turns->ours, turns->n), turns_median(turns->reference, turns->n),
	       turns_ratio(turns), turns->n);
}

static int run_packets(const struct options *options)
{
	enum send_xdp_way way;
	if (!send_xdp_find_way(options->transmit, &way)) {
		fprintf(stderr, "bench-udp: --transmit %s: auto, live or socket; see --help\n",
		        options->transmit);
		return 2;
	}
	const struct packets_options packets = {.way = way,
	                                        .seconds = options->seconds,
	                                        .turn_seconds = options->turn_seconds,
	                                        .corrupt_percent = options->corrupt_percent,
	                                        .sources = options->sources,
	                                        .apps = options->apps,
	                                        .turns = options->turns,
	                                        .moderate = options->moderate,
	                                        .json = options->json,
	                                        .search = options->search,
	                                        .spin = options->spin};
	return packets_run(&packets);
}

static int run(int argc, char **argv)
{
	struct options options = {.backend = "socket",
	                          .transmit = "auto",
	                          .sources = 1024,
	                          .seconds = 10,
	                          .search_seconds = 2,
	                          .turn_seconds = 2,
	                          .rate = 5e6,
	                          .gso = 64,
	                          .apps = 1000,
	                          .turns = 5,
	                          .search = true};
	int done = parse(argc, argv, &options);
	if (done >= 0)
		return done;
	if (strcmp(options.backend, "xdp") == 0)
		return run_packets(&options);
	if (strcmp(options.backend, "socket") != 0) {
		fprintf(stderr, "bench-udp: --backend %s: socket or xdp; see --help\n", options.backend);
		return 2;
	}
	static const char *const nothing[] = {NULL};
	struct generator generator;
	struct pipeline pipeline;
	make_generator(&generator, &options, options.gso);
	pipeline_start(&pipeline, nothing);
	struct run fixed = run_pipeline(&pipeline, &generator, options.rate, options.seconds, options.gso);
	if (!options.json)
		print_run("with GRO", &fixed);
	double best = fixed.exact ? fixed.rate : 0;
	if (options.search) {
		double found = search_rate(&pipeline, &generator, &options);
		best = found > best ? found : best;
		if (!options.json)
			printf("  highest rate without loss: %.2f M datagrams/s\n", best / 1e6);
	}
	pipeline_stop(&pipeline);
	generator_fini(&generator);
	struct turns turns = {0};
	run_single(&options, &turns);
	if (options.json)
		print_json(&options, &fixed, best, &turns);
	else
		turns_print(&turns, "without GRO, one datagram a message", "millrace, counted",
		            "bare recvmmsg loop");
	return fixed.exact ? 0 : 1;
}

int main(int argc, char **argv)
{
	output_no_size_signal();
	int status = run(argc, argv);
	return status != 0 ? status : output_finish("bench-udp");
}
