#include "cli/catch/catch_rules.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define DELAY_MAX_NS (3600 * NS_PER_SEC)

void catch_rules_init(struct catch_rules *rules)
{
	*rules = (struct catch_rules){.n = 1, .rule[0] = {.path = ""}};
}

/* ---- reading values ---- */

/* "0.25"; false unless it is a number from 0 to 1 that ends there. */
static bool parse_share(const char *text, const char **end, double *share)
{
	char *after;
	*share = strtod(text, &after);
	*end = after;
	return after != text && *share >= 0 && *share <= 1;
}

/* "200" or "200:0.9,500:0.1" */
static bool parse_answers(struct catch_rule *rule, const char *text)
{
	double sum = 0;
	rule->n = 0;
	for (;; text++) {
		char *after;
		unsigned long status = strtoul(text, &after, 10);
		double share = 1;
		if (after != text + 3 || status < 200 || status > 599 || rule->n == CATCH_CHOICES_MAX)
			return false;
		text = after;
		if (*text == ':' && !parse_share(text + 1, &text, &share))
			return false;
		rule->choice[rule->n++] = (struct catch_choice){(uint16_t)status, share};
		sum += share;
		if (*text == '\0')
			break;
		if (*text != ',')
			return false;
	}
	for (unsigned i = 0; i < rule->n; i++)
		rule->choice[i].share /= sum;
	return sum > 0;
}

/* 2, 1.5s, 100ms, 2m */
static bool parse_time(const char *text, const char **end, uint64_t *ns)
{
	static const struct {
		const char *unit;
		double ns;
	} units[] = {{"ms", 1e6}, {"us", 1e3}, {"s", 1e9}, {"m", 60e9}};
	char *after;
	double value = strtod(text, &after), factor = 1e9;
	if (after == text || *text == '-')
		return false;
	for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
		size_t bytes = strlen(units[i].unit);
		if (strncmp(after, units[i].unit, bytes) == 0) {
			factor = units[i].ns;
			after += bytes;
			break;
		}
	}
	*end = after;
	if (!(value * factor <= (double)DELAY_MAX_NS))
		return false;
	*ns = (uint64_t)(value * factor);
	return true;
}

/* "100ms" or "100ms-2s" */
static bool parse_delay(struct catch_rule *rule, const char *text)
{
	uint64_t most;
	rule->says_delay = true;
	rule->delay_more_ns = 0;
	if (!parse_time(text, &text, &rule->delay_ns))
		return false;
	if (*text == '\0')
		return true;
	if (*text != '-' || !parse_time(text + 1, &text, &most) || *text != '\0' || most < rule->delay_ns)
		return false;
	rule->delay_more_ns = most - rule->delay_ns;
	return true;
}

/* ---- the table ---- */

/* The rule of "/path=value", and the value in *value. NULL when there are too many. */
static struct catch_rule *rule_of(struct catch_rules *rules, const char **value)
{
	const char *equals = **value == '/' ? strchr(*value, '=') : NULL;
	if (equals == NULL)
		return &rules->rule[0];
	const char *path = *value;
	size_t bytes = (size_t)(equals - path);
	*value = equals + 1;
	for (unsigned i = 1; i < rules->n; i++)
		if (rules->rule[i].path_bytes == bytes && memcmp(rules->rule[i].path, path, bytes) == 0)
			return &rules->rule[i];
	if (rules->n == CATCH_RULES_MAX)
		return NULL;
	rules->rule[rules->n] = (struct catch_rule){.path = path, .path_bytes = bytes};
	return &rules->rule[rules->n++];
}

const char *catch_rules_add(struct catch_rules *rules, const char *option, const char *value)
{
	struct catch_rule *rule = rule_of(rules, &value);
	const char *end;
	if (rule == NULL)
		return "at most 63 paths";
	if (strcmp(option, "answer") == 0)
		return parse_answers(rule, value) ? NULL : "200, or 200:0.9,500:0.1; codes are 200 to 599";
	if (strcmp(option, "delay") == 0)
		return parse_delay(rule, value) ? NULL : "2s, 100ms or 100ms-2s; at most an hour";
	bool hang = strcmp(option, "hang") == 0;
	rule->says_hang |= hang;
	rule->says_close |= !hang;
	return parse_share(value, &end, hang ? &rule->hang : &rule->close) && *end == '\0'
	               ? NULL
	               : "a share from 0 to 1, as 0.1";
}

void catch_rules_end(struct catch_rules *rules)
{
	struct catch_rule *all = &rules->rule[0];
	if (all->n == 0)
		parse_answers(all, "200");
	for (unsigned i = 1; i < rules->n; i++) {
		struct catch_rule *rule = &rules->rule[i];
		if (rule->n == 0) {
			rule->n = all->n;
			memcpy(rule->choice, all->choice, sizeof rule->choice);
		}
		if (!rule->says_delay) {
			rule->delay_ns = all->delay_ns;
			rule->delay_more_ns = all->delay_more_ns;
		}
		rule->hang = rule->says_hang ? rule->hang : all->hang;
		rule->close = rule->says_close ? rule->close : all->close;
	}
}

static const struct catch_rule *rule_for(const struct catch_rules *rules, const char *target, size_t bytes)
{
	const struct catch_rule *best = &rules->rule[0];
	for (unsigned i = 1; i < rules->n; i++) {
		const struct catch_rule *rule = &rules->rule[i];
		if (rule->path_bytes > best->path_bytes && rule->path_bytes <= bytes &&
		    memcmp(rule->path, target, rule->path_bytes) == 0)
			best = rule;
	}
	return best;
}

struct catch_fate catch_rules_fate(const struct catch_rules *rules, const char *target, size_t bytes,
                                   const double draw[2])
{
	const struct catch_rule *rule = rule_for(rules, target, bytes);
	struct catch_fate fate = {.delay_ns = rule->delay_ns};
	if (rule->delay_more_ns > 0)
		fate.delay_ns += (uint64_t)(draw[1] * (double)rule->delay_more_ns);
	double left = draw[0];
	fate.hangs = left < rule->hang;
	left -= rule->hang;
	fate.closes = !fate.hangs && left < rule->close;
	left -= rule->close;
	/* What is left is spread over what is answered. */
	double answered = 1 - rule->hang - rule->close;
	unsigned i = 0;
	for (double upto = 0; i < rule->n - 1; i++) {
		upto += rule->choice[i].share * answered;
		if (left < upto)
			break;
	}
	fate.status = rule->choice[i].status;
	return fate;
}
