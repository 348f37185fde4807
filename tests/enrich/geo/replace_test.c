/* Databases that are replaced while look-ups go on: by rename and in place, with good, truncated
 * and garbage files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/log.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/geo.h"

#define NETWORKS     200u
#define REPLACEMENTS 100u
#define STEPS_MAX    50u /* looks and steps in which a small file is judged */

static uint64_t now_ns; /* the tests' own clock */
static time_t modified; /* each write gets a time of its own, as writes a second apart have */

/* libmaxminddb 1.7.1 forgets some memory when it refuses metadata (get_entry_data_list's first
 * pool); our own leaks are still found. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libmaxminddb.so\n";
}

struct file {
	unsigned char *bytes;
	size_t length;
};

/* Network i of version v is in the country with the letters v, i. */
static struct file version_file(unsigned version)
{
	struct mmdb_make make;
	struct file file;
	mmdb_init(&make, 28, 6, "Test-Version");
	make.build_epoch = 1000 + version; /* libmaxminddb refuses 0 */
	for (unsigned i = 0; i < NETWORKS; i++) {
		char code[3] = {(char)('A' + version % 26), (char)('A' + i % 26)};
		uint32_t record = mmdb_map(&make, 1);
		mmdb_text(&make, "country_code"), mmdb_text(&make, code);
		mmdb_add4(&make, 0x0b000000 + (i << 16), 16 + i % 16, record);
	}
	file.bytes = mmdb_finish(&make, &file.length);
	return file;
}

/* The letter of the version that answers, which must be the same for all networks; 'X' when none
 * does. */
static char version_in_use(struct geo *geo)
{
	char version = 0;
	for (unsigned i = 0; i < NETWORKS; i++) {
		uint8_t address[16] = {[10] = 0xff, [11] = 0xff, [12] = 11, [13] = (uint8_t)i};
		struct geo_place place;
		geo_lookup(geo, address, &place);
		if (version == 0)
			version = place.country[0];
		assert_int_equal(place.country[0], version);
		assert_int_equal(place.country[1], geo_status(geo)->loaded ? 'A' + (int)(i % 26) : 'X');
	}
	return version;
}

