#include "deliver/names.h"

#include <ares.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/address.h"
#include "base/clock.h"
#include "deliver/names_file.h"
#include "deliver/names_servers.h"
#include "deliver/names_text.h"

#ifndef RESOLV_CONF /* a test has its own */
#define RESOLV_CONF "/etc/resolv.conf"
#endif
#define CHANNELS   2u /* the one in use, and one whose servers have been replaced, until its queries are over */
#define EVENTS_MAX 32
#define FIRST_WAIT_MS \
	10u /* at least so long is waited for a server the first time, rather than ask it more often */
#define LOOK_NS       NS_PER_SEC        /* so often it is looked whether files have changed */
#define HOSTS_FILE_NS (10 * NS_PER_SEC) /* what the hosts file says holds so long */

/* A query of c-ares. It cannot be taken back: one that nobody wants any more keeps its place until
 * c-ares has done with it, by an answer or when its own tries are over. */
struct ask {
	struct names *names;
	struct ask *newer,
	        *older; /* of those that are wanted, in the order of their start; newer: of those that are free */
	unsigned channel;
	bool wanted;
	void *asker;
	uint64_t started_ns;
};

/* An answer that names_next has not given out. */
struct told {
	struct names_answer answer;
	bool wanted;
};

struct channel {
	struct names *names;
	ares_channel ares; /* NULL: none */
	unsigned n_asks;
};

struct names {
	int epoll;
	struct channel channel[CHANNELS];
	unsigned current;
	struct names_file *file;
	bool system_servers;
	struct stat resolv_conf;
	uint64_t looked_ns; /* for changes of files; 0: never */
	bool closing;
	unsigned most, tries;
	uint64_t timeout_ns, ttl_least_ns, ttl_most_ns, failure_kept_ns;
	uint64_t now_ns; /* of the call that c-ares calls back from */
	struct ask *ask, *free, *oldest, *newest;
	unsigned n_asks, n_wanted;
	/* a ring; each wanted ask has a place kept in it */
	struct told *told;
	unsigned told_room, told_at, n_told;
};

/* ---- answers ---- */

static uint64_t clamp(const struct names *names, uint64_t ns)
{
	if (ns < names->ttl_least_ns)
		ns = names->ttl_least_ns;
	return ns > names->ttl_most_ns ? names->ttl_most_ns : ns;
}

/* The next place of the ring, there is one. holds_ns: how long the answer holds. */
static struct names_answer *tell(struct names *names, void *asker, int result, uint64_t holds_ns)
{
	struct told *told = &names->told[(names->told_at + names->n_told++) % names->told_room];
	told->wanted = true;
	told->answer = (struct names_answer){.asker = asker, .result = result};
	told->answer.expires_ns =
	        names->now_ns + (result == 0 ? clamp(names, holds_ns) : names->failure_kept_ns);
	return &told->answer;
}

static void tell_failure(struct names *names, void *asker, int result, uint64_t took_ns, const char *reason)
{
	struct names_answer *answer = tell(names, asker, result, 0);
	answer->took_ns = took_ns;
	snprintf(answer->reason, sizeof answer->reason, "%s", reason);
}

static bool tell_next(struct names *names, struct names_answer *answer)
{
	while (names->n_told > 0) {
		const struct told *told = &names->told[names->told_at];
		names->told_at = (names->told_at + 1) % names->told_room;
		names->n_told--;
		if (!told->wanted)
			continue;
		*answer = told->answer;
		return true;
	}
	return false;
}

/* ---- queries ---- */

static struct ask *ask_take(struct names *names, void *asker)
{
	struct ask *ask = names->free;
	names->free = ask->newer;
	*ask = (struct ask){.names = names, .channel = names->current, .wanted = true, .asker = asker};
	ask->started_ns = names->now_ns;
	ask->older = names->newest;
	*(names->newest != NULL ? &names->newest->newer : &names->oldest) = ask;
	names->newest = ask;
	names->n_wanted++;
	names->n_asks++;
	names->channel[ask->channel].n_asks++;
	return ask;
}

