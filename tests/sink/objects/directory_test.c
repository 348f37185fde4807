/* The store that is a directory: what each request leaves on the disk, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "sink/objects/keep.h"
#include "sink/objects/store.h"
#include "tests/fixture/config.h"
#include "tests/fixture/sandbox.h"

#define TOKEN "0123456789abcdef0123456789abcdef"

static struct {
	char root[64], objects[96];
	struct config *config;
	struct store *store;
	struct shm_error error;
	uint64_t words[STORE_WORDS];
} f;

static void open_store(void)
{
	assert_int_equal(store_directory.open(&f.store, f.config, "sinks[0]", &f.error), 0);
}

static int set_up(void **state)
{
	char text[300];
	(void)state;
	memset(&f, 0, sizeof f);
	snprintf(f.root, sizeof f.root, "/tmp/millrace-directory-XXXXXX");
	if (mkdtemp(f.root) == NULL)
		return -1;
	snprintf(f.objects, sizeof f.objects, "%s/data/objects", f.root);
	snprintf(
	        text, sizeof text,
	        "data_dir: %s/data\nsinks: [{name: s, kind: objects, topics: [log], key: \"in/{client_id}\", store: {min_free: 0}}]\n",
	        f.root);
	f.config = load(text, "");
	open_store();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (f.store != NULL)
		store_directory.close(f.store);
	config_free(f.config);
	tree_remove(f.root);
	return 0;
}

/* ---- requests ---- */

static struct store_request *wait_for(void)
{
	struct store_request *request;
	while ((request = store_directory.next(f.store, 0)) == NULL) {
		struct store_wait wait;
		uint64_t timeout_ns = UINT64_MAX;
		assert_int_equal(store_directory.wait(f.store, &wait, 1, &timeout_ns), 1);
		struct pollfd fd = {.fd = wait.fd, .events = wait.events};
		(void)poll(&fd, 1, 1000);
	}
	return request;
}

/* The request's words are those of the object. Returns its result. */
static int ask(struct store_request *request)
{
	memcpy(request->words, f.words, sizeof f.words);
	if (request->token == NULL)
		request->token = TOKEN;
	if (request->name != NULL)
		request->name_bytes = strlen(request->name);
	assert_true(store_directory.start(f.store, request));
	assert_ptr_equal(wait_for(), request);
	assert_true(request->result == 0 || request->reason[0] != '\0');
	if (request->action == STORE_CREATE && request->result == 0)
		memcpy(f.words, request->words, sizeof f.words);
	return request->result;
}

static int ask_simply(enum store_action action, const char *name)
{
	struct store_request request = {.action = action, .name = name, .upload = TOKEN};
	return ask(&request);
}

static int put_part(uint32_t number, uint64_t offset, uint64_t safe, const char *text)
{
	struct iovec piece[2] = {
	        {(char *)(uintptr_t)text, strlen(text) / 2},
	        {(char *)(uintptr_t)text + strlen(text) / 2, strlen(text) - strlen(text) / 2}};
	struct store_request request = {.action = STORE_PART,
	                                .upload = TOKEN,
	                                .number = number,
	                                .offset = offset,
	                                .safe = safe,
	                                .piece = piece,
	                                .n_pieces = 2,
	                                .bytes = strlen(text)};
	return ask(&request);
}

static int finish(const char *name, uint64_t a, uint64_t b)
{
	struct store_part part[2] = {{.number = 1, .bytes = a}, {.number = 2, .bytes = b}};
	struct store_request request = {
	        .action = STORE_FINISH, .name = name, .upload = TOKEN, .part = part, .n_parts = 2};
	return ask(&request);
}

/* token found, "-" when there is no object. */
static const char *find(const char *name, uint64_t *bytes)
{
	static struct store_request request;
	request = (struct store_request){.action = STORE_FIND, .name = name};
	int result = ask(&request);
	assert_true(result == 0 || result == -ENOENT);
	*bytes = request.bytes_found;
	return result == 0 ? request.token_found : "-";
}

/* ---- files ---- */

static const char *path_of(const char *name)
{
	static char path[512];
	snprintf(path, sizeof path, "%s/%s", f.objects, name);
	return path;
}

static void check_file(const char *name, const char *expected)
{
	char text[100] = "";
	FILE *file = fopen(path_of(name), "r");
	assert_non_null(file);
	size_t n = fread(text, 1, sizeof text - 1, file);
	fclose(file);
	assert_int_equal(n, strlen(expected));
	assert_string_equal(text, expected);
}

