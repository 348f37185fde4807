#include "look/prometheus.h"

#include <string.h>

/* A parameter of a media range: what stands after "name=", up to end; NULL when it has none. */
static const char *parameter(const char *range, const char *end, const char *name)
{
	size_t n = strlen(name);
	for (const char *at = range; at < end; at++) {
		if (*at != ';')
			continue;
		const char *key = at + 1 + strspn(at + 1, " \t");
		if (key + n < end && strncasecmp(key, name, n) == 0 && key[n] == '=')
			return key + n + 1;
	}
	return NULL;
}

/* How much the client wants it, 0 to 1000. */
static unsigned weight_of(const char *range, const char *end)
{
	const char *q = parameter(range, end, "q");
	if (q == NULL || *q == '1')
		return 1000;
	unsigned weight = 0, place = 100;
	for (const char *at = q + 2; at < end && *at >= '0' && *at <= '9'; at++, place /= 10)
		weight += (unsigned)(*at - '0') * place;
	return weight;
}

static bool is_version_1(const char *range, const char *end)
{
	const char *version = parameter(range, end, "version");
	if (version == NULL)
		return true;
	if (*version == '"')
		version++;
	return strncmp(version, "1.0.0", 5) == 0 && strspn(version, "0123456789.") == 5;
}

bool prometheus_asks_openmetrics(const char *accept)
{
	unsigned open = 0, text = 0;
	for (const char *range = accept; range != NULL && *range != '\0';) {
		const char *end = strchrnul(range, ',');
		range += strspn(range, " \t");
		size_t type = strcspn(range, ";, \t");
		unsigned weight = weight_of(range, end);
		if (type == 28 && strncasecmp(range, "application/openmetrics-text", type) == 0 &&
		    is_version_1(range, end) && weight > open)
			open = weight;
		if (type == 10 && strncasecmp(range, "text/plain", type) == 0 && weight > text)
			text = weight;
		range = *end == '\0' ? NULL : end + 1;
	}
	return open > 0 && open >= text;
}
