/* The report: BEHAVIOUR A to the letter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sink/tally/report.h"
#include "sink/tally/store.h"
#include "tests/fixture/tally_store.h"

struct fixture {
	struct tally_folder folder;
	struct store *store;
	struct book_ip *ip;
	struct shm_error error;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	*state = f;
	return f == NULL ? -1 : tally_folder_make(&f->folder);
}

static void start(struct fixture *f, struct counts_limits limits)
{
	assert_int_equal(store_open(&f->store, f->folder.data_dir, tally_store_kinds, &f->error), 0);
	assert_int_equal(book_ip_open(&f->ip, &limits, store_database(f->store), &f->error), 0);
}

static void stop(struct fixture *f)
{
	if (f->ip != NULL)
		book_ip_kind.close(&f->ip->book);
	store_close(f->store);
	f->ip = NULL;
	f->store = NULL;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	stop(f);
	tally_folder_remove(&f->folder);
	free(f);
	return 0;
}

static const struct counts_limits wide = {1000, 1000000, 10000000};

static void commit(struct fixture *f)
{
	struct book *book = &f->ip->book;
	assert_int_equal(store_commit(f->store, &book, 1, NULL, 0, NULL, &f->error), 0);
}

static void add(struct fixture *f, uint64_t application, uint32_t ip)
{
	struct event_ip event = tally_event(application, ip);
	const struct event_ip *run = &event;
	if (counts_full(&f->ip->counts))
		commit(f);
	counts_add(&f->ip->counts, &run, 1);
}

static char *report(struct fixture *f, uint64_t application)
{
	char hex[65], *json = NULL;
	assert_int_equal(
	        report_json(f->folder.data_dir, tally_sha_hex(hex, application), &json, NULL, &f->error), 0);
	return json;
}

static void networks_with_two_addresses_are_good_the_others_bad(void **state)
{
	struct fixture *f = *state;
	start(f, wide);
	add(f, 1, 0x0a000002);
	add(f, 1, 0x0a000001);
	add(f, 1, 0x0a000010); /* alone in its network, a neighbour of the good one */
	add(f, 1, 0xc0000207);
	add(f, 1, 0xc0000207); /* twice the same is one */
	add(f, 1, 0x0100000f);
	add(f, 2, 0x0a000011); /* another application's */
	commit(f);
	char *json = report(f, 1);
	assert_string_equal(
	        json,
	        "{\"count\": 6, \"good_ips\": [\"10.0.0.1\", \"10.0.0.2\"], \"bad_ips\": [\"1.0.0.15\", \"10.0.0.16\", \"192.0.2.7\"]}");
	free(json);
}

static void addresses_are_sorted_as_numbers(void **state)
{
	struct fixture *f = *state;
	static const uint32_t ip[] = {0xffffffff, 0,          0x80000000, 0x09000000,
	                              0x0a000000, 0x64000000, 0x7fffffff};
	start(f, wide);
	for (unsigned i = 0; i < sizeof ip / sizeof ip[0]; i++)
		add(f, 1, ip[i]);
	commit(f);
	char *json = report(f, 1);
	assert_string_equal(
	        json,
	        "{\"count\": 7, \"good_ips\": [], \"bad_ips\": [\"0.0.0.0\", \"9.0.0.0\", \"10.0.0.0\", \"100.0.0.0\", \"127.255.255.255\", \"128.0.0.0\", \"255.255.255.255\"]}");
	free(json);
}

static void a_second_address_makes_the_first_one_good(void **state)
{
	struct fixture *f = *state;
	start(f, wide);
	add(f, 1, 0x0a000003);
	commit(f);
	char *json = report(f, 1);
	assert_string_equal(json, "{\"count\": 1, \"good_ips\": [], \"bad_ips\": [\"10.0.0.3\"]}");
	free(json);
	add(f, 1, 0x0a00000f);
	commit(f);
	json = report(f, 1);
	assert_string_equal(json,
	                    "{\"count\": 2, \"good_ips\": [\"10.0.0.3\", \"10.0.0.15\"], \"bad_ips\": []}");
	free(json);
}

static void a_truncated_application_says_so_and_counts_on(void **state)
{
	struct fixture *f = *state;
	start(f, (struct counts_limits){10, 2, 100});
	for (uint32_t i = 0; i < 5; i++)
		add(f, 1, i * 16);
	commit(f);
	char *json = report(f, 1);
	assert_string_equal(
	        json,
	        "{\"count\": 5, \"good_ips\": [], \"bad_ips\": [\"0.0.0.0\", \"0.0.0.16\"], \"truncated\": true}");
	free(json);
}

static void shas_may_come_in_either_case(void **state)
{
	struct fixture *f = *state;
	char hex[65], *json;
	start(f, wide);
	add(f, 0xabcdef, 1);
	commit(f);
	tally_sha_hex(hex, 0xabcdef);
	for (char *c = hex; *c != '\0'; c++)
		*c = (char)toupper((unsigned char)*c);
	assert_int_equal(report_json(f->folder.data_dir, hex, &json, NULL, &f->error), 0);
	free(json);
}

