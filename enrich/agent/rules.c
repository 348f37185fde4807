#include "enrich/agent/rules.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

#include "base/text.h"

#define TEXT_BLOCK_BYTES 65536u

/* Strings live as long as the rules; they are freed together. */
struct rules_text {
	struct rules_text *next;
	size_t used, size;
	char bytes[];
};

struct list {
	struct rule *rule;
	uint32_t n, room;
	bool seen;
};

struct reading {
	const char *name; /* of the file, in errors */
	yaml_parser_t parser;
	yaml_event_t event;
	struct list list[RULE_LISTS];
	struct rules_text *text;
	char *error;
};

static const char *const list_names[RULE_LISTS] = {"user_agent_parsers", "os_parsers", "device_parsers"};

static const char *const field_keys[RULE_LISTS][RULE_FIELDS] = {
        {"family_replacement", "v1_replacement", "v2_replacement", "v3_replacement", "v4_replacement"},
        {"os_replacement", "os_v1_replacement", "os_v2_replacement", "os_v3_replacement",
         "os_v4_replacement"},
        {"device_replacement", "brand_replacement", "model_replacement"},
};

const char *rules_list_name(enum rule_list list)
{
	return list_names[list];
}

unsigned rules_fields(enum rule_list list)
{
	return list == RULE_DEVICE ? 3 : RULE_FIELDS;
}

unsigned rules_default_group(enum rule_list list, unsigned field)
{
	if (list == RULE_DEVICE)
		return field == 1 ? 0 : 1;
	return field + 1;
}

/* ---- errors ---- */

/* One line, whatever the file's words are: controls in them come out as text_plain has them. */
__attribute__((format(printf, 3, 4))) static int fail(struct reading *reading, uint32_t line,
                                                      const char *format, ...)
{
	char said[RULES_ERROR_BYTES], plain[4 * sizeof said + 1] = "";
	struct text text = {.at = plain, .end = plain + sizeof plain - 1};
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(said, sizeof said, format, arguments);
	va_end(arguments);
	text_plain(&text, (const unsigned char *)said, strlen(said));
	*text.at = '\0';
	if (line != 0)
		snprintf(reading->error, RULES_ERROR_BYTES, "%s:%u: %.400s", reading->name, line, plain);
	else
		snprintf(reading->error, RULES_ERROR_BYTES, "%s: %.400s", reading->name, plain);
	return -EINVAL;
}

static int fail_memory(struct reading *reading)
{
	fail(reading, 0, "out of memory");
	return -ENOMEM;
}

static uint32_t line_of(const struct reading *reading)
{
	return (uint32_t)reading->event.start_mark.line + 1;
}

/* ---- YAML ---- */

/* The next event, in place of the one before. */
static int next(struct reading *reading)
{
	yaml_event_delete(&reading->event);
	if (yaml_parser_parse(&reading->parser, &reading->event))
		return 0;
	const yaml_parser_t *parser = &reading->parser;
	memset(&reading->event, 0, sizeof reading->event);
	if (parser->error == YAML_MEMORY_ERROR)
		return fail_memory(reading);
	size_t line = parser->error == YAML_READER_ERROR ? parser->mark.line : parser->problem_mark.line;
	return fail(reading, (uint32_t)line + 1, "not YAML: %s",
	            parser->problem ? parser->problem : "unreadable");
}

static int expect(struct reading *reading, yaml_event_type_t type, const char *what)
{
	int error = next(reading);
	if (error == 0 && reading->event.type != type)
		error = fail(reading, line_of(reading), "%s expected", what);
	return error;
}

static const char *scalar(const struct reading *reading)
{
	return (const char *)reading->event.data.scalar.value;
}

/* A copy of the scalar at hand; NULL when out of memory. */
static const char *keep(struct reading *reading)
{
	size_t bytes = reading->event.data.scalar.length + 1;
	struct rules_text *text = reading->text;
	if (!text || text->size - text->used < bytes) {
		size_t size = bytes > TEXT_BLOCK_BYTES ? bytes : TEXT_BLOCK_BYTES;
		struct rules_text *block = malloc(sizeof *block + size);
		if (!block)
			return NULL;
		*block = (struct rules_text){.next = text, .size = size};
		reading->text = text = block;
	}
	char *copy = text->bytes + text->used;
	memcpy(copy, scalar(reading), bytes);
	text->used += bytes;
	return copy;
}

/* ---- one rule ---- */

