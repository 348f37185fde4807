/* Sends the generator's datagrams over UDP, paced, from several sockets, and counts exactly how
 * many went out.
 *
 *     pool --generator_run--> | run | run | run | --one sendmmsg--> socket 0, then socket 1 ...
 *                               '-- UDP_SEGMENT: one message, up to 64 datagrams (udp(7))
 *
 * The position in the generator's stream moves by the datagrams that the kernel took. Refused ones
 * are sent again.
 */
#ifndef CLI_LOAD_SEND_UDP_H
#define CLI_LOAD_SEND_UDP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "cli/load/generator.h"

#define SEND_UDP_SOURCES_MAX 1024u

struct send_udp_settings {
	uint64_t rate;        /* datagrams per second; 0: as fast as it goes */
	uint64_t count;       /* stop after so many; UINT64_MAX: no limit */
	uint64_t duration_ns; /* stop after so long; UINT64_MAX: no limit */
	uint32_t gso;         /* datagrams per message, 1 .. GENERATOR_RUN_MAX */
	uint32_t sources;     /* sockets, 1 .. SEND_UDP_SOURCES_MAX */
};

struct send_udp_result {
	uint64_t sent; /* datagrams that the kernel took: the position in the generator's stream */
	/* times that the peer reported no listener (ICMP port unreachable) */
	uint64_t refused;
	uint64_t busy; /* times that the kernel's buffer was full */
	uint64_t elapsed_ns;
	int error; /* error that ended the run early: 0 or -errno */
};

/* Finds the address of "127.0.0.1", "host:port", "[::1]:4002"; port 4002 when not given. Returns 0,
 * or -EINVAL with the reason in *why. */
int send_udp_address(const char *text, struct sockaddr_storage *address, socklen_t *bytes, const char **why);

/* Sends until the count or the time is reached or *stop is set. */
struct send_udp_result send_udp_run(const struct generator *generator, const struct sockaddr_storage *address,
                                    socklen_t bytes, const struct send_udp_settings *settings,
                                    const volatile bool *stop);

#endif