static void write_file(const char *name, const char *text)
{
	FILE *file = fopen(path_of(name), "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

/* ---- tests ---- */

static void parts_become_a_file_under_its_name(void **state)
{
	uint64_t bytes;
	(void)state;
	assert_int_equal(ask_simply(STORE_PROBE, NULL), 0);
	assert_string_equal(find("in/a/b", &bytes), "-");
	assert_int_equal(ask_simply(STORE_CREATE, "in/a/b"), 0);
	assert_int_equal(put_part(2, 5, 0, "world"), 0);
	assert_int_equal(put_part(1, 0, 0, "hello"), 0);
	assert_int_equal(put_part(1, 0, 0, "hello"), 0);
	check_file("+open/" TOKEN ".part", "helloworld");
	assert_int_equal(finish("in/a/b", 5, 5), 0);
	check_file("in/a/b", "helloworld");
	assert_int_equal(access(path_of("+open/" TOKEN ".part"), F_OK), -1);
	assert_string_equal(find("in/a/b", &bytes), TOKEN);
	assert_int_equal(bytes, 10);
}

static void nothing_that_is_there_is_replaced(void **state)
{
	uint64_t bytes;
	(void)state;
	assert_int_equal(ask_simply(STORE_CREATE, "in"), 0);
	assert_int_equal(put_part(1, 0, 0, "new"), 0);
	write_file("in", "old");
	assert_int_equal(finish("in", 3, 0), -EEXIST);
	check_file("in", "old");
	assert_string_equal(find("in", &bytes), "");
	assert_int_equal(finish("in_2", 3, 0), 0);
	check_file("in_2", "new");
}

static void a_life_after_the_rename_knows_its_object(void **state)
{
	uint64_t bytes;
	(void)state;
	assert_int_equal(ask_simply(STORE_CREATE, "in/a"), 0);
	assert_int_equal(put_part(1, 0, 0, "hello"), 0);
	assert_int_equal(finish("in/a", 5, 0), 0);
	store_directory.close(f.store);
	open_store();
	assert_int_equal(finish("in/a", 5, 0), -ENOENT);
	assert_string_equal(find("in/a", &bytes), TOKEN);
	f.words[0]++; /* of another file */
	assert_string_equal(find("in/a", &bytes), "");
}

static void a_create_that_is_repeated_begins_anew(void **state)
{
	(void)state;
	assert_int_equal(ask_simply(STORE_CREATE, "in/a"), 0);
	assert_int_equal(put_part(1, 0, 0, "longer than before"), 0);
	assert_int_equal(ask_simply(STORE_CREATE, "in/a"), 0);
	assert_int_equal(put_part(1, 0, 0, "hello"), 0);
	assert_int_equal(finish("in/a", 5, 0), 0);
	check_file("in/a", "hello");
}

static void a_part_file_that_is_gone_short_or_anothers_is_no_upload(void **state)
{
	(void)state;
	assert_int_equal(put_part(1, 0, 0, "hello"), -ENOENT);
	assert_int_equal(ask_simply(STORE_CREATE, "in/a"), 0);
	assert_int_equal(put_part(1, 0, 0, "hello"), 0);
	assert_int_equal(truncate(path_of("+open/" TOKEN ".part"), 3), 0);
	assert_int_equal(put_part(2, 5, 5, "world"), -ENOENT);
	assert_int_equal(finish("in/a", 5, 0), -ENOENT);
	assert_int_equal(unlink(path_of("+open/" TOKEN ".part")), 0);
	write_file("+open/" TOKEN ".part", "hello");
	assert_int_equal(finish("in/a", 5, 0), -ENOENT);
	assert_int_equal(access(path_of("in/a"), F_OK), -1);
}

static void what_was_written_and_not_confirmed_is_cut_off(void **state)
{
	(void)state;
	struct store_part part[3] = {
	        {.number = 1, .bytes = 5}, {.number = 2, .bytes = 5}, {.number = 3, .bytes = 5}};
	struct store_request request = {.action = STORE_LIST, .upload = TOKEN, .part = part, .n_parts = 3};
	assert_int_equal(ask_simply(STORE_CREATE, "in/a"), 0);
	assert_int_equal(put_part(1, 0, 0, "hello"), 0);
	assert_int_equal(put_part(2, 5, 5, "world"), 0);
	assert_int_equal(put_part(3, 10, 5, "xy"), 0);
	assert_int_equal(ask(&request), 0);
	assert_int_equal(request.n_found, 2);
	free(request.found);
	assert_int_equal(finish("in/a", 5, 5), 0);
	check_file("in/a", "helloworld");
}

static void names_that_could_lead_elsewhere_are_refused(void **state)
{
	(void)state;
	static const char *const names[] = {"..",           "../a",  "a/../b", "/a",    "a//b",      "a/",
	                                    "+open/x.part", "+open", ".",      "a/./b", "a/../../b", ""};
	char longest[400];
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		assert_int_equal(ask_simply(STORE_CREATE, names[i]), -EINVAL);
	memset(longest, 'x', sizeof longest);
	longest[sizeof longest - 1] = '\0';
	assert_int_equal(ask_simply(STORE_CREATE, longest), -EINVAL);
}

static void no_symbolic_link_is_followed(void **state)
{
	(void)state;
	char outside[96];
	snprintf(outside, sizeof outside, "%s/outside", f.root);
	assert_int_equal(ask_simply(STORE_PROBE, NULL), 0);
	assert_int_equal(mkdir(outside, 0700), 0);
	assert_int_equal(symlink(outside, path_of("in")), 0);
	assert_int_equal(ask_simply(STORE_CREATE, "in/a"), 0);
	assert_int_equal(put_part(1, 0, 0, "hello"), 0);
	assert_int_equal(finish("in/a", 5, 0), -EACCES);
	snprintf(outside, sizeof outside, "%s/outside/a", f.root);
	assert_int_equal(access(outside, F_OK), -1);
}

static void a_directory_that_is_moved_fails_until_it_is_back(void **state)
{
	(void)state;
	char aside[96];
	snprintf(aside, sizeof aside, "%s/aside", f.root);
	assert_int_equal(ask_simply(STORE_CREATE, "in/a"), 0);
	assert_int_equal(rename(f.objects, aside), 0);
	assert_int_equal(put_part(1, 0, 0, "hello"), -EAGAIN);
	assert_int_equal(mkdir(f.objects, 0700), 0); /* another one in its place */
	assert_int_equal(put_part(1, 0, 0, "hello"), -EAGAIN);
	assert_int_equal(rmdir(f.objects), 0);
	assert_int_equal(rename(aside, f.objects), 0);
	assert_int_equal(put_part(1, 0, 0, "hello"), 0);
	assert_int_equal(finish("in/a", 5, 0), 0);
	check_file("in/a", "hello");
}

static void a_directory_that_is_deleted_is_made_again(void **state)
{
	(void)state;
	assert_int_equal(ask_simply(STORE_CREATE, "in/a"), 0);
	tree_remove(f.objects);
	assert_int_equal(put_part(1, 0, 0, "hello"), -ENOENT);
	assert_int_equal(ask_simply(STORE_CREATE, "in/a"), 0);
	assert_int_equal(put_part(1, 0, 0, "hello"), 0);
	assert_int_equal(finish("in/a", 5, 0), 0);
	check_file("in/a", "hello");
}

static void a_directory_that_cannot_be_is_refused_before_the_start(void **state)
{
	(void)state;
	assert_int_equal(store_directory.check(f.config, "sinks[0]", &f.error), 0);
	assert_int_equal(ask_simply(STORE_PROBE, NULL), 0);
	assert_int_equal(store_directory.check(f.config, "sinks[0]", &f.error), 0);
	store_directory.close(f.store);
	f.store = NULL;
	tree_remove(f.objects);
	int fd = open(f.objects, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(store_directory.check(f.config, "sinks[0]", &f.error), -ENOTDIR);
	assert_non_null(strstr(f.error.text, "sinks[0].store.directory: "));
	open_store();
	assert_int_equal(ask_simply(STORE_PROBE, NULL), -EACCES);
}

static void set_age(const char *name, uint64_t age_s)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = time(NULL) - (time_t)age_s}};
	assert_int_equal(utimensat(AT_FDCWD, path_of(name), times, 0), 0);
}

