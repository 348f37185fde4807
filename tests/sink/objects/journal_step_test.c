/* A death at every instruction: the process under test is stepped through its work, and each time
 * its memory has changed, that memory is what SIGKILL would have left. A copy of it is opened as
 * the next life does; it must say what the journal said before the present operation or what it
 * says after it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sink/objects/journal_inside.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/journal.h"
#include "tests/fixture/stepped.h"

#define MEMBER     (17u * 1024)
#define BODY_BYTES (220u * 1024)
#define N_WORK     90u
#define KEPT_NOTES 4u /* states with a published note whose recovery is stepped through too */

static const struct journal_bounds bounds = {.open_most = MEMBER, .packed_most = MEMBER + 64};

/* ---- the work ---- */

struct work {
	struct journal_body body;
	unsigned long random;
	uint64_t lines;
	unsigned done[16]; /* how often each operation was possible */
};

enum {
	WORK_LINE,
	WORK_COMMIT,
	WORK_PACK,
	WORK_CUT,
	WORK_CONFIRM,
	WORK_SPOOL,
	WORK_NAME,
	WORK_UPLOAD,
	WORK_WORD,
	WORK_FINISH,
	WORK_REMOVE,
	WORK_LIFE,
	WORK_KINDS
};

static unsigned draw_of(struct work *w, unsigned n)
{
	return (unsigned)((draw_next(&w->random) >> 8) % n);
}

static bool add_line(struct work *w)
{
	static char line[JOURNAL_BLOCK_BYTES + 100];
	struct journal *journal = w->body.journal;
	char key = (char)('a' + draw_of(w, 3));
	journal_object object = journal_find(journal, (uint64_t)key, &key, 1);
	if (object == JOURNAL_NONE)
		object = journal_add(journal, (uint64_t)key, &key, 1, JOURNAL_BODY_TOKEN, 1, 2, w->lines,
		                     w->lines);
	if (object == JOURNAL_NONE)
		return false;
	size_t bytes = draw_of(w, 40) == 0 ? JOURNAL_BLOCK_BYTES + 1 : draw_of(w, 60);
	memset(line, 'a' + (int)(w->lines % 26), bytes);
	if (!journal_append(journal, object, line, bytes, w->lines))
		return false;
	w->lines++;
	return true;
}

static bool pack_some(struct work *w, journal_object object, const struct journal_view *view)
{
	static const char member[JOURNAL_BLOCK_BYTES] = "member";
	size_t bytes = draw_of(w, 8) == 0 ? sizeof member : view->open_bytes / 3 + 1;
	bytes = bytes < sizeof member ? bytes : sizeof member;
	return view->open_bytes != 0 && journal_body_pack(w->body.journal, object, member, bytes);
}

/* The first part that is cut, 0 when there is none. */
static uint32_t first_cut(const struct journal *journal, journal_object object)
{
	struct journal_part part;
	for (uint32_t i = 1; journal_part(journal, object, i, &part); i++)
		if (part.state == JOURNAL_CUT)
			return i;
	return 0;
}

static bool step_object(struct work *w, unsigned kind, journal_object object)
{
	struct journal *journal = w->body.journal;
	struct journal_view view;
	journal_look(journal, object, &view);
	uint32_t part = first_cut(journal, object);
	switch (kind) {
	case WORK_PACK:
		return pack_some(w, object, &view);
	case WORK_CUT:
		return journal_cut(journal, object) != 0;
	case WORK_CONFIRM:
		if (part == 0 || view.phase != JOURNAL_UPLOADING)
			return false;
		journal_confirm(journal, object, part, "\"an etag\"");
		return true;
	case WORK_SPOOL:
		if (part == 0)
			return false;
		journal_spooled(journal, object, part);
		return true;
	case WORK_NAME:
		if (view.phase != JOURNAL_OPEN)
			return false;
		journal_set_name(journal, object, "the name of it", 14);
		return true;
	case WORK_UPLOAD:
		if (view.phase != JOURNAL_NAMED)
			return false;
		journal_set_upload(journal, object, "an upload id", 12);
		return true;
	case WORK_WORD:
		journal_set_word(journal, object, draw_of(w, 4), draw_next(&w->random));
		return true;
	case WORK_FINISH:
		journal_finish(journal, object);
		return !view.finishing;
	default:
		if (!view.finishing)
			return false;
		journal_remove(journal, object);
		return true;
	}
}

