/* Settings of endpoints: which entry counts for what, and what is wrong with one. */
#include "deliver/policy.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "tests/fixture/config.h"

static struct config *config;
static struct policies *policies;

static int set_up(void **state)
{
	(void)state;
	config = NULL;
	policies = NULL;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	policies_close(policies);
	config_free(config);
	return 0;
}

static int try_text(const char *text, struct shm_error *error)
{
	config = load(text, "");
	return policies_open(&policies, config, error);
}

static void open_text(const char *text)
{
	struct shm_error error = {""};
	if (try_text(text, &error) != 0)
		fail_msg("%s", error.text);
}

static void refuses(const char *text, const char *said)
{
	struct shm_error error = {""};
	assert_int_equal(try_text(text, &error), -EINVAL);
	assert_null(policies);
	if (strncmp(error.text, said, strlen(said)) != 0)
		fail_msg("\"%s\" does not begin with \"%s\"", error.text, said);
	config_free(config);
	config = NULL;
}

static const struct policy *of(const char *url)
{
	struct target *target;
	struct shm_error error = {""};
	if (target_compile(&target, url, strlen(url), &error) != 0)
		fail_msg("%s: %s", url, error.text);
	const struct policy *policy = policies_for(policies, target);
	assert_memory_equal(&policy->host, policies_for_host(policies, target->host, target->port),
	                    sizeof policy->host);
	target_free(target);
	return policy;
}

/* Seconds of the attempt, by which the tests know the entry. */
static unsigned entry_of(const char *url)
{
	return (unsigned)(of(url)->timeout_ns / NS_PER_SEC);
}

static void without_entries_all_is_as_deliver_says(void **state)
{
	(void)state;
	open_text("deliver: {body: json, http2: yes, redirects: 3, unmatched: none, connect_timeout: 2s,\n"
	          "  per_host: {connections: 7, rate: 100, burst: 5, waiting: 9},\n"
	          "  circuit: {failures: 4, pause: 2s, pause_most: 9s}, gone: 1h}\n");
	const struct policy *policy = of("https://example.com/x?y={z}");
	assert_true(policy->json && policy->http2);
	assert_int_equal(policy->redirects, 3);
	assert_string_equal(policy->unmatched, "none");
	assert_int_equal(policy->connect_timeout_ns, 2 * NS_PER_SEC);
	assert_int_equal(policy->first_byte_timeout_ns, 15 * NS_PER_SEC);
	assert_int_equal(policy->timeout_ns, 30 * NS_PER_SEC);
	assert_int_equal(policy->gone_ns, 3600 * NS_PER_SEC);
	assert_null(policy->sign);
	assert_int_equal(policy->host.connections, 7);
	assert_int_equal(policy->host.rate, 100);
	assert_int_equal(policy->host.burst, 5);
	assert_int_equal(policy->host.waiting, 9);
	assert_int_equal(policy->circuit.failures, 4);
	assert_int_equal(policy->circuit.pause_ns, 2 * NS_PER_SEC);
	assert_int_equal(policy->circuit.pause_most_ns, 9 * NS_PER_SEC);
	assert_int_equal(policy->retry.n, 9);
}

static void the_longest_match_counts_and_whole_segments(void **state)
{
	(void)state;
	open_text("deliver:\n"
	          "  timeout: 1s\n"
	          "  endpoints:\n"
	          "    - {match: example.com, timeout: 2s}\n"
	          "    - {match: \"example.com:8443\", timeout: 3s}\n"
	          "    - {match: \"https://Example.com:443/v2\", timeout: 4s}\n"
	          "    - {match: \"https://example.com/v2/users/\", timeout: 5s}\n"
	          "    - {match: \"http://example.com\", timeout: 6s}\n"
	          "    - {match: \"[2001:db8::1]:9000\", timeout: 7s}\n");
	assert_int_equal(entry_of("https://other.com/v2"), 1);
	assert_int_equal(entry_of("https://sub.example.com/v2"), 1);
	assert_int_equal(entry_of("https://example.com/"), 2);
	assert_int_equal(entry_of("https://EXAMPLE.com/v20"), 2);
	assert_int_equal(entry_of("https://example.com:9443/v2"), 2);
	assert_int_equal(entry_of("https://example.com:8443/v2"), 3);
	assert_int_equal(entry_of("http://example.com:8443/v2"), 3);
	assert_int_equal(entry_of("https://example.com/v2"), 4);
	assert_int_equal(entry_of("https://user:word@example.com:443/v2/x?q={q}"), 4);
	assert_int_equal(entry_of("https://example.com/v2?users/"), 4);
	assert_int_equal(entry_of("https://example.com/v2/users"), 4);
	assert_int_equal(entry_of("https://example.com/v2/users/7"), 5);
	assert_int_equal(entry_of("http://example.com/v2/users/7"), 6);
	assert_int_equal(entry_of("http://[2001:db8:0::1]:9000/"), 7);
	assert_int_equal(entry_of("http://[2001:db8:0::1]:9001/"), 1);
}

