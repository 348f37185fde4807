/* The PROXY protocol, both versions: in every piece, and in every malformation that could be
 * thought of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ingest/http/client.h"
#include "tests/fixture/address_bytes.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/page_end.h"

struct outcome {
	enum proxy_result result;
	size_t used;
	uint8_t address[16];
	uint16_t port;
};

/* Parses bytes that end where the process's memory ends. */
static struct outcome parse(const char *data, size_t bytes)
{
	static char *end;
	struct outcome outcome = {.port = 7};
	if (end == NULL)
		end = page_end_make(8192);
	memset(outcome.address, 0xee, 16);
	memcpy(end - bytes, data, bytes);
	outcome.result = proxy_parse(end - bytes, bytes, &outcome.used, outcome.address, &outcome.port);
	return outcome;
}

/* A good header is partial at every cut, whole with and without what follows; expected NULL: it
 * names nobody. */
static void expect_header(const char *header, size_t bytes, const char *expected, uint16_t port)
{
	char data[1024];
	memcpy(data, header, bytes);
	for (size_t cut = 0; cut < bytes; cut++)
		assert_int_equal(parse(data, cut).result, PROXY_PARTIAL);
	memcpy(data + bytes, "GET / HTTP/1.1\r\n", 16);
	for (size_t more = 0; more <= 16; more++) {
		struct outcome outcome = parse(data, bytes + more);
		assert_int_equal(outcome.result, PROXY_WHOLE);
		assert_int_equal(outcome.used, bytes);
		assert_int_equal(outcome.port, expected == NULL ? 7 : port);
		if (expected != NULL)
			assert_memory_equal(outcome.address, address_of(expected), 16);
		for (unsigned i = 0; i < 16 && expected == NULL; i++)
			assert_int_equal(outcome.address[i], 0xee);
	}
}

/* ---- version 1 ---- */

static void version_1_is_taken_in_any_pieces(void **state)
{
	(void)state;
	static const struct {
		const char *header, *expected;
		uint16_t port;
	} row[] = {
	        {"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", "192.168.0.1", 56324},
	        {"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255", 65535},
	        {"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0", 0},
	        {"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n", "2001:db8::1", 1},
	        {"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
	         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535},
	        {"PROXY TCP6 ::ffff:10.0.0.1 ::1 80 81\r\n", "10.0.0.1", 80},
	        {"PROXY UNKNOWN\r\n", NULL, 0},
	        {"PROXY UNKNOWN ffff:f...f:ffff whatever it is 65535 65535\r\n", NULL, 0},
	};
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
		expect_header(row[i].header, strlen(row[i].header), row[i].expected, row[i].port);
	char longest[108];
	memset(longest, 'x', sizeof longest);
	memcpy(longest, "PROXY UNKNOWN ", 14);
	memcpy(longest + 105, "\r\n", 2);
	expect_header(longest, 107, NULL, 0);
}

static void version_1_that_is_malformed_is_bad(void **state)
{
	(void)state;
	static const char *const bad[] = {
	        "GET / HTTP/1.1\r\n",
	        "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
	        "PROXYTCP4 1.2.3.4 1.2.3.4 1 2\r\n",
	        "PROXY\r\n",
	        "PROXY \r\n",
	        "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
	        "PROXY TCP4\r\n",
	        "PROXY TCP4 \r\n",
	        "PROXY TCP4 1.2.3.4\r\n",
	        "PROXY TCP4 1.2.3.4 1.2.3.4\r\n",
	        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
	        "PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n",
	        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
	        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
	        "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
	        "PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n",
	        "PROXY TCP4\t1.2.3.4\t1.2.3.4\t1\t2\r\n",
	        "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
	        "PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n",
	        "PROXY TCP4 1.2.3.4 1.2.3.4 99999 1\r\n",
	        "PROXY TCP4 1.2.3.4 1.2.3.4 000001 1\r\n",
	        "PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n",
	        "PROXY TCP4 1.2.3.4 1.2.3.4 -1 1\r\n",
	        "PROXY TCP4 1.2.3.4 1.2.3.4 +1 1\r\n",
	        "PROXY TCP4 1.2.3.4 1.2.3.4 1x 1\r\n",
	        "PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n",
	        "PROXY TCP4 1.2.3.4 1.2.3 1 2\r\n",
	        "PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n",
	        "PROXY TCP4 ::1 ::1 1 2\r\n",
	        "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
	        "PROXY TCP6 ::1 1.2.3.4 1 2\r\n",
	        "PROXY TCP6 ::1%lo ::1 1 2\r\n",
	        "PROXY TCP5 ::1 ::1 1 2\r\n",
	        "PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n",
	        "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
	        "PROXY UNKNOWNS\r\n",
	        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
	        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r",
	        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rx\n",
	        "PROXY UNKNOWN a\rb\r\n",
	        "PROXY UNKNOWN a\nb\r\n",
	        "PROXY \n",
	        "PROXY UNKNOWN\r\r\n",
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		char data[256];
		int n = snprintf(data, sizeof data, "%s%s", bad[i], "GET / HTTP/1.1\r\n");
		assert_int_equal(parse(data, (size_t)n).result, PROXY_BAD);
		for (size_t cut = 0; cut < strlen(bad[i]); cut++) /* never whole, and nothing is set */
			assert_int_not_equal(parse(bad[i], cut).result, PROXY_WHOLE);
	}
	assert_int_equal(parse("PROXY UNKNOWN \0\r\n", 17).result, PROXY_BAD);
	assert_int_equal(parse("PROXY UNKNOWN \0", 15).result, PROXY_BAD);
}

