/* Sleeping on bells, tails and calls: a wait ends when it should and not before, none is slept
 * through, and neither side needs to write what the other writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "shm/sleep.h"
#include "tests/fixture/deny.h"
#include "tests/fixture/draw.h"

#define WORDS   4u
#define ROUNDS  50000u
#define LONG_NS (20 * NS_PER_SEC)

/* Two pages, as two users would have them: each is mapped writable by one side and read-only by the
 * other. */
struct writers {
	struct bell bell[WORDS]; /* anybody's */
	_Atomic uint64_t tail[WORDS];
	_Atomic uint32_t call;
};
struct readers {
	_Atomic uint32_t asleep[WORDS];
	_Atomic uint64_t taken;
};

static struct writers *writers;            /* writable */
static struct readers *readers;            /* writable */
static const struct writers *writers_seen; /* read-only: what a reader has */
static const struct readers *readers_seen; /* read-only: what a writer has */
static uint32_t woken[WORDS];              /* the writer's */

/* ---- both sides ---- */

/* As topic_ring does. Returns whether the kernel was asked. */
static bool publish(unsigned i)
{
	atomic_fetch_add_explicit(&writers->tail[i], 8, memory_order_release);
	atomic_thread_fence(memory_order_seq_cst);
	uint32_t asleep = atomic_load_explicit(&readers_seen->asleep[i], memory_order_relaxed);
	if ((asleep & 1) == 0 || asleep == woken[i])
		return false;
	woken[i] = asleep;
	sleep_wake(sleep_low_half(&writers->tail[i]));
	return true;
}

static unsigned tails(struct sleep_word *word)
{
	for (unsigned i = 0; i < WORDS; i++)
		word[i] = sleep_on_tail(&writers_seen->tail[i], &readers->asleep[i]);
	sleep_note(word, WORDS);
	return WORDS;
}

static unsigned bells(struct sleep_word *word)
{
	for (unsigned i = 0; i < WORDS; i++)
		word[i] = sleep_on_bell(&writers->bell[i]);
	sleep_note(word, WORDS);
	return WORDS;
}

static void change_tail(unsigned i)
{
	publish(i);
}

static void change_bell(unsigned i)
{
	bell_ring(&writers->bell[i]);
}

static uint64_t sleep_ms(const struct sleep_word *word, unsigned n, uint64_t timeout_ms, bool *changed)
{
	uint64_t begin_ns = clock_monotonic_ns();
	*changed = sleep_any(word, n, timeout_ms * NS_PER_MS);
	return (clock_monotonic_ns() - begin_ns) / NS_PER_MS;
}

static pid_t start(void (*child)(unsigned), unsigned argument)
{
	(void)fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		child(argument);
		_exit(0);
	}
	return pid;
}

/* ---- each of several words ---- */

static void (*change_word)(unsigned i);

static void change_soon(unsigned i)
{
	usleep(50000);
	change_word(i);
}

/* 0 is well. */
static int each_of_several_wakes(unsigned (*words)(struct sleep_word *), void (*change)(unsigned))
{
	struct sleep_word word[WORDS];
	bool changed;
	change_word = change;
	for (unsigned i = 0; i < WORDS; i++) {
		unsigned n = words(word);
		pid_t pid = start(change_soon, i);
		uint64_t took_ms = sleep_ms(word, n, 5000, &changed);
		waitpid(pid, NULL, 0);
		if (!changed || took_ms < 40 || took_ms > 1000)
			return 1;
		/* changed before the sleep */
		if (sleep_ms(word, n, 5000, &changed) > 100 || !changed || !sleep_over(word, n))
			return 2;
	}
	unsigned n = words(word);
	uint64_t took_ms = sleep_ms(word, n, 50, &changed);
	return changed || took_ms < 49 || took_ms > 300 ? 3 : 0;
}

static void each_of_several_words_ends_the_sleep(void **state)
{
	(void)state;
	assert_int_equal(each_of_several_wakes(bells, change_bell), 0);
	assert_int_equal(each_of_several_wakes(tails, change_tail), 0);
}

