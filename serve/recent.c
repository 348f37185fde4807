#include "serve/recent.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "serve/follower.h"

#define JSON_ROOM (6u * RECENT_RECORD_MAX + 4096u) /* each byte as \u00XX, and the names */

struct entry {
	uint64_t id[2], arrival_ns, position;
	uint64_t at; /* in bytes[] */
	uint32_t bytes;
	uint16_t status;
	uint8_t outcome, lane;
};

struct recent {
	struct entry *entry; /* number n is at n % capacity */
	uint64_t capacity, first, next;
	char *bytes;
	uint64_t n_bytes, next_byte; /* where the next record goes, if there is room */
	uint64_t held_bytes;
	struct follower follower;
	uint64_t read, left_out;
	struct shm_error reason;
	char json[JSON_ROOM];
	_Alignas(RECORD_ALIGN) char bare[sizeof(struct record) + RECENT_RECORD_MAX];
};

/* ---- memory ---- */

uint64_t recent_bytes_max(uint64_t attempts, uint64_t bytes)
{
	return attempts * sizeof(struct entry) + bytes + sizeof(struct recent);
}

struct recent *recent_new(uint64_t attempts, uint64_t bytes)
{
	struct recent *recent = calloc(1, sizeof *recent);
	if (recent == NULL)
		return NULL;
	recent->capacity = attempts > 0 ? attempts : 1;
	recent->n_bytes = (bytes > RECENT_BYTES_MIN ? bytes : RECENT_BYTES_MIN) / RECORD_ALIGN * RECORD_ALIGN;
	recent->first = recent->next = 1;
	recent->entry = calloc(recent->capacity, sizeof *recent->entry);
	recent->bytes = malloc(recent->n_bytes);
	if (recent->entry == NULL || recent->bytes == NULL) {
		recent_free(recent);
		return NULL;
	}
	return recent;
}

void recent_free(struct recent *recent)
{
	if (recent == NULL)
		return;
	follower_leave(&recent->follower);
	free(recent->entry);
	free(recent->bytes);
	free(recent);
}

/* ---- hosts ---- */

struct place {
	const char *name; /* without brackets */
	size_t name_bytes;
	const char *port; /* "" none */
	size_t port_bytes;
};

static struct place split_place(const char *text, size_t bytes)
{
	struct place place = {.name = text, .name_bytes = bytes, .port = ""};
	const char *colon = memrchr(text, ':', bytes), *bracket = memchr(text, ']', bytes);
	if (bytes > 0 && text[0] == '[' && bracket != NULL) {
		place.name++;
		place.name_bytes = (size_t)(bracket - place.name);
		if (colon == NULL || colon < bracket)
			return place;
	} else if (colon == NULL || memchr(text, ':', bytes) != colon) {
		return place; /* no port; or an IPv6 address without brackets */
	} else {
		place.name_bytes = (size_t)(colon - text);
	}
	place.port = colon + 1;
	place.port_bytes = (size_t)(text + bytes - place.port);
	return place;
}

/* The endpoint is scheme://host[:port]/path, without the scheme's own port. False: it is none. */
static bool place_of_event(const struct event_delivery *event, struct place *place)
{
	const char *begin = memmem(event->text, event->endpoint_bytes, "://", 3);
	if (begin == NULL)
		return false;
	const char *end = event->text + event->endpoint_bytes, *at = begin + 3;
	const char *slash = memchr(at, '/', (size_t)(end - at));
	*place = split_place(at, (size_t)((slash != NULL ? slash : end) - at));
	if (place->port_bytes == 0) {
		place->port = begin - event->text == 5 ? "443" : "80"; /* https, http */
		place->port_bytes = strlen(place->port);
	}
	return true;
}

static bool same_place(const struct place *is, const struct place *wanted)
{
	return is->name_bytes == wanted->name_bytes &&
	       strncasecmp(is->name, wanted->name, is->name_bytes) == 0 &&
	       (wanted->port_bytes == 0 || (wanted->port_bytes == is->port_bytes &&
	                                    memcmp(wanted->port, is->port, is->port_bytes) == 0));
}

/* ---- keeping ---- */

static struct entry *entry_of(const struct recent *recent, uint64_t number)
{
	return &recent->entry[number % recent->capacity];
}

static void drop_oldest(struct recent *recent)
{
	recent->held_bytes -= entry_of(recent, recent->first)->bytes;
	recent->first++;
}

/* Records lie in the ring in the order of their numbers, each in one piece; the oldest go until
 * there is room. */
static char *make_room(struct recent *recent, uint64_t bytes)
{
	if (recent->next - recent->first == recent->capacity)
		drop_oldest(recent);
	for (;;) {
		if (recent->first == recent->next) {
			recent->next_byte = 0;
			break;
		}
		uint64_t oldest = entry_of(recent, recent->first)->at;
		bool around = recent->next_byte <= oldest; /* of equal ones the ring is full */
		if (recent->next_byte + bytes <= (around ? oldest : recent->n_bytes))
			break;
		if (around)
			drop_oldest(recent);
		else
			recent->next_byte = 0;
	}
	char *room = recent->bytes + recent->next_byte;
	recent->next_byte += bytes;
	recent->held_bytes += bytes;
	return room;
}

static void keep(struct recent *recent, unsigned lane, uint64_t position, const struct record *record)
{
	const struct event_delivery *event = (const struct event_delivery *)(const void *)record->payload;
	uint64_t bytes = record_bytes(record->length);
	char *room = make_room(recent, bytes);
	memcpy(room, record, sizeof *record + record->length);
	*entry_of(recent, recent->next) = (struct entry){
	        .id = {event->id[0], event->id[1]},
	        .arrival_ns = event->arrival_ns,
	        .position = position,
	        .at = (uint64_t)(room - recent->bytes),
	        .bytes = (uint32_t)bytes,
	        .status = event->status,
	        .outcome = event->outcome,
	        .lane = (uint8_t)lane,
	};
	recent->next++;
}

