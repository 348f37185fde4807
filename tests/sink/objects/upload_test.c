/* Uploads against a store that answers, or does not, as each test says: what is asked of it in
 * which order, and that every line is in exactly one object whatever happens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "sink/objects/upload.h"
#include "tests/fixture/sandbox.h"
#include "tests/fixture/uploads.h"

#define BODY_BYTES (8u << 20)
#define MEMBER     1024u
#define PART       8192u
#define LINE       64u /* bytes of a line, its newline included */

static struct uploads f;
static unsigned n_abandoned;
static uint64_t random_state;

static void abandoned(void *argument, const struct journal_view *object, uint64_t bytes, const char *reason)
{
	(void)argument;
	(void)object;
	assert_true(bytes > 0 && reason[0] != '\0');
	n_abandoned++;
}

static int set_up(void **state)
{
	(void)state;
	n_abandoned = 0;
	random_state = 88172645463325252u;
	if (uploads_make(&f, (struct uploads_sizes){.body_bytes = BODY_BYTES,
	                                            .part_bytes = PART,
	                                            .member_bytes = MEMBER,
	                                            .line_bytes = LINE}) != 0)
		return -1;
	f.options.abandoned = abandoned;
	uploads_live(&f);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	uploads_remove(&f);
	return 0;
}

/* ---- steps ---- */

static void add_lines(const char *key, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		uploads_add(&f, key);
}

/* Everything is finished and in the store. */
static void finish_all(void)
{
	upload_finish_all(f.upload);
	uploads_work(&f);
	for (unsigned i = 0; uploads_left(&f) != 0; i++) {
		assert_true(i < 1000);
		uploads_later(&f, NS_PER_SEC);
	}
}

/* Each line is in the store once; those before `from` may be missing. */
static void check_lines(unsigned from)
{
	unsigned char *seen = calloc(f.n_lines + 1, 1);
	(void)uploads_kept(&f, seen);
	for (unsigned i = from; i < f.n_lines; i++)
		if (!seen[i])
			fail_msg("line %u of %u is in no object", i, f.n_lines);
	free(seen);
	assert_int_equal(scripted_open_uploads(), 0);
}

/* ---- rules ---- */

/* The first `times` requests of this action are answered so. */
static struct {
	enum store_action action;
	unsigned times;
	struct scripted_answer answer;
} rule;

static struct scripted_answer by_rule(const struct store_request *request)
{
	if (request->action == rule.action && rule.times > 0) {
		rule.times--;
		return rule.answer;
	}
	return (struct scripted_answer){.acts = true, .result = SCRIPTED_NATURAL};
}

static void answer_so(enum store_action action, unsigned times, bool acts, int result)
{
	rule.action = action;
	rule.times = times;
	rule.answer = (struct scripted_answer){.acts = acts, .result = result};
	scripted.decide = by_rule;
}

/* ---- what is asked ---- */

static void a_small_object_is_one_put(void **state)
{
	(void)state;
	add_lines("a", 10);
	finish_all();
	assert_string_equal(scripted.order, "PW");
	assert_non_null(scripted_find("a"));
	check_lines(0);
}

static void a_large_object_is_an_upload_in_parts(void **state)
{
	(void)state;
	add_lines("a", 300);
	finish_all();
	assert_string_equal(scripted.order, "PFCpppf");
	assert_int_equal(scripted_find("a")->bytes, 300 * LINE);
	check_lines(0);
}

static void a_name_that_is_taken_gets_a_suffix(void **state)
{
	(void)state;
	scripted_foreign("a");
	scripted_foreign("b");
	add_lines("a", 10);
	add_lines("b", 300);
	finish_all();
	assert_non_null(scripted_find("a_t-0"));
	assert_non_null(scripted_find("b_t-10"));
	assert_int_equal(scripted_find("a")->bytes, 0);
	check_lines(0);
}

static void two_open_objects_of_one_key_have_two_names(void **state)
{
	(void)state;
	add_lines("a", 150); /* named and begun */
	upload_finish_all(f.upload);
	add_lines("a", 150);
	finish_all();
	assert_int_equal(scripted.n_objects, 2);
	check_lines(0);
}

