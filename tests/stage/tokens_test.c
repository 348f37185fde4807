/* Bearer tokens: files that are right and wrong, and who is let in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stage/tokens.h"
#include "tests/fixture/page_end.h"

enum { EVENT, LOG, TRACK, HEALTH, N_NAMES };
static const char *const names[N_NAMES] = {"event", "log", "track", "health"};

#define A "AAAAAAAAAAAAAAAA"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C "abc-._~+/0123456789=="

static unsigned comparisons, allocations;

/* The linker puts these between the code under test and OpenSSL. */
int __real_CRYPTO_memcmp(const void *a, const void *b, size_t bytes);
int __wrap_CRYPTO_memcmp(const void *a, const void *b, size_t bytes);

int __wrap_CRYPTO_memcmp(const void *a, const void *b, size_t bytes)
{
	comparisons++;
	return __real_CRYPTO_memcmp(a, b, bytes);
}

static void *count_malloc(size_t bytes, const char *file, int line)
{
	(void)file;
	(void)line;
	allocations++;
	return malloc(bytes);
}

static void *count_realloc(void *memory, size_t bytes, const char *file, int line)
{
	(void)file;
	(void)line;
	allocations++;
	return realloc(memory, bytes);
}

static void count_free(void *memory, const char *file, int line)
{
	(void)file;
	(void)line;
	free(memory);
}

static char path[64];
static struct shm_error error;

static int load_bytes(struct tokens *tokens, const char *text, size_t bytes)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, bytes, file), bytes);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, 0600), 0);
	error.text[0] = '\0';
	memset(tokens, 0xee, sizeof *tokens);
	return tokens_load(tokens, path, names, N_NAMES, &error);
}

static int load(struct tokens *tokens, const char *text)
{
	return load_bytes(tokens, text, strlen(text));
}

enum answer { ALLOWED, REFUSED, CHALLENGED };

/* The field ends at a page that nobody may touch; NULL: there is none. */
static enum answer ask_bytes(const struct tokens *tokens, unsigned route, const char *field, size_t bytes)
{
	static char *end;
	if (end == NULL)
		end = page_end_make(4096);
	const char *copy = field != NULL ? memcpy(end - bytes, field, bytes) : NULL;
	bool challenged = true;
	bool allowed = tokens_allow(tokens, route, copy, bytes, &challenged);
	assert_false(allowed && challenged);
	return allowed ? ALLOWED : challenged ? CHALLENGED : REFUSED;
}

static enum answer ask(const struct tokens *tokens, unsigned route, const char *field)
{
	return ask_bytes(tokens, route, field, field == NULL ? 0 : strlen(field));
}

static void without_tokens_all_routes_are_open(void **state)
{
	(void)state;
	static const struct tokens tokens;
	for (unsigned route = 0; route < 40; route++) {
		assert_int_equal(ask(&tokens, route, NULL), ALLOWED);
		assert_int_equal(ask(&tokens, route, "Bearer whatever"), ALLOWED);
	}
}

static void a_token_opens_its_routes_and_closes_them_to_others(void **state)
{
	(void)state;
	struct tokens tokens;
	assert_int_equal(load(&tokens, A " event log\n" B " log\n"), 0);
	assert_int_equal(tokens.n, 2);
	assert_int_equal(tokens.closed, 1u << EVENT | 1u << LOG);
	assert_int_equal(ask(&tokens, EVENT, "Bearer " A), ALLOWED);
	assert_int_equal(ask(&tokens, LOG, "Bearer " A), ALLOWED);
	assert_int_equal(ask(&tokens, EVENT, "Bearer " B), CHALLENGED);
	assert_int_equal(ask(&tokens, LOG, "Bearer " B), ALLOWED);
	assert_int_equal(ask(&tokens, EVENT, NULL), REFUSED);
	assert_int_equal(ask(&tokens, LOG, NULL), REFUSED);
	assert_int_equal(ask(&tokens, TRACK, NULL), ALLOWED);
	assert_int_equal(ask(&tokens, TRACK, "Bearer " A "x"), ALLOWED);
}

