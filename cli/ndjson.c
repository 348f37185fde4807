#include "cli/ndjson.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "event/line.h"

#define ROOM_MIN (256u * 1024u)
#define ROOM_MAX (1u << 30)
#define LINE_MIN 1024u /* enough for most events */

void ndjson_init(struct ndjson *ndjson, const struct instance *instance, const char *topic)
{
	*ndjson = (struct ndjson){0};
	for (unsigned lane = 0; lane < STREAM_LANES_MAX; lane++)
		snprintf(ndjson->origin[lane], sizeof ndjson->origin[lane], "%016llx-%s-%u",
		         (unsigned long long)instance->generation, topic, lane);
}

static void make_room(struct ndjson *ndjson, size_t bytes)
{
	if (ndjson->room - ndjson->used >= bytes)
		return;
	while (ndjson->room - ndjson->used < bytes)
		ndjson->room = ndjson->room == 0 ? ROOM_MIN : 2 * ndjson->room;
	ndjson->text = realloc(ndjson->text, ndjson->room);
	if (ndjson->text == NULL)
		abort();
}

/* Prints the event as JSON, or as a tracking line when it has no origin. */
static int add(struct ndjson *ndjson, const struct record *record, const char *origin, uint64_t position)
{
	size_t line = LINE_MIN;
	for (;;) {
		make_room(ndjson, line + 1);
		char *at = ndjson->text + ndjson->used;
		size_t room = ndjson->room - ndjson->used - 1;
		int n = origin != NULL ? event_json(at, room, record, origin, position)
		                       : event_line(at, room, record);
		if (n == -ENOSPC && ndjson->room < ROOM_MAX) {
			line = 2 * (ndjson->room - ndjson->used);
			continue;
		}
		if (n < 0)
			return n;
		ndjson->used += (size_t)n;
		ndjson->text[ndjson->used++] = '\n';
		return 0;
	}
}

int ndjson_add(struct ndjson *ndjson, const struct record *record, unsigned lane, uint64_t position)
{
	return add(ndjson, record, ndjson->origin[lane], position);
}

int ndjson_add_line(struct ndjson *ndjson, const struct record *record)
{
	return add(ndjson, record, NULL, 0);
}

void ndjson_append(struct ndjson *ndjson, const void *bytes, size_t n)
{
	make_room(ndjson, n);
	memcpy(ndjson->text + ndjson->used, bytes, n);
	ndjson->used += n;
}

void ndjson_fini(struct ndjson *ndjson)
{
	free(ndjson->text);
	ndjson->text = NULL;
	ndjson->used = ndjson->room = 0;
}
