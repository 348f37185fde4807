/* millrace run: becomes the supervisor. */
#include "cli/arguments.h"
#include "cli/command.h"

int command_run(int argc, char **argv)
{
	const char *file = NULL, *instance = NULL;
	struct argument_list sets = {0};
	const struct argument table[] = {
	        {"config", 'c', ARGUMENT_STRING, "FILE",
	         "the configuration (default: the embedded one, see millrace check --default)", &file, 0, 0,
	         NULL},
	        {"set", 0, ARGUMENT_LIST, "KEY=VALUE",
	         "replace one value of it, VALUE being YAML; may be given several\ntimes (millrace check --keys lists them)",
	         &sets, 0, 0, NULL},
	        {"instance", 0, ARGUMENT_STRING, "NAME",
	         "name of the instance (default: $MILLRACE_INSTANCE, or as configured)", &instance, 0, 0,
	         NULL},
	};
	const struct arguments arguments = {
	        .command = "run",
	        .usage = "[-c FILE] [--set KEY=VALUE]... [--instance NAME]",
	        .purpose =
	                "Starts the supervisor, which creates the segments in shared memory, binds the sockets and starts\n"
	                "the stages; it stays in the foreground. SIGTERM or Ctrl-C drains and ends it, SIGHUP reads the\n"
	                "configuration again and restarts what changed.",
	        .exit_codes =
	                "  3  not drained in time: the segments are kept, and the next start goes on from there",
	        .example =
	                "  millrace run --set 'ingest.udp[0].listen=127.0.0.1:5002' --set data_dir=/var/lib/millrace",
	        .table = table,
	        .n = sizeof table / sizeof table[0],
	};
	struct operands operands;
	int status = arguments_parse(&arguments, argc, argv, &operands);
	if (status != ARGUMENTS_GO_ON)
		return status;
	const char *list[4 + 2 * ARGUMENT_LIST_MAX];
	size_t n = 0;
	if (file != NULL) {
		list[n++] = "-c";
		list[n++] = file;
	}
	for (size_t i = 0; i < sets.n; i++) {
		list[n++] = "--set";
		list[n++] = sets.item[i];
	}
	if (instance != NULL) {
		list[n++] = "--instance";
		list[n++] = instance;
	}
	return command_exec("run", "supervisor", list, n);
}
