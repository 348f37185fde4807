/* A journal seen by another process: what is in it, and never half of one object and half of the
 * next. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sink/objects/seen.h"
#include "tests/fixture/sandbox.h"

#define ROLE       "objects.logs"
#define BODY_BYTES (512u * 1024u) /* a few places, so that each is soon used again */
#define LOOK_S     2

static const struct journal_bounds bounds = {.open_most = 4096, .packed_most = 4096};

static struct {
	struct sandbox sandbox;
	char name[SEGMENT_NAME_MAX];
	struct segment segment;
	struct redo redo;
	struct journal *journal;
	struct shm_error error;
} f;

static int set_up(void **state)
{
	(void)state;
	memset(&f, 0, sizeof f);
	return sandbox_make(&f.sandbox) == 0 &&
	                       segment_create(f.sandbox.directory, instance_private_name(f.name, ROLE),
	                                      SEGMENT_PRIVATE, 7, BODY_BYTES, NULL, NULL, &f.error) == 0 &&
	                       segment_attach(&f.segment, f.sandbox.directory, f.name, SEGMENT_PRIVATE,
	                                      SEGMENT_WRITE, &f.error) == 0
	               ? 0
	               : -1;
}

static void open_journal(void)
{
	assert_int_equal(journal_over(&f.journal, &f.redo, f.segment.body, f.segment.body_bytes, &f.error),
	                 0);
	assert_int_equal(journal_open(f.journal, &bounds, &f.error), 0);
}

static int tear_down(void **state)
{
	(void)state;
	journal_close(f.journal);
	segment_detach(&f.segment);
	sandbox_remove(&f.sandbox);
	return 0;
}

/* JOURNAL_NONE: no room. Everything of it says its number. All keys are equally long, and so are
 * all names. */
static journal_object add(unsigned number)
{
	char key[16], token[JOURNAL_TOKEN_BYTES + 1];
	snprintf(key, sizeof key, "key%06u", number);
	snprintf(token, sizeof token, "%032u", number);
	journal_object object =
	        journal_add(f.journal, number, key, 9, token, (uint16_t)(number & 7), 3, number, number);
	if (object != JOURNAL_NONE && !journal_append(f.journal, object, key, 9, number))
		return JOURNAL_NONE; /* it goes with the next commit */
	return object;
}

static void set_name(journal_object object, unsigned number)
{
	char name[16];
	snprintf(name, sizeof name, "nam%06u", number);
	journal_set_name(f.journal, object, name, 9);
}

struct seen {
	unsigned n, named, finishing;
	uint64_t lines;
};

static void check(void *argument, const struct seen_object *object)
{
	struct seen *seen = argument;
	char key[16], name[16];
	snprintf(key, sizeof key, "key%06u", (unsigned)object->first_position);
	snprintf(name, sizeof name, "nam%06u", (unsigned)object->first_position);
	assert_string_equal(object->key, key);
	if (object->phase >= JOURNAL_NAMED)
		assert_string_equal(object->name, name);
	else
		assert_string_equal(object->name, "");
	assert_int_equal(object->opened_ns, object->first_position);
	assert_int_equal(object->first_topic, object->first_position & 7);
	assert_int_equal(object->first_lane, 3);
	seen->n++;
	seen->named += object->phase >= JOURNAL_NAMED;
	seen->finishing += object->finishing;
	seen->lines += object->lines;
}

static struct seen look(void)
{
	struct seen seen = {0};
	assert_int_equal(seen_journal(f.sandbox.directory, ROLE, check, &seen, &f.error), 0);
	return seen;
}

static void objects_are_seen_as_of_the_last_commit(void **state)
{
	(void)state;
	open_journal();
	assert_int_equal(look().n, 0);
	journal_object first = add(1), second = add(2);
	assert_int_equal(look().n, 0); /* not committed */
	journal_commit(f.journal, NULL);
	assert_true(journal_append(f.journal, first, "more", 4, 1));
	(void)add(3);
	struct seen seen = look();
	assert_int_equal(seen.n, 2);
	assert_int_equal(seen.lines, 2);
	assert_int_equal(seen.named, 0);
	journal_commit(f.journal, NULL);
	set_name(first, 1);
	journal_finish(f.journal, first);
	seen = look();
	assert_int_equal(seen.n, 3);
	assert_int_equal(seen.lines, 4);
	assert_int_equal(seen.named, 1);
	assert_int_equal(seen.finishing, 1);
	journal_remove(f.journal, first);
	journal_remove(f.journal, second);
	assert_int_equal(look().n, 1);
}

static void what_is_no_journal_is_refused(void **state)
{
	(void)state;
	struct seen seen = {0};
	assert_int_equal(seen_journal(f.sandbox.directory, "objects.other", check, &seen, &f.error), -ENOENT);
	assert_int_equal(seen_journal(f.sandbox.directory, ROLE, check, &seen, &f.error), -ENOENT);
	_Atomic uint64_t *layout = f.segment.body;
	*layout = PRIVATE_KIND_NOTE;
	assert_int_equal(seen_journal(f.sandbox.directory, ROLE, check, &seen, &f.error), -EPROTO);
}

/* In the child, until it is killed: objects come, are named, and go. */
static void work(void)
{
	for (unsigned number = 1;; number = number % 999999 + 1) {
		journal_object object = journal_find(f.journal, number, NULL, 0);
		if (object != JOURNAL_NONE) /* of the round before */
			journal_remove(f.journal, object);
		object = add(number);
		if (object == JOURNAL_NONE) {
			journal_commit(f.journal, NULL);
			journal_remove(f.journal, journal_next(f.journal, JOURNAL_NONE));
			continue;
		}
		journal_commit(f.journal, NULL);
		if (number % 3 != 0)
			set_name(object, number);
		if (number % 2 != 0)
			journal_finish(f.journal, object);
		if (number % 5 == 0)
			journal_remove(f.journal, object);
	}
}

static void an_object_is_never_mixed_with_the_next_one_at_its_place(void **state)
{
	(void)state;
	unsigned long looks = 0, found = 0;
	open_journal();
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		work();
		_exit(0);
	}
	for (time_t until = time(NULL) + LOOK_S; time(NULL) < until; looks++)
		found += look().n;
	int status = 0;
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, SIGKILL); /* its wait status: it was still at work */
	assert_true(looks > 0 && found > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	        T(objects_are_seen_as_of_the_last_commit),
	        T(what_is_no_journal_is_refused),
	        T(an_object_is_never_mixed_with_the_next_one_at_its_place),
#undef T
	};
	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
