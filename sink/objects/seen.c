#include "sink/objects/seen.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shm/folder.h"
#include "sink/objects/journal_inside.h"

#define TRIES 100u

/* The part of the segment that says which objects there are. */
struct map {
	const struct journal_head *head;
	const struct journal_place *place;
	uint64_t n;
	void *base;
	size_t bytes;
};

static int refuse(struct shm_error *error, const char *name)
{
	shm_explain(error, "%s: no journal of this build", name);
	return -EPROTO;
}

static int map_file(struct map *map, int fd, const char *name, struct shm_error *error)
{
	struct segment_header header;
	struct journal_head head;
	int result = segment_check(fd, name, SEGMENT_PRIVATE, &header, error);
	if (result != 0)
		return result;
	if (pread(fd, &head, sizeof head, SEGMENT_HEADER_BYTES) != (ssize_t)sizeof head)
		return refuse(error, name);
	uint64_t layout = journal_load(&head.about.layout), n = head.about.n;
	if (layout == 0)
		return -ENOENT; /* no process has ever laid it out */
	if (layout != JOURNAL_LAYOUT || n > header.size_bytes / sizeof(struct journal_place))
		return refuse(error, name);
	size_t bytes = SEGMENT_HEADER_BYTES + JOURNAL_HEAD_BYTES + n * sizeof(struct journal_place);
	if (bytes > header.size_bytes)
		return refuse(error, name);
	void *base = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED) {
		shm_explain(error, "%s: cannot map: %s", name, strerror(errno));
		return -errno;
	}
	const char *body = (const char *)base + SEGMENT_HEADER_BYTES;
	*map = (struct map){.head = (const void *)body,
	                    .place = (const void *)(body + JOURNAL_HEAD_BYTES),
	                    .n = n,
	                    .base = base,
	                    .bytes = bytes};
	return 0;
}

/* Lines as of the last commit; false when it has none. */
static bool committed_lines(const struct map *map, const struct journal_place *place, uint64_t *lines)
{
	uint64_t epoch = atomic_load_explicit(&map->head->epoch, memory_order_acquire), best = 0;
	for (unsigned i = 0; i < 2; i++) {
		uint64_t of = journal_load(&place->slot[i].epoch);
		if (of == 0 || of > epoch || of < best)
			continue;
		best = of;
		*lines = __atomic_load_n(&place->slot[i].lines, __ATOMIC_RELAXED);
	}
	return best != 0;
}

static void copy_string(char to[JOURNAL_KEY_MAX + 1], const char *from, size_t bytes)
{
	bytes = bytes < JOURNAL_KEY_MAX ? bytes : JOURNAL_KEY_MAX;
	memcpy(to, from, bytes);
	to[bytes] = '\0';
}

/* One attempt. False: it changed meanwhile. */
static bool copy_place(const struct map *map, const struct journal_place *place, struct seen_object *object)
{
	char token[2][JOURNAL_TOKEN_BYTES];
	uint64_t word = atomic_load_explicit(&place->state, memory_order_acquire);
	struct journal_state state = {.phase = (uint8_t)word,
	                              .finishing = (word >> 8 & 1) != 0,
	                              .key_bytes = (uint16_t)(word >> 16),
	                              .name_bytes = (uint16_t)(word >> 32)};
	*object = (struct seen_object){.phase = JOURNAL_FREE};
	if (state.phase == JOURNAL_FREE || state.phase > JOURNAL_UPLOADING)
		return true;
	memcpy(token[0], place->token, sizeof token[0]);
	copy_string(object->key, place->key, state.key_bytes);
	copy_string(object->name, place->name, state.name_bytes);
	object->opened_ns = place->opened_ns;
	object->n_parts = journal_load(&place->n_parts);
	object->first_topic = place->first_topic;
	object->first_lane = place->first_lane;
	object->first_position = place->first_position;
	object->finishing = state.finishing;
	object->phase = committed_lines(map, place, &object->lines) ? state.phase : JOURNAL_FREE;
	memcpy(token[1], place->token, sizeof token[1]);
	atomic_thread_fence(memory_order_acquire);
	return journal_load(&place->state) == word && memcmp(token[0], token[1], sizeof token[0]) == 0;
}

int seen_journal(const char *directory, const char *role, seen_each *each, void *argument,
                 struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	struct map map = {0};
	struct seen_object object;
	int fd = folder_open(directory, instance_private_name(name, role), O_RDONLY, 0);
	if (fd < 0) {
		shm_explain(error, "%s: %s", name, strerror(-fd));
		return fd;
	}
	int result = map_file(&map, fd, name, error);
	close(fd);
	if (result != 0)
		return result;
	for (uint64_t i = 0; i < map.n; i++) {
		bool whole = false;
		for (unsigned tries = 0; tries < TRIES && !whole; tries++)
			whole = copy_place(&map, &map.place[i], &object);
		if (whole && object.phase != JOURNAL_FREE)
			each(argument, &object);
	}
	munmap(map.base, map.bytes);
	return 0;
}
