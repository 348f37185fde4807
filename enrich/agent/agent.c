#include "enrich/agent/agent.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "enrich/agent/words.h"

/* A field before it is cut: whatever groups hold, and then some text of the rule's own. */
#define EXPANDED_MAX 1024u

/* PCRE2's machine code on arm64 looks for two characters of an expression up to 15 bytes ahead, 16
 * bytes at a time, and looks at the end of the text only afterwards
 * (https://github.com/PCRE2Project/pcre2/issues/86; so in Debian 12): so many bytes after a text
 * must be readable. */
#define READ_BEYOND 64u

#define BLINK_SINCE 28u /* Chrome's version: https://www.chromium.org/blink/ */

#define SAID_TELEPHONE (SAID(MOBILE) | SAID(NETFRONT))
#define SAID_NOT_DESK  (SAID(TV) | SAID(TABLET) | SAID(MOBILE) | SAID(ANDROID) | SAID(CONSOLE))
/* Who says one of these says where it runs, or is excused. */
#define SAID_WHERE (SAID_NOT_DESK | SAID(DESKTOP) | SAID(NETFRONT) | SAID(CFNETWORK) | SAID(APPLICATION))

struct agent_engine {
	struct rules rules;
	struct matcher *matcher;
	size_t longest;
	char *text; /* of the agent; longest + READ_BEYOND bytes */
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
	engine->text = calloc(longest + READ_BEYOND, 1);
	int result = engine->text && path ? rules_load(&engine->rules, path, error) : 0;
	uint32_t n_marks;
	const char *const *marks = words_marks(&n_marks);
	if (engine->text && result == 0)
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
	free(engine->text);
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

/* Appends text to the agent and makes it the field: cut at AGENT_FIELD_MAX between characters. */
static void append(struct agent *agent, enum agent_field field, const char *text, size_t bytes)
{
	if (bytes > AGENT_FIELD_MAX) {
		bytes = AGENT_FIELD_MAX;
		for (unsigned i = 0; i < 3 && ((uint8_t)text[bytes] & 0xc0) == 0x80; i++)
			bytes--; /* text[bytes] would go on with a character of UTF-8 */
	}
	size_t at = agent->used - offsetof(struct agent, text);
	memcpy(agent->text + at, text, bytes);
	agent->field[field] = (struct agent_place){.at = (uint16_t)at, .bytes = (uint16_t)bytes};
	agent->used = (uint16_t)(agent->used + bytes);
}

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
	append(agent, first_field[rule->list] + i, value, expanded.bytes);
}

static void set_list(struct agent_engine *engine, enum rule_list list, const char *text, struct agent *agent)
{
	struct matcher_match match = matcher_first(engine->matcher, list);
	for (unsigned i = 0; match.rule && i < rules_fields(list); i++)
		set_field(agent, &match, text, i);
	if (agent->field[first_field[list]].bytes == 0)
		append(agent, first_field[list], "Other", 5);
}

/* ---- engine ---- */

/* Chrome's major version in the agent; UINT32_MAX when there is none that can be read. */
static uint32_t chrome_version(const char *text, size_t bytes)
{
	static const char name[] = "Chrome/";
	const char *end = text + bytes;
	const char *at = memmem(text, bytes, name, sizeof name - 1);
	if (!at)
		return UINT32_MAX;
	uint32_t version = 0;
	for (at += sizeof name - 1; at < end && *at >= '0' && *at <= '9' && version < 10000; at++)
		version = version * 10 + (uint32_t)(*at - '0');
	return version == 0 ? UINT32_MAX : version;
}

