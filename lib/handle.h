/* What the handles of libmillrace hold. Internal to lib/. */
#ifndef LIB_HANDLE_H
#define LIB_HANDLE_H

#include "lib/millrace.h"
#include "shm/sleep_poll.h"
#include "shm/life.h"
#include "shm/topic.h"

struct millrace {
	struct instance instance;
};

struct millrace_reader {
	struct millrace *millrace;
	struct topic_reader topic;
	struct life_watch life;
	struct record_batch batch;
	unsigned lane;
	/* records that millrace_next has given and millrace_advance not passed */
	uint64_t taken;
	struct millrace_record record; /* what millrace_next gave last */
	struct sleep_poll *poll;       /* NULL before the first millrace_fd */
	struct life_watch poll_life;   /* of its helper thread */
	struct shm_error error;
};

/* The error of calls with a millrace, of this thread. */
struct shm_error *handle_error(void);

/* Claims use record locks of the process (instance_lock), so one thread at a time may claim or free
 * groups and lanes. */
void handle_lock(void);
void handle_unlock(void);

/* 0 while the attached instance goes on; -EPIPE or -ESTALE, with error set. */
int handle_life(enum life life, struct shm_error *error);

#endif
