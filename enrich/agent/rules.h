/* uap-core's regexes.yaml, read into rules.
 *
 *     user_agent_parsers:                                   rules.rule[]
 *       - regex: '(Namoroka|Minefield)/(\d+)\.(\d+)'        first[RULE_AGENT]  --> 0   | in the order of the file: the first that
 *         family_replacement: 'Firefox ($1)'                                       ... |   matches wins
 *     os_parsers:                                           first[RULE_OS]     --> 640
 *       - ...                                               first[RULE_DEVICE] --> 850
 *     device_parsers:                                       first[RULE_LISTS]  --> n
 *       - ...
 *
 * uap-core's docs/specification.md decides. What it leaves open, or its tests say more exactly:
 *
 *   - which group fills a field that has no replacement: field i of the browser and of the system takes group i + 1, five of
 *     each (the specification shows four of the browser; the rules have a fifth, as in Chrome's 60.0.3112.78); family and model of a device take
 *     group 1, its brand none;
 *   - $1 to $9 may stand in any replacement; a group that took no part is empty;
 *   - a field that comes out empty is undefined; a family is "Other" then;
 *   - white space around a device's fields is trimmed.
 *
 * A key that the specification does not have is an error: ignoring it could make every answer
 * wrong.
 */
#ifndef ENRICH_AGENT_RULES_H
#define ENRICH_AGENT_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RULE_FIELDS       5u
#define RULES_ERROR_BYTES 512u
#define RULES_FILE_MAX    (64u << 20) /* bytes of regexes.yaml */

enum rule_list { RULE_AGENT, RULE_OS, RULE_DEVICE, RULE_LISTS };

struct rule {
	const char *regex; /* as Perl has them; no text in the file may hold a zero byte */
	/* family, major, minor, patch, patch minor; of a device family, brand, model. NULL:
	 * none. */
	const char *replacement[RULE_FIELDS];
	uint32_t line;   /* in the file, from 1 */
	uint32_t number; /* in its list, from 1 */
	uint8_t list;    /* enum rule_list */
	bool caseless;   /* regex_flag: 'i' */
};

struct rules {
	struct rule *rule;
	uint32_t n;
	uint32_t first[RULE_LISTS + 1]; /* where each list begins; the last: n */
	char *path;
	struct rules_text *text; /* the strings */
};

/* Reads the file at path. Returns 0. Otherwise -ENOMEM, -EINVAL or what open and read gave, error
 * being one line: "regexes.yaml:12: os_parsers rule 3: regex_flag: "x" is not a flag; allowed: i";
 * rules is empty then. A file without any rule is an error. */
int rules_load(struct rules *rules, const char *path, char error[RULES_ERROR_BYTES]);

void rules_fini(struct rules *rules);

/* "user_agent_parsers" and so on. */
const char *rules_list_name(enum rule_list list);

/* The group that fills the field when there is no replacement; 0: none. */
unsigned rules_default_group(enum rule_list list, unsigned field);

/* Fields of the list's rules: 5, of devices 3. */
unsigned rules_fields(enum rule_list list);

#endif
