/* The index of uploads on disk: what is read back, what a cut or foreign line does, who may write
 * it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sink/objects/index.h"
#include "tests/fixture/sandbox.h"

#define TOKEN_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define TOKEN_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static struct sandbox sandbox;
static struct index *index_;
static struct shm_error error;

static void reopen(void)
{
	index_close(index_);
	if (index_open(&index_, sandbox.directory, "logs", &error) != 0)
		fail_msg("%s", error.text);
}

static int set_up(void **state)
{
	(void)state;
	index_ = NULL;
	if (sandbox_make(&sandbox) != 0)
		return -1;
	reopen();
	return 0;
}

static int tear_down(void **state)
{
	char path[300];
	(void)state;
	index_close(index_);
	static const char *const files[] = {"logs.open", "logs.lock", "logs.open.new"};
	for (unsigned i = 0; i < 3; i++) {
		snprintf(path, sizeof path, "%s/sinks/%s", sandbox.directory, files[i]);
		(void)unlink(path);
	}
	snprintf(path, sizeof path, "%s/sinks", sandbox.directory);
	(void)rmdir(path);
	sandbox_remove(&sandbox);
	return 0;
}

static void open_upload(const char *token, const char *name)
{
	struct journal_view view = {.key = "k\"\\/\x01",
	                            .key_bytes = 5,
	                            .name = name,
	                            .name_bytes = strlen(name),
	                            .upload = "id \"1\"",
	                            .upload_bytes = 6,
	                            .token = token,
	                            .words = {7, UINT64_C(1) << 62}};
	index_opened(index_, &view, "gzip", "application/x-ndjson");
}

static void confirm(const char *token, uint32_t number)
{
	struct store_part part = {.number = number, .bytes = 1000 + number};
	snprintf(part.etag, sizeof part.etag, "\"etag-%u\"", number);
	index_confirmed(index_, token, &part);
}

/* Appends to the file behind its back. */
static void append(const char *text)
{
	char path[300];
	snprintf(path, sizeof path, "%s/sinks/logs.open", sandbox.directory);
	int fd = open(path, O_WRONLY | O_APPEND);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static off_t file_bytes(void)
{
	char path[300];
	struct stat status;
	snprintf(path, sizeof path, "%s/sinks/logs.open", sandbox.directory);
	assert_int_equal(stat(path, &status), 0);
	return status.st_size;
}

static void what_is_open_is_read_back(void **state)
{
	(void)state;
	open_upload(TOKEN_A, "a");
	confirm(TOKEN_A, 1);
	open_upload(TOKEN_B, "b");
	confirm(TOKEN_A, 2);
	confirm(TOKEN_B, 1);
	index_done(index_, TOKEN_B);
	assert_null(index_left(index_, 0)); /* of this life: not left */
	reopen();
	const struct index_entry *entry = index_left(index_, 0);
	assert_non_null(entry);
	assert_null(index_left(index_, 1));
	assert_string_equal(entry->token, TOKEN_A);
	assert_string_equal(entry->key, "k\"\\/\x01");
	assert_string_equal(entry->name, "a");
	assert_string_equal(entry->upload, "id \"1\"");
	assert_string_equal(entry->encoding, "gzip");
	assert_string_equal(entry->type, "application/x-ndjson");
	assert_true(entry->words[0] == 7 && entry->words[1] == UINT64_C(1) << 62);
	assert_int_equal(entry->n_parts, 2);
	assert_int_equal(entry->part[1].number, 2);
	assert_int_equal(entry->part[1].bytes, 1002);
	assert_string_equal(entry->part[1].etag, "\"etag-2\"");
}

static void another_upload_of_a_token_replaces_the_first(void **state)
{
	(void)state;
	open_upload(TOKEN_A, "a");
	confirm(TOKEN_A, 1);
	open_upload(TOKEN_A, "a_2");
	confirm(TOKEN_A, 5);
	reopen();
	const struct index_entry *entry = index_left(index_, 0);
	assert_string_equal(entry->name, "a_2");
	assert_int_equal(entry->n_parts, 1);
	assert_int_equal(entry->part[0].number, 5);
}

static void lines_that_make_no_sense_are_left_out(void **state)
{
	(void)state;
	static const char *const lines[] = {
	        "\n",
	        "[]\n",
	        "{\"open\": \"short\"}\n",
	        "{\"open\": \"" TOKEN_B "\"}\n",
	        "{\"part\": \"" TOKEN_B "\", \"number\": 1}\n",
	        "{\"part\": \"" TOKEN_A "\", \"number\": 1, \"bytes\": -1, \"etag\": \"x\"}\n",
	        "{\"part\": \"" TOKEN_A "\", \"number\": 3, \"bytes\": 1, \"etag\": \"x\"}\n",
	        "{\"done\": 5}\n",
	        "\xff\xfe\n"};
	open_upload(TOKEN_A, "a");
	confirm(TOKEN_A, 1);
	for (unsigned i = 0; i < sizeof lines / sizeof *lines; i++)
		append(lines[i]);
	confirm(TOKEN_A, 2);
	append("{\"part\": \"" TOKEN_A "\", \"numb"); /* a cut write */
	reopen();
	const struct index_entry *entry = index_left(index_, 0);
	assert_non_null(entry);
	assert_null(index_left(index_, 1));
	assert_int_equal(entry->n_parts, 2);
}

static void written_anew_it_keeps_what_is_open_and_what_is_left(void **state)
{
	(void)state;
	open_upload(TOKEN_A, "a");
	confirm(TOKEN_A, 1);
	reopen();
	open_upload(TOKEN_B, "b");
	for (unsigned i = 1; i <= 1000; i++)
		confirm(TOKEN_B, i);
	off_t before = file_bytes();
	index_begin(index_);
	open_upload(TOKEN_B, "b");
	index_end(index_, 1);
	assert_true(file_bytes() < before / 10);
	confirm(TOKEN_B, 1);
	reopen();
	assert_string_equal(index_left(index_, 0)->name, "a");
	assert_int_equal(index_left(index_, 0)->n_parts, 1);
	assert_string_equal(index_left(index_, 1)->name, "b");
	assert_int_equal(index_left(index_, 1)->n_parts, 1);
	index_drop_left(index_, TOKEN_A);
	assert_string_equal(index_left(index_, 0)->name, "b");
	index_begin(index_);
	index_end(index_, 2);
	reopen();
	assert_string_equal(index_left(index_, 0)->name, "b");
	assert_null(index_left(index_, 1));
}

static void it_becomes_long_and_is_written_anew_in_time(void **state)
{
	(void)state;
	open_upload(TOKEN_A, "a");
	assert_false(index_is_long(index_, 1));
	for (unsigned i = 1; !index_is_long(index_, 1); i++) {
		confirm(TOKEN_A, i);
		assert_true(i < 1000000);
	}
	assert_true(file_bytes() >= 4 << 20 && file_bytes() < 5 << 20);
	index_begin(index_);
	index_end(index_, 1);
	assert_false(index_is_long(index_, 1));
	assert_int_equal(file_bytes(), 0);
}

static void one_process_has_it(void **state)
{
	struct index *second;
	(void)state;
	assert_int_equal(index_open(&second, sandbox.directory, "logs", &error), -EBUSY);
	assert_null(second);
	assert_non_null(strstr(error.text, "logs.lock: another process keeps objects"));
}

/* A folder in place of the file that it would be written to. */
static void one_that_cannot_be_written_anew_stays_as_it_is(void **state)
{
	char path[300];
	(void)state;
	open_upload(TOKEN_A, "a");
	snprintf(path, sizeof path, "%s/sinks/logs.open.new", sandbox.directory);
	assert_int_equal(mkdir(path, 0700), 0);
	index_begin(index_);
	index_end(index_, 10);
	assert_false(index_is_long(index_, 10));
	assert_int_equal(rmdir(path), 0);
	assert_true(index_is_long(index_, UINT64_C(60) * 1000000000)); /* it is tried again */
	reopen();
	assert_string_equal(index_left(index_, 0)->name, "a");
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        T(what_is_open_is_read_back),
	        T(another_upload_of_a_token_replaces_the_first),
	        T(lines_that_make_no_sense_are_left_out),
	        T(written_anew_it_keeps_what_is_open_and_what_is_left),
	        T(it_becomes_long_and_is_written_anew_in_time),
	        T(one_process_has_it),
	        T(one_that_cannot_be_written_anew_stays_as_it_is),
	};
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
