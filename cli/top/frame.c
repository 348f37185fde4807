#include "cli/top/frame.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static struct frame_cell *at(const struct frame *frame, unsigned row, unsigned column)
{
	return &frame->cell[(size_t)row * frame->columns + column];
}

void frame_begin(struct frame *frame, unsigned rows, unsigned columns)
{
	frame->rows = rows < FRAME_ROWS_MAX ? rows : FRAME_ROWS_MAX;
	frame->columns = columns < FRAME_COLUMNS_MAX ? columns : FRAME_COLUMNS_MAX;
	size_t n = (size_t)frame->rows * frame->columns;
	if (n > frame->room) {
		free(frame->cell);
		frame->cell = calloc(n, sizeof *frame->cell);
		if (frame->cell == NULL)
			abort();
		frame->room = n;
	}
	for (size_t i = 0; i < n; i++)
		frame->cell[i] = (struct frame_cell){.c = L' '};
}

void frame_fini(struct frame *frame)
{
	free(frame->cell);
	*frame = (struct frame){0};
}

static unsigned room_for(const struct frame *frame, unsigned row, unsigned column, size_t length)
{
	if (row >= frame->rows || column >= frame->columns)
		return 0;
	return length < frame->columns - column ? (unsigned)length : frame->columns - column;
}

unsigned frame_put(struct frame *frame, unsigned row, unsigned column, unsigned style, const char *text,
                   unsigned width, wchar_t more)
{
	size_t length = strlen(text);
	unsigned n = room_for(frame, row, column, length < width ? length : width);
	for (unsigned i = 0; i < n; i++)
		*at(frame, row, column + i) =
		        (struct frame_cell){.c = (unsigned char)text[i], .style = (uint8_t)style};
	if (n > 0 && n < length && more != 0)
		at(frame, row, column + n - 1)->c = more;
	return n;
}

unsigned frame_put_wide(struct frame *frame, unsigned row, unsigned column, unsigned style,
                        const wchar_t *text, unsigned width)
{
	size_t length = wcslen(text);
	unsigned n = room_for(frame, row, column, length < width ? length : width);
	for (unsigned i = 0; i < n; i++)
		*at(frame, row, column + i) = (struct frame_cell){.c = text[i], .style = (uint8_t)style};
	return n;
}

void frame_style(struct frame *frame, unsigned row, unsigned column, unsigned width, unsigned style)
{
	unsigned n = room_for(frame, row, column, width);
	for (unsigned i = 0; i < n; i++)
		at(frame, row, column + i)->style = (uint8_t)style;
}

void frame_print(const struct frame *frame, FILE *out)
{
	for (unsigned row = 0; row < frame->rows; row++) {
		unsigned end = frame->columns;
		while (end > 0 && at(frame, row, end - 1)->c == L' ')
			end--;
		for (unsigned i = 0; i < end; i++) {
			char bytes[MB_LEN_MAX];
			int n = wctomb(bytes, at(frame, row, i)->c);
			if (n > 0)
				fwrite(bytes, 1, (size_t)n, out);
			else
				fputc('?', out);
		}
		fputc('\n', out);
	}
}
