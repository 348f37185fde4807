/* millrace tap: the events of a topic, or the messages of a queue, on standard output, holding
 * nobody up. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/last.h"
#include "cli/tap_queue.h"
#include "flow/flow.h"
#include "shm/life.h"
#include "base/clock.h"

#define WAIT_NS (100 * NS_PER_MS)

struct tap {
	const struct tap_options *options;
	struct tap_output output;
	struct instance instance;
	struct life_watch life;
	struct command_follow follow;
	bool down; /* no supervisor ran it at the start: it is not followed */
	struct topic_reader reader;
	uint64_t start[STREAM_LANES_MAX]; /* records before are skipped */
	uint64_t end[STREAM_LANES_MAX];   /* with no_follow: records from here on are of no interest */
	uint64_t generation;              /* of the instance that was left, 0 before the first */
	unsigned n_lanes;                 /* it had */
	uint64_t missed;                  /* by readers that were detached */
};

/* Deals with one batch; true while more is wanted. */
static bool print_batch(struct tap *tap, unsigned lane, struct record_batch *batch)
{
	uint64_t records = 0, position = batch->position;
	const struct record *record;
	while (tap_wants_more(&tap->output) && (record = record_next(batch)) != NULL) {
		records++;
		if (position >= tap->start[lane] && position < tap->end[lane])
			tap_print(&tap->output, record, lane, position);
		position = batch->position;
	}
	stream_advance(&tap->reader.lane[lane], batch, records);
	return tap_wants_more(&tap->output);
}

static bool reached_end(const struct tap *tap)
{
	for (unsigned lane = 0; lane < tap->reader.n_lanes; lane++)
		if (tap->reader.lane[lane].position < tap->end[lane])
			return false;
	return true;
}

static void leave(struct tap *tap)
{
	tap->generation = tap->instance.generation;
	tap->n_lanes = tap->reader.n_lanes;
	for (unsigned lane = 0; lane < tap->reader.n_lanes; lane++) {
		const struct stream_reader *reader = &tap->reader.lane[lane];
		tap->missed += atomic_load_explicit(&reader->cursor->missed_records, memory_order_relaxed);
		tap->start[lane] = reader->position;
	}
	topic_reader_detach(&tap->reader);
	instance_detach(&tap->instance);
}

/* Where a tap begins: now, or some records back. */
static int begin(struct tap *tap, struct shm_error *error)
{
	int result = tap->options->last > 0
	                     ? last_records(&tap->reader, tap->options->last, tap->start, error)
	                     : 0;
	for (unsigned lane = 0; lane < tap->reader.n_lanes; lane++)
		tap->end[lane] = tap->options->no_follow || tap->down
		                         ? atomic_load_explicit(&tap->reader.lane[lane].shared->tail,
		                                                memory_order_acquire)
		                         : UINT64_MAX;
	return result;
}

/* After the instance's page was replaced: on from where the tap was, and all of what lies in lanes
 * that are new. */
static void go_on(struct tap *tap, unsigned n_lanes, uint64_t generation)
{
	bool same = tap->instance.generation == generation;
	for (unsigned lane = 0; lane < tap->reader.n_lanes; lane++) {
		if (!same || lane >= n_lanes) {
			tap->start[lane] = 0;
			tap->end[lane] = tap->options->no_follow ? 0 : UINT64_MAX;
		}
		(void)stream_reader_rewind(&tap->reader.lane[lane], UINT64_MAX);
	}
}

/* Attaches as the optional group tap.<pid>. Returns 0 or the exit status. */
static int enter(struct tap *tap)
{
	const struct tap_options *options = tap->options;
	char group[SHM_NAME_MAX];
	struct shm_error error = {""};
	int status = command_attach("tap", &tap->instance, options->instance, SEGMENT_READ);
	if (status != 0)
		return status;
	life_init(&tap->life, &tap->instance);
	if (tap->generation == 0)
		tap->down = !life_supervised(&tap->instance);
	if (tap->down && options->last == 0) {
		status = command_say_down("tap", &tap->instance, options->instance);
		instance_detach(&tap->instance);
		return status;
	}
	snprintf(group, sizeof group, "tap.%d", getpid());
	int result = topic_reader_attach(&tap->reader, &tap->instance, options->topic, group, GROUP_OPTIONAL,
	                                 STREAM_FROM_TAIL, &error);
	if (result != 0) {
		instance_detach(&tap->instance);
		return command_fail("tap", "%s", error.text);
	}
	if (tap->generation != 0)
		go_on(tap, tap->n_lanes, tap->generation);
	else
		result = begin(tap, &error);
	if (result != 0) {
		leave(tap);
		return command_fail("tap", "%s", result == -ENOMEM ? strerror(ENOMEM) : error.text);
	}
	return 0;
}

/* Reads until enough is printed, a signal, or the life of the instance changed. */
static enum life read_on(struct tap *tap)
{
	enum life life = LIFE_SAME;
	while (!*tap->output.stop && life == LIFE_SAME && !reached_end(tap)) {
		unsigned lane;
		struct record_batch batch;
		if (topic_peek(&tap->reader, &lane, &batch)) {
			if (!print_batch(tap, lane, &batch))
				break;
			continue;
		}
		if (!tap_flush(&tap->output) || tap_output_gone())
			break;
		life = life_check(&tap->life);
		if (life == LIFE_SAME) {
			command_follow(&tap->follow, "tap", &tap->instance, tap->options->instance);
			topic_wait(&tap->reader, WAIT_NS);
		}
	}
	return life;
}

