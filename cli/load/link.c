#include "cli/load/link.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hex.h"

#define ANSWER_NS (3 * NS_PER_SEC) /* ARP asks three times, once a second */
#define LOOK_NS   (5 * NS_PER_MS)
#define KNOWN     (NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY)

/* ---- the interface ---- */

static void put_address(struct link_interface *interface, const struct sockaddr *address)
{
	if (address->sa_family == AF_INET) {
		memset(interface->address, 0, 10);
		memset(interface->address + 10, 0xff, 2);
		memcpy(interface->address + 12,
		       &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
	} else {
		memcpy(interface->address, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr,
		       16);
	}
	interface->address_known = true;
}

/* Link-local IPv6 addresses are taken only when there is no other. */
static void find_address(struct link_interface *interface, const char *name, int family)
{
	struct ifaddrs *list = NULL;
	bool good = false;
	if (getifaddrs(&list) != 0)
		return;
	for (const struct ifaddrs *one = list; one != NULL && !good; one = one->ifa_next) {
		if (one->ifa_addr == NULL || one->ifa_addr->sa_family != family ||
		    strcmp(one->ifa_name, name) != 0)
			continue;
		put_address(interface, one->ifa_addr);
		good = family == AF_INET || interface->address[0] != 0xfe;
	}
	freeifaddrs(list);
}

int link_interface(struct link_interface *interface, const char *name, int family, const char **why)
{
	struct ifreq request = {0};
	*interface = (struct link_interface){.index = if_nametoindex(name)};
	*why = "there is no such interface";
	if (interface->index == 0 || strlen(name) >= sizeof request.ifr_name)
		return -ENODEV;
	memcpy(request.ifr_name, name, strlen(name) + 1);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), result = 0;
	if (fd < 0) {
		*why = "socket";
		return -errno;
	}
	if (ioctl(fd, SIOCGIFHWADDR, &request) != 0) {
		result = -errno;
	} else if (request.ifr_hwaddr.sa_family != ARPHRD_ETHER) {
		*why = "it is not an Ethernet interface";
		result = -EINVAL;
	} else {
		memcpy(interface->mac, request.ifr_hwaddr.sa_data, sizeof interface->mac);
		if (ioctl(fd, SIOCGIFMTU, &request) != 0)
			result = -errno;
		interface->mtu = (uint32_t)request.ifr_mtu;
	}
	close(fd);
	if (result == 0)
		find_address(interface, name, family);
	return result;
}

bool link_parse_mac(const char *text, uint8_t mac[6])
{
	if (strlen(text) != 17)
		return false;
	for (unsigned i = 0; i < 6; i++, text += 3) {
		int high = hex_value(text[0]), low = hex_value(text[1]);
		if (high < 0 || low < 0 || text[2] != (i < 5 ? ':' : '\0'))
			return false;
		mac[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* ---- the way to an address ---- */

/* A request and its answer. */
struct message {
	struct nlmsghdr head;
	union {
		struct rtmsg route;
		struct ndmsg neighbour;
		struct nlmsgerr error;
		char room[4096];
	};
};

static void put_attribute(struct message *message, unsigned short type, const void *data, size_t bytes)
{
	struct rtattr *attribute =
	        (struct rtattr *)(void *)((char *)message + NLMSG_ALIGN(message->head.nlmsg_len));
	attribute->rta_type = type;
	attribute->rta_len = (unsigned short)RTA_LENGTH(bytes);
	memcpy(RTA_DATA(attribute), data, bytes);
	message->head.nlmsg_len =
	        NLMSG_ALIGN(message->head.nlmsg_len) + (unsigned)RTA_ALIGN(attribute->rta_len);
}

/* Finds an attribute after the fixed part of this size; NULL: there is none. */
static const struct rtattr *attribute_of(const struct message *message, size_t fixed, unsigned short type)
{
	const char *from = (const char *)message + NLMSG_SPACE(fixed);
	const struct rtattr *attribute = (const struct rtattr *)(const void *)from;
	int left = (int)message->head.nlmsg_len - (int)NLMSG_SPACE(fixed);
	for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left))
		if (attribute->rta_type == type)
			return attribute;
	return NULL;
}

/* Sends the request and reads one answer into it. Returns 0, or -errno, also the one that the
 * kernel answers. */
static int ask(int fd, struct message *message)
{
	if (send(fd, message, message->head.nlmsg_len, 0) < 0)
		return -errno;
	ssize_t n = recv(fd, message, sizeof *message, 0);
	if (n < 0)
		return -errno;
	if ((size_t)n < sizeof message->head || message->head.nlmsg_len > (size_t)n)
		return -EBADMSG;
	return message->head.nlmsg_type == NLMSG_ERROR ? message->error.error : 0;
}

struct hop {
	unsigned char family;
	unsigned index; /* of the interface */
	uint8_t address[16];
	size_t bytes;
};

static int find_hop(int fd, struct hop *hop, const char **why)
{
	struct message message = {.head = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct rtmsg)),
	                                   .nlmsg_type = RTM_GETROUTE,
	                                   .nlmsg_flags = NLM_F_REQUEST}};
	message.route.rtm_family = hop->family;
	message.route.rtm_dst_len = (unsigned char)(8 * hop->bytes);
	put_attribute(&message, RTA_DST, hop->address, hop->bytes);
	put_attribute(&message, RTA_OIF, &hop->index, sizeof hop->index);
	int result = ask(fd, &message);
	if (result != 0) {
		*why = "there is no route to the address";
		return result;
	}
	if (message.route.rtm_type != RTN_UNICAST) {
		*why = message.route.rtm_type == RTN_LOCAL ? "the address is one of this machine's own"
		                                           : "the address is not that of one host";
		return -EINVAL;
	}
	const struct rtattr *gateway = attribute_of(&message, sizeof message.route, RTA_GATEWAY);
	if (gateway != NULL && RTA_PAYLOAD(gateway) == hop->bytes)
		memcpy(hop->address, RTA_DATA(gateway), hop->bytes);
	return 0;
}

