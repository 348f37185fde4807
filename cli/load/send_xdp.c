#include "cli/load/send_xdp.h"

#include <errno.h>
#include <net/ethernet.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/load/link.h"
#include "cli/load/pace.h"
#include "base/clock.h"

#define BATCH    256u              /* frames put into the ring before the kernel is called */
#define FULL_NS  (20 * NS_PER_US)  /* pause when the interface is full */
#define LIVE_NS  (200 * NS_PER_US) /* between two looks at what is sent */
#define STUCK_NS (2 * NS_PER_SEC)

static int refuse(char *why, int error, const char *interface, const char *reason)
{
	const char *remedy = "";
	if (error == -EPERM || error == -EACCES)
		remedy = "; it needs CAP_NET_RAW and CAP_NET_ADMIN: run it as root";
	else if (error == -EAFNOSUPPORT)
		remedy = "; this kernel has no CONFIG_XDP_SOCKETS";
	else if (error == -EBUSY)
		remedy = "; another AF_XDP socket has it";
	snprintf(why, SEND_XDP_WHY_MAX, "%s: %s (%s)%s", interface, reason, strerror(-error), remedy);
	return error;
}

static bool queue_exists(const char *interface, unsigned queue)
{
	char path[128];
	snprintf(path, sizeof path, "/sys/class/net/%s/queues", interface);
	if (access(path, F_OK) != 0)
		return true; /* /sys of another network namespace: bind will tell */
	snprintf(path, sizeof path, "/sys/class/net/%s/queues/tx-%u", interface, queue);
	return access(path, F_OK) == 0;
}

static int make_frame(struct send_xdp *xdp, const struct send_xdp_settings *settings,
                      const struct link_interface *link, const struct sockaddr_storage *to,
                      const char **reason)
{
	struct send_frame_settings frame = {.to = to,
	                                    .bits = settings->network_given ? settings->bits : 128,
	                                    .first_port = settings->first_port,
	                                    .last_port = settings->last_port,
	                                    .sources = settings->sources};
	memcpy(frame.from_mac, link->mac, sizeof frame.from_mac);
	memcpy(frame.network, settings->network_given ? settings->network : link->address,
	       sizeof frame.network);
	*reason = "it has no address for the sources to have; give them one with --from";
	if (!settings->network_given && !link->address_known)
		return -EADDRNOTAVAIL;
	memcpy(frame.to_mac, settings->to_mac, sizeof frame.to_mac);
	int result = 0;
	if (!settings->to_mac_given)
		result = link_neighbour(link->index, to, frame.to_mac, reason);
	return result != 0 ? result : send_frame_init(&xdp->frame, &frame, reason);
}

bool send_xdp_find_way(const char *name, enum send_xdp_way *way)
{
	static const char *const names[] = {
	        [SEND_XDP_AUTO] = "auto", [SEND_XDP_SOCKET] = "socket", [SEND_XDP_LIVE] = "live"};
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
		if (strcmp(name, names[i]) == 0) {
			*way = (enum send_xdp_way)i;
			return true;
		}
	return false;
}

static int open_way(struct send_xdp *xdp, const struct send_xdp_settings *settings,
                    const struct generator *generator, unsigned interface, char *why)
{
	const char *reason = "";
	xdp->live = NULL;
	xdp->fallback[0] = '\0';
	if (settings->way == SEND_XDP_LIVE || (settings->way == SEND_XDP_AUTO && settings->queue == 0)) {
		int result = live_open(&xdp->live, &xdp->frame, generator, interface, &reason);
		if (result == 0)
			return 0;
		if (settings->way == SEND_XDP_LIVE)
			return refuse(why, result, settings->interface, reason);
		snprintf(xdp->fallback, sizeof xdp->fallback, "%s (%s)", reason, strerror(-result));
	}
	int result = transmit_open(&xdp->transmit, interface, settings->queue, &reason);
	return result != 0 ? refuse(why, result, settings->interface, reason) : 0;
}

int send_xdp_open(struct send_xdp *xdp, const struct send_xdp_settings *settings,
                  const struct generator *generator, const struct sockaddr_storage *to, char *why)
{
	struct link_interface link;
	const char *reason = "";
	int result = link_interface(&link, settings->interface, to->ss_family, &reason);
	if (result == 0 && !queue_exists(settings->interface, settings->queue)) {
		reason = "it has no such queue";
		result = -EINVAL;
	}
	if (result == 0)
		result = make_frame(xdp, settings, &link, to, &reason);
	if (result != 0)
		return refuse(why, result, settings->interface, reason);
	uint32_t bytes = xdp->frame.head_bytes + generator_longest(generator);
	if (bytes > ETH_HLEN + link.mtu || bytes > TRANSMIT_FRAME_BYTES) {
		snprintf(why, SEND_XDP_WHY_MAX,
		         "%s: a datagram of %u bytes does not fit; with an MTU of %u at most %u do",
		         settings->interface, bytes - xdp->frame.head_bytes, link.mtu,
		         (ETH_HLEN + link.mtu < TRANSMIT_FRAME_BYTES ? ETH_HLEN + link.mtu
		                                                     : TRANSMIT_FRAME_BYTES) -
		                 xdp->frame.head_bytes);
		return -EMSGSIZE;
	}
	return open_way(xdp, settings, generator, link.index, why);
}

void send_xdp_close(struct send_xdp *xdp)
{
	if (xdp->live != NULL)
		live_close(xdp->live);
	else
		transmit_close(&xdp->transmit);
}

