/* A request: what a command asks of a supervisor that runs, and how it learns what became of it.
 *
 *     command                               the instance's folder                       supervisor
 *     request_begin: holds its lock ------> request   "ID restart tally.0"
 *                    SIGUSR2 ---------------------------------------------------------> requests_take
 *     request_next <----------------------- answer    "ID"                     <-------
 *                                                     "say tally.0: process 12 -> 34"  requests_say
 *                                                     "step stop tally.0"              requests_step
 *                                                     "done" or "failed WHY"           requests_finish
 *     request_end: drops the lock
 *
 * Plain text, so that a command and a supervisor of two builds understand each other: the
 * supervisor may be older than the command that asks it to become the new one. One request at a
 * time: its asker holds the lock of the file as long as it lives. A request whose asker has gone
 * before it was taken is not done; one that was taken is done to its end. Its ID is what tells it
 * from the one before.
 *
 * A supervisor that knows requests makes the file; SIGUSR2 would end one that does not.
 */
#ifndef SUPERVISOR_REQUEST_H
#define SUPERVISOR_REQUEST_H

#include "shm/segment.h"

#define REQUEST_FILE     "request"
#define REQUEST_ANSWER   "answer"
#define REQUEST_ID_MAX   40u /* the final 0 included */
#define REQUEST_TEXT_MAX 64u /* "restart tally.0" */
#define REQUEST_LINE_MAX 640u

/* ---- the supervisor ---- */

struct requests {
	char id[REQUEST_ID_MAX]; /* of the last one that was taken */
	int answer;              /* its file, while it is being done; -1: none is */
};

void requests_init(struct requests *requests);

/* Makes the file of requests in the folder. Returns 0 or -errno. */
int requests_open(const char *directory);

/* Takes a request that has not been taken yet and whose asker waits. text is "VERB" or "VERB
 * OPERAND". False: there is none. */
bool requests_take(struct requests *requests, const char *directory, char text[REQUEST_TEXT_MAX]);

/* Tells its asker a line. Does nothing when none is being done. */
void requests_tell(struct requests *requests, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same, and logs it. */
void requests_say(struct requests *requests, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Tells its asker what is for him to do (managed_request.h); role may be "". */
void requests_step(struct requests *requests, const char *word, const char *role);

/* It is done; why NULL: well, otherwise it failed. Does nothing when none is being done. */
void requests_finish(struct requests *requests, const char *why);

/* ---- the command ---- */

struct request {
	bool managed; /* a service manager runs the instance; the caller makes it look (managed_request.h) */
	bool ended;   /* of a managed one, by the caller: what was to answer has ended */
	char directory[128];
	char id[REQUEST_ID_MAX];
	int lock, answer;  /* descriptors; -1: none */
	int supervisor;    /* process */
	uint64_t told_ns;  /* when it was signalled last */
	size_t read_bytes; /* of the answer */
};

/* Asks the supervisor of the instance in the directory, or, where a service manager runs it, who
 * will look next: then `managed` is set. Returns 0; -ENOENT: there is no such instance; -ESRCH: no
 * supervisor runs it; -EOPNOTSUPP: its supervisor knows no requests; -ECONNREFUSED: it is another
 * user's, which only that user or root can ask; -EWOULDBLOCK: another command's request is being
 * done; another -errno. */
int request_begin(struct request *request, const char *directory, const char *text);

enum request_event {
	REQUEST_WAIT,   /* nothing new */
	REQUEST_SAYS,   /* line is one for the user */
	REQUEST_STEP,   /* line is one for the command: "WORD ROLE", or "WORD" */
	REQUEST_DONE,   /* the end */
	REQUEST_FAILED, /* the end; line says why */
	REQUEST_GONE    /* the end: who was to answer died over it */
};

/* What is new; does not wait. */
enum request_event request_next(struct request *request, char line[REQUEST_LINE_MAX]);

/* True once the supervisor has begun with it. */
static inline bool request_taken(const struct request *request)
{
	return request->answer >= 0;
}

/* At any time after request_begin. One that was not taken never will be. */
void request_end(struct request *request);

#endif
