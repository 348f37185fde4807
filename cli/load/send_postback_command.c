/* millrace send postback: postbacks for ingest-http whose delivery a receiver can account for, and
 * with --catch that receiver too. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/address.h"
#include "base/clock.h"
#include "cli/arguments.h"
#include "cli/catch/catch.h"
#include "cli/command.h"
#include "cli/load/send_http.h"
#include "cli/load/send_http_account.h"
#include "cli/load/send_http_options.h"

#define DEFAULT_ENDPOINT "http://127.0.0.1:9000/postback"
#define DEFAULT_COUNT    10000u
#define PARAMETERS       "n={n}&t={t}"
#define IN_FLIGHT_MAX    (1u << 16)
#define BODY_MAX         (16u << 20)

static struct options {
	const char *to, *endpoint, *method, *acknowledged, *listen;
	uint64_t connections, pipeline, batch, size, wait_ns;
	bool json, catch;
	char url[SEND_HTTP_TEXT_MAX + 1];
	struct send_http_settings load;
} given = {
        .to = SEND_HTTP_DEFAULT_ADDRESS,
        .method = "GET",
        .listen = "127.0.0.1:0",
        .connections = 8,
        .pipeline = 1,
        .batch = 1,
        .wait_ns = 60 * NS_PER_SEC,
        .load = {.count = UINT64_MAX,
                 .duration_ns = UINT64_MAX,
                 .timeout_ns = 30 * NS_PER_SEC,
                 .request = {.route = SEND_HTTP_POSTBACK, .seed = 1, .first = 1}},
};

static const struct argument table[] = {
        {"endpoint", 'e', ARGUMENT_STRING, "URL",
         "where the postbacks go to: a template with {n}, {t} and {data}\n(default " DEFAULT_ENDPOINT
         "); " PARAMETERS "\nis added to a URL of GET or DELETE without {n}",
         &given.endpoint, 0, 0, NULL},
        {"method", 'm', ARGUMENT_CHOICE, "METHOD", "GET, POST, PUT, PATCH or DELETE (default GET)",
         &given.method, 0, 0, "GET POST PUT PATCH DELETE"},
        {"size", 's', ARGUMENT_COUNT, "BYTES", "length of the data of each postback (default 0)", &given.size,
         0, SEND_HTTP_DATA_MAX, NULL},
        {"batch-size", 'b', ARGUMENT_COUNT, "N", "postbacks in each request (default 1)", &given.batch, 1,
         SEND_HTTP_BATCH_MAX, NULL},
        {"connections", 'c', ARGUMENT_COUNT, "N", "connections to ingest-http (default 8)",
         &given.connections, 1, SEND_HTTP_CONNECTIONS_MAX, NULL},
        {"pipeline", 'p', ARGUMENT_COUNT, "N", "requests in flight on each connection (default 1)",
         &given.pipeline, 1, SEND_HTTP_PIPELINE_MAX, NULL},
        {"rate", 'r', ARGUMENT_COUNT, "N",
         "requests per second in all, evenly spaced; 0: as fast as\nanswers come (default 0)",
         &given.load.rate, 0, UINT64_MAX, NULL},
        {"count", 'n', ARGUMENT_COUNT, "N", "stop after N requests (default 10k when no --duration is given)",
         &given.load.count, 1, UINT64_MAX, NULL},
        {"duration", 'd', ARGUMENT_DURATION, "T", "stop after this time", &given.load.duration_ns, 1,
         UINT64_MAX, NULL},
        {"timeout", 0, ARGUMENT_DURATION, "T", "how long to wait for an answer (default 30s)",
         &given.load.timeout_ns, NS_PER_MS, 3600 * NS_PER_SEC, NULL},
        {"token", 0, ARGUMENT_STRING, "TOKEN", "bearer token to send with each request",
         &given.load.request.token, 0, 0, NULL},
        {"first", 0, ARGUMENT_COUNT, "N", "number of the first postback (default 1)",
         &given.load.request.first, 1, UINT64_MAX / 4, NULL},
        {"seed", 0, ARGUMENT_COUNT, "N", "the same seed makes the same data (default 1)",
         &given.load.request.seed, 0, UINT64_MAX, NULL},
        {"retry", 0, ARGUMENT_FLAG, NULL, "send requests again whose answers were lost", &given.load.retry, 0,
         0, NULL},
        {"acknowledged", 'a', ARGUMENT_STRING, "FILE",
         "write the numbers of all postbacks that were accepted, one a\nline, for millrace catch --expect",
         &given.acknowledged, 0, 0, NULL},
        {"catch", 0, ARGUMENT_FLAG, NULL,
         "receive them too: listen, send, wait until all came, tell what\nis missing", &given.catch, 0, 0,
         NULL},
        {"listen", 0, ARGUMENT_STRING, "ADDRESS", "with --catch: where to listen (default 127.0.0.1:0)",
         &given.listen, 0, 0, NULL},
        {"wait", 0, ARGUMENT_DURATION, "T",
         "with --catch: give up when nothing came for so long (default 1m)", &given.wait_ns, NS_PER_MS,
         86400 * NS_PER_SEC, NULL},
        {"json", 0, ARGUMENT_FLAG, NULL, "print the account as JSON", &given.json, 0, 0, NULL},
};

static const struct arguments arguments = {
        .command = "send postback",
        .usage = "[URL|ADDRESS] [OPTION]...",
        .purpose =
                "Sends postbacks over HTTP (POST /ingest) to ADDRESS (default " SEND_HTTP_DEFAULT_ADDRESS
                ") and prints how they\n"
                "were answered. Each carries its number (n) and the time when it was sent (t, in microseconds), so\n"
                "that millrace catch can tell what was lost, what came twice, and how late it came.\n\n"
                "With --catch this command receives the postbacks as well, and does not end before all have come\n"
                "or nothing comes any more; the exit code is 1 when something is missing. By default deliver does not\n"
                "send to addresses of this machine; for such a test run millrace with\n"
                "--set 'deliver.guard.allow=[\"127.0.0.1\"]'.",
        .example = "  millrace send postback --count 10000 --rate 2000 --catch",
        .table = table,
        .n = sizeof table / sizeof table[0],
        .operands_min = 0,
        .operands_max = 1,
};

/* Sets the template from a URL, with the parameters when they have to stand in it. */
static int set_endpoint(const char *url)
{
	bool query_only = strcmp(given.method, "GET") == 0 || strcmp(given.method, "DELETE") == 0;
	const char *join = !query_only || strstr(url, "{n}") != NULL ? ""
	                   : strchr(url, '?') != NULL                ? "&" PARAMETERS
	                                                             : "?" PARAMETERS;
	int n = snprintf(given.url, sizeof given.url, "%s%s", url, join);
	if (n < 0 || (size_t)n >= sizeof given.url || strpbrk(url, "\"\\ #\r\n\t") != NULL)
		return arguments_error(&arguments,
		                       "--endpoint: must be a URL of at most %u characters without fragment",
		                       SEND_HTTP_TEXT_MAX);
	given.load.request.endpoint = given.url;
	return ARGUMENTS_GO_ON;
}

