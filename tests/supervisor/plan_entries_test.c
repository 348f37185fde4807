/* The plan of a flow table with more than the product has: a stage with a process for each
 * configured entry, and one that takes from a queue. The table and the options are this program's
 * own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "supervisor/plan.h"

const struct flow_stage *built_in_stages(size_t *n);
const struct config_option *built_in_options(size_t *n);

#define flow_stages built_in_stages
#include "flow/table.c"
#undef flow_stages

#define config_options built_in_options
#include "config/options.c"
#undef config_options

static const struct config_option more_options[] = {
        OPTION("archive[].topics", LIST, "log", "1", "16", "", "what is kept")                //
        OPTION("archive[].buffers", COUNT, "2", "1", "8", "", "of each process")              //
        OPTION("keep[].name", STRING, "", "1", "40", "", "its name")                          //
        OPTION("keep[].kind", CHOICE, "paper", "", "", "paper stone sand", "on what")         //
        OPTION("keep[].topics", LIST, "log track", "1", "16", "", "what is kept")             //
        OPTION("keep[].sheets", SIZE, "1MiB", "0", "1GiB", "", "memory of each")              //
        OPTION("carry.processes", COUNT, "2", "1", "8", "", "processes that share the queue") //
};

#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

static const struct flow_stage more_stages[] = {
        {.name = "carry",
         .program = "carry",
         .processes = FLOW_SHARED,
         .section = "carry",
         .takes = NAMES("postback"),
         .puts = NAMES("postback")},
        {.name = "archive",
         .program = "archive",
         .processes = FLOW_ENTRIES,
         .section = "archive",
         .private_bytes = 4096,
         .private_count = "buffers",
         .private_each_bytes = 8192},
        {.name = "paper",
         .program = "paper",
         .processes = FLOW_ENTRIES,
         .section = "keep",
         .kinds = NAMES("paper"),
         .private_bytes = 4096,
         .private_size = "sheets"},
        {.name = "mineral",
         .program = "mineral",
         .processes = FLOW_ENTRIES,
         .section = "keep",
         .kinds = NAMES("stone")},
};

const struct config_option *config_options(size_t *n)
{
	static struct config_option all[512];
	const struct config_option *some = built_in_options(n);
	assert_true(*n + N_OF(more_options) <= N_OF(all));
	memcpy(all, some, *n * sizeof *some);
	memcpy(all + *n, more_options, sizeof more_options);
	*n += N_OF(more_options);
	return all;
}

const struct flow_stage *flow_stages(size_t *n)
{
	static struct flow_stage all[32];
	const struct flow_stage *some = built_in_stages(n);
	assert_true(*n + N_OF(more_stages) <= N_OF(all));
	memcpy(all, some, *n * sizeof *some);
	memcpy(all + *n, more_stages, sizeof more_stages);
	*n += N_OF(more_stages);
	return all;
}

static struct config *config;

static struct plan *make(const char *text, char **errors)
{
	config_free(config);
	static const char *const sets[] = {"sinks=[]", "serve.listen=[]"};
	config = config_load_text("test.yaml", text, strlen(text), sets, 2, errors);
	return config == NULL ? NULL : plan_make(config, errors);
}

static struct plan *must_make(const char *text)
{
	char *errors = NULL;
	struct plan *plan = make(text, &errors);
	if (plan == NULL)
		fail_msg("%s", errors);
	return plan;
}

static void assert_error(const char *text, const char *part)
{
	char *errors = NULL;
	assert_null(make(text, &errors));
	assert_non_null(errors);
	if (strstr(errors, part) == NULL)
		fail_msg("\"%s\" is not in:\n%s", part, errors);
	free(errors);
}

static const struct plan_topic *topic_of(const struct plan *plan, const char *name)
{
	int index = plan_topic_index(plan, name);
	assert_true(index >= 0);
	return &plan->topic[index];
}

static const struct plan_role *role_of(const struct plan *plan, const char *name)
{
	int index = plan_role_index(plan, name);
	if (index < 0)
		fail_msg("there is no role %s", name);
	return &plan->role[index];
}

static void each_entry_is_a_process_with_a_group_of_its_own(void **state)
{
	(void)state;
	struct plan *plan = must_make("archive: [{topics: [ip, log]}, {topics: log, buffers: 5}]");
	const struct plan_role *first = role_of(plan, "archive.0"), *second = role_of(plan, "archive.1");
	assert_string_equal(first->section, "archive[0]");
	assert_string_equal(second->section, "archive[1]");
	assert_int_equal(first->private_bytes, 4096 + 2 * 8192);
	assert_int_equal(second->private_bytes, 4096 + 5 * 8192);
	const struct plan_topic *ip = topic_of(plan, "ip"), *events = topic_of(plan, "log");
	assert_int_equal(ip->n_required, 2);
	assert_string_equal(ip->required[0], "tally");
	assert_string_equal(ip->required[1], "archive.0");
	assert_int_equal(events->n_required, 2);
	assert_string_equal(events->required[1], "archive.1");
	assert_true(plan_reads(ip, "archive.0"));
	assert_false(plan_reads(ip, "archive.1"));
	assert_true(plan_reads(ip, "tally.0"));
	assert_int_equal(plan_role_index(plan, "archive.2"), -1);
	plan_free(plan);
}

static void without_entries_there_is_no_process(void **state)
{
	(void)state;
	struct plan *plan = must_make("{}");
	assert_int_equal(plan_role_index(plan, "archive.0"), -1);
	assert_int_equal(topic_of(plan, "log")->n_required, 0);
	plan_free(plan);
}

static void what_a_process_of_an_entry_reads_is_what_the_entry_says(void **state)
{
	(void)state;
	struct plan *plan = must_make("archive: [{topics: [ip, log]}, {topics: [log]}]");
	const struct flow_stage *archive = flow_stage_of_role("archive.1");
	assert_non_null(archive);
	assert_string_equal(flow_reads(archive, config, "archive[0]", 0), "ip");
	assert_string_equal(flow_reads(archive, config, "archive[0]", 1), "log");
	assert_null(flow_reads(archive, config, "archive[0]", 2));
	assert_string_equal(flow_reads(archive, config, "archive[1]", 0), "log");
	assert_null(flow_reads(archive, config, "archive[1]", 1));
	assert_string_equal(flow_reads(flow_stage_find("tally"), config, "tally", 0), "ip");
	assert_string_equal(flow_reads(flow_stage_find("tally"), config, "tally", 3), "delivery");
	assert_null(flow_reads(flow_stage_find("tally"), config, "tally", 4));
	assert_null(flow_reads(flow_stage_find("enrich"), config, "enrich", 1));
	plan_free(plan);
}

static void a_stage_finds_the_entry_that_it_serves(void **state)
{
	(void)state;
	struct plan *plan = must_make(
	        "archive: [{topics: ip}, {topics: ip}]\ningest: {udp: [{processes: 2}, {listen: ':1'}]}\n"
	        "keep: [{name: a, kind: stone, topics: ip}, {name: '1', topics: ip}]");
	static const struct {
		const char *name, *role;
		unsigned index;
		const char *section;
	} roles[] = {
	        {"archive", "archive.1", 1, "archive[1]"},
	        {"deliver", "deliver.1", 1, "deliver"},
	        {"tally", "tally.0", 0, "tally"},
	        {"ingest-udp", "ingest-udp.1", 1, "ingest.udp[0]"},
	        {"ingest-udp", "ingest-udp.2", 2, "ingest.udp[1]"},
	        {"mineral", "mineral.a", 0, "keep[0]"},
	        {"paper", "paper.1", 0, "keep[1]"},
	};
	struct shm_error error;
	char section[64];
	for (size_t i = 0; i < N_OF(roles); i++) {
		const struct stage_ops ops = {.name = roles[i].name};
		const struct stage stage = {
		        .ops = &ops, .role = roles[i].role, .index = roles[i].index, .config = config};
		assert_int_equal(stage_section(&stage, section, sizeof section, &error), 0);
		assert_string_equal(section, roles[i].section);
	}
	const struct stage_ops ops = {.name = "paper"};
	const struct stage gone = {.ops = &ops, .role = "paper.a", .config = config};
	assert_int_equal(stage_section(&gone, section, sizeof section, &error), -EINVAL);
	assert_string_equal(error.text, "paper.a: the configuration has no entry for it");
	plan_free(plan);
}

static const char kept[] = "ingest: {http: [{listen: ':1'}]}\n"
                           "keep:\n"
                           "- {name: a, topics: [log], sheets: 8KiB}\n"
                           "- {name: b-2, kind: stone, topics: [log, track]}\n"
                           "- {name: c, topics: [track]}\n";

static void entries_of_several_kinds_are_processes_of_several_stages_by_their_names(void **state)
{
	(void)state;
	char group[SHM_NAME_MAX];
	struct plan *plan = must_make(kept);
	const struct plan_role *first = role_of(plan, "paper.a"), *second = role_of(plan, "mineral.b-2"),
	                       *third = role_of(plan, "paper.c");
	assert_string_equal(first->section, "keep[0]");
	assert_string_equal(second->section, "keep[1]");
	assert_string_equal(third->section, "keep[2]");
	assert_string_equal(second->page.program, "mineral");
	assert_int_equal(first->private_bytes, 4096 + 8192);
	assert_int_equal(third->private_bytes, 4096 + 1048576);
	assert_int_equal(second->private_bytes, 0);
	assert_int_equal(first->rank, second->rank);
	assert_string_equal(flow_group(second->stage, "mineral.b-2", group), "b-2");
	const struct plan_topic *events = topic_of(plan, "log"), *track = topic_of(plan, "track");
	assert_int_equal(events->n_required, 2);
	assert_int_equal(track->n_required, 3); /* tally is one */
	assert_true(plan_reads(events, "paper.a") && plan_reads(events, "mineral.b-2"));
	assert_true(plan_reads(track, "paper.c") && !plan_reads(events, "paper.c"));
	plan_free(plan);
}

