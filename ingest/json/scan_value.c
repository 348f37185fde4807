/* What the tokens of a scan stand for. The text has been checked by scan_next: nothing is checked
 * again. */
#include "ingest/json/scan.h"

#include <errno.h>

#include "base/escape.h"

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
