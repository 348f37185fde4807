/* /openapi.json: the routes as OpenAPI 3.1 has them, from the rows of routes.def.
 *
 * Source: OpenAPI Specification 3.1.0. Parameters have the schema that the router checks, so that
 * what a client makes of them is never 400.
 */
#include <stdlib.h>
#include <string.h>

#include "serve/serve.h"

#define PROBLEM_REF "#/components/responses/problem"
#define TIME_PATTERN \
	"^([0-9]{1,15}|[0-9]{1,6}[smhd]|[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])(T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z?)?)$"
#define NO_CONTROLS "^[^\\u0000-\\u001f\\u007f]*$"

static json_t *schema_of_one(const struct route_parameter *row)
{
	switch (row->kind) {
	case PARAMETER_NUMBER: {
		json_t *schema = json_pack("{s:s, s:I, s:I}", "type", "integer", "minimum",
		                           (json_int_t)row->min, "maximum", (json_int_t)row->max);
		if (row->otherwise != NULL)
			json_object_set_new(schema, "default", json_integer(atoll(row->otherwise)));
		return schema;
	}
	case PARAMETER_TEXT:
		return json_pack("{s:s, s:I, s:I, s:s}", "type", "string", "minLength", (json_int_t)row->min,
		                 "maxLength", (json_int_t)row->max, "pattern", NO_CONTROLS);
	case PARAMETER_PLACE:
		return json_pack("{s:s, s:s}", "type", "string", "pattern", "^[0-9]{1,18}-[1-9][0-9]{0,17}$");
	case PARAMETER_TIME:
		return json_pack("{s:s, s:s}", "type", "string", "pattern", TIME_PATTERN);
	}
	return NULL;
}

static json_t *schema_of(const struct route_parameter *row)
{
	json_t *schema = schema_of_one(row);
	if (row->times == 1)
		return schema;
	return json_pack("{s:s, s:I, s:o}", "type", "array", "maxItems", (json_int_t)row->times, "items",
	                 schema);
}

static json_t *parameters_of(const struct route *route)
{
	json_t *all = json_array();
	for (const struct route_parameter *row = route->parameter; row->name != NULL; row++)
		json_array_append_new(all,
		                      json_pack("{s:s, s:s, s:b, s:s, s:o}", "name", row->name, "in",
		                                row->in_path ? "path" : "query", "required", row->in_path,
		                                "description", row->help, "schema", schema_of(row)));
	return all;
}

/* A good answer's types: an object with a member for each. */
static json_t *content_of(const char *types)
{
	json_t *content = json_object();
	while (*types != '\0') {
		size_t bytes = strcspn(types, ",");
		json_object_setn_new(content, types, bytes, json_object());
		types += bytes;
		types += strspn(types, ", ");
	}
	return content;
}

/* 200 has the route's types, 304 nothing; all others are problems. */
static json_t *responses_of(const struct route *route)
{
	json_t *all = json_object();
	const char *at = route->statuses;
	while (*at != '\0') {
		char status[4];
		snprintf(status, sizeof status, "%s", at);
		if (status[0] == '2')
			json_object_set_new(all, status,
			                    json_pack("{s:s, s:o}", "description", route->help, "content",
			                              content_of(route->type)));
		else
			json_object_set_new(all, status, json_pack("{s:s}", "$ref", PROBLEM_REF));
		at += strcspn(at, " ");
		at += strspn(at, " ");
	}
	if (route->method == REQUEST_GET)
		json_object_set_new(all, "304",
		                    json_pack("{s:s}", "description",
		                              "the answer is the one whose ETag If-None-Match has"));
	json_object_set_new(all, "default", json_pack("{s:s}", "$ref", PROBLEM_REF));
	return all;
}

static json_t *operation_of(const struct route *route)
{
	json_t *operation =
	        json_pack("{s:s, s:s, s:o, s:o}", "operationId", route->name, "summary", route->help,
	                  "parameters", parameters_of(route), "responses", responses_of(route));
	/* No token at all will do, too, where none is configured. */
	if (route->who != ROUTE_EVERYBODY)
		json_object_set_new(operation, "security",
		                    json_pack("[{}, {s:[]}]", route->who == ROUTE_ADMIN ? "admin" : "read"));
	return operation;
}

/* Under the name of its method in lower case, as the document wants it. */
static void put_operation(json_t *path, const struct route *route)
{
	char method[16] = "";
	const char *name = request_method_name(route->method);
	for (unsigned i = 0; i < sizeof method - 1 && name[i] != '\0'; i++)
		method[i] = (char)(name[i] | 0x20);
	json_object_set_new(path, method, operation_of(route));
}

static json_t *paths(void)
{
	json_t *all = json_object();
	for (size_t i = 0; i < router_n_routes; i++) {
		const struct route *route = &router_routes[i];
		json_t *path = json_object_get(all, route->pattern);
		if (path == NULL) {
			path = json_object();
			json_object_set_new(all, route->pattern, path);
		}
		put_operation(path, route);
	}
	return all;
}

/* What operations refer to. */
static const char components[] =
        "{\"securitySchemes\":{\"read\":{\"type\":\"http\",\"scheme\":\"bearer\",\"description\":\"a token of serve.read_tokens or serve.admin_tokens\"},\"admin\":{\"type\":\"http\",\"scheme\":\"bearer\",\"description\":\"a token of serve.admin_tokens\"}},\"responses\":{\"problem\":{\"description\":\"what is wrong (RFC 9457)\",\"content\":{\"application/problem+json\":{\"schema\":{\"$ref\":\"#/components/schemas/problem\"}}}}},\"schemas\":{\"problem\":{\"type\":\"object\",\"required\":[\"type\",\"title\",\"status\",\"detail\"],\"properties\":{\"type\":{\"type\":\"string\"},\"title\":{\"type\":\"string\"},\"status\":{\"type\":\"integer\"},\"detail\":{\"type\":\"string\"},\"instance\":{\"type\":\"string\"}}}}}";

void handle_openapi(struct serve *serve, const struct request *request, struct answer *answer)
{
	(void)serve;
	(void)request;
	answer_json(answer, 200,
	            json_pack("{s:s, s:{s:s, s:s, s:s}, s:o, s:o}", "openapi", "3.1.0", "info", "title",
	                      "millrace", "version", MILLRACE_VERSION, "description",
	                      "What an instance of millrace knows.", "paths", paths(), "components",
	                      json_loads(components, 0, NULL)));
	answer->public = true;
}
