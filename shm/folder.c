#include "shm/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define HELD_MAX     32u /* folders that one process holds */
#define ENTER        (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define OTHERS_WRITE (S_IWGRP | S_IWOTH)
#define OPEN_TRIES   8u

/* O_PATH descriptors are opened and closed at will: unlike others, their close frees no POSIX lock
 * of the process. */
struct held {
	char path[FOLDER_PATH_MAX];
	int fd;
	unsigned users; /* 0: the place is free */
};

static struct held held[HELD_MAX];
static pthread_mutex_t held_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- finding a folder ---- */

/* With held_lock taken. */
static struct held *find(const char *path, size_t length)
{
	for (unsigned i = 0; i < HELD_MAX; i++)
		if (held[i].users != 0 && strncmp(held[i].path, path, length) == 0 &&
		    held[i].path[length] == '\0')
			return &held[i];
	return NULL;
}

/* A descriptor of its own of a folder that is held, or -ENOENT. */
static int enter_held(const char *path, size_t length)
{
	pthread_mutex_lock(&held_lock);
	const struct held *there = find(path, length);
	int fd = there == NULL ? -ENOENT : openat(there->fd, ".", ENTER);
	int result = there != NULL && fd < 0 ? -errno : fd;
	pthread_mutex_unlock(&held_lock);
	return result;
}

/* The folder that path is in, and the path's last part in *name. */
static int enter_parent(const char *path, const char **name)
{
	char parent[FOLDER_PATH_MAX];
	const char *slash = strrchr(path, '/');
	size_t length = slash == NULL ? 0 : (size_t)(slash - path);
	*name = slash == NULL ? path : slash + 1;
	if (length >= sizeof parent)
		return -ENAMETOOLONG;
	int fd = slash == NULL ? -ENOENT : enter_held(path, length);
	if (fd != -ENOENT)
		return fd;
	snprintf(parent, sizeof parent, "%.*s", (int)length, path);
	fd = open(slash == NULL ? "." : length == 0 ? "/" : parent, ENTER);
	return fd < 0 ? -errno : fd;
}

static int enter_anew(const char *path)
{
	const char *name;
	int parent = enter_parent(path, &name);
	if (parent < 0)
		return parent;
	int fd = openat(parent, name, ENTER);
	int result = fd < 0 ? -errno : fd;
	close(parent);
	return result;
}

static int enter(const char *path)
{
	int fd = enter_held(path, strlen(path));
	return fd == -ENOENT ? enter_anew(path) : fd;
}

/* ---- the owner ---- */

/* Nobody but the owner can rename or remove what others have in a folder with the sticky bit. */
static bool others_may_rename(const struct stat *folder)
{
	return (folder->st_mode & OTHERS_WRITE) != 0 && (folder->st_mode & S_ISVTX) == 0;
}

static int check(const struct stat *root, const struct stat *folder, const char *path, size_t root_length,
                 struct shm_error *error)
{
	bool known = root->st_uid == 0 || root->st_uid == geteuid() || root->st_uid == folder->st_uid;
	if (!known)
		shm_explain(
		        error,
		        "%.*s belongs to user %u, who could put another folder in the place of %s; it must belong to root or to you: have it removed, or choose another with MILLRACE_SHM",
		        (int)root_length, path, root->st_uid, path);
	else if (others_may_rename(root))
		shm_explain(
		        error,
		        "%.*s (mode %04o) may be written by others, who could put another folder in the place of %s: chmod go-w %.*s, or choose another with MILLRACE_SHM",
		        (int)root_length, path, root->st_mode & 07777, path, (int)root_length, path);
	else if ((folder->st_mode & OTHERS_WRITE) != 0)
		shm_explain(error, "%s (mode %04o) may be written by others: chmod go-w %s", path,
		            folder->st_mode & 07777, path);
	else
		return 0;
	return -EPERM;
}

