#include "supervisor/packets.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/siphash.h"
#include "shm/frames.h"
#include "supervisor/capabilities.h"
#include "supervisor/packets_interface.h"
#include "supervisor/packets_socket.h"

#define INTERFACES_MAX 8u
#define DRIVER_BYTES   256u /* of a frame, before the packet (XDP_PACKET_HEADROOM) */
#define ADDRESSES_MAX  1024u

/* A role that takes packets. */
struct packets_role {
	char name[SHM_NAME_MAX];
	char section[32];
	unsigned interface;     /* index into packets.interface */
	struct segment private; /* its memory, mapped as long as its sockets are open */
	struct stage_frames frames[STAGE_FRAMES_MAX];
	unsigned n;
	bool wanted; /* while the plan is applied */
};

/* An interface, which is there or not. */
struct packets_port {
	struct packets_interface interface; /* index 0: the program is not on it */
	char name[IFNAMSIZ];
	unsigned seen_index; /* of the interface when it was last tried; 0: there was none */
	bool gone;           /* said that it has gone */
	bool wanted;
};

struct packets {
	struct packets_port port[INTERFACES_MAX];
	unsigned n_ports;
	struct packets_role *role[INSTANCE_ROLES_MAX];
	unsigned n_roles;
	uint32_t numbers; /* of listeners, given so far */
};

/* What packets_apply works on. */
struct applying {
	struct packets *packets;
	const struct config *config;
	const struct plan *plan;
	const struct sockets *sockets;
	const struct children *children;
};

struct packets *packets_create(void)
{
	struct packets *packets = calloc(1, sizeof *packets);
	if (packets == NULL)
		abort();
	return packets;
}

/* ---- the tables ---- */

static int find_role(const struct packets *packets, const char *name)
{
	for (unsigned i = 0; i < packets->n_roles; i++)
		if (strcmp(packets->role[i]->name, name) == 0)
			return (int)i;
	return -1;
}

static struct packets_port *find_port(const struct packets *packets, const char *name)
{
	for (unsigned i = 0; i < packets->n_ports; i++)
		if (strcmp(packets->port[i].name, name) == 0)
			return (struct packets_port *)(uintptr_t)&packets->port[i];
	return NULL;
}

static void close_gates(struct packets *packets, const struct packets_role *role)
{
	struct packets_interface *interface = &packets->port[role->interface].interface;
	for (unsigned i = 0; interface->gate != NULL && i < role->n; i++)
		__atomic_store_n(&interface->gate[role->frames[i].queue].open, 0, __ATOMIC_RELEASE);
}

static void remove_role(struct packets *packets, unsigned i)
{
	struct packets_role *role = packets->role[i];
	close_gates(packets, role);
	for (unsigned k = 0; k < role->n; k++)
		close(role->frames[k].socket);
	segment_detach(&role->private);
	free(role);
	packets->role[i] = packets->role[--packets->n_roles];
}

static void remove_roles_of(struct packets *packets, unsigned port)
{
	for (unsigned i = packets->n_roles; i-- > 0;)
		if (packets->role[i]->interface == port)
			remove_role(packets, i);
}

/* ---- which queues ---- */

static bool is_among(const unsigned *list, unsigned n, unsigned number)
{
	for (unsigned i = 0; i < n; i++)
		if (list[i] == number)
			return true;
	return false;
}

/* The queues that the listener names and the interface has, each once. Returns how many. */
static unsigned listener_queues(const struct applying *applying, const struct plan_listener *listener,
                                const struct packets_interface *interface, unsigned queue[])
{
	size_t items = config_count(applying->config, "%s.queues", listener->section);
	unsigned n = 0;
	for (size_t i = 0; i < items; i++) {
		const char *text = config_item(applying->config, i, "%s.queues", listener->section);
		unsigned number = (unsigned)strtoul(text, NULL, 10);
		if (strcmp(text, "all") == 0) {
			for (n = 0; n < interface->n_queues; n++)
				queue[n] = n;
			return n;
		}
		if (is_among(queue, n, number))
			continue;
		if (number < interface->n_queues)
			queue[n++] = number;
		else
			log_warn("the interface has no such queue",
			         "listener=%s interface=%s queue=%u has=%u", listener->section,
			         interface->name, number, interface->n_queues);
	}
	return n;
}