static void a_suffix_can_be_asked_for_always(void **state)
{
	(void)state;
	f.options.suffix_always = true;
	uploads_live(&f);
	add_lines("a", 10);
	finish_all();
	assert_null(scripted_find("a"));
	assert_non_null(scripted_find("a_t-0"));
}

/* ---- answers that are lost ---- */

static void a_put_whose_answer_is_lost_is_found(void **state)
{
	(void)state;
	answer_so(STORE_PUT, 1, true, -EINPROGRESS);
	add_lines("a", 10);
	finish_all();
	assert_int_equal(scripted.count[STORE_PUT], 1);
	assert_int_equal(scripted.n_objects, 1);
	check_lines(0);
}

static void a_put_that_was_not_done_is_sent_again(void **state)
{
	(void)state;
	answer_so(STORE_PUT, 1, false, -EINPROGRESS);
	add_lines("a", 10);
	finish_all();
	assert_int_equal(scripted.count[STORE_PUT], 2);
	check_lines(0);
}

static void a_finish_whose_answer_is_lost_is_found(void **state)
{
	(void)state;
	static const int results[] = {-EINPROGRESS, -ENOENT};
	for (unsigned i = 0; i < 2; i++) {
		answer_so(STORE_FINISH, 1, true, results[i]);
		add_lines(i == 0 ? "a" : "b", 300);
		finish_all();
		assert_int_equal(scripted.count[STORE_FINISH], i + 1);
	}
	assert_int_equal(n_abandoned, 0);
	check_lines(0);
}

static void no_such_upload_alone_proves_nothing(void **state)
{
	(void)state;
	answer_so(STORE_FINISH, 2, false, -ENOENT);
	add_lines("a", 300);
	finish_all();
	assert_int_equal(scripted.count[STORE_FINISH], 3);
	assert_int_equal(n_abandoned, 0);
	check_lines(0);
}

static void a_lost_create_is_taken_up_again(void **state)
{
	(void)state;
	answer_so(STORE_CREATE, 1, true, -EINPROGRESS);
	add_lines("a", 300);
	finish_all();
	assert_int_equal(scripted.n_uploads, 1);
	check_lines(0);
}

static void parts_may_be_answered_in_any_order(void **state)
{
	(void)state;
	scripted.last_first = true;
	answer_so(STORE_CREATE, 3, false, -EAGAIN); /* parts gather */
	add_lines("a", 1000);
	finish_all();
	assert_int_equal(scripted_find("a")->bytes, 1000 * LINE);
	check_lines(0);
}

/* ---- a store that loses ---- */

static void lose_upload(void)
{
	for (unsigned i = 0; i < scripted.n_uploads; i++)
		scripted.upload[i].over = true;
}

static void an_upload_that_is_lost_costs_what_was_confirmed(void **state)
{
	(void)state;
	add_lines("a", 200);
	assert_int_equal(upload_counts(f.upload)->parts, 1);
	lose_upload();
	add_lines("a", 200);
	finish_all();
	assert_int_equal(n_abandoned, 1);
	check_lines(PART / LINE);
	assert_non_null(scripted_find("a_t-0"));
}

static void nothing_remains_of_an_upload_that_was_lost_with_all_its_lines(void **state)
{
	(void)state;
	add_lines("a", 128);
	assert_int_equal(upload_counts(f.upload)->parts, 1);
	add_lines("a", 128);
	assert_int_equal(upload_counts(f.upload)->parts, 2);
	lose_upload();
	finish_all();
	assert_int_equal(n_abandoned, 1);
	check_lines(256);
}

static void an_upload_that_is_lost_before_a_part_costs_nothing(void **state)
{
	(void)state;
	answer_so(STORE_PART, 1, false, -EAGAIN);
	add_lines("a", 200);
	lose_upload();
	finish_all();
	assert_int_equal(n_abandoned, 0);
	check_lines(0);
}

/* ---- a store that fails ---- */

