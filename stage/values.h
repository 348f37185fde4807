/* Values of options by a list of keys, as rows of a table name them: what a sandbox allows is in
 * options of several types and shapes. */
#ifndef STAGE_VALUES_H
#define STAGE_VALUES_H

#include <stdint.h>

#include "config/config.h"

/* The keys are in this section ("deliver", "sinks[1]"). */
struct values_place {
	const struct config *config;
	const char *section;
};

typedef void values_fn(void *argument, const char *value);

/* Calls each with every value of the keys (up to a NULL; NULL itself is none): of STRING, FILE and
 * PATH the text, of LIST each item. "endpoints[].sign" is that of each entry. Keys that the
 * kind of the section's entry does not have are passed over. */
void values_each(const struct values_place *place, const char *const *keys, values_fn *each, void *argument);

/* The same where the keys are of LISTs of NAME=VALUE, and of FILEs with one a line: each VALUE that
 * begins with "/". A file that cannot be read has none. */
void values_each_path(const struct values_place *place, const char *const *keys, values_fn *each,
                      void *argument);

/* The TCP port of an address or a URL: "127.0.0.1:4003", ":80", "[::1]:99", "http://host:9000/x",
 * "https://host" (443), "http://host" (80). 0 when it says none. */
uint16_t values_port(const char *text);

#endif
