#include "sink/objects/checksum.h"

#include <isa-l/crc.h>
#include <openssl/evp.h>
#include <stdlib.h>

#define PIECE_MAX ((size_t)1 << 30) /* ISA-L counts in int */
#define BYTES_MAX 18u

uint32_t checksum_crc32c(uint32_t crc, const void *bytes, size_t length)
{
	/* ISA-L reads only; its prototype has no const */
	unsigned char *at = (unsigned char *)bytes;
	uint32_t state = ~crc;
	while (length > 0) {
		size_t piece = length < PIECE_MAX ? length : PIECE_MAX;
		state = crc32_iscsi(at, (int)piece, state);
		at += piece;
		length -= piece;
	}
	return ~state;
}

void checksum_base64(char out[CHECKSUM_BASE64_MAX], const unsigned char *bytes, size_t length)
{
	if (length > BYTES_MAX)
		abort();
	EVP_EncodeBlock((unsigned char *)out, bytes, (int)length);
}

void checksum_crc32c_base64(char out[CHECKSUM_BASE64_MAX], uint32_t crc)
{
	unsigned char bytes[4] = {(unsigned char)(crc >> 24), (unsigned char)(crc >> 16),
	                          (unsigned char)(crc >> 8), (unsigned char)crc};
	checksum_base64(out, bytes, sizeof bytes);
}
