#include "enrich/agent/matcher.h"

#include <errno.h>
#include <hs/hs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "enrich/agent/literals.h"

#define JIT_STACK_MIN (32u << 10)
#define JIT_STACK_MAX (512u << 10)

#define WORDS(bits) (((bits) + 63) / 64)

/* Which literal wakes which rule. A rule cannot match unless one of its triggers is in the text:
 *
 *     trigger of a literal   the literal
 *     of an `or`             those of all children
 *     of an `and`            those of the child with the rarest triggers
 *
 * so a text costs as much as the rare literals that are in it, not as much as there are rules. How
 * rare a literal is, is guessed from what the rules themselves say: one that many rules name ("
 * build") is common in agents, and a short one turns up by chance.
 */
struct triggers {
	uint32_t *first; /* n_literals + 1: where each literal's rules begin in rule[] */
	uint32_t *rule;
	bool *used; /* n_literals: named by some tree */
};

struct matcher {
	const struct rules *rules;
	/* compiled */
	struct literals literals;
	struct triggers triggers;
	uint32_t *tree;    /* by rule */
	uint32_t *mark;    /* literal of each mark */
	uint32_t *mark_of; /* mark of each literal; n_marks: it is none */
	uint32_t n_marks;
	pcre2_code **code; /* by rule */
	bool jit;          /* all of them have machine code */
	hs_database_t *database;
	uint64_t *always; /* rules of which nothing is known */
	/* of one text */
	const char *text;
	size_t bytes;
	uint64_t *there; /* literals */
	uint64_t *awake; /* rules */
	uint32_t *seen;  /* marks */
	uint32_t n_seen;
	/* tools */
	bool filter;
	hs_scratch_t *scratch;
	pcre2_match_data *data;
	pcre2_match_context *context;
	pcre2_jit_stack *stack;
	struct matcher_counts counts;
};

/* ---- triggers ---- */

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

static void triggers_fini(struct triggers *triggers)
{
	free(triggers->first);
	free(triggers->rule);
	free(triggers->used);
	*triggers = (struct triggers){.first = NULL};
}

