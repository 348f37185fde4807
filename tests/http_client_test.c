/* Who the client is: trusted networks and the headers of proxies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "ingest/http/client.h"
#include "tests/address_bytes.h"
#include "tests/draw.h"
#include "tests/page_end.h"

/* ---- networks ---- */

static void networks_hold_the_addresses_below_them(void **state)
{
	(void)state;
	static const struct {
		const char *network, *inside[3], *outside[3];
	} row[] = {
	        {"127.0.0.0/8", {"127.0.0.1", "127.255.255.255"}, {"126.255.255.255", "128.0.0.0", "::1"}},
	        {"10.1.2.3", {"10.1.2.3", "::ffff:10.1.2.3"}, {"10.1.2.2", "10.1.2.4", "::10.1.2.3"}},
	        {"10.1.2.3/32", {"10.1.2.3"}, {"10.1.2.2"}},
	        {"192.168.4.0/22", {"192.168.4.0", "192.168.7.255"}, {"192.168.3.255", "192.168.8.0"}},
	        {"172.16.0.0/12", {"172.16.0.1", "172.31.255.255"}, {"172.32.0.0", "172.15.255.255"}},
	        {"0.0.0.0/0", {"1.2.3.4", "255.255.255.255"}, {"::1", "2001:db8::1"}},
	        {"128.0.0.0/1", {"128.0.0.0", "255.0.0.1"}, {"127.255.255.255"}},
	        {"::1/128", {"::1"}, {"::2", "127.0.0.1"}},
	        {"::1", {"::1"}, {"::"}},
	        {"2001:db8::/32", {"2001:db8::", "2001:db8:ffff::1"}, {"2001:db9::", "2001:db7:ffff::"}},
	        {"fe80::/10", {"fe80::1", "febf::1"}, {"fec0::1", "fe7f::1"}},
	        {"::/0", {"::1", "1.2.3.4", "ffff::"}, {NULL}},
	        {"::ffff:10.0.0.0/104", {"10.9.8.7"}, {"11.0.0.0"}},
	};
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		struct client_networks networks = {.n = 0};
		assert_int_equal(client_network_add(&networks, row[i].network), 0);
		for (unsigned k = 0; k < 3 && row[i].inside[k] != NULL; k++)
			assert_true(client_trusted(&networks, address_of(row[i].inside[k])));
		for (unsigned k = 0; k < 3 && row[i].outside[k] != NULL; k++)
			assert_false(client_trusted(&networks, address_of(row[i].outside[k])));
	}
}

static void every_prefix_length_compares_exactly_its_bits(void **state)
{
	(void)state;
	for (unsigned bits = 0; bits <= 128; bits++) {
		struct client_networks networks = {.n = 1};
		uint8_t *network = networks.network[0].address, address[16];
		for (unsigned i = 0; i < 16; i++)
			address[i] = network[i] = (uint8_t)draw();
		networks.network[0].bits = (uint8_t)bits;
		assert_true(client_trusted(&networks, address));
		for (unsigned bit = 0; bit < 128; bit++) {
			address[bit / 8] ^= (uint8_t)(0x80 >> bit % 8);
			assert_int_equal(client_trusted(&networks, address), bit >= bits);
			address[bit / 8] ^= (uint8_t)(0x80 >> bit % 8);
		}
	}
}

static void what_is_no_network_is_refused(void **state)
{
	(void)state;
	static const char *const bad[] = {"",
	                                  "x",
	                                  "10.0.0.0/33",
	                                  "10.0.0.0/",
	                                  "10.0.0.0/8 ",
	                                  "10.0.0/8",
	                                  "10.0.0.1/8",
	                                  "10.0.0.0/08",
	                                  "10.0.0.0/-1",
	                                  "10.0.0.0/+8",
	                                  "10.0.0.0/8/8",
	                                  "/8",
	                                  "::1/129",
	                                  "::1/127",
	                                  "[::1]",
	                                  "[::1]/128",
	                                  "2001:db8::1/32",
	                                  "fe80::1%lo",
	                                  " 10.0.0.1",
	                                  "10.0.0.01",
	                                  "10.0.0.256/8",
	                                  "1.2.3.4.5",
	                                  "2001:db8::/0x20",
	                                  "localhost",
	                                  "10.0.0.1:80",
	                                  "1::2::3",
	                                  "::ffff:10.0.0.0/8"};
	struct client_networks networks = {.n = 0};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(client_network_add(&networks, bad[i]), -EINVAL);
		assert_int_equal(networks.n, 0);
	}
	for (unsigned i = 0; i < CLIENT_NETWORKS_MAX; i++)
		assert_int_equal(client_network_add(&networks, "10.0.0.1"), 0);
	assert_int_equal(client_network_add(&networks, "10.0.0.1"), -ENOSPC);
	assert_false(client_trusted(&(struct client_networks){.n = 0}, address_of("127.0.0.1")));
}

