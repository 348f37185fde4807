/* The plain sender: HTTP/1.1 over TCP for http: URLs, at a fraction of what libcurl takes.
 *
 * It sends what everybody is certain to understand in one way, and leaves all else to libcurl: see
 * sender_plain_can. Requests and answers are as with libcurl: the same headers, bounds, time-outs
 * and results.
 */
#ifndef DELIVER_SENDER_PLAIN_H
#define DELIVER_SENDER_PLAIN_H

#include "deliver/sender.h"

/* http:, with host and port as the place has them, without user, of printable ASCII; a method and
 * headers that are some; an address, without a zone. */
bool sender_plain_can(const struct sender_request *request);

/* start, but a request that it cannot send is left alone: -EINVAL. */
int sender_plain_try(struct sender *sender, struct sender_request *request, uint64_t now_ns);

/* fd is asked about besides, for whoever sleeps on that of the sender; it stays the caller's.
 * Returns 0 or -errno. */
int sender_plain_beside(struct sender *sender, int fd);

/* There was something to read from it when next looked the last time. */
bool sender_plain_woken(const struct sender *sender);

/* A request that it cannot send ends with -EINVAL. */
extern const struct sender_ops sender_plain;

#endif
