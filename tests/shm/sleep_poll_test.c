/* A sleep as a descriptor: wake-ups come soon, none is lost, an awake loop pays nothing, whoever
 * dies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "shm/sleep_poll.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/instance.h"

#define BELLS     3u
#define ROUNDS    100000u
#define SERIES    400u
#define LOST_MS   20000
#define AWAKE_FOR 100000u
#define KILLS     40u

static struct field {
	struct bell bell[BELLS];
	alignas(SHM_LINE) _Atomic uint64_t published;
	_Atomic uint64_t published_ns;
	alignas(SHM_LINE) _Atomic uint64_t taken;
	_Atomic uint32_t stop;
} * field;

static struct sleep_poll *poll_of;

static unsigned all_bells(void *argument, struct sleep_word *word)
{
	(void)argument;
	for (unsigned i = 0; i < BELLS; i++)
		word[i] = sleep_on_bell(&field->bell[i]);
	return BELLS;
}

static int set_up(void **state)
{
	(void)state;
	memset(field, 0, sizeof *field);
	int result = sleep_poll_open(&poll_of, all_bells, NULL, NULL);
	if (result == 0)
		sleep_poll_note(poll_of);
	return result;
}

static int tear_down(void **state)
{
	(void)state;
	sleep_poll_close(poll_of);
	return 0;
}

static bool readable(int timeout_ms)
{
	return poll(&(struct pollfd){.fd = sleep_poll_fd(poll_of), .events = POLLIN}, 1, timeout_ms) == 1;
}

static void spin(unsigned n)
{
	for (volatile unsigned i = 0; i < n; i++)
		;
}

/* Mostly short, now and then long enough for the other side to fall asleep. */
static void dawdle(void)
{
	spin(draw_one_in(16) ? draw_below(20000) : draw_below(300));
}

static void publish(uint64_t number)
{
	atomic_store_explicit(&field->published, number, memory_order_release);
	bell_ring(&field->bell[number % BELLS]);
}

/* ---- one thread ---- */

static void a_ring_makes_the_descriptor_readable_once(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2 * BELLS; i++) {
		sleep_poll_note(poll_of);
		assert_false(readable(0));
		assert_false(sleep_poll_arm(poll_of));
		assert_false(readable(20));
		bell_ring(&field->bell[i % BELLS]);
		assert_true(readable(LOST_MS));
	}
	sleep_poll_note(poll_of);
	assert_false(readable(0));
	assert_int_equal(sleep_poll_counts(poll_of).fired, 2 * BELLS);
}

static void a_ring_between_noting_and_arming_is_told(void **state)
{
	(void)state;
	sleep_poll_note(poll_of);
	bell_ring(&field->bell[1]);
	assert_true(sleep_poll_arm(poll_of));
	sleep_poll_note(poll_of);
	assert_false(sleep_poll_arm(poll_of));
	assert_int_equal(sleep_poll_counts(poll_of).armed, 1);
}

static void a_loop_that_comes_back_for_something_else_is_still_woken(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		sleep_poll_note(poll_of);
		assert_false(sleep_poll_arm(poll_of));
		assert_false(readable(0));
	}
	assert_int_equal(sleep_poll_counts(poll_of).armed, 1);
	bell_ring(&field->bell[2]);
	assert_true(readable(LOST_MS));
}

static unsigned n_threads(void)
{
	DIR *tasks = opendir("/proc/self/task");
	unsigned n = 0;
	while (readdir(tasks) != NULL)
		n++;
	closedir(tasks);
	return n;
}

static void closing_ends_the_helper_armed_or_not(void **state)
{
	(void)state;
	unsigned before = n_threads();
	for (unsigned i = 0; i < 100; i++) {
		struct sleep_poll *one;
		assert_int_equal(sleep_poll_open(&one, all_bells, NULL, NULL), 0);
		assert_int_equal(n_threads(), before + 1);
		sleep_poll_note(one);
		if (i % 2 != 0)
			assert_false(sleep_poll_arm(one));
		if (i % 4 == 3)
			bell_ring(&field->bell[0]);
		uint64_t begin_ns = clock_monotonic_ns();
		sleep_poll_close(one);
		/* not one of the helper's own bounds */
		assert_in_range(clock_monotonic_ns() - begin_ns, 0, 5 * NS_PER_SEC);
		for (unsigned tries = 0; tries < 5000 && n_threads() != before; tries++)
			usleep(1000); /* joined, and perhaps not yet out of /proc */
		assert_int_equal(n_threads(), before);
	}
}