static void old_objects_go_by_age_and_by_size(void **state)
{
	struct keep_counts counts;
	struct tree tree = {.fd = -1, .open_fd = -1};
	(void)state;
	char name[32];
	assert_int_equal(ask_simply(STORE_PROBE, NULL), 0);
	snprintf(tree.path, sizeof tree.path, "%s", f.objects);
	assert_int_equal(tree_open(&tree), 0);
	assert_int_equal(mkdir(path_of("in"), 0700), 0);
	for (unsigned i = 0; i < 10; i++) {
		snprintf(name, sizeof name, "in/%u", i);
		write_file(name, "0123456789");
		set_age(name, 1000 - 100 * i);
	}
	write_file("other", "0123456789");
	set_age("other", 5000);
	write_file("+open/x.part", "0123456789");
	set_age("+open/x.part", 5000);
	assert_int_equal(keep_remove(&tree, "in/", 750 * NS_PER_SEC, 0, clock_real_ns(), &counts), 0);
	assert_int_equal(counts.removed, 3); /* 1000, 900 and 800 seconds */
	assert_int_equal(keep_remove(&tree, "in/", 0, 35, clock_real_ns(), &counts), 0);
	assert_int_equal(counts.removed, 4);
	assert_int_equal(counts.bytes, 40);
	check_file("in/9", "0123456789");
	check_file("in/7", "0123456789");
	assert_int_equal(access(path_of("in/6"), F_OK), -1);
	assert_int_equal(keep_remove(&tree, "in/", 1, 0, clock_real_ns(), &counts), 0);
	assert_int_equal(access(path_of("in"), F_OK), -1); /* empty by now */
	check_file("other", "0123456789");
	check_file("+open/x.part", "0123456789");
	tree_close(&tree);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(parts_become_a_file_under_its_name),
	        TEST(nothing_that_is_there_is_replaced),
	        TEST(a_life_after_the_rename_knows_its_object),
	        TEST(a_create_that_is_repeated_begins_anew),
	        TEST(a_part_file_that_is_gone_short_or_anothers_is_no_upload),
	        TEST(what_was_written_and_not_confirmed_is_cut_off),
	        TEST(names_that_could_lead_elsewhere_are_refused),
	        TEST(no_symbolic_link_is_followed),
	        TEST(a_directory_that_is_moved_fails_until_it_is_back),
	        TEST(a_directory_that_is_deleted_is_made_again),
	        TEST(a_directory_that_cannot_be_is_refused_before_the_start),
	        TEST(old_objects_go_by_age_and_by_size),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
