/* A thread beside a stage's loop.
 *
 *     loop:   SIGTERM, SIGUSR1, ...      signals of the process are for the loop alone
 *     thread: SIGSYS                     of the sandbox: the kernel sends it to the thread whose call it
 *                                        refused, and ends the process when that thread blocks it
 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>
#include <stddef.h>

/* Starts run(argument) with all signals but SIGSYS blocked. stack_bytes: 0 as the C library has it.
 * Returns 0, or -errno, then *thread is not set. */
int thread_start(pthread_t *thread, size_t stack_bytes, void *(*run)(void *argument), void *argument);

#endif
