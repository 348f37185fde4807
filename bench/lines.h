/* Lines of a log for benchmarks: what clients of POST /log send, as records in a row.
 *
 *     {"text":"thanks, see you tomorrow at the station","content_id":48213,"client_id":3,"timestamp":1764240000123}
 */
#ifndef BENCH_LINES_H
#define BENCH_LINES_H

#include <stddef.h>
#include <stdint.h>

#define LINES_CLIENTS 10u

struct lines_made {
	char *records; /* as they lie in a lane */
	size_t records_bytes;
	/* the same lines, each with its newline: all those of client 1, then of client 2, ... */
	char *raw;
	size_t raw_bytes;
	size_t client_bytes[LINES_CLIENTS];
	uint64_t n;
};

/* Makes n lines of 100 to 200 bytes, of one day, the same each time; exits without memory. */
void lines_make(struct lines_made *lines, uint64_t n);

#endif