/* Nobody waits for it any more. */
static void ask_drop(struct names *names, struct ask *ask)
{
	*(ask->older != NULL ? &ask->older->newer : &names->oldest) = ask->newer;
	*(ask->newer != NULL ? &ask->newer->older : &names->newest) = ask->older;
	ask->wanted = false;
	names->n_wanted--;
}

static void ask_free(struct names *names, struct ask *ask)
{
	names->channel[ask->channel].n_asks--;
	names->n_asks--;
	ask->newer = names->free;
	names->free = ask;
}

static int result_of(int status)
{
	switch (status) {
	case ARES_SUCCESS:
		return 0;
	case ARES_ENOTFOUND:
	case ARES_ENODATA:
		return -ENOENT;
	case ARES_ETIMEOUT:
		return -ETIMEDOUT;
	case ARES_EBADNAME:
		return -EINVAL;
	default:
		return -EIO;
	}
}

static bool take_address(struct names_answer *answer, const struct sockaddr *from)
{
	uint8_t *to = answer->address[answer->n];
	if (!address_host(to, from))
		return false;
	for (unsigned i = 0; i < answer->n; i++)
		if (memcmp(answer->address[i], to, 16) == 0)
			return false;
	return true;
}

/* The least time to live of all records that led to the addresses. */
static uint64_t holds_ns(const struct ares_addrinfo *info)
{
	int ttl = INT32_MAX;
	for (const struct ares_addrinfo_node *node = info->nodes; node != NULL; node = node->ai_next)
		if (node->ai_ttl < ttl)
			ttl = node->ai_ttl;
	for (const struct ares_addrinfo_cname *cname = info->cnames; cname != NULL; cname = cname->next)
		if (cname->ttl < ttl)
			ttl = cname->ttl;
	return ttl < 0 ? 0 : (uint64_t)ttl * NS_PER_SEC;
}

static void hear(void *argument, int status, int timeouts, struct ares_addrinfo *info)
{
	(void)timeouts;
	struct ask *ask = argument;
	struct names *names = ask->names;
	if (ask->wanted && !names->closing) {
		uint64_t took_ns = names->now_ns > ask->started_ns ? names->now_ns - ask->started_ns : 0;
		int result = result_of(status);
		ask_drop(names, ask);
		if (result == 0 && (info == NULL || info->nodes == NULL)) {
			result = -ENOENT;
			status = ARES_ENODATA;
		}
		if (result != 0) {
			tell_failure(names, ask->asker, result, took_ns, ares_strerror(status));
		} else {
			struct names_answer *answer = tell(names, ask->asker, 0, holds_ns(info));
			answer->took_ns = took_ns;
			for (const struct ares_addrinfo_node *node = info->nodes;
			     node != NULL && answer->n < NAMES_ADDRESSES_MAX; node = node->ai_next)
				answer->n += take_address(answer, node->ai_addr);
		}
	}
	if (!names->closing)
		ask_free(names, ask);
	if (info != NULL)
		ares_freeaddrinfo(info);
}

/* Those whose time is over. */
static void end_late(struct names *names)
{
	while (names->oldest != NULL && names->now_ns >= names->oldest->started_ns + names->timeout_ns) {
		struct ask *ask = names->oldest;
		ask_drop(names, ask);
		tell_failure(names, ask->asker, -ETIMEDOUT, names->now_ns - ask->started_ns,
		             ares_strerror(ARES_ETIMEOUT));
	}
}

/* ---- channels ---- */

/* A socket that cannot be added is one that nothing is heard from: its queries time out. */
static void watch(void *argument, ares_socket_t fd, int readable, int writable)
{
	const struct channel *channel = argument;
	int epoll = channel->names->epoll;
	uint64_t index = (uint64_t)(channel - channel->names->channel);
	struct epoll_event event = {.data.u64 = index << 32 | (uint32_t)fd};
	event.events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u);
	if (event.events == 0)
		epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
	else if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0 && errno == EEXIST)
		epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
}

