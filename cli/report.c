/* millrace report: what tally has counted, as JSON. */
#include "sink/tally/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/moment.h"
#include "cli/arguments.h"
#include "cli/command.h"
#include "config/config.h"
#include "sink/tally/accounts.h"
#include "sink/tally/attempts.h"
#include "sink/tally/consumers.h"
#include "sink/tally/distinct.h"
#include "sink/tally/hourly.h"

#define EXIT_UNKNOWN 3
#define EXIT_NO_SHA  4

struct options {
	const char *file, *instance, *since, *until, *endpoint;
	struct argument_list sets;
	uint64_t step_ns, limit, offset;
};

#define DEFAULT_SINCE "1h"

static struct options given = {.limit = ATTEMPTS_LIMIT};

static const struct argument table[] = {
        {"since", 0, ARGUMENT_STRING, "TIME",
         "deliveries: of attempts that began then or later: 2026-07-01,\n"
         "\"2026-07-01 12:30:00\" (local time), or how long ago: 30m, 2h, 7d\n(default " DEFAULT_SINCE ")",
         &given.since, 0, 0, NULL},
        {"until", 0, ARGUMENT_STRING, "TIME", "deliveries: before that time (default now)", &given.until, 0,
         0, NULL},
        {"endpoint", 0, ARGUMENT_STRING, "TEXT", "deliveries: to endpoints that begin so", &given.endpoint, 0,
         0, NULL},
        {"step", 0, ARGUMENT_DURATION, "TIME",
         "deliveries: each step of so many minutes by itself (5m; default: all\ntogether)", &given.step_ns, 0,
         366ull * 24 * 3600 * NS_PER_SEC, NULL},
        {"limit", 'n', ARGUMENT_COUNT, "N", "lists: at most N items (default 1000)", &given.limit, 0,
         ATTEMPTS_LIMIT_MAX, NULL},
        {"offset", 0, ARGUMENT_COUNT, "N", "lists: without the first N", &given.offset, 0, INT64_MAX, NULL},
        COMMAND_CONFIG_ARGUMENTS(given.file, given.sets, given.instance),
};

static const struct arguments arguments = {
        .command = "report",
        .usage = "SHA | metrics WHAT | account NAME | consumers | consumer NAME | deliveries [OPTION]...",
        .purpose =
                "Prints what was counted, as JSON. Reads the counts on disk, so it works while nothing runs; they are at\n"
                "most tally.commit_interval old.\n"
                "\n"
                "  SHA                  count and addresses of the application with this app_sha256:\n"
                "                       {\"count\": N, \"good_ips\": [...], \"bad_ips\": [...]}\n"
                "  metrics hour         of the last hour's events, of each metric:\n"
                "                       [{\"_id\": METRIC, \"minimum\": N, \"maximum\": N, \"average\": X, \"count\": N}, ...]\n"
                "  metrics user-hour    the same of each account: \"_id\": {\"username\": NAME, \"metric\": METRIC}\n"
                "  metrics day DATE     how often each metric occurred on a day (UTC) like 2026-11-27, the most frequent\n"
                "                       first: {\"total\": N, \"metrics\": [{\"_id\": METRIC, \"count\": N, \"error\": N}, ...], ...}\n"
                "  metrics month MONTH  the same of a month like 2026-11\n"
                "  account NAME         when the first event of an account came\n"
                "  consumers            consumers of tracking events, how much each has counted: type, pods, addresses,\n"
                "                       countries, search, timing\n"
                "  consumer NAME        what one of them has counted, the most frequent first:\n"
                "                       {\"total\": N, \"list\": [{\"key\": K, \"count\": N, \"error\": N}, ...], ...}\n"
                "  deliveries           attempts to deliver postbacks, by endpoint and outcome, with their latencies",
        .exit_codes =
                "  3  no message of this application or no event of this account was counted, the day is kept with its\n"
                "     month alone, or there is no such consumer\n  4  SHA is not 64 hexadecimal characters",
        .example = "  millrace report 0f8ab8dd3ae5d8e1c1e2b1ff1ed4ed9ba6dd6f5d1f0c3a9e7d9c8d1d0a6b7c8d\n"
                   "  millrace report metrics day 2026-11-27\n"
                   "  millrace report consumer type --limit 10\n"
                   "  millrace report deliveries --since 2h --endpoint https://api.example.com/",
        .table = table,
        .n = sizeof table / sizeof table[0],
        .operands_min = 1,
        .operands_max = 3,
};

/* ---- what can be asked ---- */

/* Each gets the words after its own, of which NULL is the last, and returns 0 with *json or
 * -errno with error. */

static const char *since(void)
{
	return given.since != NULL ? given.since : DEFAULT_SINCE;
}

static int ask_deliveries(const char *data_dir, char *const *word, char **json, struct shm_error *error)
{
	int64_t now_ms = clock_real_ms();
	struct attempts_question question = {
	        .to_ms = now_ms,
	        .step_ms = (int64_t)(given.step_ns / NS_PER_MS),
	        .endpoint = given.endpoint,
	        .limit = given.limit,
	        .offset = given.offset,
	};
	(void)word;
	(void)moment_parse(since(), now_ms, &question.from_ms); /* checked at the start */
	if (given.until != NULL)
		(void)moment_parse(given.until, now_ms, &question.to_ms);
	return attempts_json(data_dir, &question, json, error);
}

