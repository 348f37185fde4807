/* Whether a URL is one that a postback can be delivered to. It is judged from the text between the
 * quotes; escapes are resolved on the way.
 *
 *     http://user:password@host.example:8080/path?query#fragment        {key} may stand anywhere after the slashes
 *     scheme '//' [ userinfo '@' ] host [ ':' port ]  the rest          (RFC 3986, 3.2)
 *
 * A template {key} is filled in later, percent-encoded: with letters, digits, - . _ ~ and %XX only.
 * So the text around it is judged, and what a value could still make right is let through. For the
 * .c files of this folder alone. */
#ifndef INGEST_JSON_URL_H
#define INGEST_JSON_URL_H

#include "ingest/json/object.h"

/* NULL, or what is wrong with a string, "must have a host":
 *   scheme    http or https in any case
 *   spaces    none, nor control characters, anywhere
 *   userinfo  anything up to the last @ before the path
 *   host      an IPv6 address in brackets (a zone as %25zone, RFC 6874); or up to 253 letters, digits, - . _ ~, %XX that stands for one of
 *             these, and characters beyond ASCII: labels of 1 to 63 with dots between, one dot at the end allowed. When the last label is a
 *             number it is an IPv4 address, in any form that inet_aton takes.
 *   port      nothing, or 1 to 65535
 *   braces    what opens before the path is closed; a key holds no brace */
const char *json_url_fault(const struct json_value *url);

#endif
