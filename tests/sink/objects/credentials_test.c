/* Where keys come from: which kind is chosen, and the texts that they come in. How they are fetched
 * and renewed is tested against the fault server (tests/system/test_s3_store.py). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "sink/objects/credentials.h"

static char home[] = "/tmp/millrace-credentials.XXXXXX";

static const char *const variables[] = {
        "AWS_ACCESS_KEY_ID",
        "AWS_ACCESS_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_SECRET",
        "AWS_SESSION_TOKEN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_ROLE_ARN",
        "AWS_PROFILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_EC2_METADATA_DISABLED",
};

static int clean_environment(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
		unsetenv(variables[i]);
	return setenv("HOME", home, 1);
}

static int make_home(void **state)
{
	(void)state;
	return mkdtemp(home) == NULL;
}

static int drop_home(void **state)
{
	(void)state;
	char path[256];
	snprintf(path, sizeof path, "%s/.aws/credentials", home);
	unlink(path);
	snprintf(path, sizeof path, "%s/.aws", home);
	rmdir(path);
	return rmdir(home);
}

static const struct credentials_options usual = {.section = "sinks[0].store.s3",
                                                 .kind = "auto",
                                                 .access_key = "",
                                                 .secret_key = "",
                                                 .session_token = "",
                                                 .profile = "",
                                                 .region = "us-east-1",
                                                 .sts_endpoint = "",
                                                 .ca_file = "",
                                                 .connect_timeout_ns = NS_PER_SEC,
                                                 .request_timeout_ns = NS_PER_SEC};

static void assert_kind(const struct credentials_options *options, const char *kind)
{
	struct credentials *credentials = NULL;
	struct shm_error error = {.text = ""};
	if (credentials_open(&credentials, options, &error) != 0)
		fail_msg("%s", error.text);
	assert_string_equal(credentials_kind(credentials), kind);
	credentials_close(credentials);
}

static void write_credentials(const char *text)
{
	char path[256];
	snprintf(path, sizeof path, "%s/.aws", home);
	mkdir(path, 0700);
	snprintf(path, sizeof path, "%s/.aws/credentials", home);
	FILE *file = fopen(path, "we");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void the_first_kind_that_something_is_set_for_is_chosen(void **state)
{
	(void)state;
	struct credentials_options options = usual;
	/* from the last to the first */
	assert_kind(&options, "instance");
	setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/x", 1);
	assert_kind(&options, "container");
	write_credentials("[default]\n");
	assert_kind(&options, "file");
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere", 1);
	setenv("AWS_ROLE_ARN", "arn", 1);
	assert_kind(&options, "web_identity");
	setenv("AWS_ACCESS_KEY_ID", "id", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
	assert_kind(&options, "environment");
	options.access_key = options.secret_key = "x";
	assert_kind(&options, "config");
	static const char *const kinds[] = {"config", "environment", "web_identity",
	                                    "file",   "container",   "instance"};
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		options.kind = kinds[i];
		assert_kind(&options, kinds[i]);
	}
}

static void an_empty_variable_is_not_set(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
		setenv(variables[i], "", 1);
	write_credentials("");
	assert_kind(&usual, "file");
}

static void keys_of_the_configuration_are_there_at_once_and_never_renewed(void **state)
{
	(void)state;
	struct credentials_options options = usual;
	options.access_key = "AKIA", options.secret_key = " secret\n", options.session_token = "token";
	struct credentials *credentials;
	struct shm_error error;
	const struct credentials_keys *keys;
	uint64_t generation, now = clock_monotonic_ns();
	const char *reason;
	assert_int_equal(credentials_open(&credentials, &options, &error), 0);
	assert_int_equal(credentials_get(credentials, now, &keys, &generation, &reason), 0);
	assert_string_equal(keys->access_key, "AKIA");
	assert_string_equal(keys->secret_key, "secret");
	assert_string_equal(keys->session_token, "token");
	assert_false(credentials_refused(credentials, generation, now + 3600 * NS_PER_SEC));
	uint64_t timeout = 100 * NS_PER_SEC;
	assert_int_equal(credentials_wait(credentials, NULL, 0, &timeout), 0);
	assert_int_equal(timeout, 100 * NS_PER_SEC);
	credentials_close(credentials);
}

