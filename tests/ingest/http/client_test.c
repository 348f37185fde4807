/* Who the client is: trusted networks and the headers of proxies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ingest/http/client.h"
#include "tests/fixture/address_bytes.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/page_end.h"

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
}

static void empty_elements_are_no_hops(void **state)
{
	(void)state;
	expect_client(", 10.0.0.1", "10.0.0.1");
	expect_client(",10.0.0.1, 10.0.0.2", "10.0.0.1");
	expect_client(" ,\t, ,, 10.0.0.1:80 ,", "10.0.0.1");
	expect_client(",", NULL);
	expect_client(" , ,\t", NULL);
	assert_memory_equal(client(", ,", "10.0.0.2", NULL), address_of("10.0.0.2"), 16);
	assert_memory_equal(client(", 10.0.0.1", "10.0.0.2", NULL), address_of("10.0.0.1"), 16);
}

static void what_hides_its_address_leaves_it_to_the_next_header(void **state)
{
	(void)state;
	static const char *const hidden[] = {"unknown",   "Unknown",      "unknown:80",  "_gazonk",
	                                     "_a.b-c:_d", "unix:",        "-",           "garbage",
	                                     "10.0.0",    "fe80::1%eth0", "\"unknown\"", "for=10.0.0.9"};
	for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++) {
		assert_memory_equal(client(hidden[i], "10.0.0.2", "10.0.0.3"), address_of("10.0.0.2"), 16);
		assert_memory_equal(client(hidden[i], hidden[i], "10.0.0.3"), address_of("10.0.0.3"), 16);
		assert_memory_equal(client(NULL, hidden[i], "10.0.0.3"), address_of("10.0.0.3"), 16);
		assert_null(client(hidden[i], hidden[i], hidden[i]));
		/* Hops behind it are asked when nobody knows the first. */
		char text[64];
		snprintf(text, sizeof text, "%s, 10.0.0.7, 10.0.0.8", hidden[i]);
		expect_client(text, "10.0.0.7");
		assert_memory_equal(client(NULL, text, "10.0.0.3"), address_of("10.0.0.3"), 16);
		assert_memory_equal(client(text, hidden[i], ", 10.0.0.3"), address_of("10.0.0.3"), 16);
	}
}

/* ---- heads: several lines of one name, and Forwarded ---- */

static const uint8_t *client_of_head(const char *fields)
{
	static const struct request_limits limits = {.line_bytes = 100, .head_bytes = 4000, .fields = 100};
	static char head[4096], *end;
	static uint8_t address[16];
	struct request request;
	if (end == NULL)
		end = page_end_make(4096);
	size_t bytes = (size_t)snprintf(head, sizeof head, "GET / HTTP/1.1\r\nHost: h\r\n%s\r\n", fields);
	assert_int_equal(request_parse(&request, memcpy(end - bytes, head, bytes), bytes, &limits),
	                 REQUEST_WHOLE);
	return client_of_request(address, &request) ? address : NULL;
}

static void expect_head(const char *fields, const char *expected)
{
	const uint8_t *found = client_of_head(fields);
	if ((found == NULL) != (expected == NULL) ||
	    (expected && memcmp(found, address_of(expected), 16) != 0))
		fail_msg("%s: not %s", fields, expected ? expected : "nobody");
}

static void lines_of_one_name_are_one_list(void **state)
{
	(void)state;
	static const char *const names[] = {"X-Push-IP", "x-forwarded-for", "X-Real-IP"};
	static const struct {
		const char *line[3], *expected;
	} row[] = {
	        {{"10.0.0.1", "10.0.0.2"}, "10.0.0.1"},
	        {{"", "10.0.0.2"}, "10.0.0.2"},
	        {{"", " , ", "10.0.0.3, 10.0.0.4"}, "10.0.0.3"},
	        {{",", "unknown", "10.0.0.3"}, "10.0.0.3"},
	        {{"unknown, 10.0.0.1", "10.0.0.2"}, "10.0.0.1"},
	        {{"unknown", "_hidden", "garbage"}, NULL},
	        {{"", "", ""}, NULL},
	};
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		for (unsigned k = 0; k < 3; k++) {
			char text[512] = "";
			for (unsigned line = 0; line < 3 && row[i].line[line] != NULL; line++)
				snprintf(text + strlen(text), sizeof text - strlen(text),
				         "%s: %s \r\nAccept: */*\r\nX-Forwarded-Fo: 10.9.9.9\r\n", names[k],
				         row[i].line[line]);
			expect_head(text, row[i].expected);
		}
	}
	expect_head("X-Push-IP: unknown\r\nX-Real-IP: 10.0.0.3\r\nX-Push-IP: 10.0.0.1\r\n", "10.0.0.3");
	expect_head("X-Forwarded-For: unknown\r\nX-Push-IP:\r\nX-Forwarded-For: 10.0.0.2\r\n", "10.0.0.2");
}

