#include "serve/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "serve/router.h"

const char *request_method_name(enum request_method method)
{
	static const char *const names[REQUEST_METHOD_COUNT] = {
	        [REQUEST_GET] = "GET",         [REQUEST_HEAD] = "HEAD",   [REQUEST_POST] = "POST",
	        [REQUEST_PUT] = "PUT",         [REQUEST_PATCH] = "PATCH", [REQUEST_DELETE] = "DELETE",
	        [REQUEST_OPTIONS] = "OPTIONS", [REQUEST_OTHER] = "?",
	};
	return names[method];
}

void request_init(struct request *request, enum request_method method)
{
	memset(request, 0, sizeof *request);
	request->method = method;
}

static void set_fault(struct request *request, unsigned status, const char *fault)
{
	if (request->fault != NULL)
		return;
	request->fault = fault;
	request->fault_status = status;
}

static bool has_control(const char *text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			return true;
	return false;
}

void request_set_path(struct request *request, const char *path, size_t bytes)
{
	if (bytes > REQUEST_PATH_MAX) {
		set_fault(request, 414, "the path is too long; allowed: 2048 bytes");
		bytes = REQUEST_PATH_MAX;
	}
	memcpy(request->path, path, bytes);
	request->path[bytes] = '\0';
	if (has_control(path, bytes))
		set_fault(request, 400, "the path has a control character");
	else if (bytes == 0 || path[0] != '/')
		set_fault(request, 400, "the path does not begin with a slash");
}

void request_add_query(struct request *request, const char *text, size_t bytes)
{
	if (bytes == 0)
		return;
	if (request->n_query == REQUEST_QUERY_MAX || request->query_bytes + bytes + 2 > REQUEST_QUERY_ROOM) {
		set_fault(request, 414, "the query is too long; allowed: 16 parameters in 4096 bytes");
		return;
	}
	if (has_control(text, bytes)) {
		set_fault(request, 400, "the query has a control character");
		return;
	}
	char *copy = request->query_text + request->query_bytes;
	memcpy(copy, text, bytes);
	copy[bytes] = '\0';
	request->query_bytes += bytes + 1;
	char *equals = strchr(copy, '=');
	request->query[request->n_query].name = copy;
	request->query[request->n_query].value = equals != NULL ? equals + 1 : copy + bytes;
	if (equals != NULL)
		*equals = '\0';
	request->n_query++;
}

void request_set_field(struct request *request, enum request_field field, const char *value, size_t bytes)
{
	request->has_field[field] = true;
	if (bytes > REQUEST_FIELD_MAX)
		bytes = 0;
	memcpy(request->field[field], value, bytes);
	request->field[field][bytes] = '\0';
}

const char *request_field(const struct request *request, enum request_field field)
{
	return request->has_field[field] ? request->field[field] : NULL;
}

static unsigned index_of(const struct request *request, const char *name)
{
	const struct route_parameter *row = request->route->parameter;
	for (unsigned i = 0; row[i].name != NULL; i++)
		if (strcmp(row[i].name, name) == 0)
			return i;
	abort();
}

const char *request_text(const struct request *request, const char *name)
{
	return request->value[index_of(request, name)];
}

int64_t request_number(const struct request *request, const char *name, int64_t otherwise)
{
	unsigned i = index_of(request, name);
	return request->value[i] != NULL ? request->number[i] : otherwise;
}

const char *request_each(const struct request *request, const char *name, unsigned i)
{
	for (unsigned q = 0; q < request->n_query; q++)
		if (strcmp(request->query[q].name, name) == 0 && i-- == 0)
			return request->query[q].value;
	return NULL;
}

/* A weight of 0 (0, 0.0, 0.000) says "not this one". */
static bool is_refused(const char *parameters, size_t bytes)
{
	for (size_t i = 0; i + 1 < bytes; i++) {
		if ((parameters[i] != 'q' && parameters[i] != 'Q') || parameters[i + 1] != '=')
			continue;
		size_t n = i + 2;
		while (n < bytes && (parameters[n] == '0' || parameters[n] == '.'))
			n++;
		return n > i + 2 && (n == bytes || parameters[n] == ' ' || parameters[n] == ';');
	}
	return false;
}

bool request_accepts(const char *list, const char *word)
{
	bool any = false;
	size_t length = strlen(word);
	while (list != NULL && *list != '\0') {
		list += strspn(list, " \t,");
		size_t item = strcspn(list, ","), name = strcspn(list, " \t,;");
		bool refused = is_refused(list + name, item - name);
		if (name == length && strncasecmp(list, word, length) == 0)
			return !refused;
		if (name == 1 && *list == '*')
			any = !refused;
		list += item;
	}
	return any;
}

bool request_postback(const struct request *request, uint64_t id[2], char text[EVENT_POSTBACK_ID_BYTES + 1])
{
	const char *given = request_text(request, "id");
	if (!event_postback_parse_id(id, given, strlen(given)))
		return false;
	event_postback_id(text, &(struct event_postback){.id = {id[0], id[1]}});
	text[EVENT_POSTBACK_ID_BYTES] = '\0';
	return true;
}

/* ---- weights ---- */

/* How specific a range is for the type: 3 the type itself, 2 all of its kind, 1 all; 0: another. */
static unsigned specific(const char *range, size_t bytes, const char *type)
{
	size_t kind = strcspn(type, "/") + 1;
	if (bytes == strlen(type) && strncasecmp(range, type, bytes) == 0)
		return 3;
	if (bytes == kind + 1 && range[kind] == '*' && strncasecmp(range, type, kind) == 0)
		return 2;
	return bytes == 3 && strncmp(range, "*/*", 3) == 0;
}

/* "0.8" as 800; what is no weight is 1. */
static unsigned parse_weight(const char *text, size_t bytes)
{
	unsigned weight = 0, unit = 100;
	if (bytes == 0 || text[0] != '0')
		return 1000;
	for (size_t i = 2; i < bytes && i < 5 && text[i] >= '0' && text[i] <= '9'; i++, unit /= 10)
		weight += (unsigned)(text[i] - '0') * unit;
	return weight;
}

unsigned request_weight(const char *list, const char *type)
{
	unsigned best = 0, weight = 0;
	if (list == NULL)
		return 1000;
	while (*list != '\0') {
		list += strspn(list, " \t,");
		size_t item = strcspn(list, ","), name = strcspn(list, " \t,;");
		unsigned fits = specific(list, name, type);
		if (fits > best) {
			const char *q = memmem(list + name, item - name, "q=", 2);
			best = fits;
			weight = q != NULL ? parse_weight(q + 2, strcspn(q + 2, " \t,;")) : 1000;
		}
		list += item;
	}
	return weight;
}