static void a_token_without_routes_opens_all(void **state)
{
	(void)state;
	struct tokens tokens;
	assert_int_equal(load(&tokens, C), 0);
	assert_int_equal(tokens.closed, (1u << N_NAMES) - 1);
	/* As editors write the file: with a byte-order mark in front, and there alone. */
	assert_int_equal(load(&tokens, "\xef\xbb\xbf" C), 0);
	assert_int_equal(tokens.closed, (1u << N_NAMES) - 1);
	assert_int_equal(ask(&tokens, EVENT, "Bearer " C), ALLOWED);
	for (unsigned route = 0; route < N_NAMES; route++) {
		assert_int_equal(ask(&tokens, route, "Bearer " C), ALLOWED);
		assert_int_equal(ask(&tokens, route, NULL), REFUSED);
	}
	assert_int_equal(ask(&tokens, N_NAMES, NULL), ALLOWED); /* not among the names */
	assert_int_equal(load(&tokens, A "\n\xef\xbb\xbf" C), -EINVAL);
}

static void comments_empty_lines_spaces_and_line_ends_of_any_kind_are_passed_over(void **state)
{
	(void)state;
	struct tokens tokens;
	assert_int_equal(load(&tokens, "# who may\n\n  \t\n" A "\tevent  # the first\r\n   " B
	                               " log event log#x\r\n#" C "\n"),
	                 0);
	assert_int_equal(tokens.n, 2);
	assert_int_equal(ask(&tokens, EVENT, "Bearer " A), ALLOWED);
	assert_int_equal(ask(&tokens, LOG, "Bearer " B), ALLOWED);
	assert_int_equal(ask(&tokens, EVENT, "Bearer " C), CHALLENGED);
}

static void expect_error(const char *text, int result, const char *says)
{
	struct tokens tokens;
	char expected[700];
	snprintf(expected, sizeof expected, "%s%s", path, says);
	assert_int_equal(load(&tokens, text), result);
	assert_string_equal(error.text, expected);
	assert_int_equal(tokens.n, 0);
	assert_int_equal(tokens.closed, 0);
}

static void mistakes_are_named_with_their_line(void **state)
{
	(void)state;
	char text[4096];
	expect_error("\n# x\nshort event\n", -EINVAL, ":3: the token has 5 characters; allowed: 16 to 512");
	expect_error(A "\n" B " evnt\n", -EINVAL,
	             ":2: \"evnt\" is not a route; allowed: event log track health");
	expect_error(A " Event", -EINVAL, ":1: \"Event\" is not a route; allowed: event log track health");
	expect_error(A " event, log", -EINVAL,
	             ":1: \"event,\" is not a route; allowed: event log track health");
	expect_error(A "\n\n" B "\n" A " log\n", -EINVAL,
	             ":4: the token is on an earlier line already; list all its routes there");
	static const char *const bad[] = {A "!",    A ":x", "\"" A "\"",  "====" A,
	                                  "=" A "", A "=x", A "\xc3\xa4", "================"};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		snprintf(text, sizeof text, "%s event\n", bad[i]);
		expect_error(
		        text, -EINVAL,
		        ":1: the token has a character that cannot be in one; allowed: letters, digits, - . _ ~ + / and = at the end");
	}
	memset(text, 'x', 600);
	text[513] = '\0';
	expect_error(text, -EINVAL, ":1: the token has 513 characters; allowed: 16 to 512");
	text[512] = '\0';
	struct tokens tokens;
	assert_int_equal(load(&tokens, text), 0);
	assert_int_equal(load_bytes(&tokens, A "\n" B "\0\n", sizeof A "\n" B "\0\n" - 1), -EINVAL);
	assert_non_null(strstr(error.text, ":2: a byte 0"));
	assert_int_equal(tokens.n, 0);
}

static void a_file_without_a_token_is_an_error(void **state)
{
	(void)state;
	static const char says[] =
	        ": has no token, so it would close nothing; allowed: a token a line, or no file";
	expect_error("", -EINVAL, says);
	expect_error("# later\n\n", -EINVAL, says);
}

