#include "sink/kafka/kafka.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "flow/flow.h"
#include "stage/records.h"

/* The topic of a record is known by its type alone. */
static unsigned topic_of(const struct messages *messages, uint16_t type)
{
	for (unsigned i = 0; i < messages->n; i++)
		if (messages->topic[i].type == type || messages->topic[i].type == EVENT_NONE)
			return i;
	return 0;
}

static void print_message(FILE *output, const struct message_topic *topic, const struct message *message)
{
	fprintf(output, "%s\t", topic->kafka);
	if (message->key != NULL)
		fwrite(message->key, 1, message->key_bytes, output);
	fputc('\t', output);
	fwrite(message->value, 1, message->value_bytes, output);
	fputc('\n', output);
}

static int print_file(struct messages *messages, FILE *input, FILE *output)
{
	struct records records = {.file = input};
	struct record_batch batch;
	const struct record *record;
	uint64_t count[MESSAGE_BAD + 1] = {0};
	while (records_read(&records, &batch)) {
		for (;;) {
			uint64_t position = batch.position;
			if ((record = record_next(&batch)) == NULL)
				break;
			struct message message;
			unsigned i = topic_of(messages, batch.type);
			enum message_kind kind =
			        message_make(messages, i, 0, &batch, record, position, &message);
			count[kind]++;
			if (kind == MESSAGE_SENT)
				print_message(output, &messages->topic[i], &message);
		}
	}
	log_info("read", "messages=%llu filtered=%llu bad=%llu", (unsigned long long)count[MESSAGE_SENT],
	         (unsigned long long)count[MESSAGE_FILTERED], (unsigned long long)count[MESSAGE_BAD]);
	return records_end(&records) != 0 || fflush(output) != 0 ? 1 : 0;
}

/* The first sink of this kind. */
static bool find_section(const struct config *config, char *section, size_t size)
{
	size_t n = config_count(config, "sinks");
	for (size_t i = 0; i < n; i++) {
		snprintf(section, size, "sinks[%zu]", i);
		if (strcmp(config_string(config, "%s.kind", section), "kafka") == 0)
			return true;
	}
	return false;
}

int kafka_alone(const struct config *config, FILE *input, FILE *output)
{
	char section[64];
	struct messages messages;
	struct shm_error error = {""};
	const char *topics[PORTS_READS_MAX + 1] = {NULL};
	if (!find_section(config, section, sizeof section)) {
		log_error("the configuration has no sink of kind kafka", NULL);
		return 1;
	}
	size_t n = config_count(config, "%s.topics", section);
	for (size_t i = 0; i < n && i < PORTS_READS_MAX; i++)
		topics[i] = config_item(config, i, "%s.topics", section);
	int status = 1;
	if (messages_init(&messages, config, section, topics, &error) != 0)
		log_error("cannot start", "reason=\"%s.%s\"", section, error.text);
	else
		status = print_file(&messages, input, output);
	messages_fini(&messages);
	return status;
}
