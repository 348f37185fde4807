#include <string.h>

#include "ingest/udp/batch.h"

#define FORMAT(name, parse, room, ...)                                              \
	static const char *const topics_of_##name[] = {__VA_ARGS__};                \
	_Static_assert(sizeof topics_of_##name / sizeof(char *) <= BATCH_LANES_MAX, \
	               #name ": a batch holds its lanes");
#include "ingest/udp/formats.def"
#undef FORMAT

static const struct format formats[] = {
#define FORMAT(name, parse, room, ...) \
	{#name, parse, room, topics_of_##name, sizeof topics_of_##name / sizeof(char *)},
#include "ingest/udp/formats.def"
#undef FORMAT
};

const struct format *format_find(const char *name)
{
	for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
		if (strcmp(formats[i].name, name) == 0)
			return &formats[i];
	return NULL;
}
