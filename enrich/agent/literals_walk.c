/* The walk over an expression's syntax, as pcre2pattern(3) of 10.42 has it. One rule throughout:
 * give up when in doubt. */
#include <stdlib.h>
#include <string.h>

#include "enrich/agent/known.h"

#define DEPTH_MAX 100u /* groups in groups */
#define CLASS_MAX 4u   /* different bytes of a class that are worth telling apart */

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

/* The byte at `ahead`, 0 behind the end (where a zero byte cannot be told apart, nor need be). */
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

/* The value of a hexadecimal digit, or -1. */
static int hex_digit(char byte)
{
	if (is_digit(byte))
		return byte - '0';
	byte |= 0x20;
	return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
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
	int high = hex_digit(peek(walk, 1)), low = hex_digit(peek(walk, 2));
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

/* Passes what opens a group behind "(?". False: beyond this walk. */
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

/* Passes "{n}", "{n,}" or "{n,m}" behind the brace. Some of what is not one of them is a literal,
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
