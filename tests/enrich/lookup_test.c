/* From a tracking call to a tracking event, without shared memory: fields, unknown agents and
 * places, privacy, settings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "event/line.h"
#include "base/log.h"
#include "tests/fixture/config.h"
#include "tests/fixture/enrich.h"

#define EXAMPLE_KLAG_NS 266000000u

static const char firefox[] =
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.13; rv:56.0) Gecko/20100101 Firefox/56.0";
static const uint8_t in_sweden[16] = {[10] = 0xff, [11] = 0xff, [12] = 11, [13] = 2, [14] = 3, [15] = 77};

static struct lookup lookup;

static int set_up(void **state)
{
	(void)state;
	memset(&lookup, 0, sizeof lookup);
	return enrich_files_open(&lookup);
}

static int tear_down(void **state)
{
	(void)state;
	lookup_close(&lookup);
	return 0;
}

/* ---- one event ---- */

struct made {
	alignas(8) unsigned char raw[4096];
	struct record *record; /* of the event */
	const struct event_track *event;
	struct event_track_slice part[TRACK_PARTS];
};

static struct made made;

/* Enriches one call; the record has exactly the room that track_room tells, so that a sanitizer
 * sees one byte more. */
static void run(struct call_text text, const uint8_t address[16], uint32_t flags)
{
	(void)call_write(made.raw, text, address, flags);
	const struct event_track_raw *raw = (const void *)(made.raw + sizeof(struct record));
	free(made.record);
	made.record = malloc(sizeof *made.record + track_room(raw));
	assert_non_null(made.record);
	uint32_t length = lookup_event(&lookup, raw, raw->arrival_ns + EXAMPLE_KLAG_NS, made.record->payload);
	assert_true(length <= track_room(raw));
	(void)record_put(made.record, EVENT_TRACK, length);
	assert_true(event_check(made.record));
	made.event = (const void *)made.record->payload;
	event_track_split(made.event, made.part);
}

static void assert_part(enum event_track_part part, const char *expected)
{
	if (!call_slice_is(made.part[part], expected))
		fail_msg("part %u is \"%.*s\", expected \"%s\"", part, (int)made.part[part].bytes,
		         made.part[part].text, expected);
}

static void assert_place(const char *country, const char *city)
{
	assert_memory_equal(made.event->country, country, 2);
	assert_part(TRACK_CITY, city);
}

static void the_example_of_the_tracking_line_comes_out_to_the_byte(void **state)
{
	(void)state;
	static const char expected[] =
	        "app_open type=Desktop&browser=Firefox&engine=Gecko&version=56.0&os=Mac&host=192.168.64.2&pod=10.0.0.7&ts=1510826008003&ip=ffffac110001&klag=266&country=XX&city=XX "
	        "deviceid=abcdf&ts=123456&referrer=website";
	static const uint8_t address[16] = {
	        [10] = 0xff, [11] = 0xff, [12] = 172, [13] = 17, [14] = 0, [15] = 1};
	char line[1024];
	run((struct call_text){"app_open", "deviceid=abcdf&ts=123456&referrer=website", firefox,
	                       "192.168.64.2"},
	    address, 0);
	int n = event_line(line, sizeof line, made.record);
	assert_int_equal(n, sizeof expected - 1);
	assert_memory_equal(line, expected, (size_t)n);
}

static void what_the_client_sent_is_untouched_and_what_is_known_of_it_stands_beside(void **state)
{
	(void)state;
	run((struct call_text){"buy", "%75id=1&a=%20&&b=\xff&c", firefox, "h\xc3\xa9"}, in_sweden, 4);
	assert_part(TRACK_TYPE, "buy");
	assert_part(TRACK_QUERY, "%75id=1&a=%20&&b=\xff&c");
	assert_part(TRACK_HOST, "h\xc3\xa9");
	assert_part(TRACK_POD, "10.0.0.7");
	assert_part(TRACK_DEVICE, "Desktop");
	assert_part(TRACK_BROWSER, "Firefox");
	assert_part(TRACK_ENGINE, "Gecko");
	assert_part(TRACK_VERSION, "56.0");
	assert_part(TRACK_OS, "Mac");
	assert_place("SE", "Lund");
	assert_memory_equal(made.event->source, in_sweden, 16);
	assert_int_equal(made.event->source_port, 40001);
	assert_int_equal(made.event->arrival_ns, 1510826008003999999);
	assert_int_equal(made.event->klag_ns, EXAMPLE_KLAG_NS);
	assert_int_equal(made.event->client_ts_ms, 77);
	assert_int_equal(made.event->flags, 4);
}

