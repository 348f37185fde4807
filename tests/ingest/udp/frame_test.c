/* The frame parser: what it takes and gives, and what it rejects as the kernel does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/fixture/draw.h"
#include "tests/fixture/packet.h"
#include "tests/fixture/page_end.h"
#include "tests/fuzz/frame_oracle.h"

static const char text[] = "a payload of odd length";
#define TEXT_BYTES ((uint32_t)sizeof text - 1)

static uint8_t frame[PACKET_MAX];

/* ---- taken ---- */

static void a_packet_of_ipv4_becomes_one_datagram_with_its_sender(void **state)
{
	(void)state;
	struct packet packet = packet_plain(false, text, TEXT_BYTES);
	struct burst burst;
	uint32_t bytes = packet_make(frame, &packet);
	assert_int_equal(frame_parse(frame, bytes, true, &burst), LEDGER_VALID);
	static const uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff, 10, 0, 0, 1};
	assert_memory_equal(burst.source, mapped, 16);
	assert_int_equal(burst.source_port, 4711);
	assert_ptr_equal(burst.data, frame + 14 + 20 + 8);
	assert_int_equal(burst.bytes, TEXT_BYTES);
	assert_int_equal(burst.segment_bytes, TEXT_BYTES);
	assert_int_equal(burst.n_datagrams, 1);
	assert_int_equal(burst.done, 0);
	assert_false(burst.truncated);
}

static void a_packet_of_ipv6_becomes_one_datagram_with_its_sender(void **state)
{
	(void)state;
	struct packet packet = packet_plain(true, text, TEXT_BYTES);
	struct burst burst;
	uint32_t bytes = packet_make(frame, &packet);
	assert_int_equal(frame_parse(frame, bytes, true, &burst), LEDGER_VALID);
	assert_memory_equal(burst.source, packet.source, 16);
	assert_int_equal(burst.source_port, 4711);
	assert_int_equal(burst.bytes, TEXT_BYTES);
	assert_memory_equal(burst.data, text, TEXT_BYTES);
}

static void tags_of_a_vlan_are_passed_over_and_padding_is_left_out(void **state)
{
	(void)state;
	for (unsigned v6 = 0; v6 < 2; v6++)
		for (unsigned tags = 0; tags <= 3; tags++) {
			struct packet packet = packet_plain(v6 == 1, text, TEXT_BYTES);
			struct burst burst;
			packet.tags = tags;
			packet.padding = 18;
			uint32_t bytes = packet_make(frame, &packet);
			enum ledger_reason reason = frame_parse(frame, bytes, true, &burst);
			assert_int_equal(reason, tags <= 2 ? LEDGER_VALID : LEDGER_FRAME_FORM);
			if (tags <= 2)
				assert_int_equal(burst.bytes, TEXT_BYTES);
		}
}

static void a_datagram_may_be_empty(void **state)
{
	(void)state;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct packet packet = packet_plain(v6 == 1, "", 0);
		struct burst burst;
		uint32_t bytes = packet_make(frame, &packet);
		assert_int_equal(frame_parse(frame, bytes, true, &burst), LEDGER_VALID);
		assert_int_equal(burst.bytes, 0);
		assert_int_equal(burst.n_datagrams, 1);
		assert_true(burst.segment_bytes >= 1);
	}
}

/* ---- rejected ---- */

static void a_frame_that_ends_early_is_rejected_and_not_read_past_its_end(void **state)
{
	(void)state;
	uint8_t *end = page_end_make(PACKET_MAX);
	assert_non_null(end);
	for (unsigned v6 = 0; v6 < 2; v6++)
		for (unsigned tags = 0; tags <= 2; tags++) {
			struct packet packet = packet_plain(v6 == 1, text, TEXT_BYTES);
			struct burst burst;
			packet.tags = tags;
			uint32_t bytes = packet_make(frame, &packet);
			for (uint32_t n = 0; n <= bytes; n++) {
				memcpy(end - n, frame, n);
				enum ledger_reason reason = frame_parse(end - n, n, true, &burst);
				assert_int_equal(reason == LEDGER_VALID, n == bytes);
				if (n < bytes)
					assert_int_equal(reason, n < packet_udp(&packet)
					                                 ? LEDGER_FRAME_FORM
					                                 : LEDGER_FRAME_LENGTH);
			}
		}
}

/* What the checksums cover of the frame, but for addresses of Ethernet and tags, and of IPv6 what
 * has no checksum. */
static bool is_covered(const struct packet *packet, uint32_t at)
{
	uint32_t ip = packet_ip(packet);
	return at >= ip && (!packet->v6 || at >= ip + 8 || at == ip + 4 || at == ip + 5 || at == ip + 6);
}

