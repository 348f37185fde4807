/* The way of a record: its place in a lane, the groups that read it, and the tracking call that an
 * event was made of, or the event that a call became. */
#include "cli/trace.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "cli/ndjson.h"
#include "event/track.h"
#include "flow/flow.h"
#include "sink/objects/where.h"
#include "stage/sieve.h"

#define CALLS       "track.raw"
#define EVENTS      "track"
#define MATCHES_MAX 8u

/* A place in a topic, with what the lane still tells of it. */
struct spot {
	const char *topic;
	int topic_number;
	unsigned lane;
	uint64_t position;
	const struct record *record; /* NULL: overwritten */
	uint64_t number;             /* of the record in its lane; UINT64_MAX: not known */
};

static void set(json_t *json, const char *key, json_t *value)
{
	(void)json_object_set_new(json, key, value);
}

static void set_number(json_t *json, const char *key, uint64_t value)
{
	set(json, key, json_integer((json_int_t)value));
}

/* ---- who has read it ---- */

/* The role that reads as this group, of those that the configuration made; NULL: an outside
 * program. */
static const char *role_of(const struct trace *trace, const struct stream_group *group)
{
	const struct instance_page *page = trace->instance.page;
	char name[SHM_NAME_MAX];
	if (atomic_load_explicit(&group->configured, memory_order_relaxed) == 0)
		return NULL;
	for (unsigned i = 0; i < page->n_roles; i++) {
		const struct flow_stage *stage = flow_stage_of_role(page->role[i].name);
		if (stage != NULL && strcmp(flow_group(stage, page->role[i].name, name), group->name) == 0)
			return page->role[i].name;
	}
	return NULL;
}

/* Whether the sink's filters leave the record out. */
static bool is_filtered(const struct trace *trace, const char *section, const struct spot *spot)
{
	const char *const topics[] = {spot->topic, NULL};
	struct shm_error error;
	struct sieve sieve;
	bool out = sieve_compile(&sieve, trace->config, section, topics, &error) == 0 &&
	           !sieve_keeps(&sieve, 0, spot->record);
	sieve_fini(&sieve);
	return out;
}

static const char *progress(const struct spot *spot, const struct stream_cursor *cursor, uint64_t position)
{
	uint64_t first = atomic_load_explicit(&cursor->first, memory_order_relaxed);
	uint64_t missed = atomic_load_explicit(&cursor->missed_records, memory_order_relaxed);
	if (position <= spot->position)
		return spot->record != NULL ? "waiting" : "missed";
	if (spot->number < first)
		return "began later";
	return missed > 0 || (spot->number == UINT64_MAX && first > 0) ? "perhaps" : "done";
}

/* What a sink has made of it, once it has passed it. */
static void ask_sink(struct trace *trace, const struct spot *spot, const char *role, json_t *reader)
{
	char section[64];
	const struct flow_stage *stage = flow_stage_of_role(role);
	long entry = stage->processes == FLOW_ENTRIES ? flow_entry(stage, trace->config, role) : -1;
	if (spot->record == NULL || entry < 0)
		return;
	snprintf(section, sizeof section, "%s[%ld]", stage->section, entry);
	if (is_filtered(trace, section, spot)) {
		set(reader, "state", json_string("filtered"));
		return;
	}
	if (strcmp(stage->name, "objects") != 0)
		return;
	struct where_question question = {.config = trace->config,
	                                  .section = section,
	                                  .role = role,
	                                  .directory = trace->instance.directory,
	                                  .generation = trace->instance.generation,
	                                  .topic = spot->topic,
	                                  .topic_number = (uint16_t)spot->topic_number,
	                                  .lane = spot->lane,
	                                  .position = spot->position,
	                                  .record = spot->record};
	set(reader, "object", where_json(&question));
}

