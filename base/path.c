#include "base/path.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int path_make(const char *path)
{
	char part[PATH_MAX];
	size_t n = strlen(path);
	if (n >= sizeof part)
		return -ENAMETOOLONG;
	memcpy(part, path, n + 1);
	for (size_t i = 1; i <= n; i++) {
		if (part[i] != '/' && part[i] != '\0')
			continue;
		part[i] = '\0';
		if (mkdir(part, 0770) != 0 && errno != EEXIST)
			return -errno;
		part[i] = i < n ? '/' : '\0';
	}
	return 0;
}

const char *path_credentials(void)
{
	const char *folder = getenv(PATH_CREDENTIALS);
	return folder != NULL && folder[0] == '/' ? folder : NULL;
}

bool path_is_credential(const char *path)
{
	const char *folder = path_credentials(), *slash = strrchr(path, '/');
	size_t n = folder == NULL ? 0 : strlen(folder);
	return n > 0 && slash == path + n && memcmp(path, folder, n) == 0;
}
