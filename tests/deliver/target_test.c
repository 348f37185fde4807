/* Templates of URLs: what is compiled, what becomes of values, where it all leads. */
#include "deliver/target.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N(array) (sizeof array / sizeof *array)

static struct target *compiled(const char *url)
{
	struct target *target = NULL;
	struct shm_error error = {""};
	if (target_compile(&target, url, strlen(url), &error) < 0)
		fail_msg("%s: %s", url, error.text);
	return target;
}

static long fill(char *out, size_t size, const char *url, const char *json, const char *unmatched,
                 struct shm_error *error)
{
	struct target *target = compiled(url);
	struct data data = {0};
	assert_int_equal(data_read(&data, json, strlen(json)), 0);
	long n = target_fill(target, &data, unmatched, out, size, error);
	data_free(&data);
	target_free(target);
	return n;
}

static void assert_filled(const char *url, const char *json, const char *expected)
{
	char out[4096];
	struct shm_error error = {""};
	long n = fill(out, sizeof out, url, json, "", &error);
	if (n < 0)
		fail_msg("%s: %ld %s", url, n, error.text);
	assert_string_equal(out, expected);
	assert_int_equal(n, strlen(expected));
}

static void the_example_of_the_old_system_is_filled_in_as_it_did(void **state)
{
	(void)state;
	assert_filled(
	        "http://host/data?title={mascot}&image={location}&foo={bar}",
	        "{\"mascot\":\"Gopher\",\"location\":\"https://blog.golang.org/gopher/gopher.png\"}",
	        "http://host/data?title=Gopher&image=https%3A%2F%2Fblog.golang.org%2Fgopher%2Fgopher.png&foo=");
}

static void a_target_says_where_it_leads(void **state)
{
	(void)state;
	struct target *target =
	        compiled("https://user:secret@API.example.com/users/{user}/seen?title={mascot}#x{y}");
	assert_true(target->tls);
	assert_int_equal(target->port, 443);
	assert_string_equal(target->host, "api.example.com");
	assert_string_equal(target->origin, "https://api.example.com:443");
	assert_string_equal(target->endpoint, "https://api.example.com/users/{user}/seen");
	target_free(target);
	assert_filled("https://user:secret@API.example.com/users/{user}/seen?title={mascot}#x{y}",
	              "{\"user\":7,\"mascot\":\"a b\",\"y\":1}",
	              "https://user:secret@api.example.com/users/7/seen?title=a%20b");
	target = compiled("http://[FE80:0::1%25eth0]:8080?x={a}");
	assert_string_equal(target->host, "fe80::1%eth0");
	assert_string_equal(target->origin, "http://[fe80::1%eth0]:8080");
	assert_string_equal(target->endpoint, "http://[fe80::1%25eth0]:8080/");
	target_free(target);
	assert_filled("HTTP://[FE80:0::1%25eth0]:8080?x={a}", "{}", "http://[fe80::1%25eth0]:8080/?x=");
}

