#include "ingest/http/peers.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

int peers_init(struct peers *peers, uint32_t max_connections)
{
	uint32_t size = 16;
	while (size < 2 * (uint64_t)max_connections)
		size *= 2;
	*peers = (struct peers){.peer = calloc(size, sizeof *peers->peer), .mask = size - 1};
	if (peers->peer == NULL)
		return -ENOMEM;
	/* Without the kernel's randomness the addresses of the process's memory have to do. */
	if (getrandom(peers->key, sizeof peers->key, GRND_NONBLOCK) != (ssize_t)sizeof peers->key)
		peers->key[0] = (uint64_t)(uintptr_t)peers->peer;
	return 0;
}

void peers_fini(struct peers *peers)
{
	free(peers->peer);
	memset(peers, 0, sizeof *peers);
}

static void key_of(uint64_t key[2], const uint8_t address[16])
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	memcpy(key, address, 16);
	if (memcmp(address, mapped, sizeof mapped) != 0)
		key[1] = 0;
}

/* Two rounds of 64 x 64 -> 128 bit multiplication, folded (as in Wang Yi's wyhash). */
static uint32_t place_of(const struct peers *peers, const uint64_t key[2])
{
	__uint128_t product = (__uint128_t)(key[0] ^ peers->key[0] ^ 0x9e3779b97f4a7c15u) *
	                      (key[1] ^ peers->key[1] ^ 0xd6e8feb86659fd93u);
	uint64_t folded = (uint64_t)product ^ (uint64_t)(product >> 64);
	product = (__uint128_t)(folded ^ peers->key[1]) * 0xa0761d6478bd642fu;
	return (uint32_t)((uint64_t)product ^ (uint64_t)(product >> 64)) & peers->mask;
}

/* The address's slot, or the free one where it would go. There is always one: the table is twice as
 * large as it may be full. */
static uint32_t find(const struct peers *peers, const uint64_t key[2])
{
	uint32_t i = place_of(peers, key);
	while (peers->peer[i].n != 0 && memcmp(peers->peer[i].address, key, 16) != 0)
		i = (i + 1) & peers->mask;
	return i;
}

bool peers_enter(struct peers *peers, const uint8_t address[16], uint32_t most)
{
	uint64_t key[2];
	key_of(key, address);
	struct peer *peer = &peers->peer[find(peers, key)];
	if (peer->n >= most)
		return false;
	if (peer->n == 0)
		*peer = (struct peer){.address = {key[0], key[1]}};
	peer->n++;
	return true;
}

static struct peer *entered(struct peers *peers, const uint8_t address[16])
{
	uint64_t key[2];
	key_of(key, address);
	struct peer *peer = &peers->peer[find(peers, key)];
	assert(peer->n != 0);
	return peer;
}

bool peers_hold(struct peers *peers, const uint8_t address[16], uint64_t bytes, uint64_t most)
{
	struct peer *peer = entered(peers, address);
	if (peer->held_bytes + bytes > most)
		return false;
	peer->held_bytes += bytes;
	return true;
}

void peers_release(struct peers *peers, const uint8_t address[16], uint64_t bytes)
{
	struct peer *peer = entered(peers, address);
	assert(peer->held_bytes >= bytes);
	peer->held_bytes -= bytes;
}

/* Fills the hole with a follower that may stand there, again and again. */
static void close_hole(struct peers *peers, uint32_t hole)
{
	for (uint32_t i = (hole + 1) & peers->mask; peers->peer[i].n != 0; i = (i + 1) & peers->mask) {
		uint32_t home = place_of(peers, peers->peer[i].address);
		if (((i - home) & peers->mask) < ((i - hole) & peers->mask))
			continue;
		peers->peer[hole] = peers->peer[i];
		hole = i;
	}
	peers->peer[hole].n = 0;
}

void peers_leave(struct peers *peers, const uint8_t address[16])
{
	struct peer *peer = entered(peers, address);
	if (--peer->n == 0)
		close_hole(peers, (uint32_t)(peer - peers->peer));
}
