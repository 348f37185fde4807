#include "event/template.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/escape.h"
#include "base/siphash.h"
#include "base/text.h"
#include "event/fields.h"
#include "event/literal.h"
#include "event/query.h"

#define TYPES_MAX   8u  /* more are looked up as they come */
#define FIELD_MAX   64u /* bytes of a field's name, member included */
#define CUT_BYTES   17u /* "~" and 16 digits */
#define MS_PER_HOUR 3600000u
#define DAYS_MAX    2932896u /* 9999-12-31 */
#define DATE_BYTES  10u
#define NO_TIME     UINT64_MAX

enum what { LITERAL, TOPIC, DATE, HOUR, HOST, INSTANCE, NUMBER, FIELD };

static const char *const place_name[] = {[TOPIC] = "topic", [DATE] = "date",         [HOUR] = "hour",
                                         [HOST] = "host",   [INSTANCE] = "instance", [NUMBER] = "n"};

struct part {
	enum what what;
	const char *text; /* of a literal */
	size_t bytes;
	char key[FIELD_MAX]; /* of a field, and of {host}, which some events have themselves */
	const char *member;  /* within key: "color" of "params.color"; NULL */
	const struct event_field *field[TYPES_MAX]; /* by type, as in the template */
};

/* The date that was written last. */
struct calendar {
	uint32_t days; /* since 1970-01-01 */
	char date[DATE_BYTES];
};

struct template
{
	uint16_t type[TYPES_MAX];
	unsigned n_types, n_parts, n_varying;
	bool timed; /* it has a {date} or {hour} */
	bool plain; /* of the one type that it is for it has numbers and times alone */
	const struct part *varying[TEMPLATE_PARTS_MAX]; /* all but the literals */
	struct part part[TEMPLATE_PARTS_MAX];
	size_t most;
	struct calendar *calendar; /* changes while the template stays as it is */
	char text[];
};

/* ---- compiling ---- */

/* Fields of outside programs' records are the same whatever number those give them. */
static uint16_t known_type(uint16_t type)
{
	return type >= EVENT_OUTSIDE ? EVENT_OUTSIDE : type;
}

static bool has_params(uint16_t type)
{
	return type == EVENT_TRACK || type == EVENT_TRACK_RAW;
}

static const struct event_field *field_of(const struct part *part, uint16_t type)
{
	if (part->member != NULL && (!has_params(type) || *part->member == '\0' ||
	                             (strcmp(part->key, "params") != 0 && strcmp(part->key, "query") != 0)))
		return NULL;
	return event_fields_find(type, part->key);
}

static bool possible(const struct part *part, const uint16_t *types)
{
	static const uint16_t all[] = {EVENT_IP,        EVENT_RAW,      EVENT_METRIC,
	                               EVENT_TRACK_RAW, EVENT_LOG,      EVENT_POSTBACK,
	                               EVENT_TRACK,     EVENT_DELIVERY, EVENT_OUTSIDE};
	if (types == NULL) {
		for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
			if (field_of(part, all[i]) != NULL)
				return true;
		return false;
	}
	for (; *types != EVENT_NONE; types++)
		if (field_of(part, known_type(*types)) == NULL)
			return false;
	return true;
}

/* ": fields are topic, date, ..., client_id": those that all the types have. */
static void say_fields(char *reason, size_t size, const uint16_t *types)
{
	size_t used = strlen(reason);
	for (enum what i = TOPIC; i <= NUMBER; i++)
		used += (size_t)snprintf(reason + used, used < size ? size - used : 0, "%s%s",
		                         i == TOPIC ? "; fields are " : ", ", place_name[i]);
	for (unsigned i = 0; types != NULL && event_field_name(known_type(types[0]), i) != NULL; i++) {
		struct part part = {.what = FIELD};
		snprintf(part.key, sizeof part.key, "%s", event_field_name(known_type(types[0]), i));
		if (used < size && strcmp(part.key, place_name[HOST]) != 0 && possible(&part, types))
			used += (size_t)snprintf(reason + used, size - used, ", %s", part.key);
	}
}

