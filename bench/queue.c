/* bench-queue: the queue against ck_ring's many-to-many ring. Producers and takers are processes.
 *
 *     producers 0 .. P-1 --> 112-byte messages in shared memory --> takers 0 .. T-1
 *
 * Both sides carry the same messages: a number and a pattern made from it, filled where the
 * interface allows it (both let the producer fill in place; the ring's taker gets a copy, for until
 * its compare-and-swap it may be overtaken). The taker checks the whole pattern. At the end of each
 * turn as many messages must have been taken as were pushed, and the sums of their numbers must be
 * equal: otherwise something was lost or taken twice and the program fails. Neither side sleeps or
 * rings; --bells lets the queue ring its two doorbells, which nobody hears, to show what they
 * cost. */
#include <ck_pr.h>
#include <ck_ring.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/options.h"
#include "bench/round_trip.h"
#include "bench/turns.h"
#include "shm/queue.h"
#include "base/clock.h"
#include "base/output.h"

#define SLOTS         4096u
#define MESSAGE_WORDS 14u
#define PROCESSES_MAX 16u
#define WARM_UP_NS    50000000u
#define STALLS        64u
#define YIELD_AFTER   64u /* failures */

struct message {
	uint64_t word[MESSAGE_WORDS];
};
CK_RING_PROTOTYPE(messages, message)

struct tally {
	alignas(SHM_LINE) _Atomic uint64_t n; /* messages; own process writes, parent reads */
	_Atomic uint64_t sum;                 /* of their numbers */
};

/* What the processes of one turn share. */
struct field {
	alignas(SHM_LINE) _Atomic uint32_t stop;
	_Atomic uint32_t producers_left;
	alignas(SHM_LINE) struct tally pushed[PROCESSES_MAX];
	struct tally taken[PROCESSES_MAX];
	ck_ring_t ring;
	alignas(SHM_LINE) struct message message[SLOTS]; /* of the ring */
	struct queue_shared queue;                       /* last: words and slots follow */
};

struct options {
	double seconds;
	unsigned turns, producers, takers;
	bool json, bells;
};

static void fill(struct message *message, uint64_t number)
{
	for (unsigned i = 0; i < MESSAGE_WORDS; i++)
		message->word[i] = number + i;
}

static void check(const struct message *message)
{
	uint64_t wrong = 0;
	for (unsigned i = 0; i < MESSAGE_WORDS; i++)
		wrong |= message->word[i] ^ (message->word[0] + i);
	if (__builtin_expect(wrong != 0, 0)) {
		fprintf(stderr, "bench-queue: a message was torn\n");
		_exit(1);
	}
}

/* Full or empty: the other side gets time for a few dozen messages before this one looks again. The
 * same for both. */
static void pause_after(unsigned *failures)
{
	if (++*failures % YIELD_AFTER == 0)
		sched_yield();
	for (unsigned i = 0; i < STALLS; i++)
		ck_pr_stall();
}

static void count(struct tally *tally, uint64_t n, uint64_t sum)
{
	atomic_store_explicit(&tally->n, n, memory_order_relaxed);
	atomic_store_explicit(&tally->sum, sum, memory_order_relaxed);
}

static bool stopped(const struct field *field)
{
	return atomic_load_explicit(&field->stop, memory_order_relaxed) != 0;
}

/* ---- the two sides: one message each ---- */

struct user {
	struct field *field;
	struct queue queue;
};

static inline bool push_queue(struct user *user, uint64_t number)
{
	struct queue_slot slot;
	if (!queue_reserve(&user->queue, &slot))
		return false;
	fill(slot.data, number);
	queue_commit(&user->queue, &slot, sizeof(struct message));
	return true;
}

static inline bool take_queue(struct user *user, uint64_t *number)
{
	struct queue_slot slot;
	if (!queue_take(&user->queue, &slot))
		return false;
	check(slot.data);
	*number = ((struct message *)slot.data)->word[0];
	queue_done(&user->queue, &slot);
	return true;
}

static inline bool push_ring(struct user *user, uint64_t number)
{
	unsigned ticket;
	struct field *field = user->field;
	struct message *message =
	        CK_RING_ENQUEUE_RESERVE_MPMC(messages, &field->ring, field->message, &ticket);
	if (message == NULL)
		return false;
	fill(message, number);
	ck_ring_enqueue_commit_mpmc(&field->ring, ticket);
	return true;
}