/* c-ares doubles its waits from one round of tries to the next. They end before our own time does,
 * so that an answer for one of A and AAAA alone counts. */
static void set_waits(const struct names *names, unsigned n_servers, struct ares_options *options)
{
	uint64_t budget_ms = names->timeout_ns / NS_PER_MS * 7 / 8;
	unsigned tries = names->tries;
	while (tries > 1 && budget_ms / (n_servers * ((1ull << tries) - 1)) < FIRST_WAIT_MS)
		tries--;
	uint64_t wait_ms = budget_ms / (n_servers * ((1ull << tries) - 1));
	options->timeout = wait_ms == 0 ? 1 : (int)wait_ms;
	options->tries = (int)tries;
}

static int channel_open(struct names *names, unsigned index, const struct names_servers *servers)
{
	static char lookups[] = "b"; /* by name servers alone: the hosts file is read here */
	struct channel *channel = &names->channel[index];
	struct ares_options options = {.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES, .lookups = lookups};
	int mask = ARES_OPT_FLAGS | ARES_OPT_LOOKUPS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS |
	           ARES_OPT_DOMAINS | ARES_OPT_SOCK_STATE_CB;
	options.sock_state_cb = watch;
	options.sock_state_cb_data = channel;
	set_waits(names, servers->n, &options);
#ifdef ARES_OPT_QUERY_CACHE
	mask |= ARES_OPT_QUERY_CACHE; /* none: answers are kept by who asked */
#endif
#ifdef ARES_OPT_UDP_MAX_QUERIES
	mask |= ARES_OPT_UDP_MAX_QUERIES; /* ports that others cannot guess */
	options.udp_max_queries = 64;
#endif
	*channel = (struct channel){.names = names};
	int status = ares_init_options(&channel->ares, &options, mask);
	if (status == ARES_SUCCESS &&
	    (status = ares_set_servers_ports_csv(channel->ares, servers->text)) != ARES_SUCCESS) {
		ares_destroy(channel->ares);
		channel->ares = NULL;
	}
	return status;
}

/* Those that have been replaced and of which nobody waits for anything any more. */
static void close_old(struct names *names)
{
	for (unsigned i = 0; i < CHANNELS; i++) {
		struct channel *channel = &names->channel[i];
		if (channel->ares == NULL || channel->n_asks > 0 || i == names->current)
			continue;
		ares_destroy(channel->ares);
		channel->ares = NULL;
	}
}

/* resolv.conf has changed: what is asked from now on goes to its servers. */
static void replace_servers(struct names *names)
{
	unsigned other = (names->current + 1) % CHANNELS;
	struct names_servers servers;
	struct stat now = {0};
	if (stat(RESOLV_CONF, &now) != 0)
		now = (struct stat){0};
	if (now.st_ino == names->resolv_conf.st_ino && now.st_dev == names->resolv_conf.st_dev &&
	    now.st_size == names->resolv_conf.st_size &&
	    now.st_mtim.tv_sec == names->resolv_conf.st_mtim.tv_sec &&
	    now.st_mtim.tv_nsec == names->resolv_conf.st_mtim.tv_nsec)
		return;
	close_old(names); /* without a look-up under way nobody else does */
	if (names->channel[other].ares != NULL)
		return; /* it is looked at again when the one before is over */
	names_servers_system(&servers, RESOLV_CONF);
	if (channel_open(names, other, &servers) != ARES_SUCCESS)
		return;
	names->current = other;
	names->resolv_conf = now;
}

static void look_at_files(struct names *names)
{
	if (names->looked_ns != 0 && names->now_ns - names->looked_ns < LOOK_NS)
		return;
	names->looked_ns = names->now_ns;
	names_file_refresh(names->file);
	if (names->system_servers)
		replace_servers(names);
}

/* ---- driving ---- */