static journal_object any_object(struct work *w)
{
	const struct journal *journal = w->body.journal;
	journal_object object = JOURNAL_NONE;
	for (unsigned n = 1 + draw_of(w, 4); n > 0; n--) {
		object = journal_next(journal, object);
		if (object == JOURNAL_NONE)
			object = journal_next(journal, object);
	}
	return object;
}

/* One operation, the same in every process. */
static void work_once(struct work *w)
{
	static const uint8_t kinds[] = {WORK_LINE,  WORK_LINE,   WORK_LINE,   WORK_LINE,    WORK_COMMIT,
	                                WORK_PACK,  WORK_PACK,   WORK_CUT,    WORK_CONFIRM, WORK_CONFIRM,
	                                WORK_SPOOL, WORK_NAME,   WORK_NAME,   WORK_UPLOAD,  WORK_UPLOAD,
	                                WORK_WORD,  WORK_FINISH, WORK_REMOVE, WORK_LIFE};
	unsigned kind = kinds[draw_of(w, sizeof kinds)];
	bool possible = true;
	if (kind == WORK_LIFE) {
		if (journal_body_live(&w->body) != 0)
			abort();
		w->lines = *w->body.cursor;
	} else if (kind == WORK_LINE) {
		possible = add_line(w);
	} else if (kind == WORK_COMMIT || journal_uncommitted(w->body.journal)) {
		journal_body_commit(&w->body, w->lines);
		kind = WORK_COMMIT;
	} else {
		journal_object object = any_object(w);
		possible = object != JOURNAL_NONE && step_object(w, kind, object);
	}
	w->done[kind] += possible ? 1 : 0;
}

/* ---- what is expected ---- */

struct trial {
	struct work work;
	struct journal_body copy;
	_Atomic uint64_t *begun; /* operations, by the process that is stepped; shared */
	uint64_t digest[N_WORK + 1];
	char *seen;             /* the memory at the last look */
	char *note[KEPT_NOTES]; /* memories with a published note */
	uint64_t note_digest[KEPT_NOTES];
	unsigned n_notes;
	unsigned long steps, states;
};

static size_t whole(const struct journal_body *body)
{
	return body->bytes + sizeof *body->cursor;
}

/* What a next life finds in a memory; 0 when it refuses it. */
static uint64_t digest_of(struct journal_body *copy, const char *memory)
{
	memcpy(copy->memory, memory, whole(copy));
	if (journal_body_live(copy) != 0) {
		print_message("%s\n", copy->error.text);
		return 0;
	}
	uint64_t digest = journal_body_digest(copy);
	journal_body_leave(copy);
	return digest;
}

/* False when the work leaves an operation out. */
static bool expect(struct trial *t)
{
	struct work work = {.random = t->work.random};
	assert_int_equal(journal_body_make(&work.body, BODY_BYTES, bounds), 0);
	assert_int_equal(journal_body_live(&work.body), 0);
	t->digest[0] = digest_of(&t->copy, work.body.memory);
	unsigned changes = 0;
	for (unsigned i = 0; i < N_WORK; i++) {
		work_once(&work);
		t->digest[i + 1] = digest_of(&t->copy, work.body.memory);
		assert_int_not_equal(t->digest[i + 1], 0);
		changes += t->digest[i + 1] != t->digest[i] ? 1 : 0;
	}
	bool all = changes > N_WORK / 4;
	for (unsigned i = 0; i < WORK_KINDS; i++)
		all = all && work.done[i] > 0;
	journal_body_remove(&work.body);
	return all;
}

/* ---- stepping ---- */

static void make_trial(struct trial *t, unsigned long seed)
{
	memset(t, 0, sizeof *t);
	t->work.random = seed;
	assert_int_equal(journal_body_make(&t->work.body, BODY_BYTES, bounds), 0);
	assert_int_equal(journal_body_make(&t->copy, BODY_BYTES, bounds), 0);
	t->begun = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	t->seen = malloc(whole(&t->copy));
	assert_true(t->begun != MAP_FAILED && t->seen != NULL);
}

static void remove_trial(struct trial *t)
{
	for (unsigned i = 0; i < t->n_notes; i++)
		free(t->note[i]);
	free(t->seen);
	munmap((void *)t->begun, 4096);
	journal_body_remove(&t->copy);
	journal_body_remove(&t->work.body);
}

