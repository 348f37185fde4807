/* Values with their units, what is in force, --set, writing and comparing. */
#include "tests/fixture/config.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/segment.h"
#include "config/value.h"

static void the_embedded_default_is_in_force_without_a_file(void **state)
{
	(void)state;
	struct config *config = load(NULL, "");
	assert_string_equal(config_string(config, "instance"), "default");
	assert_string_equal(config_string(config, "data_dir"), "millrace-data");
	assert_int_equal(config_ns(config, "drain_timeout"), 30000000000);
	assert_string_equal(config_string(config, "sandbox"), "auto");
	assert_string_equal(config_string(config, "users"), "auto");
	assert_int_equal(config_count(config, "ingest.udp"), 1);
	assert_int_equal(config_count(config, "ingest.udp[0].listen"), 1);
	assert_string_equal(config_item(config, 0, "ingest.udp[%d].listen", 0), "[::]:4002");
	assert_string_equal(config_string(config, "ingest.udp[0].format"), "ipevent");
	assert_int_equal(config_u64(config, "ingest.udp[%zu].receive_buffer", (size_t)0), 64 << 20);
	assert_int_equal(config_ns(config, "ingest.udp[0].batch_wait"), 200000);
	assert_int_equal(config_u64(config, "topics.%s.size", "track.raw"), 64 << 20);
	assert_string_equal(config_string(config, "topics.ip.when_full"), "drop");
	assert_int_equal(config_u64(config, "tally.addresses"), 16777216);
	assert_int_equal(config_ns(config, "tally.commit_interval"), 1000000000);
	assert_int_equal(config_count(config, "topics"), 7);
	assert_string_equal(config_item(config, 0, "topics"), "ip");
	assert_string_equal(config_item(config, 3, "topics"), "track.raw");
	assert_int_equal(config_count(config, "ingest.http"), 1);
	assert_string_equal(config_item(config, 0, "ingest.http[0].listen"), "[::]:8080");
	assert_int_equal(config_count(config, "ingest.http[0].trusted_proxies"), 2);
	assert_string_equal(config_item(config, 1, "ingest.http[0].trusted_proxies"), "::1/128");
	assert_string_equal(config_item(config, 0, "ingest.http[0].cors"), "*");
	assert_string_equal(config_string(config, "ingest.http[0].tokens"), "");
	assert_int_equal(config_u64(config, "ingest.http[0].buffers"), 256);
	assert_int_equal(config_u64(config, "queues.postback.slots"), 16384);
	assert_int_equal(config_u64(config, "queues.postback.slot_size"), 4096);
	config_free(config);
}

static void every_option_takes_its_own_default_and_bounds(void **state)
{
	(void)state;
	size_t n;
	const struct config_option *option = config_options(&n);
	assert_true(n >= 20);
	for (size_t i = 0; i < n; i++) {
		struct config_why why = {{0}};
		/* An entry of a list may have to say it. */
		bool must = strstr(option[i].key, "[]") != NULL && option[i].default_text[0] == '\0';
		if (config_value_check(&option[i], option[i].default_text, &why) != 0 && !must)
			fail_msg("%s: default: %s", option[i].key, why.text);
		assert_true(option[i].help[0] != '\0');
		assert_true(option[i].kind != CONFIG_CHOICE || option[i].choices[0] != '\0');
		if (config_value_is_text(&option[i]) || option[i].kind == CONFIG_LIST)
			continue;
		if (option[i].min_text[0] != '\0')
			assert_int_equal(config_value_check(&option[i], option[i].min_text, &why), 0);
		if (option[i].max_text[0] != '\0')
			assert_int_equal(config_value_check(&option[i], option[i].max_text, &why), 0);
	}
}

