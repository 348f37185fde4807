/* An instance with a queue of postbacks, for tests of commands: made without a supervisor, filled
 * and emptied step by step.
 *
 *     queue_tool INSTANCE make SLOTS            topic "ip", queue "postback"
 *     queue_tool INSTANCE push FIRST LAST       postbacks to http://host/FIRST ... LAST
 *     queue_tool INSTANCE garbage               a message that is no postback
 *     queue_tool INSTANCE take N                takes N messages and dies with them
 *     queue_tool INSTANCE done                  its next life finishes them
 *     queue_tool INSTANCE end                   the instance is at its end, as its supervisor would say
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "event/event.h"
#include "tests/fixture/instance.h"

#define SLOT_BYTES 1000u

enum { PRODUCER = 1, TAKER = 2 };

static void check(int result, const struct shm_error *error)
{
	if (result == 0)
		return;
	fprintf(stderr, "queue_tool: %s\n", error->text);
	exit(1);
}

static void make(const char *name, unsigned long slots)
{
	static const struct test_topic topics[] = {{"ip", STREAM_SIZE_MIN, 1, {"writer.0"}, NULL}};
	char directory[128];
	struct shm_error error = {"directory"};
	check(segment_directory(directory, sizeof directory, name), &error);
	check(mkdir(directory, 0700), &error);
	check(instance_make_queues(directory, topics, 1,
	                           (struct test_queue[]){{"postback", slots, SLOT_BYTES}}, 1, &error),
	      &error);
}

static void push(struct queue *queue, unsigned long first, unsigned long last)
{
	static const char data[] = "{\"mascot\":\"Gopher\"}";
	for (unsigned long i = first; i <= last; i++) {
		alignas(8) char message[SLOT_BYTES] = "";
		struct event_postback *event = (void *)message;
		event->arrival_ns = i * 1000000000;
		event->source[10] = event->source[11] = 0xff;
		event->source[12] = 10;
		event->source[15] = (uint8_t)i;
		event->method = i % 2 == 0 ? POSTBACK_GET : POSTBACK_POST;
		event->id[0] = 7;
		event->id[1] = i;
		event->url_bytes = (uint32_t)sprintf(event->text, "http://host/%lu", i);
		event->data_bytes = sizeof data - 1;
		memcpy(event->text + event->url_bytes, data, sizeof data);
		uint32_t length = (uint32_t)sizeof *event + event->url_bytes + event->data_bytes;
		if (!queue_push(queue, message, length)) {
			fprintf(stderr, "queue_tool: the queue is full\n");
			exit(1);
		}
	}
}

static void take(struct queue *queue, unsigned long n)
{
	struct queue_slot slot;
	for (; n > 0; n--)
		if (!queue_take(queue, &slot))
			exit(1);
}

static void finish(struct queue *queue)
{
	struct queue_slot slot;
	for (uint32_t next = 0; queue_resume(queue, &next, &slot);)
		if (queue_done(queue, &slot) != 0)
			exit(1);
}

static unsigned long number(int argc, char **argv, int i)
{
	return i < argc ? strtoul(argv[i], NULL, 10) : 0;
}

int main(int argc, char **argv)
{
	struct instance instance;
	struct shm_error error = {""};
	struct queue queue;
	char name[SEGMENT_NAME_MAX];
	const char *what = argc > 2 ? argv[2] : "";
	if (strcmp(what, "make") == 0) {
		make(argv[1], number(argc, argv, 3));
		return 0;
	}
	bool takes = strcmp(what, "take") == 0 || strcmp(what, "done") == 0;
	check(instance_attach(&instance, argc > 1 ? argv[1] : "", SEGMENT_WRITE, &error), &error);
	check(queue_attach(&queue, instance.directory, instance_queue_name(name, "postback"), SEGMENT_WRITE,
	                   takes ? TAKER : PRODUCER, &error),
	      &error);
	if (strcmp(what, "push") == 0)
		push(&queue, number(argc, argv, 3), number(argc, argv, 4));
	else if (strcmp(what, "garbage") == 0)
		return !queue_push(&queue, "no postback", 11);
	else if (strcmp(what, "take") == 0)
		take(&queue, number(argc, argv, 3));
	else if (strcmp(what, "done") == 0)
		finish(&queue);
	else if (strcmp(what, "end") == 0)
		atomic_store(&((struct instance_page *)instance.page_segment.body)->draining, 1);
	else
		return 2;
	return 0;
}
