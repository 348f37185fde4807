/* What is known of one part of an expression, for the walk of literals.h.
 *
 *     exact   the part matches the texts of `set` and nothing else (folded): "a|b" {a, b}, "^" {""}
 *     else    whatever it matches satisfies `tree`; TREE_ANY: nothing known
 *
 * Sets are in a scratch region of fixed size, which each expression uses from its start. When it is
 * full nothing more is known, which is always right.
 */
#ifndef ENRICH_AGENT_KNOWN_H
#define ENRICH_AGENT_KNOWN_H

#include "enrich/agent/literals.h"

#define KNOWN_SET_MAX       64u /* texts in an exact set */
#define KNOWN_SCRATCH_BYTES (1u << 20)

struct known_text {
	const char *data;
	uint32_t bytes;
};

struct known {
	bool exact;
	uint32_t n; /* texts; 1 or more when exact */
	const struct known_text *set;
	uint32_t tree; /* when not exact */
};

struct known_scratch {
	char *memory; /* KNOWN_SCRATCH_BYTES */
	size_t used;
	struct literals *literals; /* where trees are built */
};

struct known known_nothing(void);

/* {""} */
struct known known_empty(void);

/* One byte of a few: `bit` has a bit for each byte value, folded. More than `most` of them, or
 * none: nothing known. */
struct known known_bytes(struct known_scratch *scratch, const uint64_t bit[4], uint32_t most);

/* One byte, folded here. */
struct known known_byte(struct known_scratch *scratch, char byte);

/* One or the other. */
struct known known_either(struct known_scratch *scratch, struct known a, struct known b);

/* From least to most times in a row; most UINT32_MAX: any number. */
struct known known_repeat(struct known_scratch *scratch, struct known part, uint32_t least, uint32_t most);

/* Parts in a row, one by one: what is exact so far is kept apart from what is settled.
 *
 *     struct known_row row = known_row();
 *     each part:  known_add(scratch, &row, part);
 *     known_end(scratch, &row)
 */
struct known_row {
	struct known exact; /* the parts since the last inexact one */
	uint32_t tree;      /* of what was before them */
	bool settled;       /* there was something before them */
};

struct known_row known_row(void);
void known_add(struct known_scratch *scratch, struct known_row *row, struct known part);
struct known known_end(struct known_scratch *scratch, const struct known_row *row);

/* The tree of a part. */
uint32_t known_tree(struct known_scratch *scratch, struct known part);

#endif
