/* bench-stream: the stream against ck_ring's single-producer single-consumer ring, two processes,
 * 100-byte messages.
 *
 *     writer process (cpu 0) --> shared memory --> reader process (cpu 1, this one)
 *
 * Both sides send the same payload: sequence number, 84 bytes, sequence number again; the reader
 * checks both ends of every message and that none is missing. The ring's slots are 112 bytes (100
 * and the 8-byte header that a record has too, rounded up); the ring moves messages one by one, as
 * its interface has it, the stream in batches of 64 and of 512. */
#include <ck_ring.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/options.h"
#include "bench/round_trip.h"
#include "bench/turns.h"
#include "shm/stream.h"
#include "base/clock.h"
#include "base/output.h"

#define MESSAGE_BYTES 100u
#define SLOT_BYTES    112u
#define RING_SLOTS    4096u
#define WARM_UP       200000u

struct slot {
	uint32_t length;
	uint16_t type, flags;
	unsigned char payload[SLOT_BYTES - 8];
};
CK_RING_PROTOTYPE(slots, slot)

struct ring {
	ck_ring_t ring;
	alignas(SHM_LINE) struct slot slot[RING_SLOTS];
};

struct options {
	double seconds;
	unsigned turns;
	uint64_t size;
	bool json;
};

static const unsigned char filling[MESSAGE_BYTES - 16] = {0x5a};

static inline void fill(unsigned char *payload, uint64_t sequence)
{
	memcpy(payload, &sequence, 8);
	memcpy(payload + 8, filling, sizeof filling);
	memcpy(payload + MESSAGE_BYTES - 8, &sequence, 8);
}

static inline void check(const unsigned char *payload, uint64_t sequence)
{
	uint64_t first, last;
	memcpy(&first, payload, 8);
	memcpy(&last, payload + MESSAGE_BYTES - 8, 8);
	if (__builtin_expect(first != sequence || last != sequence, 0)) {
		fprintf(stderr, "bench-stream: message %llu came as %llu .. %llu\n",
		        (unsigned long long)sequence, (unsigned long long)first, (unsigned long long)last);
		exit(1);
	}
}

static void write_stream(const char *directory, struct stream_group *group, unsigned batch)
{
	struct stream_writer writer;
	struct shm_error error;
	if (stream_writer_attach(&writer, directory, "bench", 0, &error) != 0) {
		fprintf(stderr, "bench-stream: %s\n", error.text);
		_exit(1);
	}
	stream_writer_group(&writer, 0, group);
	size_t bytes = batch * record_bytes(MESSAGE_BYTES);
	for (uint64_t sequence = 0;;) {
		char *at = stream_reserve(&writer, bytes);
		if (at == NULL) {
			ck_pr_stall();
			continue;
		}
		for (unsigned i = 0; i < batch; i++, at += record_bytes(MESSAGE_BYTES))
			fill(record_put(at, 1, MESSAGE_BYTES), sequence++);
		stream_commit(&writer, bytes, batch);
	}
}

/* In place, as the stream is written: the ring's interface lets its producer do so. */
static void write_ring(struct ring *ring)
{
	for (uint64_t sequence = 0;; sequence++) {
		struct slot *slot;
		while ((slot = ck_ring_enqueue_reserve_spsc_slots(&ring->ring, ring->slot)) == NULL)
			ck_pr_stall();
		slot->length = MESSAGE_BYTES;
		fill(slot->payload, sequence);
		ck_ring_enqueue_commit_spsc(&ring->ring);
	}
}

/* Reads until the time has passed; returns messages per second, the first WARM_UP left out. */
static double read_stream(const char *directory, struct stream_group *group, double seconds)
{
	struct stream_reader reader;
	struct shm_error error;
	if (stream_reader_attach(&reader, directory, "bench", &group->cursor[0], false, STREAM_FROM_CURSOR,
	                         &error) != 0) {
		fprintf(stderr, "bench-stream: %s\n", error.text);
		exit(1);
	}
	uint64_t sequence = 0, from = 0, start_ns = 0, now_ns = 0, end_ns = UINT64_MAX;
	while (now_ns < end_ns) {
		struct record_batch batch;
		if (!stream_peek(&reader, &batch)) {
			ck_pr_stall();
			continue;
		}
		uint64_t n = 0;
		for (const struct record *record; (record = record_next(&batch)) != NULL; n++)
			check(record->payload, sequence + n);
		sequence += n;
		stream_advance(&reader, &batch, n);
		now_ns = clock_monotonic_ns();
		if (start_ns == 0 && sequence >= WARM_UP) {
			start_ns = now_ns;
			from = sequence;
			end_ns = now_ns + (uint64_t)(seconds * 1e9);
		}
	}
	stream_reader_detach(&reader);
	return (double)(sequence - from) / ((double)(now_ns - start_ns) / 1e9);
}

