/* The literals that an expression requires: what is worked out, and that it is never wrong. PCRE2
 * is the judge: a text that an expression matches must satisfy its tree. */
#include "enrich/agent/literals.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "enrich/agent/matcher.h"
#include "tests/fixture/agent_cases.h"
#include "tests/fixture/draw.h"

#define RANDOM_EXPRESSIONS 20000u
#define TEXTS_EACH         12u
#define RANDOM_AGENTS      2000u
#define N(array)           (sizeof(array) / sizeof *(array))

static void assert_tree(const char *regex, const char *expected)
{
	struct literals literals;
	char text[4096];
	assert_int_equal(literals_init(&literals), 0);
	uint32_t tree = literals_tree(&literals, regex, strlen(regex));
	literals_print(&literals, tree, text, sizeof text);
	if (strcmp(text, expected) != 0)
		fail_msg("%s: %s, expected %s", regex, text, expected);
	literals_fini(&literals);
}

struct expectation {
	const char *regex, *tree;
};

static void assert_trees(const struct expectation *cases, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_tree(cases[i].regex, cases[i].tree);
}

static void rows_alternatives_and_classes_give_whole_texts(void **state)
{
	(void)state;
	static const struct expectation cases[] = {
	        {"Firefox", "\"firefox\""},
	        {"^Firefox$", "\"firefox\""},
	        {"\\bFire\\.fox\\/", "\"fire.fox/\""},
	        {"(ab|cd)ef", "or(\"abef\",\"cdef\")"},
	        {"ab|cd", "or(\"ab\",\"cd\")"},
	        {"ab|AB", "\"ab\""},
	        {"[Aa]panda", "\"apanda\""},
	        {"[AB]1", "or(\"a1\",\"b1\")"},
	        {"[a-c]x", "or(\"ax\",\"bx\",\"cx\")"},
	        {"[]x]ab", "or(\"]ab\",\"xab\")"},
	        {"[a-]b", "or(\"-b\",\"ab\")"},
	        {"[\\]\\\\]a", "or(\"\\a\",\"]a\")"},
	        {"\\x41\\x42", "\"ab\""},
	        {"(?:ab)(?i:CD)(?<name>ef)(?P<n>gh)(?'q'ij)(?>kl)", "\"abcdefghijkl\""},
	        {"(?i)ab", "\"ab\""},
	        {"build| build/", "\"build\""},
	        {"a{x}b", "\"a{x}b\""},
	};
	assert_trees(cases, N(cases));
}

static void optional_parts_are_followed_while_they_are_few(void **state)
{
	(void)state;
	static const struct expectation cases[] = {
	        {"ab?c", "or(\"ac\",\"abc\")"},
	        {"ab??c", "or(\"ac\",\"abc\")"},
	        {"a {0,2}b", "or(\"ab\",\"a b\",\"a  b\")"},
	        {"(?:x|)ab", "\"ab\""},
	        {"c(?:x|)ab", "or(\"cxab\",\"cab\")"},
	        {"(?:ab){2}", "\"abab\""},
	        {"(?:ab){2}{2}", "\"abababab\""},
	        {"ab{0}cd", "\"acd\""},
	        {"ab+cd", "\"cd\""},
	        {"(?:ab)+", "\"ab\""},
	        {"(?:ab){3,}", "\"ab\""},
	        {"(?:ab){2,900}", "\"ab\""},
	        {"abc*de", "and(\"ab\",\"de\")"},
	        {"(?:abc)*+de", "\"de\""},
	};
	assert_trees(cases, N(cases));
}

static void what_matches_too_much_splits_a_row(void **state)
{
	(void)state;
	static const struct expectation cases[] = {
	        {"abc.*def", "and(\"abc\",\"def\")"},
	        {"abc\\d+def\\sghi", "and(\"abc\",\"def\",\"ghi\")"},
	        {"abc[^x]def", "and(\"abc\",\"def\")"},
	        {"abc[a-z]def", "and(\"abc\",\"def\")"},
	        {"abc[\\d.]def", "and(\"abc\",\"def\")"},
	        {"abc|d.*ef|gh.*ij", "or(\"abc\",\"ef\",and(\"gh\",\"ij\"))"},
	        {"(ab.*cd)ef", "and(\"ab\",\"cd\",\"ef\")"},
	        {"(ab|cd).*", "or(\"ab\",\"cd\")"},
	        {"(ab|c).*", "any"},
	        {"(ab|.).*cd", "\"cd\""},
	        {"ab(?=cd)ef", "\"abef\""},
	        {"ab(?!cd)ef", "\"abef\""},
	        {"(?<=zz)ab(?<!yy)ef", "\"abef\""},
	        {"(?=cd)", "any"},
	        {"; {0,2}(Acer |ACER )([^;/]{1,100}?)(?: Build|\\) AppleWebKit)",
	         "and(or(\";acer \",\"; acer \",\";  acer \"),or(\" build\",\") applewebkit\"))"},
	};
	assert_trees(cases, N(cases));
}

