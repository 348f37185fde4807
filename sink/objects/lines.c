#include "sink/objects/lines.h"

#include <errno.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "flow/flow.h"
#include "sink/objects/journal_line.h"
#include "sink/objects/name.h"

#define AHEAD_FROM  8192          /* bytes: so far ahead */
#define AHEAD_BYTES 256           /* about a record */
#define LINE_ROOM   (64u * 1024u) /* at first */

/* ---- opening ---- */

static int open_topic(struct lines *lines, const struct config *config, const char *section, const char *name,
                      struct shm_error *error)
{
	const char *text[FILTERS_MAX];
	struct filters_why why;
	struct lines_topic *topic = &lines->topic[lines->n_topics++];
	uint16_t type = flow_topic_type(name);
	size_t n = config_count(config, "%s.filter", section);
	topic->name = name;
	if (type != EVENT_NONE && !encode_possible(lines->format, type)) {
		shm_explain(error, "%s.format: events of topic %s do not have the format %s", section, name,
		            config_string(config, "%s.format", section));
		return -EINVAL;
	}
	for (size_t i = 0; i < n && i < FILTERS_MAX; i++)
		text[i] = config_item(config, i, "%s.filter", section);
	int result = filters_init(&topic->filters, type, name, text, n < FILTERS_MAX ? n : FILTERS_MAX, &why);
	if (result != 0)
		shm_explain(error, "%s.filter: %s", section, why.text);
	return result;
}

/* The text around the fields must make a key that every store takes. */
static int check_key(const char *section, const char *key, struct shm_error *error)
{
	const char *wrong = NULL;
	if (key[0] == '/' || key[0] == '+')
		wrong = "begins with / or +";
	for (const char *at = key; *at != '\0' && wrong == NULL; at++) {
		if ((unsigned char)*at < 0x20 || *at == 0x7f || *at == '\\')
			wrong = "has a control character or a backslash";
		if ((at == key || at[-1] == '/') && at[strspn(at, ".")] == '/')
			wrong = "has a part that is empty or of dots alone";
	}
	size_t n = strlen(key), dots = 0;
	while (dots < n && key[n - dots - 1] == '.')
		dots++;
	if (wrong == NULL && (dots == n || key[n - dots - 1] == '/'))
		wrong = "ends with a part that is empty or of dots alone";
	if (wrong == NULL)
		return 0;
	shm_explain(error, "%s.key: \"%.200s\" %s; allowed: text such as log/{date}/{client_id}", section,
	            key, wrong);
	return -EINVAL;
}

static int open_key(struct lines *lines, const struct config *config, const char *section,
                    const char *const *topics, struct shm_error *error)
{
	uint16_t types[LINES_TOPICS_MAX + 1] = {EVENT_NONE};
	char reason[300];
	const char *key = config_string(config, "%s.key", section);
	bool any = false;
	if (key[0] == '\0')
		key = LINES_DEFAULT_KEY;
	for (unsigned i = 0; topics[i] != NULL; i++) {
		types[i] = flow_topic_type(topics[i]);
		any |= types[i] == EVENT_NONE;
	}
	int result = check_key(section, key, error);
	if (result != 0)
		return result;
	result = template_compile(&lines->template, key, any || topics[0] == NULL ? NULL : types, reason,
	                          sizeof reason);
	if (result != 0)
		shm_explain(error, "%s.key: %s", section, result == -EINVAL ? reason : strerror(-result));
	return result;
}

int lines_open(struct lines *lines, const struct config *config, const char *section,
               const char *const *topics, struct shm_error *error)
{
	int format = encode_format(config_string(config, "%s.format", section));
	*lines = (struct lines){.format = (enum encode_format)format,
	                        .longest = config_u64(config, "%s.longest_line", section)};
	if (format < 0 || format == ENCODE_RECORD) {
		shm_explain(error, "%s.format: \"record\" is for kafka; allowed: auto, json, line", section);
		return -EINVAL;
	}
	int result = open_key(lines, config, section, topics, error);
	for (unsigned i = 0; i < LINES_TOPICS_MAX && topics[i] != NULL && result == 0; i++)
		result = open_topic(lines, config, section, topics[i], error);
	if (result != 0) {
		lines_close(lines);
		return result;
	}
	if (gethostname(lines->host, sizeof lines->host - 1) != 0)
		lines->host[0] = '\0';
	snprintf(lines->instance, sizeof lines->instance, "%s", config_string(config, "instance"));
	lines->place.host = lines->host;
	lines->place.instance = lines->instance;
	return 0;
}

