/* The escapes of JSON strings (RFC 8259, section 7): for text that has been checked before. */
#ifndef BASE_ESCAPE_H
#define BASE_ESCAPE_H

#include <stddef.h>
#include <string.h>

#include "base/hex.h"

#define JSON_HIGH_HALF  0xd800u /* first of the high surrogates, which end at JSON_LOW_HALF */
#define JSON_LOW_HALF   0xdc00u /* first of the low surrogates, which end at JSON_HALVES_END */
#define JSON_HALVES_END 0xe000u

/* UTF-8 of a code point. Returns the length. */
static inline size_t json_utf8(char out[4], unsigned code)
{
	if (code < 0x80) {
		out[0] = (char)code;
		return 1;
	}
	/* the bytes after the first, six bits each */
	size_t more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
	for (size_t i = more; i > 0; i--, code >>= 6)
		out[i] = (char)(0x80 | (code & 0x3f));
	static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
	out[0] = (char)(lead[more] | code);
	return more + 1;
}

/* The value of four hexadecimal digits. */
static inline unsigned json_hex4(const char *at)
{
	unsigned value = 0;
	for (unsigned i = 0; i < 4; i++)
		value = value << 4 | ((unsigned)hex_value(at[i]) & 15);
	return value;
}

/* Resolves the one escape that begins at *text, a backslash, into UTF-8. Moves *text after it.
 * Returns the length written, 1 to 4. */
static inline size_t json_escape(char out[4], const char **text)
{
	static const char letters[] = "bfnrt", codes[] = "\b\f\n\r\t";
	const char *at = *text + 1;
	if (*at != 'u') {
		const char *letter = strchr(letters, *at);
		out[0] = letter ? codes[letter - letters] : *at;
		*text = at + 1;
		return 1;
	}
	unsigned code = json_hex4(at + 1);
	at += 5;
	if (code >= JSON_HIGH_HALF && code < JSON_LOW_HALF) {
		code = 0x10000 + ((code - JSON_HIGH_HALF) << 10) + (json_hex4(at + 2) - JSON_LOW_HALF);
		at += 6;
	}
	*text = at;
	return json_utf8(out, code);
}

/* Resolves all escapes of `bytes` bytes between quotes into UTF-8 at out, which has room for as
 * many (the result is never longer). Returns the length written. */
static inline size_t json_unescape(char *out, const char *text, size_t bytes)
{
	char *to = out;
	const char *end = text + bytes;
	while (text < end) {
		const char *escape = memchr(text, '\\', (size_t)(end - text));
		size_t plain = (size_t)((escape ? escape : end) - text);
		memcpy(to, text, plain);
		to += plain;
		text += plain;
		if (escape) {
			char utf8[4];
			size_t n = json_escape(utf8, &text);
			memcpy(to, utf8, n);
			to += n;
		}
	}
	return (size_t)(to - out);
}

#endif