/* ---- the peer ---- */

static void the_peer_is_mapped_when_it_has_ipv4_and_zero_when_it_has_no_address(void **state)
{
	(void)state;
	struct sockaddr_storage peer = {0};
	uint8_t address[16];
	uint16_t port = 1;
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(8080)};
	assert_int_equal(inet_pton(AF_INET, "192.0.2.7", &in.sin_addr), 1);
	memcpy(&peer, &in, sizeof in);
	client_of_peer(address, &port, &peer);
	assert_memory_equal(address, address_of("192.0.2.7"), 16);
	assert_int_equal(port, 8080);
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(65535)};
	assert_int_equal(inet_pton(AF_INET6, "2001:db8::7", &in6.sin6_addr), 1);
	memcpy(&peer, &in6, sizeof in6);
	client_of_peer(address, &port, &peer);
	assert_memory_equal(address, address_of("2001:db8::7"), 16);
	assert_int_equal(port, 65535);
	peer = (struct sockaddr_storage){.ss_family = AF_UNIX};
	client_of_peer(address, &port, &peer);
	assert_memory_equal(address, address_of("::"), 16);
	assert_int_equal(port, 0);
}

/* ---- headers ---- */

static struct slice slice(const char *text)
{
	return (struct slice){.text = text, .bytes = text == NULL ? 0 : (uint32_t)strlen(text)};
}

/* What the three headers say; NULL: nobody. The text ends at a page that nobody may touch. */
static const uint8_t *client(const char *push, const char *forwarded, const char *real)
{
	static char *end;
	static uint8_t address[16];
	if (end == NULL)
		end = page_end_make(4096);
	struct request request = {
	        .push_ip = slice(push), .forwarded_for = slice(forwarded), .real_ip = slice(real)};
	struct slice *field[] = {&request.push_ip, &request.forwarded_for, &request.real_ip};
	char *at = end;
	for (unsigned i = 0; i < 3; i++) {
		if (field[i]->text == NULL)
			continue;
		at -= field[i]->bytes;
		field[i]->text = memcpy(at, field[i]->text, field[i]->bytes);
	}
	memset(address, 0xee, sizeof address);
	if (client_of_request(address, &request))
		return address;
	for (unsigned i = 0; i < sizeof address; i++)
		assert_int_equal(address[i], 0xee);
	return NULL;
}

static void expect_client(const char *value, const char *expected)
{
	const char *field[3] = {NULL};
	for (unsigned i = 0; i < 3; i++) {
		field[i] = value;
		const uint8_t *found = client(field[0], field[1], field[2]);
		field[i] = NULL;
		if (expected == NULL) {
			assert_null(found);
			continue;
		}
		assert_non_null(found);
		assert_memory_equal(found, address_of(expected), 16);
	}
}

static void addresses_are_taken_in_every_form_that_proxies_write(void **state)
{
	(void)state;
	static const char *const row[][2] = {
	        {"10.0.0.1", "10.0.0.1"},
	        {" \t10.0.0.1 \t", "10.0.0.1"},
	        {"10.0.0.1:80", "10.0.0.1"},
	        {"10.0.0.1:0", "10.0.0.1"},
	        {"10.0.0.1:65535", "10.0.0.1"},
	        {"255.255.255.255", "255.255.255.255"},
	        {"2001:db8::1", "2001:db8::1"},
	        {"2001:DB8::A", "2001:db8::a"},
	        {"::", "::"},
	        {"::1", "::1"},
	        {"[2001:db8::1]", "2001:db8::1"},
	        {"[2001:db8::1]:80", "2001:db8::1"},
	        {"::ffff:10.0.0.1", "10.0.0.1"},
	        {"[::ffff:10.0.0.1]:443", "10.0.0.1"},
	        {"1111:2222:3333:4444:5555:6666:7777:8888", "1111:2222:3333:4444:5555:6666:7777:8888"},
	        {"1111:2222:3333:4444:5555:6666:123.123.123.123", "1111:2222:3333:4444:5555:6666:7b7b:7b7b"},
	        {"\"10.0.0.1\"", "10.0.0.1"},
	        {"\"10.0.0.1:80\"", "10.0.0.1"},
	        {"\"[2001:db8::1]:80\"", "2001:db8::1"},
	};
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
		expect_client(row[i][0], row[i][1]);
}