static bool has_come(void *argument)
{
	return atomic_load((_Atomic uint32_t *)argument) != 0;
}

static void what_no_bell_tells_makes_it_readable_too(void **state)
{
	(void)state;
	sleep_poll_close(poll_of);
	assert_int_equal(sleep_poll_open(&poll_of, all_bells, has_come, &field->stop), 0);
	assert_true(readable(0)); /* nobody has looked yet */
	sleep_poll_note(poll_of);
	assert_false(sleep_poll_arm(poll_of));
	assert_false(readable(300));
	atomic_store(&field->stop, 1);
	assert_true(readable(LOST_MS));
}

/* Two calls of the kernel at the time: futex_waitv(2) takes 128. */
static unsigned too_many_for_one_call(void *argument, struct sleep_word *word)
{
	(void)argument;
	for (unsigned i = 0; i + 1 < SLEEP_WORDS_MAX; i++)
		word[i] = sleep_on_bell(&field->bell[i + BELLS < SLEEP_WORDS_MAX ? 0 : i % BELLS]);
	return SLEEP_WORDS_MAX - 1;
}

static void the_last_of_many_words_wakes_too(void **state)
{
	(void)state;
	sleep_poll_close(poll_of);
	assert_int_equal(sleep_poll_open(&poll_of, too_many_for_one_call, NULL, NULL), 0);
	sleep_poll_note(poll_of);
	assert_false(sleep_poll_arm(poll_of));
	assert_false(readable(30));
	bell_ring(&field->bell[1]);
	assert_true(readable(LOST_MS));
}

static void the_helper_takes_no_signal(void **state)
{
	(void)state;
	sigset_t blocked, before;
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	/* Nobody but the helper could take it, and it would end the process. */
	kill(getpid(), SIGUSR1);
	assert_false(sleep_poll_arm(poll_of));
	usleep(20000);
	sigset_t pending;
	sigpending(&pending);
	assert_true(sigismember(&pending, SIGUSR1));
	int number;
	sigwait(&blocked, &number);
	sigprocmask(SIG_SETMASK, &before, NULL);
}

/* ---- with a writer ---- */

static pid_t start(void (*child)(void))
{
	(void)fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(300);
		child();
		_exit(0);
	}
	return pid;
}

