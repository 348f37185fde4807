/* One file to which lines are appended, each once whatever dies.
 *
 *     private segment:   device, inode | length | intent          the cursors of the lanes
 *                                          |        |                     |
 *     file:    line\n line\n ... line\n     |        |                     |
 *                                   length--'        |                     |
 *              being written          ---------------'                     |
 *     growing_write:  intent = length + n; write; [fdatasync]; one redo note: length, cursors  <- law 2
 *
 * Killed before the note: the next life finds the file longer than `length`, and no further than
 * `intent`: it cuts that off, and reads the events again. Killed after it: all is done. A write
 * that fails (disk full) is cut off as well. So what is before `length` is whole lines, each event
 * once.
 *
 * Another file under the name (logrotate moved ours away, somebody deleted it): ours is complete,
 * as nothing is in it that is not committed, and a new one begins; each write looks at the name
 * first. A file that was moved by somebody else between a write and a death is searched for in its
 * folder, to cut it there. A file that is not ours yet is taken as it is: we append, after a line
 * feed when its last line has none.
 *
 *     rotate:   PATH --> PATH.20261127T114537Z; the next write makes PATH anew       (rotated.h)
 */
#ifndef SINK_FILE_GROWING_H
#define SINK_FILE_GROWING_H

#include "shm/private.h"

/* In the private segment, after the redo note; by the sink's process alone. */
struct growing_words {
	alignas(SHM_LINE) _Atomic uint64_t layout; /* 0: never used */
	_Atomic uint64_t device, inode;            /* 0: no file is ours */
	_Atomic uint64_t length;                   /* of what is committed */
	_Atomic uint64_t intent;                   /* no write went further */
	_Atomic uint64_t begun_ns;                 /* CLOCK_REALTIME: when it got its first line */
};

struct growing_private {
	struct private_note note;
	struct growing_words words;
};
_Static_assert(sizeof(struct growing_private) <= PRIVATE_NOTE_BYTES, "it fits the segment of the flow table");

#define GROWING_NOTE_WORDS 5u /* of a commit, besides the cursors */

struct growing_counts {
	uint64_t rotations, reopened, cut_bytes, foreign_changes;
};

struct growing {
	const char *path;
	bool sync;
	uint64_t rotate_bytes, rotate_ns, keep; /* 0: never, never, all */
	struct growing_words *words;
	struct redo *redo; /* region 0 is the private segment */
	struct growing_counts counts;
	int fd;   /* -1: not open */
	bool cut; /* something that a failed write left has to be cut off first */
};

/* At the start: private is the role's segment, whose note has been recovered. Finishes what the
 * last life began as far as the file can be reached. The caller has set path, sync and the limits
 * of rotation. Returns 0, or -EPROTO with the reason when another build laid the words out. */
int growing_open(struct growing *growing, struct growing_private *private, struct redo *redo,
                 struct shm_error *error);

/* Closes the file; its words stay. */
void growing_close(struct growing *growing);

/* Appends the text and commits it with what note_cursors adds to the redo note. No text: makes sure
 * that the file can be written to. Returns 0; or -errno with "PATH: what is wrong", and then
 * nothing is appended and no note is published. */
int growing_write(struct growing *growing, const char *text, size_t bytes,
                  void (*note_cursors)(void *argument), void *argument, struct shm_error *error);

/* Is the file still the one under its name? Opens what is there, or makes one. Returns 0, or -errno
 * with the reason. */
int growing_look(struct growing *growing, struct shm_error *error);

/* Rotates when that is due; what was written is committed. A failure is in error, and tried again
 * by the next call. */
int growing_rotate(struct growing *growing, uint64_t real_ns, struct shm_error *error);

/* For --check: could the file be appended to? Makes and changes nothing. Returns 0 or -errno with
 * "PATH: what is wrong". */
int growing_try(const char *path, struct shm_error *error);

#endif