static void nothing_is_asked_before_the_wait_is_over(void **state)
{
	(void)state;
	answer_so(STORE_PUT, 1, false, -EAGAIN);
	rule.answer.wait_ns = 20 * NS_PER_SEC;
	add_lines("a", 10);
	add_lines("b", 10);
	upload_finish_all(f.upload);
	uploads_work(&f);
	assert_string_equal(scripted.order, "PWW"); /* they were under way together, one worked */
	assert_int_not_equal(upload_counts(f.upload)->failing_since_ns, 0);
	uploads_later(&f, 19 * NS_PER_SEC);
	assert_string_equal(scripted.order, "PWW");
	uploads_later(&f, NS_PER_SEC);
	assert_string_equal(scripted.order, "PWWW");
	assert_int_equal(upload_counts(f.upload)->failing_since_ns, 0);
	assert_int_equal(uploads_left(&f), 0);
	check_lines(0);
}

static void after_a_failure_one_request_goes_at_a_time(void **state)
{
	(void)state;
	answer_so(STORE_PROBE, 3, false, -EAGAIN);
	for (unsigned i = 0; i < 8; i++) {
		char key[4];
		snprintf(key, sizeof key, "k%u", i);
		add_lines(key, 5);
	}
	upload_finish_all(f.upload);
	uploads_work(&f);
	assert_string_equal(scripted.order, "P");
	assert_int_not_equal(upload_counts(f.upload)->failing_since_ns, 0);
	finish_all();
	assert_string_equal(scripted.order, "PPPPWWWWWWWW");
	assert_int_equal(upload_counts(f.upload)->failing_since_ns, 0);
	check_lines(0);
}

static void what_a_person_must_mend_is_probed_first(void **state)
{
	(void)state;
	answer_so(STORE_PUT, 1, false, -EACCES);
	add_lines("a", 10);
	finish_all();
	assert_string_equal(scripted.order, "PWPW");
	assert_int_equal(upload_counts(f.upload)->refused, 1);
	check_lines(0);
}

static void a_request_that_is_never_taken_holds_up_its_object_alone(void **state)
{
	(void)state;
	answer_so(STORE_PUT, 1, false, -EINVAL);
	add_lines("a", 10);
	upload_finish_all(f.upload);
	uploads_work(&f);
	add_lines("b", 10);
	upload_finish_all(f.upload);
	uploads_work(&f);
	assert_null(scripted_find("a"));
	assert_non_null(scripted_find("b"));
	assert_int_not_equal(upload_counts(f.upload)->failing_since_ns, 0);
	finish_all();
	check_lines(0);
}

static void a_late_name_is_chosen_anew(void **state)
{
	(void)state;
	scripted.traits.part_min = 1;
	scripted.traits.late_name = true;
	uploads_live(&f);
	add_lines("a", 200);
	scripted_foreign("a");
	finish_all();
	assert_int_equal(scripted_find("a")->bytes, 0);
	assert_int_equal(scripted_find("a_t-0")->bytes, 200 * LINE);
	check_lines(0);
}

static void a_store_that_drops_tokens_is_asked_for_sizes(void **state)
{
	(void)state;
	scripted.traits.keeps_token = false;
	answer_so(STORE_FINISH, 1, true, -EINPROGRESS);
	add_lines("a", 300);
	finish_all();
	assert_int_equal(scripted.count[STORE_FINISH], 1);
	check_lines(0);
}

static void a_size_alone_proves_nothing_when_the_answer_was_certain(void **state)
{
	(void)state;
	scripted.traits.keeps_token = false;
	scripted_foreign("a");
	scripted_find("a")->bytes = 10ull * LINE;
	add_lines("a", 10);
	finish_all();
	assert_non_null(scripted_find("a_t-0"));
	scripted_find("a")->bytes = 0;
	check_lines(0);
}

/* ---- the clock and the bounds ---- */

static void an_object_is_finished_by_its_age_and_by_the_stores_patience(void **state)
{
	(void)state;
	add_lines("a", 10);
	uploads_later(&f, 3599 * NS_PER_SEC);
	assert_int_equal(uploads_left(&f), 1);
	uploads_later(&f, 2 * NS_PER_SEC);
	assert_int_equal(uploads_left(&f), 0);
	scripted.traits.upload_max_ns = 100 * NS_PER_SEC;
	uploads_live(&f);
	add_lines("b", 10);
	uploads_later(&f, 101 * NS_PER_SEC);
	assert_int_equal(uploads_left(&f), 0);
	check_lines(0);
}

