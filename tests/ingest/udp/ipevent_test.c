/* The IpEvent parser, case by case. Every message ends at the end of a page, after which nothing
 * may be read, and every verdict is compared with that of protobuf-c. */
#include "tests/fixture/ipevent_message.h"

#include <unistd.h>

static const char sha_text[] = "00112233445566778899aabbccddeeff0123456789abcdef0F1E2D3C4B5A6978";

static struct message typical(uint64_t ip)
{
	struct message m = {.bytes = 0};
	put_sha(&m, sha_text, 64);
	put_ip(&m, ip);
	return m;
}

static void assert_verdict(const struct message *m, enum ledger_reason expected)
{
	struct event_ip event;
	assert_int_equal(verdict(m, &event), expected);
}

static void assert_event(const struct message *m, uint32_t ip, uint8_t first, uint8_t last)
{
	struct event_ip event;
	assert_int_equal(verdict(m, &event), LEDGER_VALID);
	assert_int_equal(event.ip, ip);
	assert_int_equal(event.sha[0], first);
	assert_int_equal(event.sha[31], last);
}

static void a_typical_message_gives_its_sha_and_address(void **state)
{
	(void)state;
	static const uint32_t ips[] = {0,        1,        0x7f,       0x80,      0x3fff,     0x4000,
	                               0x1fffff, 0x200000, 0x0a000001, 0xfffffff, 0x10000000, UINT32_MAX};
	static const uint8_t sha[32] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa,
	                                0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab,
	                                0xcd, 0xef, 0x0f, 0x1e, 0x2d, 0x3c, 0x4b, 0x5a, 0x69, 0x78};
	for (size_t i = 0; i < sizeof ips / sizeof *ips; i++) {
		struct message m = typical(ips[i]);
		struct event_ip event;
		assert_int_equal(verdict(&m, &event), LEDGER_VALID);
		assert_int_equal(event.ip, ips[i]);
		assert_memory_equal(event.sha, sha, sizeof sha);
	}
}

static void nothing_but_sha_and_ip_is_written(void **state)
{
	(void)state;
	struct message m = typical(42);
	struct event_ip event, before;
	memset(&event, 0x5a, sizeof event);
	before = event;
	assert_int_equal(parse_at_page_end(m.data, m.bytes, &event), LEDGER_VALID);
	memcpy(before.sha, event.sha, sizeof before.sha);
	before.ip = event.ip;
	assert_memory_equal(&event, &before, sizeof event);
}

static void hexadecimal_digits_of_either_case_are_the_same(void **state)
{
	(void)state;
	char upper[64], lower[64];
	struct message a = {.bytes = 0}, b = {.bytes = 0};
	for (unsigned i = 0; i < 64; i++) {
		upper[i] = "0123456789ABCDEF"[(i * 7 + 3) % 16];
		lower[i] = "0123456789abcdef"[(i * 7 + 3) % 16];
	}
	put_sha(&a, upper, 64);
	put_sha(&b, lower, 64);
	put_ip(&a, 7);
	put_ip(&b, 7);
	struct event_ip of_a, of_b;
	assert_int_equal(verdict(&a, &of_a), LEDGER_VALID);
	assert_int_equal(verdict(&b, &of_b), LEDGER_VALID);
	assert_memory_equal(&of_a, &of_b, sizeof of_a);
}

/* All 256 bytes at all 64 places, on the fast path and on the general one. */
static void each_byte_at_each_place_of_the_sha_is_judged_alone(void **state)
{
	(void)state;
	for (unsigned general = 0; general < 2; general++) {
		for (unsigned place = 0; place < 64; place++) {
			for (unsigned byte = 0; byte < 256; byte++) {
				struct message m = typical(9);
				m.data[2 + place] = (uint8_t)byte;
				if (general)
					put_ip(&m, 10);
				bool hex = byte < 128 && byte > 0 &&
				           strchr("0123456789abcdefABCDEF", (int)byte) != NULL;
				assert_verdict(&m, hex ? LEDGER_VALID : LEDGER_BAD_SHA);
			}
		}
	}
}

static void fields_may_come_in_either_order(void **state)
{
	(void)state;
	struct message m = {.bytes = 0};
	put_ip(&m, 0x0a000001);
	put_sha(&m, sha_text, 64);
	assert_event(&m, 0x0a000001, 0x00, 0x78);
}

