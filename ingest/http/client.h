/* Which client sent a request: the peer, unless a trusted proxy names another.
 *
 *     PROXY protocol (per listener)  -->  the peer of the connection
 *     X-Push-IP, else X-Forwarded-For, else X-Real-IP, else Forwarded, believed from trusted peers only: first hop --> the client
 *
 * Addresses are 16 bytes: IPv6, or IPv4-mapped.
 */
#ifndef INGEST_HTTP_CLIENT_H
#define INGEST_HTTP_CLIENT_H

#include <stdbool.h>
#include <sys/socket.h>

#include "ingest/http/request.h"

#define CLIENT_NETWORKS_MAX 64u

struct client_network {
	uint8_t address[16];
	uint8_t bits; /* of 128 */
};

struct client_networks {
	struct client_network network[CLIENT_NETWORKS_MAX];
	unsigned n;
};

/* Adds "127.0.0.0/8", "::1/128", or an address alone. Bits after the prefix must be 0. Returns 0,
 * -EINVAL, or -ENOSPC. */
int client_network_add(struct client_networks *networks, const char *text);

bool client_trusted(const struct client_networks *networks, const uint8_t address[16]);

/* The 16 bytes and the port of a socket address; all zero (and trusted by the caller's own choice)
 * for a Unix socket. */
void client_of_peer(uint8_t address[16], uint16_t *port, const struct sockaddr_storage *peer);

/* The client that the request's headers name, for a request whose peer is trusted. Each header is a
 * list of hops over all lines of its name; empty elements are skipped (RFC 9110, 5.3, 5.6.1). The
 * first header, in the order above, whose first hop is an address decides: "10.0.0.1",
 * "10.0.0.1:80", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80" (also in quotes; the port may
 * be obfuscated); in Forwarded the text after "for=" (RFC 7239). Anything else ("unknown",
 * "_hidden", "unix:", rubbish) leaves it to the next header. When no header has an address as its
 * first hop, the first address in any of them counts, in the same order. Returns false and leaves
 * address alone when there is none. */
bool client_of_request(uint8_t address[16], const struct request *request);

/* ---- PROXY protocol, version 1 and 2 (haproxy.org, proxy-protocol.txt); proxy.c ---- */

enum proxy_result { PROXY_WHOLE, PROXY_PARTIAL, PROXY_BAD };

#define PROXY_BYTES_MAX 536u /* what a header may take; longer is bad */

/* Parses the header at the beginning of a connection. No byte outside data is read.
 *   PROXY_WHOLE    *used is its length; address and port are set when the header names them, and left as they are for LOCAL, UNKNOWN and
 *                  families other than TCP over IPv4 and IPv6.
 *   PROXY_PARTIAL  nothing wrong so far, more is needed.
 *   PROXY_BAD      no such header, or one that is malformed, or whose checksum (PP2_TYPE_CRC32C) is there and wrong.
 * Close. */
enum proxy_result proxy_parse(const char *data, size_t bytes, size_t *used, uint8_t address[16],
                              uint16_t *port);

#endif
