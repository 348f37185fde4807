/* millrace restart, millrace upgrade: stages, or all of millrace, go on in the programs that are
 * installed now. millrace reload: another configuration is put in force. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/managed.h"
#include "supervisor/request.h"

#define LOOK_NS (5 * NS_PER_MS)

struct options {
	const char *instance;
	uint64_t timeout_ns;
};

static int say_refused(const char *command, const struct options *options, const char *directory, int result)
{
	struct shm_error error = {""};
	if (result == -ESRCH)
		return command_fail(
		        command,
		        "no supervisor runs instance \"%s\" (%s), and no service manager does; start it with: millrace run --instance %s",
		        options->instance, directory, options->instance);
	if (result == -ECONNREFUSED)
		return command_fail(
		        command,
		        "the supervisor of instance \"%s\" is another user's: run this as root, which starts stages as users of their own",
		        options->instance);
	if (result == -EOPNOTSUPP)
		return command_fail(
		        command,
		        "the supervisor of instance \"%s\" is of a version that cannot do this; end it and start it again",
		        options->instance);
	if (result == -EWOULDBLOCK)
		return command_fail(command, "another command's request is being done");
	return command_no_instance(command, options->instance, result, &error);
}

/* Prints what the supervisor says until it has done it. */
static int follow(const char *command, struct request *request, uint64_t until_ns)
{
	const struct timespec pause = {.tv_nsec = (long)LOOK_NS};
	const volatile bool *stop = command_stop_on_signals();
	char line[REQUEST_LINE_MAX];
	for (;;) {
		switch (request_next(request, line)) {
		case REQUEST_SAYS:
		case REQUEST_STEP: /* not of a supervisor, which takes its steps itself */
			printf("%s\n", line);
			(void)fflush(stdout);
			continue;
		case REQUEST_DONE:
			return 0;
		case REQUEST_FAILED:
			return command_fail(command, "%s", line);
		case REQUEST_GONE:
			return command_fail(command, "the supervisor, process %d, has ended: see its log",
			                    request->supervisor);
		case REQUEST_WAIT:
			break;
		}
		if (*stop || clock_monotonic_ns() >= until_ns)
			return command_fail(
			        command, "not done yet; %s",
			        request_taken(request)
			                ? "the supervisor goes on with it: see its log"
			                : "the supervisor has something else to do, and will not do it");
		(void)nanosleep(&pause, NULL);
	}
}

static int ask(const char *command, const char *text, const struct options *options)
{
	char directory[128];
	struct request request;
	uint64_t until_ns = clock_monotonic_ns() + options->timeout_ns;
	int result = segment_directory(directory, sizeof directory, options->instance);
	if (result == 0)
		result = request_begin(&request, directory, text);
	if (result != 0)
		return say_refused(command, options, directory, result);
	if (request.managed)
		return managed_command(command, &request, options->instance, text, until_ns);
	int status = follow(command, &request, until_ns);
	request_end(&request);
	return status;
}

/* The options are the same in all of them. Returns as arguments_parse. */
static int parse(struct arguments arguments, int argc, char **argv, struct options *options,
                 struct operands *operands)
{
	*options = (struct options){.instance = command_instance(), .timeout_ns = 600 * NS_PER_SEC};
	const struct argument table[] = {
	        {"instance", 0, ARGUMENT_STRING, "NAME",
	         "the instance (default: $MILLRACE_INSTANCE or \"default\")", &options->instance, 0, 0, NULL},
	        {"timeout", 't', ARGUMENT_DURATION, "T", "how long to wait for the end of it (default 10m)",
	         &options->timeout_ns, .min = NS_PER_MS, .max = 86400 * NS_PER_SEC},
	};
	arguments.table = table;
	arguments.n = sizeof table / sizeof *table;
	return arguments_parse(&arguments, argc, argv, operands);
}

static const struct arguments restart = {
        .command = "restart",
        .usage = "STAGE|ROLE [OPTION]...",
        .purpose =
                "Ends a stage's processes in order, one after another, and starts each again at once on the program\n"
                "that is installed now. Sockets stay open, and what they queue meanwhile waits for the new process.\n"
                "Prints, for each role, its old and its new process and how long that took.",
        .exit_codes =
                "1  nothing was ended (the program cannot start, or has another layout), a role does not come up, or no\n   supervisor runs the instance",
        .example = "millrace restart ingest-http",
        .operands_max = 1,
};

int command_restart(int argc, char **argv)
{
	struct options options;
	struct operands operands;
	char text[REQUEST_TEXT_MAX];
	int status = parse(restart, argc, argv, &options, &operands);
	if (status != ARGUMENTS_GO_ON)
		return status;
	if (operands.n == 0) {
		(void)command_fail("restart", "name a stage or a role; millrace stat lists them");
		return EXIT_USAGE;
	}
	if (strlen(operands.item[0]) >= SHM_NAME_MAX || strpbrk(operands.item[0], " \n") != NULL)
		return command_fail("restart",
		                    "\"%s\" is not a name of a stage or a role; millrace stat lists them",
		                    operands.item[0]);
	snprintf(text, sizeof text, "restart %s", operands.item[0]);
	return ask("restart", text, &options);
}

/* A command that asks its own name. */
static int ask_for_all(struct arguments arguments, int argc, char **argv)
{
	struct options options;
	struct operands operands;
	int status = parse(arguments, argc, argv, &options, &operands);
	return status != ARGUMENTS_GO_ON ? status : ask(arguments.command, arguments.command, &options);
}

static const struct arguments upgrade = {
        .command = "upgrade",
        .usage = "[OPTION]...",
        .purpose =
                "Brings an instance that runs to the programs that are installed now: the stages one after another,\n"
                "readers before writers, then the supervisor, whose process goes on in its new program. Sockets stay\n"
                "open throughout. First each program is asked whether it can start; if one cannot, nothing is ended.\n"
                "If the layout of shared memory has changed, all stages drain and everything is made anew.",
        .exit_codes =
                "1  nothing was ended (a program cannot start), a role does not come up, not everything was drained\n   (changed layout), or no supervisor runs the instance",
        .example = "millrace upgrade",
};

int command_upgrade(int argc, char **argv)
{
	return ask_for_all(upgrade, argc, argv);
}

static const struct arguments reload = {
        .command = "reload",
        .usage = "[OPTION]...",
        .purpose =
                "Reads the configuration again, with the files that it names, and changes only what changed: stages\n"
                "whose section changed start again, others go on, some are new, some end. First everything is checked,\n"
                "as millrace check does; if anything is wrong, nothing changes. Prints what becomes of which role, and\n"
                "waits until all of it is done. (SIGHUP to a supervisor is the same, without an answer.)",
        .exit_codes =
                "1  the configuration is refused and nothing has changed, a role does not come up, or nobody runs the\n   instance",
        .example = "millrace reload",
};

int command_reload(int argc, char **argv)
{
	return ask_for_all(reload, argc, argv);
}
