/* The screen of `millrace top`, without a terminal; and what keys do to it. */
#include "cli/top/keys.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/top/headline.h"
#include "tests/fixture/top_sample.h"

static struct model *model;
static struct sample *sample;
static struct layout layout;
static struct view view;
static struct page page;
static char *text; /* the screen that was drawn last, as frame_print prints it */

static int make(void **state)
{
	(void)state;
	model = model_new();
	sample = top_sample(1, 1000);
	if (model == NULL)
		return -1;
	layout = (struct layout){0};
	view_init(&view, NS_PER_SEC);
	page = (struct page){.rows = 24, .columns = 80, .instance = "test", .clock = "12:00:00"};
	text = NULL;
	model_show(model, sample, AVERAGE_NOW);
	return 0;
}

static int unmake(void **state)
{
	(void)state;
	model_free(model);
	free(sample);
	free(text);
	frame_fini(&layout.frame);
	return 0;
}

static const char *draw(void)
{
	size_t bytes;
	free(text);
	text = NULL;
	layout_draw(&layout, model, &view, &page);
	FILE *out = open_memstream(&text, &bytes);
	assert_non_null(out);
	frame_print(&layout.frame, out);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void show(void)
{
	model_show(model, sample, AVERAGE_NOW);
}

static enum keys_answer press(int key)
{
	return keys_press(&view, &layout, &(struct press){.key = key});
}

static enum keys_answer mouse(int key, unsigned row, unsigned column)
{
	return keys_press(&view, &layout, &(struct press){.key = key, .row = row, .column = column});
}

static void assert_shows(const char *what)
{
	if (strstr(text, what) == NULL)
		fail_msg("no \"%s\" in:\n%s", what, text);
}

static void assert_hides(const char *what)
{
	if (strstr(text, what) != NULL)
		fail_msg("there is \"%s\" in:\n%s", what, text);
}

/* The first words of the rows of a table, separated by blanks. */
static const char *names_of(enum table table)
{
	static char names[4096];
	const struct row *order[MODEL_ROWS_MAX];
	unsigned n = layout_order(&model->table[table], table, &view, order);
	names[0] = '\0';
	for (unsigned i = 0; i < n; i++) {
		size_t at = strlen(names);
		snprintf(names + at, sizeof names - at, "%s%s%s%s", i > 0 ? " " : "",
		         order[i]->topic != NULL ? order[i]->topic : "", order[i]->topic != NULL ? "/" : "",
		         order[i]->name);
	}
	return names;
}

static void lose_everywhere(void)
{
	struct snapshot_topic *topic = sample->snapshot.topic;
	topic[SAMPLE_IP].ledger.dropped = 12345;
	topic[SAMPLE_RAW].ledger.refused = 77;
	topic[SAMPLE_IP].ledger.kernel_dropped = 3;
	top_sample_group(sample, SAMPLE_TRACK)->missed_records = 5;
	top_sample_group(sample, SAMPLE_IP)->damaged = 2;
	show();
}

/* ---- the screen ---- */

static void everything_is_on_a_screen_of_80_by_24(void **state)
{
	(void)state;
	draw();
	for (unsigned i = 0; i < sample->snapshot.n_stages; i++)
		assert_shows(sample->snapshot.stage[i].name);
	assert_shows("millrace test");
	assert_shows("nothing lost since the start");
	assert_shows("STAGE");
	assert_shows("TOPIC");
	assert_shows("QUEUE");
	assert_shows("LEDGER");
	assert_shows("? help");
	assert_int_equal(layout.frame.rows, 24);
	assert_int_equal(layout.frame.columns, 80);
}

static void no_size_breaks_it_and_no_column_stands_in_another(void **state)
{
	(void)state;
	lose_everywhere();
	for (unsigned rows = 1; rows < 60; rows++)
		for (unsigned columns = 1; columns < 220; columns += 1 + columns / 20)
			for (unsigned mode = 0; mode < 4; mode++) {
				page.rows = rows;
				page.columns = columns;
				view.zoomed = mode & 1;
				view.help = mode == 2;
				view.focus = (rows + columns) % TABLES;
				layout_draw(&layout, model, &view, &page);
				for (enum table table = 0; table < TABLES; table++) {
					const struct layout_place *place = &layout.table[table];
					assert_true(place->n == 0 || place->first + place->n <= rows);
					for (unsigned i = 0, end = 0; place->n > 0 && i < COLUMNS_MAX; i++) {
						if (place->column[i].width == 0)
							continue;
						assert_true(place->column[i].at >= end);
						end = place->column[i].at + place->column[i].width;
						assert_true(end <= columns);
					}
				}
			}
}

static void columns_leave_in_a_fixed_order(void **state)
{
	(void)state;
	for (enum table table = 0; table < TABLES; table++) {
		unsigned n, least = COLUMNS_MAX;
		const struct column *column = columns_of(table, &n);
		for (unsigned width = 200; width > 5; width--) {
			struct layout_place place = {0};
			unsigned shown = 0;
			layout_columns(table, width, 14, &place);
			assert_true(place.column[0].width > 0);
			for (unsigned i = 0; i < n; i++)
				shown += place.column[i].width > 0;
			/* those that are shown are the ones of the lowest ranks */
			for (unsigned i = 0; i < n; i++)
				assert_int_equal(place.column[i].width > 0, column[i].rank < shown);
			if (width == 200)
				assert_int_equal(shown, n);
			/* the gap is narrower below 60 columns, so one may come back there */
			if (width != 59)
				assert_true(shown <= least);
			least = shown;
		}
	}
}

static void what_was_lost_is_never_hidden(void **state)
{
	(void)state;
	lose_everywhere();
	sample->snapshot.stage[SAMPLE_TALLY].alive = false;
	sample->snapshot.supervisor_alive = false;
	show();
	snprintf(view.filter, sizeof view.filter, "nothing has this name");
	view.zoomed = true;
	view.focus = TABLE_QUEUES;
	for (unsigned columns = 40; columns <= 200; columns += 10) {
		page.columns = columns;
		page.rows = 10;
		draw();
		/* words may be in different lines */
		for (char *c = text; *c != '\0'; c++)
			if (*c == '\n')
				*c = ' ';
		assert_shows("lost since the start:");
		assert_shows("dropped 12.3k, now 0/s (ip)");
		assert_shows("refused 77,");
		assert_shows("kernel dropped 3,");
		assert_shows("missed 5,");
		assert_shows("damaged 2,");
		assert_shows("no supervisor runs it");
		assert_shows("1 stage dead");
	}
}

static void the_focused_table_gets_most_lines_and_scrolls(void **state)
{
	(void)state;
	unsigned share[TABLES];
	const unsigned need[TABLES] = {60, 100, 1, 16};
	view.focus = TABLE_TOPICS;
	for (unsigned lines = 0; lines < 200; lines++) {
		unsigned sum = 0;
		layout_share(need, lines, &view, share);
		for (enum table table = 0; table < TABLES; table++) {
			assert_true(share[table] == 0 ||
			            (share[table] >= 2 && share[table] <= need[table] + 1));
			sum += share[table];
		}
		assert_true(sum <= lines);
		assert_true(lines < 2 || share[TABLE_TOPICS] >= share[TABLE_STAGES]);
		assert_true(lines >= 181 || lines < 2 || sum == lines || sum + 1 == lines);
	}
	layout_share(need, 20, &view, share);
	assert_true(share[TABLE_STAGES] >= 2 && share[TABLE_QUEUES] == 2 && share[TABLE_LEDGERS] >= 2);
	view.zoomed = true;
	layout_share(need, 20, &view, share);
	assert_int_equal(share[TABLE_TOPICS], 20);
	assert_int_equal(share[TABLE_STAGES], 0);
	view.zoomed = false;
	view.focus = TABLE_STAGES;
	page.rows = 9;
	draw();
	assert_shows("supervisor");
	assert_hides("objects.tracks");
	assert_int_equal(press(PRESS_END), KEYS_DRAW);
	draw();
	assert_hides("supervisor  ");
	assert_shows("objects.tracks");
	assert_shows("/7");
	assert_int_equal(press(PRESS_HOME), KEYS_DRAW);
	assert_int_equal(press(PRESS_DOWN), KEYS_DRAW);
	draw();
	assert_shows("STAGE 2-");
	/* all fits again: nothing stays scrolled */
	page.rows = 50;
	draw();
	assert_int_equal(view.table[TABLE_STAGES].scroll, 0);
	assert_shows("supervisor");
}

static void without_an_instance_it_says_why(void **state)
{
	(void)state;
	page.trouble =
	        "the instance is not running; waiting for it; start it with: millrace run --instance test";
	draw();
	assert_shows("the instance is not running; waiting for it");
	assert_hides("STAGE");
	assert_hides("in 0/s");
	assert_shows("q quit");
}

static void once_prints_all_rows_however_many(void **state)
{
	(void)state;
	page.rows = 0;
	page.columns = 160;
	for (unsigned i = SAMPLE_STAGES; i < INSTANCE_ROLES_MAX; i++) {
		sample->snapshot.stage[i] = sample->snapshot.stage[SAMPLE_TALLY];
		snprintf(sample->snapshot.stage[i].name, SHM_NAME_MAX, "file.number-%u", i);
	}
	sample->snapshot.n_stages = INSTANCE_ROLES_MAX;
	show();
	draw();
	for (unsigned i = SAMPLE_STAGES; i < INSTANCE_ROLES_MAX; i++)
		assert_shows(sample->snapshot.stage[i].name);
	assert_shows("track.raw");
	assert_hides("? help");
	assert_null(strchr(text, '\033'));
	for (const char *c = text; *c != '\0'; c++)
		assert_true(*c == '\n' || (*c >= ' ' && *c < 127));
	assert_hides(" \n");
}

static void a_bar_is_as_long_as_its_part(void **state)
{
	(void)state;
	static const struct {
		double fill;
		const char *bar;
	} cases[] = {
	        {0, "............"}, {0.001, "#..........."}, {0.5, "######......"}, {1, "############"}};
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct snapshot_group *group = top_sample_group(sample, SAMPLE_IP);
		group->waiting_bytes = (uint64_t)(cases[i].fill * SAMPLE_LANE_BYTES);
		show();
		page.columns = 110;
		draw();
		assert_shows(cases[i].bar);
	}
	assert_shows("100%");
}

