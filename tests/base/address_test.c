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
#include <sys/un.h>

#include "base/address.h"

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

static void a_unix_socket_is_an_address_of_streams_only(void **state)
{
	(void)state;
	struct sockaddr_storage address = {.ss_family = 77};
	socklen_t length = 0;
	char text[ADDRESS_TEXT_MAX], path[200] = "unix:/";
	assert_int_equal(address_parse(&address, &length, "unix:/run/m.sock"), -EINVAL);
	assert_int_equal(address_parse_stream(&address, &length, "unix:/run/m.sock"), 0);
	assert_int_equal(address.ss_family, AF_UNIX);
	assert_int_equal(length, offsetof(struct sockaddr_un, sun_path) + sizeof "/run/m.sock");
	assert_string_equal(address_format(text, &address), "unix:/run/m.sock");
	assert_int_equal(address_port(&address), 0);
	assert_int_equal(address_parse_stream(&address, &length, "127.0.0.1:80"), 0);
	assert_int_equal(address.ss_family, AF_INET);
	/* 107 bytes of path and the final 0 are all that the kernel takes */
	memset(path + 6, 'x', 106);
	assert_int_equal(address_parse_stream(&address, &length, path), 0);
	assert_int_equal(length, sizeof(struct sockaddr_un));
	assert_string_equal(address_format(text, &address), path);
	path[112] = 'x';
	static const char *const wrong[] = {"unix:",  "unix:m.sock", "unix:@m", "unix:/run/",
	                                    "unix:/", "Unix:/m",     "unix :/m"};
	assert_int_equal(address_parse_stream(&address, &length, path), -ENAMETOOLONG);
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		assert_int_equal(address_parse_stream(&address, &length, wrong[i]), -EINVAL);
	assert_int_equal(address.ss_family, AF_UNIX);
}

static void networks_are_parsed_as_prefixes_of_sixteen_bytes(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		unsigned bits;
		const char *address; /* as IPv6 */
	} cases[] = {
	        {"10.0.0.0/8", 104, "[::ffff:10.0.0.0]:0"},
	        {"127.0.0.1", 128, "[::ffff:127.0.0.1]:0"},
	        {"0.0.0.0/0", 96, "[::ffff:0.0.0.0]:0"},
	        {"::1/128", 128, "[::1]:0"},
	        {"2001:db8::/33", 33, "[2001:db8::]:0"},
	        {"::/0", 0, "[::]:0"},
	        {"fe80::1", 128, "[fe80::1]:0"},
	};
	static const char *const wrong[] = {
	        "",        "10.0.0.0/",    "10.0.0.0/33", "10.0.0.1/8",    "::/129",
	        "::1/127", "10.0.0.0/+8",  "10.0.0.0/8 ", "10.0.0/8",      "localhost",
	        "/8",      "10.0.0.0/8/8", "10.0.0.0/-1", "1.2.3.4/00032", "::g/10"};
	uint8_t prefix[16];
	unsigned bits;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct sockaddr_storage address = parsed(cases[i].address);
		assert_int_equal(address_parse_network(prefix, &bits, cases[i].text), 0);
		assert_int_equal(bits, cases[i].bits);
		assert_memory_equal(prefix, &((struct sockaddr_in6 *)(void *)&address)->sin6_addr, 16);
	}
	memset(prefix, 0x77, sizeof prefix);
	bits = 5;
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		if (address_parse_network(prefix, &bits, wrong[i]) != -EINVAL)
			fail_msg("taken: \"%s\"", wrong[i]);
		assert_int_equal(bits, 5);
		assert_int_equal(prefix[15], 0x77);
	}
}

static void hosts_are_sixteen_bytes_with_ipv4_mapped(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		bool mapped;
		uint8_t address[16];
	} cases[] = {
	        {"192.0.2.1", true, {[10] = 0xff, [11] = 0xff, 192, 0, 2, 1}},
	        {"0.0.0.0", true, {[10] = 0xff, [11] = 0xff}},
	        {"2001:db8::1", false, {0x20, 0x01, 0x0d, 0xb8, [15] = 1}},
	        {"::", false, {0}},
	};
	static const char *const wrong[] = {"",      "192.0.2",    "192.0.2.1:80",
	                                    "[::1]", "fe80::1%lo", "localhost"};
	char text[ADDRESS_HOST_TEXT_MAX];
	uint8_t address[16];
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_true(address_host_parse(address, cases[i].text));
		assert_memory_equal(address, cases[i].address, 16);
		assert_int_equal(address_is_mapped(address), cases[i].mapped);
		assert_string_equal(address_host_format(text, address), cases[i].text);
	}
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		assert_false(address_host_parse(address, wrong[i]));
	struct sockaddr_storage from;
	socklen_t length;
	assert_int_equal(address_parse(&from, &length, "192.0.2.1:80"), 0);
	assert_true(address_host(address, (const struct sockaddr *)&from));
	assert_memory_equal(address, cases[0].address, 16);
	assert_int_equal(address_parse(&from, &length, "[2001:db8::1]:80"), 0);
	assert_true(address_host(address, (const struct sockaddr *)&from));
	assert_memory_equal(address, cases[2].address, 16);
	from.ss_family = AF_UNIX;
	assert_false(address_host(address, (const struct sockaddr *)&from));
	/* "::ffff:192.0.2.1" is the IPv4 address */
	assert_true(address_host_parse(address, "::ffff:192.0.2.1"));
	assert_true(address_is_mapped(address));
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
	struct sockaddr_storage file, other, all = parsed("[::]:1");
	socklen_t length;
	assert_int_equal(address_parse_stream(&file, &length, "unix:/run/a"), 0);
	assert_int_equal(address_parse_stream(&other, &length, "unix:/run/b"), 0);
	assert_true(address_overlaps(&file, &file));
	assert_false(address_overlaps(&file, &other));
	assert_false(address_overlaps(&file, &all));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(every_form_is_parsed_and_formatted_again),
	        cmocka_unit_test(what_is_no_address_is_refused_and_leaves_all_as_it_was),
	        cmocka_unit_test(a_unix_socket_is_an_address_of_streams_only),
	        cmocka_unit_test(networks_are_parsed_as_prefixes_of_sixteen_bytes),
	        cmocka_unit_test(hosts_are_sixteen_bytes_with_ipv4_mapped),
	        cmocka_unit_test(addresses_overlap_when_they_want_the_same_datagrams),
	};
	alarm(10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