static void the_group_of_an_entry_stays_when_its_kind_or_its_place_changes(void **state)
{
	(void)state;
	struct plan *plan =
	        must_make("ingest: {http: [{listen: ':1'}]}\n"
	                  "keep: [{name: c, topics: [track]}, {name: a, kind: stone, topics: [log]}]\n");
	const struct plan_role *role = role_of(plan, "mineral.a");
	assert_string_equal(role->section, "keep[1]");
	assert_true(plan_reads(topic_of(plan, "log"), "mineral.a"));
	assert_string_equal(topic_of(plan, "log")->required[0], "a");
	assert_int_equal(flow_entry(role->stage, config, "mineral.a"), 1);
	assert_int_equal(flow_entry(flow_stage_find("paper"), config, "paper.c"), 0);
	assert_int_equal(flow_entry(flow_stage_find("paper"), config, "paper.a"), -1);
	plan_free(plan);
}

/* The test's options have no embedded default, so the option's own stands for it. */
static void topics_that_nobody_named_may_be_missing(void **state)
{
	(void)state;
	struct plan *plan = must_make("ingest: {udp: [{listen: ':1'}]}\nkeep: [{name: a}]\n");
	assert_int_equal(plan_role_index(plan, "paper.a"), -1);
	plan_free(plan);
	plan = must_make("ingest: {udp: [{listen: ':1'}]}\nkeep: [{name: a}]\n"
	                 "topics: {track: {outside_lanes: 1}}\n");
	assert_true(plan_reads(topic_of(plan, "track"), "paper.a"));
	plan_free(plan);
	assert_error("ingest: {udp: [{listen: ':1'}]}\nkeep: [{name: a, topics: [log]}]\n",
	             "keep[0].topics: nothing writes \"log\"");
}

