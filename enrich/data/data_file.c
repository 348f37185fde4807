#include "enrich/data/data_file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
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

/* ROOT of a program in ROOT/libexec/millrace, ROOT/bin or ROOT/tests. */
static int own_root(char root[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", root, PATH_MAX - 1);
	if (n < 0)
		return -errno;
	root[n] = '\0';
	(void)go_up(root);
	if (strcmp(go_up(root), "millrace") == 0)
		(void)go_up(root);
	return 0;
}

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
	int result = own_root(root);
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