static void malformed_shas_are_told_from_unknown_ones(void **state)
{
	struct fixture *f = *state;
	char hex[66], *json = NULL;
	uint64_t beyond = 99;
	start(f, wide);
	add(f, 1, 1);
	commit(f);
	assert_int_equal(report_json(f->folder.data_dir, tally_sha_hex(hex, 2), &json, &beyond, &f->error),
	                 -ENOENT);
	assert_int_equal(beyond, 0);
	assert_non_null(strstr(f->error.text, "no message"));
	hex[63] = '\0';
	assert_int_equal(report_json(f->folder.data_dir, hex, &json, NULL, &f->error), -EINVAL);
	tally_sha_hex(hex, 1);
	hex[10] = 'g';
	assert_int_equal(report_json(f->folder.data_dir, hex, &json, NULL, &f->error), -EINVAL);
	tally_sha_hex(hex, 1);
	hex[64] = '0';
	hex[65] = '\0';
	assert_int_equal(report_json(f->folder.data_dir, hex, &json, NULL, &f->error), -EINVAL);
	assert_int_equal(report_json(f->folder.data_dir, "", &json, NULL, &f->error), -EINVAL);
	assert_null(json);
}

static void an_unknown_sha_may_be_among_those_over_the_limit(void **state)
{
	struct fixture *f = *state;
	char hex[65], *json;
	uint64_t beyond = 0;
	start(f, (struct counts_limits){1, 10, 100});
	add(f, 1, 1);
	add(f, 2, 1);
	add(f, 3, 1);
	commit(f);
	assert_int_equal(report_json(f->folder.data_dir, tally_sha_hex(hex, 2), &json, &beyond, &f->error),
	                 -ENOENT);
	assert_int_equal(beyond, 2);
	assert_non_null(strstr(f->error.text, "2 messages"));
	json = report(f, 1);
	free(json);
}

static void without_a_database_there_is_no_data_and_no_file_is_made(void **state)
{
	struct fixture *f = *state;
	char hex[65], path[128], *json;
	struct stat about;
	assert_int_equal(report_json(f->folder.data_dir, tally_sha_hex(hex, 2), &json, NULL, &f->error),
	                 -ENODATA);
	snprintf(path, sizeof path, "%s/%s", f->folder.data_dir, STORE_FILE);
	assert_int_equal(stat(path, &about), -1);
	sqlite3 *db;
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "CREATE TABLE recipe (x)", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	assert_int_equal(report_json(f->folder.data_dir, hex, &json, NULL, &f->error), -EPROTO);
}

static void reports_are_there_while_tally_writes_and_after_it_has_ended(void **state)
{
	struct fixture *f = *state;
	start(f, wide);
	for (uint32_t round = 1; round <= 50; round++) {
		char expected[32];
		for (uint32_t i = 0; i < 100; i++)
			add(f, 1, i);
		commit(f);
		add(f, 1, 0); /* counted, not committed: not in the report */
		char *json = report(f, 1);
		snprintf(expected, sizeof expected, "{\"count\": %u, ", round * 101 - 1);
		assert_memory_equal(json, expected, strlen(expected));
		free(json);
	}
	stop(f);
	free(report(f, 1));
}

static void a_report_of_very_many_addresses_is_whole(void **state)
{
	struct fixture *f = *state;
	start(f, wide);
	for (uint32_t i = 0; i < 200000; i++)
		add(f, 1, i * 5);
	commit(f);
	char *text = report(f, 1);
	json_t *json = json_loads(text, 0, NULL);
	assert_non_null(json);
	assert_int_equal(json_integer_value(json_object_get(json, "count")), 200000);
	assert_int_equal(json_array_size(json_object_get(json, "good_ips")),
	                 200000); /* three or four to a network */
	assert_int_equal(json_array_size(json_object_get(json, "bad_ips")), 0);
	assert_null(json_object_get(json, "truncated"));
	json_decref(json);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(networks_with_two_addresses_are_good_the_others_bad, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(addresses_are_sorted_as_numbers, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(a_second_address_makes_the_first_one_good, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(a_truncated_application_says_so_and_counts_on, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(shas_may_come_in_either_case, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(malformed_shas_are_told_from_unknown_ones, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(an_unknown_sha_may_be_among_those_over_the_limit, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(without_a_database_there_is_no_data_and_no_file_is_made,
	                                        set_up, tear_down),
	        cmocka_unit_test_setup_teardown(reports_are_there_while_tally_writes_and_after_it_has_ended,
	                                        set_up, tear_down),
	        cmocka_unit_test_setup_teardown(a_report_of_very_many_addresses_is_whole, set_up, tear_down),
	};
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
