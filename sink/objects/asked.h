/* Which store a sink's options ask for: for the stores themselves, and for who looks at a sink from
 * outside (where.h) and is not to carry them along. section: "sinks[2]".
 */
#ifndef SINK_OBJECTS_ASKED_H
#define SINK_OBJECTS_ASKED_H

#include <limits.h>
#include <stdbool.h>

#include "config/config.h"
#include "shm/segment.h"

bool asked_null(const struct config *config, const char *section);
bool asked_s3(const struct config *config, const char *section);
bool asked_azure(const struct config *config, const char *section);

/* "null", "s3", "azure" or "directory": the kind of what store_choose finds in a configuration that
 * is in force. */
const char *asked_kind(const struct config *config, const char *section);

/* Where the directory's objects lie, without a slash at its end; a relative path is in data_dir.
 * Returns 0, or -ENAMETOOLONG with "KEY: WHAT" in error. */
int asked_directory(char path[PATH_MAX], const struct config *config, const char *section,
                    struct shm_error *error);

#endif
