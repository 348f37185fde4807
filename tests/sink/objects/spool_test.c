/* The spool under uploads: a store that is down for longer than memory lasts, a sink that dies
 * meanwhile, and a disk that loses what was given to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "sink/objects/upload.h"
#include "tests/fixture/uploads.h"

#define BODY_BYTES (2u << 20)
#define MEMBER     4096u
#define PART       40960u
#define LINE       512u /* bytes of a line, its newline included */
#define SIZE       (64u << 20)
#define PATIENCE   20000u /* times 1 ms */

static struct uploads f;

static struct {
	struct spool *spool;
	uint64_t size;
	unsigned n_abandoned;
	uint64_t abandoned_bytes, random;
	char path[64];
} own;

static bool down;

static void abandoned(void *argument, const struct journal_view *object, uint64_t bytes, const char *reason)
{
	(void)argument;
	(void)object;
	assert_non_null(strstr(reason, "spool"));
	own.n_abandoned++;
	own.abandoned_bytes += bytes;
}

static struct scripted_answer unless_down(const struct store_request *request)
{
	(void)request;
	return down ? (struct scripted_answer){.acts = false, .result = -EAGAIN}
	            : (struct scripted_answer){.acts = true, .result = SCRIPTED_NATURAL};
}

static void leave(void)
{
	uploads_leave(&f);
	spool_close(own.spool);
	own.spool = NULL;
}

/* The spool takes up what the journal has, so the journal comes first. */
static void live_on(void)
{
	struct shm_error error;
	leave();
	assert_int_equal(journal_body_live(&f.body), 0);
	if (spool_open(&own.spool, own.path, "us\n", own.size, f.body.journal, &error) != 0)
		fail_msg("%s", error.text);
	f.options.spool = own.spool;
	uploads_open(&f);
}

static int set_up(void **state)
{
	(void)state;
	memset(&own, 0, sizeof own);
	own.random = 88172645463325252u;
	own.size = SIZE;
	down = false;
	snprintf(own.path, sizeof own.path, "/tmp/millrace_spool_XXXXXX");
	if (mkdtemp(own.path) == NULL || uploads_make(&f, (struct uploads_sizes){.body_bytes = BODY_BYTES,
	                                                                         .part_bytes = PART,
	                                                                         .member_bytes = MEMBER,
	                                                                         .line_bytes = LINE}) != 0)
		return -1;
	scripted.decide = unless_down;
	f.options.backoff_max_ns = 4 * NS_PER_SEC;
	f.options.abandoned = abandoned;
	live_on();
	return 0;
}

/* Files of the directory but the owner's; what: done to each, NULL: nothing. */
static unsigned each_file(void (*what)(const char *path))
{
	char path[400];
	struct dirent *entry;
	unsigned n = 0;
	DIR *directory = opendir(own.path);
	assert_non_null(directory);
	while ((entry = readdir(directory)) != NULL) {
		if (entry->d_name[0] == '.' || strcmp(entry->d_name, "owner") == 0)
			continue;
		n++;
		snprintf(path, sizeof path, "%s/%s", own.path, entry->d_name);
		if (what != NULL)
			what(path);
	}
	closedir(directory);
	return n;
}

static void delete_file(const char *path)
{
	(void)unlink(path);
}

static int tear_down(void **state)
{
	char path[128];
	(void)state;
	leave();
	uploads_remove(&f);
	(void)each_file(delete_file);
	snprintf(path, sizeof path, "%s/owner", own.path);
	(void)unlink(path);
	return rmdir(own.path);
}

/* ---- steps ---- */

/* For the spool's thread, at most a millisecond. */
static void wait_a_little(void)
{
	struct pollfd fd = {.fd = spool_wait(own.spool).fd, .events = POLLIN};
	(void)poll(&fd, 1, 1);
	uploads_work(&f);
}

static struct spool_counts counts(void)
{
	struct spool_counts now;
	spool_count(own.spool, &now);
	return now;
}

/* As the loop of the stage does it. False when there is no room for the line. */
static bool make_room(unsigned patience)
{
	for (unsigned i = 0; i < patience; i++) {
		while (upload_relieve(f.upload, f.now_ns))
			uploads_work(&f);
		if (!upload_short(f.upload))
			return true;
		f.now_ns += 60 * NS_PER_MS;
		wait_a_little();
	}
	return false;
}

static unsigned add_some(const char *key, unsigned n, unsigned patience)
{
	for (unsigned i = 0; i < n; i++) {
		if (!make_room(patience))
			return i;
		uploads_add(&f, key);
	}
	return n;
}

