#include "sink/objects/keep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

#define DEPTH_MAX 32u

struct old {
	uint64_t time_ns, bytes;
	char *name;
};

/* A walk over the tree. old[] is a heap whose root is the youngest of the oldest ones. */
struct walk {
	const char *prefix;
	char name[PATH_MAX];
	uint64_t bytes; /* of all objects */
	struct old old[KEEP_ONCE];
	unsigned n;
	int result;
};

static void fail(struct walk *walk, int result)
{
	if (walk->result == 0)
		walk->result = result;
}

static void swap(struct old *a, struct old *b)
{
	struct old c = *a;
	*a = *b;
	*b = c;
}

static void sift_up(struct old *old, unsigned i)
{
	for (; i > 0 && old[i].time_ns > old[(i - 1) / 2].time_ns; i = (i - 1) / 2)
		swap(&old[i], &old[(i - 1) / 2]);
}

static void sift_down(struct old *old, unsigned n)
{
	for (unsigned i = 0;;) {
		unsigned child = 2 * i + 1;
		if (child + 1 < n && old[child + 1].time_ns > old[child].time_ns)
			child++;
		if (child >= n || old[child].time_ns <= old[i].time_ns)
			return;
		swap(&old[i], &old[child]);
		i = child;
	}
}

static void add(struct walk *walk, const struct stat *status)
{
	struct old found = {.time_ns = (uint64_t)status->st_mtim.tv_sec * NS_PER_SEC +
	                               (uint64_t)status->st_mtim.tv_nsec,
	                    .bytes = (uint64_t)status->st_size};
	walk->bytes += found.bytes;
	if (walk->n == KEEP_ONCE && found.time_ns >= walk->old[0].time_ns)
		return;
	found.name = strdup(walk->name);
	if (found.name == NULL) {
		fail(walk, -ENOMEM);
		return;
	}
	if (walk->n < KEEP_ONCE) {
		walk->old[walk->n++] = found;
		sift_up(walk->old, walk->n - 1);
		return;
	}
	free(walk->old[0].name);
	walk->old[0] = found;
	sift_down(walk->old, walk->n);
}

/* Whether objects can lie there or below: the shorter of the two is the beginning of the other. */
static bool in_prefix(const struct walk *walk, bool directory)
{
	size_t n = strlen(walk->name), prefix = strlen(walk->prefix);
	if (n >= prefix)
		return strncmp(walk->name, walk->prefix, prefix) == 0;
	return directory && strncmp(walk->name, walk->prefix, n) == 0;
}

static void look_at(struct walk *walk, int fd, const char *name, unsigned depth);

/* Takes fd over. The walk's name is that of the directory. */
static void read_directory(struct walk *walk, int fd, unsigned depth)
{
	DIR *directory = fdopendir(fd);
	const struct dirent *entry;
	if (directory == NULL) {
		fail(walk, -errno);
		close(fd);
		return;
	}
	while ((entry = readdir(directory)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		    (depth == 0 && strcmp(entry->d_name, TREE_OPEN) == 0))
			continue;
		size_t n = strlen(walk->name), bytes = strlen(entry->d_name);
		if (n + bytes + 2 > sizeof walk->name)
			continue; /* no object of ours: they are shorter */
		if (n != 0)
			walk->name[n] = '/';
		memcpy(walk->name + n + (n != 0), entry->d_name, bytes + 1);
		look_at(walk, dirfd(directory), entry->d_name, depth + 1);
		walk->name[n] = '\0';
	}
	closedir(directory);
}

static void look_at(struct walk *walk, int fd, const char *name, unsigned depth)
{
	struct stat status;
	if (fstatat(fd, name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
		if (errno != ENOENT)
			fail(walk, -errno);
		return;
	}
	if (S_ISREG(status.st_mode) && in_prefix(walk, false))
		add(walk, &status);
	if (!S_ISDIR(status.st_mode) || !in_prefix(walk, true) || depth >= DEPTH_MAX)
		return;
	int below = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (below >= 0)
		read_directory(walk, below, depth);
	else if (errno != ENOENT)
		fail(walk, -errno);
}

/* Directories above it that are empty go, too; the tree's own stays. */
static void remove_parents(const struct tree *tree, char *name)
{
	char last[NAME_MAX + 1];
	char *slash;
	while ((slash = strrchr(name, '/')) != NULL) {
		*slash = '\0';
		int fd = tree_parent(tree, name, strlen(name), false, last);
		if (fd < 0)
			return;
		int result = unlinkat(fd, last, AT_REMOVEDIR);
		close(fd);
		if (result != 0)
			return; /* not empty */
	}
}

static int remove_one(const struct tree *tree, struct old *old, struct keep_counts *counts)
{
	char last[NAME_MAX + 1];
	int result = 0;
	int fd = tree_parent(tree, old->name, strlen(old->name), false, last);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	if (unlinkat(fd, last, 0) != 0)
		result = errno == ENOENT ? 0 : -errno;
	close(fd);
	if (result != 0)
		return result;
	counts->removed++;
	counts->bytes += old->bytes;
	remove_parents(tree, old->name);
	return 0;
}

static int by_time(const void *a, const void *b)
{
	const struct old *x = a, *y = b;
	return (x->time_ns > y->time_ns) - (x->time_ns < y->time_ns);
}

int keep_remove(const struct tree *tree, const char *prefix, uint64_t age_ns, uint64_t bytes, uint64_t now_ns,
                struct keep_counts *counts)
{
	struct walk *walk = calloc(1, sizeof *walk);
	*counts = (struct keep_counts){0};
	if (walk == NULL)
		return -ENOMEM;
	walk->prefix = prefix;
	int fd = openat(tree->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		fail(walk, -errno);
	else
		read_directory(walk, fd, 0);
	qsort(walk->old, walk->n, sizeof *walk->old, by_time);
	for (unsigned i = 0; i < walk->n; i++) {
		struct old *old = &walk->old[i];
		bool aged = age_ns != 0 && old->time_ns < now_ns && now_ns - old->time_ns > age_ns;
		bool many = bytes != 0 && walk->bytes > bytes;
		if (aged || many) {
			walk->bytes -= old->bytes;
			int result = remove_one(tree, old, counts);
			if (result != 0)
				fail(walk, result);
		}
		free(old->name);
	}
	int result = walk->result;
	free(walk);
	return result;
}
