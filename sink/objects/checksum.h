/* CRC32C (RFC 3720, B.4), by ISA-L: what S3 compares a body with. */
#ifndef SINK_OBJECTS_CHECKSUM_H
#define SINK_OBJECTS_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of what crc is the checksum of (0: nothing) and these bytes after it. */
uint32_t checksum_crc32c(uint32_t crc, const void *bytes, size_t length);

#define CHECKSUM_BASE64_MAX 28u /* of a digest of at most 18 bytes, with a final 0 */

/* Base64 (RFC 4648) with a final 0. length is at most 18. */
void checksum_base64(char out[CHECKSUM_BASE64_MAX], const unsigned char *bytes, size_t length);

/* Base64 of a CRC32C, high byte first, as x-amz-checksum-crc32c has it. */
void checksum_crc32c_base64(char out[CHECKSUM_BASE64_MAX], uint32_t crc);

#endif
