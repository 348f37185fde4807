#include "serve/live_wish.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/live.h"

const char *live_wish_kind(uint16_t type)
{
	switch (type) {
	case EVENT_TRACK:
	case EVENT_TRACK_RAW:
		return "type";
	case EVENT_METRIC:
		return "metric";
	case EVENT_LOG:
		return "client_id";
	case EVENT_DELIVERY:
		return "outcome";
	default:
		return NULL;
	}
}

/* Of tracking events a key that is no field is a parameter. */
static bool is_parameter(uint16_t type, const char *text)
{
	char key[48];
	size_t bytes = strcspn(text, "=");
	if ((type != EVENT_TRACK && type != EVENT_TRACK_RAW) || strncmp(text, "params.", 7) == 0 ||
	    strncmp(text, "query.", 6) == 0 || text[bytes] == '\0' || bytes == 0)
		return false;
	if (bytes >= sizeof key)
		return true;
	memcpy(key, text, bytes);
	key[bytes] = '\0';
	return !event_field_known(type, key);
}

static int add(struct live_wish *wish, const char *before, const char *between, const char *text)
{
	if (asprintf(&wish->filter[wish->n], "%s%s%s", before, between, text) < 0) {
		wish->filter[wish->n] = NULL;
		return -ENOMEM;
	}
	wish->n++;
	return 0;
}

static int add_all(struct live_wish *wish, const char *filter, const char *const *where, unsigned n_where,
                   struct filters_why *why)
{
	const char *kind = live_wish_kind(wish->type);
	int result = 0;
	if (filter != NULL && kind == NULL) {
		snprintf(why->text, sizeof why->text, "filter: events of %s have no kinds; use where",
		         wish->topic);
		return -EINVAL;
	}
	if (filter != NULL)
		result = add(wish, kind, "=", filter);
	for (unsigned i = 0; i < n_where && result == 0; i++)
		result = add(wish, is_parameter(wish->type, where[i]) ? "params." : "", "", where[i]);
	return result;
}

/* Whether these events have such fields. */
static int try_filters(const struct live_wish *wish, struct filters_why *why)
{
	struct filters filters;
	int result = filters_init(&filters, wish->type, wish->topic, (const char *const *)wish->filter,
	                          wish->n, why);
	filters_fini(&filters);
	return result;
}

/* Two wishes have equal keys when they are for the same events: no text has a line feed. */
static int make_key(struct live_wish *wish)
{
	size_t bytes = strlen(wish->topic) + 1;
	for (unsigned i = 0; i < wish->n; i++)
		bytes += strlen(wish->filter[i]) + 1;
	wish->key = malloc(bytes);
	if (wish->key == NULL)
		return -ENOMEM;
	char *at = stpcpy(wish->key, wish->topic);
	for (unsigned i = 0; i < wish->n; i++) {
		*at++ = '\n';
		at = stpcpy(at, wish->filter[i]);
	}
	return 0;
}

static int make_hello(struct live_wish *wish)
{
	json_t *filter = json_object();
	for (unsigned i = 0; i < wish->n; i++) {
		const char *equals = strchr(wish->filter[i], '=');
		json_t *value = json_string(equals + 1);
		if (value == NULL)
			value = json_null(); /* no UTF-8 */
		json_object_setn_new(filter, wish->filter[i], (size_t)(equals - wish->filter[i]), value);
	}
	json_t *hello = json_pack("{s:s, s:I, s:s?, s:o}", "type", "hello", "interval_ms",
	                          (json_int_t)(LIVE_TICK_NS / 1000000), "topic",
	                          wish->topic[0] != '\0' ? wish->topic : NULL, "filter", filter);
	wish->hello = hello != NULL ? json_dumps(hello, JSON_COMPACT) : NULL;
	json_decref(hello);
	return wish->hello != NULL ? 0 : -ENOMEM;
}

int live_wish_init(struct live_wish *wish, const char *topic, uint16_t type, const char *filter,
                   const char *const *where, unsigned n_where, bool ticks, struct filters_why *why)
{
	*wish = (struct live_wish){.ticks = ticks, .type = type};
	if (topic == NULL && (filter != NULL || n_where > 0)) {
		snprintf(why->text, sizeof why->text, "filter and where are of a topic, and none is given");
		return -EINVAL;
	}
	if (n_where > LIVE_WHERE_MAX) {
		snprintf(why->text, sizeof why->text, "where: at most %u times", LIVE_WHERE_MAX);
		return -EINVAL;
	}
	snprintf(wish->topic, sizeof wish->topic, "%s", topic != NULL ? topic : "");
	int result = add_all(wish, filter, where, n_where, why);
	if (result == 0 && topic != NULL)
		result = try_filters(wish, why);
	if (result == 0)
		result = make_key(wish);
	return result == 0 ? make_hello(wish) : result;
}

void live_wish_fini(struct live_wish *wish)
{
	for (unsigned i = 0; i < wish->n; i++)
		free(wish->filter[i]);
	free(wish->key);
	free(wish->hello);
	*wish = (struct live_wish){.n = 0};
}
