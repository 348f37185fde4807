/* What somebody who writes whole frames has to know of the network: the interface, and the card
 * that the frames go to.
 *
 *     interface --ioctl, getifaddrs--> its number, address, MTU
 *     address   --route, neighbour table (rtnetlink(7))--> the MAC of the host, or of the router to it
 */
#ifndef CLI_LOAD_LINK_H
#define CLI_LOAD_LINK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct link_interface {
	unsigned index;
	uint8_t mac[6];
	uint32_t mtu;        /* bytes of an IP packet */
	bool address_known;  /* it has an address of the family asked for */
	uint8_t address[16]; /* the first; IPv4 as IPv4-mapped IPv6 address */
};

/* Looks at an Ethernet interface. family: whose address is wanted. Returns 0, or -errno with the
 * reason in *why: there is none of this name, or it is not Ethernet. */
int link_interface(struct link_interface *interface, const char *name, int family, const char **why);

/* Finds the MAC that frames to an address leave this interface for. Has the kernel ask the network
 * (ARP, neighbour discovery) when it does not know it, and waits for the answer, at most 3 s; that
 * needs CAP_NET_ADMIN. No other packet is sent. Returns 0, or -errno with the reason in *why. */
int link_neighbour(unsigned index, const struct sockaddr_storage *to, uint8_t mac[6], const char **why);

/* Parses 02:00:00:00:00:01. */
bool link_parse_mac(const char *text, uint8_t mac[6]);

#endif
