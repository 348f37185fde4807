/* Any bytes as the body of every route that takes JSON: whatever a parser accepts must be what
 * jansson says of the same text under the same rules, and the other way round. The input is copied
 * to memory of its own size, so that the address sanitizer sees a read past its end. */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/json_body_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	char *copy = fuzz_copy(data, bytes);
	must(json_oracle_metric(copy, bytes) != JSON_DISAGREED);
	must(json_oracle_log(copy, bytes) != JSON_DISAGREED);
	must(json_oracle_track(copy, bytes) != JSON_DISAGREED);
	must(json_oracle_params(copy, bytes) != JSON_DISAGREED);
	must(json_oracle_postback(copy, bytes) != JSON_DISAGREED);
	must(json_oracle_batch(copy, bytes) != JSON_DISAGREED);
	free(copy);
	return 0;
}
