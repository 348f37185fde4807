/* What the next token may be is one small state:
 *
 *     EXPECT_VALUE --value--> at depth 0: EXPECT_NOTHING, else EXPECT_COMMA_OR_END
 *     {  -> EXPECT_KEY_OR_END      key and colon -> EXPECT_VALUE
 *     [  -> EXPECT_ELEMENT_OR_END
 *     ,  -> EXPECT_KEY in an object, EXPECT_VALUE in an array
 *     } ] as after a value
 *
 * An error is noticed at the first byte that cannot be where it is, so a text that only ends early
 * is never called wrong.
 */
#include "ingest/json/scan.h"

#include <errno.h>

#include "base/escape.h"

#ifdef __SSE2__
#include <emmintrin.h>

#include "base/hex.h"
#endif

enum expect {
	EXPECT_VALUE,
	EXPECT_ELEMENT_OR_END,
	EXPECT_KEY,
	EXPECT_KEY_OR_END,
	EXPECT_COMMA_OR_END,
	EXPECT_NOTHING,
	EXPECT_FAILED,
};

#define VECTOR_BYTES 16

static enum scan_token fail(struct scan *scan, const char *at, enum scan_error error)
{
	scan->at = at;
	scan->error = error;
	scan->expect = EXPECT_FAILED;
	return SCAN_ERROR;
}

static inline bool is_digit(char c)
{
	return (unsigned char)(c - '0') <= 9;
}

static inline const char *skip_space(const char *at, const char *end)
{
	while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
		at++;
	return at;
}

#ifdef __SSE2__

/* One bit for each of 16 bytes that is a quote, a backslash, a control character or not ASCII. As
 * signed chars the last two are those below 0x20. */
static inline unsigned special16(const char *at)
{
	__m128i c = _mm_loadu_si128((const __m128i *)(const void *)at);
	__m128i special =
	        _mm_or_si128(_mm_cmpeq_epi8(c, _mm_set1_epi8('"')), _mm_cmpeq_epi8(c, _mm_set1_epi8('\\')));
	return (unsigned)_mm_movemask_epi8(_mm_or_si128(special, _mm_cmplt_epi8(c, _mm_set1_epi8(0x20))));
}

#endif

/* The first byte from `at` on that needs a closer look, or the end. */
static inline const char *skip_plain(const struct scan *scan, const char *at)
{
	const char *end = scan->end;
#ifdef __SSE2__
	for (; end - at >= VECTOR_BYTES; at += VECTOR_BYTES) {
		unsigned special = special16(at);
		if (special)
			return at + __builtin_ctz(special);
	}
	/* The last vector of the text is read again, so that nothing past the end is. */
	if (end - scan->begin >= VECTOR_BYTES) {
		unsigned special = special16(end - VECTOR_BYTES) >> (VECTOR_BYTES - (end - at));
		return special ? at + __builtin_ctz(special) : end;
	}
#endif
	while (at < end && (signed char)*at >= 0x20 && *at != '"' && *at != '\\')
		at++;
	return at;
}

/* A UTF-8 sequence of two to four bytes. Moves *at after it; on an error to the byte that is
 * wrong. (RFC 3629, section 4) */
static enum scan_error take_sequence(const char **at, const char *end)
{
	unsigned char lead = (unsigned char)**at;
	unsigned char least = 0x80, most = 0xbf; /* of the second byte */
	unsigned more;
	if (lead >= 0xc2 && lead <= 0xdf) {
		more = 1;
	} else if (lead >= 0xe0 && lead <= 0xef) {
		more = 2;
		least = lead == 0xe0 ? 0xa0 : 0x80;
		most = lead == 0xed ? 0x9f : 0xbf;
	} else if (lead >= 0xf0 && lead <= 0xf4) {
		more = 3;
		least = lead == 0xf0 ? 0x90 : 0x80;
		most = lead == 0xf4 ? 0x8f : 0xbf;
	} else {
		return SCAN_NOT_UTF8;
	}
	(*at)++;
	for (; more > 0; more--, least = 0x80, most = 0xbf) {
		if (*at == end)
			return SCAN_TRUNCATED;
		unsigned char byte = (unsigned char)**at;
		if (byte < least || byte > most)
			return SCAN_NOT_UTF8;
		(*at)++;
	}
	return SCAN_OK;
}

