/* Writing: a lane of one's own, filled record by record, published batch by batch. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/handle.h"
#include "base/clock.h"

#define WAIT_NS 200000 /* between two looks for room */

struct millrace_writer {
	struct millrace *millrace;
	struct topic_writer topic;
	struct life_watch life;
	size_t used_bytes;
	uint64_t used_records;
	bool refuse;
	struct shm_error error;
};

static int enter(struct millrace_writer *writer, const char *topic)
{
	const struct instance *instance = &writer->millrace->instance;
	handle_lock();
	int result = topic_writer_attach_outside(&writer->topic, instance, topic, handle_error());
	handle_unlock();
	if (result != 0)
		return result;
	life_init(&writer->life, instance);
	/* With the lane held: a drain that began before is seen here, one that begins now waits for
	 * us. */
	result = handle_life(life_writes(instance), handle_error());
	if (result != 0)
		topic_writer_detach(&writer->topic);
	return result;
}

struct millrace_writer *millrace_write(struct millrace *millrace, const char *topic)
{
	struct millrace_writer *writer = calloc(1, sizeof *writer);
	int result = -ENOMEM;
	if (writer == NULL) {
		shm_explain(handle_error(), "no memory");
	} else {
		writer->millrace = millrace;
		result = enter(writer, topic);
	}
	if (result != 0) {
		free(writer);
		errno = -result;
		return NULL;
	}
	writer->refuse = millrace->instance.page->topic[writer->topic.topic].when_full == WHEN_FULL_REFUSE;
	return writer;
}

const char *millrace_writer_error(const struct millrace_writer *writer)
{
	return writer->error.text;
}

int millrace_commit(struct millrace_writer *writer)
{
	if (writer->used_records == 0)
		return 0;
	ledger_add(&writer->topic.stream.shared->ledger.received, writer->used_records);
	stream_commit(&writer->topic.stream, writer->used_bytes, writer->used_records);
	topic_ring(&writer->topic);
	writer->used_bytes = 0;
	writer->used_records = 0;
	/* Another page in place changes nothing for what was committed: the next append tells of
	 * it. */
	return life_committed(&writer->life) == LIFE_ENDED ? handle_life(LIFE_ENDED, &writer->error) : 0;
}

/* Waits for room for `bytes` after what is used. The clock is read only when there is none at
 * once. */
static int wait_for_room(struct millrace_writer *writer, size_t bytes, int timeout_ms, char **at)
{
	uint64_t end_ns =
	        timeout_ms < 0 ? UINT64_MAX : clock_monotonic_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	for (;;) {
		/* Readers can only make room by getting what there is. */
		int result = millrace_commit(writer);
		if (result == 0)
			result = handle_life(life_writes(&writer->millrace->instance), &writer->error);
		if (result == 0)
			result = handle_life(life_check(&writer->life), &writer->error);
		if (result != 0)
			return result;
		*at = stream_reserve(&writer->topic.stream, bytes);
		if (*at != NULL)
			return 0;
		if (clock_monotonic_ns() >= end_ns ||
		    nanosleep(&(struct timespec){.tv_nsec = WAIT_NS}, NULL) != 0)
			return -EAGAIN;
	}
}

/* Room for `bytes` after what is used. Returns 0, -EAGAIN when there is none in time, -EPIPE,
 * -ESTALE. */
static int make_room(struct millrace_writer *writer, size_t bytes, int timeout_ms, char **at)
{
	int result = handle_life(life_writes(&writer->millrace->instance), &writer->error);
	if (result != 0)
		return result;
	char *start = stream_reserve(&writer->topic.stream, writer->used_bytes + bytes);
	if (start == NULL)
		return wait_for_room(writer, bytes, timeout_ms, at);
	*at = start + writer->used_bytes;
	return 0;
}

static void count_full(struct millrace_writer *writer)
{
	struct ledger *ledger = &writer->topic.stream.shared->ledger;
	ledger_add(&ledger->received, 1);
	ledger_add(writer->refuse ? &ledger->refused : &ledger->dropped, 1);
	shm_explain(&writer->error, "the lane is full: a required group has not read on in time");
}

int millrace_append(struct millrace_writer *writer, uint16_t type, const void *data, uint32_t length,
                    int timeout_ms)
{
	size_t bytes = record_bytes(length);
	size_t most = (writer->topic.stream.mask + 1) / 4;
	if (bytes > most) {
		shm_explain(&writer->error,
		            "a record of %u bytes; at most %zu (a quarter of the lane) are allowed", length,
		            most - sizeof(struct record));
		return -EMSGSIZE;
	}
	char *at = NULL;
	int result = writer->used_bytes + bytes > most ? millrace_commit(writer) : 0;
	if (result == 0)
		result = make_room(writer, bytes, timeout_ms, &at);
	if (result == -EAGAIN)
		count_full(writer);
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
