/* Every kind of error in a configuration, with where it is, what is wrong and what is allowed. */
#include "tests/fixture/config.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/tree.h"

#define UDP_KEYS \
	"listen, format, processes, receive_buffer, backend, batch_wait, buffers, interface, queues, xdp_mode, frames, frame_bytes, checksums, sources"

static void an_unknown_key_is_named_with_the_nearest_known_one(void **state)
{
	(void)state;
	assert_errors(
	        "tally:\n  commit_intervall: 1s\n", "",
	        "f.yaml:2: tally.commit_intervall: unknown key, did you mean commit_interval?; allowed: applications, addresses_per_application, addresses, names, accounts, metric_names, hour_cells, tops, commit_interval, log_limit, endpoints, delivery_keep\n");
	assert_errors("ingest:\n  udp:\n    - format: raw\n      lsiten: ':1'\n", "",
	              "f.yaml:4: ingest.udp[0].lsiten: unknown key, did you mean listen?; allowed: " UDP_KEYS
	              "\n");
	assert_errors(
	        "topics: {ip: {zzzzzz: 1}}", "",
	        "f.yaml:1: topics.ip.zzzzzz: unknown key; allowed: size, when_full, max_idle, max_lag, outside_lanes\n");
	assert_one_error("addresses: 5\n", "",
	                 "f.yaml:1: addresses: unknown key, did you mean tally.addresses?; allowed: ");
}

static void an_unknown_section_with_all_its_content_is_one_error(void **state)
{
	(void)state;
	assert_one_error("log: {level: info}\noutlets:\n  a: {b: [1, 2, {c: d}]}\n  e: f\n", "",
	                 "f.yaml:2: outlets: unknown key; allowed: instance, ");
}

static void a_wrong_structure_says_what_is_there_and_what_must_be(void **state)
{
	(void)state;
	assert_errors(
	        "tally: 7\n", "",
	        "f.yaml:1: tally: is a single value, must be a section of keys; allowed: applications, addresses_per_application, addresses, names, accounts, metric_names, hour_cells, tops, commit_interval, log_limit, endpoints, delivery_keep\n");
	assert_errors(
	        "ingest:\n  udp: 4002\n", "",
	        "f.yaml:2: ingest.udp: is a single value, must be a list of sections; allowed: " UDP_KEYS
	        "\n");
	assert_errors(
	        "ingest:\n  udp:\n  - 4002\n", "",
	        "f.yaml:3: ingest.udp[0]: is a single value, must be a section of keys; allowed: " UDP_KEYS
	        "\n");
	assert_errors(
	        "log: {level: [info]}\n", "",
	        "f.yaml:1: log.level: is a list, must be a single value; allowed: debug, info, warn, error\n");
	assert_errors(
	        "ingest: {udp: {listen: {a: b}}}\n", "",
	        "f.yaml:1: ingest.udp[0].listen: is a section of keys, must be a list; allowed: 1 to 16 items\n");
	assert_errors(
	        "ingest: {udp: {listen: [[':1']]}}\n", "",
	        "f.yaml:1: ingest.udp[0].listen[0]: is a list, must be a single value; allowed: texts such as [::]:4002\n");
	assert_errors(
	        "topics: [ip]\n", "",
	        "f.yaml:1: topics: is a list, must be a section of keys; allowed: size, when_full, max_idle, max_lag, outside_lanes\n");
	assert_one_error("- a\n- b\n", "", "f.yaml:1: the document must be a section of keys");
	assert_one_error("just words\n", "", "f.yaml:1: the document must be a section of keys");
}

static void a_value_out_of_range_names_the_bound(void **state)
{
	(void)state;
	assert_errors(
	        "tally: {commit_interval: 9ms}\n", "",
	        "f.yaml:1: tally.commit_interval: below the least value, 10ms; allowed: 10ms to 1h (seconds, or with ns us ms s m h d)\n");
	assert_errors("ingest: {udp: [{processes: 33}]}\n", "",
	              "f.yaml:1: ingest.udp[0].processes: above the greatest value, 32; allowed: 1 to 32\n");
	assert_one_error("topics: {ip: {size: 99999999999999999999999}}\n", "",
	                 "f.yaml:1: topics.ip.size: above the greatest value, 64GiB; allowed: ");
	assert_one_error(
	        "topics: {ip: {size: 65537}}\n", "",
	        "f.yaml:1: topics.ip.size: not a power of two; allowed: powers of two, 64KiB to 64GiB");
	assert_one_error("data_dir: ''\n", "", "f.yaml:1: data_dir: is empty; allowed: 1 to 4000 bytes");
	assert_one_error("ingest: {udp: [{listen: []}]}\n", "",
	                 "f.yaml:1: ingest.udp[0].listen: is empty; allowed: ");
}

