#include "cli/top/keys.h"

#include <ctype.h>
#include <string.h>

#include "base/clock.h"

#define WHEEL_ROWS 3u

/* ---- the interval ---- */

static const uint64_t intervals_ms[] = {100,   200,   500,   1000,   2000,   5000,
                                        10000, 30000, 60000, 300000, 3600000};
#define INTERVALS (sizeof intervals_ms / sizeof *intervals_ms)

/* The next longer or shorter one of the table. */
static void change_interval(struct view *view, bool longer)
{
	if (longer) {
		for (size_t i = 0; i < INTERVALS; i++)
			if (intervals_ms[i] * NS_PER_MS > view->interval_ns) {
				view->interval_ns = intervals_ms[i] * NS_PER_MS;
				return;
			}
	} else {
		for (size_t i = INTERVALS; i-- > 0;)
			if (intervals_ms[i] * NS_PER_MS < view->interval_ns) {
				view->interval_ns = intervals_ms[i] * NS_PER_MS;
				return;
			}
	}
}

/* ---- tables ---- */

/* Tables without rows are passed over. */
static void change_focus(struct view *view, const struct layout *layout, unsigned step)
{
	for (unsigned i = 0; i < TABLES; i++) {
		view->focus = (view->focus + step) % TABLES;
		if (layout->table[view->focus].rows > 0)
			return;
	}
}

/* The next column to the left or right that is seen; beyond the ends is flow order. */
static void change_sort(struct view *view, const struct layout *layout, int step)
{
	unsigned n;
	int *sort = &view->table[view->focus].sort;
	(void)columns_of(view->focus, &n);
	do {
		*sort += step;
		if (*sort < VIEW_FLOW_ORDER)
			*sort = (int)n - 1;
		if (*sort >= (int)n)
			*sort = VIEW_FLOW_ORDER;
	} while (*sort != VIEW_FLOW_ORDER && layout->table[view->focus].n > 0 &&
	         layout->table[view->focus].column[*sort].width == 0);
	view->table[view->focus].reversed = false;
}

static void scroll_by(unsigned *scroll, long rows)
{
	if (rows < 0 && *scroll < (unsigned)-rows)
		*scroll = 0;
	else
		*scroll = (unsigned)((long)*scroll + rows); /* the layout limits it */
}

/* Keys that scroll; page is how many rows are seen. False for another key. */
static bool scroll(unsigned *at, int key, unsigned page)
{
	long rows = page > 1 ? (long)page - 1 : 1;
	switch (key) {
	case PRESS_UP:
	case 'k':
		scroll_by(at, -1);
		return true;
	case PRESS_DOWN:
	case 'j':
		scroll_by(at, 1);
		return true;
	case PRESS_PAGE_UP:
		scroll_by(at, -rows);
		return true;
	case PRESS_PAGE_DOWN:
		scroll_by(at, rows);
		return true;
	case PRESS_HOME:
		*at = 0;
		return true;
	case PRESS_END:
		*at = MODEL_ROWS_MAX;
		return true;
	default:
		return false;
	}
}

/* ---- the mouse ---- */

static bool table_at(const struct layout *layout, unsigned row, enum table *table)
{
	for (*table = 0; *table < TABLES; (*table)++) {
		const struct layout_place *place = &layout->table[*table];
		if (place->n > 0 && row >= place->header && row < place->first + place->n)
			return true;
	}
	return false;
}

/* A click on a header sorts by the column below the pointer; a second one reverses, a third one
 * brings flow order back. */
static void sort_clicked(struct view *view, enum table table, const struct layout_place *place, unsigned at)
{
	for (unsigned i = COLUMNS_MAX; i-- > 0;) {
		if (place->column[i].width == 0 || at + 1 < place->column[i].at)
			continue;
		if (view->table[table].sort != (int)i) {
			view->table[table].sort = (int)i;
			view->table[table].reversed = false;
		} else if (!view->table[table].reversed) {
			view->table[table].reversed = true;
		} else {
			view->table[table].sort = VIEW_FLOW_ORDER;
			view->table[table].reversed = false;
		}
		return;
	}
}

