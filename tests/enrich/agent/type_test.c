/* What kind of thing an agent is: programs whatever browser they pretend to be, browsers whatever
 * their telephone is called.
 *
 * The list of programs is that of npm's crawler-user-agents, MILLRACE_CRAWLERS or
 * data/tests/crawler-user-agents.json (make test fetches it). The rules of agent.h were written
 * with one half of it in sight; of the other half 1,009 of 1,035 were Bot when it was first looked
 * at.
 */
#include "enrich/agent/agent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "enrich/agent/words.h"
#include "tests/fixture/agent_cases.h"

#define CRAWLERS_FROM "crawler-user-agents@1.60.0"
#define CRAWLERS      2118u
#define CRAWLERS_BOT  2050u /* at least */
#define SHOWN         40u

static struct agent_engine *uap;   /* uap-core's rules; NULL: not there */
static struct agent_engine *plain; /* without rules */

static enum agent_type type_by(struct agent_engine *engine, const char *text)
{
	static struct agent agent;
	agent_parse(engine, text, strlen(text), &agent);
	return agent.type;
}

struct example {
	const char *text;
	enum agent_type type;
};

static void assert_types(struct agent_engine *engine, const struct example *examples, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		enum agent_type type = type_by(engine, examples[i].text);
		if (type != examples[i].type)
			fail_msg("%s: %s, expected %s", examples[i].text, agent_type_name(type),
			         agent_type_name(examples[i].type));
	}
}

#define IPHONE                                                                                            \
	"Mozilla/5.0 (iPhone; CPU iPhone OS 17_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)" \
	" Version/17.2 Mobile/15E148 Safari/604.1"
#define CHROME_ON_WINDOWS                                                                                    \
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 " \
	"Safari/537.36"

static void programs_that_uap_core_takes_for_telephones_are_programs(void **state)
{
	(void)state;
	static const struct example examples[] = {
	        {"httperf/0.9.0", AGENT_BOT},
	        {"HttpClient/1.0", AGENT_BOT},
	        {"http_get", AGENT_BOT},
	        {"Blackbox Exporter/0.25.0", AGENT_BOT},
	        {"SendGrid Event API", AGENT_BOT},
	        {"WordPress/3.7.1; http://samsung.hdblog.it", AGENT_BOT},
	        {"Http Connector Spider, contact Alcatel-Lucent IDOL Search", AGENT_BOT},
	        {"Blackberry-like/1.0 (Windows NT 10.0)", AGENT_MOBILE}, /* it says so */
	        {"Portable/1.0 (Windows NT 10.0)", AGENT_DESKTOP},       /* "port" alone is none */
	        /* what such telephones really say */
	        {"Spice S6005/WAP2.0 IAC/M6226 Profile/MIDP-2.0 Configuration/CLDC-1.1", AGENT_MOBILE},
	        {"Toshiba TS608_TS30/v1.0 UP.Browser/6.2.3.9.d.1 (GUI) MMP/2.0", AGENT_MOBILE},
	        {"SendoS600/04 UP.Link/6.3.0.0.0", AGENT_MOBILE},
	};
	if (!uap)
		skip();
	assert_types(uap, examples, sizeof examples / sizeof *examples);
}

