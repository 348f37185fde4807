/* What an answer of S3 means (store.h, "Results"). */
#ifndef SINK_OBJECTS_S3_ANSWER_H
#define SINK_OBJECTS_S3_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "sink/objects/http.h"
#include "sink/objects/xml.h"
#include "sink/objects/store.h"

/* What can be done about it at once. */
enum s3_remedy {
	S3_NO_REMEDY,
	S3_NEW_KEYS, /* the keys are over, or not known (any more) */
	S3_NEW_CLOCK /* our clock is wrong: the answer has a Date */
};

struct s3_meaning {
	int result;
	enum s3_remedy remedy;
	uint64_t wait_ns;
	struct xml_error error; /* code "" when the answer had none */
	char reason[256];       /* "403 AccessDenied: Access Denied" */
};

/* Judges an answer to a request for `action` that was not plain success: another status than
 * wanted, 200 with an error in its body, or no answer at all. region: the one that was asked. */
void s3_judge(struct s3_meaning *meaning, const struct http_request *answer, enum store_action action,
              const char *region);

#endif
