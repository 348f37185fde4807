/* One growing file: what a life that was killed left is cut off, what others do to it is seen, and
 * nothing is there twice. A life ends here by closing the file without a word to its memory. */
#include "sink/file/growing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "sink/file/rotated.h"

struct fixture {
	char folder[64], path[96];
	struct growing_private private; /* as the segment keeps it over the lives */
	struct redo redo;
	struct growing growing;
	_Atomic uint64_t cursor; /* moves with the length */
	uint64_t next_cursor;
	struct shm_error error;
};

static void begin(struct fixture *f)
{
	f->redo = (struct redo){.note = &f->private.note.note,
	                        .base = {(char *)&f->private, (char *)f},
	                        .bytes = {sizeof f->private, sizeof *f}};
	assert_true(redo_recover(&f->redo) >= 0);
	f->growing = (struct growing){.path = f->path};
	assert_int_equal(growing_open(&f->growing, &f->private, &f->redo, &f->error), 0);
}

/* The next life. */
static void die(struct fixture *f)
{
	growing_close(&f->growing);
	begin(f);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	if (f == NULL)
		return -1;
	strcpy(f->folder, "/tmp/millrace-growing-XXXXXX");
	if (mkdtemp(f->folder) == NULL)
		return -1;
	snprintf(f->path, sizeof f->path, "%s/lines", f->folder);
	begin(f);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char path[PATH_MAX];
	growing_close(&f->growing);
	DIR *folder = opendir(f->folder);
	for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
		snprintf(path, sizeof path, "%s/%s", f->folder, entry->d_name);
		(void)unlink(path);
	}
	if (folder != NULL)
		closedir(folder);
	(void)rmdir(f->folder);
	free(f);
	return 0;
}

static void note_cursor(void *argument)
{
	struct fixture *f = argument;
	redo_add(&f->redo, 1, &f->cursor, f->next_cursor);
}

static int write_text(struct fixture *f, const char *text)
{
	f->next_cursor = f->cursor + 1;
	return growing_write(&f->growing, text, strlen(text), note_cursor, f, &f->error);
}

static void must_write(struct fixture *f, const char *text)
{
	if (write_text(f, text) != 0)
		fail_msg("%s", f->error.text);
}

static void assert_content(const char *path, const char *expected)
{
	char text[512];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	assert_true(n >= 0);
	text[n] = '\0';
	assert_string_equal(text, expected);
}

/* Puts the bytes at the end of the file, as a write does that has not come to its note. */
static void half_write(const struct fixture *f, const char *path, const char *text, size_t meant)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | O_APPEND);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	struct growing_words *words = (struct growing_words *)(uintptr_t)&f->private.words;
	words->intent = words->length + meant;
}

static unsigned files_in(const struct fixture *f)
{
	unsigned n = 0;
	DIR *folder = opendir(f->folder);
	assert_non_null(folder);
	for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
		n += entry->d_name[0] != '.';
	closedir(folder);
	return n;
}

static void lines_and_the_cursor_move_together(void **state)
{
	struct fixture *f = *state;
	must_write(f, "a\nb\n");
	assert_int_equal(f->cursor, 1);
	die(f);
	must_write(f, "c\n");
	assert_int_equal(f->cursor, 2);
	assert_content(f->path, "a\nb\nc\n");
	assert_int_equal(f->growing.counts.cut_bytes + f->growing.counts.foreign_changes, 0);
}

static void what_was_written_and_not_noted_is_cut_off(void **state)
{
	struct fixture *f = *state;
	static const char *const left[] = {"", "b", "b\nc\n", "b\nc\nd\n"};
	must_write(f, "a\n");
	for (size_t i = 0; i < sizeof left / sizeof left[0]; i++) {
		half_write(f, f->path, left[i], 6);
		die(f);
		assert_int_equal(growing_look(&f->growing, &f->error), 0);
		assert_content(f->path, "a\n");
		assert_int_equal(f->growing.counts.cut_bytes, strlen(left[i]));
		assert_int_equal(f->cursor, 1);
	}
	must_write(f, "b\n");
	assert_content(f->path, "a\nb\n");
	assert_int_equal(f->growing.counts.foreign_changes, 0);
}

/* The note is published and not applied: the write counts, and is not cut. */
static void a_published_note_is_finished_by_the_next_life(void **state)
{
	struct fixture *f = *state;
	must_write(f, "a\n");
	half_write(f, f->path, "b\n", 2);
	redo_add(&f->redo, 0, &f->private.words.length, 4);
	redo_add(&f->redo, 1, &f->cursor, 2);
	redo_publish(&f->redo);
	die(f);
	must_write(f, "c\n");
	assert_content(f->path, "a\nb\nc\n");
	assert_int_equal(f->cursor, 3);
}

