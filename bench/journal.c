/* bench-journal: what a line costs in the journal of sink/objects, found by its hash, appended, and
 * committed in batches, against the copy of the same bytes alone. Packing is not counted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "bench/options.h"
#include "bench/turns.h"
#include "sink/objects/journal.h"

#define TURNS      9u
#define TURN_NS    (200 * NS_PER_MS)
#define BATCH      512u
#define MEMBER     (1u << 20)
#define RING_BYTES (64u << 20)
#define TAILS      (UINT64_C(512) << 20)
#define KEYS_MAX   10000u
#define LINE_MAX   8192u

struct bench {
	struct journal *journal;
	unsigned keys, line_bytes;
	uint64_t random;
	uint64_t hash[KEYS_MAX];
	char line[LINE_MAX];
	char *ring;
	size_t ring_at;
};

/* Of the processor, not of the clock on the wall: others may want it too. */
static uint64_t spent(void)
{
	return clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
}

static uint64_t draw(struct bench *b)
{
	b->random ^= b->random << 13;
	b->random ^= b->random >> 7;
	b->random ^= b->random << 17;
	return b->random;
}

static journal_object add(struct bench *b, unsigned i)
{
	char key[64];
	int n = snprintf(key, sizeof key, "chat/2026-11-27/content_logs_2026-11-27_%u", i);
	return journal_add(b->journal, b->hash[i], key, (size_t)n, "0123456789abcdef0123456789abcdef", 0, 0,
	                   i, i);
}

/* In memory as a segment is: pages of the usual size, all present. Each object has a line, so that
 * it stays. */
static int open_journal(struct bench *b)
{
	static struct redo redo;
	struct shm_error error = {"no memory"};
	const struct journal_bounds bounds = {.open_most = 2 * MEMBER, .packed_most = 2 * MEMBER + 4096};
	void *memory =
	        mmap(NULL, TAILS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (memory == MAP_FAILED || journal_over(&b->journal, &redo, memory, TAILS, &error) != 0 ||
	    journal_open(b->journal, &bounds, &error) != 0) {
		fprintf(stderr, "bench-journal: %s\n", error.text);
		return 1;
	}
	for (unsigned i = 0; i < b->keys; i++) {
		b->hash[i] = draw(b);
		journal_object object = add(b, i);
		if (object == JOURNAL_NONE ||
		    !journal_append(b->journal, object, b->line, b->line_bytes, i)) {
			fprintf(stderr, "bench-journal: no room for %u keys\n", b->keys);
			return 1;
		}
	}
	journal_commit(b->journal, NULL);
	return 0;
}

/* Members of one byte: the raw blocks are free again. */
static void pack(struct bench *b, const uint64_t *hash)
{
	struct journal_counts counts;
	journal_count(b->journal, &counts);
	bool tight = counts.free_blocks < counts.blocks / 3;
	for (unsigned i = 0; i < BATCH; i++) {
		struct journal_view view;
		struct journal_filling filling;
		size_t room;
		journal_object object = journal_find(b->journal, hash[i], NULL, 0);
		journal_look(b->journal, object, &view);
		if (view.open_bytes == 0 || (view.open_bytes < MEMBER && !tight))
			continue;
		journal_fill(b->journal, object, &filling);
		(void)journal_fill_room(&filling, &room);
		journal_packed(b->journal, object, &filling, 1);
	}
}

static double lines_rate(struct bench *b)
{
	uint64_t spent_ns = 0, n = 0, hash[BATCH];
	for (; spent_ns < TURN_NS; n += BATCH) {
		for (unsigned i = 0; i < BATCH; i++)
			hash[i] = b->hash[draw(b) % b->keys];
		uint64_t begin = spent();
		for (unsigned i = 0; i < BATCH; i++) {
			journal_object object = journal_find(b->journal, hash[i], NULL, 0);
			if (!journal_append(b->journal, object, b->line, b->line_bytes, begin))
				abort();
		}
		journal_commit(b->journal, NULL);
		spent_ns += spent() - begin;
		pack(b, hash);
	}
	return (double)n * NS_PER_SEC / (double)spent_ns;
}

static double copy_rate(struct bench *b)
{
	uint64_t begin = spent(), now, n = 0;
	do {
		for (unsigned i = 0; i < BATCH; i++) {
			if (b->ring_at + b->line_bytes + 1 > RING_BYTES)
				b->ring_at = 0;
			memcpy(b->ring + b->ring_at, b->line, b->line_bytes);
			b->ring[b->ring_at + b->line_bytes] = '\n';
			b->ring_at += b->line_bytes + 1;
			__asm__ volatile("" ::"r"(b->ring) : "memory");
		}
		n += BATCH;
		now = spent();
	} while (now - begin < TURN_NS);
	return (double)n * NS_PER_SEC / (double)(now - begin);
}

static void report(const struct bench *b, const struct turns *turns, bool json)
{
	double ours = turns_median(turns->ours, turns->n), copy = turns_median(turns->reference, turns->n);
	if (json) {
		printf("{\"keys\": %u, \"line_bytes\": %u, \"lines_per_second\": %.0f, \"copies_per_second\": %.0f, \"ratio\": %.3f}\n",
		       b->keys, b->line_bytes, ours, copy, turns_ratio(turns));
		return;
	}
	char what[96];
	snprintf(what, sizeof what, "%u keys, lines of %u bytes, commits of %u lines", b->keys, b->line_bytes,
	         BATCH);
	turns_print(turns, what, "journal", "copy alone");
	printf("  journal %.1f ns a line, copy alone %.1f ns\n", 1e9 / ours, 1e9 / copy);
}

static void help(void)
{
	puts("usage: bench-journal [--keys N] [--bytes N] [--json]\n"
	     "Lines found by their hash, appended and committed, against a copy of the same bytes.\n"
	     "  --keys N    objects, chosen at random (default 100, at most 10000)\n"
	     "  --bytes N   of a line (default 200, at most 8192)");
}

int main(int argc, char **argv)
{
	static struct bench b = {.keys = 100, .line_bytes = 200, .random = 88172645463325252u};
	bool json = false;
	const struct option_row rows[] = {{"keys", OPTION_COUNT, &b.keys, 1, KEYS_MAX},
	                                  {"bytes", OPTION_COUNT, &b.line_bytes, 1, LINE_MAX},
	                                  {"json", OPTION_ON, &json, 0, 0}};
	int done = options_read(argc, argv, "bench-journal", rows, 3, help);
	if (done >= 0)
		return done;
	memset(b.line, 'x', sizeof b.line);
	b.ring = malloc(RING_BYTES);
	if (b.ring == NULL || open_journal(&b) != 0)
		return 1;
	memset(b.ring, 0, RING_BYTES);
	struct turns turns = {.n = 0};
	for (unsigned i = 0; i < TURNS; i++)
		turns_add(&turns, lines_rate(&b), copy_rate(&b));
	report(&b, &turns, json);
	journal_close(b.journal);
	free(b.ring);
	return 0;
}
