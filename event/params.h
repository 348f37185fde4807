/* A query string as a JSON object. */
#ifndef EVENT_PARAMS_H
#define EVENT_PARAMS_H

#include "base/text.h"

/* k=1&l=&k=2%20x becomes {"k":["1","2 x"],"l":""}: names and values decoded, a name that occurs
 * several times comes once, at its first place, with an array of its values in their order. Of more
 * than EVENT_PARAMS_MAX pairs the query itself becomes a JSON string. Values need room in text once
 * more while they are decoded. */
void event_params_put(struct text *text, const char *query, size_t bytes);

#endif
