/* The program on a network interface. It runs for every frame that the interface receives and
 * redirects UDP for one of our listeners to the AF_XDP socket of the queue; everything else goes on
 * to the kernel, and with it what only looks unusual: the kernel's own socket takes it.
 *
 *     packet --> our MAC? --> IPv4 without options, or IPv6 with UDP next; no fragment? --> address and port of a listener?
 *            --> short enough for a frame? --> its source allowed? --> its queue the listener's, and the gate open? --> AF_XDP socket
 *       '------- no, at any step: counted by reason, XDP_PASS
 *
 * It checks only what it needs to decide. Lengths, checksums and addresses are judged by the stage
 * (ingest/udp/frame.h), which counts what it rejects. Compiled with clang -target bpf, embedded in
 * the supervisor (packets.c).
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "shm/frames_gate.h"
#include "supervisor/packets_program.h"

#define VLAN_TAGS_MAX 2
#define IPV4_FRAGMENT 0x3fff /* offset, and the flag that more follow */
#define IPV4_HEADER   5      /* words of a header without options */

struct vlan_tag {
	__be16 control;
	__be16 protocol;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PACKETS_DESTINATIONS_MAX);
	__type(key, struct packets_destination);
	__type(value, struct packets_listener);
} destinations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, PACKETS_SOURCES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct packets_source);
	__type(value, __u32);
} sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PACKETS_QUEUES_MAX);
	__type(key, __u32);
	__type(value, __u32);
} owners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PACKETS_QUEUES_MAX);
	__type(key, __u32);
	__type(value, struct frames_gate);
} gates SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, PACKETS_QUEUES_MAX);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct packets_about);
} about SEC(".maps");

/* What a frame is for, as far as it was read. */
struct heading {
	struct packets_destination to;
	__u8 from[16];
};

/* Why a frame passes; TAKEN: it does not. */
#define TAKEN (-1)

static __always_inline void map_ipv4(__u8 address[16], __be32 ipv4)
{
	__builtin_memset(address, 0, 10);
	address[10] = address[11] = 0xff;
	__builtin_memcpy(address + 12, &ipv4, 4);
}

static __always_inline int read_ipv4(void *at, void *end, struct heading *heading, struct udphdr **udp)
{
	struct iphdr *ip = at;
	if ((void *)(ip + 1) > end || ip->version != 4 || ip->protocol != IPPROTO_UDP)
		return FRAMES_PASSED_OTHER;
	if ((ip->frag_off & bpf_htons(IPV4_FRAGMENT)) != 0 || ip->ihl != IPV4_HEADER)
		return FRAMES_PASSED_FORM;
	map_ipv4(heading->to.address, ip->daddr);
	map_ipv4(heading->from, ip->saddr);
	*udp = (void *)(ip + 1);
	return TAKEN;
}

static __always_inline int read_ipv6(void *at, void *end, struct heading *heading, struct udphdr **udp)
{
	struct ipv6hdr *ip = at;
	if ((void *)(ip + 1) > end || ip->version != 6)
		return FRAMES_PASSED_OTHER;
	switch (ip->nexthdr) {
	case IPPROTO_UDP:
		break;
	case IPPROTO_FRAGMENT:
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
		return FRAMES_PASSED_FORM;
	default:
		return FRAMES_PASSED_OTHER;
	}
	__builtin_memcpy(heading->to.address, &ip->daddr, 16);
	__builtin_memcpy(heading->from, &ip->saddr, 16);
	*udp = (void *)(ip + 1);
	return TAKEN;
}

static __always_inline int is_vlan(__be16 protocol)
{
	return protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD);
}

/* memcmp would be a function of the C library. */
static __always_inline int same_mac(const __u8 *one, const __u8 *other)
{
	__u8 differ = 0;
#pragma unroll
	for (int i = 0; i < ETH_ALEN; i++)
		differ |= one[i] ^ other[i];
	return differ == 0;
}

