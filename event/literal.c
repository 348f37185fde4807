#include "event/literal.h"

#include <ctype.h>
#include <string.h>

#include "base/text.h"
#include "base/escape.h"

/* Each of these returns the length of what stands at `text`, or 0 when it is not that. */

static size_t unicode_bytes(const char *text, size_t left)
{
	if (left < 6)
		return 0;
	for (unsigned i = 2; i < 6; i++)
		if (!isxdigit((unsigned char)text[i]))
			return 0;
	return 6;
}

static size_t escape_bytes(const char *text, size_t left)
{
	if (left < 2)
		return 0;
	if (text[1] != 'u')
		return text[1] != '\0' && strchr("\"\\/bfnrt", text[1]) != NULL ? 2 : 0;
	if (unicode_bytes(text, left) == 0)
		return 0;
	unsigned code = json_hex4(text + 2);
	if (code < JSON_HIGH_HALF || code >= JSON_HALVES_END)
		return 6;
	const char *other = text + 6;
	if (code >= JSON_LOW_HALF || left < 12 || other[0] != '\\' || other[1] != 'u' ||
	    unicode_bytes(other, left - 6) == 0)
		return 0;
	code = json_hex4(other + 2);
	return code >= JSON_LOW_HALF && code < JSON_HALVES_END ? 12 : 0;
}

static size_t string_bytes(const char *text, size_t left)
{
	if (left < 2 || *text != '"')
		return 0;
	for (size_t i = 1, n; i < left; i += n) {
		unsigned char c = (unsigned char)text[i];
		if (c == '"')
			return i + 1;
		if (c == '\\')
			n = escape_bytes(text + i, left - i);
		else
			n = c < 0x20 ? 0 : text_sequence((const unsigned char *)text + i, left - i);
		if (n == 0)
			return 0;
	}
	return 0;
}

static size_t digits_bytes(const char *text, size_t left)
{
	size_t n = 0;
	while (n < left && isdigit((unsigned char)text[n]))
		n++;
	return n;
}

static size_t number_bytes(const char *text, size_t left)
{
	size_t at = left > 0 && *text == '-', n = digits_bytes(text + at, left - at);
	if (n == 0 || (n > 1 && text[at] == '0'))
		return 0;
	at += n;
	if (at < left && text[at] == '.') {
		n = digits_bytes(text + at + 1, left - at - 1);
		if (n == 0)
			return 0;
		at += 1 + n;
	}
	if (at < left && (text[at] | 0x20) == 'e') {
		at += at + 1 < left && (text[at + 1] == '+' || text[at + 1] == '-') ? 2 : 1;
		n = digits_bytes(text + at, left - at);
		if (n == 0)
			return 0;
		at += n;
	}
	return at;
}

static size_t scalar_bytes(const char *text, size_t left)
{
	static const char *const words[] = {"true", "false", "null"};
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
		size_t n = strlen(words[i]);
		if (left >= n && memcmp(text, words[i], n) == 0)
			return n;
	}
	size_t n = string_bytes(text, left);
	return n > 0 ? n : number_bytes(text, left);
}

static size_t value_bytes(const char *text, size_t left, unsigned depth);

/* value, or "key":value */
static size_t element_bytes(const char *text, size_t left, bool member, unsigned depth)
{
	size_t key = member ? string_bytes(text, left) : 0;
	if (member && (key == 0 || key == left || text[key++] != ':'))
		return 0;
	size_t value = value_bytes(text + key, left - key, depth);
	return value > 0 ? key + value : 0;
}

/* An array or object; depth: of containers that are open around it. */
static size_t container_bytes(const char *text, size_t left, unsigned depth)
{
	bool object = *text == '{';
	char close = object ? '}' : ']';
	if (left < 2 || depth == EVENT_LITERAL_DEPTH_MAX)
		return 0;
	if (text[1] == close)
		return 2;
	for (size_t at = 1, n; (n = element_bytes(text + at, left - at, object, depth + 1)) > 0; at++) {
		at += n;
		if (at == left || (text[at] != ',' && text[at] != close))
			return 0;
		if (text[at] == close)
			return at + 1;
	}
	return 0;
}

/* Recursion ends at EVENT_LITERAL_DEPTH_MAX. */
static size_t value_bytes(const char *text, size_t left, unsigned depth)
{
	if (left > 0 && (*text == '{' || *text == '['))
		return container_bytes(text, left, depth);
	return scalar_bytes(text, left);
}

bool event_literal_is_string(const char *text, size_t bytes)
{
	return bytes > 0 && string_bytes(text, bytes) == bytes;
}

bool event_literal_is_object(const char *text, size_t bytes)
{
	return bytes > 0 && *text == '{' && value_bytes(text, bytes, 0) == bytes;
}
