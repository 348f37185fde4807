#include "sink/file/rotated.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define SAME_SECOND_MAX 1000u

/* 'd' is a digit. */
static const char stamp_form[] = "ddddddddTddddddZ";

static int rename_new(const char *from, const char *to)
{
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	/* The file system has no such rename: a link does not replace either. */
	if (link(from, to) != 0)
		return -errno;
	return unlink(from) == 0 ? 0 : -errno;
}

int rotated_rename(const char *path, uint64_t real_ns)
{
	time_t seconds = (time_t)(real_ns / NS_PER_SEC);
	struct tm utc;
	char name[PATH_MAX + 40], stamp[24];
	if (gmtime_r(&seconds, &utc) == NULL || strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &utc) == 0)
		return -EOVERFLOW;
	for (unsigned i = 1; i < SAME_SECOND_MAX; i++) {
		int n = snprintf(name, sizeof name, i == 1 ? "%s.%s" : "%s.%s-%u", path, stamp, i);
		if (n >= PATH_MAX)
			return -ENAMETOOLONG;
		int result = rename_new(path, name);
		if (result != -EEXIST)
			return result;
	}
	return -EEXIST;
}

/* The folder of path, and the last part of it. */
static DIR *open_folder(const char *path, const char **base)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX];
	*base = slash == NULL ? path : slash + 1;
	snprintf(folder, sizeof folder, "%.*s",
	         slash == NULL   ? 1
	         : slash == path ? 1
	                         : (int)(slash - path),
	         slash == NULL ? "." : path);
	return opendir(folder);
}

static bool is_rotated(const char *name, const char *base)
{
	size_t n = strlen(base);
	if (strncmp(name, base, n) != 0 || name[n] != '.')
		return false;
	const char *at = name + n + 1;
	for (const char *form = stamp_form; *form != '\0'; form++, at++)
		if (*form == 'd' ? *at < '0' || *at > '9' : *at != *form)
			return false;
	return *at == '\0' || (*at == '-' && at[1] != '\0' && at[1 + strspn(at + 1, "0123456789")] == '\0');
}

struct names {
	char **name;
	size_t n;
};

/* Numbers of one second by their value, after the name without one. */
static int compare(const void *a, const void *b)
{
	return strverscmp(*(char *const *)a, *(char *const *)b);
}

static int list_rotated(DIR *folder, const char *base, struct names *names)
{
	const struct dirent *entry;
	while ((entry = readdir(folder)) != NULL) {
		if (!is_rotated(entry->d_name, base))
			continue;
		char **more = reallocarray(names->name, names->n + 1, sizeof *more);
		if (more == NULL)
			return -ENOMEM;
		names->name = more;
		names->name[names->n] = strdup(entry->d_name);
		if (names->name[names->n++] == NULL)
			return -ENOMEM;
	}
	return 0;
}

int rotated_remove(const char *path, uint64_t keep)
{
	const char *base;
	struct names names = {0};
	DIR *folder = keep == 0 ? NULL : open_folder(path, &base);
	if (folder == NULL)
		return keep == 0 ? 0 : -errno;
	int result = list_rotated(folder, base, &names);
	if (result == 0 && names.n != 0)
		qsort(names.name, names.n, sizeof *names.name, compare);
	for (size_t i = 0; result == 0 && i + keep < names.n; i++)
		if (unlinkat(dirfd(folder), names.name[i], 0) != 0 && errno != ENOENT)
			result = -errno;
	for (size_t i = 0; i < names.n; i++)
		free(names.name[i]);
	free(names.name);
	closedir(folder);
	return result;
}

int rotated_find(const char *path, uint64_t device, uint64_t inode)
{
	const char *base;
	const struct dirent *entry;
	DIR *folder = open_folder(path, &base);
	int fd = -ENOENT;
	if (folder == NULL)
		return -errno;
	while (fd == -ENOENT && (entry = readdir(folder)) != NULL) {
		struct stat status;
		if (entry->d_ino != inode ||
		    fstatat(dirfd(folder), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
		    !S_ISREG(status.st_mode) || status.st_dev != device || status.st_ino != inode)
			continue;
		fd = openat(dirfd(folder), entry->d_name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
		if (fd < 0)
			fd = -errno;
	}
	closedir(folder);
	return fd;
}
