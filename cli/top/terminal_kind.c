/* Alone in this file: term.h makes words such as `columns` and `lines` its macros. */
#include "cli/top/terminal.h"

#include <unistd.h>

#include <curses.h>
#include <term.h>

bool terminal_is_usable(void)
{
	int found;
	if (setupterm(NULL, STDOUT_FILENO, &found) != OK)
		return false;
	const char *place_cursor = tigetstr("cup");
	bool usable = place_cursor != NULL && place_cursor != (const char *)-1;
	(void)del_curterm(cur_term);
	return usable;
}