static json_t *group_json(struct trace *trace, const struct spot *spot, const struct stream_group *group)
{
	const struct stream_cursor *cursor = &group->cursor[spot->lane];
	uint64_t position = atomic_load_explicit(&cursor->position, memory_order_acquire);
	uint64_t records = atomic_load_explicit(&cursor->records, memory_order_relaxed);
	uint32_t kind = atomic_load_explicit(&group->state, memory_order_relaxed);
	const char *role = role_of(trace, group), *state = progress(spot, cursor, position);
	char name[SHM_NAME_MAX];
	snprintf(name, sizeof name, "%.*s", (int)sizeof group->name - 1, group->name);
	json_t *reader = json_pack("{s:s, s:s?, s:b, s:s}", "group", name, "stage",
	                           role != NULL ? flow_stage_of_role(role)->name : NULL, "required",
	                           (int)(kind == GROUP_REQUIRED), "state", state);
	if (reader == NULL)
		return NULL;
	if (strcmp(state, "waiting") == 0) {
		set_number(reader, "bytes_before", spot->position - position);
		if (spot->number != UINT64_MAX && spot->number >= records)
			set_number(reader, "records_before", spot->number - records);
	} else if (role != NULL && (strcmp(state, "done") == 0 || strcmp(state, "perhaps") == 0)) {
		ask_sink(trace, spot, role, reader);
	}
	return reader;
}

static json_t *readers_json(struct trace *trace, const struct spot *spot)
{
	json_t *readers = json_array();
	for (unsigned i = 0; i < STREAM_GROUPS_MAX; i++) {
		char name[SEGMENT_NAME_MAX];
		struct segment segment = {0};
		struct shm_error error;
		if (segment_attach(&segment, trace->instance.directory,
		                   instance_group_name(name, spot->topic, i), SEGMENT_GROUP, SEGMENT_READ,
		                   &error) != 0)
			continue;
		const struct stream_group *group = segment.body;
		if (atomic_load_explicit(&group->state, memory_order_acquire) != GROUP_FREE)
			(void)json_array_append_new(readers, group_json(trace, spot, group));
		segment_detach(&segment);
	}
	return readers;
}

/* ---- one record ---- */

/* As tap prints it. NULL: it does not fit its type, or its JSON cannot be read back. */
static json_t *event_object(struct trace *trace, const struct spot *spot)
{
	struct ndjson *line = malloc(sizeof *line);
	json_t *event = NULL;
	if (line == NULL)
		return NULL;
	ndjson_init(line, &trace->instance, spot->topic);
	if (ndjson_add(line, spot->record, spot->lane, spot->position) == 0)
		event = json_loadb(line->text, line->used, JSON_ALLOW_NUL, NULL);
	ndjson_fini(line);
	free(line);
	return event;
}

static void add_times(json_t *json, const struct record *record)
{
	const struct event_head *head = (const void *)record->payload;
	if (record->type >= EVENT_OUTSIDE || !event_check(record))
		return;
	set_number(json, record->type == EVENT_DELIVERY ? "began_ts" : "arrived_ts",
	           head->arrival_ns / NS_PER_MS);
	if (record->type == EVENT_TRACK) {
		const struct event_track *event = (const void *)record->payload;
		set_number(json, "enriched_ts", (event->arrival_ns + event->klag_ns) / NS_PER_MS);
	}
}

static json_t *spot_json(struct trace *trace, const struct spot *spot)
{
	char id[SHM_NAME_MAX + 80];
	const char *role = trace->instance.page->topic[spot->topic_number].lane_role[spot->lane];
	snprintf(id, sizeof id, "%016" PRIx64 "-%s-%u-%" PRIu64, trace->instance.generation, spot->topic,
	         spot->lane, spot->position);
	json_t *json = json_pack("{s:s, s:s, s:i, s:s, s:I, s:s}", "id", id, "topic", spot->topic, "lane",
	                         (int)spot->lane, "role", role, "position", (json_int_t)spot->position,
	                         "state", spot->record != NULL ? "held" : "overwritten");
	if (json == NULL)
		return NULL;
	if (spot->record != NULL) {
		json_t *event = event_object(trace, spot);
		add_times(json, spot->record);
		if (event != NULL)
			set(json, "event", event);
		else
			trace_note(trace, "%s: its payload is not what its type says", id);
	}
	set(json, "readers", readers_json(trace, spot));
	return json;
}

json_t *trace_found(struct trace *trace, const char *topic, unsigned lane, uint64_t position, uint64_t number,
                    const struct record *record)
{
	struct spot spot = {.topic = topic,
	                    .topic_number = instance_topic_index(&trace->instance, topic),
	                    .lane = lane,
	                    .position = position,
	                    .number = number,
	                    .record = record};
	return spot.topic_number < 0 ? NULL : spot_json(trace, &spot);
}

