/* The request of an attempt: URL, headers and body, out of the postback and its policy.
 *
 *     Idempotency-Key: <id>                           the same at each attempt
 *     Content-Type: application/x-www-form-urlencoded or application/json    where there is a body
 *     webhook-id, webhook-timestamp, webhook-signature where the policy has secrets; the time is that of the attempt
 */
#ifndef DELIVER_REQUEST_H
#define DELIVER_REQUEST_H

#include "deliver/data.h"
#include "deliver/delivery.h"
#include "shm/segment.h"

/* Makes the first request of the delivery's attempt, but for its place. data is memory to read the
 * postback's data into, url room for url_most bytes and a final 0. Returns 0; -ENOMEM; -EINVAL with
 * the reason why there can be none: a value that leads elsewhere, data that is none, a URL over
 * url_most. */
int request_make(struct delivery *delivery, struct data *data, char *url, size_t url_most,
                 struct shm_error *error);

/* It goes to the addresses of the delivery's host. */
void request_place(struct delivery *delivery);

/* It goes to another URL (malloced, the attempt's from now on); without `keeps` as GET, without a
 * body. */
void request_move(struct delivery *delivery, char *url, bool keeps);

#endif