static void places_are_those_of_the_database_and_xx_where_it_knows_none(void **state)
{
	(void)state;
	static const struct {
		uint8_t address[16];
		const char *country, *city;
	} cases[] = {
	        {{[10] = 0xff, [11] = 0xff, [12] = 11, [15] = 1}, "SE", "Lund"},
	        {{[10] = 0xff, [11] = 0xff, [12] = 12, [15] = 1}, "JP", "XX"},
	        {{[10] = 0xff, [11] = 0xff, [12] = 13, [15] = 1}, "XX", "XX"},
	        {{[10] = 0xff, [11] = 0xff, [12] = 192, [13] = 168, [15] = 1}, "XX", "XX"},
	        {{0x2a, 0x01, [15] = 1}, "FR", "XX"},
	        {{0x2a, 0x02, [15] = 1}, "XX", "XX"},
	        {{[15] = 1}, "XX", "XX"},
	        {{0}, "XX", "XX"},
	};
	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		run((struct call_text){"t", "", "", ""}, cases[i].address, 0);
		assert_place(cases[i].country, cases[i].city);
	}
	assert_int_equal(lookup.countries_unknown, 5);
}

static void agents_that_no_rule_knows_are_programs_of_no_browser_and_system(void **state)
{
	(void)state;
	static const char *const agents[] = {"", "An Agent", "\xff\xfe\x01", "%s%n"};
	for (unsigned i = 0; i < 2 * sizeof agents / sizeof agents[0]; i++) {
		run((struct call_text){"t", "", agents[i / 2], ""}, in_sweden, 0);
		assert_part(TRACK_DEVICE, *agents[i / 2] ? "Bot" : "Other");
		assert_part(TRACK_BROWSER, "Other");
		assert_part(TRACK_ENGINE, "Other");
		assert_part(TRACK_VERSION, "");
		assert_part(TRACK_OS, "Other");
	}
	/* Asked twice each: the second answer was kept. */
	assert_int_equal(agent_cache_counts(lookup.cache)->hits, 4);
}

static void agents_that_come_back_get_the_answer_they_had(void **state)
{
	(void)state;
	for (unsigned turn = 0; turn < 3; turn++)
		for (unsigned i = 0; i < CALL_AGENTS; i++) {
			run((struct call_text){"t", "", call_agents[i].text, ""}, in_sweden, 0);
			assert_part(TRACK_DEVICE, call_agents[i].device);
			assert_part(TRACK_BROWSER, call_agents[i].browser);
		}
	assert_int_equal(agent_cache_counts(lookup.cache)->misses, CALL_AGENTS);
	/* One too long to be kept, and for the rules. */
	char agent[3000];
	memset(agent, 'x', sizeof agent - 1);
	agent[sizeof agent - 1] = '\0';
	memcpy(agent, "curl/1.2.3 ", 11);
	for (unsigned turn = 0; turn < 2; turn++) {
		run((struct call_text){"t", "", agent, ""}, in_sweden, 0);
		assert_part(TRACK_VERSION, "1.2.3");
	}
}

static void a_clock_that_went_back_makes_no_lag(void **state)
{
	(void)state;
	struct call_text text = {"t", "", "", ""};
	run(text, in_sweden, 0);
	const struct event_track_raw *raw = (const void *)(made.raw + sizeof(struct record));
	(void)lookup_event(&lookup, raw, raw->arrival_ns - 1, made.record->payload);
	assert_int_equal(made.event->klag_ns, 0);
}