static void a_file_that_comes_later_is_taken(void **state)
{
	(void)state;
	struct credentials_options options = usual;
	options.kind = "file";
	struct credentials *credentials;
	struct shm_error error;
	const struct credentials_keys *keys;
	uint64_t generation, now = clock_monotonic_ns();
	const char *reason;
	setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere/credentials", 1);
	assert_int_equal(credentials_open(&credentials, &options, &error), 0);
	assert_int_equal(credentials_get(credentials, now, &keys, &generation, &reason), -EINPROGRESS);
	credentials_drive(credentials, now);
	assert_int_equal(credentials_get(credentials, now, &keys, &generation, &reason), -EACCES);
	assert_string_equal(reason, "credentials (file): /nowhere/credentials: No such file or directory");
	credentials_close(credentials);

	unsetenv("AWS_SHARED_CREDENTIALS_FILE");
	write_credentials("[default]\naws_access_key_id=A\n");
	assert_int_equal(credentials_open(&credentials, &options, &error), 0);
	credentials_drive(credentials, now);
	assert_int_equal(credentials_get(credentials, now, &keys, &generation, &reason), -EACCES);
	write_credentials("[default]\naws_access_key_id=A\naws_secret_access_key=B\n");
	credentials_drive(credentials, now + NS_PER_SEC / 2); /* not yet */
	assert_int_equal(credentials_get(credentials, now, &keys, &generation, &reason), -EACCES);
	now += NS_PER_SEC;
	credentials_drive(credentials, now);
	assert_int_equal(credentials_get(credentials, now, &keys, &generation, &reason), 0);
	/* replaced: seen within a minute, or when the store refuses the old ones */
	uint64_t first = generation;
	write_credentials("[default]\naws_access_key_id=C\naws_secret_access_key=D\n");
	now += 61 * NS_PER_SEC;
	credentials_drive(credentials, now);
	assert_int_equal(credentials_get(credentials, now, &keys, &generation, &reason), 0);
	assert_string_equal(keys->access_key, "C");
	assert_true(generation != first);
	assert_true(credentials_refused(credentials, first, now));
	assert_false(credentials_refused(credentials, generation, now));
	write_credentials("[default]\naws_access_key_id=E\naws_secret_access_key=F\n");
	now += 2 * NS_PER_SEC;
	assert_true(credentials_refused(credentials, generation, now));
	assert_int_equal(credentials_get(credentials, now, &keys, &generation, &reason), -EINPROGRESS);
	credentials_drive(credentials, now);
	assert_int_equal(credentials_get(credentials, now, &keys, &generation, &reason), 0);
	assert_string_equal(keys->access_key, "E");
	credentials_close(credentials);
}

/* ---- texts ---- */

static void assert_file(const char *text, const char *profile, const char *access, const char *secret,
                        const char *token)
{
	struct credentials_keys keys;
	char reason[256] = "";
	if (credentials_of_file(&keys, text, strlen(text), profile, reason, sizeof reason) != 0)
		fail_msg("%s", reason);
	assert_string_equal(keys.access_key, access);
	assert_string_equal(keys.secret_key, secret);
	assert_string_equal(keys.session_token, token);
	assert_int_equal(keys.expires_s, 0);
}

static void assert_file_refused(const char *text, const char *why)
{
	struct credentials_keys keys, zero = {.expires_s = 0};
	char reason[256] = "";
	assert_int_equal(credentials_of_file(&keys, text, strlen(text), "p", reason, sizeof reason), -EINVAL);
	if (strstr(reason, why) == NULL || strstr(reason, "SECRET") != NULL)
		fail_msg("%s", reason);
	assert_memory_equal(&keys, &zero, sizeof keys);
}

static void a_profile_is_read_from_the_credentials_file(void **state)
{
	(void)state;
	static const char file[] =
	        "# a comment\n; another\n\n[ default ]\r\naws_access_key_id = A \r\naws_secret_access_key = B=/+\r\n\r\n"
	        "[profile two]\naws_access_key_id=C\nregion = x\nother = [x]\naws_session_token=T\naws_secret_access_key=D";
	assert_file(file, "default", "A", "B=/+", "");
	assert_file(file, "two", "C", "D", "T");
	assert_file("[p]\naws_access_key_id=1\naws_secret_access_key=2\n[q]\naws_access_key_id=3\n", "p", "1",
	            "2", "");
	/* the later of the same name, as in AWS's own reader */
	assert_file("[p]\naws_access_key_id=1\naws_secret_access_key=2\n[p]\naws_access_key_id=3\n", "p", "3",
	            "2", "");
}

static void a_credentials_file_with_less_is_refused(void **state)
{
	(void)state;
	assert_file_refused("", "there is no profile p");
	assert_file_refused("[q]\naws_access_key_id=1\naws_secret_access_key=SECRET\n",
	                    "there is no profile p");
	assert_file_refused("[p]\naws_secret_access_key=SECRET\n", "is missing in profile p");
	assert_file_refused("[p]\naws_access_key_id=1\n", "is missing in profile p");
	assert_file_refused("[p]\naws_access_key_id=\naws_secret_access_key=SECRET\n",
	                    "aws_access_key_id is empty");
	assert_file_refused("[p]\naws_access_key_id=1\naws_secret_access_key=SECRET x\n",
	                    "aws_secret_access_key is empty or no key");
	assert_file_refused("[p]\naws_access_key_id=1\naws_secret_access_key=SECRET\x01\n",
	                    "aws_secret_access_key");
	assert_file_refused("[p]\nSECRET\n", "no \"name = value\"");
	assert_file_refused("[p]\nrole_arn = x\naws_secret_access_key=SECRET\n", "role_arn");
	assert_file_refused("[p]\ncredential_process = x\n", "credential_process");
	char text[700] = "[p]\naws_access_key_id=1\naws_secret_access_key=";
	memset(text + strlen(text), 'S', 300);
	assert_file_refused(text, "aws_secret_access_key");
}