static void nothing_is_known_of_what_is_not_understood(void **state)
{
	(void)state;
	static const char *const cases[] = {
	        "",
	        "a",
	        ".*",
	        "abc|",
	        "\\d+",
	        "(abc)?",
	        "abc\\1",
	        "\\Qabc\\E",
	        "\\p{L}abc",
	        "(?x)a b c",
	        "(?(1)abc|def)",
	        "abc(?R)",
	        "(*UTF)abc",
	        "abc(?#def)",
	        "[[:alpha:]]abc",
	        "abc\\Kdef",
	        "abc\\x{41}",
	        "[\\p{L}]abc",
	        "abc{,3}d",
	        "abc{1, 2}",
	        "abc\\g{1}",
	        "abc\\cA",
	        "(abc",
	        "abc)",
	        "[abc",
	        "abc\\",
	        "*abc",
	        "(?P=n)abc",
	        "(?|abc|(?C1)d)",
	        "a\\Xbc",
	        "(?^i)abc",
	        "[a\\Q]\\E]bc",
	        "(?*abc)def",
	        "(?<abc",
	        "\\u0041bc",
	        "abc{3,2}",
	};
	for (size_t i = 0; i < N(cases); i++)
		assert_tree(cases[i], "any");
}

static void sets_and_texts_that_grow_too_large_are_cut(void **state)
{
	(void)state;
	/* 4^4 texts; 60 bytes */
	assert_tree(
	        "[abcd][abcd][abcd][abcd]xy",
	        "and(or(\"aaa\",\"aab\",\"aac\",\"aad\",\"aba\",\"abb\",\"abc\",\"abd\",\"aca\",\"acb\",\"acc\",\"acd\",\"ada\",\"adb\",\"adc\",\"add\",\"baa\","
	        "\"bab\",\"bac\",\"bad\",\"bba\",\"bbb\",\"bbc\",\"bbd\",\"bca\",\"bcb\",\"bcc\",\"bcd\",\"bda\",\"bdb\",\"bdc\",\"bdd\",\"caa\",\"cab\",\"cac\","
	        "\"cad\",\"cba\",\"cbb\",\"cbc\",\"cbd\",\"cca\",\"ccb\",\"ccc\",\"ccd\",\"cda\",\"cdb\",\"cdc\",\"cdd\",\"daa\",\"dab\",\"dac\",\"dad\",\"dba\","
	        "\"dbb\",\"dbc\",\"dbd\",\"dca\",\"dcb\",\"dcc\",\"dcd\",\"dda\",\"ddb\",\"ddc\",\"ddd\"),or(\"axy\",\"bxy\",\"cxy\",\"dxy\"))");
	assert_tree("0123456789012345678901234567890123456789012345678901234567",
	            "and(\"012345678901234567890123456789012345678901234567\",\"8901234567\")");
	char deep[1024];
	memset(deep, '(', 400);
	memcpy(deep + 400, "abc", 3);
	memset(deep + 403, ')', 400);
	deep[803] = 0;
	assert_tree(deep, "any");
}

static void a_literal_is_kept_once(void **state)
{
	(void)state;
	struct literals literals;
	assert_int_equal(literals_init(&literals), 0);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 5000; i++) {
			char text[16];
			int bytes = snprintf(text, sizeof text, round ? "Word%u" : "wORD%u", i);
			assert_int_equal(literals_add(&literals, text, (size_t)bytes), i);
		}
	}
	assert_int_equal(literals.n_literals, 5000);
	assert_false(literals.failed);
	literals_fini(&literals);
}

/* ---- random expressions ---- */

struct text {
	char data[512];
	size_t bytes;
};

static void put(struct text *text, const char *more)
{
	size_t bytes = strlen(more);
	if (text->bytes + bytes < sizeof text->data) {
		memcpy(text->data + text->bytes, more, bytes + 1);
		text->bytes += bytes;
	}
}