/* tree: of each of n rules. Returns 0 or -ENOMEM. */
static int triggers_init(struct triggers *triggers, const struct literals *literals, const uint32_t *tree,
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

/* ---- compiling ---- */

static const char *name_of(const struct rules *rules)
{
	return rules->path ? rules->path : "no rules";
}

static bool fail_rule(const struct rules *rules, const struct rule *rule, int code, size_t offset,
                      char *error)
{
	PCRE2_UCHAR text[128];
	pcre2_get_error_message(code, text, sizeof text);
	snprintf(error, RULES_ERROR_BYTES, "%s:%u: %s rule %u: regex: at byte %zu: %s", rules->path,
	         rule->line, rules_list_name(rule->list), rule->number, offset, (const char *)text);
	return false;
}

static bool compile_expressions(struct matcher *matcher, char *error)
{
	const struct rules *rules = matcher->rules;
	matcher->jit = true;
	for (uint32_t i = 0; i < rules->n; i++) {
		const struct rule *rule = &rules->rule[i];
		int code;
		PCRE2_SIZE offset;
		uint32_t options = PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_UTF | PCRE2_NEVER_BACKSLASH_C |
		                   (rule->caseless ? PCRE2_CASELESS : 0);
		matcher->code[i] = pcre2_compile((PCRE2_SPTR)rule->regex, PCRE2_ZERO_TERMINATED, options,
		                                 &code, &offset, NULL);
		if (!matcher->code[i])
			return fail_rule(rules, rule, code, offset, error);
		/* Where memory may not be made executable there is no JIT: slower, the same
		 * answers. */
		if (pcre2_jit_compile(matcher->code[i], PCRE2_JIT_COMPLETE) != 0)
			matcher->jit = false;
	}
	return true;
}

/* A mark that is there twice counts the second time only. */
static bool index_marks(struct matcher *matcher)
{
	uint32_t n = matcher->literals.n_literals;
	matcher->mark_of = malloc((n + 1) * sizeof *matcher->mark_of);
	for (uint32_t i = 0; matcher->mark_of && i < n; i++)
		matcher->mark_of[i] = matcher->n_marks;
	for (uint32_t i = 0; matcher->mark_of && i < matcher->n_marks; i++)
		matcher->mark_of[matcher->mark[i]] = i;
	return matcher->mark_of;
}

static bool grow_trees(struct matcher *matcher, const char *const *marks)
{
	const struct rules *rules = matcher->rules;
	if (literals_init(&matcher->literals) != 0)
		return false;
	for (uint32_t i = 0; i < rules->n; i++) {
		const char *regex = rules->rule[i].regex;
		matcher->tree[i] = literals_tree(&matcher->literals, regex, strlen(regex));
		if (matcher->tree[i] == TREE_ANY)
			matcher->always[i / 64] |= 1ull << (i % 64);
	}
	for (uint32_t i = 0; i < matcher->n_marks; i++)
		matcher->mark[i] = literals_add(&matcher->literals, marks[i], strlen(marks[i]));
	return !matcher->literals.failed && index_marks(matcher) &&
	       triggers_init(&matcher->triggers, &matcher->literals, matcher->tree, rules->n) == 0;
}

/* The tables that hs_compile_lit_multi wants. */
struct table {
	const char **text;
	size_t *bytes;
	unsigned *flags, *id;
	unsigned n;
};

static void fill_table(const struct matcher *matcher, struct table *table)
{
	const struct literals *literals = &matcher->literals;
	for (uint32_t i = 0; i < matcher->n_marks; i++)
		matcher->triggers.used[matcher->mark[i]] = true;
	for (uint32_t i = 0; i < literals->n_literals; i++) {
		if (!matcher->triggers.used[i])
			continue; /* of a part that came to nothing */
		table->text[table->n] = literals->text + literals->literal[i].at;
		table->bytes[table->n] = literals->literal[i].bytes;
		table->flags[table->n] = HS_FLAG_CASELESS;
		table->id[table->n++] = i;
	}
}

static bool compile_literals(struct matcher *matcher, char *error)
{
	size_t n = matcher->literals.n_literals;
	struct table table = {.text = calloc(n + 1, sizeof *table.text),
	                      .bytes = calloc(n + 1, sizeof *table.bytes),
	                      .flags = calloc(n + 1, sizeof *table.flags),
	                      .id = calloc(n + 1, sizeof *table.id)};
	hs_compile_error_t *problem = NULL;
	hs_error_t result = HS_NOMEM;
	if (table.text && table.bytes && table.flags && table.id) {
		fill_table(matcher, &table);
		result = table.n == 0 ? HS_SUCCESS
		                      : hs_compile_lit_multi(table.text, table.flags, table.id, table.bytes,
		                                             table.n, HS_MODE_BLOCK, NULL, &matcher->database,
		                                             &problem);
	}
	if (result == HS_SUCCESS && matcher->database)
		result = hs_alloc_scratch(matcher->database, &matcher->scratch);
	if (result != HS_SUCCESS)
		snprintf(error, RULES_ERROR_BYTES, "%s: the literals of its rules cannot be searched: %s",
		         name_of(matcher->rules), problem ? problem->message : "vectorscan refused");
	hs_free_compile_error(problem);
	free(table.text);
	free(table.bytes);
	free(table.flags);
	free(table.id);
	return result == HS_SUCCESS;
}

static bool take_tools(struct matcher *matcher)
{
	size_t words = WORDS(matcher->literals.n_literals) + 1;
	matcher->there = calloc(words, sizeof *matcher->there);
	matcher->data = pcre2_match_data_create(MATCHER_GROUPS, NULL);
	matcher->context = pcre2_match_context_create(NULL);
	matcher->stack = pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, NULL);
	if (!matcher->there || !matcher->data || !matcher->context)
		return false;
	if (matcher->stack)
		pcre2_jit_stack_assign(matcher->context, NULL, matcher->stack);
	pcre2_set_match_limit(matcher->context, MATCHER_STEPS);
	matcher->filter = true;
	return true;
}