static void version_1_is_bad_as_soon_as_it_can_be_seen(void **state)
{
	(void)state;
	assert_int_equal(parse("G", 1).result, PROXY_BAD);
	assert_int_equal(parse("PROXX", 5).result, PROXY_BAD);
	assert_int_equal(parse("PROXY TCP4 \n", 12).result, PROXY_BAD);
	assert_int_equal(parse("PROXY TCP4 \rx", 13).result, PROXY_BAD);
	char endless[200];
	memset(endless, 'x', sizeof endless);
	memcpy(endless, "PROXY UNKNOWN ", 14);
	assert_int_equal(parse(endless, 106).result, PROXY_PARTIAL);
	assert_int_equal(parse(endless, 107).result, PROXY_BAD);
	assert_int_equal(parse(endless, 200).result, PROXY_BAD);
	memcpy(endless + 106, "\r\n", 2);
	assert_int_equal(parse(endless, 108).result, PROXY_BAD); /* one too long */
}

/* ---- version 2 ---- */

/* A version 2 header as it grows; *n is its length. */
struct v2 {
	char data[2048];
	size_t n;
};

static void v2_begin(struct v2 *v2, uint8_t version_command, uint8_t family_transport)
{
	memcpy(v2->data, "\r\n\r\n\0\r\nQUIT\n", 12);
	v2->data[12] = (char)version_command;
	v2->data[13] = (char)family_transport;
	v2->n = 16;
}

static void v2_add(struct v2 *v2, const void *data, size_t bytes)
{
	memcpy(v2->data + v2->n, data, bytes);
	v2->n += bytes;
}

static void v2_end(struct v2 *v2)
{
	v2->data[14] = (char)((v2->n - 16) >> 8);
	v2->data[15] = (char)(v2->n - 16);
}

static void v2_add_tlv(struct v2 *v2, uint8_t type, const void *value, size_t bytes)
{
	uint8_t head[3] = {type, (uint8_t)(bytes >> 8), (uint8_t)bytes};
	v2_add(v2, head, 3);
	v2_add(v2, value, bytes);
}

static const uint8_t block_v4[12] = {192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 0x04, 0x01, 0xbb};

static void v2_make_v4(struct v2 *v2)
{
	v2_begin(v2, 0x21, 0x11);
	v2_add(v2, block_v4, sizeof block_v4);
	v2_end(v2);
}

/* CRC-32C by its definition, long division of the reversed bits; not the way of the code under
 * test. */
static uint32_t crc32c(const char *data, size_t bytes)
{
	uint32_t rest = UINT32_MAX;
	for (size_t i = 0; i < bytes * 8; i++) {
		uint32_t bit = (uint32_t)((uint8_t)data[i / 8] >> i % 8 & 1);
		uint32_t top = rest >> 31;
		rest = rest << 1 ^ (top != bit ? 0x1edc6f41u : 0);
	}
	uint32_t mirrored = 0;
	for (unsigned i = 0; i < 32; i++)
		mirrored |= (rest >> i & 1) << (31 - i);
	return ~mirrored;
}

