/* millrace consume: feeds the events of a topic to a program, each at least once. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/arguments.h"
#include "cli/command.h"
#include "shm/life.h"
#include "cli/ndjson.h"
#include "cli/program.h"
#include "shm/record_copy.h"
#include "base/clock.h"

#define BATCH_BYTES    (16u * 1024u * 1024u) /* a batch ends at this size */
#define WAIT_NS        (100 * NS_PER_MS)
#define BACKOFF_MIN_NS (100 * NS_PER_MS)
#define BACKOFF_MAX_NS (5 * NS_PER_SEC)

struct options {
	const char *instance, *topic, *group, *from, *acknowledge;
	uint64_t batch, linger_ns, retries, count;
	bool no_follow, forget;
};

struct consumer {
	const struct options *options;
	const volatile bool *stop;
	struct instance instance;
	struct life_watch life;
	struct command_follow follow;
	struct topic_reader reader;
	struct program program;
	struct ndjson batch;
	struct record_copy copy; /* the record being added to the batch */
	uint64_t n;              /* events in the batch */
	uint64_t left;           /* events still to be consumed */
	uint64_t broken;         /* records whose payload does not fit their type */
	bool made;               /* this call made the group */
	bool acknowledged;       /* at least one batch was acknowledged */
	uint64_t end[STREAM_LANES_MAX];
};

/* ---- collecting a batch ---- */

static bool full(const struct consumer *consumer)
{
	return consumer->n >= consumer->options->batch || consumer->n >= consumer->left ||
	       consumer->batch.used >= BATCH_BYTES;
}

/* Adds records of one run until the batch is full. The shared cursor does not move. */
static void take(struct consumer *consumer, unsigned lane, struct record_batch *records)
{
	uint64_t taken = 0, position = records->position;
	const struct record *record;
	while (!full(consumer) && position < consumer->end[lane] && (record = record_next(records)) != NULL) {
		taken++;
		record = record_copy(&consumer->copy, record->payload, records->length, records->type);
		if (record == NULL)
			abort();
		if (ndjson_add(&consumer->batch, record, lane, position) == 0)
			consumer->n++;
		else
			consumer->broken++;
		position = records->position;
	}
	stream_pass(&consumer->reader.lane[lane], records, taken);
}

static bool reached_end(const struct consumer *consumer)
{
	for (unsigned lane = 0; lane < consumer->reader.n_lanes; lane++)
		if (consumer->reader.lane[lane].position < consumer->end[lane])
			return false;
	return true;
}

/* Waits for more records. False when the batch has lingered long enough, or is the last one. */
static bool wait_more(struct consumer *consumer, uint64_t deadline, enum life *life)
{
	uint64_t now = clock_monotonic_ns();
	bool draining = atomic_load_explicit(&consumer->instance.page->draining, memory_order_relaxed) != 0;
	if (consumer->n > 0 && (now >= deadline || draining))
		return false;
	*life = life_check(&consumer->life);
	if (*life != LIFE_SAME)
		return false;
	command_follow(&consumer->follow, "consume", &consumer->instance, consumer->options->instance);
	uint64_t wait = consumer->n > 0 && deadline - now < WAIT_NS ? deadline - now : WAIT_NS;
	topic_wait(&consumer->reader, wait);
	return true;
}

/* Fills the batch until it is full, has lingered long enough, or the command has to end. */
static enum life collect(struct consumer *consumer)
{
	enum life life = LIFE_SAME;
	uint64_t deadline = 0;
	consumer->n = 0;
	consumer->batch.used = 0;
	while (!full(consumer) && !*consumer->stop && !reached_end(consumer)) {
		unsigned lane;
		struct record_batch records;
		bool first = consumer->n == 0;
		if (topic_peek(&consumer->reader, &lane, &records)) {
			take(consumer, lane, &records);
			if (first && consumer->n > 0)
				deadline = clock_monotonic_ns() + consumer->options->linger_ns;
		} else if (!wait_more(consumer, deadline, &life)) {
			break;
		}
	}
	/* The empty line that ends a batch for --ack line. */
	if (consumer->n > 0 && consumer->program.acknowledge == PROGRAM_LINE)
		ndjson_append(&consumer->batch, "\n", 1);
	return life;
}

