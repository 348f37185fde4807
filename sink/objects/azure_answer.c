#include "sink/objects/azure_answer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "sink/objects/xml.h"

#define RETRY_AFTER_MOST_NS (300 * NS_PER_SEC)

/* Azure takes dates that are at most 15 minutes from its own. */
#define SKEW_MIN_S 600

/* Codes that mean something else than their status does (learn.microsoft.com,
 * rest/api/storageservices/blob-service-error-codes and common-rest-api-error-codes). */
static const struct {
	const char *code;
	int result;
	enum azure_remedy remedy;
} codes[] = {
        {"AuthenticationFailed", -EACCES, AZURE_NEW_CREDENTIALS},
        {"InvalidAuthenticationInfo", -EACCES, AZURE_NEW_CREDENTIALS},
        {"NoAuthenticationInformation", -EACCES, AZURE_NEW_CREDENTIALS},
        {"BlobNotFound", -ENOENT, AZURE_NO_REMEDY},
        /* the blocks are committed, or were forgotten, or another writer had the name */
        {"InvalidBlockList", -ENOENT, AZURE_NO_REMEDY},
        /* blocks of another writer, with ids of another length, have the name */
        {"InvalidBlobOrBlock", -ENOENT, AZURE_NO_REMEDY},
        {"ContainerBeingDeleted", -EACCES, AZURE_NO_REMEDY},
        {"ContainerDisabled", -EACCES, AZURE_NO_REMEDY},
        {"AccountBeingCreated", -EAGAIN, AZURE_NO_REMEDY},
        /* damaged on the way: the same bytes are sent again */
        {"Md5Mismatch", -EAGAIN, AZURE_NO_REMEDY},
        {"Crc64Mismatch", -EAGAIN, AZURE_NO_REMEDY},
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
	case 201:
	case 202:
		return is_harmless(action) ? -EAGAIN : -EINPROGRESS;
	case 408:
	case 417: /* no Expect from now on */
	case 425:
	case 429:
		return -EAGAIN;
	case 301:
	case 302:
	case 307:
	case 308:
	case 401:
	case 403:
	case 404: /* no such container, or account */
	case 407:
		return -EACCES;
	case 409: /* BlobAlreadyExists, or BlobImmutableDueToPolicy, say */
	case 412: /* ConditionNotMet; LeaseIdMissing */
		return action == STORE_PUT ? -EEXIST : is_final(action) ? -EINPROGRESS : -EAGAIN;
	case 501:
	case 505:
		return -EINVAL;
	default:
		return status >= 500 ? -EAGAIN : -EINVAL;
	}
}

static void judge_silence(struct azure_meaning *meaning, const struct http_request *answer,
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

void azure_judge(struct azure_meaning *meaning, const struct http_request *answer, enum store_action action,
                 int64_t real_s)
{
	struct error_text error = {.code = ""};
	*meaning = (struct azure_meaning){.remedy = AZURE_NO_REMEDY};
	if (answer->result != 0) {
		judge_silence(meaning, answer, action);
		return;
	}
	if (answer->body != NULL && !answer->body_cut &&
	    xml_read(answer->body, answer->body_bytes, take_element, &error) != 0)
		error = (struct error_text){.code = ""};
	/* an answer to HEAD has no body */
	if (http_header(answer, "x-ms-error-code", meaning->code, sizeof meaning->code) <= 0)
		snprintf(meaning->code, sizeof meaning->code, "%s", error.code);
	meaning->result = result_of_status(answer->status, action);
	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
		if (answer->status >= 400 && strcmp(codes[i].code, meaning->code) == 0) {
			meaning->result = codes[i].result;
			meaning->remedy = codes[i].remedy;
		}
	/* it may have worked all the same */
	if (is_final(action) && strcmp(meaning->code, "OperationTimedOut") == 0)
		meaning->result = -EINPROGRESS;
	int64_t theirs = http_date(answer);
	meaning->skew_s = theirs != 0 ? theirs - real_s : 0;
	if (meaning->remedy == AZURE_NEW_CREDENTIALS &&
	    (meaning->skew_s > SKEW_MIN_S || meaning->skew_s < -SKEW_MIN_S))
		meaning->remedy = AZURE_NEW_CLOCK;
	if (meaning->result == -EAGAIN)
		meaning->wait_ns = http_retry_after_ns(answer, RETRY_AFTER_MOST_NS);
	snprintf(meaning->reason, sizeof meaning->reason, "%ld%s%s%s%s", answer->status,
	         meaning->code[0] ? " " : "", meaning->code, error.message[0] ? ": " : "", error.message);
}
