/* What values in an answer's head mean; for every sender. */
#ifndef DELIVER_REPLY_VALUES_H
#define DELIVER_REPLY_VALUES_H

#include "deliver/sender.h"

/* Retry-After: seconds, or seconds until a date (RFC 9110, 10.2.3), 0 for one that is past.
 * INT64_MAX: too many to count; -1: it is neither. */
int64_t reply_retry_after(const char *value, size_t bytes);

/* Location into request->location, as it is; one that is too long is none. Returns false for
 * none. */
bool reply_keep_location(struct sender_request *request, const char *value, size_t bytes);

/* request->location as an absolute URL (RFC 3986, 5.2); "" when it is no URL. */
void reply_resolve_location(struct sender_request *request);

#endif