/* ---- all of a topic ---- */

static int open_lane(struct trace *trace, const char *topic, unsigned lane, struct stream_reader *reader,
                     struct stream_cursor *cursor)
{
	char name[SEGMENT_NAME_MAX];
	struct shm_error error = {""};
	*cursor = (struct stream_cursor){0};
	int result =
	        stream_reader_attach(reader, trace->instance.directory, instance_lane_name(name, topic, lane),
	                             cursor, true, STREAM_FROM_OLDEST, &error);
	if (result != 0)
		trace_note(trace, "%s", error.text[0] != '\0' ? error.text : strerror(-result));
	return result;
}

/* True: go on with the next lane. */
static bool scan_lane(struct trace *trace, const char *topic, unsigned lane, trace_each *each, void *argument)
{
	struct stream_reader reader;
	struct stream_cursor cursor;
	struct record_batch batch;
	bool go_on = true;
	if (open_lane(trace, topic, lane, &reader, &cursor) != 0)
		return true;
	uint64_t end = atomic_load_explicit(&reader.shared->tail, memory_order_acquire);
	while (go_on && reader.position < end && stream_peek(&reader, &batch)) {
		uint64_t n = 0, position = batch.position;
		const struct record *record;
		while (go_on && (record = record_next(&batch)) != NULL) {
			go_on = each(argument, lane, position, reader.records + n, record);
			position = batch.position;
			n++;
		}
		stream_pass(&reader, &batch, n);
	}
	stream_reader_detach(&reader);
	return go_on;
}

void trace_scan(struct trace *trace, const char *topic, trace_each *each, void *argument)
{
	int index = instance_topic_index(&trace->instance, topic);
	bool go_on = index >= 0;
	for (unsigned lane = 0; go_on && lane < trace->instance.page->topic[index].n_lanes; lane++)
		go_on = scan_lane(trace, topic, lane, each, argument);
}

/* ---- the call and the event that it became ---- */

/* What both have. A privacy option may have shortened the event's query. */
struct visit {
	uint64_t arrival_ns, client_ts_ms;
	const char *type, *query;
	uint32_t type_bytes, query_bytes;
};

static bool read_visit(const struct record *record, struct visit *visit)
{
	if (!event_check(record))
		return false;
	if (record->type == EVENT_TRACK_RAW) {
		const struct event_track_raw *call = (const void *)record->payload;
		*visit = (struct visit){.arrival_ns = call->arrival_ns,
		                        .client_ts_ms = call->client_ts_ms,
		                        .type = call->text,
		                        .type_bytes = call->type_bytes,
		                        .query = call->text + call->type_bytes,
		                        .query_bytes = call->query_bytes};
		return true;
	}
	if (record->type != EVENT_TRACK)
		return false;
	const struct event_track *event = (const void *)record->payload;
	struct event_track_slice slice[TRACK_PARTS];
	event_track_split(event, slice);
	*visit = (struct visit){.arrival_ns = event->arrival_ns,
	                        .client_ts_ms = event->client_ts_ms,
	                        .type = slice[TRACK_TYPE].text,
	                        .type_bytes = slice[TRACK_TYPE].bytes,
	                        .query = slice[TRACK_QUERY].text,
	                        .query_bytes = slice[TRACK_QUERY].bytes};
	return true;
}

struct search {
	struct trace *trace;
	const char *topic;
	struct visit visit;
	json_t *found[MATCHES_MAX];
	bool same_query[MATCHES_MAX];
	unsigned n;
};

static bool match(void *argument, unsigned lane, uint64_t position, uint64_t number,
                  const struct record *record)
{
	struct search *search = argument;
	const struct visit *is = &search->visit;
	struct visit other;
	if (!read_visit(record, &other) || other.arrival_ns != is->arrival_ns ||
	    other.client_ts_ms != is->client_ts_ms || other.type_bytes != is->type_bytes ||
	    memcmp(other.type, is->type, is->type_bytes) != 0)
		return true;
	search->same_query[search->n] =
	        other.query_bytes == is->query_bytes && memcmp(other.query, is->query, is->query_bytes) == 0;
	search->found[search->n++] =
	        trace_found(search->trace, search->topic, lane, position, number, record);
	return search->n < MATCHES_MAX;
}