static void a_value_of_the_wrong_type_is_quoted(void **state)
{
	(void)state;
	assert_one_error(
	        "ingest:\n  udp:\n  - listen: ':1'\n    format: ipevnt\n", "",
	        "f.yaml:4: ingest.udp[0].format: \"ipevnt\" is not a format; allowed: ipevent, raw, json");
	assert_one_error("drain_timeout: soon\n", "",
	                 "f.yaml:1: drain_timeout: \"soon\" is not a duration; allowed: ");
	assert_one_error(
	        "tally: {applications: 1.5}\n", "",
	        "f.yaml:1: tally.applications: \"1.5\" is not a whole number; allowed: 1 to 100000000");
	assert_one_error("tally: {applications: -1}\n", "",
	                 "f.yaml:1: tally.applications: \"-1\" is not a whole number");
	assert_one_error("topics: {raw: {size: 64KB}}\n", "",
	                 "f.yaml:1: topics.raw.size: \"64KB\" is not a size");
	assert_one_error("log:\n  format:\n", "",
	                 "f.yaml:2: log.format: has no value; allowed: a choice such as text");
	assert_one_error("ingest: {udp: {listen: [~]}}\n", "",
	                 "f.yaml:1: ingest.udp[0].listen: item 0 has no value");
}

static void listen_addresses_are_checked_one_by_one_and_together(void **state)
{
	(void)state;
	assert_errors(
	        "ingest: {udp: {listen: localhost}}\n", "",
	        "f.yaml:1: ingest.udp[0].listen[0]: \"localhost\" is not an address; allowed: 127.0.0.1:4002, [::1]:4002, [::]:4002, :4002, port 0 to 65535\n");
	assert_one_error(
	        "ingest:\n  udp:\n  - listen: 127.0.0.1:4002\n  - listen: ['[::1]:4002', '127.0.0.1:4002']\n",
	        "",
	        "f.yaml:4: ingest.udp[1].listen[1]: \"127.0.0.1:4002\" takes what ingest.udp[0].listen[0] (\"127.0.0.1:4002\") takes; allowed: ");
	assert_one_error("ingest: {udp: [{listen: ':4002'}, {listen: '10.0.0.1:4002', format: raw}]}\n", "",
	                 "f.yaml:1: ingest.udp[1].listen[0]: \"10.0.0.1:4002\" takes what ");
	config_free(
	        load("ingest: {udp: [{listen: ['127.0.0.1:0', '127.0.0.1:0']}, {listen: ':4002'}]}\n", ""));
}

static void a_listener_that_takes_packets_needs_an_interface_and_its_queues(void **state)
{
	(void)state;
	assert_one_error(
	        "ingest:\n  udp:\n  - listen: ':1'\n    backend: xdp\n", "",
	        "f.yaml:4: ingest.udp[0].backend: xdp needs interface, which is empty; allowed: with interface, or another backend");
	assert_one_error(
	        "ingest: {udp: {backend: xdp, interface: eth0, queues: [0, eth0]}}\n", "",
	        "f.yaml:1: ingest.udp[0].queues[1]: \"eth0\" is not a receive queue; allowed: all, or numbers from 0 to 511");
	assert_one_error("ingest: {udp: {backend: xdp, interface: eth0, queues: 512}}\n", "",
	                 "f.yaml:1: ingest.udp[0].queues[0]: \"512\" is not a receive queue; allowed: ");
	assert_one_error("ingest: {udp: {backend: xdp, interface: eth0, sources: 10.0.0.1/8}}\n", "",
	                 "f.yaml:1: ingest.udp[0].sources[0]: \"10.0.0.1/8\" is not a network; allowed: ");
	assert_one_error("ingest: {udp: {backend: xdp, interface: eth0, frames: 3000}}\n", "",
	                 "f.yaml:1: ingest.udp[0].frames: not a power of two; allowed: ");
	config_free(load("ingest: {udp: {backend: xdp, interface: eth0, queues: [0, 511]}}\n", ""));
}

