/* Socket addresses as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>

#include "stage/address.h"

static struct sockaddr_storage parsed(const char *text)
{
	struct sockaddr_storage address;
	socklen_t length = 0;
	assert_int_equal(address_parse(&address, &length, text), 0);
	assert_int_equal(length, address.ss_family == AF_INET ? sizeof(struct sockaddr_in)
	                                                      : sizeof(struct sockaddr_in6));
	return address;
}

static void every_form_is_parsed_and_formatted_again(void **state)
{
	(void)state;
	static const char *const cases[][2] = {
	        {"127.0.0.1:4002", "127.0.0.1:4002"},
	        {"0.0.0.0:0", "0.0.0.0:0"},
	        {"[::1]:4002", "[::1]:4002"},
	        {"[::]:65535", "[::]:65535"},
	        {":4002", "[::]:4002"},
	        {"[2001:DB8:0:0::1]:1", "[2001:db8::1]:1"},
	        {"[fe80::1%lo]:7", "[fe80::1%lo]:7"},
	        {"1.2.3.4:00080", "1.2.3.4:80"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct sockaddr_storage address = parsed(cases[i][0]);
		char text[ADDRESS_TEXT_MAX];
		assert_string_equal(address_format(text, &address), cases[i][1]);
	}
	struct sockaddr_storage none = {.ss_family = AF_UNIX};
	char text[ADDRESS_TEXT_MAX];
	assert_string_equal(address_format(text, &none), "?");
	assert_int_equal(address_port(&none), 0);
}

static void what_is_no_address_is_refused_and_leaves_all_as_it_was(void **state)
{
	(void)state;
	static const char *const cases[] = {
	        "",
	        ":",
	        "4002",
	        "localhost:4002",
	        "127.0.0.1",
	        "127.0.0.1:",
	        "127.0.0.1:65536",
	        "127.0.0.1:-1",
	        "127.0.0.1:+1",
	        "127.0.0.1: 1",
	        "127.0.0.1:1 ",
	        "127.0.0.1:1x",
	        "127.0.0.1:000001",
	        "1.2.3:1",
	        "1.2.3.4.5:1",
	        "01.2.3.4.:1",
	        "::1:4002",
	        "[::1]4002",
	        "[::1:4002",
	        "::1]:4002",
	        "[]:4002",
	        "[1.2.3.4]:4002",
	        "[::1%nosuchdevice]:1",
	        "[::1%]:1",
	        "[[::1]]:1",
	};
	char long_host[200] = "[";
	memset(long_host + 1, '0', 150);
	strcpy(long_host + 151, "::1]:1");
	for (size_t i = 0; i <= sizeof cases / sizeof cases[0]; i++) {
		const char *text = i < sizeof cases / sizeof cases[0] ? cases[i] : long_host;
		struct sockaddr_storage address = {.ss_family = 77};
		socklen_t length = 5;
		if (address_parse(&address, &length, text) != -EINVAL)
			fail_msg("taken: \"%s\"", text);
		assert_int_equal(address.ss_family, 77);
		assert_int_equal(length, 5);
	}
}

static void addresses_overlap_when_they_want_the_same_datagrams(void **state)
{
	(void)state;
	static const struct {
		const char *a, *b;
		bool overlap;
	} cases[] = {
	        {"127.0.0.1:1", "127.0.0.1:1", true},  {"127.0.0.1:1", "127.0.0.1:2", false},
	        {"127.0.0.1:1", "127.0.0.2:1", false}, {"0.0.0.0:1", "127.0.0.2:1", true},
	        {"[::]:1", "127.0.0.2:1", true},       {"[::]:1", "0.0.0.0:1", true},
	        {"[::1]:1", "0.0.0.0:1", false},       {"[::1]:1", "[::]:1", true},
	        {"[::1]:1", "[::1]:1", true},          {"[::1]:1", "[::2]:1", false},
	        {"[::1]:1", "127.0.0.1:1", false},     {":0", ":0", false},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct sockaddr_storage a = parsed(cases[i].a), b = parsed(cases[i].b);
		assert_int_equal(address_overlaps(&a, &b), cases[i].overlap);
		assert_int_equal(address_overlaps(&b, &a), cases[i].overlap);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(every_form_is_parsed_and_formatted_again),
	        cmocka_unit_test(what_is_no_address_is_refused_and_leaves_all_as_it_was),
	        cmocka_unit_test(addresses_overlap_when_they_want_the_same_datagrams),
	};
	alarm(10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