static void sizes_and_durations_have_units(void **state)
{
	(void)state;
	static const struct {
		enum config_type kind;
		const char *text;
		int result;
		uint64_t value;
	} cases[] = {
	        {CONFIG_SIZE, "64MiB", 0, 64 << 20},
	        {CONFIG_SIZE, "64 MiB", 0, 64 << 20},
	        {CONFIG_SIZE, "1.5KiB", 0, 1536},
	        {CONFIG_SIZE, "5k", 0, 5000},
	        {CONFIG_SIZE, "5M", 0, 5000000},
	        {CONFIG_SIZE, "2G", 0, 2000000000},
	        {CONFIG_SIZE, "1T", 0, 1000000000000},
	        {CONFIG_SIZE, "1TiB", 0, 1ull << 40},
	        {CONFIG_SIZE, "7B", 0, 7},
	        {CONFIG_SIZE, "7", 0, 7},
	        {CONFIG_SIZE, "18446744073709551615", 0, UINT64_MAX},
	        {CONFIG_SIZE, "18446744073709551616", -ERANGE, 0},
	        {CONFIG_SIZE, "16777216TiB", -ERANGE, 0},
	        {CONFIG_SIZE, "999999999999999999999999999999999999", -ERANGE, 0},
	        {CONFIG_SIZE, "0.5", -EINVAL, 0},
	        {CONFIG_SIZE, "64MB", -EINVAL, 0},
	        {CONFIG_SIZE, "64mib", -EINVAL, 0},
	        {CONFIG_SIZE, "MiB", -EINVAL, 0},
	        {CONFIG_SIZE, "", -EINVAL, 0},
	        {CONFIG_SIZE, "-1", -EINVAL, 0},
	        {CONFIG_SIZE, "+1", -EINVAL, 0},
	        {CONFIG_SIZE, " 1", -EINVAL, 0},
	        {CONFIG_SIZE, "1.", -EINVAL, 0},
	        {CONFIG_SIZE, "0x10", -EINVAL, 0},
	        {CONFIG_SIZE, "0.0000000001T", -EINVAL, 0},
	        {CONFIG_DURATION, "3", 0, 3000000000},
	        {CONFIG_DURATION, "0.25", 0, 250000000},
	        {CONFIG_DURATION, "200us", 0, 200000},
	        {CONFIG_DURATION, "5ns", 0, 5},
	        {CONFIG_DURATION, "10ms", 0, 10000000},
	        {CONFIG_DURATION, "1.5m", 0, 90000000000},
	        {CONFIG_DURATION, "2h", 0, 7200000000000},
	        {CONFIG_DURATION, "1d", 0, 86400000000000},
	        {CONFIG_DURATION, "0", 0, 0},
	        {CONFIG_DURATION, "0.5ns", -EINVAL, 0},
	        {CONFIG_DURATION, "1w", -EINVAL, 0},
	        {CONFIG_COUNT, "100000", 0, 100000},
	        {CONFIG_COUNT, "1e5", -EINVAL, 0},
	        {CONFIG_COUNT, "1.0", -EINVAL, 0},
	        {CONFIG_BOOL, "yes", 0, 1},
	        {CONFIG_BOOL, "off", 0, 0},
	        {CONFIG_BOOL, "1", -EINVAL, 0},
	        {CONFIG_CHOICE, "beta", 0, 1},
	        {CONFIG_CHOICE, "bet", -EINVAL, 0},
	        {CONFIG_CHOICE, "beta gamma", -EINVAL, 0},
	        {CONFIG_CHOICE, "", -EINVAL, 0},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct config_option option = {
		        .key = "a.b", .kind = cases[i].kind, .choices = "alpha beta gamma"};
		uint64_t value = 0;
		int result = config_value_parse(&option, cases[i].text, &value);
		if (result != cases[i].result || value != cases[i].value)
			fail_msg("\"%s\": %d, %llu", cases[i].text, result, (unsigned long long)value);
	}
}

static void a_file_replaces_lists_and_keeps_what_it_does_not_mention(void **state)
{
	(void)state;
	struct config *config =
	        load("ingest:\n  udp:\n    - {listen: ':1', format: raw}\n    - {listen: ':2'}\n"
	             "topics: {raw: {size: 1MiB}, mine: {outside_lanes: 2}}\n",
	             "");
	assert_int_equal(config_count(config, "ingest.udp"), 2);
	assert_string_equal(config_string(config, "ingest.udp[1].format"), "ipevent");
	assert_int_equal(config_u64(config, "topics.raw.size"), 1 << 20);
	assert_int_equal(config_u64(config, "topics.ip.size"), 64 << 20);
	assert_int_equal(config_u64(config, "topics.mine.outside_lanes"), 2);
	assert_int_equal(config_count(config, "topics"), 8);
	assert_string_equal(config_item(config, 7, "topics"), "mine");
	assert_string_equal(config_string(config, "log.level"), "info");
	config_free(config);
}

