#include "bench/enrich_channel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bench/turns.h"
#include "base/clock.h"

#define INSTANCE   "bench"
#define LANE_BYTES (8u << 20)
#define GENERATION 1u

static const struct topic {
	const char *name, *role;
	const char *required[2];
	unsigned n_required;
} topics[] = {
        {"track.raw", "bench.0", {"enrich", "copy"}, 2},
        {"track", "enrich.0", {"sink"}, 1},
        {"copied", "copy.0", {"sink"}, 1},
};
#define TOPICS (sizeof topics / sizeof topics[0])

static void must(int result, const struct shm_error *error)
{
	if (result == 0)
		return;
	fprintf(stderr, "bench-enrich: %s\n", error->text);
	exit(1);
}

/* ---- making ---- */

static void fill_page(void *body, void *argument)
{
	struct instance_page *page = body;
	(void)argument;
	page->n_topics = TOPICS;
	for (unsigned i = 0; i < TOPICS; i++) {
		snprintf(page->topic[i].name, SHM_NAME_MAX, "%s", topics[i].name);
		snprintf(page->topic[i].lane_role[0], SHM_NAME_MAX, "%s", topics[i].role);
		page->topic[i].size_bytes = LANE_BYTES;
		page->topic[i].n_lanes = 1;
	}
}

static void make(const char *directory)
{
	struct shm_error error = {""};
	char name[SEGMENT_NAME_MAX];
	for (unsigned i = 0; i < TOPICS; i++) {
		must(stream_create(directory, instance_lane_name(name, topics[i].name, 0), GENERATION,
		                   LANE_BYTES, &error),
		     &error);
		must(topic_groups_create(directory, topics[i].name, GENERATION, topics[i].required,
		                         topics[i].n_required, &error),
		     &error);
		must(segment_create(directory, instance_private_name(name, topics[i].role), SEGMENT_PRIVATE,
		                    GENERATION, PRIVATE_NOTE_BYTES, NULL, NULL, &error),
		     &error);
	}
	must(segment_create(directory, "instance", SEGMENT_INSTANCE, GENERATION, sizeof(struct instance_page),
	                    fill_page, NULL, &error),
	     &error);
}

static void attach_reader(struct topic_reader *reader, const struct instance *instance, const char *topic,
                          const char *group)
{
	struct shm_error error = {""};
	must(topic_reader_attach_stage(reader, instance, topic, group, (struct topic_share){.n = 1}, &error),
	     &error);
}

void channel_open(struct channel *channel, struct enrich *enrich)
{
	struct shm_error error = {""};
	char directory[256];
	snprintf(directory, sizeof directory, "%s/" INSTANCE, turns_directory());
	if (mkdir(directory, 0700) != 0 || setenv("MILLRACE_SHM", turns_directory(), 1) != 0) {
		perror(directory);
		exit(1);
	}
	make(directory);
	memset(channel, 0, sizeof *channel);
	channel->enrich = enrich;
	channel->control = calloc(1, sizeof *channel->control);
	if (channel->control == NULL)
		exit(1);
	struct instance *instance = &channel->instance;
	must(instance_attach(instance, INSTANCE, SEGMENT_WRITE, &error), &error);
	must(topic_writer_attach(&channel->calls, instance, "track.raw", "bench.0", &error), &error);
	must(enrich_open(enrich, instance, "enrich.0", (struct topic_share){.n = 1}, channel->control,
	                 &error),
	     &error);
	must(topic_writer_attach(&channel->copy.writer, instance, "copied", "copy.0", &error), &error);
	must(private_attach(&channel->copy.private_segment, &channel->copy.redo, instance, "copy.0", &error),
	     &error);
	attach_reader(&channel->copy.reader, instance, "track.raw", "copy");
	channel->copy.redo.base[1] = (char *)channel->copy.writer.stream.shared;
	channel->copy.redo.base[2] = (char *)channel->copy.reader.group;
	lane_stream(&channel->copy.lane, &channel->copy.writer);
	attach_reader(&channel->events, instance, "track", "sink");
	attach_reader(&channel->copies, instance, "copied", "sink");
}

void channel_close(struct channel *channel)
{
	enrich_close(channel->enrich);
	topic_reader_detach(&channel->copies);
	topic_reader_detach(&channel->events);
	topic_reader_detach(&channel->copy.reader);
	segment_detach(&channel->copy.private_segment);
	topic_writer_detach(&channel->copy.writer);
	topic_writer_detach(&channel->calls);
	instance_detach(&channel->instance);
	free(channel->control);
}

/* ---- working ---- */

void channel_fill(struct channel *channel, const struct record *const *record, unsigned n)
{
	struct stream_writer *writer = &channel->calls.stream;
	size_t bytes = 0;
	for (unsigned i = 0; i < n; i++)
		bytes += record_bytes(record[i]->length);
	char *at = stream_reserve(writer, bytes);
	if (at == NULL) {
		fprintf(stderr, "bench-enrich: the calls do not fit their lane\n");
		exit(1);
	}
	for (unsigned i = 0; i < n; i++) {
		size_t record_size = record_bytes(record[i]->length);
		memcpy(at, record[i], record_size);
		at += record_size;
	}
	stream_commit(writer, bytes, n);
	topic_ring(&channel->calls);
}

bool channel_copy(struct channel *channel)
{
	unsigned which;
	struct record_batch batch;
	const struct record *record;
	struct lane *lane = &channel->copy.lane;
	uint64_t n = 0;
	if (!topic_peek(&channel->copy.reader, &which, &batch))
		return false;
	while (n < ENRICH_BATCH && (record = record_next(&batch)) != NULL) {
		size_t bytes = record_bytes(record->length);
		char *at = lane_room(lane, bytes);
		if (at == NULL || !event_check(record))
			abort(); /* the lanes are as large as those that they are filled from */
		memcpy(at, record, bytes);
		lane->received++;
		lane_keep(lane, bytes);
		n++;
	}
	struct stream_reader *reader = &channel->copy.reader.lane[which];
	stream_pass(reader, &batch, n);
	stream_settle_note(reader, &channel->copy.redo, 2);
	lanes_commit(lane, 1, &channel->copy.redo);
	return true;
}

static uint64_t count(struct topic_reader *reader)
{
	unsigned lane;
	struct record_batch batch;
	uint64_t n = 0;
	while (topic_peek(reader, &lane, &batch)) {
		uint64_t records = 0;
		while (record_next(&batch) != NULL)
			records++;
		stream_advance(&reader->lane[lane], &batch, records);
		n += records;
	}
	return n;
}

uint64_t channel_empty(struct channel *channel)
{
	uint64_t events = count(&channel->events), copies = count(&channel->copies);
	return events == copies ? events : UINT64_MAX;
}
