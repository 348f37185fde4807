/* Two network namespaces and a veth pair between them (packet-lab), for a benchmark of packets.
 *
 *     bench --- fork, exec ---> packet-lab --quiet      its end is the end of its input: it then removes all,
 *        '----- pipe -----------^                       also when the benchmark was killed
 */
#ifndef BENCH_LAB_H
#define BENCH_LAB_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define LAB_SERVER_ADDRESS "10.77.0.1"
#define LAB_SERVER_MAC              \
	{                           \
		2, 0, 0, 0, 0x77, 1 \
	}
#define LAB_SERVER "server0" /* interfaces */
#define LAB_CLIENT "client0"

struct lab {
	pid_t script;
	int input;       /* of the script */
	char client[64]; /* names of the namespaces */
	char server[64];
	int client_namespace; /* for setns(2) */
	int server_namespace;
	int own_namespace;
};

/* Makes it; exits with a message when it cannot. extra: further options of packet-lab,
 * NULL-terminated. */
void lab_start(struct lab *lab, const char *const *extra);

/* Removes it. */
void lab_stop(struct lab *lab);

/* The calling process goes into a namespace (one of the descriptors above); exits with a message
 * when it cannot. */
void lab_enter(int network_namespace);

/* What is counted at the server's end. */
struct lab_count {
	uint64_t packets, dropped; /* of the interface, any protocol */
	/* of UDP over IPv4 (Udp of /proc/net/snmp) */
	uint64_t udp_in, udp_no_port, udp_errors, udp_buffer, udp_checksum;
};

struct lab_count lab_count(const struct lab *lab);

#endif
