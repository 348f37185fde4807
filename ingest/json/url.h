/* Whether a URL is one that a postback can be delivered to. It is judged from the text between the
 * quotes; escapes are resolved on the way.
 *
 *     http://user:password@host.example:8080/path/{key}?query={key}#fragment
 *     scheme '//' [ userinfo '@' ] host [ ':' port ]  the rest                     (RFC 3986, 3.2)
 *
 * A template {key} is filled in later, percent-encoded; it may stand in the rest alone, so that no
 * value leads to another host. What is taken here can be delivered (deliver/target.h judges the
 * same), with one exception: whether characters beyond ASCII make a name takes the tables of IDNA
 * (UTS 46), which are with the delivery; a host that they refuse gives a dead letter with that
 * reason. For the .c files of this folder alone. */
#ifndef INGEST_JSON_URL_H
#define INGEST_JSON_URL_H

#include "ingest/json/object.h"

/* NULL, or what is wrong with a string, "must have a host":
 *   scheme    http or https in any case
 *   spaces    none, nor control characters, anywhere; in userinfo not as %XX either (RFC 7617)
 *   userinfo  anything up to the last @ before the path
 *   host      an IPv6 address in brackets (a zone as %25zone, RFC 6874, of up to 15 characters); or up to 253 letters, digits, - . _ ~, %XX that stands for one of
 *             these, and characters beyond ASCII: labels of 1 to 63 with dots between, one dot at the end allowed. When the last label is a
 *             number it is an IPv4 address, in any form that inet_aton takes.
 *   port      nothing, or 1 to 65535
 *   braces    none before the path; what stands in the rest is not looked at */
const char *json_url_fault(const struct json_value *url);

#endif
