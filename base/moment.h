/* Times as people type and read them.
 *
 *     2026-07-01   2026-07-01 12:30   2026-07-01 12:30:00   2026-07-01T12:30:00     local time
 *     2026-07-01T12:30:00Z                                                          UTC
 *     90s   30m   2h   7d                                                           so long ago
 */
#ifndef BASE_MOMENT_H
#define BASE_MOMENT_H

#include <stdbool.h>
#include <stdint.h>

/* What an error says are times. */
#define MOMENT_EXAMPLES "2026-07-01, \"2026-07-01 12:30:00\", 2h, 7d"

/* Milliseconds since 1970. now_ms: what "2h" counts back from. False: text is no time, *ms is
 * unchanged. */
bool moment_parse(const char *text, int64_t now_ms, int64_t *ms);

#define MOMENT_BYTES 32u

/* "2026-07-01 12:30:00" in local time; "-" for 0. Returns out. */
const char *moment_show(char out[MOMENT_BYTES], int64_t ms);

#endif
