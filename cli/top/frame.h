/* A screen as characters with styles, before it is drawn: what a terminal gets, and what --once
 * prints.
 *
 *     frame_begin(&frame, rows, columns)       blank
 *     frame_put(&frame, 0, 0, STYLE_BOLD, "millrace", 20)
 *     frame_print(&frame, stdout)              as plain text; a terminal draws it by terminal.h
 *
 * Every character is one column wide. What lies outside of the frame is not put.
 */
#ifndef CLI_TOP_FRAME_H
#define CLI_TOP_FRAME_H

#include <stdint.h>
#include <stdio.h>
#include <wchar.h>

#define FRAME_ROWS_MAX    1024u
#define FRAME_COLUMNS_MAX 1024u

/* A colour, and any of the flags. */
enum style {
	STYLE_PLAIN,
	STYLE_DIM,
	STYLE_GOOD,
	STYLE_WARN,
	STYLE_BAD,
	STYLE_ACCENT,
	STYLE_COLOUR = 7, /* mask */
	STYLE_BOLD = 8,
	STYLE_REVERSE = 16,
	STYLE_UNDERLINE = 32,
};

struct frame_cell {
	wchar_t c;
	uint8_t style;
};

/* All zero at first. */
struct frame {
	unsigned rows, columns;
	struct frame_cell *cell; /* row after row */
	size_t room;
};

/* Makes the frame blank and of this size, within the limits above. Aborts when out of memory. */
void frame_begin(struct frame *frame, unsigned rows, unsigned columns);

void frame_fini(struct frame *frame);

/* Puts ASCII text, at most `width` characters of it; the last one that fits is `more` when the text
 * is longer (0: it is just cut). Returns how many it put. */
unsigned frame_put(struct frame *frame, unsigned row, unsigned column, unsigned style, const char *text,
                   unsigned width, wchar_t more);

/* The same for wide characters. */
unsigned frame_put_wide(struct frame *frame, unsigned row, unsigned column, unsigned style,
                        const wchar_t *text, unsigned width);

/* Gives the style to `width` characters that are there. */
void frame_style(struct frame *frame, unsigned row, unsigned column, unsigned width, unsigned style);

/* Prints the rows without blanks at their ends, in the encoding of the locale (LC_CTYPE), without
 * styles. */
void frame_print(const struct frame *frame, FILE *out);

#endif
