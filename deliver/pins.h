/* Names pinned to vetted addresses in libcurl's cache, so that it never looks one up.
 *
 *     pins_list(place) --> "-old:80" "name:443:203.0.113.7,2001:db8::7" --CURLOPT_RESOLVE, transfer begins--> pins_set(place)
 *          '-> nothing to do: these addresses are in the cache already
 *
 * An entry stays in libcurl's cache until it is replaced or taken out. Both are done by the list of
 * some transfer (curl_easy_setopt(3), CURLOPT_RESOLVE), so what is forgotten goes with the next
 * list.
 *
 * IPv6 addresses in URLs are not pinned: libcurl 7.88 knows no brackets in that list, and needs no
 * look-up for them.
 */
#ifndef DELIVER_PINS_H
#define DELIVER_PINS_H

#include <curl/curl.h>

#include "deliver/sender.h"

struct pins; /* opaque; one thread; of one CURLM */

/* NULL: no memory, or no random key. */
struct pins *pins_new(void);
void pins_free(struct pins *pins);

/* Sets *list to what the next transfer has to bring into libcurl's cache before it can go to the
 * place, NULL when that is there. Returns 0; -ENOMEM; -EINVAL for a host that begins with "-",
 * which libcurl would read as the order to take another one out. */
int pins_list(struct pins *pins, const struct sender_place *place, struct curl_slist **list);

/* The list of pins_list is in the cache. */
void pins_set(struct pins *pins, const struct sender_place *place);

/* The place is not needed any more. */
void pins_forget(struct pins *pins, const struct sender_place *place);

#endif
