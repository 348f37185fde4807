#include "sink/kafka/message.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "flow/flow.h"

#define VALUE_BYTES     65536u        /* grows to what the longest event needs */
#define VALUE_BYTES_MAX (1024u << 20) /* a lane holds no record that needs more */
#define TOPIC_BYTES     250u          /* the final 0 included */
#define ORIGIN_BYTES    (SHM_NAME_MAX + 40u)

/* ---- names ---- */

static const char *field_value(const char *field, size_t bytes, const char *topic, const char *host,
                               const char *instance)
{
	if (bytes == 5 && strncmp(field, "topic", bytes) == 0)
		return topic;
	if (bytes == 4 && strncmp(field, "host", bytes) == 0)
		return host;
	return bytes == 8 && strncmp(field, "instance", bytes) == 0 ? instance : NULL;
}

int message_name(char *out, size_t size, const char *text, const char *topic, const char *host,
                 const char *instance, struct shm_error *error)
{
	size_t at = 0;
	while (*text != '\0' && at < size) {
		size_t plain = strcspn(text, "{}");
		at += (size_t)snprintf(out + at, size - at, "%.*s", (int)plain, text);
		text += plain;
		if (*text == '\0')
			break;
		size_t field = *text == '{' ? strcspn(text + 1, "{}") : 0;
		const char *value = field == 0 || text[1 + field] != '}'
		                            ? NULL
		                            : field_value(text + 1, field, topic, host, instance);
		if (value == NULL) {
			shm_explain(error, "\"%.*s\": allowed in braces: %shost, instance",
			            (int)(field == 0 ? 1 : field + 2), text, topic == NULL ? "" : "topic, ");
			return -EINVAL;
		}
		if (at < size)
			at += (size_t)snprintf(out + at, size - at, "%s", value);
		text += field + 2;
	}
	if (at < size)
		return 0;
	shm_explain(error, "longer than %zu bytes with its fields replaced", size - 1);
	return -EINVAL;
}