static void the_last_of_a_repeated_field_wins(void **state)
{
	(void)state;
	char other[64];
	memset(other, 'f', sizeof other);
	struct message m = typical(1);
	put_sha(&m, "no sha at all", 13);
	put_ip(&m, UINT64_MAX);
	put_sha(&m, other, sizeof other);
	put_ip(&m, 2);
	assert_event(&m, 2, 0xff, 0xff);
	put_ip(&m, UINT64_MAX);
	assert_verdict(&m, LEDGER_IP_OUT_OF_RANGE);
	put_sha(&m, "", 0);
	assert_verdict(&m, LEDGER_BAD_SHA);
}

static void unknown_fields_of_every_wire_type_are_skipped(void **state)
{
	(void)state;
	static const unsigned fields[] = {3, 15, 16, 2047, 2048, (1u << 29) - 1};
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
		struct message m = {.bytes = 0};
		put_tag(&m, fields[i], 0);
		put_varint(&m, UINT64_MAX, 1);
		put_sha(&m, sha_text, 64);
		put_tag(&m, fields[i], 1);
		put_bytes(&m, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
		put_tag(&m, fields[i], 2);
		put_varint(&m, 5, 1);
		put_bytes(&m, "\x0a\x40\x10\x80\x80", 5);
		put_ip(&m, 77);
		put_tag(&m, fields[i], 5);
		put_bytes(&m, "\x80\x80\x80\x80", 4);
		put_tag(&m, fields[i], 2);
		put_varint(&m, 0, 1);
		assert_event(&m, 77, 0x00, 0x78);
	}
}

static void groups_are_skipped_with_what_is_in_them(void **state)
{
	(void)state;
	struct message m = typical(5);
	put_tag(&m, 1, 3); /* a group may even have the number of a known field */
	put_ip(&m, 99);
	put_tag(&m, 2, 3);
	put_sha(&m, "short", 5);
	put_tag(&m, 2, 4);
	put_tag(&m, 1, 4);
	assert_event(&m, 5, 0x00, 0x78);
}

static void groups_must_be_closed_by_their_own_number(void **state)
{
	(void)state;
	struct message m = typical(5);
	put_tag(&m, 7, 3);
	assert_verdict(&m, LEDGER_TRUNCATED);
	put_tag(&m, 8, 4);
	assert_verdict(&m, LEDGER_MALFORMED);
	m = typical(5);
	put_tag(&m, 7, 4);
	assert_verdict(&m, LEDGER_MALFORMED);
}

static void groups_nest_a_hundred_deep_and_no_deeper(void **state)
{
	(void)state;
	for (unsigned depth = 99; depth <= 101; depth++) {
		struct message m = typical(5);
		for (unsigned i = 0; i < depth; i++)
			put_tag(&m, 3 + i, 3);
		for (unsigned i = depth; i > 0; i--)
			put_tag(&m, 2 + i, 4);
		assert_verdict(&m, depth <= 100 ? LEDGER_VALID : LEDGER_MALFORMED);
	}
}

static void a_known_field_of_another_wire_type_is_unknown(void **state)
{
	(void)state;
	struct message m = {.bytes = 0};
	put_tag(&m, 1, 0);
	put_varint(&m, 64, 1);
	put_tag(&m, 2, 5);
	put_bytes(&m, "\x01\x02\x03\x04", 4);
	assert_verdict(&m, LEDGER_MISSING_FIELD);
	put_sha(&m, sha_text, 64);
	put_ip(&m, 3);
	put_tag(&m, 2, 2);
	put_varint(&m, 1, 1);
	put_byte(&m, 9);
	put_tag(&m, 1, 1);
	put_bytes(&m, "12345678", 8);
	assert_event(&m, 3, 0x00, 0x78);
}

static void field_number_zero_is_malformed_in_every_spelling(void **state)
{
	(void)state;
	for (unsigned least = 1; least <= 5; least++) {
		struct message m = typical(5);
		put_varint(&m, 0, least);
		put_byte(&m, 0);
		assert_verdict(&m, LEDGER_MALFORMED);
	}
}

static void tags_over_32_bits_or_5_bytes_are_malformed(void **state)
{
	(void)state;
	struct message m = typical(5);
	put_varint(&m, (uint64_t)1 << 32 | 1 << 3, 1);
	put_byte(&m, 0);
	assert_verdict(&m, LEDGER_MALFORMED);
	m = typical(5);
	put_varint(&m, 3 << 3, 6);
	put_byte(&m, 0);
	assert_verdict(&m, LEDGER_MALFORMED);
	m = typical(5);
	put_varint(&m, 3 << 3, 5);
	put_byte(&m, 0);
	assert_verdict(&m, LEDGER_VALID);
}

