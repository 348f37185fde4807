/* In which object an event is: what the names and times of files leave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "event/event.h"
#include "sink/objects/where.h"
#include "tests/fixture/config.h"
#include "tests/fixture/sandbox.h"

#define GENERATION UINT64_C(0x3e46c5e3af935cf5)

static struct {
	struct sandbox sandbox;
	struct config *config;
	const char *key; /* of every event */
	union {
		struct record record;
		unsigned char bytes[256];
		uint64_t align;
	} event;
} f;

/* There is no journal: nothing is open. */
static void load_with(const char *before, const char *store)
{
	char text[1024];
	snprintf(
	        text, sizeof text,
	        "instance: box\nsinks: [{name: logs, kind: objects, topics: [log], key: \"k/%s{client_id}\", store: {%s}}]\n",
	        before, store);
	config_free(f.config);
	f.config = load(text, "");
	f.key = "k/7";
}

static void load_directory(const char *before)
{
	char text[160];
	snprintf(text, sizeof text, "directory: %s", f.sandbox.root);
	load_with(before, text);
}

static int set_up(void **state)
{
	char text[160];
	(void)state;
	if (sandbox_make(&f.sandbox) != 0)
		return -1;
	load_directory("");
	snprintf(text, sizeof text, "%s/k", f.sandbox.root);
	return mkdir(text, 0700);
}

static int set_up_s3(void **state)
{
	(void)state;
	load_with("", "s3: {bucket: b}");
	return sandbox_make(&f.sandbox);
}

static int tear_down(void **state)
{
	(void)state;
	config_free(f.config);
	f.config = NULL;
	sandbox_remove(&f.sandbox);
	return 0;
}

/* An object that was written last at this time, seconds. began: the lane and position in its
 * suffix; NULL: it has none. */
static void put_file(const char *began, time_t seconds)
{
	char path[300];
	struct timespec times[2] = {{.tv_sec = seconds}, {.tv_sec = seconds}};
	if (began == NULL)
		snprintf(path, sizeof path, "%s/k/7", f.sandbox.root);
	else
		snprintf(path, sizeof path, "%s/k/7_box-%016" PRIx64 "-log-%s", f.sandbox.root, GENERATION,
		         began);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(futimens(fd, times), 0);
	close(fd);
}

