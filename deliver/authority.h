/* Host and port of a URL, in the one form that all who come later agree on.
 *
 *     Example.COM.:0080 --> example.com, 80       0x7f.1 --> 127.0.0.1       [2001:DB8:0::1] --> 2001:db8::1
 *     b%C3%BCcher.example --> xn--bcher-kva.example                          [fe80::1%25eth0] --> fe80::1%eth0
 *
 * A name in lower case, %XX resolved, without the dot at its end, in ASCII (IDNA 2008 with the
 * mapping of UTS 46). A name whose last label is a number is an IPv4 address (WHATWG URL) in any
 * form that inet_aton(3) takes: it becomes the four decimal numbers. IPv6 becomes what inet_ntop(3)
 * writes, with its zone. libcurl's own parser leaves these forms as they are, so what is looked up,
 * vetted and connected to is one and the same.
 *
 * POST /ingest refuses what is refused here (ingest/json/url.h), except what only the tables of
 * IDNA can tell.
 */
#ifndef DELIVER_AUTHORITY_H
#define DELIVER_AUTHORITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/segment.h"

#define AUTHORITY_HOST_MAX 253u

struct authority {
	char host[AUTHORITY_HOST_MAX + 1];
	bool ipv6;     /* the host stands in brackets in a URL */
	uint16_t port; /* 0: none is given */
};

/* Reads what stands between the @ and the path. Returns 0, or -EINVAL with "host: ..." or "port:
 * ..." in error; -ENOMEM. */
int authority_read(struct authority *authority, const char *text, size_t bytes, struct shm_error *error);

#endif