const char *send_xdp_mode(const struct send_xdp *xdp)
{
	if (xdp->live != NULL)
		return "live";
	return xdp->transmit.zero_copy ? "zero-copy" : "copy";
}

/* Commits up to `most` frames from position on; returns how many. */
static uint32_t fill(struct send_xdp *xdp, const struct generator *generator, uint64_t position,
                     uint64_t most)
{
	uint32_t n = 0;
	uint32_t source = (uint32_t)(position % xdp->frame.sources);
	for (uint8_t *out; n < BATCH && n < most && (out = transmit_reserve(&xdp->transmit)) != NULL; n++) {
		const struct generator_datagram *datagram =
		        &generator->datagram[(position + n) & (generator->n - 1)];
		uint32_t bytes = send_frame_write(&xdp->frame, source, generator->bytes + datagram->offset,
		                                  datagram->length, out);
		transmit_commit(&xdp->transmit, (uint16_t)bytes);
		source = source + 1 < xdp->frame.sources ? source + 1 : 0;
	}
	return n;
}

/* Detects that nothing moves any more. */
struct watch {
	uint64_t since_ns; /* when something last moved; 0: just now */
};

static bool stuck(struct watch *watch, bool moved)
{
	if (moved)
		watch->since_ns = 0;
	else if (watch->since_ns == 0)
		watch->since_ns = clock_monotonic_ns();
	return watch->since_ns != 0 && clock_monotonic_ns() - watch->since_ns > STUCK_NS;
}

/* One round with the kernel. Returns 0 or -errno. */
static int move(struct transmit *transmit, struct watch *watch)
{
	int result = transmit_waiting(transmit) > 0 ? transmit_kick(transmit) : 0;
	if (stuck(watch, transmit_reap(transmit) > 0 || transmit_under_way(transmit) == 0))
		return -ETIMEDOUT;
	if (result != -EAGAIN)
		return result;
	nanosleep(&(struct timespec){.tv_nsec = (long)FULL_NS}, NULL);
	return 0;
}

static bool goes_on(const struct pace *pace, const struct send_udp_result *result, uint64_t count,
                    const volatile bool *stop)
{
	return !*stop && result->error == 0 && result->sent < count && clock_monotonic_ns() < pace->end_ns;
}

static void run_socket(struct send_xdp *xdp, const struct generator *generator, struct pace *pace,
                       uint64_t count, const volatile bool *stop, struct send_udp_result *result)
{
	struct transmit *transmit = &xdp->transmit;
	struct watch watch = {0};
	while (goes_on(pace, result, count, stop)) {
		if (transmit_waiting(transmit) == 0)
			result->sent += fill(xdp, generator, result->sent,
			                     pace_allowed(pace, result->sent, count - result->sent));
		result->error = move(transmit, &watch);
	}
	while (result->error == 0 && transmit_under_way(transmit) > 0) {
		result->error = move(transmit, &watch);
		if (result->error == 0 && transmit_waiting(transmit) == 0 && transmit_under_way(transmit) > 0)
			nanosleep(&(struct timespec){.tv_nsec = (long)FULL_NS}, NULL);
	}
	if (result->error == 0 && transmit_invalid(transmit) > 0)
		result->error = -EBADMSG;
	result->busy = transmit->full + transmit->dropped;
}

/* Returns 0 or -errno. */
static int move_live(struct live *live, uint64_t goal, uint64_t *before, struct watch *watch)
{
	int result = live_allow(live, goal);
	uint64_t sent = live_sent(live);
	bool moved = sent != *before || sent == live_position(live);
	*before = sent;
	if (result != 0)
		return result;
	if (stuck(watch, moved))
		return -ETIMEDOUT;
	nanosleep(&(struct timespec){.tv_nsec = (long)LIVE_NS}, NULL);
	return 0;
}

static void run_live(struct live *live, struct pace *pace, uint64_t count, const volatile bool *stop,
                     struct send_udp_result *result)
{
	struct watch watch = {0};
	uint64_t before = 0;
	result->sent = live_position(live);
	while (goes_on(pace, result, count, stop)) {
		uint64_t due = pace_allowed(pace, result->sent, count - result->sent);
		if (due > 0)
			result->error = move_live(live, result->sent + due, &before, &watch);
		result->sent = live_position(live);
	}
	/* Until the thread has ended, a frame may begin that was before an earlier goal. */
	while (result->error == 0) {
		result->error = move_live(live, 0, &before, &watch);
		if (live_sent(live) != live_position(live))
			continue;
		live_stop(live);
		if (live_sent(live) == live_position(live))
			break;
	}
	result->sent = live_position(live);
	result->busy = live_refused(live);
}

struct send_udp_result send_xdp_run(struct send_xdp *xdp, const struct generator *generator,
                                    const struct send_udp_settings *settings, const volatile bool *stop)
{
	struct send_udp_result result = {0};
	uint64_t begun = clock_monotonic_ns();
	uint64_t end =
	        settings->duration_ns > UINT64_MAX - begun ? UINT64_MAX : begun + settings->duration_ns;
	struct pace pace = {.rate = settings->rate, .start_ns = begun, .end_ns = end};
	if (xdp->live != NULL)
		run_live(xdp->live, &pace, settings->count, stop, &result);
	else
		run_socket(xdp, generator, &pace, settings->count, stop, &result);
	result.elapsed_ns = clock_monotonic_ns() - begun;
	return result;
}
