/* Secrets of an instance that runs: config.yaml without them, a file for each role. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/folder.h"
#include "shm/instance.h"
#include "tests/fixture/config.h"
#include "tests/fixture/sandbox.h"

#define OTHER 65534u /* nobody: as good as any user who is not us */

#define TWO                                                                                                 \
	"sinks:\n"                                                                                          \
	"- {name: bus, kind: kafka, topics: [ip], brokers: ['b:9092'], password: 'hush \"#: \xc3\xa9\\'}\n" \
	"- {name: log, topics: [log], store: {s3: {bucket: b, credentials: config, access_key: A, "         \
	"secret_key: hush/key, session_token: '~'}}}\n"
#define PASSWORD "hush \"#: \xc3\xa9\\"

/* What config_write, or config_write_secrets with a role, writes; free it. */
static char *written(const struct config *config, const char *section, const char *role)
{
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);
	assert_non_null(out);
	assert_int_equal(role == NULL ? config_write(config, section, out)
	                              : config_write_secrets(config, section, role, out),
	                 0);
	assert_int_equal(fclose(out), 0);
	return text;
}

/* The configuration as config.yaml has it. */
static struct config *masked(const char *text)
{
	struct config *whole = load(text, "");
	char *said = written(whole, NULL, NULL);
	config_free(whole);
	assert_null(strstr(said, "hush"));
	struct config *config = load(said, "");
	free(said);
	return config;
}

/* Takes the text as the file of kafka.bus; frees what it says. */
static void assert_refused(const char *text, const char *error)
{
	struct config *config = masked(TWO);
	char *errors;
	assert_int_equal(
	        config_take_secrets(config, "sinks[0]", "kafka.bus", "F", text, strlen(text), &errors),
	        -EINVAL);
	assert_string_equal(errors, error);
	free(errors);
	config_free(config);
}

static void a_section_gets_its_secrets_back_and_no_others(void **state)
{
	(void)state;
	struct config *whole = load(TWO, ""), *config = masked(TWO);
	char *bus = written(whole, "sinks[0]", "kafka.bus"), *log = written(whole, "sinks[1]", "objects.log"),
	     *errors;
	assert_null(strstr(bus, "hush/key"));
	assert_null(strstr(log, "hush \\\""));
	assert_int_equal(config_take_secrets(config, "sinks[0]", "kafka.bus", "F", bus, strlen(bus), &errors),
	                 0);
	assert_null(errors);
	assert_string_equal(config_string(config, "sinks[0].password"), PASSWORD);
	assert_string_equal(config_string(config, "sinks[1].store.s3.secret_key"), "***");
	assert_true(config_same_entry(whole, "sinks[0]", config, "sinks[0]"));
	assert_int_equal(
	        config_take_secrets(config, "sinks[1]", "objects.log", "F", log, strlen(log), &errors), 0);
	assert_string_equal(config_string(config, "sinks[1].store.s3.session_token"), "~");
	assert_string_equal(config_string(config, "sinks[1].store.azure.key"), "");
	assert_true(config_same(whole, config, ""));
	free(bus);
	free(log);
	config_free(whole);
	config_free(config);
}

static void a_file_stays_good_when_its_entry_moves(void **state)
{
	(void)state;
	struct config *whole = load(TWO, "");
	struct config *config = masked("sinks:\n- {name: a, kind: file, topics: [ip]}\n"
	                               "- {name: bus, kind: kafka, topics: [ip], password: hush}\n");
	char *bus = written(whole, "sinks[0]", "kafka.bus"), *errors;
	assert_int_equal(config_take_secrets(config, "sinks[1]", "kafka.bus", "F", bus, strlen(bus), &errors),
	                 0);
	assert_string_equal(config_string(config, "sinks[1].password"), PASSWORD);
	free(bus);
	config_free(whole);
	config_free(config);
}

static void a_section_is_told_its_own_secrets_alone(void **state)
{
	(void)state;
	struct config *config = load(TWO, "");
	char *one = written(config, "sinks[1]", NULL), *all = written(config, "", NULL);
	assert_non_null(strstr(one, "password: \"***\""));
	assert_non_null(strstr(one, "secret_key: \"hush/key\""));
	assert_null(strstr(all, "***"));
	free(one);
	free(all);
	assert_true(config_has_secrets(config, ""));
	assert_true(config_has_secrets(config, "sinks[1]"));
	assert_false(config_has_secrets(config, "sinks[2]"));
	assert_false(config_has_secrets(config, "serve"));
	config_free(config);
	config = load("sinks: [{name: bus, kind: kafka, topics: [ip]}]\n", "");
	assert_false(config_has_secrets(config, ""));
	config_free(config);
}

