/* What of the frames asks the kernel. In a file of its own, so that a test can be the kernel. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "shm/frames.h"

#ifndef SOL_XDP
#define SOL_XDP 283
#endif

static int map_ring(struct frames_ring *ring, int socket, uint64_t which,
                    const struct xdp_ring_offset *offset, size_t entries_bytes)
{
	size_t bytes = offset->desc + entries_bytes;
	char *map =
	        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, socket, (off_t)which);
	if (map == MAP_FAILED)
		return -errno;
	*ring = (struct frames_ring){
	        .producer = (void *)(map + offset->producer),
	        .consumer = (void *)(map + offset->consumer),
	        .flags = (void *)(map + offset->flags),
	        .entry = map + offset->desc,
	        .map = map,
	        .map_bytes = bytes,
	};
	return 0;
}

int frames_map(struct frames *frames, int socket, uint32_t n, struct shm_error *error)
{
	struct xdp_mmap_offsets offset = {0};
	socklen_t length = sizeof offset;
	memset(&frames->fill, 0, sizeof frames->fill);
	memset(&frames->rx, 0, sizeof frames->rx);
	int result = getsockopt(socket, SOL_XDP, XDP_MMAP_OFFSETS, &offset, &length) == 0 ? 0 : -errno;
	if (result == 0 && length != sizeof offset)
		result = -EOPNOTSUPP; /* before Linux 5.4: without flags */
	if (result == 0)
		result = map_ring(&frames->fill, socket, XDP_UMEM_PGOFF_FILL_RING, &offset.fr,
		                  n * sizeof(uint64_t));
	if (result == 0)
		result = map_ring(&frames->rx, socket, XDP_PGOFF_RX_RING, &offset.rx,
		                  n * sizeof(struct xdp_desc));
	if (result == 0) {
		frames->socket = socket;
		frames->n = n;
		return 0;
	}
	frames_unmap(frames);
	shm_explain(error, "cannot map the rings of the AF_XDP socket %d: %s%s", socket, strerror(-result),
	            result == -EBUSY ? " (its interface is gone, or the kernel is older than 6.4)" : "");
	return result;
}

static void unmap_ring(struct frames_ring *ring)
{
	if (ring->map != NULL)
		(void)munmap(ring->map, ring->map_bytes);
	memset(ring, 0, sizeof *ring);
}

void frames_unmap(struct frames *frames)
{
	unmap_ring(&frames->fill);
	unmap_ring(&frames->rx);
}

uint64_t frames_cookie(int socket)
{
	uint64_t cookie = 0;
	socklen_t length = sizeof cookie;
	return getsockopt(socket, SOL_SOCKET, SO_COOKIE, &cookie, &length) == 0 ? cookie : 0;
}

bool frames_losses(int socket, uint64_t loss[FRAMES_LOSS_COUNT])
{
	struct xdp_statistics statistics = {0};
	socklen_t length = sizeof statistics;
	if (getsockopt(socket, SOL_XDP, XDP_STATISTICS, &statistics, &length) != 0)
		return false;
	/* Before Linux 5.9 rx_dropped includes the full ring, and there is no more to be told. */
	loss[FRAMES_RX_DROPPED] = statistics.rx_dropped;
	loss[FRAMES_RING_FULL] = statistics.rx_ring_full;
	loss[FRAMES_FILL_EMPTY] = statistics.rx_fill_ring_empty_descs;
	loss[FRAMES_INVALID] = statistics.rx_invalid_descs;
	return true;
}

void frames_wake(int socket)
{
	/* What fails is a card that is down: it needs no frames. */
	(void)recvfrom(socket, NULL, 0, MSG_DONTWAIT, NULL, NULL);
}