/* Appends what the other topic has of the same call. Those with another query count only when none
 * has the same. */
static void add_matches(struct trace *trace, const char *topic, const struct record *record, json_t *records)
{
	struct search search = {.trace = trace, .topic = topic};
	unsigned same = 0, n = 0;
	if (!read_visit(record, &search.visit))
		return;
	trace_scan(trace, topic, match, &search);
	for (unsigned i = 0; i < search.n; i++)
		same += search.same_query[i];
	for (unsigned i = 0; i < search.n; i++) {
		bool takes = same == 0 || search.same_query[i];
		n += takes;
		if (takes)
			(void)json_array_append_new(records, search.found[i]);
		else
			json_decref(search.found[i]);
	}
	if (n == 0)
		trace_note(
		        trace,
		        strcmp(topic, CALLS) == 0
		                ? "the call that it was made of is no longer in memory"
		                : "no event that was made of it is in memory: it is not enriched yet, was rejected, or was overwritten");
	else if (n > 1)
		trace_note(trace,
		           "%u%s records of topic %s have its arrival, type and time: it is one of them", n,
		           search.n == MATCHES_MAX ? " or more" : "", topic);
}

/* ---- an id ---- */

static void add_found(struct trace *trace, const struct trace_id *id, uint64_t number,
                      const struct record *record, json_t *records)
{
	if (record != NULL && strcmp(id->topic, EVENTS) == 0)
		add_matches(trace, CALLS, record, records);
	(void)json_array_append_new(records,
	                            trace_found(trace, id->topic, id->lane, id->position, number, record));
	if (record != NULL && strcmp(id->topic, CALLS) == 0)
		add_matches(trace, EVENTS, record, records);
}

/* What lies at the place; *number and *record when it is a record. The reader keeps its memory. */
static enum stream_found find(struct stream_reader *reader, uint64_t position, uint64_t *number,
                              const struct record **record)
{
	struct record_batch batch;
	enum stream_found found = stream_reader_find(reader, position);
	if (found != STREAM_FOUND)
		return found;
	*number = reader->records;
	if (!stream_peek(reader, &batch) || batch.position != position ||
	    (*record = record_next(&batch)) == NULL) {
		*number = UINT64_MAX;
		*record = NULL;
		return STREAM_OVERWRITTEN;
	}
	return STREAM_FOUND;
}

static void look_at_lane(struct trace *trace, const struct trace_id *id, json_t *root)
{
	struct stream_reader reader;
	struct stream_cursor cursor;
	const struct record *record = NULL;
	uint64_t number = UINT64_MAX;
	if (open_lane(trace, id->topic, id->lane, &reader, &cursor) != 0)
		return;
	enum stream_found found = find(&reader, id->position, &number, &record);
	if (found == STREAM_NOT_YET) {
		trace_note(trace, "lane %u of topic %s has not come so far: it has %" PRIu64 " bytes",
		           id->lane, id->topic,
		           atomic_load_explicit(&reader.shared->tail, memory_order_relaxed));
	} else if (found == STREAM_NO_RECORD) {
		trace_note(trace, "no event begins at this position");
	} else {
		json_t *records = json_array();
		add_found(trace, id, number, record, records);
		set(root, "known", json_true());
		set(root, "records", records);
		if (found == STREAM_OVERWRITTEN)
			trace_note(
			        trace,
			        "it was overwritten: newer events took its place, so only what the cursors say is known, and nobody can say that an event began there");
	}
	stream_reader_detach(&reader);
}

void trace_record(struct trace *trace, const struct trace_id *id, json_t *root)
{
	int topic = instance_topic_index(&trace->instance, id->topic);
	if (id->generation != trace->instance.generation)
		trace_note(trace,
		           "it is of another life of the instance, or of another instance: %016" PRIx64
		           " runs now; its memory is gone, and only sinks have what was in it",
		           trace->instance.generation);
	else if (topic < 0)
		trace_note(trace, "there is no topic %s", id->topic);
	else if (id->lane >= trace->instance.page->topic[topic].n_lanes)
		trace_note(trace, "topic %s has no lane %u", id->topic, id->lane);
	else
		look_at_lane(trace, id, root);
}
