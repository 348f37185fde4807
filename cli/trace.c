#include "cli/trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "cli/arguments.h"
#include "cli/command.h"

#define EXIT_UNKNOWN 3
#define HEX_DIGITS   16u

/* ---- ids ---- */

/* Lower case, as ids are shown; either case is taken. Returns what is after them, or NULL. */
static const char *read_generation(const char *at, uint64_t *generation)
{
	*generation = 0;
	for (unsigned i = 0; i < HEX_DIGITS; i++, at++) {
		int digit = hex_value(*at);
		if (digit < 0)
			return NULL;
		*generation = *generation << 4 | (unsigned)digit;
	}
	return at;
}

/* The decimal number between two places. */
static bool read_number(const char *from, const char *to, uint64_t *value)
{
	*value = 0;
	if (from == to || (*from == '0' && to - from > 1))
		return false;
	for (; from < to; from++) {
		unsigned digit = (unsigned)(*from - '0');
		if (digit > 9 || *value > (UINT64_MAX - digit) / 10)
			return false;
		*value = *value * 10 + digit;
	}
	return true;
}

/* <generation>-<topic>-<lane>-<position>; a topic's name may have dashes. */
static bool read_record_id(const char *text, struct trace_id *id)
{
	uint64_t lane;
	const char *end = text + strlen(text), *at = read_generation(text, &id->generation);
	if (at == NULL || *at != '-')
		return false;
	const char *topic = at + 1, *last = memrchr(topic, '-', (size_t)(end - topic));
	const char *middle = last != NULL ? memrchr(topic, '-', (size_t)(last - topic)) : NULL;
	if (middle == NULL || middle == topic || (size_t)(middle - topic) >= sizeof id->topic)
		return false;
	snprintf(id->topic, sizeof id->topic, "%.*s", (int)(middle - topic), topic);
	if (!segment_name_valid(id->topic) || !read_number(middle + 1, last, &lane) ||
	    lane >= STREAM_LANES_MAX || !read_number(last + 1, end, &id->position))
		return false;
	id->lane = (unsigned)lane;
	return true;
}

bool trace_id(const char *text, struct trace_id *id)
{
	*id = (struct trace_id){.postback = true};
	if (event_postback_parse_id(id->number, text, strlen(text)))
		return true;
	*id = (struct trace_id){.postback = false};
	return read_record_id(text, id);
}

void trace_note(struct trace *trace, const char *text, ...)
{
	char line[1024];
	va_list list;
	va_start(list, text);
	vsnprintf(line, sizeof line, text, list);
	va_end(list);
	(void)json_array_append_new(trace->notes, json_string(line));
}

/* ---- the command ---- */

struct options {
	const char *file, *instance;
	struct argument_list sets;
	bool json;
};

/* Returns 0, or the exit status: a record is nowhere but in the instance's memory and its sinks,
 * which that memory leads to. */
static int attach(struct trace *trace, const struct trace_id *id)
{
	struct shm_error error = {""};
	int result = instance_attach(&trace->instance, trace->name, SEGMENT_READ, &error);
	trace->running = result == 0;
	if (result == 0)
		return 0;
	if (!id->postback || result == -EINVAL)
		return command_no_instance("trace", trace->name, result, &error);
	trace_note(
	        trace,
	        "the memory of instance \"%s\" is not there or cannot be read (%s): only deliver.db was asked",
	        trace->name, error.text[0] != '\0' ? error.text : strerror(-result));
	return 0;
}

static int print(const json_t *root, bool json)
{
	int result = 0;
	if (json)
		result = command_print_json(root, JSON_INDENT(2), stdout);
	else
		trace_print(root, stdout);
	return result == 0 ? 0 : command_fail("trace", "%s", strerror(-result));
}

static int follow(struct trace *trace, const struct trace_id *id, const char *text, bool json)
{
	json_t *root = json_pack("{s:s, s:b}", "id", text, "known", 0);
	if (root == NULL)
		return command_fail("trace", "%s", strerror(ENOMEM));
	if (id->postback)
		trace_postback(trace, id, root);
	else
		trace_record(trace, id, root);
	if (json_array_size(trace->notes) > 0)
		(void)json_object_set(root, "notes", trace->notes);
	bool known = json_is_true(json_object_get(root, "known"));
	int status = print(root, json);
	json_decref(root);
	return status != 0 ? status : known ? 0 : EXIT_UNKNOWN;
}

int command_trace(int argc, char **argv)
{
	struct options options = {.instance = command_instance()};
	struct operands operands;
	struct trace_id id;
	const struct argument table[] = {
	        {"json", 0, ARGUMENT_FLAG, NULL, "print JSON", &options.json, 0, 0, NULL},
	        COMMAND_CONFIG_ARGUMENTS(options.file, options.sets, options.instance),
	};
	const struct arguments arguments = {
	        .command = "trace",
	        .usage = "ID [OPTION]...",
	        .purpose =
	                "Shows where an event has been, as far as that is still known: its lane and position, when it arrived\n"
	                "and was enriched, which readers have finished with it, the object that it is in; of a postback where\n"
	                "it waits, and its attempts with their answers.\n\n"
	                "ID is the \"id\" of an event as millrace tap and lines in objects have it, or the 32 digits of a postback.",
	        .exit_codes = "  3  nothing is known of it",
	        .example = "  millrace tap track --last 1 --no-follow\n"
	                   "  millrace trace 3e46c5e3af935cf5-track-0-176\n"
	                   "  millrace trace 3e46c5e3af935cf50000000100000007 --json",
	        .table = table,
	        .n = sizeof table / sizeof table[0],
	        .operands_min = 1,
	        .operands_max = 1,
	};
	int status = arguments_parse(&arguments, argc, argv, &operands);
	if (status != ARGUMENTS_GO_ON)
		return status;
	if (!trace_id(operands.item[0], &id))
		return arguments_error(
		        &arguments,
		        "\"%s\" is no id: it is GENERATION-TOPIC-LANE-POSITION, as events have it, or the 32 hexadecimal digits of a postback",
		        operands.item[0]);
	struct config *config = command_config("trace", options.file, &options.sets, options.instance);
	if (config == NULL)
		return 1;
	struct trace trace = {.name = options.instance, .config = config, .notes = json_array()};
	status = attach(&trace, &id);
	if (status == 0)
		status = follow(&trace, &id, operands.item[0], options.json);
	if (trace.running)
		instance_detach(&trace.instance);
	json_decref(trace.notes);
	config_free(config);
	return status;
}
