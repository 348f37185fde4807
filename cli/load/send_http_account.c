#include "cli/load/send_http_account.h"

#include <errno.h>
#include <string.h>

#include "cli/load/send_http_body.h"

/* The number behind "accepted" in the first bytes of the body, or `otherwise`. */
static uint64_t accepted(const struct send_http_answer *answer, uint64_t otherwise)
{
	size_t bytes =
	        answer->body_bytes < sizeof answer->body ? (size_t)answer->body_bytes : sizeof answer->body;
	static const char key[] = "\"accepted\":";
	const char *at = memmem(answer->body, bytes, key, sizeof key - 1), *end = answer->body + bytes;
	if (at == NULL)
		return otherwise;
	uint64_t number = 0;
	for (at += sizeof key - 1; at < end && *at == ' ';)
		at++;
	for (; at < end && *at >= '0' && *at <= '9'; at++)
		number = number * 10 + (uint64_t)(*at - '0');
	return number;
}

static bool expected(const struct send_http_settings *settings, const struct send_http_pending *pending,
                     const struct send_http_answer *answer)
{
	if (pending->corruption != SEND_HTTP_VALID)
		return answer->status >= 400 && answer->status <= 499;
	if (answer->status < 200 || answer->status > 299)
		return false;
	uint32_t batch = settings->request.batch;
	bool counted =
	        settings->request.route == SEND_HTTP_BATCH || settings->request.route == SEND_HTTP_INGEST;
	return !counted || accepted(answer, batch) == batch;
}

static int write_numbers(const struct send_http_settings *settings, const struct send_http_pending *pending)
{
	uint64_t first = send_http_request_first(&settings->request, pending->number);
	for (uint32_t i = 0; i < settings->request.batch; i++) {
		char line[24];
		struct send_http_text text = {line};
		send_http_put_number(&text, pending->example ? SEND_HTTP_EXAMPLE : first + i);
		send_http_put(&text, "\n");
		size_t bytes = (size_t)(text.at - line);
		if (fwrite_unlocked(line, 1, bytes, settings->acknowledged) < bytes)
			return errno != 0 ? -errno : -EIO;
	}
	return 0;
}

static void count_retry_after(struct send_http_result *result, uint32_t seconds)
{
	if (result->retry_after++ == 0 || seconds < result->retry_after_min_s)
		result->retry_after_min_s = seconds;
	if (seconds > result->retry_after_max_s)
		result->retry_after_max_s = seconds;
}

int send_http_account(const struct send_http_settings *settings, struct send_http_result *result,
                      const struct send_http_pending *pending, const struct send_http_answer *answer,
                      uint64_t now_ns)
{
	result->answered++;
	result->code[answer->status]++;
	result->corrupted[pending->corruption]++;
	send_http_histogram_add(&result->latency,
	                        now_ns > pending->since_ns ? now_ns - pending->since_ns : 0);
	if (answer->status == 503 && answer->retry_after)
		count_retry_after(result, answer->retry_after_s);
	if (!expected(settings, pending, answer)) {
		result->unexpected++;
		result->unexpected_of[pending->corruption]++;
		result->unexpected_code[pending->corruption] = answer->status;
		return 0;
	}
	if (pending->corruption != SEND_HTTP_VALID)
		return 0;
	result->acknowledged += settings->request.batch;
	return settings->acknowledged != NULL ? write_numbers(settings, pending) : 0;
}