static int read_json(struct credentials_keys *keys, const char *text, char *reason, size_t size)
{
	return credentials_of_json(keys, text, strlen(text), reason, size);
}

static void keys_are_read_from_json(void **state)
{
	(void)state;
	struct credentials_keys keys;
	char reason[256];
	assert_int_equal(
	        read_json(
	                &keys,
	                "{\"Code\":\"Success\",\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"B\",\"Token\":\"T\",\"Expiration\":\"2026-11-27T12:00:00Z\"}",
	                reason, sizeof reason),
	        0);
	assert_string_equal(keys.access_key, "A");
	assert_string_equal(keys.session_token, "T");
	assert_int_equal(keys.expires_s, 1795780800);
	assert_int_equal(
	        read_json(&keys, "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"B\"}", reason, sizeof reason),
	        0);
	assert_int_equal(keys.expires_s, 0);
	static const char *const bad[] = {
	        "",
	        "[]",
	        "{",
	        "{}",
	        "<html>",
	        "{\"AccessKeyId\":\"A\"}",
	        "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":7}",
	        "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"\"}",
	        "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"B\\r\\nX: y\"}",
	        "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"B\",\"Token\":null}",
	        "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"B\",\"Expiration\":\"soon\"}",
	        "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"B\",\"Expiration\":\"2026-11-27T12:00:00\"}",
	        "{\"Code\":\"AssumeRoleUnauthorizedAccess\",\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"B\"}",
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (read_json(&keys, bad[i], reason, sizeof reason) != -EINVAL)
			fail_msg("taken: %s", bad[i]);
}

static void keys_are_read_from_an_answer_of_sts(void **state)
{
	(void)state;
	static const char answer[] =
	        "<AssumeRoleWithWebIdentityResponse xmlns=\"x\"><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>A</AccessKeyId>"
	        "<SecretAccessKey>B</SecretAccessKey><SessionToken>\nT=\n</SessionToken><Expiration>2026-11-27T12:00:00.123Z</Expiration></Credentials>"
	        "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";
	struct credentials_keys keys;
	char reason[256];
	assert_int_equal(credentials_of_sts(&keys, answer, strlen(answer), reason, sizeof reason), 0);
	assert_string_equal(keys.secret_key, "B");
	assert_string_equal(keys.session_token, "T=");
	assert_int_equal(keys.expires_s, 1795780800);
	for (size_t cut = 0; cut < strlen(answer); cut++)
		assert_int_equal(credentials_of_sts(&keys, answer, cut, reason, sizeof reason), -EINVAL);
	static const char none[] = "<AssumeRoleWithWebIdentityResponse/>";
	assert_int_equal(credentials_of_sts(&keys, none, strlen(none), reason, sizeof reason), -EINVAL);
}

static void times_are_read_with_and_without_a_fraction(void **state)
{
	(void)state;
	assert_int_equal(credentials_time("1970-01-01T00:00:01Z"), 1);
	assert_int_equal(credentials_time("2026-11-27T12:00:00+00:00"), 1795780800);
	assert_int_equal(credentials_time("2026-11-27T12:00:00.5Z"), 1795780800);
	static const char *const bad[] = {"",
	                                  "x",
	                                  "2026-11-27",
	                                  "2026-11-27T12:00:00",
	                                  "2026-11-27T12:00:00+01:00",
	                                  "2026-13-27T12:00:00Z",
	                                  "1960-01-01T00:00:00Z",
	                                  "2026-11-27T12:00:00Zx"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(credentials_time(bad[i]), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup(the_first_kind_that_something_is_set_for_is_chosen, clean_environment),
	        cmocka_unit_test_setup(an_empty_variable_is_not_set, clean_environment),
	        cmocka_unit_test_setup(keys_of_the_configuration_are_there_at_once_and_never_renewed,
	                               clean_environment),
	        cmocka_unit_test_setup(a_file_that_comes_later_is_taken, clean_environment),
	        cmocka_unit_test(a_profile_is_read_from_the_credentials_file),
	        cmocka_unit_test(a_credentials_file_with_less_is_refused),
	        cmocka_unit_test(keys_are_read_from_json),
	        cmocka_unit_test(keys_are_read_from_an_answer_of_sts),
	        cmocka_unit_test(times_are_read_with_and_without_a_fraction),
	};
	return cmocka_run_group_tests(tests, make_home, drop_home);
}