bool message_topic_valid(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t bytes = strlen(name);
	return bytes >= 1 && bytes < TOPIC_BYTES && strspn(name, allowed) == bytes &&
	       strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* ---- the options ---- */

static int init_name(struct messages *messages, struct message_topic *topic, const char *text,
                     struct shm_error *error)
{
	char name[TOPIC_BYTES];
	struct shm_error why = {""};
	int result =
	        message_name(name, sizeof name, text, topic->name, messages->host, messages->instance, &why);
	if (result == 0 && !message_topic_valid(name)) {
		result = -EINVAL;
		shm_explain(&why, "\"%s\" is no name of a Kafka topic; allowed: a-z A-Z 0-9 . _ -", name);
	}
	if (result != 0) {
		shm_explain(error, "topic: %s", why.text);
		return result;
	}
	topic->kafka = strdup(name);
	return topic->kafka == NULL ? -ENOMEM : 0;
}

static int init_filters(struct message_topic *topic, const struct config *config, const char *section,
                        struct shm_error *error)
{
	const char *text[FILTERS_MAX];
	struct filters_why why = {""};
	size_t n = config_count(config, "%s.filter", section);
	for (size_t i = 0; i < n && i < FILTERS_MAX; i++)
		text[i] = config_item(config, i, "%s.filter", section);
	int result = filters_init(&topic->filters, topic->type, topic->name, text, n, &why);
	if (result != 0)
		shm_explain(error, "filter: %s", why.text);
	return result;
}

static int init_key(struct messages *messages, struct message_topic *topic, const char *text,
                    struct shm_error *error)
{
	char why[256] = "no memory";
	const uint16_t types[] = {topic->type, 0};
	if (text[0] == '\0')
		return 0;
	int result = template_compile(&topic->key, text, types, why, sizeof why);
	if (result != 0) {
		shm_explain(error, "key: %s", why);
		return result;
	}
	size_t most = template_most(topic->key);
	if (most > messages->key_bytes) {
		free(messages->key);
		messages->key = malloc(most);
		messages->key_bytes = most;
	}
	return messages->key == NULL ? -ENOMEM : 0;
}

static int init_topic(struct messages *messages, struct message_topic *topic, const struct config *config,
                      const char *section, struct shm_error *error)
{
	topic->type = flow_topic_type(topic->name);
	int result = init_name(messages, topic, config_string(config, "%s.topic", section), error);
	if (result == 0)
		result = init_filters(topic, config, section, error);
	if (result == 0)
		result = init_key(messages, topic, config_string(config, "%s.key", section), error);
	if (result == 0 && topic->type != EVENT_NONE && !encode_possible(messages->format, topic->type)) {
		shm_explain(error, "format: events of topic %s have no \"%s\"", topic->name,
		            config_string(config, "%s.format", section));
		result = -EINVAL;
	}
	return result;
}

int messages_init(struct messages *messages, const struct config *config, const char *section,
                  const char *const *topics, struct shm_error *error)
{
	unsigned n = 0;
	while (topics[n] != NULL)
		n++;
	*messages = (struct messages){
	        .topic = calloc(n + 1, sizeof *messages->topic),
	        .format = (enum encode_format)encode_format(config_string(config, "%s.format", section)),
	        .instance = config_string(config, "instance"),
	        .value = malloc(VALUE_BYTES),
	        .value_bytes = VALUE_BYTES,
	};
	if (messages->topic == NULL || messages->value == NULL) {
		shm_explain(error, "topics: no memory");
		return -ENOMEM;
	}
	if (gethostname(messages->host, sizeof messages->host - 1) != 0 || messages->host[0] == '\0')
		snprintf(messages->host, sizeof messages->host, "localhost");
	int result = 0;
	for (; result == 0 && messages->n < n; messages->n++) {
		messages->topic[messages->n].name = topics[messages->n];
		result = init_topic(messages, &messages->topic[messages->n], config, section, error);
	}
	return result;
}

void messages_fini(struct messages *messages)
{
	for (unsigned i = 0; i < messages->n; i++) {
		struct message_topic *topic = &messages->topic[i];
		filters_fini(&topic->filters);
		template_free(topic->key);
		free(topic->kafka);
	}
	free(messages->topic);
	free(messages->value);
	free(messages->key);
	record_copy_fini(&messages->copy);
	*messages = (struct messages){0};
}

/* ---- messages ---- */

static bool encode(struct messages *messages, unsigned i, unsigned lane, const struct record *record,
                   uint64_t position, struct message *message)
{
	char origin[ORIGIN_BYTES];
	message->value = encode_in_place(messages->format, record, &message->value_bytes);
	if (message->value != NULL)
		return true;
	snprintf(origin, sizeof origin, "%llu-%s-%u", (unsigned long long)messages->generation,
	         messages->topic[i].name, lane);
	for (;;) {
		int n = encode_event(messages->value, messages->value_bytes, messages->format, record, origin,
		                     position);
		if (n != -ENOSPC || messages->value_bytes >= VALUE_BYTES_MAX) {
			message->value = messages->value;
			message->value_bytes = n < 0 ? 0 : (size_t)n;
			return n >= 0;
		}
		messages->value_bytes *= 2;
		messages->value = realloc(messages->value, messages->value_bytes);
		if (messages->value == NULL)
			abort();
	}
}

enum message_kind message_make(struct messages *messages, unsigned i, unsigned lane,
                               const struct record_batch *batch, const struct record *record,
                               uint64_t position, struct message *message)
{
	struct message_topic *topic = &messages->topic[i];
	*message = (struct message){0};
	if (messages->format == ENCODE_RECORD && topic->key == NULL && topic->filters.n == 0) {
		message->value = record->payload;
		message->value_bytes = batch->length;
		message->in_lane = true;
		return topic->type == EVENT_NONE || topic->type == batch->type ? MESSAGE_SENT : MESSAGE_BAD;
	}
	const struct record *copy = record_copy(&messages->copy, record->payload, batch->length, batch->type);
	if (copy == NULL)
		abort();
	if (!event_check(copy) || (topic->type != EVENT_NONE && topic->type != copy->type))
		return MESSAGE_BAD;
	if (topic->filters.n != 0 && !filters_hold(&topic->filters, copy))
		return MESSAGE_FILTERED;
	if (!encode(messages, i, lane, copy, position, message))
		return MESSAGE_BAD;
	if (topic->key == NULL)
		return MESSAGE_SENT;
	struct template_place place = {
	        .topic = topic->name, .host = messages->host, .instance = messages->instance};
	int n = template_expand(topic->key, messages->key, messages->key_bytes, copy, &place);
	if (n < 0)
		return MESSAGE_BAD;
	message->key = messages->key;
	message->key_bytes = (size_t)n;
	return MESSAGE_SENT;
}
