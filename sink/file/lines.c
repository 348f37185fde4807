#include "sink/file/lines.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* No event becomes longer: a byte is six in JSON at most, and there are a few fields around it. */
#define LONGEST(record) (64u * (size_t)(record)->length + 65536u)

int lines_init(struct lines *lines, enum encode_format format, size_t most, const struct ports *ports)
{
	*lines = (struct lines){.format = format, .most = most, .room = most};
	lines->text = malloc(most);
	lines->origin = calloc(PORTS_READS_MAX, sizeof *lines->origin);
	if (lines->text == NULL || lines->origin == NULL) {
		lines_fini(lines);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < ports->n_reads; i++)
		for (unsigned lane = 0; lane < STREAM_LANES_MAX; lane++)
			snprintf(lines->origin[i][lane], LINES_ORIGIN_BYTES, "%016llx-%s-%u",
			         (unsigned long long)ports->wanted.instance->generation,
			         ports->wanted.reads[i], lane);
	return 0;
}

void lines_fini(struct lines *lines)
{
	free(lines->text);
	free(lines->origin);
	*lines = (struct lines){.most = 0};
}

static int grow(struct lines *lines, const struct record *record)
{
	size_t room = 2 * lines->room;
	if (room == 0 || lines->room >= LONGEST(record))
		return -EINVAL;
	char *longer = realloc(lines->text, room);
	if (longer == NULL)
		return -ENOMEM;
	lines->text = longer;
	lines->room = room;
	return 0;
}

int lines_add(struct lines *lines, const struct record *record, unsigned i, unsigned lane, uint64_t position)
{
	/* What one long line took is not for many short ones. */
	size_t end = lines->used == 0 ? lines->room : lines->most;
	for (;;) {
		size_t room = end > lines->used ? end - lines->used - 1 : 0;
		int n = encode_event(lines->text + lines->used, room, lines->format, record,
		                     lines->origin[i][lane], position);
		if (n >= 0) {
			lines->used += (size_t)n;
			lines->text[lines->used++] = '\n';
			return 0;
		}
		if (n != -ENOSPC || lines->used != 0)
			return n;
		int result = grow(lines, record);
		if (result != 0)
			return result;
		end = lines->room;
	}
}