/* Four hexadecimal digits. */
static enum scan_error take_hex4(const char **at, const char *end, unsigned *value)
{
	*value = 0;
	for (unsigned i = 0; i < 4; i++, (*at)++) {
		if (*at == end)
			return SCAN_TRUNCATED;
		int digit = hex_value(**at);
		if (digit < 0)
			return SCAN_SYNTAX;
		*value = *value << 4 | (unsigned)digit;
	}
	return SCAN_OK;
}

/* After "\u": a code unit, and when it is the first half of a pair, the second half too. (RFC
 * 8259, section 7) */
static enum scan_error take_unicode(const char **at, const char *end)
{
	unsigned unit;
	enum scan_error error = take_hex4(at, end, &unit);
	if (error != SCAN_OK || unit < 0xd800 || unit > 0xdfff)
		return error;
	if (unit > 0xdbff)
		return SCAN_HALF_PAIR;
	for (const char *wanted = "\\u"; *wanted; wanted++, (*at)++) {
		if (*at == end)
			return SCAN_TRUNCATED;
		if (**at != *wanted)
			return SCAN_HALF_PAIR;
	}
	error = take_hex4(at, end, &unit);
	return error == SCAN_OK && (unit < 0xdc00 || unit > 0xdfff) ? SCAN_HALF_PAIR : error;
}

/* After a backslash. Moves *at after the escape; on an error to the byte that is wrong. */
static enum scan_error take_escape(const char **at, const char *end)
{
	if (*at == end)
		return SCAN_TRUNCATED;
	switch (**at) {
	case '"':
	case '\\':
	case '/':
	case 'b':
	case 'f':
	case 'n':
	case 'r':
	case 't':
		(*at)++;
		return SCAN_OK;
	case 'u':
		(*at)++;
		return take_unicode(at, end);
	default:
		return SCAN_SYNTAX;
	}
}

/* The rest of a string from the first byte that is not plain. */
static enum scan_error take_special(struct scan *scan, const char *at)
{
	enum scan_error error = SCAN_OK;
	for (;; at = skip_plain(scan, at)) {
		if (at == scan->end) {
			error = SCAN_TRUNCATED;
		} else if (*at == '"') {
			scan->bytes = (size_t)(at - scan->text);
			scan->at = at + 1;
			return SCAN_OK;
		} else if (*at == '\\') {
			scan->escaped = true;
			at++;
			error = take_escape(&at, scan->end);
		} else if ((unsigned char)*at < 0x20) {
			error = SCAN_SYNTAX;
		} else { /* other alphabets come in runs */
			while (error == SCAN_OK && at < scan->end && (unsigned char)*at >= 0x80)
				error = take_sequence(&at, scan->end);
		}
		if (error != SCAN_OK) {
			scan->at = at;
			return error;
		}
	}
}

/* After the opening quote. Sets text, bytes and escaped; scan->at is after the closing quote then,
 * or where the error is. */
static inline enum scan_error take_string(struct scan *scan, const char *at)
{
	scan->text = at;
	scan->escaped = false;
	at = skip_plain(scan, at);
	if (at == scan->end || *at != '"')
		return take_special(scan, at);
	scan->bytes = (size_t)(at - scan->text);
	scan->at = at + 1;
	return SCAN_OK;
}

