#include "cli/filter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_MIN 4096u

uint16_t filters_type(const char *topic)
{
	static const struct {
		const char *topic;
		uint16_t type;
	} known[] = {{"ip", EVENT_IP},
	             {"raw", EVENT_RAW},
	             {"metric", EVENT_METRIC},
	             {"track.raw", EVENT_TRACK_RAW},
	             {"log", EVENT_LOG},
	             {"track", EVENT_TRACK},
	             {"postback", EVENT_POSTBACK}};
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (strcmp(known[i].topic, topic) == 0)
			return known[i].type;
	return EVENT_NONE;
}

static int check_key(const struct arguments *arguments, const char *topic, const char *key)
{
	uint16_t type = filters_type(topic);
	char all[256] = "";
	if (type == EVENT_NONE || event_field_known(type, key))
		return ARGUMENTS_GO_ON;
	for (unsigned i = 0; event_field_name(type, i) != NULL; i++) {
		const char *name = event_field_name(type, i);
		size_t used = strlen(all);
		snprintf(all + used, sizeof all - used, "%s%s", i > 0 ? ", " : "", name);
	}
	return arguments_error(arguments, "--filter: events of %s have no field \"%s\"; they have: %s", topic,
	                       key, all);
}

int filters_init(struct filters *filters, const struct arguments *arguments, const struct argument_list *list,
                 const char *topic)
{
	*filters = (struct filters){0};
	if (list->n > FILTERS_MAX)
		return arguments_error(arguments, "--filter: at most %u can be given", FILTERS_MAX);
	for (size_t i = 0; i < list->n; i++) {
		struct filter *filter = &filters->filter[i];
		const char *equals = strchr(list->item[i], '=');
		if (equals == NULL || equals == list->item[i] ||
		    equals - list->item[i] >= (int)sizeof filter->key)
			return arguments_error(arguments, "--filter %s: must be KEY=VALUE", list->item[i]);
		snprintf(filter->key, sizeof filter->key, "%.*s", (int)(equals - list->item[i]),
		         list->item[i]);
		filter->value = equals + 1;
		int status = check_key(arguments, topic, filter->key);
		if (status != ARGUMENTS_GO_ON)
			return status;
	}
	filters->n = (unsigned)list->n;
	return ARGUMENTS_GO_ON;
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

bool filters_hold(struct filters *filters, const struct record *record)
{
	if (filters->n == 0)
		return true;
	/* No field is longer than the payload, or than a few characters for a number or twice a binary field. */
	make_room(filters, ROOM_MIN + (size_t)record->length);
	for (unsigned i = 0; i < filters->n; i++) {
		const struct filter *filter = &filters->filter[i];
		int n = event_field(filters->field, filters->room, record, filter->key);
		if (n < 0 || (size_t)n != strlen(filter->value) ||
		    memcmp(filters->field, filter->value, (size_t)n) != 0)
			return false;
	}
	return true;
}

void filters_fini(struct filters *filters)
{
	free(filters->field);
	filters->field = NULL;
	filters->room = 0;
}
