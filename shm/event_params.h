/* A query string as a JSON object. */
#ifndef SHM_EVENT_PARAMS_H
#define SHM_EVENT_PARAMS_H

#include "shm/event_text.h"

/* k=1&l=&k=2%20x becomes {"k":["1","2 x"],"l":""}: names and values decoded, a name that comes several times once, where it came first,
 * with an array of its values in their order. Of more than EVENT_PARAMS_MAX pairs the query itself becomes a JSON string. Values need room in
 * text once more while they are decoded. */
void event_params_put(struct event_text *text, const char *query, size_t bytes);

#endif