static void a_file_must_have_exactly_what_is_masked(void **state)
{
	(void)state;
	assert_refused("kafka.bus: {}\n", "F: sinks[0].password: is not in it, and kafka.bus needs it\n");
	assert_refused("kafka.bus:\n  password: hush\n  store.s3.secret_key: hush\n",
	               "F:3: sinks[0].store.s3.secret_key: is no secret of kafka.bus\n");
	assert_refused("kafka.bus:\n  brokers: hush\n", "F:2: sinks[0].brokers: is no secret of kafka.bus\n");
	assert_refused("kafka.bus:\n  name: hush\n", "F:2: sinks[0].name: is no secret of kafka.bus\n");
	assert_refused("kafka.bus:\n  password: ''\n", "F:2: sinks[0].password: must be the secret itself\n");
	assert_refused("kafka.bus:\n  password: '***'\n",
	               "F:2: sinks[0].password: must be the secret itself\n");
	assert_refused("kafka.bus:\n  password: [hush]\n",
	               "F:2: sinks[0].password: must be the secret itself\n");
	assert_refused("kafka.bus:\n  password: \n", "F:2: sinks[0].password: must be the secret itself\n");
	assert_refused("kafka.bus:\n  password: hush\n  password: hush\n",
	               "F:3: kafka.bus.password: the key is there twice, first on line 2\n");
	assert_refused("kafka.bus:\n  '[1].store.s3.secret_key': hush\n",
	               "F:2: sinks[0].[1].store.s3.secret_key: is no secret of kafka.bus\n");
	char *errors, *text = NULL;
	assert_true(asprintf(&text, "kafka.bus:\n  password: %0*d\n", 1001, 0) > 0);
	struct config *config = masked(TWO);
	assert_int_equal(
	        config_take_secrets(config, "sinks[0]", "kafka.bus", "F", text, strlen(text), &errors),
	        -EINVAL);
	assert_string_equal(
	        errors,
	        "F:2: sinks[0].password: above the greatest value, 1000 bytes; allowed: 0 to 1000 bytes\n");
	free(errors);
	free(text);
	config_free(config);
}

static void the_file_of_another_role_is_refused(void **state)
{
	(void)state;
	static const char foreign[] =
	        ": is not the file of kafka.bus; allowed: {kafka.bus: {KEY: SECRET, ...}}\n";
	static const char *const texts[] = {
	        "kafka.bu: {password: hush}\n",           "", "[]\n", "hush\n", "kafka.bus: hush\n",
	        "kafka.bus: {password: x}\nkafka.c: {}\n"};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		char expected[200];
		snprintf(expected, sizeof expected, "F%s", foreign);
		assert_refused(texts[i], expected);
	}
}

static void what_is_not_masked_has_no_place_for_another(void **state)
{
	(void)state;
	struct config *config = load(TWO, ""); /* as a supervisor of an earlier version wrote it */
	static const char text[] = "kafka.bus: {password: other}\n";
	char *errors;
	assert_int_equal(
	        config_take_secrets(config, "sinks[0]", "kafka.bus", "F", text, strlen(text), &errors),
	        -EINVAL);
	assert_string_equal(
	        errors,
	        "F:1: sinks[0].password: has no place: the configuration in force says something else than ***\n");
	free(errors);
	/* and it needs no file */
	assert_int_equal(config_read_secrets(config, "/nowhere", "sinks[0]", "kafka.bus", &errors), 0);
	assert_string_equal(config_string(config, "sinks[0].password"), PASSWORD);
	config_free(config);
}

static void write_bus(const char *path, const char *password)
{
	FILE *out = fopen(path, "w");
	assert_non_null(out);
	fprintf(out, "{\"kafka.bus\": {\"password\": \"%s\"}}\n", password);
	assert_int_equal(fclose(out), 0);
}

