/* A segment: one file in shared memory that says what it is.
 *
 *     /dev/shm/millrace/<instance>/<name>
 *     +--------+----------------------------------------------+
 *     | header | body ...                                     |
 *     +--------+----------------------------------------------+
 *      4 KiB     whole pages
 *
 * Only the supervisor creates segments (and benchmarks and tests). A segment is written under a
 * temporary name, gets its magic last, and is then renamed into place: a segment under its name is
 * complete. All others attach. The header carries a hash of every shared structure's layout, made
 * when the program was built; a program with another hash refuses and says why.
 *
 * A segment outlives its users: it goes when it is destroyed or when the machine stops. Nothing in
 * it is a pointer.
 */
#ifndef SHM_SEGMENT_H
#define SHM_SEGMENT_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEGMENT_MAGIC        0x6563617272696c6dull /* "millrace" as a little-endian word */
#define SEGMENT_HEADER_BYTES 4096u

/* The largest page of any kernel for this processor: where a file is mapped from a place other than
 * its start, that place is a multiple of it. arm64 has kernels with 4, 16 and 64 KiB. */
#ifdef __x86_64__
#define SEGMENT_PAGE_BYTES_MAX 4096u
#else
#define SEGMENT_PAGE_BYTES_MAX 65536u
#endif
#define SEGMENT_NAME_MAX 96u
#define SHM_LINE         64  /* bytes: what one writer owns at a time */
#define SHM_NAME_MAX     32u /* bytes of a topic's, role's or group's name, the final 0 included */

enum segment_kind {
	SEGMENT_INSTANCE = 1, /* what exists: topics, lanes, stages (instance.h) */
	SEGMENT_LANE,         /* a stream's data and its writer's words (stream.h) */
	SEGMENT_GROUP,        /* one reader group's cursors (topic.h) */
	SEGMENT_QUEUE,        /* slots of a queue and its bells (queue.h) */
	SEGMENT_STAGE,        /* control block and metrics of one role (stage/control.h) */
	/* a stage's own memory that its next life takes up: receive buffers, redo notes */
	SEGMENT_PRIVATE,
	SEGMENT_DROPS,  /* how much of the sockets' drop counters is counted (drops.h) */
	SEGMENT_ERRAND, /* what is asked of one role (stage/errand.h) */
};

struct segment_header {
	_Atomic uint64_t magic; /* stored last, by the creator */
	uint64_t layout_hash;   /* segment_layout_hash() of the creator */
	uint64_t size_bytes;    /* of the whole file, header included */
	/* same in all segments of one instance; drawn when the instance is first created */
	uint64_t generation;
	uint32_t kind; /* enum segment_kind */
	uint32_t creator_pid;
	char name[SEGMENT_NAME_MAX];
};
_Static_assert(sizeof(struct segment_header) <= SHM_LINE * 4, "segment header grew");

/* A segment as one process sees it. */
struct segment {
	struct segment_header *header;
	void *body;        /* header + SEGMENT_HEADER_BYTES */
	size_t body_bytes; /* size_bytes - SEGMENT_HEADER_BYTES */
	size_t mapped_bytes;
	uint64_t device, inode; /* of the file that is mapped */
};

enum segment_access { SEGMENT_READ, SEGMENT_WRITE };

/* Room for an explanation that a person can act on. Functions that take one fill it whenever they
 * fail. */
struct shm_error {
	char text[512];
};

/* Fills it, as printf does; a longer text is cut. */
void shm_explain(struct shm_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What instances, topics and groups may be called; for messages. */
#define SHM_NAME_RULE "1 to 31 of the characters A-Z a-z 0-9 . _ -, not beginning with a dot"
_Static_assert(SHM_NAME_MAX == 32, "SHM_NAME_RULE");

/* True for a name that follows SHM_NAME_RULE. */
bool segment_name_valid(const char *name);

/* The instance that the environment names: $MILLRACE_INSTANCE, or NULL when that is not set or
 * empty. */
const char *segment_instance_named(void);

/* The instance that is meant where no configuration says it: given (--instance) unless that is
 * NULL, else $MILLRACE_INSTANCE, else "default". Does not check the name (segment_directory
 * does). */
const char *segment_instance(const char *given);

/* The directory of an instance: $MILLRACE_SHM or /dev/shm/millrace, then the instance's name.
 * Writes at most size bytes; returns 0, -EINVAL for a name that is not valid, -ENAMETOOLONG. */
int segment_directory(char *path, size_t size, const char *instance);

/* Hash over sizes, offsets and limits of all shared structures of this build. Never 0. */
uint64_t segment_layout_hash(void);

/* Its part that speaks of payloads: sizes and offsets of what lies in records. Defined above this
 * folder, in event/layout.c. */
extern const size_t segment_payload_layout[], segment_payload_layouts;

/* Whole pages for a segment whose body holds body_bytes. */
size_t segment_file_bytes(size_t body_bytes);

/* Creates directory/name with a zeroed body of body_bytes (rounded up to pages), calls fill(body,
 * argument) when fill is not NULL, stores the magic, renames into place. The memory is allocated at
 * once, so a later write cannot fail for want of it. Supervisor only. Returns 0, -EEXIST, -ENOSPC
 * with the numbers in error, or another -errno; on failure no file remains. */
int segment_create(const char *directory, const char *name, enum segment_kind kind, uint64_t generation,
                   size_t body_bytes, void (*fill)(void *body, void *argument), void *argument,
                   struct shm_error *error);

/* Maps directory/name, all pages present. Returns 0; -ENOENT; -EPROTO when the magic, the kind or
 * the size is wrong or the layout is another build's; other -errno. segment is unchanged on
 * failure. */
int segment_attach(struct segment *segment, const char *directory, const char *name, enum segment_kind kind,
                   enum segment_access access, struct shm_error *error);

/* Checks the header of an open segment file as segment_attach does, without mapping it. For code
 * that maps in another way (stream.h). header receives a copy. */
int segment_check(int fd, const char *name, enum segment_kind kind, struct segment_header *header,
                  struct shm_error *error);

/* The layout of the build that made directory/name (segment_layout_hash); 0 when there is no
 * segment of any build there. */
uint64_t segment_layout_of(const char *directory, const char *name);

/* Unmaps; does nothing to a segment that is all zero. The file remains. */
void segment_detach(struct segment *segment);

/* Removes the file; processes that have it mapped keep it. Supervisor only. Returns 0 or -errno. */
int segment_destroy(const char *directory, const char *name);

#endif
