/* What an answer of S3 means (store.h, "Results"). */
#ifndef SINK_OBJECTS_S3_ANSWER_H
#define SINK_OBJECTS_S3_ANSWER_H

#include "sink/objects/cloud.h"

/* As cloud_judge. region: the one that was asked. */
void s3_judge(struct cloud_meaning *meaning, const struct http_request *answer, enum store_action action,
              const char *region);

#endif
