#include "stage/errand.h"

#include <errno.h>
#include <signal.h>

#include "base/clock.h"

static enum errand_state state_of(uint64_t word)
{
	return (enum errand_state)(word & ERRAND_STATES);
}

static uint64_t load(const struct control *control)
{
	return atomic_load_explicit(&control->errand, memory_order_acquire);
}

static bool change(struct control *control, uint64_t from, uint64_t to)
{
	return atomic_compare_exchange_strong(&control->errand, &from, to);
}

int errand_begin(struct errand *errand, const char *directory, const char *role, uint64_t timeout_ns,
                 struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	uint64_t now_ns = clock_monotonic_ns();
	*errand = (struct errand){
	        .directory = directory,
	        .role = role,
	        .until_ns = now_ns + timeout_ns / 2,
	        .end_ns = now_ns + timeout_ns,
	};
	int result = segment_attach(&errand->segment, directory, instance_stage_name(name, role),
	                            SEGMENT_STAGE, SEGMENT_WRITE, error);
	if (result == 0 && errand->segment.body_bytes < sizeof(struct control)) {
		shm_explain(error, "%s is smaller than a control block", name);
		segment_detach(&errand->segment);
		result = -EPROTO;
	}
	return result;
}

void errand_end(struct errand *errand)
{
	if (errand->id != 0) {
		(void)change(errand->segment.body, errand->id + ERRAND_ASKED, ERRAND_NONE);
		(void)change(errand->segment.body, errand->id + ERRAND_DONE, ERRAND_NONE);
	}
	segment_detach(&errand->segment);
}

/* A stage that sleeps looks now. */
static void wake(const struct errand *errand)
{
	int pid = 0;
	if (control_alive(errand->directory, errand->role, &pid) == 1 && pid > 0)
		(void)kill((pid_t)pid, SIGUSR1);
}

/* As soon as no other errand is in the way. */
static void ask(struct errand *errand, uint64_t now_ns)
{
	struct control *control = errand->segment.body;
	uint64_t word = load(control), id = errand->until_ns << ERRAND_STATE_BITS;
	bool over = now_ns >= word >> ERRAND_STATE_BITS && state_of(word) != ERRAND_TAKEN;
	if (!over || !change(control, word, id + ERRAND_ASKED))
		return;
	errand->id = id;
	wake(errand);
}

/* What became of one that was asked. */
static int look(const struct errand *errand, uint64_t now_ns, uint64_t answer[ERRAND_ANSWERS])
{
	struct control *control = errand->segment.body;
	uint64_t word = load(control), id = errand->id;
	if (word == id + ERRAND_DONE) {
		for (unsigned i = 0; i < ERRAND_ANSWERS; i++)
			answer[i] = atomic_load_explicit(&control->errand_answer[i], memory_order_relaxed);
		if (change(control, word, ERRAND_NONE))
			return 0;
	}
	/* Only one that was done, or whose time is over, makes room for another's. */
	bool mine = word - state_of(word) == id;
	if (now_ns >= errand->until_ns && (!mine || change(control, id + ERRAND_ASKED, ERRAND_NONE)))
		return mine ? -EBUSY : -EINPROGRESS;
	return now_ns >= errand->end_ns ? -EINPROGRESS : -EAGAIN;
}

int errand_look(struct errand *errand, uint64_t answer[ERRAND_ANSWERS])
{
	uint64_t now_ns = clock_monotonic_ns();
	if (errand->id != 0)
		return look(errand, now_ns, answer);
	if (now_ns >= errand->until_ns)
		return -EBUSY;
	ask(errand, now_ns);
	return -EAGAIN;
}
