#include "enrich/agent/agent.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "enrich/agent/derive.h"
#include "enrich/agent/words.h"

/* A field before it is cut: whatever groups hold, and then some text of the rule's own. */
#define EXPANDED_MAX 1024u

struct agent_engine {
	struct rules rules;
	struct matcher *matcher;
	size_t longest;
};

static const enum agent_field first_field[RULE_LISTS] = {AGENT_FAMILY, AGENT_OS_FAMILY, AGENT_DEVICE_FAMILY};

const char *agent_type_name(enum agent_type type)
{
	static const char *const names[] = {
#define TYPE(symbol, name) name,
	        AGENT_TYPES(TYPE)
#undef TYPE
	};
	return type < AGENT_TYPE_COUNT ? names[type] : names[AGENT_OTHER];
}

const char *agent_draws_name(enum agent_draws draws)
{
	static const char *const names[] = {
#define ENGINE(symbol, name) name,
	        AGENT_ENGINES(ENGINE)
#undef ENGINE
	};
	return draws < AGENT_DRAWS_COUNT ? names[draws] : names[AGENT_DRAWS_OTHER];
}

struct agent_engine *agent_engine_create(const char *path, size_t longest, char error[RULES_ERROR_BYTES])
{
	if (longest < AGENT_LONGEST_MIN || longest > AGENT_LONGEST_MAX) {
		snprintf(error, RULES_ERROR_BYTES, "longest agent: %zu bytes; allowed: %u to %u", longest,
		         AGENT_LONGEST_MIN, AGENT_LONGEST_MAX);
		return NULL;
	}
	snprintf(error, RULES_ERROR_BYTES, "out of memory");
	struct agent_engine *engine = calloc(1, sizeof *engine);
	if (!engine)
		return NULL;
	engine->longest = longest;
	int result = path ? rules_load(&engine->rules, path, error) : 0;
	uint32_t n_marks;
	const char *const *marks = words_marks(&n_marks);
	if (result == 0)
		engine->matcher = matcher_create(&engine->rules, marks, n_marks, error);
	if (engine->matcher)
		return engine;
	agent_engine_destroy(engine);
	return NULL;
}

void agent_engine_destroy(struct agent_engine *engine)
{
	if (!engine)
		return;
	matcher_destroy(engine->matcher);
	rules_fini(&engine->rules);
	free(engine);
}

struct matcher *agent_engine_matcher(struct agent_engine *engine)
{
	return engine->matcher;
}

const struct rules *agent_engine_rules(const struct agent_engine *engine)
{
	return &engine->rules;
}

/* ---- uap-core's fields ---- */

struct expanded {
	char text[EXPANDED_MAX];
	size_t bytes;
};

static void put(struct expanded *expanded, const char *text, size_t bytes)
{
	size_t room = sizeof expanded->text - expanded->bytes;
	if (bytes > room)
		bytes = room; /* far beyond what a field keeps */
	memcpy(expanded->text + expanded->bytes, text, bytes);
	expanded->bytes += bytes;
}

static void put_group(struct expanded *expanded, const struct matcher_match *match, const char *text,
                      unsigned group)
{
	if (group < match->groups && match->at[2 * group] != SIZE_MAX)
		put(expanded, text + match->at[2 * group], match->at[2 * group + 1] - match->at[2 * group]);
}

static void put_replacement(struct expanded *expanded, const struct matcher_match *match, const char *text,
                            const char *replacement)
{
	while (*replacement) {
		size_t plain = strcspn(replacement, "$");
		put(expanded, replacement, plain);
		replacement += plain;
		if (*replacement == 0)
			break;
		if (replacement[1] >= '1' && replacement[1] <= '9') {
			put_group(expanded, match, text, (unsigned)(replacement[1] - '0'));
			replacement += 2;
		} else {
			put(expanded, replacement++, 1);
		}
	}
}

static void trim(const char **text, size_t *bytes)
{
	while (*bytes > 0 && isspace((unsigned char)**text)) {
		(*text)++;
		(*bytes)--;
	}
	while (*bytes > 0 && isspace((unsigned char)(*text)[*bytes - 1]))
		(*bytes)--;
}

static void set_field(struct agent *agent, const struct matcher_match *match, const char *text, unsigned i)
{
	const struct rule *rule = match->rule;
	struct expanded expanded = {.bytes = 0};
	if (rule->replacement[i])
		put_replacement(&expanded, match, text, rule->replacement[i]);
	else if (rules_default_group(rule->list, i) > 0)
		put_group(&expanded, match, text, rules_default_group(rule->list, i));
	const char *value = expanded.text;
	if (rule->list == RULE_DEVICE)
		trim(&value, &expanded.bytes);
	derive_append(agent, first_field[rule->list] + i, value, expanded.bytes);
}

static void set_list(struct agent_engine *engine, enum rule_list list, const char *text, struct agent *agent)
{
	struct matcher_match match = matcher_first(engine->matcher, list);
	for (unsigned i = 0; match.rule && i < rules_fields(list); i++)
		set_field(agent, &match, text, i);
	if (agent->field[first_field[list]].bytes == 0)
		derive_append(agent, first_field[list], "Other", 5);
}

void agent_parse(struct agent_engine *engine, const char *text, size_t bytes, struct agent *agent)
{
	if (bytes > engine->longest)
		bytes = engine->longest;
	agent->used = offsetof(struct agent, text);
	memset(agent->field, 0, sizeof agent->field);
	matcher_pass(engine->matcher, text, bytes);
	for (unsigned list = 0; list < RULE_LISTS; list++)
		set_list(engine, list, text, agent);
	derive(engine->matcher, text, bytes, agent);
}