static void warn_served_by_kernel(const struct plan_listener *listener, const char *reason)
{
	log_warn("packets are not taken from the interface: the ordinary sockets serve",
	         "listener=%s interface=%s reason=\"%s\"", listener->section, listener->interface, reason);
}

/* ---- sockets ---- */

static int open_sockets(const struct plan_listener *listener, const struct packets_interface *interface,
                        struct packets_role *role, const unsigned *queue, unsigned n, struct shm_error *error)
{
	unsigned each = frames_each(listener->frames, n);
	struct frames_head *head = frames_area(role->private.body, role->private.body_bytes, listener->frames,
	                                       listener->frame_bytes);
	if (each == 0 || head == NULL) {
		shm_explain(
		        error,
		        each == 0
		                ? "%u frames are too few for %u queues; more frames, more processes or fewer queues"
		                : "the private memory has no room for %u frames (%u queues) before the next start",
		        listener->frames, n);
		return -ENOSPC;
	}
	for (unsigned i = 0; i < n; i++) {
		const struct packets_socket wanted = {
		        .interface = interface->index,
		        .queue = queue[i],
		        .mode = interface->mode,
		        .memory = frames_slice(head, i, each, listener->frame_bytes),
		        .n_frames = each,
		        .frame_bytes = listener->frame_bytes,
		};
		int fd = packets_socket_open(&wanted, error);
		if (fd < 0)
			return fd;
		role->frames[role->n++] =
		        (struct stage_frames){.socket = fd, .queue = queue[i], .count = each};
		interface->gate[queue[i]].mode = interface->mode;
	}
	return 0;
}

static int open_role(struct applying *applying, const struct plan_role *planned, unsigned port,
                     const unsigned *queue, unsigned n, struct shm_error *error)
{
	struct packets *packets = applying->packets;
	const struct plan_listener *listener = &applying->plan->listener[planned->listener];
	char name[SEGMENT_NAME_MAX];
	struct packets_role *role = calloc(1, sizeof *role);
	if (role == NULL)
		abort();
	snprintf(role->name, sizeof role->name, "%s", planned->page.name);
	snprintf(role->section, sizeof role->section, "%s", listener->section);
	role->interface = port;
	role->wanted = true;
	packets->role[packets->n_roles++] = role;
	int result = segment_attach(&role->private, applying->plan->directory,
	                            instance_private_name(name, role->name), SEGMENT_PRIVATE, SEGMENT_WRITE,
	                            error);
	if (result == 0)
		result = open_sockets(listener, &packets->port[port].interface, role, queue, n, error);
	if (result != 0)
		remove_role(packets, packets->n_roles - 1);
	return result;
}

/* The queues of one process among those of its listener. */
static unsigned share_of(const struct plan_listener *listener, unsigned process, const unsigned *all,
                         unsigned n_all, unsigned share[STAGE_FRAMES_MAX])
{
	unsigned n = 0, left = 0;
	for (unsigned i = process; i < n_all; i += listener->processes) {
		if (n < STAGE_FRAMES_MAX)
			share[n++] = all[i];
		else
			left++;
	}
	if (left != 0)
		log_warn("a process takes no more queues: the kernel serves the others",
		         "listener=%s process=%u queues=%u left=%u", listener->section, process, n, left);
	return n;
}

