/* Any bytes as what comes over a connection: an answer must be to http-parser what it is to us, in
 * whatever pieces it comes. */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/reply_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	char *copy = fuzz_copy(data, bytes);
	must(reply_oracle(copy, bytes, fuzz_seed(data, bytes)) != REPLY_DISAGREED);
	free(copy);
	return 0;
}