/* At least one digit. *value takes them on, modulo 2^64. */
static inline enum scan_error take_digits(const char **at, const char *end, uint64_t *value)
{
	const char *digit = *at;
	uint64_t sum = *value;
	while (digit < end && is_digit(*digit))
		sum = sum * 10 + (unsigned)(*digit++ - '0');
	enum scan_error error = digit > *at ? SCAN_OK : digit == end ? SCAN_TRUNCATED : SCAN_SYNTAX;
	*at = digit;
	*value = sum;
	return error;
}

/* '.' and digits, 'e' and digits, either or both: the number is not an integer. */
static enum scan_error take_fraction(const char **at, const char *end)
{
	uint64_t ignored = 0;
	if (**at == '.') {
		(*at)++;
		enum scan_error error = take_digits(at, end, &ignored);
		if (error != SCAN_OK || *at == end || (**at | 0x20) != 'e')
			return error;
	}
	(*at)++;
	if (*at < end && (**at == '+' || **at == '-'))
		(*at)++;
	return take_digits(at, end, &ignored);
}

static inline void after_value(struct scan *scan)
{
	scan->expect = scan->depth > 0 ? EXPECT_COMMA_OR_END : EXPECT_NOTHING;
}

static enum scan_token take_number(struct scan *scan, const char *at)
{
	enum scan_error error = SCAN_OK;
	const char *end = scan->end;
	uint64_t magnitude = 0;
	scan->text = at;
	scan->integer = true;
	if (*at == '-')
		at++;
	if (at < end && *at == '0')
		at++; /* a digit after it is not part of the number, so it is an error of the next token */
	else
		error = take_digits(&at, end, &magnitude);
	if (error == SCAN_OK && at < end && (*at == '.' || (*at | 0x20) == 'e')) {
		scan->integer = false;
		error = take_fraction(&at, end);
	}
	if (error != SCAN_OK)
		return fail(scan, at, error);
	scan->magnitude = magnitude;
	scan->bytes = (size_t)(at - scan->text);
	scan->at = at;
	after_value(scan);
	return SCAN_NUMBER;
}

static enum scan_token take_word(struct scan *scan, const char *at, const char *word, enum scan_token token)
{
	scan->text = at;
	for (; *word; word++, at++) {
		if (at == scan->end)
			return fail(scan, at, SCAN_TRUNCATED);
		if (*at != *word)
			return fail(scan, at, SCAN_SYNTAX);
	}
	scan->at = at;
	after_value(scan);
	return token;
}

static inline bool in_object(const struct scan *scan)
{
	unsigned level = scan->depth - 1;
	return scan->in_object[level / 64] >> level % 64 & 1;
}

static enum scan_token open_container(struct scan *scan, const char *at, bool object)
{
	unsigned level = scan->depth;
	if (level == SCAN_DEPTH_MAX)
		return fail(scan, at, SCAN_TOO_DEEP);
	uint64_t bit = 1ull << level % 64;
	uint64_t *word = &scan->in_object[level / 64];
	*word = object ? *word | bit : *word & ~bit;
	scan->depth = level + 1;
	scan->text = at;
	scan->at = at + 1;
	scan->expect = object ? EXPECT_KEY_OR_END : EXPECT_ELEMENT_OR_END;
	return object ? SCAN_OBJECT : SCAN_ARRAY;
}

static enum scan_token close_container(struct scan *scan, const char *at)
{
	bool object = in_object(scan);
	if (*at != (object ? '}' : ']'))
		return fail(scan, at, SCAN_SYNTAX);
	scan->text = at;
	scan->at = at + 1;
	scan->depth--;
	after_value(scan);
	return object ? SCAN_OBJECT_END : SCAN_ARRAY_END;
}

