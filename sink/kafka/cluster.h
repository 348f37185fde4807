/* A cluster: what all handles of librdkafka that a sink opens have in common.
 *
 *     options, properties, properties_file --cluster_init--> struct cluster --.
 *                                                                             +--cluster_producer--> rd_kafka_t
 *                                                                             '--cluster_reader----> rd_kafka_t
 *
 * A producer is idempotent, asks all replicas, and never gives a message up by time: what is in
 * flight stays until the brokers have answered. So it may only fail as a whole, and is then made
 * anew (pipe.h).
 */
#ifndef SINK_KAFKA_CLUSTER_H
#define SINK_KAFKA_CLUSTER_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>

#include "config/config.h"
#include "sink/kafka/properties.h"

struct cluster {
	char *brokers;            /* "a:9092,b:9092" */
	struct properties listed; /* of the option */
	struct properties file;   /* of properties_file */
	pthread_mutex_t lock;     /* of file: workers read it */
	const char *password;     /* of the configuration */
	uint64_t queue_messages, queue_bytes;
	uint64_t transaction_ms;
};

/* How one producer differs from the others. */
struct cluster_producer {
	const char *transactional_id; /* NULL: without transactions */
	uint64_t batch_bytes; /* at most so many in one request to a partition; 0: as the properties say */
	bool single;          /* each message in a request of its own */
};

/* Takes the options of the section; reads no file. The configuration stays longer. Returns 0, or
 * -errno with "KEY: WHAT" in error, KEY without the section. cluster_fini in both cases. */
int cluster_init(struct cluster *cluster, const struct config *config, const char *section,
                 struct shm_error *error);
void cluster_fini(struct cluster *cluster);

/* Takes what *file holds in place of what was read before, for handles that are made from now on.
 * Any thread. */
void cluster_replace_file(struct cluster *cluster, struct properties *file);

/* A producer that connects by itself; its events (delivery reports, errors, log lines) come to its
 * main queue. NULL with the reason, "KEY: WHAT", in error. */
rd_kafka_t *cluster_producer(struct cluster *cluster, const struct cluster_producer *wish,
                             struct shm_error *error);

/* A consumer that reads committed messages and tells the end of a partition. NULL with the reason
 * in error. */
rd_kafka_t *cluster_reader(struct cluster *cluster, struct shm_error *error);

/* Would librdkafka take the properties? Makes a producer that knows no broker, and removes it:
 * certificates and mechanisms are looked at, nothing is connected. Returns 0, or -EINVAL with
 * "KEY: WHAT" in error. */
int cluster_check(struct cluster *cluster, bool transactions, struct shm_error *error);

#endif