/* As in a running instance too, whose configuration has every value. */
static void check_inherited(void)
{
	assert_int_equal(entry_of("https://a.com/"), 7);
	assert_int_equal(of("https://a.com/")->connect_timeout_ns, 2 * NS_PER_SEC);
	assert_true(of("https://a.com/")->json);
	assert_int_equal(of("https://a.com/")->retry.wait_ns[0], 3 * NS_PER_SEC);
	assert_int_equal(of("https://a.com/")->retry.n, 5);
	assert_int_equal(retry_judge(&of("https://a.com/")->retry, 0, 404), RETRY_DEAD);
	assert_int_equal(of("https://a.com/")->host.connections, 5);
	assert_int_equal(of("https://a.com/")->host.waiting, 77);
	assert_int_equal(entry_of("https://b.com/"), 9);
	assert_int_equal(of("https://b.com/")->retry.n, 1);
	assert_int_equal(of("https://b.com/")->retry.wait_ns[0], NS_PER_SEC);
	assert_true(of("https://b.com/")->retry.jitter == 0);
	assert_int_equal(retry_judge(&of("https://b.com/")->retry, 0, 404), RETRY_AGAIN);
	assert_int_equal(of("https://b.com/")->host.connections, 6);
	assert_int_equal(of("https://b.com/")->circuit.failures, 3);
}

static void what_an_entry_does_not_say_is_as_deliver_says_it(void **state)
{
	(void)state;
	char *text = NULL, *errors;
	size_t bytes;
	open_text("deliver:\n"
	          "  endpoints:\n"
	          "    - {match: a.com, timeout: 7s, per_host: {connections: 5}}\n"
	          "    - {match: b.com, retry: {schedule: 1s}, final: []}\n"
	          "  retry: {base: 3s, attempts: 6, jitter: 0}\n"
	          "  final: [404]\n"
	          "  timeout: 9s\n"
	          "  connect_timeout: 2s\n"
	          "  body: json\n"
	          "  circuit: {failures: 3}\n"
	          "  per_host: {connections: 6, waiting: 77}\n");
	check_inherited();
	FILE *out = open_memstream(&text, &bytes);
	assert_int_equal(config_write(config, "", out), 0);
	assert_int_equal(fclose(out), 0);
	policies_close(policies);
	config_free(config);
	config = config_load_text("written", text, bytes, NULL, 0, &errors);
	free(text);
	struct shm_error error;
	assert_int_equal(policies_open(&policies, config, &error), 0);
	check_inherited();
}

static void limits_of_a_host_are_shared_by_its_endpoints(void **state)
{
	(void)state;
	open_text("deliver:\n"
	          "  endpoints:\n"
	          "    - {match: example.com, per_host: {connections: 3}}\n"
	          "    - {match: \"https://example.com/v2\", body: json}\n"
	          "    - {match: \"https://other.com/v2\", body: json}\n");
	assert_int_equal(of("https://example.com/v2")->host.connections, 3);
	assert_true(of("https://example.com/v2")->json);
	assert_int_equal(of("https://example.com/")->host.connections, 3);
	assert_false(of("https://example.com/")->json);
	assert_int_equal(of("https://other.com/v2")->host.connections, 64);
}