/* ---- delivering it ---- */

static void settle(struct consumer *consumer)
{
	for (unsigned lane = 0; lane < consumer->reader.n_lanes; lane++)
		stream_settle(&consumer->reader.lane[lane]);
	consumer->left -= consumer->n;
}

static void back_off(const struct consumer *consumer, uint64_t failures)
{
	uint64_t ns = failures < 7 ? BACKOFF_MIN_NS << (failures - 1) : BACKOFF_MAX_NS;
	if (ns > BACKOFF_MAX_NS)
		ns = BACKOFF_MAX_NS;
	if (!*consumer->stop)
		nanosleep(&(struct timespec){(time_t)(ns / NS_PER_SEC), (long)(ns % NS_PER_SEC)}, NULL);
}

/* A new group without an acknowledged batch has no position worth keeping. */
static bool worthless(const struct consumer *consumer)
{
	return consumer->made && !consumer->acknowledged;
}

static int give_up(const struct consumer *consumer)
{
	if (worthless(consumer))
		return command_fail(
		        "consume",
		        "gave up; nothing was ever acknowledged, so the new group \"%s\" is not kept",
		        consumer->options->group);
	return command_fail(
	        "consume",
	        "gave up; the group \"%s\" keeps its place and holds what comes after it: start consume again, or free the group with --forget",
	        consumer->options->group);
}

/* Feeds the batch until it is acknowledged. Returns 0 or the exit status. */
static int deliver(struct consumer *consumer)
{
	const struct options *options = consumer->options;
	struct program *program = &consumer->program;
	for (uint64_t failures = 0;;) {
		int result = consumer->batch.used == 0
		                     ? 0
		                     : program_deliver(program, consumer->batch.text, consumer->batch.used);
		if (result == 0) {
			consumer->acknowledged = consumer->acknowledged || consumer->batch.used > 0;
			settle(consumer);
			return 0;
		}
		if (result != -EAGAIN)
			return command_fail("consume", "%s", program->why);
		failures++;
		fprintf(stderr,
		        "millrace consume: %s; the batch of %" PRIu64 " events was not acknowledged (%" PRIu64
		        " of %" PRIu64 " attempts)\n",
		        program->why, consumer->n, failures, options->retries + 1);
		if (failures > options->retries || *consumer->stop)
			return give_up(consumer);
		back_off(consumer, failures);
	}
}

/* ---- the command ---- */

/* Attaches to the instance. For the name of a queue it prints a message of its own. Returns 0 or
 * the exit status. */
static int attach(struct instance *instance, const struct options *options)
{
	int status = command_attach("consume", instance, options->instance, SEGMENT_READ);
	if (status != 0 || instance_topic_index(instance, options->topic) >= 0 ||
	    instance_queue_index(instance, options->topic) < 0)
		return status;
	instance_detach(instance);
	return command_fail(
	        "consume",
	        "\"%s\" is a queue, not a topic: each of its messages is taken by one of the stages that work on them, so no group can read it; look at it with: millrace tap %s --last 10",
	        options->topic, options->topic);
}

/* An instance that is down sends nothing, and a group made there would hold back the next run. An
 * instance that drains still feeds its existing groups. Returns 0 or the exit status. */
static int check_life(const struct instance *instance, const struct options *options)
{
	if (!life_supervised(instance))
		return command_say_down("consume", instance, options->instance);
	if (atomic_load_explicit(&instance->page->draining, memory_order_acquire) != 0 &&
	    !topic_has_required(instance, options->topic, options->group))
		return command_fail(
		        "consume",
		        "instance \"%s\" is ending, so no group \"%s\" was made; start it again with: millrace run --instance %s",
		        options->instance, options->group, options->instance);
	return 0;
}

