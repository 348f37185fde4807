/* Which files each role of an instance writes: no more than its own, and all of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stage/written.h"
#include "tests/fixture/instance.h"

static struct sandbox sandbox;
static struct instance_page page;
static char text[4096]; /* " name" of each file, "?" after a lock, "*" after a queue */

static void note(void *argument, const struct written *file)
{
	(void)argument;
	size_t used = strlen(text);
	snprintf(text + used, sizeof text - used, " %s%s%s", file->name, file->lock ? "?" : "",
	         file->queue ? "*" : "");
	assert_non_null(file->stage);
}

static void add_role(const char *name, const char *program)
{
	struct instance_role *role = &page.role[page.n_roles++];
	snprintf(role->name, sizeof role->name, "%s", name);
	snprintf(role->program, sizeof role->program, "%s", program);
}

static int set_up(void **state)
{
	(void)state;
	static const struct test_topic topics[] = {
	        {"ip", 65536, 2, {"ingest-udp.0", ""}, "tally"},
	        {"track.raw", 65536, 1, {"ingest-http.0"}, "enrich"},
	        {"track", 65536, 2, {"enrich.0", "enrich.1"}, "lines"},
	};
	static const struct test_queue queue = {"postback", 64, 256};
	struct test_topics all = {topics, 3, &queue, 1};
	struct shm_error error;
	memset(&page, 0, sizeof page);
	fill_test_page(&page, &all);
	add_role("ingest-udp.0", "ingest-udp");
	add_role("ingest-http.0", "ingest-http");
	add_role("enrich.0", "enrich");
	add_role("enrich.1", "enrich");
	add_role("deliver.0", "deliver");
	add_role("tally.0", "tally");
	add_role("file.lines", "file");
	add_role("serve.0", "serve");
	add_role("made.0", "up"); /* of no stage of this build */
	text[0] = '\0';
	if (sandbox_make(&sandbox) != 0)
		return -1;
	return instance_make_queues(sandbox.directory, topics, 3, &queue, 1, &error);
}

static int tear_down(void **state)
{
	(void)state;
	sandbox_remove(&sandbox);
	return 0;
}

static void assert_written(const char *role, const char *files)
{
	text[0] = '\0';
	written_each(&page, sandbox.directory, role, note, NULL);
	assert_string_equal(text, files);
}

static void a_role_writes_its_lanes_groups_queues_and_segments(void **state)
{
	(void)state;
	assert_written("ingest-udp.0",
	               " ip.lane.0 ingest-udp.0.stage ingest-udp.0.private ingest-udp.0.role? drops");
	assert_written(
	        "ingest-http.0",
	        " track.raw.lane.0 postback.queue* ingest-http.0.stage ingest-http.0.private ingest-http.0.role?");
	assert_written("deliver.0", " postback.queue* deliver.0.stage deliver.0.private deliver.0.role?");
	assert_written("tally.0", " ip.group.0 ip.reader.0? tally.0.stage tally.0.private tally.0.role?");
	assert_written("serve.0", " tally.0.errand serve.0.stage serve.0.private serve.0.role?");
}

static void a_group_is_that_of_the_entry_that_it_is_named_after(void **state)
{
	(void)state;
	assert_written("file.lines",
	               " track.group.0 track.reader.0? file.lines.stage file.lines.private file.lines.role?");
}

static void processes_that_share_lanes_have_a_group_together_and_a_lock_each(void **state)
{
	(void)state;
	assert_written(
	        "enrich.0",
	        " track.raw.group.0 track.raw.reader.0? track.lane.0 enrich.0.stage enrich.0.private enrich.0.role?");
	assert_written(
	        "enrich.1",
	        " track.raw.group.0 track.raw.reader.0? track.raw.reader.0.1? track.lane.1 enrich.1.stage enrich.1.private enrich.1.role?");
}

static void who_is_not_in_the_page_or_of_no_stage_writes_nothing(void **state)
{
	(void)state;
	assert_written("tally.1", "");
	assert_written("made.0", "");
}

static void all_roles_are_those_of_the_page(void **state)
{
	(void)state;
	char each[sizeof text] = "";
	for (unsigned i = 0; i < page.n_roles; i++) {
		text[0] = '\0';
		written_each(&page, sandbox.directory, page.role[i].name, note, NULL);
		strncat(each, text, sizeof each - strlen(each) - 1);
	}
	text[0] = '\0';
	written_each_role(&page, sandbox.directory, note, NULL);
	assert_string_equal(text, each);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        T(a_role_writes_its_lanes_groups_queues_and_segments),
	        T(a_group_is_that_of_the_entry_that_it_is_named_after),
	        T(processes_that_share_lanes_have_a_group_together_and_a_lock_each),
	        T(who_is_not_in_the_page_or_of_no_stage_writes_nothing),
	        T(all_roles_are_those_of_the_page),
	};
	alarm(60);
	return cmocka_run_group_tests_name("written", tests, NULL, NULL);
}