static void no_ingest_means_the_default_and_an_empty_one_means_none(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		size_t n;
	} cases[] = {{"", 1},
	             {"# nothing\n", 1},
	             {"log: {}", 1},
	             {"ingest: {}", 0},
	             {"ingest:\n", 0},
	             {"ingest: {udp: []}", 0},
	             {"ingest: {udp: }", 0},
	             {"ingest: {udp: {format: raw}}", 1}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct config *config = load(cases[i].text, "");
		assert_int_equal(config_count(config, "ingest.udp"), cases[i].n);
		config_free(config);
	}
}

static void set_changes_one_value_whatever_the_file_says(void **state)
{
	(void)state;
	struct config *config = load(NULL, "ingest.udp[0].listen=127.0.0.1:5002");
	assert_string_equal(config_item(config, 0, "ingest.udp[0].listen"), "127.0.0.1:5002");
	assert_int_equal(config_count(config, "ingest.udp[0].listen"), 1);
	config_free(config);
	config = load("tally: {commit_interval: 5s}", "tally.commit_interval=20ms");
	assert_int_equal(config_ns(config, "tally.commit_interval"), 20000000);
	config_free(config);
	config = load("tally:\n", "tally.commit_interval=20ms");
	assert_int_equal(config_ns(config, "tally.commit_interval"), 20000000);
	config_free(config);
	config = load(NULL, "ingest.udp[0].listen=[::]:5002");
	assert_string_equal(config_item(config, 0, "ingest.udp[0].listen"), "[::]:5002");
	config_free(config);
}

static void set_takes_lists_sections_and_further_entries(void **state)
{
	(void)state;
	struct config *config = load(NULL, "ingest.udp[0].listen=[\"127.0.0.1:1\", \"[::1]:1\"]");
	assert_string_equal(config_item(config, 1, "ingest.udp[0].listen"), "[::1]:1");
	config_free(config);
	config = load(NULL, "ingest.udp[0].listen[1]=127.0.0.1:5002");
	assert_int_equal(config_count(config, "ingest.udp[0].listen"), 2);
	config_free(config);
	config = load(NULL, "ingest={}");
	assert_int_equal(config_count(config, "ingest.udp"), 0);
	config_free(config);
	config = load(NULL, "ingest.udp[1].listen=127.0.0.1:5003");
	assert_int_equal(config_count(config, "ingest.udp"), 2);
	assert_string_equal(config_string(config, "ingest.udp[1].format"), "ipevent");
	config_free(config);
	config = load("ingest: {}", "ingest.udp[0]={listen: ':7', format: json}");
	assert_string_equal(config_string(config, "ingest.udp[0].format"), "json");
	config_free(config);
	config = load("ingest: {udp: {listen: ':7'}}", "ingest.udp[1].listen=:8");
	assert_string_equal(config_item(config, 0, "ingest.udp[0].listen"), ":7");
	assert_string_equal(config_item(config, 0, "ingest.udp[1].listen"), ":8");
	config_free(config);
	config = load(NULL, "topics.track.raw.size=1MiB");
	assert_int_equal(config_u64(config, "topics.track.raw.size"), 1 << 20);
	config_free(config);
	config = load(NULL, "topics.a.b={outside_lanes: 1}");
	assert_int_equal(config_u64(config, "topics.a.b.outside_lanes"), 1);
	config_free(config);
}

