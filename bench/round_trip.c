#include "bench/round_trip.h"

#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "shm/segment.h"

#define CHUNKS      64u /* of one turn; TURNS_MAX is enough for turns_median */
#define CHUNK_TRIPS 128u
#define TURN_NS_MAX (50 * NS_PER_MS)
#define LOOKS       4096u /* between two looks at the clock */
#define CHAIN_STEPS 16384u
#define CHAIN_TRIES 16u
_Static_assert(CHUNKS <= TURNS_MAX, "turns_median takes as many values");

struct court {
	alignas(SHM_LINE) _Atomic uint32_t ball; /* odd: the other's turn */
};

/* Returns the ball until it is killed. */
static void play(struct court *court)
{
	for (uint32_t due = 1;; due += 2) {
		while (atomic_load_explicit(&court->ball, memory_order_acquire) != due)
			;
		atomic_store_explicit(&court->ball, due + 1, memory_order_release);
	}
}

/* One round trip; false when the ball has not come back by end_ns. */
static bool serve(struct court *court, uint32_t ball, uint64_t end_ns)
{
	atomic_store_explicit(&court->ball, ball, memory_order_release);
	for (uint32_t looks = 1; atomic_load_explicit(&court->ball, memory_order_acquire) == ball; looks++)
		if (looks % LOOKS == 0 && clock_monotonic_ns() > end_ns)
			return false;
	return true;
}

/* Needs the last step's result, and takes one cycle. */
static inline void step(uint64_t *x, uint64_t *y)
{
	*x ^= *y;
	__asm__ volatile("" : "+r"(*x), "+r"(*y));
}

/* Cycles per nanosecond of this processor now. */
static double clock_rate(void)
{
	uint64_t x = 1, y = 3, least_ns = UINT64_MAX;
	for (unsigned i = 0; i < CHAIN_TRIES; i++) {
		uint64_t start_ns = clock_monotonic_ns();
		for (unsigned k = 0; k < CHAIN_STEPS; k += 8) {
			step(&x, &y), step(&x, &y), step(&x, &y), step(&x, &y);
			step(&x, &y), step(&x, &y), step(&x, &y), step(&x, &y);
		}
		uint64_t took_ns = clock_monotonic_ns() - start_ns;
		least_ns = took_ns < least_ns ? took_ns : least_ns;
	}
	return least_ns > 0 ? (double)CHAIN_STEPS / (double)least_ns : 0;
}

static void add(struct round_trip *trip, const double *chunk_ns, unsigned n)
{
	double rate = clock_rate();
	for (unsigned i = 0; i < n; i++) {
		if (trip->best_ns > 0 && chunk_ns[i] >= trip->best_ns)
			continue;
		trip->best_ns = chunk_ns[i];
		trip->best_cycles = chunk_ns[i] * rate;
	}
	trip->median_ns[trip->n] = turns_median(chunk_ns, n);
	trip->median_cycles[trip->n] = trip->median_ns[trip->n] * rate;
	trip->n++;
}

static void measure(struct round_trip *trip, struct court *court)
{
	double chunk_ns[CHUNKS];
	unsigned n = 0;
	uint64_t start_ns = clock_monotonic_ns(), end_ns = start_ns + TURN_NS_MAX;
	uint32_t ball = 1;
	bool back = serve(court, ball, end_ns); /* the other has begun */
	while (back && n < CHUNKS) {
		start_ns = clock_monotonic_ns();
		for (unsigned i = 0; i < CHUNK_TRIPS && back; i++)
			back = serve(court, ball += 2, end_ns);
		if (back)
			chunk_ns[n++] = (double)(clock_monotonic_ns() - start_ns) / CHUNK_TRIPS;
	}
	if (n > 0)
		add(trip, chunk_ns, n);
}

void round_trip_measure(struct round_trip *trip)
{
	cpu_set_t allowed;
	if (trip->n == TURNS_MAX || sched_getaffinity(0, sizeof allowed, &allowed) != 0)
		return;
	struct court *court = mmap(NULL, sizeof *court, PROT_READ | PROT_WRITE,
	                           MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (court == MAP_FAILED)
		return;
	pid_t pid = turns_fork(SIGKILL);
	if (pid == 0) {
		turns_pin(1);
		play(court);
	}
	if (pid > 0) {
		turns_pin(0);
		measure(trip, court);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		(void)sched_setaffinity(0, sizeof allowed, &allowed);
	}
	munmap(court, sizeof *court);
}

void round_trip_print(const struct round_trip *trip)
{
	const char *what = "a line, there and back";
	if (trip->n == 0)
		printf("  %-28s not measured: it takes two processors\n", what);
	else
		printf("  %-28s %9.0f ns    (best %.0f; %.0f cycles, best %.0f)\n", what,
		       turns_median(trip->median_ns, trip->n), trip->best_ns,
		       turns_median(trip->median_cycles, trip->n), trip->best_cycles);
	fflush(stdout);
}

static void print_member(const char *name, double value, bool known)
{
	if (known)
		printf(",\"line_round_trip_%s\":%.1f", name, value);
	else
		printf(",\"line_round_trip_%s\":null", name);
}

void round_trip_print_json(const struct round_trip *trip)
{
	bool known = trip->n > 0;
	print_member("ns", turns_median(trip->median_ns, trip->n), known);
	print_member("best_ns", trip->best_ns, known);
	print_member("cycles", turns_median(trip->median_cycles, trip->n), known);
	print_member("best_cycles", trip->best_cycles, known);
}
