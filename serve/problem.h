/* Errors as JSON (RFC 9457, application/problem+json).
 *
 *     {"type": "about:blank", "title": "Not Found", "status": 404, "detail": "...", "instance": "/events/12"}
 */
#ifndef SERVE_PROBLEM_H
#define SERVE_PROBLEM_H

#include "serve/answer.h"

/* Makes the answer one; what it was before goes. detail says what is wrong and what is allowed, for
 * a person; instance: the path that was asked for (what is no UTF-8 of it is shown as \xXX). */
void problem(struct answer *answer, unsigned status, const char *instance, const char *detail, ...)
        __attribute__((format(printf, 4, 5)));

/* For what a reader of a database returned: -EACCES, -EBUSY, -ETIMEDOUT, -EIO ... with its
 * reason. */
void problem_of(struct answer *answer, int result, const char *instance, const char *reason);

/* What a reader of tally.db returned: 0, and its JSON, which is the answer's from now on; or the
 * reason why there is none: -EINVAL for a question that nobody can answer (400), -ENOENT and
 * -ENODATA for what is not there (404), others as above. */
void problem_or_json(struct answer *answer, int result, const char *instance, char *json, const char *reason);

#endif
