#include "cli/top/layout.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/top/headline.h"
#include "cli/top/help.h"
#include "cli/top/short.h"

#define NAME_MAX_WIDTH 28u
#define BAR_NUMBER     6u  /* columns of a bar that its number takes */
#define BAR_MAX        30u /* of the bar alone */
#define FOCUS_ROWS     5u  /* that the focused table gets before another is shown */
#define GAP_WIDE       2u
#define WIDE           60u /* columns of a screen from which on gaps are wide */
#define INDENT         2u  /* of a group below its topic */

/* ---- which rows, in which order ---- */

/* Rows are compared under the view that is being laid out. */
struct order_by {
	const struct view *view;
	enum table table;
};

static int compare_names(const struct row *a, const struct row *b)
{
	/* A group sorts as TOPIC/GROUP. */
	int order = strcmp(a->topic != NULL ? a->topic : a->name, b->topic != NULL ? b->topic : b->name);
	return order != 0 ? order : strcmp(a->topic != NULL ? a->name : "", b->topic != NULL ? b->name : "");
}

/* Numbers fall, texts rise; what has no number, or no text, comes last. */
static int compare_cells(const struct cell *a, const struct cell *b, bool reversed)
{
	if (isnan(a->number) && isnan(b->number)) {
		if ((a->text[0] == '\0') != (b->text[0] == '\0'))
			return a->text[0] == '\0' ? 1 : -1;
		int order = strcmp(a->text, b->text);
		return reversed ? -order : order;
	}
	if (isnan(a->number) || isnan(b->number))
		return isnan(a->number) ? 1 : -1;
	int order = (a->number < b->number) - (a->number > b->number);
	return reversed ? -order : order;
}

static int compare_rows(const void *first, const void *second, void *by)
{
	const struct row *a = *(const struct row *const *)first, *b = *(const struct row *const *)second;
	const struct order_by *order_by = by;
	int sort = order_by->view->table[order_by->table].sort;
	bool reversed = order_by->view->table[order_by->table].reversed;
	int order = sort == 0 ? (reversed ? -1 : 1) * compare_names(a, b)
	                      : compare_cells(&a->cell[sort], &b->cell[sort], reversed);
	/* Equal ones stay in flow order: they lie in it. */
	return order != 0 ? order : (a > b) - (a < b);
}

/* A topic is shown with those of its groups that are. */
static bool shown(const struct rows *rows, unsigned i, const struct view *view, bool tree)
{
	const struct row *row = &rows->row[i];
	if (view_has(view, row->name, row->topic))
		return true;
	for (unsigned k = i + 1; tree && row->topic == NULL && k < rows->n && rows->row[k].topic != NULL; k++)
		if (view_has(view, rows->row[k].name, NULL))
			return true;
	return false;
}

unsigned layout_order(const struct rows *rows, enum table table, const struct view *view,
                      const struct row *order[MODEL_ROWS_MAX])
{
	bool tree = view->table[table].sort == VIEW_FLOW_ORDER;
	unsigned n = 0;
	for (unsigned i = 0; i < rows->n; i++)
		if (shown(rows, i, view, tree))
			order[n++] = &rows->row[i];
	struct order_by by = {view, table};
	if (tree && view->table[table].reversed && table != TABLE_TOPICS)
		for (unsigned i = 0; i < n / 2; i++) {
			const struct row *swap = order[i];
			order[i] = order[n - 1 - i];
			order[n - 1 - i] = swap;
		}
	else if (!tree && n > 1)
		qsort_r(order, n, sizeof(struct row *), compare_rows, &by);
	return n;
}

/* ---- which columns ---- */

static unsigned gap(unsigned width)
{
	return width >= WIDE ? GAP_WIDE : 1;
}

static unsigned columns_width(const struct column *column, unsigned n, unsigned name_width, unsigned rank,
                              unsigned between)
{
	unsigned sum = 0;
	for (unsigned i = 0; i < n; i++)
		if (column[i].rank <= rank)
			sum += (column[i].kind == COLUMN_NAME ? name_width : column[i].width) +
			       (sum > 0 ? between : 0);
	return sum;
}