static void who_says_what_it_does_is_a_program_whatever_it_pretends_to_be(void **state)
{
	(void)state;
	static const struct example examples[] = {
	        {"Mozilla/5.0 (Linux; Android 5.0) AppleWebKit/537.36 (KHTML, like Gecko) Mobile Safari/537.36 (compatible; Bytespider; spider-feedback@bytedance.com)",
	         AGENT_BOT},
	        {IPHONE " ISSCyberRiskCrawler/1.1.4", AGENT_BOT},
	        {"Mozilla/5.0 (iPhone; U; CPU iPhone OS 4_1 like Mac OS X; en-us) AppleWebKit/532.9 (KHTML, like Gecko; Google Web Preview) Version/4.0.5 Mobile/8B117 Safari/6531.22.7",
	         AGENT_BOT},
	        {IPHONE " SomeFetcher/2", AGENT_BOT},
	        {CHROME_ON_WINDOWS " Integrity Monitor", AGENT_BOT},
	        {CHROME_ON_WINDOWS " SiteCheckup", AGENT_BOT},
	        {CHROME_ON_WINDOWS " (Some Agent)", AGENT_BOT},
	        {CHROME_ON_WINDOWS " Some-Bots", AGENT_BOT},
	        {CHROME_ON_WINDOWS " +some-scan", AGENT_BOT},
	        {"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko; compatible; Some/1.0) Chrome/120.0.0.0 Safari/537.36",
	         AGENT_BOT},
	        /* and what only looks alike */
	        {"Mozilla/5.0 (Linux; Android 12; CUBOT KINGKONG 5) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36",
	         AGENT_MOBILE},
	        {"Mozilla/5.0 (Linux; Android 13; ScanPal EDA52) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36",
	         AGENT_MOBILE},
	        {"Mozilla/5.0 (Windows; U; Windows NT 6.1; en-US; rv:1.9.3a1) Gecko/20100208 MozillaDeveloperPreview/3.7a1",
	         AGENT_DESKTOP},
	        {CHROME_ON_WINDOWS " Botanica/1.0", AGENT_DESKTOP},
	        {CHROME_ON_WINDOWS " Paycheck/1.0", AGENT_DESKTOP},
	        {"BlackBerry8330/4.3.0 Profile/MIDP-2.0 User-Agent", AGENT_MOBILE},
	        {"Heart%20Monitor/7 CFNetwork/1410.0.3 Darwin/22.6.0 (iPhone)", AGENT_MOBILE},
	};
	assert_types(plain, examples, sizeof examples / sizeof *examples);
}

static void who_gives_an_address_at_which_to_ask_is_a_program(void **state)
{
	(void)state;
	static const struct example examples[] = {
	        {IPHONE " (https://example.org/)", AGENT_BOT},
	        {CHROME_ON_WINDOWS " www.example.org", AGENT_BOT},
	        {CHROME_ON_WINDOWS " (Scope, scope.com)", AGENT_BOT},
	        {CHROME_ON_WINDOWS " contact info@example.com", AGENT_BOT},
	        {CHROME_ON_WINDOWS " read more at Example.ORG.", AGENT_BOT},
	        /* no hosts */
	        {CHROME_ON_WINDOWS " com.example.app", AGENT_DESKTOP},
	        {CHROME_ON_WINDOWS " a.company/1", AGENT_DESKTOP},
	        {CHROME_ON_WINDOWS " 7.1.co", AGENT_DESKTOP},
	        {"Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; .NET4.0C; ASP.NET; .NET CLR 2.0) like Gecko",
	         AGENT_DESKTOP},
	        {"Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Embedded Web Browser from: http://bsalsa.com/; .NET CLR 2.0)",
	         AGENT_DESKTOP},
	        {IPHONE " [FBAN/FBIOS;FBCR/Telekom.de;FBID/phone]", AGENT_MOBILE}, /* a carrier */
	        {"(Android)(15)(somebody@gmail.com)(HTC Desire C)", AGENT_MOBILE}, /* a user */
	};
	assert_types(plain, examples, sizeof examples / sizeof *examples);
}

static void who_says_nothing_of_where_it_runs_is_a_program_unless_it_is_known_to_be_none(void **state)
{
	(void)state;
	static const struct example examples[] = {
	        {"curl", AGENT_BOT},
	        {"GoogleHC/1.0", AGENT_BOT},
	        {"Uptime-Kuma/1.23.16", AGENT_BOT},
	        {"Prometheus/2.45.0", AGENT_BOT},
	        {"Mozilla/5.0 (compatible; Something)", AGENT_BOT},
	        {"Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
	         AGENT_BOT},
	        {"-", AGENT_BOT},
	        {"", AGENT_OTHER},
	        {"okhttp/4.11.0", AGENT_OTHER},
	        {"Dart/3.1 (dart:io)", AGENT_OTHER},
	        {"UnityPlayer/2021.3.5f1 (UnityWebRequest/1.0, libcurl/7.80.0-DEV)", AGENT_OTHER},
	        {"Mozilla/4.0 (compatible; ms-office; MSOffice 16)", AGENT_OTHER},
	        {"Opera/9.30 (Nintendo Wii; U; ; 3642; en)", AGENT_OTHER},
	        {"Lynx/2.8.9rel.1 libwww-FM/2.14 SSL-MM/1.4.1", AGENT_DESKTOP},
	        {"Mozilla/5.0 (compatible; Konqueror/4.1; DragonFly) KHTML/4.1.4 (like Gecko)",
	         AGENT_DESKTOP},
	        {"MyApp/2.3 (Android 13; Pixel 7)", AGENT_MOBILE},
	        {"MyApp/2.3 (iPhone; iOS 16.4.1; Scale/3.00)", AGENT_MOBILE},
	};
	assert_types(plain, examples, sizeof examples / sizeof *examples);
}

