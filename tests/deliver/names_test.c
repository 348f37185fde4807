/* Look-ups against a name server of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/clock.h"
#include "deliver/names.h"
#include "tests/fixture/config.h"

static struct shm_error error;

static struct names *names_of(const char *text)
{
	struct names *names = NULL;
	struct config *config = load(text, "");
	if (names_open(&names, config, &error) != 0)
		fail_msg("%s", error.text);
	config_free(config);
	return names;
}

static void an_address_in_text_is_answered_without_a_query(void **state)
{
	(void)state;
	static const uint8_t loopback[16] = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1};
	static const char *const form[] = {"127.0.0.1",  "127.1",      "2130706433",       "0x7f.1",
	                                   "0177.0.0.1", "0x7f000001", "::ffff:127.0.0.1", "127.0.0.1."};
	struct names *names = names_of("deliver: {dns: {servers: [\"127.0.0.1:1\"]}}\n");
	struct names_answer answer;
	for (size_t i = 0; i < sizeof form / sizeof form[0]; i++) {
		assert_true(names_start(names, form[i], &answer, 1));
		assert_true(names_next(names, &answer, 1));
		assert_int_equal(answer.result, 0);
		assert_int_equal(answer.n, 1);
		assert_memory_equal(answer.address[0], loopback, 16);
		assert_false(names_next(names, &answer, 1));
	}
	names_close(names);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(an_address_in_text_is_answered_without_a_query),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