static void lists_of_an_http_listener_are_checked_item_by_item(void **state)
{
	(void)state;
	assert_one_error(
	        "ingest: {http: {listen: 'unix:m.sock'}}\n", "",
	        "f.yaml:1: ingest.http[0].listen[0]: \"unix:m.sock\" is not an address; allowed: 127.0.0.1:8080, ");
	assert_one_error("ingest: {udp: {listen: 'unix:/run/m.sock'}}\n", "",
	                 "f.yaml:1: ingest.udp[0].listen[0]: \"unix:/run/m.sock\" is not an address");
	assert_one_error(
	        "ingest:\n  http:\n  - listen: [':80', 'unix:/a']\n  - listen: 'unix:/a'\n", "",
	        "f.yaml:4: ingest.http[1].listen[0]: \"unix:/a\" takes what ingest.http[0].listen[1]");
	assert_one_error("ingest:\n  http:\n    trusted_proxies: [10.0.0.0/8, 10.1.1.1/8]\n", "",
	                 "f.yaml:3: ingest.http[0].trusted_proxies[1]: \"10.1.1.1/8\" is not a network");
	assert_one_error("ingest: {http: {cors: example.com}}\n", "",
	                 "f.yaml:1: ingest.http[0].cors[0]: \"example.com\" is not an origin; allowed: ");
	assert_one_error("ingest: {http: {cors: 'https://example.com/'}}\n", "",
	                 "f.yaml:1: ingest.http[0].cors[0]: ");
	config_free(load(
	        "ingest: {udp: {listen: ':80'}, http: {listen: ':80', cors: ['null', 'http://localhost:3000'], trusted_proxies: [\"::1\", 2001:db8::/32]}}\n",
	        ""));
}

static void a_count_that_must_be_a_power_of_two_says_so(void **state)
{
	(void)state;
	assert_errors(
	        "ingest: {http: {buffers: 100}}\n", "",
	        "f.yaml:1: ingest.http[0].buffers: not a power of two; allowed: powers of two, 16 to 32768\n");
	assert_one_error("queues: {postback: {slots: 4KiB}}\n", "",
	                 "f.yaml:1: queues.postback.slots: \"4KiB\" is not a whole number");
	assert_one_error("queues: {postbak: {slots: 4}}\n", "",
	                 "f.yaml:1: queues.postbak: unknown key, did you mean postback?");
}

static void memory_that_holds_no_request_of_the_greatest_size_is_refused(void **state)
{
	(void)state;
	assert_errors(
	        "ingest:\n  http:\n    max_body: 33MiB\n    request_memory: 64MiB\n", "",
	        "f.yaml:4: ingest.http[0].request_memory: less than max_head, max_body and max_inflated together take; allowed: at least 71319552 bytes, or smaller limits\n");
	config_free(load("ingest: {http: {max_body: 33MiB, request_memory: 128MiB}}\n", ""));
}

static void a_key_that_is_there_twice_is_an_error(void **state)
{
	(void)state;
	assert_errors("log:\n  level: info\n  level: warn\n", "",
	              "f.yaml:3: log.level: the key is there twice, first on line 2\n");
	assert_errors("log: {}\ntally: {}\nlog: {}\n", "",
	              "f.yaml:3: log: the key is there twice, first on line 1\n");
}

static void names_of_topics_and_the_instance_are_checked(void **state)
{
	(void)state;
	assert_one_error("topics:\n  'a b': {}\n", "",
	                 "f.yaml:2: topics: \"a b\" cannot be a name; allowed: 1 to 31 of");
	assert_one_error("topics: {.hidden: {}}\n", "", "f.yaml:1: topics: \".hidden\" cannot be a name");
	assert_one_error("topics: {a/b: {}}\n", "", "f.yaml:1: topics: \"a/b\" cannot be a name");
	assert_one_error("instance: ../x\n", "", "f.yaml:1: instance: \"../x\" cannot be a name; allowed: ");
	assert_one_error("instance: aaaaaaaaaabbbbbbbbbbccccccccccdd\n", "",
	                 "f.yaml:1: instance: above the greatest value, 31 bytes");
}

