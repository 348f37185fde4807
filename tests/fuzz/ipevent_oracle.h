/* What ipevent_parse must return, found by other means: protobuf-c decides.
 *
 *     data --adapt--> the same without what protobuf-c cannot read --protobuf-c--> app_sha256, ip --> reason
 *
 * adapt takes out the documented differences (top of ingest/udp/ipevent.c) and nothing else: whole
 * groups, and known fields with another wire type. Where ipevent_parse calls a tag or a varint
 * malformed that protobuf-c lets pass, adapt puts a tag that protobuf-c refuses.
 */
#ifndef TESTS_FUZZ_IPEVENT_ORACLE_H
#define TESTS_FUZZ_IPEVENT_ORACLE_H

#include "ingest/udp/ipevent.h"

/* As ipevent_parse. Aborts when protobuf-c and adapt disagree on whether the structure is right.
 * bytes at most IPEVENT_ORACLE_MAX. */
enum ledger_reason ipevent_oracle(const uint8_t *data, size_t bytes, struct event_ip *event);

#define IPEVENT_ORACLE_MAX 65536u

#endif