static void add_lines(const char *key, unsigned n)
{
	if (add_some(key, n, PATIENCE) != n)
		fail_msg("there is no room");
}

static void finish_all(void)
{
	upload_finish_all(f.upload);
	uploads_work(&f);
	for (unsigned i = 0; uploads_left(&f) != 0 || counts().parts != 0; i++) {
		assert_true(i < PATIENCE);
		wait_a_little();
		uploads_later(&f, 300 * NS_PER_MS);
	}
	assert_int_equal(each_file(NULL), 0);
	assert_int_equal(counts().bytes, 0);
}

/* Each line is in the store once, but for so many. */
static void check_lines(unsigned missing)
{
	assert_int_equal(f.n_lines - uploads_kept(&f, NULL), missing);
}

/* The store is down and so much is spooled. */
static void fill(const char *key, unsigned n_parts)
{
	down = true;
	while (counts().spooled < n_parts)
		add_lines(key, 10);
}

/* ---- an outage ---- */

static void an_outage_that_outlasts_memory_loses_nothing(void **state)
{
	(void)state;
	add_lines("a", 100);
	down = true;
	for (unsigned i = 0; i < 30 || counts().spooled <= 10; i++) {
		add_lines("a", 200);
		add_lines("b", 100);
		add_lines("c", 50);
	}
	assert_true(counts().bytes > BODY_BYTES);
	assert_int_not_equal(each_file(NULL), 0);
	down = false;
	finish_all();
	assert_int_equal(own.n_abandoned, 0);
	assert_int_equal(scripted_open_uploads(), 0);
	check_lines(0);
}

static void nothing_is_spooled_while_the_store_works(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 10; i++)
		add_lines("a", 1000);
	finish_all();
	assert_int_equal(counts().spooled, 0);
	check_lines(0);
}

#define KEYS 6u

static void a_part_below_the_stores_least_is_its_objects_last(void **state)
{
	(void)state;
	f.options.part_bytes = 1u << 20;
	scripted.traits.part_min = 1u << 19;
	live_on();
	down = true;
	for (unsigned i = 0; i < 20 || counts().spooled <= 4; i++) { /* its thread may be slow */
		add_lines("a", 200);
		add_lines("b", 100);
		add_lines("c", 100);
	}
	/* So many keys share the memory that none gets a part of that size in it. */
	for (unsigned i = 0; i < 8 * KEYS; i++) {
		char key[8];
		snprintf(key, sizeof key, "key%u", i % KEYS);
		add_lines(key, 100);
	}
	down = false;
	finish_all();
	/* the fixture refuses FINISH with a small part before the last */
	assert_int_equal(upload_counts(f.upload)->invalid, 0);
	assert_true(scripted.count[STORE_PUT] > KEYS);
	check_lines(0);
}

static void what_was_spooled_first_is_sent_first(void **state)
{
	(void)state;
	fill("z", 3);
	for (unsigned i = 0; i < 3; i++)
		add_lines("a", 200);
	/* of an object of which a part is being written nothing is asked */
	for (uint64_t before = 0, still = 0; still < 50; still = counts().spooled == before ? still + 1 : 0) {
		before = counts().spooled;
		wait_a_little();
	}
	down = false;
	finish_all();
	assert_int_equal(scripted.upload[0].name[0], 'z');
	check_lines(0);
}

static void the_next_life_knows_the_order(void **state)
{
	journal_object before[8], after[8];
	(void)state;
	fill("b", 2);
	for (unsigned i = 0; i < 12; i++) {
		add_lines("a", 60);
		add_lines("c", 60);
		upload_finish_all(f.upload);
		uploads_work(&f);
	}
	unsigned n = spool_oldest(own.spool, before, 8);
	assert_true(n >= 3);
	live_on();
	assert_int_equal(spool_oldest(own.spool, after, 8), n);
	assert_memory_equal(before, after, n * sizeof *before);
	down = false;
	finish_all();
	check_lines(0);
}

static void a_full_spool_is_as_none(void **state)
{
	(void)state;
	own.size = 200000;
	live_on();
	down = true;
	unsigned n = add_some("a", 100000, 50);
	assert_true(n < 100000);
	assert_true(upload_short(f.upload));
	assert_true(counts().bytes <= own.size && counts().bytes > own.size / 2);
	down = false;
	add_lines("a", 100);
	finish_all();
	check_lines(0);
}

static void what_is_spooled_is_sent_when_the_option_is_gone(void **state)
{
	(void)state;
	fill("a", 3);
	own.size = 0;
	live_on();
	assert_true(counts().parts >= 3);
	down = false;
	finish_all();
	check_lines(0);
}

