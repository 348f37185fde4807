/* User-Agents for benchmarks: as many different ones as wanted, and popular ones in Zipf order.
 *
 * They are made from uap-core's own test files (MILLRACE_UAP_CORE, else ../shared/uap-core), or,
 * where those are not, from a dozen samples: the last number in one of them, drawn at random, is
 * replaced by a number that no other has.
 */
#ifndef BENCH_AGENTS_H
#define BENCH_AGENTS_H

#include <stddef.h>
#include <stdint.h>

#define AGENTS_BYTES 600u /* of an agent at most, the final 0 included */

struct agents_text {
	char data[AGENTS_BYTES];
	size_t bytes;
};

/* Once at start. Returns where they come from: "uap-core's test files" or "samples". */
const char *agents_load(void);

/* Agent n: for each n another, and for the same n in the same order of calls the same. */
void agents_make(struct agents_text *text, unsigned n);

/* Fills drawn[0 .. draws - 1] with numbers below n: number k as often as 1 / (k + 1) says. */
void agents_draw_zipf(uint32_t *drawn, unsigned draws, unsigned n);

#endif
