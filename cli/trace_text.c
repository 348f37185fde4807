/* The trace as lines for people: what trace.h makes, in the order of the event's way. */
#include "cli/trace.h"

#include <inttypes.h>
#include <string.h>

#include "base/moment.h"
#include "base/text.h"
#include "cli/command.h"

#define CELL 700u /* bytes of a text that is shown */

static const char *text_of(const json_t *json, const char *key)
{
	const char *text = json_string_value(json_object_get(json, key));
	return text != NULL ? text : "";
}

static json_int_t number_of(const json_t *json, const char *key)
{
	return json_integer_value(json_object_get(json, key));
}

/* A text that came from outside, without what a terminal would obey. */
static const char *plain(char out[6 * CELL + 1], const char *from)
{
	struct text text = {.at = out, .end = out + 6 * CELL};
	text_plain(&text, (const unsigned char *)from, strnlen(from, CELL));
	*text.at = '\0';
	return out;
}

static void print_time(FILE *out, const char *name, json_int_t ms)
{
	char time[MOMENT_BYTES];
	if (ms != 0)
		fprintf(out, "  %-10s %s.%03d\n", name, moment_show(time, ms), (int)(ms % 1000));
}

/* ---- readers ---- */

/* What it means that a stage has finished with an event. */
static const char *done_by(const char *stage)
{
	static const char *const words[][2] = {
	        {"enrich", "enriched"},
	        {"tally", "counted"},
	        {"file", "written"},
	        {"kafka", "the cluster has confirmed it"},
	        {"objects", "taken into an object"},
	};
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (strcmp(stage, words[i][0]) == 0)
			return words[i][1];
	return "read";
}

static void print_object(FILE *out, const json_t *object)
{
	char name[6 * CELL + 1], time[MOMENT_BYTES];
	const char *state = text_of(object, "state"), *path = text_of(object, "path");
	const char *called = path[0] != '\0' ? path : text_of(object, "name");
	fprintf(out, "%s", called[0] != '\0' ? plain(name, called) : "an object without a name yet");
	if (strcmp(state, "stored") == 0)
		fprintf(out, ", in the store since %s\n", moment_show(time, number_of(object, "stored_ts")));
	else
		fprintf(out, ", %s, lines: %" JSON_INTEGER_FORMAT "\n",
		        strcmp(state, "open") == 0 ? "open" : "on its way to the store",
		        number_of(object, "lines"));
}

static void print_objects(FILE *out, const json_t *where)
{
	char key[6 * CELL + 1];
	const json_t *objects = json_object_get(where, "objects"), *object;
	size_t i;
	if (where == NULL)
		return;
	if (text_of(where, "key")[0] != '\0')
		fprintf(out, "  %-10s key %s\n", "", plain(key, text_of(where, "key")));
	json_array_foreach(objects, i, object)
	{
		fprintf(out, "  %-10s %s ", "",
		        json_is_true(json_object_get(where, "sure")) ? "in"
		        : i == 0                                     ? "in one of"
		                                                     : "         ");
		print_object(out, object);
	}
	if (text_of(where, "note")[0] != '\0')
		fprintf(out, "  %-10s %s\n", "", text_of(where, "note"));
}

static void print_reader(FILE *out, const json_t *reader)
{
	char name[6 * CELL + 1];
	const char *state = text_of(reader, "state"), *stage = text_of(reader, "stage");
	const json_t *before = json_object_get(reader, "records_before");
	fprintf(out, "  %-10s ", plain(name, text_of(reader, "group")));
	if (strcmp(state, "done") == 0)
		fprintf(out, "%s\n", done_by(stage));
	else if (strcmp(state, "waiting") == 0 && before != NULL && json_integer_value(before) == 0)
		fprintf(out, "not yet: it is the next\n");
	else if (strcmp(state, "waiting") == 0 && before != NULL)
		fprintf(out, "not yet: %" JSON_INTEGER_FORMAT " events are before it\n",
		        json_integer_value(before));
	else if (strcmp(state, "waiting") == 0)
		fprintf(out, "not yet: %" JSON_INTEGER_FORMAT " bytes are before it\n",
		        number_of(reader, "bytes_before"));
	else if (strcmp(state, "filtered") == 0)
		fprintf(out, "left out by its filter\n");
	else if (strcmp(state, "began later") == 0)
		fprintf(out, "began to read after it\n");
	else if (strcmp(state, "missed") == 0)
		fprintf(out, "has not read it and can no longer\n");
	else
		fprintf(out,
		        "has passed it: %s, unless it is among those that it missed or was before its begin\n",
		        done_by(stage));
	print_objects(out, json_object_get(reader, "object"));
}