static const struct {
	const char *url, *host; /* NULL: refused */
	unsigned port;
} hosts[] = {
        {"http://h", "h", 80},
        {"https://h/", "h", 443},
        {"http://H.Example./", "h.example", 80},
        {"http://h:/", "h", 80},
        {"http://h:0081", "h", 81},
        {"http://u@v@h:1/", "h", 1},
        {"http://u:a:b@h/", "h", 80},
        {"http://@h/", "h", 80},
        {"http://a_b~c-d/", "a_b~c-d", 80},
        {"http://%41b%2ec/", "ab.c", 80},
        {"http://b\xc3\xbc"
         "cher.example/",
         "xn--bcher-kva.example", 80},
        {"http://B%C3%9Ccher.example/", "xn--bcher-kva.example", 80},
        {"http://fa\xc3\x9f.de/", "xn--fa-hia.de", 80}, /* IDNA 2008, not 2003 */
        {"http://a\xe3\x80\x82"
         "b/",
         "a.b", 80}, /* an ideographic full stop */
        {"http://127.0.0.1/", "127.0.0.1", 80},
        {"http://127.0.0.1./", "127.0.0.1", 80},
        {"http://0x7f.1/", "127.0.0.1", 80},
        {"http://0177.0.0.01/", "127.0.0.1", 80},
        {"http://2130706433/", "127.0.0.1", 80},
        {"http://0x7F000001/", "127.0.0.1", 80},
        {"http://0/", "0.0.0.0", 80},
        {"http://%31%32%37.1/", "127.0.0.1", 80},
        {"http://\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.1/", "127.0.0.1", 80}, /* digits of full width */
        {"http://1.2.3.4x/", "1.2.3.4x", 80},
        {"http://[::1]:80/", "::1", 80},
        {"http://[::FFFF:127.0.0.1]/", "::ffff:127.0.0.1", 80},
        {"http://[0:0:0:0:0:0:0:1]/", "::1", 80},
        {"http://[2001:db8:0:0:1:0:0:1]/", "2001:db8::1:0:0:1", 80},
        {"http://xn--bcher-kva.example/", "xn--bcher-kva.example", 80},
        {"http://-h/", NULL, 0},
        {"http://%2dh.example/", NULL, 0},
        {"http://\xef\xbc\x8dh.example/", NULL, 0}, /* a hyphen of full width */
        {"http://256.1.1.1/", NULL, 0},
        {"http://1.2.3.4.5/", NULL, 0},
        {"http://h.1/", NULL, 0},
        {"http://a..b/", NULL, 0},
        {"http://./", NULL, 0},
        {"http:///", NULL, 0},
        {"http://u@/", NULL, 0},
        {"http://h:0/", NULL, 0},
        {"http://h:65536/", NULL, 0},
        {"http://h:8x/", NULL, 0},
        {"http://h%00/", NULL, 0},
        {"http://h%2f/", NULL, 0},
        {"http://h%/", NULL, 0},
        {"http://h%25/", NULL, 0},
        {"http://\xff/", NULL, 0},
        {"http://%e2%84%80/", NULL, 0}, /* IDNA: a/c */
        {"http://\xc2\xad/", NULL, 0},  /* IDNA: nothing at all */
        {"http://[::1/", NULL, 0},
        {"http://[::1]x/", NULL, 0},
        {"http://[::g]/", NULL, 0},
        {"http://[::1%25]/", NULL, 0},
        {"http://[::1%eth0]/", NULL, 0},
        {"http://[::1%25a%2fb]/", NULL, 0},
        {"http://[::1%25abcdefghijklmnop]/", NULL, 0},
        {"http://u:%0a@h/", NULL, 0},
        {"http://{h}/", NULL, 0},
        {"http://h:{p}/", NULL, 0},
        {"http://{u}@h/", NULL, 0},
        {"http://h}/", NULL, 0},
        {"http://h{a/b}/", NULL, 0},
        {"{s}://h/", NULL, 0},
        {"ftp://h/", NULL, 0},
        {"http:/h/", NULL, 0},
        {"", NULL, 0},
        {"http://h/a b", NULL, 0},
        {"http://h/\n", NULL, 0},
        {"http://h/\x7f", NULL, 0},
        {"http://h/#\t", NULL, 0},
};

/* What libcurl would connect to. */
static void assert_curl_agrees(const struct target *target, const char *url)
{
	CURLU *curl = curl_url();
	char *host = NULL, *port = NULL, *zone = NULL, whole[512];
	assert_int_equal(curl_url_set(curl, CURLUPART_URL, url, CURLU_PATH_AS_IS), CURLUE_OK);
	assert_int_equal(curl_url_get(curl, CURLUPART_HOST, &host, 0), CURLUE_OK);
	assert_int_equal(curl_url_get(curl, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT), CURLUE_OK);
	if (curl_url_get(curl, CURLUPART_ZONEID, &zone, 0) != CURLUE_OK)
		zone = NULL;
	if (host[0] == '[') {
		snprintf(whole, sizeof whole, "%.*s%s%s", (int)strlen(host) - 2, host + 1,
		         zone != NULL ? "%" : "", zone != NULL ? zone : "");
		assert_string_equal(whole, target->host);
	} else {
		assert_string_equal(host, target->host);
	}
	assert_int_equal(atoi(port), target->port);
	curl_free(host);
	curl_free(port);
	curl_free(zone);
	curl_url_cleanup(curl);
}

static void hosts_come_in_the_form_that_libcurl_leaves_alone(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(hosts); i++) {
		struct target *target = NULL;
		struct shm_error error = {""};
		int result = target_compile(&target, hosts[i].url, strlen(hosts[i].url), &error);
		if ((result == 0) != (hosts[i].host != NULL))
			fail_msg("%s: %d %s", hosts[i].url, result, error.text);
		if (result < 0) {
			assert_int_equal(result, -EINVAL);
			assert_true(error.text[0] != '\0');
			assert_null(target);
			continue;
		}
		char out[512];
		struct data none = {0};
		assert_string_equal(target->host, hosts[i].host);
		assert_int_equal(target->port, hosts[i].port);
		assert_true(target_fill(target, &none, "", out, sizeof out, &error) > 0);
		assert_curl_agrees(target, out);
		target_free(target);
	}
}