/* ---- the disk ---- */

static void a_disk_that_is_full_is_told_and_memory_goes_on(void **state)
{
	struct rlimit before, small;
	(void)state;
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = before;
	small.rlim_cur = PART / 2;
	down = true;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	unsigned n = add_some("a", 100000, 50);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_true(n < 100000);
	assert_non_null(strstr(counts().reason, "cannot write"));
	assert_int_equal(counts().spooled, 0);
	assert_int_equal(each_file(NULL), 0);
	f.now_ns += 120 * NS_PER_SEC;
	add_lines("a", 1000);
	assert_string_equal(counts().reason, "");
	assert_true(counts().spooled > 0);
	down = false;
	finish_all();
	check_lines(0);
}

static unsigned n_harmed;
static void (*harm)(const char *path);

static void harm_first(const char *path)
{
	if (n_harmed++ == 0)
		harm(path);
}

static void cut_file(const char *path)
{
	assert_int_equal(truncate(path, 1000), 0);
}

static void change_file(const char *path)
{
	int fd = open(path, O_RDWR);
	char byte;
	assert_int_equal(pread(fd, &byte, 1, 5000), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, 5000), 1);
	close(fd);
}

static void link_file(const char *path)
{
	char other[500];
	snprintf(other, sizeof other, "%s.moved", path);
	assert_int_equal(rename(path, other), 0);
	assert_int_equal(symlink(other, path), 0);
}

/* As long as it was, with the trailer of another part. */
static void replace_file(const char *path)
{
	struct stat status;
	assert_int_equal(stat(path, &status), 0);
	int fd = open(path, O_RDWR | O_TRUNC);
	assert_int_equal(ftruncate(fd, status.st_size), 0);
	close(fd);
}

static void make_fifo(const char *path)
{
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
}

static void a_part_whose_file_is_not_what_was_written_is_lost_and_nothing_else(void **state)
{
	static void (*const harms[])(const char *) = {delete_file, cut_file,     change_file,
	                                              link_file,   replace_file, make_fifo};
	for (unsigned i = 0; i < 12; i++) {
		assert_int_equal(tear_down(state), 0);
		assert_int_equal(set_up(state), 0);
		if (i % 2 == 1) { /* parts lie at offsets there */
			scripted.traits.part_min = 1;
			scripted.traits.late_name = true;
			live_on();
		}
		fill("a", 4);
		add_lines("b", 50);
		harm = harms[i / 2];
		n_harmed = 0;
		if (i > 5)
			live_on();
		(void)each_file(harm_first);
		down = false;
		upload_finish_all(f.upload);
		for (unsigned k = 0; uploads_left(&f) != 0; k++) {
			assert_true(k < PATIENCE);
			wait_a_little();
			uploads_later(&f, 300 * NS_PER_MS);
		}
		assert_int_equal(own.n_abandoned, 1);
		assert_int_equal(upload_counts(f.upload)->abandoned, 1);
		assert_int_equal(scripted_open_uploads(), 0);
		assert_true(own.abandoned_bytes > 0);
		check_lines((unsigned)(own.abandoned_bytes / LINE));
	}
}

static void an_object_that_was_all_in_the_spool_is_given_up_when_its_file_is(void **state)
{
	(void)state;
	f.options.part_bytes = 1u << 20;
	scripted.traits.part_min = 1u << 19;
	live_on();
	fill("a", 2);
	(void)each_file(delete_file);
	down = false;
	upload_finish_all(f.upload);
	for (unsigned k = 0; uploads_left(&f) != 0; k++) {
		assert_true(k < PATIENCE);
		wait_a_little();
		uploads_later(&f, 300 * NS_PER_MS);
	}
	assert_true(own.n_abandoned >= 2);
	check_lines((unsigned)(own.abandoned_bytes / LINE));
}

static void put_file(const char *name)
{
	char path[200];
	snprintf(path, sizeof path, "%s/%s", own.path, name);
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	close(fd);
}

static void files_that_the_journal_does_not_know_are_removed_at_the_start(void **state)
{
	char path[200], target[200];
	(void)state;
	fill("a", 3);
	put_file("0123456789abcdef0123456789abcdef.1");
	put_file("0123456789abcdef0123456789abcdef.01");
	put_file("0123456789abcdef0123456789abcdef.10001");
	put_file("0123456789ABCDEF0123456789abcdef.1");
	put_file("mine");
	snprintf(path, sizeof path, "%s/0123456789abcdef0123456789abcdef.2", own.path);
	snprintf(target, sizeof target, "%s/mine", own.path);
	assert_int_equal(symlink(target, path), 0);
	live_on();
	assert_true(counts().parts >= 2);
	assert_int_equal(each_file(NULL), counts().parts + 4);
	assert_int_equal(access(target, F_OK), 0);
	assert_int_not_equal(access(path, F_OK), 0);
}