static int run(struct tap *tap)
{
	enum life life = LIFE_REPLACED;
	int status = 0;
	while (life == LIFE_REPLACED && status == 0) {
		status = enter(tap);
		if (status != 0)
			return status;
		ndjson_fini(&tap->output.lines);
		ndjson_init(&tap->output.lines, &tap->instance, tap->options->topic);
		life = read_on(tap);
		(void)tap_flush(&tap->output);
		if (tap->down && command_say_down("tap", &tap->instance, tap->options->instance) != 0 &&
		    !tap->options->no_follow)
			status = 1; /* what comes was asked for, and nothing comes */
		leave(tap);
	}
	if (tap->missed > 0)
		fprintf(stderr,
		        "millrace tap: %" PRIu64
		        " records were missed: they were overwritten before they could be read\n",
		        tap->missed);
	int finished = tap_finish(&tap->output, "records");
	if (life == LIFE_ENDED)
		fprintf(stderr, "millrace tap: instance \"%s\" has ended\n", tap->options->instance);
	return status != 0 ? status : finished;
}

/* Only tracking events have a line; what a topic of an outside program holds is seen when it
 * comes. */
static int check_format(const struct arguments *arguments, const struct tap_options *options)
{
	uint16_t type = flow_topic_type(options->topic);
	if (strcmp(options->format, "line") != 0 || type == EVENT_TRACK || type == EVENT_NONE)
		return ARGUMENTS_GO_ON;
	return arguments_error(
	        arguments,
	        "--format line: events of topic %s are no tracking events; those of topic track are",
	        options->topic);
}

int command_tap(int argc, char **argv)
{
	struct tap_options options = {.instance = command_instance(), .format = "json", .count = UINT64_MAX};
	struct argument_list filter_list = {0};
	const struct argument table[] = {
	        {"format", 0, ARGUMENT_CHOICE, "FORMAT",
	         "json: one object a line; line: of tracking events, type, metadata and query\n"
	         "with a space between; raw: record headers and payloads as they lie in shared\n"
	         "memory (default json)",
	         &options.format, 0, 0, "json line raw"},
	        {"count", 'n', ARGUMENT_COUNT, "N", "end after N events", &options.count, 1, UINT64_MAX,
	         NULL},
	        {"filter", 'f', ARGUMENT_LIST, "KEY=VALUE",
	         "only events whose field KEY is VALUE; several must all hold. params.NAME is a\n"
	         "parameter of a tracking call, data.NAME a member of a postback's data",
	         &filter_list, 0, 0, NULL},
	        {"last", 'l', ARGUMENT_COUNT, "N",
	         "begin N events back, among what is still in memory (default: from now on)", &options.last,
	         0, UINT64_MAX, NULL},
	        {"no-follow", 0, ARGUMENT_FLAG, NULL,
	         "end at what was the newest event at the start; with --last", &options.no_follow, 0, 0,
	         NULL},
	        {"instance", 0, ARGUMENT_STRING, "NAME",
	         "which instance (default: $MILLRACE_INSTANCE or default)", &options.instance, 0, 0, NULL},
	};
	const struct arguments arguments = {
	        .command = "tap",
	        .usage = "TOPIC [OPTION]...",
	        .purpose =
	                "Prints the events of a topic as they come in, until Ctrl-C. A tap never slows a writer down: one that is\n"
	                "too slow misses events, and says at its end how many.\n\n"
	                "TOPIC may be a queue: then --last N shows what is in it, taken or not, and takes nothing out. What comes and\n"
	                "goes between two looks is not seen.",
	        .example = "  millrace tap ip --last 10 --filter ip=10.0.0.1",
	        .table = table,
	        .n = sizeof table / sizeof table[0],
	        .operands_min = 1,
	        .operands_max = 1,
	};
	struct operands operands;
	struct filters filters;
	int status = arguments_parse(&arguments, argc, argv, &operands);
	if (status != ARGUMENTS_GO_ON)
		return status;
	options.topic = operands.item[0];
	status = filters_init(&filters, &arguments, &filter_list, options.topic);
	if (status == ARGUMENTS_GO_ON)
		status = check_format(&arguments, &options);
	if (status != ARGUMENTS_GO_ON) {
		filters_fini(&filters);
		return status;
	}
	struct tap *tap = calloc(1, sizeof *tap);
	if (tap == NULL)
		return command_fail("tap", "%s", strerror(ENOMEM));
	tap->options = &options;
	tap->output = (struct tap_output){.format = options.format,
	                                  .stop = command_stop_on_signals(),
	                                  .filters = &filters,
	                                  .left = options.count};
	status = tap_is_queue(&options) ? tap_queue(&options, &tap->output) : run(tap);
	ndjson_fini(&tap->output.lines);
	filters_fini(&filters);
	free(tap);
	return status;
}
