/* Any bytes as a redo note that a life finds, its regions being where this life has them. A note
 * is refused and nothing has changed, or all its words are stored where they belong, in order: a
 * second reading stores them into copies. Around each region lies memory that nothing may touch.
 *
 * Input: regions that this life has (a bit each), a byte that turns names round, then the note. */
#include <errno.h>
#include <sanitizer/asan_interface.h>

#include "shm/redo.h"
#include "tests/fuzz/fuzz.h"

#define REGION_BYTES 256u
#define WALL_BYTES   4096u

static struct {
	_Alignas(8) char wall[WALL_BYTES], region[REGION_BYTES];
} place[REDO_REGIONS_MAX];
static char copy[REDO_REGIONS_MAX][REGION_BYTES];
static struct {
	char wall[WALL_BYTES];
	struct redo_note note;
	char end[WALL_BYTES];
} all;

static void make_regions(void)
{
	for (unsigned i = 0; i < REDO_REGIONS_MAX; i++) {
		memset(place[i].region, (int)i, REGION_BYTES);
		memset(copy[i], (int)i, REGION_BYTES);
		ASAN_POISON_MEMORY_REGION(place[i].wall, WALL_BYTES);
	}
	ASAN_POISON_MEMORY_REGION(all.wall, WALL_BYTES);
	ASAN_POISON_MEMORY_REGION(all.end, WALL_BYTES);
}

/* Number of the region now, or -1: there is none any more. */
static int region_now(const struct redo *redo, uint32_t was)
{
	uint64_t name = all.note.name[was];
	for (int k = 0; k < (int)REDO_REGIONS_MAX; k++)
		if (name == 0 ? k == (int)was && redo->name[k] == 0 : redo->name[k] == name)
			return redo->base[k] != NULL ? k : -1;
	return -1;
}

/* Stores the note into the copies. False: it must be refused. */
static bool expect(const struct redo *redo)
{
	for (int store = 0; store < 2; store++) {
		for (uint64_t i = 0; i < all.note.n; i++) {
			if (i >= REDO_WORDS_MAX)
				return false;
			struct redo_word word = all.note.word[i];
			int now = word.region < REDO_REGIONS_MAX ? region_now(redo, word.region) : -2;
			if (now == -2 || word.offset % 8 != 0 || (now >= 0 && word.offset > REGION_BYTES - 8))
				return false;
			if (store == 1 && now >= 0)
				memcpy(copy[now] + word.offset, &word.value, sizeof word.value);
		}
	}
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	if (bytes < 2)
		return 0;
	struct redo redo = {.note = &all.note};
	make_regions();
	for (unsigned i = 0; i < REDO_REGIONS_MAX; i++) {
		if ((data[0] >> i & 1) != 0) {
			redo.base[i] = place[i].region;
			redo.bytes[i] = REGION_BYTES;
		}
		redo.name[i] = i == 0 ? 0 : (i + data[1]) % REDO_REGIONS_MAX + 1;
	}
	memset(&all.note, 0, sizeof all.note);
	bytes -= 2;
	memcpy(&all.note, data + 2, bytes < sizeof all.note ? bytes : sizeof all.note);
	struct redo_note before = all.note;
	bool published = before.published == 1, good = before.published == 0 || (published && expect(&redo));
	int result = redo_recover(&redo);
	must(result == (good ? (int)published : -EPROTO));
	for (unsigned i = 0; i < REDO_REGIONS_MAX; i++)
		must(memcmp(place[i].region, copy[i], REGION_BYTES) == 0 || !good);
	if (good) {
		must(all.note.n == 0 && all.note.published == 0);
		must(redo_recover(&redo) == 0);
		return 0;
	}
	must(memcmp(&before, &all.note, sizeof before) == 0);
	for (unsigned i = 0; i < REDO_REGIONS_MAX; i++)
		for (unsigned k = 0; k < REGION_BYTES; k++)
			must(place[i].region[k] == (char)i);
	return 0;
}
