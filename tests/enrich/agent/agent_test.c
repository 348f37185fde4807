/* What agents are said to be: the derived fields of known agents, replacements, bounds, and agents
 * meant to harm. */
#include "enrich/agent/agent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fixture/agent_cases.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/page_end.h"

#define RANDOM_AGENTS 20000u

static char folder[] = "/tmp/millrace-agent-XXXXXX";
static char path[sizeof folder + 16];
static struct agent_engine *uap; /* uap-core's rules; NULL: not there */

/* An engine for rules given as text. */
static struct agent_engine *engine_of(const char *text, size_t longest)
{
	char error[RULES_ERROR_BYTES];
	FILE *file = fopen(path, "wb");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	struct agent_engine *engine = agent_engine_create(path, longest, error);
	if (!engine)
		fail_msg("%s", error);
	return engine;
}

static void assert_field(const struct agent *agent, enum agent_field field, const char *expected,
                         const char *text)
{
	size_t bytes;
	const char *value = agent_text(agent, field, &bytes);
	if (bytes != strlen(expected) || memcmp(value, expected, bytes) != 0)
		fail_msg("%s: field %u is \"%.*s\", expected \"%s\"", text, field, (int)bytes, value,
		         expected);
}

struct known_agent {
	const char *text, *type, *browser, *engine, *version, *os;
};

static const struct known_agent known_agents[] = {
        {"Mozilla/5.0 (Macintosh; Intel Mac OS X 10.13; rv:56.0) Gecko/20100101 Firefox/56.0", "Desktop",
         "Firefox", "Gecko", "56.0", "Mac"},
        {"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
         "Desktop", "Chrome", "Blink", "120.0.0.0", "Windows"},
        {"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36 Edg/120.0.2210.91",
         "Desktop", "Edge", "Blink", "120.0.2210.91", "Windows"},
        {"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/64.0.3282.140 Safari/537.36 Edge/18.17763",
         "Desktop", "Edge", "EdgeHTML", "18.17763", "Windows"},
        {"Mozilla/5.0 (Windows NT 6.1; WOW64; Trident/7.0; rv:11.0) like Gecko", "Desktop", "IE", "Trident",
         "11.0", "Windows"},
        {"Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 5.1; Tablet PC 2.0)", "Desktop", "IE", "Trident",
         "7.0", "Windows"},
        {"Opera/9.80 (Windows NT 5.1; U; ru) Presto/2.5.24 Version/10.53", "Desktop", "Opera", "Presto",
         "10.53", "Windows"},
        {"Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; en) Opera 8.54", "Desktop", "Opera", "Presto",
         "8.54", "Windows"},
        {"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/27.0.1453.110 Safari/537.36",
         "Desktop", "Chrome", "WebKit", "27.0.1453.110", "Linux"},
        {"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/28.0.1500.52 Safari/537.36",
         "Desktop", "Chrome", "Blink", "28.0.1500.52", "Linux"},
        {"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/119.0.0.0 Safari/537.36",
         "Desktop", "Chrome", "Blink", "119.0.0.0", "Chrome OS"},
        {"Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0", "Desktop",
         "Firefox", "Gecko", "120.0", "Ubuntu"},
        {"Mozilla/5.0 (X11; Linux x86_64; rv:3.0) Goanna/20170207 PaleMoon/27.1.0", "Desktop", "Pale Moon",
         "Goanna", "27.1.0", "Linux"},
        {"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Safari/605.1.15",
         "Desktop", "Safari", "WebKit", "17.1", "Mac"},
        {"Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Mobile/15E148 Safari/604.1",
         "Mobile", "Mobile Safari", "WebKit", "17.1", "iOS"},
        {"Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/119.0.6045.109 Mobile/15E148 Safari/604.1",
         "Mobile", "Chrome Mobile iOS", "WebKit", "119.0.6045.109", "iOS"},
        {"Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.6 Mobile/15E148 Safari/604.1",
         "Tablet", "Mobile Safari", "WebKit", "16.6", "iOS"},
        {"Mozilla/5.0 (Linux; Android 13; Pixel 7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/116.0.0.0 Mobile Safari/537.36",
         "Mobile", "Chrome Mobile", "Blink", "116.0.0.0", "Android"},
        {"Mozilla/5.0 (Linux; Android 12; SM-X906C) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/116.0.0.0 Safari/537.36",
         "Tablet", "Chrome", "Blink", "116.0.0.0", "Android"},
        {"Dalvik/2.1.0 (Linux; U; Android 9; SM-G960F Build/PPR1.180610.011)", "Mobile", "Android", "Other",
         "9", "Android"},
        {"Mozilla/5.0 (Mobile; rv:15.0) Gecko/15.0 Firefox/15.0", "Mobile", "Firefox Mobile", "Gecko", "15.0",
         "Firefox OS"},
        {"Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.41 (KHTML, like Gecko) Large Screen WebAppManager Safari/537.41",
         "TV", "Safari", "WebKit", "", "Web0S"},
        {"Mozilla/5.0 (Linux; Android 9; AFTT Build/PS7242) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/70.0.3538.110 Safari/537.36",
         "TV", "Chrome", "Blink", "70.0.3538.110", "Android"},
        {"Roku/DVP-6.2 (096.02E06005A)", "TV", "Roku", "Other", "6.2", "Roku"},
        {"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "Bot", "Googlebot",
         "Other", "2.1", "Other"},
        {"Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) "
         "Chrome/119.0.0.0 Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
         "Bot", "Googlebot", "Blink", "2.1", "Android"},
        {"curl/7.88.1", "Bot", "curl", "Other", "7.88.1", "Other"},
        {"python-requests/2.31.0", "Bot", "Python Requests", "Other", "2.31", "Other"},
        {"Go-http-client/2.0", "Bot", "Go-http-client", "Other", "2.0", "Other"},
        {"Mozilla/5.0 (PlayStation Vita 1.81) AppleWebKit/531.22.8 (KHTML, like Gecko) Silk/3.2", "Other",
         "NetFront NX", "WebKit", "", "Other"},
        {"", "Other", "Other", "Other", "", "Other"},
        {"SomethingWeNeverKnewExisted", "Bot", "Other", "Other", "", "Other"},
};