static int ask_for_neighbour(int fd, const struct hop *hop, bool resolve, struct message *message)
{
	*message = (struct message){.head = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ndmsg)),
	                                     .nlmsg_type = resolve ? RTM_NEWNEIGH : RTM_GETNEIGH,
	                                     .nlmsg_flags = NLM_F_REQUEST}};
	message->neighbour.ndm_family = hop->family;
	message->neighbour.ndm_ifindex = (int)hop->index;
	if (resolve) {
		message->head.nlmsg_flags |= NLM_F_CREATE | NLM_F_ACK;
		message->neighbour.ndm_flags = NTF_USE;
	}
	put_attribute(message, NDA_DST, hop->address, hop->bytes);
	return ask(fd, message);
}

/* 1: known; 0: not yet; -errno. */
static int look_up(int fd, const struct hop *hop, uint8_t mac[6])
{
	struct message message;
	int result = ask_for_neighbour(fd, hop, false, &message);
	if (result == -ENOENT)
		return 0;
	if (result != 0)
		return result;
	const struct rtattr *found = attribute_of(&message, sizeof message.neighbour, NDA_LLADDR);
	if ((message.neighbour.ndm_state & KNOWN) == 0 || found == NULL || RTA_PAYLOAD(found) != 6)
		return (message.neighbour.ndm_state & NUD_FAILED) != 0 ? -EHOSTUNREACH : 0;
	memcpy(mac, RTA_DATA(found), 6);
	return 1;
}

static int resolve(int fd, const struct hop *hop, uint8_t mac[6], const char **why)
{
	struct message message;
	uint64_t end = clock_monotonic_ns() + ANSWER_NS;
	*why = "the neighbour table cannot be read";
	int found = look_up(fd, hop, mac);
	if (found == 1)
		return 0;
	if (found < 0 && found != -EHOSTUNREACH)
		return found;
	int result = ask_for_neighbour(fd, hop, true, &message);
	if (result != 0) {
		*why = "the kernel does not ask for the MAC of the address; give it with --mac";
		return result;
	}
	do {
		found = look_up(fd, hop, mac);
		if (found == 1)
			return 0;
		nanosleep(&(struct timespec){.tv_nsec = (long)LOOK_NS}, NULL);
	} while (found == 0 && clock_monotonic_ns() < end);
	*why = "nobody on the network answers for the address";
	return found < 0 ? found : -EHOSTUNREACH;
}

int link_neighbour(unsigned index, const struct sockaddr_storage *to, uint8_t mac[6], const char **why)
{
	struct hop hop = {.family = (unsigned char)to->ss_family, .index = index};
	if (to->ss_family == AF_INET6) {
		hop.bytes = 16;
		memcpy(hop.address, &((const struct sockaddr_in6 *)to)->sin6_addr, hop.bytes);
	} else {
		hop.bytes = 4;
		memcpy(hop.address, &((const struct sockaddr_in *)to)->sin_addr, hop.bytes);
	}
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0) {
		*why = "socket(AF_NETLINK)";
		return -errno;
	}
	/* The kernel answers at once; this is for when it does not. */
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 3}, sizeof(struct timeval));
	int result = find_hop(fd, &hop, why);
	if (result == 0)
		result = resolve(fd, &hop, mac, why);
	close(fd);
	return result;
}