struct matcher *matcher_create(const struct rules *rules, const char *const *marks, uint32_t n_marks,
                               char error[RULES_ERROR_BYTES])
{
	snprintf(error, RULES_ERROR_BYTES, "%s: out of memory", name_of(rules));
	struct matcher *matcher = calloc(1, sizeof *matcher);
	if (!matcher)
		return NULL;
	matcher->rules = rules;
	matcher->n_marks = n_marks;
	matcher->tree = calloc(rules->n + 1, sizeof *matcher->tree);
	matcher->code = calloc(rules->n + 1, sizeof(pcre2_code *));
	matcher->mark = calloc(n_marks + 1, sizeof *matcher->mark);
	matcher->seen = calloc(n_marks + 1, sizeof *matcher->seen);
	matcher->always = calloc(WORDS(rules->n) + 1, sizeof *matcher->always);
	matcher->awake = calloc(WORDS(rules->n) + 1, sizeof *matcher->awake);
	if (matcher->tree && matcher->code && matcher->mark && matcher->seen && matcher->always &&
	    matcher->awake && compile_expressions(matcher, error) && grow_trees(matcher, marks) &&
	    compile_literals(matcher, error) && take_tools(matcher)) {
		error[0] = 0;
		return matcher;
	}
	matcher_destroy(matcher);
	return NULL;
}

void matcher_destroy(struct matcher *matcher)
{
	if (!matcher)
		return;
	for (uint32_t i = 0; matcher->code && i < matcher->rules->n; i++)
		pcre2_code_free(matcher->code[i]);
	hs_free_scratch(matcher->scratch);
	hs_free_database(matcher->database);
	pcre2_match_data_free(matcher->data);
	pcre2_match_context_free(matcher->context);
	pcre2_jit_stack_free(matcher->stack);
	triggers_fini(&matcher->triggers);
	literals_fini(&matcher->literals);
	free(matcher->tree);
	free(matcher->code);
	free(matcher->mark);
	free(matcher->mark_of);
	free(matcher->seen);
	free(matcher->always);
	free(matcher->awake);
	free(matcher->there);
	free(matcher);
}

/* ---- a text ---- */

static int found(unsigned id, unsigned long long from, unsigned long long to, unsigned flags, void *user)
{
	(void)from;
	(void)to;
	(void)flags;
	struct matcher *matcher = user;
	uint64_t bit = 1ull << (id % 64);
	if (matcher->there[id / 64] & bit)
		return 0;
	matcher->there[id / 64] |= bit;
	if (matcher->mark_of[id] < matcher->n_marks)
		matcher->seen[matcher->n_seen++] = matcher->mark_of[id];
	const struct triggers *triggers = &matcher->triggers;
	for (uint32_t i = triggers->first[id]; i < triggers->first[id + 1]; i++)
		matcher->awake[triggers->rule[i] / 64] |= 1ull << (triggers->rule[i] % 64);
	return 0;
}

void matcher_pass(struct matcher *matcher, const char *text, size_t bytes)
{
	matcher->text = text;
	matcher->bytes = bytes;
	matcher->n_seen = 0;
	matcher->counts.passes++;
	memset(matcher->there, 0, WORDS(matcher->literals.n_literals) * sizeof *matcher->there);
	memcpy(matcher->awake, matcher->always, WORDS(matcher->rules->n) * sizeof *matcher->awake);
	if (!matcher->database)
		return;
	/* What it can refuse are its arguments: that would be our own mistake. */
	if (hs_scan(matcher->database, text, (unsigned)bytes, 0, matcher->scratch, found, matcher) !=
	    HS_SUCCESS)
		abort();
}

uint32_t matcher_marks(const struct matcher *matcher, const uint32_t **marks)
{
	*marks = matcher->seen;
	return matcher->n_seen;
}

