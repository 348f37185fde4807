/* One AF_XDP socket: its memory registered, its rings made, bound to a queue of an interface. */
#ifndef SUPERVISOR_PACKETS_SOCKET_H
#define SUPERVISOR_PACKETS_SOCKET_H

#include "shm/frames_gate.h"
#include "shm/segment.h"

struct packets_socket {
	unsigned interface; /* its index in the kernel */
	unsigned queue;
	enum frames_mode mode;
	void *memory; /* n_frames of frame_bytes; stays mapped as long as the socket is open */
	unsigned n_frames, frame_bytes;
};

/* Returns the descriptor, close-on-exec, or -errno with reason and remedy in error; -EOPNOTSUPP or
 * another that is not -EPERM when the driver does not have the mode. A queue whose last socket has
 * just been closed is busy for a moment: it is tried for 500 ms. */
int packets_socket_open(const struct packets_socket *wanted, struct shm_error *error);

#endif