static void what_a_url_cannot_have_is_encoded_and_the_rest_stays(void **state)
{
	(void)state;
	assert_filled("http://h/a\"<>\\^`|\xc3\xb6?b\"<>\\^`|\xc3\xb6", "{}",
	              "http://h/a%22%3C%3E%5C%5E%60%7C%C3%B6?b%22%3C%3E%5C%5E%60%7C%C3%B6");
	assert_filled("http://h/%2f%zz%;a=b,c/../.%2e//?x[]=~&&?#f?{x}", "{}",
	              "http://h/%2f%zz%;a=b,c/../.%2e//?x[]=~&&?");
	assert_filled("http://u@v:a:b[]%zz%41\"@h/", "{}", "http://u%40v:a%3Ab%5B%5D%25zz%41%22@h/");
}

static void braces_without_a_key_are_text(void **state)
{
	(void)state;
	assert_filled("http://h/{?}{", "{\"?\":1}", "http://h/1%7B");
	assert_filled("http://h/}{{a}}", "{\"a\":1}", "http://h/%7D%7B1%7D");
	assert_filled("http://h/{a#b}#{c", "{\"a#b\":1}", "http://h/1");
	assert_filled("http://h/{a#b", "{}", "http://h/%7Ba");
	assert_filled("http://h/?{}={}{}", "{\"\":\"x\"}", "http://h/?x=xx");
}

static void a_value_stays_where_it_is_put(void **state)
{
	(void)state;
	assert_filled(
	        "http://h/a/{x}/b?c={x}", "{\"x\":\"../?&=#\\r\\n%2e \xc3\xb6\\u0000\"}",
	        "http://h/a/..%2F%3F%26%3D%23%0D%0A%252e%20%C3%B6%00/b?c=..%2F%3F%26%3D%23%0D%0A%252e%20%C3%B6%00");
	assert_filled("http://h/{x}/{x}", "{\"x\":\"\"}", "http://h//");
	assert_filled("http://h?{x}", "{\"x\":\"..\"}", "http://h/?..");
	assert_filled("http://h/...{x}/{y}..", "{\"x\":\".\",\"y\":\"a\"}", "http://h/..../a..");
	assert_filled("http://h/a;{x}/b", "{\"x\":\"..\"}", "http://h/a;../b");
}

static void a_value_makes_no_segment_that_servers_resolve(void **state)
{
	(void)state;
	static const struct {
		const char *url, *json;
	} cases[] = {
	        {"http://h/{x}", "{\"x\":\"..\"}"},
	        {"http://h/{x}", "{\"x\":\".\"}"},
	        {"http://h/{x}/", "{\"x\":\"..\"}"},
	        {"http://h/a/{x}?y", "{\"x\":\"..\"}"},
	        {"http://h/{x}{x}/b", "{\"x\":\".\"}"},
	        {"http://h/{y}.{x}/b", "{\"x\":\".\"}"},
	        {"http://h/.{y}./b", "{}"},
	        {"http://h/%2E{x}", "{\"x\":\".\"}"},
	        {"http://h/{x}%2e/b", "{\"x\":\".\"}"},
	        {"http://h/%2e%2E{x}", "{\"x\":\"\"}"},
	        {"http://h/{x};v=1/b", "{\"x\":\"..\"}"},
	        {"http://h/{y}{x};{y}", "{\"x\":\"..\"}"},
	        {"http://h/a/b/{x}#c", "{\"x\":\"..\"}"},
	};
	for (size_t i = 0; i < N(cases); i++) {
		char out[256];
		struct shm_error error = {""};
		if (fill(out, sizeof out, cases[i].url, cases[i].json, "", &error) != -EINVAL)
			fail_msg("%s: %s", cases[i].url, out);
		assert_non_null(strstr(error.text, "segment"));
	}
	char out[256];
	struct shm_error error = {""};
	assert_int_equal(fill(out, sizeof out, "http://h/{x}", "{}", "..", &error), -EINVAL);
}

static void keys_that_are_not_there_become_what_is_configured(void **state)
{
	(void)state;
	char out[256];
	struct shm_error error;
	assert_true(fill(out, sizeof out, "http://h/{x}?{y}={z}", "{\"z\":null}", "n/a", &error) > 0);
	assert_string_equal(out, "http://h/n%2Fa?n%2Fa=");
}

static void a_buffer_is_never_overrun(void **state)
{
	(void)state;
	static const char url[] = "http://h/{a}/b?{b}&{c}", json[] = "{\"a\":\"\xc3\xb6\",\"b\":[1]}";
	struct shm_error error;
	char whole[256];
	long n = fill(whole, sizeof whole, url, json, "x y", &error);
	assert_true(n > 0);
	for (size_t size = 0; size <= (size_t)n + 1; size++) {
		char *out = malloc(size > 0 ? size : 1);
		assert_non_null(out);
		assert_int_equal(fill(out, size, url, json, "x y", &error), size > (size_t)n ? n : -ENOSPC);
		if (size > (size_t)n)
			assert_string_equal(out, whole);
		free(out);
	}
}

