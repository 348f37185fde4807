/* Vectors: SSE2 finds the end of a string 16 bytes at a time; other machines go byte by byte. */
#include "ingest/json/json_cut.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

const char *json_string_end(const char *at, const char *end)
{
	at++;
	for (;;) {
#ifdef __SSE2__
		while (end - at >= 16) {
			__m128i c = _mm_loadu_si128((const __m128i *)(const void *)at);
			__m128i quote = _mm_cmpeq_epi8(c, _mm_set1_epi8('"'));
			__m128i escape = _mm_cmpeq_epi8(c, _mm_set1_epi8('\\'));
			unsigned found = (unsigned)_mm_movemask_epi8(_mm_or_si128(quote, escape));
			if (found != 0) {
				at += __builtin_ctz(found);
				break;
			}
			at += 16;
		}
#endif
		while (*at != '"' && *at != '\\')
			at++;
		if (*at == '"')
			return at + 1;
		at += 2; /* of \u0041 the first two are enough: the rest is plain */
	}
}

static const char *container_end(const char *at, const char *end)
{
	unsigned depth = 0;
	do {
		if (*at == '"') {
			at = json_string_end(at, end);
			continue;
		}
		depth += *at == '{' || *at == '[';
		depth -= *at == '}' || *at == ']';
		at++;
	} while (depth > 0);
	return at;
}

const char *json_value_end(const char *at, const char *end)
{
	if (*at == '"')
		return json_string_end(at, end);
	if (*at == '{' || *at == '[')
		return container_end(at, end);
	while (at < end && *at != ',' && *at != ']' && *at != '}' && !json_is_space(*at))
		at++;
	return at;
}

size_t json_compact(char *out, const char *text, size_t bytes, const char *mark, size_t *offset)
{
	const char *end = text + bytes, *run = text; /* what is to be copied next begins at run */
	char *to = out;
	for (const char *at = text; at < end;) {
		if (*at == '"') {
			if (at == mark)
				*offset = (size_t)(to - out) + (size_t)(at - run);
			at = json_string_end(at, end);
		} else if (json_is_space(*at)) {
			memcpy(to, run, (size_t)(at - run));
			to += at - run;
			run = at = json_skip_space(at, end);
		} else {
			at++;
		}
	}
	memcpy(to, run, (size_t)(end - run));
	return (size_t)(to - out) + (size_t)(end - run);
}