/* Opens the path again and checks it. Returns the descriptor or -errno. */
static int enter_checked(const char *path, struct shm_error *error)
{
	const char *name;
	struct stat root = {0}, folder = {0};
	int parent = enter_parent(path, &name);
	int fd = parent < 0 ? parent : openat(parent, name, ENTER);
	int result = fd >= 0 ? 0 : parent < 0 ? parent : -errno;
	if (result == 0 && (fstat(parent, &root) != 0 || fstat(fd, &folder) != 0))
		result = -errno;
	if (result != 0)
		shm_explain(error, "%s: %s", path,
		            result == -ENOTDIR || result == -ELOOP
		                    ? "it, or what it is in, is no folder (symbolic links are not followed)"
		                    : strerror(-result));
	else
		result = check(&root, &folder, path, (size_t)(name - path) - (name != path), error);
	if (parent >= 0)
		close(parent);
	if (result != 0 && fd >= 0)
		close(fd);
	return result == 0 ? fd : result;
}

/* ---- holding ---- */

static bool same_folder(int a, int b)
{
	struct stat one, other;
	return fstat(a, &one) == 0 && fstat(b, &other) == 0 && one.st_dev == other.st_dev &&
	       one.st_ino == other.st_ino;
}

/* With held_lock taken: the descriptor is the table's from now on. */
static int keep(const char *path, int fd)
{
	struct held *there = find(path, strlen(path));
	if (there != NULL) {
		bool same = same_folder(there->fd, fd);
		close(same ? fd : there->fd);
		there->fd = same ? there->fd : fd;
		there->users++;
		return 0;
	}
	for (unsigned i = 0; i < HELD_MAX; i++) {
		if (held[i].users != 0)
			continue;
		held[i] = (struct held){.fd = fd, .users = 1};
		snprintf(held[i].path, sizeof held[i].path, "%s", path);
		return 0;
	}
	close(fd);
	return -EMFILE;
}

int folder_hold(const char *path, struct shm_error *error)
{
	if (strlen(path) >= FOLDER_PATH_MAX) {
		shm_explain(error, "%s: the path is too long, at most %u bytes", path, FOLDER_PATH_MAX - 1);
		return -ENAMETOOLONG;
	}
	int fd = enter_checked(path, error);
	if (fd < 0)
		return fd;
	pthread_mutex_lock(&held_lock);
	int result = keep(path, fd);
	pthread_mutex_unlock(&held_lock);
	if (result != 0)
		shm_explain(error, "%s: this process is attached to %u instances already", path, HELD_MAX);
	return result;
}

void folder_release(const char *path)
{
	pthread_mutex_lock(&held_lock);
	struct held *there = find(path, strlen(path));
	if (there != NULL && --there->users == 0)
		close(there->fd);
	pthread_mutex_unlock(&held_lock);
}

bool folder_in_place(const char *path)
{
	int kept = enter_held(path, strlen(path)), now = kept < 0 ? kept : enter_anew(path);
	bool same = now >= 0 && same_folder(kept, now);
	if (now >= 0)
		close(now);
	if (kept >= 0)
		close(kept);
	return same;
}

/* ---- files ---- */

/* Makes a new file, or folder, what the one that it is in says. */
static int give(int directory, int fd, mode_t mode)
{
	struct stat folder, made;
	if (fstat(directory, &folder) != 0 || fstat(fd, &made) != 0)
		return -errno;
	bool shared = (folder.st_mode & S_IRWXG) != 0;
	gid_t group = shared ? folder.st_gid : made.st_gid;
	if ((folder.st_uid != made.st_uid || group != made.st_gid) && fchown(fd, folder.st_uid, group) != 0)
		return -errno;
	mode_t wanted = shared ? mode : mode & S_IRWXU;
	/* Not asked for nothing: a sandbox may refuse it. */
	return (made.st_mode & 07777) == wanted || fchmod(fd, wanted) == 0 ? 0 : -errno;
}

/* The descriptor of a file that was not there, or -errno. */
static int make(int directory, const char *name, int flags, mode_t mode)
{
	int fd = openat(directory, name, flags | O_EXCL, mode & S_IRWXU);
	int result = fd < 0 ? -errno : give(directory, fd, mode);
	if (result == 0)
		return fd;
	if (fd >= 0) {
		(void)unlinkat(directory, name, 0);
		close(fd);
	}
	return result;
}

