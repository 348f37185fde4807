#include "sink/kafka/cluster.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHY_BYTES 512

static int join_brokers(struct cluster *cluster, const struct config *config, const char *section,
                        struct shm_error *error)
{
	size_t n = config_count(config, "%s.brokers", section), bytes = 1, at = 0;
	if (n == 0) {
		shm_explain(error, "brokers: none; HOST:PORT of at least one is wanted");
		return -EINVAL;
	}
	for (size_t i = 0; i < n; i++)
		bytes += strlen(config_item(config, i, "%s.brokers", section)) + 1;
	cluster->brokers = malloc(bytes);
	if (cluster->brokers == NULL) {
		shm_explain(error, "brokers: no memory");
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++)
		at += (size_t)snprintf(cluster->brokers + at, bytes - at, "%s%s", i == 0 ? "" : ",",
		                       config_item(config, i, "%s.brokers", section));
	return 0;
}

int cluster_init(struct cluster *cluster, const struct config *config, const char *section,
                 struct shm_error *error)
{
	*cluster = (struct cluster){
	        .password = config_string(config, "%s.password", section),
	        .queue_messages = config_u64(config, "%s.queue.messages", section),
	        .queue_bytes = config_u64(config, "%s.queue.bytes", section),
	        .transaction_ms = config_ns(config, "%s.transaction.timeout", section) / 1000000,
	};
	pthread_mutex_init(&cluster->lock, NULL);
	int result = join_brokers(cluster, config, section, error);
	size_t n = config_count(config, "%s.properties", section);
	for (size_t i = 0; result == 0 && i < n; i++) {
		struct shm_error why = {""};
		const char *item = config_item(config, i, "%s.properties", section);
		result = properties_add(&cluster->listed, item, &why);
		if (result != 0)
			shm_explain(error, "properties: %s", why.text);
	}
	return result;
}

void cluster_fini(struct cluster *cluster)
{
	properties_fini(&cluster->listed);
	properties_fini(&cluster->file);
	free(cluster->brokers);
	cluster->brokers = NULL;
	pthread_mutex_destroy(&cluster->lock);
}

void cluster_replace_file(struct cluster *cluster, struct properties *file)
{
	pthread_mutex_lock(&cluster->lock);
	properties_fini(&cluster->file);
	cluster->file = *file;
	*file = (struct properties){0};
	pthread_mutex_unlock(&cluster->lock);
}

/* ---- what is set ---- */

static int set(rd_kafka_conf_t *conf, const char *name, const char *value, const char *key,
               struct shm_error *error)
{
	char why[WHY_BYTES];
	if (rd_kafka_conf_set(conf, name, value, why, sizeof why) == RD_KAFKA_CONF_OK)
		return 0;
	if (property_secret(name))
		shm_explain(error, "%s: %s: librdkafka does not take this value", key, name);
	else
		shm_explain(error, "%s: %s=%s: %s", key, name, value, why);
	return -EINVAL;
}

static int set_number(rd_kafka_conf_t *conf, const char *name, uint64_t value, const char *key,
                      struct shm_error *error)
{
	char text[24];
	snprintf(text, sizeof text, "%" PRIu64, value);
	return set(conf, name, text, key, error);
}

static int set_all(rd_kafka_conf_t *conf, const struct properties *properties, const char *key,
                   struct shm_error *error)
{
	int result = 0;
	for (size_t i = 0; result == 0 && i < properties->n; i++)
		result = set(conf, properties->property[i].name, properties->property[i].value, key, error);
	return result;
}

/* The metrics of a client go to no broker unless the user asks for it. librdkafka has pushed
 * them since 2.5; older ones do not know the property. While it does, rd_kafka_destroy asks its
 * main thread to end that and only then begins to wait for the answer (2.8.0,
 * rd_kafka_telemetry_await_termination): one that comes in between is lost, and the producer
 * that is closed holds up the loop for a second. */
static void decline_telemetry(rd_kafka_conf_t *conf)
{
	char why[WHY_BYTES];
	(void)rd_kafka_conf_set(conf, "enable.metrics.push", "false", why, sizeof why);
}

/* The user's, after ours that the user may replace. brokers: "" for a handle that connects nowhere.
 * */
static int set_common(struct cluster *cluster, rd_kafka_conf_t *conf, const char *brokers,
                      struct shm_error *error)
{
	int result = set(conf, "client.id", "millrace", "client.id", error);
	decline_telemetry(conf);
	if (result == 0)
		result = set(conf, "log.queue", "true", "log.queue", error);
	if (result == 0 && brokers[0] != '\0')
		result = set(conf, "bootstrap.servers", brokers, "brokers", error);
	if (result == 0 && cluster->password[0] != '\0')
		result = set(conf, "sasl.password", cluster->password, "password", error);
	if (result == 0)
		result = set_all(conf, &cluster->listed, "properties", error);
	pthread_mutex_lock(&cluster->lock);
	if (result == 0)
		result = set_all(conf, &cluster->file, "properties_file", error);
	pthread_mutex_unlock(&cluster->lock);
	return result;
}

