/* millrace stat: what a running instance does, from shared memory. */
#include "cli/stat.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/print_json.h"
#include "base/clock.h"
#include "look/json.h"

struct options {
	const char *instance;
	bool json, metrics;
	uint64_t watch_ns; /* 0: once */
	uint64_t count;    /* samples */
};

static const volatile bool *stopped;

static int print_look(const struct rates *rates, const struct options *options)
{
	json_t *root = look_json(rates, options->instance);
	if (root == NULL)
		return -ENOMEM;
	int error = print_json(root, options->watch_ns != 0 ? JSON_COMPACT : JSON_INDENT(2), stdout);
	json_decref(root);
	return error;
}

static int print(const struct options *options, const struct snapshot *now, const struct snapshot *before)
{
	struct rates rates;
	(void)rates_init(&rates, now, before);
	if (options->json)
		return print_look(&rates, options);
	bool screen = options->watch_ns != 0 && isatty(STDOUT_FILENO);
	if (screen)
		fputs("\033[H\033[J", stdout); /* home, clear to the end */
	stat_table(&rates,
	           &(struct stat_table_options){.instance = options->instance, .metrics = options->metrics},
	           stdout);
	if (options->watch_ns != 0 && !screen)
		fputc('\n', stdout);
	return 0;
}

/* Sleeps until the next sample is due; the samples keep their distance however long printing
 * takes. */
static void wait_next(uint64_t *due, uint64_t interval_ns)
{
	*due += interval_ns;
	for (uint64_t now = clock_monotonic_ns(); now < *due && !*stopped; now = clock_monotonic_ns()) {
		uint64_t left = *due - now;
		nanosleep(&(struct timespec){(time_t)(left / NS_PER_SEC), (long)(left % NS_PER_SEC)}, NULL);
	}
}

static int watch(const struct options *options, struct snapshot_source *source, struct snapshot *now,
                 struct snapshot *before)
{
	uint64_t due = clock_monotonic_ns();
	for (uint64_t n = 0; n < options->count && !*stopped; n++) {
		struct shm_error error = {""};
		if (n > 0)
			wait_next(&due, options->watch_ns);
		if (*stopped)
			break;
		int result = snapshot_take(source, now, &error);
		if (result != 0)
			return command_no_instance("stat", options->instance, result, &error);
		if (print(options, now, n > 0 ? before : NULL) != 0)
			return command_fail("stat", "%s", strerror(ENOMEM));
		if (fflush(stdout) != 0 || ferror(stdout) != 0)
			return errno == EPIPE ? 0
			                      : command_fail("stat", "standard output: %s", strerror(errno));
		struct snapshot *swap = before;
		before = now;
		now = swap;
	}
	return 0;
}

static int show(const struct options *options)
{
	struct snapshot_source *source = calloc(1, sizeof *source);
	struct snapshot *now = calloc(1, sizeof *now), *before = calloc(1, sizeof *before);
	int status;
	if (source == NULL || now == NULL || before == NULL) {
		status = command_fail("stat", "%s", strerror(ENOMEM));
	} else {
		struct shm_error error = {""};
		int result = snapshot_open(source, options->instance, &error);
		status = result == 0 ? watch(options, source, now, before)
		                     : command_no_instance("stat", options->instance, result, &error);
		snapshot_close(source);
	}
	free(source);
	free(now);
	free(before);
	return status;
}

int command_stat(int argc, char **argv)
{
	struct options options = {.instance = command_instance()};
	const struct argument table[] = {
	        {"json", 0, ARGUMENT_FLAG, NULL, "print JSON; with --watch one object a line", &options.json,
	         0, 0, NULL},
	        {"watch", 'w', ARGUMENT_DURATION, "SECONDS",
	         "print again and again, with rates since the last time", &options.watch_ns, 10 * NS_PER_MS,
	         86400 * NS_PER_SEC, NULL},
	        {"count", 'n', ARGUMENT_COUNT, "N", "with --watch: end after N times", &options.count, 1,
	         UINT64_MAX, NULL},
	        {"metrics", 'm', ARGUMENT_FLAG, NULL,
	         "show every metric of the supervisor and of every stage", &options.metrics, 0, 0, NULL},
	        {"instance", 0, ARGUMENT_STRING, "NAME",
	         "which instance (default: $MILLRACE_INSTANCE or default)", &options.instance, 0, 0, NULL},
	};
	const struct arguments arguments = {
	        .command = "stat",
	        .usage = "[--json] [--watch SECONDS [--count N]] [--metrics] [--instance NAME]",
	        .purpose =
	                "Shows stages, lanes, reader groups, queues and the ledger of a running instance. Reads shared memory\n"
	                "only: it holds nobody up, changes nothing, and works while stages die.",
	        .example = "  millrace stat --watch 1",
	        .table = table,
	        .n = sizeof table / sizeof table[0],
	};
	struct operands operands;
	int status = arguments_parse(&arguments, argc, argv, &operands);
	if (status != ARGUMENTS_GO_ON)
		return status;
	if (options.watch_ns == 0 && options.count != 0)
		return arguments_error(&arguments, "--count needs --watch SECONDS");
	if (options.watch_ns == 0)
		options.count = 1;
	else if (options.count == 0)
		options.count = UINT64_MAX;
	stopped = command_stop_on_signals();
	return show(&options);
}