/* Asks for an event of lane 0. To be freed with json_decref. */
static json_t *ask(uint64_t position, time_t arrived)
{
	struct event_log *event = record_put(&f.event, EVENT_LOG, sizeof *event + 2);
	*event = (struct event_log){.arrival_ns = (uint64_t)arrived * NS_PER_SEC,
	                            .client_id = 7,
	                            .content_id = 1,
	                            .timestamp_ms = 1,
	                            .object_bytes = 2};
	memcpy(event->object, "{}", 2);
	struct where_question question = {.config = f.config,
	                                  .section = "sinks[0]",
	                                  .role = "objects.logs",
	                                  .directory = f.sandbox.directory,
	                                  .generation = GENERATION,
	                                  .topic = "log",
	                                  .lane = 0,
	                                  .position = position,
	                                  .record = &f.event.record};
	json_t *told = where_json(&question);
	assert_non_null(told);
	assert_string_equal(json_string_value(json_object_get(told, "key")), f.key);
	return told;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The objects that are told, by the ends of their names, sorted, with a space between; "sure " is
 * before them when it is. */
static void assert_told(uint64_t position, time_t arrived, const char *expected)
{
	char all[512];
	json_t *told = ask(position, arrived);
	const json_t *objects = json_object_get(told, "objects"), *one;
	const char *name[WHERE_OBJECTS_MAX] = {NULL};
	size_t i, n = json_array_size(objects);
	json_array_foreach(objects, i, one)
	{
		assert_true(i < WHERE_OBJECTS_MAX);
		name[i] = json_string_value(json_object_get(one, "name"));
	}
	qsort(name, n, sizeof *name, by_name);
	int used = snprintf(all, sizeof all, "%s", json_is_true(json_object_get(told, "sure")) ? "sure" : "");
	for (i = 0; i < n && name[i] != NULL; i++) {
		const char *suffix = strstr(name[i], "-log-");
		used += snprintf(all + used, sizeof all - (size_t)used, "%s%s", used > 0 ? " " : "",
		                 suffix != NULL ? suffix + 5 : "bare");
	}
	assert_string_equal(all, expected);
	json_decref(told);
}

static void of_one_lane_the_last_that_began_before_it_has_it(void **state)
{
	(void)state;
	put_file(NULL, 1000);
	put_file("0-800", 2000);
	put_file("0-1600", 3000);
	assert_told(1600, 2500, "sure 0-1600");
	assert_told(2400, 2500, "sure 0-1600");
	assert_told(1592, 1500, "sure 0-800");
	assert_told(800, 1000, "sure 0-800");
	assert_told(0, 900, "sure bare");
}

static void with_several_lanes_what_may_have_it_is_told(void **state)
{
	(void)state;
	put_file(NULL, 1000);
	put_file("1-800", 2000);
	put_file("0-1600", 3000);
	put_file("1-9600", 4000);
	assert_told(0, 900, "bare 1-800 1-9600"); /* it may have been taken later */
	assert_told(0, 1500, "1-800 1-9600");     /* the bare one was whole before it came */
	assert_told(1600, 2500, "0-1600 1-9600"); /* those before 0-1600 were whole when that began */
	assert_told(1592, 3500, "sure 1-9600");
}

static void files_of_others_do_not_count(void **state)
{
	char path[200];
	(void)state;
	put_file(NULL, 1000);
	for (const char *const *name =
	             (const char *const[]){"k/77", "k/7.gz", "k/7_other-1-log-0-0", "k/7_box", NULL};
	     *name != NULL; name++) {
		snprintf(path, sizeof path, "%s/%s", f.sandbox.root, *name);
		close(open(path, O_WRONLY | O_CREAT, 0600));
	}
	snprintf(path, sizeof path, "%s/k/7_box-directory", f.sandbox.root);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_told(0, 900, "sure bare");
}

static void a_file_of_the_tick_before_the_arrival_may_have_it(void **state)
{
	char path[200];
	struct timespec times[2] = {{.tv_sec = 999, .tv_nsec = 995000000},
	                            {.tv_sec = 999, .tv_nsec = 995000000}};
	(void)state;
	put_file(NULL, 999);
	assert_told(0, 1000, "");
	snprintf(path, sizeof path, "%s/k/7", f.sandbox.root);
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
	assert_told(0, 1000, "sure bare");
}

/* Other objects of the key would have names that are cut. */
static void of_a_name_too_long_for_a_suffix_nothing_is_sure(void **state)
{
	char before[140 + 1], key[160], path[400];
	(void)state;
	memset(before, 'x', sizeof before - 1);
	before[sizeof before - 1] = '\0';
	load_directory(before);
	snprintf(key, sizeof key, "k/%s7", before);
	f.key = key;
	snprintf(path, sizeof path, "%s/%s", f.sandbox.root, key);
	close(open(path, O_WRONLY | O_CREAT, 0600));
	assert_told(0, 900, "bare");
	load_directory(before + 20);
	snprintf(key, sizeof key, "k/%s7", before + 20);
	f.key = key;
	snprintf(path, sizeof path, "%s/%s", f.sandbox.root, key);
	close(open(path, O_WRONLY | O_CREAT, 0600));
	assert_told(0, 900, "sure bare");
}

static void an_object_that_is_gone_is_not_made_up(void **state)
{
	(void)state;
	assert_told(0, 900, "");
	put_file("0-800", 2000);
	assert_told(0, 900, "");
}

static void of_a_cloud_nothing_finished_is_known_and_that_is_said(void **state)
{
	(void)state;
	json_t *told = ask(0, 900);
	assert_string_equal(json_string_value(json_object_get(told, "store")), "s3");
	assert_true(json_is_false(json_object_get(told, "sure")));
	assert_int_equal(json_array_size(json_object_get(told, "objects")), 0);
	assert_non_null(strstr(json_string_value(json_object_get(told, "note")), "the store is not asked"));
	json_decref(told);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	        T(of_one_lane_the_last_that_began_before_it_has_it),
	        T(with_several_lanes_what_may_have_it_is_told),
	        T(files_of_others_do_not_count),
	        T(a_file_of_the_tick_before_the_arrival_may_have_it),
	        T(of_a_name_too_long_for_a_suffix_nothing_is_sure),
	        T(an_object_that_is_gone_is_not_made_up),
#undef T
	        cmocka_unit_test_setup_teardown(of_a_cloud_nothing_finished_is_known_and_that_is_said,
	                                        set_up_s3, tear_down),
	};
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