static void a_long_endpoint_is_cut_and_stays_apart_from_others(void **state)
{
	(void)state;
	char url[2][2048];
	for (unsigned n = 480; n < 600; n++) {
		struct target *target[2];
		for (unsigned i = 0; i < 2; i++) {
			size_t at = (size_t)sprintf(url[i], "http://h/{");
			while (at < n)
				at += (size_t)sprintf(url[i] + at, "\xe2\x82\xac");
			sprintf(url[i] + at, "}%u", i);
			target[i] = compiled(url[i]);
			size_t length = strlen(target[i]->endpoint);
			assert_true(length < TARGET_ENDPOINT_MAX);
			assert_int_equal(strlen(url[i]) < TARGET_ENDPOINT_MAX,
			                 strcmp(target[i]->endpoint, url[i]) == 0);
			if (strlen(url[i]) >= TARGET_ENDPOINT_MAX) {
				assert_true(target[i]->endpoint[length - 17] == '~');
				assert_true(((length - 17 - strlen("http://h/{")) % 3) == 0);
			}
		}
		assert_string_not_equal(target[0]->endpoint, target[1]->endpoint);
		target_free(target[0]);
		target_free(target[1]);
	}
}

static struct target *found(struct targets *targets, const char *url)
{
	struct target *target = NULL;
	struct shm_error error;
	assert_int_equal(targets_find(targets, &target, url, strlen(url), &error), 0);
	return target;
}

static void urls_are_compiled_once_while_they_are_kept(void **state)
{
	(void)state;
	struct targets *targets = targets_new(2);
	struct target *a = found(targets, "http://h/a"), *b = found(targets, "http://h/b");
	assert_ptr_equal(found(targets, "http://h/a"), a);
	assert_int_equal(targets_counts(targets).kept, 0);
	target_release(targets, a);
	assert_int_equal(targets_counts(targets).kept, 0);
	target_release(targets, a);
	target_release(targets, b);
	assert_int_equal(targets_counts(targets).kept, 2);
	assert_ptr_equal(found(targets, "http://h/a"), a); /* in use: b is the oldest */
	target_release(targets, found(targets, "http://h/c"));
	target_release(targets, found(targets, "http://h/d"));
	assert_int_equal(targets_counts(targets).kept, 2);
	target_release(targets, a);
	assert_int_equal(targets_counts(targets).kept, 2);
	assert_int_equal(targets_counts(targets).compiled, 4);
	assert_int_equal(targets_counts(targets).found, 2);
	target_release(targets, found(targets, "http://h/d"));
	assert_int_equal(targets_counts(targets).compiled, 4);
	target_release(targets, found(targets, "http://h/c"));
	assert_int_equal(targets_counts(targets).compiled, 5);
	targets_free(targets);
}

static void what_is_kept_is_bounded_in_memory_too(void **state)
{
	(void)state;
	struct targets *targets = targets_new(8);
	static char url[20000];
	for (unsigned i = 0; i < 50; i++) {
		sprintf(url, "http://h/%u/", i);
		size_t n = strlen(url);
		memset(url + n, 'x', 10000);
		url[n + 10000] = '\0';
		target_release(targets, found(targets, url));
		assert_true(targets_counts(targets).memory <= 8 * TARGETS_BYTES);
	}
	assert_in_range(targets_counts(targets).kept, 1, 3);
	targets_free(targets);
}

static void a_url_that_is_refused_is_not_kept(void **state)
{
	(void)state;
	struct targets *targets = targets_new(8);
	struct target *target = NULL;
	struct shm_error error = {""};
	assert_int_equal(targets_find(targets, &target, "ftp://h/", 8, &error), -EINVAL);
	assert_non_null(strstr(error.text, "scheme"));
	assert_int_equal(targets_counts(targets).compiled, 0);
	targets_free(targets);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_example_of_the_old_system_is_filled_in_as_it_did),
	        cmocka_unit_test(a_target_says_where_it_leads),
	        cmocka_unit_test(hosts_come_in_the_form_that_libcurl_leaves_alone),
	        cmocka_unit_test(what_a_url_cannot_have_is_encoded_and_the_rest_stays),
	        cmocka_unit_test(braces_without_a_key_are_text),
	        cmocka_unit_test(a_value_stays_where_it_is_put),
	        cmocka_unit_test(a_value_makes_no_segment_that_servers_resolve),
	        cmocka_unit_test(keys_that_are_not_there_become_what_is_configured),
	        cmocka_unit_test(a_buffer_is_never_overrun),
	        cmocka_unit_test(a_long_endpoint_is_cut_and_stays_apart_from_others),
	        cmocka_unit_test(urls_are_compiled_once_while_they_are_kept),
	        cmocka_unit_test(what_is_kept_is_bounded_in_memory_too),
	        cmocka_unit_test(a_url_that_is_refused_is_not_kept),
	};
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