static void resolve(const struct template *template, struct part *part)
{
	for (unsigned i = 0; i < template->n_types; i++)
		part->field[i] = field_of(part, template->type[i]);
}

/* The field between two braces. */
static int read_field(struct template *template, struct part *part, const char *name, size_t bytes,
                      const uint16_t *types, char *reason, size_t size)
{
	snprintf(part->key, sizeof part->key, "%.*s", (int)(bytes < FIELD_MAX ? bytes : 0), name);
	part->what = FIELD;
	for (enum what i = TOPIC; i <= NUMBER; i++)
		if (strcmp(part->key, place_name[i]) == 0)
			part->what = i;
	char *dot = strchr(part->key, '.');
	if (dot != NULL) {
		*dot = '\0';
		part->member = dot + 1;
	}
	if (part->what == FIELD && !possible(part, types)) {
		snprintf(reason, size, "{%.*s} is no field of %s",
		         (int)(bytes < FIELD_MAX ? bytes : FIELD_MAX), name,
		         types != NULL ? "all these events" : "any event");
		say_fields(reason, size, types);
		return -EINVAL;
	}
	if (part->what == FIELD || part->what == HOST)
		resolve(template, part);
	return 0;
}

static size_t part_most(const struct part *part)
{
	switch (part->what) {
	case LITERAL:
		return part->bytes;
	case DATE:
		return DATE_BYTES;
	case HOUR:
		return 2;
	case NUMBER:
		return 20;
	default:
		return TEMPLATE_VALUE_MAX;
	}
}

static int read_parts(struct template *template, const uint16_t *types, char *reason, size_t size)
{
	for (const char *at = template->text; *at != '\0';) {
		size_t bytes = strcspn(at, "{}");
		if (template->n_parts == TEMPLATE_PARTS_MAX) {
			snprintf(reason, size, "more than %u parts", TEMPLATE_PARTS_MAX);
			return -EINVAL;
		}
		struct part *part = &template->part[template->n_parts++];
		if (bytes > 0) {
			*part = (struct part){.what = LITERAL, .text = at, .bytes = bytes};
			at += bytes;
		} else {
			size_t name = strcspn(at + 1, "{}");
			if (*at == '}' || at[1 + name] != '}') {
				snprintf(reason, size, "\"%.20s\": a brace without its other", at);
				return -EINVAL;
			}
			int error = read_field(template, part, at + 1, name, types, reason, size);
			if (error != 0)
				return error;
			at += name + 2;
			template->timed = template->timed || part->what == DATE || part->what == HOUR;
			template->varying[template->n_varying++] = part;
		}
		template->most += part_most(part);
	}
	return 0;
}

/* What hash_plain can do. */
static bool is_plain(const struct template *template)
{
	for (unsigned i = 0; i < template->n_varying; i++) {
		const struct part *part = template->varying[i];
		bool number = part->what == FIELD && part->field[0] != NULL && part->field[0]->number_at != 0;
		if (!number && part->what != DATE && part->what != HOUR)
			return false;
	}
	return true;
}

void template_free(struct template *template)
{
	if (template == NULL)
		return;
	free(template->calendar);
	free(template);
}

int template_compile(struct template **made, const char *text, const uint16_t *types, char *reason,
                     size_t reason_bytes)
{
	size_t bytes = strlen(text) + 1;
	struct template *template = calloc(1, sizeof *template + bytes);
	struct calendar *calendar = malloc(sizeof *calendar);
	if (template == NULL || calendar == NULL) {
		free(template);
		free(calendar);
		return -ENOMEM;
	}
	calendar->days = UINT32_MAX;
	template->calendar = calendar;
	memcpy(template->text, text, bytes);
	for (const uint16_t *type = types;
	     type != NULL && *type != EVENT_NONE && template->n_types < TYPES_MAX; type++)
		template->type[template->n_types++] = known_type(*type);
	int error = read_parts(template, types, reason, reason_bytes);
	if (error != 0) {
		template_free(template);
		return error;
	}
	template->plain = template->n_types == 1 && is_plain(template);
	*made = template;
	return 0;
}

