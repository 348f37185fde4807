/* What tests of the enrich stage share: a small database and small rules in a folder of their own, tracking calls by their number.
 *
 *     enrich_files_make()                  country.mmdb, regexes.yaml
 *     enrich_files_open(&enricher)         an enricher on them
 *     call_put(at, lane, number)           the call `number` of a lane as a record; agent, address and query follow from both
 *     call_number(record, lane)            the number that an event tells, when all else in it tells the same
 *
 * and an instance for the stage:
 *
 *     w.0 --> track.raw lane 0 --.  "enrich"  .--> track lane 0 (enrich.0) --.
 *     w.1 --> track.raw lane 1 --'------------'--> track lane 1 (enrich.1) --'--> group "sink", required
 *
 *     enrich_place_make(&place, raw_bytes, track_bytes)
 *     enrich_place_write(&place, lane, n)  the next n calls of a lane; returns how many found room
 *     enrich_place_open(&place, enrich, index, n)  the stage's functions in this process, as role enrich.<index>
 *     enrich_place_read(&place, lane, most)        events of a lane of track: all must be the next in order
 */
#ifndef TESTS_ENRICH_PLACE_H
#define TESTS_ENRICH_PLACE_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "enrich/enrich.h"
#include "shm/event_track.h"
#include "tests/instance_place.h"
#include "tests/mmdb_make.h"

/* ---- files ---- */

static char enrich_folder[64];
static char enrich_database[96], enrich_rules[96];

static const char enrich_rules_text[] = "user_agent_parsers:\n"
                                        "  - regex: '(Firefox)/(\\d+)\\.(\\d+)'\n"
                                        "  - regex: '(curl)/(\\d+)\\.(\\d+)\\.(\\d+)'\n"
                                        "os_parsers:\n"
                                        "  - regex: '(Mac OS X) (\\d+)[_.](\\d+)'\n"
                                        "device_parsers:\n"
                                        "  - regex: '(Macintosh)'\n"
                                        "    device_replacement: 'Mac'\n"
                                        "    brand_replacement: 'Apple'\n"
                                        "    model_replacement: 'Mac'\n";

static inline void enrich_write(const char *path, const void *bytes, size_t length)
{
	FILE *file = fopen(path, "wbe");
	if (file == NULL || fwrite(bytes, 1, length, file) != length || fclose(file) != 0)
		abort();
}

#define ENRICH_DATABASE_BUILT 1700000000u /* 2023-11-14 */

/* 11.0.0.0/8 is in SE, Lund; 12.0.0.0/8 in JP without a city; 2a01::/16 in FR. */
static inline void enrich_write_database(void)
{
	struct mmdb_make make;
	size_t length;
	mmdb_init(&make, 28, 6, "Test-City");
	make.build_epoch = ENRICH_DATABASE_BUILT;
	uint32_t sweden = mmdb_map(&make, 2);
	mmdb_text(&make, "country"), mmdb_map(&make, 1), mmdb_text(&make, "iso_code"), mmdb_text(&make, "SE");
	mmdb_text(&make, "city"), mmdb_map(&make, 1), mmdb_text(&make, "names"), mmdb_map(&make, 1);
	mmdb_text(&make, "en"), mmdb_text(&make, "Lund");
	uint32_t japan = mmdb_map(&make, 1);
	mmdb_text(&make, "country"), mmdb_map(&make, 1), mmdb_text(&make, "iso_code"), mmdb_text(&make, "JP");
	uint32_t france = mmdb_map(&make, 1);
	mmdb_text(&make, "country"), mmdb_map(&make, 1), mmdb_text(&make, "iso_code"), mmdb_text(&make, "FR");
	mmdb_add4(&make, 0x0b000000, 8, sweden);
	mmdb_add4(&make, 0x0c000000, 8, japan);
	mmdb_add(&make, (const uint8_t[16]){0x2a, 0x01}, 16, france);
	unsigned char *bytes = mmdb_finish(&make, &length);
	enrich_write(enrich_database, bytes, length);
	free(bytes);
}

static inline int enrich_files_make(void)
{
	snprintf(enrich_folder, sizeof enrich_folder, "/tmp/millrace-enrich-XXXXXX");
	if (mkdtemp(enrich_folder) == NULL)
		return -1;
	snprintf(enrich_database, sizeof enrich_database, "%s/country.mmdb", enrich_folder);
	snprintf(enrich_rules, sizeof enrich_rules, "%s/regexes.yaml", enrich_folder);
	enrich_write_database();
	enrich_write(enrich_rules, enrich_rules_text, sizeof enrich_rules_text - 1);
	return 0;
}

static inline int enrich_files_remove(void)
{
	(void)unlink(enrich_database);
	(void)unlink(enrich_rules);
	return rmdir(enrich_folder);
}

/* Settings as the configuration's defaults make them, with these files. */
static inline void enrich_files_settings(struct enrich_settings *settings)
{
	*settings = (struct enrich_settings){
	        .database = enrich_database,
	        .rules = enrich_rules,
	        .agent_longest = AGENT_LONGEST,
	        .agent_cache = AGENT_CACHE_ENTRIES_MIN,
	        .pod = "10.0.0.7",
	};
}

