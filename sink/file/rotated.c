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

#define TRIES     10u
#define STAMP_MAX 48u /* with a number */

/* 'd' is a digit. */
static const char stamp_form[] = "ddddddddTddddddZ";
#define STAMP_BYTES (sizeof stamp_form - 1)

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

int rotated_sync(const char *path)
{
	const char *base;
	DIR *folder = open_folder(path, &base);
	if (folder == NULL)
		return -errno;
	int result =
	        /* EINVAL: it has no such thing */
	        fsync(dirfd(folder)) == 0 || errno == EINVAL ? 0 : -errno;
	closedir(folder);
	return result;
}

static void free_names(struct names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->name[i]);
	free(names->name);
}

/* The last part of the name that the file gets: after all that are there, also when the clock was
 * set back or one second has many. Removing the oldest must never find the newest. */
static int next_stamp(const char *path, uint64_t real_ns, char stamp[STAMP_MAX])
{
	time_t seconds = (time_t)(real_ns / NS_PER_SEC);
	struct tm utc;
	const char *base, *last = NULL;
	struct names names = {0};
	if (gmtime_r(&seconds, &utc) == NULL || strftime(stamp, STAMP_MAX, "%Y%m%dT%H%M%SZ", &utc) == 0)
		return -EOVERFLOW;
	DIR *folder = open_folder(path, &base);
	if (folder == NULL)
		return -errno;
	int result = list_rotated(folder, base, &names);
	for (size_t i = 0; i < names.n && names.name[i] != NULL; i++)
		if (last == NULL || strverscmp(names.name[i], last) > 0)
			last = names.name[i];
	if (result == 0 && last != NULL && strncmp(last + strlen(base) + 1, stamp, STAMP_BYTES) >= 0) {
		const char *there = last + strlen(base) + 1;
		unsigned long number =
		        there[STAMP_BYTES] == '-' ? strtoul(there + STAMP_BYTES + 1, NULL, 10) : 1;
		snprintf(stamp, STAMP_MAX, "%.*s-%lu", (int)STAMP_BYTES, there, number + 1);
	}
	free_names(&names);
	closedir(folder);
	return result;
}

int rotated_rename(const char *path, uint64_t real_ns)
{
	char name[PATH_MAX + STAMP_MAX + 1], stamp[STAMP_MAX];
	int result = -EEXIST;
	/* Another program may take the name in between. */
	for (unsigned tries = 0; result == -EEXIST && tries < TRIES; tries++) {
		result = next_stamp(path, real_ns, stamp);
		if (result != 0)
			return result;
		if (snprintf(name, sizeof name, "%s.%s", path, stamp) >= PATH_MAX)
			return -ENAMETOOLONG;
		result = rename_new(path, name);
	}
	return result;
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
	free_names(&names);
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
