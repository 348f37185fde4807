/* What frame_parse must say, by a second reading that is slow and plain: a cursor that takes one
 * field after the other, a checksum of 16 bits at a time. */
#ifndef TESTS_FUZZ_FRAME_ORACLE_H
#define TESTS_FUZZ_FRAME_ORACLE_H

#include "ingest/udp/frame.h"

/* As frame_parse. */
enum ledger_reason frame_oracle(const uint8_t *data, uint32_t bytes, bool verify, struct burst *burst);

/* Both on a copy of its own size. Returns NULL when they agree, or what they disagree on. */
const char *frame_compare(const uint8_t *data, uint32_t bytes, bool verify);

#endif