static inline int enrich_files_open(struct enricher *enricher)
{
	struct shm_error error = {""};
	enrich_files_settings(&enricher->settings);
	int result = enricher_open(enricher, &error);
	if (result != 0)
		printf("%s\n", error.text);
	return result;
}

/* ---- calls ---- */

#define CALL_ROOM 512u /* bytes of a call's record at most */

struct call_agent {
	const char *text, *device, *browser;
};

static const struct call_agent call_agents[] = {
        {"Mozilla/5.0 (Macintosh; Intel Mac OS X 10.13; rv:56.0) Gecko/20100101 Firefox/56.0", "Desktop",
         "Firefox"},
        {"curl/7.88.1", "Bot", "curl"},
        {"", "Other", "Other"},
};
#define CALL_AGENTS (sizeof call_agents / sizeof call_agents[0])

static const char *const call_countries[] = {"SE", "JP", "XX"};

/* What the texts of a call are. */
struct call_text {
	const char *type, *query, *agent, *host;
};

/* Writes the record of a call. Returns its bytes. */
static inline size_t call_write(void *at, struct call_text text, const uint8_t address[16], uint32_t flags)
{
	size_t type = strlen(text.type), query = strlen(text.query), agent = strlen(text.agent),
	       host = strlen(text.host);
	uint32_t length = (uint32_t)(sizeof(struct event_track_raw) + type + query + agent + host);
	struct event_track_raw *raw = record_put(at, EVENT_TRACK_RAW, length);
	*raw = (struct event_track_raw){
	        .arrival_ns = 1510826008003999999,
	        .source_port = 40001,
	        .type_bytes = (uint16_t)type,
	        .query_bytes = (uint32_t)query,
	        .agent_bytes = (uint16_t)agent,
	        .host_bytes = (uint16_t)host,
	        .flags = flags,
	        .client_ts_ms = 77,
	};
	memcpy(raw->source, address, 16);
	memcpy(raw->text, text.type, type);
	memcpy(raw->text + type, text.query, query);
	memcpy(raw->text + type + query, text.agent, agent);
	memcpy(raw->text + type + query + agent, text.host, host);
	return record_bytes(length);
}

static inline void call_query(char *out, size_t size, unsigned lane, uint64_t number)
{
	/* Of different lengths, so that records lie in ever new places. */
	snprintf(out, size, "n=%" PRIu64 "&lane=%u&fill=%.*s", number, lane, (int)(number % 61),
	         "0123456789012345678901234567890123456789012345678901234567890");
}

/* Writes call `number` of a lane. Returns the record's bytes, CALL_ROOM at most. */
static inline size_t call_put(void *at, unsigned lane, uint64_t number)
{
	char query[160];
	uint8_t address[16] = {
	        [10] = 0xff, [11] = 0xff, [12] = (uint8_t)(11 + number % 3), [15] = (uint8_t)number};
	if (number % 3 == 2)
		address[12] = 10; /* private */
	call_query(query, sizeof query, lane, number);
	return call_write(at,
	                  (struct call_text){.type = "open",
	                                     .query = query,
	                                     .agent = call_agents[number % CALL_AGENTS].text,
	                                     .host = "shop.test"},
	                  address, 0);
}

static inline bool call_slice_is(struct event_track_slice slice, const char *text)
{
	return slice.bytes == strlen(text) && memcmp(slice.text, text, slice.bytes) == 0;
}

/* The number of the call that became this event; UINT64_MAX when the record is none, or not wholly that one. */
static inline uint64_t call_number(const struct record *record, unsigned lane)
{
	const struct event_track *event = (const void *)record->payload;
	struct event_track_slice slice[TRACK_PARTS];
	char query[160], text[21] = "";
	if (record->type != EVENT_TRACK || !event_check(record))
		return UINT64_MAX;
	event_track_split(event, slice);
	if (slice[TRACK_QUERY].bytes < 3)
		return UINT64_MAX;
	memcpy(text, slice[TRACK_QUERY].text + 2,
	       slice[TRACK_QUERY].bytes - 2 < sizeof text - 1 ? slice[TRACK_QUERY].bytes - 2
	                                                      : sizeof text - 1);
	uint64_t number = strtoull(text, NULL, 10);
	call_query(query, sizeof query, lane, number);
	bool same = call_slice_is(slice[TRACK_QUERY], query) && call_slice_is(slice[TRACK_TYPE], "open") &&
	            call_slice_is(slice[TRACK_HOST], "shop.test") &&
	            call_slice_is(slice[TRACK_DEVICE], call_agents[number % CALL_AGENTS].device) &&
	            call_slice_is(slice[TRACK_BROWSER], call_agents[number % CALL_AGENTS].browser) &&
	            memcmp(event->country, call_countries[number % 3], 2) == 0 &&
	            event->source[15] == (uint8_t)number;
	return same ? number : UINT64_MAX;
}

/* ---- an instance ---- */

#define ENRICH_LANES 2u

static const char *const enrich_roles[ENRICH_LANES] = {"enrich.0", "enrich.1"};

