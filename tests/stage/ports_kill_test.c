/* Ports of two real stages that are killed and whose page is replaced under them
 * (tests/fixture/pages.h): each record is handed on once. The program is the stages, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "stage/stage.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/pages.h"

#define RECORD   16u /* bytes of one with its number */
#define PER_LANE 20000u

static const char *const in[] = {"in", NULL}, *const out[] = {"out", NULL};

struct worker {
	struct ports ports;
	struct lane lane;
	struct redo redo;
};

static int worker_init(struct stage *stage, struct shm_error *error)
{
	bool copies = strcmp(stage->ops->name, "copy") == 0;
	struct worker *worker = calloc(1, sizeof *worker);
	struct ports_wanted wanted = {
	        .instance = &stage->instance,
	        .role = stage->role,
	        .group = "copy",
	        .reads = copies ? in : NULL,
	        .writes = copies ? out : in,
	        .lane = &worker->lane,
	        .redo = &worker->redo,
	        .control = stage->control,
	        .recovered_notes = 0,
	};
	stage->own = worker;
	stage->ports = &worker->ports;
	return ports_open(&worker->ports, &wanted, error);
}

static void worker_fini(struct stage *stage)
{
	struct worker *worker = stage->own;
	ports_close(&worker->ports);
	free(worker);
}

static bool keep(struct lane *lane, uint64_t number)
{
	char *at = lane_room(lane, RECORD);
	if (at == NULL)
		return false;
	memcpy(record_put(at, 1, sizeof number), &number, sizeof number);
	lane_keep(lane, RECORD);
	lane->received++;
	return true;
}

static void sleep_us(unsigned us)
{
	nanosleep(&(struct timespec){.tv_nsec = us * 1000L}, NULL);
}

/* Numbers go on where the lane ends, whatever life wrote the last. */
static bool source_poll(struct stage *stage)
{
	struct worker *worker = stage->own;
	uint64_t next = worker->ports.writer[0].stream.records;
	unsigned n = 0;
	while (n < 8 && next + n < PER_LANE && keep(&worker->lane, (uint64_t)stage->index << 32 | (next + n)))
		n++;
	if (n != 0)
		ports_commit(&worker->ports);
	sleep_us(100); /* so that it lives through all that is to come */
	return n != 0;
}

static bool copy_poll(struct stage *stage)
{
	struct worker *worker = stage->own;
	struct record_batch batch;
	unsigned lane;
	uint64_t n = 0, number;
	if (!topic_peek(&worker->ports.reader[0], &lane, &batch))
		return false;
	for (const struct record *record; n < 16 && (record = record_next(&batch)) != NULL; n++) {
		memcpy(&number, record->payload, sizeof number);
		if (!keep(&worker->lane, number))
			abort(); /* it has room for all */
	}
	stream_pass(&worker->ports.reader[0].lane[lane], &batch, n);
	ports_note(&worker->ports, 0, lane);
	ports_commit(&worker->ports);
	return true;
}

static void worker_idle(struct stage *stage, uint64_t timeout_ns)
{
	struct worker *worker = stage->own;
	if (worker->ports.n_reads != 0)
		(void)topic_wait(&worker->ports.reader[0], timeout_ns);
	else
		nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

static const struct metric_description worker_metrics[] = {
        METRIC_ROW(recovered_notes, COUNTER, "notes of the last life that were finished")};

#define WORKER(stage_name, poll_function)                                                             \
	{                                                                                             \
		.name = stage_name, .help = "is a test", .metrics = worker_metrics, .n_metrics = 1,   \
		.init = worker_init, .poll = poll_function, .idle = worker_idle, .fini = worker_fini, \
		.section = "tally"                                                                    \
	}

static const struct stage_ops source_stage = WORKER("source", source_poll);
static const struct stage_ops copy_stage = WORKER("copy", copy_poll);

static pid_t start(const char *role)
{
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl("/proc/self/exe", role[0] == 's' ? "source" : "copy", "--instance", "test", "--role",
		      role, (char *)NULL);
		_exit(98);
	}
	return pid;
}

