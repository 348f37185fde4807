/* millrace stat: shows a running instance, from shared memory. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/grid.h"
#include "base/clock.h"
#include "base/moment.h"
#include "config/config.h"
#include "look/json.h"
#include "look/prometheus.h"
#include "look/rates.h"
#include "supervisor/plan.h"

/* ---- tables ---- */

struct stat_table_options {
	const char *instance;
	bool metrics; /* every metric of every stage, and the histograms */
};

static uint64_t real_age(uint64_t since_ns)
{
	uint64_t now = clock_real_ns();
	return now > since_ns ? now - since_ns : 0;
}

static void heading(const struct snapshot *snapshot, const struct stat_table_options *options, FILE *out)
{
	fprintf(out, "instance %s, generation %016llx, ", options->instance,
	        (unsigned long long)snapshot->generation);
	if (snapshot->managed)
		fprintf(out, "run by a service manager (systemctl status millrace.target)");
	else if (snapshot->supervisor_alive)
		fprintf(out, "supervisor %u", snapshot->supervisor_pid);
	else
		fprintf(out, "supervisor not running (start it with: millrace run --instance %s)",
		        options->instance);
	fprintf(out, "%s\n\n", snapshot->draining ? ", draining" : "");
}

static void last_exit(struct grid *grid, int64_t status)
{
	if (status < 0)
		grid_cell(grid, "-");
	else if (WIFSIGNALED((int)status))
		grid_cell(grid, "SIG%s", sigabbrev_np(WTERMSIG((int)status)));
	else
		grid_cell(grid, "exit %d", WEXITSTATUS((int)status));
}

static void stages(const struct snapshot *snapshot, FILE *out)
{
	struct grid grid;
	grid_init(&grid, "<STAGE <STATE >PID >RESTARTS <LAST_EXIT >HEARTBEAT >UP");
	for (unsigned i = 0; i < snapshot->n_stages; i++) {
		const struct snapshot_stage *stage = &snapshot->stage[i];
		grid_cell(&grid, "%s", stage->name);
		grid_cell(&grid, "%s", snapshot_state(stage));
		grid_cell(&grid, "%u", stage->pid);
		grid_number(&grid, stage->restarts);
		last_exit(&grid, stage->present ? stage->last_exit : -1);
		grid_time(&grid, stage->heartbeat_age_ns);
		if (stage->alive)
			grid_time(&grid, real_age(stage->started_ns));
		else
			grid_cell(&grid, "-");
	}
	grid_print(&grid, out);
	if (snapshot->n_stages > 0)
		fputc('\n', out);
}

static void notes(const struct snapshot *snapshot, FILE *out)
{
	struct grid grid;
	grid_init(&grid, "<STAGE <NOTE");
	for (unsigned i = 0; i < snapshot->n_stages; i++) {
		if (snapshot->stage[i].note[0] == '\0')
			continue;
		grid_cell(&grid, "%s", snapshot->stage[i].name);
		grid_cell(&grid, "%s", snapshot->stage[i].note);
	}
	bool any = grid.n > grid.columns;
	grid_print(&grid, out);
	if (any)
		fputc('\n', out);
}

static const char *time_text(char buffer[MOMENT_BYTES], uint64_t real_ns)
{
	return real_ns == 0 ? "never" : moment_show(buffer, (int64_t)(real_ns / NS_PER_MS));
}

static void files(const struct snapshot *snapshot, FILE *out)
{
	struct grid grid;
	char buffer[MOMENT_BYTES];
	grid_init(&grid, "<STAGE <FILE_OF <IN_FORCE_SINCE <PATH <REFUSED");
	for (unsigned i = 0; i < snapshot->n_stages; i++)
		for (unsigned k = 0; k < snapshot->stage[i].n_files; k++) {
			const struct control_file *file = &snapshot->stage[i].file[k];
			grid_cell(&grid, "%s", snapshot->stage[i].name);
			grid_cell(&grid, "%s", file->option);
			grid_cell(&grid, "%s", time_text(buffer, file->in_force_ns));
			grid_cell(&grid, "%s", file->path);
			if (file->refused_ns != 0)
				grid_cell(&grid, "%s: %s", time_text(buffer, file->refused_ns),
				          file->refusal);
			else
				grid_cell(&grid, "-");
		}
	bool any = grid.n > grid.columns;
	grid_print(&grid, out);
	if (any)
		fputc('\n', out);
}

static const char *writer(const struct snapshot_lane *lane)
{
	if (lane->role[0] == 0)
		return "(outside)";
	return strcmp(lane->role, "-") == 0 ? "(retired)" : lane->role;
}

