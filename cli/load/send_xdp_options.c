#include "cli/load/send_xdp_options.h"

#include <stdio.h>

#include "cli/load/link.h"
#include "base/address.h"

#define FIRST_PORT 1024u
#define LAST_PORT  65535u

/* "5000" or "1024-65535" */
static bool parse_ports(const char *text, struct send_xdp_settings *settings)
{
	unsigned first, last;
	int end = 0;
	if (sscanf(text, "%5u%n-%5u%n", &first, &end, &last, &end) == 1)
		last = first;
	if (end == 0 || text[end] != '\0' || first < 1 || first > last || last > LAST_PORT)
		return false;
	settings->first_port = (uint16_t)first;
	settings->last_port = (uint16_t)last;
	return true;
}

int send_xdp_complete(const struct arguments *arguments, const struct send_xdp_options *options,
                      struct send_xdp_settings *settings)
{
	if (options->interface == NULL)
		return arguments_error(arguments, "--backend xdp takes --interface, from which it sends");
	*settings = (struct send_xdp_settings){.interface = options->interface,
	                                       .queue = (unsigned)options->queue,
	                                       .to_mac_given = options->mac != NULL,
	                                       .network_given = options->from != NULL,
	                                       .first_port = FIRST_PORT,
	                                       .last_port = LAST_PORT};
	(void)send_xdp_find_way(options->transmit, &settings->way); /* the table of arguments checks it */
	if (settings->way == SEND_XDP_LIVE && settings->queue != 0)
		return arguments_error(arguments,
		                       "--queue is for --transmit socket: live frames take the driver's");
	if (options->mac != NULL && !link_parse_mac(options->mac, settings->to_mac))
		return arguments_error(arguments, "--mac %s: a MAC address looks like 02:00:00:00:00:01",
		                       options->mac);
	if (options->from != NULL &&
	    address_parse_network(settings->network, &settings->bits, options->from) != 0)
		return arguments_error(arguments, "--from %s: a network looks like 10.0.0.0/8 or fd00::/64",
		                       options->from);
	if (options->ports != NULL && !parse_ports(options->ports, settings))
		return arguments_error(arguments, "--ports %s: ports look like 1024-65535", options->ports);
	return ARGUMENTS_GO_ON;
}
