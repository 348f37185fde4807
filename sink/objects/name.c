#include "sink/objects/name.h"

#include <stdio.h>
#include <string.h>

#define HASH_BYTES 17u /* "~" and 16 digits */

static uint64_t hash(const char *text, size_t n)
{
	uint64_t value =
	        /* FNV-1a: tells names apart that nobody chose to collide in it alone */
	        0xcbf29ce484222325u;
	for (size_t i = 0; i < n; i++)
		value = (value ^ (unsigned char)text[i]) * 0x100000001b3u;
	return value;
}

/* Where text may be cut at n bytes or before. */
static size_t whole_escapes(const char *text, size_t n)
{
	for (size_t back = 1; back <= 2 && back <= n; back++)
		if (text[n - back] == '%')
			return n - back;
	return n;
}

/* Writes one part, of at most `most` bytes. Returns its length. */
static size_t put_part(char *out, const char *part, size_t n, size_t most)
{
	if (n <= most) {
		memcpy(out, part, n);
		return n;
	}
	char digits[HASH_BYTES + 1];
	size_t kept = whole_escapes(part, most - HASH_BYTES);
	snprintf(digits, sizeof digits, "~%016llx", (unsigned long long)hash(part, n));
	memcpy(out, part, kept);
	memcpy(out + kept, digits, HASH_BYTES);
	return kept + HASH_BYTES;
}

size_t name_shorten(char *text, size_t bytes, size_t most)
{
	char whole[HASH_BYTES + 1];
	if (bytes <= most)
		return bytes;
	size_t kept = whole_escapes(text, most - HASH_BYTES);
	snprintf(whole, sizeof whole, "~%016llx", (unsigned long long)hash(text, bytes));
	memcpy(text + kept, whole, HASH_BYTES);
	return kept + HASH_BYTES;
}

size_t name_make(char out[JOURNAL_KEY_MAX], const struct store_traits *traits, const char *key,
                 size_t key_bytes, const char *suffix, unsigned attempt)
{
	char tail[256] = "";
	size_t most = traits->name_max < JOURNAL_KEY_MAX ? traits->name_max : JOURNAL_KEY_MAX;
	size_t component = traits->component_max != 0 ? traits->component_max : most, n = 0;
	if (attempt == 1)
		snprintf(tail, sizeof tail, "_%s", suffix);
	else if (attempt > 1)
		snprintf(tail, sizeof tail, "_%s.%u", suffix, attempt);
	size_t tail_bytes = strlen(tail);
	for (const char *at = key, *end = key + key_bytes;;) {
		const char *slash = memchr(at, '/', (size_t)(end - at));
		size_t bytes = (size_t)((slash != NULL ? slash : end) - at);
		size_t left = most > n ? most - n : 0;
		size_t room = component < left ? component : left;
		size_t kept = slash == NULL ? tail_bytes : 0;
		if (room < kept + HASH_BYTES && room < kept + bytes)
			return 0;
		n += put_part(out + n, at, bytes, room - kept);
		if (slash == NULL)
			break;
		if (n >= most)
			return 0;
		out[n++] = '/';
		at = slash + 1;
	}
	return n + put_part(out + n, tail, tail_bytes, tail_bytes);
}
