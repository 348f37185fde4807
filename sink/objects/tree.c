#include "sink/objects/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/path.h"

#define DIRECTORY_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC)

int tree_could_write(const char *path)
{
	char at[PATH_MAX];
	struct stat status;
	if ((size_t)snprintf(at, sizeof at, "%s", path) >= sizeof at)
		return -ENAMETOOLONG;
	while (stat(at, &status) != 0) {
		char *slash = strrchr(at, '/');
		if (errno != ENOENT)
			return -errno;
		if (slash == NULL)
			memcpy(at, ".", 2);
		else
			slash[slash == at] = '\0';
	}
	if (!S_ISDIR(status.st_mode))
		return -ENOTDIR;
	return faccessat(AT_FDCWD, at, W_OK | X_OK, AT_EACCESS) == 0 ? 0 : -errno;
}

int tree_open(struct tree *tree)
{
	int result = 0;
	tree->fd = open(tree->path, DIRECTORY_FLAGS);
	if (tree->fd < 0 && errno == ENOENT) {
		result = path_make(tree->path);
		tree->fd = result == 0 ? open(tree->path, DIRECTORY_FLAGS) : -1;
	}
	if (tree->fd < 0)
		return result != 0 ? result : -errno;
	if (mkdirat(tree->fd, TREE_OPEN, 0770) != 0 && errno != EEXIST)
		result = -errno;
	tree->open_fd = result == 0 ? openat(tree->fd, TREE_OPEN, DIRECTORY_FLAGS | O_NOFOLLOW) : -1;
	if (result == 0 && (tree->open_fd < 0 || fsync(tree->fd) != 0))
		result = -errno;
	if (result != 0)
		tree_close(tree);
	return result;
}

void tree_close(struct tree *tree)
{
	if (tree->fd >= 0)
		close(tree->fd);
	if (tree->open_fd >= 0)
		close(tree->open_fd);
	tree->fd = tree->open_fd = -1;
}

int tree_look(struct tree *tree)
{
	struct stat held, there, uploads;
	if (tree->fd < 0)
		return tree_open(tree);
	if (fstat(tree->fd, &held) != 0 || fstat(tree->open_fd, &uploads) != 0)
		return -errno;
	if (held.st_nlink == 0 || uploads.st_nlink == 0) {
		tree_close(tree);
		return tree_open(tree);
	}
	if (stat(tree->path, &there) != 0)
		return errno == ENOENT || errno == ENOTDIR ? -ESTALE : -errno;
	return held.st_ino == there.st_ino && held.st_dev == there.st_dev ? 0 : -ESTALE;
}

/* Length of the part of a name that begins at `at`. */
static size_t part_bytes(const char *at, const char *end)
{
	const char *slash = memchr(at, '/', (size_t)(end - at));
	return (size_t)((slash == NULL ? end : slash) - at);
}

static int check_part(const char *part, size_t bytes)
{
	if (bytes == 0 || (bytes <= 2 && strspn(part, ".") >= bytes) || memchr(part, '\0', bytes) != NULL)
		return -EINVAL;
	return bytes > NAME_MAX ? -ENAMETOOLONG : 0;
}

int tree_name(const char *name, size_t bytes)
{
	const char *end = name + bytes;
	if (part_bytes(name, end) == strlen(TREE_OPEN) && memcmp(name, TREE_OPEN, strlen(TREE_OPEN)) == 0)
		return -EINVAL;
	for (const char *at = name; at <= end;) {
		size_t n = part_bytes(at, end);
		int result = check_part(at, n);
		if (result != 0)
			return result;
		at += n + 1;
	}
	return 0;
}

/* Steps from one directory into another. Returns the descriptor or -errno. */
static int step(int fd, const char *part, bool make)
{
	int below = openat(fd, part, DIRECTORY_FLAGS | O_NOFOLLOW);
	if (below >= 0 || errno != ENOENT || !make)
		return below >= 0 ? below : -errno;
	if (mkdirat(fd, part, 0770) != 0 && errno != EEXIST)
		return -errno;
	if (fsync(fd) != 0)
		return -errno;
	below = openat(fd, part, DIRECTORY_FLAGS | O_NOFOLLOW);
	return below >= 0 ? below : -errno;
}

int tree_parent(const struct tree *tree, const char *name, size_t bytes, bool make, char last[NAME_MAX + 1])
{
	const char *end = name + bytes;
	int result = tree_name(name, bytes);
	int fd = result == 0 ? fcntl(tree->fd, F_DUPFD_CLOEXEC, 0) : -1;
	if (fd < 0)
		return result != 0 ? result : -errno;
	for (const char *at = name;;) {
		size_t n = part_bytes(at, end);
		memcpy(last, at, n);
		last[n] = '\0';
		at += n + 1;
		if (at > end)
			return fd;
		int below = step(fd, last, make);
		close(fd);
		if (below < 0)
			return below;
		fd = below;
	}
}
