#include "shm/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shm/folder.h"
#include "shm/waypoint.h"

#define OVERRUNS_MAX 1000u /* in one look of an optional reader */
#define HUGE_BYTES   (2ul * 1024 * 1024)
#define INTENT_STEP  (64ul * 1024)
/* Permission to write is taken for an eighth of the size at a time: seven eighths are left for
 * newcomers. */
#define LIMIT_STEPS 8u

/* ---- the file ----
 *
 *     | segment header | struct stream_shared | data | data again |
 *     ^ base           ^ base + 4 KiB         ^ base + DATA_OFFSET, a whole page, however large pages are
 */

#define DATA_OFFSET                                                                           \
	((SEGMENT_HEADER_BYTES + sizeof(struct stream_shared) + SEGMENT_PAGE_BYTES_MAX - 1) & \
	 ~(size_t)(SEGMENT_PAGE_BYTES_MAX - 1))
_Static_assert(STREAM_SIZE_MIN % SEGMENT_PAGE_BYTES_MAX == 0, "data is whole pages");

static struct stream_shared *shared_of(char *base)
{
	return (struct stream_shared *)(void *)(base + SEGMENT_HEADER_BYTES);
}

static void fill_lane(void *body, void *argument)
{
	struct stream_shared *shared = body;
	shared->size_bytes = *(uint64_t *)argument;
}

size_t stream_file_bytes(uint64_t size_bytes)
{
	return DATA_OFFSET + size_bytes;
}

int stream_create(const char *directory, const char *name, uint64_t generation, uint64_t size_bytes,
                  struct shm_error *error)
{
	if (size_bytes < STREAM_SIZE_MIN || (size_bytes & (size_bytes - 1)) != 0) {
		shm_explain(error, "%s: size %llu is not a power of two of at least %u bytes", name,
		            (unsigned long long)size_bytes, STREAM_SIZE_MIN);
		return -EINVAL;
	}
	return segment_create(directory, name, SEGMENT_LANE, generation,
	                      stream_file_bytes(size_bytes) - SEGMENT_HEADER_BYTES, fill_lane, &size_bytes,
	                      error);
}

/* Maps header, words and data in a row, and the data once more after them. The start is a multiple
 * of the huge page size, so address and file offset agree modulo that size and the kernel may use
 * huge pages where shared memory has them. */
