#include "event/line.h"

#include <errno.h>
#include <limits.h>

#include "base/hex.h"
#include "base/text.h"
#include "event/track.h"

#define NS_PER_MS 1000000u

/* 1 for the unreserved characters (RFC 3986, 2.3), 2 for the slash. */
static const uint8_t keep[256] = {
        ['0'] = 1, ['1'] = 1, ['2'] = 1, ['3'] = 1, ['4'] = 1, ['5'] = 1, ['6'] = 1, ['7'] = 1, ['8'] = 1,
        ['9'] = 1, ['A'] = 1, ['B'] = 1, ['C'] = 1, ['D'] = 1, ['E'] = 1, ['F'] = 1, ['G'] = 1, ['H'] = 1,
        ['I'] = 1, ['J'] = 1, ['K'] = 1, ['L'] = 1, ['M'] = 1, ['N'] = 1, ['O'] = 1, ['P'] = 1, ['Q'] = 1,
        ['R'] = 1, ['S'] = 1, ['T'] = 1, ['U'] = 1, ['V'] = 1, ['W'] = 1, ['X'] = 1, ['Y'] = 1, ['Z'] = 1,
        ['a'] = 1, ['b'] = 1, ['c'] = 1, ['d'] = 1, ['e'] = 1, ['f'] = 1, ['g'] = 1, ['h'] = 1, ['i'] = 1,
        ['j'] = 1, ['k'] = 1, ['l'] = 1, ['m'] = 1, ['n'] = 1, ['o'] = 1, ['p'] = 1, ['q'] = 1, ['r'] = 1,
        ['s'] = 1, ['t'] = 1, ['u'] = 1, ['v'] = 1, ['w'] = 1, ['x'] = 1, ['y'] = 1, ['z'] = 1, ['-'] = 1,
        ['.'] = 1, ['_'] = 1, ['~'] = 1, ['/'] = 2,
};

/* Percent-encoded but for characters whose class is in `classes`. */
static void put_encoded(struct text *text, const char *bytes, uint32_t length, unsigned classes)
{
	char *at = text->at;
	for (uint32_t i = 0; i < length; i++) {
		unsigned char byte = (unsigned char)bytes[i];
		bool kept = keep[byte] & classes;
		if ((size_t)(text->end - at) < (kept ? 1u : 3u)) {
			text->full = true;
			return;
		}
		if (kept) {
			*at++ = (char)byte;
			continue;
		}
		*at++ = '%';
		*at++ = hex_upper(byte >> 4);
		*at++ = hex_upper(byte);
	}
	text->at = at;
}

/* A 128-bit number without leading zeros. */
static void put_address(struct text *text, const uint8_t address[16])
{
	char digits[32];
	unsigned skip = 0;
	for (unsigned i = 0; i < 16; i++) {
		digits[2 * i] = hex_lower(address[i] >> 4);
		digits[2 * i + 1] = hex_lower(address[i]);
	}
	while (skip < sizeof digits - 1 && digits[skip] == '0')
		skip++;
	text_put(text, digits + skip, sizeof digits - skip);
}

/* Bytes in front of the first that is no visible ASCII character. Eight at a time: in bytes below
 * 0x80, adding 0x5f sets the high bit of those above the space, and adding 1 that of 0x7f alone
 * (Warren, Hacker's Delight, 6-1). */
static size_t visible(const char *bytes, size_t length)
{
	const uint64_t low = 0x7f7f7f7f7f7f7f7fu, high = 0x8080808080808080u;
	size_t i = 0;
	for (; i + 8 <= length; i += 8) {
		uint64_t eight;
		memcpy(&eight, bytes + i, sizeof eight);
		uint64_t above_space = (eight & low) + 0x5f5f5f5f5f5f5f5fu;
		uint64_t delete = (eight & low) + 0x0101010101010101u;
		if (((~above_space | delete | eight) & high) != 0)
			break;
	}
	while (i < length && bytes[i] > ' ' && bytes[i] < 0x7f)
		i++;
	return i;
}

/* The query stays as the client sent it, except for what would break the line or what a terminal
 * would obey: that is percent-encoded. */
static void put_query(struct text *text, const char *query, size_t bytes)
{
	if (bytes == 0)
		text_literal(text, "e");
	while (bytes > 0 && !text->full) {
		const unsigned char *at = (const unsigned char *)query;
		size_t n = visible(query, bytes);
		if (n > 0) {
			text_put(text, query, n);
		} else {
			size_t sequence = text_sequence(at, bytes);
			n = sequence == 0 ? 1 : sequence;
			if (sequence < 2 || text_control(at, bytes) != 0)
				put_encoded(text, query, (uint32_t)n, 0);
			else
				text_put(text, query, n);
		}
		query += n;
		bytes -= n;
	}
}

static void put_part(struct text *text, const char *key, struct event_track_slice slice)
{
	text_put(text, key, strlen(key));
	put_encoded(text, slice.text, slice.bytes, 1);
}

int event_line(char *out, size_t size, const struct record *record)
{
	if (record->type != EVENT_TRACK || !event_check(record))
		return -EINVAL;
	const struct event_track *event = (const void *)record->payload;
	struct text text = {.at = out, .end = out + (size > INT_MAX ? INT_MAX : size)};
	struct event_track_slice part[TRACK_PARTS];
	event_track_split(event, part);
	if (part[TRACK_TYPE].bytes == 0)
		text_literal(&text, "/");
	put_encoded(&text, part[TRACK_TYPE].text, part[TRACK_TYPE].bytes, 1 | 2);
	put_part(&text, " type=", part[TRACK_DEVICE]);
	put_part(&text, "&browser=", part[TRACK_BROWSER]);
	put_part(&text, "&engine=", part[TRACK_ENGINE]);
	put_part(&text, "&version=", part[TRACK_VERSION]);
	put_part(&text, "&os=", part[TRACK_OS]);
	put_part(&text, "&host=", part[TRACK_HOST]);
	put_part(&text, "&pod=", part[TRACK_POD]);
	text_literal(&text, "&ts=");
	text_unsigned(&text, event->arrival_ns / NS_PER_MS);
	text_literal(&text, "&ip=");
	put_address(&text, event->source);
	text_literal(&text, "&klag=");
	text_unsigned(&text, event->klag_ns / NS_PER_MS);
	put_part(&text, "&country=", event_track_country(event));
	text_literal(&text, "&city=");
	if (part[TRACK_CITY].bytes == 0)
		text_literal(&text, EVENT_TRACK_UNKNOWN);
	put_encoded(&text, part[TRACK_CITY].text, part[TRACK_CITY].bytes, 1);
	text_literal(&text, " ");
	put_query(&text, part[TRACK_QUERY].text, part[TRACK_QUERY].bytes);
	return text.full ? -ENOSPC : (int)(text.at - out);
}
