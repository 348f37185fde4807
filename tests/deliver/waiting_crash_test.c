/* Roles in processes of their own put, claim and finish rows of one deliver.db; SIGKILL at random
 * moments, and the next life goes on from the file.
 *
 *     lost       was put and committed, was not finished, and is not there
 *     twice      claimed by a role while another role has it
 *     risen      finished and committed, and is there
 *     stuck      claimed, and its role has nothing in hand
 *
 * MILLRACE_SEED gives the seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "deliver/waiting.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/waiting_sample.h"

#define ROLES        3u
#define NUMBERS      100000u /* of each role */
#define ENDPOINTS    20u
#define HANDS        64u /* rows that a role has in hand at most */
#define KILLS        60u
#define PAUSE_MAX_US 30000u
#define WORK_NS      (20 * NS_PER_SEC) /* at most, until some are finished */

enum ended { NOT_ENDED, ENDING, ENDED };

struct field {
	_Atomic bool stop;
	_Atomic uint64_t next[ROLES], claims, ends, failures;
	_Atomic uint8_t put[ROLES * NUMBERS], ended[ROLES * NUMBERS];
	_Atomic uint8_t holder[ROLES * NUMBERS]; /* role + 1 */
	_Atomic uint64_t twice;
	char reason[200];
};

static struct field *field;

struct worker {
	unsigned role, lives;
	struct waiting *waiting;
	unsigned n;           /* in hand */
	uint64_t hand[HANDS]; /* after the commit that claimed them */
	unsigned fresh;       /* claimed in this transaction */
	uint64_t claimed[HANDS];
};

static unsigned room(void *argument, const char *origin, const char *endpoint)
{
	(void)argument;
	(void)origin;
	(void)endpoint;
	return draw_below(6);
}

static void give(void *argument, const struct waiting_row *row)
{
	struct worker *worker = argument;
	worker->claimed[worker->fresh++] = waiting_sample_number(row->postback);
}

static int put_new(struct worker *worker, uint64_t first, unsigned n)
{
	struct waiting_sample sample;
	int result = 0;
	for (uint64_t i = first; result == 0 && i < first + n; i++) {
		waiting_sample(&sample, i, draw_below(ENDPOINTS));
		result = draw_below(2) == 0 ? waiting_put_later(worker->waiting, &sample.row)
		                            : waiting_put_parked(worker->waiting, &sample.row);
	}
	return result;
}

/* Each one in hand is finished, or tried again. */
static int finish(struct worker *worker, bool *deleted)
{
	struct waiting_sample sample;
	int result = 0;
	for (unsigned i = 0; result == 0 && i < worker->n; i++) {
		uint64_t number = worker->hand[i];
		waiting_sample(&sample, number, draw_below(ENDPOINTS));
		atomic_store(&field->holder[number], 0); /* free for all with the commit */
		deleted[i] = draw_below(4) == 0;
		if (deleted[i])
			atomic_store(&field->ended[number], ENDING);
		result = deleted[i]           ? waiting_delete(worker->waiting, sample.row.postback)
		         : draw_below(8) == 0 ? waiting_put_dead(worker->waiting, &sample.row, "x", 1)
		         : draw_below(2) == 0 ? waiting_put_later(worker->waiting, &sample.row)
		                              : waiting_put_parked(worker->waiting, &sample.row);
	}
	return result;
}

/* What the commit has made true is written down. */
static void note(struct worker *worker, uint64_t first, unsigned n, const bool *deleted)
{
	for (uint64_t i = first; i < first + n; i++)
		atomic_store(&field->put[i], 1);
	for (unsigned i = 0; i < worker->n; i++)
		if (deleted[i]) {
			atomic_store(&field->ended[worker->hand[i]], ENDED);
			atomic_fetch_add(&field->ends, 1);
		}
	worker->n = worker->fresh;
	for (unsigned i = 0; i < worker->fresh; i++) {
		uint8_t none = 0;
		worker->hand[i] = worker->claimed[i];
		if (!atomic_compare_exchange_strong(&field->holder[worker->hand[i]], &none,
		                                    (uint8_t)(worker->role + 1)))
			atomic_fetch_add(&field->twice, 1);
		atomic_fetch_add(&field->claims, 1);
	}
}

static int turn(struct worker *worker, struct shm_error *error)
{
	bool deleted[HANDS] = {false};
	uint64_t next = atomic_load(&field->next[worker->role]);
	uint64_t first = worker->role * NUMBERS + next;
	unsigned n = next + 20 <= NUMBERS ? draw_below(20) : 0;
	atomic_store(&field->next[worker->role], next + n);
	worker->fresh = 0;
	int result = waiting_begin(worker->waiting, draw_below(4) != 0, error);
	if (result != 0)
		return result == -EBUSY ? 0 : result;
	result = put_new(worker, first, n);
	if (result == 0)
		result = finish(worker, deleted);
	if (result == 0)
		result = waiting_promote(worker->waiting, INT64_MAX, draw_below(100));
	if (result >= 0)
		result = waiting_claim(worker->waiting, 1 + draw_below(30), HANDS, room, give, worker);
	if (result < 0) {
		snprintf(error->text, sizeof error->text, "%s", waiting_reason(worker->waiting));
		return result;
	}
	result = waiting_commit(worker->waiting, error);
	if (result == 0)
		note(worker, first, n, deleted);
	return result;
}