static void tags_and_lengths_may_be_spelled_longer_than_needed(void **state)
{
	(void)state;
	struct message m = {.bytes = 0};
	put_varint(&m, 1 << 3 | 2, 3);
	put_varint(&m, 64, 5);
	put_bytes(&m, sha_text, 64);
	put_varint(&m, 2 << 3, 4);
	put_varint(&m, 11, 10);
	assert_event(&m, 11, 0x00, 0x78);
}

static void wire_types_six_and_seven_are_malformed(void **state)
{
	(void)state;
	for (unsigned wire = 6; wire <= 7; wire++) {
		struct message m = typical(5);
		put_tag(&m, 3, wire);
		assert_verdict(&m, LEDGER_MALFORMED);
		put_varint(&m, 0, 1);
		assert_verdict(&m, LEDGER_MALFORMED);
	}
}

static void varints_have_up_to_ten_bytes_and_64_bits(void **state)
{
	(void)state;
	for (unsigned least = 1; least <= 11; least++) {
		struct message m = typical(5);
		m.bytes = 67;
		put_varint(&m, 300, least);
		assert_verdict(&m, least <= 10 ? LEDGER_VALID : LEDGER_MALFORMED);
	}
}

static void a_tenth_byte_with_more_than_the_64th_bit_is_malformed(void **state)
{
	(void)state;
	for (unsigned tenth = 0; tenth < 256; tenth++) {
		struct message m = typical(5);
		m.bytes = 67;
		put_bytes(&m, "\x81\x80\x80\x80\x80\x80\x80\x80\x80", 9);
		put_byte(&m, tenth);
		assert_verdict(&m, tenth == 0   ? LEDGER_VALID
		                   : tenth == 1 ? LEDGER_IP_OUT_OF_RANGE
		                                : LEDGER_MALFORMED);
		/* The same in an unknown field, alone and in a group. */
		m = typical(5);
		put_tag(&m, 3, 0);
		put_bytes(&m, "\x81\x80\x80\x80\x80\x80\x80\x80\x80", 9);
		put_byte(&m, tenth);
		assert_verdict(&m, tenth <= 1 ? LEDGER_VALID : LEDGER_MALFORMED);
		m = typical(5);
		put_tag(&m, 4, 3);
		put_tag(&m, 5, 0);
		put_bytes(&m, "\x81\x80\x80\x80\x80\x80\x80\x80\x80", 9);
		put_byte(&m, tenth);
		put_tag(&m, 4, 4);
		assert_verdict(&m, tenth <= 1 ? LEDGER_VALID : LEDGER_MALFORMED);
	}
}

static void addresses_outside_32_bits_are_out_of_range(void **state)
{
	(void)state;
	static const uint64_t ips[] = {1ull << 32, (1ull << 35) - 1, 1ull << 35,         INT64_MAX,
	                               1ull << 63, (uint64_t)-1,     (uint64_t)INT32_MIN};
	for (size_t i = 0; i < sizeof ips / sizeof *ips; i++) {
		struct message m = typical(ips[i]);
		assert_verdict(&m, LEDGER_IP_OUT_OF_RANGE);
	}
}

static void a_sha_of_another_length_is_bad(void **state)
{
	(void)state;
	char text[130];
	memset(text, 'a', sizeof text);
	for (unsigned bytes = 0; bytes <= sizeof text; bytes++) {
		struct message m = {.bytes = 0};
		put_sha(&m, text, bytes);
		put_ip(&m, 1);
		assert_verdict(&m, bytes == 64 ? LEDGER_VALID : LEDGER_BAD_SHA);
	}
	text[64] = 0; /* nor does a zero byte end it */
	struct message m = {.bytes = 0};
	put_sha(&m, text, 65);
	put_ip(&m, 1);
	assert_verdict(&m, LEDGER_BAD_SHA);
}

static void structure_counts_before_missing_before_sha_before_range(void **state)
{
	(void)state;
	struct message m = {.bytes = 0};
	assert_verdict(&m, LEDGER_MISSING_FIELD);
	put_ip(&m, UINT64_MAX);
	assert_verdict(&m, LEDGER_MISSING_FIELD);
	put_sha(&m, "x", 1);
	assert_verdict(&m, LEDGER_BAD_SHA);
	put_sha(&m, sha_text, 64);
	assert_verdict(&m, LEDGER_IP_OUT_OF_RANGE);
	put_tag(&m, 9, 5);
	assert_verdict(&m, LEDGER_TRUNCATED);
	m.bytes -= 1;
	put_byte(&m, 7);
	assert_verdict(&m, LEDGER_MALFORMED);
	m = (struct message){.bytes = 0};
	put_sha(&m, "x", 1);
	assert_verdict(&m, LEDGER_MISSING_FIELD);
}