/* ---- order, filter ---- */

static void rows_are_sorted_by_any_column_and_reversed(void **state)
{
	(void)state;
	struct snapshot_stage *stage = sample->snapshot.stage;
	stage[SAMPLE_ENRICH].restarts = 5;
	stage[SAMPLE_TALLY].restarts = 9;
	show();
	assert_string_equal(
	        names_of(TABLE_STAGES),
	        "supervisor ingest-udp.0 ingest-http.0 enrich.0 deliver.0 tally.0 objects.tracks");
	view.table[TABLE_STAGES].sort = STAGES_RESTARTS;
	assert_string_equal(
	        names_of(TABLE_STAGES),
	        "tally.0 enrich.0 ingest-udp.0 ingest-http.0 deliver.0 objects.tracks supervisor");
	view.table[TABLE_STAGES].reversed = true;
	assert_string_equal(
	        names_of(TABLE_STAGES),
	        "ingest-udp.0 ingest-http.0 deliver.0 objects.tracks enrich.0 tally.0 supervisor");
	view.table[TABLE_STAGES].sort = STAGES_NAME;
	view.table[TABLE_STAGES].reversed = false;
	assert_string_equal(
	        names_of(TABLE_STAGES),
	        "deliver.0 enrich.0 ingest-http.0 ingest-udp.0 objects.tracks supervisor tally.0");
	view.table[TABLE_STAGES].sort = STAGES_MEMORY;
	assert_string_equal(
	        names_of(TABLE_STAGES),
	        "objects.tracks tally.0 deliver.0 enrich.0 ingest-http.0 supervisor ingest-udp.0");
}

