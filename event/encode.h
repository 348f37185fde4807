/* One event as the bytes that a sink writes.
 *
 *     format   log                        track                     others
 *     auto     the object as sent         JSON                      JSON
 *     json     JSON (event_json)          JSON                      JSON
 *     line     -                          the tracking line         -
 *     record   the payload's bytes, whatever the type
 *
 * No newline and no final 0. Output of all formats but `record` has no newline within: it is one
 * line. A log whose object is no `{...}` on one line, which no sender of ours makes, comes as JSON
 * in `auto` too.
 */
#ifndef EVENT_ENCODE_H
#define EVENT_ENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/event.h"

enum encode_format { ENCODE_AUTO, ENCODE_JSON, ENCODE_LINE, ENCODE_RECORD };

/* "auto", "json", "line", "record". Returns the format, or -EINVAL. */
int encode_format(const char *name);

/* Whether events of this type have the format. */
bool encode_possible(enum encode_format format, uint16_t type);

/* Writes the event. origin and position as for event_json. Returns the bytes, -ENOSPC, or -EINVAL
 * when event_check fails or the type does not have the format. */
int encode_event(char *out, size_t size, enum encode_format format, const struct record *record,
                 const char *origin, uint64_t position);

/* The bytes that are in the record as they are, without copying: the object of a log in `auto`, the
 * payload in `record`. NULL: encode_event must be asked (or the record is bad). */
const void *encode_in_place(enum encode_format format, const struct record *record, size_t *bytes);

#endif
