#include "lib/millrace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/event.h"
#include "shm/life.h"
#include "shm/topic.h"
#include "stage/clock.h"

#define LOOK_NS (500 * NS_PER_MS)

struct millrace {
	struct instance instance;
	struct life_watch life;
	struct shm_error error;
};

struct millrace_reader {
	struct millrace *millrace;
	struct topic_reader topic;
	struct record_batch batch;
	unsigned lane;
	uint64_t taken; /* records that millrace_next has given and millrace_advance not passed */
};

struct millrace_writer {
	struct millrace *millrace;
	struct topic_writer topic;
	size_t used_bytes;
	uint64_t used_records;
	bool refuse;
};

struct millrace *millrace_attach(const char *name, char *error, size_t error_bytes)
{
	struct millrace *millrace = calloc(1, sizeof *millrace);
	struct shm_error why = {.text = "no memory"};
	if (name == NULL)
		name = getenv("MILLRACE_INSTANCE");
	if (name == NULL || *name == '\0')
		name = "default";
	if (millrace != NULL && instance_attach(&millrace->instance, name, SEGMENT_READ, &why) == 0) {
		life_init(&millrace->life, &millrace->instance);
		return millrace;
	}
	if (error != NULL)
		snprintf(error, error_bytes, "%s", why.text);
	free(millrace);
	return NULL;
}

void millrace_detach(struct millrace *millrace)
{
	if (millrace == NULL)
		return;
	instance_detach(&millrace->instance);
	free(millrace);
}

const char *millrace_error(const struct millrace *millrace)
{
	return millrace->error.text;
}

/* ---- reading ---- */

struct millrace_reader *millrace_read(struct millrace *millrace, const char *topic, const char *group,
                                      enum millrace_kind kind, enum millrace_from from)
{
	struct millrace_reader *reader =
	        aligned_alloc(SHM_LINE, (sizeof *reader + SHM_LINE - 1) / SHM_LINE * SHM_LINE);
	if (reader == NULL) {
		shm_explain(&millrace->error, "no memory");
		return NULL;
	}
	memset(reader, 0, sizeof *reader);
	reader->millrace = millrace;
	int result = topic_reader_attach(&reader->topic, &millrace->instance, topic, group,
	                                 kind == MILLRACE_REQUIRED ? GROUP_REQUIRED : GROUP_OPTIONAL,
	                                 from == MILLRACE_FROM_OLDEST ? STREAM_FROM_OLDEST : STREAM_FROM_TAIL,
	                                 &millrace->error);
	if (result == 0)
		return reader;
	free(reader);
	errno = -result;
	return NULL;
}

/* 0 while the instance that we are attached to goes on. */
static int explain_life(struct millrace *millrace, enum life life)
{
	switch (life) {
	case LIFE_ENDED:
		shm_explain(&millrace->error, "the instance has ended");
		return -EPIPE;
	case LIFE_REPLACED:
		shm_explain(&millrace->error, "the configuration has changed: detach and attach again");
		return -ESTALE;
	case LIFE_SAME:
		break;
	}
	return 0;
}

int millrace_peek(struct millrace_reader *reader, int timeout_ms)
{
	uint64_t end_ns = clock_monotonic_ns() + (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms) * NS_PER_MS;
	reader->taken = 0;
	memset(&reader->batch, 0, sizeof reader->batch);
	while (!topic_peek(&reader->topic, &reader->lane, &reader->batch)) {
		uint64_t now_ns = clock_monotonic_ns();
		int life = explain_life(reader->millrace, life_check(&reader->millrace->life));
		if (life != 0 || now_ns >= end_ns)
			return life;
		/* A while at a time, so that the end of the instance is noticed. */
		uint64_t left_ns = end_ns - now_ns;
		uint64_t sleep_ns = left_ns < LOOK_NS ? left_ns : LOOK_NS;
		if (!topic_wait(&reader->topic, sleep_ns) && clock_monotonic_ns() < now_ns + sleep_ns)
			return 0; /* a signal: the caller may want to look at its flags */
	}
	return 1;
}

int millrace_next(struct millrace_reader *reader, struct millrace_record *record)
{
	uint64_t position = reader->batch.position;
	const struct record *next = record_next(&reader->batch);
	if (next == NULL)
		return 0;
	reader->taken++;
	*record = (struct millrace_record){.data = next->payload,
	                                   .length = next->length,
	                                   .type = next->type,
	                                   .lane = (uint16_t)reader->lane,
	                                   .position = position};
	return 1;
}

void millrace_advance(struct millrace_reader *reader)
{
	if (reader->batch.at == NULL)
		return;
	stream_advance(&reader->topic.lane[reader->lane], &reader->batch, reader->taken);
	reader->taken = 0;
	/* What was not taken comes with the next peek. */
	memset(&reader->batch, 0, sizeof reader->batch);
}

uint64_t millrace_missed(const struct millrace_reader *reader)
{
	uint64_t missed = 0;
	for (unsigned i = 0; i < reader->topic.n_lanes; i++)
		missed += atomic_load_explicit(&reader->topic.lane[i].cursor->missed_records,
		                               memory_order_relaxed);
	return missed;
}

