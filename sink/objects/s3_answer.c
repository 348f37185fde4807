#include "sink/objects/s3_answer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sink/objects/xml.h"

/* Codes that mean something else than their status does. 409 and 412 are judged by the action. */
static const struct cloud_code codes[] = {
        {"ExpiredToken", -EACCES, CLOUD_NEW_KEYS},
        {"ExpiredTokenException", -EACCES, CLOUD_NEW_KEYS},
        {"TokenRefreshRequired", -EACCES, CLOUD_NEW_KEYS},
        {"InvalidToken", -EACCES, CLOUD_NEW_KEYS},
        {"InvalidAccessKeyId", -EACCES, CLOUD_NEW_KEYS},
        {"RequestTimeTooSkewed", -EACCES, CLOUD_NEW_CLOCK},
        {"AuthorizationHeaderMalformed", -EACCES, CLOUD_NO_REMEDY},
        {"PermanentRedirect", -EACCES, CLOUD_NO_REMEDY},
        {"IllegalLocationConstraintException", -EACCES, CLOUD_NO_REMEDY},
        {"NoSuchBucket", -EACCES, CLOUD_NO_REMEDY},
        {"NoSuchUpload", -ENOENT, CLOUD_NO_REMEDY},
        {"InternalError", -EAGAIN, CLOUD_NO_REMEDY},
        {"ServiceUnavailable", -EAGAIN, CLOUD_NO_REMEDY},
        {"SlowDown", -EAGAIN, CLOUD_NO_REMEDY},
        {"RequestTimeout", -EAGAIN, CLOUD_NO_REMEDY},
        {"Throttling", -EAGAIN, CLOUD_NO_REMEDY},
        {"ThrottlingException", -EAGAIN, CLOUD_NO_REMEDY},
        {"RequestLimitExceeded", -EAGAIN, CLOUD_NO_REMEDY},
        {"QuotaExceeded", -EAGAIN, CLOUD_NO_REMEDY},
        {"XMinioStorageFull", -EAGAIN, CLOUD_NO_REMEDY},
        {"XMinioServerNotInitialized", -EAGAIN, CLOUD_NO_REMEDY},
        {"TemporaryRedirect", -EAGAIN,
         CLOUD_NO_REMEDY}, /* a new bucket, whose name is not known everywhere yet */
        /* damaged on the way, or cut off: the same bytes are sent again */
        {"BadDigest", -EAGAIN, CLOUD_NO_REMEDY},
        {"XAmzContentSHA256Mismatch", -EAGAIN, CLOUD_NO_REMEDY},
        {"IncompleteBody", -EAGAIN, CLOUD_NO_REMEDY},
};

void s3_judge(struct cloud_meaning *meaning, const struct http_request *answer, enum store_action action,
              const char *region)
{
	struct xml_error error = {.code = ""};
	char right[64] = "";
	if (answer->result == 0 && answer->body != NULL && !answer->body_cut)
		(void)xml_error(&error, answer->body, answer->body_bytes);
	cloud_judge(meaning, answer, action, codes, sizeof codes / sizeof *codes, error.code, error.message);
	if (answer->result != 0)
		return;
	/* two writers at a time, either of whom may win */
	if (answer->status == 409 && meaning->result == -EEXIST)
		meaning->result = -EINPROGRESS;
	if (http_header(answer, "x-amz-bucket-region", right, sizeof right) <= 0)
		snprintf(right, sizeof right, "%s", error.region);
	size_t n = strlen(meaning->reason);
	if (right[0] != '\0' && strcmp(right, region) != 0)
		snprintf(meaning->reason + n, sizeof meaning->reason - n,
		         " (the bucket is in region %.40s: set s3.region)", right);
}
