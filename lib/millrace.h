/* libmillrace: read and write the topics of a running millrace from a program of your own.
 *
 *     struct millrace *m = millrace_attach(NULL, error, sizeof error);
 *     struct millrace_reader *r = millrace_read(m, "ip", "my-counter", MILLRACE_REQUIRED, MILLRACE_FROM_TAIL);
 *     for (;;) {
 *             if (millrace_peek(r, 1000) <= 0)
 *                     continue;
 *             struct millrace_record record;
 *             while (millrace_next(r, &record))
 *                     ...                        the record lies in shared memory: no copy was made
 *             millrace_advance(r);               the cursor moves: these will not come again
 *     }
 *
 * A required group is what a Kafka consumer group is: its cursor outlives your program, writers wait for it (or drop, as
 * the topic says), and after a crash your program gets again what it had not advanced past: at least once. An optional
 * group is a tap: nobody waits for it, it may be overrun, and it is told how many records it missed.
 *
 * One process reads a group at a time; run several groups for several programs. A reader or writer is used by one thread at a
 * time. Every function that can fail says why in millrace_error (of the same handle). Units: bytes, milliseconds.
 * Everything here is kept compatible within one major version of the library; structures grow only at their end.
 */
#ifndef MILLRACE_H
#define MILLRACE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MILLRACE_API __attribute__((visibility("default")))

struct millrace;        /* an instance, attached */
struct millrace_reader; /* a group of a topic, held */
struct millrace_writer; /* a lane of a topic, held */

enum millrace_kind { MILLRACE_OPTIONAL, MILLRACE_REQUIRED };

/* Where a group begins that did not exist before. */
enum millrace_from { MILLRACE_FROM_TAIL, MILLRACE_FROM_OLDEST };

/* A record as it lies in the stream. data is valid until millrace_advance. The layouts of the built-in topics are in
 * the document EVENTS; millrace_json gives any record as text. */
struct millrace_record {
	const void *data;
	uint32_t length;   /* bytes */
	uint16_t type;     /* 256 and above belong to outside programs */
	uint16_t lane;
	uint64_t position; /* with lane and the instance's generation a name for good */
};

/* Attaches to the instance `name`; NULL means $MILLRACE_INSTANCE, or "default". Returns NULL when it is not running or was
 * made by another build; error (error_bytes long, may be NULL) says why. */
MILLRACE_API struct millrace *millrace_attach(const char *name, char *error, size_t error_bytes);

/* Leaves. Readers and writers must have been closed before. NULL is allowed. */
MILLRACE_API void millrace_detach(struct millrace *millrace);

/* Why the last call on this handle, or on a reader or writer of it, failed. Valid until the next failure. */
MILLRACE_API const char *millrace_error(const struct millrace *millrace);

/* ---- reading ---- */

/* Takes the group `group` of `topic`, making it when it does not exist (`from` says where it begins then; an existing
 * required group goes on at its cursor). NULL: no such topic, the group has a live reader, no group is free. */
MILLRACE_API struct millrace_reader *millrace_read(struct millrace *millrace, const char *topic, const char *group,
                                                   enum millrace_kind kind, enum millrace_from from);

/* Waits at most timeout_ms for records and takes the next batch; what a batch before had left is given up to millrace_next again.
 * Returns 1 when there is a batch, 0 on time-out or a signal. When there is nothing to read: -EPIPE when the instance has ended,
 * -ESTALE when its configuration has changed (end readers and writers, detach and attach again; a required group goes on at its cursor). */
MILLRACE_API int millrace_peek(struct millrace_reader *reader, int timeout_ms);

/* The next record of the batch. Returns 1, or 0 at its end. */
MILLRACE_API int millrace_next(struct millrace_reader *reader, struct millrace_record *record);

/* All records that millrace_next has given are dealt with: the cursor moves past them. */
MILLRACE_API void millrace_advance(struct millrace_reader *reader);

/* Records that this group has missed so far: overrun (optional groups) or lost to damage. */
MILLRACE_API uint64_t millrace_missed(const struct millrace_reader *reader);

/* Records written and not yet passed by this group. */
MILLRACE_API uint64_t millrace_waiting(const struct millrace_reader *reader);

/* Writes the record as one JSON object and a final 0 to text. Returns its length without the 0, or -ENOSPC. */
MILLRACE_API int millrace_json(const struct millrace_reader *reader, const struct millrace_record *record, char *text,
                               size_t text_bytes);

/* Leaves the group. A required one keeps its cursor, and writers wait for it, until it is taken again or forgotten. */
MILLRACE_API void millrace_read_end(struct millrace_reader *reader);

/* Frees a required group that nobody reads. Returns 0, or -ENOENT, -EBUSY (it has a live reader), -EPERM (it belongs to a stage). */
MILLRACE_API int millrace_forget(struct millrace *millrace, const char *topic, const char *group);

/* ---- writing ---- */

/* Takes a free lane for outside programs of `topic` (topics.NAME.outside_lanes in the configuration). NULL: no such
 * topic, all its lanes are held, the instance ends (errno EPIPE), or its configuration has changed (ESTALE: detach and attach again). */
MILLRACE_API struct millrace_writer *millrace_write(struct millrace *millrace, const char *topic);

/* Appends a record; it is seen after millrace_commit. type is 256 or above for data of your own. When a required group is in the
 * way it waits at most timeout_ms for room. Returns 0; -EAGAIN when there was none in time (counted in the ledger as
 * dropped or refused, as the topic says); -EMSGSIZE for more than a quarter of the lane; -EPIPE when the instance ends or is gone, -ESTALE when
 * its configuration has changed: commit what was appended before, end the writer, and after -ESTALE detach and attach again. A drain waits for
 * writers to do so (outside_timeout). */
MILLRACE_API int millrace_append(struct millrace_writer *writer, uint16_t type, const void *data, uint32_t length,
                                 int timeout_ms);

/* Publishes what was appended, all at once, and wakes the readers. An append that finds the batch full (a quarter of the lane) commits by itself,
 * and then fails as this does. Returns 0: the required groups of the topic will read it, be it after another start of the instance; -EPIPE: the instance
 * has ended, and what was appended since the last commit is not sure to be read by anybody. A folder that was removed under the
 * instance is noticed within 100 ms. */
MILLRACE_API int millrace_commit(struct millrace_writer *writer);

/* Commits and gives the lane back. Whoever wants to know what became of the last records commits them first. */
MILLRACE_API void millrace_write_end(struct millrace_writer *writer);

#ifdef __cplusplus
}
#endif

#endif
