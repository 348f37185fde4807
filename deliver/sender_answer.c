#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "deliver/reply_values.h"
#include "deliver/sender_inside.h"

/* ---- the head ---- */

/* The value of a header, when the line is one of that name ("Name:"). */
static bool header_value(const char *line, size_t bytes, const char *name, const char **value, size_t *length)
{
	size_t n = strlen(name);
	if (bytes < n || strncasecmp(line, name, n) != 0)
		return false;
	while (n < bytes && (line[n] == ' ' || line[n] == '\t'))
		n++;
	while (bytes > n && (line[bytes - 1] == ' ' || line[bytes - 1] == '\t'))
		bytes--;
	*value = line + n;
	*length = bytes - n;
	return true;
}

/* The status line begins a head; there may be several heads (100 Continue, 103 Early Hints). */
static void begin_head(struct slot *slot, const char *line, size_t bytes)
{
	struct sender_request *request = slot->request;
	const char *space = memchr(line, ' ', bytes);
	request->status = 0;
	for (unsigned i = 1; space != NULL && i <= 3 && space + i < line + bytes; i++)
		request->status = 10 * request->status + (unsigned)(space[i] - '0') % 10;
	request->retry_after_s = -1;
	request->location[0] = '\0';
	slot->redirects = false;
}

size_t sender_answer_head(char *from, size_t size, size_t n, void *argument)
{
	struct slot *slot = argument;
	size_t bytes = size * n, line = bytes, length;
	const char *value;
	slot->head_bytes += bytes;
	if (slot->head_bytes > SENDER_HEAD_MAX) {
		if (slot->head_whole)
			return 0; /* endless trailers: the answer is there */
		slot->result = -EMSGSIZE;
		return 0;
	}
	if (slot->state != SENDER_ANSWERING)
		sender_answering(slot);
	if (slot->head_whole)
		return bytes;
	while (line > 0 && (from[line - 1] == '\n' || from[line - 1] == '\r'))
		line--;
	if (line == 0)
		slot->head_whole = slot->request->status >= 200;
	else if (line >= 5 && memcmp(from, "HTTP/", 5) == 0)
		begin_head(slot, from, line);
	else if (header_value(from, line, "Retry-After:", &value, &length))
		slot->request->retry_after_s = reply_retry_after(value, length);
	else if (header_value(from, line, "Location:", &value, &length))
		slot->redirects |= reply_keep_location(slot->request, value, length);
	return bytes;
}

/* ---- the body ---- */

/* After so many bytes that nobody keeps, another connection costs less than reading on. */
size_t sender_answer_body(char *from, size_t size, size_t n, void *argument)
{
	struct slot *slot = argument;
	struct sender_request *request = slot->request;
	size_t bytes = size * n, keep = SENDER_BODY_KEPT - request->answer_bytes;
	if (keep > bytes)
		keep = bytes;
	if (keep > 0) {
		memcpy(request->answer + request->answer_bytes, from, keep);
		request->answer_bytes += (uint32_t)keep;
	}
	slot->body_bytes += bytes;
	return slot->body_bytes <= SENDER_BODY_READ ? bytes : 0;
}

/* ---- the end ---- */

static int result_of(const struct slot *slot, CURLcode code)
{
	long system = 0;
	switch (code) {
	case CURLE_OPERATION_TIMEDOUT:
		return -ETIMEDOUT;
	case CURLE_COULDNT_RESOLVE_HOST:
		return -EHOSTUNREACH;
	case CURLE_COULDNT_CONNECT:
		curl_easy_getinfo(slot->easy, CURLINFO_OS_ERRNO, &system);
		return system > 0 ? -(int)system : -ECONNREFUSED;
	case CURLE_OUT_OF_MEMORY: /* once the request is out: a line of a head over 100 KiB */
		return slot->state == SENDER_CONNECTING ? -ENOMEM : -EMSGSIZE;
	case CURLE_URL_MALFORMAT:
		return -EINVAL;
	case CURLE_UNSUPPORTED_PROTOCOL: /* of the URL; or of what the server speaks */
		return slot->tries == 0 ? -EINVAL : -EBADMSG;
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_INVALIDCERTSTATUS:
		return -EPROTO;
	case CURLE_WEIRD_SERVER_REPLY:
		return -EBADMSG;
	default: /* streams of HTTP/2 that the server ended, too */
		return -EPIPE;
	}
}

static uint32_t time_of(CURL *easy, CURLINFO which)
{
	curl_off_t us = 0;
	curl_easy_getinfo(easy, which, &us);
	return us <= 0 ? 0 : us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

static void take_times(const struct slot *slot, struct sender_request *request)
{
	if (!request->reused) {
		request->connect_us = time_of(slot->easy, CURLINFO_CONNECT_TIME_T);
		request->tls_us = time_of(slot->easy, CURLINFO_APPCONNECT_TIME_T);
	}
	if (slot->state == SENDER_ANSWERING)
		request->first_byte_us = time_of(slot->easy, CURLINFO_STARTTRANSFER_TIME_T);
	request->total_us = time_of(slot->easy, CURLINFO_TOTAL_TIME_T);
}

static void explain(struct slot *slot, CURLcode code)
{
	struct sender_request *request = slot->request;
	if (request->result == -EMSGSIZE)
		slot->why = SENDER_TOO_LONG;
	snprintf(request->reason, sizeof request->reason, "%.*s", (int)sizeof request->reason - 1,
	         slot->why[0]     ? slot->why
	         : slot->error[0] ? slot->error
	                          : curl_easy_strerror(code));
}

void sender_answer_end(struct slot *slot, CURLcode code)
{
	struct sender_request *request = slot->request;
	long sent = 0;
	curl_easy_getinfo(slot->easy, CURLINFO_REQUEST_SIZE, &sent);
	request->sent = sent > 0;
	take_times(slot, request);
	if (slot->head_whole) {
		/* whatever became of its body: the server has dealt with the request */
		if (slot->redirects)
			reply_resolve_location(request);
		return;
	}
	request->status = 0;
	request->retry_after_s = -1;
	request->location[0] = '\0';
	request->result = slot->result;
	if (slot->result == 0 && code == CURLE_OK) {
		/* libcurl takes a connection that closes within the head for an answer */
		request->result = -EPIPE;
		slot->why = SENDER_CUT;
	} else if (slot->result == 0) {
		request->result = result_of(slot, code);
	}
	explain(slot, code);
}