static void a_message_never_holds_a_token(void **state)
{
	(void)state;
	struct tokens tokens;
	assert_int_equal(load(&tokens, A " " B "\n"), -EINVAL); /* two on one line */
	assert_null(strstr(error.text, B));
	assert_non_null(strstr(error.text, ":1: what follows the token is not a route"));
	assert_int_equal(load(&tokens, "secret!secret!secret!\n"), -EINVAL);
	assert_null(strstr(error.text, "secret"));
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
	(void)state;
	struct tokens tokens;
	assert_int_equal(tokens_load(&tokens, "/nowhere/tokens", names, N_NAMES, &error), -ENOENT);
	assert_string_equal(error.text, "/nowhere/tokens: No such file or directory");
	assert_int_equal(tokens_load(&tokens, "/", names, N_NAMES, &error), -EISDIR);
	assert_string_equal(error.text, "/: Is a directory");
}

static void a_client_says_the_first_token_of_the_file(void **state)
{
	(void)state;
	struct tokens tokens;
	char text[8192] = "", first[TOKEN_BYTES_MAX + 1] = "";
	size_t n = (size_t)sprintf(text, "\xef\xbb\xbf#");
	while (n < 6000) /* no piece of a comment is a token, however long it is */
		n += (size_t)sprintf(text + n, " a-word-of-sixteen-bytes");
	sprintf(text + n, "\n\n \t" C " log # one\n" B "\n");
	assert_int_equal(load(&tokens, text), 0);
	assert_int_equal(tokens_load_first(first, path, names, N_NAMES, &error), 0);
	assert_string_equal(first, C);
	/* what is wrong further down is wrong, too */
	assert_int_equal(load(&tokens, A "\nshort\n"), -EINVAL);
	assert_int_equal(tokens_load_first(first, path, names, N_NAMES, &error), -EINVAL);
	assert_non_null(strstr(error.text, ":2: the token has 5 characters"));
	assert_int_equal(load(&tokens, "# none\n"), -EINVAL);
	assert_int_equal(tokens_load_first(first, path, names, N_NAMES, &error), -EINVAL);
	assert_string_equal(first, C);
	char longest[TOKEN_BYTES_MAX + 1];
	memset(longest, 'x', TOKEN_BYTES_MAX);
	longest[TOKEN_BYTES_MAX] = '\0';
	assert_int_equal(load(&tokens, longest), 0);
	assert_int_equal(tokens_load_first(first, path, names, N_NAMES, &error), 0);
	assert_string_equal(first, longest);
}

static void so_many_tokens_and_no_more(void **state)
{
	(void)state;
	static char text[(TOKENS_MAX + 1) * 32];
	struct tokens tokens;
	size_t n = 0;
	for (unsigned i = 0; i < TOKENS_MAX; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "token-number-%05u\n", i);
	assert_int_equal(load(&tokens, text), 0);
	for (unsigned i = 0; i < TOKENS_MAX; i++) {
		char field[64];
		snprintf(field, sizeof field, "Bearer token-number-%05u", i);
		assert_int_equal(ask(&tokens, EVENT, field), ALLOWED);
	}
	assert_int_equal(ask(&tokens, EVENT, "Bearer token-number-99999"), CHALLENGED);
	snprintf(text + n, sizeof text - n, "%s\n", A);
	expect_error(text, -EINVAL, ":257: one token too many; allowed: 256");
}

static void the_field_is_read_as_the_standard_says(void **state)
{
	(void)state;
	struct tokens tokens;
	assert_int_equal(load(&tokens, A "\n" C "\n"), 0);
	static const struct {
		const char *field;
		enum answer answer;
	} row[] = {
	        {"Bearer " A, ALLOWED},
	        {"bearer " A, ALLOWED},
	        {"BEARER   " A, ALLOWED},
	        {"Bearer " C, ALLOWED},
	        {"", REFUSED},
	        {"Bear", REFUSED},
	        {"Bearers " A, REFUSED},
	        {"Bearer:" A, REFUSED},
	        {"Basic QUFBQTpBQUFB", REFUSED},
	        {A, REFUSED},
	        {"Bearer", CHALLENGED},
	        {"Bearer ", CHALLENGED},
	        {"Bearer\t" A, REFUSED},
	        {"Bearer " A " ", CHALLENGED},
	        {"Bearer " A "," A, CHALLENGED},
	        {"Bearer " A "=", CHALLENGED},
	        {"Bearer \"" A "\"", CHALLENGED},
	        {"Bearer aAAAAAAAAAAAAAAA", CHALLENGED},
	        {"Bearer AAAAAAAAAAAAAAA", CHALLENGED},
	        {"Bearer " A "A", CHALLENGED},
	};
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
		assert_int_equal(ask(&tokens, EVENT, row[i].field), row[i].answer);
	assert_int_equal(ask_bytes(&tokens, EVENT, "Bearer " A "\0", sizeof "Bearer " A), CHALLENGED);
	char field[2048] = "Bearer ";
	memset(field + 7, 'x', 2000);
	assert_int_equal(ask_bytes(&tokens, EVENT, field, 7 + TOKEN_BYTES_MAX), CHALLENGED);
	assert_int_equal(ask_bytes(&tokens, EVENT, field, 2007), CHALLENGED);
}