static void lanes(const struct rates *rates, FILE *out)
{
	const struct snapshot *snapshot = rates->now;
	struct grid grid;
	grid_init(&grid, rates->before != NULL ? "<TOPIC >LANE <WRITER >SIZE >WRITTEN >BYTES >RATE"
	                                       : "<TOPIC >LANE <WRITER >SIZE >WRITTEN >BYTES");
	for (unsigned i = 0; i < snapshot->n_topics; i++)
		for (unsigned k = 0; k < snapshot->topic[i].n_lanes; k++) {
			const struct snapshot_lane *lane = &snapshot->topic[i].lane[k];
			grid_cell(&grid, "%s", snapshot->topic[i].name);
			grid_cell(&grid, "%u", k);
			grid_cell(&grid, "%s", writer(lane));
			grid_bytes(&grid, lane->size_bytes);
			grid_number(&grid, lane->written_records);
			grid_bytes(&grid, lane->written_bytes);
			if (rates->before != NULL)
				grid_rate(&grid, rates_lane(rates, &snapshot->topic[i], k));
		}
	grid_print(&grid, out);
	if (snapshot->n_topics > 0)
		fputc('\n', out);
}

static void groups(const struct rates *rates, FILE *out)
{
	const struct snapshot *snapshot = rates->now;
	struct grid grid;
	grid_init(&grid,
	          rates->before != NULL
	                  ? "<TOPIC >LANE <GROUP <KIND >READER >READ >WAITING >BYTES >FULL >MISSED >RATE"
	                  : "<TOPIC >LANE <GROUP <KIND >READER >READ >WAITING >BYTES >FULL >MISSED");
	for (unsigned i = 0; i < snapshot->n_topics; i++)
		for (unsigned k = 0; k < snapshot->topic[i].n_lanes; k++) {
			const struct snapshot_lane *lane = &snapshot->topic[i].lane[k];
			for (unsigned g = 0; g < lane->n_groups; g++) {
				const struct snapshot_group *group = &lane->group[g];
				grid_cell(&grid, "%s", snapshot->topic[i].name);
				grid_cell(&grid, "%u", k);
				grid_cell(&grid, "%s", group->name);
				grid_cell(&grid, "%s",
				          group->required ? "required"
				          : group->lapsed ? "lapsed"
				                          : "optional");
				if (group->reader_pid != 0)
					grid_cell(&grid, "%u", group->reader_pid);
				else
					grid_cell(&grid, "none");
				grid_number(&grid, group->read_records);
				grid_number(&grid, group->waiting_records);
				grid_bytes(&grid, group->waiting_bytes);
				grid_cell(&grid, "%.0f %%",
				          100.0 * (double)group->waiting_bytes / (double)lane->size_bytes);
				grid_number(&grid, group->missed_records);
				if (rates->before != NULL)
					grid_rate(&grid, rates_group(rates, &snapshot->topic[i], k, group));
			}
		}
	bool any = grid.n > grid.columns;
	grid_print(&grid, out);
	if (any)
		fputc('\n', out);
}

static bool has_writer(const struct snapshot_topic *topic)
{
	for (unsigned i = 0; i < topic->n_lanes; i++)
		if (strcmp(topic->lane[i].role, "-") != 0)
			return true;
	return false;
}

static void topic_notes(const struct snapshot *snapshot, const struct stat_table_options *options, FILE *out)
{
	struct grid grid;
	grid_init(&grid, "<TOPIC <NOTE");
	for (unsigned i = 0; i < snapshot->n_topics; i++) {
		const struct snapshot_topic *topic = &snapshot->topic[i];
		const struct snapshot_group *forgotten = snapshot_forgotten(topic);
		if (has_writer(topic) && !snapshot_kept(topic)) {
			grid_cell(&grid, "%s", topic->name);
			grid_cell(&grid, "%s", PLAN_NOBODY_KEEPS);
		}
		if (forgotten != NULL) {
			grid_cell(&grid, "%s", topic->name);
			grid_cell(
			        &grid,
			        "full, nobody reads group %s; to free it: millrace consume %s --group %s --forget --instance %s",
			        forgotten->name, topic->name, forgotten->name, options->instance);
		}
	}
	bool any = grid.n > grid.columns;
	grid_print(&grid, out);
	if (any)
		fputc('\n', out);
}

