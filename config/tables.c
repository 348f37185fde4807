/* The tables of all folders in one place, in the order of the documents. */
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
static const char udp_formats[] =
#define FORMAT(name, ...) " " #name
#include "ingest/udp/formats.def"
#undef FORMAT
        ;
#define UDP_FORMATS (udp_formats + 1)

static const struct config_option options[] = {
#include <options.list> /* generated: every options.def of the tree (mk/tables.mk) */
};

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

const char *config_default_text(void)
{
	return "instance: default               # segments under /dev/shm/millrace/default; MILLRACE_INSTANCE and\n"
	       "                                # --instance choose it for every command\n"
	       "data_dir: millrace-data         # what must last: the counts (tally.db)\n"
	       "drain_timeout: 30s\n"
	       "ingest:\n"
	       "  udp:\n"
	       "    - {listen: [\"[::]:4002\"], format: ipevent, processes: 1, receive_buffer: 64MiB}\n"
	       "  http:\n"
	       "    - {listen: [\"[::]:8080\"], processes: 1, max_body: 1MiB, max_connections: 65536}\n"
	       "topics:\n"
	       "  ip: {size: 64MiB, when_full: drop}\n"
	       "  raw: {size: 64MiB, when_full: drop}\n"
	       "  metric: {size: 64MiB, when_full: refuse}\n"
	       "  track.raw: {size: 64MiB, when_full: refuse}\n"
	       "  log: {size: 64MiB, when_full: refuse}\n"
	       "  track: {size: 64MiB, when_full: refuse}\n"
	       "queues:\n"
	       "  postback: {slots: 16384, slot_size: 4KiB}\n"
	       "enrich: {processes: 1}\n"
	       "tally: {applications: 100000, addresses_per_application: 65536, commit_interval: 1s}\n"
	       "log: {level: info, format: text}    # or json\n";
}
