#include "sink/objects/asked.h"

#include <errno.h>
#include <stdio.h>

bool asked_null(const struct config *config, const char *section)
{
	return config_u64(config, "%s.store.discard", section) != 0;
}

bool asked_s3(const struct config *config, const char *section)
{
	return config_string(config, "%s.store.s3.bucket", section)[0] != '\0';
}

bool asked_azure(const struct config *config, const char *section)
{
	return config_string(config, "%s.store.azure.container", section)[0] != '\0';
}

const char *asked_kind(const struct config *config, const char *section)
{
	return asked_null(config, section)    ? "null"
	       : asked_s3(config, section)    ? "s3"
	       : asked_azure(config, section) ? "azure"
	                                      : "directory";
}

int asked_directory(char path[PATH_MAX], const struct config *config, const char *section,
                    struct shm_error *error)
{
	const char *configured = config_string(config, "%s.store.directory", section);
	const char *data_dir = config_string(config, "data_dir");
	const char *below = configured[0] == '\0' ? "objects" : configured;
	int n = below[0] == '/' ? snprintf(path, PATH_MAX, "%s", below)
	                        : snprintf(path, PATH_MAX, "%s/%s", data_dir, below);
	if (n < PATH_MAX)
		return 0;
	shm_explain(error, "%s.store.directory: the path has %d bytes; allowed: %d", section, n,
	            PATH_MAX - 1);
	return -ENAMETOOLONG;
}
