/* Any bytes: the scanner must accept what jansson accepts and read the same values, and
 * json_event_parse must make the event that jansson's tree tells. The input is copied to memory of
 * its own size, so that the address sanitizer sees a read past its end. */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/json_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	char *copy = fuzz_copy(data, bytes);
	must(json_oracle_scan(copy, bytes) != JSON_DISAGREED);
	must(json_oracle_event(copy, bytes) != JSON_DISAGREED);
	free(copy);
	return 0;
}
