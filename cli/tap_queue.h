/* tap of a queue: what is in it, and then what comes, without taking anything.
 *
 *     look over all slots --> print what is new --> sleep until something was pushed, 100 ms at most --> look ...
 *
 * A message is printed once, as soon as a look finds it ready or taken. One that comes and goes
 * between two looks is not printed.
 */
#ifndef CLI_TAP_QUEUE_H
#define CLI_TAP_QUEUE_H

#include "cli/tap_output.h"

/* True when the instance is there and has a queue, and no topic, of that name. */
bool tap_is_queue(const struct tap_options *options);

/* Prints until enough is printed, a signal comes, the output fails, or the instance ends. Returns
 * the exit status. */
int tap_queue(const struct tap_options *options, struct tap_output *output);

#endif
