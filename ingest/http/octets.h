/* Classes of octets in HTTP/1, and runs of them: a table for single octets, SSE2 for runs that tend
 * to be long.
 *
 *     POST /event?x=1 HTTP/1.1     token SP target SP ...
 *     Content-Length: 62           token ":" field CR LF
 */
#ifndef INGEST_HTTP_OCTETS_H
#define INGEST_HTTP_OCTETS_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
	OCTET_TOKEN = 1,  /* tchar (RFC 9110, 5.6.2) */
	OCTET_FIELD = 2,  /* of a field's value: HTAB, SP, VCHAR, obs-text (RFC 9110, 5.5) */
	OCTET_TARGET = 4, /* of a request target: VCHAR but '#' */
	OCTET_HOST = 8,   /* of a reg-name: unreserved, sub-delims, '%' (RFC 3986, 3.2.2) */
};

extern const uint8_t octet_class[256];

#define OCTETS_VECTOR 16

/* Whether the octet is of one of the classes. */
static inline bool octet_is(char c, unsigned classes)
{
	return (octet_class[(unsigned char)c] & classes) != 0;
}

/* The first octet in [at, stop) that is of none of the classes; stop when there is none. */
static inline const char *octets_skip(const char *at, const char *stop, unsigned classes)
{
	while (at < stop && octet_is(*at, classes))
		at++;
	return at;
}

/* As octets_skip for OCTET_FIELD. */
static inline const char *octets_skip_field(const char *at, const char *stop)
{
#ifdef __SSE2__
	for (; stop - at >= OCTETS_VECTOR; at += OCTETS_VECTOR) {
		__m128i c = _mm_loadu_si128((const __m128i *)(const void *)at);
		__m128i control = _mm_cmpeq_epi8(_mm_min_epu8(c, _mm_set1_epi8(0x1f)), c);
		__m128i tab = _mm_cmpeq_epi8(c, _mm_set1_epi8('\t'));
		__m128i del = _mm_cmpeq_epi8(c, _mm_set1_epi8(0x7f));
		unsigned end = (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_andnot_si128(tab, control), del));
		if (end)
			return at + __builtin_ctz(end);
	}
#endif
	return octets_skip(at, stop, OCTET_FIELD);
}

/* As octets_skip for OCTET_TARGET, but stops at '?' as well. */
static inline const char *octets_skip_target(const char *at, const char *stop)
{
#ifdef __SSE2__
	for (; stop - at >= OCTETS_VECTOR; at += OCTETS_VECTOR) {
		__m128i c = _mm_loadu_si128((const __m128i *)(const void *)at);
		/* as signed chars those that are not ASCII are below the space too */
		__m128i end = _mm_or_si128(_mm_cmplt_epi8(c, _mm_set1_epi8(0x21)),
		                           _mm_cmpeq_epi8(c, _mm_set1_epi8(0x7f)));
		end = _mm_or_si128(end, _mm_cmpeq_epi8(c, _mm_set1_epi8('#')));
		end = _mm_or_si128(end, _mm_cmpeq_epi8(c, _mm_set1_epi8('?')));
		unsigned mask = (unsigned)_mm_movemask_epi8(end);
		if (mask)
			return at + __builtin_ctz(mask);
	}
#endif
	while (at < stop && *at != '?' && octet_is(*at, OCTET_TARGET))
		at++;
	return at;
}

/* The first colon in [at, stop), stop when there is none. What lies before it is not looked at. */
static inline const char *octets_find_colon(const char *at, const char *stop)
{
#ifdef __SSE2__
	for (; stop - at >= OCTETS_VECTOR; at += OCTETS_VECTOR) {
		__m128i c = _mm_loadu_si128((const __m128i *)(const void *)at);
		unsigned colon = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(c, _mm_set1_epi8(':')));
		if (colon)
			return at + __builtin_ctz(colon);
	}
#endif
	while (at < stop && *at != ':')
		at++;
	return at;
}

#endif