static void known_agents_have_the_derived_fields_that_people_expect(void **state)
{
	(void)state;
	if (!uap) {
		printf("no regexes.yaml (make data)\n");
		skip();
	}
	for (size_t i = 0; i < sizeof known_agents / sizeof *known_agents; i++) {
		const struct known_agent *known = &known_agents[i];
		struct agent agent;
		agent_parse(uap, known->text, strlen(known->text), &agent);
		if (strcmp(agent_type_name(agent.type), known->type) != 0)
			fail_msg("%s: %s, expected %s", known->text, agent_type_name(agent.type),
			         known->type);
		if (strcmp(agent_draws_name(agent.draws), known->engine) != 0)
			fail_msg("%s: %s, expected %s", known->text, agent_draws_name(agent.draws),
			         known->engine);
		assert_field(&agent, AGENT_BROWSER, known->browser, known->text);
		assert_field(&agent, AGENT_VERSION, known->version, known->text);
		assert_field(&agent, AGENT_OS, known->os, known->text);
	}
}

static void replacements_groups_and_defaults_follow_the_specification(void **state)
{
	(void)state;
	struct agent_engine *engine = engine_of("user_agent_parsers:\n"
	                                        "  - regex: '(Alpha|Beta)/(\\d+)(?:\\.(\\d+)|)'\n"
	                                        "    family_replacement: 'The $1 $$ $0 $9 end$'\n"
	                                        "    v3_replacement: '$2-$3'\n"
	                                        "  - regex: 'Alpha'\n"
	                                        "    family_replacement: 'never'\n"
	                                        "  - regex: 'Gam(ma)'\n"
	                                        "  - regex: 'Empty()'\n"
	                                        "os_parsers:\n"
	                                        "  - regex: '(O)(1)(2)(3)(4)(5)'\n"
	                                        "device_parsers:\n"
	                                        "  - regex: 'dev:( *[a-z ]*)'\n"
	                                        "    regex_flag: 'i'\n"
	                                        "    brand_replacement: ' x$1 '\n",
	                                        AGENT_LONGEST);
	struct agent agent;
	static const char first[] = "Beta/7 O12345 DEV:  Some Thing  ";
	agent_parse(engine, first, sizeof first - 1, &agent);
	assert_field(&agent, AGENT_FAMILY, "The Beta $$ $0  end$", first);
	assert_field(&agent, AGENT_MAJOR, "7", first);
	assert_field(&agent, AGENT_MINOR, "", first);
	assert_field(&agent, AGENT_PATCH, "7-", first);
	assert_field(&agent, AGENT_PATCH_MINOR, "", first);
	assert_field(&agent, AGENT_OS_FAMILY, "O", first);
	assert_field(&agent, AGENT_OS_PATCH_MINOR, "4", first);
	assert_field(&agent, AGENT_DEVICE_FAMILY, "Some Thing", first);
	assert_field(&agent, AGENT_BRAND, "x  Some Thing", first);
	assert_field(&agent, AGENT_MODEL, "Some Thing", first);
	assert_field(&agent, AGENT_VERSION, "7", first);
	agent_parse(engine, "Gamma", 5, &agent);
	assert_field(&agent, AGENT_FAMILY, "ma", "Gamma");
	assert_field(&agent, AGENT_OS, "Other", "Gamma");
	assert_field(&agent, AGENT_DEVICE_FAMILY, "Other", "Gamma");
	assert_field(&agent, AGENT_BRAND, "", "Gamma");
	agent_parse(engine, "Empty", 5, &agent);
	assert_field(&agent, AGENT_FAMILY, "Other", "Empty");
	agent_engine_destroy(engine);
}

