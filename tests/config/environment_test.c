/* Variables of the environment: what they set, which do not count, and which are errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "config/environment.h"

#define LOGS     "sinks:\n  - {name: logs, topics: [log]}\n"
#define AWS      "AWS_BUCKET", "bucket"
#define AWS_KEYS AWS, "AWS_ACCESS_KEY", "id", "AWS_ACCESS_SECRET", "geheim"

static char path[] = "/tmp/millrace-environment-XXXXXX";

/* No variable is left of a test that failed. */
static int forget(void **state)
{
	(void)state;
	size_t n;
	const struct config_variable *variable = config_variables(&n);
	for (size_t i = 0; i < n; i++)
		unsetenv(variable[i].name);
	return 0;
}

static int make_file(void **state)
{
	(void)state;
	int fd = mkstemp(path);
	return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

static void set_variables(va_list names)
{
	const char *name;
	forget(NULL);
	while ((name = va_arg(names, const char *)) != NULL)
		assert_int_equal(setenv(name, va_arg(names, const char *), 1), 0);
}

static void write_file(const char *text)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

/* The configuration that would start from the text (NULL: the embedded default) with these
 * variables: name, value, ..., NULL. */
static struct config *started(const char *text, ...)
{
	va_list names;
	char *errors;
	va_start(names, text);
	set_variables(names);
	va_end(names);
	if (text != NULL)
		write_file(text);
	struct config *config = config_load_to_start(text != NULL ? path : NULL, NULL, 0, &errors);
	if (config == NULL)
		fail_msg("%s", errors);
	return config;
}

/* The one error of the same. */
static void assert_refused(const char *expected, const char *text, ...)
{
	va_list names;
	char *errors;
	va_start(names, text);
	set_variables(names);
	va_end(names);
	if (text != NULL)
		write_file(text);
	assert_null(config_load_to_start(text != NULL ? path : NULL, NULL, 0, &errors));
	assert_string_equal(errors, expected);
	free(errors);
}

static void assert_listens(struct config *config, const char *address)
{
	assert_string_equal(config_item(config, 0, "ingest.http[0].listen"), address);
	assert_int_equal(config_count(config, "ingest.http[0].listen"), 1);
	config_free(config);
}

static void assert_value(const struct config *config, const char *key, const char *value)
{
	assert_string_equal(config_string(config, "%s", key), value);
}

static void assert_note(const struct config *config, const char *note)
{
	for (size_t i = 0; config_environment_note(config, i) != NULL; i++)
		if (strcmp(config_environment_note(config, i), note) == 0)
			return;
	for (size_t i = 0; config_environment_note(config, i) != NULL; i++)
		print_error("note: %s\n", config_environment_note(config, i));
	fail_msg("no note \"%s\"", note);
}

/* ---- ADDR, PORT ---- */

static void the_address_and_the_port_are_those_of_the_http_listener_alone(void **state)
{
	(void)state;
	struct config *plain = started(NULL, NULL);
	assert_null(config_environment_note(plain, 0));
	struct config *config = started(NULL, "PORT", "3000", NULL);
	assert_note(config, "PORT -> ingest.http[0].listen=[::]:3000");
	assert_true(config_same(config, plain, "ingest.udp"));
	assert_listens(config, "[::]:3000");
	assert_listens(started(NULL, "ADDR", "127.0.0.1", NULL), "127.0.0.1:8080");
	assert_listens(started(NULL, "ADDR", "::1", "PORT", "0", NULL), "[::1]:0");
	assert_listens(started(NULL, "ADDR", "[::1]", "PORT", "1", NULL), "[::1]:1");
	assert_listens(started(NULL, "ADDR", "", "PORT", "", NULL), "[::]:8080");
	config_free(plain);
}

static void a_file_that_says_where_it_listens_is_stronger(void **state)
{
	(void)state;
	struct config *config =
	        started("ingest: {http: [{listen: ':81'}, {listen: ':82'}]}\n", "PORT", "3000", NULL);
	char note[200];
	snprintf(note, sizeof note, "PORT: not used, %s:1 says ingest.http[0].listen", path);
	assert_note(config, note);
	assert_string_equal(config_item(config, 0, "ingest.http[1].listen"), ":82");
	assert_listens(config, ":81");
	/* a file that says other things of it is not */
	config = started("ingest: {http: {processes: 2}}\n", "PORT", "3000", NULL);
	assert_int_equal(config_u64(config, "ingest.http[0].processes"), 2);
	assert_listens(config, "[::]:3000");
	config = started("ingest: {}\n", "PORT", "3000", "ADDR", "::1", NULL);
	assert_note(config, "ADDR and PORT: not used, there is no HTTP listener");
	assert_int_equal(config_count(config, "ingest.http"), 0);
	config_free(config);
}

static void a_bad_address_or_port_is_an_error_that_names_the_variable(void **state)
{
	(void)state;
	assert_refused("PORT: \"http\" is no port; allowed: 0 to 65535\n", NULL, "PORT", "http", NULL);
	assert_refused("PORT: \"65536\" is no port; allowed: 0 to 65535\n", NULL, "PORT", "65536", NULL);
	assert_refused("PORT: \"-1\" is no port; allowed: 0 to 65535\n", NULL, "PORT", "-1", NULL);
	assert_refused("PORT: has control characters or line breaks, or is no UTF-8\n", NULL, "PORT", "1\n",
	               NULL);
	assert_refused(
	        "ADDR: ingest.http[0].listen[0]: \"localhost:8080\" is not an address; allowed: 127.0.0.1:8080, [::1]:8080, [::]:8080, :8080, unix:/run/millrace.sock, port 0 to 65535\n",
	        NULL, "ADDR", "localhost", NULL);
}

/* ---- STORAGE ---- */

static void storage_aws_brings_the_log_to_s3(void **state)
{
	(void)state;
	struct config *config =
	        started(LOGS "  - {name: tracks, topics: [track]}\n  - {name: both, topics: [metric, log]}\n",
	                "STORAGE", "aws", AWS_KEYS, "AWS_REGION", "eu-north-1", NULL);
	static const char *const sinks[] = {"sinks[0]", "sinks[2]"};
	for (size_t i = 0; i < 2; i++) {
		char key[100];
		snprintf(key, sizeof key, "%s.store.s3.bucket", sinks[i]);
		assert_value(config, key, "bucket");
		snprintf(key, sizeof key, "%s.store.s3.region", sinks[i]);
		assert_value(config, key, "eu-north-1");
		snprintf(key, sizeof key, "%s.store.s3.access_key", sinks[i]);
		assert_value(config, key, "id");
		snprintf(key, sizeof key, "%s.store.s3.secret_key", sinks[i]);
		assert_value(config, key, "geheim");
		snprintf(key, sizeof key, "%s.store.s3.credentials", sinks[i]);
		assert_value(config, key, "config");
	}
	assert_value(config, "sinks[1].store.s3.bucket", "");
	assert_value(config, "sinks[1].store.s3.secret_key", "");
	config_free(config);
}

static void aws_is_meant_too_when_three_names_of_the_old_program_are_set(void **state)
{
	(void)state;
	struct config *config = started(LOGS, AWS_KEYS, NULL);
	assert_value(config, "sinks[0].store.s3.bucket", "bucket");
	config_free(config);
	config = started(LOGS, AWS, "AWS_ACCESS_KEY", "id", NULL);
	assert_value(config, "sinks[0].store.s3.bucket", "");
	config_free(config);
}

static void without_storage_no_name_of_a_bucket_or_key_counts(void **state)
{
	(void)state;
	struct config *plain = started(LOGS, NULL);
	struct config *config =
	        started(LOGS, AWS, "AWS_REGION", "r\n", "AWS_ACCESS_KEY_ID", "i", "AWS_SECRET_ACCESS_KEY",
	                "s", "AWS_SESSION_TOKEN", "t", "AWS_ENDPOINT_URL", "http://e", "AZURE_CONTAINER", "c",
	                "AZURE_ACC", "a", "AZURE_KEY", "k", NULL);
	assert_true(config_same(config, plain, ""));
	assert_null(config_environment_note(config, 0));
	config_free(config);
	config_free(plain);
}

static void the_bucket_may_be_the_files_and_its_other_stores_are_taken_back(void **state)
{
	(void)state;
	struct config *config = started(
	        "sinks: {name: logs, topics: log, store: {s3: {bucket: mine, region: r, credentials: file}}}\n",
	        "STORAGE", "aws", NULL);
	assert_value(config, "sinks[0].store.s3.bucket", "mine");
	assert_value(config, "sinks[0].store.s3.credentials", "file");
	config_free(config);
	config = started("sinks: {name: logs, topics: log, store: {discard: true}}\n", "STORAGE", "aws", AWS,
	                 NULL);
	assert_value(config, "sinks[0].store.s3.bucket", "bucket");
	assert_int_equal(config_u64(config, "sinks[0].store.discard"), 0);
	config_free(config);
}

static void the_keys_of_the_standard_names_stay_where_they_are(void **state)
{
	(void)state;
	struct config *config = started(LOGS, "STORAGE", "aws", AWS, "AWS_ACCESS_KEY_ID", "i",
	                                "AWS_SECRET_ACCESS_KEY", "geheim", NULL);
	assert_value(config, "sinks[0].store.s3.credentials", "auto");
	assert_value(config, "sinks[0].store.s3.access_key", "");
	assert_value(config, "sinks[0].store.s3.secret_key", "");
	assert_note(config,
	            "AWS_SECRET_ACCESS_KEY=*** -> stores on S3 read it where their options leave it open");
	config_free(config);
}

static void what_storage_needs_and_has_not_is_an_error(void **state)
{
	(void)state;
	assert_refused("STORAGE: \"s3\" is no storage; allowed: aws, azure, or not set\n", LOGS, "STORAGE",
	               "s3", NULL);
	assert_refused("STORAGE: aws needs AWS_BUCKET, which is not set\n", LOGS, "STORAGE", "aws", NULL);
	assert_refused("STORAGE: azure needs AZURE_CONTAINER, which is not set\n", LOGS, "STORAGE", "azure",
	               NULL);
	assert_refused("AWS_ACCESS_KEY: is set without AWS_ACCESS_SECRET\n", LOGS, "STORAGE", "aws", AWS,
	               "AWS_ACCESS_KEY", "id", NULL);
	assert_refused("AWS_ACCESS_SECRET: is set without AWS_ACCESS_KEY\n", LOGS, "STORAGE", "aws", AWS,
	               "AWS_ACCESS_SECRET", "geheim", NULL);
	assert_refused("STORAGE: no sink of the kind objects keeps the topic log\n", "sinks: []\n", "STORAGE",
	               "aws", AWS, NULL);
	assert_refused("STORAGE: no sink of the kind objects keeps the topic log\n",
	               "sinks: [{name: a, kind: stdout, topics: [log]}]\n", "STORAGE", "aws", AWS, NULL);
	assert_refused("AWS_REGION: has control characters or line breaks, or is no UTF-8\n", LOGS, "STORAGE",
	               "aws", AWS, "AWS_REGION", "\x1b", NULL);
}

static void secrets_are_in_no_error_and_no_note(void **state)
{
	(void)state;
	char secret[400];
	memset(secret, 'g', sizeof secret - 1);
	secret[sizeof secret - 1] = '\0';
	assert_refused(
	        "AWS_ACCESS_SECRET: sinks[0].store.s3.secret_key: above the greatest value, 255 bytes; allowed: 0 to 255 bytes\n",
	        LOGS, "STORAGE", "aws", AWS, "AWS_ACCESS_KEY", "id", "AWS_ACCESS_SECRET", secret, NULL);
	struct config *config =
	        started(LOGS, "STORAGE", "aws", AWS_KEYS, "AWS_SESSION_TOKEN", "geheim", NULL);
	for (size_t i = 0; config_environment_note(config, i) != NULL; i++)
		assert_null(strstr(config_environment_note(config, i), "geheim"));
	assert_note(config, "AWS_ACCESS_SECRET=*** -> sinks[0].store.s3.secret_key=***");
	assert_note(config, "AWS_BUCKET=bucket -> sinks[0].store.s3.bucket=bucket");
	config_free(config);
}

static void storage_azure_brings_the_log_to_a_container(void **state)
{
	(void)state;
	struct config *config = started(LOGS, "STORAGE", "azure", "AZURE_CONTAINER", "box", "AZURE_ACC",
	                                "account", "AZURE_KEY", "Z2VoZWlt", AWS_KEYS, NULL);
	assert_value(config, "sinks[0].store.azure.container", "box");
	assert_value(config, "sinks[0].store.azure.account", "account");
	assert_value(config, "sinks[0].store.azure.key", "Z2VoZWlt");
	assert_value(config, "sinks[0].store.azure.credentials", "key");
	assert_value(config, "sinks[0].store.s3.bucket", "");
	assert_note(config, "AZURE_KEY=*** -> sinks[0].store.azure.key=***");
	config_free(config);
	config = started(LOGS, "STORAGE", "azure", "AZURE_CONTAINER", "box", "AZURE_ACC", "account", NULL);
	assert_value(config, "sinks[0].store.azure.credentials", "auto");
	config_free(config);
	config = started("sinks: {name: logs, topics: log, store: {azure: {container: mine}}}\n", "STORAGE",
	                 "aws", AWS, NULL);
	assert_value(config, "sinks[0].store.azure.container", "");
	assert_value(config, "sinks[0].store.s3.bucket", "bucket");
	config_free(config);
}

static void minutes_are_those_of_the_sinks_of_the_log(void **state)
{
	(void)state;
	struct config *config =
	        started(LOGS "  - {name: tracks, topics: [track]}\n", "QUEUE_TIMEOUT_MIN", "5", NULL);
	assert_int_equal(config_ns(config, "sinks[0].finish.after"), 300 * UINT64_C(1000000000));
	assert_int_equal(config_ns(config, "sinks[1].finish.after"), 3600 * UINT64_C(1000000000));
	config_free(config);
	config_free(started(LOGS, "QUEUE_TIMEOUT_MIN", "8640", NULL));
	static const char *const bad[] = {"0", "8641", "1h", "-5", "1.5", "99999999999999999999"};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		char expected[200];
		snprintf(expected, sizeof expected,
		         "QUEUE_TIMEOUT_MIN: \"%s\" is no number of minutes; allowed: 1 to 8640\n", bad[i]);
		assert_refused(expected, LOGS, "QUEUE_TIMEOUT_MIN", bad[i], NULL);
	}
}