static bool draw(void *bytes, size_t n)
{
	return getrandom(bytes, n, 0) == (ssize_t)n; /* up to 256 bytes are never cut */
}

int lines_begin(struct lines *lines, struct journal *journal, uint64_t generation)
{
	struct journal_counts counts;
	journal_count(journal, &counts);
	lines->journal = journal;
	lines->n_objects = (uint32_t)counts.objects;
	lines->stamp = calloc(counts.objects, sizeof *lines->stamp);
	lines->touched = calloc(counts.objects, sizeof *lines->touched);
	lines->line = malloc(LINE_ROOM);
	lines->key_room = template_most(lines->template) + 1;
	lines->key = malloc(lines->key_room);
	lines->room = LINE_ROOM;
	if (lines->stamp == NULL || lines->touched == NULL || lines->line == NULL || lines->key == NULL ||
	    !draw(lines->hash_key, sizeof lines->hash_key) ||
	    !recent_open(&lines->recent, lines->template, counts.objects))
		return -ENOMEM;
	for (unsigned i = 0; i < lines->n_topics; i++)
		for (unsigned lane = 0; lane < STREAM_LANES_MAX; lane++)
			snprintf(lines->topic[i].origin[lane], sizeof lines->topic[i].origin[lane],
			         "%016llx-%s-%u", (unsigned long long)generation, lines->topic[i].name, lane);
	return 0;
}

void lines_close(struct lines *lines)
{
	for (unsigned i = 0; i < lines->n_topics; i++)
		filters_fini(&lines->topic[i].filters);
	template_free(lines->template);
	record_copy_fini(&lines->copy);
	recent_close(&lines->recent);
	free(lines->stamp);
	free(lines->touched);
	free(lines->line);
	free(lines->key);
	*lines = (struct lines){0};
}

/* ---- one record ---- */

enum taken { TAKEN, FILTERED, BAD, TOO_LONG, FULL };

static void make_token(char token[JOURNAL_TOKEN_BYTES + 1])
{
	unsigned char bytes[JOURNAL_TOKEN_BYTES / 2];
	if (!draw(bytes, sizeof bytes))
		abort(); /* the kernel has no random numbers: not after it has started */
	for (size_t i = 0; i < sizeof bytes; i++)
		snprintf(token + 2 * i, 3, "%02x", bytes[i]);
}

/* The object that takes lines of the record's key; JOURNAL_NONE with why. */
static journal_object find_object(struct lines *lines, const struct record *record, uint64_t hash,
                                  unsigned topic, unsigned lane, uint64_t position, uint64_t real_ns,
                                  enum taken *why)
{
	char token[JOURNAL_TOKEN_BYTES + 1];
	journal_object object = journal_find(lines->journal, hash, NULL, 0);
	if (object != JOURNAL_NONE)
		return object;
	int expanded = template_expand(lines->template, lines->key, lines->key_room, record, &lines->place);
	if (expanded <= 0) {
		*why = BAD;
		return JOURNAL_NONE;
	}
	size_t n = name_shorten(lines->key, (size_t)expanded, LINES_KEY_MAX);
	object = journal_find(lines->journal, hash, lines->key, n);
	if (object != JOURNAL_NONE)
		return object;
	*why = FULL;
	make_token(token);
	return journal_add(lines->journal, hash, lines->key, n, token, lines->topic[topic].number,
	                   (uint16_t)lane, position, real_ns);
}