static int open_listener(struct applying *applying, unsigned index, unsigned port, struct shm_error *error)
{
	const struct plan_listener *listener = &applying->plan->listener[index];
	unsigned all[PACKETS_QUEUES_MAX], share[STAGE_FRAMES_MAX];
	unsigned n_all = listener_queues(applying, listener, &applying->packets->port[port].interface, all);
	int result = 0;
	for (unsigned i = 0; result == 0 && i < applying->plan->n_roles; i++) {
		const struct plan_role *role = &applying->plan->role[i];
		if (role->listener != (int)index || find_role(applying->packets, role->page.name) >= 0)
			continue;
		unsigned n = share_of(listener, role->process, all, n_all, share);
		if (n > 0)
			result = open_role(applying, role, port, share, n, error);
	}
	return result;
}

static int open_listeners(struct applying *applying, unsigned port, struct shm_error *error)
{
	const char *name = applying->packets->port[port].name;
	int result = 0;
	for (unsigned i = 0; result == 0 && i < applying->plan->n_listeners; i++)
		if (strcmp(applying->plan->listener[i].interface, name) == 0)
			result = open_listener(applying, i, port, error);
	return result;
}

/* ---- addresses and networks ---- */

struct addresses {
	struct packets_destination list[ADDRESSES_MAX];
	unsigned n;
};

