#include "stage/errand.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"
#include "shm/folder.h"

static uint64_t load(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_acquire);
}

static int attach(struct segment *segment, const char *directory, const char *name, enum segment_kind kind,
                  enum segment_access access, size_t body_bytes, struct shm_error *error)
{
	int result = segment_attach(segment, directory, name, kind, access, error);
	if (result == 0 && segment->body_bytes < body_bytes) {
		shm_explain(error, "%s is smaller than its contents", name);
		segment_detach(segment);
		result = -EPROTO;
	}
	return result;
}

/* ---- the stage ---- */

int errand_attach(struct errands *errands, const char *directory, const char *role, struct control *control,
                  struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	*errands = (struct errands){.control = control};
	int result = attach(&errands->segment, directory, instance_errand_name(name, role), SEGMENT_ERRAND,
	                    SEGMENT_READ, sizeof(struct errand_page), error);
	errands->page = errands->segment.body;
	return result;
}

void errand_detach(struct errands *errands)
{
	segment_detach(&errands->segment);
}

uint64_t errand_taken(const struct errands *errands)
{
	uint64_t mine = load(&errands->control->errand);
	return errand_state(mine) == ERRAND_TAKEN ? errand_id(mine) : 0;
}

uint64_t errand_take(struct errands *errands, uint64_t now_ns)
{
	_Atomic uint64_t *own = &errands->control->errand;
	uint64_t asked = load(&errands->page->asked), mine = load(own);
	if (errand_state(mine) != ERRAND_TAKEN) {
		bool is_new = errand_id(asked) != errand_id(mine);
		if (errand_state(asked) != ERRAND_ASKED || !is_new || now_ns >= errand_id(asked))
			return 0;
		mine = errand_word(errand_id(asked), ERRAND_TAKEN);
		atomic_store_explicit(own, mine, memory_order_relaxed);
	}
	/* Also after what a former life took: it may have died before its own. */
	atomic_thread_fence(memory_order_seq_cst);
	asked = load(&errands->page->asked);
	uint64_t id = errand_id(mine);
	enum errand_state state = errand_id(asked) == id ? errand_state(asked) : ERRAND_REVOKED;
	if (state == ERRAND_CONFIRMED || (state == ERRAND_ASKED && now_ns < id))
		return id;
	if (state == ERRAND_ASKED || state == ERRAND_DECIDING)
		return 0; /* its asker decides, or the next one takes its place */
	atomic_store_explicit(own, errand_word(id, ERRAND_NONE), memory_order_release);
	return 0;
}

void errand_done(struct errands *errands, uint64_t id, const uint64_t answer[ERRAND_ANSWERS])
{
	struct control *control = errands->control;
	for (unsigned i = 0; i < ERRAND_ANSWERS; i++)
		atomic_store_explicit(&control->errand_answer[i], answer[i], memory_order_relaxed);
	atomic_store_explicit(&control->errand, errand_word(id, ERRAND_DONE), memory_order_release);
}

/* ---- the asker ---- */

int errand_begin(struct errand *errand, const char *directory, const char *role, uint64_t timeout_ns,
                 struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	uint64_t now_ns = clock_monotonic_ns();
	*errand = (struct errand){
	        .file = -1, .until_ns = now_ns + timeout_ns / 2, .end_ns = now_ns + timeout_ns};
	int result = attach(&errand->control_segment, directory, instance_stage_name(name, role),
	                    SEGMENT_STAGE, SEGMENT_READ, sizeof(struct control), error);
	if (result == 0)
		result = attach(&errand->page_segment, directory, instance_errand_name(name, role),
		                SEGMENT_ERRAND, SEGMENT_WRITE, sizeof(struct errand_page), error);
	if (result != 0) {
		segment_detach(&errand->control_segment);
		return result;
	}
	errand->control = errand->control_segment.body;
	errand->page = errand->page_segment.body;
	errand->file = folder_open(directory, name, O_RDWR, 0);
	if (errand->file >= 0)
		return 0;
	result = errand->file;
	shm_explain(error, "%s/%s: %s", directory, name, strerror(-result));
	errand_end(errand);
	return result;
}

/* A stage that sleeps until the word changes, looks now. */
static void say(struct errand *errand, enum errand_state state)
{
	atomic_store_explicit(&errand->page->asked, errand_word(errand->id, state), memory_order_release);
	sleep_wake(sleep_low_half(&errand->page->asked));
}

/* An id near the end of its time that is neither of these two, nor looks like one of them to who
 * sleeps on the low half of a word. */
static uint64_t new_id(uint64_t until_ns, uint64_t asked, uint64_t stages)
{
	uint64_t id = until_ns;
	while ((uint32_t)errand_word(id, 0) == (uint32_t)errand_word(errand_id(asked), 0) ||
	       (uint32_t)errand_word(id, 0) == (uint32_t)errand_word(errand_id(stages), 0))
		id++;
	return id;
}

/* As soon as no other errand is in the way. */
static void ask(struct errand *errand)
{
	if (instance_hold_fd(errand->file) != 0)
		return;
	uint64_t asked = load(&errand->page->asked), stages = load(&errand->control->errand);
	if (asked == errand_word(errand_id(asked), ERRAND_CONFIRMED) &&
	    stages == errand_word(errand_id(asked), ERRAND_TAKEN))
		return;
	errand->id = new_id(errand->until_ns, asked, stages);
	say(errand, ERRAND_ASKED);
}

/* Its time is over, or nobody looks any more. */
static void decide(struct errand *errand)
{
	atomic_store_explicit(&errand->page->asked, errand_word(errand->id, ERRAND_DECIDING),
	                      memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	uint64_t stages = load(&errand->control->errand);
	bool taken = stages == errand_word(errand->id, ERRAND_TAKEN) ||
	             stages == errand_word(errand->id, ERRAND_DONE);
	say(errand, taken ? ERRAND_CONFIRMED : ERRAND_REVOKED);
}

static enum errand_state state_of(const struct errand *errand)
{
	return errand_state(load(&errand->page->asked));
}

/* What became of one that was asked. Nobody else may ask meanwhile, so answers stay. */
static int look(struct errand *errand, uint64_t now_ns, uint64_t answer[ERRAND_ANSWERS])
{
	if (state_of(errand) == ERRAND_ASKED && now_ns >= errand->until_ns)
		decide(errand);
	if (state_of(errand) == ERRAND_REVOKED)
		return -EBUSY;
	if (load(&errand->control->errand) != errand_word(errand->id, ERRAND_DONE))
		return now_ns >= errand->end_ns ? -EINPROGRESS : -EAGAIN;
	for (unsigned i = 0; i < ERRAND_ANSWERS; i++)
		answer[i] = atomic_load_explicit(&errand->control->errand_answer[i], memory_order_relaxed);
	return 0;
}

int errand_look(struct errand *errand, uint64_t answer[ERRAND_ANSWERS])
{
	uint64_t now_ns = clock_monotonic_ns();
	if (errand->id != 0)
		return look(errand, now_ns, answer);
	if (now_ns >= errand->until_ns)
		return -EBUSY;
	ask(errand);
	return -EAGAIN;
}

void errand_end(struct errand *errand)
{
	if (errand->id != 0 && state_of(errand) == ERRAND_ASKED)
		decide(errand);
	if (errand->file >= 0)
		close(errand->file); /* and with it the lock */
	segment_detach(&errand->page_segment);
	segment_detach(&errand->control_segment);
}
