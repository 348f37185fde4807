#include "deliver/redirect.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void a_location_is_resolved_against_the_url_that_was_asked(void **state)
{
	static const char *const cases[][3] = {
	        {"http://a.example/b/c?d=1", "e", "http://a.example/b/e"},
	        {"http://a.example/b/c?d=1", "/e", "http://a.example/e"},
	        {"http://a.example/b/c?d=1", "?e=2", "http://a.example/b/c?e=2"},
	        {"http://a.example/b/c", "../e/./f", "http://a.example/e/f"},
	        {"http://a.example/b/c", "//other.example/e", "http://other.example/e"},
	        {"http://a.example/b/c", "https://other.example:8443/e#f", "https://other.example:8443/e"},
	        {"https://a.example/b/c", "https://b.example/", "https://b.example/"},
	        {"http://user:secret@a.example/b", "/c", "http://a.example/c"},
	        {"http://a.example/b", "http://user:secret@b.example/c", "http://b.example/c"},
	        {"http://a.example/b", "/{key}", "http://a.example/%7Bkey%7D"},
	        {"http://[::1]:81/b", "c", "http://[::1]:81/c"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char out[256];
		print_message("%s + %s\n", cases[i][0], cases[i][1]);
		assert_int_equal(redirect_resolve(cases[i][0], cases[i][1], out, sizeof out), 0);
		assert_string_equal(out, cases[i][2]);
	}
}

static void what_leads_out_of_http_or_from_https_to_http_is_refused(void **state)
{
	char out[256];
	(void)state;
	assert_int_equal(redirect_resolve("https://a.example/b", "http://a.example/b", out, sizeof out),
	                 -EPERM);
	assert_int_equal(redirect_resolve("http://a.example/b", "ftp://a.example/b", out, sizeof out),
	                 -EINVAL);
	assert_int_equal(redirect_resolve("http://a.example/b", "file:///etc/passwd", out, sizeof out),
	                 -EINVAL);
	assert_int_equal(redirect_resolve("http://a.example/b", "gopher://127.0.0.1:1/x", out, sizeof out),
	                 -EINVAL);
	assert_int_equal(redirect_resolve("http://a.example/b", "http://", out, sizeof out), -EINVAL);
	assert_int_equal(redirect_resolve("http://a.example/b", "http://b.example:99999/", out, sizeof out),
	                 -EINVAL);
}

static void a_url_that_is_too_long_is_told(void **state)
{
	char out[20];
	(void)state;
	assert_int_equal(redirect_resolve("http://a.example/b", "/cde", out, sizeof out), -ENOSPC);
	assert_int_equal(redirect_resolve("http://a.example/b", "/c", out, sizeof out), 0);
	assert_string_equal(out, "http://a.example/c");
	assert_int_equal(redirect_resolve("http://a.example/b", "/{", out, sizeof out), -ENOSPC);
}

static void only_307_and_308_keep_method_and_body(void **state)
{
	(void)state;
	for (unsigned status = 100; status < 600; status++) {
		bool is = status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
		assert_int_equal(redirect_is(status), is);
		assert_int_equal(redirect_keeps(status), status == 307 || status == 308);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_location_is_resolved_against_the_url_that_was_asked),
	        cmocka_unit_test(what_leads_out_of_http_or_from_https_to_http_is_refused),
	        cmocka_unit_test(a_url_that_is_too_long_is_told),
	        cmocka_unit_test(only_307_and_308_keep_method_and_body),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
