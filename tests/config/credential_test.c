/* credential:NAME: what a service manager has for one unit alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/path.h"
#include "tests/fixture/config.h"

#define BUS(more) "sinks:\n- {name: bus, kind: kafka, topics: [ip], brokers: ['b:9'], " more "}\n"
#define ALL                                                                                     \
	"deliver: {sign: 'credential:sign', endpoints: [{match: a.b, sign: 'credential:b'}]}\n" \
	"serve: {read_tokens: 'credential:read', admin_tokens: /a}\n" BUS(                      \
	        "password: 'credential:pw', properties_file: 'credential:Prop-1_.x'")

static char folder[] = "/tmp/millrace-credentials-XXXXXX";

static void put(const char *name, const char *content, size_t bytes)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	FILE *out = fopen(path, "w");
	assert_non_null(out);
	assert_int_equal(fwrite(content, 1, bytes, out), bytes);
	assert_int_equal(fclose(out), 0);
}

static void put_text(const char *name, const char *content)
{
	put(name, content, strlen(content));
}

static void assert_value(const struct config *config, const char *key, const char *name)
{
	char expected[PATH_MAX];
	snprintf(expected, sizeof expected, "%s/%s", folder, name);
	assert_string_equal(config_string(config, "%s", key), expected);
}

/* "@" in it is the folder. */
static void assert_refused(const char *text, const char *section, bool must, const char *expected)
{
	char *errors = NULL, whole[1000];
	size_t used = 0;
	struct config *config = load(text, "");
	for (const char *at = expected; *at != '\0' && used < sizeof whole; at++)
		used += (size_t)snprintf(whole + used, sizeof whole - used, "%.*s", *at == '@' ? PATH_MAX : 1,
		                         *at == '@' ? folder : at);
	assert_true(used < sizeof whole);
	assert_int_equal(config_take_credentials(config, section, must, &errors), -EINVAL);
	assert_string_equal(errors, whole);
	free(errors);
	config_free(config);
}

static int setup(void **state)
{
	(void)state;
	return setenv("CREDENTIALS_DIRECTORY", folder, 1);
}

static void each_becomes_what_it_stands_for_in_its_own_section(void **state)
{
	(void)state;
	char *errors;
	struct config *config = load(ALL, "");
	put_text("sign", "whsec_");
	put_text("b", "whsec_");
	put_text("read", "x");
	put_text("pw", "hush \"'#: \xc3\xa9\n");
	put_text("Prop-1_.x", "a=b\n");
	assert_int_equal(config_take_credentials(config, "deliver", true, &errors), 0);
	assert_null(errors);
	assert_value(config, "deliver.sign", "sign");
	assert_value(config, "deliver.endpoints[0].sign", "b");
	assert_string_equal(config_string(config, "serve.read_tokens"), "credential:read");
	assert_string_equal(config_string(config, "sinks[0].password"), "credential:pw");
	assert_int_equal(config_take_credentials(config, "sinks[0]", true, &errors), 0);
	assert_string_equal(config_string(config, "sinks[0].password"), "hush \"'#: \xc3\xa9");
	assert_value(config, "sinks[0].properties_file", "Prop-1_.x");
	assert_int_equal(config_take_credentials(config, "", true, &errors), 0);
	assert_value(config, "serve.read_tokens", "read");
	assert_string_equal(config_string(config, "serve.admin_tokens"), "/a");
	config_free(config);
}

static void only_one_line_break_is_cut(void **state)
{
	(void)state;
	put_text("pw", "a\n\n");
	assert_refused(
	        BUS("password: 'credential:pw'"), "sinks[0]", true,
	        "CREDENTIALS_DIRECTORY: sinks[0].password: @/pw: has control characters, a line break within, or is not UTF-8\n");
}

