#include "enrich/agent/known.h"

#include <string.h>

#define REPEAT_MAX 8u /* an exact part that may come more often than this is not written out */

static const struct known_text empty = {.data = "", .bytes = 0};

/* NULL when the region is full. */
static void *take(struct known_scratch *scratch, size_t bytes)
{
	size_t aligned = (bytes + 7) & ~(size_t)7;
	if (KNOWN_SCRATCH_BYTES - scratch->used < aligned)
		return NULL;
	void *memory = scratch->memory + scratch->used;
	scratch->used += aligned;
	return memory;
}

struct known known_nothing(void)
{
	return (struct known){.exact = false, .tree = TREE_ANY};
}

struct known known_empty(void)
{
	return (struct known){.exact = true, .n = 1, .set = &empty};
}

struct known known_bytes(struct known_scratch *scratch, const uint64_t bit[4], uint32_t most)
{
	uint32_t n = 0;
	for (unsigned i = 0; i < 4; i++)
		n += (uint32_t)__builtin_popcountll(bit[i]);
	if (n == 0 || n > most)
		return known_nothing();
	struct known_text *set = take(scratch, n * sizeof *set);
	char *data = take(scratch, n);
	if (!set || !data)
		return known_nothing();
	uint32_t at = 0;
	for (unsigned byte = 0; byte < 256; byte++) {
		if (!(bit[byte / 64] >> (byte % 64) & 1))
			continue;
		data[at] = (char)byte;
		set[at] = (struct known_text){.data = data + at, .bytes = 1};
		at++;
	}
	return (struct known){.exact = true, .n = n, .set = set};
}

struct known known_byte(struct known_scratch *scratch, char byte)
{
	unsigned folded = (uint8_t)byte;
	if (folded >= 'A' && folded <= 'Z')
		folded |= 0x20;
	uint64_t bit[4] = {0};
	bit[folded / 64] = 1ull << (folded % 64);
	return known_bytes(scratch, bit, 1);
}

static bool holds(const struct known_text *set, uint32_t n, struct known_text text)
{
	for (uint32_t i = 0; i < n; i++)
		if (set[i].bytes == text.bytes && memcmp(set[i].data, text.data, text.bytes) == 0)
			return true;
	return false;
}

/* Exact and small enough, or nothing known. */
static struct known either_set(struct known_scratch *scratch, struct known a, struct known b)
{
	struct known_text *set = take(scratch, (a.n + b.n) * sizeof *set);
	if (!set)
		return known_nothing();
	memcpy(set, a.set, a.n * sizeof *set);
	uint32_t n = a.n;
	for (uint32_t i = 0; i < b.n; i++)
		if (!holds(set, n, b.set[i]))
			set[n++] = b.set[i];
	if (n > KNOWN_SET_MAX)
		return known_nothing();
	return (struct known){.exact = true, .n = n, .set = set};
}

struct known known_either(struct known_scratch *scratch, struct known a, struct known b)
{
	if (a.exact && b.exact) {
		struct known both = either_set(scratch, a, b);
		if (both.exact)
			return both;
	}
	uint32_t tree[2] = {known_tree(scratch, a), known_tree(scratch, b)};
	return (struct known){.exact = false, .tree = literals_or(scratch->literals, tree, 2)};
}

/* Each text of a followed by each of b; nothing known if that is too much. */
static struct known product(struct known_scratch *scratch, struct known a, struct known b)
{
	if (a.n * b.n > KNOWN_SET_MAX)
		return known_nothing();
	struct known_text *set = take(scratch, (size_t)a.n * b.n * sizeof *set);
	if (!set)
		return known_nothing();
	uint32_t n = 0;
	for (uint32_t i = 0; i < a.n * b.n; i++) {
		struct known_text head = a.set[i / b.n], tail = b.set[i % b.n];
		uint32_t bytes = head.bytes + tail.bytes;
		char *data = bytes <= LITERAL_MAX ? take(scratch, bytes) : NULL;
		if (!data)
			return known_nothing();
		memcpy(data, head.data, head.bytes);
		memcpy(data + head.bytes, tail.data, tail.bytes);
		struct known_text text = {.data = data, .bytes = bytes};
		if (!holds(set, n, text))
			set[n++] = text;
	}
	return (struct known){.exact = true, .n = n, .set = set};
}

static struct known repeat_exact(struct known_scratch *scratch, struct known part, uint32_t least,
                                 uint32_t most)
{
	struct known times = known_empty(), all = known_nothing();
	for (uint32_t i = 0; i <= most; i++) {
		if (i > 0)
			times = product(scratch, times, part);
		if (!times.exact)
			return times;
		if (i == least)
			all = times;
		if (i > least)
			all = either_set(scratch, all, times);
		if (i >= least && !all.exact)
			return all;
	}
	return all;
}

struct known known_repeat(struct known_scratch *scratch, struct known part, uint32_t least, uint32_t most)
{
	if (most == 0)
		return known_empty();
	if (part.exact && most <= REPEAT_MAX) {
		struct known exact = repeat_exact(scratch, part, least, most);
		if (exact.exact)
			return exact;
	}
	if (least == 0)
		return known_nothing();
	return (struct known){.exact = false, .tree = known_tree(scratch, part)};
}

struct known_row known_row(void)
{
	return (struct known_row){.exact = known_empty(), .tree = TREE_ANY};
}

/* Makes the exact part so far a tree. */
static void settle(struct known_scratch *scratch, struct known_row *row)
{
	uint32_t tree[2] = {row->tree, known_tree(scratch, row->exact)};
	row->tree = literals_and(scratch->literals, tree, 2);
	row->exact = known_empty();
	row->settled = true;
}

void known_add(struct known_scratch *scratch, struct known_row *row, struct known part)
{
	if (part.exact) {
		struct known longer = product(scratch, row->exact, part);
		if (!longer.exact)
			settle(scratch, row);
		row->exact = longer.exact ? longer : part;
		return;
	}
	settle(scratch, row);
	uint32_t tree[2] = {row->tree, part.tree};
	row->tree = literals_and(scratch->literals, tree, 2);
}

struct known known_end(struct known_scratch *scratch, const struct known_row *row)
{
	if (!row->settled)
		return row->exact;
	struct known_row last = *row;
	settle(scratch, &last);
	return (struct known){.exact = false, .tree = last.tree};
}

/* Whether another text of the set lies within text i; of equal ones the first stays, but sets hold
 * none. */
static bool is_implied(struct known part, uint32_t i)
{
	for (uint32_t k = 0; k < part.n; k++)
		if (k != i && part.set[k].bytes < part.set[i].bytes &&
		    memmem(part.set[i].data, part.set[i].bytes, part.set[k].data, part.set[k].bytes))
			return true;
	return false;
}

uint32_t known_tree(struct known_scratch *scratch, struct known part)
{
	if (!part.exact)
		return part.tree;
	uint32_t tree[KNOWN_SET_MAX], n = 0;
	for (uint32_t i = 0; i < part.n; i++)
		if (part.set[i].bytes < LITERAL_MIN)
			return TREE_ANY;
	for (uint32_t i = 0; i < part.n; i++)
		if (!is_implied(part, i)) /* "build" is there where " build/" is */
			tree[n++] = literals_leaf(scratch->literals, part.set[i].data, part.set[i].bytes);
	return literals_or(scratch->literals, tree, n);
}