static void stamp(const char *path)
{
	modified++;
	struct timespec times[2] = {{.tv_sec = modified}, {.tv_sec = modified}};
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void put_in_place(const void *bytes, size_t length)
{
	geo_write(geo_path, bytes, length);
	stamp(geo_path);
}

static void put_by_rename(const void *bytes, size_t length)
{
	geo_write(geo_side, bytes, length);
	stamp(geo_side);
	assert_int_equal(rename(geo_side, geo_path), 0);
}

static void put_version(unsigned version)
{
	struct file file = version_file(version);
	put_by_rename(file.bytes, file.length);
	free(file.bytes);
}

/* The next look, or the next step. */
static bool tick(struct geo *geo)
{
	now_ns += GEO_CHECK_NS;
	return geo_check(geo, now_ns);
}

static uint64_t judged(const struct geo *geo)
{
	return geo_status(geo)->loads + geo_status(geo)->refusals;
}

/* Ticks until the file that is there now has been taken or refused; look-ups go on between. */
static void settle(struct geo *geo, char before, char after)
{
	uint64_t judged_before = judged(geo);
	for (unsigned i = 0; i < STEPS_MAX && judged(geo) == judged_before; i++) {
		bool taken = tick(geo);
		assert_int_equal(version_in_use(geo), taken ? after : before);
	}
	assert_int_equal(judged(geo), judged_before + 1);
	assert_int_equal(version_in_use(geo), after);
}

static void a_new_file_is_read_when_it_has_been_the_same_for_a_second(void **state)
{
	(void)state;
	put_version(0);
	struct geo *geo = geo_open(geo_path);
	assert_int_equal(version_in_use(geo), 'A');
	tick(geo);
	tick(geo);
	assert_int_equal(geo_status(geo)->loads, 1);
	struct file next = version_file(1);
	for (size_t length = 1; length < next.length;
	     length += next.length / 7) { /* somebody is still writing */
		put_in_place(next.bytes, length);
		tick(geo);
		assert_int_equal(judged(geo), 1);
	}
	put_in_place(next.bytes, next.length);
	tick(geo);
	uint64_t steps = 0;
	assert_false(geo_check(geo, now_ns + GEO_CHECK_NS - 1)); /* too early to look again */
	while (geo_status(geo)->loads == 1 && steps++ < STEPS_MAX)
		tick(geo);
	assert_int_equal(version_in_use(geo), 'B');
	assert_int_equal(geo_status(geo)->refusals, 0);
	assert_int_equal(geo_status(geo)->build_epoch, 1001);
	free(next.bytes);
	geo_close(geo);
}

static void a_file_that_comes_later_or_goes_is_no_trouble(void **state)
{
	(void)state;
	(void)unlink(geo_path);
	struct geo *geo = geo_open(geo_path);
	assert_int_equal(version_in_use(geo), 'X');
	tick(geo);
	put_version(2);
	settle(geo, 'X', 'C');
	assert_int_equal(unlink(geo_path), 0);
	for (unsigned i = 0; i < 5; i++) {
		tick(geo);
		assert_int_equal(version_in_use(geo), 'C');
	}
	put_version(3);
	settle(geo, 'C', 'D');
	geo_close(geo);
}

/* What is written: a good file, or one that is broken in one of the ways that files break. */
static bool spoil(struct file *file)
{
	size_t at = draw_below((unsigned)file->length);
	switch (draw_below(5)) {
	case 0: /* cut off */
		file->length = at;
		return true;
	case 1: /* something else altogether */
		for (size_t i = 0; i < file->length; i++)
			file->bytes[i] = (unsigned char)draw();
		return true;
	case 2: /* garbage in the tree */
		for (size_t i = 0; i < 64; i++)
			file->bytes[file->length / 4 + i] = (unsigned char)(draw() | 0x88);
		return true;
	case 3: /* pages that never reached the disk */
		memset(file->bytes + file->length / 2, 0, file->length - file->length / 2);
		return true;
	default:
		return false;
	}
}

static void replaced_100_times_with_good_and_broken_files_no_answer_is_ever_wrong(void **state)
{
	(void)state;
	unsigned refused = 0;
	put_version(0);
	struct geo *geo = geo_open(geo_path);
	char in_use = 'A';
	for (unsigned i = 1; i <= REPLACEMENTS; i++) {
		struct file file = version_file(i);
		char next = draw_one_in(2) && spoil(&file) ? in_use : (char)('A' + i % 26);
		refused += next == in_use;
		if (draw_one_in(2))
			put_in_place(file.bytes, file.length);
		else
			put_by_rename(file.bytes, file.length);
		settle(geo, in_use, next);
		in_use = next;
		free(file.bytes);
	}
	assert_int_equal(geo_status(geo)->refusals, refused);
	assert_true(refused > 10 && refused < 90);
	geo_close(geo);
}

/* Rewrites the file in place, in pieces, over and over, until nobody holds the other end of the
 * pipe. */
static void write_on(int until)
{
	struct file file[2] = {version_file(0), version_file(1)};
	char byte;
	for (unsigned n = 0; read(until, &byte, 1) != 0; n++) {
		const struct file *next = &file[n % 2];
		int fd = open(geo_path, O_WRONLY | O_CREAT | (n % 3 == 0 ? O_TRUNC : 0), 0600);
		for (size_t at = 0; at < next->length; at += 1000) {
			size_t piece = next->length - at < 1000 ? next->length - at : 1000;
			if (pwrite(fd, next->bytes + at, piece, (off_t)at) != (ssize_t)piece)
				_exit(1);
		}
		(void)close(fd);
	}
	_exit(0);
}

static void another_process_that_writes_all_the_time_never_makes_an_answer_wrong(void **state)
{
	(void)state;
	int until[2];
	assert_int_equal(pipe2(until, O_CLOEXEC | O_NONBLOCK), 0);
	put_version(0);
	struct geo *geo = geo_open(geo_path);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		(void)close(until[1]);
		write_on(until[0]);
	}
	for (unsigned n = 0; n < 3000; n++) {
		tick(geo);
		for (unsigned i = 0; i < NETWORKS; i++) {
			uint8_t address[16] = {[10] = 0xff, [11] = 0xff, [12] = 11, [13] = (uint8_t)i};
			struct geo_place place;
			geo_lookup(geo, address, &place);
			assert_true(place.country[0] == 'A' || place.country[0] == 'B');
			assert_int_equal(place.country[1], 'A' + (int)(i % 26));
		}
	}
	print_message("%u taken, %u refused while they were written\n", (unsigned)geo_status(geo)->loads,
	              (unsigned)geo_status(geo)->refusals);
	int status;
	(void)close(until[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	(void)close(until[0]);
	put_version(4);
	for (unsigned i = 0; i < 2 * STEPS_MAX && geo_status(geo)->build_epoch != 1004; i++)
		tick(geo);
	assert_int_equal(version_in_use(geo), 'E');
	geo_close(geo);
}

/* Opens what lies at geo_path, which must be refused, for this reason if one is given. */
static void assert_refused(const char *reason)
{
	struct geo *geo = geo_open(geo_path);
	assert_non_null(geo);
	if (geo_status(geo)->loaded)
		fail_msg("taken, though: %s", reason);
	assert_int_equal(geo_status(geo)->refusals, 1);
	if (strstr(geo_status(geo)->refusal, reason) == NULL)
		fail_msg("refused for \"%s\" instead of \"%s\"", geo_status(geo)->refusal, reason);
	assert_country(geo_at(geo, "11.0.0.1"), "XX");
	geo_close(geo);
}

static void a_file_cut_off_at_any_length_is_refused(void **state)
{
	(void)state;
	struct file file = version_file(0);
	put_in_place(file.bytes, file.length);
	struct geo *geo = geo_open(geo_path);
	assert_true(geo_status(geo)->loaded);
	geo_close(geo);
	for (size_t length = 0; length < file.length;
	     length += length < file.length - 300 ? 1 + draw_below(40) : 1) {
		put_in_place(file.bytes, length);
		assert_refused("");
	}
	free(file.bytes);
}

/* Whatever one byte is changed to: refused, or taken; in both cases every address can be asked
 * for. */
static void a_file_with_any_byte_changed_harms_nobody(void **state)
{
	(void)state;
	struct file file = version_file(0);
	unsigned taken = 0, refused = 0;
	for (size_t at = draw_below(4); at < file.length; at += 1 + draw_below(8)) {
		unsigned char was = file.bytes[at];
		file.bytes[at] ^= (unsigned char)(1 + draw_below(255));
		put_in_place(file.bytes, file.length);
		file.bytes[at] = was;
		struct geo *geo = geo_open(geo_path);
		taken += geo_status(geo)->loaded;
		refused += !geo_status(geo)->loaded;
		for (unsigned i = 0; i < 1000; i++) {
			uint8_t address[16] = {[10] = 0xff,
			                       [11] = 0xff,
			                       [12] = 11,
			                       [13] = (uint8_t)i,
			                       [14] = (uint8_t)draw()};
			struct geo_place place;
			geo_lookup(geo, address, &place);
			assert_in_range(place.country[0], 'A', 'Z');
			assert_in_range(place.country[1], 'A', 'Z');
		}
		geo_close(geo);
	}
	print_message("%u taken, %u refused\n", taken, refused);
	assert_true(taken > 0 && refused > 0);
	free(file.bytes);
}

static void put_record(void (*put)(struct mmdb_make *make))
{
	struct mmdb_make make;
	size_t length;
	mmdb_init(&make, 24, 6, "Test-Broken");
	mmdb_add4(&make, 0x0b000000, 8, 0);
	put(&make);
	unsigned char *bytes = mmdb_finish(&make, &length);
	put_in_place(bytes, length);
	free(bytes);
}

static void put_without_country(struct mmdb_make *make)
{
	mmdb_map(make, 1);
	mmdb_text(make, "autonomous_system_number"), mmdb_number(make, 6, 1299);
}

static void put_deep(struct mmdb_make *make)
{
	for (unsigned i = 0; i < 1000000; i++)
		mmdb_array(make, 1);
	mmdb_text(make, "SE");
}

static void put_pointer_to_itself(struct mmdb_make *make)
{
	mmdb_map(make, 1);
	mmdb_text(make, "country_code"), mmdb_pointer(make, make->used);
}

static void put_map_in_itself(struct mmdb_make *make)
{
	mmdb_map(make, 1);
	mmdb_text(make, "country"), mmdb_pointer(make, 0);
}

static void put_many_times_many(struct mmdb_make *make)
{
	uint32_t level = mmdb_map(make, 1);
	mmdb_text(make, "country_code"), mmdb_text(make, "SE");
	for (unsigned i = 0; i < 25; i++) {
		uint32_t next = mmdb_array(make, 2);
		mmdb_pointer(make, level), mmdb_pointer(make, level);
		level = next;
	}
	mmdb_add4(make, 0x0b010000, 16, level);
}

static void put_number_as_key(struct mmdb_make *make)
{
	mmdb_map(make, 1);
	mmdb_number(make, 5, 1), mmdb_text(make, "SE");
}

static void put_endless_map(struct mmdb_make *make)
{
	mmdb_map(make, 16000000);
	mmdb_text(make, "country_code"), mmdb_text(make, "SE");
}

static void what_is_wrong_is_said(void **state)
{
	(void)state;
	put_in_place("", 0);
	assert_refused("empty");
	put_in_place("not a database", 14);
	assert_refused("metadata");
	put_record(put_without_country);
	assert_refused("none of its records has a country");
	void (*const broken[])(struct mmdb_make *) = {put_deep, put_pointer_to_itself, put_map_in_itself,
	                                              put_number_as_key, put_endless_map};
	for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
		put_record(broken[i]);
		assert_refused("of the data is broken");
	}
	put_record(put_many_times_many);
	assert_refused("of the data has more than 2048 values");
	struct file file = version_file(0);
	memset(file.bytes + 7 * 5, 0xff, 7);
	put_in_place(file.bytes, file.length);
	assert_refused("node 5 of the search tree points nowhere");
	free(file.bytes);
	assert_int_equal(unlink(geo_path), 0);
	assert_int_equal(mkdir(geo_path, 0700), 0);
	assert_refused("not a file");
	assert_int_equal(rmdir(geo_path), 0);
}

/* Lines of the log, which goes into a file meanwhile. */
static unsigned lines_logged(struct geo *geo, unsigned ticks)
{
	int error_output = dup(STDERR_FILENO);
	int log = open(geo_side, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(error_output >= 0 && log >= 0 && dup2(log, STDERR_FILENO) >= 0);
	for (unsigned i = 0; i < ticks; i++)
		tick(geo);
	char text[4096];
	ssize_t n = pread(log, text, sizeof text, 0);
	assert_true(dup2(error_output, STDERR_FILENO) >= 0);
	(void)close(error_output);
	(void)close(log);
	unsigned lines = 0;
	for (ssize_t i = 0; i < n; i++)
		lines += text[i] == '\n';
	return lines;
}

static void each_change_is_logged_once(void **state)
{
	(void)state;
	put_version(0);
	struct geo *geo = geo_open(geo_path);
	log_init("geo_replace_test", LOG_INFO, LOG_TEXT);
	assert_int_equal(lines_logged(geo, 20), 0);
	put_in_place("garbage", 7);
	assert_int_equal(lines_logged(geo, 20), 1);
	assert_int_equal(lines_logged(geo, 20), 0);
	put_version(1);
	assert_int_equal(lines_logged(geo, 20), 1);
	assert_int_equal(unlink(geo_path), 0);
	assert_int_equal(lines_logged(geo, 20), 1);
	put_version(2);
	assert_int_equal(lines_logged(geo, 20), 1);
	assert_int_equal(version_in_use(geo), 'C');
	log_init("geo_replace_test", LOG_ERROR, LOG_TEXT);
	geo_close(geo);
}

int main(void)
{
	alarm(200);
	draw_init(20261121);
	log_init("geo_replace_test", LOG_ERROR, LOG_TEXT);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_new_file_is_read_when_it_has_been_the_same_for_a_second),
	        cmocka_unit_test(a_file_that_comes_later_or_goes_is_no_trouble),
	        cmocka_unit_test(replaced_100_times_with_good_and_broken_files_no_answer_is_ever_wrong),
	        cmocka_unit_test(another_process_that_writes_all_the_time_never_makes_an_answer_wrong),
	        cmocka_unit_test(a_file_cut_off_at_any_length_is_refused),
	        cmocka_unit_test(a_file_with_any_byte_changed_harms_nobody),
	        cmocka_unit_test(what_is_wrong_is_said),
	        cmocka_unit_test(each_change_is_logged_once),
	};
	return cmocka_run_group_tests(tests, geo_folder_make, geo_folder_remove);
}