static void without_database_and_rules_places_are_xx_and_words_tell_the_device(void **state)
{
	(void)state;
	char error[RULES_ERROR_BYTES];
	lookup_close(&lookup);
	lookup.geo = geo_open(NULL);
	lookup.engine = agent_engine_create(NULL, AGENT_LONGEST, error);
	lookup.cache = agent_cache_create(AGENT_CACHE_ENTRIES_MIN, 0);
	assert_true(lookup.geo != NULL && lookup.engine != NULL && lookup.cache != NULL);
	run((struct call_text){"t", "a=1", firefox, "h"}, in_sweden, 0);
	assert_place("XX", "XX");
	assert_part(TRACK_DEVICE, "Desktop");
	assert_part(TRACK_ENGINE, "Gecko");
	assert_part(TRACK_BROWSER, "Other");
	assert_part(TRACK_VERSION, "");
	assert_part(TRACK_QUERY, "a=1");
}

/* ---- privacy ---- */

static void the_country_is_that_of_the_whole_address_and_only_its_network_is_kept(void **state)
{
	(void)state;
	static const uint8_t network[16] = {
	        [10] = 0xff, [11] = 0xff, [12] = 11, [13] = 2, [14] = 3, [15] = 0};
	lookup.settings.privacy.truncate = true;
	run((struct call_text){"t", "a=1", "", ""}, in_sweden, EVENT_TRACK_DNT);
	assert_memory_equal(made.event->source, network, 16);
	assert_place("SE", "Lund");
	assert_part(TRACK_QUERY, "a=1");
}

static void named_parameters_are_left_out_of_the_query(void **state)
{
	(void)state;
	lookup.settings.drop[0] = "uid";
	lookup.settings.drop[1] = "mail";
	lookup.settings.privacy.n_drop = 2;
	run((struct call_text){"t", "a=1&u%69d=7&b=2&mail", "", "h"}, in_sweden, 0);
	assert_part(TRACK_QUERY, "a=1&b=2");
	run((struct call_text){"t", "uid=7", "", "h"}, in_sweden, 0);
	assert_part(TRACK_QUERY, "");
	assert_memory_equal(made.event->source, in_sweden, 16);
}

static void of_a_client_that_asks_not_to_be_tracked_only_the_general_is_kept(void **state)
{
	(void)state;
	static const uint8_t nobody[16];
	lookup.settings.privacy.honour_dnt = true;
	run((struct call_text){"t", "a=1", firefox, "h"}, in_sweden, EVENT_TRACK_DNT);
	assert_memory_equal(made.event->source, nobody, 16);
	assert_int_equal(made.event->source_port, 0);
	assert_int_equal(made.event->client_ts_ms, 0);
	assert_part(TRACK_QUERY, "");
	assert_place("SE", "");
	assert_part(TRACK_DEVICE, "Desktop");
	assert_part(TRACK_HOST, "h");
	run((struct call_text){"t", "a=1", firefox, "h"}, in_sweden, 0);
	assert_memory_equal(made.event->source, in_sweden, 16);
	assert_part(TRACK_QUERY, "a=1");
}

static void nothing_is_left_out_unless_asked_for(void **state)
{
	(void)state;
	run((struct call_text){"t", "uid=7", firefox, "h"}, in_sweden, EVENT_TRACK_DNT);
	assert_memory_equal(made.event->source, in_sweden, 16);
	assert_part(TRACK_QUERY, "uid=7");
	assert_int_equal(made.event->flags, EVENT_TRACK_DNT);
}

/* ---- settings and files ---- */