static void an_object_is_finished_at_its_size(void **state)
{
	(void)state;
	f.options.finish_bytes = 4 * PART;
	uploads_live(&f);
	add_lines("a", 2000);
	finish_all();
	assert_true(scripted.n_objects >= 3);
	for (unsigned i = 0; i < scripted.n_objects; i++)
		assert_true(scripted.object[i].bytes <= 4 * PART + MEMBER);
	check_lines(0);
}

static void an_object_has_no_more_parts_than_the_store_takes(void **state)
{
	(void)state;
	scripted.traits.parts_max = 4;
	uploads_live(&f);
	add_lines("a", 2000);
	finish_all();
	assert_true(scripted.n_objects >= 3);
	check_lines(0);
}

static void lines_that_find_no_room_are_made_room_for(void **state)
{
	(void)state;
	char key[16];
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(key, sizeof key, "k%u", i);
		if (scripted.n_objects > SCRIPTED_MAX - 20)
			break;
		while (upload_short(f.upload)) {
			assert_true(upload_relieve(f.upload, f.now_ns) || upload_work(f.upload, f.now_ns));
			f.now_ns += 100 * NS_PER_MS;
			uploads_work(&f);
		}
		add_lines(key, 2);
	}
	assert_true(scripted.n_objects > 0 || uploads_left(&f) > 100);
}

/* ---- anything, at any time ---- */

static uint64_t draw(uint64_t most)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % most;
}

static bool wild; /* requests fail */

static struct scripted_answer at_random(const struct store_request *request)
{
	static const int results[] = {-EAGAIN, -EINPROGRESS, -EINPROGRESS, -EACCES};
	struct scripted_answer answer = {.acts = true, .result = SCRIPTED_NATURAL};
	if (!wild || draw(4) != 0)
		return answer;
	answer.result = results[draw(4)];
	answer.acts = answer.result == -EINPROGRESS && draw(2) == 0;
	if (request->action == STORE_FINISH && draw(4) == 0)
		return (struct scripted_answer){.acts = true, .result = -ENOENT};
	if (request->action == STORE_PUT && answer.acts && draw(2) == 0)
		answer.result = -EEXIST;
	return answer;
}

/* The sink dies after any answer, also between the store's deed and what the sink makes of it. */
static void a_life_at_random(void)
{
	char key[4];
	snprintf(key, sizeof key, "k%u", (unsigned)draw(3));
	add_lines(key, (unsigned)draw(120));
	if (draw(3) == 0)
		upload_finish_all(f.upload);
	for (uint64_t n = draw(12); n > 0; n--) {
		(void)upload_work(f.upload, f.now_ns);
		f.now_ns += draw(2 * NS_PER_SEC);
	}
	uploads_later(&f, draw(40 * NS_PER_SEC));
	if (draw(2) == 0) {
		/* what is under way is done, and nobody hears of it */
		for (unsigned i = 0; i < scripted.n_waiting && draw(3) != 0; i++)
			(void)scripted_ops.next(NULL, 0);
		uploads_live(&f);
	}
}

static void every_line_is_in_one_object_whatever_happens(void **state)
{
	(void)state;
	const char *given = getenv("MILLRACE_SEED");
	uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : 20261127;
	print_message("MILLRACE_SEED=%llu\n", (unsigned long long)seed);
	for (unsigned round = 0; round < 60; round++) {
		assert_int_equal(tear_down(NULL), 0);
		assert_int_equal(set_up(NULL), 0);
		random_state = (seed + round) * 0x9e3779b97f4a7c15u | 1;
		scripted.repeats = round % 2 == 0;
		scripted.last_first = round % 3 == 0;
		scripted.traits.keeps_token = true;
		scripted.traits.part_min = round % 5 == 4 ? 1 : 5120;
		scripted.traits.late_name = round % 5 == 4;
		scripted.decide = at_random;
		f.options.finish_bytes = 4 * PART;
		uploads_live(&f);
		wild = true;
		for (unsigned life = 0; life < 25; life++)
			a_life_at_random();
		wild = false;
		finish_all();
		assert_int_equal(n_abandoned, 0);
		check_lines(0);
	}
}

