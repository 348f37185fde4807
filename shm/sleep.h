/* Sleeping until another process has published something.
 *
 *     sleeper                                   the other
 *     sleep_note        what the words say      publishes: the word changes (release)
 *     nothing to do?
 *     sleep_any                                 sleep_wake
 *       says that it sleeps                       fence
 *       fence                                     does anybody say so? FUTEX_WAKE
 *       has a word changed? awake
 *       futex_waitv(2)
 *
 * Of two processes that each write and then look, at least one sees the other (Dekker's argument),
 * so nothing is slept through. A word is of one of three kinds:
 *
 *   a tail    the low half of a lane's tail (stream.h), written by the lane's writer alone, mapped read-only by who sleeps on it.
 *             The sleeper has a word of its own to say that it sleeps, which the writer maps read-only: neither can harm the other.
 *             That word counts: odd while asleep, even while awake. So a writer wakes each sleep once, whatever comes of the
 *             sleeper, and a reader that was killed asleep costs one call of the kernel, not one for each commit.
 *   a bell    (bell.h) written by all who ring it and by who sleeps on it, because a queue has many of both. A bit of it says
 *             that somebody sleeps.
 *   a call    a word that changes so rarely that whoever changes it asks the kernel each time (stage/errand.h).
 *
 * A futex is known by its file and place, not by how it is mapped: sleeping and waking work on
 * memory that is mapped read-only (futex(2); tests/shm/sleep_test.c shows it). Futex calls never
 * carry the private flag.
 */
#ifndef SHM_SLEEP_H
#define SHM_SLEEP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "shm/bell.h"

/* All lanes of all topics, and a few more. */
#define SLEEP_WORDS_MAX 520u
/* What one futex_waitv(2) takes. With more words, or where the call is denied or missing (Linux
 * before 5.16, an old sandbox), the others are looked at every SLEEP_SLICE_NS. */
#define SLEEP_AT_ONCE  128u
#define SLEEP_SLICE_NS 10000000u

struct sleep_word {
	const _Atomic uint32_t *word;
	struct bell *bell;        /* the bell that the word is of; NULL: a tail or a call */
	_Atomic uint32_t *asleep; /* of a tail: the sleeper's own word; NULL: a bell or a call */
	uint32_t seen;            /* what the word said before the last look for work */
};

struct sleep_word sleep_on_tail(const _Atomic uint64_t *tail, _Atomic uint32_t *asleep);
struct sleep_word sleep_on_bell(struct bell *bell);
struct sleep_word sleep_on_call(const _Atomic uint32_t *word);

/* Takes what the words say now (acquire): before the last look for work. */
void sleep_note(struct sleep_word *word, unsigned n);

/* Whether one is no longer what was noted. */
bool sleep_over(const struct sleep_word *word, unsigned n);

/* Sleeps until one of n words, at most SLEEP_WORDS_MAX, is no longer what was noted, at most
 * timeout_ns. True when one has changed; false after that time or on a signal (the caller looks at
 * its flags and comes back). It may be true although nothing has changed, rarely. */
bool sleep_any(const struct sleep_word *word, unsigned n, uint64_t timeout_ns);

/* ---- the three steps of sleep_any, for a sleep in another thread (sleep_poll.h) ---- */

/* Says that this process sleeps. True: a word has changed, nobody sleeps. */
bool sleep_begin(const struct sleep_word *word, unsigned n);

/* Asks the kernel to sleep until *deadline_ns (CLOCK_MONOTONIC); no word is read by this process,
 * so the memory may be unmapped meanwhile. Returns 0 when a word has changed, else -ETIMEDOUT or
 * -EINTR. */
int sleep_wait(const struct sleep_word *word, unsigned n, uint64_t deadline_ns);

/* Says that it is awake. */
void sleep_end(const struct sleep_word *word, unsigned n);

/* ---- the other side ---- */

/* Wakes whoever sleeps on the word; one call of the kernel. */
void sleep_wake(const _Atomic uint32_t *word);

/* The low half of a word of 64 bits, which changes whenever that grows by less than 2^32. */
static inline const _Atomic uint32_t *sleep_low_half(const _Atomic uint64_t *word)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return (const _Atomic uint32_t *)(const void *)word;
#else
	return (const _Atomic uint32_t *)(const void *)word + 1;
#endif
}

#endif
