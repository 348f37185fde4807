/* Any bytes, first as a request, then as a chunked body: both must be to http-parser what they are
 * to us, in whatever pieces they come. */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/http_oracle.h"

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
	uint64_t seed = seed_of(data, bytes);
	char *copy = malloc(bytes ? bytes : 1);
	if (!copy)
		abort();
	memcpy(copy, data, bytes);
	if (http_oracle_head(copy, bytes) == HTTP_DISAGREED ||
	    http_oracle_pieces(copy, bytes, seed) == HTTP_DISAGREED ||
	    http_oracle_chunked(copy, bytes, seed) == HTTP_DISAGREED)
		abort();
	free(copy);
	return 0;
}
