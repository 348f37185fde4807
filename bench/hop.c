/* bench-hop: the same messages over each way from one process to another (hop.h): the highest rate,
 * per second and per second of processor time of all that take part, and the latency at a tenth of
 * that rate. The ways take turns. */
#include "bench/hop.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/cpu.h"
#include "bench/options.h"
#include "bench/turns.h"
#include "base/clock.h"

#define WINDOW    65536u /* messages written and not yet read, at most: every way may hold so many */
#define LATENCIES (1u << 20)
#define TICK_NS   (100 * NS_PER_US) /* of the writer with a rate */
#define GIVE_UP_S 30

/* What the writer and the reader of a turn share. */
struct turn {
	_Atomic uint64_t written, read; /* messages */
	_Atomic uint64_t end_ns;        /* of the reader */
	_Atomic bool stop, all_written;
	uint64_t rate; /* messages a second; 0: as many as go */
	double cpu_s[2];
	uint64_t n_latencies;
	uint64_t latency_ns[LATENCIES];
};

struct measured {
	unsigned n;
	double rate[TURNS_MAX];    /* messages a second */
	double per_cpu[TURNS_MAX]; /* messages a second of processor time */
	double p50_us[TURNS_MAX], p99_us[TURNS_MAX];
	const char *left_out; /* why, NULL: measured */
};

static const struct hop_way *const ways[] = {&hop_topic,       &hop_pipe,         &hop_unix, &hop_redis_list,
                                             &hop_redis_lists, &hop_redis_stream, &hop_nats, &hop_kafka};
#define N_WAYS (sizeof ways / sizeof *ways)

const char *hop_kafka_brokers;
unsigned hop_kafka_pid;

void hop_fail(const char *what, const char *why)
{
	fprintf(stderr, "bench-hop: %s: %s\n", what, why);
	exit(1);
}

/* ---- the writer ---- */

static void fill(struct hop_message *message, unsigned n, uint64_t first)
{
	uint64_t now = clock_monotonic_ns();
	for (unsigned i = 0; i < n; i++) {
		message[i].sent_ns = now;
		message[i].number = first + i;
	}
}

/* How many may be handed in now: of the window, of what is due, of a batch. */
static unsigned due(const struct turn *turn, uint64_t written, uint64_t begin_ns)
{
	uint64_t room = WINDOW - (written - atomic_load_explicit(&turn->read, memory_order_relaxed));
	if (turn->rate > 0) {
		uint64_t since_ns = clock_monotonic_ns() - begin_ns;
		uint64_t target = (uint64_t)((double)turn->rate * (double)since_ns / 1e9);
		uint64_t behind = target > written ? target - written : 0;
		room = behind < room ? behind : room;
	}
	return room < HOP_BATCH ? (unsigned)room : HOP_BATCH;
}

static void write_turn(const struct hop_way *way, struct turn *turn)
{
	static struct hop_message message[HOP_BATCH];
	uint64_t written = 0, begin_ns = clock_monotonic_ns();
	for (unsigned i = 0; i < HOP_BATCH; i++)
		memset(message[i].filler, 'a' + (int)(i % 26), sizeof message[i].filler);
	if (way->writer_begin != NULL)
		way->writer_begin();
	while (!atomic_load_explicit(&turn->stop, memory_order_relaxed)) {
		unsigned n = due(turn, written, begin_ns);
		/* a flood waits for a whole batch, a rate for its next tick */
		if (turn->rate == 0 ? n < HOP_BATCH : n == 0) {
			struct timespec nap = {.tv_nsec = turn->rate == 0 ? 20 * NS_PER_US : TICK_NS};
			clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
			continue;
		}
		fill(message, n, written);
		way->hand_in(message, n);
		written += n;
		atomic_store_explicit(&turn->written, written, memory_order_relaxed);
	}
	if (way->writer_done != NULL)
		way->writer_done();
	atomic_store(&turn->all_written, true); /* the reader ends when it has them */
}

/* ---- the reader ---- */

static void note_latencies(struct turn *turn, const struct hop_message *message, unsigned n)
{
	uint64_t now = clock_monotonic_ns();
	for (unsigned i = 0; i < n && turn->n_latencies < LATENCIES; i++)
		turn->latency_ns[turn->n_latencies++] = now - message[i].sent_ns;
}

