#include "enrich/agent/literals.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ---- */

/* Makes room for `more` items behind n. */
static void *grow(struct literals *literals, void *items, size_t size, uint32_t n, uint32_t more,
                  uint32_t *room)
{
	if (literals->failed || *room - n >= more)
		return items;
	uint32_t wanted = *room ? *room : 256;
	while (wanted - n < more)
		wanted *= 2;
	void *grown = wanted > *room && wanted <= 1u << 30 ? realloc(items, wanted * size) : NULL;
	if (!grown) {
		literals->failed = true;
		return items;
	}
	*room = wanted;
	return grown;
}

static uint32_t add_node(struct literals *literals, enum tree_kind kind, uint32_t n, uint32_t at)
{
	literals->node = grow(literals, literals->node, sizeof *literals->node, literals->n_nodes, 1,
	                      &literals->room_nodes);
	if (literals->failed)
		return TREE_ANY;
	literals->node[literals->n_nodes] = (struct tree_node){.kind = (uint8_t)kind, .n = n, .at = at};
	return literals->n_nodes++;
}

int literals_init(struct literals *literals)
{
	*literals = (struct literals){.n_nodes = 0};
	add_node(literals, TREE_TRUE, 0, 0);
	return literals->failed ? -ENOMEM : 0;
}

void literals_fini(struct literals *literals)
{
	free(literals->literal);
	free(literals->node);
	free(literals->child);
	free(literals->text);
	free(literals->table);
	*literals = (struct literals){.n_nodes = 0};
}

/* ---- literals, each once ---- */

/* FNV-1a: the expressions are the operator's own, nobody chooses them to collide. */
static uint32_t hash_of(const char *text, size_t bytes)
{
	uint32_t hash = 2166136261u;
	for (size_t i = 0; i < bytes; i++)
		hash = (hash ^ (uint8_t)text[i]) * 16777619u;
	return hash;
}

/* The place of a literal in the table, or the empty one where it belongs. */
static uint32_t *place_of(const struct literals *literals, const char *text, size_t bytes)
{
	uint32_t mask = literals->table_size - 1;
	for (uint32_t i = hash_of(text, bytes) & mask;; i = (i + 1) & mask) {
		uint32_t *place = &literals->table[i];
		if (*place == 0)
			return place;
		const struct literal *literal = &literals->literal[*place - 1];
		if (literal->bytes == bytes && memcmp(literals->text + literal->at, text, bytes) == 0)
			return place;
	}
}

static void grow_table(struct literals *literals)
{
	if (2 * (literals->n_literals + 1) <= literals->table_size)
		return;
	uint32_t size = literals->table_size ? 2 * literals->table_size : 1024;
	uint32_t *table = calloc(size, sizeof *table);
	if (!table) {
		literals->failed = true;
		return;
	}
	free(literals->table);
	literals->table = table;
	literals->table_size = size;
	for (uint32_t i = 0; i < literals->n_literals; i++) {
		const struct literal *literal = &literals->literal[i];
		*place_of(literals, literals->text + literal->at, literal->bytes) = i + 1;
	}
}

uint32_t literals_add(struct literals *literals, const char *text, size_t bytes)
{
	/* The text is folded where it will stay; when it is there already, the place is used
	 * again. */
	literals->text =
	        grow(literals, literals->text, 1, literals->n_text, (uint32_t)bytes, &literals->room_text);
	literals->literal = grow(literals, literals->literal, sizeof *literals->literal, literals->n_literals,
	                         1, &literals->room_literals);
	grow_table(literals);
	if (literals->failed)
		return 0;
	char *folded = literals->text + literals->n_text;
	for (size_t i = 0; i < bytes; i++)
		folded[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] | 0x20 : text[i]);
	uint32_t *place = place_of(literals, folded, bytes);
	if (*place == 0) {
		literals->literal[literals->n_literals] =
		        (struct literal){.at = literals->n_text, .bytes = (uint32_t)bytes};
		literals->n_text += (uint32_t)bytes;
		*place = ++literals->n_literals;
	}
	return *place - 1;
}

/* ---- trees ---- */

