#include "supervisor/packets_interface.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/sockios.h>
#include <net/if_arp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <xdp/libxdp.h>

#include "base/clock.h"
#include "base/log.h"

#define ATTACH_RETRY_NS \
	(500 * NS_PER_MS) /* a holder that has just died: the kernel frees its link a little later */
#define ATTACH_PAUSE_NS (10 * NS_PER_MS)
#define GATES_BYTES     (PACKETS_QUEUES_MAX * sizeof(struct frames_gate))

static const unsigned char program[] = {
#include <packets.bpf.inc> /* generated: packets.bpf.c, compiled (supervisor/build.mk) */
};

/* ---- what the libraries say ---- */

static int say_bpf(enum libbpf_print_level level, const char *format, va_list arguments)
{
	char line[400];
	(void)level;
	int n = vsnprintf(line, sizeof line, format, arguments);
	line[strcspn(line, "\n")] = '\0';
	if (level != LIBBPF_DEBUG && line[0] != '\0')
		log_debug("libbpf", "text=\"%s\"", line);
	return n;
}

static int say_xdp(enum libxdp_print_level level, const char *format, va_list arguments)
{
	return say_bpf(level == LIBXDP_DEBUG ? LIBBPF_DEBUG : LIBBPF_WARN, format, arguments);
}

/* ---- about the interface ---- */

static int ask_interface(const char *name, unsigned long request, struct ifreq *answer)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	snprintf(answer->ifr_name, sizeof answer->ifr_name, "%s", name);
	int result = ioctl(fd, request, answer) == 0 ? 0 : -errno;
	close(fd);
	return result;
}

/* From sysfs, which may show another network namespace's: then none. */
static unsigned listed_queues(const char *name)
{
	char path[64 + IFNAMSIZ];
	snprintf(path, sizeof path, "/sys/class/net/%s/queues", name);
	DIR *folder = opendir(path);
	unsigned n = 0;
	for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;)
		n += strncmp(entry->d_name, "rx-", 3) == 0 ? 1 : 0;
	if (folder != NULL)
		closedir(folder);
	return n;
}

unsigned packets_interface_queues(const char *name)
{
	struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};
	struct ifreq request = {.ifr_data = (void *)&channels};
	unsigned n = ask_interface(name, SIOCETHTOOL, &request) == 0
	                     ? channels.rx_count + channels.combined_count
	                     : listed_queues(name);
	return n == 0 ? 1 : n > PACKETS_QUEUES_MAX ? PACKETS_QUEUES_MAX : n;
}

bool packets_interface_is_there(const struct packets_interface *interface)
{
	return interface->index != 0 && if_nametoindex(interface->name) == interface->index;
}

static int look(struct packets_interface *interface, struct packets_about *about, struct shm_error *error)
{
	struct ifreq request = {0};
	int result = ask_interface(interface->name, SIOCGIFHWADDR, &request);
	interface->index = if_nametoindex(interface->name);
	if (result != 0 || interface->index == 0) {
		shm_explain(error,
		            "there is no such interface; ip -br link lists them (in this network namespace)");
		return -ENODEV;
	}
	if (request.ifr_hwaddr.sa_family != ARPHRD_ETHER) {
		shm_explain(error, "it is not an Ethernet interface");
		return -EMEDIUMTYPE;
	}
	memcpy(about->mac, request.ifr_hwaddr.sa_data, sizeof about->mac);
	interface->n_queues = packets_interface_queues(interface->name);
	return 0;
}

/* ---- loading ---- */

static int explain_load(int result, struct shm_error *error)
{
	if (result == -EPERM || result == -EACCES)
		shm_explain(
		        error,
		        "the kernel does not let this process load the program: %s; it needs CAP_BPF, CAP_NET_ADMIN and CAP_NET_RAW",
		        strerror(-result));
	else
		shm_explain(error, "the kernel does not load the program: %s; log.level=debug tells more",
		            strerror(-result));
	return result;
}

static int map_of(const struct packets_interface *interface, const char *name)
{
	return bpf_object__find_map_fd_by_name(interface->object, name);
}

static int open_object(struct packets_interface *interface, struct shm_error *error)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = PACKETS_PROGRAM);
	(void)libbpf_set_print(say_bpf);
	(void)libxdp_set_print(say_xdp);
	interface->object = bpf_object__open_mem(program, sizeof program, &options);
	return interface->object != NULL ? 0 : explain_load(-errno, error);
}

/* The program is loaded: its maps get what does not change. */
static int fill_maps(struct packets_interface *interface, const struct packets_about *about,
                     struct shm_error *error)
{
	const __u32 first = 0;
	interface->gates_fd = map_of(interface, "gates");
	void *gates = mmap(NULL, GATES_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, interface->gates_fd, 0);
	if (gates == MAP_FAILED)
		return explain_load(-errno, error);
	interface->gate = gates;
	int result = bpf_map_update_elem(map_of(interface, "about"), &first, about, BPF_ANY);
	return result == 0 ? 0 : explain_load(result, error);
}