static struct rule *add_rule(struct list *list)
{
	if (list->n == list->room) {
		uint32_t room = list->room ? 2 * list->room : 256;
		struct rule *rule = realloc(list->rule, room * sizeof *rule);
		if (!rule)
			return NULL;
		list->rule = rule;
		list->room = room;
	}
	struct rule *rule = &list->rule[list->n++];
	*rule = (struct rule){.number = list->n};
	return rule;
}

static int fail_key(struct reading *reading, const struct rule *rule, const char *key)
{
	char allowed[160];
	size_t at = 0;
	for (unsigned i = 0; i < rules_fields(rule->list); i++)
		at += (size_t)snprintf(allowed + at, sizeof allowed - at, ", %s", field_keys[rule->list][i]);
	return fail(reading, line_of(reading),
	            "%s rule %u: \"%.64s\" is not a key; allowed: regex, regex_flag%s",
	            list_names[rule->list], rule->number, key, allowed);
}

/* Where the value of a key goes; NULL with an error when there is no such key. `flag` stands for
 * regex_flag. */
static const char **place_of(struct reading *reading, struct rule *rule, const char *key, const char **flag)
{
	if (strcmp(key, "regex") == 0)
		return &rule->regex;
	if (strcmp(key, "regex_flag") == 0)
		return flag;
	for (unsigned i = 0; i < rules_fields(rule->list); i++)
		if (strcmp(key, field_keys[rule->list][i]) == 0)
			return &rule->replacement[i];
	fail_key(reading, rule, key);
	return NULL;
}

/* The key is at hand. */
static int read_pair(struct reading *reading, struct rule *rule, const char **flag)
{
	const char *list = list_names[rule->list];
	if (reading->event.type != YAML_SCALAR_EVENT)
		return fail(reading, line_of(reading), "%s rule %u: a key expected", list, rule->number);
	char key[32];
	snprintf(key, sizeof key, "%s", scalar(reading));
	const char **place = place_of(reading, rule, key, flag);
	if (!place)
		return -EINVAL;
	if (*place)
		return fail(reading, line_of(reading), "%s rule %u: %s: there twice", list, rule->number,
		            key);
	int error = next(reading);
	if (error != 0)
		return error;
	if (reading->event.type != YAML_SCALAR_EVENT)
		return fail(reading, line_of(reading), "%s rule %u: %s: a text expected", list, rule->number,
		            key);
	if (strlen(scalar(reading)) != reading->event.data.scalar.length)
		return fail(reading, line_of(reading), "%s rule %u: %s: holds a zero byte", list,
		            rule->number, key);
	*place = keep(reading);
	return *place ? 0 : fail_memory(reading);
}

/* The mapping's begin is at hand. */
static int read_rule(struct reading *reading, enum rule_list list)
{
	struct rule *rule = add_rule(&reading->list[list]);
	if (!rule)
		return fail_memory(reading);
	rule->list = (uint8_t)list;
	rule->line = line_of(reading);
	if (reading->event.type != YAML_MAPPING_START_EVENT)
		return fail(reading, rule->line, "%s rule %u: a section with regex expected",
		            list_names[list], rule->number);
	const char *flag = NULL;
	int error = next(reading);
	while (error == 0 && reading->event.type != YAML_MAPPING_END_EVENT) {
		error = read_pair(reading, rule, &flag);
		if (error == 0)
			error = next(reading);
	}
	if (error != 0)
		return error;
	if (!rule->regex)
		return fail(reading, rule->line, "%s rule %u: regex: missing", list_names[list],
		            rule->number);
	if (flag && strcmp(flag, "i") != 0)
		return fail(reading, rule->line,
		            "%s rule %u: regex_flag: \"%.16s\" is not a flag; allowed: i", list_names[list],
		            rule->number, flag);
	rule->caseless = flag != NULL;
	return 0;
}

/* ---- the file ---- */

/* The list's name is at hand. */
static int read_list(struct reading *reading)
{
	unsigned list = 0;
	if (reading->event.type != YAML_SCALAR_EVENT)
		return fail(reading, line_of(reading), "the name of a list expected");
	while (list < RULE_LISTS && strcmp(scalar(reading), list_names[list]) != 0)
		list++;
	if (list == RULE_LISTS)
		return fail(reading, line_of(reading), "\"%.64s\" is not a list; allowed: %s, %s, %s",
		            scalar(reading), list_names[RULE_AGENT], list_names[RULE_OS],
		            list_names[RULE_DEVICE]);
	if (reading->list[list].seen)
		return fail(reading, line_of(reading), "%s: there twice", list_names[list]);
	reading->list[list].seen = true;
	int error = expect(reading, YAML_SEQUENCE_START_EVENT, "a list of rules");
	if (error == 0)
		error = next(reading);
	while (error == 0 && reading->event.type != YAML_SEQUENCE_END_EVENT) {
		error = read_rule(reading, list);
		if (error == 0)
			error = next(reading);
	}
	return error;
}

