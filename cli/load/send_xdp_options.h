/* The options of `send udp --backend xdp`, from text to settings. */
#ifndef CLI_LOAD_SEND_XDP_OPTIONS_H
#define CLI_LOAD_SEND_XDP_OPTIONS_H

#include <stdint.h>

#include "cli/arguments.h"
#include "cli/load/send_xdp.h"

/* As given; NULL: not given. */
struct send_xdp_options {
	const char *interface, *mac, *from, *ports, *transmit;
	uint64_t queue;
};

/* Checks the options and fills in settings, all but sources. Returns ARGUMENTS_GO_ON, or the exit
 * status of an error that has been told. */
int send_xdp_complete(const struct arguments *arguments, const struct send_xdp_options *options,
                      struct send_xdp_settings *settings);

#endif
