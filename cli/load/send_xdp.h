/* Sends the generator's datagrams as frames of many sources, straight to an interface, paced, and
 * counts exactly how many went out.
 *
 *     pool --datagram at position p--> frame of source p % sources --> live frames (live.h) -----------> interface
 *                                                                '--> an AF_XDP socket (transmit.h) --'
 *
 * So sources take turns one by one, which no GRO can put together. The position moves by the frames
 * that are committed, and all of these are sent before the run ends.
 */
#ifndef CLI_LOAD_SEND_XDP_H
#define CLI_LOAD_SEND_XDP_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/load/generator.h"
#include "cli/load/live.h"
#include "cli/load/send_frame.h"
#include "cli/load/send_udp.h"
#include "cli/load/transmit.h"

#define SEND_XDP_WHY_MAX 256u
#define SEND_XDP_LIVE_RATE \
	100000u /* per second; below it a socket is kinder: live frames take a processor whole */

enum send_xdp_way {
	SEND_XDP_AUTO, /* live frames where they can be had, else a socket */
	SEND_XDP_SOCKET,
	SEND_XDP_LIVE,
};

/* Of "auto", "socket" or "live". False when it is none of them. */
bool send_xdp_find_way(const char *name, enum send_xdp_way *way);

struct send_xdp_settings {
	enum send_xdp_way way;
	const char *interface;
	unsigned queue;    /* of a socket; live frames have none, so AUTO is a socket for another than 0 */
	bool to_mac_given; /* otherwise the network is asked */
	uint8_t to_mac[6];
	bool network_given;  /* otherwise all sources have the interface's own address */
	uint8_t network[16]; /* as address_parse_network makes it */
	unsigned bits;
	uint16_t first_port, last_port;
	uint32_t sources; /* 1 .. SEND_FRAME_SOURCES_MAX */
};

struct send_xdp {
	struct send_frame frame;
	struct live *live; /* NULL: by transmit */
	struct transmit transmit;
	char fallback[SEND_XDP_WHY_MAX]; /* AUTO: why there are no live frames; empty: they are used */
};

/* Gets ready to send the datagrams of this pool to `to`. Returns 0, or -errno with the reason as a
 * sentence in why (SEND_XDP_WHY_MAX bytes); there is nothing to close then. With live
 * frames the first is sent here (live.h). */
int send_xdp_open(struct send_xdp *xdp, const struct send_xdp_settings *settings,
                  const struct generator *generator, const struct sockaddr_storage *to, char *why);

void send_xdp_close(struct send_xdp *xdp);

/* How the frames go out: "live", "copy" or "zero-copy" (of a socket). */
const char *send_xdp_mode(const struct send_xdp *xdp);

/* Sends until the count or the time is reached or *stop is set; of settings, gso and sources do not
 * count. result.busy: times that the interface was full. result.error: -ETIMEDOUT when the
 * interface took nothing for 2 s; what was committed may then not all have been sent. */
struct send_udp_result send_xdp_run(struct send_xdp *xdp, const struct generator *generator,
                                    const struct send_udp_settings *settings, const volatile bool *stop);

#endif
