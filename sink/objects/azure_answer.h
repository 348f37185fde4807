/* What an answer of Azure Blob means (store.h, "Results"). */
#ifndef SINK_OBJECTS_AZURE_ANSWER_H
#define SINK_OBJECTS_AZURE_ANSWER_H

#include "sink/objects/cloud.h"

/* As cloud_judge. now_s: our time, as far as it is the store's. */
void azure_judge(struct cloud_meaning *meaning, const struct http_request *answer, enum store_action action,
                 int64_t now_s);

#endif
