#include "enrich/agent/literals.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "enrich/agent/known.h"

#define DEPTH_MAX 100u /* groups in groups */
#define CLASS_MAX 4u   /* different bytes of a class that are worth telling apart */

/* ---- memory ---- */

/* Makes room for `more` items after n. */
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

/* FNV-1a: the operator chooses the expressions, so none is made to collide. */
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

/* ---- the walk ---- */

/* Over an expression's syntax, as pcre2pattern(3) of 10.42 has it. One rule throughout: give up
 * when in doubt. */
struct walk {
	const char *at, *end;
	struct known_scratch scratch;
	unsigned depth;
	bool lost; /* nothing is known of the whole expression */
};

static struct known alternation(struct walk *walk);

static struct known give_up(struct walk *walk)
{
	walk->lost = true;
	walk->at = walk->end;
	return known_nothing();
}

/* The byte at `ahead`, 0 after the end (a zero byte in the text looks the same, and may). */
static char peek(const struct walk *walk, size_t ahead)
{
	return (size_t)(walk->end - walk->at) > ahead ? walk->at[ahead] : 0;
}

static bool is_digit(char byte)
{
	return byte >= '0' && byte <= '9';
}

static bool is_letter(char byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
}

/* ---- escapes ---- */

/* Escapes that stand for one byte. True: *byte is it, and the escape is passed. The backslash is
 * passed already. */
static bool escaped_byte(struct walk *walk, char *byte)
{
	static const char letter[] = "aefnrt", meaning[] = "\a\033\f\n\r\t";
	char escape = peek(walk, 0);
	if (walk->at == walk->end || is_digit(escape))
		return false;
	const char *simple = is_letter(escape) ? strchr(letter, escape) : NULL;
	if (!is_letter(escape))
		*byte = escape;
	else if (simple)
		*byte = meaning[simple - letter];
	if (!is_letter(escape) || simple) {
		walk->at++;
		return true;
	}
	int high = hex_value(peek(walk, 1)), low = hex_value(peek(walk, 2));
	if (escape != 'x' || high < 0 || low < 0)
		return false;
	*byte = (char)(high * 16 + low);
	walk->at += 3;
	return true;
}

/* The backslash is passed. */
static struct known escape(struct walk *walk)
{
	char byte;
	if (escaped_byte(walk, &byte))
		return known_byte(&walk->scratch, byte);
	char letter = peek(walk, 0);
	if (letter == 0)
		return give_up(walk);
	walk->at++;
	if (strchr("bBAzZG", letter))
		return known_empty();
	if (strchr("dDwWsShHvVR", letter) || (letter == 'N' && peek(walk, 0) != '{'))
		return known_nothing();
	return give_up(walk);
}

/* ---- classes ---- */

struct class
{
	uint64_t bit[4]; /* folded */
	bool wide;       /* holds more than was worth following */
};

static void add_range(struct class *class, unsigned first, unsigned last)
{
	for (unsigned byte = first; byte <= last; byte++) {
		unsigned folded = byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte;
		class->bit[folded / 64] |= 1ull << (folded % 64);
	}
}

/* One byte of a class, or something wider. False: beyond this walk. */
static bool class_item(struct walk *walk, struct class *class, char *byte, bool *single)
{
	*single = true;
	char here = *walk->at++;
	if (here == '[' && strchr(":.=", peek(walk, 0)) && peek(walk, 0))
		return false;
	*byte = here;
	if (here != '\\')
		return true;
	if (peek(walk, 0) == 'b') {
		*byte = '\b';
		walk->at++;
		return true;
	}
	if (escaped_byte(walk, byte))
		return true;
	if (!peek(walk, 0) || !strchr("dDwWsShHvV", peek(walk, 0)))
		return false;
	walk->at++;
	class->wide = true;
	*single = false;
	return true;
}

/* An item and, where it begins one, the range. */
static bool class_range(struct walk *walk, struct class *class)
{
	char first, last;
	bool single, last_single;
	if (!class_item(walk, class, &first, &single))
		return false;
	last = first;
	if (peek(walk, 0) == '-' && peek(walk, 1) != ']' && walk->end - walk->at > 1) {
		walk->at++;
		if (!class_item(walk, class, &last, &last_single) || !single || !last_single)
			return false;
	}
	if (single)
		add_range(class, (uint8_t)first, (uint8_t)last);
	return true;
}

/* The bracket is passed. */
static struct known bracket(struct walk *walk)
{
	struct class class = {.wide = false};
	bool negated = peek(walk, 0) == '^';
	walk->at += negated;
	do { /* a closing bracket that comes first is one of the class */
		if (walk->at == walk->end || !class_range(walk, &class))
			return give_up(walk);
	} while (peek(walk, 0) != ']');
	walk->at++;
	if (negated || class.wide)
		return known_nothing();
	return known_bytes(&walk->scratch, class.bit, CLASS_MAX);
}

/* ---- groups ---- */

/* Passes the name of "(?<name>", "(?'name'", "(?P<name>" and what closes it. */
static bool group_name(struct walk *walk, char closing)
{
	while (walk->at < walk->end && (is_letter(*walk->at) || is_digit(*walk->at) || *walk->at == '_'))
		walk->at++;
	if (peek(walk, 0) != closing)
		return false;
	walk->at++;
	return true;
}

/* "(?i", "(?ims-" and so on, up to the closing parenthesis or colon. All but x leave the tree
 * true. */
