/* A tracking event as its consumers read it: one line, three fields with a space between them.
 *
 *     app_open type=Desktop&browser=Firefox&engine=Gecko&version=56.0&os=Mac&host=192.168.64.2&pod=10.0.0.7&ts=1510826008003&
 *     ip=ffffac110001&klag=266&country=XX&city=XX deviceid=abcdf&ts=123456&referrer=website             (all on one line)
 *
 * event type  percent-encoded; / stands for itself (GET / has the type "/", and so has an empty one)
 * metadata    in this order, always all; values percent-encoded (RFC 3986: all but letters, digits and - . _ ~). ts: arrival in milliseconds. ip: the
 *             address as a hexadecimal number, IPv4 as the IPv4-mapped IPv6 number; 0 when unknown. klag: milliseconds
 * query       as the client sent it; "e" when it had none. Spaces and control characters, which HTTP does not allow there and which would break
 *             the line, are percent-encoded
 */
#ifndef EVENT_LINE_H
#define EVENT_LINE_H

#include "event/event.h"

/* Writes the line of an EVENT_TRACK without a newline or final 0; allocates nothing. Returns the
 * bytes written, -ENOSPC (out is then of no use), or -EINVAL for a record that is none or fails
 * event_check. */
int event_line(char *out, size_t size, const struct record *record);

#endif
