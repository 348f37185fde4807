/* Lines on the standard output of millrace run, never a part of one, and never waiting.
 *
 * The descriptor is shared with the supervisor and the log, so it cannot be made non-blocking:
 * where it can be opened again (a pipe, a terminal) that is done, and a socket is asked not to
 * wait. A pipe takes PIPE_BUF bytes or none of them, so lines go in such pieces: a reader never
 * sees half a line, whatever is killed. A line that is longer goes piece by piece; when its life
 * ends within it the next one begins a new line first, and the line comes again, whole.
 */
#ifndef SINK_FILE_STANDARD_H
#define SINK_FILE_STANDARD_H

#include "shm/private.h"
#include "sink/file/lines.h"

/* In the private segment, after the note: 1 while a line is out in part. */
struct standard_private {
	struct private_note note;
	alignas(SHM_LINE) _Atomic uint64_t within;
};

struct standard {
	int fd;
	bool own;    /* opened again, to be closed */
	bool socket; /* send(2) */
	bool pieces; /* PIPE_BUF bytes at most in one write */
	struct standard_private *private;
};

/* Takes standard output. Returns 0 or -errno with the reason. */
int standard_open(struct standard *standard, struct standard_private *private, struct shm_error *error);
void standard_close(struct standard *standard);

/* Writes of the lines what goes out without waiting, and moves lines->written. Returns 0 when all
 * is out, -EAGAIN when it takes no more now, another -errno when it takes nothing any more. */
int standard_write(struct standard *standard, struct lines *lines);

/* Waits until it takes something, timeout_ns at most. */
void standard_wait(const struct standard *standard, uint64_t timeout_ns);

#endif
