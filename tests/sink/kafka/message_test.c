/* What of a record becomes a message; names with fields; properties; what librdkafka is asked to
 * take. No broker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sink/kafka/exactly.h"
#include "sink/kafka/kafka.h"
#include "tests/fixture/config.h"

static struct shm_error error;
static char record_bytes_of[4096];

static struct config *sink(const char *options)
{
	char text[2048];
	snprintf(text, sizeof text,
	         "instance: here\ningest: {}\nsinks:\n"
	         "  - {name: bus, kind: kafka, topics: [log], brokers: [\"127.0.0.1:9\"]%s%s}\n",
	         options[0] == '\0' ? "" : ", ", options);
	return load(text, "");
}

static const char object[] =
        "{\"text\":\"hello\",\"content_id\":7,\"client_id\":42,\"timestamp\":1586846680064}";

/* A log record as a batch of one. */
static struct record_batch log_batch(void)
{
	uint32_t length = (uint32_t)(sizeof(struct event_log) + sizeof object - 1);
	struct event_log *event = record_put(record_bytes_of, EVENT_LOG, length);
	memset(event, 0, sizeof *event);
	event->client_id = 42;
	event->content_id = 7;
	event->timestamp_ms = 1586846680064;
	event->object_bytes = sizeof object - 1;
	memcpy(event->object, object, sizeof object - 1);
	return (struct record_batch){.at = record_bytes_of, .end = record_bytes_of + record_bytes(length)};
}

static enum message_kind make(const char *options, struct messages *messages, struct message *message)
{
	static const char *const topics[] = {"log", NULL};
	struct config *config = sink(options);
	error.text[0] = '\0';
	if (messages_init(messages, config, "sinks[0]", topics, &error) != 0)
		fail_msg("%s", error.text);
	struct record_batch batch = log_batch();
	const struct record *record = record_next(&batch);
	assert_non_null(record);
	enum message_kind kind = message_make(messages, 0, 0, &batch, record, 0, message);
	config_free(config);
	return kind;
}

static void assert_refused(const char *options, const char *expected)
{
	static const char *const topics[] = {"log", NULL};
	struct messages messages;
	struct config *config = sink(options);
	assert_int_not_equal(messages_init(&messages, config, "sinks[0]", topics, &error), 0);
	assert_string_equal(error.text, expected);
	messages_fini(&messages);
	config_free(config);
}

static void a_log_event_is_the_object_as_it_was_sent(void **state)
{
	struct messages messages;
	struct message message;
	(void)state;
	assert_int_equal(make("", &messages, &message), MESSAGE_SENT);
	assert_int_equal(message.value_bytes, sizeof object - 1);
	assert_memory_equal(message.value, object, message.value_bytes);
	assert_null(message.key);
	assert_false(message.in_lane);
	assert_string_equal(messages.topic[0].kafka, "log");
	messages_fini(&messages);
}

static void the_key_is_a_template(void **state)
{
	struct messages messages;
	struct message message;
	(void)state;
	assert_int_equal(make("key: \"{client_id}/{date}\"", &messages, &message), MESSAGE_SENT);
	assert_int_equal(message.key_bytes, strlen("42/2020-04-14"));
	assert_memory_equal(message.key, "42/2020-04-14", message.key_bytes);
	messages_fini(&messages);
}

static void what_the_filter_does_not_want_is_left_out(void **state)
{
	struct messages messages;
	struct message message;
	(void)state;
	assert_int_equal(make("filter: [client_id=42]", &messages, &message), MESSAGE_SENT);
	messages_fini(&messages);
	assert_int_equal(make("filter: [client_id=43]", &messages, &message), MESSAGE_FILTERED);
	messages_fini(&messages);
}

static void a_record_is_sent_as_it_lies_in_the_lane(void **state)
{
	struct messages messages;
	struct message message;
	(void)state;
	assert_int_equal(make("format: record", &messages, &message), MESSAGE_SENT);
	assert_true(message.in_lane);
	assert_ptr_equal(message.value, record_bytes_of + sizeof(struct record));
	messages_fini(&messages);
	assert_int_equal(make("format: record, key: \"{client_id}\"", &messages, &message), MESSAGE_SENT);
	assert_false(message.in_lane);
	assert_int_equal(message.value_bytes, sizeof(struct event_log) + sizeof object - 1);
	messages_fini(&messages);
}

static void a_record_that_is_no_event_is_bad(void **state)
{
	struct messages messages;
	struct message message;
	(void)state;
	(void)make("", &messages, &message);
	struct record_batch batch = log_batch();
	((struct event_log *)(void *)(record_bytes_of + sizeof(struct record)))->object_bytes = 1000000;
	const struct record *record = record_next(&batch);
	assert_int_equal(message_make(&messages, 0, 0, &batch, record, 0, &message), MESSAGE_BAD);
	messages_fini(&messages);
}

