/* Errors of a configuration, collected so that all are reported at once.
 *
 *     struct config_errors errors = {0};
 *     config_error(&errors, &node->origin, "ingest.udp[0].format", "must be ...");
 *     ... more ...
 *     text = config_errors_text(&errors);      "millrace.yaml:7: ingest.udp[0].format: must be ...\n..."
 *
 * They come out in the order of the sources, and by line within each.
 */
#ifndef CONFIG_ERROR_H
#define CONFIG_ERROR_H

#include <stdbool.h>
#include <stddef.h>

#define CONFIG_ERRORS_MAX 100u /* further ones are only counted */

#define CONFIG_SOURCE_DEFAULT "default" /* source of values that nobody wrote */

/* Order of the sources in the report of errors, and which is the stronger. */
enum config_rank { CONFIG_RANK_DEFAULT, CONFIG_RANK_FILE, CONFIG_RANK_ENVIRONMENT, CONFIG_RANK_SET };

/* Where a value was written. */
struct config_origin {
	/* "millrace.yaml", "--set a=b", "MILLRACE_INSTANCE"; lives as long as the errors */
	const char *source;
	unsigned rank; /* enum config_rank; of each further --set one more */
	unsigned line; /* from 1; 0 when lines mean nothing there */
};

struct config_errors {
	struct config_error_line {
		unsigned rank, line;
		char *text;
	} line[CONFIG_ERRORS_MAX];
	size_t n; /* all, more than there are lines for */
};

/* Adds one. key may be ""; it is left out where the source has it already ("--set KEY=...").
 * Control characters are shown as \xNN. */
void config_error(struct config_errors *errors, const struct config_origin *origin, const char *key,
                  const char *format, ...) __attribute__((format(printf, 4, 5)));

/* True when no more can be kept. */
bool config_errors_full(const struct config_errors *errors);

/* All as text, one a line, for the caller to free; empties errors. */
char *config_errors_text(struct config_errors *errors);

#endif