static void a_set_that_cannot_be_names_itself(void **state)
{
	(void)state;
	assert_errors(
	        "", "tally.commit_interval=0",
	        "--set tally.commit_interval=0: below the least value, 10ms; allowed: 10ms to 1h (seconds, or with ns us ms s m h d)\n");
	assert_one_error("", "tally={x: 1}",
	                 "--set tally={x: 1}: tally.x: unknown key; allowed: applications, ");
	assert_one_error("", "tally.aplications=1",
	                 "--set tally.aplications=1: unknown key, did you mean applications?");
	assert_one_error("", "topics.ip.sise=1", "--set topics.ip.sise=1: unknown key, did you mean size?");
	assert_one_error("", "ingest.udp[2].format=raw",
	                 "--set ingest.udp[2].format=raw: there is no entry [2]; allowed: ");
	assert_one_error("", "ingest.udp.format=raw",
	                 "--set ingest.udp.format=raw: \"format\" cannot be set: what holds it is a list");
	assert_one_error("", "data_dir.x=raw",
	                 "--set data_dir.x=raw: \"x\" cannot be set: what holds it is a single value");
	assert_one_error("", "data_dir=", "--set data_dir=: has no value");
	assert_one_error("", "novalue", "--set novalue: allowed: KEY=VALUE");
	assert_one_error("", "=x", "--set =x: allowed: KEY=VALUE");
	assert_one_error("", "a..b=1", "--set a..b=1: the key is not well formed");
	assert_one_error("", "a[x]=1", "--set a[x]=1: the key is not well formed");
	assert_one_error("", "a[0]b=1", "--set a[0]b=1: the key is not well formed");
	assert_one_error("", "a.=1", "--set a.=1: the key is not well formed");
	assert_one_error("", "log=[\"x\",", "--set log=[\"x\",: not YAML: ");
}

static void the_environment_names_the_instance_unless_a_set_does(void **state)
{
	(void)state;
	setenv("MILLRACE_INSTANCE", "blue", 1);
	struct config *config = load("instance: green", "");
	assert_string_equal(config_string(config, "instance"), "blue");
	config_free(config);
	config = load("instance: green", "instance=red");
	assert_string_equal(config_string(config, "instance"), "red");
	config_free(config);
	assert_string_equal(segment_instance(NULL), "blue");
	assert_string_equal(segment_instance("red"), "red");
	setenv("MILLRACE_INSTANCE", "b/d", 1);
	assert_one_error("", "", "MILLRACE_INSTANCE: instance: \"b/d\" cannot be a name");
	setenv("MILLRACE_INSTANCE", "", 1);
	config = load("instance: green", "");
	assert_string_equal(config_string(config, "instance"), "green");
	config_free(config);
	assert_string_equal(segment_instance(NULL), "default");
	unsetenv("MILLRACE_INSTANCE");
	assert_string_equal(segment_instance(NULL), "default");
}

/* Writes and loads again. */
static struct config *again(const struct config *config)
{
	char *text = NULL, *errors = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);
	assert_int_equal(config_write(config, "", out), 0);
	fclose(out);
	struct config *copy = config_load_text("again.yaml", text, bytes, NULL, 0, &errors);
	if (copy == NULL)
		print_error("%s\n%s", errors, text);
	assert_non_null(copy);
	free(text);
	return copy;
}

static void what_is_written_loads_as_the_same(void **state)
{
	(void)state;
	static const char *const texts[] = {
	        "",
	        "ingest: {}",
	        "data_dir: '~'",
	        "data_dir: '  a: \"b\" \\ #c  '",
	        "data_dir: 'null'",
	        "data_dir: \"\\u00e9\\U0001f30a\"",
	        "ingest: {udp: [{listen: ['[::1]:0', ':0']}, {format: json, listen: ':9', batch_wait: 0}]}",
	        "ingest: {http: {listen: ['unix:/run/a b', ':0'], cors: [], trusted_proxies: []}}",
	        "ingest: {udp: [], http: []}",
	        "ingest: {udp: [{backend: xdp, interface: eth0, queues: [0, 3], frames: 64, frame_bytes: '4096', checksums: trust, sources: [10.0.0.0/8, '::1']}]}",
	        "topics: {a.b.c: {size: 64KiB, outside_lanes: 1}, '1': {when_full: refuse, outside_lanes: 1}, 'true': {outside_lanes: 1}, '-': {outside_lanes: 1}}",
	        "instance: 'no'\nlog: {level: debug, format: json}\ndrain_timeout: 1.5m"};
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		struct config *config = load(texts[i], ""), *copy = again(config);
		assert_true(config_same(config, copy, ""));
		assert_string_equal(config_string(config, "data_dir"), config_string(copy, "data_dir"));
		config_free(config);
		config_free(copy);
	}
}

static void writing_to_a_full_disk_is_an_error(void **state)
{
	(void)state;
	struct config *config = load(NULL, "");
	FILE *full = fopen("/dev/full", "w");
	assert_non_null(full);
	assert_int_equal(config_write(config, "", full), -ENOSPC);
	fclose(full);
	config_free(config);
}