/* ---- after a reboot ---- */

static struct sandbox disk;

/* The machine starts again: what was memory is gone, the index and the store are not. */
static void reboot(void)
{
	struct journal_bounds bounds = f.body.bounds;
	struct shm_error error;
	if (f.upload != NULL)
		upload_close(f.upload);
	f.upload = NULL;
	journal_body_leave(&f.body);
	journal_body_remove(&f.body);
	index_close(f.options.index);
	assert_int_equal(index_open(&f.options.index, disk.directory, "logs", &error), 0);
	assert_int_equal(journal_body_make(&f.body, BODY_BYTES, bounds), 0);
	uploads_live(&f);
}

static int set_up_disk(void **state)
{
	return set_up(state) != 0 || sandbox_make(&disk) != 0 ? -1 : 0;
}

static int tear_down_disk(void **state)
{
	(void)tear_down(state);
	index_close(f.options.index);
	sandbox_remove(&disk);
	return 0;
}

static void recovered(unsigned n)
{
	uploads_work(&f);
	for (unsigned i = 0; upload_counts(f.upload)->left != 0 || i < 2; i++) {
		assert_true(i < 100);
		uploads_later(&f, NS_PER_SEC);
	}
	assert_int_equal(upload_counts(f.upload)->recovered, n);
}

static void after_a_reboot_confirmed_parts_come_to_light(void **state)
{
	(void)state;
	reboot();
	add_lines("a", 300);
	add_lines("b", 10); /* the store knows nothing of it */
	assert_int_equal(scripted.n_objects, 0);
	assert_int_equal(scripted_open_uploads(), 1);
	reboot();
	recovered(1);
	assert_int_equal(scripted_open_uploads(), 0);
	assert_int_equal(uploads_kept(&f, NULL), 256);
	assert_int_equal(n_abandoned, 0);
	reboot();
	recovered(0);
	add_lines("a", 300);
	finish_all();
	assert_int_equal(scripted.n_objects, 2);
	assert_int_equal(uploads_kept(&f, NULL), 556);
}

static void what_was_complete_before_a_reboot_is_not_completed_again(void **state)
{
	(void)state;
	reboot();
	answer_so(STORE_FINISH, 1, true, -EINPROGRESS); /* the answer came with the reboot */
	add_lines("a", 300);
	upload_finish_all(f.upload);
	for (unsigned i = 0; scripted.count[STORE_FINISH] == 0; i++) {
		assert_true(i < 100);
		uploads_later(&f, NS_PER_SEC);
	}
	unsigned finished = scripted.count[STORE_FINISH];
	reboot();
	recovered(1);
	assert_int_equal(scripted.count[STORE_FINISH], finished);
	assert_int_equal(uploads_kept(&f, NULL), 300);
}

static void a_lost_answer_after_a_reboot_is_settled(void **state)
{
	static const int results[] = {-EINPROGRESS, -ENOENT, -EAGAIN};
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		char key[2] = {(char)('a' + i), '\0'};
		reboot();
		add_lines(key, 300);
		answer_so(STORE_FINISH, 1, i != 2, results[i]);
		reboot();
		recovered(1);
		assert_int_equal(scripted.n_objects, i + 1);
		assert_int_equal(scripted_open_uploads(), 0);
	}
	assert_int_equal(uploads_kept(&f, NULL), 3 * 256);
	assert_int_equal(n_abandoned, 0);
}

static void an_upload_that_is_lost_before_a_reboot_is_told(void **state)
{
	(void)state;
	reboot();
	add_lines("a", 300);
	scripted.upload[0].over = true; /* an administrator's rule aborted it */
	reboot();
	recovered(0);
	assert_int_equal(n_abandoned, 1);
	reboot();
	recovered(0);
	assert_int_equal(n_abandoned, 1); /* once */
}