/* Another process may make or remove the file at the same time. */
static int open_or_make(int directory, const char *name, int flags, mode_t mode)
{
	int result = -ENOENT;
	for (unsigned tries = 0; result == -ENOENT && tries < OPEN_TRIES; tries++) {
		result = make(directory, name, flags, mode);
		if (result != -EEXIST || (flags & O_EXCL) != 0)
			return result;
		int fd = openat(directory, name, flags & ~O_CREAT, 0);
		result = fd < 0 ? -errno : fd;
	}
	return result;
}

int folder_open(const char *folder, const char *name, int flags, mode_t mode)
{
	int directory = enter(folder);
	if (directory < 0)
		return directory;
	flags |= O_NOFOLLOW | O_CLOEXEC;
	int fd = (flags & O_CREAT) != 0 ? open_or_make(directory, name, flags, mode)
	                                : openat(directory, name, flags);
	int result = fd < 0 && (flags & O_CREAT) == 0 ? -errno : fd;
	close(directory);
	return result;
}

int folder_stat(const char *folder, const char *name, struct stat *status)
{
	int directory = enter(folder);
	if (directory < 0)
		return directory;
	int result = fstatat(directory, name, status, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : -errno;
	close(directory);
	return result;
}

int folder_unlink(const char *folder, const char *name)
{
	int directory = enter(folder);
	if (directory < 0)
		return directory;
	int result = unlinkat(directory, name, 0) == 0 ? 0 : -errno;
	close(directory);
	return result;
}

int folder_rename(const char *from, const char *name, const char *to, const char *new_name)
{
	int source = enter(from), target = source < 0 ? source : enter(to);
	int result = target < 0 ? target : renameat(source, name, target, new_name) == 0 ? 0 : -errno;
	if (target >= 0)
		close(target);
	if (source >= 0)
		close(source);
	return result;
}

/* ---- folders in folders ---- */

static bool is_in_held(const char *path)
{
	const char *slash = strrchr(path, '/');
	pthread_mutex_lock(&held_lock);
	bool held_parent = slash != NULL && find(path, (size_t)(slash - path)) != NULL;
	pthread_mutex_unlock(&held_lock);
	return held_parent;
}

static int give_folder(int parent, const char *name)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int result = fd < 0 ? -errno : give(parent, fd, S_IRWXU | S_IRGRP | S_IXGRP);
	if (fd >= 0)
		close(fd);
	return result;
}

int folder_make(const char *path)
{
	const char *name;
	int parent = enter_parent(path, &name);
	if (parent < 0)
		return parent;
	int result = mkdirat(parent, name, 0700) == 0 ? 0 : -errno;
	if (result == 0 && is_in_held(path))
		result = give_folder(parent, name);
	close(parent);
	return result;
}

static int give_like(int fd, int other)
{
	struct stat wanted, made;
	if (fstat(fd, &made) != 0 || fstat(other, &wanted) != 0)
		return -errno;
	bool given = made.st_uid == wanted.st_uid && made.st_gid == wanted.st_gid;
	if (!given && fchown(fd, wanted.st_uid, wanted.st_gid) != 0)
		return -errno;
	return fchmod(fd, wanted.st_mode & 07777) == 0 ? 0 : -errno;
}

int folder_make_like(const char *path, const char *other)
{
	const char *name = NULL;
	int model = enter(other), parent = model < 0 ? model : enter_parent(path, &name);
	int result = parent < 0 ? parent : mkdirat(parent, name, 0700) == 0 ? 0 : -errno;
	if (result == 0) {
		int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		result = fd < 0 ? -errno : give_like(fd, model);
		if (fd >= 0)
			close(fd);
		if (result != 0)
			(void)unlinkat(parent, name, AT_REMOVEDIR);
	}
	if (parent >= 0)
		close(parent);
	if (model >= 0)
		close(model);
	return result;
}

int folder_remove(const char *path)
{
	const char *name;
	int parent = enter_parent(path, &name);
	if (parent < 0)
		return parent;
	int result = unlinkat(parent, name, AT_REMOVEDIR) == 0 ? 0 : -errno;
	close(parent);
	return result;
}

DIR *folder_list(const char *path)
{
	int fd = folder_open(path, ".", O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0) {
		errno = -fd;
		return NULL;
	}
	DIR *list = fdopendir(fd);
	if (list == NULL)
		close(fd);
	return list;
}
