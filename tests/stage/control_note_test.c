/* The note of a control block: text in shared memory that is read whole or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stage/control.h"

#define READINGS 50000u

static struct control *control; /* shared with children */
static char note[CONTROL_NOTE_BYTES];

static int set_up(void **state)
{
	(void)state;
	control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return control == MAP_FAILED ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	return munmap(control, sizeof *control);
}

static const char *read_note(void)
{
	memset(note, 'x', sizeof note);
	control_read_note(control, note);
	return note;
}

static void a_note_is_read_as_it_was_written(void **state)
{
	(void)state;
	assert_string_equal(read_note(), "");
	control_note(control, "%u agent rules", 1175u);
	assert_string_equal(read_note(), "1175 agent rules");
	control_note(control, "less");
	assert_string_equal(read_note(), "less");
	control_note(control, "%s", "");
	assert_string_equal(read_note(), "");
}

static void a_longer_one_is_cut(void **state)
{
	(void)state;
	char text[2 * CONTROL_NOTE_BYTES];
	memset(text, 'a', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	control_note(control, "%s", text);
	assert_int_equal(strlen(read_note()), CONTROL_NOTE_BYTES - 1);
	assert_memory_equal(note, text, CONTROL_NOTE_BYTES - 1);
}

static void bytes_that_are_not_printable_ascii_come_as_question_marks(void **state)
{
	(void)state;
	control_note(control, "%s", "a\x1b[31m\n\xc3\xa9\x7f b");
	assert_string_equal(read_note(), "a?[31m???? b");
	/* Whatever lies there, the text ends. */
	for (unsigned i = 0; i < CONTROL_NOTE_BYTES / 8; i++)
		atomic_store(&control->note[i], UINT64_MAX);
	assert_int_equal(strlen(read_note()), CONTROL_NOTE_BYTES - 1);
}

static void the_same_again_is_not_written(void **state)
{
	(void)state;
	control_note(control, "same");
	uint32_t version = atomic_load(&control->note_version);
	control_note(control, "same");
	assert_int_equal(atomic_load(&control->note_version), version);
	control_note(control, "other");
	assert_int_not_equal(atomic_load(&control->note_version), version);
}

static void a_note_whose_writer_died_in_it_is_empty_until_the_next_life_writes_one(void **state)
{
	(void)state;
	control_note(control, "before");
	atomic_store(&control->note_version, atomic_load(&control->note_version) | 1);
	assert_string_equal(read_note(), "");
	control_note(control, "before"); /* the same text, but nobody can read it */
	assert_string_equal(read_note(), "before");
}

/* One letter, as often as it tells, so that a mixture of two notes shows. */
static void write_on(void)
{
	char text[CONTROL_NOTE_BYTES];
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (unsigned n = 0;; n++) {
		unsigned letter = n % 26;
		memset(text, 'a' + (int)letter, 20 + 5 * letter);
		text[20 + 5 * letter] = '\0';
		control_note(control, "%s", text);
	}
}

static void a_reader_never_sees_half_of_one(void **state)
{
	(void)state;
	unsigned whole = 0;
	control_note(control, "aaaaaaaaaaaaaaaaaaaa");
	pid_t child = fork();
	if (child == 0)
		write_on();
	assert_true(child > 0);
	for (unsigned i = 0; i < READINGS || whole < 100; i++) {
		size_t length = strlen(read_note());
		if (length == 0)
			continue; /* the writer was always faster */
		whole++;
		assert_int_equal(length, 20 + 5 * (note[0] - 'a'));
		assert_int_equal(strspn(note, (char[]){note[0], '\0'}), length);
	}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	control_note(control, "after it");
	assert_string_equal(read_note(), "after it");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        T(a_note_is_read_as_it_was_written),
	        T(a_longer_one_is_cut),
	        T(bytes_that_are_not_printable_ascii_come_as_question_marks),
	        T(the_same_again_is_not_written),
	        T(a_note_whose_writer_died_in_it_is_empty_until_the_next_life_writes_one),
	        T(a_reader_never_sees_half_of_one),
	};
	alarm(60);
	return cmocka_run_group_tests_name("control note", tests, NULL, NULL);
}