static void the_embedded_default_takes_all_of_them(void **state)
{
	(void)state;
	struct config *config = started(NULL, AWS_KEYS, "AWS_REGION", "eu-north-1", "QUEUE_TIMEOUT_MIN", "5",
	                                "PORT", "8902", NULL);
	assert_value(config, "sinks[0].name", "logs");
	assert_value(config, "sinks[0].store.s3.bucket", "bucket");
	assert_value(config, "sinks[1].name", "tracks");
	assert_value(config, "sinks[1].store.s3.bucket", "");
	assert_int_equal(config_ns(config, "sinks[0].finish.after"), 300 * UINT64_C(1000000000));
	assert_listens(config, "[::]:8902");
}

/* ---- NO_UPLOAD ---- */

static void no_upload_stores_nothing_whatever_storage_says(void **state)
{
	(void)state;
	struct config *config = started("sinks: {name: logs, topics: log, store: {s3: {bucket: mine}}}\n",
	                                "NO_UPLOAD", "1", "STORAGE", "aws", AWS_KEYS, NULL);
	assert_int_equal(config_u64(config, "sinks[0].store.discard"), 1);
	assert_value(config, "sinks[0].store.s3.bucket", "");
	config_free(config);
	static const char *const no[] = {"0", "false", "no", ""};
	for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) {
		config = started(LOGS, "NO_UPLOAD", no[i], NULL);
		assert_int_equal(config_u64(config, "sinks[0].store.discard"), 0);
		config_free(config);
	}
	assert_refused("NO_UPLOAD: \"2\" is neither yes nor no; allowed: 1, true, yes, 0, false, no\n", LOGS,
	               "NO_UPLOAD", "2", NULL);
	config = started("sinks: []\n", "NO_UPLOAD", "1", NULL);
	assert_note(config, "NO_UPLOAD: not used, no sink of the kind objects keeps the topic log");
	config_free(config);
}

