/* millrace top: a running instance in a terminal, looked at again and again. */
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/top/terminal.h"

#define ONCE_COLUMNS 160u /* where nothing says how wide the output may be */

struct options {
	const char *instance;
	uint64_t interval_ns;
	bool once;
};

struct top {
	const struct options *options;
	struct snapshot_source *source;
	struct sample *sample;
	struct model *model;
	struct layout layout;
	struct view view;
	bool utf8;
	bool present;      /* the last sample was taken */
	int result;        /* of taking it: 0 or -errno */
	char trouble[600]; /* why not */
	char clock[16];
};

/* ---- looking ---- */

static void set_clock(struct top *top)
{
	time_t now = (time_t)(clock_real_ns() / NS_PER_SEC);
	struct tm local;
	if (localtime_r(&now, &local) == NULL || strftime(top->clock, sizeof top->clock, "%T", &local) == 0)
		top->clock[0] = '\0';
}

static void set_trouble(struct top *top, int result, const struct shm_error *error)
{
	const char *name = top->options->instance;
	if (result == -ENOENT)
		snprintf(top->trouble, sizeof top->trouble,
		         "%s; waiting for it; start it with: millrace run --instance %s",
		         top->present ? "the instance has ended" : "the instance is not running", name);
	else
		snprintf(top->trouble, sizeof top->trouble, "%s; trying again",
		         error->text[0] != '\0' ? error->text : strerror(-result));
}

/* Takes a sample. Returns 0 or -errno; when it cannot be taken, top says why. */
static int look(struct top *top)
{
	struct shm_error error = {""};
	int result = sample_take(top->source, top->sample, &error);
	set_clock(top);
	if (result == 0) {
		top->present = true;
		model_show(top->model, top->sample, top->view.window);
		top->trouble[0] = '\0';
	} else if (top->present || result != top->result) {
		set_trouble(top, result, &error);
		top->present = false;
	}
	top->result = result;
	return result;
}

static void lay_out(struct top *top, unsigned rows, unsigned columns)
{
	const struct page page = {
	        .rows = rows,
	        .columns = columns,
	        .utf8 = top->utf8,
	        .instance = top->options->instance,
	        .trouble = top->trouble[0] != '\0' ? top->trouble : NULL,
	        .clock = top->clock,
	};
	layout_draw(&top->layout, top->model, &top->view, &page);
}

/* ---- once ---- */

static unsigned once_columns(void)
{
	const char *text = getenv("COLUMNS");
	char *end;
	unsigned long n = text != NULL ? strtoul(text, &end, 10) : 0;
	return n == 0 || *end != '\0'  ? ONCE_COLUMNS
	       : n < FRAME_COLUMNS_MAX ? (unsigned)n
	                               : FRAME_COLUMNS_MAX;
}

/* Two looks, so that there are rates. */
static int print_once(struct top *top, const volatile bool *stopped)
{
	struct shm_error error = {""};
	int result = sample_take(top->source, top->sample, &error);
	if (result != 0)
		return command_no_instance("top", top->options->instance, result, &error);
	model_show(top->model, top->sample, top->view.window);
	uint64_t due_ns = clock_monotonic_ns() + top->options->interval_ns;
	for (uint64_t now = clock_monotonic_ns(); now < due_ns && !*stopped; now = clock_monotonic_ns()) {
		uint64_t left = due_ns - now;
		nanosleep(&(struct timespec){(time_t)(left / NS_PER_SEC), (long)(left % NS_PER_SEC)}, NULL);
	}
	if (*stopped)
		return 1;
	result = look(top);
	if (result != 0)
		return command_fail("top", "instance \"%s\": %s", top->options->instance, top->trouble);
	lay_out(top, 0, once_columns());
	frame_print(&top->layout.frame, stdout);
	return 0; /* main flushes standard output */
}

/* ---- live ---- */

/* Does what a key asks for. Returns false when that is to end. */
static bool press(struct top *top, const struct press *pressed, uint64_t *due_ns, bool *whole)
{
	switch (keys_press(&top->view, &top->layout, pressed)) {
	case KEYS_QUIT:
		return false;
	case KEYS_SHOW:
		if (top->present)
			model_show(top->model, top->sample, top->view.window);
		break;
	case KEYS_LOOK:
		*due_ns = 0;
		break;
	case KEYS_MOUSE:
		terminal_mouse(top->view.mouse);
		break;
	case KEYS_REDRAW:
		*whole = true;
		break;
	default:
		break;
	}
	return true;
}

