/* Query strings: k=v&k=v, percent-encoded (RFC 3986; + is a space, as forms write it: URL Standard,
 * 5.1).
 *
 *     struct query query = {text, text + bytes};
 *     while (query_next(&query, &pair))
 *             ... pair.name, pair.value: as they stand there ...
 */
#ifndef EVENT_QUERY_H
#define EVENT_QUERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/hex.h"

struct query {
	const char *at, *end;
};

/* One piece between two &. Without = it is a name with an empty value. */
struct query_pair {
	const char *name;
	const char *value;
	uint32_t name_bytes, value_bytes;
};

/* The next pair. Skips empty pieces. False after the last. */
static inline bool query_next(struct query *query, struct query_pair *pair)
{
	while (query->at < query->end && *query->at == '&')
		query->at++;
	if (query->at == query->end)
		return false;
	const char *stop = memchr(query->at, '&', (size_t)(query->end - query->at));
	if (stop == NULL)
		stop = query->end;
	const char *equals = memchr(query->at, '=', (size_t)(stop - query->at));
	pair->name = query->at;
	pair->name_bytes = (uint32_t)((equals != NULL ? equals : stop) - query->at);
	pair->value = equals != NULL ? equals + 1 : stop;
	pair->value_bytes = (uint32_t)(stop - pair->value);
	query->at = stop;
	return true;
}

/* The byte at *at, which is before end, decoded; moves *at after it. A % without two hexadecimal
 * digits stands for itself. */
static inline unsigned char query_byte(const char **at, const char *end)
{
	char c = *(*at)++;
	if (c == '+')
		return ' ';
	if (c != '%' || end - *at < 2)
		return (unsigned char)c;
	int high = hex_value((*at)[0]), low = hex_value((*at)[1]);
	if (high < 0 || low < 0)
		return '%';
	*at += 2;
	return (unsigned char)(high << 4 | low);
}

/* Decodes into out, which has room for `bytes`. Returns the length written. */
static inline size_t query_decode(char *out, const char *text, size_t bytes)
{
	const char *end = text + bytes;
	size_t n = 0;
	while (text < end)
		out[n++] = (char)query_byte(&text, end);
	return n;
}

/* True when both stand for the same bytes. */
static inline bool query_same(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
	const char *a_end = a + a_bytes, *b_end = b + b_bytes;
	while (a < a_end && b < b_end)
		if (query_byte(&a, a_end) != query_byte(&b, b_end))
			return false;
	return a == a_end && b == b_end;
}

/* True when the text stands for the plain bytes. */
static inline bool query_is(const char *text, size_t bytes, const char *plain, size_t plain_bytes)
{
	const char *end = text + bytes, *plain_end = plain + plain_bytes;
	while (text < end && plain < plain_end)
		if (query_byte(&text, end) != (unsigned char)*plain++)
			return false;
	return text == end && plain == plain_end;
}

#endif