static void sorted_groups_leave_their_topics(void **state)
{
	(void)state;
	top_sample_group(sample, SAMPLE_IP)->waiting_records = 5;
	top_sample_group(sample, SAMPLE_TRACK)->waiting_records = 50;
	show();
	assert_string_equal(names_of(TABLE_TOPICS),
	                    "ip ip/tally track.raw track.raw/enrich track track/tracks");
	view.table[TABLE_TOPICS].sort = TOPICS_WAITING;
	assert_string_equal(names_of(TABLE_TOPICS),
	                    "track/tracks ip/tally track.raw/enrich ip track.raw track");
	draw();
	assert_shows("track/tracks");
	view.table[TABLE_TOPICS].sort = TOPICS_NAME;
	assert_string_equal(names_of(TABLE_TOPICS),
	                    "ip ip/tally track track/tracks track.raw track.raw/enrich");
}

static void a_filter_leaves_rows_whose_name_has_it_with_their_topics(void **state)
{
	(void)state;
	draw();
	for (const char *c = "/TrAcKx"; *c != '\0'; c++)
		assert_int_equal(press(*c), KEYS_DRAW);
	draw();
	assert_shows("filter: TrAcKx_");
	assert_hides("tally.0");
	assert_shows("no name has the filter in it");
	assert_int_equal(press(PRESS_BACKSPACE), KEYS_DRAW);
	draw();
	assert_string_equal(names_of(TABLE_STAGES), "objects.tracks");
	assert_string_equal(names_of(TABLE_TOPICS), "track.raw track.raw/enrich track track/tracks");
	assert_int_equal(press(PRESS_ENTER), KEYS_DRAW);
	assert_false(view.typing);
	/* a group alone keeps its topic as long as they are a tree */
	snprintf(view.filter, sizeof view.filter, "tally");
	assert_string_equal(names_of(TABLE_TOPICS), "ip ip/tally");
	view.table[TABLE_TOPICS].sort = TOPICS_RATE;
	assert_string_equal(names_of(TABLE_TOPICS), "ip/tally");
	/* Esc while typing takes back what was typed; another one removes the filter */
	press('/');
	press('z');
	assert_string_equal(view.filter, "tallyz");
	press(PRESS_ESCAPE);
	assert_string_equal(view.filter, "tally");
	press(PRESS_ESCAPE);
	assert_string_equal(view.filter, "");
}