/* The line, or NULL with why. */
static const void *make_line(struct lines *lines, const struct record *record, const char *origin,
                             uint64_t position, size_t *bytes, enum taken *why)
{
	const void *line = encode_in_place(lines->format, record, bytes);
	*why = TOO_LONG;
	if (line != NULL)
		return *bytes <= lines->longest ? line : NULL;
	for (;;) {
		int n = encode_event(lines->line, lines->room, lines->format, record, origin, position);
		if (n >= 0) {
			*bytes = (size_t)n;
			return *bytes <= lines->longest ? lines->line : NULL;
		}
		/* JSON needs room for the longest value once more */
		if (n != -ENOSPC || lines->room > 4 * lines->longest) {
			*why = n == -ENOSPC ? TOO_LONG : BAD;
			return NULL;
		}
		char *more = realloc(lines->line, 2 * lines->room);
		if (more == NULL) {
			*why = FULL;
			return NULL;
		}
		lines->line = more;
		lines->room *= 2;
	}
}

static void touch(struct lines *lines, journal_object object)
{
	if (lines->stamp[object] == lines->batch)
		return;
	lines->stamp[object] = lines->batch;
	lines->touched[lines->n_touched++] = object;
}

static enum taken take(struct lines *lines, const struct record *record, unsigned topic, unsigned lane,
                       uint64_t position, uint64_t real_ns)
{
	struct lines_topic *of = &lines->topic[topic];
	enum taken why = BAD;
	size_t bytes;
	uint64_t hash = template_hash(lines->template, record, &lines->place, lines->hash_key);
	if (hash == 0)
		return BAD;
	if (of->filters.n != 0 && !filters_hold(&of->filters, record))
		return FILTERED;
	const void *line = make_line(lines, record, of->origin[lane], position, &bytes, &why);
	if (line == NULL)
		return why;
	journal_object object = find_object(lines, record, hash, topic, lane, position, real_ns, &why);
	if (object == JOURNAL_NONE)
		return why;
	/* An object that was made for this line and has no room for it goes with the commit. */
	if (!journal_append(lines->journal, object, line, bytes, real_ns))
		return FULL;
	touch(lines, object);
	return TAKEN;
}

/* The object of a log that is not remembered: the log's struct is copied, and from there on not
 * read again. JOURNAL_NONE when it takes the long way. */
static __attribute__((noinline)) journal_object find_new_log(struct lines *lines, const struct record *record,
                                                             uint32_t length)
{
	alignas(uint64_t) unsigned char room[sizeof(struct record) + sizeof(struct event_log)];
	struct record *head = (void *)room;
	struct event_log *event = (void *)head->payload;
	memcpy(record_put(head, EVENT_LOG, length), record->payload, sizeof *event);
	atomic_signal_fence(memory_order_seq_cst);
	if (!event_log_check(event, length))
		return JOURNAL_NONE;
	uint64_t hash = template_hash(lines->template, head, &lines->place, lines->hash_key);
	journal_object object = journal_find(lines->journal, hash, NULL, 0);
	if (object == JOURNAL_NONE)
		return JOURNAL_NONE;
	struct recent_key key = recent_key(&lines->recent, event);
	recent_add(&lines->recent, &key, object);
	return object;
}

/* A log, as nearly all are: its object goes from the lane into the journal, copied once. What is
 * needed of its struct is loaded once each (volatile), before it is used; where the object ends is
 * what was loaded, held against the length that the batch has checked. False, and nothing has
 * changed, for all that is not as usual: that takes the long way, from the record as it is then. */
static inline bool take_log(struct lines *lines, const struct record *record, uint32_t length,
                            uint64_t real_ns)
{
	const volatile struct event_log *log = (const volatile void *)record->payload;
	struct event_log event;
	if (length < sizeof event)
		return false;
	event.object_bytes = log->object_bytes;
	event.text_offset = log->text_offset;
	event.text_bytes = log->text_bytes;
	if (!event_log_check(&event, length) || event.object_bytes > lines->longest)
		return false;
	struct recent_key key = recent_key(&lines->recent, record->payload);
	journal_object object = recent_find(&lines->recent, &key);
	if (__builtin_expect(object == JOURNAL_NONE, 0)) {
		object = find_new_log(lines, record, length);
		if (object == JOURNAL_NONE)
			return false;
	}
	if (!journal_append_object(lines->journal, object, record->payload + sizeof event, event.object_bytes,
	                           real_ns))
		return false;
	touch(lines, object);
	return true;
}

