#include "serve/problem.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define DETAIL_BYTES 1024u
#define PROBLEM_ROOM (2 * (6 * DETAIL_BYTES) + 6 * REQUEST_PATH_MAX)

void problem(struct answer *answer, unsigned status, const char *instance, const char *detail, ...)
{
	char said[DETAIL_BYTES], number[12];
	va_list arguments;
	va_start(arguments, detail);
	vsnprintf(said, sizeof said, detail, arguments);
	va_end(arguments);
	snprintf(number, sizeof number, "%u", status);
	answer_free(answer);
	answer->status = status;
	answer->type = "application/problem+json";
	char *body = malloc(PROBLEM_ROOM);
	if (body == NULL)
		return; /* the status says it */
	struct text text = {.at = body, .end = body + PROBLEM_ROOM};
	text_literal(&text, "{\"type\":\"about:blank\",\"title\":");
	text_string(&text, (const unsigned char *)answer_reason(status), strlen(answer_reason(status)));
	text_literal(&text, ",\"status\":");
	text_put(&text, number, strlen(number));
	text_literal(&text, ",\"detail\":");
	text_string(&text, (const unsigned char *)said, strlen(said));
	if (instance[0] != '\0') {
		text_literal(&text, ",\"instance\":");
		text_string(&text, (const unsigned char *)instance, strlen(instance));
	}
	text_literal(&text, "}");
	if (text.full)
		abort(); /* the room is for the longest */
	answer->bytes = (size_t)(text.at - body);
	answer->body = body;
	char *less = realloc(body, answer->bytes);
	if (less != NULL)
		answer->body = less;
}

void problem_of(struct answer *answer, int result, const char *instance, const char *reason)
{
	switch (result) {
	case -ETIMEDOUT:
		problem(answer, 503, instance,
		        "the question took longer than serve.query_timeout allows: ask for less");
		answer->retry_after_s = 5;
		break;
	case -EBUSY:
	case -ENOMEM:
		problem(answer, 503, instance, "%s", reason);
		answer->retry_after_s = 1;
		break;
	default:
		problem(answer, 500, instance, "%s", reason);
	}
}

void problem_or_json(struct answer *answer, int result, const char *instance, char *json, const char *reason)
{
	switch (result) {
	case 0:
		answer_body(answer, 200, "application/json", json, strlen(json));
		break;
	case -EINVAL:
		problem(answer, 400, instance, "%s", reason);
		break;
	case -ENOENT:
	case -ENODATA:
		problem(answer, 404, instance, "%s", reason);
		break;
	default:
		problem_of(answer, result, instance, reason);
	}
}
