/* IpEvent: one protobuf (proto2) message per datagram.
 *
 *     message IpEvent { required string app_sha256 = 1; required int64 ip = 2; }
 *
 *     0a 40 <64 hex characters> 10 <varint>          a typical one: 71 bytes
 *
 * The fields may come in either order; unknown fields are skipped; the last of a repeated field
 * wins (https://protobuf.dev/programming-guides/encoding/). The parser allocates nothing, reads
 * every byte at most twice and never past the end. protobuf-c is its oracle in the tests and the
 * fuzzer.
 */
#ifndef INGEST_UDP_IPEVENT_H
#define INGEST_UDP_IPEVENT_H

#include "event/event.h"
#include "shm/ledger.h"

/* Parses one message. Valid: returns LEDGER_VALID and sets event->ip and event->sha, nothing else.
 * Otherwise returns the reason (LEDGER_TRUNCATED, _MALFORMED, _MISSING_FIELD, _BAD_SHA,
 * _IP_OUT_OF_RANGE) and event is undefined. */
enum ledger_reason ipevent_parse(const uint8_t *data, size_t bytes, struct event_ip *event);

#endif
