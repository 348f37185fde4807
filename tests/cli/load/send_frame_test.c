/* Frames of the generator against a slow reading of their own: every header field, checksums added
 * up as RFC 1071 has it, byte pair by byte pair. */
#include "cli/load/send_frame.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "base/address.h"

#define DATAGRAM_MAX 1500u

static struct sockaddr_storage to;
static uint8_t data[DATAGRAM_MAX];

static struct send_frame_settings settings_of(const char *target, const char *network, uint32_t sources)
{
	struct send_frame_settings settings = {.from_mac = {2, 0, 0, 0, 0, 2},
	                                       .to_mac = {2, 0, 0, 0, 0, 1},
	                                       .to = &to,
	                                       .first_port = 1024,
	                                       .last_port = 65535,
	                                       .sources = sources};
	socklen_t bytes;
	assert_int_equal(address_parse(&to, &bytes, target), 0);
	assert_int_equal(address_parse_network(settings.network, &settings.bits, network), 0);
	return settings;
}

static struct send_frame frame_of(const char *target, const char *network, uint32_t sources)
{
	struct send_frame_settings settings = settings_of(target, network, sources);
	struct send_frame frame;
	const char *why;
	assert_int_equal(send_frame_init(&frame, &settings, &why), 0);
	return frame;
}

static unsigned pair(const uint8_t *bytes)
{
	return bytes[0] * 256u + bytes[1];
}

