/* The tally stage killed at random moments: what the database says at the end is what was written
 * to the lanes, to the last record.
 *
 * Two writers put records into two real lanes; the stage runs in a child, by its own five
 * functions, and is killed again and again. What record n of lane l says follows from n and l, so
 * the expected counts follow from how many were written.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sink/tally/book_ip.h"
#include "sink/tally/tally.h"
#include "base/clock.h"
#include "base/log.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/errand.h"
#include "tests/fixture/instance.h"
#include "tests/fixture/tally.h"

#define TOPIC        "ip"
#define KILLS        40u
#define LIFE_MOST_MS 1500u
#define LANES        2u
#define LANE_BYTES   (256u * 1024)
#define APPLICATIONS 200u
#define ADDRESSES    64u

struct shared { /* between the test and its children */
	_Atomic bool stop;
	_Atomic uint64_t written[LANES];
	struct control control; /* metrics go on over the lives */
};

struct fixture {
	struct sandbox folder;
	struct tally_folder data;
	struct shared *shared;
	struct segment page_segment;
	struct errand_page *page; /* where tally is asked */
	struct shm_error error;
	unsigned long random;
};

static int set_up(void **state)
{
	static const struct test_topic topic = {TOPIC, LANE_BYTES, LANES, {"w.0", "w.1"}, TALLY_GROUP};
	struct fixture *f = calloc(1, sizeof *f);
	*state = f;
	if (f == NULL || sandbox_make(&f->folder) != 0 || tally_folder_make(&f->data) != 0 ||
	    instance_make(f->folder.directory, &topic, 1, &f->error) != 0 ||
	    errand_page_make(&f->page_segment, f->folder.directory, TALLY_ROLE, &f->error) != 0)
		return -1;
	f->page = f->page_segment.body;
	f->random = draw_seed(clock_real_ns() | 1);
	f->shared = mmap(NULL, sizeof *f->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return f->shared == MAP_FAILED ? -1 : 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	tally_folder_remove(&f->data);
	segment_detach(&f->page_segment);
	sandbox_remove(&f->folder);
	munmap(f->shared, sizeof *f->shared);
	free(f);
	return 0;
}

/* ---- what is written ---- */

static void record_of(uint64_t lane, uint64_t n, unsigned *application, unsigned *address)
{
	unsigned long state = n * LANES + lane + 1;
	unsigned long number = draw_next(&state);
	*application = (number >> 8) % APPLICATIONS;
	*address = (number >> 32) % ADDRESSES;
}

/* A writer's life: batches of 1 to 64 records until it is told to stop. Waits while the lane is
 * full. */
static void write_lane(struct fixture *f, unsigned lane, uint64_t at_most)
{
	struct instance instance;
	struct topic_writer writer;
	unsigned long random = f->random + lane;
	uint64_t n = atomic_load(&f->shared->written[lane]);
	if (instance_attach(&instance, "test", SEGMENT_WRITE, &f->error) != 0 ||
	    topic_writer_attach(&writer, &instance, TOPIC, lane == 0 ? "w.0" : "w.1", &f->error) != 0)
		_exit(1);
	uint64_t end = n + at_most;
	while (!atomic_load(&f->shared->stop) && n < end) {
		uint64_t batch = 1 + draw_next(&random) % 64;
		batch = batch < end - n ? batch : end - n;
		char *at = stream_reserve(&writer.stream, batch * record_bytes(sizeof(struct event_ip)));
		if (at == NULL) {
			usleep(100);
			continue;
		}
		for (uint64_t i = 0; i < batch; i++) {
			unsigned application, address;
			record_of(lane, n + i, &application, &address);
			struct event_ip event = tally_event(application, address * 5);
			memcpy(record_put(at + i * record_bytes(sizeof event), EVENT_IP, sizeof event),
			       &event, sizeof event);
		}
		stream_commit(&writer.stream, batch * record_bytes(sizeof(struct event_ip)), batch);
		topic_ring(&writer);
		n += batch;
		atomic_store(&f->shared->written[lane], n);
		if (draw_next(&random) % 4 == 0)
			usleep(draw_next(&random) % 500);
	}
	topic_writer_detach(&writer);
	instance_detach(&instance);
}

static pid_t start_writer(struct fixture *f, unsigned lane, uint64_t at_most)
{
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		write_lane(f, lane, at_most);
		_exit(0);
	}
	return pid;
}

