/* bench-packets-bare: the least that anybody has to do with AF_XDP, by libxdp's xsk.h.
 *
 *     interface --XDP program: everything of the queue--> RX ring --> counted --> fill ring
 *
 * It receives and gives back frames and looks into none. bench-udp runs it in its lab as the
 * reference; prints "ready" when it takes packets, and after SIGTERM, once the ring is empty, one
 * line with what it counted. It needs no bpffs and no file of libxdp: its program is these five
 * instructions. */
#include <bpf/bpf.h>
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <xdp/xsk.h>

#include "bench/options.h"
#include "bench/packets_bare.h"
#include "base/clock.h"

#define FRAME_BYTES 2048u
#define BATCH       64u
#define QUIET_NS    (100 * NS_PER_MS) /* so long nothing came: the ring is empty */

struct options {
	const char *interface;
	unsigned queue, frames;
	bool spin;
};

struct bare {
	struct xsk_umem *umem;
	struct xsk_socket *socket;
	struct xsk_ring_prod fill;
	struct xsk_ring_cons completion, rx;
	int fd;
	uint64_t received, waits;
};

static volatile sig_atomic_t stopping;

static void stop(int signal_number)
{
	(void)signal_number;
	stopping = 1;
}

static void fail(const char *what, int error)
{
	fprintf(stderr, "bench-packets-bare: %s: %s\n", what, strerror(error < 0 ? -error : error));
	exit(1);
}

/* All packets of a queue that has a socket go there. */
static int load_program(int sockets)
{
	const struct bpf_insn program[] = {
	        {.code = BPF_LDX | BPF_MEM | BPF_W,
	         .dst_reg = BPF_REG_2,
	         .src_reg = BPF_REG_1,
	         .off = offsetof(struct xdp_md, rx_queue_index)},
	        {.code = BPF_LD | BPF_DW | BPF_IMM,
	         .dst_reg = BPF_REG_1,
	         .src_reg = BPF_PSEUDO_MAP_FD,
	         .imm = sockets},
	        {0},
	        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_3, .imm = XDP_PASS},
	        {.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_redirect_map},
	        {.code = BPF_JMP | BPF_EXIT},
	};
	return bpf_prog_load(BPF_PROG_TYPE_XDP, "bare", "GPL", program, sizeof program / sizeof *program,
	                     NULL);
}

static void open_socket(struct bare *bare, const struct options *options)
{
	size_t bytes = (size_t)options->frames * FRAME_BYTES;
	void *memory =
	        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (memory == MAP_FAILED)
		fail("mmap", errno);
	const struct xsk_umem_config umem = {
	        .fill_size = options->frames, .comp_size = 64, .frame_size = FRAME_BYTES};
	int error = xsk_umem__create(&bare->umem, memory, bytes, &bare->fill, &bare->completion, &umem);
	if (error != 0)
		fail("xsk_umem__create", error);
	const struct xsk_socket_config config = {.rx_size = options->frames,
	                                         .libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
	                                         .bind_flags = XDP_USE_NEED_WAKEUP};
	error = xsk_socket__create(&bare->socket, options->interface, options->queue, bare->umem, &bare->rx,
	                           NULL, &config);
	if (error != 0)
		fail("xsk_socket__create", error);
	bare->fd = xsk_socket__fd(bare->socket);
	uint32_t at;
	if (xsk_ring_prod__reserve(&bare->fill, options->frames, &at) != options->frames)
		fail("the fill ring", ENOBUFS);
	for (uint32_t i = 0; i < options->frames; i++)
		*xsk_ring_prod__fill_addr(&bare->fill, at + i) = (uint64_t)i * FRAME_BYTES;
	xsk_ring_prod__submit(&bare->fill, options->frames);
}