static void add_address(struct addresses *addresses, const struct sockaddr *address, in_port_t port)
{
	struct packets_destination *to = &addresses->list[addresses->n];
	if (addresses->n == ADDRESSES_MAX)
		return; /* the kernel serves it */
	memset(to, 0, sizeof *to);
	to->port = port;
	if (address->sa_family == AF_INET) {
		to->address[10] = to->address[11] = 0xff;
		memcpy(to->address + 12, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
	} else {
		memcpy(to->address, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, 16);
	}
	addresses->n++;
}

static bool is_loopback(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24 ==
		       IN_LOOPBACKNET;
	return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

static bool is_link_local(const struct sockaddr *address)
{
	return address->sa_family == AF_INET6 &&
	       IN6_IS_ADDR_LINKLOCAL(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

/* What a socket bound to every address of the host gets from the interface. */
static void add_all_addresses(struct addresses *addresses, sa_family_t bound, in_port_t port,
                              const char *interface)
{
	struct ifaddrs *all;
	if (getifaddrs(&all) != 0)
		return; /* the kernel serves them */
	for (const struct ifaddrs *one = all; one != NULL; one = one->ifa_next) {
		const struct sockaddr *address = one->ifa_addr;
		bool known = address != NULL && (address->sa_family == AF_INET ||
		                                 (address->sa_family == AF_INET6 && bound == AF_INET6));
		if (known && !is_loopback(address) &&
		    (!is_link_local(address) || strcmp(one->ifa_name, interface) == 0))
			add_address(addresses, address, port);
	}
	freeifaddrs(all);
}

/* An IPv6 socket takes IPv4 too, so its addresses may be IPv4-mapped: that is their form here. */
static void add_bound(struct addresses *addresses, const struct socket_entry *entry, const char *interface)
{
	const struct sockaddr *bound = (const struct sockaddr *)&entry->bound;
	const struct sockaddr_in *ipv4 = (const void *)bound;
	const struct sockaddr_in6 *ipv6 = (const void *)bound;
	bool all = bound->sa_family == AF_INET ? ipv4->sin_addr.s_addr == htonl(INADDR_ANY)
	                                       : IN6_IS_ADDR_UNSPECIFIED(&ipv6->sin6_addr);
	in_port_t port = bound->sa_family == AF_INET ? ipv4->sin_port : ipv6->sin6_port;
	if (all)
		add_all_addresses(addresses, bound->sa_family, port, interface);
	else
		add_address(addresses, bound, port);
}

static void find_addresses(const struct applying *applying, unsigned listener, struct addresses *addresses)
{
	addresses->n = 0;
	for (unsigned i = 0; i < applying->sockets->n; i++) {
		const struct socket_entry *entry = &applying->sockets->entry[i];
		if (entry->kept && entry->kind == PLAN_DATAGRAMS && entry->listener == listener &&
		    entry->process == 0)
			add_bound(addresses, entry, applying->plan->listener[listener].interface);
	}
}

/* ---- steering ---- */

#define SOURCES_MAX 1024u

/* What steering one listener needs, in memory of its own. */
struct steering_room {
	struct addresses addresses;
	struct packets_source source[SOURCES_MAX];
	unsigned queue[PACKETS_QUEUES_MAX];
	int socket[PACKETS_QUEUES_MAX];
};

static unsigned find_sources(const struct applying *applying, const char *section, uint32_t number,
                             struct packets_source source[])
{
	size_t n = config_count(applying->config, "%s.sources", section);
	unsigned found = 0;
	for (size_t i = 0; i < n && found < SOURCES_MAX; i++) {
		unsigned bits;
		struct packets_source *one = &source[found];
		if (address_parse_network(one->address, &bits,
		                          config_item(applying->config, i, "%s.sources", section)) != 0)
			continue; /* said by its check */
		one->bits = 32 + bits;
		one->number = number;
		found++;
	}
	return found;
}

static void steer_listener(const struct applying *applying, unsigned index, struct steering_room *room,
                           struct packets_steering *steering)
{
	struct packets *packets = applying->packets;
	const struct plan_listener *listener = &applying->plan->listener[index];
	uint32_t number = ++packets->numbers;
	find_addresses(applying, index, &room->addresses);
	*steering = (struct packets_steering){
	        .listener = {.number = number,
	                     .room_bytes = listener->frame_bytes - DRIVER_BYTES,
	                     .sources = config_count(applying->config, "%s.sources", listener->section) != 0},
	        .destination = room->addresses.list,
	        .n_destinations = room->addresses.n,
	        .source = room->source,
	        .n_sources = find_sources(applying, listener->section, number, room->source),
	        .queue = room->queue,
	        .socket = room->socket,
	};
	for (unsigned i = 0; i < packets->n_roles; i++) {
		const struct packets_role *role = packets->role[i];
		for (unsigned k = 0; strcmp(role->section, listener->section) == 0 && k < role->n; k++) {
			room->queue[steering->n_queues] = role->frames[k].queue;
			room->socket[steering->n_queues++] = role->frames[k].socket;
		}
	}
}

static void steer(const struct applying *applying, unsigned port)
{
	struct packets_interface *interface = &applying->packets->port[port].interface;
	const struct plan *plan = applying->plan;
	struct packets_steering steering[INSTANCE_ROLES_MAX];
	struct steering_room *room = calloc(plan->n_listeners + 1, sizeof *room); /* never of 0 */
	struct shm_error error;
	unsigned n = 0;
	if (room == NULL)
		abort();
	for (unsigned i = 0; i < plan->n_listeners; i++)
		if (strcmp(plan->listener[i].interface, interface->name) == 0) {
			steer_listener(applying, i, &room[n], &steering[n]);
			n++;
		}
	if (packets_interface_steer(interface, steering, n, &error) != 0)
		log_warn(
		        "the program takes only a part of what it should; the ordinary sockets serve the rest",
		        "interface=%s reason=\"%s\"", interface->name, error.text);
	free(room);
}

/* ---- interfaces ---- */

/* The modes that are tried, in order, for a listener's option xdp_mode. Returns how many. */
static unsigned modes_of(const char *text, enum frames_mode mode[3])
{
	static const enum frames_mode order[] = {FRAMES_ZERO_COPY, FRAMES_COPY, FRAMES_GENERIC};
	unsigned n = 0;
	for (unsigned i = 0; i < 3; i++)
		if (strcmp(text, "auto") == 0 || strcmp(text, frames_mode_name(order[i])) == 0)
			mode[n++] = order[i];
	return n;
}

/* A number that is the same in each life of the supervisor of this instance. */
static uint64_t holder_of(const struct plan *plan)
{
	static const uint64_t key[2] = {0x6563617272696c6dull, 0x7374656b636170ull};
	struct siphash hash;
	siphash_init(&hash, key, 2, 4);
	siphash_add(&hash, plan->directory, strlen(plan->directory));
	return siphash_end(&hash);
}

/* Of errors of several modes the first that is not about the mode says most. */
static bool is_final(int result)
{
	return result == -EPERM || result == -EACCES || result == -ENODEV || result == -EBUSY ||
	       result == -ENOBUFS || result == -ENOSPC || result == -EAFNOSUPPORT || result == -EMEDIUMTYPE;
}

/* Puts the program on the interface in the best mode in which all its sockets can be bound. */
static int open_port(struct applying *applying, unsigned port, const char *wanted_mode,
                     struct shm_error *error)
{
	struct packets_port *at = &applying->packets->port[port];
	enum frames_mode mode[3];
	unsigned n = modes_of(wanted_mode, mode);
	int result = -EINVAL;
	at->seen_index = if_nametoindex(at->name);
	at->gone = false;
	for (unsigned i = 0; i < n; i++) {
		result = packets_interface_open(&at->interface, at->name, mode[i], holder_of(applying->plan),
		                                error);
		if (result == 0)
			result = open_listeners(applying, port, error);
		if (result == 0)
			return 0;
		remove_roles_of(applying->packets, port);
		packets_interface_close(&at->interface);
		log_debug("packets: a mode does not work", "interface=%s mode=%s reason=\"%s\"", at->name,
		          frames_mode_name(mode[i]), error->text);
		if (is_final(result))
			break;
	}
	return result;
}

/* The interface is not open, or has sockets of listeners that stay. */
static void apply_port(struct applying *applying, unsigned port, const struct plan_listener *first)
{
	struct packets_port *at = &applying->packets->port[port];
	const struct plan *plan = applying->plan;
	struct shm_error error = {""};
	bool open = at->interface.index != 0;
	int result = open ? 0
	                  : open_port(applying, port,
	                              config_string(applying->config, "%s.xdp_mode", first->section), &error);
	for (unsigned i = 0; i < plan->n_listeners; i++) {
		if (strcmp(plan->listener[i].interface, at->name) != 0)
			continue;
		int one = open ? open_listener(applying, i, port, &error) : result;
		if (one != 0)
			warn_served_by_kernel(&plan->listener[i], error.text);
	}
	if (at->interface.index != 0)
		steer(applying, port);
}

/* What an earlier plan wanted and this one does not. */
static void drop_unwanted(struct applying *applying)
{
	struct packets *packets = applying->packets;
	for (unsigned i = 0; i < packets->n_roles; i++) {
		const struct packets_role *role = packets->role[i];
		packets->role[i]->wanted = plan_role_index(applying->plan, role->name) >= 0 &&
		                           children_index(applying->children, role->name) >= 0;
	}
	for (unsigned i = packets->n_roles; i-- > 0;)
		if (!packets->role[i]->wanted)
			remove_role(packets, i);
	for (unsigned i = 0; i < packets->n_ports; i++) {
		struct packets_port *port = &packets->port[i];
		bool used = false;
		for (unsigned k = 0; k < packets->n_roles; k++)
			used |= packets->role[k]->interface == i;
		/* Without sockets it is begun anew: the mode may be another. */
		if (!used && port->interface.index != 0)
			packets_interface_close(&port->interface);
	}
}

static int port_for(struct packets *packets, const char *name)
{
	struct packets_port *port = find_port(packets, name);
	for (unsigned i = 0; port == NULL && i < packets->n_ports; i++)
		if (packets->port[i].interface.index == 0 && !packets->port[i].wanted)
			port = &packets->port[i];
	if (port == NULL && packets->n_ports < INTERFACES_MAX)
		port = &packets->port[packets->n_ports++];
	if (port == NULL)
		return -1;
	snprintf(port->name, sizeof port->name, "%s", name);
	port->wanted = true;
	return (int)(port - packets->port);
}

void packets_apply(struct packets *packets, const struct config *config, const struct plan *plan,
                   const struct sockets *sockets, const struct children *children)
{
	struct applying applying = {packets, config, plan, sockets, children};
	bool done[INTERFACES_MAX] = {false};
	capabilities_raise();
	drop_unwanted(&applying);
	for (unsigned i = 0; i < packets->n_ports; i++)
		packets->port[i].wanted = false;
	for (unsigned i = 0; i < plan->n_listeners; i++) {
		const struct plan_listener *listener = &plan->listener[i];
		if (listener->interface[0] == '\0')
			continue;
		int port = port_for(packets, listener->interface);
		if (port < 0)
			warn_served_by_kernel(listener, "packets are taken from 8 interfaces at most");
		else if (!done[port])
			apply_port(&applying, (unsigned)port, listener);
		if (port >= 0)
			done[port] = true;
	}
	capabilities_lower();
}

/* ---- what others ask ---- */

void packets_of(const struct packets *packets, const char *role, struct child_packets *handed)
{
	int index = find_role(packets, role);
	*handed = (struct child_packets){.gate = -1};
	if (index < 0)
		return;
	const struct packets_role *found = packets->role[index];
	const struct packets_interface *interface = &packets->port[found->interface].interface;
	handed->gate = interface->gates_fd;
	for (; handed->n < found->n; handed->n++) {
		handed->frames[handed->n] = found->frames[handed->n];
		handed->open[handed->n] = &interface->gate[found->frames[handed->n].queue].open;
	}
}

bool packets_changed(const struct packets *packets, const struct plan *plan, const struct plan_role *role)
{
	const char *name = role->listener < 0 ? "" : plan->listener[role->listener].interface;
	const struct packets_port *port = name[0] == '\0' ? NULL : find_port(packets, name);
	int index = find_role(packets, role->page.name);
	if (index >= 0)
		return !packets_interface_is_there(&packets->port[packets->role[index]->interface].interface);
	unsigned now = port == NULL ? 0 : if_nametoindex(name);
	return now != 0 && now != port->seen_index;
}

void packets_quiet(struct packets *packets)
{
	for (unsigned i = 0; i < packets->n_roles; i++)
		close_gates(packets, packets->role[i]);
}

void packets_look(struct packets *packets)
{
	for (unsigned i = 0; i < packets->n_ports; i++) {
		struct packets_port *port = &packets->port[i];
		if (port->interface.index == 0 || port->gone || packets_interface_is_there(&port->interface))
			continue;
		port->gone = true;
		log_warn(
		        "the interface has gone: the ordinary sockets serve; SIGHUP takes it up when it is back",
		        "interface=%s", port->name);
	}
}

static void print_section(const struct packets *packets, const struct packets_role *first, FILE *out)
{
	const struct packets_interface *interface = &packets->port[first->interface].interface;
	fprintf(out, "  %s: packets of %s, %s mode, queues", first->section, interface->name,
	        frames_mode_name(interface->mode));
	for (unsigned i = 0; i < packets->n_roles; i++)
		for (unsigned k = 0;
		     strcmp(packets->role[i]->section, first->section) == 0 && k < packets->role[i]->n; k++)
			fprintf(out, " %u", packets->role[i]->frames[k].queue);
	fputc('\n', out);
}

void packets_print(const struct packets *packets, FILE *out)
{
	for (unsigned i = 0; i < packets->n_roles; i++) {
		bool first = true;
		for (unsigned k = 0; k < i; k++)
			first &= strcmp(packets->role[k]->section, packets->role[i]->section) != 0;
		if (first)
			print_section(packets, packets->role[i], out);
	}
}

void packets_close(struct packets *packets)
{
	capabilities_raise(); /* a program leaves a dispatcher by them */
	while (packets->n_roles != 0)
		remove_role(packets, packets->n_roles - 1);
	for (unsigned i = 0; i < packets->n_ports; i++)
		if (packets->port[i].interface.index != 0)
			packets_interface_close(&packets->port[i].interface);
	packets->n_ports = 0;
	capabilities_lower();
}

void packets_destroy(struct packets *packets)
{
	if (packets == NULL)
		return;
	packets_close(packets);
	free(packets);
}
