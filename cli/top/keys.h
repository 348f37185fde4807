/* What keys and the mouse do to the view. */
#ifndef CLI_TOP_KEYS_H
#define CLI_TOP_KEYS_H

#include "cli/top/layout.h"

/* A key: a byte, or one of these. */
enum {
	PRESS_UP = 256,
	PRESS_DOWN,
	PRESS_LEFT,
	PRESS_RIGHT,
	PRESS_PAGE_UP,
	PRESS_PAGE_DOWN,
	PRESS_HOME,
	PRESS_END,
	PRESS_BACK_TAB,
	PRESS_BACKSPACE,
	PRESS_CLICK, /* at row and column */
	PRESS_WHEEL_UP,
	PRESS_WHEEL_DOWN,
	PRESS_NONE,
};

#define PRESS_ESCAPE 27
#define PRESS_ENTER  '\n'

struct press {
	int key;
	unsigned row, column;
};

/* What is to be done then. */
enum keys_answer {
	KEYS_NOTHING,
	KEYS_DRAW,   /* the layout has changed */
	KEYS_SHOW,   /* the rates are wanted over another window */
	KEYS_LOOK,   /* a sample is wanted now */
	KEYS_MOUSE,  /* mouse reports are wanted, or no longer */
	KEYS_REDRAW, /* the whole screen anew */
	KEYS_QUIT,
};

/* layout is that of the screen that is seen. */
enum keys_answer keys_press(struct view *view, const struct layout *layout, const struct press *press);

#endif