/* Returns the descriptor that holds the program on the interface. */
static int attach(const struct bare *bare, const struct options *options)
{
	int sockets = bpf_map_create(BPF_MAP_TYPE_XSKMAP, "bare", sizeof(uint32_t), sizeof(int), 64, NULL);
	if (sockets < 0)
		fail("bpf_map_create", errno);
	uint32_t queue = options->queue;
	if (bpf_map_update_elem(sockets, &queue, &bare->fd, 0) != 0)
		fail("bpf_map_update_elem", errno);
	int program = load_program(sockets);
	if (program < 0)
		fail("bpf_prog_load", errno);
	int link = bpf_link_create(program, (int)if_nametoindex(options->interface), BPF_XDP, NULL);
	if (link < 0)
		fail("bpf_link_create", errno);
	return link;
}

/* Returns how many it took and gave back. */
static uint32_t take(struct bare *bare)
{
	uint32_t from, to;
	uint32_t n = xsk_ring_cons__peek(&bare->rx, BATCH, &from);
	if (n == 0)
		return 0;
	/* As many places as frames; the kernel tells of a free one a moment after the packet
	 * (xsk_flush). */
	while (xsk_ring_prod__reserve(&bare->fill, n, &to) != n)
		;
	for (uint32_t i = 0; i < n; i++)
		*xsk_ring_prod__fill_addr(&bare->fill, to + i) =
		        xsk_ring_cons__rx_desc(&bare->rx, from + i)->addr & ~(uint64_t)(FRAME_BYTES - 1);
	xsk_ring_prod__submit(&bare->fill, n);
	xsk_ring_cons__release(&bare->rx, n);
	bare->received += n;
	if (xsk_ring_prod__needs_wakeup(&bare->fill))
		(void)recvfrom(bare->fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
	return n;
}

static void loop(struct bare *bare, bool spin)
{
	struct pollfd wait = {.fd = bare->fd, .events = POLLIN};
	uint64_t last = clock_monotonic_ns();
	for (;;) {
		if (take(bare) > 0) {
			last = 0;
			continue;
		}
		if (stopping && last == 0)
			last = clock_monotonic_ns();
		if (stopping && clock_monotonic_ns() - last > QUIET_NS)
			return;
		if (!spin) {
			bare->waits++;
			(void)poll(&wait, 1, 10);
		}
	}
}

static void help(void)
{
	puts("Usage: bench-packets-bare --interface NAME [--queue N] [--frames N] [--spin]\n"
	     "\n"
	     "Receives everything that comes to a queue by AF_XDP and gives the frames back, until SIGTERM.\n"
	     "\n"
	     "  --interface NAME  where\n"
	     "  --queue N         of its queues (default 0)\n"
	     "  --frames N        a power of two (default 8192)\n"
	     "  --spin            never sleeps\n");
}

int main(int argc, char **argv)
{
	struct options options = {.frames = 8192};
	const struct option_row rows[] = {
	        {"interface", OPTION_TEXT, &options.interface, 0, 0},
	        {"queue", OPTION_COUNT, &options.queue, 0, 63},
	        {"frames", OPTION_COUNT, &options.frames, 64, 65536},
	        {"spin", OPTION_ON, &options.spin, 0, 0},
	};
	int done = options_read(argc, argv, "bench-packets-bare", rows, sizeof rows / sizeof *rows, help);
	if (done >= 0)
		return done;
	if (options.interface == NULL || (options.frames & (options.frames - 1)) != 0) {
		help();
		return 2;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	struct sigaction action = {.sa_handler = stop};
	sigaction(SIGTERM, &action, NULL);
	struct bare bare = {0};
	open_socket(&bare, &options);
	int link = attach(&bare, &options);
	puts("ready");
	fflush(stdout);
	loop(&bare, options.spin);
	struct xdp_statistics lost = {0};
	socklen_t bytes = sizeof lost;
	if (getsockopt(bare.fd, SOL_XDP, XDP_STATISTICS, &lost, &bytes) != 0)
		fail("XDP_STATISTICS", errno);
	printf(PACKETS_BARE_LINE, (unsigned long long)bare.received, (unsigned long long)bare.waits,
	       (unsigned long long)lost.rx_dropped, (unsigned long long)lost.rx_ring_full,
	       (unsigned long long)lost.rx_fill_ring_empty_descs,
	       (unsigned long long)clock_read_ns(CLOCK_PROCESS_CPUTIME_ID));
	close(link);
	return fflush(stdout) == 0 ? 0 : 1;
}
