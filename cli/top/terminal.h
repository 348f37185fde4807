/* A terminal that shows frames and gives keys, by ncurses.
 *
 *     terminal_open --> alternate screen, keys one by one
 *       terminal_draw     a frame; only what has changed is written
 *       terminal_wait     until a key, a signal or a moment
 *       SIGTSTP           the screen is given back, the process stops; SIGCONT takes it again
 *     terminal_close --> as it was before
 *
 * It is as it was before also when the process dies by a signal that can be caught. There is one
 * terminal at most in a process.
 */
#ifndef CLI_TOP_TERMINAL_H
#define CLI_TOP_TERMINAL_H

#include <stdbool.h>

#include "cli/top/frame.h"
#include "cli/top/keys.h"

/* Why terminal_wait came back. */
enum terminal_event {
	TERMINAL_TIME,   /* the moment has come */
	TERMINAL_KEY,    /* a key, or the mouse: *press */
	TERMINAL_RESIZE, /* the size has changed, or the screen has to be drawn anew */
	TERMINAL_END,    /* SIGINT, SIGTERM, SIGHUP, SIGQUIT, or the terminal has gone */
};

/* Whether the kind of terminal that TERM names is known and can place the cursor. Asked before
 * terminal_open takes it over: ncurses keeps memory of one that it then has to refuse. */
bool terminal_is_usable(void);

/* Takes over the terminal of standard output; keys come from standard input, or from /dev/tty when
 * that is no terminal. colour: false draws without colours even where the terminal has some.
 * Returns 0; -ENOTTY when standard output is no terminal; -ENODEV when the terminal's kind is not
 * known or cannot place the cursor; -errno when there is nothing that keys could come from. */
int terminal_open(bool colour);

/* Gives the terminal back. Nothing when it is not open. */
void terminal_close(void);

void terminal_size(unsigned *rows, unsigned *columns);

/* whole: everything is written anew, as if nothing were known of what the screen shows. */
void terminal_draw(const struct frame *frame, bool whole);

/* Waits until something happens, at most until the moment until_ns (CLOCK_MONOTONIC). */
enum terminal_event terminal_wait(uint64_t until_ns, struct press *press);

/* Asks for reports of the mouse, or for none. */
void terminal_mouse(bool on);

#endif
