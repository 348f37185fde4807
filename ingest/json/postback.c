#include "ingest/json/postback.h"

#include "ingest/json/object.h"
#include "ingest/json/url.h"

#define METHOD_BYTES 6u /* of the longest name; 6 times as much with an escape for each character */

static bool check_method(const struct json_value *value, enum postback_method *method,
                         struct json_fault *fault)
{
	static const char *const names[] = {
#define METHOD(symbol) [POSTBACK_##symbol] = #symbol,
	        POSTBACK_METHODS(METHOD)
#undef METHOD
	};
	char text[6 * METHOD_BYTES];
	if (value->bytes <= sizeof text) {
		size_t n = json_copy(text, value);
		for (unsigned i = 0; i < POSTBACK_METHOD_COUNT; i++) {
			if (strlen(names[i]) == n && memcmp(names[i], text, n) == 0) {
				*method = i;
				return true;
			}
		}
	}
	return json_fail(fault, LEDGER_WRONG_TYPE, "endpoint.method",
	                 "must be GET, POST, PUT, PATCH or DELETE");
}

static bool take_endpoint(struct json_postback *postback, const struct json_value *endpoint,
                          struct json_fault *fault)
{
	struct json_object object;
	if (!json_collect(endpoint->text, endpoint->bytes, &object, fault) ||
	    !json_need(&object, NAME_METHOD, "endpoint.method", fault) ||
	    !json_need(&object, NAME_URL, "endpoint.url", fault) ||
	    !json_need_string(&object, NAME_METHOD, "endpoint.method", fault) ||
	    !json_need_string(&object, NAME_URL, "endpoint.url", fault) ||
	    !check_method(&object.value[NAME_METHOD], &postback->method, fault))
		return false;
	const char *wrong = json_url_fault(&object.value[NAME_URL]);
	if (wrong != NULL)
		return json_fail(fault, LEDGER_WRONG_TYPE, "endpoint.url", wrong);
	postback->url = object.value[NAME_URL].text;
	postback->url_bytes = object.value[NAME_URL].bytes;
	postback->url_escaped = object.value[NAME_URL].escaped;
	return true;
}

/* Where the next element begins; at the end of the array its bracket. `at` is after the opening
 * bracket or after an element. */
static const char *next_element(const char *at, const char *end)
{
	at = json_skip_space(at, end);
	return *at == ',' ? json_skip_space(at + 1, end) : at;
}

static bool take_data(struct json_postback *postback, const struct json_value *data, const char *body,
                      struct json_fault *fault)
{
	const char *end = data->text + data->bytes, *at = next_element(data->text + 1, end);
	for (; *at != ']'; at = next_element(at, end)) {
		if (*at != '{') {
			json_fail(fault, LEDGER_WRONG_TYPE, JSON_ELEMENTS, "must be an object");
			fault->at = (size_t)(at - body);
			fault->element = postback->n;
			return false;
		}
		at = json_value_end(at, end);
		postback->n++;
	}
	return postback->n > 0 || json_fail(fault, LEDGER_MISSING_FIELD, "data", "must not be empty");
}

/* `at` as for next_element. */
static void find_element(struct json_postback *postback, const char *at)
{
	postback->at = next_element(at, postback->end);
	postback->at_end = *postback->at == ']' ? postback->at : json_value_end(postback->at, postback->end);
}

bool json_postback_open(struct json_postback *postback, const char *data, size_t bytes,
                        struct json_fault *fault)
{
	struct json_object object;
	memset(postback, 0, sizeof *postback);
	if (!json_collect(data, bytes, &object, fault) ||
	    !json_need(&object, NAME_ENDPOINT, "endpoint", fault) ||
	    !json_need(&object, NAME_DATA, "data", fault))
		return false;
	const struct json_value *endpoint = &object.value[NAME_ENDPOINT], *array = &object.value[NAME_DATA];
	if (endpoint->token != SCAN_OBJECT)
		return json_fail(fault, LEDGER_WRONG_TYPE, "endpoint", "must be an object");
	if (array->token != SCAN_ARRAY)
		return json_fail(fault, LEDGER_WRONG_TYPE, "data", "must be an array of objects");
	if (!take_endpoint(postback, endpoint, fault) || !take_data(postback, array, data, fault))
		return false;
	postback->end = array->text + array->bytes;
	find_element(postback, array->text + 1);
	return true;
}

size_t json_postback_room(const struct json_postback *postback)
{
	size_t element = (size_t)(postback->at_end - postback->at);
	return element > 0 ? sizeof(struct event_postback) + postback->url_bytes + element : 0;
}

void json_postback_pass(struct json_postback *postback)
{
	if (postback->at == postback->at_end)
		return;
	postback->number++;
	find_element(postback, postback->at_end);
}

bool json_postback_next(struct json_postback *postback, void *payload, uint32_t *length)
{
	if (postback->at == postback->at_end)
		return false;
	struct event_postback *event = payload;
	memset(event, 0, sizeof *event);
	size_t url = postback->url_bytes, element = (size_t)(postback->at_end - postback->at), ignored;
	if (postback->url_escaped)
		url = scan_unescape(event->text, postback->url, url);
	else
		memcpy(event->text, postback->url, url);
	size_t data = json_compact(event->text + url, postback->at, element, NULL, &ignored);
	event->method = (uint16_t)postback->method;
	event->url_bytes = (uint32_t)url;
	event->data_bytes = (uint32_t)data;
	*length = (uint32_t)(sizeof *event + url + data);
	json_postback_pass(postback);
	return true;
}