uint32_t literals_leaf(struct literals *literals, const char *text, size_t bytes)
{
	uint32_t index = literals_add(literals, text, bytes);
	return add_node(literals, TREE_LITERAL, 0, index);
}

static bool same_leaf(const struct literals *literals, uint32_t a, uint32_t b)
{
	return literals->node[a].kind == TREE_LITERAL && literals->node[b].kind == TREE_LITERAL &&
	       literals->node[a].at == literals->node[b].at;
}

/* Adds a child to those from `first` on, unless it is there. */
static void add_child(struct literals *literals, uint32_t first, uint32_t tree)
{
	for (uint32_t i = first; i < literals->n_children; i++)
		if (same_leaf(literals, literals->child[i], tree))
			return;
	literals->child = grow(literals, literals->child, sizeof *literals->child, literals->n_children, 1,
	                       &literals->room_children);
	if (!literals->failed)
		literals->child[literals->n_children++] = tree;
}

/* Joins; children of the same kind are taken in, so that trees stay flat. */
static uint32_t join(struct literals *literals, enum tree_kind kind, const uint32_t *tree, uint32_t n)
{
	uint32_t first = literals->n_children;
	for (uint32_t i = 0; i < n && !literals->failed; i++) {
		struct tree_node node = literals->node[tree[i]];
		if (node.kind == TREE_TRUE)
			continue; /* of an `and`; literals_or has looked already */
		if (node.kind != kind)
			add_child(literals, first, tree[i]);
		for (uint32_t c = 0; node.kind == kind && c < node.n; c++)
			add_child(literals, first, literals->child[node.at + c]);
	}
	if (literals->failed)
		return TREE_ANY;
	uint32_t children = literals->n_children - first;
	if (children >= 2)
		return add_node(literals, kind, children, first);
	literals->n_children = first;
	return children == 1 ? literals->child[first] : TREE_ANY;
}

uint32_t literals_and(struct literals *literals, const uint32_t *tree, uint32_t n)
{
	return join(literals, TREE_AND, tree, n);
}

uint32_t literals_or(struct literals *literals, const uint32_t *tree, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (tree[i] == TREE_ANY)
			return TREE_ANY;
	return join(literals, TREE_OR, tree, n);
}

/* NOLINTNEXTLINE(misc-no-recursion) as deep as groups nest, which the walk bounds */
bool literals_true(const struct literals *literals, uint32_t tree, const uint64_t *there)
{
	const struct tree_node *node = &literals->node[tree];
	if (node->kind == TREE_TRUE)
		return true;
	if (node->kind == TREE_LITERAL)
		return there[node->at / 64] >> (node->at % 64) & 1;
	bool decides = node->kind == TREE_OR; /* the value of one child that settles it */
	for (uint32_t i = 0; i < node->n; i++)
		if (literals_true(literals, literals->child[node->at + i], there) == decides)
			return decides;
	return !decides;
}

/* ---- as text ---- */

struct out {
	char *at;
	size_t size, bytes;
};

static void put(struct out *out, const char *text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++, out->bytes++)
		if (out->bytes + 1 < out->size)
			out->at[out->bytes] = text[i];
}

/* NOLINTNEXTLINE(misc-no-recursion) as above */
static void print(const struct literals *literals, uint32_t tree, struct out *out)
{
	const struct tree_node *node = &literals->node[tree];
	if (node->kind == TREE_TRUE) {
		put(out, "any", 3);
	} else if (node->kind == TREE_LITERAL) {
		const struct literal *literal = &literals->literal[node->at];
		put(out, "\"", 1);
		put(out, literals->text + literal->at, literal->bytes);
		put(out, "\"", 1);
	} else {
		put(out, node->kind == TREE_AND ? "and" : "or", node->kind == TREE_AND ? 3 : 2);
		for (uint32_t i = 0; i < node->n; i++) {
			put(out, i == 0 ? "(" : ",", 1);
			print(literals, literals->child[node->at + i], out);
		}
		put(out, ")", 1);
	}
}

size_t literals_print(const struct literals *literals, uint32_t tree, char *out, size_t size)
{
	struct out to = {.at = out, .size = size};
	print(literals, tree, &to);
	if (size > 0)
		out[to.bytes < size ? to.bytes : size - 1] = 0;
	return to.bytes;
}