static char *map_twice(int fd, uint64_t size, int protection, size_t *mapped_bytes)
{
	size_t bytes = DATA_OFFSET + 2 * size;
	char *room =
	        mmap(NULL, bytes + HUGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (room == MAP_FAILED)
		return NULL;
	char *base = (char *)(((uintptr_t)room + HUGE_BYTES - 1) & ~(uintptr_t)(HUGE_BYTES - 1));
	char *end = room + bytes + HUGE_BYTES;
	if (base > room)
		munmap(room, (size_t)(base - room));
	if (end > base + bytes)
		munmap(base + bytes, (size_t)(end - (base + bytes)));
	void *first = mmap(base, DATA_OFFSET + size, protection, MAP_SHARED | MAP_FIXED, fd, 0);
	void *second =
	        mmap(base + DATA_OFFSET + size, size, protection, MAP_SHARED | MAP_FIXED, fd, DATA_OFFSET);
	if (first == MAP_FAILED || second == MAP_FAILED) {
		munmap(base, bytes);
		return NULL;
	}
	/* Both are advice: refused where shared memory has no huge pages or the kernel does not
	 * know the call. */
	(void)madvise(base, bytes, MADV_HUGEPAGE);
	(void)madvise(base, bytes, (protection & PROT_WRITE) != 0 ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
	*mapped_bytes = bytes;
	return base;
}

/* Opens a lane file and reads its header, checked. Returns the descriptor, or -errno with error
 * set. */
static int open_lane(const char *directory, const char *name, bool writable, struct segment_header *header,
                     struct shm_error *error)
{
	char path[256];
	int n = snprintf(path, sizeof path, "%s/%s", directory, name);
	int fd = n < 0 || (size_t)n >= sizeof path
	                 ? -ENAMETOOLONG
	                 : folder_open(directory, name, writable ? O_RDWR : O_RDONLY, 0);
	if (fd < 0) {
		shm_explain(error, "%s/%s: %s", directory, name, strerror(-fd));
		return fd;
	}
	int result = segment_check(fd, path, SEGMENT_LANE, header, error);
	if (result == 0)
		return fd;
	close(fd);
	return result;
}

/* Opens, checks and maps a lane. Returns its base, or NULL with *result (-errno) and error set. */
static char *map_lane(const char *directory, const char *name, int protection, struct stream_file *file,
                      int *result, struct shm_error *error)
{
	struct stat status;
	struct segment_header header;
	int fd = open_lane(directory, name, (protection & PROT_WRITE) != 0, &header, error);
	*result = fd < 0 ? fd : 0;
	if (fd < 0)
		return NULL;
	char *base = NULL;
	uint64_t size = header.size_bytes > DATA_OFFSET ? header.size_bytes - DATA_OFFSET : 0;
	if (size < STREAM_SIZE_MIN || (size & (size - 1)) != 0) {
		shm_explain(error, "%s/%s: %llu bytes of data are not a power of two", directory, name,
		            (unsigned long long)size);
		*result = -EPROTO;
	} else {
		base = fstat(fd, &status) != 0 ? NULL : map_twice(fd, size, protection, &file->mapped_bytes);
		if (base != NULL) {
			file->device = status.st_dev;
			file->inode = status.st_ino;
		} else {
			*result = -ENOMEM;
			shm_explain(error, "%s/%s: cannot map %llu bytes twice", directory, name,
			            (unsigned long long)size);
		}
	}
	close(fd);
	return base;
}

struct stream_shared *stream_head_map(const char *directory, const char *name, enum segment_access access,
                                      int *result, struct shm_error *error)
{
	bool writable = access == SEGMENT_WRITE;
	struct segment_header header;
	int fd = open_lane(directory, name, writable, &header, error);
	*result = fd < 0 ? fd : 0;
	if (fd < 0)
		return NULL;
	char *base =
	        mmap(NULL, DATA_OFFSET, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED) {
		*result = -errno;
		shm_explain(error, "%s/%s: cannot map: %s", directory, name, strerror(-*result));
	}
	close(fd);
	return base == MAP_FAILED ? NULL : shared_of(base);
}

bool stream_in_place(const struct stream_file *file, const char *directory, const char *name)
{
	struct stat status;
	return folder_stat(directory, name, &status) == 0 && status.st_dev == file->device &&
	       status.st_ino == file->inode;
}

void stream_head_unmap(const struct stream_shared *shared)
{
	if (shared != NULL)
		munmap((char *)(uintptr_t)shared - SEGMENT_HEADER_BYTES, DATA_OFFSET);
}

/* Oldest position that the writer has no permission to overwrite: where a required group may begin
 * at the earliest. It holds when the group's cursor and state were stored before a fence before the
 * call. */
static uint64_t oldest_kept(const struct stream_shared *shared, uint64_t size)
{
	/* acquire: a tail that is read after it is not before limit - size */
	uint64_t limit = atomic_load_explicit(&shared->limit, memory_order_acquire);
	uint64_t intent = atomic_load_explicit(&shared->intent, memory_order_relaxed);
	/* intent is the later one after permission was taken back, and before a life asks */
	uint64_t end = intent > limit ? intent : limit;
	return end <= size ? 0 : end - size;
}

/* ---- writing ---- */

/* Records before the tail, counted from the last waypoint whose records are all still there. */
static uint64_t recount(const struct stream_writer *writer, uint64_t size)
{
	const struct stream_shared *shared = writer->shared;
	uint64_t stored = atomic_load_explicit(&shared->records, memory_order_relaxed);
	struct stream_place place;
	uint64_t n;
	if (!waypoint_before(shared, stream_oldest_position(shared, size), writer->tail, UINT64_MAX,
	                     &place) ||
	    !waypoint_count(writer->data, writer->mask, place.position, writer->tail, &n))
		return stored;
	return place.records + n;
}

int stream_writer_attach(struct stream_writer *writer, const char *directory, const char *name, unsigned lane,
                         struct shm_error *error)
{
	struct stream_file file;
	int result;
	char *base = map_lane(directory, name, PROT_READ | PROT_WRITE, &file, &result, error);
	if (base == NULL)
		return result;
	struct stream_shared *shared = shared_of(base);
	uint64_t size = shared->size_bytes;
	*writer = (struct stream_writer){
	        .shared = shared,
	        .data = base + DATA_OFFSET,
	        .mask = size - 1,
	        .tail = atomic_load_explicit(&shared->tail, memory_order_relaxed),
	        .intent = atomic_load_explicit(&shared->intent, memory_order_relaxed),
	        .waypoint_shift = (unsigned)__builtin_ctzll(size / (STREAM_WAYPOINTS / 2)),
	        .lane = lane,
	        .file = file,
	};
	writer->records = recount(writer, size);
	writer->next_waypoint = ((writer->tail >> writer->waypoint_shift) + 1) << writer->waypoint_shift;
	atomic_store_explicit(&shared->records, writer->records, memory_order_relaxed);
	memory_poison(writer->data, 2 * size);
	return 0;
}

void stream_writer_group(struct stream_writer *writer, unsigned index, const struct stream_group *group)
{
	writer->group[index] = group;
	writer->limit = 0; /* it is asked first of all */
}

void stream_writer_detach(struct stream_writer *writer)
{
	if (writer->shared != NULL) {
		memory_unpoison(writer->data, 2 * (writer->mask + 1));
		munmap(writer->data - DATA_OFFSET, writer->file.mapped_bytes);
	}
	memset(writer, 0, sizeof *writer);
}

struct stream_slowest stream_slowest(const struct stream_group *const group[STREAM_GROUPS_MAX], unsigned lane,
                                     uint64_t tail)
{
	struct stream_slowest slowest = {.position = tail, .group = -1};
	for (int i = 0; i < (int)STREAM_GROUPS_MAX; i++) {
		if (group[i] == NULL ||
		    atomic_load_explicit(&group[i]->state, memory_order_acquire) != GROUP_REQUIRED)
			continue;
		/* acquire: what the reader read happened before a writer overwrites it
		 * (stream_settle releases) */
		uint64_t position =
		        atomic_load_explicit(&group[i]->cursor[lane].position, memory_order_acquire);
		if (slowest.group >= 0 && position >= slowest.position)
			continue;
		slowest.group = i;
		if (position < slowest.position)
			slowest.position = position;
	}
	return slowest;
}

/* The first position that may not be written: size bytes after the slowest required group. */
static uint64_t ask_groups(const struct stream_writer *writer)
{
	return stream_slowest(writer->group, writer->lane, writer->tail).position + writer->mask + 1;
}

/* Takes permission to write up to `end` and a step further: publishes it, and looks again. False
 * when a required group is in the way. */
static bool take_more(struct stream_writer *writer, uint64_t end)
{
	uint64_t step = (writer->mask + 1) / LIMIT_STEPS, permitted = ask_groups(writer);
	if (end > permitted)
		return false;
	uint64_t wanted = end + step < permitted ? end + step : permitted;
	atomic_store_explicit(&writer->shared->limit, wanted, memory_order_release);
	/* Pairs with the fence in stream_reader_join: we see its cursor, or it sees this limit. */
	atomic_thread_fence(memory_order_seq_cst);
	permitted = ask_groups(writer);
	writer->limit = permitted < wanted ? permitted : wanted;
	if (writer->limit != wanted)
		atomic_store_explicit(&writer->shared->limit, writer->limit, memory_order_release);
	return end <= writer->limit;
}

bool stream_permit(struct stream_writer *writer, size_t bytes)
{
	uint64_t end = writer->tail + bytes;
	return end <= writer->limit || take_more(writer, end);
}

void *stream_reserve_slow(struct stream_writer *writer, size_t bytes)
{
	uint64_t size = writer->mask + 1;
	uint64_t end = writer->tail + bytes;
	if (bytes > size / 2 || (end > writer->limit && !take_more(writer, end)))
		return NULL;
	if (end > writer->intent) {
		uint64_t step = size / 16 < INTENT_STEP ? size / 16 : INTENT_STEP;
		uint64_t intent = end + step < writer->limit ? end + step : writer->limit;
		writer->intent = intent;
		/* Before the first byte is overwritten: optional readers look at it after they have
		 * copied. */
		atomic_store_explicit(&writer->shared->intent, intent, memory_order_relaxed);
		atomic_thread_fence(memory_order_release);
	}
	stream_open_data(writer, bytes);
	return writer->data + (writer->tail & writer->mask);
}

/* ---- reading ---- */

/* The first waypoint from `from` on, or the tail. */
static struct stream_place place_from(struct stream_reader *reader, uint64_t from)
{
	stream_unfence(reader);
	struct stream_place place;
	uint64_t tail = stream_tail(reader->shared);
	if (!waypoint_after(reader->shared, from, tail, &place))
		place = waypoint_tail(reader->shared, reader->data, reader->size);
	return place;
}

uint64_t stream_oldest_record(const struct stream_shared *shared)
{
	struct stream_place place;
	uint64_t tail = stream_tail(shared);
	uint64_t from = stream_oldest_position(shared, shared->size_bytes);
	return waypoint_after(shared, from, tail, &place)
	               ? place.records
	               : atomic_load_explicit(&shared->records, memory_order_relaxed);
}

/* Goes on at the first waypoint from `from` on, or at the tail, and counts what lies between as
 * missed. */
static void skip_to(struct stream_reader *reader, uint64_t from)
{
	struct stream_place place = place_from(reader, from);
	if (place.records > reader->records)
		reader->missed += place.records - reader->records;
	else
		/* damage in the counts themselves: never run backwards */
		place.records = reader->records;
	stream_move_to(reader, place);
}

/* The number of the record at the reader's position, worked out from the waypoint (or the tail)
 * after it: what lies in between is protected by the cursor. Needed after a death between the
 * cursor's two words. */
static void recount_cursor(struct stream_reader *reader)
{
	struct stream_place next = place_from(reader, reader->position);
	uint64_t n;
	if (next.position - reader->position <= reader->size &&
	    waypoint_count(reader->data, reader->size - 1, reader->position, next.position, &n) &&
	    n <= next.records)
		reader->records = next.records - n;
}

static void start_in(struct stream_reader *reader, struct stream_place place)
{
	stream_move_to(reader, place);
	reader->missed = 0;
	atomic_store_explicit(&reader->cursor->first, place.records, memory_order_relaxed);
	stream_settle(reader);
}

static void start_at(struct stream_reader *reader, enum stream_start start)
{
	uint64_t oldest = UINT64_MAX;
	if (start == STREAM_FROM_OLDEST && !reader->optional)
		oldest = oldest_kept(reader->shared, reader->size);
	else if (start == STREAM_FROM_OLDEST)
		oldest = stream_oldest_position(reader->shared, reader->size);
	/* A little later than the oldest: a writer at work, which does not wait for it, would be
	 * there at once. */
	if (start == STREAM_FROM_OLDEST && reader->optional && oldest != 0)
		oldest += reader->size / 16;
	start_in(reader, place_from(reader, oldest));
}

int stream_reader_map(struct stream_reader *reader, const char *directory, const char *name, bool optional,
                      struct shm_error *error)
{
	struct stream_file file;
	int result;
	memset(reader, 0, sizeof *reader);
	char *base = map_lane(directory, name, PROT_READ, &file, &result, error);
	if (base == NULL)
		return result;
	*reader = (struct stream_reader){
	        .shared = shared_of(base),
	        .data = base + DATA_OFFSET,
	        .size = shared_of(base)->size_bytes,
	        .optional = optional,
	        .file = file,
	};
	if (optional) {
		reader->copy_bytes = STREAM_COPY_BYTES;
		reader->copy = malloc(reader->copy_bytes);
		if (reader->copy == NULL) {
			stream_reader_detach(reader);
			shm_explain(error, "%s: no memory for the reader's copy", name);
			return -ENOMEM;
		}
	}
	return 0;
}

/* Goes on where the cursor of a required group is. */
static void take_up_cursor(struct stream_reader *reader)
{
	uint64_t tail = stream_tail(reader->shared);
	uint64_t oldest = stream_oldest_position(reader->shared, reader->size);
	if (reader->position > tail) {
		reader->damaged++;
		start_at(reader, STREAM_FROM_OLDEST);
	} else if (reader->position < oldest || tail - reader->position > reader->size) {
		skip_to(reader, oldest);
		stream_settle(reader);
	} else {
		recount_cursor(reader);
		stream_settle(reader);
	}
}

void stream_reader_begin(struct stream_reader *reader, struct stream_cursor *cursor, enum stream_start start)
{
	reader->cursor = cursor;
	reader->position = atomic_load_explicit(&cursor->position, memory_order_relaxed);
	reader->records = atomic_load_explicit(&cursor->records, memory_order_relaxed);
	reader->missed = atomic_load_explicit(&cursor->missed_records, memory_order_relaxed);
	reader->damaged = atomic_load_explicit(&cursor->damaged, memory_order_relaxed);
	if (start != STREAM_FROM_CURSOR)
		start_at(reader, start);
	else if (!reader->optional)
		take_up_cursor(reader);
}

void stream_reader_join(struct stream_reader *reader)
{
	if (reader->shared == NULL)
		return; /* a lane that another share reads */
	/* Between cursor and state, which the caller has stored, and limit; pairs with the fence in
	 * take_more. */
	atomic_thread_fence(memory_order_seq_cst);
	uint64_t oldest = oldest_kept(reader->shared, reader->size);
	if (reader->position >= oldest)
		return;
	if (reader->missed == 0 && stream_cursor_read(reader->cursor) == 0) {
		start_in(reader, place_from(reader, oldest));
		return;
	}
	skip_to(reader, oldest);
	stream_settle(reader);
}

int stream_reader_attach(struct stream_reader *reader, const char *directory, const char *name,
                         struct stream_cursor *cursor, bool optional, enum stream_start start,
                         struct shm_error *error)
{
	int result = stream_reader_map(reader, directory, name, optional, error);
	if (result == 0)
		stream_reader_begin(reader, cursor, start);
	return result;
}

void stream_reader_detach(struct stream_reader *reader)
{
	stream_unfence(reader);
	if (reader->shared != NULL)
		munmap((char *)(uintptr_t)reader->data - DATA_OFFSET, reader->file.mapped_bytes);
	free(reader->copy);
	memset(reader, 0, sizeof *reader);
}

/* The longest run of whole records in `bytes` copied ones, `available` lying before the tail. */
static size_t whole_records(const char *copy, size_t bytes, size_t available, bool *corrupt, size_t *needed)
{
	size_t at = 0;
	*needed = 0;
	while (at + sizeof(struct record) <= bytes) {
		struct record head;
		memcpy(&head, copy + at, sizeof head);
		size_t n = record_bytes(head.length);
		if (n > available - at) {
			*corrupt = true;
			break;
		}
		if (n > bytes - at) {
			*needed = n;
			break;
		}
		at += n;
	}
	return at;
}

/* A piece of the data that does not run over its end. */
static bool read_piece(int fd, uint64_t offset, char *to, size_t bytes)
{
	return bytes == 0 || pread(fd, to, bytes, (off_t)(DATA_OFFSET + offset)) == (ssize_t)bytes;
}

bool stream_head_read(const struct stream_shared *shared, const char *directory, const char *name,
                      uint64_t position, void *to, size_t bytes)
{
	uint64_t size = shared->size_bytes, offset = position & (size - 1);
	if (size < STREAM_SIZE_MIN || (size & (size - 1)) != 0 || bytes > size)
		return false;
	int fd = folder_open(directory, name, O_RDONLY, 0);
	if (fd < 0)
		return false;
	size_t first = bytes < size - offset ? bytes : size - offset;
	bool good = read_piece(fd, offset, to, first) && read_piece(fd, 0, (char *)to + first, bytes - first);
	close(fd);
	/* As in copy_once. */
	atomic_thread_fence(memory_order_acquire);
	return good && stream_oldest_position(shared, size) <= position;
}

/* One attempt at a checked copy. False when the writer overran it. */
static bool copy_once(struct stream_reader *reader, size_t available, size_t *bytes)
{
	*bytes = available < reader->copy_bytes ? available : reader->copy_bytes;
	memcpy(reader->copy, stream_at(reader), *bytes);
	/* The copy is done before intent is read; pairs with the fence in stream_reserve_slow. */
	atomic_thread_fence(memory_order_acquire);
	return stream_oldest_position(reader->shared, reader->size) <= reader->position;
}

/* An eighth of the size ahead of the writer, or the next look would be too late as well. The tail
 * counts too: it may be damaged, and intent not. */
static void skip_overrun(struct stream_reader *reader, uint64_t tail)
{
	uint64_t oldest = stream_oldest_position(reader->shared, reader->size);
	if (tail > reader->size && tail - reader->size > oldest)
		oldest = tail - reader->size;
	skip_to(reader, oldest + reader->size / 8);
	stream_settle(reader);
}

static bool peek_copy(struct stream_reader *reader, struct record_batch *batch)
{
	for (unsigned overruns = 0; overruns < OVERRUNS_MAX;) {
		uint64_t tail = stream_tail(reader->shared);
		uint64_t available = tail - reader->position;
		size_t bytes, needed;
		bool corrupt = false;
		if (available == 0)
			return false;
		if (available > reader->size || !copy_once(reader, available, &bytes)) {
			skip_overrun(reader, tail);
			overruns++;
			continue;
		}
		size_t whole = whole_records(reader->copy, bytes, available, &corrupt, &needed);
		if (whole == 0 && needed != 0) {
			char *larger = realloc(reader->copy, needed);
			if (larger == NULL)
				return false;
			reader->copy = larger;
			reader->copy_bytes = needed;
			continue;
		}
		stream_fence(reader, reader->copy + whole, reader->copy + reader->copy_bytes);
		*batch = (struct record_batch){.at = reader->copy,
		                               .end = reader->copy + whole,
		                               .position = reader->position,
		                               .corrupt = corrupt};
		return true;
	}
	return false; /* the writer is faster than we are, or mad: the caller has other work */
}

bool stream_peek(struct stream_reader *reader, struct record_batch *batch)
{
	stream_unfence(reader);
	if (reader->optional)
		return peek_copy(reader, batch);
	/* acquire: the records before the tail are whole (stream_commit releases) */
	uint64_t available = stream_tail(reader->shared) - reader->position;
	if (available == 0)
		return false;
	const char *at = stream_at(reader);
	/* the tail itself is damaged, or the cursor was: take nothing from there */
	bool corrupt = available > reader->size;
	*batch = (struct record_batch){.at = at,
	                               .end = corrupt ? at : at + available,
	                               .position = reader->position,
	                               .corrupt = corrupt};
	stream_fence(reader, batch->end, reader->data + 2 * reader->size);
	return true;
}

void stream_pass(struct stream_reader *reader, const struct record_batch *batch, uint64_t records)
{
	reader->position = batch->position;
	reader->records += records;
	if (batch->corrupt) {
		/* What a damaged length hid may have been overwritten, if it was the tail or the
		 * cursor that was damaged. */
		uint64_t next = reader->position + 1;
		uint64_t oldest = stream_oldest_position(reader->shared, reader->size);
		reader->damaged++;
		skip_to(reader, next > oldest ? next : oldest);
	}
}

struct stream_mark stream_mark(const struct stream_reader *reader)
{
	return (struct stream_mark){reader->position, reader->records, reader->missed, reader->damaged};
}

void stream_settle_at(struct stream_reader *reader, const struct stream_mark *mark)
{
	/* release: all reads before it are done; pairs with the acquire in stream_slowest */
	atomic_store_explicit(&reader->cursor->position, mark->position, memory_order_release);
	atomic_store_explicit(&reader->cursor->records, mark->records, memory_order_relaxed);
	atomic_store_explicit(&reader->cursor->missed_records, mark->missed, memory_order_relaxed);
	atomic_store_explicit(&reader->cursor->damaged, mark->damaged, memory_order_relaxed);
}

void stream_settle(struct stream_reader *reader)
{
	struct stream_mark mark = stream_mark(reader);
	stream_settle_at(reader, &mark);
}

void stream_unpass(struct stream_reader *reader)
{
	const struct stream_cursor *cursor = reader->cursor;
	reader->position = atomic_load_explicit(&cursor->position, memory_order_relaxed);
	reader->records = atomic_load_explicit(&cursor->records, memory_order_relaxed);
	reader->missed = atomic_load_explicit(&cursor->missed_records, memory_order_relaxed);
	reader->damaged = atomic_load_explicit(&cursor->damaged, memory_order_relaxed);
}

void stream_settle_note(const struct stream_reader *reader, struct redo *redo, unsigned region)
{
	redo_add(redo, region, &reader->cursor->records, reader->records);
	redo_add(redo, region, &reader->cursor->missed_records, reader->missed);
	redo_add(redo, region, &reader->cursor->damaged, reader->damaged);
	redo_add(redo, region, &reader->cursor->position, reader->position);
}

void stream_advance(struct stream_reader *reader, const struct record_batch *batch, uint64_t records)
{
	stream_pass(reader, batch, records);
	stream_settle(reader);
}

int stream_reader_seek(struct stream_reader *reader, uint64_t position, uint64_t records)
{
	uint64_t tail = stream_tail(reader->shared);
	if (position < reader->position || position > tail)
		return -EINVAL;
	stream_move_to(reader, (struct stream_place){position, records});
	stream_settle(reader);
	return 0;
}

uint64_t stream_waiting_records(const struct stream_reader *reader)
{
	uint64_t written = atomic_load_explicit(&reader->shared->records, memory_order_relaxed);
	return written > reader->records ? written - reader->records : 0;
}

uint64_t stream_waiting_bytes(const struct stream_reader *reader)
{
	return stream_tail(reader->shared) - reader->position;
}

void stream_reader_settle_anew(struct stream_reader *reader)
{
	start_in(reader, (struct stream_place){reader->position, reader->records});
}
