/* The router: which route a path is, and whether its parameters are right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "serve/router.h"

#define NOW_MS 1800000000000

static struct request request;
static unsigned methods;
static char wrong[512];

static const char *found(enum request_method method, const char *path)
{
	request_init(&request, method);
	request_set_path(&request, path, strlen(path));
	assert_null(request.fault);
	const struct route *route = router_find(&request, &methods);
	return route != NULL ? route->name : "";
}

static void query(const char *text)
{
	char copy[256], *rest, *one = strtok_r(strcpy(copy, text), "&", &rest);
	for (; one != NULL; one = strtok_r(NULL, "&", &rest))
		request_add_query(&request, one, strlen(one));
}

static bool dead_takes(const char *text)
{
	assert_string_equal(found(REQUEST_GET, "/dead"), "dead");
	query(text);
	wrong[0] = '\0';
	return router_read(&request, NOW_MS, wrong, sizeof wrong);
}

static void a_path_is_found_by_its_pattern(void **state)
{
	(void)state;
	assert_string_equal(found(REQUEST_GET, "/"), "index");
	assert_string_equal(found(REQUEST_GET, "/api/stat"), "stat");
	assert_string_equal(found(REQUEST_GET, "/api/stat/"), "stat");
	assert_string_equal(found(REQUEST_HEAD, "/api/stat"), "stat");
	assert_string_equal(found(REQUEST_GET, "/events/abc"), "events");
	assert_string_equal(request.value[0], "abc");
	assert_string_equal(found(REQUEST_POST, "/dead/17/replay"), "dead_replay");
	assert_string_equal(request.value[0], "17");
}

static void a_path_that_is_none_is_found_nowhere(void **state)
{
	(void)state;
	static const char *const paths[] = {"/x", "/api",  "/api/stats", "/api/stat/x", "/event",
	                                    "//", "/Dead", "/dea",       "/healthz2"};
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		if (strcmp(paths[i], "//") == 0)
			continue; /* a slash at the end counts for nothing: the index */
		assert_string_equal(found(REQUEST_GET, paths[i]), "");
		assert_int_equal(methods, 0);
	}
	assert_string_equal(found(REQUEST_GET, "/events"), ""); /* it can only be deleted */
	assert_int_equal(methods, 1u << REQUEST_DELETE | 1u << REQUEST_OPTIONS);
}

static void the_last_parameter_takes_the_rest_and_others_one_segment(void **state)
{
	(void)state;
	assert_string_equal(found(REQUEST_GET, "/dead/a/b"), "dead_letter");
	assert_string_equal(request.value[0], "a/b");
	assert_string_equal(found(REQUEST_POST, "/dead/a/b/replay"), "");
}

static void another_method_is_told_which_there_are(void **state)
{
	(void)state;
	char text[ROUTER_METHODS_BYTES];
	assert_string_equal(found(REQUEST_PUT, "/dead/1/replay"), "");
	assert_string_equal(router_methods(methods, text), "GET, HEAD, POST, OPTIONS");
	assert_string_equal(found(REQUEST_DELETE, "/sinks"), "");
	assert_string_equal(router_methods(methods, text), "GET, HEAD, OPTIONS");
}

static void parameters_have_their_defaults(void **state)
{
	(void)state;
	assert_true(dead_takes(""));
	assert_int_equal(request_number(&request, "limit", 0), 100);
	assert_null(request_text(&request, "host"));
	assert_int_equal(request_number(&request, "status", -1), -1);
}

static void parameters_are_checked(void **state)
{
	(void)state;
	static const char *const right[] = {"limit=1", "limit=1000&status=0", "host=a&reason=b&endpoint=c"};
	static const char *const bad[] = {
	        "limit=0",         "limit=1001",  "limit=",    "limit=1x",
	        "limit= 1",        "limit=1.0",   "limit=-1",  "limit=+1",
	        "status=1000",     "host=",       "nothing=1", "limit",
	        "limit=1&limit=1", "since=today", "since=",    "limit=99999999999999999999999"};
	for (size_t i = 0; i < sizeof right / sizeof *right; i++)
		assert_true(dead_takes(right[i]));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_false(dead_takes(bad[i]));
		assert_string_not_equal(wrong, "");
	}
	assert_false(dead_takes("nothing=1"));
	assert_non_null(strstr(wrong, "it has: limit after"));
}

static void times_are_dates_milliseconds_or_how_long_ago(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t ms;
	} times[] = {{"since=1970-01-02", 86400000},      {"since=1970-01-01T00:00:01Z", 1000},
	             {"since=1970-01-01T00:00:01", 1000}, {"since=1234", 1234},
	             {"since=2h", NOW_MS - 7200000},      {"since=7d", NOW_MS - 7 * 86400000ll}};
	for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
		assert_true(dead_takes(times[i].text));
		assert_int_equal(request_number(&request, "since", -1), times[i].ms);
	}
}

static void a_path_out_of_bounds_is_a_fault(void **state)
{
	(void)state;
	char *text = malloc(REQUEST_PATH_MAX + 2);
	assert_non_null(text);
	memset(text, 'x', REQUEST_PATH_MAX + 1);
	text[0] = '/';
	request_init(&request, REQUEST_GET);
	request_set_path(&request, text, REQUEST_PATH_MAX);
	assert_null(request.fault);
	request_init(&request, REQUEST_GET);
	request_set_path(&request, text, REQUEST_PATH_MAX + 1);
	assert_int_equal(request.fault_status, 414);
	static const char *const bad[] = {"", "*", "x", "http://h/", "/a\x01", "/a\x7f", "/\n"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		request_init(&request, REQUEST_GET);
		request_set_path(&request, bad[i], strlen(bad[i]));
		assert_int_equal(request.fault_status, 400);
	}
	free(text);
}

