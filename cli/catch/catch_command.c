/* millrace catch: the receiver for tests of postbacks. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/address.h"
#include "base/clock.h"
#include "cli/arguments.h"
#include "cli/catch/catch.h"
#include "cli/command.h"
#include "deliver/sign.h"

#define DEFAULT_ADDRESS "127.0.0.1:0"
#define BODY_MAX        16384u
#define MEMORY_MAX      (64ull << 30)

static struct options {
	const char *address, *body, *location, *log, *expect, *secrets;
	struct argument_list answer, delay, hang, close;
	uint64_t retry_after, connections, head, limit, memory, idle, numbers, seed, tolerance;
	bool json;
	struct catch_until until;
	struct catch_rules rules;
	struct catch_settings settings;
} given = {
        .address = DEFAULT_ADDRESS,
        .body = "",
        .connections = 10000,
        .head = 16384,
        .limit = 1 << 20,
        .memory = 256 << 20,
        .idle = 600 * NS_PER_SEC,
        .numbers = 10000000,
        .seed = 1,
        .tolerance = 300 * NS_PER_SEC,
};

static const struct argument table[] = {
        {"answer", 'a', ARGUMENT_LIST, "CODES",
         "what to answer: 200, or 200:0.9,500:0.1 by chance (default 200)", &given.answer, 0, 0, NULL},
        {"delay", 0, ARGUMENT_LIST, "T", "answer after a time: 2s, 100ms, or 100ms-2s by chance",
         &given.delay, 0, 0, NULL},
        {"hang", 0, ARGUMENT_LIST, "SHARE", "never answer this share of the requests, 0 to 1", &given.hang, 0,
         0, NULL},
        {"close", 0, ARGUMENT_LIST, "SHARE",
         "close the connection instead of answering, for this share of\nthe requests", &given.close, 0, 0,
         NULL},
        {"retry-after", 0, ARGUMENT_COUNT, "S", "Retry-After in answers 429 and 503 (default none)",
         &given.retry_after, 0, 86400, NULL},
        {"location", 0, ARGUMENT_STRING, "URL", "Location in answers 3xx", &given.location, 0, 0, NULL},
        {"body", 0, ARGUMENT_STRING, "TEXT", "body of the answers (default none)", &given.body, 0, 0, NULL},
        {"count", 'n', ARGUMENT_COUNT, "N", "end when N postbacks are delivered", &given.until.delivered, 1,
         UINT64_MAX, NULL},
        {"duration", 'd', ARGUMENT_DURATION, "T", "end after this time", &given.until.duration_ns, 1,
         UINT64_MAX / 2, NULL},
        {"quiet", 'q', ARGUMENT_DURATION, "T", "end when nothing came for so long, after the first request",
         &given.until.quiet_ns, 1, UINT64_MAX / 2, NULL},
        {"expect", 'e', ARGUMENT_STRING, "FILE",
         "at the end, read the numbers that send postback --acknowledged\nwrote, and tell what is missing",
         &given.expect, 0, 0, NULL},
        {"secrets", 's', ARGUMENT_STRING, "FILE",
         "check the signatures (Standard Webhooks) with these secrets, one\na line", &given.secrets, 0, 0,
         NULL},
        {"tolerance", 0, ARGUMENT_DURATION, "T",
         "how far the time of a signature may be from now (default 5m)", &given.tolerance, NS_PER_SEC,
         86400 * NS_PER_SEC, NULL},
        {"log", 'l', ARGUMENT_STRING, "FILE", "write each request as a line of JSON", &given.log, 0, 0, NULL},
        {"seed", 0, ARGUMENT_COUNT, "N", "the same seed makes the same choices (default 1)", &given.seed, 0,
         UINT64_MAX, NULL},
        {"connections", 0, ARGUMENT_COUNT, "N", "connections at a time; more have to wait (default 10k)",
         &given.connections, 1, CATCH_CONNECTIONS_MAX, NULL},
        {"max-head", 0, ARGUMENT_COUNT, "BYTES", "the longest head of a request (default 16384)", &given.head,
         64, 131072, NULL},
        {"max-body", 0, ARGUMENT_COUNT, "BYTES", "the longest body of a request (default 1048576)",
         &given.limit, 0, 1u << 30, NULL},
        {"memory", 0, ARGUMENT_COUNT, "BYTES", "for requests that came in part, in all (default 256 MiB)",
         &given.memory, 1u << 16, MEMORY_MAX, NULL},
        {"numbers", 0, ARGUMENT_COUNT, "N", "postbacks that the account can tell apart (default 10M)",
         &given.numbers, 1, 1000000000, NULL},
        {"idle", 0, ARGUMENT_DURATION, "T", "close connections on which nothing comes (default 10m)",
         &given.idle, NS_PER_SEC, 86400 * NS_PER_SEC, NULL},
        {"json", 0, ARGUMENT_FLAG, NULL, "print the account as JSON", &given.json, 0, 0, NULL},
};

static const struct arguments arguments = {
        .command = "catch",
        .usage = "[ADDRESS] [OPTION]...",
        .purpose =
                "Receives postbacks over HTTP on ADDRESS (default " DEFAULT_ADDRESS
                ": a free port, which it prints), answers\n"
                "as it is told to, and keeps account: which came how often, under which id, and how long after it was\n"
                "sent. A postback is known by the parameter n of its URL or body, which millrace send postback sets,\n"
                "or else by its Idempotency-Key or webhook-id. Ctrl-C ends it with the account; the exit code is 1 when\n"
                "something is missing (--expect) or a signature was bad (--secrets).\n\n"
                "--answer, --delay, --hang and --close may be given several times; /PATH= before the value says that it\n"
                "is for the targets that begin so: --answer /down=503.\n\n"
                "deliver does not send to addresses of this machine unless it may: run millrace with\n"
                "--set 'deliver.guard.allow=[\"127.0.0.1\"]'.",
        .example =
                "  millrace catch 127.0.0.1:9000 --answer 200:0.9,503:0.1 --answer /slow=200 --delay /slow=2s",
        .table = table,
        .n = sizeof table / sizeof table[0],
        .operands_min = 0,
        .operands_max = 1,
};

static int add_rules(const char *option, const struct argument_list *list)
{
	for (size_t i = 0; i < list->n; i++) {
		const char *right = catch_rules_add(&given.rules, option, list->item[i]);
		if (right != NULL)
			return arguments_error(&arguments, "--%s: %s is not as it must be: %s", option,
			                       list->item[i], right);
	}
	return ARGUMENTS_GO_ON;
}

/* No line break and nothing else that would make another answer of it. */
static bool fits_a_field(const char *text)
{
	for (; *text != '\0'; text++)
		if (*text < ' ' || *text == 0x7f)
			return false;
	return true;
}

