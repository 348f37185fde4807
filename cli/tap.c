/* millrace tap: the events of a topic, or the messages of a queue, on standard output, without
 * delaying a writer. */
#include "cli/tap.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/arguments.h"
#include "cli/command.h"
#include "base/clock.h"
#include "event/event.h"
#include "flow/flow.h"
#include "shm/life.h"

#define WAIT_NS     (100 * NS_PER_MS)
#define FLUSH_BYTES (128u * 1024u)

/* ---- printing ---- */

bool tap_wants_more(const struct tap_output *output)
{
	return output->left > 0 && output->error == 0 && !*output->stop;
}

bool tap_flush(struct tap_output *output)
{
	if (output->lines.used > 0 && output->error == 0)
		output->error =
		        command_write(STDOUT_FILENO, output->lines.text, output->lines.used, output->stop);
	output->lines.used = 0;
	return output->error == 0;
}

bool tap_output_gone(void)
{
	struct pollfd output = {.fd = STDOUT_FILENO};
	return poll(&output, 1, 0) == 1 && (output.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0;
}

void tap_print(struct tap_output *output, const struct record *record, unsigned lane, uint64_t position)
{
	int result = 0;
	if (!filters_hold(output->filters, record))
		return;
	if (strcmp(output->format, "raw") == 0)
		ndjson_append(&output->lines, record, record_bytes(record->length));
	else if (strcmp(output->format, "line") == 0)
		result = ndjson_add_line(&output->lines, record);
	else
		result = ndjson_add(&output->lines, record, lane, position);
	output->broken += result != 0;
	output->left--;
	if (output->lines.used >= FLUSH_BYTES)
		(void)tap_flush(output);
}

int tap_finish(struct tap_output *output, const char *what)
{
	(void)tap_flush(output);
	if (output->broken > 0)
		fprintf(stderr,
		        "millrace tap: %" PRIu64 " %s are not what their type says and were left out\n",
		        output->broken, what);
	if (output->error != 0 && output->error != -EPIPE && output->error != -EINTR)
		return command_fail("tap", "standard output: %s", strerror(-output->error));
	return 0;
}

/* ---- the last N ---- */

struct found {
	uint64_t arrival_ns;
	uint64_t back; /* records between it and the end of its lane */
	uint64_t position;
	unsigned lane;
};

struct list {
	struct found *item;
	size_t n, room;
};

static bool append(struct list *list, const struct found *found)
{
	if (list->n == list->room) {
		size_t room = list->room == 0 ? 4096 : 2 * list->room;
		struct found *item = reallocarray(list->item, room, sizeof *item);
		if (item == NULL)
			return false;
		list->item = item;
		list->room = room;
	}
	list->item[list->n++] = *found;
	return true;
}

/* Newest first. Records without a time (from outside programs) are ordered by their distance from
 * the end of their lane. */
static int newest_first(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	if (x->arrival_ns != y->arrival_ns)
		return x->arrival_ns < y->arrival_ns ? 1 : -1;
	return (x->back > y->back) - (x->back < y->back);
}

/* Lists the last n records of one lane, with a private reader that has no group. */
static int scan(const struct topic_reader *reader, unsigned lane, uint64_t n, struct list *list,
                struct shm_error *error)
{
	const struct instance *instance = reader->instance;
	char name[SEGMENT_NAME_MAX];
	struct stream_cursor cursor = {0};
	struct stream_reader own;
	instance_lane_name(name, instance->page->topic[reader->topic].name, lane);
	int result =
	        stream_reader_attach(&own, instance->directory, name, &cursor, true, STREAM_FROM_TAIL, error);
	if (result != 0)
		return result;
	uint64_t end = own.position;
	size_t first = list->n;
	(void)stream_reader_rewind(&own, n);
	struct record_batch batch;
	while (result == 0 && own.position < end && stream_peek(&own, &batch)) {
		uint64_t records = 0, position = batch.position;
		const struct record *record;
		while (result == 0 && position < end && (record = record_next(&batch)) != NULL) {
			struct found found = {.position = position, .lane = lane};
			if (record->type < EVENT_OUTSIDE && event_check(record))
				found.arrival_ns = ((const struct event_head *)(const void *)record->payload)
				                           ->arrival_ns;
			if (!append(list, &found))
				result = -ENOMEM;
			position = batch.position;
			records++;
		}
		stream_pass(&own, &batch, records);
	}
	stream_reader_detach(&own);
	for (size_t i = first; i < list->n; i++)
		list->item[i].back = list->n - i;
	return result;
}

/* Finds where the last N records of a topic begin, over all its lanes.
 *
 *     lane 0   . . . . . |x x x          N = 5: the five newest by their time of arrival,
 *     lane 1   . . . . . . . |x x        in any lane; older records between them are skipped
 *                        ^     ^
 *                     start  start
 *
 * Moves a reader that has not read yet back by up to n records in each lane. Sets start[] to the
 * position in each lane before which the caller skips records. Returns 0, -ENOMEM, or as
 * segment_attach. */
static int last_records(struct topic_reader *reader, uint64_t n, uint64_t start[STREAM_LANES_MAX],
                        struct shm_error *error)
{
	struct list list = {0};
	int result = 0;
	for (unsigned lane = 0; lane < reader->n_lanes; lane++) {
		(void)stream_reader_rewind(&reader->lane[lane], n);
		start[lane] = 0;
	}
	if (reader->n_lanes == 1)
		return 0;
	for (unsigned lane = 0; result == 0 && lane < reader->n_lanes; lane++)
		result = scan(reader, lane, n, &list, error);
	if (result == 0 && list.n > n) {
		/* The kept records of a lane are its newest, so it starts at the oldest kept
		 * one. */
		qsort(list.item, list.n, sizeof *list.item, newest_first);
		bool kept[STREAM_LANES_MAX] = {false};
		for (size_t i = 0; i < list.n; i++) {
			const struct found *found = &list.item[i];
			if (i < n && (!kept[found->lane] || found->position < start[found->lane])) {
				start[found->lane] = found->position;
				kept[found->lane] = true;
			} else if (!kept[found->lane] && found->position >= start[found->lane]) {
				start[found->lane] = found->position + 1; /* after all that exist */
			}
		}
	}
	free(list.item);
	return result;
}

/* ---- reading a topic ---- */

struct tap {
	const struct tap_options *options;
	struct tap_output output;
	struct instance instance;
	struct life_watch life;
	struct command_follow follow;
	bool down; /* no supervisor ran the instance at the start: do not follow it */
	struct topic_reader reader;
	uint64_t start[STREAM_LANES_MAX]; /* skip records before it */
	uint64_t end[STREAM_LANES_MAX];   /* with no_follow: ignore records from here on */
	uint64_t generation;              /* of the instance attached to last, 0 before the first */
	unsigned n_lanes;                 /* of that instance */
	uint64_t missed;                  /* by readers detached since */
};

/* Handles one batch. True while more records are wanted. */
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

/* Sets where a tap begins: now, or some records back. */
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

/* After the instance's page was replaced: goes on where the tap was, and reads new lanes from their
 * beginning. */
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

/* Reads until enough is printed, a signal comes, or the instance ends or is replaced. */
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
			status = 1; /* the user asked for new events, and none will come */
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

/* Only tracking events have a line. The types in an outside program's topic are unknown until they
 * come. */
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

/* Returns ARGUMENTS_GO_ON, or EXIT_USAGE after it printed the fault. */
static int read_filters(const struct arguments *arguments, struct filters *filters,
                        const struct argument_list *list, const char *topic)
{
	struct filters_why why;
	if (filters_init(filters, flow_topic_type(topic), topic, list->item, list->n, &why) == 0)
		return ARGUMENTS_GO_ON;
	return arguments_error(arguments, "--filter: %s", why.text);
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
	status = read_filters(&arguments, &filters, &filter_list, options.topic);
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
