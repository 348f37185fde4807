/* A JSON scanner: the tokens of one text (RFC 8259), one call each, nothing allocated, nothing
 * copied.
 *
 *     {"n": [1, "x"]}  -->  OBJECT  KEY n  ARRAY  NUMBER 1  STRING x  ARRAY_END  OBJECT_END  END
 *
 *     struct scan scan;
 *     scan_init(&scan, data, bytes);
 *     while ((token = scan_next(&scan)) > SCAN_END)
 *             ... scan.text, scan.bytes ...
 *     return token == SCAN_END ? 0 : scan.error;
 *
 * The whole text is checked on the way: grammar, UTF-8 (RFC 3629), escapes, numbers, nesting, and
 * that only white space follows the value. So a text is JSON if and only if scan_next reaches
 * SCAN_END. Tokens before that may belong to a text that turns out to be wrong.
 *
 * Where RFC 8259 leaves a choice:
 *   - a \u escape of half a surrogate pair is an error (it has no UTF-8 form);
 *   - one byte-order mark at the start of the text is skipped (8.1); anywhere else outside a string it is an error;
 *   - containers nest at most SCAN_DEPTH_MAX deep;
 *   - numbers have any size and precision (scan_int64 says what fits);
 *   - names may repeat, all are handed out: which one counts is the caller's choice;
 *   - U+0000, as \u0000, is a character like any other.
 */
#ifndef INGEST_JSON_SCAN_H
#define INGEST_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCAN_DEPTH_MAX  256u
#define SCAN_MARK       "\xef\xbb\xbf" /* U+FEFF */
#define SCAN_MARK_BYTES 3u

enum scan_token {
	SCAN_ERROR, /* not JSON: see scan->error; every later call returns it again */
	SCAN_END,   /* the text was JSON, and this is its end; every later call returns it again */
	SCAN_OBJECT,
	SCAN_OBJECT_END,
	SCAN_ARRAY,
	SCAN_ARRAY_END,
	SCAN_KEY,    /* text is what is between the quotes, checked but not unescaped */
	SCAN_STRING, /* the same */
	SCAN_NUMBER, /* text is the number as written */
	SCAN_TRUE,
	SCAN_FALSE,
	SCAN_NULL,
};

enum scan_error {
	SCAN_OK,
	SCAN_TRUNCATED, /* the text ends inside a token or an open container, or is empty */
	SCAN_SYNTAX,    /* not JSON, whatever would follow */
	SCAN_NOT_UTF8,  /* bytes that are not UTF-8 */
	SCAN_HALF_PAIR, /* a \u escape of half a surrogate pair */
	SCAN_TOO_DEEP,  /* more than SCAN_DEPTH_MAX containers open */
};

/* The caller reads token fields, `at` and `error`; the rest is the scanner's own. */
struct scan {
	const char *at; /* after the token; after SCAN_ERROR where the error was noticed */
	/* the token */
	/* KEY, STRING, NUMBER: as above. Others: the token's first byte. Lies in the caller's
	 * data. */
	const char *text;
	size_t bytes; /* KEY, STRING, NUMBER: length of text */
	bool escaped; /* KEY, STRING: text holds at least one backslash */
	bool integer; /* NUMBER: neither fraction nor exponent */
	enum scan_error error;
	/* own */
	uint64_t magnitude; /* NUMBER: digits before the point, modulo 2^64 */
	uint8_t expect;
	unsigned depth; /* containers open */
	const char *begin, *end;
	uint64_t in_object[SCAN_DEPTH_MAX / 64]; /* one bit a level */
};

/* Begins a text. data need not end with a zero byte, no byte outside it is read, and it must not
 * change while the scan lasts. */
void scan_init(struct scan *scan, const char *data, size_t bytes);

/* The next token. */
enum scan_token scan_next(struct scan *scan);

/* Goes on to the end of the container that the last token opened (SCAN_OBJECT or SCAN_ARRAY) and
 * checks what it passes. Returns the token that closed it, or SCAN_ERROR. After any other token
 * it does nothing and returns `token`. */
enum scan_token scan_skip(struct scan *scan, enum scan_token token);

/* Resolves the one escape that begins at *text, a backslash in a KEY or STRING, into UTF-8. Moves
 * *text after it. Returns the length written, 1 to 4. */
size_t scan_escape(char out[4], const char **text);

/* Resolves all escapes of a KEY or STRING into UTF-8 at out, which has room for `bytes` bytes (the
 * result is never longer than the text). Returns the length written. No zero byte is added. text
 * must come from a scan. */
size_t scan_unescape(char *out, const char *text, size_t bytes);

/* The value of a NUMBER token. Returns 0; -EINVAL for a number with fraction or exponent; -ERANGE
 * for one that does not fit. *value is unchanged on failure. -0 is 0. */
int scan_int64(const struct scan *scan, int64_t *value);

/* "text ends early" and so on: a phrase for an error message. */
const char *scan_error_text(enum scan_error error);

#endif