static void write_some(struct fixture *f, uint64_t n)
{
	int status;
	for (unsigned lane = 0; lane < LANES; lane++) {
		assert_int_equal(waitpid(start_writer(f, lane, n), &status, 0) > 0, 1);
		assert_int_equal(status, 0);
	}
}

/* ---- the stage ---- */

static struct stage stage;
static uint64_t idle_ns = 10 * NS_PER_MS; /* of the lives that begin from now on */

static void drain(int signal_number)
{
	(void)signal_number;
	stage.draining = true;
}

/* One life of the stage in a child: the loop of stage.h, with ticks close together. Ends when
 * drained. */
static void live(struct fixture *f)
{
	char data_dir[128];
	snprintf(data_dir, sizeof data_dir, "data_dir=%s", f->data.data_dir);
	const char *const sets[] = {data_dir, "tally.commit_interval=10ms"};
	char *errors = NULL;
	struct shm_error error;
	stage = (struct stage){.ops = &tally_stage, .role = TALLY_ROLE, .control = &f->shared->control};
	log_init("tally", LOG_ERROR, LOG_TEXT);
	sigset_t term;
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	signal(SIGTERM, drain);
	sigprocmask(SIG_UNBLOCK, &term, NULL);
	stage.config = config_load(NULL, sets, 2, &errors);
	if (stage.config == NULL || instance_attach(&stage.instance, "test", SEGMENT_WRITE, &error) != 0)
		_exit(2);
	if (tally_stage.init(&stage, &error) != 0) {
		fprintf(stderr, "tally: %s\n", error.text);
		_exit(3);
	}
	for (uint64_t ticked_ns = 0;;) {
		stage.now_ns = clock_monotonic_ns();
		if (stage.now_ns - ticked_ns > 10 * NS_PER_MS) {
			tally_stage.tick(&stage);
			ticked_ns = stage.now_ns;
		}
		if (tally_stage.poll(&stage))
			continue;
		if (stage.draining && tally_stage.drained(&stage))
			break;
		tally_stage.idle(&stage, idle_ns);
	}
	tally_stage.fini(&stage);
	instance_detach(&stage.instance);
	config_free(stage.config);
	_exit(0);
}

static pid_t start_tally(struct fixture *f)
{
	/* Blocked until the child has its handler: the test may end it at once. */
	sigset_t term, before;
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, &before);
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		live(f);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	return pid;
}