static int complete(void)
{
	struct send_http_settings *load = &given.load;
	struct send_http_request_settings *request = &load->request;
	if (given.batch * (given.size + 64) > BODY_MAX)
		return arguments_error(&arguments, "--batch-size times --size must not be over 16 MiB");
	if (given.catch && given.endpoint != NULL)
		return arguments_error(&arguments, "--catch sends to itself: no --endpoint");
	request->batch = (uint32_t)given.batch;
	request->data_bytes = (uint32_t)given.size;
	request->method = given.method;
	const struct send_http_amount amount = {.connections = given.connections,
	                                        .pipeline = given.pipeline,
	                                        .in_flight_most = IN_FLIGHT_MAX,
	                                        .count = DEFAULT_COUNT};
	int status = send_http_complete(&arguments, &amount, load);
	return status != ARGUMENTS_GO_ON
	               ? status
	               : set_endpoint(given.endpoint != NULL ? given.endpoint : DEFAULT_ENDPOINT);
}

static int parse(int argc, char **argv)
{
	struct operands operands;
	int status = arguments_parse(&arguments, argc, argv, &operands);
	if (status != ARGUMENTS_GO_ON)
		return status;
	if (operands.n > 0)
		given.to = operands.item[0];
	return complete();
}

/* The file for the numbers that are accepted: that of the option, else one without a name for
 * --catch, else none. */
static int open_numbers(FILE **numbers)
{
	*numbers = NULL;
	if (given.acknowledged != NULL)
		*numbers = fopen(given.acknowledged, "w+e");
	else if (given.catch)
		*numbers = tmpfile();
	else
		return 0;
	if (*numbers == NULL)
		return command_fail("send", "%s: %s",
		                    given.acknowledged != NULL ? given.acknowledged : "a temporary file",
		                    strerror(errno));
	return 0;
}

static int print_sent(const struct send_http_result *result)
{
	if (given.json && send_http_print_json(given.to, &given.load, result) != 0)
		return command_fail("send", "%s", strerror(ENOMEM));
	if (!given.json && result->sent > 0)
		send_http_print_text(given.to, &given.load, result);
	return send_http_as_expected(result) ? 0 : send_http_unexpected(given.to, result);
}

/* ---- with a receiver ---- */

struct receiver {
	struct catch *catch;
	volatile bool sent; /* ends the thread */
	int error;
};

