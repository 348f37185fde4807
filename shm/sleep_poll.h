/* A sleep (sleep.h) that a poll loop can wait for: for a process whose loop belongs to epoll or to
 * a library (libcurl, libwebsockets), which waits for descriptors and cannot sleep on a futex.
 *
 *     the loop's thread                                  helper thread of the same process
 *
 *     work while there is some                           asleep (nothing touches it)
 *     sleep_poll_note      what the words say now
 *     work once more?   yes: from the start
 *     sleep_poll_arm    one changed: from the start -->  sleeps on the words
 *     epoll_wait(sleep_poll_fd, sockets ...)                |  a word changes
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
 * Awake costs nothing. The helper is armed only by sleep_poll_arm and goes back to sleep once it
 * has written the descriptor: no system call on either side for a record that comes while the loop
 * works. sleep_poll_note reads each word once; call it when there seems to be nothing to do. One
 * sleep of the loop costs two system calls besides epoll_wait: waking the helper, and reading the
 * descriptor.
 *
 * Nothing is lost. A change after sleep_poll_note either is seen by sleep_poll_arm or makes the
 * descriptor readable. A loop that comes back for another reason (a socket, a timer) may leave the
 * helper armed; it may find the descriptor readable once with nothing to do.
 *
 * The helper gives the addresses of the words to the kernel and reads none itself. So a loop that
 * follows its reader to other lanes (topic_reader_follow) may unmap what the helper sleeps on.
 *
 * Death. The helper ends with its process, and leaves nothing but words that say that somebody
 * sleeps: each costs its writer one needless call. A writer killed between its change and the
 * wake-up is noticed after SLEEP_POLL_BOUND_NS.
 *
 * One thread uses a sleep_poll. The helper blocks all signals. After fork(2) the child has no
 * helper: it opens its own.
 */
#ifndef SHM_SLEEP_POLL_H
#define SHM_SLEEP_POLL_H

#include "shm/sleep.h"

#define SLEEP_POLL_BOUND_NS 100000000ull /* the helper looks for itself after so long */

struct sleep_poll;

/* What was done so far. Each of the first two is a system call of the loop's thread, and nothing
 * else is. */
struct sleep_poll_counts {
	uint64_t armed; /* the helper was woken to sleep on the words */
	uint64_t read;  /* the descriptor was read */
	uint64_t fired; /* the helper made it readable */
};

/* Fills in the words to sleep on, at most SLEEP_WORDS_MAX - 1, and returns how many
 * (topic_reader_words, sleep_on_bell). Asked by sleep_poll_note in the loop's thread. */
typedef unsigned sleep_poll_words(void *argument, struct sleep_word *word);

/* What no word tells and the loop has to know: the helper asks every SLEEP_POLL_BOUND_NS while it
 * is armed, in its own thread; true makes the descriptor readable. */
typedef bool sleep_poll_also(void *argument);

/* Starts the helper. `also` may be NULL. The descriptor is readable at first, because nobody has
 * looked yet. Open it before a sandbox forbids clone(2) or eventfd(2). Returns 0, or -errno with
 * *poll NULL: -ENOMEM, -EMFILE, -EAGAIN (no more threads). */
int sleep_poll_open(struct sleep_poll **poll, sleep_poll_words *words, sleep_poll_also *also, void *argument);

/* The descriptor to wait for: POLLIN, level-triggered. It belongs to the sleep_poll; do not read
 * it. */
int sleep_poll_fd(const struct sleep_poll *poll);

/* Notes what the words say, before the last look for work, and makes the descriptor unreadable
 * again when it had become readable. */
void sleep_poll_note(struct sleep_poll *poll);

/* Before the loop sleeps. Returns true when a word has changed since sleep_poll_note: look again.
 * False: go to sleep, the next change makes the descriptor readable. */
bool sleep_poll_arm(struct sleep_poll *poll);

struct sleep_poll_counts sleep_poll_counts(const struct sleep_poll *poll);

/* Ends the helper, closes the descriptor, frees; before the groups are left in whose pages the
 * words are that say that this process sleeps. NULL is allowed. */
void sleep_poll_close(struct sleep_poll *poll);

#endif