static void a_secret_must_be_one_and_errors_have_nothing_of_it(void **state)
{
	(void)state;
	static const struct {
		const char *content;
		size_t bytes;
		const char *why;
	} rows[] = {
	        {"", 0, "is empty"},
	        {"\n", 1, "is empty"},
	        {"hush\r\n", 6, "has control characters, a line break within, or is not UTF-8"},
	        {"hu\0sh", 5, "has control characters, a line break within, or is not UTF-8"},
	        {"hush\xff", 5, "has control characters, a line break within, or is not UTF-8"},
	        {"credential:x", 12, "begins with credential:, as if it named another"},
	};
	char long_one[70000], expected[300];
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		put("pw", rows[i].content, rows[i].bytes);
		snprintf(expected, sizeof expected, "CREDENTIALS_DIRECTORY: sinks[0].password: @/pw: %s\n",
		         rows[i].why);
		assert_refused(BUS("password: 'credential:pw'"), "sinks[0]", false, expected);
	}
	memset(long_one, 'x', sizeof long_one);
	put("pw", long_one, 1001);
	assert_refused(
	        BUS("password: 'credential:pw'"), "sinks[0]", true,
	        "CREDENTIALS_DIRECTORY: sinks[0].password: @/pw: above the greatest value, 1000 bytes; allowed: 0 to 1000 bytes\n");
	put("pw", long_one, 65537);
	assert_refused(BUS("password: 'credential:pw'"), "sinks[0]", true,
	               "CREDENTIALS_DIRECTORY: sinks[0].password: @/pw: File too large\n");
	char *errors;
	struct config *config = load(BUS("password: 'credential:pw'"), "");
	long_one[1000] = '\n';
	put("pw", long_one, 1001);
	assert_int_equal(config_take_credentials(config, "sinks[0]", true, &errors), 0);
	assert_int_equal(strlen(config_string(config, "sinks[0].password")), 1000);
	config_free(config);
}

static void one_that_is_missing_is_an_error_or_stays(void **state)
{
	(void)state;
	char *errors;
	for (unsigned set = 0; set < 2; set++) {
		struct config *config = load(ALL, "");
		if (set)
			assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
		else
			assert_int_equal(setenv("CREDENTIALS_DIRECTORY", "/nowhere", 1), 0);
		assert_int_equal(config_take_credentials(config, "", false, &errors), 0);
		assert_string_equal(config_string(config, "deliver.sign"), "credential:sign");
		assert_string_equal(config_string(config, "sinks[0].password"), "credential:pw");
		config_free(config);
	}
	static const char unset[] =
	        "CREDENTIALS_DIRECTORY: deliver.sign: there is no credential sign, and the variable names no folder; allowed: LoadCredential=sign:FILE in the unit of this process\n";
	assert_refused("deliver: {sign: 'credential:sign'}\n", "deliver", true, unset);
	assert_int_equal(setenv("CREDENTIALS_DIRECTORY", "tmp", 1), 0); /* relative to what? */
	assert_refused("deliver: {sign: 'credential:sign'}\n", "deliver", true, unset);
	(void)setup(state);
	assert_refused(
	        "deliver: {sign: 'credential:not-here'}\n" BUS("password: 'credential:neither'"), "", true,
	        "CREDENTIALS_DIRECTORY: deliver.sign: there is no credential not-here in @; allowed: LoadCredential=not-here:FILE in the unit of this process\n"
	        "CREDENTIALS_DIRECTORY: sinks[0].password: there is no credential neither in @; allowed: LoadCredential=neither:FILE in the unit of this process\n");
}

static void what_is_there_and_cannot_be_read_is_an_error_of_a_secret(void **state)
{
	(void)state;
	char path[PATH_MAX], *errors;
	snprintf(path, sizeof path, "%s/folder", folder);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_refused(BUS("password: 'credential:folder'"), "sinks[0]", false,
	               "CREDENTIALS_DIRECTORY: sinks[0].password: @/folder: Is a directory\n");
	/* The stage that reads a file says what is wrong with it. */
	struct config *config = load("deliver: {sign: 'credential:folder'}\n", "");
	assert_int_equal(config_take_credentials(config, "deliver", true, &errors), 0);
	assert_value(config, "deliver.sign", "folder");
	config_free(config);
	assert_int_equal(rmdir(path), 0);
}

