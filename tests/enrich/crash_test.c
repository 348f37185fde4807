/* The enrich stage killed at random moments: the topic track says what track.raw said, call for
 * call in order, and the ledger adds up.
 *
 *     this test: calls by number --> track.raw lanes 0, 1 --> enrich.0, enrich.1 (children, killed again and again) --> track --> this test
 *
 * What an event says follows from its lane and number, so loss, repetition, another order and a
 * torn record are different failures. Now and then a record is no call, the reader rests until
 * track is full, or the two processes become one that reads both lanes, and two again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/enrich.h"

#define KILLS       200u
#define RAW_BYTES   (1u << 20)
#define TRACK_BYTES (256u * 1024)
#define LIFE_NS     (12 * NS_PER_MS) /* at most */
#define TICK_NS     (2 * NS_PER_MS)

struct trial {
	struct enrich_fixture fixture;
	struct enrich enrich; /* its lookup is open before the children are */
	pid_t child[ENRICH_LANES];
	unsigned shares;                  /* children there are */
	uint64_t malformed[ENRICH_LANES]; /* records put into track.raw that are no calls */
	uint64_t kills, changes;
};

static struct trial trial;

static int set_up(void **state)
{
	(void)state;
	memset(&trial, 0, sizeof trial);
	draw_init(clock_real_ns() | 1);
	return enrich_files_open(&trial.enrich.lookup) != 0
	               ? -1
	               : enrich_fixture_make(&trial.fixture, RAW_BYTES, TRACK_BYTES);
}

static int tear_down(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ENRICH_LANES; i++)
		if (trial.child[i] > 0) {
			kill(trial.child[i], SIGKILL);
			waitpid(trial.child[i], NULL, 0);
		}
	lookup_close(&trial.enrich.lookup);
	enrich_fixture_remove(&trial.fixture);
	return 0;
}

/* ---- children: no cmocka here ---- */

static volatile sig_atomic_t ending;

static void on_term(int signal_number)
{
	(void)signal_number;
	ending = 1;
}

/* One life: the loop of stage.h, with ticks close together. Ends on SIGTERM, when there is nothing
 * left to read. */
static void live(unsigned index, unsigned shares)
{
	struct enrich *enrich = &trial.enrich;
	sigset_t term;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGTERM, on_term);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_UNBLOCK, &term, NULL);
	if (enrich_fixture_open(&trial.fixture, enrich, index, shares) != 0) {
		fprintf(stderr, "enrich.%u: %s\n", index, trial.fixture.error.text);
		_exit(3);
	}
	for (uint64_t ticked_ns = 0;;) {
		uint64_t now_ns = clock_monotonic_ns();
		bool last = ending; /* before the poll: what that does not find is not to come */
		if (now_ns - ticked_ns > TICK_NS) {
			enrich_tick(enrich, now_ns);
			ticked_ns = now_ns;
		}
		if (enrich_poll(enrich))
			continue;
		if (last && !enrich->full)
			break;
		enrich_idle(enrich, TICK_NS);
	}
	enrich_close(enrich);
	_exit(0);
}

static void start(unsigned index)
{
	/* Blocked until the child has its handler: the test may end it at once. */
	sigset_t term, before;
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, &before);
	fflush(NULL);
	trial.child[index] = fork();
	if (trial.child[index] == 0)
		live(index, trial.shares);
	sigprocmask(SIG_SETMASK, &before, NULL);
	assert_true(trial.child[index] > 0);
}

static void kill_one(unsigned index)
{
	int status;
	assert_int_equal(kill(trial.child[index], SIGKILL), 0);
	assert_int_equal(waitpid(trial.child[index], &status, 0), trial.child[index]);
	trial.child[index] = 0;
	assert_true(WIFSIGNALED(status)); /* it had not ended by itself */
	trial.kills++;
}

/* ---- load ---- */

static void write_malformed(unsigned lane)
{
	struct topic_writer *writer = &trial.fixture.writer[lane];
	uint32_t length = (uint32_t)draw_below(100);
	char *at = stream_reserve(&writer->stream, record_bytes(length));
	if (at == NULL)
		return;
	memset(record_put(at, EVENT_TRACK_RAW, length), 0xee, length);
	stream_commit(&writer->stream, record_bytes(length), 1);
	trial.malformed[lane]++;
}

static void write_some(uint64_t most)
{
	for (unsigned lane = 0; lane < ENRICH_LANES; lane++) {
		(void)enrich_fixture_write(&trial.fixture, lane, draw() % most);
		if (draw_below(8) == 0)
			write_malformed(lane);
	}
}