static int enter(struct consumer *consumer)
{
	const struct options *options = consumer->options;
	struct shm_error error = {""};
	int status = attach(&consumer->instance, options);
	if (status != 0)
		return status;
	status = check_life(&consumer->instance, options);
	if (status != 0) {
		instance_detach(&consumer->instance);
		return status;
	}
	life_init(&consumer->life, &consumer->instance);
	enum stream_start start =
	        strcmp(options->from, "oldest") == 0 ? STREAM_FROM_OLDEST : STREAM_FROM_TAIL;
	int result = topic_reader_attach(&consumer->reader, &consumer->instance, options->topic,
	                                 options->group, GROUP_REQUIRED, start, &error);
	if (result != 0) {
		instance_detach(&consumer->instance);
		return command_fail("consume", "%s", error.text);
	}
	consumer->made = consumer->made || consumer->reader.made;
	for (unsigned lane = 0; lane < consumer->reader.n_lanes; lane++) {
		const struct stream_shared *shared = consumer->reader.lane[lane].shared;
		consumer->end[lane] = options->no_follow
		                              ? atomic_load_explicit(&shared->tail, memory_order_acquire)
		                              : UINT64_MAX;
	}
	ndjson_fini(&consumer->batch);
	ndjson_init(&consumer->batch, &consumer->instance, options->topic);
	return 0;
}

/* Consumes batches over one attachment. *life tells whether to attach again. */
static int work(struct consumer *consumer, enum life *life)
{
	int status = 0;
	*life = LIFE_SAME;
	while (status == 0 && *life == LIFE_SAME && consumer->left > 0 && !*consumer->stop &&
	       !reached_end(consumer)) {
		*life = collect(consumer);
		status = deliver(consumer);
	}
	return status;
}

/* A failure must not leave a group that holds up writers and that nobody asked to keep. */
static void leave(struct consumer *consumer, bool failed)
{
	struct shm_error error = {""};
	topic_reader_detach(&consumer->reader);
	if (failed && worthless(consumer) &&
	    topic_group_forget(&consumer->instance, consumer->options->topic, consumer->options->group,
	                       &error) != 0)
		fprintf(stderr, "millrace consume: the new group could not be taken back: %s\n", error.text);
	instance_detach(&consumer->instance);
}

static int run(struct consumer *consumer)
{
	enum life life;
	int status;
	do {
		status = enter(consumer);
		if (status != 0)
			break;
		status = work(consumer, &life);
		leave(consumer, status != 0);
	} while (status == 0 && life == LIFE_REPLACED && !*consumer->stop);
	program_end(&consumer->program);
	if (consumer->broken > 0)
		fprintf(stderr,
		        "millrace consume: %" PRIu64
		        " records are not what their type says and were left out\n",
		        consumer->broken);
	if (status == 0 && life == LIFE_ENDED)
		fprintf(stderr, "millrace consume: instance \"%s\" has ended\n", consumer->options->instance);
	return status;
}

static int forget(const struct options *options)
{
	struct instance instance;
	struct shm_error error = {""};
	int status = attach(&instance, options);
	if (status != 0)
		return status;
	int result = topic_group_forget(&instance, options->topic, options->group, &error);
	instance_detach(&instance);
	return result == 0 ? 0 : command_fail("consume", "%s", error.text);
}

static int consume(const struct options *options, char **program)
{
	struct consumer *consumer = calloc(1, sizeof *consumer);
	if (consumer == NULL)
		return command_fail("consume", "%s", strerror(ENOMEM));
	consumer->options = options;
	consumer->stop = command_stop_on_signals();
	consumer->left = options->count;
	program_init(&consumer->program, program,
	             strcmp(options->acknowledge, "line") == 0 ? PROGRAM_LINE : PROGRAM_EXIT);
	int status = program_find(&consumer->program) == 0
	                     ? run(consumer)
	                     : command_fail("consume", "%s", consumer->program.why);
	ndjson_fini(&consumer->batch);
	record_copy_fini(&consumer->copy);
	free(consumer);
	return status;
}