static void read_turn(const struct hop_way *way, struct turn *turn)
{
	static struct hop_message message[HOP_BATCH];
	uint64_t read = 0, heard_ns = clock_monotonic_ns();
	if (way->reader_begin != NULL)
		way->reader_begin();
	while (!atomic_load(&turn->all_written) || read < atomic_load(&turn->written)) {
		unsigned n = way->take(message);
		for (unsigned i = 0; i < n; i++)
			if (message[i].number != read + i)
				hop_fail(way->name, "a message is missing, or came twice");
		if (turn->rate > 0)
			note_latencies(turn, message, n);
		read += n;
		atomic_store_explicit(&turn->read, read, memory_order_relaxed);
		if (n > 0)
			heard_ns = clock_monotonic_ns();
		else if (clock_monotonic_ns() - heard_ns > GIVE_UP_S * NS_PER_SEC)
			hop_fail(way->name, "nothing comes any more");
	}
	if (way->reader_done != NULL)
		way->reader_done();
	atomic_store(&turn->end_ns, clock_monotonic_ns());
}

/* ---- a turn ---- */

static pid_t begin(const struct hop_way *way, struct turn *turn, unsigned side)
{
	pid_t pid = hop_fork();
	if (pid > 0)
		return pid;
	turns_pin(side);
	(side == 0 ? write_turn : read_turn)(way, turn);
	turn->cpu_s[side] = cpu_seconds(0);
	_exit(0);
}

/* Waits for a child; what fails there has said why, and fails here. */
static void await(pid_t pid, pid_t other)
{
	int status = 0;
	waitpid(pid, &status, 0);
	if (status == 0)
		return;
	if (other > 0) {
		kill(other, SIGKILL);
		waitpid(other, NULL, 0);
	}
	exit(1);
}

/* Returns messages a second; *per_cpu_s is the same by the processor time of writer, reader and
 * server. */
