/* Socket addresses as text.
 *
 *     127.0.0.1:4002   [::1]:4002   [fe80::1%eth0]:4002
 *     [::]:4002        every address of the machine, IPv4 too
 *     :4002            the same
 *
 * Numbers only: names are not looked up. Port 0 lets the kernel choose.
 */
#ifndef STAGE_ADDRESS_H
#define STAGE_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

#define ADDRESS_TEXT_MAX 80 /* bytes, the final 0 included */

/* What address_parse takes, for error messages. */
#define ADDRESS_FORMS "127.0.0.1:4002, [::1]:4002, [::]:4002, :4002"

/* Parses text. Returns 0 and sets *address and *length, or -EINVAL and leaves both as they were. */
int address_parse(struct sockaddr_storage *address, socklen_t *length, const char *text);

/* Writes the address as address_parse takes it into buffer (ADDRESS_TEXT_MAX bytes) and returns it; "?" for a family
 * other than AF_INET and AF_INET6. */
char *address_format(char *buffer, const struct sockaddr_storage *address);

/* The port in host order; 0 for other families. */
unsigned address_port(const struct sockaddr_storage *address);

/* True when one socket bound to a and another bound to b would want the same datagrams: same port (not 0), and the same
 * address, or one of them every address of the other's family ([::] takes IPv4 too). */
bool address_overlaps(const struct sockaddr_storage *a, const struct sockaddr_storage *b);

#endif