static double read_ring(struct ring *ring, double seconds)
{
	uint64_t sequence = 0, from = 0, start_ns = 0, now_ns = 0, end_ns = UINT64_MAX;
	struct slot message;
	while (now_ns < end_ns) {
		unsigned n = 0;
		for (; n < 512 && CK_RING_DEQUEUE_SPSC(slots, &ring->ring, ring->slot, &message); n++)
			check(message.payload, sequence + n);
		sequence += n;
		if (n == 0) {
			ck_pr_stall();
			continue;
		}
		now_ns = clock_monotonic_ns();
		if (start_ns == 0 && sequence >= WARM_UP) {
			start_ns = now_ns;
			from = sequence;
			end_ns = now_ns + (uint64_t)(seconds * 1e9);
		}
	}
	return (double)(sequence - from) / ((double)(now_ns - start_ns) / 1e9);
}

static pid_t start_writer(void)
{
	pid_t pid = turns_fork(SIGKILL);
	if (pid < 0) {
		perror("bench-stream: fork");
		exit(1);
	}
	if (pid == 0)
		turns_pin(0);
	return pid;
}

static void stop_writer(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static double run_stream(const struct options *options, unsigned batch)
{
	struct shm_error error;
	const char *directory = turns_directory();
	struct stream_group *group = mmap(NULL, sizeof *group, PROT_READ | PROT_WRITE,
	                                  MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (group == MAP_FAILED || stream_create(directory, "bench", 1, options->size, &error) != 0) {
		fprintf(stderr, "bench-stream: %s\n", group == MAP_FAILED ? "no memory" : error.text);
		exit(1);
	}
	atomic_store(&group->state, GROUP_REQUIRED);
	pid_t pid = start_writer();
	if (pid == 0)
		write_stream(directory, group, batch);
	double rate = read_stream(directory, group, options->seconds);
	stop_writer(pid);
	segment_destroy(directory, "bench");
	munmap(group, sizeof *group);
	return rate;
}

static double run_ring(const struct options *options)
{
	struct ring *ring = mmap(NULL, sizeof *ring, PROT_READ | PROT_WRITE,
	                         MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (ring == MAP_FAILED) {
		perror("bench-stream: mmap");
		exit(1);
	}
	ck_ring_init(&ring->ring, RING_SLOTS);
	pid_t pid = start_writer();
	if (pid == 0)
		write_ring(ring);
	double rate = read_ring(ring, options->seconds);
	stop_writer(pid);
	munmap(ring, sizeof *ring);
	return rate;
}

static void help(void)
{
	puts("Usage: millrace bench stream [--duration S] [--turns N] [--size BYTES] [--json]\n"
	     "\n"
	     "Measures the stream (one writer process, one reader process, 100-byte records, batches of 64 and of 512) and, in turns\n"
	     "with it, ck_ring's SPSC ring (112-byte slots). Beside them stands how long one cache line takes from one processor\n"
	     "to another and back, measured before each turn.\n"
	     "\n"
	     "  --duration S  length of one measurement (default 0.5)\n"
	     "  --turns N     measurements of each kind (default 9, at most 64)\n"
	     "  --size BYTES  size of the stream, a power of two (default 524288; the ring has 4096 slots, 458752 bytes)\n"
	     "  --json        one JSON object instead of text\n"
	     "\n"
	     "Exit status: 0 measured, 1 failed, 2 usage.");
}

static int parse(int argc, char **argv, struct options *options)
{
	const struct option_row rows[] = {
	        {"duration", OPTION_REAL, &options->seconds, 0.001, 3600},
	        {"turns", OPTION_COUNT, &options->turns, 1, TURNS_MAX},
	        {"size", OPTION_BYTES, &options->size, 1, 1ull << 40},
	        {"json", OPTION_ON, &options->json, 0, 0},
	};
	return options_read(argc, argv, "bench-stream", rows, sizeof rows / sizeof *rows, help);
}

static int run(int argc, char **argv)
{
	struct options options = {.seconds = 0.5, .turns = 9, .size = 512 * 1024};
	int done = parse(argc, argv, &options);
	if (done >= 0)
		return done;
	turns_pin(1);
	struct turns by_64 = {0}, by_512 = {0};
	struct round_trip trip = {0};
	for (unsigned i = 0; i < options.turns; i++) {
		round_trip_measure(&trip);
		double ring = run_ring(&options);
		turns_add(&by_64, run_stream(&options, 64), ring);
		turns_add(&by_512, run_stream(&options, 512), ring);
	}
	if (options.json) {
		printf("{\"bench\":\"stream\",\"message_bytes\":%u,\"ck_ring_per_s\":%.0f,\"batch_64_per_s\":%.0f,\"batch_64_ratio\":%.3f,\"batch_512_per_s\":%.0f,\"batch_512_ratio\":%.3f",
		       MESSAGE_BYTES, turns_median(by_64.reference, by_64.n),
		       turns_median(by_64.ours, by_64.n), turns_ratio(&by_64),
		       turns_median(by_512.ours, by_512.n), turns_ratio(&by_512));
		round_trip_print_json(&trip);
		puts("}");
	} else {
		turns_print(&by_64, "stream, batches of 64", "stream", "ck_ring SPSC, 112-byte slots");
		turns_print(&by_512, "stream, batches of 512", "stream", "ck_ring SPSC, 112-byte slots");
		round_trip_print(&trip);
	}
	return 0;
}

int main(int argc, char **argv)
{
	output_no_size_signal();
	int status = run(argc, argv);
	return status != 0 ? status : output_finish("bench-stream");
}
