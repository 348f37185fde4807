#include "ingest/json/json_cut.h"
#include "ingest/json/json_object.h"

#define METHOD_BYTES 6u /* of the longest name; 6 times as much with an escape for each character */

/* ---- the URL: judged as it will be, escapes resolved, without a place to put it ---- */

enum url_part { URL_SCHEME, URL_SECURE, URL_COLON, URL_SLASHES, URL_HOST, URL_REST, URL_WRONG };

struct url {
	enum url_part part;
	unsigned place;  /* in "http" or "//" */
	bool host;       /* the authority has a host so far */
	bool host_begun; /* and behind this character, more is host or port */
	bool spaces;     /* or control characters, anywhere */
};

static void take_scheme(struct url *url, char c)
{
	static const char http[] = "http", slashes[] = "//";
	char lower = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
	switch (url->part) {
	case URL_SCHEME:
		url->part = lower != http[url->place] ? URL_WRONG
		            : ++url->place == 4       ? URL_SECURE
		                                      : URL_SCHEME;
		break;
	case URL_SECURE:
		url->part = lower == 's' ? URL_COLON : c == ':' ? URL_SLASHES : URL_WRONG;
		url->place = 0;
		break;
	case URL_COLON:
		url->part = c == ':' ? URL_SLASHES : URL_WRONG;
		break;
	default:
		url->part = c != slashes[url->place] ? URL_WRONG : ++url->place == 2 ? URL_HOST : URL_SLASHES;
		break;
	}
}

/* RFC 3986, section 3.2: [ userinfo "@" ] host [ ":" port ]; the last @ decides. */
static void take_authority(struct url *url, char c)
{
	if (c == '/' || c == '?' || c == '#') {
		url->part = URL_REST;
	} else if (c == '@') {
		url->host = url->host_begun = false;
	} else if (!url->host_begun) {
		url->host_begun = true;
		url->host = c != ':';
	}
}

static void take_character(struct url *url, char c)
{
	if ((unsigned char)c <= 0x20 || c == 0x7f)
		url->spaces = true;
	if (url->part < URL_HOST)
		take_scheme(url, c);
	else if (url->part == URL_HOST)
		take_authority(url, c);
}

static bool check_url(const struct json_value *value, struct json_fault *fault)
{
	static const char where[] = "endpoint.url";
	struct url url = {.part = URL_SCHEME};
	/* Of spaces and control characters a JSON string holds these two as they are, others in escapes. */
	url.spaces = memchr(value->text, ' ', value->bytes) || memchr(value->text, 0x7f, value->bytes);
	const char *at = value->text, *end = at + value->bytes;
	while (at < end && (value->escaped ? url.part != URL_WRONG : url.part < URL_REST)) {
		char utf8[4] = {*at};
		size_t n = 1;
		if (*at == '\\')
			n = scan_escape(utf8, &at);
		else
			at++;
		for (size_t i = 0; i < n; i++)
			take_character(&url, utf8[i]);
	}
	if (url.part == URL_WRONG || url.part < URL_HOST)
		return json_fail(fault, LEDGER_WRONG_TYPE, where, "must begin with http:// or https://");
	if (url.spaces)
		return json_fail(fault, LEDGER_WRONG_TYPE, where,
		                 "must be without spaces and control characters");
	return url.host || json_fail(fault, LEDGER_WRONG_TYPE, where, "must have a host");
}

/* ---- the body ---- */

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
	    !check_method(&object.value[NAME_METHOD], &postback->method, fault) ||
	    !check_url(&object.value[NAME_URL], fault))
		return false;
	postback->url = object.value[NAME_URL].text;
	postback->url_bytes = object.value[NAME_URL].bytes;
	postback->url_escaped = object.value[NAME_URL].escaped;
	return true;
}

/* What is wrong with the element at *at, or NULL. Moves *at behind it. */
static const char *element_fault(const char **at, const char *end)
{
	const char *here = *at;
	if (*here != '{')
		return "must be an object";
	for (here = json_skip_space(here + 1, end); *here != '}'; here = json_skip_space(here, end)) {
		if (*here == ',')
			here = json_skip_space(here + 1, end);
		here = json_skip_space(json_string_end(here, end), end);
		here = json_skip_space(here + 1, end); /* the colon */
		if (*here == '{' || *here == '[')
			return "values must be strings, numbers, true, false or null";
		here = json_value_end(here, end);
	}
	*at = here + 1;
	return NULL;
}

/* Where the element behind `at`, the bracket or the end of another, begins; at the end of the array the other bracket. */
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
		const char *element = at, *what = element_fault(&at, end);
		if (what != NULL) {
			json_fail(fault, LEDGER_WRONG_TYPE, JSON_ELEMENTS, what);
			fault->at = (size_t)(element - body);
			fault->element = postback->n;
			return false;
		}
		postback->n++;
	}
	return postback->n > 0 || json_fail(fault, LEDGER_MISSING_FIELD, "data", "must not be empty");
}

/* The element behind the one that ended at `at`. */
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
