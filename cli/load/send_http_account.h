/* What an answer means for the result: expected or not, acknowledged or not, how late. */
#ifndef CLI_LOAD_SEND_HTTP_ACCOUNT_H
#define CLI_LOAD_SEND_HTTP_ACCOUNT_H

#include "cli/load/send_http_connection.h"

/* Counts the answer to a request, now. Returns 0, or -errno when what was acknowledged cannot be
 * written. */
int send_http_account(const struct send_http_settings *settings, struct send_http_result *result,
                      const struct send_http_pending *pending, const struct send_http_answer *answer,
                      uint64_t now_ns);

#endif
