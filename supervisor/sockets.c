#include "supervisor/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "stage/clock.h"
#include "stage/log.h"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

#define PASSED_FIRST_FD 3 /* SD_LISTEN_FDS_START */
#define BIND_RETRY_NS   (500 * NS_PER_MS)
#define BIND_PAUSE_NS   (10 * NS_PER_MS)

/* ---- taken from the service manager ---- */

unsigned sockets_take_passed(struct sockets *sockets)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	unsigned long n = pid != NULL && count != NULL && strtoul(pid, NULL, 10) == (unsigned long)getpid()
	                          ? strtoul(count, NULL, 10)
	                          : 0;
	for (int fd = PASSED_FIRST_FD; n > 0 && sockets->n_passed < SOCKETS_MAX; fd++, n--)
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) == 0)
			sockets->passed[sockets->n_passed++] = fd;
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return sockets->n_passed;
}

/* ---- addresses ---- */

static in_port_t *port_of(struct sockaddr_storage *address)
{
	return address->ss_family == AF_INET6 ? &((struct sockaddr_in6 *)(void *)address)->sin6_port
	                                      : &((struct sockaddr_in *)(void *)address)->sin_port;
}

static bool same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET6) {
		const struct sockaddr_in6 *x = (const void *)a, *y = (const void *)b;
		return x->sin6_port == y->sin6_port && x->sin6_scope_id == y->sin6_scope_id &&
		       memcmp(&x->sin6_addr, &y->sin6_addr, sizeof x->sin6_addr) == 0;
	}
	const struct sockaddr_in *x = (const void *)a, *y = (const void *)b;
	return x->sin_port == y->sin_port && x->sin_addr.s_addr == y->sin_addr.s_addr;
}

/* ---- options ---- */

static int switch_on(int fd, int level, int option)
{
	int on = 1;
	return setsockopt(fd, level, option, &on, sizeof on) == 0 ? 0 : -errno;
}

/* The kernel doubles the value for its own bookkeeping (socket(7)) and tells the doubled one. */
static void set_receive_buffer(struct sockets *sockets, struct socket_entry *entry)
{
	int asked = entry->receive_buffer_bytes > INT32_MAX / 2 ? INT32_MAX / 2
	                                                        : (int)entry->receive_buffer_bytes;
	int got = 0;
	socklen_t length = sizeof got;
	if (setsockopt(entry->fd, SOL_SOCKET, SO_RCVBUFFORCE, &asked, sizeof asked) != 0)
		(void)setsockopt(entry->fd, SOL_SOCKET, SO_RCVBUF, &asked, sizeof asked);
	if (getsockopt(entry->fd, SOL_SOCKET, SO_RCVBUF, &got, &length) == 0 && got / 2 < asked &&
	    !sockets->warned) {
		sockets->warned = true;
		log_warn("the kernel gave a smaller receive buffer than asked; sudo sysctl -w "
		         "net.core.rmem_max=N allows it",
		         "address=%s asked_bytes=%d got_bytes=%d N=%d", entry->text, asked, got / 2, asked);
	}
}

static void set_options(struct sockets *sockets, struct socket_entry *entry)
{
	int result = switch_on(entry->fd, IPPROTO_UDP, UDP_GRO);
	if (result != 0)
		log_warn("UDP_GRO is not available", "address=%s error=\"%s\"", entry->text,
		         strerror(-result));
	set_receive_buffer(sockets, entry);
}

/* ---- binding ---- */

/* Lets our sockets on this port share it; the kernel admits only sockets of one user that all say so. Returns how many
 * there are. */
static unsigned share_port(struct sockets *sockets, struct socket_entry *entry)
{
	unsigned n = 0;
	in_port_t port = *port_of(&entry->wanted);
	for (unsigned i = 0; i < sockets->n; i++)
		if (*port_of(&sockets->entry[i].bound) == port &&
		    switch_on(sockets->entry[i].fd, SOL_SOCKET, SO_REUSEPORT) == 0)
			n++;
	return n;
}

static int bind_once(struct sockets *sockets, struct socket_entry *entry)
{
	if (bind(entry->fd, (struct sockaddr *)&entry->wanted, entry->wanted_length) == 0)
		return 0;
	if (errno != EADDRINUSE || *port_of(&entry->wanted) == 0 || share_port(sockets, entry) == 0 ||
	    switch_on(entry->fd, SOL_SOCKET, SO_REUSEPORT) != 0)
		return -errno;
	if (bind(entry->fd, (struct sockaddr *)&entry->wanted, entry->wanted_length) == 0)
		return 0;
	int failed = -errno;
	int off = 0;
	(void)setsockopt(entry->fd, SOL_SOCKET, SO_REUSEPORT, &off, sizeof off);
	return failed;
}