static void a_file_that_was_moved_while_it_was_written_to_is_cut_where_it_is(void **state)
{
	struct fixture *f = *state;
	char moved[128];
	snprintf(moved, sizeof moved, "%s.1", f->path);
	must_write(f, "a\n");
	half_write(f, f->path, "b\n", 2);
	growing_close(&f->growing);
	assert_int_equal(rename(f->path, moved), 0);
	begin(f);
	must_write(f, "b\n");
	assert_content(moved, "a\n");
	assert_content(f->path, "b\n");
}

static void a_file_that_is_gone_begins_anew(void **state)
{
	struct fixture *f = *state;
	must_write(f, "a\n");
	assert_int_equal(unlink(f->path), 0);
	must_write(f, "b\n");
	assert_content(f->path, "b\n");
	assert_int_equal(f->growing.counts.reopened, 1);
	/* Also when it goes between two lives, in the middle of a write. */
	half_write(f, f->path, "c", 2);
	growing_close(&f->growing);
	assert_int_equal(unlink(f->path), 0);
	begin(f);
	must_write(f, "c\n");
	assert_content(f->path, "c\n");
}

static void what_others_append_stays_and_what_they_take_is_gone(void **state)
{
	struct fixture *f = *state;
	must_write(f, "a\n");
	half_write(f, f->path, "x", 0);
	must_write(f, "b\n");
	assert_content(f->path, "a\nx\nb\n");
	assert_int_equal(truncate(f->path, 2), 0);
	must_write(f, "c\n");
	assert_content(f->path, "a\nc\n");
	die(f);
	assert_int_equal(truncate(f->path, 0), 0);
	must_write(f, "d\n");
	assert_content(f->path, "d\n");
}

/* The limit of a file's size stands for a full disk: a part of the write is done. */
static void a_write_that_fails_in_the_middle_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct rlimit before, small = {0};
	must_write(f, "a\n");
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small.rlim_cur = 5;
	small.rlim_max = before.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	int result = write_text(f, "bcdefgh\n");
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(result, -EFBIG);
	assert_content(f->path, "a\n");
	assert_int_equal(f->cursor, 1);
	assert_int_equal(f->private.words.intent, 2);
	must_write(f, "bcdefgh\n");
	assert_content(f->path, "a\nbcdefgh\n");
}

static void what_is_no_regular_file_is_refused(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(mkfifo(f->path, 0600), 0);
	assert_int_equal(write_text(f, "a\n"), -EINVAL);
	assert_non_null(strstr(f->error.text, "is no regular file"));
	assert_int_equal(unlink(f->path), 0);
	assert_int_equal(mkdir(f->path, 0700), 0);
	assert_int_equal(write_text(f, "a\n"), -EISDIR);
	assert_int_equal(rmdir(f->path), 0);
	must_write(f, "a\n");
	assert_content(f->path, "a\n");
}

static void a_file_has_one_writer(void **state)
{
	struct fixture *f = *state;
	struct growing_private other_private = {0};
	struct redo redo = {.note = &other_private.note.note, .base = {(char *)&other_private}};
	struct growing other = {.path = f->path};
	must_write(f, "a\n");
	assert_int_equal(growing_open(&other, &other_private, &redo, &f->error), 0);
	assert_int_equal(growing_look(&other, &f->error), -EBUSY);
	assert_non_null(strstr(f->error.text, "another process has locked it"));
	growing_close(&f->growing);
	assert_int_equal(growing_look(&other, &f->error), 0);
	growing_close(&other);
}

static void rotated_files_keep_their_lines_and_the_oldest_go(void **state)
{
	struct fixture *f = *state;
	uint64_t second = 1795782600 * NS_PER_SEC;
	char name[160];
	f->growing.rotate_bytes = 2;
	f->growing.keep = 2;
	assert_int_equal(growing_rotate(&f->growing, second, &f->error), 0);
	assert_int_equal(files_in(f), 0); /* there is nothing to rotate */
	for (unsigned i = 0; i < 12; i++) {
		char line[3] = {(char)('a' + i), '\n', '\0'};
		must_write(f, line);
		assert_int_equal(growing_rotate(&f->growing, second, &f->error), 0);
	}
	assert_int_equal(f->growing.counts.rotations, 12);
	assert_int_equal(files_in(f), 2);
	/* The numbers of one second are counted, not compared as text: 11 and 12 are the newest. */
	snprintf(name, sizeof name, "%s.20261127T123000Z-12", f->path);
	assert_content(name, "l\n");
	snprintf(name, sizeof name, "%s.20261127T123000Z-11", f->path);
	assert_content(name, "k\n");
	/* A clock that was set back does not make the newest the oldest. */
	must_write(f, "y\n");
	assert_int_equal(growing_rotate(&f->growing, second - 3600 * NS_PER_SEC, &f->error), 0);
	snprintf(name, sizeof name, "%s.20261127T123000Z-13", f->path);
	assert_content(name, "y\n");
	assert_int_equal(files_in(f), 2);
	/* Another inode number does not come into it: the next file may have that of one
	 * removed. */
	must_write(f, "m\n");
	assert_int_equal(f->growing.counts.foreign_changes, 0);
	assert_content(f->path, "m\n");
}