struct enrich_place {
	struct place place;
	struct instance instance;
	struct topic_writer writer[ENRICH_LANES]; /* of track.raw */
	struct topic_reader sink;                 /* of track */
	struct control *control[ENRICH_LANES];    /* shared with children */
	uint64_t written[ENRICH_LANES];           /* calls */
	uint64_t read[ENRICH_LANES];              /* events */
	struct shm_error error;
};

static inline int enrich_place_make(struct enrich_place *place, uint64_t raw_bytes, uint64_t track_bytes)
{
	const struct test_topic topics[] = {
	        {"track.raw", raw_bytes, ENRICH_LANES, {"w.0", "w.1"}, "enrich"},
	        {"track", track_bytes, ENRICH_LANES, {enrich_roles[0], enrich_roles[1]}, "sink"},
	};
	char name[SEGMENT_NAME_MAX];
	memset(place, 0, sizeof *place);
	int result = place_make(&place->place);
	if (result == 0)
		result = instance_make(place->place.directory, topics, 2, &place->error);
	for (unsigned i = 0; result == 0 && i < ENRICH_LANES; i++) {
		place->control[i] = mmap(NULL, sizeof *place->control[i], PROT_READ | PROT_WRITE,
		                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		result = place->control[i] == MAP_FAILED
		                 ? -1
		                 : segment_create(place->place.directory,
		                                  instance_private_name(name, enrich_roles[i]),
		                                  SEGMENT_PRIVATE, 7, PRIVATE_NOTE_BYTES, NULL, NULL,
		                                  &place->error);
	}
	if (result == 0)
		result = instance_attach(&place->instance, "test", SEGMENT_WRITE, &place->error);
	for (unsigned i = 0; result == 0 && i < ENRICH_LANES; i++)
		result = topic_writer_attach(&place->writer[i], &place->instance, "track.raw",
		                             i == 0 ? "w.0" : "w.1", &place->error);
	if (result == 0)
		result = topic_reader_attach_stage(&place->sink, &place->instance, "track", "sink", (struct topic_share){.n = 1}, &place->error);
	if (result != 0)
		printf("%s\n", place->error.text);
	return result;
}

static inline void enrich_place_remove(struct enrich_place *place)
{
	topic_reader_detach(&place->sink);
	for (unsigned i = 0; i < ENRICH_LANES; i++) {
		topic_writer_detach(&place->writer[i]);
		if (place->control[i] != NULL)
			munmap(place->control[i], sizeof *place->control[i]);
	}
	instance_detach(&place->instance);
	place_remove(&place->place);
}

static inline uint64_t enrich_place_write(struct enrich_place *place, unsigned lane, uint64_t n)
{
	struct topic_writer *writer = &place->writer[lane];
	uint64_t written = 0;
	for (; written < n; written++) {
		char *at = stream_reserve(&writer->stream, CALL_ROOM);
		if (at == NULL)
			break;
		stream_commit(&writer->stream, call_put(at, lane, place->written[lane]++), 1);
	}
	topic_ring(writer);
	return written;
}

/* Returns 0 or -errno. enrich->enricher is open already, or (all zero) is opened here. */
static inline int enrich_place_open(struct enrich_place *place, struct enrich *enrich, unsigned index,
                                    unsigned n)
{
	if (enrich->enricher.engine == NULL && enrich_files_open(&enrich->enricher) != 0)
		return -1;
	return enrich_open(enrich, &place->instance, enrich_roles[index],
	                   (struct topic_share){.index = index, .n = n}, place->control[index],
	                   &place->error);
}

/* Reads at most `most` events of a lane of track that holds those of input lane `lane` alone. Returns how many; UINT64_MAX when one is not
 * wholly the next. */
static inline uint64_t enrich_place_read(struct enrich_place *place, unsigned lane, uint64_t most)
{
	struct stream_reader *reader = &place->sink.lane[lane];
	struct record_batch batch;
	const struct record *record;
	uint64_t n = 0;
	if (!stream_peek(reader, &batch))
		return 0;
	while (n < most && (record = record_next(&batch)) != NULL) {
		if (call_number(record, lane) != place->read[lane])
			return UINT64_MAX;
		place->read[lane]++;
		n++;
	}
	if (batch.corrupt)
		return UINT64_MAX;
	stream_advance(reader, &batch, n);
	return n;
}

static inline const struct stream_shared *enrich_place_lane(const struct enrich_place *place, unsigned lane)
{
	return place->sink.lane[lane].shared;
}

/* received = rejected + dropped + refused + written. */
static inline bool enrich_place_balanced(const struct enrich_place *place, unsigned lane)
{
	const struct stream_shared *shared = enrich_place_lane(place, lane);
	uint64_t sum = shared->records + shared->ledger.dropped + shared->ledger.refused;
	for (unsigned reason = 0; reason < LEDGER_REASONS_MAX; reason++)
		sum += shared->ledger.rejected[reason];
	return sum == shared->ledger.received;
}

static inline uint64_t enrich_place_metric(const struct enrich_place *place, unsigned index,
                                           enum enrich_metric metric)
{
	return atomic_load_explicit(&place->control[index]->metric[metric], memory_order_relaxed);
}

#endif
