/* Socket addresses as text.
 *
 *     127.0.0.1:4002   [::1]:4002   [fe80::1%eth0]:4002
 *     [::]:4002        every address of the machine, IPv4 too
 *     :4002            the same
 *     unix:/run/m.sock a Unix socket, where connections are taken
 *
 * Numbers only: names are not looked up. Port 0 lets the kernel choose.
 */
#ifndef BASE_ADDRESS_H
#define BASE_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define ADDRESS_TEXT_MAX 128 /* bytes, the final 0 included */

#define ADDRESS_PATH_MAX 107u /* bytes of a Unix socket's path: sun_path, less its final 0 */

/* What address_parse and address_parse_stream take, for error messages. */
#define ADDRESS_FORMS        "127.0.0.1:4002, [::1]:4002, [::]:4002, :4002"
#define ADDRESS_STREAM_FORMS "127.0.0.1:8080, [::1]:8080, [::]:8080, :8080, unix:/run/millrace.sock"

/* Parses text. Returns 0 and sets *address and *length, or -EINVAL and leaves both as they were. */
int address_parse(struct sockaddr_storage *address, socklen_t *length, const char *text);

/* The same, and "unix:" with an absolute path of at most ADDRESS_PATH_MAX bytes; a longer one is
 * -ENAMETOOLONG. */
int address_parse_stream(struct sockaddr_storage *address, socklen_t *length, const char *text);

/* Writes the address as address_parse_stream takes it into buffer (ADDRESS_TEXT_MAX bytes) and
 * returns it; "?" for a Unix socket without a path and for other families. */
char *address_format(char *buffer, const struct sockaddr_storage *address);

/* The port in host order; 0 for other families. */
unsigned address_port(const struct sockaddr_storage *address);

/* True when one socket bound to a and another of its type bound to b would want the same datagrams
 * or connections: same port (not 0), and the same address, or one of them every address of the
 * other's family ([::] takes IPv4 too); or the same path. */
bool address_overlaps(const struct sockaddr_storage *a, const struct sockaddr_storage *b);

/* True when both are the same address: family, host, zone and port, or path. */
bool address_same(const struct sockaddr_storage *a, const struct sockaddr_storage *b);

/* Parses a network: "10.0.0.0/8", "2001:db8::/32", or an address alone. prefix becomes its 16 bytes
 * (IPv4 as the IPv4-mapped IPv6 address), *bits how many of their bits count (of 128). Returns 0,
 * or -EINVAL, also when bits after the prefix are not 0. */
int address_parse_network(uint8_t prefix[16], unsigned *bits, const char *text);

/* ---- hosts as 16 bytes, IPv4 as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2) ---- */

/* From the 4 bytes of an IPv4 address, in network order. */
void address_map(uint8_t address[16], const void *ipv4);

bool address_is_mapped(const uint8_t address[16]);

/* From numbers, "192.0.2.1" or "2001:db8::1"; false for other texts. */
bool address_host_parse(uint8_t address[16], const char *text);

/* The host of an Internet address; false for other families. */
bool address_host(uint8_t address[16], const struct sockaddr *from);

/* Writes it as "192.0.2.1" or "2001:db8::1" into buffer (ADDRESS_HOST_TEXT_MAX bytes) and returns
 * it. */
#define ADDRESS_HOST_TEXT_MAX 46 /* INET6_ADDRSTRLEN */
char *address_host_format(char *buffer, const uint8_t address[16]);

#endif