static void an_entry_without_a_stage_or_with_a_wrong_name_is_refused(void **state)
{
	(void)state;
	assert_error("keep: [{name: a, kind: sand}]\n",
	             "keep[0].kind: this program has no stage of kind sand");
	assert_error("ingest: {http: [{listen: ':1'}]}\nkeep: [{name: enrich}]\n",
	             "keep[0].name: \"enrich\" is the name of a stage; allowed: any other");
	assert_error("ingest: {http: [{listen: ':1'}]}\nkeep: [{name: a2345678901234567890123456}]\n",
	             "keep[0].name: \"a2345678901234567890123456\" is too long");
}

static void an_entry_may_read_what_outside_programs_write(void **state)
{
	(void)state;
	struct plan *plan = must_make("archive: [{topics: orders}]\ntopics: {orders: {outside_lanes: 1}}");
	assert_string_equal(topic_of(plan, "orders")->required[0], "archive.0");
	plan_free(plan);
}

static void an_entry_that_names_wrong_topics_is_refused(void **state)
{
	(void)state;
	assert_error("archive: [{topics: [log, raw]}]", "archive[0].topics: nothing writes \"raw\"");
	assert_error("archive: [{topics: log}, {topics: [log, log]}]", "archive[1].topics: names log twice");
	assert_error("archive: [{}, {}, {}, {}, {}, {}, {}, {}, {}]",
	             "archive[8]: topic log has 8 required groups already");
}

