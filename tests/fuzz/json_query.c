/* What the query strings and records of events should be, from jansson's trees. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/json_opinion.h"

static bool is_scalar(const json_t *value)
{
	return !json_is_object(value) && !json_is_array(value);
}

static size_t encoded_bytes(const char *text, size_t bytes)
{
	size_t sum = 0;
	for (size_t i = 0; i < bytes; i++)
		sum += isalnum((unsigned char)text[i]) || (text[i] && strchr("-._~", text[i])) ? 1 : 3;
	return sum;
}

/* Reads the next character of a query, which must be encoded as little as it can be; -1 at the end
 * of a word, -2 when it is not. */
static int decoded(const char **at, const char *end)
{
	if (*at == end || **at == '&' || **at == '=')
		return -1;
	if (**at != '%')
		return encoded_bytes(*at, 1) == 1 ? (unsigned char)*(*at)++ : -2;
	char digits[3] = {0};
	if (end - *at < 3)
		return -2;
	memcpy(digits, *at + 1, 2);
	if (strspn(digits, "0123456789ABCDEF") != 2)
		return -2;
	*at += 3;
	char c = (char)strtoul(digits, NULL, 16);
	return encoded_bytes(&c, 1) == 3 ? (unsigned char)c : -2;
}

/* Takes one word of the query and compares it. */
static bool takes_word(const char **at, const char *end, const char *text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		if (decoded(at, end) != (unsigned char)text[i])
			return false;
	}
	return decoded(at, end) == -1;
}

static bool takes_number(const char **at, const char *end, const json_t *number)
{
	char text[4096];
	size_t n = 0;
	int c;
	while ((c = decoded(at, end)) >= 0 && n < sizeof text)
		text[n++] = (char)c;
	json_t *read = json_loadb(text, n, JSON_DECODE_ANY, NULL);
	bool same = c == -1 && read && json_equal(read, number);
	json_decref(read);
	return same || n == sizeof text;
}

static bool takes_value(const char **at, const char *end, const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_STRING:
		return takes_word(at, end, json_string_value(value), json_string_length(value));
	case JSON_TRUE:
		return takes_word(at, end, "true", 4);
	case JSON_FALSE:
		return takes_word(at, end, "false", 5);
	case JSON_NULL:
		return takes_word(at, end, "null", 4);
	default:
		return takes_number(at, end, value);
	}
}

/* The query decodes to the object, in order. */
bool query_is(const char *at, size_t bytes, json_t *params)
{
	const char *begin = at, *end = at + bytes, *key;
	json_t *value;
	json_object_foreach(params, key, value)
	{
		size_t n = json_is_array(value) ? json_array_size(value) : 1;
		for (size_t i = 0; i < n; i++) {
			if (at > begin && (at == end || *at++ != '&'))
				return false;
			if (!takes_word(&at, end, key, strlen(key)) || at == end || *at++ != '=')
				return false;
			if (!takes_value(&at, end, json_is_array(value) ? json_array_get(value, i) : value))
				return false;
		}
	}
	return at == end;
}

bool query_fits(json_t *params)
{
	const char *key;
	json_t *value, *element;
	size_t i;
	json_object_foreach(params, key, value)
	{
		if (json_is_object(value))
			return false;
		json_array_foreach(value, i, element)
		{
			if (!is_scalar(element))
				return false;
		}
	}
	return true;
}

/* The least and the most bytes that the query can have; how numbers were written jansson does not
 * tell. */
void query_bounds(json_t *params, size_t bytes, size_t *least, size_t *most)
{
	const char *key;
	json_t *value;
	*least = *most = 0;
	json_object_foreach(params, key, value)
	{
		size_t n = json_is_array(value) ? json_array_size(value) : 1;
		for (size_t i = 0; i < n; i++) {
			json_t *element = json_is_array(value) ? json_array_get(value, i) : value;
			size_t fixed = 1 + (*least > 0) + encoded_bytes(key, strlen(key));
			if (json_is_string(element))
				fixed += encoded_bytes(json_string_value(element),
				                       json_string_length(element));
			*least += fixed + !json_is_string(element);
			*most += fixed + (json_is_number(element) ? 3 * bytes : 5);
		}
	}
}

bool query_is_metric(const struct event_metric *event, uint32_t length, json_t *root)
{
	json_t *username = json_object_get(root, "username"), *metric = json_object_get(root, "metric");
	size_t a = json_string_length(username), b = json_string_length(metric);
	struct event_metric wanted = {.username_bytes = (uint16_t)a, .metric_bytes = (uint16_t)b};
	wanted.count = json_integer_value(json_object_get(root, "count"));
	return length == sizeof wanted + a + b && memcmp(event, &wanted, sizeof wanted) == 0 &&
	       memcmp(event->text, json_string_value(username), a) == 0 &&
	       memcmp(event->text + a, json_string_value(metric), b) == 0;
}

bool query_is_track(const struct event_track_raw *event, uint32_t length, json_t *root, bool compare_query)
{
	json_t *type = json_object_get(root, "type");
	size_t a = json_string_length(type);
	struct event_track_raw wanted = {.type_bytes = (uint16_t)a, .query_bytes = event->query_bytes};
	wanted.client_ts_ms = (uint64_t)json_integer_value(json_object_get(root, "ts"));
	if (length != sizeof wanted + a + event->query_bytes || memcmp(event, &wanted, sizeof wanted) != 0 ||
	    memcmp(event->text, json_string_value(type), a) != 0)
		return false;
	return !compare_query ||
	       query_is(event->text + a, event->query_bytes, json_object_get(root, "params"));
}