static void a_name_has_letters_digits_and_three_more(void **state)
{
	(void)state;
	static const char *const wrong[] = {"", "a/b", "../a", ".", "..", "a b", "hush\xc3\xa9", "a:b", "~"};
	static const char expected[] =
	        ": begins with credential:, and no name of a credential follows; allowed: letters, digits, - _ ., at most 255\n";
	char text[700], whole[300], name[257];
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		snprintf(text, sizeof text,
		         "deliver: {sign: 'credential:%s'}\n" BUS("password: 'credential:%s'"), wrong[i],
		         wrong[i]);
		snprintf(whole, sizeof whole, "f.yaml:1: deliver.sign%sf.yaml:3: sinks[0].password%s",
		         expected, expected);
		assert_errors(text, "", whole);
	}
	memset(name, 'x', sizeof name);
	name[255] = '\0';
	snprintf(text, sizeof text, "deliver: {sign: 'credential:%s'}\n", name);
	config_free(load(text, ""));
	name[255] = 'x', name[256] = '\0';
	snprintf(text, sizeof text, "deliver: {sign: 'credential:%s'}\n", name);
	snprintf(whole, sizeof whole, "f.yaml:1: deliver.sign%s", expected);
	assert_errors(text, "", whole);
	/* Other texts are what they are. */
	config_free(load("sinks: [{name: l, topics: [log], key: 'credential:{date}/'}]\n", ""));
	struct config *config = load("deliver: {sign: 'Credential:a/b'}\n", "");
	assert_null(config_credential(config_string(config, "deliver.sign")));
	config_free(config);
}

static void each_is_told_with_its_key(void **state)
{
	(void)state;
	struct seen all = {""}, one = {""};
	struct config *config = load(ALL, "");
	config_each_credential(config, "", see, &all);
	config_each_credential(config, "serve", see, &one);
	assert_string_equal(all.text, "sinks[0].properties_file=Prop-1_.x\nserve.read_tokens=read\n"
	                              "deliver.sign=sign\ndeliver.endpoints[0].sign=b\n"
	                              "sinks[0].password=pw\n");
	assert_string_equal(one.text, "serve.read_tokens=read\n");
	config_free(config);
}

static void it_is_no_path_and_no_secret_of_the_command_line(void **state)
{
	(void)state;
	char *error = NULL, *text = NULL;
	size_t bytes;
	struct config *config = load(ALL, "sinks[0].password=credential:other");
	assert_false(config_secret_by_set(config));
	assert_true(config_has_secrets(config, "sinks[0]"));
	assert_int_equal(config_make_absolute(config, "/work", &error), 0);
	assert_string_equal(config_string(config, "deliver.sign"), "credential:sign");
	assert_string_equal(config_string(config, "sinks[0].properties_file"), "credential:Prop-1_.x");
	FILE *out = open_memstream(&text, &bytes);
	assert_non_null(out);
	assert_int_equal(config_write(config, "", out), 0);
	assert_int_equal(fclose(out), 0);
	struct config *again = load(text, "");
	assert_true(config_same(config, again, ""));
	config_free(again);
	config_free(config);
	free(text);
}

static void a_file_of_the_folder_is_known(void **state)
{
	(void)state;
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/a", folder);
	assert_true(path_is_credential(path));
	snprintf(path, sizeof path, "%s/a/b", folder);
	assert_false(path_is_credential(path));
	assert_false(path_is_credential(folder));
	assert_false(path_is_credential("a"));
	assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
	assert_false(path_is_credential("/a"));
}

static int remove_all(void **state)
{
	static const char *const names[] = {"sign", "b", "read", "pw", "Prop-1_.x"};
	char path[PATH_MAX];
	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		snprintf(path, sizeof path, "%s/%s", folder, names[i]);
		(void)unlink(path);
	}
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup(each_becomes_what_it_stands_for_in_its_own_section, setup),
	        cmocka_unit_test_setup(only_one_line_break_is_cut, setup),
	        cmocka_unit_test_setup(a_secret_must_be_one_and_errors_have_nothing_of_it, setup),
	        cmocka_unit_test_setup(one_that_is_missing_is_an_error_or_stays, setup),
	        cmocka_unit_test_setup(what_is_there_and_cannot_be_read_is_an_error_of_a_secret, setup),
	        cmocka_unit_test_setup(a_name_has_letters_digits_and_three_more, setup),
	        cmocka_unit_test_setup(each_is_told_with_its_key, setup),
	        cmocka_unit_test_setup(it_is_no_path_and_no_secret_of_the_command_line, setup),
	        cmocka_unit_test_setup(a_file_of_the_folder_is_known, setup),
	};
	alarm(20);
	unsetenv("MILLRACE_INSTANCE");
	if (mkdtemp(folder) == NULL)
		return 1;
	return cmocka_run_group_tests(tests, NULL, remove_all);
}