static inline bool take_ring(struct user *user, uint64_t *number)
{
	struct message message;
	if (!CK_RING_DEQUEUE_MPMC(messages, &user->field->ring, user->field->message, &message))
		return false;
	check(&message);
	*number = message.word[0];
	return true;
}

/* ---- the processes ---- */

static inline __attribute__((always_inline)) void produce(struct user *user, unsigned index,
                                                          bool (*push)(struct user *, uint64_t))
{
	uint64_t n = 0, sum = 0;
	unsigned failures = 0;
	while (!stopped(user->field)) {
		uint64_t number = (uint64_t)index << 48 | n;
		if (!push(user, number)) {
			pause_after(&failures);
			continue;
		}
		sum += number;
		count(&user->field->pushed[index], ++n, sum);
	}
	atomic_fetch_sub(&user->field->producers_left, 1);
}

static inline __attribute__((always_inline)) void consume(struct user *user, unsigned index,
                                                          bool (*take)(struct user *, uint64_t *))
{
	uint64_t n = 0, sum = 0, number;
	unsigned failures = 0;
	for (;;) {
		bool last = atomic_load_explicit(&user->field->producers_left, memory_order_acquire) == 0;
		if (take(user, &number)) {
			sum += number;
			count(&user->field->taken[index], ++n, sum);
		} else if (last) {
			return;
		} else {
			pause_after(&failures);
		}
	}
}

static void join(struct user *user, const struct options *options, unsigned role)
{
	if (queue_join(&user->queue, &user->field->queue, queue_bytes(SLOTS, sizeof(struct message)), role) !=
	    0)
		_exit(1);
	if (options->bells)
		queue_use_bells(&user->queue);
}

static void child(struct field *field, const struct options *options, unsigned index, bool ours)
{
	struct user user = {.field = field};
	turns_pin(index);
	join(&user, options, index + 1);
	if (index < options->producers) {
		if (ours)
			produce(&user, index, push_queue);
		else
			produce(&user, index, push_ring);
	} else {
		if (ours)
			consume(&user, index - options->producers, take_queue);
		else
			consume(&user, index - options->producers, take_ring);
	}
	_exit(0);
}

static uint64_t add_up(const struct tally *tally, bool sums)
{
	uint64_t all = 0;
	for (unsigned i = 0; i < PROCESSES_MAX; i++)
		all += atomic_load_explicit(sums ? &tally[i].sum : &tally[i].n, memory_order_relaxed);
	return all;
}

static void nap(uint64_t ns)
{
	struct timespec time = {.tv_sec = (time_t)(ns / NS_PER_SEC), .tv_nsec = (long)(ns % NS_PER_SEC)};
	while (nanosleep(&time, &time) != 0)
		;
}

static double measure(struct field *field, const struct options *options)
{
	nap(WARM_UP_NS);
	uint64_t begin_ns = clock_monotonic_ns(), begin = add_up(field->taken, false);
	nap((uint64_t)(options->seconds * 1e9));
	uint64_t n = add_up(field->taken, false) - begin;
	double rate = (double)n * 1e9 / (double)(clock_monotonic_ns() - begin_ns);
	atomic_store(&field->stop, 1);
	return rate;
}

static void fail(const char *what)
{
	fprintf(stderr, "bench-queue: %s\n", what);
	exit(1);
}

/* One turn of one side: messages taken per second. */
static double turn(const struct options *options, bool ours)
{
	size_t bytes = offsetof(struct field, queue) + queue_bytes(SLOTS, sizeof(struct message));
	struct field *field =
	        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (field == MAP_FAILED)
		fail("no memory");
	size_t queue_room = bytes - offsetof(struct field, queue);
	if (queue_init(&field->queue, queue_room, SLOTS, sizeof(struct message)) != 0)
		fail("cannot make the queue");
	ck_ring_init(&field->ring, SLOTS);
	unsigned n = options->producers + options->takers;
	pid_t pid[2 * PROCESSES_MAX];
	atomic_store(&field->producers_left, options->producers);
	for (unsigned i = 0; i < n; i++) {
		pid[i] = turns_fork(SIGKILL);
		if (pid[i] < 0)
			fail("cannot fork"); /* the others end with this process */
		if (pid[i] == 0)
			child(field, options, i, ours);
	}
	double rate = measure(field, options);
	for (unsigned i = 0; i < n; i++) {
		int status;
		if (waitpid(pid[i], &status, 0) != pid[i] || status != 0)
			fail("a process has failed");
	}
	if (add_up(field->pushed, false) != add_up(field->taken, false) ||
	    add_up(field->pushed, true) != add_up(field->taken, true))
		fail("what was taken is not what was pushed");
	munmap(field, bytes);
	return rate;
}

