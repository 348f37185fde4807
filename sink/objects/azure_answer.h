/* What an answer of Azure Blob means (store.h, "Results"). */
#ifndef SINK_OBJECTS_AZURE_ANSWER_H
#define SINK_OBJECTS_AZURE_ANSWER_H

#include <stdint.h>

#include "sink/objects/http.h"
#include "sink/objects/store.h"

/* What can be done about it at once. */
enum azure_remedy {
	AZURE_NO_REMEDY,
	AZURE_NEW_CREDENTIALS, /* the store does not take them (any more) */
	AZURE_NEW_CLOCK,       /* our clock is wrong by skew_s */
};

struct azure_meaning {
	int result;
	enum azure_remedy remedy;
	int64_t skew_s;   /* of the store's clock to ours */
	uint64_t wait_ns; /* that the store asks for */
	char code[64];    /* "" when there is none */
	char reason[256]; /* "403 AuthenticationFailed: Server failed to ..." */
};

/* Judges an answer to a request for `action` that was not plain success: another status than
 * wanted, 200 with an error in its body, or no answer at all. real_s: our time. */
void azure_judge(struct azure_meaning *meaning, const struct http_request *answer, enum store_action action,
                 int64_t real_s);

#endif
