/* A question to this box as each box alone is asked it, our own part included.
 *
 *     /consumers/type?limit=3&offset=6  -->  /consumers/type?limit=10000&peers=0&sums=1
 *
 * The list is whole (offset is left out), averages come with what they are made of, and peers=0
 * keeps the question from going on. Pages of one list are the same question. So are times of the
 * same minute: they are told in milliseconds as this box reads them, whatever the clocks of the
 * others say, since down and until up to a whole minute (sink/tally/attempts.h).
 */
#ifndef SERVE_FLEET_FORM_H
#define SERVE_FLEET_FORM_H

#include "serve/request.h"

struct answer;

struct fleet_form {
	struct request request;
	char target[3 * (REQUEST_PATH_MAX + REQUEST_QUERY_ROOM) + 512]; /* path and query, escaped */
	size_t n;                                                       /* bytes of it */
	bool query;                                                     /* it has one */
};

/* Makes the form of a request whose route has the parameter `peers`; the caller frees it. NULL with
 * the answer set. */
struct fleet_form *fleet_form(const struct request *asked, struct answer *answer);

#endif