static void drive(struct names *names)
{
	struct epoll_event event[EVENTS_MAX];
	if (names->n_asks == 0)
		return;
	int n = epoll_wait(names->epoll, event, EVENTS_MAX, 0);
	for (int i = 0; i < n; i++) {
		const struct channel *channel = &names->channel[event[i].data.u64 >> 32];
		ares_socket_t fd = (ares_socket_t)(uint32_t)event[i].data.u64;
		bool in = event[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP);
		bool out = event[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP);
		if (channel->ares != NULL)
			ares_process_fd(channel->ares, in ? fd : ARES_SOCKET_BAD, out ? fd : ARES_SOCKET_BAD);
	}
	for (unsigned i = 0; i < CHANNELS; i++) {
		struct channel *channel = &names->channel[i];
		if (channel->ares != NULL && channel->n_asks > 0)
			ares_process_fd(channel->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD); /* its clock */
	}
	close_old(names);
	end_late(names);
}

bool names_next(struct names *names, struct names_answer *answer, uint64_t now_ns)
{
	names->now_ns = now_ns;
	if (tell_next(names, answer))
		return true;
	drive(names);
	return tell_next(names, answer);
}

int names_fd(const struct names *names)
{
	return names->epoll;
}

uint64_t names_timeout(const struct names *names, uint64_t timeout_ns, uint64_t now_ns)
{
	if (names->n_told > 0)
		return 0;
	for (unsigned i = 0; i < CHANNELS; i++) {
		struct timeval next;
		const struct channel *channel = &names->channel[i];
		if (channel->ares == NULL || channel->n_asks == 0 ||
		    ares_timeout(channel->ares, NULL, &next) == NULL)
			continue;
		uint64_t ns = (uint64_t)next.tv_sec * NS_PER_SEC + (uint64_t)next.tv_usec * NS_PER_US;
		timeout_ns = ns < timeout_ns ? ns : timeout_ns;
	}
	if (names->oldest != NULL) {
		uint64_t end_ns = names->oldest->started_ns + names->timeout_ns;
		uint64_t ns = end_ns > now_ns ? end_ns - now_ns : 0;
		timeout_ns = ns < timeout_ns ? ns : timeout_ns;
	}
	return timeout_ns;
}

/* ---- asking ---- */

/* localhost and what is below it never leaves the machine (RFC 6761, 6.3). */
static unsigned find_localhost(const char *name, uint8_t (*address)[16])
{
	static const uint8_t loopback[2][16] = {{[15] = 1}, {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}};
	static const char localhost[] = "localhost";
	size_t n = strlen(name), own = sizeof localhost - 1;
	if (n < own || strcasecmp(name + n - own, localhost) != 0 || (n > own && name[n - own - 1] != '.'))
		return 0;
	memcpy(address, loopback, sizeof loopback);
	return 2;
}

/* What is known without a query. */
static bool answer_at_once(struct names *names, const char *host, void *asker)
{
	uint8_t address[NAMES_ADDRESSES_MAX][16];
	char name[NAMES_HOST_MAX];
	uint32_t zone = 0;
	uint64_t holds = UINT64_MAX;
	unsigned n = names_text_address(address[0], &zone, host);
	if (n == 0 && !names_text_name(host)) {
		tell_failure(names, asker, -EINVAL, 0, "no name and no address");
		return true;
	}
	if (n == 0) {
		size_t bytes = strlen(host);
		bytes -= host[bytes - 1] == '.';
		memcpy(name, host, bytes);
		name[bytes] = '\0';
		n = names_file_find(names->file, name, address, NAMES_ADDRESSES_MAX);
		n = n > 0 ? n : find_localhost(name, address);
		holds = HOSTS_FILE_NS;
	}
	if (n == 0)
		return false;
	struct names_answer *answer = tell(names, asker, 0, holds);
	answer->n = n;
	answer->zone = zone;
	memcpy(answer->address, address, n * sizeof address[0]);
	return true;
}