/* ---- command line ---- */

static void help(void)
{
	printf("Usage: millrace bench queue [--duration S] [--turns N] [--producers N] [--takers N] [--bells] [--json]\n"
	       "\n"
	       "Measures the queue and, in turns with it, ck_ring's MPMC ring: messages of %zu bytes, %u slots,\n"
	       "producers and takers in processes of their own, every message checked. Beside them stands how long one\n"
	       "cache line takes from one processor to another and back, measured before each turn.\n"
	       "\n"
	       "  --duration S    length of one measurement (default 0.3)\n"
	       "  --turns N       measurements of each (default 15, at most %u); --pairs N is the same\n"
	       "  --producers N   default 1, at most %u\n"
	       "  --takers N      default 1, at most %u\n"
	       "  --bells         the queue also rings its doorbells, as it does between stages\n"
	       "  --json          one JSON object instead of text\n"
	       "\n"
	       "Exit status: 0 measured, 1 failed (also when a message was lost, torn or taken twice), 2 usage.\n",
	       sizeof(struct message), SLOTS, TURNS_MAX, PROCESSES_MAX, PROCESSES_MAX);
}

/* Returns -1, or the exit status when there is nothing to measure. */
static int parse(int argc, char **argv, struct options *options)
{
	const struct option_row rows[] = {
	        {"duration", OPTION_REAL, &options->seconds, 0.001, 60},
	        {"turns", OPTION_COUNT, &options->turns, 1, TURNS_MAX},
	        {"pairs", OPTION_COUNT, &options->turns, 1, TURNS_MAX},
	        {"producers", OPTION_COUNT, &options->producers, 1, PROCESSES_MAX},
	        {"takers", OPTION_COUNT, &options->takers, 1, PROCESSES_MAX},
	        {"bells", OPTION_ON, &options->bells, 0, 0},
	        {"json", OPTION_ON, &options->json, 0, 0},
	};
	return options_read(argc, argv, "bench-queue", rows, sizeof rows / sizeof *rows, help);
}

static int run(int argc, char **argv)
{
	struct options options = {.seconds = 0.3, .turns = 15, .producers = 1, .takers = 1};
	int status = parse(argc, argv, &options);
	if (status >= 0)
		return status;
	struct turns turns = {0};
	struct round_trip trip = {0};
	for (unsigned i = 0; i < options.turns; i++) {
		round_trip_measure(&trip);
		double ours = turn(&options, true);
		turns_add(&turns, ours, turn(&options, false));
	}
	if (options.json) {
		printf("{\"bench\":\"queue\",\"message_bytes\":%zu,\"slots\":%u,\"producers\":%u,\"takers\":%u,\"bells\":%s,"
		       "\"turns\":%u,\"queue_per_s\":%.0f,\"ck_ring_mpmc_per_s\":%.0f,\"ratio\":%.3f",
		       sizeof(struct message), SLOTS, options.producers, options.takers,
		       options.bells ? "true" : "false", turns.n, turns_median(turns.ours, turns.n),
		       turns_median(turns.reference, turns.n), turns_ratio(&turns));
		round_trip_print_json(&trip);
		puts("}");
	} else {
		char what[96];
		snprintf(what, sizeof what, "queue, %u producers and %u takers, %zu-byte messages",
		         options.producers, options.takers, sizeof(struct message));
		turns_print(&turns, what, options.bells ? "queue, with bells" : "queue",
		            "ck_ring MPMC, 112-byte slots");
		round_trip_print(&trip);
	}
	return 0;
}

int main(int argc, char **argv)
{
	output_no_size_signal();
	int status = run(argc, argv);
	return status != 0 ? status : output_finish("bench-queue");
}
