#include "sink/objects/azure_answer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sink/objects/xml.h"

/* Azure takes dates that are at most 15 minutes from its own. */
#define SKEW_MIN_S 600

/* Codes that mean something else than their status does (learn.microsoft.com,
 * rest/api/storageservices/blob-service-error-codes and common-rest-api-error-codes). */
static const struct cloud_code codes[] = {
        {"AuthenticationFailed", -EACCES, CLOUD_NEW_KEYS},
        {"InvalidAuthenticationInfo", -EACCES, CLOUD_NEW_KEYS},
        {"NoAuthenticationInformation", -EACCES, CLOUD_NEW_KEYS},
        {"BlobNotFound", -ENOENT, CLOUD_NO_REMEDY},
        /* the blocks are committed, or were forgotten, or another writer had the name */
        {"InvalidBlockList", -ENOENT, CLOUD_NO_REMEDY},
        /* blocks of another writer, with ids of another length, have the name */
        {"InvalidBlobOrBlock", -ENOENT, CLOUD_NO_REMEDY},
        {"ContainerBeingDeleted", -EACCES, CLOUD_NO_REMEDY},
        {"ContainerDisabled", -EACCES, CLOUD_NO_REMEDY},
        {"AccountBeingCreated", -EAGAIN, CLOUD_NO_REMEDY},
        /* damaged on the way: the same bytes are sent again */
        {"Md5Mismatch", -EAGAIN, CLOUD_NO_REMEDY},
        {"Crc64Mismatch", -EAGAIN, CLOUD_NO_REMEDY},
};

struct error_text {
	char code[64], message[160];
};

/* The message goes on with lines for Azure's support. */
static void take_element(void *argument, const char *path, const char *text)
{
	struct error_text *error = argument;
	if (text == NULL)
		return;
	if (strcmp(path, "Error/Code") == 0)
		snprintf(error->code, sizeof error->code, "%s", text);
	else if (strcmp(path, "Error/Message") == 0)
		snprintf(error->message, sizeof error->message, "%.*s", (int)strcspn(text, "\r\n"), text);
}

void azure_judge(struct cloud_meaning *meaning, const struct http_request *answer, enum store_action action,
                 int64_t now_s)
{
	struct error_text error = {.code = ""};
	char code[64] = "";
	size_t n_codes = answer->status >= 400 ? sizeof codes / sizeof *codes : 0;
	if (answer->result == 0 && answer->body != NULL && !answer->body_cut &&
	    xml_read(answer->body, answer->body_bytes, take_element, &error) != 0)
		error = (struct error_text){.code = ""};
	/* an answer to HEAD has no body */
	if (http_header(answer, "x-ms-error-code", code, sizeof code) <= 0)
		snprintf(code, sizeof code, "%s", error.code);
	cloud_judge(meaning, answer, action, codes, n_codes, code, error.message);
	if (answer->result != 0)
		return;
	/* it may have worked all the same */
	if (cloud_is_final(action) && strcmp(code, "OperationTimedOut") == 0)
		meaning->result = -EINPROGRESS;
	if (answer->status == 505) {
		meaning->result = -EINVAL;
		meaning->wait_ns = 0;
	}
	int64_t theirs = http_date(answer);
	if (meaning->remedy == CLOUD_NEW_KEYS && theirs != 0 && llabs(theirs - now_s) > SKEW_MIN_S)
		meaning->remedy = CLOUD_NEW_CLOCK;
}