bool names_start(struct names *names, const char *host, void *asker, uint64_t now_ns)
{
	static const struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	names->now_ns = now_ns;
	if (names->n_told + names->n_wanted == names->told_room)
		return false;
	look_at_files(names);
	if (answer_at_once(names, host, asker))
		return true;
	if (names->n_asks == names->most)
		return false;
	struct ask *ask = ask_take(names, asker);
	ares_getaddrinfo(names->channel[ask->channel].ares, host, NULL, &hints, hear, ask);
	return true;
}

void names_forget(struct names *names, void *asker)
{
	for (struct ask *ask = names->oldest, *newer; ask != NULL; ask = newer) {
		newer = ask->newer;
		if (ask->asker == asker)
			ask_drop(names, ask);
	}
	for (unsigned i = 0; i < names->n_told; i++) {
		struct told *told = &names->told[(names->told_at + i) % names->told_room];
		told->wanted &= told->answer.asker != asker;
	}
}

/* ---- the whole ---- */

static int make_room(struct names *names, const struct config *config)
{
	names->most = (unsigned)config_u64(config, "deliver.dns.most");
	names->tries = (unsigned)config_u64(config, "deliver.dns.tries");
	names->timeout_ns = config_ns(config, "deliver.dns.timeout");
	names->ttl_least_ns = config_ns(config, "deliver.dns.ttl_least");
	names->ttl_most_ns = config_ns(config, "deliver.dns.ttl_most");
	names->failure_kept_ns = config_ns(config, "deliver.dns.failure_kept");
	names->told_room = 2 * names->most; /* what needs no query has room when all queries hang */
	names->ask = calloc(names->most, sizeof *names->ask);
	names->told = calloc(names->told_room, sizeof *names->told);
	if (names->ask == NULL || names->told == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < names->most; i++) {
		names->ask[i].newer = names->free;
		names->free = &names->ask[i];
	}
	names->epoll = epoll_create1(EPOLL_CLOEXEC);
	return names->epoll < 0 ? -errno : 0;
}

static int open_files(struct names *names, const struct config *config, struct shm_error *error)
{
	const char *path = config_string(config, "deliver.dns.hosts_file");
	int result = names_file_open(&names->file, path);
	if (result != 0)
		shm_explain(error, "deliver.dns.hosts_file: %.300s: %s", path, strerror(-result));
	return result;
}

static int open_channel(struct names *names, const struct config *config, struct shm_error *error)
{
	struct names_servers servers;
	int result = names_servers_configured(&servers, config, error);
	if (result != 0)
		return result;
	names->system_servers = servers.n == 0;
	if (names->system_servers) {
		if (stat(RESOLV_CONF, &names->resolv_conf) != 0)
			names->resolv_conf = (struct stat){0};
		names_servers_system(&servers, RESOLV_CONF);
	}
	int status = channel_open(names, 0, &servers);
	if (status == ARES_SUCCESS)
		return 0;
	shm_explain(error, "cannot look up names: %s", ares_strerror(status));
	return status == ARES_ENOMEM ? -ENOMEM : -EIO;
}

int names_open(struct names **names, const struct config *config, struct shm_error *error)
{
	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
		shm_explain(error, "cannot look up names: c-ares does not start");
		return -EIO;
	}
	struct names *made = calloc(1, sizeof *made);
	int result = -ENOMEM;
	if (made != NULL) {
		made->epoll = -1;
		result = make_room(made, config);
	}
	if (result != 0)
		shm_explain(error, "cannot look up names: %s", strerror(-result));
	else if ((result = open_files(made, config, error)) == 0)
		result = open_channel(made, config, error);
	if (result == 0) {
		*names = made;
		return 0;
	}
	if (made != NULL)
		names_close(made);
	else
		ares_library_cleanup();
	return result;
}

void names_close(struct names *names)
{
	if (names == NULL)
		return;
	names->closing = true;
	for (unsigned i = 0; i < CHANNELS; i++)
		if (names->channel[i].ares != NULL)
			ares_destroy(names->channel[i].ares);
	if (names->epoll >= 0)
		close(names->epoll);
	names_file_close(names->file);
	free(names->ask);
	free(names->told);
	free(names);
	ares_library_cleanup();
}
