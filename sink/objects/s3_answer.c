#include "sink/objects/s3_answer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

#define RETRY_AFTER_MOST_NS (300 * NS_PER_SEC)

/* Codes that mean something else than their status does. 409 and 412 are judged by the action. */
static const struct {
	const char *code;
	int result;
	enum s3_remedy remedy;
} codes[] = {
        {"ExpiredToken", -EACCES, S3_NEW_KEYS},
        {"ExpiredTokenException", -EACCES, S3_NEW_KEYS},
        {"TokenRefreshRequired", -EACCES, S3_NEW_KEYS},
        {"InvalidToken", -EACCES, S3_NEW_KEYS},
        {"InvalidAccessKeyId", -EACCES, S3_NEW_KEYS},
        {"RequestTimeTooSkewed", -EACCES, S3_NEW_CLOCK},
        {"AuthorizationHeaderMalformed", -EACCES, S3_NO_REMEDY},
        {"PermanentRedirect", -EACCES, S3_NO_REMEDY},
        {"IllegalLocationConstraintException", -EACCES, S3_NO_REMEDY},
        {"NoSuchBucket", -EACCES, S3_NO_REMEDY},
        {"NoSuchUpload", -ENOENT, S3_NO_REMEDY},
        {"InternalError", -EAGAIN, S3_NO_REMEDY},
        {"ServiceUnavailable", -EAGAIN, S3_NO_REMEDY},
        {"SlowDown", -EAGAIN, S3_NO_REMEDY},
        {"RequestTimeout", -EAGAIN, S3_NO_REMEDY},
        {"Throttling", -EAGAIN, S3_NO_REMEDY},
        {"ThrottlingException", -EAGAIN, S3_NO_REMEDY},
        {"RequestLimitExceeded", -EAGAIN, S3_NO_REMEDY},
        {"QuotaExceeded", -EAGAIN, S3_NO_REMEDY},
        {"XMinioStorageFull", -EAGAIN, S3_NO_REMEDY},
        {"XMinioServerNotInitialized", -EAGAIN, S3_NO_REMEDY},
        {"TemporaryRedirect", -EAGAIN,
         S3_NO_REMEDY}, /* a new bucket, whose name is not known everywhere yet */
        /* damaged on the way, or cut off: the same bytes are sent again */
        {"BadDigest", -EAGAIN, S3_NO_REMEDY},
        {"XAmzContentSHA256Mismatch", -EAGAIN, S3_NO_REMEDY},
        {"IncompleteBody", -EAGAIN, S3_NO_REMEDY},
};

/* Of these two nobody knows afterwards whether they worked. */
static bool is_final(enum store_action action)
{
	return action == STORE_FINISH || action == STORE_PUT;
}

static bool is_harmless(enum store_action action)
{
	return action == STORE_PROBE || action == STORE_FIND || action == STORE_LIST;
}

static int result_of_status(long status, enum store_action action)
{
	switch (status) {
	case 200: /* an error that we do not know, or no whole answer */
		return is_harmless(action) ? -EAGAIN : -EINPROGRESS;
	case 408:
	case 425:
	case 429:
		return -EAGAIN;
	case 301:
	case 302:
	case 307:
	case 308:
	case 401:
	case 403:
	case 404:
	case 407:
		return -EACCES;
	case 409:
		return is_final(action) ? -EINPROGRESS : -EAGAIN;
	case 412:
		return action == STORE_PUT ? -EEXIST : is_final(action) ? -EINPROGRESS : -EAGAIN;
	case 501:
		return -EINVAL;
	default:
		return status >= 500 ? -EAGAIN : -EINVAL;
	}
}

static void judge_silence(struct s3_meaning *meaning, const struct http_request *answer,
                          enum store_action action)
{
	snprintf(meaning->reason, sizeof meaning->reason, "%s", answer->reason);
	if (answer->result == -EINVAL)
		meaning->result = -EINVAL;
	else if (answer->result == -EPROTO && !answer->sent)
		meaning->result = -EACCES; /* a certificate that is not trusted */
	else
		meaning->result = answer->sent && !is_harmless(action) ? -EINPROGRESS : -EAGAIN;
}

static void explain(struct s3_meaning *meaning, const struct http_request *answer, const char *region)
{
	const struct xml_error *error = &meaning->error;
	char right[64] = "", *reason = meaning->reason;
	size_t size = sizeof meaning->reason;
	int n = snprintf(reason, size, "%ld%s%s%s%s", answer->status, error->code[0] != '\0' ? " " : "",
	                 error->code, error->message[0] != '\0' ? ": " : "", error->message);
	if (http_header(answer, "x-amz-bucket-region", right, sizeof right) <= 0)
		snprintf(right, sizeof right, "%s", error->region);
	if (right[0] != '\0' && strcmp(right, region) != 0 && n > 0 && (size_t)n < size)
		snprintf(reason + n, size - (size_t)n, " (the bucket is in region %.40s: set s3.region)",
		         right);
}

void s3_judge(struct s3_meaning *meaning, const struct http_request *answer, enum store_action action,
              const char *region)
{
	*meaning = (struct s3_meaning){.remedy = S3_NO_REMEDY};
	if (answer->result != 0) {
		judge_silence(meaning, answer, action);
		return;
	}
	if (answer->body != NULL && !answer->body_cut)
		(void)xml_error(&meaning->error, answer->body, answer->body_bytes);
	meaning->result = result_of_status(answer->status, action);
	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
		if (strcmp(codes[i].code, meaning->error.code) == 0) {
			meaning->result = codes[i].result;
			meaning->remedy = codes[i].remedy;
		}
	if (meaning->result == -EAGAIN)
		meaning->wait_ns = http_retry_after_ns(answer, RETRY_AFTER_MOST_NS);
	explain(meaning, answer, region);
}
