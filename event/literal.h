/* JSON inside payloads: is it well-formed? The writer of the record should have checked it (ingest
 * does). A reader that copies it into JSON of its own checks again, so that one bad record cannot
 * spoil a whole output.
 */
#ifndef EVENT_LITERAL_H
#define EVENT_LITERAL_H

#include <stdbool.h>
#include <stddef.h>

/* True when the bytes are one JSON string with its quotes (RFC 8259; UTF-8, no half of a surrogate
 * pair) and nothing else. */
bool event_literal_is_string(const char *text, size_t bytes);

#define EVENT_LITERAL_DEPTH_MAX 256u /* containers open at a time; ingest takes no more */

/* True when the bytes are one JSON object without white space outside strings, and nothing else. */
bool event_literal_is_object(const char *text, size_t bytes);

#endif