static bool group_flags(struct walk *walk)
{
	while (peek(walk, 0) && strchr("imsUJ-", peek(walk, 0)))
		walk->at++;
	return peek(walk, 0) == ')' || peek(walk, 0) == ':';
}

/* Passes what follows "(?" at the start of a group. False: this walk does not know it. */
static bool group_head(struct walk *walk, bool *look_around)
{
	char first = peek(walk, 0), second = peek(walk, 1);
	*look_around = first == '=' || first == '!' || (first == '<' && (second == '=' || second == '!'));
	if (*look_around) {
		walk->at += first == '<' ? 2 : 1;
		return true;
	}
	if (first == ':' || first == '>' || first == '|') {
		walk->at++;
		return true;
	}
	if (first == '<' || first == '\'' || (first == 'P' && second == '<')) {
		walk->at += first == 'P' ? 2 : 1;
		return group_name(walk, first == '\'' ? '\'' : '>');
	}
	if (!group_flags(walk))
		return false;
	walk->at += *walk->at == ':'; /* "(?i)" is an empty group: what follows is caught up anyway */
	return true;
}

/* The parenthesis is passed. */
static struct known group(struct walk *walk)
{
	bool look_around = false;
	if (++walk->depth > DEPTH_MAX || peek(walk, 0) == '*')
		return give_up(walk);
	if (peek(walk, 0) == '?') {
		walk->at++;
		if (!group_head(walk, &look_around))
			return give_up(walk);
	}
	struct known inside = alternation(walk);
	if (peek(walk, 0) != ')')
		return give_up(walk);
	walk->at++;
	walk->depth--;
	/* What a look-around sees is no part of the text between its neighbours. */
	return look_around ? known_empty() : inside;
}

/* ---- rows, quantifiers, alternatives ---- */

/* Passes digits; false when there is none. Values beyond 65535 (PCRE2 refuses them) stay there. */
static bool number(struct walk *walk, uint32_t *value)
{
	if (!is_digit(peek(walk, 0)))
		return false;
	for (*value = 0; is_digit(peek(walk, 0)); walk->at++)
		*value = *value > 65535 ? *value : *value * 10 + (uint32_t)(*walk->at - '0');
	return true;
}

/* Passes "n}", "n,}" or "n,m}" after the brace. Some of what is not one of them is a literal,
 * depending on PCRE2's version. */
static bool bounds(struct walk *walk, uint32_t *least, uint32_t *most)
{
	if (!number(walk, least))
		return false;
	*most = *least;
	if (peek(walk, 0) == ',') {
		walk->at++;
		if (!number(walk, most))
			*most = UINT32_MAX;
	}
	if (peek(walk, 0) != '}' || *most < *least)
		return false;
	walk->at++;
	return true;
}

/* Applies the quantifiers that follow. */
static struct known quantified(struct walk *walk, struct known part)
{
	while (walk->at < walk->end && *walk->at && strchr("*+?{", *walk->at)) {
		uint32_t least = *walk->at == '+', most = *walk->at == '?' ? 1 : UINT32_MAX;
		char kind = *walk->at;
		if (kind == '{' && !is_digit(peek(walk, 1)) && !strchr(", ", peek(walk, 1)))
			return part; /* a literal brace, the next part */
		walk->at++;
		if (kind == '{' && !bounds(walk, &least, &most))
			return give_up(walk);
		if (peek(walk, 0) == '?' || peek(walk, 0) == '+')
			walk->at++; /* lazy, possessive: the same texts, or fewer */
		part = known_repeat(&walk->scratch, part, least, most);
	}
	return part;
}

/* NOLINTNEXTLINE(misc-no-recursion) DEPTH_MAX bounds it */
static struct known atom(struct walk *walk)
{
	char here = *walk->at++;
	switch (here) {
	case '(':
		return group(walk);
	case '[':
		return bracket(walk);
	case '\\':
		return escape(walk);
	case '.':
		return known_nothing();
	case '^':
	case '$':
		return known_empty();
	case '*':
	case '+':
	case '?':
		return give_up(walk);
	default:
		return known_byte(&walk->scratch, here);
	}
}

/* NOLINTNEXTLINE(misc-no-recursion) as above */
static struct known row(struct walk *walk)
{
	struct known_row parts = known_row();
	while (walk->at < walk->end && *walk->at != '|' && *walk->at != ')') {
		struct known part = atom(walk);
		known_add(&walk->scratch, &parts, quantified(walk, part));
	}
	return known_end(&walk->scratch, &parts);
}

/* NOLINTNEXTLINE(misc-no-recursion) as above */
static struct known alternation(struct walk *walk)
{
	struct known all = row(walk);
	while (peek(walk, 0) == '|') {
		walk->at++;
		struct known branch = row(walk);
		all = known_either(&walk->scratch, all, branch);
	}
	return all;
}

uint32_t literals_tree(struct literals *literals, const char *regex, size_t bytes)
{
	if (literals->failed)
		return TREE_ANY;
	struct walk walk = {.at = regex, .end = regex + bytes};
	walk.scratch = (struct known_scratch){.memory = malloc(KNOWN_SCRATCH_BYTES), .literals = literals};
	if (!walk.scratch.memory) {
		literals->failed = true;
		return TREE_ANY;
	}
	struct known whole = alternation(&walk);
	bool complete = walk.at == walk.end && !walk.lost;
	uint32_t tree = complete ? known_tree(&walk.scratch, whole) : TREE_ANY;
	free(walk.scratch.memory);
	return literals->failed ? TREE_ANY : tree;
}