static void every_token_is_looked_at_whichever_is_right(void **state)
{
	(void)state;
	struct tokens tokens;
	assert_int_equal(load(&tokens, A " event\n" B " event\n" C " log\n"), 0);
	static const char *const fields[] = {"Bearer " A, "Bearer " B, "Bearer " C, "Bearer x",
	                                     "Bearer AAAAAAAAAAAAAAAB"};
	for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
		comparisons = 0;
		(void)ask(&tokens, EVENT, fields[i]);
		assert_int_equal(comparisons, 3);
	}
}

static void a_request_allocates_nothing(void **state)
{
	(void)state;
	struct tokens tokens;
	assert_int_equal(load(&tokens, A " event\n" B " log\n"), 0);
	allocations = 0;
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(ask(&tokens, EVENT, "Bearer " A), ALLOWED);
		assert_int_equal(ask(&tokens, EVENT, "Bearer " B), CHALLENGED);
	}
	assert_int_equal(allocations, 0);
}

static void a_file_that_others_can_read_is_taken_with_a_warning(void **state)
{
	(void)state;
	struct tokens tokens;
	char logged[512] = "";
	assert_int_equal(load(&tokens, A "\n"), 0);
	for (unsigned open = 0; open < 2; open++) {
		FILE *file = tmpfile();
		assert_non_null(file);
		int stderr_before = dup(STDERR_FILENO);
		assert_true(stderr_before >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
		int result = chmod(path, open ? 0640 : 0600);
		if (result == 0)
			result = tokens_load(&tokens, path, names, N_NAMES, &error);
		(void)dup2(stderr_before, STDERR_FILENO);
		close(stderr_before);
		rewind(file);
		logged[fread(logged, 1, sizeof logged - 1, file)] = '\0';
		fclose(file);
		assert_int_equal(result, 0);
		assert_int_equal(strstr(logged, "others can read the tokens") != NULL, open);
		assert_int_equal(strstr(logged, "mode=640") != NULL, open);
		assert_null(strstr(logged, A));
	}
}

int main(void)
{
	alarm(60);
	if (CRYPTO_set_mem_functions(count_malloc, count_realloc, count_free) != 1)
		return 1;
	snprintf(path, sizeof path, "/tmp/millrace-tokens-XXXXXX");
	int file = mkstemp(path);
	if (file < 0)
		return 1;
	close(file);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(without_tokens_all_routes_are_open),
	        cmocka_unit_test(a_token_opens_its_routes_and_closes_them_to_others),
	        cmocka_unit_test(a_token_without_routes_opens_all),
	        cmocka_unit_test(comments_empty_lines_spaces_and_line_ends_of_any_kind_are_passed_over),
	        cmocka_unit_test(mistakes_are_named_with_their_line),
	        cmocka_unit_test(a_file_without_a_token_is_an_error),
	        cmocka_unit_test(a_message_never_holds_a_token),
	        cmocka_unit_test(a_file_that_cannot_be_read_is_named),
	        cmocka_unit_test(a_client_says_the_first_token_of_the_file),
	        cmocka_unit_test(so_many_tokens_and_no_more),
	        cmocka_unit_test(the_field_is_read_as_the_standard_says),
	        cmocka_unit_test(every_token_is_looked_at_whichever_is_right),
	        cmocka_unit_test(a_request_allocates_nothing),
	        cmocka_unit_test(a_file_that_others_can_read_is_taken_with_a_warning),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return failed;
}