static void each_bit_that_a_checksum_covers_is_verified(void **state)
{
	(void)state;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct packet packet = packet_plain(v6 == 1, text, TEXT_BYTES);
		struct burst burst;
		uint32_t bytes = packet_make(frame, &packet);
		for (uint32_t bit = 0; bit < bytes * 8; bit++) {
			frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
			if (is_covered(&packet, bit / 8))
				assert_int_not_equal(frame_parse(frame, bytes, true, &burst), LEDGER_VALID);
			frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		assert_int_equal(frame_parse(frame, bytes, true, &burst), LEDGER_VALID);
	}
}

static void a_wrong_udp_checksum_is_let_pass_when_the_card_is_trusted_and_a_wrong_one_of_ip_is_not(
        void **state)
{
	(void)state;
	struct packet packet = packet_plain(false, text, TEXT_BYTES);
	struct burst burst;
	uint32_t bytes = packet_make(frame, &packet);
	frame[packet_udp(&packet) + 6] ^= 0x40;
	assert_int_equal(frame_parse(frame, bytes, true, &burst), LEDGER_FRAME_UDP_CHECKSUM);
	assert_int_equal(frame_parse(frame, bytes, false, &burst), LEDGER_VALID);
	frame[packet_ip(&packet) + 10] ^= 0x40;
	assert_int_equal(frame_parse(frame, bytes, false, &burst), LEDGER_FRAME_IP_CHECKSUM);
}

static void a_checksum_may_be_absent_in_ipv4_alone(void **state)
{
	(void)state;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct packet packet = packet_plain(v6 == 1, text, TEXT_BYTES);
		struct burst burst;
		uint32_t bytes = packet_make(frame, &packet);
		memset(frame + packet_udp(&packet) + 6, 0, 2);
		for (unsigned verify = 0; verify < 2; verify++)
			assert_int_equal(frame_parse(frame, bytes, verify == 1, &burst),
			                 v6 == 0 ? LEDGER_VALID : LEDGER_FRAME_UDP_CHECKSUM);
	}
}

/* Payloads whose checksum is 0 before it is written as all ones: the two are one number. */
static void a_checksum_of_all_ones_is_right(void **state)
{
	(void)state;
	unsigned found = 0;
	for (uint32_t i = 0; i < 0x20000 && found == 0; i++) {
		uint8_t payload[4] = {(uint8_t)(i >> 16), 0, (uint8_t)(i >> 8), (uint8_t)i};
		struct packet packet = packet_plain(false, payload, 4);
		struct burst burst;
		uint32_t bytes = packet_make(frame, &packet);
		const uint8_t *checksum = frame + packet_udp(&packet) + 6;
		if (checksum[0] != 0xff || checksum[1] != 0xff)
			continue;
		assert_int_equal(frame_parse(frame, bytes, true, &burst), LEDGER_VALID);
		found++;
	}
	assert_int_equal(found, 1);
}

static void put16(uint32_t at, uint32_t value)
{
	frame[at] = (uint8_t)(value >> 8);
	frame[at + 1] = (uint8_t)value;
}

static void lengths_that_contradict_each_other_are_rejected(void **state)
{
	(void)state;
	const uint32_t udp_length = PACKET_UDP + TEXT_BYTES;
	static const struct {
		bool v6;
		int ip, udp; /* added to what is right; the lengths that follow are of bytes */
		enum ledger_reason reason;
		int payload;
	} cases[] = {
	        {false, 0, -3, LEDGER_VALID, -3}, /* the rest of the packet is ignored */
	        {false, 0, 1, LEDGER_FRAME_LENGTH, 0},  {false, 1, 0, LEDGER_FRAME_LENGTH, 0},
	        {false, -1, 0, LEDGER_FRAME_LENGTH, 0}, {false, -1, -1, LEDGER_VALID, -1},
	        {true, 0, -3, LEDGER_VALID, -3},        {true, 0, 1, LEDGER_FRAME_LENGTH, 0},
	        {true, 1, 0, LEDGER_FRAME_LENGTH, 0},   {true, -1, 0, LEDGER_FRAME_LENGTH, 0},
	        {true, -1, -1, LEDGER_VALID, -1},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct packet packet = packet_plain(cases[i].v6, text, TEXT_BYTES);
		struct burst burst;
		uint32_t bytes = packet_make(frame, &packet), ip = packet_ip(&packet);
		uint32_t whole = udp_length + (cases[i].v6 ? 0 : PACKET_IPV4);
		put16(ip + (cases[i].v6 ? 4 : 2), (uint32_t)((int)whole + cases[i].ip));
		put16(packet_udp(&packet) + 4, (uint32_t)((int)udp_length + cases[i].udp));
		packet_sum(frame, &packet);
		assert_int_equal(frame_parse(frame, bytes, true, &burst), cases[i].reason);
		if (cases[i].reason == LEDGER_VALID)
			assert_int_equal(burst.bytes, (int)TEXT_BYTES + cases[i].payload);
	}
}