static void lengths_past_the_end_are_truncated_and_absurd_ones_malformed(void **state)
{
	(void)state;
	static const uint64_t lengths[] = {1,          64,         1u << 20,        INT32_MAX,
	                                   1ull << 31, UINT32_MAX, (1ull << 35) - 1};
	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
		struct message m = typical(5);
		put_tag(&m, 3, 2);
		put_varint(&m, lengths[i], 1);
		assert_verdict(&m, lengths[i] <= INT32_MAX ? LEDGER_TRUNCATED : LEDGER_MALFORMED);
	}
}

/* A message with all there is; cut after each byte it is truncated, unless the cut falls between
 * two fields. */
static void a_message_cut_anywhere_is_truncated_or_lacks_a_field(void **state)
{
	(void)state;
	struct message m = {.bytes = 0};
	bool boundary[ROOM] = {true};
	put_tag(&m, 300, 2);
	put_varint(&m, 130, 1);
	memset(m.data + m.bytes, 0xff, 130);
	m.bytes += 130;
	boundary[m.bytes] = true;
	put_sha(&m, sha_text, 64);
	boundary[m.bytes] = true;
	put_tag(&m, 4, 3);
	put_ip(&m, 3);
	put_tag(&m, 4, 4);
	boundary[m.bytes] = true;
	put_tag(&m, 5, 1);
	put_bytes(&m, "12345678", 8);
	boundary[m.bytes] = true;
	put_ip(&m, UINT32_MAX);
	size_t whole = m.bytes;
	for (m.bytes = 0; m.bytes < whole; m.bytes++)
		assert_verdict(&m, boundary[m.bytes] ? LEDGER_MISSING_FIELD : LEDGER_TRUNCATED);
	assert_verdict(&m, LEDGER_VALID);
}

static void a_typical_message_cut_or_continued_anywhere_is_judged_right(void **state)
{
	(void)state;
	for (unsigned byte = 0; byte < 256; byte++) {
		struct message m = typical(0x0a000001);
		for (size_t bytes = 0; bytes <= 72; bytes++) {
			struct message cut = m;
			cut.bytes = bytes;
			if (bytes > 0)
				cut.data[bytes - 1] = (uint8_t)byte;
			struct event_ip event;
			verdict(&cut, &event);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_typical_message_gives_its_sha_and_address),
	        cmocka_unit_test(nothing_but_sha_and_ip_is_written),
	        cmocka_unit_test(hexadecimal_digits_of_either_case_are_the_same),
	        cmocka_unit_test(each_byte_at_each_place_of_the_sha_is_judged_alone),
	        cmocka_unit_test(fields_may_come_in_either_order),
	        cmocka_unit_test(the_last_of_a_repeated_field_wins),
	        cmocka_unit_test(unknown_fields_of_every_wire_type_are_skipped),
	        cmocka_unit_test(groups_are_skipped_with_what_is_in_them),
	        cmocka_unit_test(groups_must_be_closed_by_their_own_number),
	        cmocka_unit_test(groups_nest_a_hundred_deep_and_no_deeper),
	        cmocka_unit_test(a_known_field_of_another_wire_type_is_unknown),
	        cmocka_unit_test(field_number_zero_is_malformed_in_every_spelling),
	        cmocka_unit_test(tags_over_32_bits_or_5_bytes_are_malformed),
	        cmocka_unit_test(tags_and_lengths_may_be_spelled_longer_than_needed),
	        cmocka_unit_test(wire_types_six_and_seven_are_malformed),
	        cmocka_unit_test(varints_have_up_to_ten_bytes_and_64_bits),
	        cmocka_unit_test(a_tenth_byte_with_more_than_the_64th_bit_is_malformed),
	        cmocka_unit_test(addresses_outside_32_bits_are_out_of_range),
	        cmocka_unit_test(a_sha_of_another_length_is_bad),
	        cmocka_unit_test(structure_counts_before_missing_before_sha_before_range),
	        cmocka_unit_test(lengths_past_the_end_are_truncated_and_absurd_ones_malformed),
	        cmocka_unit_test(a_message_cut_anywhere_is_truncated_or_lacks_a_field),
	        cmocka_unit_test(a_typical_message_cut_or_continued_anywhere_is_judged_right),
	};
	alarm(60);
	return cmocka_run_group_tests(tests, make_pages, NULL);
}
