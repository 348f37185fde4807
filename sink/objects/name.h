/* What an object is called in the store.
 *
 *     chat/2026-11-27/content_logs_2026-11-27_7                                    bare: its key
 *     chat/2026-11-27/content_logs_2026-11-27_7_default-18f3...-log-0-4096         with the id of its first event: no other object has it
 *     chat/2026-11-27/content_logs_2026-11-27_7_default-18f3...-log-0-4096.2       the same, when somebody else took even that
 *
 * The last try comes with the store's own bounds: a name that is too long, or a part of it between
 * two slashes, is cut to a prefix and "~" with 16 hexadecimal digits of a hash of the whole, so
 * that two long ones stay apart. An escape (%2F) is never cut in two.
 */
#ifndef SINK_OBJECTS_NAME_H
#define SINK_OBJECTS_NAME_H

#include "sink/objects/store.h"

/* attempt 0: bare; 1: with the suffix; more: with suffix and number. suffix: "default-ID". Writes
 * the name without a final 0 and returns its length; 0 when it cannot be made so short. */
size_t name_make(char out[JOURNAL_KEY_MAX], const struct store_traits *traits, const char *key,
                 size_t key_bytes, const char *suffix, unsigned attempt);

/* Cuts text in place to at most `most` bytes (more than 17), in the way above. Returns its
 * length. */
size_t name_shorten(char *text, size_t bytes, size_t most);

#endif
