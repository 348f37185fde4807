#include "supervisor/packets_socket.h"

#include <errno.h>
#include <linux/if_xdp.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define BIND_RETRY_NS   (500 * NS_PER_MS)
#define BIND_PAUSE_NS   (5 * NS_PER_MS)
#define COMPLETION_ROOM 64 /* entries; nothing is sent, but a socket must have this ring */

static int explain(const struct packets_socket *wanted, int result, const char *step, struct shm_error *error)
{
	const char *remedy = "";
	if (result == -EPERM || result == -EACCES)
		remedy = "; it needs CAP_NET_RAW and CAP_NET_ADMIN";
	else if (result == -EAFNOSUPPORT)
		remedy = "; this kernel is without AF_XDP (CONFIG_XDP_SOCKETS)";
	else if (result == -ENOBUFS)
		remedy =
		        "; its memory stays in place: CAP_IPC_LOCK, or a larger limit (ulimit -l, LimitMEMLOCK=) allows it";
	else if (result == -EBUSY)
		remedy = "; another program has an AF_XDP socket on this queue (ss --xdp lists them)";
	shm_explain(error, "queue %u: %s: %s%s", wanted->queue, step, strerror(-result), remedy);
	return result;
}

static int set(int fd, int option, const void *value, socklen_t bytes)
{
	return setsockopt(fd, SOL_XDP, option, value, bytes) == 0 ? 0 : -errno;
}

static int make_rings(const struct packets_socket *wanted, int fd, struct shm_error *error)
{
	const struct xdp_umem_reg memory = {
	        .addr = (uint64_t)(uintptr_t)wanted->memory,
	        .len = (uint64_t)wanted->n_frames * wanted->frame_bytes,
	        .chunk_size = wanted->frame_bytes,
	};
	const int entries = (int)wanted->n_frames, completion = COMPLETION_ROOM;
	int result = set(fd, XDP_UMEM_REG, &memory, sizeof memory);
	if (result != 0)
		return explain(wanted, result, "cannot register its memory", error);
	result = set(fd, XDP_UMEM_FILL_RING, &entries, sizeof entries);
	if (result == 0)
		result = set(fd, XDP_UMEM_COMPLETION_RING, &completion, sizeof completion);
	if (result == 0)
		result = set(fd, XDP_RX_RING, &entries, sizeof entries);
	return result == 0 ? 0 : explain(wanted, result, "cannot make its rings", error);
}

static int bind_to_queue(const struct packets_socket *wanted, int fd, struct shm_error *error)
{
	const struct sockaddr_xdp address = {
	        .sxdp_family = AF_XDP,
	        .sxdp_ifindex = wanted->interface,
	        .sxdp_queue_id = wanted->queue,
	        .sxdp_flags = (__u16)(XDP_USE_NEED_WAKEUP |
	                              (wanted->mode == FRAMES_ZERO_COPY ? XDP_ZEROCOPY : XDP_COPY)),
	};
	uint64_t deadline_ns = clock_monotonic_ns() + BIND_RETRY_NS;
	for (;;) {
		if (bind(fd, (const struct sockaddr *)&address, sizeof address) == 0)
			return 0;
		int result = -errno;
		if (result != -EBUSY || clock_monotonic_ns() >= deadline_ns)
			return explain(wanted, result, "cannot bind", error);
		nanosleep(&(struct timespec){.tv_nsec = BIND_PAUSE_NS}, NULL);
	}
}

int packets_socket_open(const struct packets_socket *wanted, struct shm_error *error)
{
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return explain(wanted, -errno, "no AF_XDP socket", error);
	int result = make_rings(wanted, fd, error);
	if (result == 0)
		result = bind_to_queue(wanted, fd, error);
	if (result == 0)
		return fd;
	close(fd);
	return result;
}