static int set_producer(const struct cluster *cluster, rd_kafka_conf_t *conf,
                        const struct cluster_producer *wish, struct shm_error *error)
{
	const char *id = wish->transactional_id;
	int result = set(conf, "enable.idempotence", "true", "enable.idempotence", error);
	if (result == 0)
		result = set(conf, "acks", "all", "acks", error);
	if (result == 0 && id == NULL) /* with transactions it is their time-out */
		result = set(conf, "message.timeout.ms", "0", "message.timeout.ms", error);
	if (result == 0 && id != NULL)
		result = set(conf, "transactional.id", id, "transaction.name", error);
	if (result == 0 && id != NULL) /* how far a partition reaches, open transactions included */
		result = set(conf, "isolation.level", "read_uncommitted", "isolation.level", error);
	if (result == 0 && id != NULL)
		result = set_number(conf, "transaction.timeout.ms", cluster->transaction_ms,
		                    "transaction.timeout", error);
	/* The sink counts what is in flight itself; librdkafka gets a little more, for positions.
	 * */
	if (result == 0)
		result = set_number(conf, "queue.buffering.max.messages", cluster->queue_messages + 16,
		                    "queue.messages", error);
	if (result == 0)
		result = set_number(conf, "queue.buffering.max.kbytes", cluster->queue_bytes / 1024 + 64,
		                    "queue.bytes", error);
	if (result == 0 && wish->batch_bytes != 0)
		result = set_number(conf, "batch.size", wish->batch_bytes, "batch.size", error);
	if (result == 0 && wish->single)
		result = set(conf, "batch.num.messages", "1", "batch.num.messages", error);
	return result;
}

/* ---- handles ---- */

/* What comes before the handle has its queue for log lines: properties that are for the other kind
 * of handle. */
static void drop_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
	(void)rk;
	(void)level;
	(void)facility;
	(void)text;
}

static rd_kafka_t *make(rd_kafka_type_t type, rd_kafka_conf_t *conf, struct shm_error *error)
{
	char why[WHY_BYTES];
	rd_kafka_conf_set_log_cb(conf, drop_log);
	rd_kafka_t *rk = rd_kafka_new(type, conf, why, sizeof why);
	if (rk == NULL) {
		rd_kafka_conf_destroy(conf);
		shm_explain(error, "properties: %s", why);
	}
	return rk;
}

static rd_kafka_t *make_producer(struct cluster *cluster, const char *brokers,
                                 const struct cluster_producer *wish, struct shm_error *error)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG);
	if (set_common(cluster, conf, brokers, error) != 0 || set_producer(cluster, conf, wish, error) != 0) {
		rd_kafka_conf_destroy(conf);
		return NULL;
	}
	return make(RD_KAFKA_PRODUCER, conf, error);
}

rd_kafka_t *cluster_producer(struct cluster *cluster, const struct cluster_producer *wish,
                             struct shm_error *error)
{
	rd_kafka_t *rk = make_producer(cluster, cluster->brokers, wish, error);
	if (rk != NULL)
		rd_kafka_set_log_queue(rk, NULL); /* to the main queue */
	return rk;
}

rd_kafka_t *cluster_reader(struct cluster *cluster, struct shm_error *error)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	if (set_common(cluster, conf, cluster->brokers, error) != 0 ||
	    set(conf, "isolation.level", "read_committed", "isolation.level", error) != 0 ||
	    set(conf, "enable.partition.eof", "true", "enable.partition.eof", error) != 0 ||
	    set(conf, "fetch.wait.max.ms", "100", "fetch.wait.max.ms", error) != 0) {
		rd_kafka_conf_destroy(conf);
		return NULL;
	}
	rd_kafka_t *rk = make(RD_KAFKA_CONSUMER, conf, error);
	if (rk != NULL)
		rd_kafka_set_log_queue(rk, NULL);
	return rk;
}

int cluster_check(struct cluster *cluster, bool transactions, struct shm_error *error)
{
	struct cluster_producer wish = {.transactional_id = transactions ? "check" : NULL};
	rd_kafka_t *rk = make_producer(cluster, "", &wish, error);
	if (rk == NULL)
		return -EINVAL;
	rd_kafka_destroy(rk);
	return 0;
}
