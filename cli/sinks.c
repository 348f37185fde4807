/* millrace sinks: where each sink stands. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/moment.h"
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/grid.h"
#include "config/config.h"
#include "look/sinks.h"

struct options {
	const char *instance;
	bool json;
};

/* Of the configuration in force; "" when it cannot be read: a user without access to it still sees
 * the figures. */
static void read_data_dir(char data_dir[PATH_MAX], const char *directory)
{
	char *errors = NULL;
	struct config *config = config_load_instance(directory, NULL, 0, &errors);
	snprintf(data_dir, PATH_MAX, "%s", config != NULL ? config_string(config, "data_dir") : "");
	config_free(config);
	free(errors);
}

/* ---- what is shown ---- */

static int print_json(const struct snapshot *snapshot, const struct options *options, const char *data_dir)
{
	json_t *root = sinks_json(snapshot, options->instance, data_dir);
	if (root == NULL)
		return command_fail("sinks", "%s", strerror(ENOMEM));
	int result = command_print_json(root, JSON_INDENT(2), stdout);
	json_decref(root);
	return result == 0 ? 0 : command_fail("sinks", "%s", strerror(-result));
}

static void metric_cell(struct grid *grid, const struct snapshot_stage *stage, const char *name)
{
	if (sink_has_metric(stage, name))
		grid_number(grid, sink_metric(stage, name));
	else
		grid_cell(grid, "-");
}

static void bytes_cell(struct grid *grid, const struct snapshot_stage *stage, const char *name)
{
	if (sink_has_metric(stage, name))
		grid_bytes(grid, sink_metric(stage, name));
	else
		grid_cell(grid, "-");
}

static void time_cell(struct grid *grid, uint64_t seconds)
{
	char text[MOMENT_BYTES];
	grid_cell(grid, "%s", moment_show(text, (int64_t)(seconds * 1000)));
}

static void print_sinks(const struct snapshot *snapshot)
{
	struct grid grid;
	grid_init(
	        &grid,
	        "<SINK <STAGE <STATE >UNREAD >OPEN_OBJECTS >WAITING >SPOOL >OLDEST <LAST_OBJECT >FINISHED <FAILING_SINCE");
	for (unsigned i = 0; i < snapshot->n_stages; i++) {
		const struct snapshot_stage *stage = &snapshot->stage[i];
		if (!sink_is(stage))
			continue;
		grid_cell(&grid, "%s", sink_name(stage));
		grid_cell(&grid, "%s", stage->program);
		grid_cell(&grid, "%s", snapshot_state(stage));
		metric_cell(&grid, stage, "waiting_records");
		metric_cell(&grid, stage, "open_objects");
		bytes_cell(&grid, stage, "waiting_bytes");
		bytes_cell(&grid, stage, "spool_bytes");
		if (sink_has_metric(stage, "oldest_unsafe_seconds"))
			grid_time(&grid, sink_metric(stage, "oldest_unsafe_seconds") * NS_PER_SEC);
		else
			grid_cell(&grid, "-");
		time_cell(&grid, sink_metric(stage, "last_object_time"));
		metric_cell(&grid, stage, "objects");
		if (sink_metric(stage, "failing") != 0 && !sink_has_metric(stage, "failing_since"))
			grid_cell(&grid, "now");
		else
			time_cell(&grid, sink_metric(stage, "failing_since"));
	}
	if (grid.n <= grid.columns)
		printf("no sinks: nothing keeps what is not counted\n");
	grid_print(&grid, stdout);
}

static void print_notes(const struct snapshot *snapshot)
{
	struct grid grid;
	grid_init(&grid, "<SINK <NOTE");
	for (unsigned i = 0; i < snapshot->n_stages; i++) {
		const struct snapshot_stage *stage = &snapshot->stage[i];
		if (!sink_is(stage) || stage->note[0] == '\0')
			continue;
		grid_cell(&grid, "%s", sink_name(stage));
		grid_cell(&grid, "%s", stage->note);
	}
	if (grid.n > grid.columns)
		putchar('\n');
	grid_print(&grid, stdout);
}

static void print_abandoned(const struct snapshot *snapshot, const char *data_dir)
{
	struct grid grid;
	char path[PATH_MAX];
	bool any = false;
	grid_init(&grid, "<SINK <ABANDONED <NAME <UPLOAD >BYTES <REASON");
	for (unsigned i = 0; i < snapshot->n_stages && data_dir[0] != '\0'; i++) {
		const struct snapshot_stage *stage = &snapshot->stage[i];
		json_t *all = sink_is(stage) ? sink_abandoned(data_dir, sink_name(stage), path) : NULL, *one;
		size_t k;
		json_array_foreach(all, k, one)
		{
			const char *name = json_string_value(json_object_get(one, "name"));
			const char *upload = json_string_value(json_object_get(one, "upload"));
			const char *reason = json_string_value(json_object_get(one, "reason"));
			grid_cell(&grid, "%s", sink_name(stage));
			time_cell(&grid, (uint64_t)json_integer_value(json_object_get(one, "time")));
			grid_cell(&grid, "%s", name != NULL ? name : "");
			grid_cell(&grid, "%s", upload != NULL ? upload : "");
			grid_bytes(&grid, (uint64_t)json_integer_value(json_object_get(one, "bytes")));
			grid_cell(&grid, "%s", reason != NULL ? reason : "");
			any = true;
		}
		json_decref(all);
	}
	if (any)
		putchar('\n');
	grid_print(&grid, stdout);
	if (any)
		printf("files: %s/sinks/*.abandoned; %s\n", data_dir, SINKS_REMEDY);
}

static int show(const struct options *options)
{
	struct snapshot_source *source = malloc(sizeof *source);
	struct snapshot *snapshot = malloc(sizeof *snapshot);
	struct shm_error error;
	char data_dir[PATH_MAX];
	int status = 0;
	if (source == NULL || snapshot == NULL)
		abort();
	int opened = snapshot_open(source, options->instance, &error);
	int result = opened == 0 ? snapshot_take(source, snapshot, &error) : opened;
	if (result != 0) {
		status = command_no_instance("sinks", options->instance, result, &error);
	} else {
		read_data_dir(data_dir, source->directory);
		if (options->json) {
			status = print_json(snapshot, options, data_dir);
		} else {
			print_sinks(snapshot);
			print_notes(snapshot);
			print_abandoned(snapshot, data_dir);
		}
	}
	if (opened == 0)
		snapshot_close(source);
	free(source);
	free(snapshot);
	return status;
}

int command_sinks(int argc, char **argv)
{
	struct options options = {.instance = command_instance()};
	struct operands operands;
	const struct argument table[] = {
	        {"instance", 0, ARGUMENT_STRING, "NAME",
	         "the instance (default: $MILLRACE_INSTANCE or \"default\")", &options.instance, 0, 0, NULL},
	        {"json", 0, ARGUMENT_FLAG, NULL, "print JSON", &options.json, 0, 0, NULL},
	};
	const struct arguments arguments = {
	        .command = "sinks",
	        .usage = "[OPTION]...",
	        .purpose =
	                "Shows where each sink stands: what waits and is not safe in its store yet, how old the oldest of\n"
	                "it is, when the last object was finished, since when the store fails and why, and uploads that\n"
	                "the store has lost, with the remedy.",
	        .example = "millrace sinks --json",
	        .table = table,
	        .n = sizeof table / sizeof *table,
	};
	int status = arguments_parse(&arguments, argc, argv, &operands);
	return status != ARGUMENTS_GO_ON ? status : show(&options);
}
