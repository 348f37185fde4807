/* millrace report: prints one application's count and addresses. */
#include "sink/tally/report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/arguments.h"
#include "cli/command.h"
#include "config/config.h"

#define EXIT_UNKNOWN 3
#define EXIT_NO_SHA  4

static int print_report(const char *data_dir, const char *sha)
{
	struct shm_error error = {""};
	char *json;
	uint64_t beyond = 0;
	int result = report_json(data_dir, sha, &json, &beyond, &error);
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
		return EXIT_NO_SHA;
	default:
		return 1;
	}
}

int command_report(int argc, char **argv)
{
	const char *file = NULL, *instance = command_instance();
	struct argument_list sets = {0};
	const struct argument table[] = {
	        {"config", 'c', ARGUMENT_STRING, "FILE",
	         "the configuration that names data_dir (default: that of the running\n"
	         "instance, else the embedded one)",
	         &file, 0, 0, NULL},
	        {"set", 0, ARGUMENT_LIST, "KEY=VALUE", "replace one value of it, as for millrace run", &sets,
	         0, 0, NULL},
	        {"instance", 0, ARGUMENT_STRING, "NAME",
	         "which instance (default: $MILLRACE_INSTANCE or default)", &instance, 0, 0, NULL},
	};
	const struct arguments arguments = {
	        .command = "report",
	        .usage = "SHA [-c FILE] [--set KEY=VALUE]... [--instance NAME]",
	        .purpose =
	                "Prints the count and the addresses of the application with this app_sha256, as JSON:\n"
	                "{\"count\": N, \"good_ips\": [...], \"bad_ips\": [...]}. Reads the counts on disk, so it works while nothing\n"
	                "runs; they are at most tally.commit_interval old.",
	        .exit_codes =
	                "  3  no message of this application was counted\n  4  SHA is not 64 hexadecimal characters",
	        .example =
	                "  millrace report 0f8ab8dd3ae5d8e1c1e2b1ff1ed4ed9ba6dd6f5d1f0c3a9e7d9c8d1d0a6b7c8d",
	        .table = table,
	        .n = sizeof table / sizeof table[0],
	        .operands_min = 1,
	        .operands_max = 1,
	};
	struct operands operands;
	int status = arguments_parse(&arguments, argc, argv, &operands);
	if (status != ARGUMENTS_GO_ON)
		return status;
	struct config *config = command_config("report", file, &sets, instance);
	if (config == NULL)
		return 1;
	status = print_report(config_string(config, "data_dir"), operands.item[0]);
	config_free(config);
	return status;
}
