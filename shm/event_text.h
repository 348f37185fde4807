/* Text into a caller's buffer: how events become JSON without allocation.
 *
 *     struct event_text text = {.at = out, .end = out + size};
 *     event_text_literal(&text, "{\"n\":");
 *     event_text_unsigned(&text, 7);
 *     event_text_literal(&text, "}");
 *     if (text.full) ...                       (asked once, at the end)
 *
 * What does not fit is not written and sets `full`; from then on the buffer's content is of no use.
 */
#ifndef SHM_EVENT_TEXT_H
#define SHM_EVENT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct event_text {
	char *at; /* where the next byte goes */
	char *end;
	bool full;
};

/* True when `bytes` more fit; sets full when not. */
static inline bool event_text_room(struct event_text *text, size_t bytes)
{
	if ((size_t)(text->end - text->at) >= bytes)
		return true;
	text->full = true;
	return false;
}

/* The bytes as they are. */
static inline void event_text_put(struct event_text *text, const void *bytes, size_t length)
{
	if (!event_text_room(text, length))
		return;
	memcpy(text->at, bytes, length);
	text->at += length;
}

#define event_text_literal(text, literal) event_text_put(text, literal, sizeof(literal) - 1)

/* Decimal. */
void event_text_unsigned(struct event_text *text, uint64_t number);

/* Decimal, number being an int64_t in its two's complement. */
void event_text_signed(struct event_text *text, uint64_t number);

/* Lower case, two digits a byte. */
void event_text_hex(struct event_text *text, const unsigned char *bytes, size_t length);

/* 0x0a000001 as 10.0.0.1. */
void event_text_ipv4(struct event_text *text, uint32_t ip);

/* 16 bytes: an IPv4-mapped address as IPv4, any other as RFC 5952 writes it. */
void event_text_address(struct event_text *text, const uint8_t *address);

/* A JSON string with its quotes (RFC 8259). Well-formed UTF-8 goes through, except characters that event_text_control finds: they come out as \uXXXX.
 * Any other byte comes out as \u00XX. */
void event_text_string(struct event_text *text, const unsigned char *bytes, size_t length);

/* Well-formed JSON as it is, except that characters in its strings that event_text_control finds come out as \uXXXX: the value is the same. */
void event_text_json(struct event_text *text, const unsigned char *bytes, size_t length);

/* Text for a terminal: as event_text_string without quotes, but controls come out as \xXX, those above U+00FF as \uXXXX, and bytes that are no UTF-8 as
 * \xXX. Quotes and backslashes stay. */
void event_text_plain(struct event_text *text, const unsigned char *bytes, size_t length);

/* Length of the character at bytes, of which `left` (at least one) are there, when a terminal may obey it or show the text around it in another
 * order; 0 for any other: C0 and C1 controls and DEL (ECMA-48), the bidirectional marks, embeddings, overrides and isolates (Unicode UAX #9),
 * line and paragraph separators. */
size_t event_text_control(const unsigned char *bytes, size_t left);

/* Length of the well-formed UTF-8 sequence at bytes, of which `left` (at least one) are there, or 0 (Unicode 15, table 3-7: no overlong
 * form, no surrogate, nothing above U+10FFFF). */
size_t event_text_sequence(const unsigned char *bytes, size_t left);

/* True for text that every JSON reader takes back unchanged: well-formed UTF-8 without NUL, which many refuse. */
bool event_text_valid(const unsigned char *bytes, size_t length);

#endif
