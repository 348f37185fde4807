#include "sink/file/growing.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "sink/file/rotated.h"

#define LAYOUT     ((5ull << 48) | sizeof(struct growing_private))
#define OPEN_FLAGS (O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK) /* a FIFO without a reader does not hold us */
#define NEW_MODE   0640

static uint64_t load(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

static void store(_Atomic uint64_t *word, uint64_t value)
{
	atomic_store_explicit(word, value, memory_order_release);
}

static int explain(const struct growing *growing, int result, struct shm_error *error)
{
	shm_explain(error, "%s: %s", growing->path, strerror(-result));
	return result;
}

/* ---- the words ---- */

/* All of them change together. The intent goes with the length: nothing is being written. */
static void note_words(struct growing *growing, const struct stat *status, uint64_t length, uint64_t begun_ns)
{
	struct growing_words *words = growing->words;
	redo_add(growing->redo, 0, &words->device, status->st_dev);
	redo_add(growing->redo, 0, &words->inode, status->st_ino);
	redo_add(growing->redo, 0, &words->length, length);
	redo_add(growing->redo, 0, &words->intent, length);
	redo_add(growing->redo, 0, &words->begun_ns, begun_ns);
	redo_publish(growing->redo);
	redo_apply(growing->redo);
}

/* No file is ours any more; while it is still there, as another may get its inode number. */
static void forget(struct growing *growing)
{
	const struct stat none = {.st_ino = 0};
	note_words(growing, &none, 0, 0);
}

static bool is_ours(const struct growing *growing, const struct stat *status)
{
	const struct growing_words *words = growing->words;
	return status->st_ino != 0 && status->st_ino == load(&words->inode) &&
	       status->st_dev == load(&words->device);
}

/* ---- cutting ---- */

/* Cuts off what a write left that was not committed. */
static int cut(struct growing *growing, int fd, const struct stat *status)
{
	struct growing_words *words = growing->words;
	uint64_t length = load(&words->length), there = (uint64_t)status->st_size;
	if (load(&words->intent) > length && there > length) {
		if (ftruncate(fd, (off_t)length) != 0)
			return -errno;
		growing->counts.cut_bytes += there - length;
		log_info("an unfinished write was cut off", "file=\"%s\" length=%llu bytes=%llu",
		         growing->path, (unsigned long long)length, (unsigned long long)(there - length));
	}
	store(&words->intent, length);
	growing->cut = false;
	return 0;
}

/* The file that the words name is not under its name any more. */
static void cut_elsewhere(struct growing *growing)
{
	struct growing_words *words = growing->words;
	uint64_t unsure = load(&words->intent) - load(&words->length);
	if (load(&words->inode) == 0 || unsure == 0)
		return;
	struct stat status;
	int fd = rotated_find(growing->path, load(&words->device), load(&words->inode));
	int result = fd < 0 ? fd : fstat(fd, &status) != 0 ? -errno : cut(growing, fd, &status);
	if (fd >= 0)
		close(fd);
	if (result != 0)
		log_warn(
		        "the file was moved while it was written to, and cannot be found in its folder: its last lines may come again in the next file",
		        "file=\"%s\" bytes=%llu reason=\"%s\"", growing->path, (unsigned long long)unsure,
		        strerror(-result));
	store(&words->intent, load(&words->length));
}

/* ---- opening ---- */

/* Whose lines were in it before does not matter, but the last one must end. Returns the length, or
 * -errno. */
static int64_t end_last_line(int fd, uint64_t length)
{
	char last = '\n';
	if (length == 0)
		return 0;
	ssize_t n = pread(fd, &last, 1, (off_t)length - 1);
	if (n < 0)
		return -errno;
	if (n == 0 || last == '\n')
		return (int64_t)length;
	n = pwrite(fd, "\n", 1, (off_t)length);
	return n == 1 ? (int64_t)length + 1 : n < 0 ? -errno : -EIO;
}

/* When the file was made, as far as the file system knows. */
static uint64_t made_ns(int fd)
{
	struct statx about;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &about) == 0 && (about.stx_mask & STATX_BTIME) != 0 &&
	    about.stx_btime.tv_sec > 0)
		return (uint64_t)about.stx_btime.tv_sec * NS_PER_SEC + about.stx_btime.tv_nsec;
	return clock_real_ns();
}