static void several_words_are_watched_without_futex_waitv(void **state)
{
	(void)state;
	int status;
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (deny_system_call(SYS_futex_waitv) != 0)
			_exit(9);
		int result = each_of_several_wakes(bells, change_bell);
		_exit(result != 0 ? result : each_of_several_wakes(tails, change_tail));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void more_words_than_one_call_takes_are_watched(void **state)
{
	(void)state;
	static struct sleep_word word[SLEEP_WORDS_MAX];
	bool changed;
	for (unsigned i = 0; i < SLEEP_WORDS_MAX; i++)
		word[i] = sleep_on_bell(&writers->bell[i < SLEEP_WORDS_MAX - 1 ? 0 : 1]);
	sleep_note(word, SLEEP_WORDS_MAX);
	assert_in_range(sleep_ms(word, SLEEP_WORDS_MAX, 50, &changed), 49, 300);
	assert_false(changed);
	change_word = change_bell;
	pid_t pid = start(change_soon, 1);
	assert_in_range(sleep_ms(word, SLEEP_WORDS_MAX, 5000, &changed), 40, 1000);
	assert_true(changed);
	waitpid(pid, NULL, 0);
}

static void without_words_it_is_a_sleep(void **state)
{
	(void)state;
	bool changed;
	assert_in_range(sleep_ms(NULL, 0, 50, &changed), 49, 300);
	assert_false(changed);
}

static void call(unsigned i)
{
	(void)i;
	usleep(50000);
	atomic_fetch_add(&writers->call, 1);
	sleep_wake(&writers->call);
}

static void a_call_ends_the_sleep(void **state)
{
	(void)state;
	bool changed;
	struct sleep_word word[WORDS + 1];
	unsigned n = tails(word);
	word[n] = sleep_on_call(&writers_seen->call);
	sleep_note(word, n + 1);
	pid_t pid = start(call, 0);
	assert_in_range(sleep_ms(word, n + 1, 5000, &changed), 40, 1000);
	assert_true(changed);
	waitpid(pid, NULL, 0);
}

static void nothing(int number)
{
	(void)number;
}

static void a_signal_ends_the_sleep(void **state)
{
	(void)state;
	bool changed;
	struct sleep_word word[WORDS];
	struct sigaction act = {.sa_handler = nothing};
	sigaction(SIGALRM, &act, NULL);
	unsigned n = tails(word);
	ualarm(50000, 0);
	assert_in_range(sleep_ms(word, n, 5000, &changed), 40, 1000);
	assert_false(changed);
	signal(SIGALRM, SIG_DFL);
	alarm(120);
}

/* ---- who is told ---- */

static void a_sleep_costs_its_writer_one_call(void **state)
{
	(void)state;
	struct sleep_word word[WORDS];
	assert_false(publish(0)); /* nobody sleeps */
	unsigned n = tails(word);
	assert_false(sleep_begin(word, n));
	for (unsigned i = 0; i < WORDS; i++)
		assert_int_equal(atomic_load(&readers->asleep[i]) & 1, 1);
	assert_true(publish(0));
	assert_false(publish(0)); /* it may have been killed by now: it is not called again and again */
	assert_true(publish(1));  /* each writer knows of its own calls only */
	sleep_end(word, n);
	assert_int_equal(atomic_load(&readers->asleep[0]) & 1, 0);
	assert_false(publish(0));
	/* the next sleep is another one, also of a life that follows one that died asleep */
	for (unsigned life = 0; life < 3; life++) {
		n = tails(word);
		assert_false(sleep_begin(word, n));
		assert_true(publish(0));
		assert_false(publish(0));
	}
	sleep_end(word, n);
}

static void what_changed_before_the_sleep_leaves_it_awake(void **state)
{
	(void)state;
	struct sleep_word word[WORDS];
	unsigned n = tails(word);
	publish(2);
	assert_true(sleep_over(word, n));
	assert_true(sleep_begin(word, n));
	for (unsigned i = 0; i < WORDS; i++)
		assert_int_equal(atomic_load(&readers->asleep[i]) & 1, 0);
}

/* ---- lost wake-ups ---- */

static void dawdle(void)
{
	unsigned n = draw_one_in(16) ? draw_below(20000) : draw_below(300);
	for (volatile unsigned i = 0; i < n; i++)
		;
}

static void publish_in_step(unsigned unused)
{
	(void)unused;
	draw_part(1);
	for (uint64_t number = 1; number <= ROUNDS; number++) {
		dawdle();
		publish(number % WORDS);
		for (unsigned tries = 0; atomic_load(&readers_seen->taken) != number; tries++)
			if (tries > 100)
				sched_yield();
	}
}

static uint64_t published(void)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < WORDS; i++)
		sum += atomic_load_explicit(&writers_seen->tail[i], memory_order_acquire);
	return sum / 8;
}

static void no_change_is_slept_through(void **state)
{
	(void)state;
	pid_t writer = start(publish_in_step, 0);
	uint64_t slept = 0;
	for (uint64_t taken = 0; taken < ROUNDS;) {
		struct sleep_word word[WORDS];
		unsigned n = tails(word);
		dawdle();
		uint64_t now = published();
		if (now == taken) {
			slept++;
			assert_true(sleep_any(word, n, LONG_NS));
			continue;
		}
		taken = now;
		atomic_store(&readers->taken, taken);
		dawdle();
	}
	assert_int_equal(waitpid(writer, NULL, 0), writer);
	print_message("slept %llu times of %u\n", (unsigned long long)slept, ROUNDS);
	assert_in_range(slept, ROUNDS / 20, 2 * ROUNDS);
}

/* ---- set-up ---- */

static void *map(int fd, size_t bytes, int protection)
{
	void *at = mmap(NULL, bytes, protection, MAP_SHARED, fd, 0);
	assert_true(at != MAP_FAILED);
	return at;
}

static int set_up(void **state)
{
	(void)state;
	memset(writers, 0, sizeof *writers);
	memset(readers, 0, sizeof *readers);
	memset(woken, 0, sizeof woken);
	return 0;
}

static void map_pages(void)
{
	int written = memfd_create("writers", MFD_CLOEXEC), read = memfd_create("readers", MFD_CLOEXEC);
	assert_int_equal(ftruncate(written, sizeof *writers) | ftruncate(read, sizeof *readers), 0);
	writers = map(written, sizeof *writers, PROT_READ | PROT_WRITE);
	readers = map(read, sizeof *readers, PROT_READ | PROT_WRITE);
	writers_seen = map(written, sizeof *writers, PROT_READ);
	readers_seen = map(read, sizeof *readers, PROT_READ);
	close(written);
	close(read);
}

int main(void)
{
#define ONE(test) cmocka_unit_test_setup(test, set_up)
	const struct CMUnitTest tests[] = {
	        ONE(each_of_several_words_ends_the_sleep),
	        ONE(several_words_are_watched_without_futex_waitv),
	        ONE(more_words_than_one_call_takes_are_watched),
	        ONE(without_words_it_is_a_sleep),
	        ONE(a_call_ends_the_sleep),
	        ONE(a_signal_ends_the_sleep),
	        ONE(a_sleep_costs_its_writer_one_call),
	        ONE(what_changed_before_the_sleep_leaves_it_awake),
	        ONE(no_change_is_slept_through),
	};
	alarm(120);
	draw_init(20261128);
	map_pages();
	return cmocka_run_group_tests_name("sleep", tests, NULL, NULL);
}
