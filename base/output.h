/* Standard output and standard error of processes that nobody may hold up by not reading them.
 *
 *     pipe, terminal   a descriptor of our own to the same thing, O_NONBLOCK: the shared one keeps its flags, whoever else has it
 *     socket           MSG_DONTWAIT
 *     file             as it is
 *     no such descriptor to be had (no /proc, another user's terminal, no descriptor left)
 *                      poll(2) with no time-out first; then no more than has room: PIPE_BUF to a pipe, a byte to a terminal
 */
#ifndef BASE_OUTPUT_H
#define BASE_OUTPUT_H

#include <stddef.h>

#define OUTPUT_PIECE_MAX 4096u /* PIPE_BUF: what a pipe takes whole or not at all */

/* Writes to fd as much as it takes without waiting; length is at most OUTPUT_PIECE_MAX. Returns how
 * many bytes went out: of a pipe all or none. errno is kept. */
size_t output_write(int fd, const void *bytes, size_t length);

/* Before a program ends that has printed: flushes standard output. Returns 0, or 1 after one line
 * "NAME: standard output: ..." on standard error when not all of it went out. A reader that has
 * gone wanted no more: that is 0. */
int output_finish(const char *name);

/* A file may not grow for ever: beyond RLIMIT_FSIZE write(2) fails with EFBIG, which is an error as
 * others are, and the process goes on. Once at the start of each program. */
void output_no_size_signal(void);

#endif