static void a_udp_length_of_none_is_the_packets_in_ipv6_and_wrong_in_ipv4(void **state)
{
	(void)state;
	for (unsigned v6 = 0; v6 < 2; v6++)
		for (uint32_t length = 0; length < PACKET_UDP; length++) {
			struct packet packet = packet_plain(v6 == 1, text, TEXT_BYTES);
			struct burst burst;
			uint32_t bytes = packet_make(frame, &packet), udp = packet_udp(&packet);
			/* the checksum has two lengths in it: of the header, and the one that
			 * counts */
			uint32_t sum = (uint32_t)frame[udp + 6] * 256 + frame[udp + 7];
			sum += PACKET_UDP + TEXT_BYTES - length;
			put16(udp + 4, length);
			put16(udp + 6, (sum & 0xffff) + (sum >> 16));
			assert_int_equal(frame_parse(frame, bytes, true, &burst),
			                 v6 == 1 && length == 0 ? LEDGER_VALID : LEDGER_FRAME_LENGTH);
		}
}

/* Byte `at` of the IP header becomes `value`; checksums are right again. */
static enum ledger_reason with_ip_byte(bool v6, uint32_t at, uint8_t value)
{
	struct packet packet = packet_plain(v6, text, TEXT_BYTES);
	struct burst burst;
	uint32_t bytes = packet_make(frame, &packet);
	frame[packet_ip(&packet) + at] = value;
	packet_sum(frame, &packet);
	return frame_parse(frame, bytes, true, &burst);
}

static void what_the_program_would_not_have_sent_here_is_rejected(void **state)
{
	(void)state;
	assert_int_equal(with_ip_byte(false, 0, 0x46), LEDGER_FRAME_FORM); /* options */
	assert_int_equal(with_ip_byte(false, 0, 0x44), LEDGER_FRAME_FORM);
	assert_int_equal(with_ip_byte(false, 0, 0x65), LEDGER_FRAME_FORM);
	assert_int_equal(with_ip_byte(false, 6, 0x20), LEDGER_FRAME_FORM); /* more fragments */
	assert_int_equal(with_ip_byte(false, 6, 0x01), LEDGER_FRAME_FORM); /* an offset */
	assert_int_equal(with_ip_byte(false, 7, 0x01), LEDGER_FRAME_FORM);
	assert_int_equal(with_ip_byte(false, 6, 0x80), LEDGER_VALID); /* the reserved flag */
	assert_int_equal(with_ip_byte(false, 9, 6), LEDGER_FRAME_FORM);
	assert_int_equal(with_ip_byte(true, 0, 0x40), LEDGER_FRAME_FORM);
	assert_int_equal(with_ip_byte(true, 0, 0x6f), LEDGER_VALID);    /* a traffic class */
	assert_int_equal(with_ip_byte(true, 6, 0), LEDGER_FRAME_FORM);  /* hop by hop */
	assert_int_equal(with_ip_byte(true, 6, 44), LEDGER_FRAME_FORM); /* a fragment */
	assert_int_equal(with_ip_byte(true, 6, 6), LEDGER_FRAME_FORM);
	struct packet packet = packet_plain(false, text, TEXT_BYTES);
	struct burst burst;
	uint32_t bytes = packet_make(frame, &packet);
	frame[13] = 0x06; /* ARP */
	assert_int_equal(frame_parse(frame, bytes, true, &burst), LEDGER_FRAME_FORM);
}