static unsigned ones_sum(unsigned sum, const uint8_t *bytes, unsigned n)
{
	for (unsigned i = 0; i < n; i += 2) {
		sum += bytes[i] * 256u + (i + 1 < n ? bytes[i + 1] : 0);
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

static void a_frame_is_these_bytes(void **state)
{
	(void)state;
	/* 10.1.2.3:1024 -> 10.77.0.1:4002, "ab"; made by hand */
	static const uint8_t expected[] = {2,  0,  0,    0,    0,    1, 2,  0,    0,    0,    0,
	                                   2,  8,  0,    0x45, 0,    0, 30, 0,    0,    0x40, 0,
	                                   64, 17, 0x24, 0x7e, 10,   1, 2,  3,    10,   77,   0,
	                                   1,  4,  0,    0x0f, 0xa2, 0, 10, 0x74, 0x84, 'a',  'b'};
	struct send_frame frame = frame_of("10.77.0.1:4002", "10.1.2.3", 1);
	uint8_t out[SEND_FRAME_HEAD_MAX + 2];
	assert_int_equal(send_frame_write(&frame, 0, (const uint8_t *)"ab", 2, out), sizeof expected);
	assert_memory_equal(out, expected, sizeof expected);
}

static void ipv4_frames_of_every_length_have_right_lengths_and_checksums(void **state)
{
	(void)state;
	struct send_frame frame = frame_of("10.77.0.1:4002", "10.0.0.0/8", 5000);
	for (unsigned length = 0; length < DATAGRAM_MAX; length++) {
		uint8_t out[SEND_FRAME_HEAD_MAX + DATAGRAM_MAX];
		assert_int_equal(send_frame_write(&frame, length, data, (uint16_t)length, out), 42 + length);
		const uint8_t *ip = out + 14, *udp = ip + 20;
		assert_int_equal(pair(out + 12), 0x0800);
		assert_int_equal(ip[0], 0x45);
		assert_int_equal(pair(ip + 2), 28 + length);
		assert_int_equal(pair(ip + 6), 0x4000);
		assert_int_equal(ip[9], 17);
		assert_int_equal(ones_sum(0, ip, 20), 0xffff);
		assert_int_equal(pair(udp + 2), 4002);
		assert_int_equal(pair(udp + 4), 8 + length);
		assert_int_not_equal(pair(udp + 6), 0);
		assert_int_equal(ones_sum(ones_sum(17 + 8 + length, ip + 12, 8), udp, 8 + length), 0xffff);
		assert_memory_equal(udp + 8, data, length);
	}
}

static void ipv6_frames_of_every_length_have_right_lengths_and_checksums(void **state)
{
	(void)state;
	struct send_frame frame = frame_of("[fd77::1]:4002", "fd77:0:0:1::/64", 5000);
	for (unsigned length = 0; length < DATAGRAM_MAX; length++) {
		uint8_t out[SEND_FRAME_HEAD_MAX + DATAGRAM_MAX];
		assert_int_equal(send_frame_write(&frame, length, data, (uint16_t)length, out), 62 + length);
		const uint8_t *ip = out + 14, *udp = ip + 40;
		assert_int_equal(pair(out + 12), 0x86dd);
		assert_int_equal(pair(ip), 0x6000);
		assert_int_equal(pair(ip + 4), 8 + length);
		assert_int_equal(ip[6], 17);
		assert_int_equal(ip[7], 64);
		assert_int_not_equal(pair(udp + 6), 0);
		assert_int_equal(ones_sum(ones_sum(17 + 8 + length, ip + 8, 32), udp, 8 + length), 0xffff);
		assert_memory_equal(udp + 8, data, length);
	}
}

/* The sum of such a datagram is 0, which would say that there is none. */
static void a_checksum_of_zero_is_sent_as_its_other_form(void **state)
{
	(void)state;
	struct send_frame frame = frame_of("10.77.0.1:4002", "10.1.2.3", 1);
	uint8_t out[SEND_FRAME_HEAD_MAX + 2], word[2] = {0, 0};
	send_frame_write(&frame, 0, word, 2, out);
	unsigned check = pair(out + 14 + 26);
	word[0] = (uint8_t)(check >> 8);
	word[1] = (uint8_t)check;
	send_frame_write(&frame, 0, word, 2, out);
	assert_int_equal(pair(out + 14 + 26), 0xffff);
}

static void every_source_has_an_address_and_a_port_of_its_own_within_the_network(void **state)
{
	(void)state;
	enum { SOURCES = 1000 };
	struct send_frame frame = frame_of("10.77.0.1:4002", "192.0.2.64/28", SOURCES);
	static uint8_t seen[16][65536];
	memset(seen, 0, sizeof seen);
	for (uint32_t source = 0; source < SOURCES; source++) {
		uint8_t out[SEND_FRAME_HEAD_MAX];
		send_frame_write(&frame, source, data, 0, out);
		const uint8_t *ip = out + 14;
		assert_memory_equal(ip + 12, ((uint8_t[]){192, 0, 2}), 3);
		assert_true(ip[15] > 64 && ip[15] < 79); /* neither the network nor its broadcast */
		assert_int_equal(seen[ip[15] - 64][pair(ip + 20)]++, 0);
		assert_true(pair(ip + 20) >= 1024);
	}
}

static void sources_without_room_and_mixed_families_are_refused(void **state)
{
	(void)state;
	struct send_frame frame;
	const char *why = NULL;
	struct send_frame_settings settings = settings_of("10.77.0.1:4002", "192.0.2.64/30", 7);
	settings.first_port = settings.last_port - 2; /* 2 addresses, 3 ports */
	assert_int_equal(send_frame_init(&frame, &settings, &why), -EINVAL);
	assert_non_null(strstr(why, "more sources"));
	settings.sources = 6;
	assert_int_equal(send_frame_init(&frame, &settings, &why), 0);
	settings = settings_of("10.77.0.1:4002", "fd77::/64", 1);
	assert_int_equal(send_frame_init(&frame, &settings, &why), -EINVAL);
	assert_non_null(strstr(why, "IPv6"));
	settings = settings_of("[fd77::1]:4002", "10.0.0.0/8", 1);
	assert_int_equal(send_frame_init(&frame, &settings, &why), -EINVAL);
}

int main(void)
{
	alarm(60);
	for (unsigned i = 0; i < DATAGRAM_MAX; i++)
		data[i] = (uint8_t)(i * 37 + (i >> 8) * 11 + 5);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_frame_is_these_bytes),
	        cmocka_unit_test(ipv4_frames_of_every_length_have_right_lengths_and_checksums),
	        cmocka_unit_test(ipv6_frames_of_every_length_have_right_lengths_and_checksums),
	        cmocka_unit_test(a_checksum_of_zero_is_sent_as_its_other_form),
	        cmocka_unit_test(every_source_has_an_address_and_a_port_of_its_own_within_the_network),
	        cmocka_unit_test(sources_without_room_and_mixed_families_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
