/* Which rule of each list is the first that matches a text: one pass for the literals, then the few
 * expressions that are left, in order.
 *
 *     text --> vectorscan: all literals of all rules, caseless, one pass --> a bit for each literal that is there
 *                                                                         '-> marks (literals that the caller asks for)
 *      a rule is woken by a literal that it cannot match without (one of a few, the rarest of its tree)
 *          --> its tree is evaluated: false: it cannot match
 *          --> its expression, by PCRE2's JIT: the first of the list that matches wins
 *
 * Rules without a known literal are always awake. Expressions match bytes (\d is ASCII,
 * a character of several bytes is several); `$` is the end alone. Nothing is allocated after
 * matcher_create.
 *
 * An expression that takes more than MATCHER_STEPS is given up and counts as not matching, so that
 * no text can stop the process. counts.given_up says how often that happened.
 */
#ifndef ENRICH_AGENT_MATCHER_H
#define ENRICH_AGENT_MATCHER_H

#include "enrich/agent/rules.h"

#define MATCHER_GROUPS 10u /* the whole match and $1 to $9 */
#define MATCHER_STEPS \
	50000u /* PCRE2's match limit; uap-core's rules need less than 20,000 on its own test agents */

struct matcher;

struct matcher_counts {
	uint64_t passes;   /* texts */
	uint64_t trees;    /* trees evaluated */
	uint64_t confirms; /* expressions run */
	uint64_t given_up; /* of these, stopped at MATCHER_STEPS or the JIT stack's end */
};

/* What was compiled. */
struct matcher_size {
	uint32_t rules, always; /* rules; of these, tried on every text */
	uint32_t literals;      /* marks included */
	uint64_t database_bytes, code_bytes;
};

/* The match of a rule in the text of the last pass. */
struct matcher_match {
	const struct rule *rule; /* NULL: none matches */
	unsigned groups;         /* groups that have a place; those beyond are unset */
	const size_t
	        *at; /* at[2 * g] .. at[2 * g + 1]: group g; SIZE_MAX: unset. Good until the next call. */
};

/* Compiles the rules, which must stay as long as the matcher, and n_marks further literals to look
 * for, no two of them the same. Returns NULL with one line in error: which rule, on which line, is
 * no expression and why; or that there is no memory. One thread at a time may use a matcher. */
struct matcher *matcher_create(const struct rules *rules, const char *const *marks, uint32_t n_marks,
                               char error[RULES_ERROR_BYTES]);

void matcher_destroy(struct matcher *matcher);

/* Looks for the literals. The text is kept by reference until the next pass; expressions may read a
 * few bytes beyond it (agent.c, READ_BEYOND), of which no answer depends. */
void matcher_pass(struct matcher *matcher, const char *text, size_t bytes);

/* The marks in the text of the last pass, in any case: each once, in no order, good until the next
 * pass. Returns their number. */
uint32_t matcher_marks(const struct matcher *matcher, const uint32_t **marks);

/* The first rule of the list that matches. */
struct matcher_match matcher_first(struct matcher *matcher, enum rule_list list);

/* For tests and explanations: false: every rule is tried on every text, until set again. The
 * answers are the same, if the trees are right. */
void matcher_set_filter(struct matcher *matcher, bool filter);

/* Whether the rule's tree is true of the text of the last pass, and whether it was woken; whether
 * its expression matches. */
bool matcher_admits(const struct matcher *matcher, uint32_t rule);
bool matcher_confirms(struct matcher *matcher, uint32_t rule);

/* The rule's tree as text, as literals_print does. */
size_t matcher_tree_text(const struct matcher *matcher, uint32_t rule, char *out, size_t size);

const struct matcher_counts *matcher_counts(const struct matcher *matcher);
struct matcher_size matcher_size(const struct matcher *matcher);

#endif
