/* Any bytes: frame_parse must say what frame_oracle says. Random bytes seldom have a checksum that
 * is right, so the first byte of the input says what is put right first. */
#include "tests/fixture/packet.h"
#include "tests/fuzz/frame_oracle.h"
#include "tests/fuzz/fuzz.h"

#define VERIFY    1u
#define SUM       2u
#define V6        4u
#define TAGS_FROM 3u /* two bits: how many */

/* The checksums, of what the frame says it is. */
static void put_right(uint8_t *frame, uint32_t bytes, uint8_t how)
{
	struct packet packet = {.v6 = (how & V6) != 0, .tags = how >> TAGS_FROM & 3};
	uint32_t udp = packet_udp(&packet);
	if (udp + PACKET_UDP > bytes)
		return;
	uint32_t length = (uint32_t)frame[udp + 4] << 8 | frame[udp + 5];
	if (length >= PACKET_UDP && udp + length <= bytes)
		packet_sum(frame, &packet);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static uint8_t frame[4096];
	if (bytes == 0 || bytes > sizeof frame)
		return 0;
	uint32_t n = (uint32_t)bytes - 1;
	memcpy(frame, data + 1, n);
	if ((data[0] & SUM) != 0)
		put_right(frame, n, data[0]);
	const char *wrong = frame_compare(frame, n, (data[0] & VERIFY) != 0);
	if (wrong != NULL)
		fprintf(stderr, "%s\n", wrong);
	must(wrong == NULL);
	return 0;
}