/* ---- records ---- */

static void print_event(FILE *out, const json_t *event)
{
	if (event == NULL)
		return;
	fputs("  ", out);
	if (command_print_json(event, JSON_COMPACT, out) != 0)
		fputc('\n', out);
}

static void print_record(FILE *out, const json_t *record)
{
	const char *role = text_of(record, "role");
	const json_t *readers = json_object_get(record, "readers"), *reader;
	size_t i;
	fprintf(out, "%s, lane %" JSON_INTEGER_FORMAT " (%s), position %" JSON_INTEGER_FORMAT "%s\n",
	        text_of(record, "topic"), number_of(record, "lane"),
	        role[0] != '\0' ? role : "an outside program", number_of(record, "position"),
	        strcmp(text_of(record, "state"), "held") == 0 ? "" : ": overwritten");
	print_time(out, "arrived", number_of(record, "arrived_ts"));
	print_time(out, "began", number_of(record, "began_ts"));
	print_time(out, "enriched", number_of(record, "enriched_ts"));
	json_array_foreach(readers, i, reader) print_reader(out, reader);
	if (json_array_size(readers) == 0)
		fprintf(out, "  nobody reads it\n");
	print_event(out, json_object_get(record, "event"));
}

/* ---- postbacks ---- */

static void print_known(FILE *out, const json_t *postback)
{
	char text[6 * CELL + 1];
	if (postback == NULL)
		return;
	print_time(out, "dead since", number_of(postback, "dead_ts"));
	if (text_of(postback, "reason")[0] != '\0')
		fprintf(out, "  %-10s %s\n", "reason", plain(text, text_of(postback, "reason")));
	print_time(out, "due", number_of(postback, "due_ts"));
	fprintf(out, "  %-10s %s %s\n", "goes to", text_of(postback, "method"),
	        plain(text, text_of(postback, "url")));
	fprintf(out, "  %-10s %" JSON_INTEGER_FORMAT "\n", "attempts", number_of(postback, "attempts"));
}

/* The attempts of which deliver.db has the history: also those that no lane has any more. */
static void print_history(FILE *out, const json_t *history)
{
	char text[6 * CELL + 1];
	const json_t *one;
	size_t i;
	json_array_foreach(history, i, one)
	{
		print_time(out, "attempt", number_of(one, "at"));
		if (number_of(one, "status") != 0)
			fprintf(out,
			        "  %-10s answer %" JSON_INTEGER_FORMAT " after %" JSON_INTEGER_FORMAT " ms\n",
			        "", number_of(one, "status"), number_of(one, "ms"));
		else
			fprintf(out, "  %-10s %s\n", "", plain(text, text_of(one, "error")));
	}
}

static void print_attempt(FILE *out, const json_t *attempt)
{
	char text[6 * CELL + 1];
	const json_t *event = json_object_get(attempt, "event");
	fprintf(out, "attempt %" JSON_INTEGER_FORMAT ": %s, ", number_of(event, "attempt"),
	        text_of(event, "outcome"));
	if (number_of(event, "status") != 0)
		fprintf(out, "answer %" JSON_INTEGER_FORMAT " after %" JSON_INTEGER_FORMAT " us\n",
		        number_of(event, "status"), number_of(event, "total_us"));
	else
		fprintf(out, "%s\n", plain(text, text_of(event, "error")));
	print_record(out, attempt);
}

static void print_postback(FILE *out, const json_t *root)
{
	const json_t *attempts = json_object_get(root, "attempts"), *attempt;
	const json_t *postback = json_object_get(root, "postback");
	size_t i;
	fprintf(out, "postback %s: %s\n", text_of(root, "id"), text_of(root, "state"));
	print_time(out, "arrived", number_of(root, "arrived_ts"));
	print_known(out, postback);
	if (json_array_size(attempts) == 0)
		print_history(out, json_object_get(postback, "history"));
	json_array_foreach(attempts, i, attempt) print_attempt(out, attempt);
}

void trace_print(const json_t *root, FILE *out)
{
	const json_t *records = json_object_get(root, "records"), *notes = json_object_get(root, "notes"),
	             *one;
	size_t i;
	if (!json_is_true(json_object_get(root, "known")))
		fprintf(out, "%s: nothing is known of it\n", text_of(root, "id"));
	else if (records == NULL)
		print_postback(out, root);
	json_array_foreach(records, i, one) print_record(out, one);
	json_array_foreach(notes, i, one) fprintf(out, "note: %s\n", json_string_value(one));
}