uint64_t millrace_waiting(const struct millrace_reader *reader)
{
	uint64_t waiting = 0;
	for (unsigned i = 0; i < reader->topic.n_lanes; i++)
		waiting += stream_waiting_records(&reader->topic.lane[i]);
	return waiting;
}

int millrace_json(const struct millrace_reader *reader, const struct millrace_record *record, char *text,
                  size_t text_bytes)
{
	char origin[SHM_NAME_MAX + 48];
	const struct instance *instance = &reader->millrace->instance;
	const struct record *whole =
	        (const struct record *)(const void *)((const char *)record->data - sizeof(struct record));
	snprintf(origin, sizeof origin, "%016llx-%s-%u", (unsigned long long)instance->generation,
	         instance->page->topic[reader->topic.topic].name, record->lane);
	int length =
	        text_bytes == 0 ? -ENOSPC : event_json(text, text_bytes - 1, whole, origin, record->position);
	if (length >= 0)
		text[length] = '\0';
	return length;
}

void millrace_read_end(struct millrace_reader *reader)
{
	if (reader == NULL)
		return;
	topic_reader_detach(&reader->topic);
	free(reader);
}

int millrace_forget(struct millrace *millrace, const char *topic, const char *group)
{
	return topic_group_forget(&millrace->instance, topic, group, &millrace->error);
}

/* ---- writing ---- */

struct millrace_writer *millrace_write(struct millrace *millrace, const char *topic)
{
	struct millrace_writer *writer = calloc(1, sizeof *writer);
	if (writer == NULL) {
		shm_explain(&millrace->error, "no memory");
		return NULL;
	}
	writer->millrace = millrace;
	int result =
	        topic_writer_attach_outside(&writer->topic, &millrace->instance, topic, &millrace->error);
	if (result == 0) {
		/* With the lane held: a drain that began before is seen here, one that begins now waits for us. */
		result = explain_life(millrace, life_writes(&millrace->instance));
		if (result != 0)
			topic_writer_detach(&writer->topic);
	}
	if (result != 0) {
		free(writer);
		errno = -result;
		return NULL;
	}
	writer->refuse = millrace->instance.page->topic[writer->topic.topic].when_full == WHEN_FULL_REFUSE;
	return writer;
}

int millrace_commit(struct millrace_writer *writer)
{
	struct millrace *millrace = writer->millrace;
	if (writer->used_records == 0)
		return 0;
	ledger_add(&writer->topic.stream.shared->ledger.received, writer->used_records);
	stream_commit(&writer->topic.stream, writer->used_bytes, writer->used_records);
	topic_ring(&writer->topic);
	writer->used_bytes = 0;
	writer->used_records = 0;
	/* Another page in place changes nothing for what was committed: the next append tells of it. */
	return life_committed(&millrace->life) == LIFE_ENDED ? explain_life(millrace, LIFE_ENDED) : 0;
}

/* Makes room for `bytes` after what is used, waiting until end_ns at most. Returns 0, -EAGAIN when there is none in time, -EPIPE, -ESTALE. */
static int make_room(struct millrace_writer *writer, size_t bytes, uint64_t end_ns, char **at)
{
	struct millrace *millrace = writer->millrace;
	for (;;) {
		int result = explain_life(millrace, life_writes(&millrace->instance));
		if (result != 0)
			return result;
		char *start = stream_reserve(&writer->topic.stream, writer->used_bytes + bytes);
		if (start != NULL) {
			*at = start + writer->used_bytes;
			return 0;
		}
		/* Readers can only make room by getting what there is. */
		result = millrace_commit(writer);
		if (result == 0)
			result = explain_life(millrace, life_check(&millrace->life));
		if (result != 0 || clock_monotonic_ns() >= end_ns)
			return result != 0 ? result : -EAGAIN;
		nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
	}
}

int millrace_append(struct millrace_writer *writer, uint16_t type, const void *data, uint32_t length,
                    int timeout_ms)
{
	size_t bytes = record_bytes(length);
	size_t most = (writer->topic.stream.mask + 1) / 4;
	if (bytes > most) {
		shm_explain(&writer->millrace->error,
		            "a record of %u bytes; at most %zu (a quarter of the lane) are allowed", length,
		            most - sizeof(struct record));
		return -EMSGSIZE;
	}
	char *at = NULL;
	int result = writer->used_bytes + bytes > most ? millrace_commit(writer) : 0;
	if (result == 0)
		result = make_room(
		        writer, bytes,
		        clock_monotonic_ns() + (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms) * NS_PER_MS, &at);
	if (result == -EAGAIN) {
		struct ledger *ledger = &writer->topic.stream.shared->ledger;
		ledger_add(&ledger->received, 1);
		ledger_add(writer->refuse ? &ledger->refused : &ledger->dropped, 1);
		shm_explain(&writer->millrace->error,
		            "the lane is full: a required group has not read on in time");
	}
	if (result != 0)
		return result;
	memcpy(record_put(at, type, length), data, length);
	writer->used_bytes += bytes;
	writer->used_records++;
	return 0;
}

void millrace_write_end(struct millrace_writer *writer)
{
	if (writer == NULL)
		return;
	(void)millrace_commit(writer);
	topic_writer_detach(&writer->topic);
	free(writer);
}