static int check(const struct arguments *arguments, const struct options *options,
                 const struct operands *operands)
{
	bool program = operands->program != NULL && operands->program[0] != NULL;
	if (options->group == NULL)
		return arguments_error(
		        arguments,
		        "--group NAME is needed: the group's name is where the place in the stream is kept");
	if (options->forget && program)
		return arguments_error(arguments, "--forget takes no program");
	if (!options->forget && !program)
		return arguments_error(
		        arguments,
		        "a program is needed after --, for example: -- sh -c 'cat >> events.ndjson'");
	return ARGUMENTS_GO_ON;
}

int command_consume(int argc, char **argv)
{
	struct options options = {.instance = command_instance(),
	                          .from = "tail",
	                          .acknowledge = "exit",
	                          .batch = 1000,
	                          .linger_ns = 100 * NS_PER_MS,
	                          .retries = 10,
	                          .count = UINT64_MAX};
	const struct argument table[] = {
	        {"group", 'g', ARGUMENT_STRING, "NAME",
	         "the reader group; made at its first use, and it stays, unless PROGRAM failed\n"
	         "before it acknowledged anything",
	         &options.group, 0, 0, NULL},
	        {"from", 0, ARGUMENT_CHOICE, "PLACE",
	         "where a new group begins: tail or oldest (default tail)", &options.from, 0, 0,
	         "tail oldest"},
	        {"ack", 0, ARGUMENT_CHOICE, "MODE",
	         "exit: PROGRAM is started for every batch and acknowledges it with exit 0;\n"
	         "line: PROGRAM stays, gets an empty line after every batch, and\n"
	         "acknowledges it with one line on its output (default exit)",
	         &options.acknowledge, 0, 0, "exit line"},
	        {"batch", 'b', ARGUMENT_COUNT, "N", "most events in a batch (default 1000)", &options.batch,
	         1, 10000000, NULL},
	        {"linger", 0, ARGUMENT_DURATION, "T",
	         "how long a batch may wait to become full (default 100ms)", &options.linger_ns, 0,
	         3600 * NS_PER_SEC, NULL},
	        {"retries", 0, ARGUMENT_COUNT, "N", "attempts after the first, for one batch (default 10)",
	         &options.retries, 0, UINT64_MAX - 1, NULL},
	        {"count", 'n', ARGUMENT_COUNT, "N", "end after N events", &options.count, 1, UINT64_MAX,
	         NULL},
	        {"no-follow", 0, ARGUMENT_FLAG, NULL, "end at what was the newest event at the start",
	         &options.no_follow, 0, 0, NULL},
	        {"forget", 0, ARGUMENT_FLAG, NULL, "free the group: writers no longer wait for it",
	         &options.forget, 0, 0, NULL},
	        {"instance", 0, ARGUMENT_STRING, "NAME",
	         "which instance (default: $MILLRACE_INSTANCE or default)", &options.instance, 0, 0, NULL},
	};
	const struct arguments arguments = {
	        .command = "consume",
	        .usage = "TOPIC --group NAME [OPTION]... -- PROGRAM [ARGUMENT]...",
	        .purpose =
	                "Feeds the events of a topic to PROGRAM, as JSON, one object a line, in batches on its standard input.\n"
	                "The group's place moves on only after PROGRAM has acknowledged a batch; a batch that it did not\n"
	                "acknowledge is given again: each event arrives at least once. Writers wait for the group when it is\n"
	                "slow, or drop, as the topic is configured.",
	        .example = "  millrace consume ip --group archive -- sh -c 'gzip >> events.ndjson.gz'",
	        .table = table,
	        .n = sizeof table / sizeof table[0],
	        .operands_min = 1,
	        .operands_max = 1,
	        .program = true,
	};
	struct operands operands;
	int status = arguments_parse(&arguments, argc, argv, &operands);
	if (status == ARGUMENTS_GO_ON)
		status = check(&arguments, &options, &operands);
	if (status != ARGUMENTS_GO_ON)
		return status;
	options.topic = operands.item[0];
	return options.forget ? forget(&options) : consume(&options, operands.program);
}
