/* What libcyaml refused, read from its log.
 *
 *     Load: Unexpected key: lissten
 *     Load: Backtrace:
 *       in mapping (line: 5, column: 11)
 *       in sequence entry '1' (line: 4, column: 1)           counted from 1
 *       in mapping field 'udp' (line: 3, column: 8)
 *       in mapping field 'ingest' (line: 2, column: 11)
 *
 * The lines are those of the completed document, which nobody has seen. But the steps, outermost
 * last, lead through the tree to the node, which knows where it was written.
 */
#ifndef CONFIG_REFUSAL_H
#define CONFIG_REFUSAL_H

#include <cyaml/cyaml.h>
#include <stdarg.h>

#include "config/schema.h"

struct config_refusal {
	char message[CONFIG_KEY_MAX + 100]; /* the first line */
	struct config_refusal_step {
		char name[CONFIG_KEY_MAX + 1]; /* "" for an entry of a list */
		size_t index;                  /* of the entry, from 0 */
	} step[CONFIG_DEPTH_MAX];              /* innermost first */
	size_t n_steps;
	bool failed; /* a line was not understood */
};

/* libcyaml's log function; context is a struct config_refusal. */
void config_refusal_log(cyaml_log_t level, void *context, const char *format, va_list arguments);

/* Reports what was refused and takes it out of the tree; in a list, a neutral value takes its
 * place. Returns false and leaves the tree alone when the steps were not understood or lead
 * nowhere. */
bool config_refusal_take_out(const struct config_refusal *refusal, struct config_node *tree,
                             struct config_errors *errors);

#endif
