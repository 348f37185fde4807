/* The lines above the tables: what instance it is, what goes through, what was lost. */
#ifndef CLI_TOP_HEADLINE_H
#define CLI_TOP_HEADLINE_H

#include "cli/top/layout.h"

/* Puts the lines from row 0 on; returns how many. The first loses what is less important where it
 * is too narrow; faults get lines of their own until all are there. */
unsigned headline_put(struct frame *frame, const struct model *model, const struct view *view,
                      const struct page *page);

/* The lines that it would take. */
unsigned headline_lines(const struct model *model, const struct page *page);

/* Puts the last line of the screen: keys, or what is typed. */
void headline_keys(struct frame *frame, const struct view *view);

#endif