/* ---- keys ---- */

static void keys_choose_table_column_and_order(void **state)
{
	(void)state;
	draw();
	press('\t');
	assert_int_equal(view.focus, TABLE_TOPICS);
	press(PRESS_BACK_TAB);
	press(PRESS_BACK_TAB);
	assert_int_equal(view.focus, TABLE_LEDGERS);
	press('\t');
	assert_int_equal(view.focus, TABLE_STAGES);
	press('>');
	assert_int_equal(view.table[TABLE_STAGES].sort, STAGES_NAME);
	press(PRESS_RIGHT);
	assert_int_equal(view.table[TABLE_STAGES].sort, STAGES_STATE);
	press('r');
	assert_true(view.table[TABLE_STAGES].reversed);
	press('f');
	assert_int_equal(view.table[TABLE_STAGES].sort, VIEW_FLOW_ORDER);
	/* to the left of flow order is the last column that is seen */
	press('<');
	assert_int_equal(view.table[TABLE_STAGES].sort, STAGES_NOTE);
	/* each step lands on a column that is seen, and all come in turn */
	page.columns = 40;
	draw();
	for (unsigned i = 0; i < 30; i++) {
		press('>');
		int sort = view.table[TABLE_STAGES].sort;
		assert_true(sort == VIEW_FLOW_ORDER || layout.table[TABLE_STAGES].column[sort].width > 0);
	}
	/* a table without rows is passed over */
	sample->snapshot.n_queues = 0;
	show();
	draw();
	view.focus = TABLE_TOPICS;
	press('\t');
	assert_int_equal(view.focus, TABLE_LEDGERS);
}

static void keys_change_window_interval_pause_and_help(void **state)
{
	(void)state;
	draw();
	assert_shows("rates: 10 s");
	assert_int_equal(press('a'), KEYS_SHOW);
	draw();
	assert_shows("rates: 100 s");
	press('a');
	press('a');
	draw();
	assert_shows("rates: now");
	press('+');
	assert_int_equal(view.interval_ns, 2 * NS_PER_SEC);
	for (unsigned i = 0; i < 30; i++)
		press('-');
	assert_int_equal(view.interval_ns, VIEW_INTERVAL_MIN_NS);
	for (unsigned i = 0; i < 30; i++)
		press('+');
	assert_int_equal(view.interval_ns, VIEW_INTERVAL_MAX_NS);
	assert_int_equal(press('p'), KEYS_DRAW);
	draw();
	assert_shows("PAUSED");
	assert_int_equal(press(' '), KEYS_LOOK);
	assert_int_equal(press('?'), KEYS_DRAW);
	draw();
	assert_shows("Keys");
	assert_shows("Ctrl-L");
	press(PRESS_END);
	draw();
	assert_shows("BALANCED");
	/* q leaves the help, not the program */
	assert_int_equal(press('q'), KEYS_DRAW);
	draw();
	assert_shows("STAGE");
	assert_int_equal(press('q'), KEYS_QUIT);
	assert_int_equal(press(PRESS_NONE), KEYS_NOTHING);
	assert_int_equal(press('#'), KEYS_NOTHING);
}