static void a_directory_that_is_not_its_own_is_refused(void **state)
{
	struct spool *other;
	struct shm_error error;
	char path[200];
	(void)state;
	assert_int_equal(spool_open(&other, own.path, "us\n", SIZE, f.body.journal, &error), -EBUSY);
	spool_close(own.spool);
	f.options.spool = own.spool = NULL;
	assert_int_equal(spool_open(&other, own.path, "them\n", SIZE, f.body.journal, &error), -EEXIST);
	live_on();
	fill("a", 1);
	snprintf(path, sizeof path, "%s.away", own.path);
	assert_int_equal(rename(own.path, path), 0);
	leave();
	assert_int_equal(journal_body_live(&f.body), 0);
	assert_int_equal(spool_open(&other, own.path, "us\n", SIZE, f.body.journal, &error), -ENOENT);
	assert_non_null(strstr(error.text, "put it back"));
	assert_int_equal(rename(path, own.path), 0);
	live_on();
	down = false;
	finish_all();
	check_lines(0);
}

/* ---- anything, at any time ---- */

static uint64_t draw(uint64_t most)
{
	own.random ^= own.random << 13;
	own.random ^= own.random >> 7;
	own.random ^= own.random << 17;
	return own.random % most;
}

static struct scripted_answer at_random(const struct store_request *request)
{
	struct scripted_answer answer = unless_down(request);
	if (draw(6) != 0)
		return answer;
	answer.acts = !down && draw(2) == 0;
	answer.result = draw(2) == 0 ? -EINPROGRESS : -EAGAIN;
	if (answer.acts)
		answer.result = -EINPROGRESS;
	return answer;
}

static void every_line_is_in_one_object_whenever_the_sink_dies(void **state)
{
	const char *given = getenv("MILLRACE_SEED");
	uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : 20261127, spooled = 0;
	char key[8];
	print_message("MILLRACE_SEED=%llu\n", (unsigned long long)seed);
	for (unsigned round = 0; round < 12; round++) {
		assert_int_equal(tear_down(state), 0);
		assert_int_equal(set_up(state), 0);
		own.random = (seed + round) * 0x9e3779b97f4a7c15u | 1;
		scripted.last_first = round % 3 == 0;
		scripted.traits.part_min = round % 4 == 3 ? 1 : round % 4 == 2 ? 1u << 18 : 5120;
		scripted.traits.late_name = round % 4 == 3;
		f.options.part_bytes = round % 4 == 2 ? 1u << 18 : PART;
		scripted.decide = at_random;
		live_on();
		for (unsigned life = 0; life < 30; life++) {
			down = draw(3) != 0;
			snprintf(key, sizeof key, "k%u", (unsigned)draw(4));
			add_lines(key, (unsigned)draw(400));
			if (draw(8) == 0)
				upload_finish_all(f.upload);
			for (uint64_t n = draw(6); n > 0; n--) {
				uploads_later(&f, draw(2 * NS_PER_SEC));
				if (draw(2) == 0)
					wait_a_little();
			}
			spooled += counts().spooled;
			if (draw(2) == 0)
				live_on();
		}
		down = false;
		scripted.decide = unless_down;
		finish_all();
		assert_int_equal(own.n_abandoned, 0);
		check_lines(0);
	}
	assert_true(spooled > 20);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(an_outage_that_outlasts_memory_loses_nothing),
	        TEST(nothing_is_spooled_while_the_store_works),
	        TEST(a_part_below_the_stores_least_is_its_objects_last),
	        TEST(what_was_spooled_first_is_sent_first),
	        TEST(the_next_life_knows_the_order),
	        TEST(a_full_spool_is_as_none),
	        TEST(what_is_spooled_is_sent_when_the_option_is_gone),
	        TEST(a_disk_that_is_full_is_told_and_memory_goes_on),
	        TEST(a_part_whose_file_is_not_what_was_written_is_lost_and_nothing_else),
	        TEST(an_object_that_was_all_in_the_spool_is_given_up_when_its_file_is),
	        TEST(files_that_the_journal_does_not_know_are_removed_at_the_start),
	        TEST(a_directory_that_is_not_its_own_is_refused),
	        TEST(every_line_is_in_one_object_whenever_the_sink_dies),
	};
	alarm(300);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