static void addresses_that_nothing_comes_from_are_rejected(void **state)
{
	(void)state;
	static const struct {
		bool v6;
		uint8_t source[16], destination[16];
		bool martian;
	} cases[] = {
	        {false, {0, 0, 0, 0}, {10, 0, 0, 2}, true},
	        {false, {0, 1, 2, 3}, {10, 0, 0, 2}, true},
	        {false, {127, 0, 0, 1}, {10, 0, 0, 2}, true},
	        {false, {224, 0, 0, 1}, {10, 0, 0, 2}, true},
	        {false, {239, 255, 255, 255}, {10, 0, 0, 2}, true},
	        {false, {255, 255, 255, 255}, {10, 0, 0, 2}, true},
	        {false, {10, 0, 0, 2}, {10, 0, 0, 2}, true},
	        {false, {10, 0, 0, 1}, {127, 0, 0, 1}, true},
	        {false, {10, 0, 0, 1}, {0, 0, 0, 0}, true},
	        {false, {1, 0, 0, 0}, {10, 0, 0, 2}, false},
	        {false, {223, 255, 255, 255}, {10, 0, 0, 2}, false},
	        {false, {240, 0, 0, 1}, {10, 0, 0, 2}, false}, /* as in the kernel */
	        {true, {0xff, 2, [15] = 1}, {0xfe, 0x80, [15] = 2}, true},
	        {true, {0}, {0xfe, 0x80, [15] = 2}, true},
	        {true, {[15] = 1}, {0xfe, 0x80, [15] = 2}, true},
	        {true, {0xfe, 0x80, [15] = 1}, {[15] = 1}, true},
	        {true, {[10] = 0xff, 0xff, 10, 0, 0, 1}, {0xfe, 0x80, [15] = 2}, true},
	        {true, {0xfe, 0x80, [15] = 1}, {0xfe, 0x80, [15] = 2}, false},
	        {true, {[15] = 2}, {0xfe, 0x80, [15] = 2}, false},
	        {true, {[14] = 1, 1}, {0xfe, 0x80, [15] = 2}, false},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct packet packet = packet_plain(cases[i].v6, text, TEXT_BYTES);
		struct burst burst;
		memcpy(packet.source, cases[i].source, 16);
		memcpy(packet.destination, cases[i].destination, 16);
		uint32_t bytes = packet_make(frame, &packet);
		assert_int_equal(frame_parse(frame, bytes, true, &burst),
		                 cases[i].martian ? LEDGER_FRAME_MARTIAN : LEDGER_VALID);
	}
}

/* ---- against the second reading ---- */

static void change(uint8_t *data, uint32_t bytes, unsigned long *seed)
{
	static const uint8_t value[] = {0, 1, 0x7f, 0x80, 0xff, 17, 0x45, 0x20};
	for (unsigned n = (unsigned)(draw_next(seed) % 4); n > 0; n--)
		data[draw_next(seed) % (bytes < 64 ? bytes : 64)] = value[draw_next(seed) % sizeof value];
}

static void it_says_what_a_slow_second_reading_says(void **state)
{
	(void)state;
	unsigned long seed = draw_seed(20261128);
	unsigned valid = 0;
	static uint8_t payload[1400];
	for (size_t i = 0; i < sizeof payload; i++)
		payload[i] = (uint8_t)draw_next(&seed);
	for (unsigned i = 0; i < 100000; i++) {
		uint32_t bytes =
		        (uint32_t)(draw_next(&seed) % (draw_next(&seed) % 8 == 0 ? sizeof payload : 64));
		struct packet packet = packet_plain(draw_next(&seed) % 2 == 0, payload, bytes);
		packet.tags = (unsigned)(draw_next(&seed) % 4);
		packet.padding = (uint32_t)(draw_next(&seed) % 20);
		uint32_t all = packet_make(frame, &packet);
		change(frame, all, &seed);
		uint32_t length =
		        (uint32_t)frame[packet_udp(&packet) + 4] * 256 + frame[packet_udp(&packet) + 5];
		if (draw_next(&seed) % 2 == 0 && length >= PACKET_UDP && packet_udp(&packet) + length <= all)
			packet_sum(frame, &packet);
		uint32_t n = draw_next(&seed) % 8 == 0 ? (uint32_t)(draw_next(&seed) % (all + 1)) : all;
		const char *wrong = frame_compare(frame, n, draw_next(&seed) % 2 == 0);
		struct burst burst;
		valid += frame_parse(frame, n, true, &burst) == LEDGER_VALID;
		assert_string_equal(wrong == NULL ? "" : wrong, "");
	}
	assert_true(valid > 10000 && valid < 90000);
}

int main(void)
{
	alarm(60);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_packet_of_ipv4_becomes_one_datagram_with_its_sender),
	        cmocka_unit_test(a_packet_of_ipv6_becomes_one_datagram_with_its_sender),
	        cmocka_unit_test(tags_of_a_vlan_are_passed_over_and_padding_is_left_out),
	        cmocka_unit_test(a_datagram_may_be_empty),
	        cmocka_unit_test(a_frame_that_ends_early_is_rejected_and_not_read_past_its_end),
	        cmocka_unit_test(each_bit_that_a_checksum_covers_is_verified),
	        cmocka_unit_test(
	                a_wrong_udp_checksum_is_let_pass_when_the_card_is_trusted_and_a_wrong_one_of_ip_is_not),
	        cmocka_unit_test(a_checksum_may_be_absent_in_ipv4_alone),
	        cmocka_unit_test(a_checksum_of_all_ones_is_right),
	        cmocka_unit_test(lengths_that_contradict_each_other_are_rejected),
	        cmocka_unit_test(a_udp_length_of_none_is_the_packets_in_ipv6_and_wrong_in_ipv4),
	        cmocka_unit_test(what_the_program_would_not_have_sent_here_is_rejected),
	        cmocka_unit_test(addresses_that_nothing_comes_from_are_rejected),
	        cmocka_unit_test(it_says_what_a_slow_second_reading_says),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
