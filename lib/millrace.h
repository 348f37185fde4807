/* libmillrace: read and write the topics of a running millrace from a program of your own.
 *
 *     struct millrace *m = millrace_attach(NULL, error, sizeof error);
 *     struct millrace_reader *r = millrace_read(m, "ip", "my-counter", MILLRACE_REQUIRED, MILLRACE_FROM_TAIL);
 *     while (millrace_peek(r, -1) >= 0) {
 *             const struct millrace_record *record;
 *             while ((record = millrace_next(r)) != NULL)
 *                     ...                        record->data lies in shared memory: no copy was made
 *             millrace_advance(r);               the cursor moves: these will not come again
 *     }
 *
 * A required group is what a Kafka consumer group is: its cursor outlives your program, writers
 * wait for it (or drop, as the topic says), and after a crash your program gets again what it had
 * not advanced past: at least once. An optional group is a tap: nobody waits for it, it may be
 * overrun, and it is told how many records it missed.
 *
 * One process reads a group at a time; run several groups for several programs.
 *
 * Threads: each reader and each writer is used by one thread at a time, and different ones of one
 * instance by different threads at once. Functions of the instance itself may be called by any
 * thread while no other detaches it. After fork(2) only the parent goes on using what it has.
 *
 * Errors: functions that return a pointer return NULL and set errno; the others return a negated
 * error number. A sentence that says why is in millrace_error, millrace_reader_error or
 * millrace_writer_error, for the object that the function was called with.
 *
 * Time-outs are milliseconds: 0 does not wait, a negative one waits without end, and any wait ends
 * at a signal. Lengths are bytes.
 *
 * Compatibility: your program allocates no structure of this header, so they may grow at their end.
 * Symbols have versions; within one major version none goes and none changes its meaning.
 * scripts/check-abi holds the library to that.
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

/* MILLRACE_LAPSED is of a group that is told, never asked for: it was required, had no reader for
 * too long (topics.<name>.max_idle, max_lag), and writers wait for it no longer. A reader that
 * comes back with MILLRACE_REQUIRED makes it required again. */
enum millrace_kind { MILLRACE_OPTIONAL, MILLRACE_REQUIRED, MILLRACE_LAPSED };

/* Where a group begins that did not exist before. */
enum millrace_from { MILLRACE_FROM_TAIL, MILLRACE_FROM_OLDEST };

/* A record as it lies in the stream. The layouts of the built-in topics are in the document EVENTS;
 * millrace_json gives any record as text. */
struct millrace_record {
	const void *data;
	uint32_t length; /* bytes */
	uint16_t type;   /* 256 and above belong to outside programs */
	uint16_t lane;
	/* with lane, topic and the instance's generation a name that no other record has:
	 * millrace_id */
	uint64_t position;
};

struct millrace_topic {
	const char *name;
	uint64_t lane_bytes; /* size of each lane */
	unsigned lanes;
	unsigned outside_lanes; /* of them, those that programs like yours may write */
	int refuses;            /* when full: 1 writers are refused, 0 records are dropped */
};

struct millrace_group {
	const char *name;
	enum millrace_kind kind;
	int of_stage;     /* 1: it belongs to a stage of the configuration */
	int reader_pid;   /* of the process that reads it, 0: none */
	uint64_t read;    /* records, since the group was made */
	uint64_t waiting; /* written and not read */
	uint64_t missed;  /* overrun, or lost to damage */
};

/* The version of the library that is loaded, "MAJOR.MINOR.PATCH". It may be newer than this header,
 * never of another major version. */
MILLRACE_API const char *millrace_version(void);

/* ---- the instance ---- */

/* Attaches to the instance `name`; NULL means $MILLRACE_INSTANCE, or "default". Returns NULL
 * when it has nothing in shared memory (it was never started, or ended with everything read) or
 * was made by another build; error (error_bytes long, may be NULL) says why. One that is down
 * with records left can be attached to: the groups that it has get what waits for them, and go
 * on when it is started again. */
MILLRACE_API struct millrace *millrace_attach(const char *name, char *error, size_t error_bytes);

/* Leaves. Readers and writers must have been ended before. NULL is allowed. */
MILLRACE_API void millrace_detach(struct millrace *millrace);

