/* The enrich stage stepped through two commits, one instruction at a time. Each time its memory has
 * changed, that memory is what SIGKILL would have left: a copy of it is given to a next life, which
 * must end with one event for each call.
 *
 *     place "live": the stepped process          place "copy": next lives, in this process
 *     track lane 0, group, private note  --copy-->  the same
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "base/log.h"
#include "tests/fixture/enrich.h"
#include "tests/fixture/stepped.h"

#define LANE_BYTES (64u * 1024)
#define CALLS      3u /* in each lane */

/* What the stage writes, mapped by this test. */
struct mapped {
	struct segment lane, group, private_segment;
};

struct snapshot {
	struct stepped_lane lane;
	unsigned char group[sizeof(struct stream_group)];
	unsigned char note[sizeof(struct private_note)];
};

static struct enrich_fixture live, copy;
static struct enrich enrich; /* its lookup is opened once, for all lives */

static void map_one(struct segment *segment, const struct enrich_fixture *fixture, const char *name,
                    enum segment_kind kind)
{
	struct shm_error error;
	*segment = (struct segment){0};
	if (segment_attach(segment, fixture->sandbox.directory, name, kind, SEGMENT_WRITE, &error) != 0)
		fail_msg("%s", error.text);
}

static void map_all(struct mapped *mapped, const struct enrich_fixture *fixture)
{
	char name[SEGMENT_NAME_MAX];
	map_one(&mapped->lane, fixture, instance_lane_name(name, "track", 0), SEGMENT_LANE);
	map_one(&mapped->group, fixture, instance_group_name(name, "track.raw", 0), SEGMENT_GROUP);
	map_one(&mapped->private_segment, fixture, instance_private_name(name, enrich_roles[0]),
	        SEGMENT_PRIVATE);
}

static void unmap_all(struct mapped *mapped)
{
	segment_detach(&mapped->lane);
	segment_detach(&mapped->group);
	segment_detach(&mapped->private_segment);
}

static void take_snapshot(struct snapshot *snapshot, const struct mapped *from)
{
	stepped_take(&snapshot->lane, &from->lane, LANE_BYTES);
	memcpy(snapshot->group, from->group.body, sizeof snapshot->group);
	memcpy(snapshot->note, from->private_segment.body, sizeof snapshot->note);
}

static void restore_snapshot(const struct snapshot *snapshot, struct mapped *to)
{
	stepped_restore(&snapshot->lane, &to->lane, LANE_BYTES);
	memcpy(to->group.body, snapshot->group, sizeof snapshot->group);
	memcpy(to->private_segment.body, snapshot->note, sizeof snapshot->note);
}

static bool has_changed(const struct snapshot *snapshot, const struct mapped *now)
{
	return !stepped_same(&snapshot->lane, &now->lane, LANE_BYTES) ||
	       memcmp(snapshot->group, now->group.body, sizeof snapshot->group) != 0 ||
	       memcmp(snapshot->note, now->private_segment.body, sizeof snapshot->note) != 0;
}

/* Calls and something else, in both input lanes. */
static int fill(struct enrich_fixture *fixture)
{
	int result = enrich_fixture_make(fixture, LANE_BYTES, LANE_BYTES);
	for (unsigned lane = 0; result == 0 && lane < ENRICH_LANES; lane++) {
		struct stream_writer *writer = &fixture->writer[lane].stream;
		char *at = stream_reserve(writer, record_bytes(40));
		if (at == NULL || enrich_fixture_write(fixture, lane, CALLS) != CALLS)
			return -1;
		at = stream_reserve(writer, record_bytes(40));
		memset(record_put(at, EVENT_METRIC, 40), 0, 40);
		stream_commit(writer, record_bytes(40), 1);
	}
	return result;
}

/* ---- the next life ---- */

static const char *look(const struct stream_shared *shared)
{
	static struct stream_reader reader;
	struct stream_cursor cursor;
	struct record_batch batch = {0};
	struct shm_error error;
	char name[SEGMENT_NAME_MAX];
	uint64_t next[ENRICH_LANES] = {0};
	const char *wrong = NULL;
	const struct record *record;
	memset(&cursor, 0, sizeof cursor);
	if (stream_reader_attach(&reader, copy.sandbox.directory, instance_lane_name(name, "track", 0),
	                         &cursor, false, STREAM_FROM_CURSOR, &error) != 0)
		return "the lane cannot be read";
	(void)stream_peek(&reader, &batch);
	while (wrong == NULL && (record = record_next(&batch)) != NULL) {
		unsigned lane = call_number(record, 0) == next[0] ? 0 : 1;
		if (call_number(record, lane) != next[lane]++)
			wrong = "an event is not the next of any lane";
	}
	if (wrong == NULL && (next[0] != CALLS || next[1] != CALLS))
		wrong = "an event is missing";
	if (wrong == NULL && shared->records != ENRICH_LANES * CALLS)
		wrong = "the number of records is wrong";
	const struct ledger *ledger = &shared->ledger;
	if (wrong == NULL && (ledger->received != shared->records + ENRICH_LANES ||
	                      ledger->rejected[LEDGER_MALFORMED] != ENRICH_LANES))
		wrong = "the ledger does not balance";
	stream_reader_detach(&reader);
	return wrong;
}

