/* The build without libxdp and libbpf (make XDP=0). */
#include <stdlib.h>

#include "base/log.h"
#include "supervisor/packets.h"

struct packets {
	char nothing;
};

struct packets *packets_create(void)
{
	struct packets *packets = calloc(1, sizeof *packets);
	if (packets == NULL)
		abort();
	return packets;
}

void packets_apply(struct packets *packets, const struct config *config, const struct plan *plan,
                   const struct sockets *sockets, const struct children *children)
{
	(void)packets;
	(void)config;
	(void)sockets;
	(void)children;
	for (unsigned i = 0; i < plan->n_listeners; i++)
		if (plan->listener[i].interface[0] != '\0')
			log_warn(
			        "packets are not taken from the interface: the ordinary sockets serve",
			        "listener=%s interface=%s reason=\"this build is without libxdp; build it with libxdp-dev, libbpf-dev and clang\"",
			        plan->listener[i].section, plan->listener[i].interface);
}

void packets_of(const struct packets *packets, const char *role, struct child_packets *handed)
{
	(void)packets;
	(void)role;
	*handed = (struct child_packets){.gate = -1};
}

bool packets_changed(const struct packets *packets, const struct plan *plan, const struct plan_role *role)
{
	(void)packets;
	(void)plan;
	(void)role;
	return false;
}

void packets_quiet(struct packets *packets)
{
	(void)packets;
}

void packets_look(struct packets *packets)
{
	(void)packets;
}

void packets_print(const struct packets *packets, FILE *out)
{
	(void)packets;
	(void)out;
}

void packets_close(struct packets *packets)
{
	(void)packets;
}

void packets_destroy(struct packets *packets)
{
	free(packets);
}
