/* millrace send http: the load generator for ingest-http, or any other server with its routes. */
#include "cli/load/send_http.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/load/send_http_connection.h"

/* ---- the account ---- */

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

static void print_text(const char *to, const struct send_http_settings *settings,
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

/* Returns 0 or -ENOMEM. */
static int print_account(const char *to, const struct send_http_settings *settings,
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

/* ---- the command ---- */

#define DEFAULT_ADDRESS "127.0.0.1:8080"
#define DEFAULT_COUNT   100000u
#define IN_FLIGHT_MAX   (4u << 20)

struct options {
	const char *to, *route, *mix, *keep_alive, *acknowledged;
	uint64_t connections, pipeline, batch;
	bool json;
	struct send_http_settings load;
};

static enum send_http_route find_route(const char *name)
{
	static const char *const names[] = {"event", "log", "track", "batch", "ingest"};
	unsigned i = 0;
	while (strcmp(names[i], name) != 0)
		i++;
	return (enum send_http_route)i;
}

static struct options given = {
        .to = DEFAULT_ADDRESS,
        .keep_alive = "on",
        .connections = 8,
        .pipeline = 1,
        .load = {.count = UINT64_MAX,
                 .duration_ns = UINT64_MAX,
                 .timeout_ns = 30 * NS_PER_SEC,
                 .request = {.seed = 1, .first = 1, .endpoint = "http://127.0.0.1:9/data"}},
};

static const struct argument table[] = {
        {"route", 0, ARGUMENT_CHOICE, "ROUTE", "event, log, track, batch or ingest (default event)",
         &given.route, 0, 0, "event log track batch ingest"},
        {"mix", 0, ARGUMENT_CHOICE, "MIX", "collector: 20 random metric events to 1 example event",
         &given.mix, 0, 0, "collector"},
        {"connections", 'c', ARGUMENT_COUNT, "N", "connections (default 8)", &given.connections, 1,
         SEND_HTTP_CONNECTIONS_MAX, NULL},
        {"pipeline", 'p', ARGUMENT_COUNT, "N", "requests in flight on each connection (default 1)",
         &given.pipeline, 1, SEND_HTTP_PIPELINE_MAX, NULL},
        {"rate", 'r', ARGUMENT_COUNT, "N",
         "requests per second in all, evenly spaced; 0: as fast as\nanswers come (default 0)",
         &given.load.rate, 0, UINT64_MAX, NULL},
        {"count", 'n', ARGUMENT_COUNT, "N",
         "stop after N requests (default 100k when no --duration is\ngiven)", &given.load.count, 1,
         UINT64_MAX, NULL},
        {"duration", 'd', ARGUMENT_DURATION, "T", "stop after this time", &given.load.duration_ns, 1,
         UINT64_MAX, NULL},
        {"timeout", 0, ARGUMENT_DURATION, "T", "how long to wait for an answer (default 30s)",
         &given.load.timeout_ns, NS_PER_MS, 3600 * NS_PER_SEC, NULL},
        {"corrupt", 0, ARGUMENT_PERCENT, "PERCENT",
         "share of requests made wrong, each in one way; they must be\nanswered 4xx (default 0)",
         &given.load.request.corrupt_percent, 0, 0, NULL},
        {"batch-size", 'b', ARGUMENT_COUNT, "N", "events in each request of batch and ingest (default 100)",
         &given.batch, 1, SEND_HTTP_BATCH_MAX, NULL},
        {"keep-alive", 0, ARGUMENT_CHOICE, "ON", "on or off; off: a connection for each request (default on)",
         &given.keep_alive, 0, 0, "on off"},
        {"token", 0, ARGUMENT_STRING, "TOKEN", "bearer token to send with each request",
         &given.load.request.token, 0, 0, NULL},
        {"endpoint", 0, ARGUMENT_STRING, "URL",
         "where the postbacks of ingest go to (default\nhttp://127.0.0.1:9/data)",
         &given.load.request.endpoint, 0, 0, NULL},
        {"first", 0, ARGUMENT_COUNT, "N", "unique number of the first event (default 1)",
         &given.load.request.first, 1, UINT64_MAX / 2, NULL},
        {"seed", 0, ARGUMENT_COUNT, "N", "the same seed makes the same requests (default 1)",
         &given.load.request.seed, 0, UINT64_MAX, NULL},
        {"retry", 0, ARGUMENT_FLAG, NULL, "send requests again whose answers were lost", &given.load.retry, 0,
         0, NULL},
        {"acknowledged", 'a', ARGUMENT_STRING, "FILE",
         "write the numbers of all events that were answered 2xx,\none a line", &given.acknowledged, 0, 0,
         NULL},
        {"json", 0, ARGUMENT_FLAG, NULL, "print the account as JSON", &given.json, 0, 0, NULL},
};

static const struct arguments arguments = {
        .command = "send http",
        .usage = "[URL|ADDRESS] [OPTION]...",
        .purpose =
                "Sends test events over HTTP to ADDRESS (default " DEFAULT_ADDRESS
                "; also http://host:port/prefix,\n"
                "[::1]:8080, unix:/path) and prints how they were answered, and how fast. Each event carries a number\n"
                "of its own. A request whose answer was lost is counted, and not sent again unless --retry is given.\n"
                "The exit code is 0 only when every request was answered as it should be.",
        .example = "  millrace send http --mix collector --connections 64 --rate 20k --duration 10",
        .table = table,
        .n = sizeof table / sizeof table[0],
        .operands_min = 0,
        .operands_max = 1,
};

/* Checks that the table cannot make, and settings that depend on others. */
static int complete(struct options *options)
{
	struct send_http_settings *load = &options->load;
	struct send_http_request_settings *request = &load->request;
	if (options->mix != NULL && options->route != NULL && strcmp(options->route, "event") != 0)
		return arguments_error(&arguments, "--mix collector sends events, not --route %s",
		                       options->route);
	request->route = find_route(options->route != NULL ? options->route : "event");
	request->collector = options->mix != NULL;
	bool many = request->route == SEND_HTTP_BATCH || request->route == SEND_HTTP_INGEST;
	if (options->batch > 0 && !many)
		return arguments_error(&arguments, "--batch-size is for --route batch and --route ingest");
	request->batch = options->batch > 0 ? (uint32_t)options->batch : many ? 100 : 1;
	request->close = strcmp(options->keep_alive, "off") == 0;
	if (request->close && options->pipeline > 1)
		return arguments_error(&arguments,
		                       "--pipeline needs connections that stay: no --keep-alive off");
	if (options->connections * options->pipeline > IN_FLIGHT_MAX)
		return arguments_error(&arguments, "--connections times --pipeline must not be over %u",
		                       IN_FLIGHT_MAX);
	if (request->token != NULL &&
	    (strlen(request->token) > SEND_HTTP_TEXT_MAX || strpbrk(request->token, " \r\n\t") != NULL))
		return arguments_error(&arguments,
		                       "--token: must be at most %u characters without white space",
		                       SEND_HTTP_TEXT_MAX);
	if (strlen(request->endpoint) > SEND_HTTP_TEXT_MAX ||
	    strpbrk(request->endpoint, "\"\\ ?\r\n") != NULL)
		return arguments_error(&arguments,
		                       "--endpoint: must be a URL of at most %u characters without query",
		                       SEND_HTTP_TEXT_MAX);
	load->connections = (uint32_t)options->connections;
	load->pipeline = (uint32_t)options->pipeline;
	if (load->count == UINT64_MAX && load->duration_ns == UINT64_MAX)
		load->count = DEFAULT_COUNT;
	return ARGUMENTS_GO_ON;
}

static int parse(int argc, char **argv)
{
	struct operands operands;
	int status = arguments_parse(&arguments, argc, argv, &operands);
	if (status != ARGUMENTS_GO_ON)
		return status;
	if (operands.n > 0)
		given.to = operands.item[0];
	return complete(&given);
}

static int unexpected(const struct options *options, const struct send_http_result *result)
{
	if (result->error == -ECONNREFUSED || (result->error == -ENOENT && result->opened == 0))
		return command_fail("send", "nobody listens on %s; start it with: millrace run", options->to);
	if (result->error == -EMFILE)
		return command_fail(
		        "send",
		        "%s: so many connections are not allowed; raise the limit of open files (ulimit -n)",
		        options->to);
	if (result->error != 0)
		return command_fail("send", "%s: %s", options->to, strerror(-result->error));
	if (result->answered == 0)
		return command_fail("send", "%s: nothing was answered", options->to);
	return command_fail(
	        "send",
	        "%s: not as expected: %llu answers, %llu unasked for, %llu that are no HTTP; %llu requests without answer",
	        options->to, (unsigned long long)result->unexpected, (unsigned long long)result->unasked,
	        (unsigned long long)result->bad_answers,
	        (unsigned long long)(result->unanswered - result->repeated));
}

static int send_requests(struct options *options, struct send_http_result *result)
{
	struct send_http_settings *load = &options->load;
	if (options->acknowledged != NULL) {
		load->acknowledged = fopen(options->acknowledged, "we");
		if (load->acknowledged == NULL)
			return command_fail("send", "%s: %s", options->acknowledged, strerror(errno));
	}
	send_http_run(load, result, command_stop_on_signals());
	if (load->acknowledged != NULL && fclose(load->acknowledged) != 0)
		return command_fail("send", "%s: %s", options->acknowledged, strerror(errno));
	if (options->json && print_account(options->to, load, result) != 0)
		return command_fail("send", "%s", strerror(ENOMEM));
	if (!options->json && result->sent > 0)
		print_text(options->to, load, result);
	return send_http_as_expected(result) ? 0 : unexpected(options, result);
}

int send_http_command(int argc, char **argv)
{
	given.load.request.time_ms = clock_real_ns() / NS_PER_MS;
	int status = parse(argc, argv);
	if (status != ARGUMENTS_GO_ON)
		return status;
	struct send_http_target target;
	const char *why;
	if (send_http_target(given.to, &target, &why) < 0)
		return command_fail("send", "%s: %s; an address looks like %s", given.to, why,
		                    DEFAULT_ADDRESS);
	given.load.address = target.address;
	given.load.address_bytes = target.address_bytes;
	given.load.request.host = target.host;
	given.load.request.prefix = target.prefix;
	struct send_http_result *result = malloc(sizeof *result);
	if (result == NULL)
		return command_fail("send", "%s", strerror(ENOMEM));
	status = send_requests(&given, result);
	free(result);
	return status;
}
