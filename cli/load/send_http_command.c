/* millrace send http: the load generator for ingest-http, or any other server with its routes. */
#include "cli/load/send_http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/load/send_http_account.h"
#include "cli/load/send_http_options.h"

/* ---- the command ---- */

#define DEFAULT_COUNT 100000u
#define IN_FLIGHT_MAX (4u << 20)

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
        .to = SEND_HTTP_DEFAULT_ADDRESS,
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
                "Sends test events over HTTP to ADDRESS (default " SEND_HTTP_DEFAULT_ADDRESS
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
	if (strlen(request->endpoint) > SEND_HTTP_TEXT_MAX ||
	    strpbrk(request->endpoint, "\"\\ ?\r\n") != NULL)
		return arguments_error(&arguments,
		                       "--endpoint: must be a URL of at most %u characters without query",
		                       SEND_HTTP_TEXT_MAX);
	const struct send_http_amount amount = {.connections = options->connections,
	                                        .pipeline = options->pipeline,
	                                        .in_flight_most = IN_FLIGHT_MAX,
	                                        .count = DEFAULT_COUNT};
	return send_http_complete(&arguments, &amount, load);
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
	if (options->json && send_http_print_json(options->to, load, result) != 0)
		return command_fail("send", "%s", strerror(ENOMEM));
	if (!options->json && result->sent > 0)
		send_http_print_text(options->to, load, result);
	return send_http_as_expected(result) ? 0 : send_http_unexpected(options->to, result);
}

int send_http_command(int argc, char **argv)
{
	given.load.request.time_ms = clock_real_ns() / NS_PER_MS;
	int status = parse(argc, argv);
	if (status != ARGUMENTS_GO_ON)
		return status;
	struct send_http_target target;
	status = send_http_aim(given.to, &target, &given.load);
	if (status != 0)
		return status;
	struct send_http_result *result = malloc(sizeof *result);
	if (result == NULL)
		return command_fail("send", "%s", strerror(ENOMEM));
	status = send_requests(&given, result);
	free(result);
	return status;
}