static void settings_come_from_their_section(void **state)
{
	(void)state;
	struct lookup_settings settings;
	char host[TRACK_TEXT_MAX + 1] = "";
	struct config *config = load(NULL, "");
	lookup_read_settings(&settings, config);
	assert_int_equal(gethostname(host, sizeof host - 1), 0);
	assert_string_equal(settings.pod, host);
	assert_string_equal(settings.database, "");
	assert_string_equal(settings.rules, "");
	assert_int_equal(settings.agent_longest, 1024);
	assert_int_equal(settings.agent_cache, 8192);
	assert_int_equal(settings.privacy.truncate + settings.privacy.honour_dnt + settings.privacy.n_drop,
	                 0);
	config_free(config);
	config = load("enrich:\n  pod: p\n  country_database: /d\n  agent_rules: /r\n  agent_longest: 64\n"
	              "  agent_cache: 64\n  truncate_addresses: true\n  honour_dnt: true\n"
	              "  drop_parameters: [uid, mail]\n",
	              "");
	lookup_read_settings(&settings, config);
	assert_string_equal(settings.pod, "p");
	assert_string_equal(settings.database, "/d");
	assert_string_equal(settings.rules, "/r");
	assert_int_equal(settings.agent_longest + settings.agent_cache, 128);
	assert_true(settings.privacy.truncate && settings.privacy.honour_dnt);
	assert_int_equal(settings.privacy.n_drop, 2);
	assert_string_equal(settings.drop[0], "uid");
	assert_string_equal(settings.drop[1], "mail");
	config_free(config);
}

static void assert_refused(const char *rules, const char *reason)
{
	struct shm_error error = {""};
	lookup_close(&lookup);
	lookup.settings.rules = rules;
	assert_int_not_equal(lookup_open(&lookup, &error), 0);
	if (strstr(error.text, "enrich.agent_rules") == NULL || strstr(error.text, reason) == NULL)
		fail_msg("\"%s\" does not tell \"%s\"", error.text, reason);
	assert_true(lookup.geo == NULL && lookup.engine == NULL && lookup.cache == NULL);
}

static void rules_that_are_wrong_or_not_there_are_an_error(void **state)
{
	(void)state;
	static const char broken[] = "user_agent_parsers:\n  - regex: '(Firefox'\n";
	assert_refused("/nowhere/regexes.yaml", "/nowhere/regexes.yaml");
	enrich_write(enrich_rules, broken, sizeof broken - 1);
	assert_refused(enrich_rules, "2");
	enrich_write(enrich_rules, enrich_rules_text, strlen(enrich_rules_text));
}

static void a_database_that_is_not_there_or_broken_is_done_without(void **state)
{
	(void)state;
	struct shm_error error = {""};
	const char *const paths[] = {"/nowhere/country.mmdb", enrich_rules};
	for (unsigned i = 0; i < 2; i++) {
		lookup_close(&lookup);
		lookup.settings.database = paths[i];
		assert_int_equal(lookup_open(&lookup, &error), 0);
		run((struct call_text){"t", "", firefox, ""}, in_sweden, 0);
		assert_place("XX", "XX");
		assert_part(TRACK_BROWSER, "Firefox");
	}
}

static int forget_record(void **state)
{
	free(made.record);
	return enrich_files_remove(state);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        T(the_example_of_the_tracking_line_comes_out_to_the_byte),
	        T(what_the_client_sent_is_untouched_and_what_is_known_of_it_stands_beside),
	        T(places_are_those_of_the_database_and_xx_where_it_knows_none),
	        T(agents_that_no_rule_knows_are_programs_of_no_browser_and_system),
	        T(agents_that_come_back_get_the_answer_they_had),
	        T(a_clock_that_went_back_makes_no_lag),
	        T(without_database_and_rules_places_are_xx_and_words_tell_the_device),
	        T(the_country_is_that_of_the_whole_address_and_only_its_network_is_kept),
	        T(named_parameters_are_left_out_of_the_query),
	        T(of_a_client_that_asks_not_to_be_tracked_only_the_general_is_kept),
	        T(nothing_is_left_out_unless_asked_for),
	        T(settings_come_from_their_section),
	        T(rules_that_are_wrong_or_not_there_are_an_error),
	        T(a_database_that_is_not_there_or_broken_is_done_without),
	};
	alarm(60);
	log_init("lookup_test", LOG_ERROR, LOG_TEXT);
	return cmocka_run_group_tests_name("lookup", tests, enrich_files_make, forget_record);
}
