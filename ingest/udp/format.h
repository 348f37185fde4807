/* Formats: what a datagram may hold. formats.def has a row for each; its functions are in
 * format_<name>.c.
 *
 *     burst --parse--> records in the lanes of the format's topics, counts in their ledgers
 *
 * A parser turns each datagram into a record (batch_put) or rejects it (batch_reject); batch_each
 * splits a burst (all three are in batch.h). It keeps nothing from one datagram to the next: after
 * a crash the same burst is parsed again.
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
