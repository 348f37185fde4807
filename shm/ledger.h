/* The ledger: what became of everything that a lane's writer was given.
 *
 *     received = rejected (by reason) + dropped + refused + written
 *
 * `written` is the stream's own record count (stream.h). kernel_dropped stands before the sum: what
 * the kernel threw away never reached the writer. Under UDP_GRO the kernel counts queue entries,
 * each up to 64 datagrams. One writer per ledger: the lane's. A counter is load, add, store
 * (relaxed). At rest the sum holds to the last record; a writer that must keep it across its own
 * death restores absolute values from a redo note (redo.h).
 */
#ifndef SHM_LEDGER_H
#define SHM_LEDGER_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>

#define LEDGER_REASONS_MAX 24u

/* Why something was rejected, over all formats: name in `stat`, help. New ones go to the end. */
#define LEDGER_REASONS(X)                                                                                 \
	X(TRUNCATED, "truncated",                                                                         \
	  "the message ends inside a field, or the datagram was larger than a receive buffer")            \
	X(MALFORMED, "malformed", "not in the listener's format (not protobuf, not JSON)")                \
	X(MISSING_FIELD, "missing_field", "a required field is absent or empty")                          \
	X(BAD_SHA, "bad_sha", "app_sha256 is not 64 hexadecimal characters")                              \
	X(IP_OUT_OF_RANGE, "ip_out_of_range", "ip is not in 0 .. 2^32-1")                                 \
	X(WRONG_TYPE, "wrong_type", "a field has another type than the format asks for")                  \
	X(UNKNOWN_EVENT, "unknown_event", "a JSON object that is none of the events the listener takes")  \
	X(TOO_LARGE, "too_large", "longer than the format or its topic takes")                            \
	X(FRAME_FORM, "frame_form",                                                                       \
	  "a frame from the card that is no whole packet of UDP over IPv4 or IPv6 without options")       \
	X(FRAME_LENGTH, "frame_length", "a length in a frame's IP or UDP header contradicts the others")  \
	X(FRAME_IP_CHECKSUM, "frame_ip_checksum", "the checksum of a frame's IP header is wrong")         \
	X(FRAME_UDP_CHECKSUM, "frame_udp_checksum", "a frame's UDP checksum is wrong, or absent in IPv6") \
	X(FRAME_MARTIAN, "frame_martian",                                                                 \
	  "a frame with an address that nothing comes from or goes to in a network")

enum ledger_reason {
#define X(symbol, name, help) LEDGER_##symbol,
	LEDGER_REASONS(X)
#undef X
	        LEDGER_REASON_COUNT,
	LEDGER_VALID = 0xff, /* what a parser returns for something that is not rejected */
};
_Static_assert(LEDGER_REASON_COUNT <= LEDGER_REASONS_MAX, "raise LEDGER_REASONS_MAX");

struct ledger {
	alignas(64) _Atomic uint64_t received; /* given to the writer: datagrams, requests' events */
	_Atomic uint64_t kernel_dropped;       /* queue entries that the kernel threw away */
	_Atomic uint64_t dropped;              /* valid, but the stream was full (when_full: drop) */
	/* valid, but answered with "try later" (when_full: refuse) */
	_Atomic uint64_t refused;
	_Atomic uint64_t rejected[LEDGER_REASONS_MAX];
};

/* "bad_sha" for LEDGER_BAD_SHA; NULL outside the enum. */
const char *ledger_reason_name(enum ledger_reason reason);

/* One line of help for it; NULL outside the enum. */
const char *ledger_reason_help(enum ledger_reason reason);

/* counter += n, by its only writer. */
static inline void ledger_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
	                      memory_order_relaxed);
}

#endif
