/* The output of tap: events of a topic or messages of a queue that pass the filters, in one of its
 * formats, on standard output.
 *
 *     record --tap_print: filters, format--> | line\nline\n ... | --tap_flush--> write(2)
 */
#ifndef CLI_TAP_H
#define CLI_TAP_H

#include "event/filter.h"
#include "cli/ndjson.h"

/* From the command line. */
struct tap_options {
	const char *instance, *topic, *format;
	uint64_t count, last; /* last 0: from now on */
	bool no_follow;
};

struct tap_output {
	const char *format;
	const volatile bool *stop; /* a signal came */
	struct filters *filters;
	struct ndjson lines;
	uint64_t left;   /* events still to be printed */
	uint64_t broken; /* those whose payload does not fit their type */
	int error;       /* of writing */
};

/* False when enough is printed, the output failed, or a signal came. */
bool tap_wants_more(const struct tap_output *output);

/* Formats the record when it passes the filters; writes when the buffer is large. */
void tap_print(struct tap_output *output, const struct record *record, unsigned lane, uint64_t position);

/* Writes the buffer. False after an error. */
bool tap_flush(struct tap_output *output);

/* Notices that the reader of the output has gone, also while there is nothing to write. */
bool tap_output_gone(void);

/* Writes the rest, reports how many could not be printed (`what`: "records"), and returns the exit
 * status. */
int tap_finish(struct tap_output *output, const char *what);

/* ---- a queue (tap_queue.c) ---- */

/* True when the instance exists and has a queue, but no topic, of that name. */
bool tap_is_queue(const struct tap_options *options);

/* Prints until enough is printed, a signal comes, the output fails, or the instance ends. Returns
 * the exit status. */
int tap_queue(const struct tap_options *options, struct tap_output *output);

#endif