static struct top_page page(void)
{
	return (struct top_page){.limit = given.limit, .offset = given.offset};
}

static int ask_user_hour(const char *data_dir, char **json, struct shm_error *error)
{
	uint64_t beyond = 0;
	int result = hourly_per_user_json(data_dir, clock_real_ms(), page(), json, &beyond, error);
	if (result == 0 && beyond != 0)
		(void)command_fail(
		        "report",
		        "%" PRIu64
		        " events of this hour are in none of these statistics: over tally.accounts or tally.hour_cells, or with a name of over 200 bytes",
		        beyond);
	return result;
}

static int ask_metrics(const char *data_dir, char *const *word, char **json, struct shm_error *error)
{
	bool date = word[1] != NULL;
	if (!date && strcmp(word[0], "hour") == 0)
		return hourly_total_json(data_dir, clock_real_ms(), page(), json, error);
	if (!date && strcmp(word[0], "user-hour") == 0)
		return ask_user_hour(data_dir, json, error);
	if (date && strcmp(word[0], "day") == 0)
		return distinct_daily_json(data_dir, word[1], clock_real_ms(), page(), json, error);
	if (date && strcmp(word[0], "month") == 0)
		return distinct_monthly_json(data_dir, word[1], page(), json, error);
	shm_explain(error, "metrics: wanted is hour, user-hour, day DATE or month MONTH");
	return -EINVAL;
}

static int ask_account(const char *data_dir, char *const *word, char **json, struct shm_error *error)
{
	return accounts_json(data_dir, word[0], json, error);
}

static int ask_consumers(const char *data_dir, char *const *word, char **json, struct shm_error *error)
{
	(void)word;
	return consumers_json(data_dir, json, error);
}

static int ask_consumer(const char *data_dir, char *const *word, char **json, struct shm_error *error)
{
	return consumer_json(data_dir, word[0], page(), json, error);
}

static const struct subject {
	const char *word;
	unsigned least, most; /* words after it */
	int (*ask)(const char *data_dir, char *const *word, char **json, struct shm_error *error);
} subjects[] = {
        {"metrics", 1, 2, ask_metrics},       {"account", 1, 1, ask_account},
        {"consumers", 0, 0, ask_consumers},   {"consumer", 1, 1, ask_consumer},
        {"deliveries", 0, 0, ask_deliveries},
};

static int ask_application(const char *data_dir, char *const *word, char **json, struct shm_error *error)
{
	return report_json(data_dir, word[-1], json, NULL, error);
}

static const struct subject application = {"SHA", 0, 0, ask_application};

static const struct subject *subject_of(const struct operands *operands)
{
	for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++)
		if (strcmp(operands->item[0], subjects[i].word) == 0)
			return &subjects[i];
	return &application;
}

/* What only deliveries look at must not be left out in silence: the answer would be of more than
 * was asked. */
static int check_options(const struct subject *subject)
{
	const char *option = given.since != NULL      ? "since"
	                     : given.until != NULL    ? "until"
	                     : given.endpoint != NULL ? "endpoint"
	                     : given.step_ns != 0     ? "step"
	                                              : NULL;
	if (option == NULL || subject->ask == ask_deliveries)
		return 0;
	return arguments_error(&arguments, "--%s: is for deliveries alone", option);
}

static int check_times(void)
{
	static const char form[] = "--%s %s: not a time; such are " MOMENT_EXAMPLES;
	int64_t ms;
	if (!moment_parse(since(), 0, &ms))
		return arguments_error(&arguments, form, "since", since());
	if (given.until != NULL && !moment_parse(given.until, 0, &ms))
		return arguments_error(&arguments, form, "until", given.until);
	return 0;
}

static int print_report(const struct subject *subject, const char *data_dir, char *const *word)
{
	struct shm_error error = {""};
	char *json;
	int result = subject->ask(data_dir, word, &json, &error);
	if (result == 0) {
		puts(json);
		free(json);
		return 0;
	}
	command_fail("report", "%s", error.text);
	switch (result) {
	case -ENOENT:
		return EXIT_UNKNOWN;
	case -EINVAL:
		return subject == &application ? EXIT_NO_SHA : EXIT_USAGE;
	default:
		return 1;
	}
}

int command_report(int argc, char **argv)
{
	struct operands operands;
	given.instance = command_instance();
	int status = arguments_parse(&arguments, argc, argv, &operands);
	if (status != ARGUMENTS_GO_ON)
		return status;
	const struct subject *subject = subject_of(&operands);
	if (operands.n - 1 < subject->least || operands.n - 1 > subject->most)
		return arguments_error(&arguments, "%s: %s words follow", subject->word,
		                       operands.n - 1 < subject->least ? "too few" : "too many");
	operands.item[operands.n] = NULL; /* the words end there */
	status = check_options(subject);
	if (status == 0)
		status = check_times();
	if (status != 0)
		return status;
	struct config *config = command_config("report", given.file, &given.sets, given.instance);
	if (config == NULL)
		return 1;
	status = print_report(subject, config_string(config, "data_dir"), operands.item + 1);
	config_free(config);
	return status;
}