/* A file that was not ours until now. */
static int take(struct growing *growing, int fd, const struct stat *status)
{
	int64_t length = end_last_line(fd, (uint64_t)status->st_size);
	if (length < 0)
		return (int)length;
	if (length != status->st_size)
		log_warn("the last line of the file did not end: it does now", "file=\"%s\"", growing->path);
	note_words(growing, status, (uint64_t)length, length == 0 ? 0 : made_ns(fd));
	return 0;
}

/* Others may have changed the length: then we go on at the end that there is. */
static int fit_length(struct growing *growing, int fd, const struct stat *status)
{
	struct growing_words *words = growing->words;
	uint64_t length = load(&words->length);
	if (growing->cut)
		return cut(growing, fd, status);
	if ((uint64_t)status->st_size == length)
		return 0;
	growing->counts.foreign_changes++;
	log_warn("somebody else changed the length of the file: going on at its end",
	         "file=\"%s\" length=%llu was=%llu", growing->path, (unsigned long long)status->st_size,
	         (unsigned long long)length);
	return take(growing, fd, status);
}

static int open_at(struct growing *growing, struct shm_error *error)
{
	struct stat status;
	int fd = open(growing->path, OPEN_FLAGS | O_CREAT, NEW_MODE);
	if (fd < 0)
		return explain(growing, -errno, error);
	int result = fstat(fd, &status) != 0 ? -errno : 0;
	if (result == 0 && !S_ISREG(status.st_mode)) {
		shm_explain(error, "%s: is no regular file", growing->path);
		close(fd);
		return -EINVAL;
	}
	/* Where the file system knows no locks, nobody is kept out. */
	if (result == 0 && flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
		shm_explain(error, "%s: another process has locked it (a second sink, another instance?)",
		            growing->path);
		close(fd);
		return -EBUSY;
	}
	if (result == 0 && is_ours(growing, &status)) {
		result = cut(growing, fd, &status);
		if (result == 0)
			result = fstat(fd, &status) != 0 ? -errno : fit_length(growing, fd, &status);
	} else if (result == 0) {
		cut_elsewhere(growing);
		result = growing->sync ? rotated_sync(growing->path) : 0; /* its name, too */
		if (result == 0)
			result = take(growing, fd, &status);
	}
	if (result != 0) {
		close(fd);
		return explain(growing, result, error);
	}
	growing->fd = fd;
	return 0;
}

int growing_open(struct growing *growing, struct growing_private *private, struct redo *redo,
                 struct shm_error *error)
{
	struct growing_words *words = &private->words;
	growing->words = words;
	growing->redo = redo;
	growing->fd = -1;
	if (load(&words->layout) == 0)
		store(&words->layout, LAYOUT);
	if (load(&words->layout) != LAYOUT) {
		shm_explain(
		        error,
		        "the private memory was laid out by another build; end this instance once (SIGTERM)");
		return -EPROTO;
	}
	return 0;
}

void growing_close(struct growing *growing)
{
	if (growing->fd >= 0)
		close(growing->fd);
	growing->fd = -1;
}

/* ---- looking ---- */

int growing_look(struct growing *growing, struct shm_error *error)
{
	struct stat named, own;
	bool there = stat(growing->path, &named) == 0;
	int result = there ? 0 : -errno;
	if (growing->fd >= 0) {
		if (!there && result != -ENOENT)
			return explain(growing, result, error);
		if (fstat(growing->fd, &own) != 0)
			return explain(growing, -errno, error);
		if (there && named.st_ino == own.st_ino && named.st_dev == own.st_dev) {
			result = fit_length(growing, growing->fd, &own);
			return result == 0 ? 0 : explain(growing, result, error);
		}
		if (growing->cut && (result = cut(growing, growing->fd, &own)) != 0)
			return explain(growing, result, error);
		growing->counts.reopened++;
		log_info("another file is under the name, or none: beginning there", "file=\"%s\"",
		         growing->path);
		forget(growing);
		growing_close(growing);
	}
	return open_at(growing, error);
}

