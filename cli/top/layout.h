/* The screen of `millrace top`: what stands where, without a terminal.
 *
 *     .--------------------------------------------.
 *     | headline: instance, rates                  |   headline.c
 *     | what was lost, dead stages: all of it      |   as many lines as that takes; never scrolled, filtered or cut off
 *     | STAGE    STATE    CPU%  ...                |   a table: its header and rows. Lines are shared out so that
 *     | rows                                       |   the focused one has most
 *     | TOPIC ...                                  |
 *     | keys, filter                               |
 *     '--------------------------------------------'
 */
#ifndef CLI_TOP_LAYOUT_H
#define CLI_TOP_LAYOUT_H

#include "cli/top/frame.h"
#include "cli/top/model.h"
#include "cli/top/view.h"

/* What the layout is for. */
struct page {
	unsigned rows; /* 0: as many as everything takes, and no line of keys: --once */
	unsigned columns;
	bool utf8;
	const char *instance;
	const char *trouble; /* why there are no figures; NULL: the model has them */
	const char *clock;   /* time of the sample: "20:14:05" */
};

/* Where things stand, for the mouse. */
struct layout_place {
	unsigned header, first,
	        n;     /* rows of the screen: the header, the first row, how many; n 0: not shown */
	unsigned rows; /* that there are to show */
	struct {
		unsigned at, width; /* width 0: left out */
	} column[COLUMNS_MAX];
};

struct layout {
	struct frame frame;
	struct layout_place table[TABLES];
};

/* Lays out the whole screen. Limits what view has scrolled to what there is. */
void layout_draw(struct layout *layout, const struct model *model, struct view *view,
                 const struct page *page);

/* The rows of a table that the view shows, in its order; returns how many. */
unsigned layout_order(const struct rows *rows, enum table table, const struct view *view,
                      const struct row *order[MODEL_ROWS_MAX]);

/* Which columns fit into `width` and where they stand; name_width is that of the longest name. A
 * column that does not fit has the width 0. */
void layout_columns(enum table table, unsigned width, unsigned name_width, struct layout_place *place);

/* Shares `lines` among tables that want need[i] rows (0: not shown): lines[i] is what each gets,
 * its header included. */
void layout_share(const unsigned need[TABLES], unsigned lines, const struct view *view,
                  unsigned share[TABLES]);

/* The text of a cell; `text` has room for it. */
#define LAYOUT_TEXT_MAX 256u
const char *layout_text(const struct cell *cell, enum column_kind kind, char text[LAYOUT_TEXT_MAX]);

#endif
