/* A frame as the card delivered it: checked as the kernel would have, since it goes past the
 * kernel.
 *
 *     | Ethernet 14 | VLAN tag 4, up to two | IPv4 20, IPv6 40 | UDP 8 | payload | padding |
 *                                                              '----- burst -----'
 *
 * The XDP program (supervisor/packets.bpf.c) redirects what is for the listener and has no
 * fragments, IP options or extension headers. All else is checked here, in the order of the kernel:
 *
 *     ip_rcv_core, ip_rcv    version, header checksum, total length               net/ipv4/ip_input.c
 *     ip_route_input_slow    martian addresses                                    net/ipv4/route.c
 *     ipv6_rcv               version, addresses, payload length                   net/ipv6/ip6_input.c
 *     __udp4_lib_rcv, __udp6_lib_rcv    length and checksum                       net/ipv4/udp.c, net/ipv6/udp.c
 *
 * What only the kernel knows is not checked: whether the source is an address of this host or
 * network, or comes from where a route leads to it (rp_filter), what the firewall says.
 */
#ifndef INGEST_UDP_FRAME_H
#define INGEST_UDP_FRAME_H

#include <stdbool.h>

#include "ingest/udp/buffers.h"
#include "shm/ledger.h"

/* LEDGER_VALID, and burst is its one datagram, whose data lies in the frame; otherwise why it is
 * none. verify: check the UDP checksum (the card need not have). Reads nothing outside of the
 * frame, writes nothing but *burst. */
enum ledger_reason frame_parse(const uint8_t *data, uint32_t bytes, bool verify, struct burst *burst);

#endif
