/* One datagram of the generator: valid or corrupted in one known way.
 *
 * generator.h decides which datagrams to make and how many; this file makes each one.
 */
#ifndef CLI_LOAD_GENERATOR_MESSAGE_H
#define CLI_LOAD_GENERATOR_MESSAGE_H

#include <stdint.h>

#include "cli/load/generator.h"

#define GENERATOR_MESSAGE_MAX 512u /* the most bytes of an ipevent or json datagram */

/* SplitMix64 (G. Steele, D. Lea, C. Flood, OOPSLA 2014): small, and the same everywhere. */
struct generator_random {
	uint64_t state;
};

uint64_t generator_draw(struct generator_random *random);

/* A number below `below`, which is at least 1. */
static inline uint32_t generator_below(struct generator_random *random, uint32_t below)
{
	return (uint32_t)((generator_draw(random) >> 32) * below >> 32);
}

/* Makes an IpEvent of this application and address at out; returns its length. Most have the
 * typical 71 bytes; a few have their fields in the other order, upper-case digits, an unknown or a
 * repeated field. */
uint32_t generator_ipevent(struct generator_random *random, uint8_t *out, const uint8_t sha[32], uint32_t ip);

/* The same, corrupted. Sets *reason to the result of ipevent_parse. */
uint32_t generator_bad_ipevent(struct generator_random *random, uint8_t *out, const uint8_t sha[32],
                               uint32_t ip, uint8_t *reason);

/* Makes a metric or a tracking call as JSON, and sets *type. user is the number in the username. */
uint32_t generator_json(struct generator_random *random, uint8_t *out, uint32_t user, uint16_t *type);

/* The same, corrupted. Sets *reason to the result of json_event_parse. */
uint32_t generator_bad_json(struct generator_random *random, uint8_t *out, uint32_t user, uint8_t *reason);

#endif
