#include "cli/top/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define NCURSES_WIDECHAR 1
#include <curses.h>

#include "base/clock.h"

#define ESCAPE_DELAY_MS 25 /* so long after an escape byte it is the key of that name */
#define RESTORE_MAX     256u
#define NOTHING_MAX \
	1000u /* the longest sequence of a key is some bytes; the end of a file goes on for ever */

static struct {
	SCREEN *screen;
	FILE *keys; /* what keys come from; NULL: standard input */
	bool coloured;
	int wake; /* an eventfd: a signal came */
	struct termios before;
	char restore[RESTORE_MAX]; /* what gives the screen back, for a handler of signals */
	size_t restore_bytes;
} terminal = {.wake = -1};

static volatile sig_atomic_t ended_by, stop_asked, continued, resized;

/* ---- signals ---- */

static void wake(void)
{
	int kept = errno;
	uint64_t one = 1;
	ssize_t written = write(terminal.wake, &one, sizeof one);
	(void)written; /* full: it is awake */
	errno = kept;
}

/* From the background too: there it would stop the process, and nobody would end it. Only calls
 * that signal-safety(7) allows. */
static void give_back_at_once(void)
{
	signal(SIGTTOU, SIG_IGN);
	(void)tcsetattr(STDOUT_FILENO, TCSANOW, &terminal.before);
	ssize_t written = write(STDOUT_FILENO, terminal.restore, terminal.restore_bytes);
	(void)written; /* nothing can be done about it here */
}

static void die(int number)
{
	give_back_at_once();
	signal(number, SIG_DFL);
	raise(number);
}

/* The first one ends the loop; one that comes while that does not look, because the terminal takes
 * no more output, ends the process. */
static void on_end(int number)
{
	if (ended_by != 0)
		die(number);
	ended_by = number;
	wake();
}

static void on_event(int number)
{
	if (number == SIGTSTP)
		stop_asked = 1;
	else if (number == SIGCONT)
		continued = 1;
	else
		resized = 1;
	wake();
}

static void handle(int number, void (*handler)(int))
{
	struct sigaction action = {.sa_handler = handler};
	sigaction(number, &action, NULL);
}

