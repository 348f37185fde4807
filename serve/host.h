/* The Host field, against DNS rebinding: a page of attacker.example whose name suddenly means
 * 127.0.0.1 reaches us with "Host: attacker.example", and is turned away (421).
 *
 * Accepted are: any address as such (a name cannot be rebound that is none), localhost and names
 * below it, the machine's own name, with and without its domain, and what serve.hosts names. The
 * port does not matter, nor does case, nor a dot at the end.
 */
#ifndef SERVE_HOST_H
#define SERVE_HOST_H

#include <stdbool.h>

#include "config/config.h"

#define HOST_NAMES_MAX 64u
#define HOST_BYTES_MAX 255u

struct hosts_allowed {
	unsigned n;
	const char *name[HOST_NAMES_MAX]; /* of serve.hosts */
	char machine[HOST_BYTES_MAX + 1]; /* "" unknown */
};

/* From serve.hosts and gethostname. The configuration must outlive it. */
void host_init(struct hosts_allowed *hosts, const struct config *config);

/* field: the value of Host; NULL or "" is not allowed. */
bool host_allowed(const struct hosts_allowed *hosts, const char *field);

#endif
