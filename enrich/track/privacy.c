#include "enrich/track/privacy.h"

#include <string.h>

#include "event/track.h"
#include "event/query.h"

void privacy_truncate(uint8_t address[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	if (memcmp(address, mapped, sizeof mapped) == 0)
		address[15] = 0;
	else
		memset(address + 6, 0, 10);
}

static bool is_named(const char *piece, size_t bytes, const char *const *names, unsigned n)
{
	const char *equals = memchr(piece, '=', bytes);
	size_t name_bytes = equals != NULL ? (size_t)(equals - piece) : bytes;
	for (unsigned i = 0; i < n; i++)
		if (query_is(piece, name_bytes, names[i], strlen(names[i])))
			return true;
	return false;
}

size_t privacy_drop(char *out, const char *query, size_t bytes, const char *const *names, unsigned n)
{
	const char *at = query, *end = query + bytes;
	char *to = out;
	bool first = true;
	for (;;) {
		const char *stop = memchr(at, '&', (size_t)(end - at));
		size_t piece = (size_t)((stop != NULL ? stop : end) - at);
		if (piece == 0 || !is_named(at, piece, names, n)) {
			if (!first)
				*to++ = '&';
			memmove(to, at, piece);
			to += piece;
			first = false;
		}
		if (stop == NULL)
			return (size_t)(to - out);
		at = stop + 1;
	}
}

/* The city is the last part but one, and the query, the last, is empty: nothing has to move. */
static void forget(struct event_track *event)
{
	memset(event->source, 0, sizeof event->source);
	event->source_port = 0;
	event->client_ts_ms = 0;
	event->query_bytes = 0;
	event->city_bytes = 0;
}

uint32_t privacy_apply(const struct privacy *privacy, struct event_track *event)
{
	if (privacy->honour_dnt && (event->flags & EVENT_TRACK_DNT) != 0)
		forget(event);
	if (privacy->truncate)
		privacy_truncate(event->source);
	if (privacy->n_drop > 0 && event->query_bytes > 0) {
		char *query = event->text + (event_track_bytes(event) - sizeof *event - event->query_bytes);
		event->query_bytes = (uint32_t)privacy_drop(query, query, event->query_bytes, privacy->drop,
		                                            privacy->n_drop);
	}
	return (uint32_t)event_track_bytes(event);
}