/* A list of none is not the default, neither in force nor in what the stages read. */
static void an_empty_list_stays_empty(void **state)
{
	(void)state;
	struct config *config = load("ingest: {http: {cors: [], trusted_proxies: []}}", "");
	struct config *copy = again(config);
	for (int i = 0; i < 2; i++) {
		const struct config *one = i == 0 ? config : copy;
		assert_int_equal(config_count(one, "ingest.http[0].cors"), 0);
		assert_int_equal(config_count(one, "ingest.http[0].trusted_proxies"), 0);
		assert_int_equal(config_count(one, "ingest.http[0].listen"), 1);
	}
	config_free(config);
	config_free(copy);
	config = load(NULL, "ingest.http[0].cors=[]");
	assert_int_equal(config_count(config, "ingest.http[0].cors"), 0);
	config_free(config);
}

static void topics_that_http_writes_refuse_unless_told_otherwise(void **state)
{
	(void)state;
	static const struct {
		const char *topic, *when_full;
	} cases[] = {{"ip", "drop"},        {"raw", "drop"},   {"metric", "refuse"},
	             {"track.raw", "drop"}, {"log", "refuse"}, {"mine", "drop"}};
	struct config *config = load(
	        "topics: {track.raw: {when_full: drop}, log: , metric: {size: 1MiB}, mine: {outside_lanes: 1}}",
	        "");
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_string_equal(config_string(config, "topics.%s.when_full", cases[i].topic),
		                    cases[i].when_full);
	config_free(config);
}

static void sections_are_compared_by_value(void **state)
{
	(void)state;
	struct config *a = load("topics: {ip: {size: 64MiB}}", "");
	struct config *b = load("topics: {ip: {size: '67108864'}}", "tally.applications=7");
	assert_true(config_same(a, b, "topics"));
	assert_true(config_same(a, b, "topics.ip"));
	assert_true(config_same(a, b, "topics.ip.size"));
	assert_true(config_same(a, b, "ingest.udp[0]"));
	assert_true(config_same(a, b, "ingest.udp[1]"));
	assert_false(config_same(a, b, "tally"));
	assert_false(config_same(a, b, "tally.applications"));
	assert_true(config_same(a, b, "tally.addresses"));
	assert_false(config_same(a, b, ""));
	config_free(b);
	b = load(NULL, "ingest.udp[1].listen=:5003");
	assert_true(config_same(a, b, "ingest.udp[0]"));
	assert_false(config_same(a, b, "ingest.udp[1]"));
	assert_false(config_same(a, b, "ingest.udp"));
	config_free(b);
	b = load(NULL, "topics.mine={outside_lanes: 1}");
	assert_false(config_same(a, b, "topics"));
	assert_false(config_same(a, b, "topics.mine"));
	config_free(b);
	config_free(a);
}

