/* What a regular expression cannot match without: an and/or tree of literals, worked out by a walk
 * over its syntax.
 *
 *     ; {0,2}(Acer |ACER )([^;/]{1,100}?)(?: Build|\) AppleWebKit)
 *
 *                 and
 *              ,--' '----.
 *           ";acer "      or
 *                     ,---' '---.
 *                  " build"   ") applewebkit"
 *
 * The tree is true of every text that the expression matches, in whichever case: literals are
 * looked for without regard to ASCII case, so they are folded here and (?i) changes nothing. The
 * reverse does not hold; the tree only says which expressions are worth a try.
 *
 * The walk (as RE2's FilteredRE2 does it: R. Cox, Regular Expression Matching with a Trigram Index,
 * 2012) gives for each part either the exact set of texts that it matches, while that is small, or
 * a tree:
 *
 *     abc           {abc}                             [ab]c       {ac, bc}
 *     (a|b)c        {ac, bc}                          (a|)c       {c, ac}
 *     a {0,2}b      {ab, "a b", "a  b"}               \d . [^x]   nothing known
 *     abc.*def      and(abc, def)                     (abc|d.*e)  or(abc, and(d, e))
 *     ^ $ \b (?=x)  {""}: as wide as nothing          x* x?       nothing known, or {"", x}
 *
 * It knows the syntax of PCRE2 10.42 as bytes, without the options EXTENDED and UTF. If it meets
 * something that it does not know for certain (back references, conditions, \Q, \p, verbs, (?x)
 * ...), nothing is known of the whole expression, which must always be tried.
 */
#ifndef ENRICH_AGENT_LITERALS_H
#define ENRICH_AGENT_LITERALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LITERAL_MIN 2u  /* bytes; a shorter one says too little and counts as nothing known */
#define LITERAL_MAX 48u /* bytes; longer texts are cut in two */

#define TREE_ANY 0u /* the node "nothing known", true of every text */

enum tree_kind { TREE_TRUE, TREE_LITERAL, TREE_AND, TREE_OR };

struct tree_node {
	uint8_t kind; /* enum tree_kind */
	uint32_t n;   /* children, 2 or more; of a literal and of TREE_ANY 0 */
	uint32_t at;  /* the first child's place in child[]; of a literal its index */
};

struct literal {
	uint32_t at, bytes; /* in text: folded, not zero-terminated */
};

/* All literals and trees of a set of expressions; each literal is there once. */
struct literals {
	struct literal *literal;
	struct tree_node *node;
	uint32_t *child; /* indexes of nodes */
	char *text;
	uint32_t n_literals, n_nodes, n_children, n_text;
	/* own */
	uint32_t room_literals, room_nodes, room_children, room_text;
	uint32_t *table; /* literals by hash: index + 1, 0: empty */
	uint32_t table_size;
	bool failed; /* out of memory: nothing is added any more */
};

/* Returns 0 or -ENOMEM. */
int literals_init(struct literals *literals);
void literals_fini(struct literals *literals);

/* The index of a literal (any case, 1 byte or more), which is added when it is not there. Out of
 * memory: sets failed, returns 0. */
uint32_t literals_add(struct literals *literals, const char *text, size_t bytes);

/* Works out the tree of one expression and returns its node, which may be TREE_ANY. Out of memory:
 * sets failed, returns TREE_ANY. */
uint32_t literals_tree(struct literals *literals, const char *regex, size_t bytes);

/* Whether the tree is true when the literals in `there` (a bit set by index) are. */
bool literals_true(const struct literals *literals, uint32_t tree, const uint64_t *there);

/* Writes the tree as text, "and(\"; acer \",or(\" build\",...))" or "any", cut at size. Returns the
 * whole length, as snprintf does. */
size_t literals_print(const struct literals *literals, uint32_t tree, char *out, size_t size);

/* For the walk: joins trees; TREE_ANY among them counts for what it is. */
uint32_t literals_and(struct literals *literals, const uint32_t *tree, uint32_t n);
uint32_t literals_or(struct literals *literals, const uint32_t *tree, uint32_t n);
uint32_t literals_leaf(struct literals *literals, const char *text, size_t bytes);

#endif
