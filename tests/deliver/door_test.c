/* POST /ingest and the delivery judge URLs by parsers of their own: what the door takes can be
 * delivered, and what it refuses could not. */
#include "ingest/json/url.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>

#include "base/escape.h"
#include "deliver/target.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/postback_urls.h"

#define N(array) (sizeof array / sizeof *array)

/* The one thing that the door does not judge: whether a host beyond ASCII is a name (IDNA). */
static bool is_foreign(const char *url)
{
	for (; *url != '\0' && strchr("/?#", *url) == NULL; url++)
		if ((unsigned char)*url >= 0x80 ||
		    (url[0] == '%' && url[1] != '\0' && strchr("89aAbBcCdDeEfF", url[1])))
			return true;
	return false;
}

/* Compares the two. text is as between the quotes of JSON. Returns whether the URL is taken. */
static bool judged_alike(const char *text)
{
	char url[4096] = "";
	size_t bytes = strlen(text), n = json_unescape(url, text, bytes);
	struct json_value value = {.text = text, .bytes = bytes, .escaped = strchr(text, '\\') != NULL};
	struct target *target = NULL;
	struct shm_error error = {""};
	const char *fault = json_url_fault(&value), *slashes = strstr(url, "//");
	bool taken = target_compile(&target, url, n, &error) == 0;
	target_free(target);
	if (taken == (fault == NULL))
		return taken;
	if (!taken && slashes != NULL && is_foreign(slashes + 2) && strncmp(error.text, "host: ", 6) == 0)
		return false;
	fail_msg("%s: POST /ingest says \"%s\", the delivery \"%s\"", text, fault != NULL ? fault : "",
	         error.text);
	return false;
}

static void the_urls_that_ingest_is_tested_with_are_judged_alike(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(url_cases); i++)
		assert_int_equal(judged_alike(url_cases[i].url), url_cases[i].what == NULL);
}

static void random_urls_are_judged_alike(void **state)
{
	(void)state;
	unsigned taken = 0;
	for (unsigned i = 0; i < 200000; i++) {
		char url[512];
		size_t n = (size_t)sprintf(url, "http://");
		for (unsigned k = 1 + draw_below(8); k > 0; k--)
			n += (size_t)sprintf(url + n, "%s", url_pieces[draw_below(N(url_pieces))]);
		taken += judged_alike(url);
	}
	print_message("%u of 200000 URLs taken\n", taken);
	assert_in_range(taken, 10000, 190000);
}

static void hosts_of_random_characters_are_judged_alike(void **state)
{
	(void)state;
	static const char characters[] = "ab.:[]%25fe80xX019_-~@#?/{}\xc3\xb6";
	unsigned taken = 0;
	for (unsigned i = 0; i < 200000; i++) {
		char url[64] = "http://";
		size_t n = 7;
		for (unsigned k = draw_below(12); k > 0; k--)
			url[n++] = characters[draw_below(sizeof characters - 1)];
		taken += judged_alike(url);
	}
	print_message("%u of 200000 URLs taken\n", taken);
	assert_in_range(taken, 10000, 190000);
}

static void long_hosts_are_judged_alike(void **state)
{
	(void)state;
	for (unsigned n = 1; n < 400; n++) {
		for (unsigned label = 60; label < 67; label++) {
			char url[512] = "http://";
			for (unsigned i = 0; i < n; i++)
				url[7 + i] = i % label == label - 1 ? '.' : 'a';
			judged_alike(url);
			strcat(url, ".");
			judged_alike(url);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_urls_that_ingest_is_tested_with_are_judged_alike),
	        cmocka_unit_test(random_urls_are_judged_alike),
	        cmocka_unit_test(hosts_of_random_characters_are_judged_alike),
	        cmocka_unit_test(long_hosts_are_judged_alike),
	};
	alarm(60);
	draw_init(20261127);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
