#include "base/output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- without waiting ---- */

static bool has_room(int fd)
{
	struct pollfd out = {.fd = fd, .events = POLLOUT};
	return poll(&out, 1, 0) == 1 && (out.revents & POLLOUT) != 0;
}

static ssize_t write_some(int fd, const char *bytes, size_t length)
{
	ssize_t n;
	do
		n = write(fd, bytes, length);
	while (n < 0 && errno == EINTR);
	return n;
}

/* In pieces, each of which has room when it is written. A pipe with any room has PIPE_BUF
 * (pipe(7)); a terminal may have room for one byte. */
static size_t write_polled(int fd, const char *bytes, size_t length, size_t piece)
{
	size_t used = 0;
	while (used < length && has_room(fd)) {
		ssize_t n = write_some(fd, bytes + used, length - used < piece ? length - used : piece);
		if (n <= 0)
			break;
		used += (size_t)n;
	}
	return used;
}

static size_t write_whole(int fd, const char *bytes, size_t length)
{
	size_t used = 0;
	while (used < length) {
		ssize_t n = write_some(fd, bytes + used, length - used);
		if (n <= 0)
			break;
		used += (size_t)n;
	}
	return used;
}

static size_t send_whole(int fd, const char *bytes, size_t length)
{
	ssize_t n;
	do
		n = send(fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? 0 : (size_t)n;
}

/* The same pipe or terminal under flags of our own, or -1. */
static int open_own(int fd, const struct stat *status)
{
	char path[40];
	struct stat own_status;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (own >= 0 && (fstat(own, &own_status) != 0 || own_status.st_ino != status->st_ino ||
	                 own_status.st_dev != status->st_dev)) {
		close(own);
		own = -1;
	}
	return own;
}

size_t output_write(int fd, const void *bytes, size_t length)
{
	struct stat status;
	int kept_errno = errno;
	size_t used = 0;
	if (length > OUTPUT_PIECE_MAX)
		length = OUTPUT_PIECE_MAX;
	if (fstat(fd, &status) != 0) {
		/* closed: nobody to tell */
	} else if (S_ISSOCK(status.st_mode)) {
		used = send_whole(fd, bytes, length);
	} else if (S_ISFIFO(status.st_mode) || (S_ISCHR(status.st_mode) && isatty(fd))) {
		int own = open_own(fd, &status);
		if (own >= 0) {
			used = write_whole(own, bytes, length);
			close(own);
		} else {
			used = write_polled(fd, bytes, length, S_ISFIFO(status.st_mode) ? length : 1);
		}
	} else {
		used = write_whole(fd, bytes, length);
	}
	errno = kept_errno;
	return used;
}

/* ---- the end of a program ---- */

/* Some earlier write failed, and only then its errno was known: ask for it again, with a byte that
 * is of no use any more. */
static int find_reason(void)
{
	struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
	if (poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0)
		return EPIPE;
	return write_some(STDOUT_FILENO, "\n", 1) < 0 ? errno : EIO;
}

int output_finish(const char *name)
{
	errno = 0;
	bool failed_before = ferror(stdout) != 0;
	int reason = fflush(stdout) != 0 ? errno : failed_before ? find_reason() : 0;
	if (reason == 0 || reason == EPIPE)
		return 0;
	fprintf(stderr, "%s: standard output: %s\n", name, strerror(reason));
	return 1;
}

void output_no_size_signal(void)
{
	signal(SIGXFSZ, SIG_IGN);
}
