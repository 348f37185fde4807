/* Which name servers are asked: those of the configuration, or those of resolv.conf(5). */
#ifndef DELIVER_NAMES_SERVERS_H
#define DELIVER_NAMES_SERVERS_H

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "shm/segment.h"

#define NAMES_SERVERS_MAX        16u
#define NAMES_SERVERS_TEXT_BYTES (NAMES_SERVERS_MAX * 64u)

struct names_servers {
	unsigned n;
	char text[NAMES_SERVERS_TEXT_BYTES]; /* "192.0.2.1:53,[::1]:5353": what c-ares takes */
};

/* deliver.dns.servers; n is 0 when there are none. Returns 0, or -EINVAL with "KEY[i]: ..." in
 * error. */
int names_servers_configured(struct names_servers *servers, const struct config *config,
                             struct shm_error *error);

/* Those of a resolv.conf; 127.0.0.1 when it is not there or has none. A server with a zone is left
 * out: c-ares has no place for it. */
void names_servers_system(struct names_servers *servers, const char *path);

#endif
