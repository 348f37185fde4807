/* What a box alone is asked for what all of them are asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "serve/answer.h"
#include "serve/fleet_form.h"
#include "serve/router.h"
#include "sink/tally/attempts.h"

static struct request asked;

/* As the server asks: path and query are decoded, parameters have no & in them here. */
static struct fleet_form *form_of(const char *path, const char *query)
{
	char copy[256], wrong[512] = "", *rest, *one = strtok_r(strcpy(copy, query), "&", &rest);
	struct answer answer;
	unsigned methods;
	request_init(&asked, REQUEST_GET);
	request_set_path(&asked, path, strlen(path));
	for (; one != NULL; one = strtok_r(NULL, "&", &rest))
		request_add_query(&asked, one, strlen(one));
	assert_null(asked.fault);
	assert_non_null(router_find(&asked, &methods));
	assert_true(router_read(&asked, clock_real_ms(), wrong, sizeof wrong));
	answer_init(&answer);
	struct fleet_form *form = fleet_form(&asked, &answer);
	assert_int_equal(answer.status, 0);
	assert_non_null(form);
	assert_ptr_equal(form->request.route, asked.route);
	assert_int_equal(request_number(&form->request, "peers", 1), 0);
	return form;
}

static void expect(const char *path, const char *query, const char *target)
{
	struct fleet_form *form = form_of(path, query);
	assert_string_equal(form->target, target);
	free(form);
}

static void all_pages_of_a_list_are_one_question(void **state)
{
	(void)state;
	static const char target[] = "/consumers/type?limit=10000&peers=0&sums=1";
	expect("/consumers/type", "", target);
	expect("/consumers/type", "limit=3&offset=6", target);
	expect("/consumers/type", "offset=6&peers=1&sums=0", target);
	expect("/api/stat", "", "/api/stat?peers=0");
}

static void what_is_in_a_name_stays_there(void **state)
{
	(void)state;
	expect("/accounts/a b&peers=1?c%/\xc3\xa4#+", "",
	       "/accounts/a%20b%26peers%3D1%3Fc%25/%C3%A4%23%2B?peers=0");
	struct fleet_form *form = form_of("/deliveries/counts", "since=0&until=1&endpoint=http://h/?a=b c");
	assert_non_null(strstr(form->target, "&endpoint=http%3A%2F%2Fh%2F%3Fa%3Db%20c&"));
	assert_string_equal(request_text(&form->request, "endpoint"), "http://h/?a=b c");
	free(form);
}

static void the_longest_path_has_room(void **state)
{
	(void)state;
	char path[REQUEST_PATH_MAX + 1] = "/accounts/";
	size_t n = strlen(path);
	memset(path + n, '%', REQUEST_PATH_MAX - n);
	path[REQUEST_PATH_MAX] = '\0';
	struct fleet_form *form = form_of(path, "");
	assert_int_equal(form->n, strlen(form->target));
	assert_int_equal(form->n, n + 3 * (REQUEST_PATH_MAX - n) + strlen("?peers=0"));
	free(form);
}

static void times_are_whole_minutes_of_this_box(void **state)
{
	(void)state;
	struct fleet_form *form = form_of("/deliveries/counts", "since=119999&until=120001&step=2");
	assert_int_equal(request_number(&form->request, "since", -1), 60000);
	assert_int_equal(request_number(&form->request, "until", -1), 180000);
	assert_non_null(strstr(form->target, "since=60000&until=180000&"));
	assert_int_equal(request_number(&form->request, "step", -1), 2);
	free(form);
	int64_t before_ms = clock_real_ms();
	form = form_of("/deliveries/counts", "");
	int64_t until = request_number(&form->request, "until", -1),
	        since = request_number(&form->request, "since", -1);
	assert_true(until >= before_ms && until < clock_real_ms() + ATTEMPTS_STEP_MS);
	assert_true(since <= clock_real_ms() - ATTEMPTS_SPAN_MS &&
	            since > before_ms - ATTEMPTS_SPAN_MS - ATTEMPTS_STEP_MS);
	assert_true(since % ATTEMPTS_STEP_MS == 0 && until % ATTEMPTS_STEP_MS == 0);
	free(form);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(all_pages_of_a_list_are_one_question),
	        cmocka_unit_test(what_is_in_a_name_stays_there),
	        cmocka_unit_test(the_longest_path_has_room),
	        cmocka_unit_test(times_are_whole_minutes_of_this_box),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
