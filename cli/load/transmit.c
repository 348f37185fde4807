#include "cli/load/transmit.h"

#include <errno.h>
#include <linux/if_xdp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#ifndef SOL_XDP
#define SOL_XDP 283
#endif
#ifndef XDP_MAX_TX_SKB_BUDGET
#define XDP_MAX_TX_SKB_BUDGET 9 /* Linux 6.17: frames in one system call in copy mode, else 32 */
#endif

#define FILL_ENTRIES 2u /* never used: the kernel wants the ring */
#define SYSTEM_CALL  256u
#define SEND_BUFFER  (16 << 20) /* bytes: frames on their way do not wait for room in the socket */
#define MEMORY_BYTES ((size_t)TRANSMIT_FRAMES * TRANSMIT_FRAME_BYTES)
#define RING_MASK    (TRANSMIT_FRAMES - 1)
#define ENTRY_OF(f)  ((uint64_t)(f)*TRANSMIT_FRAME_BYTES)

static int option(int fd, int name, const void *value, socklen_t bytes)
{
	return setsockopt(fd, SOL_XDP, name, value, bytes) == 0 ? 0 : -errno;
}

static int set_up(const struct transmit *transmit, const char **why)
{
	const struct xdp_umem_reg memory = {.addr = (uint64_t)(uintptr_t)transmit->memory,
	                                    .len = MEMORY_BYTES,
	                                    .chunk_size = TRANSMIT_FRAME_BYTES};
	const int fill = FILL_ENTRIES, frames = TRANSMIT_FRAMES, system_call = SYSTEM_CALL,
	          buffer = SEND_BUFFER;
	*why = "its memory cannot be registered (RLIMIT_MEMLOCK)";
	int result = option(transmit->fd, XDP_UMEM_REG, &memory, sizeof memory);
	if (result != 0)
		return result;
	*why = "its rings cannot be made";
	result = option(transmit->fd, XDP_UMEM_FILL_RING, &fill, sizeof fill);
	if (result == 0)
		result = option(transmit->fd, XDP_UMEM_COMPLETION_RING, &frames, sizeof frames);
	if (result == 0)
		result = option(transmit->fd, XDP_TX_RING, &frames, sizeof frames);
	/* Both only make it faster; older kernels do not know the first. */
	(void)option(transmit->fd, XDP_MAX_TX_SKB_BUDGET, &system_call, sizeof system_call);
	if (setsockopt(transmit->fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer) != 0)
		(void)setsockopt(transmit->fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
	return result;
}

static int map_ring(struct transmit_ring *ring, int fd, const struct xdp_ring_offset *offset, size_t entry,
                    off_t page)
{
	ring->map_bytes = offset->desc + TRANSMIT_FRAMES * entry;
	void *map = mmap(NULL, ring->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, page);
	if (map == MAP_FAILED)
		return -errno;
	ring->map = map;
	ring->producer = (_Atomic uint32_t *)((char *)map + offset->producer);
	ring->consumer = (_Atomic uint32_t *)((char *)map + offset->consumer);
	ring->flags = (_Atomic uint32_t *)((char *)map + offset->flags);
	ring->entries = (char *)map + offset->desc;
	return 0;
}

static int map_rings(struct transmit *transmit)
{
	struct xdp_mmap_offsets offsets;
	socklen_t bytes = sizeof offsets;
	if (getsockopt(transmit->fd, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &bytes) != 0)
		return -errno;
	if (bytes != sizeof offsets)
		return -ENOTSUP; /* Linux before 5.4: no flags */
	int result = map_ring(&transmit->tx, transmit->fd, &offsets.tx, sizeof(struct xdp_desc),
	                      XDP_PGOFF_TX_RING);
	return result != 0 ? result
	                   : map_ring(&transmit->completion, transmit->fd, &offsets.cr, sizeof(uint64_t),
	                              (off_t)XDP_UMEM_PGOFF_COMPLETION_RING);
}

/* The kernel lets go of a queue some time after its socket was closed: a run that follows another
 * waits for it, this long at most. */
#define BIND_RETRY_NS (500 * NS_PER_MS)
#define BIND_PAUSE_NS (5 * NS_PER_MS)

static int bind_queue(struct transmit *transmit, unsigned interface, unsigned queue)
{
	const struct sockaddr_xdp address = {.sxdp_family = AF_XDP,
	                                     .sxdp_flags = XDP_USE_NEED_WAKEUP,
	                                     .sxdp_ifindex = interface,
	                                     .sxdp_queue_id = queue};
	struct xdp_options options = {0};
	socklen_t bytes = sizeof options;
	uint64_t deadline_ns = clock_monotonic_ns() + BIND_RETRY_NS;
	while (bind(transmit->fd, (const struct sockaddr *)&address, sizeof address) != 0) {
		if (errno != EBUSY || clock_monotonic_ns() >= deadline_ns)
			return -errno;
		nanosleep(&(struct timespec){.tv_nsec = BIND_PAUSE_NS}, NULL);
	}
	if (getsockopt(transmit->fd, SOL_XDP, XDP_OPTIONS, &options, &bytes) == 0)
		transmit->zero_copy = (options.flags & XDP_OPTIONS_ZEROCOPY) != 0;
	return 0;
}

static int open_all(struct transmit *transmit, unsigned interface, unsigned queue, const char **why)
{
	*why = "AF_XDP sockets are not to be had";
	transmit->fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (transmit->fd < 0)
		return -errno;
	*why = "no memory for its frames";
	void *memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (memory == MAP_FAILED)
		return -errno;
	transmit->memory = memory;
	int result = set_up(transmit, why);
	if (result == 0)
		result = map_rings(transmit);
	if (result != 0)
		return result;
	*why = "the queue cannot be had";
	return bind_queue(transmit, interface, queue);
}

int transmit_open(struct transmit *transmit, unsigned interface, unsigned queue, const char **why)
{
	*transmit = (struct transmit){.fd = -1, .n_free = TRANSMIT_FRAMES};
	for (uint32_t i = 0; i < TRANSMIT_FRAMES; i++)
		transmit->free[i] = TRANSMIT_FRAMES - 1 - i;
	int result = open_all(transmit, interface, queue, why);
	if (result != 0)
		transmit_close(transmit);
	return result;
}

void transmit_close(struct transmit *transmit)
{
	if (transmit->tx.map != NULL)
		munmap(transmit->tx.map, transmit->tx.map_bytes);
	if (transmit->completion.map != NULL)
		munmap(transmit->completion.map, transmit->completion.map_bytes);
	if (transmit->fd >= 0)
		close(transmit->fd);
	if (transmit->memory != NULL)
		munmap(transmit->memory, MEMORY_BYTES);
	*transmit = (struct transmit){.fd = -1};
}

uint8_t *transmit_reserve(struct transmit *transmit)
{
	if (transmit->n_free == 0)
		return NULL;
	return transmit->memory + ENTRY_OF(transmit->free[transmit->n_free - 1]);
}

/* Frames with the kernel are never more than the ring has places, so there is one. */
static void put(struct transmit *transmit, uint32_t frame)
{
	struct xdp_desc *entry = (struct xdp_desc *)transmit->tx.entries + (transmit->put & RING_MASK);
	*entry = (struct xdp_desc){.addr = ENTRY_OF(frame), .len = transmit->length[frame]};
	transmit->put++;
}

void transmit_commit(struct transmit *transmit, uint16_t bytes)
{
	uint32_t frame = transmit->free[--transmit->n_free];
	transmit->length[frame] = bytes;
	put(transmit, frame);
}

/* How far the kernel is in the TX ring. In copy mode it shows its place only when it has sent a
 * frame: one that it took and dropped first of all is known from EBUSY alone. */
static bool find_taken(struct transmit *transmit, bool dropped)
{
	uint32_t shown = atomic_load_explicit(transmit->tx.consumer, memory_order_acquire);
	uint32_t before = transmit->taken;
	if ((int32_t)(shown - before) > 0)
		transmit->taken = shown;
	else if (dropped)
		transmit->taken++;
	return transmit->taken != before;
}

int transmit_kick(struct transmit *transmit)
{
	/* pairs with the kernel's acquire, xskq_cons_nb_entries */
	atomic_store_explicit(transmit->tx.producer, transmit->put, memory_order_release);
	int error = 0;
	if ((atomic_load_explicit(transmit->tx.flags, memory_order_relaxed) & XDP_RING_NEED_WAKEUP) != 0 &&
	    sendto(transmit->fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0)
		error = errno;
	bool dropped = error == EBUSY && !transmit->zero_copy;
	bool progress = find_taken(transmit, dropped);
	if (dropped) {
		const struct xdp_desc *entry =
		        (const struct xdp_desc *)transmit->tx.entries + ((transmit->taken - 1) & RING_MASK);
		transmit->again[entry->addr / TRANSMIT_FRAME_BYTES] = true;
		transmit->dropped++;
		return -EAGAIN;
	}
	if (error != 0 && error != EAGAIN && error != EBUSY && error != ENOBUFS && error != ENOMEM &&
	    error != EINTR)
		return -error;
	if (progress || transmit_waiting(transmit) == 0)
		return 0;
	transmit->full++;
	return -EAGAIN;
}

uint32_t transmit_reap(struct transmit *transmit)
{
	const uint64_t *entries = transmit->completion.entries;
	uint32_t end = atomic_load_explicit(transmit->completion.producer, memory_order_acquire);
	uint32_t sent = 0;
	for (; transmit->reaped != end; transmit->reaped++) {
		uint32_t frame =
		        (uint32_t)(entries[transmit->reaped & RING_MASK] / TRANSMIT_FRAME_BYTES) & RING_MASK;
		if (transmit->again[frame]) {
			transmit->again[frame] = false;
			put(transmit, frame);
		} else {
			transmit->free[transmit->n_free++] = frame;
			sent++;
		}
	}
	atomic_store_explicit(transmit->completion.consumer, end, memory_order_release);
	return sent;
}

uint64_t transmit_invalid(const struct transmit *transmit)
{
	struct xdp_statistics statistics = {0};
	socklen_t bytes = sizeof statistics;
	return getsockopt(transmit->fd, SOL_XDP, XDP_STATISTICS, &statistics, &bytes) == 0
	               ? statistics.tx_invalid_descs
	               : 0;
}
