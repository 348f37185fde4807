/* What every sender holds to: the bounds of an answer, and a request's time-outs.
 *
 *     request --start--> CONNECTING --about to send--> WAITING --first line of the head--> ANSWERING --> ended
 *                         connect_timeout              first_byte_timeout                  (timeout, from the start, in all of them)
 */
#ifndef DELIVER_SENDER_LIMITS_H
#define DELIVER_SENDER_LIMITS_H

#include <stdint.h>

#define SENDER_NEVER      UINT64_MAX
#define SENDER_HEAD_MAX   65536u /* bytes of an answer's head, with all interim ones */
#define SENDER_BODY_READ  65536u /* bytes of a body that are read, unpacked, to keep the connection */
#define SENDER_METHOD_MAX 8u

/* What a request under way takes in a sender for its connection and its answer. */
#define SENDER_CONNECTION_BYTES (64u << 10)

/* Of answers: what is sent, and unpacked. */
#define SENDER_CODINGS "gzip, deflate"

#define SENDER_TOO_LONG  "the head of the answer is too long"
#define SENDER_CUT       "the answer was cut"
#define SENDER_FORBIDDEN "the address is forbidden"
#define SENDER_DEAD      "the kept connection was closed before an answer"
#define SENDER_NONE      "the method, the URL or a header is none, or there is no address"

enum sender_state { SENDER_CONNECTING, SENDER_WAITING, SENDER_ANSWERING };

/* Why a request that is late in this state has failed. */
static inline const char *sender_late(enum sender_state state)
{
	return state == SENDER_CONNECTING ? "there was no connection in time"
	       : state == SENDER_WAITING  ? "there was no answer in time"
	                                  : "the answer's head was not whole in time";
}

#endif
