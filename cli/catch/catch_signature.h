/* Signatures of postbacks as `millrace catch` checks them: those of Standard Webhooks
 * (deliver/sign.h).
 *
 *     webhook-id, webhook-timestamp, webhook-signature, body --secrets--> good, unsigned, stale or wrong
 */
#ifndef CLI_CATCH_CATCH_SIGNATURE_H
#define CLI_CATCH_CATCH_SIGNATURE_H

#include "cli/catch/catch_account.h"
#include "deliver/sign.h"

/* Checks a whole request. unsigned: one of the three fields is missing, empty, or too long; stale:
 * its time is no number, or more than tolerance_s away from now_s. sign NULL: unchecked. */
enum catch_signature catch_signature_check(const struct sign *sign, uint64_t tolerance_s,
                                           const struct catch_request *request, const char *data,
                                           int64_t now_s);

#endif
