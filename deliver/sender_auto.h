/* The sender that deliver uses unless it is told otherwise: the plain one for all that it can send,
 * libcurl's for the rest (https, HTTP/2, users in URLs, zones, anything odd).
 *
 *     request --sender_plain_can? yes--> plain        both are driven by next, and wake by one descriptor
 *                                 no --> libcurl
 *
 * The choice is made anew for each request, so a redirect from http to https changes the sender.
 */
#ifndef DELIVER_SENDER_AUTO_H
#define DELIVER_SENDER_AUTO_H

#include "deliver/sender.h"

extern const struct sender_ops sender_auto;

#endif