static enum agent_draws engine_of(uint32_t said, const char *text, size_t bytes)
{
	if (SAYS(said, MSIE) && !SAYS(said, OPERA))
		return AGENT_DRAWS_TRIDENT;
	if (SAYS(said, EDGE))
		return AGENT_DRAWS_EDGEHTML;
	if ((SAYS(said, PRESTO) || SAYS(said, OPERA)) && !SAYS(said, WEBKIT) && !SAYS(said, CHROME))
		return AGENT_DRAWS_PRESTO;
	if (SAYS(said, CHROME))
		return chrome_version(text, bytes) >= BLINK_SINCE ? AGENT_DRAWS_BLINK : AGENT_DRAWS_WEBKIT;
	static const struct {
		enum says word;
		enum agent_draws draws;
	} rest[] = {{SAYS_WEBKIT, AGENT_DRAWS_WEBKIT}, {SAYS_GOANNA, AGENT_DRAWS_GOANNA},
	            {SAYS_SERVO, AGENT_DRAWS_SERVO},   {SAYS_LADYBIRD, AGENT_DRAWS_LIBWEB},
	            {SAYS_KHTML, AGENT_DRAWS_KHTML},   {SAYS_NETFRONT, AGENT_DRAWS_NETFRONT},
	            {SAYS_GECKO, AGENT_DRAWS_GECKO}};
	for (unsigned i = 0; i < sizeof rest / sizeof *rest; i++)
		if (said >> rest[i].word & 1)
			return rest[i].draws;
	return AGENT_DRAWS_OTHER;
}

/* ---- type ---- */

static bool is(const struct agent *agent, enum agent_field field, const char *text)
{
	size_t bytes;
	const char *value = agent_text(agent, field, &bytes);
	return bytes == strlen(text) && memcmp(value, text, bytes) == 0;
}

bool agent_is_one_of(const struct agent *agent, enum agent_field field, const char *const *texts)
{
	for (; *texts; texts++)
		if (is(agent, field, *texts))
			return true;
	return false;
}

static bool starts(const char *text, size_t bytes, const char *with)
{
	size_t n = strlen(with);
	return bytes >= n && memcmp(text, with, n) == 0;
}

/* A device that is no computer on a desk. */
static bool has_device(const struct agent *agent, uint32_t said)
{
	static const char *const none[] = {"Other", "Mac", "Spider", NULL};
	if (is(agent, AGENT_DEVICE_FAMILY, "Generic Feature Phone"))
		return said & SAID_TELEPHONE;
	return !agent_is_one_of(agent, AGENT_DEVICE_FAMILY, none);
}

/* A browser called ...bot, as in PingdomBot and msnbot. */
static bool is_called_bot(const struct agent *agent)
{
	size_t bytes;
	const char *family = agent_text(agent, AGENT_FAMILY, &bytes);
	return bytes >= 3 && strncasecmp(family + bytes - 3, "bot", 3) == 0;
}

static bool is_bot(const struct agent *agent, uint32_t said, size_t bytes)
{
	if (is(agent, AGENT_DEVICE_FAMILY, "Spider") || is_called_bot(agent))
		return true;
	if (SAYS(said, BOT) || SAYS(said, URL))
		return true;
	if (SAYS(said, DOES) && !SAYS(said, CFNETWORK))
		return true;
	/* Applications on telephones name packages, carriers, and the accounts of their users. */
	if (SAYS(said, HOST) && !(said & SAID_NOT_DESK) && !SAYS(said, CFNETWORK))
		return true;
	return bytes > 0 && !(said & SAID_WHERE) && is(agent, AGENT_OS_FAMILY, "Other") &&
	       !has_device(agent, said);
}

static bool is_tv(const struct agent *agent, uint32_t said)
{
	/* The systems of televisions that uap-core names after their makers are here because it
	 * does so for HbbTV alone. */
	static const char *const systems[] = {"GoogleTV", "tvOS",      "ATV OS X",  "Roku", "Chromecast",
	                                      "WebTV",    "Web0S",     "Samsung",   "LG",   "Philips",
	                                      "Sony",     "Panasonic", "FireHbbTV", NULL};
	return SAYS(said, TV) || is(agent, AGENT_BRAND, "Generic_Inettv") ||
	       agent_is_one_of(agent, AGENT_OS_FAMILY, systems);
}

/* On iOS Safari calls itself MobileSafari. */
static bool is_mac_application(uint32_t said, const char *text, size_t bytes)
{
	return SAYS(said, CFNETWORK) && !SAYS(said, MOBILE) && !SAYS(said, TABLET) &&
	       (SAYS(said, MAC) || starts(text, bytes, "Safari"));
}