/* The store would replace what it has under the name. */
static void an_object_of_somebody_else_is_not_replaced_after_a_reboot(void **state)
{
	(void)state;
	reboot();
	add_lines("a", 300);
	scripted_foreign("a");
	reboot();
	recovered(0);
	assert_int_equal(n_abandoned, 1);
	assert_int_equal(scripted_find("a")->bytes, 0);
}

static void with_a_late_name_the_next_one_is_taken_after_a_reboot(void **state)
{
	(void)state;
	scripted.traits.late_name = true;
	reboot();
	add_lines("a", 300);
	scripted_foreign("a");
	reboot();
	recovered(1);
	assert_int_equal(scripted_find("a")->bytes, 0);
	assert_int_equal(scripted.n_objects, 2);
	assert_int_equal(uploads_kept(&f, NULL), 256);
}

/* A kill leaves the index and the journal: the journal's objects are its own. */
static void a_kill_alone_leaves_nothing_to_recover(void **state)
{
	struct shm_error error;
	(void)state;
	reboot();
	add_lines("a", 300);
	upload_close(f.upload);
	f.upload = NULL;
	index_close(f.options.index);
	assert_int_equal(index_open(&f.options.index, disk.directory, "logs", &error), 0);
	assert_non_null(index_left(f.options.index, 0));
	uploads_live(&f);
	assert_null(index_left(f.options.index, 0));
	add_lines("a", 300);
	finish_all();
	assert_int_equal(upload_counts(f.upload)->recovered, 0);
	check_lines(0);
	reboot();
	recovered(0);
	assert_int_equal(uploads_kept(&f, NULL), 600);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

#define DISK(test) cmocka_unit_test_setup_teardown(test, set_up_disk, tear_down_disk)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        DISK(after_a_reboot_confirmed_parts_come_to_light),
	        DISK(what_was_complete_before_a_reboot_is_not_completed_again),
	        DISK(a_lost_answer_after_a_reboot_is_settled),
	        DISK(an_upload_that_is_lost_before_a_reboot_is_told),
	        DISK(an_object_of_somebody_else_is_not_replaced_after_a_reboot),
	        DISK(with_a_late_name_the_next_one_is_taken_after_a_reboot),
	        DISK(a_kill_alone_leaves_nothing_to_recover),
	        TEST(a_small_object_is_one_put),
	        TEST(a_large_object_is_an_upload_in_parts),
	        TEST(a_name_that_is_taken_gets_a_suffix),
	        TEST(two_open_objects_of_one_key_have_two_names),
	        TEST(a_suffix_can_be_asked_for_always),
	        TEST(a_put_whose_answer_is_lost_is_found),
	        TEST(a_put_that_was_not_done_is_sent_again),
	        TEST(a_finish_whose_answer_is_lost_is_found),
	        TEST(no_such_upload_alone_proves_nothing),
	        TEST(a_lost_create_is_taken_up_again),
	        TEST(parts_may_be_answered_in_any_order),
	        TEST(an_upload_that_is_lost_costs_what_was_confirmed),
	        TEST(nothing_remains_of_an_upload_that_was_lost_with_all_its_lines),
	        TEST(an_upload_that_is_lost_before_a_part_costs_nothing),
	        TEST(nothing_is_asked_before_the_wait_is_over),
	        TEST(after_a_failure_one_request_goes_at_a_time),
	        TEST(what_a_person_must_mend_is_probed_first),
	        TEST(a_request_that_is_never_taken_holds_up_its_object_alone),
	        TEST(a_late_name_is_chosen_anew),
	        TEST(a_store_that_drops_tokens_is_asked_for_sizes),
	        TEST(a_size_alone_proves_nothing_when_the_answer_was_certain),
	        TEST(an_object_is_finished_by_its_age_and_by_the_stores_patience),
	        TEST(an_object_is_finished_at_its_size),
	        TEST(an_object_has_no_more_parts_than_the_store_takes),
	        TEST(lines_that_find_no_room_are_made_room_for),
	        TEST(every_line_is_in_one_object_whatever_happens),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
