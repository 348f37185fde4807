/* The UDP stage: from the sockets that the supervisor bound to the lanes of a topic.
 *
 *     sockets --> receive (io_uring or recvmmsg) --> buffers --> batch: split, parse, commit --> lane(s)
 *     network card --> xdp (AF_XDP) --> frames ---------------------'
 *        '- SO_MEMINFO: what the kernel dropped ------------------------------> ledger, at each tick
 *
 * One turn (udp_poll) takes up to 64 filled buffers, parses them into the lanes, commits all with
 * one redo note, and lends the buffers again; and the same with up to 256 frames of a queue. A new
 * life (udp_open) finishes the note of the last one, then commits the buffers that have a mark and
 * the frames that are not consumed; only then does it lend buffers and open the gates.
 *
 *     open --> [ poll ... idle, tick ]* --draining--> poll until the sockets were empty once --> stop --> poll --> drained
 *
 * The functions do not depend on the stage loop, so that tests drive them directly.
 */
#ifndef INGEST_UDP_UDP_H
#define INGEST_UDP_UDP_H

#include "ingest/udp/batch.h"
#include "ingest/udp/receive.h"
#include "ingest/udp/xdp.h"
#include "shm/drops.h"
#include "stage/stage.h"

#define UDP_DRAIN_NS \
	(2ull * 1000 * 1000 * 1000) /* how long a draining stage reads while datagrams keep coming */

enum udp_metric {
#define METRIC(name, kind, help) UDP_##name,
#define HISTOGRAM(name, help, ...) \
	UDP_##name, UDP_##name##_end = UDP_##name + HISTOGRAM_WORDS(__VA_ARGS__) - 1,
#include "ingest/udp/metrics.def"
#undef METRIC
#undef HISTOGRAM
	UDP_METRIC_COUNT
};
_Static_assert((int)UDP_METRIC_COUNT <= (int)METRIC_WORDS_MAX, "a control block holds them");

struct udp_settings {
	const struct format *format;
	uint16_t listener; /* index into ingest.udp */
	enum receive_backend backend;
	uint64_t batch_wait_ns;
	struct xdp_settings xdp;
};

struct udp {
	struct segment private_segment;
	struct buffers buffers;
	struct receive receive;
	struct xdp xdp;
	struct batch batch;
	struct ports ports;
	struct segment drops_segment;
	/* of each socket; NULL: the kernel does not tell its drops */
	struct drops_entry *seen[BUFFERS_SOCKETS_MAX];
	struct control *control;                  /* its metrics are udp_metric's */
	const struct metric_description *to_ring; /* the row of to_ring_us */
	unsigned ticks;
	uint64_t drain_until_ns; /* CLOCK_MONOTONIC; 0 while not draining */
	bool stopped;
};

extern const struct stage_ops udp_stage;

/* Reads entry `entry` of ingest.udp; nothing is handed down. */
void udp_read_settings(struct udp_settings *settings, const struct config *config, size_t entry);

/* Joins: attaches <role>.private and the lanes of the format's topics, commits what the last life
 * left, begins to receive from the sockets (bound; they stay the caller's). Returns 0, or -errno
 * with the reason in error; then nothing is held. */
int udp_open(struct udp *udp, const struct udp_settings *settings, const struct instance *instance,
             const char *role, const int *socket, unsigned n_sockets, struct control *control,
             struct shm_error *error);

/* One turn; true when it committed something. */
bool udp_poll(struct udp *udp);

/* Every 100 ms: the kernel's drop counts and the metrics. */
void udp_tick(struct udp *udp);

/* Waits for datagrams, at most timeout_ns. Returns at once when draining. */
void udp_idle(struct udp *udp, uint64_t timeout_ns);

/* No more is to be taken in: from here on the card's packets go to the ordinary sockets, so that a
 * poll can come to find nothing. May be called again. */
void udp_quiet(struct udp *udp);

/* After a poll that did nothing, when no more is to be taken in: true when all that the kernel had
 * queued is committed (or UDP_DRAIN_NS went by with ever more coming) and the kernel fills no more
 * buffers. Otherwise poll again. */
bool udp_drained(struct udp *udp, uint64_t now_ns);

/* Leaves. What is still in the buffers is for the next life. */
void udp_close(struct udp *udp);

/* The stage alone: input is a sequence of {length, 32 bits little-endian; datagram}, as `millrace
 * send udp --output` writes; output receives the records; the ledger goes to standard error.
 * Returns the exit status. */
int udp_alone(const struct config *config, FILE *input, FILE *output);

#endif
