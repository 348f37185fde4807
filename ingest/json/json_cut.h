/* Cutting JSON apart that a scan has come to the end of: nothing is checked again; and what
 * characters are. For the .c files of this folder alone. */
#ifndef INGEST_JSON_JSON_CUT_H
#define INGEST_JSON_JSON_CUT_H

#include <string.h>

#include "ingest/json/scan.h"

static inline bool json_is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* The byte behind the byte-order mark that the text may begin with. */
static inline const char *json_skip_mark(const char *at, const char *end)
{
	bool mark = end - at >= SCAN_MARK_BYTES && memcmp(at, SCAN_MARK, SCAN_MARK_BYTES) == 0;
	return mark ? at + SCAN_MARK_BYTES : at;
}

/* The first byte that is no white space, or end. */
static inline const char *json_skip_space(const char *at, const char *end)
{
	while (at < end && json_is_space(*at))
		at++;
	return at;
}

/* RFC 3986, section 2.3: what stands for itself in a URL. One bit for each character, in four
 * words; none is above 0x7f. */
static inline bool json_is_unreserved(char c)
{
	static const uint64_t map[4] = {
	        0x03ff600000000000, /* - . 0-9 */
	        0x47fffffe87fffffe, /* A-Z _ a-z ~ */
	};
	return map[(unsigned char)c / 64] >> (unsigned char)c % 64 & 1;
}

/* `at` is the opening quote of a string. Returns the byte behind the closing one. */
const char *json_string_end(const char *at, const char *end);

/* `at` is the first byte of a value. Returns the byte behind it. */
const char *json_value_end(const char *at, const char *end);

/* Copies the text without the white space outside its strings to out, which has room for `bytes`
 * bytes. Returns the length written. When a string begins at `mark`, *offset says where it begins
 * in out. */
size_t json_compact(char *out, const char *text, size_t bytes, const char *mark, size_t *offset);

#endif
