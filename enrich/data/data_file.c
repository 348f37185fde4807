#include "enrich/data/data_file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/program.h"

static int look(char *path, size_t size, const char *root, const char *folder, const char *file)
{
	if (snprintf(path, size, "%s/%s/%s", root, folder, file) >= (int)size)
		return -ENAMETOOLONG;
	return access(path, R_OK) == 0 ? 0 : -ENOENT;
}

int data_file_find(char *path, size_t size, const char *configured, const char *file)
{
	if (configured != NULL && configured[0] != '\0')
		return snprintf(path, size, "%s", configured) < (int)size ? 0 : -ENAMETOOLONG;
	char root[PATH_MAX];
	int result = program_root(root, sizeof root);
	if (result != 0)
		return result;
	result = look(path, size, root, "share/millrace", file);
	if (result == -ENOENT)
		result = look(path, size, MILLRACE_PREFIX, "share/millrace", file);
	if (result == -ENOENT && strcmp(file, DATA_FILE_AGENTS) == 0)
		result = look(path, size, "/usr/share", "uap-core", file);
	if (result == -ENOENT)
		return look(path, size, root, "share/millrace", file);
	return result;
}