static enum keys_answer mouse(struct view *view, const struct layout *layout, const struct press *press)
{
	enum table table;
	long rows = press->key == PRESS_WHEEL_UP ? -(long)WHEEL_ROWS : (long)WHEEL_ROWS;
	if (view->help) {
		if (press->key == PRESS_CLICK)
			view->help = false;
		else
			scroll_by(&view->help_scroll, rows);
		return KEYS_DRAW;
	}
	if (!table_at(layout, press->row, &table))
		return KEYS_NOTHING;
	if (press->key != PRESS_CLICK) {
		scroll_by(&view->table[table].scroll, rows);
		return KEYS_DRAW;
	}
	view->focus = table;
	if (press->row == layout->table[table].header)
		sort_clicked(view, table, &layout->table[table], press->column);
	return KEYS_DRAW;
}

/* ---- modes ---- */

static enum keys_answer type(struct view *view, int key)
{
	size_t n = strlen(view->filter);
	if (key == PRESS_ENTER || key == '\r') {
		view->typing = false;
	} else if (key == PRESS_ESCAPE) {
		memcpy(view->filter, view->filter_before, sizeof view->filter);
		view->typing = false;
	} else if (key == PRESS_BACKSPACE || key == 127 || key == 8) {
		if (n > 0)
			view->filter[n - 1] = '\0';
	} else if (key == 21) { /* Ctrl-U */
		view->filter[0] = '\0';
	} else if (key < 127 && isgraph(key) && n + 1 < sizeof view->filter) {
		view->filter[n] = (char)key;
		view->filter[n + 1] = '\0';
	} else {
		return KEYS_NOTHING;
	}
	return KEYS_DRAW;
}

static enum keys_answer in_help(struct view *view, const struct layout *layout, int key)
{
	if (!scroll(&view->help_scroll, key, layout->frame.rows))
		view->help = false;
	return KEYS_DRAW;
}

static enum keys_answer change_view(struct view *view, const struct layout *layout, int key)
{
	switch (key) {
	case '\t':
		change_focus(view, layout, 1);
		return KEYS_DRAW;
	case PRESS_BACK_TAB:
		change_focus(view, layout, TABLES - 1);
		return KEYS_DRAW;
	case '<':
	case ',':
	case PRESS_LEFT:
		change_sort(view, layout, -1);
		return KEYS_DRAW;
	case '>':
	case '.':
	case PRESS_RIGHT:
		change_sort(view, layout, 1);
		return KEYS_DRAW;
	case 'r':
	case 'R':
		view->table[view->focus].reversed = !view->table[view->focus].reversed;
		return KEYS_DRAW;
	case 'f':
		view->table[view->focus].sort = VIEW_FLOW_ORDER;
		view->table[view->focus].reversed = false;
		return KEYS_DRAW;
	case 'z':
	case PRESS_ENTER:
	case '\r':
		view->zoomed = !view->zoomed;
		return KEYS_DRAW;
	case '/':
		memcpy(view->filter_before, view->filter, sizeof view->filter);
		view->typing = true;
		return KEYS_DRAW;
	case PRESS_ESCAPE:
		view->filter[0] = '\0';
		return KEYS_DRAW;
	case '?':
	case 'h':
		view->help = true;
		view->help_scroll = 0;
		return KEYS_DRAW;
	default:
		return scroll(&view->table[view->focus].scroll, key, layout->table[view->focus].n)
		               ? KEYS_DRAW
		               : KEYS_NOTHING;
	}
}

enum keys_answer keys_press(struct view *view, const struct layout *layout, const struct press *press)
{
	int key = press->key;
	if (key == PRESS_NONE)
		return KEYS_NOTHING;
	if (key == 12) /* Ctrl-L */
		return KEYS_REDRAW;
	if (key == PRESS_CLICK || key == PRESS_WHEEL_UP || key == PRESS_WHEEL_DOWN)
		return mouse(view, layout, press);
	if (view->typing)
		return type(view, key);
	if (view->help)
		return in_help(view, layout, key);
	switch (key) {
	case 'q':
	case 'Q':
		return KEYS_QUIT;
	case 'a':
		view->window = (view->window + 1) % AVERAGE_WINDOWS;
		return KEYS_SHOW;
	case 'p':
	case ' ':
		view->paused = !view->paused;
		return view->paused ? KEYS_DRAW : KEYS_LOOK;
	case '+':
	case '=':
	case '-':
		change_interval(view, key != '-');
		return KEYS_DRAW;
	case 'm':
		view->mouse = !view->mouse;
		return KEYS_MOUSE;
	default:
		return change_view(view, layout, key);
	}
}
