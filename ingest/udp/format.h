/* Formats: what a datagram may hold. formats.def has a row for each; its functions are in
 * format_<name>.c.
 *
 *     burst --parse--> records in the lanes of the format's topics, counts in their ledgers
 *
 * The contract: of each datagram of the burst, a parser counts one `received`, and either keeps a
 * record or counts one `rejected` (by its reason) or one `dropped` (valid, but no room). It keeps
 * nothing from one datagram to the next: after a crash the same burst is parsed again.
 *
 * There are two ways to do that:
 *
 *   batch_each, batch_put, batch_reject (batch.h)    they split the burst and count. For a parser that
 *       knows type and length before it writes the record: format_raw.c, format_json.c.
 *   lane_room, record_put, lane_keep (shm/lane.h)    the parser splits and counts by itself. For one
 *       that parses straight into the record and knows only at its end whether to keep it:
 *       format_ipevent.c.
 *
 * Begin with the first; the second saves a copy, or a second pass, for millions a second.
 */
#ifndef INGEST_UDP_FORMAT_H
#define INGEST_UDP_FORMAT_H

#include <stddef.h>

struct batch;
struct burst;

struct format {
	const char *name;
	/* Parses each datagram of the burst. */
	void (*parse)(struct batch *batch, const struct burst *burst);
	/* Bytes that one lane may need for n datagrams of `bytes` bytes in all; a multiple of
	 * RECORD_ALIGN. */
	size_t (*room)(size_t n, size_t bytes);
	const char *const *topics; /* n_topics; topics[i] is the topic of lane i */
	unsigned n_topics;
};

#define FORMAT(name, parse, room, ...)                              \
	void parse(struct batch *batch, const struct burst *burst); \
	size_t room(size_t n, size_t bytes);
#include "ingest/udp/formats.def"
#undef FORMAT

/* The format of that name, or NULL. */
const struct format *format_find(const char *name);

#endif
