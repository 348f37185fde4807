/* Two producers and two takers in processes of their own, SIGKILL at random moments. After each
 * death the others go on before anything is repaired; then the role is repaired by the parent or
 * takes up by itself what its last life held.
 *
 *     message:  producer, number, pattern made from both        lost      number was acknowledged and no effect exists
 *     effects:  one count per number, in shared memory,         repeated  more effects than deaths allow
 *               made before queue_done                          torn      pattern or length wrong
 *     at the end all slots are free                             invented  a number that was never begun
 *
 * An effect may come twice only when a taker was killed while the slot of that very message named
 * its role. MILLRACE_SEED gives the seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shm/queue.h"
#include "tests/fixture/draw.h"

#define SLOTS         64u
#define PRODUCERS     2u
#define ROLES         4u         /* 1 and 2 produce, 3 and 4 take */
#define NUMBERS       (1u << 24) /* more than can be pushed in the time; memory is taken as they are used */
#define MESSAGE_WORDS 5u
#define KILLS         150u
#define DAWDLE        4000u /* once in so many messages a process stays for a while between claim and end */
#define PAUSE_MAX_US  40000u
#define TIMEOUT_NS    5000000000ull

enum progress { NOT_BEGUN, BEGUN, ACKNOWLEDGED };

struct field {
	alignas(SHM_LINE) _Atomic uint32_t stop_producing, stop_taking;
	_Atomic uint64_t torn, invented, taken;
	_Atomic uint64_t next[PRODUCERS];
	_Atomic uint8_t progress[PRODUCERS][NUMBERS];
	_Atomic uint8_t effects[PRODUCERS][NUMBERS];
	uint8_t allowed[PRODUCERS][NUMBERS]; /* parent's: deaths of takers that held it */
	alignas(SHM_LINE) struct queue_shared queue;
};

static struct field *field;
static size_t queue_room;
static pid_t process[ROLES + 1];

static void pattern(uint64_t *message, uint64_t producer, uint64_t number)
{
	message[0] = producer;
	message[1] = number;
	for (unsigned i = 2; i < MESSAGE_WORDS; i++)
		message[i] = (number * 0x9e3779b97f4a7c15ull + producer) ^ i;
}

/* Lengths differ from message to message: a whole number of words, at least the first two. */
static uint32_t length_of(uint64_t number)
{
	return (uint32_t)(2 + number % (MESSAGE_WORDS - 1)) * 8;
}

static bool whole(const struct queue_slot *slot)
{
	const uint64_t *message = slot->data;
	uint64_t expected[MESSAGE_WORDS];
	if (slot->length < 16 || message[0] >= PRODUCERS || message[1] >= NUMBERS)
		return false;
	pattern(expected, message[0], message[1]);
	return slot->length == length_of(message[1]) && memcmp(message, expected, slot->length) == 0;
}

static void nap_us(unsigned us)
{
	nanosleep(&(struct timespec){.tv_nsec = (long)us * 1000}, NULL);
}

/* ---- the processes ---- */

static void produce(struct queue *queue, unsigned producer)
{
	while (atomic_load(&field->stop_producing) == 0) {
		struct queue_slot slot;
		uint64_t number = atomic_load(&field->next[producer]);
		if (number == NUMBERS || !queue_reserve_wait(queue, &slot, 2000000))
			continue;
		atomic_store(&field->progress[producer][number], BEGUN);
		atomic_store(&field->next[producer], number + 1);
		pattern(slot.data, producer, number);
		if (number % DAWDLE == 1)
			nap_us(500);
		if (number % 11 == 0) {
			queue_cancel(queue, &slot);
			continue;
		}
		if (queue_commit(queue, &slot, length_of(number)) == 0)
			atomic_store(&field->progress[producer][number], ACKNOWLEDGED);
	}
}

static void finish(struct queue *queue, const struct queue_slot *slot)
{
	const uint64_t *message = slot->data;
	if (message[1] % DAWDLE == 2)
		nap_us(500);
	if (!whole(slot)) {
		atomic_fetch_add(&field->torn, 1);
	} else if (message[1] % 17 == 0 && atomic_load(&field->effects[message[0]][message[1]]) == 0 &&
	           atomic_load(&field->taken) % 2 == 0) {
		atomic_fetch_add(&field->taken, 1);
		queue_give_back(queue, slot); /* one way or another: somebody takes it later */
		return;
	} else {
		if (atomic_load(&field->progress[message[0]][message[1]]) == NOT_BEGUN)
			atomic_fetch_add(&field->invented, 1);
		atomic_fetch_add(&field->effects[message[0]][message[1]], 1);
		if (message[1] % DAWDLE == 0)
			nap_us(500);
	}
	atomic_fetch_add(&field->taken, 1);
	queue_done(queue, slot);
}

static void take(struct queue *queue)
{
	struct queue_slot slot;
	for (;;) {
		bool last = atomic_load(&field->stop_taking) != 0;
		if (queue_take_wait(queue, &slot, 2000000))
			finish(queue, &slot);
		else if (last)
			return;
	}
}