static void entries_come_after_all_that_write_topics(void **state)
{
	(void)state;
	struct plan *plan = must_make("archive: [{topics: ip}]");
	assert_int_equal(role_of(plan, "enrich.0")->rank, 1);
	assert_int_equal(role_of(plan, "archive.0")->rank, 2);
	assert_int_equal(flow_ranks(), 4); /* the last is of the stage that listens by itself */
	plan_free(plan);
}

static void takers_exist_with_their_queue_and_use_it(void **state)
{
	(void)state;
	struct plan *plan = must_make("ingest: {udp: [{listen: ':1'}]}");
	assert_int_equal(plan_role_index(plan, "carry.0"), -1);
	assert_int_equal(plan->n_queues, 0);
	plan_free(plan);
	plan = must_make("ingest: {http: [{listen: ':1'}]}\ncarry: {processes: 3}");
	const struct plan_role *role = role_of(plan, "carry.2");
	assert_int_equal(plan_role_index(plan, "carry.3"), -1);
	assert_int_equal(role->rank, 1);
	/* It takes and puts back: one queue, used once. */
	assert_int_equal(role->n_queues, 1);
	assert_string_equal(role->queue[0], "postback");
	plan_free(plan);
}

static void the_picture_shows_groups_and_takers(void **state)
{
	(void)state;
	char *text = NULL;
	size_t size;
	struct plan *plan =
	        must_make("archive: [{topics: [ip, log]}, {topics: log}]\n"
	                  "ingest: {udp: [{listen: ':1', processes: 2}], http: [{listen: ':2'}]}\n"
	                  "deliver: {processes: 0}");
	FILE *out = open_memstream(&text, &size);
	plan_print_flow(plan, out);
	fclose(out);
	assert_string_equal(
	        text,
	        "udp :1 ipevent --> ingest-udp x 2 --> ip, 2 lanes --group tally--> tally x 1\n"
	        "                                                  --group archive.0--> archive.0 x 1\n"
	        "http :2 --> ingest-http x 1 --> metric, 1 lane --group tally--> tally x 1 (see above)\n"
	        "                            --> log, 1 lane --group archive.0--> archive.0 x 1 (see above)\n"
	        "                                            --group archive.1--> archive.1 x 1\n"
	        "                            --> track.raw, 1 lane --group enrich--> enrich x 1 --> track, 1 lane --group tally--> tally x 1 (see above)\n"
	        "                            ==> postback, queue of 16384 slots ==> carry x 2 ==> postback (see above)\n");
	free(text);
	out = open_memstream(&text, &size);
	plan_print_dot(plan, out);
	fclose(out);
	assert_non_null(strstr(text, "\"topic log\" -> \"stage archive[1]\" [label=\"archive.1\"];"));
	assert_non_null(strstr(text, "\"queue postback\" -> \"stage carry\";"));
	assert_non_null(strstr(
	        text,
	        "\"stage archive[0]\" [shape=box, margin=\"0.2,0.1\", label=\"archive.0\\n1 process\"];"));
	free(text);
	plan_free(plan);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(each_entry_is_a_process_with_a_group_of_its_own),
	        cmocka_unit_test(without_entries_there_is_no_process),
	        cmocka_unit_test(what_a_process_of_an_entry_reads_is_what_the_entry_says),
	        cmocka_unit_test(a_stage_finds_the_entry_that_it_serves),
	        cmocka_unit_test(entries_of_several_kinds_are_processes_of_several_stages_by_their_names),
	        cmocka_unit_test(the_group_of_an_entry_stays_when_its_kind_or_its_place_changes),
	        cmocka_unit_test(topics_that_nobody_named_may_be_missing),
	        cmocka_unit_test(an_entry_without_a_stage_or_with_a_wrong_name_is_refused),
	        cmocka_unit_test(an_entry_may_read_what_outside_programs_write),
	        cmocka_unit_test(an_entry_that_names_wrong_topics_is_refused),
	        cmocka_unit_test(entries_come_after_all_that_write_topics),
	        cmocka_unit_test(takers_exist_with_their_queue_and_use_it),
	        cmocka_unit_test(the_picture_shows_groups_and_takers),
	};
	alarm(20);
	unsetenv("MILLRACE_INSTANCE");
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	config_free(config);
	return failed;
}