/* ---- attaching ---- */

static __u32 flags_of(enum frames_mode mode)
{
	return mode == FRAMES_GENERIC ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE;
}

static int explain_attach(int result, enum frames_mode mode, struct shm_error *error)
{
	if (result == -EPERM || result == -EACCES)
		return explain_load(result, error);
	if (result == -EBUSY || result == -EEXIST)
		shm_explain(
		        error,
		        "another XDP program is on it (ip link show); take it off, or load it by libxdp's dispatcher, which has room for both");
	else if (mode != FRAMES_GENERIC)
		shm_explain(error, "its driver does not take an XDP program as it is set up: %s",
		            strerror(-result));
	else
		shm_explain(error, "the kernel does not attach the program: %s", strerror(-result));
	return result == -EEXIST ? -EBUSY : result;
}

static int attach_alone(struct packets_interface *interface, struct shm_error *error)
{
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = flags_of(interface->mode));
	int result = bpf_object__load(interface->object);
	if (result != 0)
		return explain_load(result, error);
	const struct bpf_program *loaded =
	        bpf_object__find_program_by_name(interface->object, PACKETS_PROGRAM);
	uint64_t deadline_ns = clock_monotonic_ns() + ATTACH_RETRY_NS;
	for (;;) {
		interface->link =
		        bpf_link_create(bpf_program__fd(loaded), (int)interface->index, BPF_XDP, &options);
		if (interface->link >= 0)
			return 0;
		result = interface->link;
		interface->link = -1;
		if (result != -EBUSY || clock_monotonic_ns() >= deadline_ns)
			return explain_attach(result, interface->mode, error);
		nanosleep(&(struct timespec){.tv_nsec = ATTACH_PAUSE_NS}, NULL);
	}
}

/* Whether a program is one that an earlier holder of the same instance attached: the lock of the
 * instance is ours, so that one is dead. */
static bool is_stale(const struct xdp_program *other, uint64_t holder)
{
	__u32 ids[8], n = sizeof ids / sizeof ids[0], first = 0;
	struct bpf_prog_info info = {.nr_map_ids = n, .map_ids = (uint64_t)(uintptr_t)ids};
	__u32 bytes = sizeof info;
	bool stale = false;
	if (strcmp(xdp_program__name(other), PACKETS_PROGRAM) != 0 ||
	    bpf_obj_get_info_by_fd(xdp_program__fd(other), &info, &bytes) != 0)
		return false;
	for (__u32 i = 0; i < info.nr_map_ids && i < n; i++) {
		struct bpf_map_info map = {0};
		struct packets_about about = {0};
		__u32 map_bytes = sizeof map;
		int fd = bpf_map_get_fd_by_id(ids[i]);
		stale |= fd >= 0 && bpf_obj_get_info_by_fd(fd, &map, &map_bytes) == 0 &&
		         strcmp(map.name, "about") == 0 && map.value_size == sizeof about &&
		         bpf_map_lookup_elem(fd, &first, &about) == 0 && about.holder == holder;
		if (fd >= 0)
			close(fd);
	}
	return stale;
}

static void remove_stale(const struct packets_interface *interface, struct xdp_multiprog *dispatcher,
                         uint64_t holder)
{
	enum xdp_attach_mode mode = xdp_multiprog__attach_mode(dispatcher);
	struct xdp_program *other = NULL;
	while ((other = xdp_multiprog__next_prog(other, dispatcher)) != NULL) {
		if (!is_stale(other, holder))
			continue;
		int result = xdp_program__detach(other, (int)interface->index, mode, 0);
		log_warn("a program that an earlier supervisor left on the interface is replaced",
		         "interface=%s removed=%s", interface->name, result == 0 ? "yes" : strerror(-result));
		return; /* the list is another one now */
	}
}

static int attach_dispatched(struct packets_interface *interface, struct xdp_multiprog *dispatcher,
                             uint64_t holder, struct shm_error *error)
{
	enum xdp_attach_mode mode = interface->mode == FRAMES_GENERIC ? XDP_MODE_SKB : XDP_MODE_NATIVE;
	if (xdp_multiprog__attach_mode(dispatcher) != mode) {
		shm_explain(error, "the dispatcher on it is attached in the other mode, %s",
		            mode == XDP_MODE_SKB ? "native" : "generic");
		return -EOPNOTSUPP;
	}
	remove_stale(interface, dispatcher, holder);
	DECLARE_LIBXDP_OPTS(xdp_program_opts, options, .obj = interface->object,
	                    .prog_name = PACKETS_PROGRAM);
	struct xdp_program *own = xdp_program__create(&options);
	int result = (int)libxdp_get_error(own);
	if (result != 0)
		return explain_load(result, error);
	/* What passes here goes on to the next program of the dispatcher, then to the kernel. */
	result = xdp_program__set_chain_call_enabled(own, XDP_PASS, true);
	if (result == 0)
		result = xdp_program__attach(own, (int)interface->index, mode, 0);
	if (result != 0) {
		xdp_program__close(own);
		return explain_attach(result, interface->mode, error);
	}
	interface->dispatched = own;
	return 0;
}