static void a_click_sorts_and_the_wheel_scrolls(void **state)
{
	(void)state;
	draw();
	const struct layout_place *place = &layout.table[TABLE_TOPICS];
	unsigned at = place->column[TOPICS_WAITING].at + 2;
	assert_int_equal(mouse(PRESS_CLICK, place->header, at), KEYS_DRAW);
	assert_int_equal(view.focus, TABLE_TOPICS);
	assert_int_equal(view.table[TABLE_TOPICS].sort, TOPICS_WAITING);
	mouse(PRESS_CLICK, place->header, at);
	assert_true(view.table[TABLE_TOPICS].reversed);
	mouse(PRESS_CLICK, place->header, at);
	assert_int_equal(view.table[TABLE_TOPICS].sort, VIEW_FLOW_ORDER);
	page.rows = 12;
	draw();
	assert_true(layout.table[TABLE_TOPICS].n < layout.table[TABLE_TOPICS].rows);
	mouse(PRESS_WHEEL_DOWN, layout.table[TABLE_TOPICS].first, 3);
	draw();
	assert_true(view.table[TABLE_TOPICS].scroll > 0);
	mouse(PRESS_WHEEL_UP, layout.table[TABLE_TOPICS].first, 3);
	assert_int_equal(view.table[TABLE_TOPICS].scroll, 0);
	assert_int_equal(mouse(PRESS_CLICK, 0, 0), KEYS_NOTHING);
	assert_int_equal(mouse(PRESS_CLICK, 4000, 4000), KEYS_NOTHING);
}

static void any_keys_in_any_order_keep_the_view_sound(void **state)
{
	(void)state;
	srandom(7);
	for (unsigned i = 0; i < 20000; i++) {
		struct press one = {.key = (int)(random() % (PRESS_NONE + 1)),
		                    .row = (unsigned)random() % 30,
		                    .column = (unsigned)random() % 100};
		if (i % 50 == 0) {
			page.rows = 1 + (unsigned)random() % 40;
			page.columns = 1 + (unsigned)random() % 160;
		}
		(void)keys_press(&view, &layout, &one);
		layout_draw(&layout, model, &view, &page);
		for (enum table table = 0; table < TABLES; table++) {
			unsigned n;
			(void)columns_of(table, &n);
			assert_in_range(view.table[table].sort + 1, 0, n);
		}
		assert_true(view.focus < TABLES && view.window < AVERAGE_WINDOWS);
		assert_true(strlen(view.filter) < VIEW_FILTER_MAX);
	}
}

int main(void)
{
	alarm(60);
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)
	const struct CMUnitTest tests[] = {
	        TEST(everything_is_on_a_screen_of_80_by_24),
	        TEST(no_size_breaks_it_and_no_column_stands_in_another),
	        TEST(columns_leave_in_a_fixed_order),
	        TEST(what_was_lost_is_never_hidden),
	        TEST(the_focused_table_gets_most_lines_and_scrolls),
	        TEST(without_an_instance_it_says_why),
	        TEST(once_prints_all_rows_however_many),
	        TEST(a_bar_is_as_long_as_its_part),
	        TEST(rows_are_sorted_by_any_column_and_reversed),
	        TEST(sorted_groups_leave_their_topics),
	        TEST(a_filter_leaves_rows_whose_name_has_it_with_their_topics),
	        TEST(keys_choose_table_column_and_order),
	        TEST(keys_change_window_interval_pause_and_help),
	        TEST(a_click_sorts_and_the_wheel_scrolls),
	        TEST(any_keys_in_any_order_keep_the_view_sound),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
