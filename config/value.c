#include "config/value.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "config/credential.h"

/* More digits than 64 bits hold are out of range in any unit; the limits keep the arithmetic below
 * 128 bits. */
#define DIGITS_MAX          30
#define FRACTION_DIGITS_MAX 9

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit size_units[] = {
        {"", 1},
        {"B", 1},
        {"KiB", 1ull << 10},
        {"MiB", 1ull << 20},
        {"GiB", 1ull << 30},
        {"TiB", 1ull << 40},
        {"k", 1000},
        {"M", 1000000},
        {"G", 1000000000},
        {"T", 1000000000000},
        {NULL, 0},
};

static const struct unit duration_units[] = {
        {"", 1000000000},  {"ns", 1},          {"us", 1000},         {"ms", 1000000},
        {"s", 1000000000}, {"m", 60000000000}, {"h", 3600000000000}, {"d", 86400000000000},
        {NULL, 0},
};

static const struct unit no_units[] = {{"", 1}, {NULL, 0}};

/* "1.5GiB": digits, perhaps a fraction, perhaps a space, unit. Exact; a fraction of the smallest
 * unit is -EINVAL. */
static int parse_number(const char *text, const struct unit *units, uint64_t *value)
{
	unsigned __int128 number = 0, divisor = 1;
	size_t whole = strspn(text, "0123456789"), fraction = 0;
	if (whole == 0)
		return -EINVAL;
	const char *after = text + whole;
	if (*after == '.') {
		fraction = strspn(after + 1, "0123456789");
		if (fraction == 0 || fraction > FRACTION_DIGITS_MAX)
			return -EINVAL;
		after += 1 + fraction;
	}
	if (whole + fraction > DIGITS_MAX)
		return -ERANGE;
	for (const char *at = text; at < after; at++) {
		if (*at == '.')
			continue;
		number = number * 10 + (unsigned)(*at - '0');
		if (at > text + whole)
			divisor *= 10;
	}
	if (*after == ' ')
		after++;
	for (; units->name != NULL; units++) {
		if (strcmp(after, units->name) != 0)
			continue;
		if (number / divisor > UINT64_MAX / units->factor)
			return -ERANGE;
		number *= units->factor;
		if (number % divisor != 0)
			return -EINVAL;
		number /= divisor;
		if (number > UINT64_MAX)
			return -ERANGE;
		*value = (uint64_t)number;
		return 0;
	}
	return -EINVAL;
}

