#include "cli/top/headline.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/top/short.h"

#define PARTS_MAX 12u
#define GAP       3u

/* A part of a line. Those of the highest ranks are left out where not all fit. */
struct part {
	char text[96];
	unsigned style, rank;
	bool right; /* at the right end of the line */
};

struct parts {
	unsigned n;
	struct part part[PARTS_MAX];
};

static char *add(struct parts *parts, unsigned rank, unsigned style)
{
	struct part *part = &parts->part[parts->n++];
	*part = (struct part){.style = style, .rank = rank};
	return part->text;
}

/* Columns that the parts up to this rank take. */
static unsigned width_of(const struct parts *parts, unsigned rank)
{
	unsigned width = 0;
	for (unsigned i = 0; i < parts->n; i++)
		if (parts->part[i].rank <= rank)
			width += (unsigned)strlen(parts->part[i].text) + (width > 0 ? GAP : 0);
	return width;
}

static void put_parts(struct frame *frame, unsigned row, const struct parts *parts)
{
	unsigned rank = PARTS_MAX, left = 0, right = frame->columns;
	while (rank > 0 && width_of(parts, rank) > frame->columns)
		rank--;
	for (unsigned i = 0; i < parts->n; i++) {
		const struct part *part = &parts->part[i];
		unsigned length = (unsigned)strlen(part->text);
		if (part->rank > rank)
			continue;
		if (part->right && right >= length) {
			right -= length;
			frame_put(frame, row, right, part->style, part->text, length, 0);
			right -= right >= GAP ? GAP : right;
		} else {
			left += frame_put(frame, row, left, part->style, part->text, frame->columns - left,
			                  0) +
			        GAP;
		}
	}
}

static const char *window_text(const struct view *view, char text[32])
{
	if (view->window == AVERAGE_NOW)
		snprintf(text, 32, "rates: now");
	else
		snprintf(text, 32, "rates: %u s", average_seconds(view->window));
	return text;
}

static void first_line(struct frame *frame, const struct model *model, const struct view *view,
                       const struct page *page)
{
	struct parts parts = {0};
	char one[SHORT_MAX], two[SHORT_MAX], window[32];
	snprintf(add(&parts, 0, STYLE_BOLD | STYLE_ACCENT), sizeof parts.part->text, "millrace %s",
	         page->instance);
	if (page->trouble == NULL) {
		snprintf(add(&parts, 1, STYLE_BOLD), sizeof parts.part->text, "in %s/s",
		         short_rate(one, model->in));
		snprintf(add(&parts, 2, STYLE_BOLD), sizeof parts.part->text, "out %s/s",
		         short_rate(two, model->out));
		snprintf(add(&parts, 4, STYLE_PLAIN), sizeof parts.part->text, "up %s",
		         short_age(one, model->uptime_s));
		snprintf(add(&parts, 6, STYLE_PLAIN), sizeof parts.part->text, "cpu %s%%",
		         short_percent(one, model->cpu_percent));
		snprintf(add(&parts, 7, STYLE_PLAIN), sizeof parts.part->text, "memory %s",
		         short_bytes(one, model->own_bytes));
		snprintf(add(&parts, 8, STYLE_DIM), sizeof parts.part->text, "%u stage%s", model->n_stages,
		         model->n_stages == 1 ? "" : "s");
	}
	/* from the right */
	snprintf(add(&parts, 5, STYLE_DIM), sizeof parts.part->text, "%s", page->clock);
	parts.part[parts.n - 1].right = true;
	if (page->rows != 0) {
		if (view->interval_ns % NS_PER_SEC == 0 && view->interval_ns < 60 * NS_PER_SEC)
			snprintf(one, sizeof one, "%us", (unsigned)(view->interval_ns / NS_PER_SEC));
		else
			short_age(one, (double)view->interval_ns / 1e9);
		snprintf(add(&parts, 9, STYLE_DIM), sizeof parts.part->text, "every %s", one);
		parts.part[parts.n - 1].right = true;
	}
	snprintf(add(&parts, 3, STYLE_PLAIN), sizeof parts.part->text, "%s", window_text(view, window));
	parts.part[parts.n - 1].right = true;
	put_parts(frame, 0, &parts);
}

/* ---- faults ---- */

/* Text that goes on in the next line where there is no room for a word. */
struct flow {
	struct frame *frame; /* NULL: lines are counted only */
	unsigned columns, row, at;
};

static void put_word(struct flow *flow, const char *word, unsigned length, unsigned style, unsigned gap)
{
	char text[96];
	if (flow->at > 0 && flow->at + gap + length > flow->columns) {
		flow->row++;
		flow->at = 0;
	}
	if (flow->at > 0)
		flow->at += gap;
	snprintf(text, sizeof text, "%.*s", (int)length, word);
	if (flow->frame != NULL)
		frame_put(flow->frame, flow->row, flow->at, style, text, length, 0);
	flow->at += length;
}

