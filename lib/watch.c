/* A descriptor for a reader's bell: a thread sleeps on the bell and makes an eventfd readable when
 * it rings.
 *
 *     reader                                          thread
 *     nothing to read: clears the eventfd,
 *     round + 1, seen ------------ round ----------->  waits for a new round
 *                                                      waits until the bell rings after seen, or the instance ends
 *     poll: readable <----------- eventfd -----------  writes it, waits for a new round
 *
 * While the reader finds records no round begins, so a busy reader costs no system call. A write
 * that belongs to an older round makes the descriptor readable once for nothing, which poll(2)
 * allows.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/handle.h"
#include "base/clock.h"

#define LOOK_NS (100 * NS_PER_MS)

struct watch {
	int fd;
	struct bell *bell;
	struct life_watch life; /* the thread's own */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t begun;
	uint64_t round; /* under lock: of the last watch_arm */
	uint32_t seen;  /* under lock: what the bell said then */
	_Atomic bool ending;
};

/* Waits for a round after `done`; false when it is to end. */
static bool next_round(struct watch *watch, uint64_t *done, uint32_t *seen)
{
	pthread_mutex_lock(&watch->lock);
	while (watch->round == *done && !watch->ending)
		pthread_cond_wait(&watch->begun, &watch->lock);
	*done = watch->round;
	*seen = watch->seen;
	pthread_mutex_unlock(&watch->lock);
	return !watch->ending;
}

static void *run(void *argument)
{
	struct watch *watch = argument;
	uint64_t done = 0;
	uint32_t seen;
	while (next_round(watch, &done, &seen)) {
		while (!bell_wait(watch->bell, seen, LOOK_NS) && !watch->ending)
			if (life_check(&watch->life) != LIFE_SAME)
				break;
		(void)eventfd_write(watch->fd, 1); /* EAGAIN: it is readable already */
	}
	return NULL;
}

/* The program's signals are for its own threads. */
static int start(struct watch *watch)
{
	sigset_t all, kept;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &kept);
	int result = pthread_create(&watch->thread, NULL, run, watch);
	pthread_sigmask(SIG_SETMASK, &kept, NULL);
	return -result;
}

static int make(struct millrace_reader *reader)
{
	struct watch *watch = calloc(1, sizeof *watch);
	if (watch == NULL)
		return -ENOMEM;
	watch->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (watch->fd < 0) {
		int error = errno;
		free(watch);
		return -error;
	}
	watch->bell = reader->topic.bell;
	life_init(&watch->life, &reader->millrace->instance);
	pthread_mutex_init(&watch->lock, NULL);
	pthread_cond_init(&watch->begun, NULL);
	int result = start(watch);
	if (result != 0) {
		close(watch->fd);
		free(watch);
		return result;
	}
	reader->watch = watch;
	/* Nobody has looked yet: readable until the first look that finds nothing. */
	(void)eventfd_write(watch->fd, 1);
	return 0;
}

int millrace_fd(struct millrace_reader *reader)
{
	int result = reader->watch != NULL ? 0 : make(reader);
	if (result == 0)
		return reader->watch->fd;
	shm_explain(&reader->error, "no descriptor for the reader: %s", strerror(-result));
	return result;
}

void watch_arm(struct millrace_reader *reader, uint32_t seen)
{
	struct watch *watch = reader->watch;
	eventfd_t ignored;
	if (watch == NULL)
		return;
	(void)eventfd_read(watch->fd, &ignored); /* EAGAIN: it was not readable */
	pthread_mutex_lock(&watch->lock);
	watch->round++;
	watch->seen = seen;
	pthread_cond_signal(&watch->begun);
	pthread_mutex_unlock(&watch->lock);
}

void watch_end(struct millrace_reader *reader)
{
	struct watch *watch = reader->watch;
	if (watch == NULL)
		return;
	pthread_mutex_lock(&watch->lock);
	watch->ending = true;
	pthread_cond_signal(&watch->begun);
	pthread_mutex_unlock(&watch->lock);
	bell_ring(watch->bell); /* it may sleep there */
	pthread_join(watch->thread, NULL);
	pthread_cond_destroy(&watch->begun);
	pthread_mutex_destroy(&watch->lock);
	close(watch->fd);
	free(watch);
	reader->watch = NULL;
}