static void a_file_is_read_where_it_is_needed(void **state)
{
	(void)state;
	char root[] = "/tmp/millrace-secrets-XXXXXX", folder[64], secrets[FOLDER_PATH_MAX], *errors,
	     path[200], expected[400];
	assert_non_null(mkdtemp(root));
	snprintf(folder, sizeof folder, "%s/i", root);
	assert_int_equal(mkdir(folder, 0700), 0);
	snprintf(path, sizeof path, "%s/.i.secrets", root);
	assert_string_equal(instance_secrets_folder(secrets, folder), path);
	struct config *config = masked(TWO);
	assert_int_equal(config_read_secrets(config, folder, "serve", "serve.0", &errors), 0);
	assert_null(errors);
	assert_int_equal(config_read_secrets(config, folder, "sinks[0]", "kafka.bus", &errors), -EINVAL);
	snprintf(
	        expected, sizeof expected,
	        "%s/kafka.bus: cannot be read: No such file or directory; sinks[0] has secrets, which lie there\n",
	        secrets);
	assert_string_equal(errors, expected);
	free(errors);
	assert_int_equal(mkdir(secrets, 0700), 0);
	snprintf(path, sizeof path, "%s/kafka.bus", secrets);
	assert_int_equal(symlink("/etc/passwd", path), 0); /* not followed */
	assert_int_equal(config_read_secrets(config, folder, "sinks[0]", "kafka.bus", &errors), -EINVAL);
	assert_non_null(strstr(errors, "cannot be read"));
	free(errors);
	assert_int_equal(unlink(path), 0);
	write_bus(path, "hush");
	assert_int_equal(chmod(secrets, 0770), 0);
	assert_int_equal(config_read_secrets(config, folder, "sinks[0]", "kafka.bus", &errors), -EINVAL);
	assert_non_null(strstr(errors, "may be written by others"));
	free(errors);
	assert_int_equal(chmod(secrets, 0700), 0);
	assert_int_equal(config_read_secrets(config, folder, "sinks[0]", "kafka.bus", &errors), 0);
	assert_string_equal(config_string(config, "sinks[0].password"), "hush");
	tree_remove(root);
	config_free(config);
}

/* An older supervisor goes on until all stages run the programs that were installed. */
static void a_file_of_an_older_program_is_read_where_there_is_no_other(void **state)
{
	(void)state;
	char root[] = "/tmp/millrace-secrets-XXXXXX", folder[64], secrets[FOLDER_PATH_MAX], *errors,
	     path[200];
	assert_non_null(mkdtemp(root));
	snprintf(folder, sizeof folder, "%s/i", root);
	assert_int_equal(mkdir(folder, 0700), 0);
	snprintf(path, sizeof path, "%s/kafka.bus.secrets", folder);
	write_bus(path, "older");
	struct config *config = masked(TWO);
	assert_int_equal(config_read_secrets(config, folder, "sinks[0]", "kafka.bus", &errors), 0);
	assert_string_equal(config_string(config, "sinks[0].password"), "older");
	config_free(config);
	assert_int_equal(mkdir(instance_secrets_folder(secrets, folder), 0700), 0);
	snprintf(path, sizeof path, "%s/kafka.bus", secrets);
	write_bus(path, "newer");
	config = masked(TWO);
	assert_int_equal(config_read_secrets(config, folder, "sinks[0]", "kafka.bus", &errors), 0);
	assert_string_equal(config_string(config, "sinks[0].password"), "newer");
	config_free(config);
	tree_remove(root);
}

static void a_folder_of_somebody_else_is_not_trusted(void **state)
{
	(void)state;
	char root[] = "/tmp/millrace-secrets-XXXXXX", folder[64], secrets[FOLDER_PATH_MAX], *errors,
	     path[200];
	if (geteuid() != 0)
		skip();
	assert_non_null(mkdtemp(root));
	snprintf(folder, sizeof folder, "%s/i", root);
	assert_int_equal(mkdir(folder, 0700), 0);
	assert_int_equal(mkdir(instance_secrets_folder(secrets, folder), 0700), 0);
	snprintf(path, sizeof path, "%s/kafka.bus", secrets);
	write_bus(path, "theirs");
	assert_int_equal(chown(secrets, OTHER, OTHER), 0);
	struct config *config = masked(TWO);
	assert_int_equal(config_read_secrets(config, folder, "sinks[0]", "kafka.bus", &errors), -EINVAL);
	assert_non_null(strstr(errors, "belongs to user 65534, and "));
	free(errors);
	assert_int_equal(chown(folder, OTHER, OTHER), 0); /* root may run an instance of another user's */
	assert_int_equal(config_read_secrets(config, folder, "sinks[0]", "kafka.bus", &errors), 0);
	config_free(config);
	tree_remove(root);
}

