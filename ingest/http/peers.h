/* How many connections each address has, and how much memory their requests hold: the caps per
 * address (max_connections_per_address, request_memory_share).
 *
 *     hash of the address --> slot, open addressing with linear probing; deletion moves followers back, so there are no tombstones
 *     (D. Knuth, The Art of Computer Programming, vol. 3, 6.4, algorithm R)
 *
 * IPv6 counts by /64, because that is what one customer gets. The hash has a secret key, because
 * clients choose their addresses.
 */
#ifndef INGEST_HTTP_PEERS_H
#define INGEST_HTTP_PEERS_H

#include <stdbool.h>
#include <stdint.h>

struct peer {
	uint64_t address[2];
	uint32_t n; /* 0: free */
	uint64_t held_bytes;
};

struct peers {
	struct peer *peer;
	uint32_t mask;
	uint64_t key[2];
};

/* For at most max_connections connections at a time. Returns 0 or -ENOMEM. */
int peers_init(struct peers *peers, uint32_t max_connections);
void peers_fini(struct peers *peers);

/* One more connection from this address. False, and nothing is counted, when it has `most`
 * already. */
bool peers_enter(struct peers *peers, const uint8_t address[16], uint32_t most);

/* So many bytes more are held for the address, which must have entered. False, and nothing is
 * counted, when that is more than `most` in all. */
bool peers_hold(struct peers *peers, const uint8_t address[16], uint64_t bytes, uint64_t most);

/* So many less; they must have been held. */
void peers_release(struct peers *peers, const uint8_t address[16], uint64_t bytes);

/* One connection less; the address must have entered, and with its last connection hold nothing. */
void peers_leave(struct peers *peers, const uint8_t address[16]);

#endif
