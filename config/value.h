/* Values of options: text with units becomes a number, or an error that says what is wrong.
 *
 *     "64MiB" --config_value_parse--> 67108864
 *     "200us" --config_value_parse--> 200000 (ns)
 *     "udp"   --config_value_check--> "udp" is not a size; allowed: 64KiB to 1GiB
 */
#ifndef CONFIG_VALUE_H
#define CONFIG_VALUE_H

#include "config/config.h"

/* Room for an explanation. */
struct config_why {
	char text[400];
};

/* Parses one value of the option's type: bytes, ns, number, 0/1, index of the choice; for a STRING
 * or FILE its length, and 0 for a LIST. Does not check the range. Returns 0, -EINVAL (not of that
 * type) or -ERANGE (more than 64 bits hold). */
int config_value_parse(const struct config_option *option, const char *text, uint64_t *value);

/* Parses and checks range and power of two. Returns 0, or -EINVAL with the reason in why ("...;
 * allowed: ..."). Any text is an item of a LIST, whose number of items config_value_check_items
 * checks. */
int config_value_check(const struct config_option *option, const char *text, struct config_why *why);

/* Checks the number of items of a LIST. */
int config_value_check_items(const struct config_option *option, size_t n, struct config_why *why);

/* What the option takes, for people: "64KiB to 1GiB", "ipevent, raw, json". Returns buffer. */
char *config_value_allowed(const struct config_option *option, char *buffer, size_t size);

/* True of STRING, FILE, PATH and SECRET. */
bool config_value_is_text(const struct config_option *option);

/* Part of the key after the last dot: "format". */
const char *config_value_name(const struct config_option *option);

#endif
