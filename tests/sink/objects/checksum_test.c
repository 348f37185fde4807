/* CRC32C against the values of RFC 3720, and as S3 writes it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sink/objects/checksum.h"

static void has_the_values_of_the_rfc(void **state)
{
	(void)state;
	unsigned char bytes[32] = {0};
	assert_int_equal(checksum_crc32c(0, "", 0), 0);
	assert_int_equal(checksum_crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(checksum_crc32c(0, bytes, sizeof bytes), 0x8a9136aa);
	memset(bytes, 0xff, sizeof bytes);
	assert_int_equal(checksum_crc32c(0, bytes, sizeof bytes), 0x62a8ab43);
	for (unsigned i = 0; i < sizeof bytes; i++)
		bytes[i] = (unsigned char)i;
	assert_int_equal(checksum_crc32c(0, bytes, sizeof bytes), 0x46dd794e);
}

/* One bit after the other, as the polynomial says. */
static uint32_t slow(const unsigned char *bytes, size_t length)
{
	uint32_t state = ~0u;
	for (size_t i = 0; i < length; i++) {
		state ^= bytes[i];
		for (unsigned bit = 0; bit < 8; bit++)
			state = state & 1 ? state >> 1 ^ 0x82f63b78 : state >> 1;
	}
	return ~state;
}

static void is_the_same_in_any_pieces(void **state)
{
	(void)state;
	unsigned char bytes[3000];
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (unsigned char)(i * 7 + i / 251);
	for (size_t length = 0; length < sizeof bytes; length += 37) {
		uint32_t whole = slow(bytes, length), crc = 0;
		assert_int_equal(checksum_crc32c(0, bytes, length), whole);
		for (size_t at = 0, piece = 1; at < length; at += piece, piece = piece % 90 + 1) {
			size_t n = length - at < piece ? length - at : piece;
			crc = checksum_crc32c(crc, bytes + at, n);
		}
		assert_int_equal(crc, whole);
	}
}

static void is_written_in_base64_high_byte_first(void **state)
{
	(void)state;
	char out[CHECKSUM_BASE64_MAX];
	checksum_crc32c_base64(out, 0xe3069283);
	assert_string_equal(out, "4waSgw==");
	checksum_base64(out, (const unsigned char *)"0123456789abcdef", 16);
	assert_string_equal(out, "MDEyMzQ1Njc4OWFiY2RlZg==");
	checksum_base64(out, (const unsigned char *)"", 0);
	assert_string_equal(out, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(has_the_values_of_the_rfc),
	        cmocka_unit_test(is_the_same_in_any_pieces),
	        cmocka_unit_test(is_written_in_base64_high_byte_first),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