static bool is_tablet(const struct agent *agent, uint32_t said, const char *text, size_t bytes)
{
	if (is(agent, AGENT_BRAND, "Generic_Android_Tablet"))
		return true;
	if (SAYS(said, TABLET) && !SAYS(said, TABLET_PC))
		return true;
	/* Applications on telephones need not say "mobile"; browsers do. */
	bool browser = (SAYS(said, WEBKIT) || SAYS(said, GECKO)) && starts(text, bytes, "Mozilla/");
	return SAYS(said, ANDROID) && browser && !SAYS(said, MOBILE);
}

static bool is_mobile(const struct agent *agent, uint32_t said)
{
	static const char *const systems[] = {
	        "iOS",  "Android", "Windows Phone", "Windows Mobile", "BlackBerry OS",
	        "BREW", "Brew MP", "Symbian OS",    "Firefox OS",     "KaiOS",
	        "Bada", "Tizen",   "WatchOS",       "Sailfish",       NULL};
	return SAYS(said, MOBILE) || SAYS(said, ANDROID) ||
	       agent_is_one_of(agent, AGENT_OS_FAMILY, systems) || has_device(agent, said);
}

static bool is_desktop(const struct agent *agent, uint32_t said)
{
	static const char *const systems[] = {"Windows",   "Mac OS X", "Mac OS", "Linux",
	                                      "Chrome OS", "BSD",      NULL};
	return SAYS(said, DESKTOP) || agent_is_one_of(agent, AGENT_OS_FAMILY, systems);
}

static enum agent_type type_of(const struct agent *agent, uint32_t said, const char *text, size_t bytes)
{
	if (is_bot(agent, said, bytes))
		return AGENT_BOT;
	if (is_tv(agent, said))
		return AGENT_TV;
	if (SAYS(said, CONSOLE))
		return AGENT_OTHER;
	if (is_mac_application(said, text, bytes))
		return AGENT_DESKTOP;
	if (is_tablet(agent, said, text, bytes))
		return AGENT_TABLET;
	if (is_mobile(agent, said))
		return AGENT_MOBILE;
	return is_desktop(agent, said) ? AGENT_DESKTOP : AGENT_OTHER;
}

/* ---- all that is derived ---- */

static void join_version(struct agent *agent)
{
	char version[4 * (AGENT_FIELD_MAX + 1)];
	size_t at = 0;
	for (unsigned field = AGENT_MAJOR; field <= AGENT_PATCH_MINOR; field++) {
		size_t bytes;
		const char *part = agent_text(agent, field, &bytes);
		if (bytes == 0)
			break;
		if (at > 0)
			version[at++] = '.';
		memcpy(version + at, part, bytes);
		at += bytes;
	}
	append(agent, AGENT_VERSION, version, at);
}

/* uap-core's fields are set, and the matcher has passed over the text. */
static void derive(const struct matcher *matcher, const char *text, size_t bytes, struct agent *agent)
{
	static const char *const macs[] = {"Mac OS X", "Mac OS", "macOS", NULL};
	uint32_t said = words_said(matcher, text, bytes);
	agent->draws = (uint8_t)engine_of(said, text, bytes);
	agent->type = (uint8_t)type_of(agent, said, text, bytes);
	agent->field[AGENT_BROWSER] = agent->field[AGENT_FAMILY];
	join_version(agent);
	if (agent_is_one_of(agent, AGENT_OS_FAMILY, macs) || is_mac_application(said, text, bytes))
		append(agent, AGENT_OS, "Mac", 3);
	else
		agent->field[AGENT_OS] = agent->field[AGENT_OS_FAMILY];
}

void agent_parse(struct agent_engine *engine, const char *text, size_t bytes, struct agent *agent)
{
	if (bytes > engine->longest)
		bytes = engine->longest;
	agent->used = offsetof(struct agent, text);
	memset(agent->field, 0, sizeof agent->field);
	memcpy(engine->text, text, bytes);
	matcher_pass(engine->matcher, engine->text, bytes);
	for (unsigned list = 0; list < RULE_LISTS; list++)
		set_list(engine, list, engine->text, agent);
	derive(engine->matcher, engine->text, bytes, agent);
}
