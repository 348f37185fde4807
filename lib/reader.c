/* Reading: a group, batch by batch. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/handle.h"
#include "event/event.h"
#include "shm/record_copy.h"
#include "base/clock.h"

#define LOOK_NS (500 * NS_PER_MS)

/* A required group that is made while no supervisor runs the instance, or while it ends, would hold
 * back the next run, perhaps for ever. */
static int check_group(const struct instance *instance, const char *topic, const char *group,
                       struct shm_error *error)
{
	bool ending = atomic_load_explicit(&instance->page->draining, memory_order_acquire) != 0;
	bool down = !life_supervised(instance);
	if ((!ending && !down) || topic_has_required(instance, topic, group))
		return 0;
	shm_explain(error, "the instance %s, so no group \"%s\" was made",
	            down ? "is down: no supervisor runs it" : "is ending", group);
	return -EPIPE;
}

struct millrace_reader *millrace_read(struct millrace *millrace, const char *topic, const char *group,
                                      enum millrace_kind kind, enum millrace_from from)
{
	if (kind != MILLRACE_REQUIRED && kind != MILLRACE_OPTIONAL) {
		shm_explain(handle_error(), "a group is read as MILLRACE_REQUIRED or MILLRACE_OPTIONAL");
		errno = EINVAL;
		return NULL;
	}
	struct millrace_reader *reader =
	        aligned_alloc(SHM_LINE, (sizeof *reader + SHM_LINE - 1) / SHM_LINE * SHM_LINE);
	if (reader == NULL) {
		shm_explain(handle_error(), "no memory");
		return NULL;
	}
	memset(reader, 0, sizeof *reader);
	reader->millrace = millrace;
	handle_lock();
	int result = topic_find(&millrace->instance, topic, handle_error());
	if (result >= 0)
		result = kind == MILLRACE_REQUIRED
		                 ? check_group(&millrace->instance, topic, group, handle_error())
		                 : 0;
	if (result == 0)
		result = topic_reader_attach(
		        &reader->topic, &millrace->instance, topic, group,
		        kind == MILLRACE_REQUIRED ? GROUP_REQUIRED : GROUP_OPTIONAL,
		        from == MILLRACE_FROM_OLDEST ? STREAM_FROM_OLDEST : STREAM_FROM_TAIL, handle_error());
	handle_unlock();
	if (result == 0) {
		life_init(&reader->life, &millrace->instance);
		return reader;
	}
	free(reader);
	errno = -result;
	return NULL;
}

const char *millrace_reader_error(const struct millrace_reader *reader)
{
	return reader->error.text;
}

static void give_up_batch(struct millrace_reader *reader)
{
	reader->taken = 0;
	memset(&reader->batch, 0, sizeof reader->batch);
}

/* Sleeps until a writer has committed, the end, or a while at a time, so that the end of the
 * instance is noticed. False after a signal. */
static bool sleep_a_while(struct millrace_reader *reader, uint64_t now_ns, uint64_t end_ns)
{
	uint64_t left_ns = end_ns - now_ns;
	uint64_t sleep_ns = left_ns < LOOK_NS ? left_ns : LOOK_NS;
	return topic_wait(&reader->topic, sleep_ns) || clock_monotonic_ns() >= now_ns + sleep_ns;
}

/* ---- the descriptor ---- */

static unsigned words(void *argument, struct sleep_word *word)
{
	return topic_reader_words(&((struct millrace_reader *)argument)->topic, word);
}

/* The end of the instance, or a change of its configuration, changes no word. */
static bool life_is_over(void *argument)
{
	struct millrace_reader *reader = argument;
	return life_check(&reader->poll_life) != LIFE_SAME;
}

int millrace_fd(struct millrace_reader *reader)
{
	int result = 0;
	if (reader->poll == NULL) {
		life_init(&reader->poll_life, &reader->millrace->instance);
		result = sleep_poll_open(&reader->poll, words, life_is_over, reader);
	}
	if (result == 0)
		return sleep_poll_fd(reader->poll);
	shm_explain(&reader->error, "no descriptor for the reader: %s", strerror(-result));
	return result;
}

static bool has_records(const struct millrace_reader *reader)
{
	for (unsigned i = 0; i < reader->topic.n_lanes; i++)
		if (reader->topic.lane[i].shared != NULL && stream_waiting_bytes(&reader->topic.lane[i]) != 0)
			return true;
	return false;
}

/* Before the program waits for the descriptor, if there is one. True: there is something to read.
 * It is armed all the same, for a reader that has no memory to copy it. */