static void a_mac_that_speaks_through_cfnetwork_stands_on_a_desk(void **state)
{
	(void)state;
	static const struct example examples[] = {
	        {"MyApp/7 CFNetwork/1240.0.4 Darwin/20.6.0 (x86_64)", AGENT_DESKTOP},
	        {"Safari/9537.71 CFNetwork/673.0.2 Darwin/13.0.1 (x86_64) (MacBookPro11,1)", AGENT_DESKTOP},
	        {"Safari5531.21.10 CFNetwork/438.14 Darwin/9.8.0 (i386) (MacBook5%2C2)", AGENT_DESKTOP},
	        {"Reader/5 CFNetwork/596.3.3 Darwin/12.3.0", AGENT_DESKTOP},
	        {"Safari/18615.1.26.110.1 CFNetwork/1406.0.4 Darwin/22.4.0", AGENT_DESKTOP},
	        {"MyApp%20for%20Mac/7 CFNetwork/1410.0.3 Darwin/22.6.0", AGENT_DESKTOP},
	        {"MobileSafari/8615.1.26 CFNetwork/1406.0.4 Darwin/22.4.0", AGENT_MOBILE},
	        {"App/1.0.0 CFNetwork/1125.2 Darwin/19.4.0", AGENT_MOBILE},
	        {"babbelIndonesian-iPad/4.0.1 CFNetwork/672.0.8 Darwin/14.0.0", AGENT_TABLET},
	};
	if (!uap)
		skip();
	assert_types(uap, examples, sizeof examples / sizeof *examples);
	static struct agent agent;
	size_t bytes;
	agent_parse(uap, examples[0].text, strlen(examples[0].text), &agent);
	const char *os = agent_text(&agent, AGENT_OS, &bytes);
	assert_true(bytes == 3 && memcmp(os, "Mac", 3) == 0);
	os = agent_text(&agent, AGENT_OS_FAMILY, &bytes); /* uap-core's own stays */
	assert_true(bytes == 3 && memcmp(os, "iOS", 3) == 0);
}

static void words_are_folded_and_there_once(void **state)
{
	(void)state;
	uint32_t n;
	const char *const *mark = words_marks(&n);
	for (uint32_t i = 0; i < n; i++) {
		assert_true(strlen(mark[i]) >= 2);
		for (const char *at = mark[i]; *at; at++)
			assert_false(isupper((unsigned char)*at));
		for (uint32_t k = 0; k < i; k++)
			if (strcmp(mark[i], mark[k]) == 0)
				fail_msg("\"%s\" is there twice", mark[i]);
	}
}

/* ---- lists ---- */

static void nearly_all_programs_of_a_list_that_others_keep_are_bots(void **state)
{
	(void)state;
	const char *given = getenv("MILLRACE_CRAWLERS");
	const char *path = given ? given : "data/tests/crawler-user-agents.json";
	if (!uap || access(path, R_OK) != 0) {
		printf("skipped: %s is not there (make data and make test fetch it)\n",
		       uap ? path : "regexes.yaml");
		skip();
	}
	if (!given && !agent_cases_rules_are(path, CRAWLERS_FROM))
		fail_msg("%s is not of " CRAWLERS_FROM, path);
	json_error_t error;
	json_t *list = json_load_file(path, 0, &error), *entry, *instance;
	if (!list)
		fail_msg("%s:%d: %s", path, error.line, error.text);
	unsigned n = 0, bots = 0;
	size_t i, k;
	json_array_foreach(list, i, entry)
	{
		json_array_foreach(json_object_get(entry, "instances"), k, instance)
		{
			const char *text = json_string_value(instance);
			enum agent_type type = type_by(uap, text);
			n++;
			bots += type == AGENT_BOT;
			if (type != AGENT_BOT && n - bots <= SHOWN)
				printf("%s: %s\n", agent_type_name(type), text);
		}
	}
	json_decref(list);
	printf("%u of %u are Bot\n", bots, n);
	if (!given)
		assert_int_equal(n, CRAWLERS);
	assert_true(bots >= CRAWLERS_BOT);
}

