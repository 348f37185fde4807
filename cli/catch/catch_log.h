/* One JSON line for each request that `millrace catch` took, for tests:
 *
 *     {"ts": 1795792013123, "method": "GET", "target": "/postback?n=1&t=2", "headers": [["host", "127.0.0.1:9000"], ...],
 *      "body_bytes": 0, "body": "", "number": 1, "status": 200, "signature": "good"}
 *
 * number is 0 when the request has none, status when it is not to be answered ("failure" then says
 * "hang" or "close"). body has the first 4096 bytes; where they are no UTF-8, body_hex has them.
 */
#ifndef CLI_CATCH_CATCH_LOG_H
#define CLI_CATCH_CATCH_LOG_H

#include <stdio.h>

#include "cli/catch/catch_account.h"
#include "cli/catch/catch_rules.h"

/* Returns 0, -ENOMEM, or the error of out. */
int catch_log_write(FILE *out, const struct catch_request *request, const char *data,
                    const struct catch_postback *postback, const struct catch_fate *fate,
                    enum catch_signature signature, uint64_t now_us);

#endif