/* Why the last function with a millrace as its argument failed in this thread. Valid until the next
 * one fails there. */
MILLRACE_API const char *millrace_error(const struct millrace *millrace);

/* Drawn when the instance's segments are made: another generation is another stream of positions.
 * It survives restarts of stages, of the supervisor after its death, and changes of the
 * configuration. */
MILLRACE_API uint64_t millrace_generation(const struct millrace *millrace);

/* Calls `each` for every topic until it returns other than 0, and returns that, or 0 in the end.
 * The structure is valid during the call. */
MILLRACE_API int millrace_topics(struct millrace *millrace,
                                 int (*each)(void *argument, const struct millrace_topic *topic),
                                 void *argument);

/* The same for the groups of a topic, as they are now. -ENOENT: no such topic. */
MILLRACE_API int millrace_groups(struct millrace *millrace, const char *topic,
                                 int (*each)(void *argument, const struct millrace_group *group),
                                 void *argument);

/* Frees a required group that has no reader. Returns 0, or -ENOENT, -EBUSY (it has a live reader),
 * -EPERM (it belongs to a stage). */
MILLRACE_API int millrace_forget(struct millrace *millrace, const char *topic, const char *group);

/* ---- reading ---- */

/* Takes the group `group` of `topic`, making it when it does not exist (`from` says where it
 * begins then; an existing required group goes on at its cursor). NULL with errno: ENOENT no
 * such topic, EBUSY the group has a live reader, EPERM it belongs to a stage, ENOSPC no group is
 * free, EINVAL its name, or it exists as the other kind, EPIPE the instance is down or ending
 * and has no such required group: one that is made then, and whose reader does not come back,
 * would hold back its next run. */
MILLRACE_API struct millrace_reader *millrace_read(struct millrace *millrace, const char *topic,
                                                   const char *group, enum millrace_kind kind,
                                                   enum millrace_from from);

/* Why the last function of this reader failed. Valid until the next one does. */
MILLRACE_API const char *millrace_reader_error(const struct millrace_reader *reader);

/* Waits for records, at most timeout_ms, and takes the next batch; records that the last batch left
 * come again. Returns 1 when there is a batch (one of no records when only damage was found:
 * advance past it), 0 on time-out or a signal. -EPIPE: the instance has ended and there is nothing
 * left to read. -ESTALE: its configuration was changed, noticed within 100 ms also while records
 * keep coming: end readers and writers, detach and attach again; a required group goes on at its
 * cursor. */
MILLRACE_API int millrace_peek(struct millrace_reader *reader, int timeout_ms);

/* The next record of the batch, or NULL at its end. The structure is valid until the next call with
 * this reader that may move it (next, peek, advance, seek, end). Its data is valid until the next
 * of these but millrace_next: a required group's lies in the lane, which writers do not overwrite
 * before the cursor has passed; an optional group's in a checked copy. */
MILLRACE_API const struct millrace_record *millrace_next(struct millrace_reader *reader);

/* All records that millrace_next has given are processed: the cursor moves past them, and past
 * damage when the batch ended in it (millrace_missed counts what that cost). */
MILLRACE_API void millrace_advance(struct millrace_reader *reader);

/* Waits until one of the readers, which may be of several topics and instances, has something for
 * millrace_peek: records, or news of the end. At most timeout_ms. Returns 1, 0 on time-out or a
 * signal, -EINVAL for none or more than 256, or what millrace_fd would. Uses their descriptors. */
MILLRACE_API int millrace_wait(struct millrace_reader *const *readers, unsigned n, int timeout_ms);

/* A descriptor for poll(2), epoll or an event loop: after millrace_peek has returned 0 it becomes
 * readable, within 1 ms in the median (tested), when there is something for it again. Do not read
 * or close it; it goes with the reader. While you are busy peeking it costs nothing. It is kept by
 * a thread of the library, started by the first call, which takes no signals. -errno when there can
 * be none. */
MILLRACE_API int millrace_fd(struct millrace_reader *reader);

/* Records that this group has missed so far: overrun (optional groups) or lost to damage. */
MILLRACE_API uint64_t millrace_missed(const struct millrace_reader *reader);