static void there_is_room_for_sixteen_topics(void **state)
{
	(void)state;
	config_free(load(
	        "topics: {a: &o {outside_lanes: 1}, b: *o, c: *o, d: *o, e: *o, f: *o, g: *o, h: *o, i: *o}\n",
	        ""));
	assert_one_error(
	        "topics: {a: &o {outside_lanes: 1}, b: *o, c: *o, d: *o, e: *o, f: *o, g: *o, h: *o, i: *o, j: *o}\n",
	        "", "f.yaml:1: topics: 17 topics, the built-in ones counted; allowed: at most 16");
}

static void a_backoff_above_its_maximum_blames_what_was_written(void **state)
{
	(void)state;
	assert_one_error(
	        "restart_backoff: 20s\n", "",
	        "f.yaml:1: restart_backoff: the first wait, 20s, is longer than the longest, 10s; allowed: ");
	assert_one_error(
	        "restart_backoff_max: 50ms\n", "",
	        "f.yaml:1: restart_backoff_max: the first wait, 100ms, is longer than the longest, 50ms");
}

static void all_errors_are_told_in_the_order_of_their_lines(void **state)
{
	(void)state;
	char *errors = errors_of("tally:\n"
	                         "  commit_interval: 0\n"
	                         "  bogus: 1\n"
	                         "log: {level: loud, level: info}\n"
	                         "ingest:\n"
	                         "  udp:\n"
	                         "  - oops\n"
	                         "  - listen: nowhere\n"
	                         "nonsense: {}\n",
	                         "drain_timeout=never");
	static const char *const beginnings[] = {
	        "f.yaml:2: tally.commit_interval: below",
	        "f.yaml:3: tally.bogus: unknown key",
	        "f.yaml:4: log.level: the key is there twice",
	        "f.yaml:4: log.level: \"loud\" is not a level",
	        "f.yaml:7: ingest.udp[0]: is a single value",
	        "f.yaml:8: ingest.udp[1].listen[0]: \"nowhere\"",
	        "f.yaml:9: nonsense: unknown key",
	        "--set drain_timeout=never: \"never\" is not a duration",
	};
	char *at = errors;
	for (size_t i = 0; i < sizeof beginnings / sizeof beginnings[0]; i++) {
		if (strncmp(at, beginnings[i], strlen(beginnings[i])) != 0)
			print_error("expected %s\nhave     %s", beginnings[i], at);
		assert_memory_equal(at, beginnings[i], strlen(beginnings[i]));
		at = strchr(at, '\n') + 1;
	}
	assert_string_equal(at, "");
	free(errors);
}

static void what_is_not_yaml_says_where(void **state)
{
	(void)state;
	assert_one_error("log:\n  level: [info\n", "", "f.yaml:3: not YAML: ");
	assert_one_error("log: {level: info\ntally: {}\n", "", "f.yaml:2: not YAML: ");
	assert_one_error("\tlog: x\n", "", "f.yaml:1: not YAML: ");
	assert_one_error("a: *nowhere\n", "", "f.yaml:1: not YAML: found undefined alias");
	char *errors = errors_of("ingest:\n  udp:\n  - listen: [::]:4002\n", "");
	assert_non_null(strstr(errors, "f.yaml:3: not YAML: "));
	assert_non_null(strstr(errors, "needs quotes"));
	free(errors);
	assert_one_error("log: {}\n---\nlog: {}\n", "", "f.yaml:3: a second YAML document begins here");
}

