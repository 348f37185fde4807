#include "sink/tally/forget.h"

#include <errno.h>

#include "base/clock.h"
#include "sink/tally/tally.h"

int forget_begin(struct forget *forget, const char *directory, uint64_t timeout_ns, struct shm_error *error)
{
	forget->timeout_ns = timeout_ns;
	return errand_begin(&forget->errand, directory, TALLY_ROLE, timeout_ns, error);
}

int forget_look(struct forget *forget, struct forget_answer *answer, struct shm_error *error)
{
	uint64_t number[ERRAND_ANSWERS];
	unsigned long long ms = forget->timeout_ns / NS_PER_MS;
	int result = errand_look(&forget->errand, number);
	if (result == 0)
		*answer = (struct forget_answer){.applications = number[0], .events = number[1]};
	else if (result == -EBUSY)
		shm_explain(
		        error,
		        "nothing was forgotten: tally did not take it up within %llu ms; it does not run, cannot commit (millrace stat says why), or forgets for somebody else",
		        ms / 2);
	else if (result == -EINPROGRESS)
		shm_explain(
		        error,
		        "not forgotten yet: tally has taken it up and was not done within %llu ms; it will be, as soon as it can commit (millrace stat says how it is)",
		        ms);
	return result;
}

void forget_end(struct forget *forget)
{
	errand_end(&forget->errand);
}