/* Passes multicast, broadcast, and what is for another machine. */
static __always_inline int read_frame(void *data, void *end, struct heading *heading)
{
	struct ethhdr *ethernet = data;
	struct udphdr *udp = NULL;
	__u32 first = 0;
	struct packets_about *interface = bpf_map_lookup_elem(&about, &first);
	if ((void *)(ethernet + 1) > end || interface == NULL || !same_mac(ethernet->h_dest, interface->mac))
		return FRAMES_PASSED_OTHER;
	__be16 protocol = ethernet->h_proto;
	void *at = ethernet + 1;
#pragma unroll
	for (int i = 0; i < VLAN_TAGS_MAX; i++) {
		struct vlan_tag *tag = at;
		if (!is_vlan(protocol))
			break;
		if ((void *)(tag + 1) > end)
			return FRAMES_PASSED_OTHER;
		protocol = tag->protocol;
		at = tag + 1;
	}
	int why = FRAMES_PASSED_OTHER;
	if (protocol == bpf_htons(ETH_P_IP))
		why = read_ipv4(at, end, heading, &udp);
	else if (protocol == bpf_htons(ETH_P_IPV6))
		why = read_ipv6(at, end, heading, &udp);
	if (why != TAKEN)
		return why;
	if ((void *)(udp + 1) > end)
		return FRAMES_PASSED_OTHER;
	heading->to.port = udp->dest;
	heading->to.zero = 0;
	return TAKEN;
}

static __always_inline int source_allowed(const struct packets_listener *listener,
                                          const struct heading *heading)
{
	struct packets_source key = {.bits = 32 + 128, .number = listener->number};
	if (listener->sources == 0)
		return 1;
	__builtin_memcpy(key.address, heading->from, 16);
	return bpf_map_lookup_elem(&sources, &key) != NULL;
}

static __always_inline int judge(struct xdp_md *context, const struct frames_gate *gate)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	__u32 queue = context->rx_queue_index;
	struct heading heading;
	int why = read_frame(data, end, &heading);
	if (why != TAKEN)
		return why;
	struct packets_listener *listener = bpf_map_lookup_elem(&destinations, &heading.to);
	if (listener == NULL)
		return FRAMES_PASSED_OTHER;
	/* not end - data: to subtract pointers is for CAP_PERFMON */
	if (bpf_xdp_get_buff_len(context) > listener->room_bytes)
		return FRAMES_PASSED_LARGE;
	if (!source_allowed(listener, &heading))
		return FRAMES_PASSED_SOURCE;
	__u32 *owner = bpf_map_lookup_elem(&owners, &queue);
	if (owner == NULL || *owner != listener->number ||
	    *(const volatile unsigned long long *)&gate->open == 0)
		return FRAMES_PASSED_CLOSED;
	return TAKEN;
}

/* A place for each reason: an index that depends on the way here is for CAP_PERFMON. TAKEN, here,
 * is one without a socket. */
static __always_inline void count_passed(struct frames_gate *gate, int why)
{
	if (why < 0 || why >= FRAMES_PASSED_COUNT)
		why = FRAMES_PASSED_CLOSED;
#define X(symbol, name, help)                           \
	if (why == FRAMES_PASSED_##symbol) {            \
		gate->passed[FRAMES_PASSED_##symbol]++; \
		barrier();                              \
	}
	FRAMES_PASSED(X)
#undef X
}

/* The counts are of a queue, which one processor serves at a time. */
SEC("xdp")
int millrace_udp(struct xdp_md *context)
{
	__u32 queue = context->rx_queue_index;
	struct frames_gate *gate = bpf_map_lookup_elem(&gates, &queue);
	if (gate == NULL)
		return XDP_PASS;
	int why = judge(context, gate);
	if (why == TAKEN && bpf_redirect_map(&sockets, queue, XDP_PASS) == XDP_REDIRECT) {
		gate->redirected++;
		return XDP_REDIRECT;
	}
	count_passed(gate, why);
	return XDP_PASS;
}

char _license[] SEC("license") = "Apache-2.0"; /* it calls nothing that is for GPL alone */