/* ---- which is the stronger ---- */

static void a_set_is_stronger_than_the_environment(void **state)
{
	(void)state;
	const char *const sets[] = {"ingest.http[0].listen=:9", "sinks[0].store.s3.bucket=other"};
	char *errors;
	config_free(started(LOGS, "STORAGE", "aws", AWS, "PORT", "3000", NULL));
	struct config *config = config_load_to_start(path, sets, 2, &errors);
	assert_non_null(config);
	assert_value(config, "sinks[0].store.s3.bucket", "other");
	assert_listens(config, ":9");
}

static void what_runs_is_not_changed_by_the_environment_of_its_reader(void **state)
{
	(void)state;
	char *errors;
	struct config *plain = started(LOGS, NULL);
	config_free(started(LOGS, "STORAGE", "aws", AWS_KEYS, "PORT", "3000", "NO_UPLOAD", "0", NULL));
	struct config *config = config_load(path, NULL, 0, &errors);
	assert_non_null(config);
	assert_true(config_same(config, plain, ""));
	assert_null(config_environment_note(config, 0));
	config_free(config);
	config = config_load_text("f.yaml", LOGS, strlen(LOGS), NULL, 0, &errors);
	assert_true(config_same(config, plain, ""));
	config_free(config);
	config_free(plain);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_address_and_the_port_are_those_of_the_http_listener_alone),
	        cmocka_unit_test(a_file_that_says_where_it_listens_is_stronger),
	        cmocka_unit_test(a_bad_address_or_port_is_an_error_that_names_the_variable),
	        cmocka_unit_test(storage_aws_brings_the_log_to_s3),
	        cmocka_unit_test(aws_is_meant_too_when_three_names_of_the_old_program_are_set),
	        cmocka_unit_test(without_storage_no_name_of_a_bucket_or_key_counts),
	        cmocka_unit_test(the_bucket_may_be_the_files_and_its_other_stores_are_taken_back),
	        cmocka_unit_test(the_keys_of_the_standard_names_stay_where_they_are),
	        cmocka_unit_test(what_storage_needs_and_has_not_is_an_error),
	        cmocka_unit_test(secrets_are_in_no_error_and_no_note),
	        cmocka_unit_test(storage_azure_brings_the_log_to_a_container),
	        cmocka_unit_test(minutes_are_those_of_the_sinks_of_the_log),
	        cmocka_unit_test(the_embedded_default_takes_all_of_them),
	        cmocka_unit_test(no_upload_stores_nothing_whatever_storage_says),
	        cmocka_unit_test(a_set_is_stronger_than_the_environment),
	        cmocka_unit_test(what_runs_is_not_changed_by_the_environment_of_its_reader),
	};
	alarm(30);
	return cmocka_run_group_tests(tests, make_file, remove_file);
}
