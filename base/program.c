#include "base/program.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Takes off the last part of a path and returns it. */
static const char *go_up(char *path)
{
	char *slash = strrchr(path, '/');
	if (slash == NULL)
		return path;
	*slash = '\0';
	return slash + 1;
}

int program_root(char *root, size_t size)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
	if (n < 0)
		return -errno;
	path[n] = '\0';
	(void)go_up(path);
	if (strcmp(go_up(path), "millrace") == 0)
		(void)go_up(path);
	return snprintf(root, size, "%s", path) < (int)size ? 0 : -ENAMETOOLONG;
}

int program_libexec(char *folder, size_t size)
{
	const char *given = getenv("MILLRACE_LIBEXEC");
	if (given != NULL && *given != '\0')
		return snprintf(folder, size, "%s", given) < (int)size ? 0 : -ENAMETOOLONG;
	char root[PATH_MAX];
	int result = program_root(root, sizeof root);
	if (result != 0)
		return result;
	return snprintf(folder, size, "%s/libexec/millrace", root) < (int)size ? 0 : -ENAMETOOLONG;
}
