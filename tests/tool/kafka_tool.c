/* A Kafka cluster for system tests: librdkafka's mock (tests/fixture/kafka_mock.h).
 *
 *     kafka_tool [BROKERS]       prints its bootstrap servers, then obeys lines of standard input, and ends with it:
 *
 *     topic NAME PARTITIONS      creates a topic
 *     down | up                  all brokers
 *     refuse CODE N              the next N requests to produce get this error code
 *     read TOPIC PARTITIONS      prints one message a line: partition, key and value with tabs between, then "end N"
 *
 * Each line but `read` is answered by "ok". */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fixture/kafka_mock.h"

#define PRODUCE 0

static void print(void *argument, const rd_kafka_message_t *message)
{
	(void)argument;
	printf("%" PRId32 "\t", message->partition);
	if (message->key != NULL)
		fwrite(message->key, 1, message->key_len, stdout);
	putchar('\t');
	if (message->payload != NULL)
		fwrite(message->payload, 1, message->len, stdout);
	putchar('\n');
}

static bool obey(struct kafka_mock *mock, int brokers, const char *line)
{
	char topic[250];
	int n, code;
	if (sscanf(line, "read %249s %d", topic, &n) == 2) {
		printf("end %ld\n", kafka_mock_read(mock->brokers, topic, n, print, NULL));
		return true;
	}
	if (sscanf(line, "topic %249s %d", topic, &n) == 2)
		return rd_kafka_mock_topic_create(mock->cluster, topic, n, 1) == 0 && puts("ok") >= 0;
	bool down = strcmp(line, "down\n") == 0;
	if (down || strcmp(line, "up\n") == 0) {
		for (int i = 1; i <= brokers; i++)
			(void)(down ? rd_kafka_mock_broker_set_down(mock->cluster, i)
			            : rd_kafka_mock_broker_set_up(mock->cluster, i));
		return puts("ok") >= 0;
	}
	if (sscanf(line, "refuse %d %d", &code, &n) != 2)
		return false;
	for (; n > 0; n--)
		rd_kafka_mock_push_request_errors(mock->cluster, PRODUCE, 1, (rd_kafka_resp_err_t)code);
	return puts("ok") >= 0;
}

int main(int argc, char **argv)
{
	struct kafka_mock mock;
	char line[512];
	int brokers = argc > 1 ? atoi(argv[1]) : 1;
	if (brokers < 1 || !kafka_mock_start(&mock, brokers))
		return 1;
	puts(mock.brokers);
	fflush(stdout);
	bool good = true;
	while (good && fgets(line, sizeof line, stdin) != NULL) {
		good = obey(&mock, brokers, line);
		fflush(stdout);
	}
	kafka_mock_stop(&mock);
	return good ? 0 : 2;
}
