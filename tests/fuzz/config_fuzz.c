/* Any text as a configuration file, and, after a NUL byte, as one --set; and as the file with the
 * secrets of a role. It must load or give errors in whole lines, never both; what loads must come
 * out of config_write as the same configuration, and of config_write without secrets and the files
 * with them. */
#include "config/config.h"
#include "tests/fuzz/fuzz.h"

static void require(int holds, const char *what, const char *text)
{
	if (holds)
		return;
	fprintf(stderr, "%s: %s\n", what, text != NULL ? text : "and says nothing");
	abort();
}

/* The configuration, or with a role its secrets alone. */
static char *written(const struct config *config, const char *section, const char *role, size_t *bytes)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, bytes);
	require(out != NULL &&
	                (role == NULL ? config_write(config, section, out)
	                              : config_write_secrets(config, section, role, out)) == 0 &&
	                fclose(out) == 0,
	        "writing", "failed");
	return text;
}

static void give_back(const struct config *config, struct config *masked)
{
	for (size_t i = 0; i < config_count(config, "sinks"); i++) {
		char section[40], *errors;
		size_t bytes;
		snprintf(section, sizeof section, "sinks[%zu]", i);
		char *text = written(config, section, "role", &bytes);
		require(!config_has_secrets(config, section) ||
		                config_take_secrets(masked, section, "role", "F", text, bytes, &errors) == 0,
		        "secrets are not taken", text);
		free(text);
	}
}

static void check_round_trip(const struct config *config)
{
	char *errors = NULL;
	size_t bytes;
	char *text = written(config, "", NULL, &bytes);
	struct config *again = config_load_text("again", text, bytes, NULL, 0, &errors);
	require(again != NULL, "what was written does not load", errors);
	require(config_same(config, again, ""), "what was written differs", text);
	config_free(again);
	bool ambiguous = strstr(text, CONFIG_MASK) != NULL; /* cannot be started */
	free(text);
	if (ambiguous || !config_has_secrets(config, ""))
		return;
	text = written(config, NULL, NULL, &bytes);
	again = config_load_text("masked", text, bytes, NULL, 0, &errors);
	require(again != NULL, "what was masked does not load", errors);
	give_back(config, again);
	require(config_same(config, again, ""), "with its secrets it differs", text);
	config_free(again);
	free(text);
}

/* The text as the file of a role that needs it. */
static void check_secrets(const char *text, size_t bytes)
{
	static const char masked[] =
	        "sinks: [{name: a, topics: [log], store: {s3: {secret_key: '***', session_token: '***'}}}]";
	static struct config *config;
	char *errors = NULL;
	if (config == NULL)
		config = config_load_text("masked", masked, sizeof masked - 1, NULL, 0, &errors);
	require(config != NULL, "masked", errors);
	bool taken = config_take_secrets(config, "sinks[0]", "r", "F", text, bytes, &errors) == 0;
	require(taken == (errors == NULL), "errors", "missing, or though it was taken");
	const char *key = config_string(config, "sinks[0].store.s3.secret_key");
	const char *token = config_string(config, "sinks[0].store.s3.session_token");
	bool both = strcmp(key, CONFIG_MASK) != 0 && strcmp(token, CONFIG_MASK) != 0;
	require(!taken || both, "taken, and not all is there", text);
	require(errors == NULL || (errors[0] != '\0' && errors[strlen(errors) - 1] == '\n'), "errors",
	        "not a line");
	free(errors);
	if (strcmp(key, CONFIG_MASK) != 0 || strcmp(token, CONFIG_MASK) != 0) {
		config_free(config);
		config = NULL;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	if (bytes > 4096)
		return 0;
	char *errors = NULL, *copy = fuzz_string(data, bytes);
	size_t length = strlen(copy);
	const char *const sets[] = {copy + length + 1};
	struct config *config = config_load_text("f", copy, length, sets, length < bytes, &errors);
	if (config == NULL) {
		require(errors != NULL && errors[0] != '\0' && errors[strlen(errors) - 1] == '\n', "errors",
		        "missing or not a line");
		free(errors);
	} else {
		require(errors == NULL, "errors and a configuration", errors);
		check_round_trip(config);
	}
	config_free(config);
	check_secrets(copy, length);
	free(copy);
	return 0;
}
