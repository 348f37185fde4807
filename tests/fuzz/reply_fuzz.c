/* Any bytes as what comes over a connection: an answer must be to http-parser what it is to us, in
 * whatever pieces it comes. */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/reply_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Pieces that are others for other inputs, and the same for the same (FNV-1a). */
static uint64_t seed_of(const uint8_t *data, size_t bytes)
{
	uint64_t hash = 14695981039346656037u;
	for (size_t i = 0; i < bytes; i++)
		hash = (hash ^ data[i]) * 1099511628211u;
	return hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	char *copy = malloc(bytes ? bytes : 1);
	if (!copy)
		abort();
	memcpy(copy, data, bytes);
	if (reply_oracle(copy, bytes, seed_of(data, bytes)) == REPLY_DISAGREED)
		abort();
	free(copy);
	return 0;
}
