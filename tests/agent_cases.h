/* uap-core's own test files, as the tests of enrich/agent and their benchmark read them.
 *
 *     test_ua.yaml test_os.yaml test_device.yaml   in MILLRACE_UAP_CORE, else ../shared/uap-core
 *     regexes.yaml                                 MILLRACE_REGEXES, else data/regexes.yaml, else that of Debian's package uap-core
 */
#ifndef TESTS_AGENT_CASES_H
#define TESTS_AGENT_CASES_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include "enrich/agent/agent.h"

struct agent_case {
	enum rule_list list;
	char *text;
	char *expected[RULE_FIELDS]; /* NULL: undefined */
	bool given[RULE_FIELDS];     /* the case says something of the field */
};

struct agent_cases {
	struct agent_case *item;
	unsigned n, room;
};

static inline const char *agent_cases_rules(void)
{
	static const char debian[] = "/usr/share/uap-core/regexes.yaml";
	const char *given = getenv("MILLRACE_REGEXES");
	if (given)
		return access(given, R_OK) == 0 ? given : NULL;
	if (access("data/regexes.yaml", R_OK) == 0)
		return "data/regexes.yaml";
	return access(debian, R_OK) == 0 ? debian : NULL;
}

/* Whether the rules are those that the test files belong to. */
static inline bool agent_cases_rules_are(const char *rules, const char *from)
{
	char path[4096], line[128] = "";
	snprintf(path, sizeof path, "%s.from", rules);
	FILE *file = fopen(path, "r");
	if (!file)
		return getenv("MILLRACE_REGEXES") != NULL; /* the caller knows */
	bool same = fgets(line, sizeof line, file) && strncmp(line, from, strlen(from)) == 0;
	fclose(file);
	return same;
}

static inline const char *agent_cases_folder(void)
{
	const char *given = getenv("MILLRACE_UAP_CORE");
	return given ? given : "../shared/uap-core";
}

static inline struct agent_case *agent_cases_add(struct agent_cases *cases, enum rule_list list)
{
	if (cases->n == cases->room) {
		cases->room = cases->room ? 2 * cases->room : 1024;
		cases->item = realloc(cases->item, cases->room * sizeof *cases->item);
		if (!cases->item)
			abort();
	}
	cases->item[cases->n] = (struct agent_case){.list = list};
	return &cases->item[cases->n++];
}

/* Files one pair of a case. False: a key that no case has. */
static inline bool agent_cases_set(struct agent_case *item, const char *key, const yaml_event_t *value)
{
	static const char *const keys[2][RULE_FIELDS] = {{"family", "major", "minor", "patch", "patch_minor"},
	                                                 {"family", "brand", "model", "", ""}};
	const char *text = (const char *)value->data.scalar.value;
	if (strcmp(key, "user_agent_string") == 0) {
		item->text = strdup(text);
		return item->text;
	}
	for (unsigned i = 0; i < RULE_FIELDS; i++) {
		if (strcmp(key, keys[item->list == RULE_DEVICE][i]) != 0)
			continue;
		bool null = value->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
		            (*text == 0 || strcmp(text, "null") == 0 || strcmp(text, "~") == 0);
		item->given[i] = true;
		item->expected[i] = null ? NULL : strdup(text);
		return true;
	}
	return strcmp(key, "js_ua") == 0; /* for browsers that ask JavaScript: no part of the specification */
}

/* Adds the cases of an open file: test_cases: a list of flat sections. False when it is not of that form. */
static inline bool agent_cases_read(struct agent_cases *cases, FILE *file, enum rule_list list)
{
	yaml_parser_t parser;
	yaml_event_t event;
	struct agent_case *item = NULL;
	char key[64] = "";
	bool good = true, over = false, keyed = false;
	if (!yaml_parser_initialize(&parser))
		return false;
	yaml_parser_set_input_file(&parser, file);
	for (unsigned depth = 0; good && !over;) {
		good = yaml_parser_parse(&parser, &event);
		if (!good)
			break;
		over = event.type == YAML_STREAM_END_EVENT;
		depth += event.type == YAML_MAPPING_START_EVENT;
		depth -= event.type == YAML_MAPPING_END_EVENT;
		if (event.type == YAML_MAPPING_START_EVENT && depth == 2)
			item = agent_cases_add(cases, list);
		if (event.type == YAML_SCALAR_EVENT && depth == 2) {
			if (keyed)
				good = agent_cases_set(item, key, &event);
			else
				snprintf(key, sizeof key, "%s", event.data.scalar.value);
			keyed = !keyed;
		}
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);
	return good;
}

/* Adds all cases of the three files, in the order of the lists. Returns 0; 1 when the files are not there; -1 when one is wrong. */
static inline int agent_cases_load(struct agent_cases *cases)
{
	static const char *const names[RULE_LISTS] = {"test_ua.yaml", "test_os.yaml", "test_device.yaml"};
	for (unsigned list = 0; list < RULE_LISTS; list++) {
		char path[4096];
		snprintf(path, sizeof path, "%s/%s", agent_cases_folder(), names[list]);
		FILE *file = fopen(path, "rb");
		if (!file)
			return 1;
		bool good = agent_cases_read(cases, file, list);
		fclose(file);
		if (!good)
			return -1;
	}
	return 0;
}

static inline void agent_cases_free(struct agent_cases *cases)
{
	for (unsigned i = 0; i < cases->n; i++) {
		free(cases->item[i].text);
		for (unsigned field = 0; field < RULE_FIELDS; field++)
			free(cases->item[i].expected[field]);
	}
	free(cases->item);
	*cases = (struct agent_cases){.n = 0};
}

#endif