/* Keeps memories whose note is published: of commits and of steps, spread over the work. */
static void keep_note(struct trial *t, uint64_t k)
{
	const struct redo_note *note = &((const struct journal_head *)(const void *)t->seen)->note;
	if (t->n_notes == KEPT_NOTES || note->published != 1 || t->digest[k] == t->digest[k - 1] ||
	    k < t->n_notes * N_WORK / KEPT_NOTES)
		return;
	char *memory = malloc(whole(&t->copy));
	assert_non_null(memory);
	memcpy(memory, t->seen, whole(&t->copy));
	t->note[t->n_notes] = memory;
	t->note_digest[t->n_notes++] = t->digest[k];
}

/* Looks at the memory of a stopped child. NULL when all is well. */
static const char *look(struct trial *t, bool *after)
{
	const char *memory = t->work.body.memory;
	if (memcmp(t->seen, memory, whole(&t->copy)) == 0)
		return NULL;
	memcpy(t->seen, memory, whole(&t->copy));
	t->states++;
	uint64_t k = *t->begun, digest = digest_of(&t->copy, t->seen);
	if (digest == 0)
		return "the next life refuses the journal";
	if (digest == t->digest[k]) {
		*after = true;
		keep_note(t, k);
		return NULL;
	}
	if (digest != t->digest[k - 1])
		return "the journal is neither that before nor that after the operation";
	return *after ? "what had happened is undone" : NULL;
}

/* Steps through all that the child does. */
static const char *step_through(struct trial *t, pid_t child, bool *traced)
{
	int status;
	const char *wrong = NULL;
	bool after = false;
	uint64_t begun = 0;
	assert_int_equal(waitpid(child, &status, 0), child);
	while (WIFSTOPPED(status) && wrong == NULL && ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) == 0) {
		t->steps++;
		assert_int_equal(waitpid(child, &status, 0), child);
		if (*t->begun == 0)
			continue;
		after = after && *t->begun == begun;
		begun = *t->begun;
		wrong = look(t, &after);
	}
	*traced = !WIFEXITED(status) || WEXITSTATUS(status) != STEPPED_NOT_ALLOWED;
	if (WIFSTOPPED(status)) {
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
	} else if (wrong == NULL && *traced && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) {
		wrong = "the stepped life failed";
	}
	if (wrong != NULL)
		print_message("operation %lu: %s\n", (unsigned long)*t->begun, wrong);
	return wrong;
}

static pid_t start_work(struct trial *t)
{
	pid_t child = fork();
	if (child != 0)
		return child;
	if (journal_body_live(&t->work.body) != 0)
		_exit(1);
	stepped_begin();
	for (unsigned i = 0; i < N_WORK; i++) {
		*t->begun = i + 1;
		work_once(&t->work);
	}
	_exit(0);
}

/* Recovery itself is killed as well: a published note is applied again by the next life. */
static void step_through_recovery(struct trial *t, unsigned i)
{
	bool traced;
	memcpy(t->work.body.memory, t->note[i], whole(&t->copy));
	t->digest[0] = t->digest[1] = t->note_digest[i];
	*t->begun = 0;
	pid_t child = fork();
	if (child == 0) {
		*t->begun = 1;
		stepped_begin();
		_exit(journal_body_live(&t->work.body) == 0 ? 0 : 1);
	}
	assert_null(step_through(t, child, &traced));
}

static void a_death_at_any_instruction_leaves_each_operation_done_or_not(void **state)
{
	(void)state;
	struct trial t;
	bool traced;
	if (stepped_instrumented())
		skip();
	make_trial(&t, draw_seed(20261127));
	for (unsigned tries = 0; !expect(&t); tries++) {
		assert_true(tries < 5000);
		(void)draw_next(&t.work.random);
	}
	stepped_on_one_processor();
	const char *wrong = step_through(&t, start_work(&t), &traced);
	print_message("%lu instructions, %lu states of memory, %u notes\n", t.steps, t.states, t.n_notes);
	if (!traced) {
		remove_trial(&t);
		skip();
	}
	assert_null(wrong);
	assert_true(t.states > 200);
	assert_int_equal(t.n_notes, KEPT_NOTES);
	for (unsigned i = 0; i < KEPT_NOTES; i++)
		step_through_recovery(&t, i);
	remove_trial(&t);
}

int main(void)
{
	alarm(300);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_death_at_any_instruction_leaves_each_operation_done_or_not),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
