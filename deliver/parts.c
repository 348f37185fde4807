#include "deliver/parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "deliver/sender_auto.h"

/* Once more before each request, also on a kept connection: what the guard lets pass may have
 * changed. */
static bool vet(void *context, const uint8_t address[16], uint16_t port, void *owner)
{
	const struct deliver *deliver = context;
	const struct delivery *delivery = owner;
	bool by_name = false;
	return guard_name(deliver->guard, delivery->host->place.host, port, &by_name) == GUARD_PASSES &&
	       guard_address(deliver->guard, address, port, by_name) == GUARD_PASSES;
}

/* What the library does with an answer is work on its postback (suspects.h). */
static void working(void *context, void *owner)
{
	const struct deliver *deliver = context;
	const struct delivery *delivery = owner;
	if (delivery != NULL)
		handling_begin(deliver->private, delivery->id);
	else
		handling_end(deliver->private);
}

static const struct sender_ops *sender_of(const struct config *config)
{
	return strcmp(config_string(config, "deliver.sender"), "curl") == 0 ? &sender_curl : &sender_auto;
}

static struct sender_options sender_options(const struct config *config, struct deliver *deliver)
{
	const char *agent = config_string(config, "deliver.user_agent");
	return (struct sender_options){
	        .requests = (unsigned)config_u64(config, "deliver.in_flight"),
	        .connections_kept = (unsigned)config_u64(config, "deliver.connections_kept"),
	        .lifetime_ns = config_ns(config, "deliver.connection_lifetime"),
	        .ca_file = config_string(config, "deliver.ca_file"),
	        .user_agent = agent[0] != '\0' ? agent : "millrace/" MILLRACE_VERSION,
	        .vet = vet,
	        .working = working,
	        .context = deliver,
	};
}

static int open_sender(struct deliver *deliver, const struct config *config, struct shm_error *error)
{
	struct sender_options options = sender_options(config, deliver);
	return sender_of(config)->open(&deliver->sender, &options, error);
}

static struct hosts_options hosts_options(const struct config *config)
{
	return (struct hosts_options){
	        .deliveries = (unsigned)config_u64(config, "deliver.in_flight"),
	        .hosts_most = (unsigned)config_u64(config, "deliver.hosts_most"),
	        .endpoints_most = (unsigned)config_u64(config, "deliver.endpoints_most"),
	        .stale_ns = config_ns(config, "deliver.dns.stale"),
	};
}

static int open_hosts(struct deliver *deliver, const struct config *config)
{
	struct hosts_options options = hosts_options(config);
	options.policies = deliver->policies;
	options.names = deliver->names;
	options.guard = deliver->guard;
	deliver->hosts = hosts_new(&options);
	return deliver->hosts == NULL ? -ENOMEM : 0;
}

static int make_memory(struct deliver *deliver, const struct config *config)
{
	deliver->n = (unsigned)config_u64(config, "deliver.in_flight");
	deliver->kept = (deliver->n + 3) / 4;
	deliver->url_most = config_u64(config, "deliver.url_most");
	deliver->drain_most_ns = config_ns(config, "deliver.drain_timeout");
	deliver->deaths_most = config_u64(config, "deliver.deaths_most");
	deliver->delivery = calloc(deliver->n, sizeof *deliver->delivery);
	deliver->attempts.all = calloc(deliver->n, sizeof *deliver->attempts.all);
	deliver->url = malloc(deliver->url_most + 1);
	deliver->targets = targets_new((unsigned)config_u64(config, "deliver.templates_most"));
	deliver->redact = redact_new(config);
	return deliver->delivery == NULL || deliver->attempts.all == NULL || deliver->url == NULL ||
	                       deliver->targets == NULL || deliver->redact == NULL
	               ? -ENOMEM
	               : 0;
}

int parts_open(struct deliver *deliver, const struct config *config, struct shm_error *error)
{
	int result = make_memory(deliver, config);
	if (result == 0)
		result = guard_open(&deliver->guard, config, error);
	if (result == 0)
		result = policies_open(&deliver->policies, config, error);
	if (result == 0)
		result = names_open(&deliver->names, config, error);
	if (result == 0)
		result = open_hosts(deliver, config);
	if (result == 0)
		result = open_sender(deliver, config, error);
	if (result == -ENOMEM && error->text[0] == '\0')
		shm_explain(error, "no memory for deliver.in_flight: %u", deliver->n);
	return result;
}

void parts_close(struct deliver *deliver)
{
	if (deliver->sender != NULL)
		deliver->sender->ops->close(deliver->sender);
	if (deliver->hosts != NULL)
		hosts_free(deliver->hosts);
	names_close(deliver->names);
	if (deliver->policies != NULL)
		policies_close(deliver->policies);
	if (deliver->guard != NULL)
		guard_close(deliver->guard);
	if (deliver->targets != NULL)
		targets_free(deliver->targets);
	redact_free(deliver->redact);
	data_free(&deliver->data);
	free(deliver->url);
	free(deliver->delivery);
	free(deliver->attempts.all);
}

int parts_check(const struct config *config, const char *section, struct shm_error *error)
{
	struct shm_error why = {""};
	struct deliver *deliver = calloc(1, sizeof *deliver);
	(void)section;
	if (deliver == NULL)
		return -ENOMEM;
	int result = parts_open(deliver, config, error);
	parts_close(deliver);
	free(deliver);
	if (result != 0)
		return result;
	result = waiting_try(config_string(config, "data_dir"), &why);
	if (result != 0)
		shm_explain(error, "data_dir: %s", why.text);
	return result;
}

/* A postback from deliver.db, its URL and its body, each as long as a slot of the queue. */
uint64_t parts_memory_max(const struct config *config, const char *section)
{
	struct sender_options sender = sender_options(config, NULL);
	struct hosts_options hosts = hosts_options(config);
	uint64_t texts = 3 * config_u64(config, "queues.postback.slot_size");
	(void)section;
	return config_u64(config, "deliver.in_flight") *
	               (sizeof(struct delivery) + sizeof(struct attempt) + texts) +
	       sender_of(config)->memory_max(&sender) + hosts_memory_max(&hosts) +
	       config_u64(config, "deliver.templates_most") * (sizeof(struct target) + 512);
}