/* ---- writing ---- */

static int write_all(int fd, const char *text, size_t bytes, uint64_t offset)
{
	while (bytes != 0) {
		ssize_t n = pwrite(fd, text, bytes, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		text += n;
		offset += (uint64_t)n;
		bytes -= (size_t)n;
	}
	return 0;
}

/* What was written of it is cut off: now, or before the next write. */
static void undo(struct growing *growing)
{
	struct stat status;
	growing->cut = true;
	if (fstat(growing->fd, &status) == 0)
		(void)cut(growing, growing->fd, &status);
}

int growing_write(struct growing *growing, const char *text, size_t bytes,
                  void (*note_cursors)(void *argument), void *argument, struct shm_error *error)
{
	struct growing_words *words = growing->words;
	struct stat status;
	int result = growing_look(growing, error);
	if (result != 0)
		return result;
	uint64_t length = load(&words->length), begun_ns = load(&words->begun_ns);
	if (fstat(growing->fd, &status) != 0)
		return explain(growing, -errno, error);
	if (bytes != 0) {
		store(&words->intent, length + bytes);
		result = write_all(growing->fd, text, bytes, length);
		if (result == 0 && growing->sync && fdatasync(growing->fd) != 0)
			result = -errno;
	}
	if (result != 0) {
		undo(growing);
		return explain(growing, result, error);
	}
	note_cursors(argument);
	note_words(growing, &status, length + bytes, length == 0 && bytes != 0 ? clock_real_ns() : begun_ns);
	return 0;
}

/* ---- rotating ---- */

static bool is_due(const struct growing *growing, uint64_t real_ns)
{
	uint64_t length = load(&growing->words->length), begun_ns = load(&growing->words->begun_ns);
	if (growing->fd < 0 || length == 0)
		return false;
	return (growing->rotate_bytes != 0 && length >= growing->rotate_bytes) ||
	       (growing->rotate_ns != 0 && real_ns >= begun_ns && real_ns - begun_ns >= growing->rotate_ns);
}

int growing_rotate(struct growing *growing, uint64_t real_ns, struct shm_error *error)
{
	if (!is_due(growing, real_ns))
		return 0;
	/* What has the name must be ours. */
	int result = growing_look(growing, error);
	if (result != 0 || !is_due(growing, real_ns))
		return result;
	result = rotated_rename(growing->path, real_ns);
	if (result != 0) {
		shm_explain(error, "%s: cannot be given another name: %s", growing->path, strerror(-result));
		return result;
	}
	forget(growing);
	growing_close(growing);
	growing->counts.rotations++;
	result = rotated_remove(growing->path, growing->keep);
	if (result != 0)
		shm_explain(error, "%s: an old file cannot be removed: %s", growing->path, strerror(-result));
	return result;
}

/* ---- before it is started ---- */

int growing_try(const char *path, struct shm_error *error)
{
	struct stat status;
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');
	if (path[0] == '\0' || (slash != NULL && slash[1] == '\0')) {
		shm_explain(error, "%s: must name a file", path);
		return -EINVAL;
	}
	if (stat(path, &status) == 0) {
		if (S_ISREG(status.st_mode) && access(path, R_OK | W_OK) == 0)
			return 0;
		shm_explain(error, "%s: %s", path,
		            S_ISREG(status.st_mode) ? strerror(errno) : "is no regular file");
		return -EINVAL;
	}
	int result = -errno;
	snprintf(folder, sizeof folder, "%.*s", slash == NULL || slash == path ? 1 : (int)(slash - path),
	         slash == NULL ? "." : path);
	if (result == -ENOENT && access(folder, W_OK | X_OK) == 0)
		return 0;
	shm_explain(error, "%s: %s", result == -ENOENT ? folder : path,
	            strerror(result == -ENOENT ? errno : -result));
	return result;
}
