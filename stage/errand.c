#include "stage/errand.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#include "base/clock.h"

#define LOOK_NS (2 * NS_PER_MS)

static void nap(void)
{
	(void)nanosleep(&(struct timespec){.tv_nsec = (long)LOOK_NS}, NULL);
}

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

/* Asks as soon as no other errand is in the way. Returns the id; 0 when one is until the end. */
static uint64_t ask(struct control *control, uint64_t until_ns)
{
	uint64_t now_ns, id = until_ns << ERRAND_STATE_BITS;
	while ((now_ns = clock_monotonic_ns()) < until_ns) {
		uint64_t word = load(control);
		bool over = now_ns >= word >> ERRAND_STATE_BITS && state_of(word) != ERRAND_TAKEN;
		if ((word == 0 || over) && change(control, word, id + ERRAND_ASKED))
			return id;
		nap();
	}
	return 0;
}

/* A stage that sleeps looks now. */
static void wake(const char *directory, const char *role)
{
	int pid = 0;
	if (control_alive(directory, role, &pid) == 1 && pid > 0)
		(void)kill((pid_t)pid, SIGUSR1);
}

static int wait_for(struct control *control, uint64_t id, uint64_t until_ns, uint64_t end_ns,
                    uint64_t answer[ERRAND_ANSWERS])
{
	for (;; nap()) {
		uint64_t word = load(control), now_ns = clock_monotonic_ns();
		if (word == id + ERRAND_DONE) {
			for (unsigned i = 0; i < ERRAND_ANSWERS; i++)
				answer[i] = atomic_load_explicit(&control->errand_answer[i],
				                                 memory_order_relaxed);
			if (change(control, word, ERRAND_NONE))
				return 0;
		}
		/* Only one that was done, or whose time is over, makes room for another's. */
		bool mine = word - state_of(word) == id;
		if (now_ns >= until_ns && (!mine || change(control, id + ERRAND_ASKED, ERRAND_NONE)))
			return mine ? -EBUSY : -EINPROGRESS;
		if (now_ns >= end_ns)
			return -EINPROGRESS;
	}
}

int errand_run(const char *directory, const char *role, uint64_t timeout_ns, uint64_t answer[ERRAND_ANSWERS],
               struct shm_error *error)
{
	struct segment segment = {0};
	char name[SEGMENT_NAME_MAX];
	uint64_t now_ns = clock_monotonic_ns(), until_ns = now_ns + timeout_ns / 2;
	int result = segment_attach(&segment, directory, instance_stage_name(name, role), SEGMENT_STAGE,
	                            SEGMENT_WRITE, error);
	if (result != 0)
		return result;
	if (segment.body_bytes < sizeof(struct control)) {
		shm_explain(error, "%s is smaller than a control block", name);
		result = -EPROTO;
	} else {
		uint64_t id = ask(segment.body, until_ns);
		if (id != 0)
			wake(directory, role);
		result = id == 0 ? -EBUSY : wait_for(segment.body, id, until_ns, now_ns + timeout_ns, answer);
	}
	segment_detach(&segment);
	return result;
}
