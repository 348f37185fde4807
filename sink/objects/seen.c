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

/* What does not change while an object has the same state. */
struct fixed {
	struct seen_object object;
	char token[JOURNAL_TOKEN_BYTES];
};

static void copy_fixed(struct fixed *fixed, const struct journal_place *place, uint64_t word)
{
	struct journal_state state = journal_state_from(word);
	memset(fixed, 0, sizeof *fixed);
	copy_string(fixed->object.key, place->key, state.key_bytes);
	copy_string(fixed->object.name, place->name, state.name_bytes);
	memcpy(fixed->token, place->token, sizeof fixed->token);
	fixed->object.phase = state.phase;
	fixed->object.finishing = state.finishing;
	fixed->object.opened_ns = place->opened_ns;
	fixed->object.first_topic = place->first_topic;
	fixed->object.first_lane = place->first_lane;
	fixed->object.first_position = place->first_position;
}

static bool same_fixed(const struct fixed *a, const struct fixed *b)
{
	return memcmp(a->token, b->token, sizeof a->token) == 0 &&
	       strcmp(a->object.key, b->object.key) == 0 && strcmp(a->object.name, b->object.name) == 0 &&
	       a->object.opened_ns == b->object.opened_ns && a->object.first_topic == b->object.first_topic &&
	       a->object.first_lane == b->object.first_lane &&
	       a->object.first_position == b->object.first_position;
}

/* One attempt. False: it changed meanwhile. JOURNAL_FREE: there is no object. */
static bool copy_place(const struct map *map, const struct journal_place *place, struct seen_object *object)
{
	struct fixed first, again;
	uint64_t word = atomic_load_explicit(&place->state, memory_order_acquire);
	object->phase = JOURNAL_FREE;
	if (word == 0)
		return true;
	copy_fixed(&first, place, word);
	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(&place->state, memory_order_acquire) != word)
		return false;
	copy_fixed(&again, place, word);
	if (!same_fixed(&first, &again))
		return false;
	*object = first.object;
	if (object->phase > JOURNAL_UPLOADING || !committed_lines(map, place, &object->lines))
		object->phase = JOURNAL_FREE;
	return true;
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
