#include "supervisor/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "shm/drops.h"
#include "base/clock.h"
#include "base/log.h"
#include "supervisor/bind.h"

#define PASSED_FIRST_FD 3 /* SD_LISTEN_FDS_START */
#define BIND_RETRY_NS   (500 * NS_PER_MS)

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

/* ---- taken by their address ---- */

static int option_of(int fd, int option)
{
	int value = 0;
	socklen_t length = sizeof value;
	return getsockopt(fd, SOL_SOCKET, option, &value, &length) == 0 ? value : -1;
}

/* A passed socket of the wanted kind and local address, or -1. */
static int find_passed(struct sockets *sockets, const struct socket_entry *entry)
{
	bool datagrams = entry->kind == PLAN_DATAGRAMS;
	for (unsigned i = 0; i < sockets->n_passed; i++) {
		int fd = sockets->passed[i];
		struct sockaddr_storage local = {0};
		socklen_t length = sizeof local;
		if (option_of(fd, SO_TYPE) != (datagrams ? SOCK_DGRAM : SOCK_STREAM) ||
		    (!datagrams && option_of(fd, SO_ACCEPTCONN) != 1) ||
		    getsockname(fd, (struct sockaddr *)&local, &length) != 0 ||
		    !address_same(&local, &entry->wanted))
			continue;
		sockets->passed[i] = sockets->passed[--sockets->n_passed];
		(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
		return fd;
	}
	return -1;
}

/* ---- opening and closing ---- */

static int open_one(struct sockets *sockets, struct socket_entry *entry, uint64_t deadline_ns,
                    struct shm_error *error)
{
	if (sockets->n == SOCKETS_MAX) {
		shm_explain(error, "%s: more than %u sockets in all (addresses times processes)",
		            entry->section, SOCKETS_MAX);
		return -ENOSPC;
	}
	entry->passed = entry->fd >= 0;
	if (!entry->passed) {
		int result = bind_socket(sockets, entry, deadline_ns);
		if (result != 0) {
			bind_explain(entry, result, error);
			return result;
		}
	}
	entry->bound_length = sizeof entry->bound;
	(void)getsockname(entry->fd, (struct sockaddr *)&entry->bound, &entry->bound_length);
	bind_options(sockets, entry);
	sockets->entry[sockets->n++] = *entry;
	return 0;
}

static void close_one(struct socket_entry *entry)
{
	bind_unlink(entry);
	close(entry->fd);
}

/* ---- what the plan asks ---- */

/* A socket of the same configured address and process that has no use yet. A quiet Unix socket has
 * lost its file. */
static struct socket_entry *find_kept(struct sockets *sockets, const struct socket_entry *wanted)
{
	for (unsigned i = 0; i < sockets->n; i++) {
		struct socket_entry *entry = &sockets->entry[i];
		if (!entry->kept && entry->kind == wanted->kind && entry->process == wanted->process &&
		    strcmp(entry->text, wanted->text) == 0 &&
		    !(entry->quiet && entry->bound.ss_family == AF_UNIX))
			return entry;
	}
	return NULL;
}

/* The socket in use of the first process at this address, or NULL. */
static const struct socket_entry *first_of(const struct sockets *sockets, unsigned listener, unsigned place)
{
	for (unsigned i = 0; i < sockets->n; i++) {
		const struct socket_entry *entry = &sockets->entry[i];
		if (entry->kept && entry->listener == listener && entry->place == place &&
		    entry->process == 0)
			return entry;
	}
	return NULL;
}

/* True when the other processes of the address use this socket too. */
static bool is_shared(const struct socket_entry *first)
{
	return first->kind == PLAN_CONNECTIONS && (first->passed || first->bound.ss_family == AF_UNIX);
}

static void keep(struct sockets *sockets, struct socket_entry *entry, const struct socket_entry *wanted)
{
	bool resized = entry->receive_buffer_bytes != wanted->receive_buffer_bytes ||
	               entry->backlog != wanted->backlog;
	memcpy(entry->section, wanted->section, sizeof entry->section);
	entry->listener = wanted->listener;
	entry->place = wanted->place;
	entry->receive_buffer_bytes = wanted->receive_buffer_bytes;
	entry->backlog = wanted->backlog;
	entry->kept = true;
	if (resized || (entry->quiet && entry->kind == PLAN_CONNECTIONS))
		bind_resize(sockets, entry);
	if (entry->quiet && entry->kind == PLAN_DATAGRAMS) {
		struct sockaddr nobody = {.sa_family = AF_UNSPEC};
		(void)connect(entry->fd, &nobody, sizeof nobody);
	}
	entry->quiet = false;
}

static int open_wanted(struct sockets *sockets, struct socket_entry *wanted, uint64_t deadline_ns,
                       struct shm_error *error)
{
	struct socket_entry *entry = find_kept(sockets, wanted);
	if (entry != NULL) {
		keep(sockets, entry, wanted);
		return 0;
	}
	const struct socket_entry *first =
	        wanted->process == 0 ? NULL : first_of(sockets, wanted->listener, wanted->place);
	wanted->fd = find_passed(sockets, wanted);
	if (first != NULL && wanted->fd < 0 && is_shared(first))
		return 0;
	/* With port 0 the first process's socket gets a port and the others the same. */
	if (first != NULL && first->bound.ss_family != AF_UNIX)
		*bind_port(&wanted->wanted) = *bind_port((struct sockaddr_storage *)(uintptr_t)&first->bound);
	wanted->kept = true;
	return open_one(sockets, wanted, deadline_ns, error);
}

static int open_listener(struct sockets *sockets, const struct plan *plan, unsigned listener,
                         uint64_t deadline_ns, struct shm_error *error)
{
	const struct plan_listener *about = &plan->listener[listener];
	for (unsigned place = 0; place < about->n_addresses; place++) {
		const struct plan_address *address = &plan->address[about->first_address + place];
		for (unsigned process = 0; process < about->processes; process++) {
			struct socket_entry wanted = {
			        .kind = about->sockets,
			        .wanted = address->address,
			        .wanted_length = address->length,
			        .listener = listener,
			        .process = process,
			        .place = place,
			        .receive_buffer_bytes = about->receive_buffer_bytes,
			        .backlog = about->backlog,
			};
			memcpy(wanted.text, address->text, sizeof wanted.text);
			memcpy(wanted.section, about->section, sizeof wanted.section);
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
			close_one(&sockets->entry[i]);
		*sockets = *before;
	}
	free(before);
	return result;
}

static void quiet_datagrams(struct socket_entry *entry)
{
	struct sockaddr_storage self = entry->bound;
	struct sockaddr_in *ipv4 = (void *)&self;
	struct sockaddr_in6 *ipv6 = (void *)&self;
	if (self.ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&ipv6->sin6_addr))
		ipv6->sin6_addr = in6addr_loopback;
	else if (self.ss_family == AF_INET && ipv4->sin_addr.s_addr == htonl(INADDR_ANY))
		ipv4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	entry->quiet = connect(entry->fd, (struct sockaddr *)&self, entry->bound_length) == 0;
}

static void quiet_connections(struct socket_entry *entry)
{
	if (entry->bound.ss_family == AF_UNIX)
		bind_unlink(entry);
	else
		(void)listen(entry->fd, 0);
	entry->quiet = true;
}

void sockets_quiet(struct sockets *sockets, bool all)
{
	for (unsigned i = 0; i < sockets->n; i++) {
		struct socket_entry *entry = &sockets->entry[i];
		if (entry->passed || entry->quiet || (entry->kept && !all))
			continue;
		if (entry->kind == PLAN_DATAGRAMS)
			quiet_datagrams(entry);
		else
			quiet_connections(entry);
	}
}

void sockets_close_unused(struct sockets *sockets)
{
	unsigned n = 0;
	for (unsigned i = 0; i < sockets->n; i++) {
		if (sockets->entry[i].kept)
			sockets->entry[n++] = sockets->entry[i];
		else
			close_one(&sockets->entry[i]);
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

void sockets_forget_drops(const struct sockets *sockets, const char *directory)
{
	struct segment segment = {0};
	struct shm_error error;
	uint64_t cookie[SOCKETS_MAX];
	size_t n = 0;
	for (unsigned i = 0; i < sockets->n; i++) {
		socklen_t bytes = sizeof cookie[n];
		if (getsockopt(sockets->entry[i].fd, SOL_SOCKET, SO_COOKIE, &cookie[n], &bytes) == 0)
			n++;
	}
	if (segment_attach(&segment, directory, "drops", SEGMENT_DROPS, SEGMENT_WRITE, &error) != 0) {
		log_warn("cannot reset the counters of closed sockets", "error=\"%s\"", error.text);
		return;
	}
	drops_keep(segment.body, cookie, n);
	segment_detach(&segment);
}

void sockets_close(struct sockets *sockets)
{
	for (unsigned i = 0; i < sockets->n; i++)
		close_one(&sockets->entry[i]);
	for (unsigned i = 0; i < sockets->n_passed; i++)
		close(sockets->passed[i]);
	sockets->n = sockets->n_passed = 0;
}

/* The socket of a process at an address: its own, or the one that all share. */
static const struct socket_entry *socket_at(const struct sockets *sockets, unsigned listener, unsigned place,
                                            unsigned process)
{
	for (unsigned i = 0; i < sockets->n; i++) {
		const struct socket_entry *entry = &sockets->entry[i];
		if (entry->kept && entry->listener == listener && entry->place == place &&
		    entry->process == process)
			return entry;
	}
	const struct socket_entry *first = first_of(sockets, listener, place);
	return first != NULL && is_shared(first) ? first : NULL;
}

unsigned sockets_of(const struct sockets *sockets, const struct plan_role *role, int fd[STAGE_SOCKETS_MAX])
{
	unsigned n = 0;
	for (unsigned place = 0; role->listener >= 0 && place < STAGE_SOCKETS_MAX; place++) {
		const struct socket_entry *entry =
		        socket_at(sockets, (unsigned)role->listener, place, role->process);
		if (entry == NULL)
			break;
		fd[n++] = entry->fd;
	}
	return n;
}
