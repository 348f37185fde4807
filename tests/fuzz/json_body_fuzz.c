/* Any bytes as the body of every route that takes JSON: whatever a parser accepts must be what
 * jansson says of the same text under the same rules, and the other way round. The input is copied
 * to memory of its own size, so that the address sanitizer sees a read past its end. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/json_body_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	char *copy = malloc(bytes ? bytes : 1);
	if (!copy)
		abort();
	memcpy(copy, data, bytes);
	if (json_oracle_metric(copy, bytes) == JSON_DISAGREED ||
	    json_oracle_log(copy, bytes) == JSON_DISAGREED ||
	    json_oracle_track(copy, bytes) == JSON_DISAGREED ||
	    json_oracle_params(copy, bytes) == JSON_DISAGREED ||
	    json_oracle_postback(copy, bytes) == JSON_DISAGREED ||
	    json_oracle_batch(copy, bytes) == JSON_DISAGREED)
		abort();
	free(copy);
	return 0;
}