static void end_tally(pid_t pid)
{
	int status;
	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* A life that counts all there is. */
static void tally_all(struct fixture *f)
{
	end_tally(start_tally(f));
}

/* ---- what must come out ---- */

static void check_counts(struct fixture *f)
{
	static uint64_t count[APPLICATIONS];
	static uint64_t seen[APPLICATIONS];
	uint64_t records = 0;
	memset(count, 0, sizeof count);
	memset(seen, 0, sizeof seen);
	for (unsigned lane = 0; lane < LANES; lane++) {
		uint64_t written = atomic_load(&f->shared->written[lane]);
		records += written;
		for (uint64_t n = 0; n < written; n++) {
			unsigned application, address;
			record_of(lane, n, &application, &address);
			count[application]++;
			seen[application] |= 1ull << address;
		}
	}
	struct store *store;
	struct book_ip *ip;
	struct counts_limits limits = {1000, 65536, 1000000};
	assert_int_equal(store_open(&store, f->data.data_dir, book_kinds, &f->error), 0);
	assert_int_equal(book_ip_open(&ip, &limits, store_database(store), &f->error), 0);
	const struct counts *counts = &ip->counts;
	uint64_t counted = 0;
	for (uint64_t i = 0; i < counts->n_applications; i++)
		counted += counts->application[i].count;
	printf("written %llu, in the database %llu\n", (unsigned long long)records,
	       (unsigned long long)counted);
	assert_int_equal(counted, records);
	for (unsigned a = 0; a < APPLICATIONS; a++) {
		uint8_t sha[32];
		tally_sha(sha, a);
		const struct counts_application *found = counts_find(counts, sha);
		assert_int_equal(found == NULL ? 0 : found->count, count[a]);
		for (unsigned i = 0; found != NULL && i < ADDRESSES; i++)
			assert_int_equal(counts_hosts(counts, found, i * 5) >> (i * 5 % 16) & 1,
			                 seen[a] >> i & 1);
		assert_int_equal(found == NULL ? 0 : found->addresses, __builtin_popcountll(seen[a]));
	}
	book_ip_kind.close(&ip->book);
	store_close(store);
}

static uint64_t metric_named(const struct fixture *f, const char *name)
{
	for (unsigned i = 0; i < tally_stage.n_metrics; i++)
		if (strcmp(tally_stage.metrics[i].name, name) == 0)
			return atomic_load(
			        &f->shared->control.metric[control_stage_word(tally_stage.metrics, i)]);
	fail_msg("no metric %s", name);
	return 0;
}

static void killed_at_random_moments_it_counts_each_record_once(void **state)
{
	struct fixture *f = *state;
	pid_t writer[LANES];
	int status;
	for (unsigned lane = 0; lane < LANES; lane++)
		writer[lane] = start_writer(f, lane, UINT64_MAX / 2);
	for (unsigned i = 0; i < KILLS; i++) {
		uint64_t commits = metric_named(f, "commits");
		pid_t tally = start_tally(f);
		usleep(5000 + (unsigned)(draw_next(&f->random) % 100000));
		/* Of four lives one may die before its first commit, also where starting takes
		 * long. */
		for (unsigned ms = 0;
		     i % 4 != 0 && metric_named(f, "commits") == commits && ms < LIFE_MOST_MS; ms++)
			usleep(1000);
		assert_int_equal(kill(tally, SIGKILL), 0);
		assert_int_equal(waitpid(tally, &status, 0), tally);
		assert_true(WIFSIGNALED(status)); /* it had not ended by itself */
	}
	atomic_store(&f->shared->stop, true);
	for (unsigned lane = 0; lane < LANES; lane++) {
		assert_int_equal(waitpid(writer[lane], &status, 0), writer[lane]);
		assert_int_equal(status, 0);
	}
	tally_all(f);
	printf("%u kills, %llu commits, %llu records counted in memory\n", KILLS,
	       (unsigned long long)metric_named(f, "commits"), (unsigned long long)metric_named(f, "events"));
	assert_true(metric_named(f, "commits") > KILLS / 2);
	check_counts(f);
}

/* ---- forgetting ---- */

/* What tally says of the errand. */
static uint64_t stage_word(struct fixture *f)
{
	return atomic_load(&f->shared->control.errand);
}

static enum errand_state stage_state(struct fixture *f)
{
	return errand_state(stage_word(f));
}

static uint64_t in_database(struct fixture *f)
{
	struct store *store;
	struct book_ip *ip;
	struct counts_limits limits = {1000, 65536, 1000000};
	uint64_t counted = 0;
	assert_int_equal(store_open(&store, f->data.data_dir, book_kinds, &f->error), 0);
	assert_int_equal(book_ip_open(&ip, &limits, store_database(store), &f->error), 0);
	for (uint64_t i = 0; i < ip->counts.n_applications; i++) {
		const struct counts_application *application = &ip->counts.application[i];
		counted += application->count;
		assert_true(application->addresses > 0 && application->addresses <= application->count);
	}
	book_ip_kind.close(&ip->book);
	store_close(store);
	return counted;
}

/* Asks again as soon as the last was done. Returns how many events that forgot. */
static uint64_t keep_asking(struct fixture *f, unsigned *done)
{
	uint64_t asked = atomic_load(&f->page->asked), events = 0;
	bool is_done = stage_word(f) == errand_word(errand_id(asked), ERRAND_DONE);
	if (is_done && asked != 0) {
		events = atomic_load(&f->shared->control.errand_answer[1]);
		*done += 1;
	}
	if (is_done || asked == 0)
		atomic_store(&f->page->asked,
		             errand_word(clock_monotonic_ns() + 1000 * NS_PER_SEC, ERRAND_ASKED));
	return events;
}

static void killed_while_it_forgets_all_of_it_is_forgotten_or_nothing(void **state)
{
	struct fixture *f = *state;
	pid_t writer[LANES];
	int status;
	unsigned done = 0, taken = 0;
	uint64_t forgotten = 0, written = 0;
	for (unsigned lane = 0; lane < LANES; lane++)
		writer[lane] = start_writer(f, lane, UINT64_MAX / 2);
	for (unsigned i = 0; i < KILLS; i++) {
		pid_t tally = start_tally(f);
		unsigned before = done, wanted = 1 + draw_next(&f->random) % 3;
		for (unsigned n = 0; n < 2000 && done - before < wanted; n++) {
			forgotten += keep_asking(f, &done);
			usleep(100);
		}
		/* Then it is killed while the next is carried out, or soon after. */
		for (unsigned n = 0; n < 20000 && stage_state(f) != ERRAND_TAKEN; n++) {
			forgotten += keep_asking(f, &done);
			usleep(10);
		}
		usleep((unsigned)(draw_next(&f->random) % 1500));
		assert_int_equal(kill(tally, SIGKILL), 0);
		assert_int_equal(waitpid(tally, &status, 0), tally);
		assert_true(WIFSIGNALED(status));
		taken += stage_state(f) == ERRAND_TAKEN;
	}
	atomic_store(&f->shared->stop, true);
	for (unsigned lane = 0; lane < LANES; lane++) {
		assert_int_equal(waitpid(writer[lane], &status, 0), writer[lane]);
		written += atomic_load(&f->shared->written[lane]);
	}
	tally_all(f);
	forgotten += keep_asking(f, &done);
	printf("%u kills, %u over an errand; %u errands forgot %llu of %llu events\n", KILLS, taken, done,
	       (unsigned long long)forgotten, (unsigned long long)written);
	assert_true(done > KILLS / 2);
	assert_int_equal(forgotten + in_database(f), written);
}

/* A life that finds what an asker and a former life have left. */
static void tally_all_over(struct fixture *f, uint64_t asked, uint64_t stages)
{
	atomic_store(&f->page->asked, asked);
	atomic_store(&f->shared->control.errand, stages);
	tally_all(f);
}

static void assert_forgot(struct fixture *f, uint64_t id, uint64_t events)
{
	assert_int_equal(stage_word(f), errand_word(id, ERRAND_DONE));
	assert_true(atomic_load(&f->shared->control.errand_answer[0]) > 0);
	assert_int_equal(atomic_load(&f->shared->control.errand_answer[1]), events);
}

static void an_errand_that_a_life_died_over_is_done_once(void **state)
{
	struct fixture *f = *state;
	uint64_t id = clock_monotonic_ns(), next = id + 1000 * NS_PER_SEC;
	write_some(f, 100);
	tally_all(f);
	assert_int_equal(in_database(f), 200);
	/* It died before the commit, its asker has been told that it will be done. */
	tally_all_over(f, errand_word(id, ERRAND_CONFIRMED), errand_word(id, ERRAND_TAKEN));
	assert_forgot(f, id, 200);
	assert_int_equal(in_database(f), 0);
	write_some(f, 50);
	/* It died after the commit; its asker may have died too. */
	for (int asked = ERRAND_ASKED; asked <= ERRAND_CONFIRMED; asked++) {
		tally_all_over(f, errand_word(id, (enum errand_state)asked), errand_word(id, ERRAND_TAKEN));
		assert_forgot(f, id, 200);
		assert_int_equal(in_database(f), 100);
	}
	write_some(f, 50);
	/* Its time is not over; what is in the lanes is counted after it. */
	tally_all_over(f, errand_word(next, ERRAND_ASKED), errand_word(next, ERRAND_TAKEN));
	assert_forgot(f, next, 100);
	assert_int_equal(in_database(f), 100);
}

static void an_errand_that_a_life_died_over_is_not_done_when_nobody_wants_it(void **state)
{
	struct fixture *f = *state;
	uint64_t id = clock_monotonic_ns();
	write_some(f, 100);
	tally_all_over(f, errand_word(id, ERRAND_REVOKED), errand_word(id, ERRAND_TAKEN));
	assert_int_equal(stage_state(f), ERRAND_NONE);
	/* The asker has died, and its time is over: the next one takes its place. */
	tally_all_over(f, errand_word(id, ERRAND_ASKED), errand_word(id, ERRAND_TAKEN));
	assert_int_equal(stage_state(f), ERRAND_TAKEN);
	check_counts(f);
}

static void an_errand_whose_time_is_over_is_not_done(void **state)
{
	struct fixture *f = *state;
	write_some(f, 100);
	tally_all_over(f, errand_word(clock_monotonic_ns(), ERRAND_ASKED), 0);
	assert_int_equal(stage_word(f), 0);
	check_counts(f);
}

static void wait_for_errand(struct fixture *f, enum errand_state wanted)
{
	for (int i = 0; i < 1000 && stage_state(f) != wanted; i++)
		usleep(10000);
	assert_int_equal(stage_state(f), wanted);
}

static void an_errand_wakes_it_from_its_sleep(void **state)
{
	struct fixture *f = *state;
	int status;
	idle_ns = 20 * NS_PER_SEC; /* it looks by itself at nothing meanwhile */
	uint64_t waits = metric_named(f, "waits");
	pid_t tally = start_tally(f);
	idle_ns = 10 * NS_PER_MS;
	write_some(f, 100);
	for (unsigned i = 0; i < 3; i++) {
		usleep(300000); /* all is committed, and it sleeps */
		atomic_store(&f->page->asked,
		             errand_word(clock_monotonic_ns() + 1000 * NS_PER_SEC, ERRAND_ASKED));
		sleep_wake(sleep_low_half(&f->page->asked));
		uint64_t begun_ns = clock_monotonic_ns();
		wait_for_errand(f, ERRAND_DONE);
		while (errand_id(stage_word(f)) != errand_id(atomic_load(&f->page->asked)))
			assert_true(clock_monotonic_ns() - begun_ns < 5 * NS_PER_SEC);
	}
	assert_true(metric_named(f, "waits") > waits);
	assert_int_equal(kill(tally, SIGKILL), 0);
	assert_int_equal(waitpid(tally, &status, 0), tally);
	assert_int_equal(in_database(f), 0);
}

/* ---- single moments ---- */

static struct stream_group *map_group(struct fixture *f, struct segment *segment)
{
	char name[SEGMENT_NAME_MAX];
	assert_int_equal(segment_attach(segment, f->folder.directory, instance_group_name(name, TOPIC, 0),
	                                SEGMENT_GROUP, SEGMENT_WRITE, &f->error),
	                 0);
	return segment->body;
}

static void killed_between_commit_and_cursor_it_goes_on_from_the_database(void **state)
{
	struct fixture *f = *state;
	struct segment segment;
	struct stream_group *group = map_group(f, &segment);
	write_some(f, 300);
	tally_all(f);
	uint64_t position = atomic_load(&group->cursor[1].position);
	uint64_t records = atomic_load(&group->cursor[1].records);
	assert_int_equal(records, 300);
	write_some(f, 200);
	tally_all(f);
	/* As if the last life had died before stream_settle. */
	atomic_store(&group->cursor[1].position, position);
	atomic_store(&group->cursor[1].records, records);
	tally_all(f);
	assert_int_equal(atomic_load(&group->cursor[1].records), 500);
	check_counts(f);
	atomic_store(&group->cursor[0].position, 0);
	atomic_store(&group->cursor[0].records, 0);
	write_some(f, 100);
	tally_all(f);
	check_counts(f);
	segment_detach(&segment);
}

static void change_database(struct fixture *f, const char *text)
{
	char path[128];
	sqlite3 *db;
	snprintf(path, sizeof path, "%s/%s", f->data.data_dir, STORE_FILE);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void positions_of_another_generation_mean_nothing(void **state)
{
	struct fixture *f = *state;
	write_some(f, 100);
	tally_all(f);
	change_database(f, "UPDATE cursor SET generation = generation + 1, position = position + 800");
	write_some(f, 100);
	tally_all(f);
	check_counts(f);
}

static void a_position_the_lane_has_not_reached_is_refused(void **state)
{
	struct fixture *f = *state;
	int status;
	write_some(f, 100);
	tally_all(f);
	change_database(f, "UPDATE cursor SET position = position + 800");
	pid_t tally = start_tally(f);
	assert_int_equal(waitpid(tally, &status, 0), tally);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 3);
}

static void wait_for_failing(struct fixture *f, uint64_t wanted)
{
	for (int i = 0; i < 1000 && metric_named(f, "failing") != wanted; i++)
		usleep(10000);
	assert_int_equal(metric_named(f, "failing"), wanted);
}

/* As another program that writes. */
static sqlite3 *lock_database(struct fixture *f)
{
	char path[128];
	sqlite3 *db;
	snprintf(path, sizeof path, "%s/%s", f->data.data_dir, STORE_FILE);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_busy_timeout(db, 5000);
	assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	return db;
}

static void unlock_database(sqlite3 *db)
{
	assert_int_equal(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void while_the_database_is_locked_lanes_fill_and_nothing_is_lost(void **state)
{
	struct fixture *f = *state;
	struct segment segment;
	struct stream_group *group = map_group(f, &segment);
	write_some(f, 10);
	tally_all(f);
	pid_t tally = start_tally(f); /* before the connection: those must not cross a fork */
	sqlite3 *db = lock_database(f);
	pid_t writer = start_writer(f, 0, LANE_BYTES / 72 + 500); /* more than the lane holds */
	for (int i = 0; i < 300 && metric_named(f, "failing") == 0; i++)
		usleep(10000);
	assert_int_equal(metric_named(f, "failing"), 1);
	usleep(300000);
	assert_int_equal(atomic_load(&group->cursor[0].records), 10);
	assert_true(atomic_load(&f->shared->written[0]) <= 10 + LANE_BYTES / 72);
	unlock_database(db);
	int status;
	assert_int_equal(waitpid(writer, &status, 0), writer);
	assert_int_equal(status, 0);
	end_tally(tally);
	assert_int_equal(metric_named(f, "failing"), 0);
	check_counts(f);
	segment_detach(&segment);
}

static void an_errand_that_cannot_be_committed_is_done_when_that_works_again(void **state)
{
	struct fixture *f = *state;
	unsigned done = 0;
	write_some(f, 10);
	tally_all(f);
	pid_t tally = start_tally(f); /* before the connection: those must not cross a fork */
	sqlite3 *db = lock_database(f);
	assert_int_equal(keep_asking(f, &done), 0);
	wait_for_errand(f, ERRAND_TAKEN);
	wait_for_failing(f, 1);
	write_some(f, 10);
	assert_int_equal(stage_state(f), ERRAND_TAKEN);
	unlock_database(db);
	wait_for_errand(f, ERRAND_DONE);
	end_tally(tally);
	uint64_t forgotten = atomic_load(&f->shared->control.errand_answer[1]);
	assert_true(forgotten >= 20);
	assert_int_equal(forgotten + in_database(f), 40);
}

static void note_of(struct fixture *f, char note[CONTROL_NOTE_BYTES])
{
	control_read_note(&f->shared->control, note);
}

static void while_the_database_is_moved_away_cursors_stay_and_the_reason_is_told(void **state)
{
	struct fixture *f = *state;
	char path[128], aside[128], note[CONTROL_NOTE_BYTES];
	struct segment segment;
	struct stream_group *group = map_group(f, &segment);
	write_some(f, 10);
	tally_all(f);
	snprintf(path, sizeof path, "%s/%s", f->data.data_dir, STORE_FILE);
	snprintf(aside, sizeof aside, "%s/aside", f->data.data_dir);
	uint64_t waits = metric_named(f, "waits");
	pid_t tally = start_tally(f);
	for (int i = 0; i < 1000 && metric_named(f, "waits") == waits; i++)
		usleep(10000);
	assert_int_equal(rename(path, aside), 0);
	wait_for_failing(f, 1); /* with nothing to count: it looks by itself */
	write_some(f, 10);
	usleep(200000);
	assert_int_equal(atomic_load(&group->cursor[0].records), 10);
	assert_int_equal(atomic_load(&group->cursor[1].records), 10);
	note_of(f, note);
	assert_non_null(strstr(note, "cannot commit: " STORE_FILE ": deleted or moved away"));
	assert_int_equal(rename(aside, path), 0);
	wait_for_failing(f, 0);
	end_tally(tally);
	note_of(f, note);
	assert_string_equal(note, "");
	assert_int_equal(atomic_load(&group->cursor[0].records), 20);
	check_counts(f);
	segment_detach(&segment);
}

static void a_life_tells_how_many_records_its_database_lacks(void **state)
{
	struct fixture *f = *state;
	char path[128], note[CONTROL_NOTE_BYTES];
	write_some(f, 100);
	tally_all(f);
	tally_all(f);
	assert_int_equal(metric_named(f, "lost_records"), 0);
	tree_remove(f->data.data_dir); /* the folder with all that is in it */
	tally_all(f);
	assert_int_equal(metric_named(f, "lost_records"), 200);
	note_of(f, note);
	assert_non_null(strstr(note, "short of 200 records"));
	write_some(f, 100);
	tally_all(f);
	/* An older copy: what was committed since is in no count. */
	change_database(f,
	                "UPDATE cursor SET position = position - 800, records = records - 10 WHERE lane = 1");
	tally_all(f);
	assert_int_equal(metric_named(f, "lost_records"), 10);
	snprintf(path, sizeof path, "%s/%s", f->data.data_dir, STORE_FILE);
	assert_int_equal(access(path, F_OK), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(killed_at_random_moments_it_counts_each_record_once, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(killed_while_it_forgets_all_of_it_is_forgotten_or_nothing,
	                                        set_up, tear_down),
	        cmocka_unit_test_setup_teardown(an_errand_that_a_life_died_over_is_done_once, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(
	                an_errand_that_a_life_died_over_is_not_done_when_nobody_wants_it, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(an_errand_whose_time_is_over_is_not_done, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(an_errand_wakes_it_from_its_sleep, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(
	                an_errand_that_cannot_be_committed_is_done_when_that_works_again, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(killed_between_commit_and_cursor_it_goes_on_from_the_database,
	                                        set_up, tear_down),
	        cmocka_unit_test_setup_teardown(positions_of_another_generation_mean_nothing, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(a_position_the_lane_has_not_reached_is_refused, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(while_the_database_is_locked_lanes_fill_and_nothing_is_lost,
	                                        set_up, tear_down),
	        cmocka_unit_test_setup_teardown(
	                while_the_database_is_moved_away_cursors_stay_and_the_reason_is_told, set_up,
	                tear_down),
	        cmocka_unit_test_setup_teardown(a_life_tells_how_many_records_its_database_lacks, set_up,
	                                        tear_down),
	};
	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