static void without_rules_the_words_alone_are_looked_at(void **state)
{
	(void)state;
	char error[RULES_ERROR_BYTES];
	struct agent_engine *engine = agent_engine_create(NULL, AGENT_LONGEST, error);
	assert_non_null(engine);
	struct agent agent;
	agent_parse(engine, known_agents[0].text, strlen(known_agents[0].text), &agent);
	assert_int_equal(agent.type, AGENT_DESKTOP);
	assert_int_equal(agent.draws, AGENT_DRAWS_GECKO);
	assert_field(&agent, AGENT_BROWSER, "Other", "without rules");
	assert_field(&agent, AGENT_OS, "Other", "without rules");
	agent_engine_destroy(engine);
}

static void an_agent_longer_than_the_longest_is_taken_for_its_beginning(void **state)
{
	(void)state;
	static char text[1000];
	char error[RULES_ERROR_BYTES];
	struct agent agent;
	struct agent_engine *engine = engine_of("os_parsers:\n  - regex: '(End)'\n", 100);
	memset(text, '.', sizeof text);
	memcpy(text + 97, "End", 3);
	agent_parse(engine, text, sizeof text, &agent);
	assert_field(&agent, AGENT_OS, "End", "at 97");
	memcpy(text + 97, ".End", 4);
	agent_parse(engine, text, sizeof text, &agent);
	assert_field(&agent, AGENT_OS, "Other", "at 98");
	agent_engine_destroy(engine);
	assert_null(agent_engine_create(path, AGENT_LONGEST_MIN - 1, error));
	assert_non_null(strstr(error, "allowed: 64 to 8192"));
	assert_null(agent_engine_create(path, AGENT_LONGEST_MAX + 1, error));
}

static void a_field_longer_than_its_most_is_cut_between_characters(void **state)
{
	(void)state;
	static char text[1024];
	struct agent agent;
	size_t bytes;
	struct agent_engine *engine = engine_of("os_parsers:\n  - regex: '^(.*)$'\n", AGENT_LONGEST);
	memset(text, 'x', sizeof text);
	agent_parse(engine, text, AGENT_FIELD_MAX, &agent);
	agent_text(&agent, AGENT_OS, &bytes);
	assert_int_equal(bytes, AGENT_FIELD_MAX);
	memcpy(text + AGENT_FIELD_MAX - 2, "\xf0\x9f\x98\x80", 4);
	agent_parse(engine, text, sizeof text, &agent);
	agent_text(&agent, AGENT_OS, &bytes);
	assert_int_equal(bytes, AGENT_FIELD_MAX - 2);
	memset(text, 0x80, sizeof text); /* no UTF-8 at all */
	agent_parse(engine, text, sizeof text, &agent);
	agent_text(&agent, AGENT_OS, &bytes);
	assert_int_equal(bytes, AGENT_FIELD_MAX - 3);
	agent_engine_destroy(engine);
}