static double run(const struct hop_way *way, struct turn *turn, double seconds, double *per_cpu_s)
{
	memset(turn, 0, offsetof(struct turn, rate));
	turn->n_latencies = 0;
	pid_t server = way->server != NULL ? way->server() : 0;
	double server_s = server > 0 ? cpu_seconds(server) : 0;
	uint64_t begin_ns = clock_monotonic_ns();
	pid_t reader = begin(way, turn, 1), writer = begin(way, turn, 0);
	usleep((useconds_t)(seconds * 1e6));
	atomic_store(&turn->stop, true);
	await(writer, reader);
	await(reader, 0);
	double cpu_s = turn->cpu_s[0] + turn->cpu_s[1] + (server > 0 ? cpu_seconds(server) - server_s : 0);
	double messages = (double)atomic_load(&turn->read);
	*per_cpu_s = cpu_s > 0 ? messages / cpu_s : 0;
	return messages / ((double)(atomic_load(&turn->end_ns) - begin_ns) / 1e9);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static double quantile_us(struct turn *turn, double q)
{
	if (turn->n_latencies == 0)
		return 0;
	qsort(turn->latency_ns, turn->n_latencies, sizeof *turn->latency_ns, compare);
	return (double)turn->latency_ns[(uint64_t)(q * (double)(turn->n_latencies - 1))] / 1e3;
}

/* One turn of a way: as many as go, then a tenth of that. */
static void measure(const struct hop_way *way, struct measured *measured, struct turn *turn, double seconds)
{
	unsigned i = measured->n;
	double unused;
	turn->rate = 0;
	measured->rate[i] = run(way, turn, seconds, &measured->per_cpu[i]);
	turn->rate = (uint64_t)(measured->rate[i] / 10) + 1;
	run(way, turn, seconds, &unused);
	measured->p50_us[i] = quantile_us(turn, 0.5);
	measured->p99_us[i] = quantile_us(turn, 0.99);
	measured->n++;
}

/* ---- what is printed ---- */

static double median(const double *values, const struct measured *measured)
{
	return turns_median(values, measured->n);
}

static void print_text(const struct measured *all)
{
	double topic = median(all[0].rate, &all[0]), topic_cpu = median(all[0].per_cpu, &all[0]);
	printf("%u-byte messages from one process to another, batches of %u; latency at a tenth of the rate\n"
	       "%-14s %10s %10s %8s %8s %10s %10s\n",
	       HOP_BYTES, HOP_BATCH, "", "M/s", "M/CPU-s", "topic is", "by CPU", "p50 us", "p99 us");
	for (unsigned i = 0; i < N_WAYS; i++) {
		const struct measured *one = &all[i];
		if (one->left_out != NULL) {
			printf("%-14s left out: %s\n", ways[i]->name, one->left_out);
			continue;
		}
		double rate = median(one->rate, one), per_cpu = median(one->per_cpu, one);
		printf("%-14s %10.3f %10.3f %7.1fx %7.1fx %10.0f %10.0f  %s\n", ways[i]->name, rate / 1e6,
		       per_cpu / 1e6, topic / rate, topic_cpu / per_cpu, median(one->p50_us, one),
		       median(one->p99_us, one), ways[i]->promise);
	}
}

static void print_values(const char *name, const double *values, const struct measured *measured)
{
	printf("\"%s\":[", name);
	for (unsigned i = 0; i < measured->n; i++)
		printf("%s%.1f", i > 0 ? "," : "", values[i]);
	printf("]");
}

static void print_json(const struct measured *all)
{
	printf("{\"bytes\":%u,\"batch\":%u,\"ways\":[", HOP_BYTES, HOP_BATCH);
	for (unsigned i = 0; i < N_WAYS; i++) {
		const struct measured *one = &all[i];
		printf("%s{\"name\":\"%s\",\"promise\":\"%s\",", i > 0 ? "," : "", ways[i]->name,
		       ways[i]->promise);
		if (one->left_out != NULL) {
			printf("\"left_out\":\"%s\"}", one->left_out);
			continue;
		}
		print_values("per_s", one->rate, one);
		putchar(',');
		print_values("per_cpu_s", one->per_cpu, one);
		putchar(',');
		print_values("p50_us", one->p50_us, one);
		putchar(',');
		print_values("p99_us", one->p99_us, one);
		putchar('}');
	}
	puts("]}");
}

static void help(void)
{
	puts("Usage: bench-hop [--turns N] [--duration S] [--kafka BROKERS] [--json]\n"
	     "\n"
	     "Hands messages of 100 bytes from one process to another by a topic of millrace with a required\n"
	     "group, a pipe, a Unix socket, Redis, NATS JetStream and Kafka, in turns: the highest rate, the\n"
	     "rate by processor time of all that take part, and the latency at a tenth of the rate. What is\n"
	     "not installed is left out.\n"
	     "\n"
	     "  --turns N        of each way (default 5)\n"
	     "  --duration S     of each measurement, two a turn (default 1)\n"
	     "  --kafka BROKERS  of a Kafka that runs; --kafka-pid N: its process, whose time counts\n"
	     "  --json           one JSON object instead of text\n"
	     "\n"
	     "Exit status: 0 measured, 1 failed (also when a message was lost or came twice), 2 usage.");
}

int main(int argc, char **argv)
{
	unsigned turns = 5;
	double seconds = 1;
	bool json = false;
	const struct option_row rows[] = {{"turns", OPTION_COUNT, &turns, 1, TURNS_MAX},
	                                  {"duration", OPTION_REAL, &seconds, 0.05, 60},
	                                  {"kafka", OPTION_TEXT, &hop_kafka_brokers, 0, 0},
	                                  {"kafka-pid", OPTION_COUNT, &hop_kafka_pid, 1, 4194304},
	                                  {"json", OPTION_ON, &json, 0, 0}};
	int done = options_read(argc, argv, "bench-hop", rows, sizeof rows / sizeof *rows, help);
	if (done >= 0)
		return done;
	signal(SIGPIPE, SIG_IGN);
	static struct measured measured[N_WAYS];
	struct turn *turn =
	        mmap(NULL, sizeof *turn, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (turn == MAP_FAILED)
		hop_fail("memory", strerror(errno));
	for (unsigned i = 0; i < N_WAYS; i++)
		measured[i].left_out = ways[i]->open();
	for (unsigned round = 0; round < turns; round++)
		for (unsigned i = 0; i < N_WAYS; i++)
			if (measured[i].left_out == NULL)
				measure(ways[i], &measured[i], turn, seconds);
	for (unsigned i = 0; i < N_WAYS; i++)
		if (measured[i].left_out == NULL)
			ways[i]->close();
	(json ? print_json : print_text)(measured);
	return 0;
}