static void queues(const struct snapshot *snapshot, FILE *out)
{
	struct grid grid;
	grid_init(&grid, "<QUEUE >SLOTS >SLOT_SIZE >FREE >FILLING >READY >TAKEN");
	for (unsigned i = 0; i < snapshot->n_queues; i++) {
		const struct snapshot_queue *queue = &snapshot->queue[i];
		grid_cell(&grid, "%s", queue->name);
		grid_number(&grid, queue->counts.slots);
		grid_bytes(&grid, queue->slot_bytes);
		grid_number(&grid, queue->counts.free);
		grid_number(&grid, queue->counts.filling);
		grid_number(&grid, queue->counts.ready);
		grid_number(&grid, queue->counts.taken);
	}
	grid_print(&grid, out);
	if (snapshot->n_queues > 0)
		fputc('\n', out);
}

static void rejected(const struct snapshot *snapshot, FILE *out)
{
	struct grid grid;
	grid_init(&grid, "<TOPIC <REJECTED_FOR >COUNT <MEANING");
	for (unsigned i = 0; i < snapshot->n_topics; i++)
		for (unsigned reason = 0; reason < LEDGER_REASON_COUNT; reason++) {
			if (snapshot->topic[i].ledger.rejected[reason] == 0)
				continue;
			grid_cell(&grid, "%s", snapshot->topic[i].name);
			grid_cell(&grid, "%s", ledger_reason_name(reason));
			grid_number(&grid, snapshot->topic[i].ledger.rejected[reason]);
			grid_cell(&grid, "%s", ledger_reason_help(reason));
		}
	bool any = grid.n > grid.columns;
	if (any)
		fputc('\n', out);
	grid_print(&grid, out);
}

static void ledger(const struct rates *rates, FILE *out)
{
	const struct snapshot *snapshot = rates->now;
	struct grid grid;
	grid_init(
	        &grid,
	        rates->before != NULL
	                ? "<LEDGER >RECEIVED >=_REJECTED >+_DROPPED >+_REFUSED >+_WRITTEN <BALANCED >KERNEL_DROPPED >RATE"
	                : "<LEDGER >RECEIVED >=_REJECTED >+_DROPPED >+_REFUSED >+_WRITTEN <BALANCED >KERNEL_DROPPED");
	for (unsigned i = 0; i < snapshot->n_topics; i++) {
		const struct snapshot_ledger *sum = &snapshot->topic[i].ledger;
		grid_cell(&grid, "%s", snapshot->topic[i].name);
		grid_number(&grid, sum->received);
		grid_number(&grid, snapshot_rejected(sum));
		grid_number(&grid, sum->dropped);
		grid_number(&grid, sum->refused);
		grid_number(&grid, sum->written);
		grid_cell(&grid, "%s", snapshot_balanced(sum) ? "yes" : "no");
		grid_number(&grid, sum->kernel_dropped);
		if (rates->before != NULL)
			grid_rate(&grid, rates_topic(rates, &snapshot->topic[i]));
	}
	grid_print(&grid, out);
}

/* stage NULL: the supervisor's. */
static void metric_rows(struct grid *grid, const struct rates *rates, const struct snapshot_stage *stage)
{
	const struct snapshot_metric *metric = stage != NULL ? stage->metric : rates->now->supervisor_metric;
	unsigned n = stage != NULL ? stage->n_metrics : SUPERVISOR_METRIC_COUNT;
	for (unsigned i = 0; i < n; i++) {
		grid_cell(grid, "%s", stage != NULL ? stage->name : "supervisor");
		grid_cell(grid, "%s", metric[i].about.name);
		grid_number(grid, metric[i].value);
		if (rates->before == NULL)
			continue;
		if (metric[i].about.kind != METRIC_GAUGE)
			grid_rate(grid, rates_metric(rates, stage, &metric[i]));
		else
			grid_cell(grid, "-");
	}
}

static void metrics(const struct rates *rates, FILE *out)
{
	struct grid grid;
	grid_init(&grid, rates->before != NULL ? "<STAGE <METRIC >VALUE >RATE" : "<STAGE <METRIC >VALUE");
	metric_rows(&grid, rates, NULL);
	for (unsigned i = 0; i < rates->now->n_stages; i++)
		metric_rows(&grid, rates, &rates->now->stage[i]);
	fputc('\n', out);
	grid_print(&grid, out);
}

/* A value of a histogram. It is a time when the name ends in _ns. */
static void histogram_value(struct grid *grid, const char *name, uint64_t value)
{
	size_t bytes = strlen(name);
	if (bytes > 3 && strcmp(name + bytes - 3, "_ns") == 0)
		grid_time(grid, value);
	else
		grid_number(grid, value);
}

