#include "serve/router.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/moment.h"

#define PLACE(name, min, max, help)                                 \
	{                                                           \
		name, true, PARAMETER_TEXT, min, max, NULL, 1, help \
	}
#define TEXT(name, min, max, otherwise, help)                             \
	{                                                                 \
		name, false, PARAMETER_TEXT, min, max, otherwise, 1, help \
	}
#define MANY(name, times, min, max, help)                                \
	{                                                                \
		name, false, PARAMETER_TEXT, min, max, NULL, times, help \
	}
#define NUMBER(name, min, max, otherwise, help)                             \
	{                                                                   \
		name, false, PARAMETER_NUMBER, min, max, otherwise, 1, help \
	}
#define AFTER(name, help)                                         \
	{                                                         \
		name, false, PARAMETER_PLACE, 0, 0, NULL, 1, help \
	}
#define TIME(name, help)                                         \
	{                                                        \
		name, false, PARAMETER_TIME, 0, 0, NULL, 1, help \
	}

#define ROUTE(name, method, pattern, who, type, statuses, help, ...) \
	static const struct route_parameter name##_parameters[] = {__VA_ARGS__ __VA_OPT__(, ){0}};
#include "serve/routes.def"
#undef ROUTE

const struct route router_routes[] = {
#define ROUTE(name, method, pattern, who, type, statuses, help, ...)        \
	{#name, REQUEST_##method, pattern, ROUTE_##who,      handle_##name, \
	 type,  statuses,         help,    name##_parameters},
#include "serve/routes.def"
#undef ROUTE
};
const size_t router_n_routes = sizeof router_routes / sizeof router_routes[0];

/* ---- finding ---- */

/* Whether the path is one of the pattern. With a request its values are noted, in the order of the
 * pattern, which is that of the row. */
static bool matches(const char *pattern, const char *path, size_t bytes, struct request *request)
{
	const char *end = path + bytes;
	char *room = request != NULL ? request->segments : NULL;
	unsigned n = 0;
	while (*pattern != '\0') {
		if (*pattern != '{') {
			if (path == end || *pattern++ != *path++)
				return false;
			continue;
		}
		pattern = strchr(pattern, '}') + 1;
		size_t length = (size_t)(end - path);
		const char *slash = *pattern == '\0' ? NULL : memchr(path, '/', length);
		if (slash != NULL)
			length = (size_t)(slash - path);
		if (length == 0)
			return false;
		if (room != NULL) {
			request->value[n++] = memcpy(room, path, length);
			room[length] = '\0';
			room += length + 1;
		}
		path += length;
	}
	return path == end;
}

const struct route *router_find(struct request *request, unsigned *methods)
{
	size_t bytes = strlen(request->path);
	enum request_method method = request->method == REQUEST_HEAD ? REQUEST_GET : request->method;
	*methods = 0;
	while (bytes > 1 && request->path[bytes - 1] == '/')
		bytes--;
	for (size_t i = 0; i < router_n_routes; i++) {
		const struct route *route = &router_routes[i];
		if (!matches(route->pattern, request->path, bytes, NULL))
			continue;
		if (route->method == method) {
			(void)matches(route->pattern, request->path, bytes, request);
			return request->route = route;
		}
		*methods |= 1u << route->method;
	}
	if ((*methods & 1u << REQUEST_GET) != 0)
		*methods |= 1u << REQUEST_HEAD;
	if (*methods != 0)
		*methods |= 1u << REQUEST_OPTIONS;
	return NULL;
}

const char *router_methods(unsigned methods, char text[ROUTER_METHODS_BYTES])
{
	size_t n = 0;
	text[0] = '\0';
	for (unsigned i = 0; i < REQUEST_METHOD_COUNT; i++)
		if ((methods & 1u << i) != 0)
			n += (size_t)snprintf(text + n, ROUTER_METHODS_BYTES - n, "%s%s", n > 0 ? ", " : "",
			                      request_method_name((enum request_method)i));
	return text;
}

const char *router_who(enum route_who who)
{
	return who == ROUTE_EVERYBODY ? "everybody" : who == ROUTE_READER ? "readers" : "administrators";
}

/* ---- parameters ---- */

static bool parse_number(const char *text, int64_t *number)
{
	char *end;
	if ((text[0] < '0' || text[0] > '9') && text[0] != '-')
		return false;
	errno = 0;
	long long value = strtoll(text, &end, 10);
	*number = value;
	return errno == 0 && *end == '\0';
}

bool router_place(const char *text, int64_t *first, int64_t *second)
{
	const char *dash = strchr(text, '-');
	char number[24];
	if (dash == NULL || (size_t)(dash - text) >= sizeof number)
		return false;
	memcpy(number, text, (size_t)(dash - text));
	number[dash - text] = '\0';
	return number[0] != '-' && dash[1] != '-' && parse_number(number, first) &&
	       parse_number(dash + 1, second) && *second > 0;
}

/* Without a zone it is UTC: a client knows nothing of the machine's. */
static bool parse_time(const char *text, int64_t now_ms, int64_t *ms)
{
	char whole[40];
	size_t bytes = strlen(text);
	if (bytes == 0 || text[0] < '0' || text[0] > '9' || bytes > 24)
		return false;
	bool date = bytes == 10 && text[4] == '-', zoned = text[bytes - 1] == 'Z';
	bool time = bytes > 10 && text[10] == 'T';
	snprintf(whole, sizeof whole, "%s%s", text, date ? "T00:00:00Z" : time && !zoned ? "Z" : "");
	return parse_number(text, ms) || moment_parse(whole, now_ms, ms);
}

/* The value is there; whether it is allowed. */
static bool read_value(struct request *request, unsigned i, int64_t now_ms, char *text, size_t size)
{
	const struct route_parameter *row = &request->route->parameter[i];
	const char *value = request->value[i];
	size_t bytes = strlen(value);
	switch (row->kind) {
	case PARAMETER_TEXT:
		if ((int64_t)bytes >= row->min && (int64_t)bytes <= row->max)
			return true;
		snprintf(text, size, "%s: %zu bytes; allowed: %" PRId64 " to %" PRId64, row->name, bytes,
		         row->min, row->max);
		return false;
	case PARAMETER_NUMBER:
		if (parse_number(value, &request->number[i]) && request->number[i] >= row->min &&
		    request->number[i] <= row->max)
			return true;
		snprintf(text, size, "%s: allowed: an integer from %" PRId64 " to %" PRId64, row->name,
		         row->min, row->max);
		return false;
	case PARAMETER_PLACE:
		if (router_place(value, &request->number[i], &(int64_t){0}))
			return true;
		snprintf(text, size, "%s: not the `next` of a page", row->name);
		return false;
	case PARAMETER_TIME:
		if (parse_time(value, now_ms, &request->number[i]))
			return true;
		snprintf(
		        text, size,
		        "%s: not a time; such are 2026-07-01, 2026-07-01T12:30:00Z (UTC), milliseconds, 2h, 7d",
		        row->name);
		return false;
	}
	return false;
}

/* A further one of a name that may come several times; the first is in request->value. */
static bool take_again(const struct route_parameter *row, const struct request *request, unsigned q,
                       char *text, size_t size)
{
	unsigned before = 0;
	for (unsigned i = 0; i < q; i++)
		before += strcmp(request->query[i].name, row->name) == 0;
	size_t bytes = strlen(request->query[q].value);
	if (row->times == 1)
		snprintf(text, size, "%s: is there twice", row->name);
	else if (before >= row->times)
		snprintf(text, size, "%s: at most %u times", row->name, row->times);
	else if ((int64_t)bytes < row->min || (int64_t)bytes > row->max)
		snprintf(text, size, "%s: %zu bytes; allowed: %" PRId64 " to %" PRId64, row->name, bytes,
		         row->min, row->max);
	else
		return true;
	return false;
}

/* The query's parameters that the row has; a path's are there already. */
static bool take_query(struct request *request, char *text, size_t size)
{
	const struct route_parameter *row = request->route->parameter;
	for (unsigned q = 0; q < request->n_query; q++) {
		unsigned i = 0;
		while (row[i].name != NULL &&
		       (row[i].in_path || strcmp(row[i].name, request->query[q].name) != 0))
			i++;
		if (row[i].name == NULL) {
			size_t n = (size_t)snprintf(text, size,
			                            "this route has no parameter of that name; it has:");
			for (i = 0; row[i].name != NULL && n < size; i++)
				if (!row[i].in_path)
					n += (size_t)snprintf(text + n, size - n, " %s", row[i].name);
			if (n < size && text[n - 1] == ':')
				snprintf(text + n, size - n, " none");
			return false;
		}
		if (request->value[i] == NULL)
			request->value[i] = request->query[q].value;
		else if (!take_again(&row[i], request, q, text, size))
			return false;
	}
	return true;
}

bool router_read(struct request *request, int64_t now_ms, char *text, size_t size)
{
	const struct route_parameter *row = request->route->parameter;
	if (!take_query(request, text, size))
		return false;
	for (unsigned i = 0; row[i].name != NULL; i++) {
		if (request->value[i] == NULL)
			request->value[i] = row[i].otherwise;
		if (request->value[i] != NULL && !read_value(request, i, now_ms, text, size))
			return false;
	}
	return true;
}