/* One that is ignored, as under nohup(1), stays so. */
static void handle_unless_ignored(int number, void (*handler)(int))
{
	struct sigaction before;
	if (sigaction(number, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
		handle(number, handler);
}

static void handle_all(void)
{
	static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	static const int deaths[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
		handle_unless_ignored(ends[i], on_end);
	for (size_t i = 0; i < sizeof deaths / sizeof *deaths; i++)
		handle(deaths[i], die);
	handle_unless_ignored(SIGTSTP, on_event);
	handle(SIGCONT, on_event);
	handle(SIGWINCH, on_event);
}

/* ---- opening, closing ---- */

/* Without the pauses in it, $<2>, which are for tputs alone. */
static void add_text(const char *text)
{
	size_t room = sizeof terminal.restore - terminal.restore_bytes;
	for (char *to = terminal.restore + terminal.restore_bytes; *text != '\0' && room > 0;) {
		const char *end = strncmp(text, "$<", 2) == 0 ? strchr(text, '>') : NULL;
		if (end != NULL) {
			text = end + 1;
			continue;
		}
		*to++ = *text++;
		terminal.restore_bytes++;
		room--;
	}
}

static const char *capability_of(const char *name)
{
	const char *text = tigetstr(name);
	return text == (const char *)-1 ? NULL : text;
}

static void add_restore(const char *capability)
{
	const char *text = capability_of(capability);
	if (text != NULL)
		add_text(text);
}

/* Reports of the mouse, which ncurses alone would end: as xterm has them (ctlseqs, "Mouse
 * Tracking"), and what else has a key for them. */
static void add_mouse_end(void)
{
	if (capability_of("kmous") != NULL)
		add_text("\033[?1006l\033[?1000l");
}

/* Keys of standard input, or of the controlling terminal when that is something else. */
static int open_keys(FILE **keys)
{
	*keys = stdin;
	terminal.keys = NULL;
	if (isatty(STDIN_FILENO))
		return 0;
	terminal.keys = fopen("/dev/tty", "re");
	if (terminal.keys == NULL)
		return -errno;
	*keys = terminal.keys;
	return 0;
}

static int key_fd(void)
{
	return terminal.keys != NULL ? fileno(terminal.keys) : STDIN_FILENO;
}

static void start_colours(void)
{
	static const short colour[] = {[STYLE_GOOD] = COLOR_GREEN,
	                               [STYLE_WARN] = COLOR_YELLOW,
	                               [STYLE_BAD] = COLOR_RED,
	                               [STYLE_ACCENT] = COLOR_CYAN};
	terminal.coloured = has_colors() && start_color() == OK;
	if (!terminal.coloured)
		return;
	short background = use_default_colors() == OK ? -1 : COLOR_BLACK;
	for (int i = STYLE_GOOD; i <= STYLE_ACCENT; i++)
		init_pair((short)i, colour[i], background);
}

static void give_up(void)
{
	if (terminal.keys != NULL)
		fclose(terminal.keys);
	if (terminal.wake >= 0)
		close(terminal.wake);
	terminal.keys = NULL;
	terminal.wake = -1;
}

int terminal_open(bool colour)
{
	FILE *keys;
	if (!isatty(STDOUT_FILENO) || tcgetattr(STDOUT_FILENO, &terminal.before) != 0)
		return -ENOTTY;
	if (!terminal_is_usable())
		return -ENODEV;
	int result = open_keys(&keys);
	if (result != 0)
		return result;
	terminal.wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (terminal.wake < 0) {
		result = -errno;
		give_up();
		return result;
	}
	use_env(FALSE); /* the size is the terminal's, whatever LINES and COLUMNS say */
	use_tioctl(TRUE);
	terminal.screen = newterm(NULL, stdout, keys);
	if (terminal.screen == NULL) {
		give_up();
		return -ENODEV;
	}
	set_escdelay(ESCAPE_DELAY_MS);
	add_restore("sgr0");
	add_restore("cnorm");
	add_restore("rmkx");
	add_mouse_end();
	add_restore("rmcup");
	handle_all(); /* after newterm, which sets handlers of its own */
	cbreak();
	noecho();
	nonl();
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	intrflush(stdscr, FALSE);
	mouseinterval(0);
	curs_set(0);
	if (colour)
		start_colours();
	terminal_mouse(true);
	return 0;
}

void terminal_close(void)
{
	if (terminal.screen == NULL)
		return;
	signal(SIGTTOU, SIG_IGN); /* as in give_back_at_once */
	if (!isendwin()) {
		terminal_mouse(false);
		endwin();
	}
	delscreen(terminal.screen);
	terminal.screen = NULL;
	give_up();
}

void terminal_mouse(bool on)
{
	(void)mousemask(on ? BUTTON1_PRESSED | BUTTON4_PRESSED | BUTTON5_PRESSED : 0, NULL);
}

/* ---- drawing ---- */

void terminal_size(unsigned *rows, unsigned *columns)
{
	int y, x;
	getmaxyx(stdscr, y, x);
	*rows = y > 0 ? (unsigned)y : 1;
	*columns = x > 0 ? (unsigned)x : 1;
}

/* Without colours, what is bad is told by reverse video, and what is dim by nothing. */
static attr_t attributes(unsigned style)
{
	static const attr_t plain[] = {
	        [STYLE_PLAIN] = A_NORMAL, [STYLE_DIM] = A_NORMAL,  [STYLE_GOOD] = A_NORMAL,
	        [STYLE_WARN] = A_BOLD,    [STYLE_BAD] = A_REVERSE, [STYLE_ACCENT] = A_NORMAL,
	};
	unsigned colour = style & STYLE_COLOUR;
	attr_t result = A_NORMAL;
	if (!terminal.coloured)
		result = plain[colour > STYLE_ACCENT ? STYLE_ACCENT : colour];
	else if (colour == STYLE_DIM)
		result = A_DIM;
	return result | (style & STYLE_BOLD ? A_BOLD : 0) | (style & STYLE_REVERSE ? A_REVERSE : 0) |
	       (style & STYLE_UNDERLINE ? A_UNDERLINE : 0);
}

static void draw_cell(const struct frame_cell *cell)
{
	wchar_t text[2] = {cell->c, 0};
	cchar_t character;
	unsigned colour = cell->style & STYLE_COLOUR;
	short pair = terminal.coloured && colour > STYLE_DIM ? (short)colour : 0;
	if (setcchar(&character, text, attributes(cell->style), pair, NULL) == OK)
		(void)add_wch(&character); /* ERR in the last corner, where the cursor cannot move on */
}

void terminal_draw(const struct frame *frame, bool whole)
{
	erase();
	for (unsigned row = 0; row < frame->rows; row++)
		for (unsigned i = 0; i < frame->columns; i++)
			if (move((int)row, (int)i) == OK)
				draw_cell(&frame->cell[(size_t)row * frame->columns + i]);
	if (whole)
		clearok(curscr, TRUE);
	refresh();
}

/* ---- waiting ---- */

static void take_size(void)
{
	struct winsize size;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0)
		(void)resizeterm(size.ws_row, size.ws_col);
}

/* Stops the process as a shell expects it of Ctrl-Z, and goes on when it is continued. */
static void stop(void)
{
	endwin();
	handle(SIGTSTP, SIG_DFL);
	raise(SIGTSTP);
	handle(SIGTSTP, on_event);
	continued = 1;
}

/* What signals have asked for. */
static bool signalled(enum terminal_event *event)
{
	uint64_t n;
	ssize_t taken = read(terminal.wake, &n, sizeof n);
	(void)taken; /* nothing there: no signal */
	if (stop_asked && ended_by == 0) {
		stop_asked = 0;
		stop();
	}
	if (ended_by != 0) { /* perhaps while it was stopped */
		*event = TERMINAL_END;
		return true;
	}
	if (!continued && !resized)
		return false;
	if (continued)
		reset_prog_mode(); /* whoever had the terminal meanwhile has set it as he likes */
	continued = resized = 0;
	take_size();
	*event = TERMINAL_RESIZE;
	return true;
}

static int mouse_key(struct press *press)
{
	MEVENT mouse;
	if (getmouse(&mouse) != OK || mouse.y < 0 || mouse.x < 0)
		return PRESS_NONE;
	press->row = (unsigned)mouse.y;
	press->column = (unsigned)mouse.x;
	return mouse.bstate & BUTTON4_PRESSED   ? PRESS_WHEEL_UP
	       : mouse.bstate & BUTTON5_PRESSED ? PRESS_WHEEL_DOWN
	       : mouse.bstate & BUTTON1_PRESSED ? PRESS_CLICK
	                                        : PRESS_NONE;
}

static int translate(int key, struct press *press)
{
	switch (key) {
	case KEY_UP:
		return PRESS_UP;
	case KEY_DOWN:
		return PRESS_DOWN;
	case KEY_LEFT:
		return PRESS_LEFT;
	case KEY_RIGHT:
		return PRESS_RIGHT;
	case KEY_PPAGE:
		return PRESS_PAGE_UP;
	case KEY_NPAGE:
		return PRESS_PAGE_DOWN;
	case KEY_HOME:
		return PRESS_HOME;
	case KEY_END:
		return PRESS_END;
	case KEY_BTAB:
		return PRESS_BACK_TAB;
	case KEY_BACKSPACE:
		return PRESS_BACKSPACE;
	case KEY_ENTER:
		return PRESS_ENTER;
	case KEY_MOUSE:
		return mouse_key(press);
	default:
		return key <= 255 ? key : PRESS_NONE;
	}
}

/* A key that is there. */
static bool take_key(struct press *press)
{
	int key = getch();
	if (key == ERR)
		return false;
	press->key = translate(key, press);
	return true;
}

enum terminal_event terminal_wait(uint64_t until_ns, struct press *press)
{
	enum terminal_event event;
	unsigned nothing = 0; /* times that there was something to read, and no key in it */
	for (;;) {
		if (signalled(&event))
			return event;
		if (take_key(press))
			return TERMINAL_KEY;
		uint64_t now_ns = clock_monotonic_ns(), left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
		struct pollfd wait[] = {{.fd = key_fd(), .events = POLLIN},
		                        {.fd = terminal.wake, .events = POLLIN}};
		if (left_ns == 0)
			return TERMINAL_TIME;
		struct timespec timeout = {(time_t)(left_ns / NS_PER_SEC), (long)(left_ns % NS_PER_SEC)};
		int n = ppoll(wait, 2, &timeout, NULL);
		if (n < 0 && errno != EINTR)
			return TERMINAL_END;
		if (n > 0 && (wait[0].revents & (POLLHUP | POLLERR | POLLNVAL)) != 0)
			return TERMINAL_END;
		if (n > 0 && wait[0].revents != 0 && ++nothing > NOTHING_MAX)
			return TERMINAL_END;
	}
}