/* ---- reading ---- */

static void attach(struct recent *recent, const struct instance *instance)
{
	recent->reason.text[0] = '\0';
	if (instance_topic_index(instance, RECENT_TOPIC) >= 0)
		(void)follower_attach(&recent->follower, instance, RECENT_TOPIC, recent->capacity,
		                      &recent->reason);
}

static void take(struct recent *recent, unsigned lane, struct record_batch *batch)
{
	uint64_t records = 0, position = batch->position;
	const struct record *record;
	while (records < RECENT_POLL_RECORDS && (record = record_next(batch)) != NULL) {
		records++;
		if (position >= recent->follower.start[lane]) {
			bool good = record->type == EVENT_DELIVERY && record->length <= RECENT_RECORD_MAX &&
			            event_check(record);
			recent->read++;
			recent->left_out += !good;
			if (good)
				keep(recent, lane, position, record);
		}
		position = batch->position;
	}
	stream_advance(&recent->follower.reader.lane[lane], batch, records);
}

bool recent_poll(struct recent *recent, const struct instance *instance, uint64_t now_ns)
{
	struct record_batch batch;
	unsigned lane;
	if (follower_due(&recent->follower, instance, now_ns))
		attach(recent, instance);
	if (recent->follower.page == NULL || !topic_peek(&recent->follower.reader, &lane, &batch))
		return false;
	take(recent, lane, &batch);
	return true;
}

void recent_look(const struct recent *recent, struct recent_state *state)
{
	*state = (struct recent_state){
	        .attached = recent->follower.page != NULL,
	        .held = recent->next - recent->first,
	        .held_bytes = recent->held_bytes,
	        .read = recent->read,
	        .missed = follower_missed(&recent->follower),
	        .left_out = recent->left_out,
	        .reason = recent->reason.text,
	};
}

/* ---- searching ---- */

static struct recent_attempt attempt_of(const struct recent *recent, uint64_t number)
{
	const struct entry *entry = entry_of(recent, number);
	return (struct recent_attempt){
	        .number = number,
	        .record = (const struct record *)(const void *)(recent->bytes + entry->at),
	        .lane = entry->lane,
	        .position = entry->position,
	        .generation = recent->follower.generation,
	};
}

/* host: that of the filter; NULL: any. */
static bool passes(const struct recent *recent, const struct recent_filter *filter, const struct place *host,
                   uint64_t number)
{
	const struct entry *entry = entry_of(recent, number);
	struct place place;
	if ((filter->outcome != RECENT_ANY && entry->outcome != filter->outcome) ||
	    (filter->status != RECENT_ANY && entry->status != filter->status) ||
	    entry->arrival_ns < filter->since_ns)
		return false;
	if (host == NULL)
		return true;
	const void *payload = recent->bytes + entry->at + sizeof(struct record);
	return place_of_event(payload, &place) && same_place(&place, host);
}

uint64_t recent_list(struct recent *recent, const struct recent_filter *filter, uint64_t most,
                     recent_each *each, void *argument, uint64_t *next)
{
	uint64_t given = 0, number = recent->next;
	struct place host = {.name = ""};
	if (filter->host != NULL)
		host = split_place(filter->host, strlen(filter->host));
	if (filter->before != 0 && filter->before < number)
		number = filter->before;
	*next = 0;
	while (number > recent->first) {
		number--;
		if (!passes(recent, filter, filter->host != NULL ? &host : NULL, number))
			continue;
		if (given == most) {
			*next = number + 1;
			break;
		}
		struct recent_attempt attempt = attempt_of(recent, number);
		int result = each(argument, recent, &attempt);
		given += result != RECENT_NEXT_PAGE;
		if (result == RECENT_NEXT_PAGE)
			*next = number + 1;
		if (result != 0)
			break;
	}
	return given;
}

uint64_t recent_find(struct recent *recent, const uint64_t id[2], recent_each *each, void *argument)
{
	uint64_t given = 0;
	for (uint64_t number = recent->first; number < recent->next; number++) {
		const struct entry *entry = entry_of(recent, number);
		if (entry->id[0] != id[0] || entry->id[1] != id[1])
			continue;
		struct recent_attempt attempt = attempt_of(recent, number);
		given++;
		if (each(argument, recent, &attempt) != 0)
			break;
	}
	return given;
}

/* ---- showing ---- */

/* The record as it would be had there been no body, which comes last. */
static const struct record *without_body(struct recent *recent, const struct record *record)
{
	struct record *bare = (struct record *)(void *)recent->bare;
	const struct event_delivery *event = (const struct event_delivery *)(const void *)record->payload;
	struct event_delivery *copy = (struct event_delivery *)(void *)bare->payload;
	uint32_t length = record->length - event->body_bytes;
	memcpy(bare, record, sizeof *record + length);
	bare->length = length;
	copy->body_bytes = 0;
	return bare;
}

json_t *recent_json(struct recent *recent, const struct recent_attempt *attempt, bool whole)
{
	char origin[64];
	const struct record *record = whole ? attempt->record : without_body(recent, attempt->record);
	snprintf(origin, sizeof origin, "%016" PRIx64 "-" RECENT_TOPIC "-%u", attempt->generation,
	         attempt->lane);
	int n = event_json(recent->json, sizeof recent->json, record, origin, attempt->position);
	json_t *one = n > 0 ? json_loadb(recent->json, (size_t)n, JSON_ALLOW_NUL, NULL) : NULL;
	if (one != NULL && !whole)
		(void)json_object_del(one, "body");
	return one;
}