static void bytes_that_are_no_text_are_refused(void **state)
{
	(void)state;
	char *errors = NULL;
	static const char nul[] = "data_dir: a\0b\n";
	assert_null(config_load_text("f.yaml", nul, sizeof nul - 1, NULL, 0, &errors));
	assert_non_null(strstr(errors, "f.yaml:1: not readable as UTF-8 text: "));
	free(errors);
	assert_one_error("log: {}\ndata_dir: \xff\xfe\n", "", "f.yaml:2: not readable as UTF-8 text: ");
	assert_one_error("data_dir: \"a\\0b\"\n", "", "f.yaml:1: data_dir: a value has control characters");
	assert_one_error("data_dir: \"a\\nb\"\n", "", "f.yaml:1: data_dir: a value has control characters");
	assert_one_error("? \"a\\eb\"\n: 1\n", "", "f.yaml:1: a key has control characters");
	assert_one_error("? [a, b]\n: 1\n", "", "f.yaml:1: a key must be a word");
	assert_one_error("'': 1\n", "", "f.yaml:1: a key has 0 bytes");
}

static void anchors_are_fine_and_alias_bombs_are_not(void **state)
{
	(void)state;
	struct config *config = load("ingest:\n"
	                             "  udp:\n"
	                             "  - &a {listen: ':1', format: &f raw}\n"
	                             "  - {listen: ':2', format: *f}\n",
	                             "");
	assert_string_equal(config_string(config, "ingest.udp[1].format"), "raw");
	config_free(config);

	char bomb[2000] = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
	for (int i = 1; i < 10; i++) {
		char line[200];
		snprintf(line, sizeof line, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i,
		         i, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
		strcat(bomb, line);
	}
	char *errors = errors_of(bomb, "");
	assert_non_null(strstr(errors, "values or"));
	free(errors);
	errors = errors_of("a: &a [*a, *a]\n", "");
	assert_non_null(strstr(errors, "nested deeper than 16 levels"));
	free(errors);
}

static void deep_nesting_and_long_documents_meet_limits(void **state)
{
	(void)state;
	static char text[CONFIG_DOCUMENT_MAX + 2];
	memset(text, '[', 100000);
	text[100000] = '\0';
	free(errors_of(text, ""));
	memset(text, '[', 17);
	memset(text + 17, ']', 17);
	text[34] = '\0';
	assert_one_error(text, "", "f.yaml:1: nested deeper than 16 levels");
	memset(text, '\n', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	assert_one_error(text, "", "f.yaml:1: longer than 131072 bytes");
	memset(text, 'k', 300);
	strcpy(text + 300, ": 1\n");
	assert_one_error(text, "", "f.yaml:1: a key has 300 bytes; allowed: 1 to 200");
}

static void after_a_hundred_errors_the_rest_is_not_told(void **state)
{
	(void)state;
	static char text[20000];
	char *at = text;
	for (int i = 0; i < 500; i++)
		at += sprintf(at, "unknown%d: {a: b}\n", i);
	char *errors = errors_of(text, "");
	size_t lines = 0;
	for (const char *c = errors; *c != '\0'; c++)
		lines += *c == '\n';
	assert_int_equal(lines, 101);
	assert_non_null(strstr(errors, "(more errors may follow these 100)"));
	free(errors);
}

static void a_file_that_cannot_be_read_says_why(void **state)
{
	(void)state;
	char *errors = NULL;
	assert_null(config_load("/nonexistent/f.yaml", NULL, 0, &errors));
	assert_string_equal(errors, "/nonexistent/f.yaml: cannot be read: No such file or directory\n");
	free(errors);
	assert_null(config_load("/", NULL, 0, &errors));
	assert_string_equal(errors, "/: cannot be read: it is a directory\n");
	free(errors);
	char path[] = "/tmp/millrace-config-XXXXXX";
	assert_non_null(mkdtemp(path));
	char fifo[64];
	snprintf(fifo, sizeof fifo, "%s/fifo", path);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	struct config *config =
	        config_load(fifo, NULL, 0, &errors); /* must not hang; a pipe nobody writes is empty */
	unlink(fifo);
	rmdir(path);
	assert_non_null(config);
	config_free(config);
}

static void a_topic_that_nobody_writes_is_an_error_with_the_nearest_that_somebody_does(void **state)
{
	(void)state;
	assert_errors(
	        "topics:\n  ip: {}\n  ipp: {size: 1MiB}\n", "",
	        "f.yaml:3: topics.ipp: nobody writes ipp; did you mean ip?; allowed: a topic that stages write, or outside_lanes for programs that write it\n");
	assert_one_error(
	        "", "topics.trackraw.size=1MiB",
	        "--set topics.trackraw.size=1MiB: topics.trackraw: nobody writes trackraw; did you mean track.raw?;");
	assert_one_error("topics: {something.else: }\n", "",
	                 "f.yaml:1: topics.something.else: nobody writes something.else; allowed: ");
	config_free(load("topics: {mine: {outside_lanes: 1}, resting: {outside_lanes: 0}, raw: {}}\n", ""));
}

static void a_path_of_a_socket_that_is_too_long_says_so(void **state)
{
	(void)state;
	char text[300], path[109];
	memset(path, 'x', sizeof path);
	path[0] = '/';
	path[108] = '\0';
	snprintf(text, sizeof text, "ingest: {http: [{listen: 'unix:%s'}]}\n", path);
	char *errors = errors_of(text, "");
	assert_non_null(strstr(errors, "f.yaml:1: ingest.http[0].listen[0]: the path of \"unix:/xxx"));
	assert_non_null(strstr(errors, "has 108 bytes; allowed: at most 107\n"));
	free(errors);
	path[107] = '\0';
	snprintf(text, sizeof text, "ingest: {http: [{listen: 'unix:%s'}]}\n", path);
	config_free(load(text, ""));
}

static void a_tab_in_the_indentation_says_so(void **state)
{
	(void)state;
	const char *said = "not YAML: a tab indents the line; allowed: spaces\n";
	static const struct {
		const char *text;
		unsigned line;
	} cases[] = {{"ingest:\n\tudp: []\n", 2},
	             {"log:\n  level: info\n\tformat: text\n", 3},
	             {"log:\n  - x\n \t- y: [\n", 3},
	             {"\tlog: {}\n", 1}};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char expected[100];
		snprintf(expected, sizeof expected, "f.yaml:%u: %s", cases[i].line, said);
		assert_errors(cases[i].text, "", expected);
	}
	config_free(load("tally:\t{}\nlog: {level:\tinfo,\n\tformat: text}\n", ""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(an_unknown_key_is_named_with_the_nearest_known_one),
	        cmocka_unit_test(an_unknown_section_with_all_its_content_is_one_error),
	        cmocka_unit_test(a_wrong_structure_says_what_is_there_and_what_must_be),
	        cmocka_unit_test(a_value_out_of_range_names_the_bound),
	        cmocka_unit_test(a_value_of_the_wrong_type_is_quoted),
	        cmocka_unit_test(listen_addresses_are_checked_one_by_one_and_together),
	        cmocka_unit_test(a_listener_that_takes_packets_needs_an_interface_and_its_queues),
	        cmocka_unit_test(lists_of_an_http_listener_are_checked_item_by_item),
	        cmocka_unit_test(a_count_that_must_be_a_power_of_two_says_so),
	        cmocka_unit_test(memory_that_holds_no_request_of_the_greatest_size_is_refused),
	        cmocka_unit_test(a_key_that_is_there_twice_is_an_error),
	        cmocka_unit_test(names_of_topics_and_the_instance_are_checked),
	        cmocka_unit_test(there_is_room_for_sixteen_topics),
	        cmocka_unit_test(a_backoff_above_its_maximum_blames_what_was_written),
	        cmocka_unit_test(all_errors_are_told_in_the_order_of_their_lines),
	        cmocka_unit_test(what_is_not_yaml_says_where),
	        cmocka_unit_test(bytes_that_are_no_text_are_refused),
	        cmocka_unit_test(anchors_are_fine_and_alias_bombs_are_not),
	        cmocka_unit_test(deep_nesting_and_long_documents_meet_limits),
	        cmocka_unit_test(after_a_hundred_errors_the_rest_is_not_told),
	        cmocka_unit_test(a_file_that_cannot_be_read_says_why),
	        cmocka_unit_test(a_topic_that_nobody_writes_is_an_error_with_the_nearest_that_somebody_does),
	        cmocka_unit_test(a_path_of_a_socket_that_is_too_long_says_so),
	        cmocka_unit_test(a_tab_in_the_indentation_says_so),
	};
	alarm(60);
	unsetenv("MILLRACE_INSTANCE");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