void layout_columns(enum table table, unsigned width, unsigned name_width, struct layout_place *place)
{
	unsigned n, at = 0, rank = COLUMNS_MAX, between = gap(width);
	const struct column *column = columns_of(table, &n);
	name_width = name_width < column[0].width ? column[0].width : name_width;
	name_width = name_width > NAME_MAX_WIDTH ? NAME_MAX_WIDTH : name_width;
	while (rank > 0 && columns_width(column, n, name_width, rank, between) > width)
		rank--;
	unsigned used = columns_width(column, n, name_width, rank, between);
	unsigned left = used < width ? width - used : 0; /* goes to a note, or to the bar */
	for (unsigned i = 0; i < COLUMNS_MAX; i++) {
		place->column[i].at = at;
		place->column[i].width = 0;
		if (i >= n || column[i].rank > rank)
			continue;
		place->column[i].width = column[i].kind == COLUMN_NAME ? name_width : column[i].width;
		if (column[i].kind == COLUMN_NOTE)
			place->column[i].width += left;
		if (column[i].kind == COLUMN_BAR)
			place->column[i].width += left < BAR_MAX + BAR_NUMBER - column[i].width
			                                  ? left
			                                  : BAR_MAX + BAR_NUMBER - column[i].width;
		if (used > width) /* not even the name */
			place->column[i].width = width;
		at += place->column[i].width + between;
	}
}

/* ---- how many lines each ---- */

static unsigned give(unsigned *share, unsigned want, unsigned *lines)
{
	unsigned n = want < *lines ? want : *lines;
	*share += n;
	*lines -= n;
	return n;
}

void layout_share(const unsigned need[TABLES], unsigned lines, const struct view *view,
                  unsigned share[TABLES])
{
	enum table focus = view->focus;
	bool more = true, alone = view->zoomed && need[focus] > 0;
	for (enum table table = 0; table < TABLES; table++)
		share[table] = 0;
	if (need[focus] > 0 && lines >= 2)
		(void)give(&share[focus], 1 + (need[focus] < FOCUS_ROWS ? need[focus] : FOCUS_ROWS), &lines);
	for (enum table table = 0; table < TABLES; table++)
		if (table != focus && need[table] > 0 && lines >= 2 && !alone)
			(void)give(&share[table], 2, &lines);
	/* the rest in turns, in which the focused table gets two */
	while (more && lines > 0) {
		more = false;
		for (enum table table = 0; table < TABLES; table++) {
			unsigned wanted = need[table] + 1 > share[table] ? need[table] + 1 - share[table] : 0;
			unsigned turn = table == focus ? 2 : 1;
			if (share[table] > 0)
				more |= give(&share[table], wanted < turn ? wanted : turn, &lines) > 0;
		}
	}
}

/* ---- cells ---- */

const char *layout_text(const struct cell *cell, enum column_kind kind, char text[LAYOUT_TEXT_MAX])
{
	char number[SHORT_MAX];
	if (cell->text[0] != '\0' || isnan(cell->number)) {
		snprintf(text, LAYOUT_TEXT_MAX, "%s", cell->text);
		return text;
	}
	switch (kind) {
	case COLUMN_COUNT:
		short_count(number, cell->number);
		break;
	case COLUMN_RATE:
		short_rate(number, cell->number);
		break;
	case COLUMN_BYTES:
		short_bytes(number, cell->number);
		break;
	case COLUMN_AGE:
		short_age(number, cell->number);
		break;
	case COLUMN_PERCENT:
		short_percent(number, cell->number);
		break;
	case COLUMN_BAR:
		snprintf(number, sizeof number, "%s%%",
		         short_percent((char[SHORT_MAX]){0}, 100 * cell->number));
		break;
	default:
		snprintf(number, sizeof number, "%.0f", cell->number);
	}
	snprintf(text, LAYOUT_TEXT_MAX, "%s", number);
	return text;
}

static unsigned cell_style(const struct cell *cell, bool bold)
{
	/* A change is shown by the background, in the colour of what the value says. */
	return (unsigned)cell->tone | (cell->changed ? STYLE_REVERSE : 0) |
	       (bold || cell->tone == TONE_BAD ? STYLE_BOLD : 0);
}
_Static_assert((int)TONE_PLAIN == (int)STYLE_PLAIN && (int)TONE_DIM == (int)STYLE_DIM &&
                       (int)TONE_GOOD == (int)STYLE_GOOD && (int)TONE_WARN == (int)STYLE_WARN &&
                       (int)TONE_BAD == (int)STYLE_BAD,
               "a tone is a colour");