/* Appends the checksum's TLV in front of `after` bytes of a NOOP. */
static void v2_add_checksum(struct v2 *v2, size_t after)
{
	static const char zeros[64];
	size_t at = v2->n + 3;
	v2_add_tlv(v2, 0x03, zeros, 4);
	v2_add_tlv(v2, 0x04, zeros, after);
	v2_end(v2);
	uint32_t value = htonl(crc32c(v2->data, v2->n));
	memcpy(v2->data + at, &value, 4);
}

static void version_2_is_taken_in_any_pieces(void **state)
{
	(void)state;
	struct v2 v2;
	v2_make_v4(&v2);
	expect_header(v2.data, v2.n, "192.0.2.1", 56324);
	v2_begin(&v2, 0x21, 0x21);
	v2_add(&v2, address_of("2001:db8::1"), 16);
	v2_add(&v2, address_of("2001:db8::2"), 16);
	v2_add(&v2, "\x00\x50\x01\xbb", 4);
	v2_end(&v2);
	expect_header(v2.data, v2.n, "2001:db8::1", 80);
}

static void headers_of_other_families_and_local_ones_name_nobody(void **state)
{
	(void)state;
	static const char block[216] = "/run/a.sock";
	static const struct {
		uint8_t version_command, family_transport;
		size_t bytes;
	} row[] = {
	        {0x21, 0x00, 0},   {0x21, 0x00, 50}, {0x21, 0x12, 12},  {0x21, 0x22, 36}, {0x21, 0x31, 216},
	        {0x21, 0x32, 216}, {0x21, 0x10, 12}, {0x21, 0x20, 36},  {0x20, 0x00, 0},  {0x20, 0x11, 12},
	        {0x20, 0x11, 0},   {0x20, 0x11, 5},  {0x20, 0x00, 100}, {0x20, 0xff, 7},
	};
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		struct v2 v2;
		v2_begin(&v2, row[i].version_command, row[i].family_transport);
		v2_add(&v2, block, row[i].bytes);
		v2_end(&v2);
		expect_header(v2.data, v2.n, NULL, 0);
	}
}

static void tlvs_are_passed_over_and_a_right_checksum_is_taken(void **state)
{
	(void)state;
	assert_int_equal(crc32c("123456789", 9), 0xe3069283); /* the check value of its definition */
	struct v2 v2;
	v2_make_v4(&v2);
	v2_add_tlv(&v2, 0x01, "http/1.1", 8);
	v2_add_tlv(&v2, 0x02, "example.org", 11);
	v2_add_tlv(&v2, 0xea, "", 0);
	v2_end(&v2);
	expect_header(v2.data, v2.n, "192.0.2.1", 56324);
	for (size_t after = 0; after < 20; after++) {
		v2_make_v4(&v2);
		v2_add_tlv(&v2, 0x02, "example.org", 11);
		v2_add_checksum(&v2, after);
		expect_header(v2.data, v2.n, "192.0.2.1", 56324);
	}
}

static void a_wrong_checksum_is_bad_whichever_bit_was_changed(void **state)
{
	(void)state;
	struct v2 v2;
	v2_make_v4(&v2);
	v2_add_tlv(&v2, 0x02, "example.org", 11);
	v2_add_checksum(&v2, 5);
	for (size_t bit = 16 * 8; bit < v2.n * 8; bit++) {
		v2.data[bit / 8] ^= (char)(1 << bit % 8);
		struct outcome outcome = parse(v2.data, v2.n);
		/* A changed type hides the checksum; a changed length may only be bad. */
		bool hidden = bit / 8 == 16 + 12 + 14;
		if (!hidden)
			assert_int_equal(outcome.result, PROXY_BAD);
		v2.data[bit / 8] ^= (char)(1 << bit % 8);
	}
	assert_int_equal(parse(v2.data, v2.n).result, PROXY_WHOLE);
	v2_make_v4(&v2);
	v2_add_tlv(&v2, 0x03, "\0\0\0", 3);
	v2_end(&v2);
	assert_int_equal(parse(v2.data, v2.n).result, PROXY_BAD);
}

static void tlvs_that_do_not_fit_the_header_are_bad(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t n;
	} row[] = {{"\x01", 1},
	           {"\x01\x00", 2},
	           {"\x01\x00\x01", 3},
	           {"\x01\x01\x00x", 4},
	           {"\x04\x00\x00\x04", 4}};
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		struct v2 v2;
		v2_make_v4(&v2);
		v2_add(&v2, row[i].bytes, row[i].n);
		v2_end(&v2);
		assert_int_equal(parse(v2.data, v2.n).result, PROXY_BAD);
	}
}

