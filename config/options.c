/* The rows of all tables, in the order of the documents. They are alone in this file so that a test
 * can link others. */
#include "config/schema.h"

#define SIZE        CONFIG_SIZE, "size"
#define POWER       CONFIG_POWER, "power of two"
#define DURATION    CONFIG_DURATION, "duration"
#define COUNT       CONFIG_COUNT, "count"
#define POWER_COUNT CONFIG_POWER_COUNT, "power of two"
#define BOOL        CONFIG_BOOL, "bool"
#define CHOICE      CONFIG_CHOICE, "choice"
#define STRING      CONFIG_STRING, "string"
#define FILE        CONFIG_FILE, "file"
#define PATH        CONFIG_PATH, "path"
#define SECRET      CONFIG_SECRET, "secret"
#define LIST        CONFIG_LIST, "list"

#define ENTRY(option_key, option_kind, type_name, default_value, min, max, words, help_text) \
	{.key = option_key,                                                                  \
	 .type = type_name,                                                                  \
	 .default_text = default_value,                                                      \
	 .min_text = min,                                                                    \
	 .max_text = max,                                                                    \
	 .choices = words,                                                                   \
	 .help = help_text,                                                                  \
	 .kind = option_kind},
/* The type is two words once it is expanded, hence the further macro. */
#define EXPANDED(...) ENTRY(__VA_ARGS__)
#define OPTION(key, type, default_text, min, max, choices, help) \
	EXPANDED(key, type, default_text, min, max, choices, help)

/* The choices of ingest.udp[].format; a space stands before each. */
static const char udp_format_choices[] =
#define FORMAT(name, ...) " " #name
#include "ingest/udp/formats.def"
#undef FORMAT
        ;
#define UDP_FORMATS (udp_format_choices + 1)

static const struct config_option options[] = {
#include <options.list> /* generated: every options.def of the tree (mk/tables.mk) */
};
#undef FILE

const struct config_option *config_options(size_t *n)
{
	*n = sizeof options / sizeof options[0];
	return options;
}

const struct config_built_in_topic config_built_in_topics[] = {
#define TOPIC(name, type, when_full, help) {name, when_full},
#define QUEUE(name, type, help)
#include "flow/topics.def"
#undef TOPIC
#undef QUEUE
        {NULL, NULL},
};
