#include "sink/objects/objects.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "flow/flow.h"
#include "stage/records.h"

struct alone {
	struct objects objects;
	const char *topics[LINES_TOPICS_MAX + 1];
	uint64_t records, others;
};

static void wait_for_store(struct objects *objects)
{
	struct store_wait wait[OBJECTS_WAITS_MAX];
	struct pollfd fd[OBJECTS_WAITS_MAX];
	uint64_t timeout_ns = 100 * NS_PER_MS;
	unsigned n = upload_wait(objects->upload, wait, OBJECTS_WAITS_MAX, clock_monotonic_ns(), &timeout_ns);
	for (unsigned i = 0; i < n; i++)
		fd[i] = (struct pollfd){.fd = wait[i].fd, .events = wait[i].events};
	(void)poll(fd, n, (int)((timeout_ns + NS_PER_MS - 1) / NS_PER_MS));
}

/* Steps until nothing more can be done at once. False when the store fails: there is nobody to
 * wait. */
static bool work(struct objects *objects)
{
	while (upload_work(objects->upload, clock_monotonic_ns()))
		;
	upload_tick(objects->upload, clock_monotonic_ns(), clock_real_ns());
	const struct upload_counts *counts = upload_counts(objects->upload);
	if (counts->failing_since_ns == 0)
		return true;
	log_error("the store fails", "reason=\"%s\"", counts->reason);
	return false;
}

/* The topic of the sink whose events are of the record's type; -1: none. */
static int topic_of(const struct alone *alone, uint16_t type)
{
	for (int i = 0; alone->topics[i] != NULL; i++)
		if (flow_topic_type(alone->topics[i]) == type)
			return i;
	return -1;
}

/* The batch up to the first record of another type; it moves on to there. */
static struct record_batch same_type(struct record_batch *batch, uint16_t *type)
{
	struct record_batch run = *batch, before = *batch;
	*type = EVENT_NONE;
	while (record_next(batch) != NULL && (*type == EVENT_NONE || batch->type == *type)) {
		*type = batch->type;
		before = *batch;
	}
	*batch = before;
	run.end = before.at;
	return run;
}

static bool take_run(struct alone *alone, struct record_batch *run, unsigned topic)
{
	struct objects *objects = &alone->objects;
	while (run->at < run->end) {
		uint64_t n = lines_take(&objects->lines, topic, 0, run, clock_real_ns());
		alone->records += n;
		journal_commit(objects->journal, NULL);
		(void)objects_touch(objects);
		(void)upload_relieve(objects->upload, clock_monotonic_ns());
		if (!work(objects))
			return false;
		if (objects->lines.full && n == 0)
			wait_for_store(objects);
	}
	return true;
}

static bool take_batch(struct alone *alone, struct record_batch *batch)
{
	uint16_t type;
	while (batch->at < batch->end && !batch->corrupt) {
		struct record_batch run = same_type(batch, &type);
		int topic = topic_of(alone, type);
		if (run.at == run.end)
			break;
		if (topic < 0)
			for (; record_next(&run) != NULL; alone->others++)
				;
		else if (!take_run(alone, &run, (unsigned)topic))
			return false;
	}
	return true;
}

static bool take_file(struct alone *alone, FILE *input)
{
	struct objects *objects = &alone->objects;
	struct records records = {.file = input};
	struct record_batch batch;
	bool good = true;
	while (good && records_read(&records, &batch))
		good = take_batch(alone, &batch);
	if (records_end(&records) != 0)
		good = false;
	upload_finish_all(objects->upload);
	while (work(objects) && upload_unfinished(objects->upload) != 0)
		wait_for_store(objects);
	return good && upload_unfinished(objects->upload) == 0;
}

static int open_alone(struct alone *alone, const struct config *config, struct shm_error *error)
{
	char section[SHM_NAME_MAX + 16] = "";
	struct journal *journal;
	size_t n = config_count(config, "sinks");
	for (size_t i = n; i-- > 0;)
		if (strcmp(config_string(config, "sinks[%zu].kind", i), "objects") == 0)
			snprintf(section, sizeof section, "sinks[%zu]", i);
	if (section[0] == '\0') {
		shm_explain(error, "sinks: none is of the kind objects");
		return -EINVAL;
	}
	n = config_count(config, "%s.topics", section);
	for (size_t i = 0; i < n && i < LINES_TOPICS_MAX; i++)
		alone->topics[i] = config_item(config, i, "%s.topics", section);
	int result = objects_open(&alone->objects, config, section, alone->topics, error);
	if (result != 0)
		return result;
	for (unsigned i = 0; i < alone->objects.lines.n_topics; i++)
		alone->objects.lines.topic[i].number = (uint16_t)i;
	result = journal_open_memory(&journal, config_u64(config, "%s.tails", section),
	                             &alone->objects.bounds, error);
	if (result == 0)
		result = objects_begin(&alone->objects, journal, clock_real_ns(), error);
	if (result != 0)
		objects_close(&alone->objects);
	return result;
}

int objects_alone(const struct config *config, FILE *input, FILE *output)
{
	struct alone alone = {0};
	struct shm_error error;
	if (open_alone(&alone, config, &error) != 0) {
		log_error("cannot start", "reason=\"%s\"", error.text);
		return 1;
	}
	bool good = take_file(&alone, input);
	const struct upload_counts *counts = upload_counts(alone.objects.upload);
	const struct lines_counts *lines = &alone.objects.lines.counts;
	fprintf(output, "records %" PRIu64 "\n", alone.records + alone.others);
	fprintf(output, "events %" PRIu64 "\n", lines->events);
	fprintf(output, "filtered %" PRIu64 "\n", lines->filtered);
	fprintf(output, "skipped %" PRIu64 "\n", lines->bad + lines->too_long + alone.others);
	fprintf(output, "objects %" PRIu64 "\n", counts->objects);
	fprintf(output, "object_bytes %" PRIu64 "\n", counts->object_bytes);
	if (fflush(output) != 0)
		good = false;
	objects_close(&alone.objects);
	return good ? 0 : 1;
}
