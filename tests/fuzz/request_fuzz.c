/* Any bytes as a request to the read side: path, query and fields as libwebsockets hands them over,
 * then the route and its parameters, and what /live takes from them. Weights and codings of Accept
 * fields are read a second time here.
 *
 * Input: method, then lines: path, Accept, one parameter of the query each. */
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <strings.h>

#include "serve/live_wish.h"
#include "serve/router.h"
#include "tests/fuzz/fuzz.h"

#define NOW_MS 1795807967788

#define ROUTE(name, ...)                                                                              \
	void handle_##name(struct serve *serve, const struct request *request, struct answer *answer) \
	{                                                                                             \
		(void)serve, (void)request, (void)answer;                                             \
	}
#include "serve/routes.def"
#undef ROUTE

/* ---- Accept ---- */

/* The next item of a list, without white space around it; NULL after the last. */
static char *next_item(char **rest)
{
	char *item;
	while ((item = strsep(rest, ",")) != NULL) {
		item += strspn(item, " \t");
		if (item[strcspn(item, " \t")] != '\0' || item[0] != '\0')
			return item;
	}
	return NULL;
}

/* Whether the list names the word at all, or "*". */
static bool names(const char *list, const char *word)
{
	char *copy = fuzz_string(list, strlen(list)), *rest = copy, *item;
	bool found = false;
	while (!found && (item = next_item(&rest)) != NULL) {
		size_t n = strcspn(item, " \t;");
		found = (n == strlen(word) && strncasecmp(item, word, n) == 0) || (n == 1 && item[0] == '*');
	}
	free(copy);
	return found;
}

static void check_accept(const char *list)
{
	static const char *const types[] = {"text/html", "application/json", "*/*"};
	char with[2 * REQUEST_FIELD_MAX];
	for (unsigned i = 0; i < sizeof types / sizeof *types; i++) {
		unsigned weight = request_weight(list, types[i]);
		must(weight <= 1000);
		must(weight == 0 || strchr(list, '*') != NULL || strcasestr(list, types[i]) != NULL);
	}
	must(!request_accepts(list, "gzip") || names(list, "gzip"));
	/* what comes first counts */
	snprintf(with, sizeof with, "gzip, %.1000s", list);
	must(request_accepts(with, "gzip"));
	snprintf(with, sizeof with, "gzip;q=0, %.1000s", list);
	must(!request_accepts(with, "gzip"));
	snprintf(with, sizeof with, "text/html;q=0.25, %.1000s", list);
	must(request_weight(with, "text/html") == 250);
}

/* ---- parameters ---- */

static void check_value(const struct request *request, unsigned i, int64_t now_ms)
{
	const struct route_parameter *row = &request->route->parameter[i];
	const char *value = request->value[i];
	if (value == NULL)
		return;
	if (row->kind == PARAMETER_TEXT)
		must((int64_t)strlen(value) >= row->min && (int64_t)strlen(value) <= row->max);
	if (row->kind == PARAMETER_NUMBER) {
		must(request->number[i] >= row->min && request->number[i] <= row->max);
		must(request->number[i] == strtoll(value, NULL, 10));
		must(request_number(request, row->name, -1) == request->number[i]);
	}
	if (row->kind == PARAMETER_PLACE)
		must(request->number[i] >= 0 && strchr(value, '-') != NULL);
	if (row->kind == PARAMETER_TIME && strspn(value, "0123456789") > 0 && strpbrk(value, "smhd") != NULL)
		must(request->number[i] <= now_ms);
	must(strcmp(request_text(request, row->name), value) == 0);
	for (const char *at = value; *at != '\0' && !row->in_path; at++)
		must((unsigned char)*at >= ' ' && *at != 0x7f);
}

