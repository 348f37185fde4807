/* What the tally tests share: a data directory of their own, events made from numbers, the report read back. */
#ifndef TESTS_TALLY_PLACE_H
#define TESTS_TALLY_PLACE_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/event.h"
#include "tests/shm_place.h"

struct tally_place {
	char data_dir[64];
};

static inline int tally_place_make(struct tally_place *place)
{
	const char *temporary = getenv("TMPDIR");
	snprintf(place->data_dir, sizeof place->data_dir, "%.40s/tally-test-XXXXXX", temporary != NULL ? temporary : "/tmp");
	return mkdtemp(place->data_dir) == NULL ? -1 : 0;
}

static inline void tally_place_remove(struct tally_place *place)
{
	place_clear(place->data_dir);
}

/* The sha of test application n: 32 bytes that differ from those of all others. */
static inline void tally_sha(uint8_t sha[32], uint64_t n)
{
	unsigned long state = n * 2 + 1;
	for (unsigned i = 0; i < 4; i++) {
		unsigned long word = test_random(&state);
		memcpy(sha + 8 * i, &word, sizeof word);
	}
	memcpy(sha, &n, sizeof n);
}

static inline char *tally_sha_hex(char text[65], uint64_t n)
{
	uint8_t sha[32];
	tally_sha(sha, n);
	for (unsigned i = 0; i < sizeof sha; i++)
		snprintf(text + 2 * i, 3, "%02x", sha[i]);
	return text;
}

static inline struct event_ip tally_event(uint64_t application, uint32_t ip)
{
	struct event_ip event = {.arrival_ns = 1, .ip = ip};
	tally_sha(event.sha, application);
	return event;
}

#endif
