/* Text into a caller's buffer: how events become JSON without allocation.
 *
 *     struct text text = {.at = out, .end = out + size};
 *     text_literal(&text, "{\"n\":");
 *     text_unsigned(&text, 7);
 *     text_literal(&text, "}");
 *     if (text.full) ...                       (asked once, at the end)
 *
 * What does not fit is not written and sets `full`; from then on the buffer's content is of no use.
 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct text {
	char *at; /* where the next byte goes */
	char *end;
	bool full;
};

/* True when `bytes` more fit; sets full when not. */
static inline bool text_room(struct text *text, size_t bytes)
{
	if ((size_t)(text->end - text->at) >= bytes)
		return true;
	text->full = true;
	return false;
}

/* The bytes as they are. */
static inline void text_put(struct text *text, const void *bytes, size_t length)
{
	if (!text_room(text, length))
		return;
	memcpy(text->at, bytes, length);
	text->at += length;
}

#define text_literal(text, literal) text_put(text, literal, sizeof(literal) - 1)

/* Decimal. */
void text_unsigned(struct text *text, uint64_t number);

/* Decimal, number being an int64_t in its two's complement. */
void text_signed(struct text *text, uint64_t number);

/* Lower case, two digits a byte. */
void text_hex(struct text *text, const unsigned char *bytes, size_t length);

/* 0x0a000001 as 10.0.0.1. */
void text_ipv4(struct text *text, uint32_t ip);

/* 16 bytes: an IPv4-mapped address as IPv4, any other as RFC 5952 writes it. */
void text_address(struct text *text, const uint8_t *address);

/* A JSON string with its quotes (RFC 8259). Well-formed UTF-8 goes through, except characters that
 * text_control finds: they come out as \uXXXX. Any other byte comes out as \u00XX. */
void text_string(struct text *text, const unsigned char *bytes, size_t length);

/* Well-formed JSON as it is, except that characters in its strings that text_control finds come out
 * as \uXXXX: the value is the same. */
void text_json(struct text *text, const unsigned char *bytes, size_t length);

/* Text for a terminal: as text_string without quotes, but controls come out as \xXX, those above
 * U+00FF as \uXXXX, and bytes that are no UTF-8 as \xXX. Quotes and backslashes stay. */
void text_plain(struct text *text, const unsigned char *bytes, size_t length);

/* Length of the character at bytes, of which `left` (at least one) are there, when a terminal may
 * obey it or show the text around it in another order; 0 for any other: C0 and C1 controls and DEL
 * (ECMA-48), the bidirectional marks, embeddings, overrides and isolates (Unicode UAX #9), line and
 * paragraph separators. */
size_t text_control(const unsigned char *bytes, size_t left);

/* Length of the well-formed UTF-8 sequence at bytes, of which `left` (at least one) are there, or 0
 * (Unicode 15, table 3-7: no overlong form, no surrogate, nothing above U+10FFFF). */
size_t text_sequence(const unsigned char *bytes, size_t left);

/* True for text that every JSON reader takes back unchanged: well-formed UTF-8 without NUL, which
 * many refuse. */
bool text_valid(const unsigned char *bytes, size_t length);

/* True when something stands before this end: of "_ns" in "time_ns", not in "_ns". */
bool text_ends_with(const char *text, const char *end);

#endif