static bool arm(struct millrace_reader *reader)
{
	if (reader->poll == NULL)
		return false;
	for (;;) {
		sleep_poll_note(reader->poll);
		bool found = has_records(reader);
		if (!sleep_poll_arm(reader->poll) || found)
			return found;
	}
}

/* ---- batches ---- */

int millrace_peek(struct millrace_reader *reader, int timeout_ms)
{
	uint64_t end_ns = 0;
	give_up_batch(reader);
	for (;;) {
		enum life life = life_check(&reader->life);
		if (life == LIFE_REPLACED)
			return handle_life(life, &reader->error);
		if (topic_peek(&reader->topic, &reader->lane, &reader->batch))
			return 1;
		uint64_t now_ns = clock_monotonic_ns();
		if (end_ns == 0)
			end_ns = timeout_ms < 0 ? UINT64_MAX : now_ns + (uint64_t)timeout_ms * NS_PER_MS;
		if (life == LIFE_ENDED)
			return handle_life(life, &reader->error);
		if (now_ns >= end_ns || !sleep_a_while(reader, now_ns, end_ns)) {
			return arm(reader) && topic_peek(&reader->topic, &reader->lane, &reader->batch);
		}
	}
}

const struct millrace_record *millrace_next(struct millrace_reader *reader)
{
	uint64_t position = reader->batch.position;
	const struct record *next = record_next(&reader->batch);
	if (next == NULL)
		return NULL;
	reader->taken++;
	reader->record = (struct millrace_record){.data = next->payload,
	                                          .length = reader->batch.length,
	                                          .type = reader->batch.type,
	                                          .lane = (uint16_t)reader->lane,
	                                          .position = position};
	return &reader->record;
}

void millrace_advance(struct millrace_reader *reader)
{
	if (reader->batch.at == NULL)
		return;
	stream_advance(&reader->topic.lane[reader->lane], &reader->batch, reader->taken);
	give_up_batch(reader); /* what was not taken comes again with the next peek */
}

/* ---- waiting for several ---- */

int millrace_wait(struct millrace_reader *const *readers, unsigned n, int timeout_ms)
{
	struct pollfd polled[256];
	if (n == 0 || n > sizeof polled / sizeof polled[0])
		return -EINVAL;
	for (unsigned i = 0; i < n; i++) {
		polled[i] = (struct pollfd){.fd = millrace_fd(readers[i]), .events = POLLIN};
		if (polled[i].fd < 0)
			return polled[i].fd;
		if (life_check(&readers[i]->life) != LIFE_SAME || arm(readers[i]))
			return 1;
	}
	int result = poll(polled, n, timeout_ms);
	if (result < 0)
		return errno == EINTR ? 0 : -errno;
	return result > 0;
}

/* ---- what is known of it ---- */

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

/* What stands before the position in an id. */
static int write_origin(const struct millrace_reader *reader, unsigned lane, char *text, size_t bytes)
{
	const struct instance *instance = &reader->millrace->instance;
	return snprintf(text, bytes, "%016llx-%s-%u", (unsigned long long)instance->generation,
	                instance->page->topic[reader->topic.topic].name, lane);
}

int millrace_id(const struct millrace_reader *reader, const struct millrace_record *record, char *text,
                size_t text_bytes)
{
	char origin[SHM_NAME_MAX + 48];
	write_origin(reader, record->lane, origin, sizeof origin);
	int n = snprintf(text, text_bytes, "%s-%llu", origin, (unsigned long long)record->position);
	return n < 0 || (size_t)n >= text_bytes ? -ENOSPC : n;
}

int millrace_json(const struct millrace_reader *reader, const struct millrace_record *record, char *text,
                  size_t text_bytes)
{
	char origin[SHM_NAME_MAX + 48];
	if (text_bytes == 0)
		return -ENOSPC;
	struct record_copy copy = {0};
	const struct record *whole = record_copy(&copy, record->data, record->length, record->type);
	if (whole == NULL)
		return -ENOMEM;
	write_origin(reader, record->lane, origin, sizeof origin);
	int length = event_json(text, text_bytes - 1, whole, origin, record->position);
	if (length >= 0)
		text[length] = '\0';
	record_copy_fini(&copy);
	return length;
}

void millrace_read_end(struct millrace_reader *reader)
{
	if (reader == NULL)
		return;
	sleep_poll_close(reader->poll);
	handle_lock();
	topic_reader_detach(&reader->topic);
	handle_unlock();
	free(reader);
}
