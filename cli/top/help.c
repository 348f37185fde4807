#include "cli/top/help.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *key, *what;
} keys[] = {
        {"q", "ends it"},
        {"? h", "this help"},
        {"Tab", "the next table; Shift-Tab: the one before"},
        {"Up Down", "scrolls the table; also j k, PgUp PgDn, Home End, the wheel"},
        {"< >", "sorts the table by the column to the left or right; also the arrows, a click on a header"},
        {"r", "reverses the order"},
        {"f", "flow order: as events go through the stages"},
        {"z", "shows the table alone, or all of them again; also Enter"},
        {"/", "filter: rows whose name has this in it; Esc removes it"},
        {"a", "rates since the last look, or means over 10, 100, 1000 s"},
        {"p", "pause; also Space"},
        {"+ -", "a longer or shorter time between two looks"},
        {"m", "mouse off, so that the terminal can mark text, or on"},
        {"Ctrl-L", "draws the screen anew"},
};

#define KEY_WIDTH 10u

/* Lines, of which those from `skip` on are put. */
struct lines {
	struct frame *frame;
	unsigned n, skip;
};

/* One line: a key or title at its left, what goes with it from the column `at` on. */
static void put_line(struct lines *lines, const char *left, const char *right, unsigned length, unsigned at,
                     unsigned style)
{
	unsigned number = lines->n++;
	if (number < lines->skip || number - lines->skip + 1 >= lines->frame->rows)
		return;
	unsigned row = number - lines->skip;
	frame_put(lines->frame, row, right[0] != '\0' ? 1 : 0, style, left, lines->frame->columns, 0);
	frame_put(lines->frame, row, at, STYLE_PLAIN, right, length, 0);
}

/* How much of the text stands in one line of so many columns: whole words, where there is a
 * blank. */
static unsigned fitting(const char *text, unsigned columns)
{
	unsigned length = (unsigned)strlen(text), n = length < columns ? length : columns;
	while (n < length && n > 0 && text[n] != ' ')
		n--;
	return n > 0 || length == 0 ? n : length < columns ? length : columns;
}

/* A key or title, and its text in as many lines as that takes. */
static void put(struct lines *lines, const char *left, const char *right, unsigned style)
{
	unsigned width = (unsigned)strlen(left), at = 1 + (width < KEY_WIDTH ? KEY_WIDTH : width + 1);
	unsigned columns = lines->frame->columns > at + 1 ? lines->frame->columns - at : 1;
	do {
		unsigned length = fitting(right, columns);
		put_line(lines, left, right, length, at, style);
		right += length;
		right += strspn(right, " ");
		left = "";
	} while (*right != '\0');
}

static void put_all(struct lines *lines)
{
	put(lines, "Keys", "", STYLE_BOLD | STYLE_ACCENT);
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		put(lines, keys[i].key, keys[i].what, STYLE_BOLD);
	for (enum table table = 0; table < TABLES; table++) {
		unsigned n;
		char title[32];
		const struct column *column = columns_of(table, &n);
		put(lines, "", "", STYLE_PLAIN);
		snprintf(title, sizeof title, "Columns of %s", columns_table_name(table));
		put(lines, title, "", STYLE_BOLD | STYLE_ACCENT);
		for (unsigned i = 0; i < n; i++)
			put(lines, column[i].title, column[i].help, STYLE_BOLD);
	}
}

void help_put(struct frame *frame, struct view *view)
{
	struct lines count = {.frame = frame, .skip = UINT32_MAX};
	put_all(&count);
	unsigned seen = frame->rows > 1 ? frame->rows - 1 : 1;
	unsigned most = count.n > seen ? count.n - seen : 0;
	if (view->help_scroll > most)
		view->help_scroll = most;
	struct lines lines = {.frame = frame, .skip = view->help_scroll};
	put_all(&lines);
	frame_put(frame, frame->rows - 1, 0, STYLE_DIM,
	          most > 0 ? "Up Down scroll; any other key: back" : "any key: back", 60, 0);
}