/* Programs in uap-core's files that uap-core does not call spiders, by their family. */
static bool is_known_program(const struct agent *agent)
{
	static const char *const programs[] = {"Catchpoint",
	                                       "Connector Spider",
	                                       "FASTMobileCrawl",
	                                       "HTTrack",
	                                       "HeadlessChrome",
	                                       "HuaweiSymantecSpider",
	                                       "Huaweisymantecspider",
	                                       "Monitis",
	                                       "OpenVAS Scanner",
	                                       "PHPCrawl",
	                                       "PhantomJS",
	                                       "PingdomBot",
	                                       "RSScrawler",
	                                       "Rival IQ",
	                                       "SSL-Crawler",
	                                       "Web-sniffer",
	                                       "WordPress",
	                                       "YottaaMonitor",
	                                       "moba-crawler",
	                                       "mobile crawler",
	                                       "msnbot",
	                                       NULL};
	return agent_is_one_of(agent, AGENT_FAMILY, programs);
}

/* It begins as browsers do, or uap-core knows the maker of its device. */
static bool is_browser(const char *text, const struct agent *agent)
{
	static const char *const makers[] = {"", "Spider", "Generic", NULL};
	static const char *const spider[] = {"Spider", NULL};
	if (agent_is_one_of(agent, AGENT_DEVICE_FAMILY, spider) || is_known_program(agent))
		return false;
	return strncmp(text, "Mozilla/", 8) == 0 || strncmp(text, "Opera/", 6) == 0 ||
	       !agent_is_one_of(agent, AGENT_BRAND, makers);
}

static void hardly_any_browser_of_uap_cores_files_is_a_bot(void **state)
{
	(void)state;
	struct agent_cases cases = {.n = 0};
	if (!uap || agent_cases_load(&cases) != 0) {
		printf("skipped: uap-core's rules or test files are not there (make data, MILLRACE_UAP_CORE)\n");
		skip();
	}
	unsigned n = 0, bots = 0;
	for (unsigned i = 0; i < cases.n; i++) {
		static struct agent agent;
		const char *text = cases.item[i].text;
		agent_parse(uap, text, strlen(text), &agent);
		if (!is_browser(text, &agent))
			continue;
		n++;
		bots += agent.type == AGENT_BOT;
		if (agent.type == AGENT_BOT)
			printf("Bot: %s\n", text);
	}
	printf("%u of %u browsers are Bot\n", bots, n);
	agent_cases_free(&cases);
	assert_true(n > 10000);
	assert_true(bots <= n / 1000);
}

static int begin(void **state)
{
	(void)state;
	char error[RULES_ERROR_BYTES];
	plain = agent_engine_create(NULL, AGENT_LONGEST, error);
	if (agent_cases_rules())
		uap = agent_engine_create(agent_cases_rules(), AGENT_LONGEST, error);
	return plain && (uap || !agent_cases_rules()) ? 0 : -1;
}

static int end(void **state)
{
	(void)state;
	agent_engine_destroy(plain);
	agent_engine_destroy(uap);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(programs_that_uap_core_takes_for_telephones_are_programs),
	        cmocka_unit_test(who_says_what_it_does_is_a_program_whatever_it_pretends_to_be),
	        cmocka_unit_test(who_gives_an_address_at_which_to_ask_is_a_program),
	        cmocka_unit_test(
	                who_says_nothing_of_where_it_runs_is_a_program_unless_it_is_known_to_be_none),
	        cmocka_unit_test(a_mac_that_speaks_through_cfnetwork_stands_on_a_desk),
	        cmocka_unit_test(words_are_folded_and_there_once),
	        cmocka_unit_test(nearly_all_programs_of_a_list_that_others_keep_are_bots),
	        cmocka_unit_test(hardly_any_browser_of_uap_cores_files_is_a_bot),
	};
	alarm(120);
	return cmocka_run_group_tests(tests, begin, end);
}
