#include "cli/load/send_frame.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <stddef.h>
#include <string.h>

#define IPV4_BITS 96u /* before an IPv4 address in its IPv4-mapped form */
#define HOPS      64u

/* Checksums (RFC 1071) are summed up in the machine's own byte order, wide, and folded at the
 * end. */
static uint64_t add(uint64_t sum, const void *bytes, size_t n)
{
	const uint8_t *from = bytes;
	uint32_t word;
	for (; n >= sizeof word; from += sizeof word, n -= sizeof word) {
		memcpy(&word, from, sizeof word);
		sum += word;
	}
	if (n == 0)
		return sum;
	word = 0;
	memcpy(&word, from, n);
	return sum + word;
}

static uint16_t fold(uint64_t sum)
{
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* Which addresses of the network sources have: all but the first, and in IPv4 the last. They stand
 * for the network itself, for its routers, and for all hosts. */
static void choose_addresses(struct send_frame *frame, const struct send_frame_settings *settings)
{
	unsigned free_bits = 128 - settings->bits;
	uint64_t n = free_bits >= 32 ? UINT32_MAX : (UINT64_C(1) << free_bits);
	memcpy(&frame->first, settings->network + 12, sizeof frame->first);
	frame->first = ntohl(frame->first);
	if (free_bits >= 2) {
		frame->first++;
		n -= frame->ipv6 ? 1 : 2;
	}
	frame->addresses = n < SEND_FRAME_SOURCES_MAX ? (uint32_t)n : SEND_FRAME_SOURCES_MAX;
}

static void make_ipv4(struct send_frame *frame, const struct sockaddr_in *to)
{
	struct ip ip = {
	        .ip_v = IPVERSION, .ip_hl = 5, .ip_off = htons(IP_DF), .ip_ttl = HOPS, .ip_p = IPPROTO_UDP};
	struct udphdr udp = {.dest = to->sin_port};
	ip.ip_dst = to->sin_addr;
	frame->ip_sum = add(0, &ip, sizeof ip);
	frame->udp_sum = add(htons(IPPROTO_UDP), &to->sin_addr, sizeof to->sin_addr) + to->sin_port;
	memcpy(frame->head + ETH_HLEN, &ip, sizeof ip);
	memcpy(frame->head + ETH_HLEN + sizeof ip, &udp, sizeof udp);
	frame->head_bytes = ETH_HLEN + sizeof ip + sizeof udp;
}

static void make_ipv6(struct send_frame *frame, const struct sockaddr_in6 *to,
                      const struct send_frame_settings *settings)
{
	struct ip6_hdr ip = {0};
	struct udphdr udp = {.dest = to->sin6_port};
	ip.ip6_flow = htonl(6u << 28);
	ip.ip6_nxt = IPPROTO_UDP;
	ip.ip6_hlim = HOPS;
	ip.ip6_dst = to->sin6_addr;
	memcpy(&ip.ip6_src, settings->network, 12);
	frame->udp_sum = add(add(htons(IPPROTO_UDP), &to->sin6_addr, sizeof to->sin6_addr), &ip.ip6_src, 12) +
	                 to->sin6_port;
	memcpy(frame->head + ETH_HLEN, &ip, sizeof ip);
	memcpy(frame->head + ETH_HLEN + sizeof ip, &udp, sizeof udp);
	frame->head_bytes = ETH_HLEN + sizeof ip + sizeof udp;
}

int send_frame_init(struct send_frame *frame, const struct send_frame_settings *settings, const char **why)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	bool ipv6 = settings->to->ss_family == AF_INET6;
	bool from_ipv6 = settings->bits < IPV4_BITS || memcmp(settings->network, mapped, sizeof mapped) != 0;
	*frame =
	        (struct send_frame){.ipv6 = ipv6, .port = settings->first_port, .sources = settings->sources};
	if (ipv6 != from_ipv6) {
		*why = "sources and destination are not both IPv4 or both IPv6";
		return -EINVAL;
	}
	choose_addresses(frame, settings);
	if (settings->first_port > settings->last_port ||
	    settings->sources >
	            (uint64_t)frame->addresses * (settings->last_port - settings->first_port + 1u)) {
		*why = "more sources than there are addresses and ports for";
		return -EINVAL;
	}
	uint16_t protocol = htons(ipv6 ? ETHERTYPE_IPV6 : ETHERTYPE_IP);
	memcpy(frame->head, settings->to_mac, ETH_ALEN);
	memcpy(frame->head + ETH_ALEN, settings->from_mac, ETH_ALEN);
	memcpy(frame->head + 2 * ETH_ALEN, &protocol, sizeof protocol);
	if (ipv6)
		make_ipv6(frame, (const struct sockaddr_in6 *)settings->to, settings);
	else
		make_ipv4(frame, (const struct sockaddr_in *)settings->to);
	return 0;
}

#define PUT(out, offset, value) memcpy((out) + (offset), &(value), sizeof(value))

uint32_t send_frame_write(const struct send_frame *frame, uint32_t source, const uint8_t *data,
                          uint16_t length, uint8_t *out)
{
	uint32_t address = htonl(frame->first + source % frame->addresses);
	uint16_t port = htons((uint16_t)(frame->port + source / frame->addresses));
	uint16_t udp_length = htons((uint16_t)(sizeof(struct udphdr) + length));
	size_t ip = ETH_HLEN, udp = frame->head_bytes - sizeof(struct udphdr);
	memcpy(out, frame->head, SEND_FRAME_HEAD_MAX);
	memcpy(out + frame->head_bytes, data, length);
	if (frame->ipv6) {
		PUT(out, ip + offsetof(struct ip6_hdr, ip6_src) + 12, address);
		PUT(out, ip + offsetof(struct ip6_hdr, ip6_plen), udp_length);
	} else {
		uint16_t total = htons((uint16_t)(sizeof(struct ip) + sizeof(struct udphdr) + length));
		uint16_t check = fold(frame->ip_sum + address + total);
		PUT(out, ip + offsetof(struct ip, ip_src), address);
		PUT(out, ip + offsetof(struct ip, ip_len), total);
		PUT(out, ip + offsetof(struct ip, ip_sum), check);
	}
	/* the length counts twice: in the header, and in the pseudo-header */
	uint16_t check = fold(add(frame->udp_sum + address + port + 2u * udp_length, data, length));
	if (check == 0)
		check = 0xffff; /* 0 means that there is none (RFC 768) */
	PUT(out, udp + offsetof(struct udphdr, source), port);
	PUT(out, udp + offsetof(struct udphdr, len), udp_length);
	PUT(out, udp + offsetof(struct udphdr, check), check);
	return frame->head_bytes + length;
}

uint32_t send_frame_sum(const uint8_t *data, uint16_t length)
{
	uint64_t sum = add(0, data, length);
	while (sum >> 32 != 0)
		sum = (sum & UINT32_MAX) + (sum >> 32);
	return (uint32_t)sum;
}