/* PCRE2's answer: 1 or more for a match. */
static int run(struct matcher *matcher, uint32_t rule)
{
	PCRE2_SPTR text = (PCRE2_SPTR)matcher->text;
	matcher->counts.confirms++;
	int result = matcher->jit ? pcre2_jit_match(matcher->code[rule], text, matcher->bytes, 0, 0,
	                                            matcher->data, matcher->context)
	                          : pcre2_match(matcher->code[rule], text, matcher->bytes, 0, 0,
	                                        matcher->data, matcher->context);
	if (result < 0 && result != PCRE2_ERROR_NOMATCH)
		matcher->counts.given_up++;
	/* 0: it has more groups than there is room for, of which the first are set. */
	return result == 0 ? (int)MATCHER_GROUPS : result;
}

/* Bits of word `at` for the rules from first to last - 1. */
static uint64_t within(uint32_t at, uint32_t first, uint32_t last)
{
	uint64_t bits = UINT64_MAX;
	if (at == first / 64)
		bits &= UINT64_MAX << (first % 64);
	if (at == last / 64)
		bits &= (1ull << (last % 64)) - 1;
	return bits;
}

struct matcher_match matcher_first(struct matcher *matcher, enum rule_list list)
{
	uint32_t first = matcher->rules->first[list], last = matcher->rules->first[list + 1];
	for (uint32_t word = first / 64; word < WORDS(last); word++) {
		uint64_t bits =
		        (matcher->filter ? matcher->awake[word] : UINT64_MAX) & within(word, first, last);
		for (; bits != 0; bits &= bits - 1) {
			uint32_t rule = word * 64 + (uint32_t)__builtin_ctzll(bits);
			matcher->counts.trees++;
			if (matcher->filter &&
			    !literals_true(&matcher->literals, matcher->tree[rule], matcher->there))
				continue;
			int groups = run(matcher, rule);
			if (groups > 0)
				return (struct matcher_match){.rule = &matcher->rules->rule[rule],
				                              .groups = (unsigned)groups,
				                              .at = pcre2_get_ovector_pointer(matcher->data)};
		}
	}
	return (struct matcher_match){.rule = NULL};
}

/* ---- for tests and explanations ---- */

void matcher_set_filter(struct matcher *matcher, bool filter)
{
	matcher->filter = filter;
}

bool matcher_admits(const struct matcher *matcher, uint32_t rule)
{
	return matcher->awake[rule / 64] >> (rule % 64) & 1 &&
	       literals_true(&matcher->literals, matcher->tree[rule], matcher->there);
}

bool matcher_confirms(struct matcher *matcher, uint32_t rule)
{
	return run(matcher, rule) > 0;
}

size_t matcher_tree_text(const struct matcher *matcher, uint32_t rule, char *out, size_t size)
{
	return literals_print(&matcher->literals, matcher->tree[rule], out, size);
}

const struct matcher_counts *matcher_counts(const struct matcher *matcher)
{
	return &matcher->counts;
}

struct matcher_size matcher_size(const struct matcher *matcher)
{
	struct matcher_size size = {.rules = matcher->rules->n};
	for (uint32_t i = 0; i < WORDS(size.rules); i++)
		size.always += (uint32_t)__builtin_popcountll(matcher->always[i]);
	for (uint32_t i = 0; i < matcher->literals.n_literals; i++)
		size.literals += matcher->triggers.used[i];
	size_t bytes = 0;
	if (matcher->database && hs_database_size(matcher->database, &bytes) == HS_SUCCESS)
		size.database_bytes = bytes;
	for (uint32_t i = 0; i < size.rules; i++) {
		size_t code = 0, machine = 0;
		pcre2_pattern_info(matcher->code[i], PCRE2_INFO_SIZE, &code);
		pcre2_pattern_info(matcher->code[i], PCRE2_INFO_JITSIZE, &machine);
		size.code_bytes += code + machine;
	}
	return size;
}