static void start(unsigned role, bool resume)
{
	fflush(NULL);
	process[role] = fork();
	assert_true(process[role] >= 0);
	if (process[role] > 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	struct queue queue;
	if (queue_join(&queue, &field->queue, queue_room, role) != 0)
		_exit(1);
	queue_use_bells(&queue);
	struct queue_slot slot;
	for (uint32_t next = 0; resume && queue_resume(&queue, &next, &slot);)
		finish(&queue, &slot);
	if (role <= PRODUCERS)
		produce(&queue, role - 1);
	else
		take(&queue);
	_exit(0);
}

/* ---- the parent ---- */

static uint64_t now_ns(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* The slots that name the role, before they are repaired: their messages may have had their effect
 * already. */
static void allow_what_it_held(unsigned role)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		uint64_t word = atomic_load(&field->queue.word[i]);
		if ((word & 3) != 3 || (word >> 2 & QUEUE_ROLE_MAX) != role)
			continue;
		const uint64_t *message =
		        (const void *)((const char *)&field->queue + field->queue.data_offset +
		                       i * field->queue.stride_bytes + QUEUE_LENGTH_BYTES);
		assert_true(message[0] < PRODUCERS && message[1] < NUMBERS);
		field->allowed[message[0]][message[1]]++;
	}
}

static void reap(unsigned role, int expected_signal)
{
	int status = 0;
	uint64_t end = now_ns() + TIMEOUT_NS;
	while (waitpid(process[role], &status, WNOHANG) == 0) {
		assert_true(now_ns() < end);
		nap_us(200);
	}
	process[role] = 0;
	if (expected_signal == 0)
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	else
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == expected_signal);
}

static void kill_one(struct queue *supervisor)
{
	unsigned role = 1 + draw_below(ROLES);
	kill(process[role], SIGKILL);
	reap(role, SIGKILL);
	/* three laps past the orphan, whatever it is */
	uint64_t before = atomic_load(&field->taken), end = now_ns() + TIMEOUT_NS;
	while (atomic_load(&field->taken) < before + 3 * SLOTS) {
		if (now_ns() >= end)
			fail_msg("role %u is dead and the others stand still", role);
		nap_us(100);
	}
	allow_what_it_held(role);
	bool resume = draw_one_in(2);
	if (!resume)
		queue_repair(supervisor, role);
	start(role, resume);
}

static void expect_each_message_once(void)
{
	uint64_t lost = 0, repeated = 0, acknowledged = 0, excused = 0;
	for (unsigned p = 0; p < PRODUCERS; p++) {
		for (uint64_t number = 0; number < field->next[p]; number++) {
			unsigned effects = field->effects[p][number], progress = field->progress[p][number];
			acknowledged += progress == ACKNOWLEDGED;
			lost += progress == ACKNOWLEDGED && effects == 0;
			repeated += effects > 1u + field->allowed[p][number];
			excused += effects > 1;
		}
	}
	printf("%llu acknowledged, %llu repeated because their taker died\n",
	       (unsigned long long)acknowledged, (unsigned long long)excused);
	assert_true(acknowledged > KILLS * SLOTS);
	assert_int_equal(lost, 0);
	assert_int_equal(field->invented, 0);
	assert_int_equal(repeated, 0);
	assert_int_equal(field->torn, 0);
}

static void kills_at_random_moments_lose_nothing_and_leak_no_slot(void **state)
{
	(void)state;
	queue_room = queue_bytes(SLOTS, MESSAGE_WORDS * 8);
	size_t bytes = offsetof(struct field, queue) + queue_room;
	field = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(field != MAP_FAILED);
	assert_int_equal(queue_init(&field->queue, queue_room, SLOTS, MESSAGE_WORDS * 8), 0);
	struct queue supervisor;
	assert_int_equal(queue_join(&supervisor, &field->queue, queue_room, 0), 0);
	queue_use_bells(&supervisor);
	for (unsigned role = 1; role <= ROLES; role++)
		start(role, false);
	for (unsigned i = 0; i < KILLS; i++) {
		nap_us(draw_below(PAUSE_MAX_US));
		kill_one(&supervisor);
	}
	atomic_store(&field->stop_producing, 1);
	for (unsigned role = 1; role <= PRODUCERS; role++)
		reap(role, 0);
	atomic_store(&field->stop_taking, 1);
	for (unsigned role = PRODUCERS + 1; role <= ROLES; role++)
		reap(role, 0);
	struct queue_counts counts;
	queue_count(&supervisor, &counts);
	assert_int_equal(counts.free, SLOTS);
	expect_each_message_once();
	munmap(field, bytes);
}

static int end_all(void **state)
{
	(void)state;
	for (unsigned role = 1; role <= ROLES; role++) {
		if (process[role] > 0) {
			kill(process[role], SIGKILL);
			waitpid(process[role], NULL, 0);
		}
	}
	return 0;
}

int main(void)
{
	alarm(60);
	draw_init(now_ns() | 1);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_teardown(kills_at_random_moments_lose_nothing_and_leak_no_slot, end_all)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
