/* What of a record becomes a message: whether it is sent at all, its value, its key.
 *
 *     record --filter--> --format--> value           copied from the lane first where it is looked into;
 *                        --key-----> key             format `record` without key and filter sends it from the lane
 */
#ifndef SINK_KAFKA_MESSAGE_H
#define SINK_KAFKA_MESSAGE_H

#include "config/config.h"
#include "event/encode.h"
#include "event/filter.h"
#include "event/template.h"
#include "shm/instance.h"
#include "shm/record_copy.h"

/* How records of one topic become messages. */
struct message_topic {
	const char *name; /* millrace's */
	char *kafka;      /* name of the Kafka topic */
	uint16_t type;    /* of its records; EVENT_NONE: any */
	struct filters filters;
	struct template *key; /* NULL: none */
};

struct messages {
	struct message_topic *topic;
	unsigned n;
	enum encode_format format;
	uint64_t generation;
	char host[65];
	const char *instance;
	struct record_copy copy;
	char *value, *key; /* buffers */
	size_t value_bytes, key_bytes;
};

struct message {
	const void *value, *key; /* key: NULL for none */
	size_t value_bytes, key_bytes;
	bool in_lane; /* value lies in the lane, where it stays until the cursor has passed it */
};

enum message_kind { MESSAGE_SENT, MESSAGE_FILTERED, MESSAGE_BAD };

/* Prepares for these topics, in this order, with the options of the section. Returns 0, or -errno
 * with "KEY: WHAT" in error, KEY without the section. messages_fini in both cases. */
int messages_init(struct messages *messages, const struct config *config, const char *section,
                  const char *const *topics, struct shm_error *error);
void messages_fini(struct messages *messages);

/* The record that the batch gave last, of lane `lane` of topic i and at this position. What is in
 * *message is valid until the next call. MESSAGE_BAD: it is no event of the topic, or has not the
 * format. Aborts when out of memory. */
enum message_kind message_make(struct messages *messages, unsigned i, unsigned lane,
                               const struct record_batch *batch, const struct record *record,
                               uint64_t position, struct message *message);

/* Replaces {topic}, {host} and {instance} in a text of the configuration. Returns 0, or -EINVAL
 * with what is wrong in error. topic NULL: that field is not allowed. */
int message_name(char *out, size_t size, const char *text, const char *topic, const char *host,
                 const char *instance, struct shm_error *error);

/* Whether brokers take this as the name of a topic: 1 to 249 of a-z A-Z 0-9 . _ -, not "." or "..". */
bool message_topic_valid(const char *name);

#endif
