/* One network interface with our program on it: loaded, attached, steered, taken off.
 *
 *     nothing on it               --bpf_link-->            our program alone; the kernel takes it off when its holder is gone
 *     a dispatcher of libxdp's    --libxdp-->              one of its programs; one that a dead holder left there is replaced
 *     any other program           --refused: -EBUSY-->     the listener's ordinary sockets serve
 *
 * The program passes everything until the interface is steered and a stage opens a gate
 * (shm/frames_gate.h). Only the supervisor holds it.
 */
#ifndef SUPERVISOR_PACKETS_INTERFACE_H
#define SUPERVISOR_PACKETS_INTERFACE_H

#include <net/if.h>
#include <stdbool.h>

#include "shm/frames_gate.h"
#include "shm/segment.h"
#include "supervisor/packets_program.h"

struct bpf_object;
struct xdp_program;

struct packets_interface {
	char name[IFNAMSIZ];
	unsigned index;        /* in the kernel; 0: it is not open */
	unsigned n_queues;     /* receive queues, PACKETS_QUEUES_MAX at most */
	enum frames_mode mode; /* asked for; FRAMES_GENERIC attaches another way */
	struct bpf_object *object;
	int link;                       /* of bpf_link; -1 in a dispatcher */
	struct xdp_program *dispatched; /* in a dispatcher, else NULL */
	int gates_fd;
	struct frames_gate *gate; /* PACKETS_QUEUES_MAX */
	/* in the map of destinations */
	struct packets_destination *destination;
	unsigned n_destinations;
	struct packets_source *source; /* in the trie */
	unsigned n_sources;
};

/* One listener on an interface. */
struct packets_steering {
	struct packets_listener listener;
	const struct packets_destination *destination;
	unsigned n_destinations;
	/* networks; number and the 32 bits of it are filled in */
	const struct packets_source *source;
	unsigned n_sources;
	const unsigned *queue; /* that have sockets of the listener */
	const int *socket;
	unsigned n_queues;
};

/* Loads the program and attaches it to the interface `name`. holder: a number of the instance.
 * Returns 0, or -errno with reason and remedy in error and nothing held: -ENODEV when there is no
 * such interface, -EBUSY when another program is on it, -EPERM; of another perhaps the driver does
 * not have the mode. */
int packets_interface_open(struct packets_interface *interface, const char *name, enum frames_mode mode,
                           uint64_t holder, struct shm_error *error);

/* Makes the program's maps say what the listeners ask, n of them, each with a number that was never
 * used before; gates stay as they are. Returns 0 or -errno with the reason; then the program passes
 * what it would have taken for some of them. */
int packets_interface_steer(struct packets_interface *interface, const struct packets_steering *steering,
                            unsigned n, struct shm_error *error);

/* Whether the interface that is open is still there. */
bool packets_interface_is_there(const struct packets_interface *interface);

/* Receive queues of an interface, 1 where the kernel does not tell. */
unsigned packets_interface_queues(const char *name);

/* Takes the program off. Sockets are their owner's. */
void packets_interface_close(struct packets_interface *interface);

#endif
