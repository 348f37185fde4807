/* A bell that a poll loop can wait for: for a process whose loop belongs to epoll or to a library
 * (libcurl, libwebsockets), which waits for descriptors and cannot sleep on a futex.
 *
 *     the loop's thread                                  helper thread of the same process
 *
 *     work while there is some                           asleep (nothing touches it)
 *     bell_poll_note       what the bells say now
 *     work once more?   yes: from the start
 *     bell_poll_arm     rang since: from the start  -->  sleeps on the bells
 *     epoll_wait(bell_poll_fd, sockets ...)                 |  a bell rings
 *        readable  <---------- eventfd ------------------   |
 *     from the start                                     asleep again
 *
 * Why a thread. A writer reaches a futex through memory alone: it needs no descriptor, permission
 * or path of its reader, and it does the same whether the reader sleeps on a futex or in epoll. An
 * eventfd has no name that another process could open. A FIFO or a socket in the instance's folder
 * has one, but stays there when its reader dies, needs access rights for every user that writes,
 * and can be full. io_uring waits for futexes from Linux 6.7 on, and may be denied. The thread
 * costs one more switch at each wake-up.
 *
 * Awake costs nothing. The helper is armed only by bell_poll_arm and goes back to sleep once it has
 * written the descriptor: no system call on either side for a record that comes while the loop
 * works. bell_poll_note reads one word for each bell; call it when there seems to be nothing to do.
 * One sleep of the loop costs two system calls besides epoll_wait: waking the helper, and reading
 * the descriptor.
 *
 * Nothing is lost. A ring after bell_poll_note either is seen by bell_poll_arm or makes the
 * descriptor readable. A loop that comes back for another reason (a socket, a timer) may leave the
 * helper armed; it may find the descriptor readable once with nothing to do.
 *
 * Death. The helper ends with its process, and leaves nothing but a bell that is marked as slept
 * on: the next ring makes one needless call. A writer killed between its ring and the wake-up is
 * noticed after BELL_POLL_BOUND_NS. One killed between publishing and ringing has not rung: so the
 * loop comes back by itself now and then and looks, as every stage does for its heartbeat and as a
 * bell_wait with its time-out does.
 *
 * One thread uses a bell_poll. The helper blocks all signals. After fork(2) the child has no
 * helper: it opens its own.
 */
#ifndef SHM_BELL_POLL_H
#define SHM_BELL_POLL_H

#include "shm/bell.h"

#define BELL_POLL_MAX      (BELL_WAIT_MAX - 1)
#define BELL_POLL_BOUND_NS 100000000ull /* the helper looks for itself after so long */

struct bell_poll;

/* What was done so far. Each of the first two is a system call of the loop's thread, and nothing
 * else is. */
struct bell_poll_counts {
	uint64_t armed; /* the helper was woken to sleep on the bells */
	uint64_t read;  /* the descriptor was read */
	uint64_t fired; /* the helper made it readable */
};

/* What no bell tells and the loop has to know: the helper asks every BELL_POLL_BOUND_NS while it is
 * armed, in its own thread; true makes the descriptor readable. */
typedef bool bell_poll_also(void *argument);

/* Starts the helper for n bells, 1 to BELL_POLL_MAX: those of the groups that the process reads
 * (topic_reader.bell) and of the queues it takes from (bells_page.queue[i][0]). They stay mapped
 * until bell_poll_close. `also` may be NULL. The descriptor is readable at first, because nobody
 * has looked yet. Open it before a sandbox forbids clone(2) or eventfd(2). Returns 0, or -errno
 * with *poll NULL: -EINVAL for n, -ENOMEM, -EMFILE, -EAGAIN (no more threads). */
int bell_poll_open(struct bell_poll **poll, struct bell *const bell[], unsigned n, bell_poll_also *also,
                   void *argument);

/* The descriptor to wait for: POLLIN, level-triggered. It belongs to the bell_poll; do not read
 * it. */
int bell_poll_fd(const struct bell_poll *poll);

/* Notes what the bells say, before the last look for work, and makes the descriptor unreadable
 * again when it had become readable. */
void bell_poll_note(struct bell_poll *poll);

/* Before the loop sleeps. Returns true when a bell has rung since bell_poll_note: look again.
 * False: go to sleep, the next ring makes the descriptor readable. */
bool bell_poll_arm(struct bell_poll *poll);

struct bell_poll_counts bell_poll_counts(const struct bell_poll *poll);

/* Ends the helper, closes the descriptor, frees. NULL is allowed. */
void bell_poll_close(struct bell_poll *poll);

#endif