static int parse_bool(const char *text, uint64_t *value)
{
	static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
	for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++) {
		if (strcmp(text, words[i]) == 0) {
			*value = i % 2;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_choice(const char *choices, const char *text, uint64_t *value)
{
	size_t length = strlen(text);
	for (uint64_t i = 0; *choices != '\0'; i++) {
		size_t n = strcspn(choices, " ");
		if (n == length && memcmp(choices, text, n) == 0) {
			*value = i;
			return 0;
		}
		choices += n + (choices[n] == ' ');
	}
	return -EINVAL;
}

int config_value_parse(const struct config_option *option, const char *text, uint64_t *value)
{
	switch (option->kind) {
	case CONFIG_SIZE:
	case CONFIG_POWER:
		return parse_number(text, size_units, value);
	case CONFIG_DURATION:
		return parse_number(text, duration_units, value);
	case CONFIG_COUNT:
	case CONFIG_POWER_COUNT:
		if (strspn(text, "0123456789") != strlen(text))
			return -EINVAL;
		return parse_number(text, no_units, value);
	case CONFIG_BOOL:
		return parse_bool(text, value);
	case CONFIG_CHOICE:
		return parse_choice(option->choices, text, value);
	case CONFIG_STRING:
	case CONFIG_FILE:
	case CONFIG_PATH:
	case CONFIG_SECRET:
		*value = strlen(text);
		return 0;
	case CONFIG_LIST:
		*value = 0;
		return 0;
	}
	return -EINVAL;
}

bool config_value_is_text(const struct config_option *option)
{
	return option->kind == CONFIG_STRING || option->kind == CONFIG_FILE || option->kind == CONFIG_PATH ||
	       option->kind == CONFIG_SECRET;
}

/* min and max of a text and a LIST are plain numbers. */
static bool parse_bound(const struct config_option *option, const char *text, uint64_t *bound)
{
	if (text[0] == '\0')
		return false;
	if (config_value_is_text(option) || option->kind == CONFIG_LIST)
		return parse_number(text, no_units, bound) == 0;
	return config_value_parse(option, text, bound) == 0;
}

const char *config_value_name(const struct config_option *option)
{
	const char *dot = strrchr(option->key, '.');
	return dot == NULL ? option->key : dot + 1;
}

static const char *unit_help(const struct config_option *option)
{
	switch (option->kind) {
	case CONFIG_SIZE:
	case CONFIG_POWER:
		return " (bytes, or with KiB MiB GiB TiB k M G T)";
	case CONFIG_DURATION:
		return " (seconds, or with ns us ms s m h d)";
	case CONFIG_STRING:
	case CONFIG_FILE:
	case CONFIG_PATH:
	case CONFIG_SECRET:
		return " bytes";
	case CONFIG_LIST:
		return " items";
	default:
		return "";
	}
}

static bool is_power(const struct config_option *option)
{
	return option->kind == CONFIG_POWER || option->kind == CONFIG_POWER_COUNT;
}

char *config_value_allowed(const struct config_option *option, char *buffer, size_t size)
{
	if (option->kind == CONFIG_BOOL) {
		snprintf(buffer, size, "true, false");
	} else if (option->kind == CONFIG_CHOICE) {
		size_t used = 0;
		for (const char *at = option->choices; *at != '\0' && used + 2 < size; at++) {
			if (*at == ' ')
				buffer[used++] = ',';
			buffer[used++] = *at;
		}
		buffer[used] = '\0';
	} else {
		const char *min = option->min_text, *max = option->max_text;
		const char *what = is_power(option) ? "powers of two, " : "";
		if (min[0] != '\0' && max[0] != '\0')
			snprintf(buffer, size, "%s%s to %s%s", what, min, max, unit_help(option));
		else
			snprintf(buffer, size, "%s%s%s%s", what, min[0] != '\0' ? "from " : "any ", min,
			         unit_help(option));
	}
	return buffer;
}

static int explain(const struct config_option *option, struct config_why *why, const char *what)
{
	char allowed[200];
	snprintf(why->text, sizeof why->text, "%s; allowed: %s", what,
	         config_value_allowed(option, allowed, sizeof allowed));
	return -EINVAL;
}

static const char *type_noun(const struct config_option *option)
{
	switch (option->kind) {
	case CONFIG_SIZE:
	case CONFIG_POWER:
		return "size";
	case CONFIG_DURATION:
		return "duration";
	case CONFIG_COUNT:
	case CONFIG_POWER_COUNT:
		return "whole number";
	case CONFIG_BOOL:
		return "truth value";
	default:
		return config_value_name(option);
	}
}

static int check_bounds(const struct config_option *option, uint64_t value, struct config_why *why)
{
	uint64_t bound;
	char what[100];
	const char *of = config_value_is_text(option)  ? " bytes"
	                 : option->kind == CONFIG_LIST ? " items"
	                                               : "";
	if (parse_bound(option, option->min_text, &bound) && value < bound) {
		if (value == 0 && of[0] != '\0')
			return explain(option, why, "is empty");
		snprintf(what, sizeof what, "below the least value, %s%s", option->min_text, of);
		return explain(option, why, what);
	}
	if (parse_bound(option, option->max_text, &bound) && value > bound) {
		snprintf(what, sizeof what, "above the greatest value, %s%s", option->max_text, of);
		return explain(option, why, what);
	}
	return 0;
}

int config_value_check(const struct config_option *option, const char *text, struct config_why *why)
{
	uint64_t value = 0;
	if (option->kind == CONFIG_LIST)
		return 0;
	int result = config_value_parse(option, text, &value);
	if (result == -ERANGE && option->max_text[0] == '\0')
		return explain(option, why, "more than 64 bits hold");
	if (result == -ERANGE)
		value = UINT64_MAX;
	else if (result != 0) {
		char what[160];
		snprintf(what, sizeof what, "\"%.80s\" is not a %s", text, type_noun(option));
		return explain(option, why, what);
	}
	result = check_bounds(option, value, why);
	if (result == 0 && config_value_is_text(option) && option->kind != CONFIG_STRING)
		return config_credential_check(text, why);
	if (result == 0 && is_power(option) && (value & (value - 1)) != 0)
		return explain(option, why, "not a power of two");
	return result;
}

int config_value_check_items(const struct config_option *option, size_t n, struct config_why *why)
{
	return check_bounds(option, n, why);
}