size_t template_most(const struct template *template)
{
	return template->most;
}

/* ---- values ---- */

/* The bytes of a value, a few at a time. */
struct source {
	const char *at, *end;
	enum { AS_IT_IS, ESCAPED, QUERY } form;
	char decoded[4];
	char formed[72]; /* of a value that is no text; the longest is a sha's 64 digits */
};

/* The next bytes, or 0 at the end. They stay until the next call. */
static size_t source_next(struct source *source, const char **bytes)
{
	size_t left = (size_t)(source->end - source->at);
	*bytes = source->at;
	if (source->form == AS_IT_IS || left == 0) {
		source->at = source->end;
		return left;
	}
	size_t plain = 0;
	bool query = source->form == QUERY;
	while (plain < left &&
	       (query ? source->at[plain] != '%' && source->at[plain] != '+' : source->at[plain] != '\\'))
		plain++;
	if (plain > 0) {
		source->at += plain;
		return plain;
	}
	*bytes = source->decoded;
	if (!query)
		return json_escape(source->decoded, &source->at);
	source->decoded[0] = (char)query_byte(&source->at, source->end);
	return 1;
}

/* The first parameter of that name. */
static void source_member(struct source *source, const char *name)
{
	struct query query = {source->at, source->end};
	struct query_pair pair;
	size_t bytes = strlen(name);
	source->form = QUERY;
	source->at = source->end;
	while (query_next(&query, &pair)) {
		if (!query_is(pair.name, pair.name_bytes, name, bytes))
			continue;
		source->at = pair.value;
		source->end = pair.value + pair.value_bytes;
		return;
	}
}

static void source_value(struct source *source, const struct event_value *value, const char *member)
{
	source->form = AS_IT_IS;
	source->at = value->bytes;
	source->end = source->at + value->length;
	switch (value->kind) {
	case EVENT_VALUE_STRING:
		if (event_literal_is_string(value->bytes, value->length)) {
			source->form = ESCAPED;
			source->at++;
			source->end--;
		}
		break;
	case EVENT_VALUE_TEXT:
	case EVENT_VALUE_BYTES:
	case EVENT_VALUE_OBJECT:
	case EVENT_VALUE_QUERY:
		if (member != NULL)
			source_member(source, member);
		break;
	default: {
		struct text text = {.at = source->formed, .end = source->formed + sizeof source->formed};
		event_value_put(&text, value);
		source->at = source->formed;
		source->end = text.at;
	}
	}
	if (source->at == source->end) {
		source->form = AS_IT_IS;
		source->at = "_";
		source->end = source->at + 1;
	}
}

/* ---- encoding ---- */

