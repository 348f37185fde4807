/* Datagrams for tests and benchmarks, with an account of the result that a receiver must have.
 *
 *     pool (made once):   | run of equal length | run of equal length | ... |     n datagrams, a power of two
 *     position:             ------> 0, 1, 2 ... n - 1, then the pool again (n, n + 1 ...)
 *
 * All datagrams are made before the first is sent, so making them does not slow the sending. One
 * number, the position, tells everything that was sent: so many whole pools, and the beginning of
 * one more. Datagrams of equal length are next to each other, as UDP_SEGMENT needs them (udp(7)).
 *
 * Some datagrams are corrupted on purpose, each in one way. The account has the reason for which
 * the receiver rejects each (shm/ledger.h). The same seed makes the same datagrams on every
 * machine.
 */
#ifndef CLI_LOAD_GENERATOR_H
#define CLI_LOAD_GENERATOR_H

#include <stdint.h>
#include <stdio.h>

#include "event/event.h"
#include "shm/ledger.h"

#define GENERATOR_APPS_MAX     1000000u
#define GENERATOR_DATAGRAM_MAX 65507u /* bytes; the most in one UDP datagram over IPv4 */
#define GENERATOR_RUN_MAX      64u    /* datagrams; UDP_MAX_SEGMENTS of older kernels */

enum generator_format { GENERATOR_IPEVENT, GENERATOR_RAW, GENERATOR_JSON };

struct generator_settings {
	enum generator_format format;
	uint32_t apps;          /* number of app_sha256 (ipevent) or usernames (json) */
	uint32_t run;           /* datagrams of equal length in a row, 1 .. GENERATOR_RUN_MAX */
	uint32_t raw_bytes;     /* raw: length of each */
	double corrupt_percent; /* ipevent and json */
	uint64_t seed;
};

struct generator_datagram {
	uint32_t offset;  /* into bytes */
	uint32_t run_end; /* index of the first datagram after its run */
	uint16_t length;
	uint16_t type;  /* enum event_type of the event, when valid */
	uint8_t reason; /* LEDGER_VALID, or the reason for rejection */
	uint32_t app;   /* ipevent: index into sha */
	uint32_t ip;    /* ipevent */
};

struct generator {
	struct generator_settings settings;
	uint32_t n; /* a power of two */
	uint8_t *bytes;
	struct generator_datagram *datagram;
	uint8_t (*sha)[32];
};

/* The result that a receiver must have for the datagrams before a position. */
struct generator_account {
	uint64_t sent;
	uint64_t bytes;
	uint64_t valid;
	uint64_t rejected[LEDGER_REASON_COUNT];
};

/* Makes the pool. Returns 0, -ENOMEM, or -EINVAL for a setting out of range. */
int generator_init(struct generator *generator, const struct generator_settings *settings);

void generator_fini(struct generator *generator);

/* Bytes of the longest datagram. */
uint32_t generator_longest(const struct generator *generator);

/* Finds the datagrams at position: sets *data and *length, and returns how many (1 .. most) of that
 * length are there in a row. */
static inline uint32_t generator_run(const struct generator *generator, uint64_t position, uint32_t most,
                                     const uint8_t **data, uint16_t *length)
{
	uint32_t index = (uint32_t)(position & (generator->n - 1));
	const struct generator_datagram *datagram = &generator->datagram[index];
	uint32_t left = datagram->run_end - index;
	*data = generator->bytes + datagram->offset;
	*length = datagram->length;
	return left < most ? left : most;
}

/* How often the pool's datagram `index` occurs before position. */
static inline uint64_t generator_times(const struct generator *generator, uint64_t position, uint32_t index)
{
	return position / generator->n + (index < position % generator->n);
}

/* Sums up the datagrams before position. */
void generator_count(const struct generator *generator, uint64_t position, struct generator_account *account);

/* Writes the counts that a receiver must have after the datagrams before position, as one JSON
 * object:
 *
 *     {"sent": n, "valid": n, "rejected": {"bad_sha": n, ...}, "topics": {"ip": n},
 *      "apps": {"<sha>": {"count": n, "ips": ["10.0.0.1", ...]}, ...}}
 *
 * ips are distinct and in numerical order; only ipevent has apps. Returns 0, -ENOMEM or the error
 * of out. */
int generator_expect(const struct generator *generator, uint64_t position, FILE *out);

#endif