static void a_file_of_somebody_else_is_not_rotated(void **state)
{
	struct fixture *f = *state;
	char moved[128];
	snprintf(moved, sizeof moved, "%s.moved", f->path);
	must_write(f, "a\n");
	assert_int_equal(rename(f->path, moved), 0);
	f->growing.rotate_bytes = 2;
	assert_int_equal(growing_rotate(&f->growing, clock_real_ns(), &f->error), 0);
	assert_int_equal(f->growing.counts.rotations, 0);
	must_write(f, "b\n");
	assert_content(moved, "a\n");
	assert_content(f->path, "b\n");
}

static void rotation_by_age_waits_for_a_line(void **state)
{
	struct fixture *f = *state;
	uint64_t now = clock_real_ns();
	f->growing.rotate_ns = 10 * NS_PER_SEC;
	assert_int_equal(growing_look(&f->growing, &f->error), 0);
	assert_int_equal(growing_rotate(&f->growing, now + 3600 * NS_PER_SEC, &f->error), 0);
	assert_int_equal(f->growing.counts.rotations, 0);
	must_write(f, "a\n");
	die(f);
	f->growing.rotate_ns = 10 * NS_PER_SEC;
	assert_int_equal(growing_look(&f->growing, &f->error), 0);
	assert_int_equal(growing_rotate(&f->growing, now + 9 * NS_PER_SEC, &f->error), 0);
	assert_int_equal(f->growing.counts.rotations, 0);
	assert_int_equal(growing_rotate(&f->growing, now + 12 * NS_PER_SEC, &f->error), 0);
	assert_int_equal(f->growing.counts.rotations, 1);
	/* A clock that was set back does not make it old. */
	must_write(f, "b\n");
	assert_int_equal(growing_rotate(&f->growing, 1, &f->error), 0);
	assert_int_equal(f->growing.counts.rotations, 1);
}

static void a_death_within_a_rotation_leaves_each_line_once(void **state)
{
	struct fixture *f = *state;
	must_write(f, "a\n");
	/* It has its other name, and the words know nothing of it. */
	assert_int_equal(rotated_rename(f->path, clock_real_ns()), 0);
	die(f);
	must_write(f, "b\n");
	assert_content(f->path, "b\n");
	assert_int_equal(files_in(f), 2);
}

static void other_files_are_not_taken_for_rotated_ones(void **state)
{
	struct fixture *f = *state;
	static const char *const others[] = {"lines.1",
	                                     "lines.20261127T123000Z.gz",
	                                     "lines.20261127T12300Z",
	                                     "lines.20261127",
	                                     "line.20261127T123000Z",
	                                     "lines.20261127T123000Z-",
	                                     "lines.20261127T123000Z-x"};
	char path[160];
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
		snprintf(path, sizeof path, "%s/%s", f->folder, others[i]);
		int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		assert_true(fd >= 0);
		close(fd);
	}
	assert_int_equal(rotated_remove(f->path, 1), 0);
	assert_int_equal(files_in(f), sizeof others / sizeof others[0]);
}

static void a_layout_of_another_build_is_refused(void **state)
{
	struct fixture *f = *state;
	f->private.words.layout = 7;
	assert_int_equal(growing_open(&f->growing, &f->private, &f->redo, &f->error), -EPROTO);
}

#define life(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        life(lines_and_the_cursor_move_together),
	        life(what_was_written_and_not_noted_is_cut_off),
	        life(a_published_note_is_finished_by_the_next_life),
	        life(a_file_that_was_moved_while_it_was_written_to_is_cut_where_it_is),
	        life(a_file_that_is_gone_begins_anew),
	        life(what_others_append_stays_and_what_they_take_is_gone),
	        life(a_write_that_fails_in_the_middle_leaves_nothing),
	        life(what_is_no_regular_file_is_refused),
	        life(a_file_has_one_writer),
	        life(rotated_files_keep_their_lines_and_the_oldest_go),
	        life(a_file_of_somebody_else_is_not_rotated),
	        life(rotation_by_age_waits_for_a_line),
	        life(a_death_within_a_rotation_leaves_each_line_once),
	        life(other_files_are_not_taken_for_rotated_ones),
	        life(a_layout_of_another_build_is_refused),
	};
	alarm(20);
	log_init("growing_test", LOG_ERROR, LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