static void forwarded_is_read_as_rfc_7239_says(void **state)
{
	(void)state;
	static const char *const row[][2] = {
	        {"for=192.0.2.43", "192.0.2.43"},
	        {"For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"},
	        {"for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"},
	        {"proto=http;by=203.0.113.43; FOR=192.0.2.60", "192.0.2.60"},
	        {"for=192.0.2.43, for=198.51.100.17", "192.0.2.43"},
	        {"for=\"192.0.2.43:47011\"", "192.0.2.43"},
	        {"for=\"192.0.2.43:_port\"", "192.0.2.43"},
	        {"for=\"192.0\\.2.43\"", "192.0.2.43"},
	        {"for=\"\\[2001:db8::1\\]\"", "2001:db8::1"},
	        {"for=192.0.2.43:80", "192.0.2.43"},     /* lacks its quotes */
	        {"for=[2001:db8::1]:80", "2001:db8::1"}, /* this, too */
	        {"for=2001:db8::1", "2001:db8::1"},
	        {" , ,for = 192.0.2.43 ;", "192.0.2.43"},
	        {"by=\"a,for=10.0.0.9\";for=192.0.2.43", "192.0.2.43"},
	        {"by=\"a\\\",for=10.0.0.9;\";for=192.0.2.43", "192.0.2.43"},
	        {"x=\"for=10.0.0.9\", for=192.0.2.43", "192.0.2.43"},
	        {"for=unknown, for=192.0.2.43", "192.0.2.43"},
	        {"for=\"_gazonk\", for=_hidden", NULL},
	        {"for=\"_SEVKISEK:80\"", NULL},
	        {"by=192.0.2.43", NULL},
	        {"192.0.2.43", NULL},
	        {"for=", NULL},
	        {"for", NULL},
	        {"for=\"", NULL},
	        {"for=\"\"", NULL},
	        {"for=\"192.0.2.43", NULL},
	        {"for=\"192.0.2.43\\\"", NULL},
	        {"fork=192.0.2.43", NULL},
	        {"for=\"1111111111111111111111111111111111111111111111111111111111111111111111111111111\"",
	         NULL},
	        {"", NULL},
	        {";;;,;=,==", NULL},
	};
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		char text[256];
		snprintf(text, sizeof text, "Forwarded: %s\r\n", row[i][0]);
		expect_head(text, row[i][1]);
		snprintf(text, sizeof text, "Forwarded: \r\nForwarded: %s\r\nForwarded: for=_x\r\n",
		         row[i][0]);
		expect_head(text, row[i][1]);
	}
	/* After the others. */
	expect_head("Forwarded: for=10.0.0.4\r\nX-Real-IP: 10.0.0.3\r\n", "10.0.0.3");
	expect_head("Forwarded: for=10.0.0.4\r\nX-Real-IP: unknown\r\n", "10.0.0.4");
	expect_head("Forwarded: for=_x\r\nX-Forwarded-For: ,\r\n", NULL);
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
		char field[256];
		snprintf(field, sizeof field, "Forwarded: for=%s\r\nForwarded: for=%s;x\r\n", text, text);
		for (unsigned k = 0; field[k] != '\0'; k++)
			if (field[k] != '\r' && field[k] != '\n' &&
			    ((unsigned char)field[k] < 0x20 || field[k] == 0x7f))
				field[k] = '"';
		if (strpbrk(text, "\r\n") == NULL)
			(void)client_of_head(field);
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
	        cmocka_unit_test(empty_elements_are_no_hops),
	        cmocka_unit_test(what_hides_its_address_leaves_it_to_the_next_header),
	        cmocka_unit_test(lines_of_one_name_are_one_list),
	        cmocka_unit_test(forwarded_is_read_as_rfc_7239_says),
	        cmocka_unit_test(what_is_no_address_names_nobody),
	        cmocka_unit_test(the_headers_are_asked_in_their_order_and_an_empty_one_is_none),
	        cmocka_unit_test(garbage_in_a_header_is_never_more_than_no_address),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