static void a_query_out_of_bounds_is_a_fault(void **state)
{
	(void)state;
	char text[REQUEST_QUERY_ROOM];
	memset(text, 'x', sizeof text);
	request_init(&request, REQUEST_GET);
	for (unsigned i = 0; i < REQUEST_QUERY_MAX; i++)
		request_add_query(&request, "a=b", 3);
	assert_null(request.fault);
	request_add_query(&request, "a=b", 3);
	assert_int_equal(request.fault_status, 414);
	request_init(&request, REQUEST_GET);
	request_add_query(&request, text, sizeof text);
	assert_int_equal(request.fault_status, 414);
	request_init(&request, REQUEST_GET);
	request_add_query(&request, "a=\x02", 3);
	assert_int_equal(request.fault_status, 400);
}

static void a_coding_is_accepted_as_its_weight_says(void **state)
{
	(void)state;
	static const char *const yes[] = {"gzip",
	                                  "GZIP",
	                                  "deflate, gzip",
	                                  "gzip;q=0.5",
	                                  "br;q=1, gzip;q=0.001",
	                                  "*",
	                                  "identity, *;q=0.1",
	                                  "gzip ; q=1"};
	static const char *const no[] = {"",        "br",       "gzip;q=0",    "gzip;q=0.000", "*;q=0",
	                                 "gzipped", "identity", "*, gzip;q=0", ",,;q=",        ";"};
	for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
		assert_true(request_accepts(yes[i], "gzip"));
	for (size_t i = 0; i < sizeof no / sizeof *no; i++)
		assert_false(request_accepts(no[i], "gzip"));
	assert_false(request_accepts(NULL, "gzip"));
}

static void every_row_is_of_use(void **state)
{
	(void)state;
	for (size_t i = 0; i < router_n_routes; i++) {
		const struct route *route = &router_routes[i];
		unsigned n = 0;
		assert_int_equal(route->pattern[0], '/');
		while (route->parameter[n].name != NULL)
			n++;
		assert_true(n <= REQUEST_PARAMETERS);
		for (const char *at = strchr(route->pattern, '{'); at != NULL; at = strchr(at + 1, '{')) {
			size_t length = strcspn(at + 1, "}");
			bool named = false;
			for (unsigned k = 0; k < n; k++)
				named |= route->parameter[k].in_path &&
				         strlen(route->parameter[k].name) == length &&
				         strncmp(route->parameter[k].name, at + 1, length) == 0;
			assert_true(named);
		}
	}
}

static void a_parameter_may_come_several_times_where_its_row_says_so(void **state)
{
	(void)state;
	assert_string_equal(found(REQUEST_GET, "/live"), "live");
	query("where=a=1&topic=track&where=b=2");
	assert_true(router_read(&request, NOW_MS, wrong, sizeof wrong));
	assert_string_equal(request_each(&request, "where", 0), "a=1");
	assert_string_equal(request_each(&request, "where", 1), "b=2");
	assert_null(request_each(&request, "where", 2));
	assert_string_equal(found(REQUEST_GET, "/live"), "live");
	query("where=a=1&where=b");
	assert_false(router_read(&request, NOW_MS, wrong, sizeof wrong));
	assert_non_null(strstr(wrong, "where"));
	assert_string_equal(found(REQUEST_GET, "/live"), "live");
	query("where=a=1&where=a=2&where=a=3&where=a=4&where=a=5&where=a=6&where=a=7&where=a=8&where=a=9");
	assert_false(router_read(&request, NOW_MS, wrong, sizeof wrong));
	assert_non_null(strstr(wrong, "8"));
}

static void types_have_the_weight_that_the_client_gives_them(void **state)
{
	static const char browser[] = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
	(void)state;
	assert_int_equal(request_weight(NULL, "text/html"), 1000);
	assert_int_equal(request_weight("", "text/html"), 0);
	assert_int_equal(request_weight(browser, "text/html"), 1000);
	assert_int_equal(request_weight(browser, "application/xml"), 900);
	assert_int_equal(request_weight(browser, "application/json"), 800);
	assert_int_equal(request_weight("*/*, text/*;q=0.25, TEXT/HTML;q=0.125", "text/html"), 125);
	assert_int_equal(request_weight("*/*, text/*;q=0.25", "text/plain"), 250);
	assert_int_equal(request_weight("text/event-stream;q=0, */*", "text/event-stream"), 0);
	assert_int_equal(request_weight("text/html ; level=1 ; q=0.5", "text/html"), 500);
	assert_int_equal(request_weight("texts/html, text", "text/html"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_path_is_found_by_its_pattern),
	        cmocka_unit_test(a_parameter_may_come_several_times_where_its_row_says_so),
	        cmocka_unit_test(types_have_the_weight_that_the_client_gives_them),
	        cmocka_unit_test(a_path_that_is_none_is_found_nowhere),
	        cmocka_unit_test(the_last_parameter_takes_the_rest_and_others_one_segment),
	        cmocka_unit_test(another_method_is_told_which_there_are),
	        cmocka_unit_test(parameters_have_their_defaults),
	        cmocka_unit_test(parameters_are_checked),
	        cmocka_unit_test(times_are_dates_milliseconds_or_how_long_ago),
	        cmocka_unit_test(a_path_out_of_bounds_is_a_fault),
	        cmocka_unit_test(a_query_out_of_bounds_is_a_fault),
	        cmocka_unit_test(a_coding_is_accepted_as_its_weight_says),
	        cmocka_unit_test(every_row_is_of_use),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
