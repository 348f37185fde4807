#include "supervisor/bind.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "supervisor/capabilities.h"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

#define BIND_PAUSE_NS (10 * NS_PER_MS)
#define UNIX_MODE     0666 /* connecting needs the right to write; the folder decides which users get there */

in_port_t *bind_port(struct sockaddr_storage *address)
{
	return address->ss_family == AF_INET6 ? &((struct sockaddr_in6 *)(void *)address)->sin6_port
	                                      : &((struct sockaddr_in *)(void *)address)->sin_port;
}

static const char *path_of(const struct socket_entry *entry)
{
	return ((const struct sockaddr_un *)(const void *)&entry->wanted)->sun_path;
}

/* ---- options ---- */

static int switch_on(int fd, int level, int option)
{
	int on = 1;
	return setsockopt(fd, level, option, &on, sizeof on) == 0 ? 0 : -errno;
}

/* The kernel doubles the value for its own bookkeeping (socket(7)) and reports the doubled one. */
static void set_receive_buffer(struct sockets *sockets, const struct socket_entry *entry)
{
	int asked = entry->receive_buffer_bytes > INT32_MAX / 2 ? INT32_MAX / 2
	                                                        : (int)entry->receive_buffer_bytes;
	int got = 0;
	socklen_t length = sizeof got;
	capabilities_raise();
	bool forced = setsockopt(entry->fd, SOL_SOCKET, SO_RCVBUFFORCE, &asked, sizeof asked) == 0;
	capabilities_lower();
	if (!forced)
		(void)setsockopt(entry->fd, SOL_SOCKET, SO_RCVBUF, &asked, sizeof asked);
	if (getsockopt(entry->fd, SOL_SOCKET, SO_RCVBUF, &got, &length) == 0 && got / 2 < asked &&
	    !sockets->warned) {
		sockets->warned = true;
		log_warn(
		        "the kernel gave a smaller receive buffer than asked; sudo sysctl -w net.core.rmem_max=N allows it",
		        "address=%s asked_bytes=%d got_bytes=%d N=%d", entry->text, asked, got / 2, asked);
	}
}

void bind_resize(struct sockets *sockets, struct socket_entry *entry)
{
	if (entry->kind == PLAN_DATAGRAMS)
		set_receive_buffer(sockets, entry);
	else if (!entry->passed) /* the service manager's own affair */
		(void)listen(entry->fd, (int)entry->backlog);
}