static int status_of_asking(void (*ask)(const struct config *config))
{
	struct config *config = load(NULL, "");
	pid_t pid = fork();
	if (pid == 0) {
		if (freopen("/dev/null", "w", stderr) == NULL)
			_exit(1);
		signal(SIGABRT, SIG_DFL);
		ask(config);
		_exit(0);
	}
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	config_free(config);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void ask_unknown(const struct config *config)
{
	(void)config_u64(config, "tally.bogus");
}

static void ask_wrong_type(const struct config *config)
{
	(void)config_u64(config, "tally.commit_interval");
}

static void ask_past_the_end(const struct config *config)
{
	(void)config_string(config, "ingest.udp[1].format");
}

static void ask_item_past_the_end(const struct config *config)
{
	(void)config_item(config, 1, "ingest.udp[0].listen");
}

static void ask_count_of_a_number(const struct config *config)
{
	(void)config_count(config, "tally.applications");
}

static void asking_for_what_no_table_declares_aborts(void **state)
{
	(void)state;
	assert_int_equal(status_of_asking(ask_unknown), SIGABRT);
	assert_int_equal(status_of_asking(ask_wrong_type), SIGABRT);
	assert_int_equal(status_of_asking(ask_past_the_end), SIGABRT);
	assert_int_equal(status_of_asking(ask_item_past_the_end), SIGABRT);
	assert_int_equal(status_of_asking(ask_count_of_a_number), SIGABRT);
}

static void every_file_that_an_option_names_is_told_with_its_key(void **state)
{
	(void)state;
	struct seen all = {""}, one = {""}, none = {""};
	struct config *config = load(
	        "ingest: {http: [{tokens: a}, {listen: ':1', tokens: /b}]}\nenrich: {agent_rules: c}\n", "");
	config_each_file(config, "", see, &all);
	config_each_file(config, "ingest.http[1]", see, &one);
	config_each_file(config, "tally", see, &none);
	assert_string_equal(all.text,
	                    "ingest.http[0].tokens=a\ningest.http[1].tokens=/b\n"
	                    "enrich.country_database=\nenrich.agent_rules=c\n"
	                    "serve.read_tokens=\nserve.admin_tokens=\nserve.peer_token=\nserve.charts=\n");
	assert_string_equal(one.text, "ingest.http[1].tokens=/b\n");
	assert_string_equal(none.text, "");
	config_free(config);
}

static void paths_become_absolute_and_stay_so_when_they_are_written(void **state)
{
	(void)state;
	char *errors = NULL, *text = NULL, folder[4100];
	size_t bytes;
	struct config *config =
	        load("data_dir: d\ningest: {http: [{tokens: 'a b'}, {listen: ':1', tokens: /b}]}\n", "");
	assert_int_equal(config_make_absolute(config, "/some \"where\\", &errors), 0);
	assert_null(errors);
	FILE *out = open_memstream(&text, &bytes);
	assert_int_equal(config_write(config, "", out), 0);
	fclose(out);
	config_free(config);
	config = load(text, "");
	free(text);
	assert_string_equal(config_string(config, "data_dir"), "/some \"where\\/d");
	assert_string_equal(config_string(config, "ingest.http[0].tokens"), "/some \"where\\/a b");
	assert_string_equal(config_string(config, "ingest.http[1].tokens"), "/b");
	assert_string_equal(config_string(config, "enrich.agent_rules"), "");
	config_free(config);

	memset(folder, 'x', sizeof folder);
	folder[0] = '/';
	folder[3999] = '\0';
	config = load("ingest: {http: [{tokens: a}]}\ndata_dir: /d\n", "");
	assert_int_equal(config_make_absolute(config, folder, &errors), -ENAMETOOLONG);
	assert_memory_equal(errors, "ingest.http[0].tokens: as an absolute path: above the greatest value",
	                    68);
	free(errors);
	config_free(config);
	config = load("data_dir: d\n", "");
	assert_int_equal(config_make_absolute(config, "/a\nb", &errors), -ENAMETOOLONG);
	assert_memory_equal(errors, "data_dir: as an absolute path: the name of the folder", 53);
	free(errors);
	config_free(config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_embedded_default_is_in_force_without_a_file),
	        cmocka_unit_test(every_option_takes_its_own_default_and_bounds),
	        cmocka_unit_test(sizes_and_durations_have_units),
	        cmocka_unit_test(a_file_replaces_lists_and_keeps_what_it_does_not_mention),
	        cmocka_unit_test(no_ingest_means_the_default_and_an_empty_one_means_none),
	        cmocka_unit_test(set_changes_one_value_whatever_the_file_says),
	        cmocka_unit_test(set_takes_lists_sections_and_further_entries),
	        cmocka_unit_test(a_set_that_cannot_be_names_itself),
	        cmocka_unit_test(the_environment_names_the_instance_unless_a_set_does),
	        cmocka_unit_test(what_is_written_loads_as_the_same),
	        cmocka_unit_test(writing_to_a_full_disk_is_an_error),
	        cmocka_unit_test(an_empty_list_stays_empty),
	        cmocka_unit_test(topics_that_http_writes_refuse_unless_told_otherwise),
	        cmocka_unit_test(sections_are_compared_by_value),
	        cmocka_unit_test(asking_for_what_no_table_declares_aborts),
	        cmocka_unit_test(every_file_that_an_option_names_is_told_with_its_key),
	        cmocka_unit_test(paths_become_absolute_and_stay_so_when_they_are_written),
	};
	alarm(60);
	unsetenv("MILLRACE_INSTANCE");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