static void an_expression_that_would_take_for_ever_is_given_up_and_counted(void **state)
{
	(void)state;
	static char text[AGENT_LONGEST];
	struct agent agent;
	struct agent_engine *engine = engine_of("os_parsers:\n"
	                                        "  - regex: '(?:a|a|aa|b.*)+$'\n"
	                                        "    os_replacement: 'slow'\n"
	                                        "  - regex: 'aaa'\n"
	                                        "    os_replacement: 'quick'\n",
	                                        AGENT_LONGEST);
	memset(text, 'a', sizeof text);
	text[sizeof text - 1] = '!';
	agent_parse(engine, text, sizeof text, &agent);
	assert_field(&agent, AGENT_OS, "quick", "aaa!");
	assert_int_equal(matcher_counts(agent_engine_matcher(engine))->given_up, 1);
	agent_engine_destroy(engine);
}

/* Any bytes, and pieces of agents, up to a page after which nothing may be read. */
static void any_bytes_are_an_agent(void **state)
{
	(void)state;
	struct agent_engine *engine =
	        uap ? uap : engine_of("os_parsers:\n  - regex: '(a.*)b'\n", AGENT_LONGEST);
	char *end = page_end_make(4096);
	assert_non_null(end);
	for (unsigned i = 0; i < RANDOM_AGENTS; i++) {
		struct agent agent;
		size_t bytes = draw_below(draw_one_in(20) ? 2000 : 200);
		char *text = end - bytes;
		for (size_t at = 0; at < bytes; at++)
			text[at] = (char)draw();
		for (unsigned piece = draw_below(6); piece > 0 && bytes > 40; piece--) {
			const char *from = known_agents[draw_below(25)].text;
			size_t length = draw_below(40), room = strlen(from);
			memcpy(text + draw_below((unsigned)bytes - 40), from, length < room ? length : room);
		}
		memset(&agent, 0xa5, sizeof agent);
		agent_parse(engine, text, bytes, &agent);
		assert_true(agent.type < AGENT_TYPE_COUNT && agent.draws < AGENT_DRAWS_COUNT);
		assert_true(agent.used >= offsetof(struct agent, text) && agent.used <= sizeof agent);
		for (unsigned field = 0; field < AGENT_FIELDS; field++)
			assert_true(offsetof(struct agent, text) + agent.field[field].at +
			                    agent.field[field].bytes <=
			            agent.used);
		assert_true(agent.field[AGENT_BROWSER].bytes > 0 && agent.field[AGENT_OS].bytes > 0);
	}
	if (engine != uap)
		agent_engine_destroy(engine);
}

static int begin(void **state)
{
	(void)state;
	char error[RULES_ERROR_BYTES];
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof path, "%s/regexes.yaml", folder);
	if (!agent_cases_rules())
		return 0;
	uap = agent_engine_create(agent_cases_rules(), AGENT_LONGEST, error);
	return uap ? 0 : -1;
}

static int end(void **state)
{
	(void)state;
	agent_engine_destroy(uap);
	unlink(path);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(known_agents_have_the_derived_fields_that_people_expect),
	        cmocka_unit_test(replacements_groups_and_defaults_follow_the_specification),
	        cmocka_unit_test(without_rules_the_words_alone_are_looked_at),
	        cmocka_unit_test(an_agent_longer_than_the_longest_is_taken_for_its_beginning),
	        cmocka_unit_test(a_field_longer_than_its_most_is_cut_between_characters),
	        cmocka_unit_test(an_expression_that_would_take_for_ever_is_given_up_and_counted),
	        cmocka_unit_test(any_bytes_are_an_agent),
	};
	draw_init(0x6167656e74);
	alarm(120);
	return cmocka_run_group_tests(tests, begin, end);
}
