/* Any text as a configuration file, and, after a NUL byte, as one --set. It must load or give
 * errors in whole lines, never both; what loads must come out of config_write as the same
 * configuration. */
#include "config/config.h"
#include "tests/fuzz/fuzz.h"

static void require(int holds, const char *what, const char *text)
{
	if (holds)
		return;
	fprintf(stderr, "%s: %s\n", what, text);
	abort();
}

static void check_round_trip(const struct config *config)
{
	char *text = NULL, *errors = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);
	require(out != NULL && config_write(config, "", out) == 0 && fclose(out) == 0, "config_write", "failed");
	struct config *again = config_load_text("again", text, bytes, NULL, 0, &errors);
	require(again != NULL, "what was written does not load", errors);
	require(config_same(config, again, ""), "what was written differs", text);
	config_free(again);
	free(text);
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
	free(copy);
	return 0;
}
