#include "event/filter.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "event/query.h"

#define ROOM_MIN 4096u

static int fault(struct filters_why *why, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int fault(struct filters_why *why, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(why->text, sizeof why->text, format, arguments);
	va_end(arguments);
	return -EINVAL;
}

/* Fields that have members: the parameters of tracking calls, under any name, and the data of
 * postbacks. */
static bool has_members(uint16_t type, const char *key)
{
	bool params = strcmp(key, "params") == 0 || strcmp(key, "query") == 0,
	     data = strcmp(key, "data") == 0;
	switch (type) {
	case EVENT_TRACK:
	case EVENT_TRACK_RAW:
		return params;
	case EVENT_POSTBACK:
		return data;
	case EVENT_NONE: /* records of any type: their fields are unknown until they come */
		return params || data;
	default:
		return false;
	}
}

static int check_key(uint16_t type, const char *topic, const struct filter *filter, struct filters_why *why)
{
	char all[256] = "";
	const char *key = filter->key;
	if (filter->member != NULL && has_members(type, key))
		return 0;
	if (filter->member == NULL && (type == EVENT_NONE || event_field_known(type, key)))
		return 0;
	for (unsigned i = 0; event_field_name(type, i) != NULL; i++) {
		const char *name = event_field_name(type, i);
		size_t used = strlen(all);
		snprintf(all + used, sizeof all - used, "%s%s%s", i > 0 ? ", " : "", name,
		         has_members(type, name) ? " and its members, as in params.color" : "");
	}
	return fault(why, "events of %.40s have no field \"%s%s%.80s\"; they have: %s", topic, key,
	             filter->member != NULL ? "." : "", filter->member != NULL ? filter->member : "", all);
}

/* Brings an address or hexadecimal digits into the form that events show. Leaves other values as
 * they are. */
static char *canonical(const struct filter *filter, const char *value)
{
	char form[INET6_ADDRSTRLEN];
	struct in6_addr address;
	bool is_address = strcmp(filter->key, "ip") == 0 || strcmp(filter->key, "source") == 0;
	if (filter->member == NULL && is_address && inet_pton(AF_INET6, value, &address) == 1) {
		struct text text = {.at = form, .end = form + sizeof form - 1};
		text_address(&text, address.s6_addr);
		*text.at = 0;
		value = form;
	}
	char *copy = strdup(value);
	if (copy == NULL)
		abort();
	if (filter->member == NULL &&
	    (strcmp(filter->key, "sha") == 0 || strcmp(filter->key, "app_sha256") == 0 ||
	     strcmp(filter->key, "postback") == 0))
		for (char *c = copy; *c != 0; c++)
			*c = (char)tolower((unsigned char)*c);
	return copy;
}

/* Reads "key=value" or "key.member=value"; equals points to the '='. */
static void split(struct filter *filter, const char *text, const char *equals)
{
	const char *dot = memchr(text, '.', (size_t)(equals - text));
	const char *end = dot != NULL ? dot : equals;
	snprintf(filter->key, sizeof filter->key, "%.*s", (int)(end - text), text);
	if (dot != NULL) {
		filter->member = strndup(dot + 1, (size_t)(equals - dot - 1));
		if (filter->member == NULL)
			abort();
		filter->member_bytes = strlen(filter->member);
	}
	filter->value = canonical(filter, equals + 1);
}

int filters_init(struct filters *filters, uint16_t type, const char *topic, const char *const *text, size_t n,
                 struct filters_why *why)
{
	*filters = (struct filters){0};
	if (n > FILTERS_MAX)
		return fault(why, "at most %u can be given", FILTERS_MAX);
	for (size_t i = 0; i < n; i++) {
		struct filter *filter = &filters->filter[filters->n];
		const char *equals = strchr(text[i], '=');
		if (equals == NULL || equals == text[i] || strcspn(text[i], ".=") >= sizeof filter->key)
			return fault(why, "\"%.120s\" must be KEY=VALUE", text[i]);
		split(filter, text[i], equals);
		filters->n++;
		int result = check_key(type, topic, filter, why);
		if (result != 0)
			return result;
	}
	return 0;
}

static void make_room(struct filters *filters, size_t bytes)
{
	if (filters->room >= bytes)
		return;
	filters->room = bytes;
	filters->field = realloc(filters->field, bytes);
	if (filters->field == NULL)
		abort();
}

static bool parameter_holds(const struct filter *filter, const char *text, size_t bytes)
{
	struct query query = {text, text + bytes};
	struct query_pair pair;
	while (query_next(&query, &pair))
		if (query_is(pair.name, pair.name_bytes, filter->member, filter->member_bytes) &&
		    query_is(pair.value, pair.value_bytes, filter->value, strlen(filter->value)))
			return true;
	return false;
}

/* Compares a string without its quotes, any other value as JSON writes it. */
static bool member_holds(const struct filter *filter, const char *text, size_t bytes)
{
	json_t *object = json_loadb(text, bytes, 0, NULL);
	const json_t *value = json_object_get(object, filter->member);
	bool holds = false;
	if (json_is_string(value)) {
		holds = strcmp(json_string_value(value), filter->value) == 0;
	} else if (value != NULL) {
		char *shown = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
		holds = shown != NULL && strcmp(shown, filter->value) == 0;
		free(shown);
	}
	json_decref(object);
	return holds;
}

static bool holds(struct filters *filters, const struct filter *filter, const struct record *record)
{
	int n = event_field(filters->field, filters->room, record, filter->key);
	if (n < 0)
		return false;
	if (filter->member == NULL)
		return (size_t)n == strlen(filter->value) &&
		       memcmp(filters->field, filter->value, (size_t)n) == 0;
	if (!has_members(record->type, filter->key))
		return false;
	return record->type == EVENT_POSTBACK ? member_holds(filter, filters->field, (size_t)n)
	                                      : parameter_holds(filter, filters->field, (size_t)n);
}

bool filters_hold(struct filters *filters, const struct record *record)
{
	if (filters->n == 0)
		return true;
	/* A field is no longer than the payload, a few characters for a number, or twice the bytes
	 * of a binary field. */
	make_room(filters, ROOM_MIN + (size_t)record->length);
	for (unsigned i = 0; i < filters->n; i++)
		if (!holds(filters, &filters->filter[i], record))
			return false;
	return true;
}

void filters_fini(struct filters *filters)
{
	for (unsigned i = 0; i < filters->n; i++) {
		free(filters->filter[i].member);
		free(filters->filter[i].value);
	}
	free(filters->field);
	*filters = (struct filters){0};
}