void bind_options(struct sockets *sockets, struct socket_entry *entry)
{
	if (entry->kind == PLAN_CONNECTIONS) {
		if (entry->bound.ss_family == AF_UNIX)
			return;
		(void)switch_on(entry->fd, IPPROTO_TCP, TCP_NODELAY);
		/* Answers fit the first window, so there is nothing to control; BBR, where it is
		 * the default, costs a timer and a rate sample each. Connections inherit it. */
		(void)setsockopt(entry->fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
		return;
	}
	int result = switch_on(entry->fd, IPPROTO_UDP, UDP_GRO);
	if (result != 0)
		log_warn("UDP_GRO is not available", "address=%s error=\"%s\"", entry->text,
		         strerror(-result));
	set_receive_buffer(sockets, entry);
}

/* ---- internet addresses ---- */

/* Lets our sockets of this kind on this port share it; the kernel demands that all belong to one
 * user and all ask for it. Returns how many there are. */
static unsigned share_port(struct sockets *sockets, struct socket_entry *entry)
{
	unsigned n = 0;
	in_port_t port = *bind_port(&entry->wanted);
	for (unsigned i = 0; i < sockets->n; i++) {
		struct socket_entry *other = &sockets->entry[i];
		if (other->kind == entry->kind && other->bound.ss_family != AF_UNIX &&
		    *bind_port(&other->bound) == port && switch_on(other->fd, SOL_SOCKET, SO_REUSEPORT) == 0)
			n++;
	}
	return n;
}

static int bind_internet(struct sockets *sockets, struct socket_entry *entry)
{
	int off = 0, result = 0;
	if (entry->wanted.ss_family == AF_INET6 &&
	    setsockopt(entry->fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0)
		return -errno;
	/* For TCP: connections of an earlier life that ended a moment ago do not keep the port. It
	 * does not let two sockets listen. */
	if (entry->kind == PLAN_CONNECTIONS && (result = switch_on(entry->fd, SOL_SOCKET, SO_REUSEADDR)) != 0)
		return result;
	if (bind(entry->fd, (struct sockaddr *)&entry->wanted, entry->wanted_length) == 0)
		return 0;
	if (errno != EADDRINUSE || *bind_port(&entry->wanted) == 0 || share_port(sockets, entry) == 0 ||
	    switch_on(entry->fd, SOL_SOCKET, SO_REUSEPORT) != 0)
		return -errno;
	return bind(entry->fd, (struct sockaddr *)&entry->wanted, entry->wanted_length) == 0 ? 0 : -errno;
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

/* ---- Unix sockets ---- */

/* The file of a Unix socket on which no process listens: a supervisor that was killed left it. */
static bool is_stale(const struct socket_entry *entry)
{
	struct stat status;
	if (lstat(path_of(entry), &status) != 0 || !S_ISSOCK(status.st_mode))
		return false;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	bool refused = fd >= 0 &&
	               connect(fd, (const struct sockaddr *)&entry->wanted, entry->wanted_length) != 0 &&
	               errno == ECONNREFUSED;
	if (fd >= 0)
		close(fd);
	return refused;
}

static int bind_unix(struct socket_entry *entry)
{
	const struct sockaddr *wanted = (const struct sockaddr *)&entry->wanted;
	int result = bind(entry->fd, wanted, entry->wanted_length) == 0 ? 0 : -errno;
	if (result == -EADDRINUSE && is_stale(entry) && unlink(path_of(entry)) == 0)
		result = bind(entry->fd, wanted, entry->wanted_length) == 0 ? 0 : -errno;
	struct stat status;
	if (result != 0)
		return result;
	if (stat(path_of(entry), &status) != 0)
		return -errno;
	entry->device = status.st_dev;
	entry->inode = status.st_ino;
	return chmod(path_of(entry), UNIX_MODE) == 0 ? 0 : -errno;
}

void bind_unlink(struct socket_entry *entry)
{
	struct stat status;
	if (entry->inode != 0 && lstat(path_of(entry), &status) == 0 && status.st_dev == entry->device &&
	    status.st_ino == entry->inode)
		(void)unlink(path_of(entry));
	entry->inode = 0;
}

/* ---- all of them ---- */

static int bind_once(struct sockets *sockets, struct socket_entry *entry)
{
	const int type = entry->kind == PLAN_DATAGRAMS ? SOCK_DGRAM : SOCK_STREAM;
	entry->fd = socket(entry->wanted.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (entry->fd < 0 && errno == EAFNOSUPPORT) {
		fall_back_to_ipv4(entry);
		entry->fd = socket(entry->wanted.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	}
	if (entry->fd < 0)
		return -errno;
	int result = entry->wanted.ss_family == AF_UNIX ? bind_unix(entry) : bind_internet(sockets, entry);
	/* Two sockets can be bound with SO_REUSEADDR; only listen(2) refuses the second. */
	if (result == 0 && entry->kind == PLAN_CONNECTIONS && listen(entry->fd, (int)entry->backlog) != 0)
		result = -errno;
	if (result != 0) {
		bind_unlink(entry);
		close(entry->fd);
	}
	return result;
}

int bind_socket(struct sockets *sockets, struct socket_entry *entry, uint64_t deadline_ns)
{
	for (;;) {
		int result = bind_once(sockets, entry);
		if (result != -EADDRINUSE || clock_monotonic_ns() >= deadline_ns)
			return result;
		nanosleep(&(struct timespec){.tv_nsec = BIND_PAUSE_NS}, NULL);
	}
}

static const char *remedy_of(const struct socket_entry *entry, int result)
{
	bool is_unix = entry->wanted.ss_family == AF_UNIX;
	if (result == -EADDRINUSE && is_unix)
		return "; another program listens there (ss -lxp shows which), or the file is no socket: choose another path";
	if (result == -EADDRINUSE && entry->kind == PLAN_DATAGRAMS)
		return "; another program has this port (ss -ulpn shows which): end it or choose another port";
	if (result == -EADDRINUSE)
		return "; another program has this port (ss -tlpn shows which): end it or choose another port";
	if (result == -EADDRNOTAVAIL)
		return "; no network interface of this machine has this address";
	if (result == -ENOENT && is_unix)
		return "; its folder must exist";
	if (result == -EACCES)
		return is_unix ? "; its folder must let this user make files"
		               : "; ports below 1024 need CAP_NET_BIND_SERVICE";
	return "";
}

void bind_explain(const struct socket_entry *entry, int result, struct shm_error *error)
{
	const char *protocol = entry->wanted.ss_family == AF_UNIX ? ""
	                       : entry->kind == PLAN_DATAGRAMS    ? "udp "
	                                                          : "tcp ";
	shm_explain(error, "%s.listen: cannot bind %s%s: %s%s", entry->section, protocol, entry->text,
	            strerror(-result), remedy_of(entry, result));
}