static void names_have_fields_and_become_valid_topics(void **state)
{
	char name[32];
	(void)state;
	assert_int_equal(
	        message_name(name, sizeof name, "a.{topic}-{host}.{instance}", "log", "h", "i", &error), 0);
	assert_string_equal(name, "a.log-h.i");
	assert_int_equal(message_name(name, sizeof name, "{nonsense}", "log", "h", "i", &error), -EINVAL);
	assert_string_equal(error.text, "\"{nonsense}\": allowed in braces: topic, host, instance");
	assert_int_equal(message_name(name, sizeof name, "{topic}", NULL, "h", "i", &error), -EINVAL);
	assert_int_equal(message_name(name, sizeof name, "a}", "log", "h", "i", &error), -EINVAL);
	assert_int_equal(message_name(name, sizeof name, "a{topic", "log", "h", "i", &error), -EINVAL);
	assert_int_equal(message_name(name, 8, "12345678", "log", "h", "i", &error), -EINVAL);
	assert_true(message_topic_valid("a.B_c-9"));
	assert_false(message_topic_valid("a/b"));
	assert_false(message_topic_valid(".."));
	assert_false(message_topic_valid(""));
	assert_refused("topic: \"a b\"",
	               "topic: \"a b\" is no name of a Kafka topic; allowed: a-z A-Z 0-9 . _ -");
	assert_refused("topic: \"{client_id}\"",
	               "topic: \"{client_id}\": allowed in braces: topic, host, instance");
	assert_refused("format: line", "format: events of topic log have no \"line\"");
}

static void assert_property_refused(const char *text, const char *expected)
{
	struct properties properties = {0};
	assert_int_equal(properties_add(&properties, text, &error), -EINVAL);
	assert_string_equal(error.text, expected);
	assert_int_equal(properties.n, 0);
	properties_fini(&properties);
}

static void properties_of_ours_and_secrets_are_refused(void **state)
{
	struct properties properties = {0};
	(void)state;
	assert_int_equal(properties_add(&properties, " linger.ms = 20 ", &error), 0);
	assert_string_equal(properties.property[0].name, "linger.ms");
	assert_string_equal(properties.property[0].value, "20");
	properties_fini(&properties);
	assert_property_refused("acks=1", "acks: the sink's promises need the value that it sets");
	assert_property_refused("bootstrap.servers=x", "bootstrap.servers: an option of the sink says it");
	assert_property_refused("ssl.key.password=hush",
	                        "ssl.key.password: a secret belongs into properties_file");
	assert_property_refused("linger", "NAME=VALUE is wanted");
	assert_property_refused("=x", "NAME=VALUE is wanted");
}

static void a_file_of_properties_may_have_secrets(void **state)
{
	char path[] = "/tmp/millrace-properties-XXXXXX";
	struct properties properties = {0};
	(void)state;
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	dprintf(fd, "# for the cluster\n\n  sasl.password = a=b\nsasl.username=u\n");
	assert_int_equal(properties_read(&properties, path, &error), 0);
	assert_int_equal(properties.n, 2);
	assert_string_equal(properties.property[0].value, "a=b");
	properties_fini(&properties);
	dprintf(fd, "acks=0\n");
	assert_int_equal(properties_read(&properties, path, &error), -EINVAL);
	assert_string_equal(error.text, "5: acks: the sink's promises need the value that it sets");
	properties_fini(&properties);
	close(fd);
	unlink(path);
	assert_int_equal(properties_read(&properties, path, &error), -ENOENT);
}

static void assert_check(const char *options, const char *expected)
{
	struct config *config = sink(options);
	error.text[0] = '\0';
	int result = kafka_stage.check(config, "sinks[0]", &error);
	if (strncmp(error.text, expected, strlen(expected)) != 0)
		fail_msg("%s", error.text);
	assert_int_equal(result == 0, expected[0] == '\0');
	config_free(config);
}

static void the_check_asks_librdkafka(void **state)
{
	(void)state;
	assert_check("properties: [compression.type=lz4, linger.ms=20]", "");
	assert_check("exactly_once: true", "");
	assert_check("properties: [compression.typ=lz4]",
	             "sinks[0].properties: compression.typ=lz4: No such configuration property");
	assert_check("properties: [linger.ms=soon]", "sinks[0].properties: linger.ms=soon: ");
	assert_check("properties: [max.in.flight=50]", "sinks[0].properties: ");
	assert_check("properties: [security.protocol=ssl, ssl.ca.location=/nowhere]",
	             "sinks[0].properties: ");
	assert_check("exactly_once: true, transaction: {interval: 60s, timeout: 60s}",
	             "sinks[0].transaction.interval: not below transaction.timeout");
	assert_check("key: \"{nonsense}\"", "sinks[0].key: ");
	assert_check("filter: [nonsense=1]", "sinks[0].filter: ");
}

static void positions_come_back_as_they_were_written(void **state)
{
	char text[EXACTLY_POSITION_BYTES];
	struct exactly_position read, position = {UINT64_MAX, UINT64_MAX - 1, 3};
	(void)state;
	size_t bytes = exactly_write(text, &position);
	assert_true(bytes < sizeof text);
	assert_true(exactly_read(text, bytes, &read));
	assert_memory_equal(&read, &position, sizeof read);
	assert_false(exactly_read(text, bytes - 1, &read));
	assert_false(exactly_read("{\"generation\":1,\"position\":-2,\"records\":3}", 42, &read));
	assert_false(exactly_read("", 0, &read));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_log_event_is_the_object_as_it_was_sent),
	        cmocka_unit_test(the_key_is_a_template),
	        cmocka_unit_test(what_the_filter_does_not_want_is_left_out),
	        cmocka_unit_test(a_record_is_sent_as_it_lies_in_the_lane),
	        cmocka_unit_test(a_record_that_is_no_event_is_bad),
	        cmocka_unit_test(names_have_fields_and_become_valid_topics),
	        cmocka_unit_test(properties_of_ours_and_secrets_are_refused),
	        cmocka_unit_test(a_file_of_properties_may_have_secrets),
	        cmocka_unit_test(the_check_asks_librdkafka),
	        cmocka_unit_test(positions_come_back_as_they_were_written),
	};
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