static void write_secret(const char *path, const char *secret)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fchmod(fileno(file), 0600);
	fprintf(file, "%s\n", secret);
	assert_int_equal(fclose(file), 0);
}

static void secrets_are_read_once_for_all_that_name_them_and_again_when_they_change(void **state)
{
	(void)state;
	char path[] = "/tmp/policy_test.XXXXXX", text[400];
	struct shm_error error = {""};
	unsigned changed;
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	write_secret(path, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
	snprintf(text, sizeof text,
	         "deliver: {endpoints: [{match: a.com, sign: %s}, {match: b.com, sign: %s}, {match: c.com}]}",
	         path, path);
	open_text(text);
	assert_non_null(of("https://a.com/")->sign);
	assert_ptr_equal(of("https://a.com/")->sign, of("https://b.com/")->sign);
	assert_null(of("https://c.com/")->sign);
	assert_int_equal(policies_refresh(policies, &changed, &error), 0);
	assert_int_equal(changed, 0);
	write_secret(path, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
	assert_int_equal(policies_refresh(policies, &changed, &error), 0);
	assert_int_equal(changed, 1);
	/* Gone: told once, and in force as they were. */
	unlink(path);
	assert_true(policies_refresh(policies, &changed, &error) < 0);
	assert_true(strstr(error.text, path) != NULL);
	assert_int_equal(policies_refresh(policies, &changed, &error), 0);
	assert_non_null(of("https://a.com/")->sign);
	struct policies *none = NULL;
	assert_int_equal(policies_open(&none, config, &error), -ENOENT);
	assert_true(strncmp(error.text, "deliver.endpoints[0].sign: ", 27) == 0);
}

static void what_is_wrong_is_named(void **state)
{
	(void)state;
	refuses("deliver: {endpoints: [{match: a.com}, {match: \"ftp://b.com/\"}]}",
	        "deliver.endpoints[1].match: ");
	refuses("deliver: {endpoints: [{match: \"a.com/path\"}]}", "deliver.endpoints[0].match: ");
	refuses("deliver: {endpoints: [{match: \"a.com:x\"}]}", "deliver.endpoints[0].match: ");
	refuses("deliver: {endpoints: [{match: \"u@a.com\"}]}", "deliver.endpoints[0].match: ");
	refuses("deliver: {endpoints: [{match: \"https://a.com/?q=1\"}]}", "deliver.endpoints[0].match: ");
	refuses("deliver: {endpoints: [{match: \"https://u:p@a.com/\"}]}", "deliver.endpoints[0].match: ");
	refuses("deliver: {endpoints: [{match: a.com}, {match: b.com}, {match: A.com}]}",
	        "deliver.endpoints[");
	refuses("deliver: {endpoints: [{match: \"a.com:1\"}, {match: \"a.com:2\"}, {match: \"a.com:1\"}]}",
	        "deliver.endpoints[");
	refuses("deliver: {endpoints: [{match: \"https://a.com/x\", per_host: {rate: 5}}]}",
	        "deliver.endpoints[0].per_host: ");
	refuses("deliver: {endpoints: [{match: a.com, final: [20]}]}", "deliver.endpoints[0].final[0]: ");
	refuses("deliver: {endpoints: [{match: a.com, retry: {jitter: 2}}]}",
	        "deliver.endpoints[0].retry.jitter: ");
	refuses("deliver: {circuit: {pause: 2m}}", "deliver.circuit.pause: ");
	refuses("deliver: {retry: {schedule: [never]}}", "deliver.retry.schedule[0]: ");
	char longest[700];
	snprintf(longest, sizeof longest, "deliver: {endpoints: [{match: \"https://a.com/%0500d\"}]}", 0);
	refuses(longest, "deliver.endpoints[0].match: ");
}

int main(void)
{
	alarm(60);
#define RULE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        RULE(without_entries_all_is_as_deliver_says),
	        RULE(the_longest_match_counts_and_whole_segments),
	        RULE(what_an_entry_does_not_say_is_as_deliver_says_it),
	        RULE(limits_of_a_host_are_shared_by_its_endpoints),
	        RULE(secrets_are_read_once_for_all_that_name_them_and_again_when_they_change),
	        RULE(what_is_wrong_is_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
