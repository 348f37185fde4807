/* The programs that send live frames (live.h). millrace_live runs once for each page that the
 * kernel has for a frame, writes the next one into it and gives it to the interface. millrace_taken
 * hears what the interface did with a bulk of them: it takes the first of them, and the kernel
 * frees the rest. millrace_error hears of a frame that the driver never saw.
 *
 *     page --> next position: refused before, else a new one before the goal --> frame --> redirect --> bulk of 16
 *       '-- none is due: XDP_DROP, the page goes back                                                    |
 *                        again[] <-- positions of those it refused <-- tracepoint xdp_devmap_xmit <------'
 *
 * A bulk has left before the kernel lets other work onto the processor (xdp_test_run_batch), so
 * what the tracepoint says on this processor while frames wait is about these. Refused frames are
 * never more than a bulk: new positions wait until they are through.
 *
 * Compiled with clang -target bpf, embedded in the process (live.c).
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "cli/load/live_program.h"

#define PAUSE_RUNS 32u /* about a microsecond */

const volatile struct live_settings settings;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* both set when it is loaded */
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct live_datagram) + 8);
} pool SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct live_state);
} state SEC(".maps");

union head {
	__u64 words[LIVE_HEAD_WORDS];
	__u8 bytes[LIVE_HEAD_WORDS * sizeof(__u64)];
};

#define PUT(head, type, offset, value) (*(type *)((head)->bytes + LIVE_HEAD_PAD + (offset)) = (value))

static __always_inline __u16 fold(__u64 sum)
{
#pragma unroll
	for (int i = 0; i < 4; i++)
		sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

/* The head of the frame of a source (send_frame_write). */
static __always_inline void write_head(union head *head, __u32 source, const struct live_datagram *datagram)
{
	__be32 address = bpf_htonl(settings.first + source % settings.addresses);
	__be16 port = bpf_htons((__u16)(settings.port + source / settings.addresses));
	__be16 length = bpf_htons((__u16)(sizeof(struct udphdr) + datagram->length));
	__u32 ip = ETH_HLEN, udp = ETH_HLEN + sizeof(struct ipv6hdr);
#pragma unroll
	for (unsigned i = 0; i < LIVE_HEAD_WORDS; i++)
		head->words[i] = settings.head[i];
	if (settings.ipv6) {
		PUT(head, __be32, ip + offsetof(struct ipv6hdr, saddr) + 12, address);
		PUT(head, __be16, ip + offsetof(struct ipv6hdr, payload_len), length);
	} else {
		__be16 total =
		        bpf_htons((__u16)(sizeof(struct iphdr) + sizeof(struct udphdr) + datagram->length));
		udp = ETH_HLEN + sizeof(struct iphdr);
		PUT(head, __be32, ip + offsetof(struct iphdr, saddr), address);
		PUT(head, __be16, ip + offsetof(struct iphdr, tot_len), total);
		PUT(head, __be16, ip + offsetof(struct iphdr, check),
		    fold(settings.ip_sum + address + total));
	}
	__u16 check = fold(settings.udp_sum + address + port + 2u * length + datagram->sum);
	PUT(head, __be16, udp + offsetof(struct udphdr, source), port);
	PUT(head, __be16, udp + offsetof(struct udphdr, len), length);
	PUT(head, __be16, udp + offsetof(struct udphdr, check), check == 0 ? 0xffff : check);
}

static __always_inline int write_frame(struct xdp_md *context, __u64 position)
{
	union head head;
	__u32 index = (__u32)position & (settings.pool - 1);
	const struct live_datagram *datagram = bpf_map_lookup_elem(&pool, &index);
	if (datagram == NULL)
		return -1;
	__u32 length = datagram->length;
	if (length > settings.longest)
		return -1;
	int change = (int)(settings.head_bytes + length) - (int)bpf_xdp_get_buff_len(context);
	if (change != 0 && bpf_xdp_adjust_tail(context, change) != 0)
		return -1;
	write_head(&head, (__u32)(position % settings.sources), datagram);
	if (bpf_xdp_store_bytes(context, 0, head.bytes + LIVE_HEAD_PAD, settings.head_bytes) != 0)
		return -1;
	return length == 0 ? 0
	                   : (int)bpf_xdp_store_bytes(context, settings.head_bytes,
	                                              (void *)(long)datagram->data, length);
}

/* The position that is due. */
static __always_inline bool choose(struct live_state *at, __u64 *position)
{
	if (at->pause > 0) {
		at->pause--;
		return false;
	}
	if (at->error != 0 || at->given - at->answered >= LIVE_WAITING_MAX)
		return false; /* no bulk is so large */
	if (at->repeated != at->refused) {
		*position = at->again[at->repeated % LIVE_WAITING_MAX];
		return true;
	}
	*position = at->next;
	return at->next < *(volatile __u64 *)&at->goal;
}

SEC("xdp")
int millrace_live(struct xdp_md *context)
{
	__u32 first = 0;
	__u64 position;
	struct live_state *at = bpf_map_lookup_elem(&state, &first);
	if (at == NULL || !choose(at, &position) || write_frame(context, position) != 0)
		return XDP_DROP;
	if (position == at->next)
		at->next++;
	else
		at->repeated++;
	at->processor = bpf_get_smp_processor_id();
	at->waiting[at->given % LIVE_WAITING_MAX] = position;
	at->given++;
	return (int)bpf_redirect(settings.interface, 0);
}

/* The state, when frames of ours wait on this processor; else NULL. */
static __always_inline struct live_state *waiting_here(void)
{
	__u32 first = 0;
	struct live_state *at = bpf_map_lookup_elem(&state, &first);
	return at != NULL && at->given != at->answered && at->processor == bpf_get_smp_processor_id() ? at
	                                                                                              : NULL;
}

/* Arguments of both are in include/trace/events/xdp.h. Here: from and to (struct net_device *), how
 * many were taken, how many not, an error. */
SEC("raw_tp/xdp_devmap_xmit")
int millrace_taken(struct bpf_raw_tracepoint_args *context)
{
	struct live_state *at = waiting_here();
	__u32 taken = (__u32)context->args[2], refused = (__u32)context->args[3];
	if (at == NULL || (__u64)taken + refused > at->given - at->answered)
		return 0;
	at->answered += taken;
	for (__u32 i = 0; i < LIVE_WAITING_MAX && i < refused; i++) {
		at->again[at->refused % LIVE_WAITING_MAX] = at->waiting[at->answered % LIVE_WAITING_MAX];
		at->refused++;
		at->answered++;
	}
	if (refused > 0)
		at->pause = PAUSE_RUNS;
	return 0;
}

/* Here: where it came in, the program, where it should go, the error. It is about the frame just
 * given. */
SEC("raw_tp/xdp_redirect_err")
int millrace_error(struct bpf_raw_tracepoint_args *context)
{
	struct live_state *at = waiting_here();
	if (at == NULL)
		return 0;
	at->given--;
	at->error = (__s32)context->args[3];
	return 0;
}

char _license[] SEC("license") = "Apache-2.0"; /* they call nothing that is for GPL alone */
