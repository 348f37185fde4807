/* What fuzzers share: a check that ends the run with its place, and copies of their own size, so
 * that the address sanitizer sees a read past the end. An oracle that a unit test uses as well has
 * checks of its own. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#define must(holds)                                                                         \
	do {                                                                                \
		if (!(holds)) {                                                             \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #holds); \
			abort();                                                            \
		}                                                                           \
	} while (0)

/* A number that is another for other bytes, and the same for the same (FNV-1a). */
static inline uint64_t fuzz_seed(const uint8_t *data, size_t bytes)
{
	uint64_t hash = 14695981039346656037u;
	for (size_t i = 0; i < bytes; i++)
		hash = (hash ^ data[i]) * 1099511628211u;
	return hash;
}

/* The bytes in memory of their own; to be freed. */
static inline void *fuzz_copy(const void *data, size_t bytes)
{
	void *copy = malloc(bytes > 0 ? bytes : 1);
	must(copy != NULL);
	if (bytes > 0)
		memcpy(copy, data, bytes);
	return copy;
}

/* The same as a string: a final 0 follows. */
static inline char *fuzz_string(const void *data, size_t bytes)
{
	char *copy = malloc(bytes + 1);
	must(copy != NULL);
	if (bytes > 0)
		memcpy(copy, data, bytes);
	copy[bytes] = '\0';
	return copy;
}

/* The next piece up to the byte `stop`, or all that is left; it is taken from *data and *bytes. */
static inline char *fuzz_piece(const uint8_t **data, size_t *bytes, char stop)
{
	const uint8_t *end = *bytes > 0 ? memchr(*data, stop, *bytes) : NULL;
	size_t n = end != NULL ? (size_t)(end - *data) : *bytes;
	char *piece = fuzz_string(*data, n);
	*bytes -= n + (end != NULL);
	*data += n + (end != NULL);
	return piece;
}

#endif