/* On a kernel without IPv6 [::] stands for all addresses that there are. */
static void fall_back_to_ipv4(struct socket_entry *entry)
{
	const struct sockaddr_in6 *all = (const void *)&entry->wanted;
	if (entry->wanted.ss_family != AF_INET6 || !IN6_IS_ADDR_UNSPECIFIED(&all->sin6_addr))
		return;
	struct sockaddr_in ipv4 = {.sin_family = AF_INET, .sin_port = all->sin6_port};
	memset(&entry->wanted, 0, sizeof entry->wanted);
	memcpy(&entry->wanted, &ipv4, sizeof ipv4);
	entry->wanted_length = sizeof ipv4;
}

static int bind_socket(struct sockets *sockets, struct socket_entry *entry, uint64_t deadline_ns)
{
	int off = 0;
	const int type = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
	entry->fd = socket(entry->wanted.ss_family, type, 0);
	if (entry->fd < 0 && errno == EAFNOSUPPORT) {
		fall_back_to_ipv4(entry);
		entry->fd = socket(entry->wanted.ss_family, type, 0);
	}
	if (entry->fd < 0)
		return -errno;
	int result = 0;
	if (entry->wanted.ss_family == AF_INET6 &&
	    setsockopt(entry->fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0)
		result = -errno;
	while (result == 0 && (result = bind_once(sockets, entry)) == -EADDRINUSE &&
	       clock_monotonic_ns() < deadline_ns) {
		nanosleep(&(struct timespec){.tv_nsec = BIND_PAUSE_NS}, NULL);
		result = 0;
	}
	if (result != 0)
		close(entry->fd);
	return result;
}

/* A passed datagram socket with the wanted local address, or -1. */
static int find_passed(struct sockets *sockets, const struct socket_entry *entry)
{
	for (unsigned i = 0; i < sockets->n_passed; i++) {
		int fd = sockets->passed[i], type = 0;
		struct sockaddr_storage local = {0};
		socklen_t length = sizeof type, local_length = sizeof local;
		if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0 || type != SOCK_DGRAM ||
		    getsockname(fd, (struct sockaddr *)&local, &local_length) != 0 ||
		    !same_address(&local, &entry->wanted))
			continue;
		sockets->passed[i] = sockets->passed[--sockets->n_passed];
		(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
		return fd;
	}
	return -1;
}

static void explain(const struct socket_entry *entry, int result, struct shm_error *error)
{
	const char *remedy = "";
	if (result == -EADDRINUSE)
		remedy = "; another program has this port (ss -ulpn shows which): end it or choose another "
		         "port";
	else if (result == -EADDRNOTAVAIL)
		remedy = "; no network interface of this machine has this address";
	else if (result == -EACCES)
		remedy = "; ports below 1024 need CAP_NET_BIND_SERVICE";
	shm_explain(error, "ingest.udp[%u].listen: cannot bind udp %s: %s%s", entry->listener, entry->text,
	            strerror(-result), remedy);
}

static int open_one(struct sockets *sockets, struct socket_entry *entry, uint64_t deadline_ns,
                    struct shm_error *error)
{
	if (sockets->n == SOCKETS_MAX) {
		shm_explain(error, "ingest.udp: more than %u sockets (addresses times processes)",
		            SOCKETS_MAX);
		return -ENOSPC;
	}
	entry->fd = find_passed(sockets, entry);
	entry->passed = entry->fd >= 0;
	if (!entry->passed) {
		int result = bind_socket(sockets, entry, deadline_ns);
		if (result != 0) {
			explain(entry, result, error);
			return result;
		}
	}
	entry->bound_length = sizeof entry->bound;
	(void)getsockname(entry->fd, (struct sockaddr *)&entry->bound, &entry->bound_length);
	set_options(sockets, entry);
	sockets->entry[sockets->n++] = *entry;
	return 0;
}

/* ---- what the plan asks ---- */

/* A socket of the same configured address and process that has no use yet. */
static struct socket_entry *find_kept(struct sockets *sockets, const struct socket_entry *wanted)
{
	for (unsigned i = 0; i < sockets->n; i++) {
		struct socket_entry *entry = &sockets->entry[i];
		if (!entry->kept && entry->process == wanted->process &&
		    strcmp(entry->text, wanted->text) == 0)
			return entry;
	}
	return NULL;
}

/* With port 0 the first process's socket gets a port and the others the same. */
static void follow_first(const struct sockets *sockets, struct socket_entry *entry)
{
	for (unsigned i = 0; i < sockets->n; i++) {
		const struct socket_entry *first = &sockets->entry[i];
		if (first->kept && first->listener == entry->listener && first->place == entry->place &&
		    first->process == 0)
			*port_of(&entry->wanted) =
			        *port_of((struct sockaddr_storage *)(uintptr_t)&first->bound);
	}
}

static int open_wanted(struct sockets *sockets, struct socket_entry *wanted, uint64_t deadline_ns,
                       struct shm_error *error)
{
	struct socket_entry *entry = find_kept(sockets, wanted);
	if (entry == NULL) {
		follow_first(sockets, wanted);
		wanted->kept = true;
		return open_one(sockets, wanted, deadline_ns, error);
	}
	bool resized = entry->receive_buffer_bytes != wanted->receive_buffer_bytes;
	entry->listener = wanted->listener;
	entry->place = wanted->place;
	entry->receive_buffer_bytes = wanted->receive_buffer_bytes;
	entry->kept = true;
	if (entry->quiet) {
		struct sockaddr nobody = {.sa_family = AF_UNSPEC};
		entry->quiet = connect(entry->fd, &nobody, sizeof nobody) != 0;
	}
	if (resized)
		set_receive_buffer(sockets, entry);
	return 0;
}

static int open_listener(struct sockets *sockets, const struct plan *plan, unsigned listener,
                         uint64_t deadline_ns, struct shm_error *error)
{
	const struct plan_listener *about = &plan->listener[listener];
	for (unsigned place = 0; place < about->n_addresses; place++) {
		const struct plan_address *address = &plan->address[about->first_address + place];
		for (unsigned process = 0; process < about->processes; process++) {
			struct socket_entry wanted = {
			        .wanted = address->address,
			        .wanted_length = address->length,
			        .listener = listener,
			        .process = process,
			        .place = place,
			        .receive_buffer_bytes = about->receive_buffer_bytes,
			};
			memcpy(wanted.text, address->text, sizeof wanted.text);
			int result = open_wanted(sockets, &wanted, deadline_ns, error);
			if (result != 0)
				return result;
		}
	}
	return 0;
}

int sockets_open(struct sockets *sockets, const struct plan *plan, struct shm_error *error)
{
	struct sockets *before = malloc(sizeof *before);
	if (before == NULL)
		abort();
	*before = *sockets;
	for (unsigned i = 0; i < sockets->n; i++)
		sockets->entry[i].kept = false;
	uint64_t deadline_ns = clock_monotonic_ns() + BIND_RETRY_NS;
	int result = 0;
	for (unsigned i = 0; result == 0 && i < plan->n_listeners; i++)
		result = open_listener(sockets, plan, i, deadline_ns, error);
	if (result != 0) {
		for (unsigned i = before->n; i < sockets->n; i++)
			close(sockets->entry[i].fd);
		*sockets = *before;
	}
	free(before);
	return result;
}

void sockets_quiet(struct sockets *sockets, bool all)
{
	for (unsigned i = 0; i < sockets->n; i++) {
		struct socket_entry *entry = &sockets->entry[i];
		if (entry->passed || entry->quiet || (entry->kept && !all))
			continue;
		struct sockaddr_storage self = entry->bound;
		struct sockaddr_in *ipv4 = (void *)&self;
		struct sockaddr_in6 *ipv6 = (void *)&self;
		if (self.ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&ipv6->sin6_addr))
			ipv6->sin6_addr = in6addr_loopback;
		else if (self.ss_family == AF_INET && ipv4->sin_addr.s_addr == htonl(INADDR_ANY))
			ipv4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		entry->quiet = connect(entry->fd, (struct sockaddr *)&self, entry->bound_length) == 0;
	}
}