static void put_expression(struct text *text, unsigned depth);

static void put_atom(struct text *text, unsigned depth)
{
	static const char *const atoms[] = {"a",      "b",     "c",    "A",     "B",      "ab",   "ca",
	                                    ".",      "[ab]",  "[^a]", "[a-c]", "[]a]",   "[B-]", "\\w",
	                                    "\\d",    "\\x62", "\\.",  "^",     "$",      "\\b",  "(?i)",
	                                    "[\\w-]", "\\S",   "{",    "(?-i)", "[A-Ca]", "\\-"};
	static const char *const groups[] = {"(",   "(?:", "(?i:",   "(?=",    "(?!",
	                                     "(?>", "(?|", "(?<!a|", "(?s-i:", "(?<n>"};
	if (depth == 0 || !draw_one_in(4)) {
		put(text, atoms[draw_below(N(atoms))]);
		return;
	}
	put(text, groups[draw_below(draw_one_in(3) ? N(groups) : 3)]);
	put_expression(text, depth - 1);
	put(text, ")");
}

static void put_expression(struct text *text, unsigned depth)
{
	static const char *const quantifiers[] = {"?",  "*",     "+",  "{2}", "{0,2}", "{1,3}",
	                                          "??", "{2,}?", "*+", "{0}", "{1,9}", "{0,1}+"};
	unsigned branches = draw_one_in(3) ? 1 + draw_below(3) : 1;
	for (unsigned branch = 0; branch < branches; branch++) {
		if (branch > 0)
			put(text, "|");
		for (unsigned n = draw_below(5) + (branches == 1); n > 0; n--) {
			put_atom(text, depth);
			if (draw_one_in(4))
				put(text, quantifiers[draw_below(N(quantifiers))]);
		}
	}
}

static void put_subject(struct text *text)
{
	static const char *const pieces[] = {"a",  "b", "c", "A", "B", "C", "ab", "bc",
	                                     "ca", "]", "-", ".", "1", " ", "{"};
	for (unsigned n = draw_below(14); n > 0; n--)
		put(text, pieces[draw_below(N(pieces))]);
}

/* Which literals are in the text, found the slow way. */
static void find_literals(const struct literals *literals, const struct text *text, uint64_t *there)
{
	char haystack[sizeof text->data], needle[LITERAL_MAX + 1];
	memset(there, 0, (literals->n_literals / 64 + 1) * sizeof *there);
	memcpy(haystack, text->data, text->bytes);
	haystack[text->bytes] = 0;
	for (uint32_t i = 0; i < literals->n_literals; i++) {
		const struct literal *literal = &literals->literal[i];
		memcpy(needle, literals->text + literal->at, literal->bytes);
		needle[literal->bytes] = 0;
		if (strcasestr(haystack, needle))
			there[i / 64] |= 1ull << (i % 64);
	}
}

static pcre2_code *compile(const char *regex)
{
	int code;
	PCRE2_SIZE offset;
	uint32_t options = draw_one_in(3) ? PCRE2_CASELESS : 0;
	return pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED, options, &code, &offset, NULL);
}

/* Returns how many of the texts matched; *selective counts expressions of which something is
 * known. */
static unsigned check_expression(const struct text *regex, pcre2_code *code, pcre2_match_data *data,
                                 unsigned *selective)
{
	struct literals literals;
	uint64_t there[64];
	unsigned matched = 0;
	assert_int_equal(literals_init(&literals), 0);
	uint32_t tree = literals_tree(&literals, regex->data, regex->bytes);
	assert_true(literals.n_literals < 64 * N(there));
	*selective += tree != TREE_ANY;
	for (unsigned i = 0; i < TEXTS_EACH; i++) {
		struct text text = {.bytes = 0};
		put_subject(&text);
		int result = pcre2_match(code, (PCRE2_SPTR)text.data, text.bytes, 0, 0, data, NULL);
		if (result < 0)
			continue;
		matched++;
		find_literals(&literals, &text, there);
		if (!literals_true(&literals, tree, there)) {
			char tree_text[2048];
			literals_print(&literals, tree, tree_text, sizeof tree_text);
			fail_msg("%s matches \"%.*s\", but needs %s", regex->data, (int)text.bytes, text.data,
			         tree_text);
		}
	}
	literals_fini(&literals);
	return matched;
}

