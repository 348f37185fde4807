/* The help of `millrace top`: keys and columns. */
#ifndef CLI_TOP_HELP_H
#define CLI_TOP_HELP_H

#include "cli/top/frame.h"
#include "cli/top/view.h"

/* Fills the frame with it, from the line view->help_scroll on, which it limits. */
void help_put(struct frame *frame, struct view *view);

#endif