/* The path is the pattern with the values in its places. */
static void check_path(const struct request *request)
{
	char path[2 * REQUEST_PATH_MAX];
	size_t n = 0, bytes = strlen(request->path);
	unsigned i = 0;
	for (const char *at = request->route->pattern; *at != '\0'; at++) {
		if (*at == '{') {
			n += (size_t)snprintf(path + n, sizeof path - n, "%s", request->value[i++]);
			at = strchr(at, '}');
		} else {
			path[n++] = *at;
		}
		must(n < sizeof path);
	}
	while (bytes > 1 && request->path[bytes - 1] == '/')
		bytes--;
	must(n == bytes && memcmp(path, request->path, n) == 0);
}

static void check_live(const struct request *request)
{
	static const uint16_t types[] = {EVENT_TRACK, EVENT_METRIC, EVENT_LOG, EVENT_DELIVERY, EVENT_IP};
	const char *where[LIVE_WHERE_MAX + 1];
	unsigned n = 0;
	while (n < LIVE_WHERE_MAX + 1 && (where[n] = request_each(request, "where", n)) != NULL)
		n++;
	struct live_wish wish;
	struct filters_why why = {""};
	const char *topic = request_text(request, "topic");
	if (topic != NULL && strspn(topic, "abcdefghijklmnopqrstuvwxyz.-") != strlen(topic))
		return; /* the route has found it among the topics, whose names are plain */
	uint16_t type = topic == NULL ? EVENT_NONE : types[strlen(topic) % 5];
	int result =
	        live_wish_init(&wish, topic, type, request_text(request, "filter"), where, n, true, &why);
	must(result == 0 || (result == -EINVAL && why.text[0] != '\0'));
	if (result == 0) {
		json_t *hello = json_loads(wish.hello, 0, NULL);
		unsigned lines = 0;
		must(hello != NULL &&
		     strcmp(json_string_value(json_object_get(hello, "type")), "hello") == 0);
		json_decref(hello);
		for (const char *at = wish.key; *at != '\0'; at++)
			lines += *at == '\n';
		must(lines == wish.n); /* no two wishes have one key */
	}
	live_wish_fini(&wish);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	if (bytes < 1 || bytes > 9000)
		return 0;
	struct request *request = malloc(sizeof *request);
	char text[512] = "";
	unsigned methods, asked = data[0] % REQUEST_METHOD_COUNT;
	must(request != NULL);
	request_init(request, (enum request_method)asked);
	data++, bytes--;
	char *path = fuzz_piece(&data, &bytes, '\n'), *accept = fuzz_piece(&data, &bytes, '\n');
	request_set_path(request, path, strlen(path));
	request_set_field(request, REQUEST_ACCEPT, accept, strlen(accept));
	must(strlen(request_field(request, REQUEST_ACCEPT)) <= REQUEST_FIELD_MAX);
	check_accept(request_field(request, REQUEST_ACCEPT));
	while (bytes > 0) {
		char *piece = fuzz_piece(&data, &bytes, '\n');
		request_add_query(request, piece, strlen(piece));
		free(piece);
	}
	must(request->n_query <= REQUEST_QUERY_MAX && request->query_bytes <= REQUEST_QUERY_ROOM);
	must(request->fault == NULL || request->fault_status == 400 || request->fault_status == 414);
	if (request->fault == NULL) {
		const struct route *route = router_find(request, &methods);
		char list[ROUTER_METHODS_BYTES];
		must(route != NULL || strlen(router_methods(methods, list)) < sizeof list);
		must(route == NULL || (methods = 0) == 0);
		must(route != NULL || (methods >> asked & 1) == 0 || asked == REQUEST_OPTIONS);
		if (route != NULL)
			check_path(request);
		if (route != NULL && router_read(request, NOW_MS, text, sizeof text)) {
			for (unsigned i = 0; route->parameter[i].name != NULL; i++)
				check_value(request, i, NOW_MS);
			if (strcmp(route->name, "live") == 0)
				check_live(request);
		} else if (route != NULL) {
			must(text[0] != '\0' && memchr(text, '\0', sizeof text) != NULL);
		}
	}
	free(path);
	free(accept);
	free(request);
	return 0;
}