static void work(const char *folder, unsigned role, unsigned lives)
{
	char name[16];
	struct shm_error error = {""};
	struct worker worker = {.role = role};
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	draw_part(role + ROLES * lives + 1);
	snprintf(name, sizeof name, "deliver.%u", role);
	int result = waiting_open(&worker.waiting, folder, name, &error);
	while (result == 0 && !atomic_load(&field->stop))
		result = turn(&worker, &error);
	if (result != 0) {
		snprintf(field->reason, sizeof field->reason, "%d %.180s", result, error.text);
		atomic_fetch_add(&field->failures, 1);
	}
	_exit(result != 0);
}

static pid_t start(const char *folder, unsigned role, unsigned lives)
{
	pid_t pid = fork();
	if (pid == 0)
		work(folder, role, lives);
	assert_true(pid > 0);
	return pid;
}

static void nap_us(unsigned us)
{
	nanosleep(&(struct timespec){.tv_nsec = (long)us * 1000}, NULL);
}

/* What it had in hand goes to the next life. */
static void bury(pid_t pid, unsigned role)
{
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSIGNALED(status) && WEXITSTATUS(status) != 0)
		fail_msg("deliver.%u: %s", role, field->reason);
	for (unsigned i = 0; i < ROLES * NUMBERS; i++)
		if (atomic_load(&field->holder[i]) == role + 1)
			atomic_store(&field->holder[i], 0);
}

static void run_and_kill(const char *folder)
{
	pid_t pid[ROLES];
	for (unsigned role = 0; role < ROLES; role++)
		pid[role] = start(folder, role, 0);
	for (unsigned kill_number = 1; kill_number <= KILLS; kill_number++) {
		unsigned role = draw_below(ROLES);
		nap_us(draw_below(PAUSE_MAX_US));
		kill(pid[role], SIGKILL);
		bury(pid[role], role);
		pid[role] = start(folder, role, kill_number);
	}
	uint64_t until = clock_monotonic_ns() + WORK_NS;
	while (atomic_load(&field->ends) == 0 && atomic_load(&field->failures) == 0 &&
	       clock_monotonic_ns() < until)
		nap_us(10000);
	atomic_store(&field->stop, true);
	for (unsigned role = 0; role < ROLES; role++)
		bury(pid[role], role);
}

static void count_rows(struct waiting *waiting)
{
	struct waiting_sample sample;
	uint64_t lost = 0, risen = 0, put = 0;
	for (uint64_t i = 0; i < ROLES * NUMBERS; i++) {
		if (i % NUMBERS >= atomic_load(&field->next[i / NUMBERS]))
			continue;
		waiting_sample(&sample, i, 0);
		bool there = waiting_has(waiting, sample.row.postback) == 1;
		uint8_t ended = atomic_load(&field->ended[i]);
		put += atomic_load(&field->put[i]);
		lost += atomic_load(&field->put[i]) && ended == NOT_ENDED && !there;
		risen += ended == ENDED && there;
	}
	print_message("%llu put, %llu claimed, %llu finished\n", (unsigned long long)put,
	              (unsigned long long)atomic_load(&field->claims),
	              (unsigned long long)atomic_load(&field->ends));
	assert_int_equal(lost, 0);
	assert_int_equal(risen, 0);
	assert_true(put > 0 && atomic_load(&field->claims) > 0 && atomic_load(&field->ends) > 0);
}

static void kills_lose_nothing_and_leave_nothing_claimed(void **state)
{
	struct shm_error error;
	struct waiting *waiting = NULL;
	struct waiting_counts counts;
	field = mmap(NULL, sizeof *field, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(field, MAP_FAILED);
	run_and_kill(*state);
	if (atomic_load(&field->failures) != 0)
		fail_msg("%s", field->reason);
	assert_int_equal(atomic_load(&field->twice), 0);
	for (unsigned role = 0; role < ROLES; role++) { /* a last life of each */
		char name[16];
		snprintf(name, sizeof name, "deliver.%u", role);
		waiting_close(waiting);
		assert_int_equal(waiting_open(&waiting, *state, name, &error), 0);
	}
	assert_int_equal(waiting_count(waiting, &counts), 0);
	assert_int_equal(counts.claimed, 0);
	count_rows(waiting);
	waiting_close(waiting);
	munmap(field, sizeof *field);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(kills_lose_nothing_and_leave_nothing_claimed,
	                                        waiting_folder_make, waiting_folder_remove),
	};
	draw_init(11);
	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