void sockets_close_unused(struct sockets *sockets)
{
	unsigned n = 0;
	for (unsigned i = 0; i < sockets->n; i++) {
		if (sockets->entry[i].kept)
			sockets->entry[n++] = sockets->entry[i];
		else
			close(sockets->entry[i].fd);
	}
	sockets->n = n;
	for (unsigned i = 0; i < sockets->n_passed; i++) {
		char text[ADDRESS_TEXT_MAX];
		struct sockaddr_storage local = {0};
		socklen_t length = sizeof local;
		(void)getsockname(sockets->passed[i], (struct sockaddr *)&local, &length);
		log_warn("a passed socket matches no listener and is closed", "fd=%d address=%s",
		         sockets->passed[i], address_format(text, &local));
		close(sockets->passed[i]);
	}
	sockets->n_passed = 0;
}

void sockets_close(struct sockets *sockets)
{
	for (unsigned i = 0; i < sockets->n; i++)
		close(sockets->entry[i].fd);
	for (unsigned i = 0; i < sockets->n_passed; i++)
		close(sockets->passed[i]);
	sockets->n = sockets->n_passed = 0;
}

unsigned sockets_of(const struct sockets *sockets, const struct plan_role *role, int fd[STAGE_SOCKETS_MAX])
{
	unsigned n = 0;
	for (unsigned i = 0; role->listener >= 0 && i < sockets->n; i++) {
		const struct socket_entry *entry = &sockets->entry[i];
		if (entry->kept && (int)entry->listener == role->listener &&
		    entry->process == role->process && entry->place < STAGE_SOCKETS_MAX) {
			fd[entry->place] = entry->fd;
			n++;
		}
	}
	return n;
}