static void run(struct top *top)
{
	uint64_t last_ns = 0, due_ns = 0;
	struct press pressed;
	bool whole = false;
	for (;;) {
		uint64_t now_ns = clock_monotonic_ns();
		unsigned rows, columns;
		if (now_ns >= due_ns && !top->view.paused) {
			(void)look(top);
			last_ns = now_ns;
		}
		terminal_size(&rows, &columns);
		lay_out(top, rows, columns);
		terminal_draw(&top->layout.frame, whole);
		whole = false;
		due_ns = top->view.paused ? UINT64_MAX : last_ns + top->view.interval_ns;
		switch (terminal_wait(due_ns, &pressed)) {
		case TERMINAL_END:
			return;
		case TERMINAL_RESIZE:
			whole = true;
			break;
		case TERMINAL_KEY:
			if (!press(top, &pressed, &due_ns, &whole))
				return;
			if (due_ns != 0 && !top->view.paused)
				due_ns = last_ns + top->view.interval_ns;
			break;
		default:
			break;
		}
	}
}

/* NO_COLOR: https://no-color.org */
static bool colour_wanted(void)
{
	const char *no = getenv("NO_COLOR");
	return no == NULL || no[0] == '\0';
}

static int live(struct top *top)
{
	struct shm_error error = {""};
	/* What will not be better by waiting is said at once. */
	int result = sample_take(top->source, top->sample, &error);
	if (result != 0 && result != -ENOENT)
		return command_no_instance("top", top->options->instance, result, &error);
	result = terminal_open(colour_wanted());
	if (result == -ENODEV)
		return command_fail(
		        "top",
		        "the terminal \"%s\" is not known, or cannot place the cursor; set TERM, or use --once",
		        getenv("TERM") != NULL ? getenv("TERM") : "");
	if (result != 0)
		return command_fail("top", "no terminal to read keys from: %s; use --once",
		                    strerror(-result));
	run(top);
	terminal_close();
	return 0;
}

/* ---- the command ---- */

static bool top_new(struct top *top, const struct options *options)
{
	*top = (struct top){.options = options};
	top->source = calloc(1, sizeof *top->source);
	top->sample = calloc(1, sizeof *top->sample);
	top->model = model_new();
	view_init(&top->view, options->interval_ns);
	(void)setlocale(LC_CTYPE, ""); /* numbers keep their points */
	top->utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	return top->source != NULL && top->sample != NULL && top->model != NULL;
}

static int show(const struct options *options)
{
	struct top top;
	struct shm_error error = {""};
	int status;
	bool made = top_new(&top, options);
	int result = made ? snapshot_open(top.source, options->instance, &error) : 0;
	if (!made)
		status = command_fail("top", "%s", strerror(ENOMEM));
	else if (result != 0 && result != -ENOENT)
		status = command_no_instance("top", options->instance, result, &error);
	else if (options->once)
		status = print_once(&top, command_stop_on_signals());
	else
		status = live(&top);
	if (made)
		snapshot_close(top.source);
	frame_fini(&top.layout.frame);
	model_free(top.model);
	free(top.sample);
	free(top.source);
	return status;
}

int command_top(int argc, char **argv)
{
	struct options options = {.instance = command_instance(), .interval_ns = NS_PER_SEC};
	const struct argument table[] = {
	        {"once", 0, ARGUMENT_FLAG, NULL,
	         "print one screen as plain text and end; so it is when the output is no terminal",
	         &options.once, 0, 0, NULL},
	        {"interval", 'i', ARGUMENT_DURATION, "T", "time between two looks (default 1s)",
	         &options.interval_ns, VIEW_INTERVAL_MIN_NS, VIEW_INTERVAL_MAX_NS, NULL},
	        {"instance", 0, ARGUMENT_STRING, "NAME",
	         "which instance (default: $MILLRACE_INSTANCE or default)", &options.instance, 0, 0, NULL},
	};
	const struct arguments arguments = {
	        .command = "top",
	        .usage = "[--once] [--interval T] [--instance NAME]",
	        .purpose =
	                "Shows a running instance in the terminal: stages, topics and their groups, queues, the ledger. Reads\n"
	                "shared memory and /proc only: it delays no stage and changes nothing. It waits for an instance that\n"
	                "is not there. Press ? for the keys.",
	        .example = "  millrace top",
	        .table = table,
	        .n = sizeof table / sizeof table[0],
	};
	struct operands operands;
	int status = arguments_parse(&arguments, argc, argv, &operands);
	if (status != ARGUMENTS_GO_ON)
		return status;
	options.once |= !isatty(STDOUT_FILENO);
	return show(&options);
}
