/* What deliver.db knows of one postback: in each state, in a file that is opened to look. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deliver/dead.h"
#include "deliver/known.h"
#include "tests/fixture/config.h"
#include "tests/fixture/waiting_sample.h"

static struct shm_error error;
static struct redact *redact;
static struct waiting_sample sample;

#define TWO_ATTEMPTS "[{\"at\":7,\"status\":503,\"ms\":1},{\"at\":9,\"status\":400,\"ms\":2}]"

static const char *id_of(uint64_t number)
{
	static char id[EVENT_POSTBACK_ID_BYTES + 1];
	waiting_sample(&sample, number, 0);
	snprintf(id, sizeof id, "%016" PRIx64 "%016" PRIx64, sample.row.postback->id[0],
	         sample.row.postback->id[1]);
	return id;
}

static void put(struct waiting *waiting, uint64_t number, bool later, const char *history, const char *reason)
{
	waiting_sample(&sample, number, 3);
	sample.row.history = history;
	assert_int_equal(waiting_begin(waiting, false, &error), 0);
	int result = reason != NULL ? waiting_put_dead(waiting, &sample.row, reason, 5000)
	             : later        ? waiting_put_later(waiting, &sample.row)
	                            : waiting_put_parked(waiting, &sample.row);
	assert_int_equal(result, 0);
	assert_int_equal(waiting_commit(waiting, &error), 0);
}

static unsigned room(void *argument, const char *origin, const char *endpoint)
{
	(void)argument;
	(void)origin;
	(void)endpoint;
	return 1;
}

static void ignore(void *argument, const struct waiting_row *row)
{
	(void)argument;
	(void)row;
}

static const char *text(const json_t *json, const char *key)
{
	const char *value = json_string_value(json_object_get(json, key));
	return value != NULL ? value : "";
}

static json_t *look(const char *folder, uint64_t number)
{
	struct waiting *waiting = NULL;
	json_t *json = NULL;
	if (waiting_open_to_read(&waiting, folder, 100, &error) != 0)
		fail_msg("%s", error.text);
	int result = known_json(waiting, redact, id_of(number), &json, &error);
	assert_int_equal(result, json != NULL);
	waiting_close(waiting);
	return json;
}

static void each_state_has_its_name_and_its_members(void **state)
{
	struct waiting *waiting = NULL;
	assert_int_equal(waiting_open(&waiting, *state, "deliver.0", &error), 0);
	put(waiting, 3, false, "", NULL);
	assert_int_equal(waiting_begin(waiting, false, &error), 0);
	assert_int_equal(waiting_claim(waiting, 10, 10, room, ignore, NULL), 1);
	assert_int_equal(waiting_commit(waiting, &error), 0);
	put(waiting, 1, true, "", NULL);
	put(waiting, 2, false, "[{\"at\":7,\"status\":503,\"ms\":1}]", NULL);
	put(waiting, 4, false, TWO_ATTEMPTS, "answered 400");

	static const char *const names[] = {"", "later", "parked", "claimed", "dead"};
	for (uint64_t number = 1; number <= 4; number++) {
		json_t *json = look(*state, number);
		assert_string_equal(text(json, "state"), names[number]);
		assert_string_equal(text(json, "id"), id_of(number));
		char endpoint[64];
		waiting_sample_endpoint(endpoint, 3);
		assert_string_equal(text(json, "endpoint"), endpoint);
		bool dead = number == 4;
		assert_int_equal(json_object_get(json, "dead_ts") != NULL, dead);
		assert_int_equal(json_object_get(json, "reason") != NULL, dead);
		assert_int_equal(json_object_get(json, "due_ts") != NULL, !dead);
		assert_true(json_is_array(json_object_get(json, "history")));
		assert_true(json_is_object(json_object_get(json, "data")));
		if (!dead)
			assert_int_equal(json_integer_value(json_object_get(json, "due_ts")),
			                 1000000 + number);
		assert_int_equal(json_integer_value(json_object_get(json, "status")), dead          ? 400
		                                                                      : number == 2 ? 503
		                                                                                    : 0);
		json_decref(json);
	}
	waiting_close(waiting);
}

static void what_is_not_there_is_not_known(void **state)
{
	struct waiting *waiting = NULL;
	assert_int_equal(waiting_open_to_read(&waiting, *state, 100, &error), -ENOENT);
	assert_int_equal(waiting_open(&waiting, *state, "deliver.0", &error), 0);
	put(waiting, 1, true, "", NULL);
	assert_null(look(*state, 2));
	assert_int_equal(waiting_begin(waiting, false, &error), 0);
	waiting_sample(&sample, 1, 3);
	assert_int_equal(waiting_delete(waiting, sample.row.postback), 0);
	assert_int_equal(waiting_commit(waiting, &error), 0);
	assert_null(look(*state, 1));
	waiting_close(waiting);
}

static void the_status_is_that_of_the_last_attempt(void **state)
{
	(void)state;
	assert_int_equal(dead_status(TWO_ATTEMPTS), 400);
	assert_int_equal(dead_status("[]"), 0);
	assert_int_equal(dead_status(""), 0);
	assert_int_equal(dead_status("[{\"at\":7}"), 0);
}

static int group_set_up(void **state)
{
	(void)state;
	struct config *config = load(NULL, "");
	redact = redact_new(config);
	config_free(config);
	return redact != NULL ? 0 : -1;
}

static int group_tear_down(void **state)
{
	(void)state;
	redact_free(redact);
	return 0;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, waiting_folder_make, waiting_folder_remove)
	const struct CMUnitTest tests[] = {
	        TEST(each_state_has_its_name_and_its_members),
	        TEST(what_is_not_there_is_not_known),
	        cmocka_unit_test(the_status_is_that_of_the_last_attempt),
	};
	return cmocka_run_group_tests(tests, group_set_up, group_tear_down);
}
