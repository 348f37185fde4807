/* A whole millrace of its own for a benchmark: supervisor, ingest, tally, in a private place, and
 * what they counted.
 *
 *     bench-udp --- fork, exec ---> supervisor ---> ingest-udp.0, tally.0
 *         '---------- attach ------------> shared memory (read-only)
 */
#ifndef BENCH_PIPELINE_H
#define BENCH_PIPELINE_H

#include <netinet/in.h>
#include <stdint.h>
#include <sys/types.h>

#include "shm/instance.h"

/* Where its supervisor runs and listens. */
struct pipeline_place {
	const char *network; /* name of a network namespace; NULL: that of the benchmark */
	const char *listen;  /* "127.0.0.1:0" */
	bool pinned;         /* all of its processes run on this processor */
	unsigned processor;
};

struct pipeline {
	pid_t supervisor;
	struct sockaddr_in address; /* of the one listener */
	struct instance instance;
	struct segment lane; /* the head of ip's lane 0 */
	struct segment group;
};

/* Where every datagram is, in datagrams (kernel_dropped: queue entries, of up to 64 datagrams under
 * GRO). */
struct pipeline_count {
	uint64_t received, rejected, dropped, kernel_dropped, written, counted;
};

/* Processor time used so far, seconds. */
struct pipeline_cpu {
	double supervisor, ingest, tally;
};

/* Starts it and waits until it is ready, at most 20 s; exits with a message when it cannot. extra:
 * further arguments for the supervisor ("--set", "KEY=VALUE", ...), NULL-terminated. */
void pipeline_start(struct pipeline *pipeline, const char *const *extra);

/* The same, at another place than 127.0.0.1. */
void pipeline_start_at(struct pipeline *pipeline, const struct pipeline_place *place,
                       const char *const *extra);

/* Ends it, drained, and waits for it. */
void pipeline_stop(struct pipeline *pipeline);

struct pipeline_count pipeline_count(const struct pipeline *pipeline);
struct pipeline_cpu pipeline_cpu(const struct pipeline *pipeline);

/* A metric of ingest-udp.0; 0 when it has none of this name. */
uint64_t pipeline_metric(const struct pipeline *pipeline, const char *name);

/* Waits until nothing moves any more and all that was written is counted, at most timeout_s. */
void pipeline_settle(const struct pipeline *pipeline, double timeout_s);

#endif
