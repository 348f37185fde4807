#include "sink/file/standard.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

static int open_again(void)
{
	return open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

int standard_open(struct standard *standard, struct standard_private *private, struct shm_error *error)
{
	struct stat status;
	*standard = (struct standard){.fd = STDOUT_FILENO, .private = private};
	if (fstat(STDOUT_FILENO, &status) != 0) {
		int result = -errno;
		shm_explain(error, "standard output: %s", strerror(-result));
		return result;
	}
	standard->socket = S_ISSOCK(status.st_mode);
	standard->pieces = S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode);
	if (standard->pieces) {
		int fd = open_again();
		standard->own = fd >= 0;
		if (fd >= 0)
			standard->fd = fd; /* else it is asked before each piece (poll) */
	}
	return 0;
}

void standard_close(struct standard *standard)
{
	if (standard->own)
		close(standard->fd);
	*standard = (struct standard){.fd = -1};
}

/* Bytes that go in one write: whole lines, or a part of one that is too long. */
static size_t piece(const struct standard *standard, const char *text, size_t bytes)
{
	if (!standard->pieces || bytes <= PIPE_BUF)
		return bytes;
	const char *end = memrchr(text, '\n', PIPE_BUF);
	return end == NULL ? PIPE_BUF : (size_t)(end - text) + 1;
}

static bool would_wait(const struct standard *standard)
{
	struct pollfd fd = {.fd = standard->fd, .events = POLLOUT};
	return !standard->own && standard->pieces && poll(&fd, 1, 0) == 0;
}

static ssize_t write_piece(const struct standard *standard, const char *text, size_t bytes)
{
	if (would_wait(standard)) {
		errno = EAGAIN;
		return -1;
	}
	return standard->socket ? send(standard->fd, text, bytes, MSG_DONTWAIT | MSG_NOSIGNAL)
	                        : write(standard->fd, text, bytes);
}

static void set_within(const struct standard *standard, bool within)
{
	atomic_store_explicit(&standard->private->within, within ? 1 : 0, memory_order_release);
}

/* The last life ended within a line. */
static int end_line(const struct standard *standard, const struct lines *lines)
{
	if (lines->written != 0 ||
	    atomic_load_explicit(&standard->private->within, memory_order_acquire) == 0)
		return 0;
	ssize_t n = write_piece(standard, "\n", 1);
	if (n < 0)
		return -errno;
	set_within(standard, false);
	return 0;
}

int standard_write(struct standard *standard, struct lines *lines)
{
	int result = end_line(standard, lines);
	while (result == 0 && lines->written < lines->used) {
		const char *text = lines->text + lines->written;
		size_t bytes = piece(standard, text, lines->used - lines->written);
		/* Such a piece goes out whole or not at all; any other may stop within a line. */
		bool whole = standard->pieces && text[bytes - 1] == '\n';
		if (!whole)
			set_within(standard, true);
		ssize_t n = write_piece(standard, text, bytes);
		if (n > 0)
			lines->written += (size_t)n;
		set_within(standard, lines->written != 0 && lines->text[lines->written - 1] != '\n');
		if (n < 0 && errno != EINTR)
			result = -errno;
	}
	return result;
}

void standard_wait(const struct standard *standard, uint64_t timeout_ns)
{
	struct pollfd fd = {.fd = standard->fd, .events = POLLOUT};
	const struct timespec time = {.tv_sec = (time_t)(timeout_ns / NS_PER_SEC),
	                              .tv_nsec = (long)(timeout_ns % NS_PER_SEC)};
	/* A pipe without a reader is ready at once, for an error: do not turn. */
	if (ppoll(&fd, 1, &time, NULL) > 0 && (fd.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0)
		(void)nanosleep(&time, NULL);
}
