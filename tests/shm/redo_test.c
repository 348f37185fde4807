/* Redo notes as the next life finds them: finished, dropped, or refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "shm/redo.h"

#define WORDS 4u

struct life {
	struct redo_note note;
	_Atomic uint64_t own[WORDS], lane[WORDS];
	struct redo redo;
};

static struct life life;

/* A life with its own words and one lane, under these numbers. */
static void begin(unsigned own, unsigned lane)
{
	life.redo = (struct redo){.note = &life.note};
	life.redo.base[own] = (char *)life.own;
	life.redo.bytes[own] = sizeof life.own;
	life.redo.base[lane] = (char *)life.lane;
	life.redo.bytes[lane] = sizeof life.lane;
	life.redo.name[lane] = redo_name("lane", "ip");
}

static int set_up(void **state)
{
	(void)state;
	memset(&life, 0, sizeof life);
	begin(0, 1);
	return redo_recover(&life.redo);
}

static void note_two(void)
{
	redo_add(&life.redo, 0, &life.own[3], 30);
	redo_add(&life.redo, 1, &life.lane[0], 10);
}

static void what_was_not_published_did_not_happen(void **state)
{
	(void)state;
	note_two();
	begin(0, 1);
	assert_int_equal(redo_recover(&life.redo), 0);
	assert_int_equal(life.own[3], 0);
	assert_int_equal(life.lane[0], 0);
	assert_int_equal(life.note.n, 0);
}

static void what_was_published_is_finished_wherever_its_region_is_now(void **state)
{
	(void)state;
	note_two();
	redo_publish(&life.redo);
	begin(0, 5);
	assert_int_equal(redo_recover(&life.redo), 1);
	assert_int_equal(life.own[3], 30);
	assert_int_equal(life.lane[0], 10);
	assert_int_equal(redo_recover(&life.redo), 0);
}

static void words_of_a_region_that_is_gone_are_dropped(void **state)
{
	(void)state;
	note_two();
	redo_publish(&life.redo);
	begin(0, 1);
	life.redo.name[1] = redo_name("lane", "log");
	assert_int_equal(redo_recover(&life.redo), 1);
	assert_int_equal(life.own[3], 30);
	assert_int_equal(life.lane[0], 0);
}

/* Nothing is stored, not even the words that are right. */
static void must_be_refused(void)
{
	struct life before = life;
	assert_int_equal(redo_recover(&life.redo), -EPROTO);
	assert_memory_equal(&before, &life, sizeof life);
	life.note.n = 0;
	life.note.published = 0;
}

static void a_note_with_more_words_than_there_is_room_for_is_refused(void **state)
{
	(void)state;
	note_two();
	life.note.n = REDO_WORDS_MAX + 1;
	redo_publish(&life.redo);
	must_be_refused();
}

static void a_word_outside_its_region_is_refused(void **state)
{
	(void)state;
	static const struct redo_word wrong[] = {
	        {.region = 0, .offset = sizeof life.own},
	        {.region = 0, .offset = sizeof life.own - 4},
	        {.region = 0, .offset = 4},
	        {.region = 1, .offset = UINT32_MAX - 7},
	        {.region = REDO_REGIONS_MAX, .offset = 0},
	        {.region = UINT32_MAX, .offset = 0},
	};
	for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		note_two();
		life.note.word[life.note.n++] = wrong[i];
		redo_publish(&life.redo);
		must_be_refused();
	}
	note_two();
	life.note.published = 7;
	must_be_refused();
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
	alarm(60);
	const struct CMUnitTest tests[] = {
	        TEST(what_was_not_published_did_not_happen),
	        TEST(what_was_published_is_finished_wherever_its_region_is_now),
	        TEST(words_of_a_region_that_is_gone_are_dropped),
	        TEST(a_note_with_more_words_than_there_is_room_for_is_refused),
	        TEST(a_word_outside_its_region_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
