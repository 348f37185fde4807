/* Addresses that are in no country: private, loopback, link-local, documentation and so on.
 *
 * By the IANA special-purpose address registries, as of 2025 (RFC 6890, RFC 8190):
 *     https://www.iana.org/assignments/iana-ipv4-special-registry
 *     https://www.iana.org/assignments/iana-ipv6-special-registry
 * Every block in them that is not "globally reachable" counts, and so do multicast (RFC 5771, RFC
 * 4291) and what IANA has not assigned (240.0.0.0/4, all of IPv6 outside 2000::/3). Blocks
 * that are globally reachable (192.175.48.0/24, AS112) are ordinary addresses; so is 6to4
 * (2002::/16), which databases list under the IPv4 address in it.
 */
#ifndef ENRICH_GEO_SPECIAL_H
#define ENRICH_GEO_SPECIAL_H

#include <stdbool.h>
#include <stdint.h>

/* True for ::ffff:a.b.c.d. */
bool special_is_mapped(const uint8_t address[16]);

/* True when the address (IPv6, or IPv4-mapped) is in no country. A pure function. */
bool special_address(const uint8_t address[16]);

#endif