static void the_first_hop_counts(void **state)
{
	(void)state;
	expect_client("10.0.0.1, 10.0.0.2", "10.0.0.1");
	expect_client("10.0.0.1,10.0.0.2,10.0.0.3", "10.0.0.1");
	expect_client("10.0.0.1:80 , unknown", "10.0.0.1");
	expect_client("[2001:db8::1]:80,\t10.0.0.2", "2001:db8::1");
	expect_client("10.0.0.1,", "10.0.0.1");
	expect_client(", 10.0.0.1", NULL);
	expect_client("unknown, 10.0.0.1", NULL);
}

static void what_is_no_address_names_nobody(void **state)
{
	(void)state;
	static const char *const bad[] = {
	        "unknown",
	        "_hidden",
	        "-",
	        "10.0.0",
	        "10.0.0.1.2",
	        "10.0.0.256",
	        "010.0.0.1",
	        "10.0.0.1:",
	        "10.0.0.1:65536",
	        "10.0.0.1:080",
	        "10.0.0.1:8o",
	        "10.0.0.1:-1",
	        "10.0.0.1 10.0.0.2",
	        "10.0.0.1;x",
	        "[]",
	        "[",
	        "]",
	        "[:",
	        "[]:80",
	        "[10.0.0.1]",
	        "[2001:db8::1",
	        "[2001:db8::1]80",
	        "[2001:db8::1]:",
	        "[2001:db8::1]:x",
	        "2001:db8::1]",
	        ":80",
	        "fe80::1%eth0",
	        "1::2::3",
	        ":::",
	        "\"",
	        "\"\"",
	        "\"10.0.0.1",
	        "\"\"10.0.0.1\"\"",
	        "localhost",
	        "1111:2222:3333:4444:5555:6666:7777:8888:9999",
	        "11111111111111111111111111111111111111111111111111111111111111111111",
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		expect_client(bad[i], NULL);
	struct request request = {.real_ip = {.text = "10.0.0.1\0x", .bytes = 10}};
	uint8_t address[16];
	assert_false(client_of_request(address, &request));
}

static void the_headers_are_asked_in_their_order_and_an_empty_one_is_none(void **state)
{
	(void)state;
	assert_memory_equal(client("10.0.0.1", "10.0.0.2", "10.0.0.3"), address_of("10.0.0.1"), 16);
	assert_memory_equal(client(NULL, "10.0.0.2", "10.0.0.3"), address_of("10.0.0.2"), 16);
	assert_memory_equal(client("", "10.0.0.2", "10.0.0.3"), address_of("10.0.0.2"), 16);
	assert_memory_equal(client(" ", " \t", "10.0.0.3"), address_of("10.0.0.3"), 16);
	assert_null(client("garbage", "10.0.0.2", "10.0.0.3"));
	assert_null(client(NULL, "garbage", "10.0.0.3"));
	assert_null(client(NULL, NULL, NULL));
	assert_null(client("", "", ""));
}

static void garbage_in_a_header_is_never_more_than_no_address(void **state)
{
	(void)state;
	static const char alphabet[] = "0123456789abcdef:::...[]\", %";
	for (unsigned i = 0; i < 50000; i++) {
		char text[64];
		unsigned n = draw_below(sizeof text - 1);
		for (unsigned k = 0; k < n; k++)
			text[k] = draw_one_in(50) ? (char)(1 + draw_below(255))
			                          : alphabet[draw_below(sizeof alphabet - 1)];
		text[n] = '\0';
		(void)client(text, NULL, NULL);
	}
}

int main(void)
{
	alarm(60);
	draw_init(2025);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(networks_hold_the_addresses_below_them),
	        cmocka_unit_test(every_prefix_length_compares_exactly_its_bits),
	        cmocka_unit_test(what_is_no_network_is_refused),
	        cmocka_unit_test(the_peer_is_mapped_when_it_has_ipv4_and_zero_when_it_has_no_address),
	        cmocka_unit_test(addresses_are_taken_in_every_form_that_proxies_write),
	        cmocka_unit_test(the_first_hop_counts),
	        cmocka_unit_test(what_is_no_address_names_nobody),
	        cmocka_unit_test(the_headers_are_asked_in_their_order_and_an_empty_one_is_none),
	        cmocka_unit_test(garbage_in_a_header_is_never_more_than_no_address),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
