/* The log: one line, text or JSON, whatever the values hold. Standard error is a pipe while a line is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>

#include "shm/event_text.h"
#include "stage/log.h"

static int saved_stderr, pipe_ends[2];
static char captured[2 * LOG_LINE_MAX];

static void capture(void)
{
	assert_int_equal(pipe2(pipe_ends, O_NONBLOCK), 0);
	saved_stderr = dup(STDERR_FILENO);
	dup2(pipe_ends[1], STDERR_FILENO);
}

/* What was written since capture. */
static const char *release(void)
{
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	close(pipe_ends[1]);
	ssize_t n = read(pipe_ends[0], captured, sizeof captured - 1);
	close(pipe_ends[0]);
	captured[n < 0 ? 0 : n] = '\0';
	return captured;
}

static void assert_is_one_line(const char *line)
{
	assert_true(strlen(line) > 0 && strlen(line) <= LOG_LINE_MAX);
	assert_ptr_equal(strchr(line, '\n') + 1, line + strlen(line));
}

/* The JSON line without its time stamp, whose form is checked. */
static const char *after_stamp(const char *line)
{
	int year, month, day, hour, minute, second, ms, used = 0;
	assert_int_equal(sscanf(line, "{\"ts\":\"%4d-%2d-%2dT%2d:%2d:%2d.%3dZ\",%n", &year, &month, &day,
	                        &hour, &minute, &second, &ms, &used),
	                 7);
	assert_true(used > 0 && year >= 2024);
	return line + used;
}

static void text_is_level_name_pid_text_and_pairs(void **state)
{
	(void)state;
	char expected[200];
	log_init("tally", LOG_INFO, LOG_TEXT);
	capture();
	log_info("started", "role=%s n=%d", "tally.0", 7);
	snprintf(expected, sizeof expected, "info tally[%d] started role=tally.0 n=7\n", (int)getpid());
	assert_string_equal(release(), expected);
	capture();
	log_error("ended", NULL);
	snprintf(expected, sizeof expected, "error tally[%d] ended\n", (int)getpid());
	assert_string_equal(release(), expected);
}

static void json_has_a_member_for_each_pair(void **state)
{
	(void)state;
	char expected[300];
	log_init("tally", LOG_INFO, LOG_JSON);
	capture();
	log_warn("two words", "role=%s path=\"%s\" reason=%s", "tally.0", "/a b/c", "no \"such\" file=x");
	snprintf(expected, sizeof expected,
	         "\"level\":\"warn\",\"stage\":\"tally\",\"pid\":%d,\"text\":\"two "
	         "words\",\"role\":\"tally.0\","
	         "\"path\":\"/a b/c\",\"reason\":\"no \\\"such\\\" file=x\"}\n",
	         (int)getpid());
	assert_string_equal(after_stamp(release()), expected);
}

static void a_value_with_spaces_stays_with_its_key(void **state)
{
	(void)state;
	log_init("x", LOG_INFO, LOG_JSON);
	capture();
	log_info("t", "a=%s b=%s", "one two=three", "four");
	assert_non_null(strstr(release(), "\"a\":\"one two=three\",\"b\":\"four\"}"));
}

static void control_characters_never_end_the_line(void **state)
{
	(void)state;
	log_init("x", LOG_INFO, LOG_TEXT);
	capture();
	log_info("t", "v=%s", "a\nerror x[1] forged\r\x1b[2J\x7f");
	const char *line = release();
	assert_is_one_line(line);
	assert_non_null(strstr(line, "v=a\\x0aerror x[1] forged\\x0d\\x1b[2J\\x7f\n"));
	log_init("x", LOG_INFO, LOG_JSON);
	capture();
	log_info("t", "v=%s", "a\nb\xff");
	line = release();
	assert_is_one_line(line);
	assert_true(event_text_valid((const unsigned char *)line, strlen(line) - 1));
	assert_non_null(strstr(line, "\"v\":\"a\\n"));
}

static void what_is_below_the_level_is_not_written(void **state)
{
	(void)state;
	log_init_words("x", "warn", "text");
	capture();
	log_debug("d", NULL);
	log_info("i", NULL);
	assert_string_equal(release(), "");
	capture();
	log_warn("w", NULL);
	assert_is_one_line(release());
	log_init_words("x", "debug", "json");
	capture();
	log_debug("d", NULL);
	assert_non_null(strstr(release(), "\"level\":\"debug\""));
}

static void a_long_line_is_cut_and_json_stays_whole(void **state)
{
	(void)state;
	static char value[3 * LOG_LINE_MAX];
	memset(value, 'v', sizeof value - 1);
	log_init("x", LOG_INFO, LOG_TEXT);
	capture();
	log_info("t", "a=%s", value);
	assert_is_one_line(release());
	memset(value, '\x01', sizeof value - 1);
	log_init("x", LOG_INFO, LOG_JSON);
	capture();
	log_info("t", "first=%s long=%s", "1", value);
	const char *line = release();
	assert_is_one_line(line);
	assert_non_null(strstr(line, "\"first\":\"1\"}\n"));
}

static void errno_survives(void **state)
{
	(void)state;
	log_init("x", LOG_INFO, LOG_TEXT);
	capture();
	close(STDERR_FILENO);
	errno = ENOSPC;
	log_info("t", NULL);
	assert_int_equal(errno, ENOSPC);
	assert_string_equal(release(), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(text_is_level_name_pid_text_and_pairs),
	        cmocka_unit_test(json_has_a_member_for_each_pair),
	        cmocka_unit_test(a_value_with_spaces_stays_with_its_key),
	        cmocka_unit_test(control_characters_never_end_the_line),
	        cmocka_unit_test(what_is_below_the_level_is_not_written),
	        cmocka_unit_test(a_long_line_is_cut_and_json_stays_whole),
	        cmocka_unit_test(errno_survives),
	};
	alarm(10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
