#include "tests/fuzz/frame_oracle.h"

#include <stdlib.h>
#include <string.h>

struct cursor {
	const uint8_t *at;
	uint32_t left;
	bool short_of; /* something was taken that is not there */
};

static uint32_t take(struct cursor *cursor, unsigned bytes)
{
	uint32_t value = 0;
	for (unsigned i = 0; i < bytes; i++) {
		if (cursor->left == 0) {
			cursor->short_of = true;
			return 0;
		}
		value = value * 256 + *cursor->at++;
		cursor->left--;
	}
	return value;
}

static const uint8_t *skip(struct cursor *cursor, unsigned bytes)
{
	const uint8_t *at = cursor->at;
	for (unsigned i = 0; i < bytes; i++)
		(void)take(cursor, 1);
	return at;
}

/* The ones' complement sum of words in the order of the network. */
static uint32_t add(uint32_t sum, const uint8_t *data, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i += 2) {
		sum += (uint32_t)data[i] << 8;
		if (i + 1 < bytes)
			sum += data[i + 1];
		if (sum > 0xffff)
			sum -= 0xffff;
	}
	return sum;
}

static bool all_ones(uint32_t sum)
{
	return sum % 0xffff == 0 && sum != 0;
}

struct addresses {
	const uint8_t *source, *destination;
	unsigned bytes;
};

static enum ledger_reason read_udp(struct cursor packet, const struct addresses *addresses, bool verify,
                                   struct burst *burst)
{
	bool v6 = addresses->bytes == 16;
	struct cursor header = packet;
	uint32_t source_port = take(&header, 2);
	(void)take(&header, 2);
	uint32_t length = take(&header, 2), checksum = take(&header, 2);
	if (header.short_of)
		return LEDGER_FRAME_LENGTH;
	if (v6 && length == 0)
		length = packet.left;
	if (length < 8 || length > packet.left)
		return LEDGER_FRAME_LENGTH;
	if (checksum == 0 && v6)
		return LEDGER_FRAME_UDP_CHECKSUM;
	if (checksum != 0 && verify) {
		uint8_t tail[8] = {(uint8_t)(length >> 24),
		                   (uint8_t)(length >> 16),
		                   (uint8_t)(length >> 8),
		                   (uint8_t)length,
		                   0,
		                   0,
		                   0,
		                   17};
		uint32_t sum = add(0, addresses->source, addresses->bytes);
		sum = add(sum, addresses->destination, addresses->bytes);
		sum = add(sum, tail, sizeof tail);
		if (!all_ones(add(sum, packet.at, length)))
			return LEDGER_FRAME_UDP_CHECKSUM;
	}
	burst->data = header.at;
	burst->bytes = length - 8;
	burst->source_port = (uint16_t)source_port;
	return LEDGER_VALID;
}

static bool first_is(const uint8_t *address, unsigned first)
{
	return address[0] == first;
}

static enum ledger_reason read_v4(struct cursor packet, bool verify, struct burst *burst)
{
	struct cursor header = packet;
	uint32_t version = take(&header, 1);
	(void)take(&header, 1);
	uint32_t total = take(&header, 2);
	(void)take(&header, 2);
	uint32_t fragment = take(&header, 2);
	(void)take(&header, 1);
	uint32_t protocol = take(&header, 1);
	(void)take(&header, 2);
	struct addresses addresses = {.bytes = 4};
	addresses.source = skip(&header, 4);
	addresses.destination = skip(&header, 4);
	if (header.short_of || version != 0x45)
		return LEDGER_FRAME_FORM;
	if (!all_ones(add(0, packet.at, 20)))
		return LEDGER_FRAME_IP_CHECKSUM;
	if (total < 20 || total > packet.left)
		return LEDGER_FRAME_LENGTH;
	if (fragment % 0x4000 != 0 || protocol != 17)
		return LEDGER_FRAME_FORM;
	const uint8_t *source = addresses.source, *destination = addresses.destination;
	static const uint8_t broadcast[] = {255, 255, 255, 255};
	if (first_is(source, 0) || first_is(source, 127) || (source[0] >= 224 && source[0] <= 239) ||
	    memcmp(source, broadcast, 4) == 0 || memcmp(source, destination, 4) == 0 ||
	    first_is(destination, 0) || first_is(destination, 127))
		return LEDGER_FRAME_MARTIAN;
	memset(burst->source, 0, 16);
	memset(burst->source + 10, 255, 2);
	memcpy(burst->source + 12, source, 4);
	header.left = total - 20;
	return read_udp(header, &addresses, verify, burst);
}

static enum ledger_reason read_v6(struct cursor packet, bool verify, struct burst *burst)
{
	static const uint8_t none[16], loopback[16] = {[15] = 1}, mapped[12] = {[10] = 255, [11] = 255};
	struct cursor header = packet;
	uint32_t version = take(&header, 4) >> 28;
	uint32_t payload = take(&header, 2), next = take(&header, 1);
	(void)take(&header, 1);
	struct addresses addresses = {.bytes = 16};
	addresses.source = skip(&header, 16);
	addresses.destination = skip(&header, 16);
	if (header.short_of || version != 6)
		return LEDGER_FRAME_FORM;
	if (first_is(addresses.source, 255) || memcmp(addresses.source, none, 16) == 0 ||
	    memcmp(addresses.source, loopback, 16) == 0 || memcmp(addresses.source, mapped, 12) == 0 ||
	    memcmp(addresses.destination, none, 16) == 0 || memcmp(addresses.destination, loopback, 16) == 0)
		return LEDGER_FRAME_MARTIAN;
	if (payload > header.left)
		return LEDGER_FRAME_LENGTH;
	if (next != 17)
		return LEDGER_FRAME_FORM;
	memcpy(burst->source, addresses.source, 16);
	header.left = payload;
	return read_udp(header, &addresses, verify, burst);
}

enum ledger_reason frame_oracle(const uint8_t *data, uint32_t bytes, bool verify, struct burst *burst)
{
	struct cursor cursor = {data, bytes, false};
	(void)skip(&cursor, 12);
	uint32_t type = take(&cursor, 2);
	for (unsigned tags = 0; (type == 0x8100 || type == 0x88a8) && tags < 2; tags++) {
		(void)take(&cursor, 2);
		type = take(&cursor, 2);
	}
	if (cursor.short_of)
		return LEDGER_FRAME_FORM;
	if (type == 0x0800)
		return read_v4(cursor, verify, burst);
	return type == 0x86dd ? read_v6(cursor, verify, burst) : LEDGER_FRAME_FORM;
}

const char *frame_compare(const uint8_t *data, uint32_t bytes, bool verify)
{
	uint8_t *copy = malloc(bytes == 0 ? 1 : bytes);
	struct burst burst = {0}, expected = {0};
	const char *wrong = NULL;
	if (copy == NULL)
		return "no memory";
	memcpy(copy, data, bytes);
	enum ledger_reason reason = frame_parse(copy, bytes, verify, &burst);
	if (reason != frame_oracle(copy, bytes, verify, &expected))
		wrong = "they judge it differently";
	else if (reason == LEDGER_VALID && (burst.data != expected.data || burst.bytes != expected.bytes ||
	                                    burst.source_port != expected.source_port ||
	                                    memcmp(burst.source, expected.source, sizeof burst.source) != 0))
		wrong = "they read other values";
	else if (reason == LEDGER_VALID && (burst.n_datagrams != 1 || burst.done != 0 || burst.truncated ||
	                                    burst.segment_bytes == 0 || burst.segment_bytes < burst.bytes))
		wrong = "it is not one datagram";
	free(copy);
	return wrong;
}