/* The histograms with at least one value. */
static void histograms(const struct snapshot *snapshot, FILE *out)
{
	static const double percents[] = {50, 90, 99};
	struct grid grid;
	grid_init(&grid, "<STAGE <HISTOGRAM >COUNT >MEAN >50_%_UP_TO >90_%_UP_TO >99_%_UP_TO");
	for (unsigned i = 0; i < snapshot->n_stages; i++)
		for (unsigned k = 0; k < snapshot->stage[i].n_metrics; k++) {
			const struct snapshot_metric *metric = &snapshot->stage[i].metric[k];
			const char *name = metric->about.name;
			if (metric->about.kind != METRIC_HISTOGRAM || metric->value == 0)
				continue;
			grid_cell(&grid, "%s", snapshot->stage[i].name);
			grid_cell(&grid, "%s", name);
			grid_number(&grid, metric->value);
			histogram_value(&grid, name, metric->sum / metric->value);
			for (size_t p = 0; p < sizeof percents / sizeof percents[0]; p++) {
				unsigned bucket = snapshot_percentile(metric, percents[p]);
				if (bucket < metric->about.n_bounds)
					histogram_value(&grid, name, metric->about.bound[bucket]);
				else
					grid_cell(&grid, "more");
			}
		}
	bool any = grid.n > grid.columns;
	if (any)
		fputc('\n', out);
	grid_print(&grid, out);
}

/* Prints rates too when there is an earlier snapshot. */
static void stat_table(const struct rates *rates, const struct stat_table_options *options, FILE *out)
{
	const struct snapshot *snapshot = rates->now;
	heading(snapshot, options, out);
	stages(snapshot, out);
	notes(snapshot, out);
	files(snapshot, out);
	lanes(rates, out);
	groups(rates, out);
	topic_notes(snapshot, options, out);
	queues(snapshot, out);
	ledger(rates, out);
	rejected(snapshot, out);
	if (options->metrics) {
		metrics(rates, out);
		histograms(snapshot, out);
	}
}

/* ---- the command ---- */

struct options {
	const char *instance;
	bool json, metrics, prometheus, openmetrics;
	uint64_t watch_ns; /* 0: once */
	uint64_t count;    /* samples */
};

static const volatile bool *stopped;

static int print_look(const struct rates *rates, const struct options *options)
{
	json_t *root = look_json(rates, options->instance);
	if (root == NULL)
		return -ENOMEM;
	int error = command_print_json(root, options->watch_ns != 0 ? JSON_COMPACT : JSON_INDENT(2), stdout);
	json_decref(root);
	return error;
}

static int print_prometheus(const struct options *options, const struct snapshot *now)
{
	const struct argument_list none = {0};
	struct config *config = command_config("stat", NULL, &none, options->instance);
	struct prometheus prometheus = {.snapshot = now,
	                                .instance = options->instance,
	                                .data_dir = config == NULL ? NULL : config_string(config, "data_dir"),
	                                .openmetrics = options->openmetrics};
	size_t bytes;
	char *text = prometheus_text(&prometheus, &bytes);
	if (text != NULL)
		fwrite(text, 1, bytes, stdout); /* watch asks how it went */
	config_free(config);
	free(text);
	return text == NULL ? -ENOMEM : 0;
}

static int print(const struct options *options, const struct snapshot *now, const struct snapshot *before)
{
	struct rates rates;
	if (options->prometheus || options->openmetrics)
		return print_prometheus(options, now);
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

/* Sleeps until the next sample is due. The time that printing takes does not shift the samples. */
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
	        {"prometheus", 0, ARGUMENT_FLAG, NULL, "print all figures in the text format of Prometheus",
	         &options.prometheus, 0, 0, NULL},
	        {"openmetrics", 0, ARGUMENT_FLAG, NULL, "print them in the format OpenMetrics",
	         &options.openmetrics, 0, 0, NULL},
	        {"instance", 0, ARGUMENT_STRING, "NAME",
	         "which instance (default: $MILLRACE_INSTANCE or default)", &options.instance, 0, 0, NULL},
	};
	const struct arguments arguments = {
	        .command = "stat",
	        .usage =
	                "[--json | --prometheus | --openmetrics] [--watch SECONDS [--count N]] [--metrics] [--instance NAME]",
	        .purpose =
	                "Shows stages, lanes, reader groups, queues and the ledger of a running instance. Reads shared memory\n"
	                "only: it delays no stage, changes nothing, and works while stages die.",
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
	if (options.json + options.prometheus + options.openmetrics > 1)
		return arguments_error(&arguments,
		                       "--json, --prometheus and --openmetrics exclude each other");
	if ((options.prometheus || options.openmetrics) && options.watch_ns != 0)
		return arguments_error(&arguments, "--watch goes with tables and --json");
	if (options.watch_ns == 0)
		options.count = 1;
	else if (options.count == 0)
		options.count = UINT64_MAX;
	stopped = command_stop_on_signals();
	return show(&options);
}
