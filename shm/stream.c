#include "shm/stream_lane.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shm/folder.h"

#define HUGE_BYTES (2ul * 1024 * 1024)

/* ---- the file ---- */

static void fill_lane(void *body, void *argument)
{
	struct stream_shared *shared = body;
	shared->size_bytes = *(uint64_t *)argument;
}

size_t stream_file_bytes(uint64_t size_bytes)
{
	return STREAM_DATA_OFFSET + size_bytes;
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

/* Maps header, words and data in a row and the data once more behind. The start is a multiple of
 * the huge page size, so address and file offset agree modulo that size and the kernel may use huge
 * pages where shared memory has them. */
static char *map_twice(int fd, uint64_t size, int protection, size_t *mapped_bytes)
{
	size_t bytes = STREAM_DATA_OFFSET + 2 * size;
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
	void *first = mmap(base, STREAM_DATA_OFFSET + size, protection, MAP_SHARED | MAP_FIXED, fd, 0);
	void *second = mmap(base + STREAM_DATA_OFFSET + size, size, protection, MAP_SHARED | MAP_FIXED, fd,
	                    STREAM_DATA_OFFSET);
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

char *stream_map_lane(const char *directory, const char *name, int protection, size_t *mapped_bytes,
                      int *result, struct shm_error *error)
{
	char path[256];
	int n = snprintf(path, sizeof path, "%s/%s", directory, name);
	int fd =
	        n < 0 || (size_t)n >= sizeof path
	                ? -ENAMETOOLONG
	                : folder_open(directory, name, (protection & PROT_WRITE) != 0 ? O_RDWR : O_RDONLY, 0);
	if (fd < 0) {
		*result = fd;
		shm_explain(error, "%s/%s: %s", directory, name, strerror(-fd));
		return NULL;
	}
	char *base = NULL;
	struct segment_header header;
	*result = segment_check(fd, path, SEGMENT_LANE, &header, error);
	if (*result == 0) {
		uint64_t size =
		        header.size_bytes > STREAM_DATA_OFFSET ? header.size_bytes - STREAM_DATA_OFFSET : 0;
		if (size < STREAM_SIZE_MIN || (size & (size - 1)) != 0) {
			shm_explain(error, "%s: %llu bytes of data are not a power of two", path,
			            (unsigned long long)size);
			*result = -EPROTO;
		} else {
			base = map_twice(fd, size, protection, mapped_bytes);
			if (base == NULL) {
				*result = -ENOMEM;
				shm_explain(error, "%s: cannot map %llu bytes twice", path,
				            (unsigned long long)size);
			}
		}
	}
	close(fd);
	return base;
}

struct stream_shared *stream_head_map(const char *directory, const char *name, enum segment_access access,
                                      int *result, struct shm_error *error)
{
	bool writable = access == SEGMENT_WRITE;
	int fd = folder_open(directory, name, writable ? O_RDWR : O_RDONLY, 0);
	if (fd < 0) {
		*result = fd;
		shm_explain(error, "%s/%s: %s", directory, name, strerror(-fd));
		return NULL;
	}
	struct segment_header header;
	char *base = MAP_FAILED;
	*result = segment_check(fd, name, SEGMENT_LANE, &header, error);
	if (*result == 0) {
		base = mmap(NULL, STREAM_DATA_OFFSET, writable ? PROT_READ | PROT_WRITE : PROT_READ,
		            MAP_SHARED, fd, 0);
		if (base == MAP_FAILED) {
			*result = -errno;
			shm_explain(error, "%s/%s: cannot map: %s", directory, name, strerror(-*result));
		}
	}
	close(fd);
	return base == MAP_FAILED ? NULL : stream_shared_of(base);
}

void stream_head_unmap(const struct stream_shared *shared)
{
	if (shared != NULL)
		munmap((char *)(uintptr_t)shared - SEGMENT_HEADER_BYTES, STREAM_DATA_OFFSET);
}

/* ---- waypoints ---- */

/* One waypoint as a consistent pair; false while its writer is changing it. */
static bool read_waypoint(const struct stream_waypoint *waypoint, struct stream_place *place)
{
	place->position = atomic_load_explicit(&waypoint->position, memory_order_acquire);
	place->records = atomic_load_explicit(&waypoint->records, memory_order_relaxed);
	atomic_thread_fence(memory_order_acquire);
	return place->position != 0 &&
	       atomic_load_explicit(&waypoint->position, memory_order_relaxed) == place->position;
}

bool stream_waypoint_after(const struct stream_shared *shared, uint64_t from, uint64_t to,
                           struct stream_place *best)
{
	bool found = false;
	if (from == 0) {
		*best = (struct stream_place){0, 0};
		return true;
	}
	for (unsigned i = 0; i < STREAM_WAYPOINTS; i++) {
		struct stream_place place;
		if (!read_waypoint(&shared->waypoint[i], &place) || place.position < from ||
		    place.position > to)
			continue;
		if (!found || place.position < best->position)
			*best = place;
		found = true;
	}
	return found;
}

bool stream_waypoint_before(const struct stream_shared *shared, uint64_t from, uint64_t to, uint64_t records,
                            struct stream_place *best)
{
	bool found = from == 0;
	if (found)
		*best = (struct stream_place){0, 0};
	for (unsigned i = 0; i < STREAM_WAYPOINTS; i++) {
		struct stream_place place;
		if (!read_waypoint(&shared->waypoint[i], &place) || place.position < from ||
		    place.position > to || place.records > records)
			continue;
		if (!found || place.position > best->position)
			*best = place;
		found = true;
	}
	return found;
}

uint64_t stream_oldest_position(const struct stream_shared *shared, uint64_t size)
{
	uint64_t intent = atomic_load_explicit(&shared->intent, memory_order_relaxed);
	return intent <= size ? 0 : intent - size;
}

uint64_t stream_oldest_kept(const struct stream_shared *shared, uint64_t size)
{
	/* acquire: a tail that is read after it is not before limit - size */
	uint64_t limit = atomic_load_explicit(&shared->limit, memory_order_acquire);
	uint64_t intent = atomic_load_explicit(&shared->intent, memory_order_relaxed);
	uint64_t end = intent > limit ? intent
	                              /* intent is the later one when leave was taken back, and
	                               * before a life asks */
	                              : limit;
	return end <= size ? 0 : end - size;
}

/* What the two words say. A batch apart when the writer is just between them, or died there. */
static struct stream_place stored_tail(const struct stream_shared *shared)
{
	for (unsigned tries = 0;; tries++) {
		uint64_t tail = atomic_load_explicit(&shared->tail, memory_order_acquire);
		uint64_t records = atomic_load_explicit(&shared->records, memory_order_acquire);
		if (tries == 1000 ||
		    (atomic_load_explicit(&shared->tail, memory_order_acquire) == tail &&
		     atomic_load_explicit(&shared->records, memory_order_relaxed) == records))
			return (struct stream_place){tail, records};
	}
}

struct stream_place stream_read_tail(const struct stream_shared *shared, const char *data, uint64_t size)
{
	for (unsigned tries = 0; tries < 100; tries++) {
		struct stream_place waypoint;
		uint64_t n, tail = atomic_load_explicit(&shared->tail, memory_order_acquire);
		if (!stream_waypoint_before(shared, stream_oldest_position(shared, size), tail, UINT64_MAX,
		                            &waypoint) ||
		    tail - waypoint.position > size)
			break;
		bool whole = stream_count_records(data, size - 1, waypoint.position, tail, &n);
		/* What was counted was read before intent is; pairs with the fence in
		 * stream_reserve_slow. */
		atomic_thread_fence(memory_order_acquire);
		if (stream_oldest_position(shared, size) > waypoint.position)
			continue; /* a writer has gone round meanwhile */
		if (!whole)
			break;
		return (struct stream_place){tail, waypoint.records + n};
	}
	/* No waypoint, or damage after it: there is no better number than the stored one. */
	return stored_tail(shared);
}

bool stream_count_records(const char *data, uint64_t mask, uint64_t from, uint64_t to, uint64_t *records)
{
	struct record_batch batch = {.at = data + (from & mask), .end = data + (from & mask) + (to - from)};
	uint64_t n = 0;
	while (record_next(&batch) != NULL)
		n++;
	*records = n;
	return !batch.corrupt;
}