/* Whoever copies what `check --effective` shows, or a running instance's config.yaml. */
static void what_stands_for_a_secret_cannot_be_one(void **state)
{
	(void)state;
	char path[] = "/tmp/millrace-secrets-XXXXXX", expected[300], *errors;
	int fd = mkstemp(path);
	FILE *out = fdopen(fd, "w");
	assert_non_null(out);
	fputs("sinks:\n- {name: bus, kind: kafka, topics: [ip],\n   password: '***'}\n", out);
	assert_int_equal(fclose(out), 0);
	struct config *config = config_load(path, NULL, 0, &errors); /* to look at */
	assert_non_null(config);
	config_free(config);
	assert_null(config_load_to_start(path, NULL, 0, &errors));
	snprintf(
	        expected, sizeof expected,
	        "%s:3: sinks[0].password: is ***, which stands where a secret is not shown; allowed: the secret itself, or nothing\n",
	        path);
	assert_string_equal(errors, expected);
	free(errors);
	assert_int_equal(unlink(path), 0);
}

static void a_property_that_is_a_secret_is_refused_without_its_value(void **state)
{
	(void)state;
	assert_errors(
	        "sinks:\n"
	        "- {name: bus, kind: kafka, topics: [ip], properties: [linger.ms=5, ' sasl.password = hush',\n"
	        "   ssl.key.pem=hush, sasl.passwords=x, x=sasl.password]}\n",
	        "",
	        "f.yaml:2: sinks[0].properties[1]: sasl.password is a secret; allowed: in password or properties_file\n"
	        "f.yaml:3: sinks[0].properties[2]: ssl.key.pem is a secret; allowed: in properties_file\n");
	assert_errors(
	        "sinks: [{name: bus, kind: kafka, topics: [ip]}]\n",
	        "sinks[0].properties=[sasl.jaas.config=hush]",
	        "--set sinks[0].properties=***: sinks[0].properties[0]: sasl.jaas.config is a secret; allowed: in properties_file\n");
}

static void a_url_with_a_password_is_refused_without_it(void **state)
{
	(void)state;
	assert_errors(
	        "sinks:\n"
	        "- {name: a, topics: [log], store: {s3: {endpoint: 'http://u:hush@h:9'}}}\n"
	        "- {name: b, topics: [log], store: {s3: {endpoint: 'http://h/a@b', sts_endpoint: 'hush@h'}}}\n"
	        "- {name: c, topics: [log], store: {azure: {identity_endpoint: 'https://hush@h/'}}}\n"
	        "- {name: d, kind: file, topics: [log]}\n",
	        "",
	        "f.yaml:2: sinks[0].store.s3.endpoint: has a user or password in it; allowed: a URL without\n"
	        "f.yaml:3: sinks[1].store.s3.sts_endpoint: has a user or password in it; allowed: a URL without\n"
	        "f.yaml:4: sinks[2].store.azure.identity_endpoint: has a user or password in it; allowed: a URL without\n");
}

static void a_secret_of_the_command_line_is_known(void **state)
{
	(void)state;
	struct config *config = load(TWO, "sinks[1].store.s3.region=x");
	assert_false(config_secret_by_set(config));
	config_free(config);
	config = load(TWO, "sinks[1].store.s3.session_token=''");
	assert_false(config_secret_by_set(config));
	config_free(config);
	config = load(TWO, "sinks[1]={name: x, topics: [log], store: {s3: {bucket: b, secret_key: hush}}}");
	assert_true(config_secret_by_set(config));
	config_free(config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_section_gets_its_secrets_back_and_no_others),
	        cmocka_unit_test(a_file_stays_good_when_its_entry_moves),
	        cmocka_unit_test(a_section_is_told_its_own_secrets_alone),
	        cmocka_unit_test(a_file_must_have_exactly_what_is_masked),
	        cmocka_unit_test(the_file_of_another_role_is_refused),
	        cmocka_unit_test(what_is_not_masked_has_no_place_for_another),
	        cmocka_unit_test(a_file_is_read_where_it_is_needed),
	        cmocka_unit_test(a_file_of_an_older_program_is_read_where_there_is_no_other),
	        cmocka_unit_test(a_folder_of_somebody_else_is_not_trusted),
	        cmocka_unit_test(a_property_that_is_a_secret_is_refused_without_its_value),
	        cmocka_unit_test(a_url_with_a_password_is_refused_without_it),
	        cmocka_unit_test(a_secret_of_the_command_line_is_known),
	        cmocka_unit_test(what_stands_for_a_secret_cannot_be_one),
	};
	alarm(20);
	unsetenv("MILLRACE_INSTANCE");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