/* While one process reads both lanes their events come in one lane of track: the next of either. */
static void read_lane(unsigned lane)
{
	struct enrich_fixture *fixture = &trial.fixture;
	struct record_batch batch;
	const struct record *record;
	uint64_t n = 0;
	if (!stream_peek(&fixture->sink.lane[lane], &batch))
		return;
	while ((record = record_next(&batch)) != NULL) {
		unsigned from = call_number(record, lane) == fixture->read[lane] ? lane : 1 - lane;
		if (call_number(record, from) != fixture->read[from])
			fail_msg("event %llu of lane %u, or %llu of lane %u, expected",
			         (unsigned long long)fixture->read[lane], lane,
			         (unsigned long long)fixture->read[from], from);
		fixture->read[from]++;
		n++;
	}
	assert_false(batch.corrupt);
	stream_advance(&fixture->sink.lane[lane], &batch, n);
}

static void read_all(void)
{
	for (unsigned lane = 0; lane < ENRICH_LANES; lane++)
		read_lane(lane);
}

static bool all_read(void)
{
	for (unsigned lane = 0; lane < ENRICH_LANES; lane++)
		if (trial.fixture.read[lane] != trial.fixture.written[lane])
			return false;
	return true;
}

/* Writes and reads until a moment drawn at random. A call or two, and the next when they have come
 * out, make many commits; many at a time make long batches, and now and then no one reads
 * meanwhile. */
static void work_until_a_moment(void)
{
	uint64_t end_ns = clock_monotonic_ns() + draw() % LIFE_NS;
	bool few = draw_below(2) == 0, resting = !few && draw_below(2) == 0;
	do {
		if (!few || all_read())
			write_some(few ? 3 : 300);
		if (!resting)
			read_all();
	} while (clock_monotonic_ns() < end_ns);
}

/* ---- the test ---- */

static void start_all(unsigned shares)
{
	trial.shares = shares;
	for (unsigned i = 0; i < shares; i++)
		start(i);
}

/* Asks all to end. They read all there is first, so this reads what they write until they have. */
static void end_all(void)
{
	for (unsigned i = 0; i < trial.shares; i++)
		assert_int_equal(kill(trial.child[i], SIGTERM), 0);
	for (unsigned i = 0; i < trial.shares; i++) {
		int status = 0;
		while (waitpid(trial.child[i], &status, WNOHANG) == 0) {
			read_all();
			usleep(200);
		}
		trial.child[i] = 0;
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
	}
	read_all();
}

static void check_all(void)
{
	uint64_t received = 0, rejected = 0, written = 0, malformed = 0;
	for (unsigned lane = 0; lane < ENRICH_LANES; lane++) {
		const struct stream_shared *shared = enrich_fixture_lane(&trial.fixture, lane);
		assert_int_equal(trial.fixture.read[lane], trial.fixture.written[lane]);
		assert_true(enrich_fixture_balanced(&trial.fixture, lane));
		received += shared->ledger.received;
		rejected += shared->ledger.rejected[LEDGER_MALFORMED];
		written += trial.fixture.written[lane];
		malformed += trial.malformed[lane];
	}
	assert_int_equal(rejected, malformed);
	assert_int_equal(received, written + malformed);
	for (unsigned i = 0; i < ENRICH_LANES; i++)
		assert_int_equal(trial.fixture.sink.group->cursor[i].missed_records +
		                         trial.fixture.sink.group->cursor[i].damaged,
		                 0);
}

static uint64_t metric_of_both(enum enrich_metric metric)
{
	return enrich_fixture_metric(&trial.fixture, 0, metric) +
	       enrich_fixture_metric(&trial.fixture, 1, metric);
}

static void killed_at_random_moments_it_makes_one_event_of_each_call(void **state)
{
	(void)state;
	start_all(2);
	while (trial.kills < KILLS) {
		work_until_a_moment();
		unsigned index = (unsigned)draw_below(trial.shares);
		kill_one(index);
		if (draw_below(4) == 0)
			write_some(300); /* no process is there to take it */
		start(index);
		if (draw_below(30) == 0) {
			end_all();
			start_all(3 - trial.shares);
			trial.changes++;
		}
	}
	end_all();
	check_all();
	printf("%llu kills, %llu calls and %llu other records, %llu commits, %llu notes finished, %llu waits for room, %llu changes between one process and two\n",
	       (unsigned long long)trial.kills,
	       (unsigned long long)(trial.fixture.written[0] + trial.fixture.written[1]),
	       (unsigned long long)(trial.malformed[0] + trial.malformed[1]),
	       (unsigned long long)metric_of_both(ENRICH_commits),
	       (unsigned long long)metric_of_both(ENRICH_recovered_notes),
	       (unsigned long long)metric_of_both(ENRICH_full_waits), (unsigned long long)trial.changes);
	assert_true(metric_of_both(ENRICH_commits) > KILLS / 2);
	assert_true(trial.fixture.written[0] > KILLS && trial.fixture.written[1] > KILLS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(killed_at_random_moments_it_makes_one_event_of_each_call,
	                                        set_up, tear_down),
	};
	alarm(60);
	log_init("enrich_crash_test", LOG_ERROR, LOG_TEXT);
	return cmocka_run_group_tests_name("enrich crash", tests, enrich_files_make, enrich_files_remove);
}
