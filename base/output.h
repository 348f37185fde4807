/* Standard output and standard error, written without waiting for their reader.
 *
 *     pipe, terminal   a descriptor of our own to the same thing, O_NONBLOCK: other processes share the original, so its flags stay
 *     socket           MSG_DONTWAIT
 *     file             as it is
 *     no such descriptor to be had (no /proc, another user's terminal, no descriptor left)
 *                      poll(2) first, without waiting; then only what surely fits: PIPE_BUF to a pipe, a byte to a terminal
 */
#ifndef BASE_OUTPUT_H
#define BASE_OUTPUT_H

#include <stddef.h>

#define OUTPUT_PIECE_MAX 4096u /* PIPE_BUF: what a pipe takes whole or not at all */

/* Writes to fd as much as it takes without waiting; length is at most OUTPUT_PIECE_MAX. Returns how
 * many bytes went out: of a pipe all or none. errno is kept. */
size_t output_write(int fd, const void *bytes, size_t length);

/* At the end of a program that has printed: flushes standard output. Returns 0, or 1 after one line
 * "NAME: standard output: ..." on standard error when not all of it went out. 0 also when the
 * reader has gone: it wanted no more. */
int output_finish(const char *name);

/* Makes write(2) fail with EFBIG beyond RLIMIT_FSIZE, an error like others, instead of a signal
 * that ends the process. Once at the start of each program. */
void output_no_size_signal(void);

#endif
