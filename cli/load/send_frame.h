/* Whole frames for the generator, as a network of many clients would send them.
 *
 *     | Ethernet 14 | IPv4 20 or IPv6 40 | UDP 8 | datagram |
 *
 * Each of n sources has an address and a port that no other has:
 *
 *     address = first address + i % addresses        port = first port + i / addresses
 *
 * All lengths and checksums are right. IPv4 (RFC 791): no options, DF, TTL 64. IPv6 (RFC 8200): no
 * extension header, hop limit 64. The UDP checksum (RFC 768) is never left out.
 */
#ifndef CLI_LOAD_SEND_FRAME_H
#define CLI_LOAD_SEND_FRAME_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define SEND_FRAME_HEAD_MAX    62u /* bytes before the datagram, over IPv6 */
#define SEND_FRAME_SOURCES_MAX (1u << 20)

struct send_frame_settings {
	uint8_t from_mac[6], to_mac[6];
	const struct sockaddr_storage *to;
	uint8_t network[16]; /* of the sources; IPv4 as IPv4-mapped IPv6 address */
	unsigned bits;       /* of network that are fixed, of 128; 128: this one address */
	uint16_t first_port, last_port;
	uint32_t sources; /* 1 .. SEND_FRAME_SOURCES_MAX */
};

struct send_frame {
	uint8_t head[SEND_FRAME_HEAD_MAX]; /* of source 0, an empty datagram, without checksums */
	uint16_t head_bytes;
	bool ipv6;
	uint32_t first;     /* the low 32 bits of the first address */
	uint32_t addresses; /* from there on */
	uint16_t port;
	uint32_t sources;
	/* What all frames add to the checksums: everything but source and length. */
	uint64_t ip_sum, udp_sum;
};

/* Returns 0, or -EINVAL with the reason in *why: families that differ, or fewer addresses and ports
 * than sources. */
int send_frame_init(struct send_frame *frame, const struct send_frame_settings *settings, const char **why);

/* Writes the frame of a datagram of this source at out, which has room for SEND_FRAME_HEAD_MAX +
 * length. Returns its length, which is head_bytes + length. */
uint32_t send_frame_write(const struct send_frame *frame, uint32_t source, const uint8_t *data,
                          uint16_t length, uint8_t *out);

/* What bytes at an even place add to a checksum, in the machine's byte order; a number that is the
 * same modulo 0xffff. */
uint32_t send_frame_sum(const uint8_t *data, uint16_t length);

#endif
