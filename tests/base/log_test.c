/* The log: one line, text or JSON, whatever the values hold. Standard error is a pipe while a line
 * is written. */
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
#include <poll.h>
#include <pty.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <termios.h>

#include "base/text.h"
#include "base/log.h"

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
	snprintf(
	        expected, sizeof expected,
	        "\"level\":\"warn\",\"stage\":\"tally\",\"pid\":%d,\"text\":\"two words\",\"role\":\"tally.0\",\"path\":\"/a b/c\",\"reason\":\"no \\\"such\\\" file=x\"}\n",
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

/* Whatever byte a value holds, and wherever its pair stands. */
static void no_value_can_forge_a_pair(void **state)
{
	(void)state;
	char value[64];
	log_init("x", LOG_INFO, LOG_JSON);
	for (unsigned byte = 1; byte < 256; byte++) {
		snprintf(value, sizeof value, "a%croot=b%c%c", (int)byte, (int)byte, (int)byte);
		capture();
		log_info("t", "n=%d first=%s big=%llu share=%.1f last=\"%.*s\" size=%zu", 7, value,
		         1ull << 40, 0.5, (int)sizeof value, value, (size_t)9);
		const char *line = after_stamp(release());
		assert_null(strstr(line, "\"root\":"));
		assert_non_null(strstr(line, "\"n\":\"7\",\"first\":\"a"));
		assert_non_null(strstr(line, "\",\"big\":\"1099511627776\",\"share\":\"0.5\",\"last\":\"a"));
		assert_non_null(strstr(line, "\",\"size\":\"9\"}\n"));
	}
	log_init("x", LOG_INFO, LOG_TEXT);
	capture();
	log_info("t", "a=\"%s\" b=%c%%", "1\x1froot=2", 'c');
	assert_non_null(strstr(release(), " t a=\"1\\x1froot=2\" b=c%\n"));
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
	assert_true(text_valid((const unsigned char *)line, strlen(line) - 1));
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

/* ---- nobody reads ---- */

#define LINES      3000
#define PIPE_BYTES 8192

/* Standard error becomes `fd`, which blocks; `end` is what reads it. The caller has an alarm: a
 * write that waits fails the test. */
static void become(int fd, int end)
{
	pipe_ends[0] = end;
	pipe_ends[1] = fd;
	saved_stderr = dup(STDERR_FILENO);
	dup2(fd, STDERR_FILENO);
}

static void log_lines(unsigned n)
{
	static char value[301];
	memset(value, 'v', sizeof value - 1);
	for (unsigned i = 0; i < n; i++)
		log_info("t", "i=%u value=%s", i, value);
}

static char taken[1 << 20];

/* Reads what waits, which makes room. Returns it. */
/* Appends what is there now to `taken`, from `used` on. Returns where it ends. */
static size_t read_more(int end, size_t used)
{
	int flags = fcntl(end, F_GETFL);
	fcntl(end, F_SETFL, flags | O_NONBLOCK);
	for (ssize_t n; (n = read(end, taken + used, sizeof taken - 1 - used)) > 0;)
		used += (size_t)n;
	fcntl(end, F_SETFL, flags);
	taken[used] = '\0';
	return used;
}

static const char *read_all(int end)
{
	(void)read_more(end, 0);
	return taken;
}

/* Sum of what the lines tell that say how many were dropped before them. */
static uint64_t told(const char *text)
{
	uint64_t sum = 0;
	for (const char *at = text; (at = strstr(at, "standard error did not take them lines=")) != NULL;
	     at++)
		sum += strtoull(strchr(at, '=') + 1, NULL, 10);
	return sum;
}

/* Lines that were dropped by a test before are told, so that the next one begins with none. */
static void tell_all(void)
{
	int fd[2];
	assert_int_equal(pipe(fd), 0);
	become(fd[1], fd[0]);
	log_info("t", NULL);
	(void)release();
}

/* More lines than there is room for: some are dropped, all of them counted, and the next one that
 * goes out says how many. */
static void overfill(void)
{
	uint64_t before = log_dropped();
	log_lines(LINES);
	uint64_t dropped = log_dropped() - before;
	int flags = fcntl(STDERR_FILENO, F_GETFL);
	size_t used = read_more(pipe_ends[0], 0);
	bool some = used > 0;
	/* A terminal hands on what it holds in its own time, so there may be no room for a
	 * while. */
	for (unsigned tries = 0; tries < 500 && strstr(taken, "after") == NULL; tries++) {
		log_info("after", NULL);
		(void)poll(&(struct pollfd){.fd = pipe_ends[0], .events = POLLIN}, 1, 10);
		used = read_more(pipe_ends[0], used);
	}
	uint64_t dropped_in_all = log_dropped() - before;
	fcntl(pipe_ends[0], F_SETFL, O_NONBLOCK);
	(void)release();
	assert_in_range(dropped, 1, LINES);
	assert_true(some);
	assert_int_equal(flags & O_NONBLOCK, 0); /* others have the same descriptor */
	assert_non_null(strstr(taken, "after"));
	assert_int_equal(told(taken) + told(captured), dropped_in_all);
}

static void make_pipe(int fd[2])
{
	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	assert_true(fcntl(fd[1], F_SETPIPE_SZ, PIPE_BYTES) > 0);
}

static void make_terminal(int fd[2])
{
	assert_int_equal(openpty(&fd[0], &fd[1], NULL, NULL, NULL), 0);
	struct termios raw;
	assert_int_equal(tcgetattr(fd[1], &raw), 0);
	cfmakeraw(&raw);
	assert_int_equal(tcsetattr(fd[1], TCSANOW, &raw), 0);
}

static void a_pipe_that_nobody_reads_holds_nobody_up(void **state)
{
	(void)state;
	tell_all();
	int fd[2];
	make_pipe(fd);
	become(fd[1], fd[0]);
	overfill();
}

static void a_terminal_that_stands_still_holds_nobody_up(void **state)
{
	(void)state;
	tell_all();
	int fd[2];
	make_terminal(fd);
	become(fd[1], fd[0]);
	overfill();
}

static void a_socket_that_nobody_reads_holds_nobody_up(void **state)
{
	(void)state;
	tell_all();
	int fd[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	become(fd[1], fd[0]);
	overfill();
}

/* No descriptor is left to open the pipe or the terminal anew. */
static void without_a_descriptor(void (*make)(int fd[2]))
{
	int fd[2];
	struct rlimit limit, none;
	tell_all();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	make(fd);
	become(fd[1], fd[0]);
	none = (struct rlimit){.rlim_cur = 3, .rlim_max = limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	int refused = open("/dev/null", O_RDONLY);
	overfill();
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(refused, -1);
}

static void a_full_pipe_holds_nobody_up_without_a_descriptor_to_spare(void **state)
{
	(void)state;
	without_a_descriptor(make_pipe);
}

static void a_terminal_that_stands_still_holds_nobody_up_without_a_descriptor_to_spare(void **state)
{
	(void)state;
	without_a_descriptor(make_terminal);
}

static void text_for_people_waits_for_nobody_either(void **state)
{
	(void)state;
	int fd[2];
	uint64_t before = log_dropped();
	static char text[3 * 5000 + 1];
	memset(text, 't', sizeof text - 1);
	text[4] = text[9] = text[9999] = '\n';
	make_pipe(fd);
	log_text(fd[1], "one\ntwo\n");
	assert_int_equal(log_dropped(), before);
	log_text(fd[1], text);
	assert_true(log_dropped() > before);
	assert_in_range(strlen(read_all(fd[0])), 18, PIPE_BYTES);
	close(fd[0]);
	close(fd[1]);
}

static void a_file_that_is_full_costs_the_line_and_is_counted(void **state)
{
	(void)state;
	tell_all();
	uint64_t before = log_dropped();
	int full = open("/dev/full", O_WRONLY), end = open("/dev/null", O_RDONLY | O_NONBLOCK);
	become(full, end);
	log_info("t", NULL);
	(void)release();
	assert_int_equal(log_dropped(), before + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(text_is_level_name_pid_text_and_pairs),
	        cmocka_unit_test(json_has_a_member_for_each_pair),
	        cmocka_unit_test(a_value_with_spaces_stays_with_its_key),
	        cmocka_unit_test(no_value_can_forge_a_pair),
	        cmocka_unit_test(control_characters_never_end_the_line),
	        cmocka_unit_test(what_is_below_the_level_is_not_written),
	        cmocka_unit_test(a_long_line_is_cut_and_json_stays_whole),
	        cmocka_unit_test(errno_survives),
	        cmocka_unit_test(a_file_that_is_full_costs_the_line_and_is_counted),
	        cmocka_unit_test(a_pipe_that_nobody_reads_holds_nobody_up),
	        cmocka_unit_test(a_terminal_that_stands_still_holds_nobody_up),
	        cmocka_unit_test(a_socket_that_nobody_reads_holds_nobody_up),
	        cmocka_unit_test(a_full_pipe_holds_nobody_up_without_a_descriptor_to_spare),
	        cmocka_unit_test(a_terminal_that_stands_still_holds_nobody_up_without_a_descriptor_to_spare),
	        cmocka_unit_test(text_for_people_waits_for_nobody_either),
	};
	alarm(30);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
