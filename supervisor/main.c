/* The supervisor's program: libexec/millrace/supervisor. `millrace run` becomes it. */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/output.h"
#include "stage/file.h"
#include "supervisor/holder.h"
#include "supervisor/managed.h"
#include "supervisor/supervisor.h"

static const char usage[] =
        "usage: supervisor [-c FILE] [--set KEY=VALUE]... [--instance NAME]\n"
        "\n"
        "Creates the segments of an instance, binds its sockets, starts its stages and watches them; stays in the foreground.\n"
        "\n"
        "  -c, --config FILE    the configuration (default: the embedded one)\n"
        "      --set KEY=VALUE  replaces one value of it, VALUE being YAML; may be given several times\n"
        "      --instance NAME  the instance (default: $MILLRACE_INSTANCE, then the configuration)\n"
        "      --help, --version\n"
        "\n"
        "       supervisor --segments make|open|reload|drain|end [--instance NAME] [-c FILE] [--set KEY=VALUE]...\n"
        "       supervisor --sink NAME [--instance NAME]\n"
        "       supervisor --packets [--instance NAME]\n"
        "Parts of an instance that a service manager runs: conf/systemd/README.md.\n"
        "\n"
        "       supervisor --check supervisor --layout HASH < config.yaml\n"
        "Says whether this program could go on with the instance that has the configuration and the layout.\n"
        "\n"
        "Signals: SIGTERM, SIGINT drain and end (a second one cuts it short); SIGHUP reads the configuration again;\n"
        "SIGUSR2: a command asks something (millrace restart, millrace upgrade, millrace reload).\n"
        "Environment: MILLRACE_INSTANCE, MILLRACE_SHM (instead of /dev/shm/millrace), MILLRACE_LIBEXEC (folder of the\n"
        "stages), LISTEN_FDS and LISTEN_PID (sockets of a service manager).\n"
        "Exit status: 0 drained; 1 cannot start, or the configuration is wrong; 2 usage; 3 not drained in time: the segments\n"
        "are kept and the next start goes on from there; 4 the instance's folder was removed while it ran.\n";

enum {
	OPTION_SET = 256,
	OPTION_INSTANCE,
	OPTION_CHECK,
	OPTION_LAYOUT,
	OPTION_SEGMENTS,
	OPTION_SINK,
	OPTION_PACKETS,
	OPTION_HELP,
	OPTION_VERSION
};

static const struct option table[] = {
        {"config", required_argument, NULL, 'c'},
        {"set", required_argument, NULL, OPTION_SET},
        {"instance", required_argument, NULL, OPTION_INSTANCE},
        {"check", required_argument, NULL, OPTION_CHECK},
        {"segments", required_argument, NULL, OPTION_SEGMENTS},
        {"sink", required_argument, NULL, OPTION_SINK},
        {"packets", no_argument, NULL, OPTION_PACKETS},
        {"layout", required_argument, NULL, OPTION_LAYOUT},
        {"help", no_argument, NULL, OPTION_HELP},
        {"version", no_argument, NULL, OPTION_VERSION},
        {NULL, 0, NULL, 0},
};

__attribute__((format(printf, 1, 2))) static int print(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	(void)vprintf(format, arguments);
	va_end(arguments);
	return output_finish("supervisor");
}

/* Findings as a stage's --check prints them (trial.h). */
static int run_check(const char *layout)
{
	char *errors = NULL;
	if (!stage_layout_fits(layout, stdout))
		return output_finish("supervisor");
	struct config *config = config_load("/dev/stdin", NULL, 0, &errors);
	struct plan *plan = config == NULL ? NULL : plan_make(config, &errors);
	char *rest = errors;
	for (char *line; rest != NULL && (line = strsep(&rest, "\n")) != NULL;)
		if (*line != '\0')
			printf("refused %s\n", line);
	free(errors);
	plan_free(plan);
	config_free(config);
	return output_finish("supervisor");
}

int main(int argc, char **argv)
{
	struct supervisor_options options = {.sets = calloc((size_t)argc, sizeof *options.sets),
	                                     .argv = argv};
	const char *check = NULL, *layout = "", *segments = NULL, *sink = NULL;
	struct supervisor *supervisor = malloc(sizeof *supervisor);
	bool packets = false;
	if (options.sets == NULL || supervisor == NULL)
		abort();
	int status = -1;
	output_no_size_signal();
	for (int c; status < 0 && (c = getopt_long(argc, argv, "c:", table, NULL)) >= 0;) {
		if (c == 'c')
			options.config_file = optarg;
		else if (c == OPTION_SET)
			options.sets[options.n_sets++] = optarg;
		else if (c == OPTION_INSTANCE)
			options.instance = optarg;
		else if (c == OPTION_CHECK)
			check = optarg;
		else if (c == OPTION_SEGMENTS)
			segments = optarg;
		else if (c == OPTION_SINK)
			sink = optarg;
		else if (c == OPTION_PACKETS)
			packets = true;
		else if (c == OPTION_LAYOUT)
			layout = optarg;
		else if (c == OPTION_HELP)
			status = print("%s", usage);
		else if (c == OPTION_VERSION)
			status = print("supervisor (millrace) %s\n", MILLRACE_VERSION);
		else
			status = SUPERVISOR_USAGE;
	}
	if (status < 0 && optind < argc)
		status = SUPERVISOR_USAGE;
	if (status == SUPERVISOR_USAGE)
		fputs(usage, stderr);
	if (status < 0 && check != NULL)
		status = run_check(layout);
	if (status < 0 && sink != NULL)
		status = managed_sink(sink, &options);
	if (status < 0 && packets)
		status = holder_run(supervisor, &options);
	if (status < 0 && segments != NULL)
		status = managed_do(segments, supervisor, &options);
	if (status < 0) {
		status = supervisor_init(supervisor, &options);
		if (status == 0)
			status = supervisor_run(supervisor);
		supervisor_fini(supervisor);
	}
	free(options.sets);
	free(supervisor);
	return status;
}
