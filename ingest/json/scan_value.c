/* What the tokens of a scan stand for. The text has been checked by scan_next: nothing is checked again. */
#include "ingest/json/scan.h"

#include <errno.h>
#include <string.h>

#define HIGH_HALF 0xd800u /* first of the high surrogates, which end at LOW_HALF */
#define LOW_HALF  0xdc00u

#define DIGITS_MAX 19u /* of an int64, which begins with no 0; 19 digits do not overflow 64 bits */

static size_t put_utf8(char out[4], unsigned code)
{
	if (code < 0x80) {
		out[0] = (char)code;
		return 1;
	}
	size_t more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3; /* bytes behind the first, six bits each */
	for (size_t i = more; i > 0; i--, code >>= 6)
		out[i] = (char)(0x80 | (code & 0x3f));
	static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
	out[0] = (char)(lead[more] | code);
	return more + 1;
}

static unsigned hex4(const char *at)
{
	unsigned value = 0;
	for (unsigned i = 0; i < 4; i++)
		value = value << 4 | (unsigned)(at[i] <= '9' ? at[i] - '0' : (at[i] | 0x20) - 'a' + 10);
	return value;
}

size_t scan_escape(char out[4], const char **text)
{
	static const char letters[] = "bfnrt", codes[] = "\b\f\n\r\t";
	const char *at = *text + 1;
	if (*at != 'u') {
		const char *letter = strchr(letters, *at);
		out[0] = letter ? codes[letter - letters] : *at;
		*text = at + 1;
		return 1;
	}
	unsigned code = hex4(at + 1);
	at += 5;
	if (code >= HIGH_HALF && code < LOW_HALF) {
		code = 0x10000 + ((code - HIGH_HALF) << 10) + (hex4(at + 2) - LOW_HALF);
		at += 6;
	}
	*text = at;
	return put_utf8(out, code);
}

size_t scan_unescape(char *out, const char *text, size_t bytes)
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
			size_t n = scan_escape(utf8, &text);
			memcpy(to, utf8, n);
			to += n;
		}
	}
	return (size_t)(to - out);
}

int scan_int64(const struct scan *scan, int64_t *value)
{
	if (!scan->integer)
		return -EINVAL;
	bool negative = *scan->text == '-';
	if (scan->bytes - negative > DIGITS_MAX || scan->magnitude > (uint64_t)INT64_MAX + negative)
		return -ERANGE;
	*value = (int64_t)(negative ? -scan->magnitude : scan->magnitude);
	return 0;
}

const char *scan_error_text(enum scan_error error)
{
	static const char *const text[] = {
	        [SCAN_OK] = "no error",
	        [SCAN_TRUNCATED] = "text ends early",
	        [SCAN_SYNTAX] = "not JSON",
	        [SCAN_NOT_UTF8] = "not UTF-8",
	        [SCAN_HALF_PAIR] = "half a surrogate pair",
	        [SCAN_TOO_DEEP] = "nested too deep",
	};
	return (unsigned)error < sizeof text / sizeof *text ? text[error] : "unknown error";
}