static int complete(void)
{
	struct catch_settings *settings = &given.settings;
	catch_rules_init(&given.rules);
	int status = add_rules("answer", &given.answer);
	if (status == ARGUMENTS_GO_ON)
		status = add_rules("delay", &given.delay);
	if (status == ARGUMENTS_GO_ON)
		status = add_rules("hang", &given.hang);
	if (status == ARGUMENTS_GO_ON)
		status = add_rules("close", &given.close);
	if (status != ARGUMENTS_GO_ON)
		return status;
	catch_rules_end(&given.rules);
	*settings = catch_defaults(&given.rules);
	if (address_parse(&settings->address, &settings->address_bytes, given.address) < 0)
		return arguments_error(&arguments, "%s is no address; they look like %s", given.address,
		                       ADDRESS_FORMS);
	if (strlen(given.body) > BODY_MAX)
		return arguments_error(&arguments, "--body: at most %u bytes", BODY_MAX);
	if (given.location != NULL && (strlen(given.location) > BODY_MAX || !fits_a_field(given.location)))
		return arguments_error(&arguments, "--location: a URL of at most %u bytes", BODY_MAX);
	settings->connections = (uint32_t)given.connections;
	settings->limits = (struct catch_limits){.head_bytes = (uint32_t)given.head,
	                                         .body_bytes = (uint32_t)given.limit};
	settings->memory = given.memory;
	settings->idle_ns = given.idle;
	settings->entries = given.numbers;
	settings->seed = given.seed;
	settings->retry_after_s = (uint32_t)given.retry_after;
	settings->location = given.location;
	settings->body = given.body;
	settings->tolerance_s = given.tolerance / NS_PER_SEC;
	given.until.progress = isatty(STDERR_FILENO);
	return ARGUMENTS_GO_ON;
}

