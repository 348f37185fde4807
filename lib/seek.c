/* Moving a group: to an end of what there is, to a time, to a record.
 *
 * A search begins with a step back to the oldest record: from then on writers keep what is searched
 * (stream.h, joining). So it can go forward in peace, and back to where the group was when nothing
 * is found: that is forward too.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/handle.h"
#include "event/event.h"
#include "base/clock.h"

#define ALL_LANES UINT32_MAX

static void restart(struct millrace_reader *reader, uint32_t lanes, enum stream_start start)
{
	reader->taken = 0;
	memset(&reader->batch, 0, sizeof reader->batch);
	topic_reader_restart(&reader->topic, lanes, start);
}

int millrace_seek_oldest(struct millrace_reader *reader)
{
	restart(reader, ALL_LANES, STREAM_FROM_OLDEST);
	return 0;
}

int millrace_seek_tail(struct millrace_reader *reader)
{
	restart(reader, ALL_LANES, STREAM_FROM_TAIL);
	return 0;
}

/* ---- to a time ---- */

struct search {
	uint64_t wanted; /* CLOCK_REALTIME in ns, or a position */
	bool timeless;   /* a record without a time was met */
};

/* All events of millrace begin with the time of their arrival (struct event_head). */
static bool arrived_before(uint16_t type, const void *payload, uint32_t length, uint64_t position,
                           void *argument)
{
	struct search *search = argument;
	uint64_t arrival_ns;
	(void)position;
	if (type >= EVENT_OUTSIDE || length < sizeof arrival_ns) {
		search->timeless = true;
		return true;
	}
	memcpy(&arrival_ns, payload, sizeof arrival_ns);
	return arrival_ns < search->wanted;
}

int millrace_seek_time(struct millrace_reader *reader, uint64_t unix_ms)
{
	struct topic_reader *topic = &reader->topic;
	struct stream_bookmark was[STREAM_LANES_MAX];
	struct search search = {.wanted =
	                                unix_ms > UINT64_MAX / NS_PER_MS ? UINT64_MAX : unix_ms * NS_PER_MS};
	for (unsigned i = 0; i < topic->n_lanes; i++)
		was[i] = stream_reader_bookmark(&topic->lane[i]);
	restart(reader, ALL_LANES, STREAM_FROM_OLDEST);
	for (unsigned i = 0; i < topic->n_lanes; i++)
		stream_reader_skip(&topic->lane[i], arrived_before, &search);
	for (unsigned i = 0; i < topic->n_lanes; i++) {
		if (search.timeless)
			stream_reader_return(&topic->lane[i], &was[i]);
		else
			stream_reader_settle_anew(&topic->lane[i]);
	}
	if (!search.timeless)
		return 0;
	shm_explain(&reader->error, "the topic has records without a time: those of outside programs");
	return -ENODATA;
}

/* ---- to a record ---- */

static bool lies_before(uint16_t type, const void *payload, uint32_t length, uint64_t position,
                        void *argument)
{
	const struct search *search = argument;
	(void)type;
	(void)payload;
	(void)length;
	return position < search->wanted;
}

/* GENERATION-TOPIC-LANE-POSITION; a topic may have hyphens of its own. */
static bool parse_id(const struct millrace_reader *reader, const char *id, unsigned *lane, uint64_t *position)
{
	const struct instance *instance = &reader->millrace->instance;
	char origin[SHM_NAME_MAX + 24];
	int n = snprintf(origin, sizeof origin, "%016llx-%s-", (unsigned long long)instance->generation,
	                 instance->page->topic[reader->topic.topic].name);
	if (strncmp(id, origin, (size_t)n) != 0)
		return false;
	char *end;
	const char *digits = id + n;
	if (digits[0] < '0' || digits[0] > '9')
		return false;
	unsigned long number = strtoul(digits, &end, 10);
	if (*end != '-' || number >= reader->topic.n_lanes || end[1] < '0' || end[1] > '9')
		return false;
	errno = 0;
	*lane = (unsigned)number;
	*position = strtoull(end + 1, &end, 10);
	return *end == '\0' && errno == 0;
}

int millrace_seek_id(struct millrace_reader *reader, const char *id)
{
	unsigned lane;
	struct search search = {0};
	if (!parse_id(reader, id, &lane, &search.wanted)) {
		shm_explain(
		        &reader->error,
		        "\"%.100s\" is no id of this topic and generation: GENERATION-TOPIC-LANE-POSITION",
		        id);
		return -EINVAL;
	}
	struct stream_reader *stream = &reader->topic.lane[lane];
	struct stream_bookmark was = stream_reader_bookmark(stream);
	restart(reader, 1u << lane, STREAM_FROM_OLDEST);
	bool kept = search.wanted >= stream->position;
	stream_reader_skip(stream, lies_before, &search);
	if (kept && stream->position == search.wanted && stream_waiting_bytes(stream) != 0) {
		stream_reader_settle_anew(stream);
		return 0;
	}
	bool inside = kept && stream_waiting_bytes(stream) != 0;
	stream_reader_return(stream, &was);
	shm_explain(&reader->error,
	            inside ? "no record begins at the position of \"%.100s\""
	                   : "\"%.100s\" is not in memory any more, or not yet",
	            id);
	return inside ? -EBADMSG : -ERANGE;
}
