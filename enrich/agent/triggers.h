/* Which literal wakes which rule. A rule cannot match unless one of its triggers is in the text:
 *
 *     trigger of a literal   the literal
 *     of an `or`             those of all children
 *     of an `and`            those of the child whose triggers are rarest
 *
 * so a text costs as much as the rare literals that are in it, not as much as there are rules. How
 * rare a literal is, is guessed from what the rules themselves say: one that many rules name ("
 * build") is common in agents, and a short one turns up by chance.
 */
#ifndef ENRICH_AGENT_TRIGGERS_H
#define ENRICH_AGENT_TRIGGERS_H

#include "enrich/agent/literals.h"

struct triggers {
	uint32_t *first; /* n_literals + 1: where each literal's rules begin in rule[] */
	uint32_t *rule;
	bool *used; /* n_literals: named by some tree */
};

/* tree: of each of n rules. Returns 0 or -ENOMEM. */
int triggers_init(struct triggers *triggers, const struct literals *literals, const uint32_t *tree,
                  uint32_t n);
void triggers_fini(struct triggers *triggers);

#endif
