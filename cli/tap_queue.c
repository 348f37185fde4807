/* tap of a queue: prints its messages, and then new ones, without taking any.
 *
 *     look at all slots --> print new messages --> sleep until a push, 100 ms at most --> look ...
 *
 * A message is printed once, as soon as a look finds it ready or taken. One that comes and goes
 * between two looks is not printed.
 */
#include "cli/tap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/command.h"
#include "shm/folder.h"
#include "shm/life.h"
#include "shm/queue_look.h"
#include "base/clock.h"

#define WAIT_NS (100 * NS_PER_MS)

struct queue_tap {
	const struct tap_options *options;
	struct tap_output *output;
	struct instance instance;
	struct life_watch life;
	struct command_follow follow;
	bool down; /* no supervisor ran the instance at the start: do not follow it */
	struct queue queue;
	struct sleep_word
	        pushed; /* rung while a taker sleeps; a tap may not write, and looks by itself too */
	struct queue_look look;
	struct stat looked_at; /* file of the queue that `look` knows */
	bool looking;
	uint64_t skip; /* messages of the first look that the user did not ask for */
	char *record;  /* buffer for a message as a record, so that the code for events prints it */
};

bool tap_is_queue(const struct tap_options *options)
{
	struct instance instance;
	struct shm_error error;
	if (instance_attach(&instance, options->instance, SEGMENT_READ, &error) != 0)
		return false;
	bool is = instance_queue_index(&instance, options->topic) >= 0 &&
	          instance_topic_index(&instance, options->topic) < 0;
	instance_detach(&instance);
	return is;
}

/* ---- joining ---- */

static void forget(struct queue_tap *tap)
{
	if (tap->looking)
		queue_look_close(&tap->look);
	free(tap->record);
	tap->record = NULL;
	tap->looking = false;
}

/* Starts to look at the queue, or goes on when it is the same queue. A queue made again is new,
 * with all its messages. */
static int begin_look(struct queue_tap *tap)
{
	char name[SEGMENT_NAME_MAX];
	struct stat status = {0};
	struct queue_counts counts;
	bool first = tap->record == NULL;
	instance_queue_name(name, tap->options->topic);
	if (folder_stat(tap->instance.directory, name, &status) == 0 && tap->looking &&
	    status.st_ino == tap->looked_at.st_ino && status.st_dev == tap->looked_at.st_dev)
		return 0;
	forget(tap);
	tap->looked_at = status;
	tap->record = aligned_alloc(RECORD_ALIGN, record_bytes(tap->queue.slot_bytes));
	if (tap->record == NULL || queue_look_open(&tap->look, &tap->queue) != 0)
		return -ENOMEM;
	tap->looking = true;
	if (!first)
		return 0;
	queue_count(&tap->queue, &counts);
	uint64_t there = counts.ready + counts.taken;
	tap->skip = there > tap->options->last ? there - tap->options->last : 0;
	return 0;
}

static void leave(struct queue_tap *tap)
{
	queue_detach(&tap->queue);
	instance_detach(&tap->instance);
}

/* Returns 0 or the exit status. */
static int enter(struct queue_tap *tap)
{
	const struct tap_options *options = tap->options;
	char name[SEGMENT_NAME_MAX];
	struct shm_error error = {""};
	int status = command_attach("tap", &tap->instance, options->instance, SEGMENT_READ);
	if (status != 0)
		return status;
	life_init(&tap->life, &tap->instance);
	if (tap->record == NULL)
		tap->down = !life_supervised(&tap->instance);
	if (tap->down && options->last == 0) {
		status = command_say_down("tap", &tap->instance, options->instance);
		instance_detach(&tap->instance);
		return status;
	}
	int index = instance_queue_index(&tap->instance, options->topic);
	if (index < 0) {
		instance_detach(&tap->instance);
		return command_fail("tap", "queue \"%s\" is no longer in the configuration", options->topic);
	}
	if (queue_attach(&tap->queue, tap->instance.directory, instance_queue_name(name, options->topic),
	                 SEGMENT_READ, 0, &error) != 0) {
		instance_detach(&tap->instance);
		return command_fail("tap", "%s", error.text);
	}
	tap->pushed = sleep_on_call(&tap->queue.shared->pushed.word);
	if (begin_look(tap) != 0) {
		leave(tap);
		return command_fail("tap", "%s", strerror(ENOMEM));
	}
	return 0;
}

/* ---- looking ---- */

static void print_message(struct queue_tap *tap)
{
	const struct queue_look *look = &tap->look;
	char *payload = record_put(tap->record, EVENT_POSTBACK, look->length);
	memcpy(payload, look->data, look->length);
	/* The padding to 8 bytes. */
	memset(payload + look->length, 0, record_bytes(look->length) - sizeof(struct record) - look->length);
	tap_print(tap->output, (const struct record *)(const void *)tap->record, 0, 0);
}

static void sweep(struct queue_tap *tap)
{
	while (tap_wants_more(tap->output) && queue_look(&tap->look, &tap->queue)) {
		if (tap->skip == 0)
			print_message(tap);
		else
			tap->skip--;
	}
	tap->skip = 0; /* the user asked for everything from now on */
}

/* Looks again and again until the command has to end, or the instance ends or is replaced. */
static enum life read_on(struct queue_tap *tap)
{
	enum life life = LIFE_SAME;
	while (life == LIFE_SAME && tap_wants_more(tap->output)) {
		sleep_note(&tap->pushed, 1);
		sweep(tap);
		if (!tap_flush(tap->output) || tap->options->no_follow || tap->down || tap_output_gone())
			break;
		life = life_check(&tap->life);
		if (life == LIFE_SAME && tap_wants_more(tap->output)) {
			command_follow(&tap->follow, "tap", &tap->instance, tap->options->instance);
			sleep_any(&tap->pushed, 1, WAIT_NS);
		}
	}
	return life;
}

int tap_queue(const struct tap_options *options, struct tap_output *output)
{
	struct queue_tap *tap = calloc(1, sizeof *tap);
	enum life life = LIFE_REPLACED;
	int status = 0;
	if (tap == NULL)
		return command_fail("tap", "%s", strerror(ENOMEM));
	tap->options = options;
	tap->output = output;
	while (status == 0 && life == LIFE_REPLACED) {
		status = enter(tap);
		if (status != 0)
			break;
		ndjson_fini(&output->lines);
		ndjson_init(&output->lines, &tap->instance, options->topic);
		life = read_on(tap);
		(void)tap_flush(output);
		if (tap->down && command_say_down("tap", &tap->instance, options->instance) != 0 &&
		    !options->no_follow)
			status = 1; /* the user asked for new messages, and none will come */
		leave(tap);
	}
	forget(tap);
	free(tap);
	int finished = tap_finish(output, "messages");
	if (status == 0 && life == LIFE_ENDED)
		fprintf(stderr, "millrace tap: instance \"%s\" has ended\n", options->instance);
	return status != 0 ? status : finished;
}
