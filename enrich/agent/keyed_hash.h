/* A hash of texts that strangers choose. Without the key they cannot find texts that collide,
 * except by luck.
 *
 *     sum  = (m0 + k0)(m1 + k1) + (m2 + k2)(m3 + k3) + ...   mod 2^128, m the text in words of 64 bits, padded with zeros
 *     hash = (a + b*lo(sum) + c*hi(sum) + d*bytes)           mod 2^128, upper half
 *
 * The sum is NH (J. Black, S. Halevi, H. Krawczyk, T. Krovetz, P. Rogaway, UMAC: Fast and Secure
 * Message Authentication, CRYPTO 1999): two texts of one length have the same with probability
 * 2^-64 at most, whichever they are. The second line is multiply-shift for vectors (M. Thorup, High
 * Speed Hashing for Integers and Strings, arXiv:1504.06804), which makes each bit of the hash as
 * good as the next. It costs one multiplication for 16 bytes: about 5 ns for an agent.
 */
#ifndef ENRICH_AGENT_KEYED_HASH_H
#define ENRICH_AGENT_KEYED_HASH_H

#include <stddef.h>
#include <stdint.h>

#define KEYED_HASH_MAX 8192u /* bytes of a text */

struct keyed_hash {
	uint64_t key[KEYED_HASH_MAX / 8];
	uint64_t mix[4][2]; /* a, b, c, d: low and high half */
};

/* A new key from the kernel (getrandom). Returns 0 or -errno. */
int keyed_hash_init(struct keyed_hash *hash);

/* A key made from a number, for tests that must come out the same again. It is no secret. */
void keyed_hash_init_seed(struct keyed_hash *hash, uint64_t seed);

/* bytes is at most KEYED_HASH_MAX. */
uint64_t keyed_hash(const struct keyed_hash *hash, const char *text, size_t bytes);

#endif
