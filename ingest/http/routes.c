#include "ingest/http/routes.h"

#include <string.h>

#include "ingest/http/handlers.h"

#define TYPES(symbol, status, error, ...)                                             \
	static const char *const symbol##_list[] = {__VA_ARGS__ __VA_OPT__(, ) NULL}; \
	static const struct route_types symbol = {status, error, symbol##_list};
#define ROUTE(...)
#include "ingest/http/each_route.h"

#define CORS    true
#define NO_CORS false
#define TOKENS  true
#define OPEN    false

const struct route_row routes[ROUTE_COUNT] = {
#define ROUTE(name, path, match, methods, types, outlet, cors, tokens, handler, takes, answers) \
	[ROUTE_##name] = {#name, &types, outlet, cors, tokens},
#include "ingest/http/each_route.h"
        [ROUTE_other] = {"other", &any_type, "", false, false},
};

const char *const route_token_names[ROUTE_COUNT] = {
#define ROUTE(name, path, match, methods, types, outlet, cors, tokens, handler, takes, answers) \
	[ROUTE_##name] = tokens ? #name : NULL,
#include "ingest/http/each_route.h"
};

enum {
	GET = 1u << REQUEST_GET,
	HEAD = 1u << REQUEST_HEAD,
	POST = 1u << REQUEST_POST,
	OPTIONS = 1u << REQUEST_OPTIONS,
};

static const struct route_path paths[] = {
#define PATH(name, path, match, methods, handler, takes, answers) \
	{path, sizeof path - 1, match, ROUTE_##name, methods, handler, NULL},
#define ELSEWHERE(path, match, hint) {path, sizeof path - 1, match, ROUTE_other, 0, NULL, hint},
#include "ingest/http/each_route.h"
};

/* What no row owns. */
static const struct route_path rest =
#define REST(name, methods, handler, takes, answers) {"", 0, UNDER, ROUTE_##name, methods, handler, NULL};
#include "ingest/http/each_route.h"

        static bool owns(const struct route_path *row, const struct slice *path)
{
	/* Their second bytes tell most apart. */
	if (path->bytes < row->bytes || path->text[1] != row->path[1] ||
	    memcmp(path->text, row->path, row->bytes) != 0)
		return false;
	const char *after = path->text + row->bytes;
	switch (row->match) {
	case EXACT:
		return path->bytes == row->bytes;
	case ALONE:
		return path->bytes == row->bytes || (path->bytes == row->bytes + 1 && *after == '/');
	case BELOW:
		return path->bytes == row->bytes || *after == '/';
	default:
		return true;
	}
}

const struct route_path *route_find(const struct slice *path)
{
	for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
		if (owns(&paths[i], path))
			return &paths[i];
	return &rest;
}

const char *route_methods(unsigned methods, char text[ROUTE_METHODS_BYTES])
{
	static const struct {
		const char *name;
		unsigned bit;
	} all[] = {{"GET", GET}, {"HEAD", HEAD}, {"POST", POST}, {"OPTIONS", OPTIONS}};
	char *at = text;
	*at = '\0';
	for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++)
		if ((methods & all[i].bit) != 0)
			at = stpcpy(at == text ? at : stpcpy(at, ", "), all[i].name);
	return text;
}