static int attach(struct packets_interface *interface, uint64_t holder, struct shm_error *error)
{
	struct xdp_multiprog *there = xdp_multiprog__get_from_ifindex((int)interface->index);
	bool none = libxdp_get_error(there) != 0, alone = none || xdp_multiprog__is_legacy(there);
	int result =
	        alone ? attach_alone(interface, error) : attach_dispatched(interface, there, holder, error);
	if (!none)
		xdp_multiprog__close(there);
	return result;
}

int packets_interface_open(struct packets_interface *interface, const char *name, enum frames_mode mode,
                           uint64_t holder, struct shm_error *error)
{
	struct packets_about about = {.holder = holder};
	interface->mode = mode;
	interface->link = interface->gates_fd = -1;
	snprintf(interface->name, sizeof interface->name, "%s", name);
	int result = look(interface, &about, error);
	if (result == 0)
		result = open_object(interface, error);
	if (result == 0)
		result = attach(interface, holder, error);
	if (result == 0)
		result = fill_maps(interface, &about, error);
	if (result != 0)
		packets_interface_close(interface);
	return result;
}

void packets_interface_close(struct packets_interface *interface)
{
	if (interface->dispatched != NULL) {
		enum xdp_attach_mode mode =
		        interface->mode == FRAMES_GENERIC ? XDP_MODE_SKB : XDP_MODE_NATIVE;
		(void)xdp_program__detach(interface->dispatched, (int)interface->index, mode, 0);
		xdp_program__close(interface->dispatched);
	}
	if (interface->link >= 0)
		close(interface->link);
	if (interface->gate != NULL)
		munmap(interface->gate, GATES_BYTES);
	if (interface->object != NULL)
		bpf_object__close(interface->object);
	free(interface->destination);
	free(interface->source);
	*interface = (struct packets_interface){.link = -1, .gates_fd = -1};
}

/* ---- steering ---- */

static void remember(void **list, unsigned *n, const void *entries, unsigned n_entries, size_t bytes)
{
	if (n_entries == 0)
		return;
	*list = reallocarray(*list, *n + n_entries, bytes);
	if (*list == NULL)
		abort();
	memcpy((char *)*list + *n * bytes, entries, n_entries * bytes);
	*n += n_entries;
}

static void forget(int map, void **list, unsigned *n, size_t bytes)
{
	for (unsigned i = 0; i < *n; i++)
		(void)bpf_map_delete_elem(map, (char *)*list + i * bytes);
	free(*list);
	*list = NULL;
	*n = 0;
}

static int steer_one(struct packets_interface *interface, const struct packets_steering *steering)
{
	int destinations = map_of(interface, "destinations"), sources = map_of(interface, "sources");
	int owners = map_of(interface, "owners"), sockets = map_of(interface, "sockets"), result = 0;
	const __u32 allowed = 1;
	for (unsigned i = 0; result == 0 && i < steering->n_sources; i++)
		result = bpf_map_update_elem(sources, &steering->source[i], &allowed, BPF_ANY);
	for (unsigned i = 0; result == 0 && i < steering->n_destinations; i++)
		result = bpf_map_update_elem(destinations, &steering->destination[i], &steering->listener,
		                             BPF_ANY);
	for (unsigned i = 0; result == 0 && i < steering->n_queues; i++) {
		result = bpf_map_update_elem(sockets, &steering->queue[i], &steering->socket[i], BPF_ANY);
		if (result == 0)
			result = bpf_map_update_elem(owners, &steering->queue[i], &steering->listener.number,
			                             BPF_ANY);
	}
	remember((void **)&interface->source, &interface->n_sources, steering->source, steering->n_sources,
	         sizeof *steering->source);
	remember((void **)&interface->destination, &interface->n_destinations, steering->destination,
	         steering->n_destinations, sizeof *steering->destination);
	return result;
}

int packets_interface_steer(struct packets_interface *interface, const struct packets_steering *steering,
                            unsigned n, struct shm_error *error)
{
	const __u32 nobody = 0;
	int owners = map_of(interface, "owners"), result = 0;
	for (__u32 queue = 0; queue < PACKETS_QUEUES_MAX; queue++)
		(void)bpf_map_update_elem(owners, &queue, &nobody, BPF_ANY);
	forget(map_of(interface, "destinations"), (void **)&interface->destination,
	       &interface->n_destinations, sizeof *interface->destination);
	forget(map_of(interface, "sources"), (void **)&interface->source, &interface->n_sources,
	       sizeof *interface->source);
	for (unsigned i = 0; result == 0 && i < n; i++)
		result = steer_one(interface, &steering[i]);
	if (result != 0)
		shm_explain(error, "the program's tables do not take all addresses, networks and queues: %s",
		            strerror(-result));
	return result;
}
