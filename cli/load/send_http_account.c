#include "cli/load/send_http_account.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"

static const double percents[] = {50, 90, 99, 99.9};
static const char *const percent_names[] = {"p50", "p90", "p99", "p99.9"};
#define PERCENTS (sizeof percents / sizeof percents[0])

static double seconds(uint64_t ns)
{
	return (double)ns / 1e9;
}

static double rate(const struct send_http_result *result)
{
	return result->elapsed_ns > 0 ? (double)result->answered / seconds(result->elapsed_ns) : 0;
}

static uint64_t corrupted(const struct send_http_result *result)
{
	uint64_t n = 0;
	for (unsigned i = SEND_HTTP_VALID + 1; i < SEND_HTTP_CORRUPTIONS; i++)
		n += result->corrupted[i];
	return n;
}

static void line(const char *name, uint64_t n)
{
	printf("  %-22s %12llu\n", name, (unsigned long long)n);
}

/* Prints no line for a count of zero. */
static void line_if(const char *name, uint64_t n)
{
	if (n > 0)
		line(name, n);
}

static void print_unexpected(const struct send_http_result *result)
{
	if (result->unexpected == 0)
		return;
	line("unexpected answers", result->unexpected);
	for (unsigned i = 0; i < SEND_HTTP_CORRUPTIONS; i++)
		if (result->unexpected_of[i] > 0)
			printf("    %-20s %12llu   the last: %u\n", send_http_corruption_name(i),
			       (unsigned long long)result->unexpected_of[i], result->unexpected_code[i]);
}

void send_http_print_text(const char *to, const struct send_http_settings *settings,
                          const struct send_http_result *result)
{
	printf("sent %llu requests, %.1f MB, to %s over %u connection%s in %.2f s: %.0f answers/s\n",
	       (unsigned long long)result->sent, (double)result->bytes_sent / 1e6, to, settings->connections,
	       settings->connections == 1 ? "" : "s", seconds(result->elapsed_ns), rate(result));
	line("answered", result->answered);
	for (unsigned code = 0; code < SEND_HTTP_STATUS_MAX; code++)
		if (result->code[code] > 0)
			printf("    %-20u %12llu\n", code, (unsigned long long)result->code[code]);
	line("unanswered", result->unanswered);
	line_if("sent again", result->repeated);
	line("events acknowledged", result->acknowledged);
	line_if("corrupted requests", corrupted(result));
	print_unexpected(result);
	line_if("answers unasked for", result->unasked);
	if (result->retry_after > 0)
		printf("  %-22s %12llu   %u to %u s\n", "with Retry-After",
		       (unsigned long long)result->retry_after, result->retry_after_min_s,
		       result->retry_after_max_s);
	line("connections opened", result->opened);
	line_if("connections broken", result->broken);
	line_if("connections refused", result->refused);
	line_if("timed out", result->timeouts);
	if (result->bad_answers > 0)
		printf("  %-22s %12llu   the last: %s\n", "no HTTP", (unsigned long long)result->bad_answers,
		       result->bad_answer);
	if (result->latency.n == 0)
		return;
	printf("  latency, ms:");
	for (unsigned i = 0; i < PERCENTS; i++)
		printf("  %s %.3f", percent_names[i],
		       (double)send_http_histogram_percentile(&result->latency, percents[i]) / 1e6);
	printf("  max %.3f\n", (double)result->latency.max / 1e6);
}

static json_t *number(uint64_t n)
{
	return json_integer((json_int_t)n);
}

static json_t *latency(const struct send_http_result *result)
{
	json_t *object = json_object();
	for (unsigned i = 0; i < PERCENTS; i++)
		json_object_set_new(
		        object, percent_names[i],
		        json_real((double)send_http_histogram_percentile(&result->latency, percents[i]) /
		                  1e6));
	json_object_set_new(object, "max", json_real((double)result->latency.max / 1e6));
	return object;
}

static json_t *codes(const struct send_http_result *result)
{
	json_t *object = json_object();
	for (unsigned code = 0; code < SEND_HTTP_STATUS_MAX; code++) {
		char name[8];
		snprintf(name, sizeof name, "%u", code);
		if (result->code[code] > 0)
			json_object_set_new(object, name, number(result->code[code]));
	}
	return object;
}

/* Number of answers by corruption, without the valid requests. */
static json_t *corruptions(const uint64_t *n, unsigned from)
{
	json_t *object = json_object();
	for (unsigned i = from; i < SEND_HTTP_CORRUPTIONS; i++)
		if (n[i] > 0)
			json_object_set_new(object, send_http_corruption_name(i), number(n[i]));
	return object;
}

int send_http_print_json(const char *to, const struct send_http_settings *settings,
                         const struct send_http_result *result)
{
	const struct {
		const char *name;
		json_t *value;
	} member[] = {
	        {"to", json_string(to)},
	        {"sent", number(result->sent)},
	        {"answered", number(result->answered)},
	        {"unanswered", number(result->unanswered)},
	        {"repeated", number(result->repeated)},
	        {"unasked", number(result->unasked)},
	        {"codes", codes(result)},
	        {"acknowledged_events", number(result->acknowledged)},
	        {"corrupted", corruptions(result->corrupted, SEND_HTTP_VALID + 1)},
	        {"unexpected", number(result->unexpected)},
	        {"unexpected_by_request", corruptions(result->unexpected_of, SEND_HTTP_VALID)},
	        {"retry_after",
	         json_pack("{s:o, s:o, s:o}", "answers", number(result->retry_after), "min_s",
	                   number(result->retry_after_min_s), "max_s", number(result->retry_after_max_s))},
	        {"connections",
	         json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "wanted", number(settings->connections),
	                   "opened", number(result->opened), "broken", number(result->broken), "refused",
	                   number(result->refused), "timed_out", number(result->timeouts), "bad_answers",
	                   number(result->bad_answers))},
	        {"bytes_sent", number(result->bytes_sent)},
	        {"bytes_received", number(result->bytes_received)},
	        {"seconds", json_real(seconds(result->elapsed_ns))},
	        {"rate", json_real(rate(result))},
	        {"latency_ms", latency(result)},
	};
	json_t *root = json_object();
	int error = root == NULL ? -ENOMEM : 0;
	for (size_t i = 0; i < sizeof member / sizeof member[0]; i++)
		if (json_object_set_new(root, member[i].name, member[i].value) != 0)
			error = -ENOMEM;
	if (error == 0)
		error = command_print_json(root, JSON_INDENT(2) | JSON_REAL_PRECISION(6), stdout);
	json_decref(root);
	return error;
}

int send_http_unexpected(const char *to, const struct send_http_result *result)
{
	if (result->error == -ECONNREFUSED || (result->error == -ENOENT && result->opened == 0))
		return command_fail("send", "nobody listens on %s; start it with: millrace run", to);
	if (result->error == -EMFILE)
		return command_fail(
		        "send",
		        "%s: so many connections are not allowed; raise the limit of open files (ulimit -n)",
		        to);
	if (result->error != 0)
		return command_fail("send", "%s: %s", to, strerror(-result->error));
	if (result->answered == 0)
		return command_fail("send", "%s: nothing was answered", to);
	return command_fail(
	        "send",
	        "%s: not as expected: %llu answers, %llu unasked for, %llu that are no HTTP; %llu requests without answer",
	        to, (unsigned long long)result->unexpected, (unsigned long long)result->unasked,
	        (unsigned long long)result->bad_answers,
	        (unsigned long long)(result->unanswered - result->repeated));
}