static void count(struct lines *lines, enum taken taken)
{
	lines->counts.events += taken == TAKEN;
	lines->counts.filtered += taken == FILTERED;
	lines->counts.bad += taken == BAD;
	lines->counts.too_long += taken == TOO_LONG;
}

/* Asks for lines of the lane, which lie in another core's cache or in none: each would be waited
 * for. Nothing after the batch: the writer is at work in it. Always inline: a call changes nothing
 * that the compiler knows of, and it leaves such calls out. */
static inline __attribute__((always_inline)) void fetch_first(const struct record_batch *batch)
{
	ptrdiff_t n = batch->end - batch->at < AHEAD_FROM ? batch->end - batch->at : AHEAD_FROM;
	for (ptrdiff_t i = 0; i < n; i += SHM_LINE)
		__builtin_prefetch(batch->at + i);
}

static inline __attribute__((always_inline)) void fetch_ahead(const struct record_batch *batch)
{
	if (__builtin_expect(batch->end - batch->at < AHEAD_FROM + AHEAD_BYTES, 0))
		return;
	for (size_t i = 0; i < AHEAD_BYTES; i += SHM_LINE)
		__builtin_prefetch(batch->at + AHEAD_FROM + i);
}

/* The logs with which the batch goes on, as long as they are as usual; returns how many those are.
 * A loop of its own, or the rest would have its registers. */
static __attribute__((noinline)) uint64_t take_logs(struct lines *lines, struct record_batch *batch,
                                                    uint64_t most, uint64_t real_ns)
{
	struct record_batch at = *batch;
	const char *taken = at.at;
	uint64_t n = 0;
	for (; n < most; n++, taken = at.at) {
		const struct record *record = record_next_here(&at);
		if (record == NULL || at.type != EVENT_LOG)
			break;
		fetch_ahead(&at);
		if (!take_log(lines, record, at.length, real_ns))
			break;
	}
	batch->position += (uint64_t)(taken - batch->at);
	batch->at = taken;
	return n;
}

/* One record, the long way. False, and batch stands before it, when there is none or no room. */
static bool take_next(struct lines *lines, unsigned topic, unsigned lane, struct record_batch *batch,
                      uint64_t real_ns)
{
	struct record_batch before = *batch;
	const struct record *record = record_next(batch);
	if (record == NULL)
		return false;
	/* Other processes can write to the lane: what is checked is a copy. Without memory it is as
	 * without room: tried again. */
	const struct record *copy = record_copy(&lines->copy, record->payload, batch->length, batch->type);
	enum taken taken = copy == NULL ? FULL : take(lines, copy, topic, lane, before.position, real_ns);
	if (taken == FULL) {
		*batch = before;
		lines->full = true;
		return false;
	}
	count(lines, taken);
	return true;
}

uint64_t lines_take(struct lines *lines, unsigned topic, unsigned lane, struct record_batch *batch,
                    uint64_t real_ns)
{
	bool logs = lines->format == ENCODE_AUTO && lines->topic[topic].filters.n == 0 &&
	            lines->recent.entry != NULL;
	uint64_t n = 0;
	lines->place.topic = lines->topic[topic].name;
	lines->place.now_ns = real_ns;
	lines->full = false;
	lines->batch++;
	lines->n_touched = 0;
	recent_begin(&lines->recent, lines->journal);
	if (logs)
		fetch_first(batch);
	while (n < LINES_BATCH_MAX) {
		uint64_t usual = logs ? take_logs(lines, batch, LINES_BATCH_MAX - n, real_ns) : 0;
		lines->counts.events += usual;
		n += usual;
		if (n == LINES_BATCH_MAX || !take_next(lines, topic, lane, batch, real_ns))
			break;
		n++;
	}
	return n;
}