/* |######    |: in eighths of a column where the terminal has the characters. */
static void put_bar(struct frame *frame, unsigned row, unsigned at, unsigned width, const struct cell *cell,
                    bool utf8)
{
	static const wchar_t parts[] = L"·▏▎▍▌▋▊▉█";
	unsigned eighths = (unsigned)lround(cell->number * width * 8);
	wchar_t bar[BAR_MAX + 1] = {0};
	if (cell->number > 0 && eighths == 0)
		eighths = 1;
	for (unsigned i = 0; i < width && i < BAR_MAX; i++) {
		unsigned full = eighths >= 8 * (i + 1) ? 8 : eighths > 8 * i ? eighths - 8 * i : 0;
		bar[i] = utf8 ? parts[full] : full >= 4 || (i == 0 && full > 0) ? L'#' : L'.';
	}
	unsigned colour = cell->tone == TONE_PLAIN ? STYLE_GOOD : (unsigned)cell->tone;
	frame_put_wide(frame, row, at, cell->number > 0 ? colour : STYLE_DIM, bar, width);
}

/* ---- tables ---- */

struct drawing {
	struct layout *layout;
	const struct view *view;
	const struct page *page;
	enum table table;
	wchar_t more; /* ends what is cut */
};

static void put_cell(const struct drawing *drawing, unsigned row, unsigned i, const struct row *shown_row)
{
	unsigned n, at = drawing->layout->table[drawing->table].column[i].at;
	unsigned width = drawing->layout->table[drawing->table].column[i].width;
	const struct column *column = &columns_of(drawing->table, &n)[i];
	const struct cell *cell = &shown_row->cell[i];
	struct frame *frame = &drawing->layout->frame;
	char text[LAYOUT_TEXT_MAX];
	bool bold = drawing->table == TABLE_TOPICS && shown_row->topic == NULL;
	bool left = column->kind == COLUMN_TEXT || column->kind == COLUMN_NOTE;
	layout_text(cell, column->kind, text);
	unsigned length = (unsigned)strlen(text);
	if (column->kind == COLUMN_BAR && !isnan(cell->number) && width > BAR_NUMBER) {
		put_bar(frame, row, at, width - BAR_NUMBER, cell, drawing->page->utf8);
		at += width - BAR_NUMBER;
		width = BAR_NUMBER;
	}
	if (!left && length < width)
		at += width - length;
	frame_put(frame, row, at, cell_style(cell, bold), text, width, drawing->more);
}

/* The name of a row: a group's below its topic's in flow order, TOPIC/GROUP in any other. */
static void put_name(const struct drawing *drawing, unsigned row, const struct row *shown_row, bool last)
{
	unsigned width = drawing->layout->table[drawing->table].column[0].width;
	struct frame *frame = &drawing->layout->frame;
	char name[2 * SHM_NAME_MAX];
	if (shown_row->topic == NULL) {
		frame_put(frame, row, 0, STYLE_BOLD, shown_row->name, width, drawing->more);
	} else if (drawing->view->table[drawing->table].sort == VIEW_FLOW_ORDER) {
		if (drawing->page->utf8)
			frame_put_wide(frame, row, 0, STYLE_DIM, last ? L"└ " : L"├ ", INDENT);
		frame_put(frame, row, INDENT, STYLE_PLAIN, shown_row->name, width - INDENT, drawing->more);
	} else {
		snprintf(name, sizeof name, "%s/%s", shown_row->topic, shown_row->name);
		frame_put(frame, row, 0, STYLE_PLAIN, name, width, drawing->more);
	}
}

/* "STAGE 3-8/9" where not all rows are seen. */
static void name_title(char title[64], const char *name, const struct layout_place *place, unsigned first)
{
	if (place->n < place->rows)
		snprintf(title, 64, "%s %u-%u/%u", name, first + 1, first + place->n, place->rows);
	else
		snprintf(title, 64, "%s", name);
}

static void put_header(const struct drawing *drawing, unsigned first)
{
	const struct layout_place *place = &drawing->layout->table[drawing->table];
	struct frame *frame = &drawing->layout->frame;
	unsigned n, focused = drawing->view->focus == drawing->table && drawing->page->rows != 0;
	unsigned style = STYLE_ACCENT | STYLE_BOLD | (focused ? STYLE_REVERSE : STYLE_UNDERLINE);
	const struct column *column = columns_of(drawing->table, &n);
	int sort = drawing->view->table[drawing->table].sort;
	frame_style(frame, place->header, 0, frame->columns, style);
	for (unsigned i = 0; i < n; i++) {
		char title[64];
		unsigned width = place->column[i].width, at = place->column[i].at;
		bool left = column[i].kind == COLUMN_NAME || column[i].kind == COLUMN_TEXT ||
		            column[i].kind == COLUMN_NOTE || column[i].kind == COLUMN_BAR;
		if (width == 0)
			continue;
		if (i == 0)
			name_title(title, column[i].title, place, first);
		else
			snprintf(title, sizeof title, "%s", column[i].title);
		unsigned length = (unsigned)strlen(title);
		if (!left && length < width)
			at += width - length;
		unsigned colour = sort == (int)i ? STYLE_WARN : STYLE_ACCENT;
		frame_put(frame, place->header, at, (style & ~STYLE_COLOUR) | colour, title,
		          i == 0 ? frame->columns : width, 0);
		if (sort == (int)i) {
			bool rising = drawing->view->table[drawing->table].reversed !=
			              (left && column[i].kind != COLUMN_BAR);
			unsigned mark = left ? at + length : at > 0 ? at - 1 : 0;
			frame_put_wide(frame, place->header, mark, style,
			               drawing->page->utf8 ? (rising ? L"▲" : L"▼")
			               : rising            ? L"^"
			                                   : L"v",
			               1);
		}
	}
}

