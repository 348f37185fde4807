/* Where a redirect leads (RFC 9110, 10.2.2 and 15.4).
 *
 *     307, 308         the same method and body
 *     301, 302, 303    GET without a body
 *
 * The new URL is resolved against the one that was asked (RFC 3986, 5). From https only to https.
 * Whoever follows goes through target, guard and names again.
 */
#ifndef DELIVER_REDIRECT_H
#define DELIVER_REDIRECT_H

#include <stdbool.h>
#include <stddef.h>

/* Whether an answer is one that leads elsewhere. */
bool redirect_is(unsigned status);

/* Whether method and body stay as they were. */
bool redirect_keeps(unsigned status);

/* Writes the absolute URL, without user and fragment, braces percent-encoded, so that it is no
 * template. Returns 0; -EINVAL when it is no URL; -EPERM when it leads from https to http;
 * -ENOSPC. */
int redirect_resolve(const char *url, const char *location, char *out, size_t size);

#endif