/* Records written and not yet passed by this group. */
MILLRACE_API uint64_t millrace_waiting(const struct millrace_reader *reader);

/* Move the group, in all its lanes; the present batch is given up, and the group's counts begin
 * again. Backwards a required group gets what its writers are not yet permitted to overwrite,
 * usually all but an eighth of a lane.
 *
 *   seek_oldest  to the oldest record there is
 *   seek_tail    to where the next record will be written
 *   seek_time    to the first record that arrived at unix_ms (milliseconds since 1970, UTC) or later; records of a lane come in the order of their arrival but
 *                for a few milliseconds. -ENODATA: the topic's records carry no time (those of outside programs).
 *   seek_id      to the record of this id ("id" in JSON, millrace_id), in its lane alone. -EINVAL: not an id of this topic and generation;
 *                -ERANGE: not in memory any more, or not yet; -EBADMSG: no record begins there.
 *
 * Return 0; on failure nothing has moved. */
MILLRACE_API int millrace_seek_oldest(struct millrace_reader *reader);
MILLRACE_API int millrace_seek_tail(struct millrace_reader *reader);
MILLRACE_API int millrace_seek_time(struct millrace_reader *reader, uint64_t unix_ms);
MILLRACE_API int millrace_seek_id(struct millrace_reader *reader, const char *id);

/* The record's id and a final 0, at most 96 bytes: GENERATION-TOPIC-LANE-POSITION. Returns its
 * length without the 0, or -ENOSPC. */
MILLRACE_API int millrace_id(const struct millrace_reader *reader, const struct millrace_record *record,
                             char *text, size_t text_bytes);

/* Writes the record, whose data must still be valid, as one JSON object and a final 0 to text.
 * Returns its length without the 0, -ENOSPC when it does not fit, -ENOMEM, or -EINVAL when the
 * payload is not what its type says. */
MILLRACE_API int millrace_json(const struct millrace_reader *reader, const struct millrace_record *record,
                               char *text, size_t text_bytes);

/* Leaves the group. A required one keeps its cursor, and writers wait for it, until it is taken
 * again or forgotten. NULL is allowed. */
MILLRACE_API void millrace_read_end(struct millrace_reader *reader);

/* ---- writing ---- */

/* Takes a free lane for outside programs of `topic` (topics.NAME.outside_lanes in the
 * configuration). NULL: no such topic, all its lanes are held, the instance ends (errno EPIPE), or
 * its configuration has changed (ESTALE: detach and attach again). */
MILLRACE_API struct millrace_writer *millrace_write(struct millrace *millrace, const char *topic);

/* Why the last function of this writer failed. Valid until the next one does. */
MILLRACE_API const char *millrace_writer_error(const struct millrace_writer *writer);

/* Appends a record; it is seen after millrace_commit. type is 256 or above for data of your own.
 * When a required group is in the way it waits at most timeout_ms for room. Returns 0; -EAGAIN when
 * there was none in time (counted in the ledger as dropped or refused, as the topic says);
 * -EMSGSIZE for more than a quarter of the lane; -EPIPE when the instance ends or is gone, -ESTALE
 * when its configuration has changed: commit what was appended before, end the writer, and after
 * -ESTALE detach and attach again. A drain waits for writers to do so (outside_timeout). */
MILLRACE_API int millrace_append(struct millrace_writer *writer, uint16_t type, const void *data,
                                 uint32_t length, int timeout_ms);

/* Publishes what was appended, all at once, and wakes the readers. An append that finds the batch
 * full (a quarter of the lane) commits by itself, and then fails as this does. Returns 0: the
 * required groups of the topic will read it, be it after another start of the instance; -EPIPE: the
 * instance has ended, and perhaps nobody reads what was appended since the last commit. A folder
 * that was removed under the instance is noticed within 100 ms. */
MILLRACE_API int millrace_commit(struct millrace_writer *writer);

/* Commits and gives the lane back. Commit first to know what became of the last records. NULL is
 * allowed. */
MILLRACE_API void millrace_write_end(struct millrace_writer *writer);

#ifdef __cplusplus
}
#endif

#endif