static void a_random_expression_never_matches_what_its_tree_rules_out(void **state)
{
	(void)state;
	pcre2_match_data *data = pcre2_match_data_create(16, NULL);
	unsigned expressions = 0, selective = 0, matched = 0;
	assert_non_null(data);
	for (unsigned i = 0; i < RANDOM_EXPRESSIONS; i++) {
		struct text regex = {.data = "", .bytes = 0};
		put_expression(&regex, 3);
		pcre2_code *code = compile(regex.data);
		if (!code)
			continue; /* a quantifier after a quantifier, say */
		expressions++;
		matched += check_expression(&regex, code, data, &selective);
		pcre2_code_free(code);
	}
	pcre2_match_data_free(data);
	printf("%u expressions, something known of %u, %u texts matched\n", expressions, selective, matched);
	assert_true(expressions > RANDOM_EXPRESSIONS / 3);
	assert_true(selective > expressions / 10);
	assert_true(matched > expressions / 10);
}

/* ---- uap-core's rules ---- */

/* Strings that look like what the rules want: their own literals, in the case of the expression,
 * with some agent's words. */
static void put_literals_of(struct text *text, const struct matcher *matcher, const struct rules *rules,
                            uint32_t rule)
{
	static const char *const between[] = {"",  " ", "/",           "; ",      "1.2",
	                                      "(", ")", "Android 4.0", "Build/x", "x"};
	char tree[16384], piece[LITERAL_MAX + 1];
	matcher_tree_text(matcher, rule, tree, sizeof tree);
	for (const char *at = strchr(tree, '"'); at; at = strchr(at, '"')) {
		const char *end = strchr(at + 1, '"');
		if (!end)
			break;
		size_t bytes = (size_t)(end - at - 1);
		bool wanted = draw_one_in(2) && bytes < sizeof piece;
		if (wanted) {
			memcpy(piece, at + 1, bytes);
			piece[bytes] = 0;
			const char *own = strcasestr(rules->rule[rule].regex, piece);
			if (own)
				memcpy(piece, own, bytes);
			put(text, piece);
			put(text, between[draw_below(N(between))]);
		}
		at = end + 1;
	}
}

static void every_rule_that_matches_a_text_made_of_literals_has_a_true_tree(void **state)
{
	(void)state;
	struct rules rules;
	char error[RULES_ERROR_BYTES];
	const char *path = agent_cases_rules();
	if (!path) {
		printf("no regexes.yaml (make data)\n");
		skip();
	}
	assert_int_equal(rules_load(&rules, path, error), 0);
	struct matcher *matcher = matcher_create(&rules, NULL, 0, error);
	assert_non_null(matcher);
	uint64_t matched = 0, admitted = 0;
	for (unsigned i = 0; i < RANDOM_AGENTS; i++) {
		struct text text = {.bytes = 0};
		for (unsigned n = 1 + draw_below(3); n > 0; n--)
			put_literals_of(&text, matcher, &rules, draw_below(rules.n));
		matcher_pass(matcher, text.data, text.bytes);
		for (uint32_t rule = 0; rule < rules.n; rule++) {
			bool admits = matcher_admits(matcher, rule),
			     matches = matcher_confirms(matcher, rule);
			admitted += admits;
			matched += matches;
			if (matches && !admits)
				fail_msg("%s matches \"%.*s\", which its tree rules out",
				         rules.rule[rule].regex, (int)text.bytes, text.data);
		}
	}
	printf("%u texts: %.1f rules a text pass the tree, %.1f match\n", RANDOM_AGENTS,
	       (double)admitted / RANDOM_AGENTS, (double)matched / RANDOM_AGENTS);
	assert_true(matched > RANDOM_AGENTS / 4);
	matcher_destroy(matcher);
	rules_fini(&rules);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(rows_alternatives_and_classes_give_whole_texts),
	        cmocka_unit_test(optional_parts_are_followed_while_they_are_few),
	        cmocka_unit_test(what_matches_too_much_splits_a_row),
	        cmocka_unit_test(nothing_is_known_of_what_is_not_understood),
	        cmocka_unit_test(sets_and_texts_that_grow_too_large_are_cut),
	        cmocka_unit_test(a_literal_is_kept_once),
	        cmocka_unit_test(a_random_expression_never_matches_what_its_tree_rules_out),
	        cmocka_unit_test(every_rule_that_matches_a_text_made_of_literals_has_a_true_tree),
	};
	draw_init(0x6c69746572616c73);
	alarm(300);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