static void *receive(void *of)
{
	struct receiver *receiver = of;
	struct catch_until until = {0};
	receiver->error = catch_run(receiver->catch, &until, &receiver->sent);
	return NULL;
}

/* Sends while the receiver runs in a thread of its own. */
static int send_and_receive(struct receiver *receiver, struct send_http_result *result,
                            const volatile bool *stop)
{
	pthread_t thread;
	int error = pthread_create(&thread, NULL, receive, receiver);
	if (error != 0)
		return -error;
	send_http_run(&given.load, result, stop);
	receiver->sent = true;
	pthread_join(thread, NULL);
	return receiver->error;
}

/* Waits for what was accepted and has not come. */
static int wait_for_rest(struct catch *catch, const volatile bool *stop)
{
	FILE *numbers = given.load.acknowledged;
	uint64_t line;
	rewind(numbers);
	int error = catch_account_expect(catch_account_of(catch), numbers, &line);
	struct catch_until until = {
	        .complete = true, .quiet_ns = given.wait_ns, .progress = isatty(STDERR_FILENO)};
	return error != 0 ? error : catch_run(catch, &until, stop);
}

static int print_caught(struct catch *catch, const struct send_http_result *result, double seconds)
{
	const struct catch_account *account = catch_account_of(catch);
	if (given.json) {
		json_t *root = catch_account_json(account, seconds, true);
		if (root == NULL ||
		    command_print_json(root, JSON_INDENT(2) | JSON_REAL_PRECISION(6), stdout) != 0)
			return command_fail("send", "%s", strerror(ENOMEM));
		json_decref(root);
	} else {
		catch_account_print_line(account, stdout);
	}
	if (!send_http_as_expected(result))
		return send_http_unexpected(given.to, result);
	if (account->received == 0)
		return command_fail(
		        "send",
		        "nothing was delivered; does the instance run deliver, and may it send here? --help tells how");
	return catch_account_good(account) ? 0 : 1;
}

static int send_to_receiver(struct catch *catch, struct send_http_result *result)
{
	const volatile bool *stop = command_stop_on_signals();
	struct receiver receiver = {.catch = catch};
	char address[ADDRESS_TEXT_MAX], url[ADDRESS_TEXT_MAX + 32];
	snprintf(url, sizeof url, "http://%s/postback", address_format(address, catch_address(catch)));
	int status = set_endpoint(url);
	if (status != ARGUMENTS_GO_ON)
		return status;
	uint64_t begun_ns = clock_monotonic_ns();
	int error = send_and_receive(&receiver, result, stop);
	if (error == 0 && result->sent > 0 && !given.json)
		send_http_print_text(given.to, &given.load, result);
	if (error == 0)
		error = wait_for_rest(catch, stop);
	if (error != 0)
		return command_fail("send", "receiving: %s", strerror(-error));
	return print_caught(catch, result, (double)(clock_monotonic_ns() - begun_ns) / 1e9);
}

static int send_with_catch(struct send_http_result *result)
{
	struct catch_rules rules;
	catch_rules_init(&rules);
	catch_rules_end(&rules);
	struct catch_settings settings = catch_defaults(&rules);
	settings.limits.body_bytes = 2 * SEND_HTTP_DATA_MAX + 4096;
	settings.entries = given.load.count < UINT32_MAX ? given.load.count * given.batch : UINT32_MAX;
	if (address_parse(&settings.address, &settings.address_bytes, given.listen) < 0)
		return command_fail("send", "%s: no address to listen on; they look like %s", given.listen,
		                    ADDRESS_FORMS);
	struct catch *catch;
	int error = catch_open(&catch, &settings);
	if (error != 0)
		return command_fail("send", "%s: %s", given.listen, strerror(-error));
	int status = send_to_receiver(catch, result);
	catch_close(catch);
	return status;
}

/* ---- the command ---- */

static int send_all(struct send_http_result *result)
{
	int status = open_numbers(&given.load.acknowledged);
	if (status != 0)
		return status;
	if (given.catch) {
		status = send_with_catch(result);
	} else {
		send_http_run(&given.load, result, command_stop_on_signals());
		status = print_sent(result);
	}
	if (given.load.acknowledged != NULL && fclose(given.load.acknowledged) != 0)
		status = command_fail("send", "%s: %s", given.acknowledged, strerror(errno));
	return status;
}

int send_postback_command(int argc, char **argv)
{
	int status = parse(argc, argv);
	if (status != ARGUMENTS_GO_ON)
		return status;
	struct send_http_target target;
	status = send_http_aim(given.to, &target, &given.load);
	if (status != 0)
		return status;
	struct send_http_result *result = calloc(1, sizeof *result);
	if (result == NULL)
		return command_fail("send", "%s", strerror(ENOMEM));
	status = send_all(result);
	free(result);
	return status;
}