static enum scan_token take_value(struct scan *scan, const char *at)
{
	if (*at == '"') {
		enum scan_error error = take_string(scan, at + 1);
		if (error != SCAN_OK)
			return fail(scan, scan->at, error);
		after_value(scan);
		return SCAN_STRING;
	}
	if (*at == '-' || is_digit(*at))
		return take_number(scan, at);
	switch (*at) {
	case '{':
		return open_container(scan, at, true);
	case '[':
		return open_container(scan, at, false);
	case 't':
		return take_word(scan, at, "true", SCAN_TRUE);
	case 'f':
		return take_word(scan, at, "false", SCAN_FALSE);
	case 'n':
		return take_word(scan, at, "null", SCAN_NULL);
	default:
		return fail(scan, at, SCAN_SYNTAX);
	}
}

/* A name and its colon. */
static enum scan_token take_key(struct scan *scan, const char *at)
{
	if (*at != '"')
		return fail(scan, at, SCAN_SYNTAX);
	enum scan_error error = take_string(scan, at + 1);
	if (error != SCAN_OK)
		return fail(scan, scan->at, error);
	at = skip_space(scan->at, scan->end);
	if (at == scan->end)
		return fail(scan, at, SCAN_TRUNCATED);
	if (*at != ':')
		return fail(scan, at, SCAN_SYNTAX);
	scan->at = at + 1;
	scan->expect = EXPECT_VALUE;
	return SCAN_KEY;
}

/* A byte-order mark at the start, or as much of it as the text has. */
static void skip_mark(struct scan *scan)
{
	static const char mark[] = SCAN_MARK;
	const char *at = scan->begin;
	for (unsigned i = 0; i < SCAN_MARK_BYTES && at < scan->end; i++, at++) {
		if (*at == mark[i])
			continue;
		(void)fail(scan, at, SCAN_SYNTAX);
		return;
	}
	scan->at = at;
}

void scan_init(struct scan *scan, const char *data, size_t bytes)
{
	scan->at = scan->begin = scan->text = data;
	scan->end = data + bytes;
	scan->bytes = 0;
	scan->escaped = scan->integer = false;
	scan->error = SCAN_OK;
	scan->expect = EXPECT_VALUE;
	scan->depth = 0; /* in_object is a stack: nothing above depth is read */
	if (__builtin_expect(bytes > 0 && *data == SCAN_MARK[0], 0))
		skip_mark(scan);
}

enum scan_token scan_next(struct scan *scan)
{
	if (scan->expect == EXPECT_FAILED)
		return SCAN_ERROR;
	const char *end = scan->end;
	const char *at = skip_space(scan->at, end);
	if (at == end) {
		scan->at = at;
		return scan->expect == EXPECT_NOTHING ? SCAN_END : fail(scan, at, SCAN_TRUNCATED);
	}
	switch (scan->expect) {
	case EXPECT_COMMA_OR_END:
		if (*at != ',')
			return close_container(scan, at);
		at = skip_space(at + 1, end);
		if (at == end)
			return fail(scan, at, SCAN_TRUNCATED);
		return in_object(scan) ? take_key(scan, at) : take_value(scan, at);
	case EXPECT_KEY_OR_END:
		return *at == '}' ? close_container(scan, at) : take_key(scan, at);
	case EXPECT_ELEMENT_OR_END:
		return *at == ']' ? close_container(scan, at) : take_value(scan, at);
	case EXPECT_VALUE:
		return take_value(scan, at);
	default:
		return fail(scan, at, SCAN_SYNTAX);
	}
}

enum scan_token scan_skip(struct scan *scan, enum scan_token token)
{
	if (token != SCAN_OBJECT && token != SCAN_ARRAY)
		return token;
	unsigned depth = scan->depth - 1;
	do
		token = scan_next(scan);
	while (token != SCAN_ERROR && scan->depth > depth);
	return token;
}

/* ---- what tokens stand for; their text has been checked ---- */

#define DIGITS_MAX 19u /* of an int64, which begins with no 0; 19 digits do not overflow 64 bits */

size_t scan_escape(char out[4], const char **text)
{
	return json_escape(out, text);
}

size_t scan_unescape(char *out, const char *text, size_t bytes)
{
	return json_unescape(out, text, bytes);
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