static void end(pid_t pid)
{
	atomic_store(&field->stop, 1);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* Sleeps until something was published after `taken`. False: a wake-up was lost. */
static bool wait_for_more(uint64_t taken)
{
	for (;;) {
		sleep_poll_note(poll_of);
		if (atomic_load_explicit(&field->published, memory_order_acquire) != taken)
			return true;
		if (!sleep_poll_arm(poll_of) && !readable(LOST_MS))
			return false;
	}
}

static void publish_slowly(void)
{
	for (uint64_t number = 1; atomic_load(&field->stop) == 0; number++) {
		while (atomic_load(&field->taken) + 1 != number)
			usleep(20);
		usleep(200); /* it is asleep by then */
		atomic_store(&field->published_ns, clock_monotonic_ns());
		publish(number);
	}
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static void the_median_wake_up_takes_less_than_a_millisecond(void **state)
{
	(void)state;
	uint64_t median = UINT64_MAX;
	pid_t writer = start(publish_slowly);
	/* A busy machine may spoil a series, not all. */
	for (unsigned series = 0; series < 5 && median >= NS_PER_MS; series++) {
		uint64_t took_ns[SERIES];
		for (unsigned i = 0; i < SERIES; i++) {
			uint64_t taken = atomic_load(&field->taken);
			assert_true(wait_for_more(taken));
			took_ns[i] = clock_monotonic_ns() - atomic_load(&field->published_ns);
			atomic_store(&field->taken, taken + 1);
		}
		qsort(took_ns, SERIES, sizeof *took_ns, by_size);
		median = took_ns[SERIES / 2];
		print_message("wake-up: median %.1f us, 99th of 100 %.1f us\n", (double)median / 1000,
		              (double)took_ns[SERIES * 99 / 100] / 1000);
	}
	end(writer);
	assert_in_range(median, 1, NS_PER_MS - 1);
}

static void publish_in_step(void)
{
	draw_part(1);
	for (uint64_t number = 1; number <= ROUNDS; number++) {
		dawdle();
		publish(number);
		for (unsigned tries = 0; atomic_load(&field->taken) != number; tries++)
			if (tries > 100)
				sched_yield();
	}
}

static void no_wake_up_is_lost(void **state)
{
	(void)state;
	pid_t writer = start(publish_in_step);
	uint64_t taken = 0, slept = 0;
	while (taken < ROUNDS) {
		uint64_t published = atomic_load_explicit(&field->published, memory_order_acquire);
		if (published != taken) {
			taken = published;
			atomic_store(&field->taken, taken);
			dawdle();
			continue;
		}
		sleep_poll_note(poll_of);
		dawdle();
		if (atomic_load_explicit(&field->published, memory_order_acquire) != taken)
			continue;
		dawdle();
		if (sleep_poll_arm(poll_of))
			continue;
		dawdle();
		slept++;
		assert_true(readable(LOST_MS));
	}
	assert_int_equal(waitpid(writer, NULL, 0), writer);
	print_message("slept %llu times of %u\n", (unsigned long long)slept, ROUNDS);
	assert_in_range(slept, ROUNDS / 10, 2 * ROUNDS);
}

/* Switches of every thread of this process but the first. */
static uint64_t helper_switches(void)
{
	DIR *tasks = opendir("/proc/self/task");
	uint64_t sum = 0;
	for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
		char path[300], line[200];
		if (entry->d_name[0] == '.' || atoi(entry->d_name) == getpid())
			continue;
		snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
		FILE *status = fopen(path, "re");
		unsigned long long n;
		while (status != NULL && fgets(line, sizeof line, status) != NULL)
			if (sscanf(line, "voluntary_ctxt_switches: %llu", &n) == 1)
				sum += n;
		if (status != NULL)
			fclose(status);
	}
	closedir(tasks);
	return sum;
}

static void publish_fast(void)
{
	for (uint64_t number = 1; atomic_load(&field->stop) == 0; number++) {
		publish(number);
		spin(200);
	}
}

static void records_that_come_while_the_loop_is_awake_cost_no_system_call(void **state)
{
	(void)state;
	/* Woken once, so that all have slept before. */
	sleep_poll_note(poll_of);
	assert_false(sleep_poll_arm(poll_of));
	bell_ring(&field->bell[0]);
	assert_true(readable(LOST_MS));
	sleep_poll_note(poll_of);
	for (unsigned i = 0; i < BELLS; i++)
		bell_ring(&field->bell[i]); /* takes the sign of the sleeper away */
	usleep(50000);
	struct sleep_poll_counts before = sleep_poll_counts(poll_of);
	uint64_t switches = helper_switches(), flagged = 0, taken = 0;
	pid_t writer = start(publish_fast);
	while (taken < AWAKE_FOR) {
		uint64_t published = atomic_load_explicit(&field->published, memory_order_acquire);
		if (published == taken) {
			sleep_poll_note(poll_of);
			continue; /* there is more to do: it does not arm */
		}
		taken = published;
		for (unsigned i = 0; i < BELLS; i++) /* the sign that makes a ring a system call */
			flagged += atomic_load_explicit(&field->bell[i].word, memory_order_relaxed) >> 31;
	}
	end(writer);
	struct sleep_poll_counts after = sleep_poll_counts(poll_of);
	assert_int_equal(flagged, 0);
	assert_int_equal(after.armed, before.armed);
	assert_int_equal(after.read, before.read);
	assert_int_equal(after.fired, before.fired);
	assert_int_equal(helper_switches(), switches);
}

/* ---- deaths ---- */

static void publish_at_random(void)
{
	uint64_t number = atomic_load(&field->published);
	for (;;) {
		dawdle();
		publish(++number);
	}
}

static void a_writer_killed_at_any_moment_leaves_nobody_asleep(void **state)
{
	(void)state;
	uint64_t taken = 0;
	for (unsigned i = 0; i < KILLS; i++) {
		draw_part(i);
		pid_t writer = start(publish_at_random);
		uint64_t until_ns = clock_monotonic_ns() + draw_below(4000) * 1000ull, begun = taken;
		while (clock_monotonic_ns() < until_ns || taken == begun) {
			assert_true(wait_for_more(taken));
			taken = atomic_load_explicit(&field->published, memory_order_acquire);
		}
		kill(writer, SIGKILL);
		assert_int_equal(waitpid(writer, NULL, 0), writer);
		/* What it published and did not ring for is found by the look that every sleep
		 * begins with; what it rang for wakes, though it never called the kernel. */
		taken = atomic_load_explicit(&field->published, memory_order_acquire);
		sleep_poll_note(poll_of);
		if (!sleep_poll_arm(poll_of)) {
			bell_ring(&field->bell[i % BELLS]);
			assert_true(readable(LOST_MS));
		}
	}
}

/* A ring of which the kernel was never told, as when the writer dies in the middle of one. */
static void a_ring_cut_short_before_its_wake_up_is_noticed(void **state)
{
	(void)state;
	sleep_poll_note(poll_of);
	assert_false(sleep_poll_arm(poll_of));
	usleep(20000); /* the helper sleeps */
	atomic_fetch_add(&field->bell[1].word, 1);
	assert_true(readable(LOST_MS));
}

static void sleep_on_the_bells(void)
{
	struct sleep_poll *own;
	if (sleep_poll_open(&own, all_bells, NULL, NULL) != 0)
		_exit(1);
	atomic_store(&field->taken, 1);
	for (;;) {
		sleep_poll_note(own);
		if (!sleep_poll_arm(own))
			(void)poll(&(struct pollfd){.fd = sleep_poll_fd(own), .events = POLLIN}, 1, -1);
	}
}

static void a_reader_killed_at_any_moment_holds_up_nobody(void **state)
{
	(void)state;
	for (unsigned i = 0; i < KILLS; i++) {
		atomic_store(&field->taken, 0);
		pid_t reader = start(sleep_on_the_bells);
		while (atomic_load(&field->taken) == 0)
			sched_yield();
		for (unsigned n = draw_below(50); n > 0; n--) {
			dawdle();
			bell_ring(&field->bell[n % BELLS]);
		}
		kill(reader, SIGKILL);
		assert_int_equal(waitpid(reader, NULL, 0), reader);
		for (unsigned k = 0; k < BELLS; k++) {
			bell_ring(&field->bell[k]);
			/* one ring called in vain for the dead; the next calls nobody */
			assert_int_equal(field->bell[k].word >> 31, 0);
		}
		/* Another reader of the same bells is woken. */
		sleep_poll_note(poll_of);
		assert_false(sleep_poll_arm(poll_of));
		bell_ring(&field->bell[i % BELLS]);
		assert_true(readable(LOST_MS));
	}
}

/* ---- an instance ---- */

static void put(struct topic_writer *writer)
{
	char *at = stream_reserve(&writer->stream, record_bytes(8));
	assert_non_null(at);
	memset(record_put(at, 1, 8), 1, 8);
	stream_commit(&writer->stream, record_bytes(8), 1);
	topic_ring(writer);
}

/* One turn of a stage's loop: all there is. */
static unsigned work(struct topic_reader reader[2], struct queue *queue)
{
	struct record_batch batch;
	struct queue_slot slot;
	unsigned lane, done = 0;
	for (unsigned i = 0; i < 2; i++)
		while (topic_peek(&reader[i], &lane, &batch)) {
			uint64_t n = 0;
			while (record_next(&batch) != NULL)
				n++;
			stream_advance(&reader[i].lane[lane], &batch, n);
			done += (unsigned)n;
		}
	while (queue_take(queue, &slot)) {
		assert_int_equal(queue_done(queue, &slot), 0);
		done++;
	}
	return done;
}

struct both {
	struct topic_reader *reader; /* two */
	struct queue *queue;
};

static unsigned words_of_both(void *argument, struct sleep_word *word)
{
	const struct both *both = argument;
	unsigned n = topic_reader_words(&both->reader[0], word);
	n += topic_reader_words(&both->reader[1], &word[n]);
	word[n] = sleep_on_bell(both->queue->pushed);
	return n + 1;
}

static unsigned sleep_and_work(struct topic_reader reader[2], struct queue *queue)
{
	unsigned done;
	while ((done = work(reader, queue)) == 0) {
		sleep_poll_note(poll_of);
		done = work(reader, queue);
		if (done != 0)
			return done;
		if (!sleep_poll_arm(poll_of))
			assert_true(readable(LOST_MS));
	}
	return done;
}

static void records_of_every_topic_and_messages_of_a_queue_wake(void **state)
{
	(void)state;
	static const struct test_topic topics[] = {{"a", 1u << 20, 1, {"w.0"}, "stage"},
	                                           {"b", 1u << 20, 1, {"w.0"}, "stage"}};
	struct sandbox sandbox;
	struct instance instance;
	struct topic_reader reader[2];
	struct topic_writer writer[2];
	struct queue queue, producer;
	struct shm_error error;
	assert_int_equal(sandbox_make(&sandbox), 0);
	assert_int_equal(instance_make_queues(sandbox.directory, topics, 2,
	                                      (struct test_queue[]){{"q", 64, 64}}, 1, &error),
	                 0);
	assert_int_equal(instance_attach(&instance, "test", SEGMENT_READ, &error), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(topic_reader_attach_stage(&reader[i], &instance, topics[i].name, "stage",
		                                           (struct topic_share){.n = 1}, &error),
		                 0);
		assert_int_equal(topic_writer_attach(&writer[i], &instance, topics[i].name, "w.0", &error),
		                 0);
	}
	assert_int_equal(queue_attach(&queue, sandbox.directory, "q.queue", SEGMENT_WRITE, 1, &error), 0);
	assert_int_equal(queue_attach(&producer, sandbox.directory, "q.queue", SEGMENT_WRITE, 2, &error), 0);
	sleep_poll_close(poll_of);
	struct both both = {reader, &queue};
	assert_int_equal(sleep_poll_open(&poll_of, words_of_both, NULL, &both), 0);
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (unsigned i = 0; i < 300; i++) {
			usleep(i % 7 * 100);
			if (i % 3 < 2)
				put(&writer[i % 3]);
			else if (!queue_push(&producer, "message", 8))
				_exit(1);
		}
		_exit(0);
	}
	for (unsigned done = 0; done < 300;)
		done += sleep_and_work(reader, &queue);
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	sleep_poll_close(poll_of);
	poll_of = NULL;
	for (unsigned i = 0; i < 2; i++) {
		topic_reader_detach(&reader[i]);
		topic_writer_detach(&writer[i]);
	}
	queue_detach(&queue);
	queue_detach(&producer);
	instance_detach(&instance);
	sandbox_remove(&sandbox);
}

int main(void)
{
#define ONE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        ONE(a_ring_makes_the_descriptor_readable_once),
	        ONE(a_ring_between_noting_and_arming_is_told),
	        ONE(a_loop_that_comes_back_for_something_else_is_still_woken),
	        ONE(closing_ends_the_helper_armed_or_not),
	        ONE(what_no_bell_tells_makes_it_readable_too),
	        ONE(the_last_of_many_words_wakes_too),
	        ONE(the_helper_takes_no_signal),
	        ONE(the_median_wake_up_takes_less_than_a_millisecond),
	        ONE(no_wake_up_is_lost),
	        ONE(records_that_come_while_the_loop_is_awake_cost_no_system_call),
	        ONE(a_writer_killed_at_any_moment_leaves_nobody_asleep),
	        ONE(a_ring_cut_short_before_its_wake_up_is_noticed),
	        ONE(a_reader_killed_at_any_moment_holds_up_nobody),
	        ONE(records_of_every_topic_and_messages_of_a_queue_wake),
	};
	alarm(300);
	draw_init(20261127);
	field = mmap(NULL, sizeof *field, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (field == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests_name("sleep_poll", tests, NULL, NULL);
}
