/* Random numbers that come again: the seed is printed and can be given in MILLRACE_SEED.
 * (xorshift64*: S. Vigna, An experimental exploration of Marsaglia's xorshift generators, scrambled) */
#ifndef TESTS_DRAW_H
#define TESTS_DRAW_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t draw_state;

/* Once at start. */
static inline void draw_init(uint64_t fallback)
{
	const char *given = getenv("MILLRACE_SEED");
	draw_state = given ? strtoull(given, NULL, 0) : fallback;
	if (draw_state == 0)
		draw_state = fallback; /* the generator stands still at 0 */
	printf("MILLRACE_SEED=%llu\n", (unsigned long long)draw_state);
}

/* 64 random bits. */
static inline uint64_t draw(void)
{
	draw_state ^= draw_state >> 12;
	draw_state ^= draw_state << 25;
	draw_state ^= draw_state >> 27;
	return draw_state * 2685821657736338717ull;
}

/* 0 .. n-1 */
static inline unsigned draw_below(unsigned n)
{
	return (unsigned)((draw() >> 32) * n >> 32);
}

/* True once in n times. */
static inline bool draw_one_in(unsigned n)
{
	return draw_below(n) == 0;
}

#endif