/* Returns NULL when all is well with what a life leaves that begins with the copy's memory,
 * otherwise what is wrong. */
static const char *live_on(void)
{
	if (enrich_fixture_open(&copy, &enrich, 0, 1) != 0)
		return "the next life does not start";
	while (enrich_poll(&enrich))
		;
	const struct stream_cursor *cursor = enrich.reader->group->cursor;
	const char *wrong = look(enrich.ports.writer[0].stream.shared);
	for (unsigned lane = 0; wrong == NULL && lane < ENRICH_LANES; lane++)
		if (cursor[lane].records != CALLS + 1 || cursor[lane].missed_records != 0)
			wrong = "a cursor is wrong";
	enrich_close(&enrich);
	return wrong;
}

/* ---- the stepped life ---- */

static pid_t start_traced_life(void)
{
	pid_t child = fork();
	if (child != 0)
		return child;
	if (enrich_fixture_open(&live, &enrich, 0, 1) != 0)
		_exit(1);
	stepped_begin();
	bool both = enrich_poll(&enrich) && enrich_poll(&enrich);
	_exit(both ? 0 : 2);
}

struct steps {
	unsigned long taken, states;
	const char *wrong;
	bool traced;
};

static struct steps step_through(struct mapped *live_map, struct mapped *copy_map)
{
	static struct snapshot snapshot;
	struct steps steps = {.states = 1};
	int status;
	/* Once before, so that agents are known: working them out is thousands of instructions that
	 * touch nothing shared. */
	steps.wrong = live_on();
	pid_t child = start_traced_life();
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	take_snapshot(&snapshot, live_map);
	while (WIFSTOPPED(status) && steps.wrong == NULL &&
	       ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) == 0) {
		steps.taken++;
		assert_int_equal(waitpid(child, &status, 0), child);
		if (!has_changed(&snapshot, live_map))
			continue;
		steps.states++;
		take_snapshot(&snapshot, live_map);
		restore_snapshot(&snapshot, copy_map);
		steps.wrong = live_on();
	}
	steps.traced = !WIFEXITED(status) || WEXITSTATUS(status) != STEPPED_NOT_ALLOWED;
	if (WIFSTOPPED(status)) {
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
	} else if (steps.wrong == NULL && steps.traced && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) {
		steps.wrong = "the stepped life failed";
	}
	return steps;
}

static void a_death_at_any_instruction_loses_and_repeats_nothing(void **state)
{
	(void)state;
	struct mapped live_map, copy_map;
	if (stepped_instrumented())
		skip();
	map_all(&live_map, &live);
	map_all(&copy_map, &copy);
	assert_true(2 * CALLS * CALL_ROOM < STEPPED_RECORDS_BYTES);
	stepped_on_one_processor();
	struct steps steps = step_through(&live_map, &copy_map);
	unmap_all(&live_map);
	unmap_all(&copy_map);
	printf("%lu instructions, %lu states of memory\n", steps.taken, steps.states);
	assert_string_equal(steps.wrong == NULL ? "" : steps.wrong, "");
	if (!steps.traced) /* a sandbox without ptrace: enrich_crash_test still kills at random */
		skip();
	assert_true(steps.states > 100);
}

static int set_up(void **state)
{
	if (enrich_files_make(state) != 0 || enrich_files_open(&enrich.lookup) != 0 || fill(&live) != 0 ||
	    fill(&copy) != 0)
		return -1;
	return 0;
}

static int tear_down(void **state)
{
	lookup_close(&enrich.lookup);
	enrich_fixture_remove(&live);
	enrich_fixture_remove(&copy);
	return enrich_files_remove(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(a_death_at_any_instruction_loses_and_repeats_nothing, set_up,
	                                        tear_down),
	};
	alarm(60);
	log_init("enrich_step_test", LOG_ERROR, LOG_TEXT);
	return cmocka_run_group_tests_name("enrich step", tests, NULL, NULL);
}
