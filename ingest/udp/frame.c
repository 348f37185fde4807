#include "ingest/udp/frame.h"

#include <arpa/inet.h>
#include <string.h>

#define ETHERNET_BYTES  14u
#define TYPE_IPV4       0x0800u
#define TYPE_IPV6       0x86ddu
#define TYPE_VLAN       0x8100u /* IEEE 802.1Q */
#define TYPE_VLAN_OUTER 0x88a8u /* IEEE 802.1ad */
#define TAGS_MAX        2u
#define TAG_BYTES       4u
#define IPV4_BYTES      20u
#define IPV6_BYTES      40u
#define UDP_BYTES       8u
#define PROTOCOL_UDP    17u

static uint32_t load16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

static uint32_t load32(const uint8_t *at)
{
	return load16(at) << 16 | load16(at + 2);
}

/* ---- the checksum of the Internet (RFC 1071) ---- */

/* The sum so far and of these bytes, in the byte order of the machine and not yet folded: at most
 * 2^15 words of 32 bits are added. */
static uint64_t add_up(uint64_t sum, const uint8_t *data, uint32_t bytes)
{
	uint64_t upper = 0, word = 0;
	for (; bytes >= sizeof word; data += sizeof word, bytes -= (uint32_t)sizeof word) {
		memcpy(&word, data, sizeof word);
		sum += (uint32_t)word;
		upper += word >> 32;
	}
	word = 0;
	memcpy(&word, data, bytes);
	return sum + upper + (uint32_t)word + (word >> 32);
}

/* Whether the sum is all ones: the checksum is part of it. */
static bool is_right(uint64_t sum)
{
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff;
}

/* ---- UDP ---- */

/* addresses: source and destination as they lie in the IP header. */
static bool udp_is_right(const uint8_t *udp, uint32_t bytes, const uint8_t *addresses,
                         uint32_t addresses_bytes)
{
	/* the pseudo header has the length that counts, which of IPv6 may be that of the packet */
	uint64_t sum = htons(PROTOCOL_UDP) + (uint64_t)htonl(bytes);
	return is_right(add_up(add_up(sum, addresses, addresses_bytes), udp, bytes));
}

/* udp: what the IP packet holds. */
static enum ledger_reason parse_udp(const uint8_t *udp, uint32_t bytes, const uint8_t *addresses, bool v6,
                                    bool verify, struct burst *burst)
{
	if (bytes < UDP_BYTES)
		return LEDGER_FRAME_LENGTH;
	uint32_t length = load16(udp + 4);
	if (length == 0 && v6)
		length = bytes; /* as of a jumbogram */
	if (length < UDP_BYTES || length > bytes)
		return LEDGER_FRAME_LENGTH;
	bool absent = load16(udp + 6) == 0;
	if (absent && v6)
		return LEDGER_FRAME_UDP_CHECKSUM;
	if (verify && !absent && !udp_is_right(udp, length, addresses, v6 ? 32 : 8))
		return LEDGER_FRAME_UDP_CHECKSUM;
	burst->data = udp + UDP_BYTES;
	burst->bytes = length - UDP_BYTES;
	burst->room = burst->bytes;
	burst->segment_bytes = burst->bytes == 0 ? 1 : burst->bytes;
	burst->n_datagrams = 1;
	burst->done = 0;
	burst->truncated = false;
	burst->source_port = (uint16_t)load16(udp);
	return LEDGER_VALID;
}

/* ---- IP ---- */

/* This network, loopback, multicast, the broadcast; a packet that says it comes from where it goes
 * to. */
static bool is_martian_v4(uint32_t source, uint32_t destination)
{
	return source >> 24 == 0 || source >> 24 == 127 || source >> 28 == 0xe || source == UINT32_MAX ||
	       source == destination || destination >> 24 == 0 || destination >> 24 == 127;
}

static enum ledger_reason parse_v4(const uint8_t *ip, uint32_t bytes, bool verify, struct burst *burst)
{
	if (bytes < IPV4_BYTES || ip[0] != 0x45)
		return LEDGER_FRAME_FORM;
	if (!is_right(add_up(0, ip, IPV4_BYTES)))
		return LEDGER_FRAME_IP_CHECKSUM;
	uint32_t total = load16(ip + 2);
	if (total < IPV4_BYTES || total > bytes)
		return LEDGER_FRAME_LENGTH;
	if ((load16(ip + 6) & 0x3fff) != 0 || ip[9] != PROTOCOL_UDP) /* more fragments, an offset */
		return LEDGER_FRAME_FORM;
	if (is_martian_v4(load32(ip + 12), load32(ip + 16)))
		return LEDGER_FRAME_MARTIAN;
	memset(burst->source, 0, 10);
	burst->source[10] = burst->source[11] = 0xff;
	memcpy(burst->source + 12, ip + 12, 4);
	return parse_udp(ip + IPV4_BYTES, total - IPV4_BYTES, ip + 12, false, verify, burst);
}

/* Nothing but zeros before the last byte, that is at most 1: no address, or loopback. */
static bool is_zero_or_loopback(const uint8_t *address)
{
	static const uint8_t zero[15];
	return memcmp(address, zero, sizeof zero) == 0 && address[15] <= 1;
}

static bool is_martian_v6(const uint8_t *source, const uint8_t *destination)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	return source[0] == 0xff || is_zero_or_loopback(source) || is_zero_or_loopback(destination) ||
	       memcmp(source, mapped, sizeof mapped) == 0;
}

static enum ledger_reason parse_v6(const uint8_t *ip, uint32_t bytes, bool verify, struct burst *burst)
{
	if (bytes < IPV6_BYTES || ip[0] >> 4 != 6)
		return LEDGER_FRAME_FORM;
	if (is_martian_v6(ip + 8, ip + 24))
		return LEDGER_FRAME_MARTIAN;
	uint32_t payload = load16(ip + 4);
	if (payload > bytes - IPV6_BYTES)
		return LEDGER_FRAME_LENGTH;
	if (ip[6] != PROTOCOL_UDP)
		return LEDGER_FRAME_FORM;
	memcpy(burst->source, ip + 8, 16);
	return parse_udp(ip + IPV6_BYTES, payload, ip + 8, true, verify, burst);
}

enum ledger_reason frame_parse(const uint8_t *data, uint32_t bytes, bool verify, struct burst *burst)
{
	uint32_t at = ETHERNET_BYTES; /* after the type */
	if (bytes < at)
		return LEDGER_FRAME_FORM;
	uint32_t type = load16(data + at - 2);
	for (unsigned tags = 0; tags < TAGS_MAX && (type == TYPE_VLAN || type == TYPE_VLAN_OUTER); tags++) {
		at += TAG_BYTES;
		if (bytes < at)
			return LEDGER_FRAME_FORM;
		type = load16(data + at - 2);
	}
	if (type == TYPE_IPV4)
		return parse_v4(data + at, bytes - at, verify, burst);
	if (type == TYPE_IPV6)
		return parse_v6(data + at, bytes - at, verify, burst);
	return LEDGER_FRAME_FORM;
}