static void version_2_that_is_malformed_is_bad_and_soon(void **state)
{
	(void)state;
	static const struct {
		uint8_t version_command, family_transport;
		size_t bytes;
	} row[] = {
	        {0x11, 0x11, 12}, {0x31, 0x11, 12}, {0x01, 0x11, 12}, {0x22, 0x11, 12},  {0x2f, 0x11, 12},
	        {0x21, 0x41, 12}, {0x21, 0xf1, 12}, {0x21, 0x13, 12}, {0x21, 0x1f, 12},  {0x21, 0x11, 11},
	        {0x21, 0x11, 0},  {0x21, 0x21, 35}, {0x21, 0x21, 12}, {0x21, 0x31, 215}, {0x21, 0x12, 4},
	};
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		static const char block[216];
		struct v2 v2;
		v2_begin(&v2, row[i].version_command, row[i].family_transport);
		v2_add(&v2, block, row[i].bytes);
		v2_end(&v2);
		v2_add(&v2, "GET / HTTP/1.1\r\n", 16);
		assert_int_equal(parse(v2.data, v2.n).result, PROXY_BAD);
		if ((row[i].version_command & 0xf0) != 0x20)
			assert_int_equal(parse(v2.data, 13).result, PROXY_BAD);
	}
	struct v2 v2;
	for (size_t i = 0; i < 12; i++) {
		v2_make_v4(&v2);
		v2.data[i] ^= 1;
		assert_int_equal(parse(v2.data, v2.n).result, PROXY_BAD);
		assert_int_equal(parse(v2.data, i + 1).result, PROXY_BAD);
	}
}

static void a_header_may_take_so_much_and_no_more(void **state)
{
	(void)state;
	static const char zeros[PROXY_BYTES_MAX];
	struct v2 v2;
	for (unsigned more = 0; more < 2; more++) {
		v2_make_v4(&v2);
		v2_add_tlv(&v2, 0x04, zeros, PROXY_BYTES_MAX - v2.n - 3 + more);
		v2_end(&v2);
		if (more == 0)
			expect_header(v2.data, v2.n, "192.0.2.1", 56324);
		else /* known from the length, before it has come */
			assert_int_equal(parse(v2.data, 16).result, PROXY_BAD);
	}
}

static void random_changes_to_headers_are_parsed_within_their_bytes(void **state)
{
	(void)state;
	static const char v1[] = "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n";
	for (unsigned i = 0; i < 50000; i++) {
		struct v2 v2;
		v2_make_v4(&v2);
		v2_add_checksum(&v2, draw_below(9));
		if (draw_one_in(2)) {
			memcpy(v2.data, v1, strlen(v1));
			v2.n = strlen(v1);
		}
		for (unsigned n = draw_below(4); n > 0; n--)
			v2.data[draw_below((unsigned)v2.n)] = (char)draw();
		size_t bytes = draw_below((unsigned)v2.n + 1);
		struct outcome outcome = parse(v2.data, bytes);
		if (outcome.result == PROXY_WHOLE)
			assert_true(outcome.used > 0 && outcome.used <= bytes);
	}
}

int main(void)
{
	alarm(60);
	draw_init(2026);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(version_1_is_taken_in_any_pieces),
	        cmocka_unit_test(version_1_that_is_malformed_is_bad),
	        cmocka_unit_test(version_1_is_bad_as_soon_as_it_can_be_seen),
	        cmocka_unit_test(version_2_is_taken_in_any_pieces),
	        cmocka_unit_test(headers_of_other_families_and_local_ones_name_nobody),
	        cmocka_unit_test(tlvs_are_passed_over_and_a_right_checksum_is_taken),
	        cmocka_unit_test(a_wrong_checksum_is_bad_whichever_bit_was_changed),
	        cmocka_unit_test(tlvs_that_do_not_fit_the_header_are_bad),
	        cmocka_unit_test(version_2_that_is_malformed_is_bad_and_soon),
	        cmocka_unit_test(a_header_may_take_so_much_and_no_more),
	        cmocka_unit_test(random_changes_to_headers_are_parsed_within_their_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
