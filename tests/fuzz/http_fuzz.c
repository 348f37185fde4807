/* Any bytes, first as a request, then as a chunked body: both must be to http-parser what they are
 * to us, in whatever pieces they come. */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/http_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	uint64_t seed = fuzz_seed(data, bytes);
	char *copy = fuzz_copy(data, bytes);
	must(http_oracle_head(copy, bytes) != HTTP_DISAGREED);
	must(http_oracle_pieces(copy, bytes, seed) != HTTP_DISAGREED);
	must(http_oracle_chunked(copy, bytes, seed) != HTTP_DISAGREED);
	free(copy);
	return 0;
}