static int end(pid_t pid, int signal)
{
	int status = -1;
	assert_int_equal(kill(pid, signal), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* Kills a role at a random moment and starts it again, some times. */
static void kill_often(pid_t *pid, const char *role, unsigned times, unsigned long *random)
{
	for (unsigned i = 0; i < times; i++) {
		sleep_us(3000 + (unsigned)(draw_next(random) % 15000));
		assert_true(WIFSIGNALED(end(*pid, SIGKILL)));
		*pid = start(role);
	}
}

static const struct control *map_control(struct segment *segment, const char *role)
{
	char name[SEGMENT_NAME_MAX];
	assert_int_equal(segment_attach(segment, pages.sandbox.directory, instance_stage_name(name, role),
	                                SEGMENT_STAGE, SEGMENT_READ, &pages.error),
	                 0);
	return segment->body;
}

/* Ends a stage in order, once it runs: before that SIGTERM just kills it. */
static void end_well(pid_t pid, const char *role)
{
	struct segment segment;
	const struct control *control = map_control(&segment, role);
	for (unsigned waited = 0; waited < 5000; waited++, sleep_us(1000))
		if (control->pid == (uint32_t)pid && control->state == STAGE_RUNNING)
			break;
	assert_int_equal(end(pid, SIGTERM), 0);
	printf("%s finished %llu notes\n", role, (unsigned long long)control->metric[0]);
	segment_detach(&segment);
}

/* Reads `out`: each lane's numbers in order, none missing, none twice. Returns how many there
 * are. */
static uint64_t look_at_out(struct stream_reader *reader, uint64_t next[2])
{
	struct record_batch batch;
	uint64_t n = 0, number;
	while (stream_peek(reader, &batch)) {
		for (const struct record *record; (record = record_next(&batch)) != NULL; n++) {
			memcpy(&number, record->payload, sizeof number);
			assert_in_range(number >> 32, 0, 1);
			assert_int_equal(number & UINT32_MAX, next[number >> 32]++);
		}
		stream_advance(reader, &batch, n);
	}
	return n;
}

static void killed_and_with_another_page_two_stages_hand_on_each_record_once(void **state)
{
	(void)state;
	unsigned long random = draw_seed(clock_real_ns() | 1);
	struct stream_reader reader;
	struct stream_cursor cursor = {0};
	uint64_t next[2] = {0}, n = 0;
	char path[160];
	snprintf(path, sizeof path, "%s/config.yaml", pages.sandbox.directory);
	FILE *file = fopen(path, "we");
	/* A sandbox leaves a stage what its row of the flow says; these have none. */
	assert_true(file != NULL && fputs("data_dir: /tmp\nsandbox: \"off\"\n", file) >= 0 &&
	            fclose(file) == 0);
	assert_int_equal(stream_reader_attach(&reader, pages.sandbox.directory, "out.lane.0", &cursor, false,
	                                      STREAM_FROM_CURSOR, &pages.error),
	                 0);
	pid_t source = start("source.0"), copy = start("copy.0");
	kill_often(&copy, "copy.0", 8, &random);
	kill_often(&source, "source.0", 8, &random);
	while (next[0] == 0) { /* the copier runs, with the first page */
		n += look_at_out(&reader, next);
		sleep_us(1000);
	}
	pages_add_lane(1);
	pages_replace(pages_second_topics, pages_first_queues);
	pid_t second = start("source.1");
	for (unsigned waited = 0; next[1] == 0 && waited < 10000; waited++) {
		n += look_at_out(&reader, next);
		sleep_us(1000);
	}
	assert_true(next[1] != 0); /* the copier reads it, in the same life */
	assert_int_equal(waitpid(copy, NULL, WNOHANG), 0);
	kill_often(&copy, "copy.0", 8, &random);
	kill_often(&second, "source.1", 8, &random);
	for (unsigned waited = 0; n < 2 * PER_LANE && waited < 20000; waited++) {
		n += look_at_out(&reader, next);
		sleep_us(1000);
	}
	assert_int_equal(next[0], PER_LANE);
	assert_int_equal(next[1], PER_LANE);
	assert_int_equal(reader.shared->ledger.received, reader.shared->records);
	end_well(source, "source.0");
	end_well(second, "source.1");
	end_well(copy, "copy.0");
	stream_reader_detach(&reader);
}

static int set_up(void **state)
{
	(void)state;
	pages_make();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	pages_remove();
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(
	                killed_and_with_another_page_two_stages_hand_on_each_record_once, set_up, tear_down),
	};
	if (argc > 1)
		return stage_main(argc, argv, argv[0][0] == 's' ? &source_stage : &copy_stage);
	alarm(60);
	unsetenv("MILLRACE_INSTANCE");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
