/* Hosts in text: which of them are addresses, in all forms that libcurl and others take for one. */
#ifndef DELIVER_NAMES_TEXT_H
#define DELIVER_NAMES_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#define NAMES_HOST_MAX 254u /* bytes of a host, a dot at its end included */

/* True when host is an address: IPv6 (inet_pton(3)) with or without %zone, a number or an
 * interface's name; IPv4 as inet_aton(3) takes it; either with a dot at its end (WHATWG URL).
 * address: IPv4 as ::ffff:a.b.c.d. zone: 0 when there is none. */
bool names_text_address(uint8_t address[16], uint32_t *zone, const char *host);

/* True for a name that can be asked for: labels of 1 to 63 letters, digits, hyphens and
 * underscores, 253 bytes in all, a dot at the end or not. */
bool names_text_name(const char *host);

#endif
