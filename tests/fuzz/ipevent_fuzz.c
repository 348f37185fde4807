/* Any bytes: ipevent_parse must say what ipevent_oracle says with protobuf-c. The input is
 * copied to memory of its own size, so that the address sanitizer sees a read past its end. */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/ipevent_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	if (bytes > IPEVENT_ORACLE_MAX)
		return 0;
	uint8_t *copy = fuzz_copy(data, bytes);
	struct event_ip event = {0}, expected = {0};
	enum ledger_reason reason = ipevent_parse(copy, bytes, &event);
	free(copy);
	enum ledger_reason wanted = ipevent_oracle(data, bytes, &expected);
	if (reason != wanted)
		fprintf(stderr, "ipevent_parse says %u, protobuf-c %u\n", reason, wanted);
	must(reason == wanted);
	must(reason != LEDGER_VALID || memcmp(&event, &expected, sizeof event) == 0);
	return 0;
}