/* A phrase; three blanks before it, so that it stands apart. */
static void put_phrase(struct flow *flow, const char *text, unsigned style)
{
	unsigned gap = GAP;
	while (*text != '\0') {
		unsigned length = (unsigned)strcspn(text, " ");
		put_word(flow, text, length, style, gap);
		text += length;
		text += strspn(text, " ");
		gap = 1;
	}
}

static void put_loss(struct flow *flow, enum loss which, const struct model_loss *loss)
{
	char text[160], more[16] = "", since[SHORT_MAX], now[SHORT_MAX];
	if (loss->n_where > 1)
		snprintf(more, sizeof more, " +%u", loss->n_where - 1);
	snprintf(text, sizeof text, "%s %s, now %s/s (%s%s)", model_loss_name(which),
	         short_count(since, loss->since), short_rate(now, loss->now), loss->where, more);
	put_phrase(flow, text, STYLE_BAD | STYLE_BOLD);
}

static void put_stages(struct flow *flow, unsigned n, const char *what)
{
	char text[64];
	snprintf(text, sizeof text, "%u stage%s %s", n, n == 1 ? "" : "s", what);
	if (n > 0)
		put_phrase(flow, text, STYLE_BAD | STYLE_BOLD | STYLE_REVERSE);
}

static void put_faults(struct flow *flow, const struct model *model)
{
	if (!model->supervised)
		put_phrase(flow, "no supervisor runs it: what dies is not restarted",
		           STYLE_BAD | STYLE_BOLD | STYLE_REVERSE);
	else if (model->draining)
		put_phrase(flow, "draining: it takes in no more", STYLE_WARN | STYLE_BOLD);
	put_stages(flow, model->n_dead, "dead");
	put_stages(flow, model->n_silent, "silent");
	if (!model_lost(model)) {
		put_phrase(flow, "nothing lost since the start", STYLE_GOOD);
		return;
	}
	put_phrase(flow, "lost since the start:", STYLE_BAD | STYLE_BOLD);
	for (enum loss loss = 0; loss < LOSSES; loss++)
		if (model->loss[loss].since > 0)
			put_loss(flow, loss, &model->loss[loss]);
}

unsigned headline_lines(const struct model *model, const struct page *page)
{
	struct flow flow = {.columns = page->columns, .row = 1};
	if (page->trouble != NULL)
		put_phrase(&flow, page->trouble, STYLE_BAD);
	else
		put_faults(&flow, model);
	return flow.row + 1;
}

unsigned headline_put(struct frame *frame, const struct model *model, const struct view *view,
                      const struct page *page)
{
	struct flow flow = {.frame = frame, .columns = page->columns, .row = 1};
	first_line(frame, model, view, page);
	if (page->trouble != NULL)
		put_phrase(&flow, page->trouble, STYLE_BAD | STYLE_BOLD);
	else
		put_faults(&flow, model);
	return flow.row + 1;
}

/* ---- the last line ---- */

void headline_keys(struct frame *frame, const struct view *view)
{
	static const struct {
		const char *key, *what;
	} keys[] = {{"?", "help"}, {"q", "quit"},    {"Tab", "table"}, {"<>", "sort"},    {"/", "filter"},
	            {"z", "zoom"}, {"a", "average"}, {"p", "pause"},   {"+-", "interval"}};
	unsigned row = frame->rows - 1, at = 0;
	char text[VIEW_FILTER_MAX + 32];
	if (view->typing) {
		snprintf(text, sizeof text, "filter: %s_", view->filter);
		at = frame_put(frame, row, 0, STYLE_BOLD, text, sizeof text, 0) + GAP;
		frame_put(frame, row, at, STYLE_DIM, "Enter keeps it, Esc does not", 40, 0);
		return;
	}
	if (view->paused)
		at += frame_put(frame, row, at, STYLE_WARN | STYLE_REVERSE | STYLE_BOLD, " PAUSED ", 8, 0) +
		      1;
	if (view->filter[0] != '\0') {
		snprintf(text, sizeof text, " filter: %s ", view->filter);
		at += frame_put(frame, row, at, STYLE_WARN | STYLE_REVERSE, text, sizeof text, 0) + 1;
	}
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		unsigned length = (unsigned)(strlen(keys[i].key) + strlen(keys[i].what)) + 1;
		if (at + length > frame->columns)
			break;
		at += frame_put(frame, row, at, STYLE_BOLD, keys[i].key, 8, 0) + 1;
		at += frame_put(frame, row, at, STYLE_DIM, keys[i].what, 16, 0) + 2;
	}
}