static int read_expected(struct catch_account *account)
{
	FILE *file = fopen(given.expect, "re");
	if (file == NULL)
		return command_fail("catch", "%s: %s", given.expect, strerror(errno));
	uint64_t line;
	int error = catch_account_expect(account, file, &line);
	fclose(file);
	if (error == -EINVAL)
		return command_fail("catch", "%s:%llu: is no number of a postback", given.expect,
		                    (unsigned long long)line);
	if (error == -E2BIG)
		return command_fail("catch",
		                    "%s: more numbers than the account can tell apart; see --numbers",
		                    given.expect);
	return error == 0 ? 0 : command_fail("catch", "%s: %s", given.expect, strerror(-error));
}

static int report(struct catch_account *account, double seconds)
{
	bool expected = given.expect != NULL;
	int status = expected ? read_expected(account) : 0;
	if (given.json) {
		json_t *root = catch_account_json(account, seconds, expected && status == 0);
		if (root == NULL ||
		    command_print_json(root, JSON_INDENT(2) | JSON_REAL_PRECISION(6), stdout) != 0)
			status = command_fail("catch", "%s", strerror(ENOMEM));
		json_decref(root);
	} else {
		catch_account_print(account, seconds, stdout);
		if (expected && status == 0)
			catch_account_print_line(account, stdout);
	}
	return status == 0 && !catch_account_good(account) ? 1 : status;
}

static int receive(struct catch *catch)
{
	const volatile bool *stop = command_stop_on_signals();
	char address[ADDRESS_TEXT_MAX];
	fprintf(stderr, "listening on http://%s\n", address_format(address, catch_address(catch)));
	uint64_t begun_ns = clock_monotonic_ns();
	int error = catch_run(catch, &given.until, stop);
	double seconds = (double)(clock_monotonic_ns() - begun_ns) / 1e9;
	int status = report(catch_account_of(catch), seconds);
	return error == 0 ? status : command_fail("catch", "%s", strerror(-error));
}

/* Receives with the log open, if there is one. */
static int catch_all(void)
{
	struct catch_settings *settings = &given.settings;
	int status;
	if (given.log != NULL && (settings->log = fopen(given.log, "we")) == NULL)
		return command_fail("catch", "%s: %s", given.log, strerror(errno));
	struct catch *catch;
	int error = catch_open(&catch, settings);
	if (error != 0) {
		status = command_fail("catch", "%s: %s", given.address, strerror(-error));
	} else {
		status = receive(catch);
		catch_close(catch);
	}
	if (settings->log != NULL && fclose(settings->log) != 0)
		status = command_fail("catch", "%s: %s", given.log, strerror(errno));
	return status;
}

int command_catch(int argc, char **argv)
{
	struct operands operands;
	int status = arguments_parse(&arguments, argc, argv, &operands);
	if (status == ARGUMENTS_GO_ON) {
		if (operands.n > 0)
			given.address = operands.item[0];
		status = complete();
	}
	if (status != ARGUMENTS_GO_ON)
		return status;
	struct sign *sign = NULL;
	struct shm_error why;
	if (given.secrets != NULL && sign_open(&sign, given.secrets, &why) < 0)
		return command_fail("catch", "%s", why.text);
	given.settings.sign = sign;
	status = catch_all();
	sign_close(sign);
	return status;
}