/* The unreserved characters (RFC 3986, 2.3), apart from the dot. */
static const bool unreserved[256] = {['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true,
                                     ['-'] = true,         ['_'] = true,         ['~'] = true};

static bool dots_alone(struct source source)
{
	const char *bytes;
	for (size_t n; (n = source_next(&source, &bytes)) > 0;)
		for (size_t i = 0; i < n; i++)
			if (bytes[i] != '.')
				return false;
	return true;
}

/* Encodes what fits into `room`. Returns the bytes written; *all says whether that was
 * everything. */
static size_t encode(char *out, size_t room, struct source source, bool dots, bool *all)
{
	const char *bytes;
	char *at = out, *end = out + room;
	for (size_t n; (n = source_next(&source, &bytes)) > 0;) {
		for (size_t i = 0; i < n; i++) {
			unsigned char byte = (unsigned char)bytes[i];
			bool kept = unreserved[byte] || (byte == '.' && !dots);
			if ((size_t)(end - at) < (kept ? 1u : 3u)) {
				*all = false;
				return (size_t)(at - out);
			}
			if (kept) {
				*at++ = (char)byte;
				continue;
			}
			*at++ = '%';
			*at++ = hex_upper(byte >> 4);
			*at++ = hex_upper(byte);
		}
	}
	*all = true;
	return (size_t)(at - out);
}

static inline uint64_t source_hash(struct source source, const uint64_t key[2], unsigned each, unsigned last)
{
	struct siphash hash;
	const char *bytes;
	siphash_init(&hash, key, each, last);
	for (size_t n; (n = source_next(&source, &bytes)) > 0;)
		siphash_add(&hash, bytes, n);
	return siphash_end(&hash);
}

static void put_value(struct text *text, const struct source *source)
{
	static const uint64_t zero[2];
	char value[TEMPLATE_VALUE_MAX];
	bool all, dots = dots_alone(*source);
	size_t n = encode(value, sizeof value, *source, dots, &all);
	if (all) {
		text_put(text, value, n);
		return;
	}
	n = encode(value, sizeof value - CUT_BYTES, *source, dots, &all);
	text_put(text, value, n);
	uint64_t hash = source_hash(*source, zero, 2, 4);
	text_literal(text, "~");
	for (int shift = 60; shift >= 0; shift -= 4) {
		char digit = hex_lower((unsigned)(hash >> shift));
		text_put(text, &digit, 1);
	}
}

/* ---- expanding ---- */

/* What one expansion looks at. */
struct look {
	struct event_payload payload;
	unsigned type; /* index in the template's, n_types when it has not this one */
	uint64_t time_ms;
};

static inline uint64_t time_of(const struct record *record, const struct template_place *place)
{
	uint64_t ms;
	if (record->type == EVENT_LOG)
		/* a negative one becomes a time too large */
		ms = (uint64_t)((const struct event_log *)(const void *)record->payload)->timestamp_ms;
	else if (record->type < EVENT_OUTSIDE)
		ms = ((const struct event_head *)(const void *)record->payload)->arrival_ns / NS_PER_MS;
	else
		ms = (place->now_ns != 0 ? place->now_ns : clock_real_ns()) / NS_PER_MS;
	return ms < (DAYS_MAX + 1) * (uint64_t)MS_PER_DAY ? ms : NO_TIME;
}

static inline bool look_at(struct look *look, const struct template *template, const struct record *record,
                           const struct template_place *place)
{
	if (!event_check(record))
		return false;
	look->payload.at = record->payload;
	look->payload.length = record->length;
	look->payload.type = record->type;
	uint16_t type = known_type(record->type);
	unsigned i = 0;
	while (i < template->n_types && template->type[i] != type)
		i++;
	look->type = i;
	look->time_ms = template->timed ? time_of(record, place) : 0;
	return true;
}

/* The event's own field, or NULL when it has none of that name. */
static inline const struct event_field *own_field(const struct template *template, const struct part *part,
                                                  const struct look *look)
{
	return look->type < template->n_types ? part->field[look->type]
	                                      : field_of(part, known_type(look->payload.type));
}

static const char *place_text(enum what what, const struct template_place *place)
{
	return what == TOPIC ? place->topic : what == HOST ? place->host : place->instance;
}

static void put_digits(struct text *text, unsigned number, unsigned digits)
{
	char form[4];
	for (unsigned i = digits; i > 0; i--, number /= 10)
		form[i - 1] = (char)('0' + number % 10);
	text_put(text, form, digits);
}

/* Days since 1970-01-01 as a date (H. Hinnant, chrono-Compatible Low-Level Date Algorithms,
 * civil_from_days); years begin in March there. */
static void write_date(char out[DATE_BYTES], uint32_t days)
{
	days += 719468;
	uint32_t era = days / 146097, day = days % 146097;
	uint32_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	day -= 365 * year + year / 4 - year / 100;
	uint32_t month = (5 * day + 2) / 153;
	day -= (153 * month + 2) / 5;
	month = month < 10 ? month + 3 : month - 9;
	struct text text = {.at = out, .end = out + DATE_BYTES};
	put_digits(&text, year + era * 400 + (month <= 2), 4);
	text_literal(&text, "-");
	put_digits(&text, month, 2);
	text_literal(&text, "-");
	put_digits(&text, day + 1, 2);
}

static void put_date(struct text *text, struct calendar *calendar, uint32_t days)
{
	if (calendar->days != days) {
		write_date(calendar->date, days);
		calendar->days = days;
	}
	text_put(text, calendar->date, DATE_BYTES);
}

static void put_field(struct text *text, const struct part *part, const struct event_value *value)
{
	switch (value->kind) {
	case EVENT_VALUE_SIGNED:
	case EVENT_VALUE_UNSIGNED:
	case EVENT_VALUE_IPV4:
	case EVENT_VALUE_ID:
	case EVENT_VALUE_HEX: /* has no byte to be encoded, and is short */
		event_value_put(text, value);
		return;
	default:
		break;
	}
	struct source source;
	source_value(&source, value, part->member);
	put_value(text, &source);
}

static void put_text(struct text *text, const char *from)
{
	struct event_value value = {
	        .kind = EVENT_VALUE_TEXT, .bytes = from, .length = from ? strlen(from) : 0};
	struct source source;
	source_value(&source, &value, NULL);
	put_value(text, &source);
}

static void put_part(struct text *text, const struct template *template, const struct part *part,
                     const struct look *look, const struct template_place *place)
{
	const struct event_field *field;
	struct event_value value;
	switch (part->what) {
	case LITERAL:
		text_put(text, part->text, part->bytes);
		break;
	case DATE:
	case HOUR:
		if (look->time_ms == NO_TIME)
			text_literal(text, "_");
		else if (part->what == DATE)
			put_date(text, template->calendar, (uint32_t)(look->time_ms / MS_PER_DAY));
		else
			put_digits(text, (unsigned)(look->time_ms / MS_PER_HOUR % 24), 2);
		break;
	case NUMBER:
		text_unsigned(text, place->n);
		break;
	case TOPIC:
	case INSTANCE:
		put_text(text, place_text(part->what, place));
		break;
	case HOST:
	case FIELD:
		field = own_field(template, part, look);
		if (field == NULL) {
			put_text(text, part->what == HOST ? place->host : NULL);
			break;
		}
		value = field->get(&look->payload);
		put_field(text, part, &value);
		break;
	}
}

int template_expand(const struct template *template, char *out, size_t size, const struct record *record,
                    const struct template_place *place)
{
	struct look look;
	if (!look_at(&look, template, record, place))
		return -EINVAL;
	struct text text = {.at = out, .end = out + (size > INT_MAX ? INT_MAX : size)};
	for (unsigned i = 0; i < template->n_parts && !text.full; i++)
		put_part(&text, template, &template->part[i], &look, place);
	return text.full ? -ENOSPC : (int)(text.at - out);
}

/* ---- hashing ---- */

/* The halves of a product, folded: who does not know the key cannot find two numbers that end at
 * one. */
static inline uint64_t fold(uint64_t hash, uint64_t number, uint64_t key)
{
	unsigned __int128 product = (unsigned __int128)(hash ^ number) * (key | 1);
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_value(uint64_t hash, const struct event_value *value, const char *member,
                           const uint64_t key[2])
{
	if (value->kind == EVENT_VALUE_SIGNED || value->kind == EVENT_VALUE_UNSIGNED ||
	    value->kind == EVENT_VALUE_IPV4)
		return fold(hash, value->number, key[1]);
	struct source source;
	source_value(&source, value, member);
	return fold(hash, source_hash(source, key, 1, 3), ~key[1]);
}

static uint64_t hash_text(uint64_t hash, const char *text, const uint64_t key[2])
{
	struct event_value value = {
	        .kind = EVENT_VALUE_TEXT, .bytes = text, .length = text ? strlen(text) : 0};
	return hash_value(hash, &value, NULL, key);
}

static uint64_t hash_field(uint64_t hash, const struct template *template, const struct part *part,
                           const struct look *look, const struct template_place *place, const uint64_t key[2])
{
	const struct event_field *field = own_field(template, part, look);
	if (field == NULL)
		return hash_text(hash, part->what == HOST ? place->host : NULL, key);
	if (field->number_at != 0) {
		uint64_t number;
		memcpy(&number, (const char *)look->payload.at + field->number_at, sizeof number);
		return fold(hash, number, key[1]);
	}
	struct event_value value = field->get(&look->payload);
	return hash_value(hash, &value, part->member, key);
}

static inline uint64_t hash_date(uint64_t hash, uint64_t time_ms, uint64_t key)
{
	return fold(hash, time_ms / MS_PER_DAY, key);
}

static inline uint64_t hash_hour(uint64_t hash, uint64_t time_ms, uint64_t key)
{
	return fold(hash, time_ms != NO_TIME ? time_ms / MS_PER_HOUR % 24 : NO_TIME, key);
}

/* The same as the loop in template_hash, which knows more. */
static uint64_t hash_plain(const struct template *template, const struct record *record,
                           const struct template_place *place, const uint64_t key[2])
{
	uint64_t hash = key[0], number, time_ms = template->timed ? time_of(record, place) : 0;
	for (unsigned i = 0; i < template->n_varying; i++) {
		const struct part *part = template->varying[i];
		if (part->what == FIELD) {
			memcpy(&number, record->payload + part->field[0]->number_at, sizeof number);
			hash = fold(hash, number, key[1]);
		} else {
			hash = part->what == DATE ? hash_date(hash, time_ms, key[1])
			                          : hash_hour(hash, time_ms, key[1]);
		}
	}
	return hash != 0 ? hash : 1;
}

bool template_hash_fixed(const struct template *template, uint16_t type)
{
	return template->plain && type == template->type[0] && type < EVENT_OUTSIDE;
}

bool template_marks(const struct template *template, uint16_t type, struct template_marks *marks)
{
	*marks = (struct template_marks){0};
	if (!template_hash_fixed(template, type))
		return false;
	for (unsigned i = 0; i < template->n_varying; i++) {
		const struct part *part = template->varying[i];
		if (part->what == HOUR)
			marks->unit_ms = MS_PER_HOUR;
		else if (part->what == DATE)
			marks->unit_ms = marks->unit_ms != 0 ? marks->unit_ms : MS_PER_DAY;
		else if (marks->n < TEMPLATE_MARKS_MAX)
			marks->at[marks->n++] = part->field[0]->number_at;
		else
			return false;
	}
	return true;
}

uint64_t template_hash(const struct template *template, const struct record *record,
                       const struct template_place *place, const uint64_t key[2])
{
	struct look look;
	if (template_hash_fixed(template, record->type))
		return event_check(record) ? hash_plain(template, record, place, key) : 0;
	if (!look_at(&look, template, record, place))
		return 0;
	uint64_t hash = key[0];
	for (unsigned i = 0; i < template->n_varying; i++) {
		const struct part *part = template->varying[i];
		if (part->what == DATE)
			hash = hash_date(hash, look.time_ms, key[1]);
		else if (part->what == HOUR)
			hash = hash_hour(hash, look.time_ms, key[1]);
		else if (part->what == NUMBER)
			hash = fold(hash, place->n, key[1]);
		else if (part->what == FIELD || part->what == HOST)
			hash = hash_field(hash, template, part, &look, place, key);
		else
			hash = hash_text(hash, place_text(part->what, place), key);
	}
	return hash != 0 ? hash : 1;
}