static int read_document(struct reading *reading)
{
	int error = expect(reading, YAML_STREAM_START_EVENT, "a document");
	if (error == 0)
		error = expect(reading, YAML_DOCUMENT_START_EVENT, "a document");
	if (error == 0)
		error = expect(reading, YAML_MAPPING_START_EVENT,
		               "user_agent_parsers, os_parsers or device_parsers");
	if (error == 0)
		error = next(reading);
	while (error == 0 && reading->event.type != YAML_MAPPING_END_EVENT) {
		error = read_list(reading);
		if (error == 0)
			error = next(reading);
	}
	if (error == 0)
		error = expect(reading, YAML_DOCUMENT_END_EVENT, "the end of the document");
	if (error == 0)
		error = expect(reading, YAML_STREAM_END_EVENT, "the end of the file");
	return error;
}

/* The whole file, malloced. It is read at once because a file that changes meanwhile must not be
 * half of each. */
static int read_file(struct reading *reading, const char *path, unsigned char **data, size_t *bytes)
{
	/* O_NONBLOCK: a pipe without a writer must not hold up the start. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat stat = {.st_size = 0};
	int error = fd < 0 || fstat(fd, &stat) != 0 ? -errno : 0;
	if (error == 0 && !S_ISREG(stat.st_mode))
		error = -EISDIR;
	if (error == 0 && (uint64_t)stat.st_size > RULES_FILE_MAX)
		error = -EFBIG;
	size_t size = error == 0 ? (size_t)stat.st_size : 0;
	*bytes = 0;
	*data = error == 0 ? malloc(size + 1) : NULL;
	if (error == 0 && !*data)
		error = -ENOMEM;
	while (error == 0 && *bytes < size) {
		ssize_t n = read(fd, *data + *bytes, size - *bytes);
		if (n == 0)
			break;
		if (n < 0 && errno != EINTR)
			error = -errno;
		*bytes += n > 0 ? (size_t)n : 0;
	}
	if (fd >= 0)
		close(fd);
	if (error != 0)
		fail(reading, 0, "%s", error == -EISDIR ? "not a file" : strerror(-error));
	return error;
}

/* The three lists, one after the other. */
static int join(struct reading *reading, struct rules *rules)
{
	uint32_t n = 0;
	for (unsigned list = 0; list < RULE_LISTS; list++)
		n += reading->list[list].n;
	if (n == 0)
		return fail(reading, 0, "no rule in it");
	rules->rule = malloc(n * sizeof *rules->rule);
	if (!rules->rule)
		return fail_memory(reading);
	for (unsigned list = 0; list < RULE_LISTS; list++) {
		const struct list *part = &reading->list[list];
		rules->first[list] = rules->n;
		if (part->n > 0)
			memcpy(rules->rule + rules->n, part->rule, part->n * sizeof *part->rule);
		rules->n += part->n;
	}
	rules->first[RULE_LISTS] = n;
	return 0;
}

int rules_load(struct rules *rules, const char *path, char error[RULES_ERROR_BYTES])
{
	struct reading reading = {.name = path, .error = error};
	unsigned char *data = NULL;
	size_t bytes;
	*rules = (struct rules){.n = 0};
	error[0] = 0;
	int result = read_file(&reading, path, &data, &bytes);
	if (result == 0 && !yaml_parser_initialize(&reading.parser))
		result = fail_memory(&reading);
	if (result == 0) {
		yaml_parser_set_input_string(&reading.parser, data, bytes);
		result = read_document(&reading);
		yaml_event_delete(&reading.event);
		yaml_parser_delete(&reading.parser);
	}
	if (result == 0)
		result = join(&reading, rules);
	rules->text = reading.text;
	rules->path = strdup(path);
	if (result == 0 && !rules->path)
		result = fail_memory(&reading);
	for (unsigned list = 0; list < RULE_LISTS; list++)
		free(reading.list[list].rule);
	free(data);
	if (result != 0)
		rules_fini(rules);
	return result;
}

void rules_fini(struct rules *rules)
{
	while (rules->text) {
		struct rules_text *next_text = rules->text->next;
		free(rules->text);
		rules->text = next_text;
	}
	free(rules->rule);
	free(rules->path);
	*rules = (struct rules){.n = 0};
}
