/* Any bytes: the scanner must accept what jansson accepts and read the same values, and
 * json_event_parse must make the event that jansson's tree tells. The input is copied to memory of
 * its own size, so that the address sanitizer sees a read past its end. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/json_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	char *copy = malloc(bytes ? bytes : 1);
	if (!copy)
		abort();
	memcpy(copy, data, bytes);
	if (json_oracle_scan(copy, bytes) == JSON_DISAGREED ||
	    json_oracle_event(copy, bytes) == JSON_DISAGREED)
		abort();
	free(copy);
	return 0;
}