static unsigned name_width(const struct row *const *order, unsigned n, bool tree)
{
	size_t longest = 0;
	for (unsigned i = 0; i < n; i++) {
		size_t length = strlen(order[i]->name);
		if (order[i]->topic != NULL)
			length += tree ? INDENT : strlen(order[i]->topic) + 1;
		longest = length > longest ? length : longest;
	}
	return (unsigned)longest;
}

static void draw_table(const struct drawing *drawing, struct view *view, const struct row *const *order,
                       unsigned n, unsigned top, unsigned lines)
{
	struct layout_place *place = &drawing->layout->table[drawing->table];
	bool tree = view->table[drawing->table].sort == VIEW_FLOW_ORDER;
	unsigned columns, *scroll = &view->table[drawing->table].scroll;
	const struct column *column = columns_of(drawing->table, &columns);
	char title[64];
	place->header = top;
	place->first = top + 1;
	place->n = lines - 1 < n ? lines - 1 : n;
	if (*scroll > n - place->n)
		*scroll = n - place->n;
	name_title(title, column[0].title, place, *scroll);
	unsigned width = name_width(order, n, tree), title_width = (unsigned)strlen(title) + 1;
	layout_columns(drawing->table, drawing->layout->frame.columns,
	               width > title_width ? width : title_width, place);
	put_header(drawing, *scroll);
	for (unsigned i = 0; i < place->n; i++) {
		unsigned at = *scroll + i;
		bool last = at + 1 == n || order[at + 1]->topic == NULL;
		put_name(drawing, place->first + i, order[at], last);
		for (unsigned k = 1; k < columns; k++)
			if (place->column[k].width > 0)
				put_cell(drawing, place->first + i, k, order[at]);
	}
}

/* ---- all of it ---- */

static const struct row *ordered[TABLES][MODEL_ROWS_MAX];

void layout_draw(struct layout *layout, const struct model *model, struct view *view, const struct page *page)
{
	unsigned need[TABLES], share[TABLES], top = headline_lines(model, page), all = 0, shown_tables = 0;
	for (enum table table = 0; table < TABLES; table++) {
		need[table] = page->trouble != NULL
		                      ? 0
		                      : layout_order(&model->table[table], table, view, ordered[table]);
		all += need[table] > 0 ? need[table] + 2 : 0; /* with its header, and a blank line */
		layout->table[table] = (struct layout_place){.rows = need[table]};
	}
	unsigned rows = page->rows != 0 ? page->rows : top + all;
	frame_begin(&layout->frame, rows, page->columns);
	if (view->help && page->rows != 0) {
		help_put(&layout->frame, view);
		return;
	}
	(void)headline_put(&layout->frame, model, view, page);
	unsigned keys = page->rows != 0 ? 1 : 0, lines = rows > top + keys ? rows - top - keys : 0,
	         left = lines;
	layout_share(need, lines, view, share);
	for (enum table table = 0; table < TABLES; table++) {
		left -= share[table];
		shown_tables += share[table] > 0;
	}
	unsigned blank = left >= shown_tables && shown_tables > 0 ? 1 : 0;
	for (enum table table = 0; table < TABLES; table++) {
		struct drawing drawing = {layout, view, page, table, page->utf8 ? L'…' : L'~'};
		if (share[table] == 0)
			continue;
		top += blank;
		draw_table(&drawing, view, ordered[table], need[table], top, share[table]);
		top += share[table];
	}
	if (all == 0 && page->trouble == NULL && view->filter[0] != '\0')
		frame_put(&layout->frame, top, 0, STYLE_DIM, "no name has the filter in it", 40, 0);
	if (keys > 0)
		headline_keys(&layout->frame, view);
}
