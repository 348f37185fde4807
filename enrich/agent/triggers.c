#include "enrich/agent/triggers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct weights {
	const struct literals *literals;
	uint32_t *mentions; /* by literal: rules that name it */
	uint32_t *last;     /* by literal: the last of them, + 1 */
};

/* NOLINTNEXTLINE(misc-no-recursion) as deep as groups nest */
static void mention(const struct weights *weights, uint32_t tree, uint32_t rule)
{
	const struct tree_node *node = &weights->literals->node[tree];
	if (node->kind == TREE_LITERAL && weights->last[node->at] != rule + 1) {
		weights->last[node->at] = rule + 1;
		weights->mentions[node->at]++;
	}
	for (uint32_t i = 0; i < node->n; i++)
		mention(weights, weights->literals->child[node->at + i], rule);
}

/* How often a literal is thought to turn up, in no unit. */
static double frequency(const struct weights *weights, uint32_t literal)
{
	uint32_t bytes = weights->literals->literal[literal].bytes;
	double by_chance = 64.0;
	for (uint32_t i = 0; i < bytes && i < 12; i++)
		by_chance /= 4;
	return weights->mentions[literal] * weights->mentions[literal] + by_chance;
}

/* NOLINTNEXTLINE(misc-no-recursion) as above */
static double cost(const struct weights *weights, uint32_t tree, uint32_t *cheapest)
{
	const struct tree_node *node = &weights->literals->node[tree];
	if (node->kind == TREE_LITERAL)
		return frequency(weights, node->at);
	double all = 0, least = 0;
	uint32_t ignored;
	for (uint32_t i = 0; i < node->n; i++) {
		uint32_t child = weights->literals->child[node->at + i];
		double here = cost(weights, child, &ignored);
		all += here;
		if (i == 0 || here < least) {
			least = here;
			*cheapest = child;
		}
	}
	return node->kind == TREE_AND ? least : all;
}

/* Counts the triggers of a rule (rule NULL) or files the rule under them. */
/* NOLINTNEXTLINE(misc-no-recursion) as above */
static void file(const struct weights *weights, uint32_t tree, uint32_t *at, uint32_t *rules, uint32_t rule)
{
	const struct tree_node *node = &weights->literals->node[tree];
	uint32_t cheapest = tree;
	if (node->kind == TREE_AND) {
		cost(weights, tree, &cheapest);
		file(weights, cheapest, at, rules, rule);
	} else if (node->kind == TREE_OR) {
		for (uint32_t i = 0; i < node->n; i++)
			file(weights, weights->literals->child[node->at + i], at, rules, rule);
	} else if (node->kind == TREE_LITERAL) {
		if (rules)
			rules[at[node->at]] = rule;
		at[node->at]++;
	}
}

/* first[i] becomes where literal i begins, from how many it has; rule[] is filled. */
static int index_rules(struct triggers *triggers, const struct weights *weights, const uint32_t *tree,
                       uint32_t n)
{
	uint32_t n_literals = weights->literals->n_literals;
	uint32_t *at = calloc(n_literals + 1, sizeof *at);
	if (!at)
		return -ENOMEM;
	for (uint32_t rule = 0; rule < n; rule++)
		file(weights, tree[rule], at, NULL, rule);
	for (uint32_t i = 0; i < n_literals; i++)
		triggers->first[i + 1] = triggers->first[i] + at[i];
	memcpy(at, triggers->first, (n_literals + 1) * sizeof *at);
	triggers->rule = calloc(triggers->first[n_literals] + 1, sizeof *triggers->rule);
	for (uint32_t rule = 0; rule < n && triggers->rule; rule++)
		file(weights, tree[rule], at, triggers->rule, rule);
	free(at);
	return triggers->rule ? 0 : -ENOMEM;
}

int triggers_init(struct triggers *triggers, const struct literals *literals, const uint32_t *tree,
                  uint32_t n)
{
	struct weights weights = {.literals = literals};
	size_t room = literals->n_literals + 1;
	*triggers = (struct triggers){.first = calloc(room, sizeof *triggers->first),
	                              .used = calloc(room, sizeof *triggers->used)};
	weights.mentions = calloc(room, sizeof *weights.mentions);
	weights.last = calloc(room, sizeof *weights.last);
	int error = triggers->first && triggers->used && weights.mentions && weights.last ? 0 : -ENOMEM;
	if (error == 0) {
		for (uint32_t rule = 0; rule < n; rule++)
			mention(&weights, tree[rule], rule);
		for (uint32_t i = 0; i < literals->n_literals; i++)
			triggers->used[i] = weights.mentions[i] > 0;
		error = index_rules(triggers, &weights, tree, n);
	}
	free(weights.mentions);
	free(weights.last);
	if (error != 0)
		triggers_fini(triggers);
	return error;
}

void triggers_fini(struct triggers *triggers)
{
	free(triggers->first);
	free(triggers->rule);
	free(triggers->used);
	*triggers = (struct triggers){.first = NULL};
}
