/* A topic of a millrace that runs, by libmillrace: a lane for outside programs and a required
 * group. */
#include "bench/hop.h"

#include <string.h>

#include "bench/cpu.h"
#include "bench/pipeline.h"
#include "lib/millrace.h"

#define TOPIC "hop"
#define GROUP "reader"
#define TYPE  256

static struct pipeline pipeline;
static char why[512];

static struct millrace *attach(void)
{
	struct millrace *millrace = millrace_attach("bench", why, sizeof why);
	if (millrace == NULL)
		hop_fail("topic", why);
	return millrace;
}

static struct millrace_reader *read_group(struct millrace *millrace)
{
	struct millrace_reader *reader =
	        millrace_read(millrace, TOPIC, GROUP, MILLRACE_REQUIRED, MILLRACE_FROM_TAIL);
	if (reader == NULL)
		hop_fail("topic", millrace_error(millrace));
	return reader;
}

/* The group is made here, so that it is there before anything is written. */
static const char *topic_open(void)
{
	static const char *const extra[] = {"--set", "topics." TOPIC ".size=16MiB", "--set",
	                                    "topics." TOPIC ".outside_lanes=1", NULL};
	pipeline_start(&pipeline, extra);
	struct millrace *millrace = attach();
	millrace_read_end(read_group(millrace));
	millrace_detach(millrace);
	return NULL;
}

static void topic_close(void)
{
	struct millrace *millrace = attach();
	(void)millrace_forget(millrace, TOPIC, GROUP);
	millrace_detach(millrace);
	pipeline_stop(&pipeline);
}

static pid_t topic_server(void)
{
	return pipeline.supervisor;
}

static struct millrace *side; /* of a child */
static struct millrace_writer *writer;
static struct millrace_reader *reader;
static unsigned taken;

static void topic_writer(void)
{
	side = attach();
	writer = millrace_write(side, TOPIC);
	if (writer == NULL)
		hop_fail("topic", millrace_error(side));
}

static void topic_hand_in(const struct hop_message *message, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (millrace_append(writer, TYPE, &message[i], sizeof message[i], -1) != 0)
			hop_fail("topic", millrace_writer_error(writer));
	if (millrace_commit(writer) != 0)
		hop_fail("topic", millrace_writer_error(writer));
}

static void topic_reader(void)
{
	side = attach();
	reader = read_group(side);
}

static unsigned copy_batch(struct hop_message *message)
{
	const struct millrace_record *record;
	unsigned n = 0;
	while (n < HOP_BATCH && (record = millrace_next(reader)) != NULL) {
		if (record->length != sizeof *message)
			hop_fail("topic", "a record of another length");
		memcpy(&message[n++], record->data, sizeof *message);
	}
	return n;
}

/* What was given at the last call is acknowledged when the batch is at its end, as a program
 * would. */
static unsigned topic_take(struct hop_message *message)
{
	if (taken > 0 && (taken = copy_batch(message)) > 0)
		return taken;
	millrace_advance(reader);
	int got = millrace_peek(reader, 100);
	if (got < 0)
		hop_fail("topic", millrace_reader_error(reader));
	taken = got > 0 ? copy_batch(message) : 0;
	return taken;
}

static void topic_done(void)
{
	millrace_advance(reader);
	millrace_read_end(reader);
}

const struct hop_way hop_topic = {
        .name = "topic",
        .promise = "outlives every process",
        .open = topic_open,
        .close = topic_close,
        .server = topic_server,
        .writer_begin = topic_writer,
        .hand_in = topic_hand_in,
        .reader_begin = topic_reader,
        .take = topic_take,
        .reader_done = topic_done,
};
