#include "event/encode.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "event/line.h"

static const char *const names[] = {
        [ENCODE_AUTO] = "auto", [ENCODE_JSON] = "json", [ENCODE_LINE] = "line", [ENCODE_RECORD] = "record"};

int encode_format(const char *name)
{
	for (int i = 0; i < (int)(sizeof names / sizeof names[0]); i++)
		if (strcmp(name, names[i]) == 0)
			return i;
	return -EINVAL;
}

bool encode_possible(enum encode_format format, uint16_t type)
{
	return event_field_name(type, 0) != NULL && (format != ENCODE_LINE || type == EVENT_TRACK);
}

/* The sender has checked that it is one object without white space. What could spoil the lines of
 * others is looked at again; memchr is fast, a whole parse would cost more than compressing. */
static const void *log_object(const struct record *record, size_t *bytes)
{
	const struct event_log *event = (const void *)record->payload;
	*bytes = event->object_bytes;
	if (*bytes < 2 || event->object[0] != '{' || event->object[*bytes - 1] != '}' ||
	    memchr(event->object, '\n', *bytes) != NULL)
		return NULL;
	return event->object;
}

const void *encode_in_place(enum encode_format format, const struct record *record, size_t *bytes)
{
	bool whole = format == ENCODE_RECORD;
	if ((!whole && (format != ENCODE_AUTO || record->type != EVENT_LOG)) || !event_check(record))
		return NULL;
	if (!whole)
		return log_object(record, bytes);
	*bytes = record->length;
	return record->payload;
}

int encode_event(char *out, size_t size, enum encode_format format, const struct record *record,
                 const char *origin, uint64_t position)
{
	size_t bytes;
	const void *at = encode_in_place(format, record, &bytes);
	if (at != NULL) {
		if (bytes > size || bytes > INT_MAX)
			return -ENOSPC;
		memcpy(out, at, bytes);
		return (int)bytes;
	}
	switch (format) {
	case ENCODE_LINE:
		return event_line(out, size, record);
	case ENCODE_AUTO:
	case ENCODE_JSON:
		return event_json(out, size, record, origin, position);
	default:
		return -EINVAL;
	}
}
