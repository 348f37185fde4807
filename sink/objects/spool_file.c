#include "sink/objects/spool_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sink/objects/checksum.h"

#define NAME_BYTES   (JOURNAL_TOKEN_BYTES + 12u)
#define WRITE_PIECES 64u /* of one pwritev */

static const char magic[16] = "millrace spool 1";

struct trailer {
	char magic[sizeof magic];
	char token[JOURNAL_TOKEN_BYTES];
	uint64_t bytes, sequence;
	uint32_t number;
	uint32_t crc;
};
_Static_assert(sizeof(struct trailer) == SPOOL_TRAILER_BYTES, "no padding");

static const char *name_of(const struct spool_file *file, char name[NAME_BYTES])
{
	snprintf(name, NAME_BYTES, "%s.%u", file->token, file->number);
	return name;
}

bool spool_file_named(struct spool_file *file, const char *name)
{
	char again[NAME_BYTES];
	*file = (struct spool_file){0};
	if (strlen(name) >= NAME_BYTES || strspn(name, "0123456789abcdef") != JOURNAL_TOKEN_BYTES ||
	    name[JOURNAL_TOKEN_BYTES] != '.')
		return false;
	memcpy(file->token, name, JOURNAL_TOKEN_BYTES);
	unsigned long number = strtoul(name + JOURNAL_TOKEN_BYTES + 1, NULL, 10);
	if (number == 0 || number > JOURNAL_PARTS_MAX)
		return false;
	file->number = (uint32_t)number;
	return strcmp(name_of(file, again), name) == 0;
}

/* ---- writing ---- */

static int write_all(int fd, struct iovec *piece, unsigned n)
{
	while (n > 0) {
		ssize_t written = writev(fd, piece, (int)n);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -errno;
		size_t left = (size_t)written;
		while (n > 0 && left >= piece->iov_len) {
			left -= piece->iov_len;
			piece++;
			n--;
		}
		if (n > 0) {
			piece->iov_base = (char *)piece->iov_base + left;
			piece->iov_len -= left;
		}
	}
	return 0;
}

static int write_content(int fd, const struct spool_file *file, const struct iovec *piece, unsigned n)
{
	struct trailer trailer = {.bytes = file->bytes, .sequence = file->sequence, .number = file->number};
	struct iovec some[WRITE_PIECES];
	uint32_t crc = 0;
	memcpy(trailer.magic, magic, sizeof magic);
	memcpy(trailer.token, file->token, sizeof trailer.token);
	for (unsigned i = 0; i < n;) {
		unsigned k = n - i < WRITE_PIECES ? n - i : WRITE_PIECES;
		memcpy(some, piece + i, k * sizeof *some);
		for (unsigned m = 0; m < k; m++)
			crc = checksum_crc32c(crc, some[m].iov_base, some[m].iov_len);
		int result = write_all(fd, some, k);
		if (result != 0)
			return result;
		i += k;
	}
	trailer.crc = checksum_crc32c(crc, &trailer, offsetof(struct trailer, crc));
	some[0] = (struct iovec){.iov_base = &trailer, .iov_len = sizeof trailer};
	return write_all(fd, some, 1);
}

int spool_file_write(int directory, const struct spool_file *file, const struct iovec *piece, unsigned n)
{
	char name[NAME_BYTES];
	int result = spool_file_remove(directory, file); /* of a life that was killed before it knew of it */
	if (result != 0)
		return result;
	int fd = openat(directory, name_of(file, name), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
	                0640);
	if (fd < 0)
		return -errno;
	result = write_content(fd, file, piece, n);
	if (result == 0 && fsync(fd) != 0)
		result = -errno;
	close(fd);
	if (result == 0 && fsync(directory) != 0)
		result = -errno;
	if (result != 0)
		(void)spool_file_remove(directory, file);
	return result;
}

/* ---- reading ---- */

static int read_all(int fd, void *data, size_t bytes, off_t offset)
{
	char *at = data;
	while (bytes > 0) {
		ssize_t n = pread(fd, at, bytes, offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENOENT; /* it was cut meanwhile */
		at += n;
		offset += n;
		bytes -= (size_t)n;
	}
	return 0;
}

/* The descriptor of a regular file as long as it must be, or as spool_file_read. */
static int open_file(int directory, const struct spool_file *file, const char **reason)
{
	char name[NAME_BYTES];
	struct stat status;
	/* a FIFO in its place must not be waited for */
	int fd = openat(directory, name_of(file, name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0) {
		*reason = errno == ENOENT ? "its file is gone" : "its file is no regular one";
		return errno == ELOOP || errno == ENXIO ? -ENOENT : -errno;
	}
	int result = 0;
	if (fstat(fd, &status) != 0) {
		result = -errno;
	} else if (!S_ISREG(status.st_mode)) {
		*reason = "its file is no regular one";
		result = -ENOENT;
	} else if ((uint64_t)status.st_size != file->bytes + SPOOL_TRAILER_BYTES) {
		*reason = "its file has another length";
		result = -ENOENT;
	}
	if (result == 0)
		return fd;
	close(fd);
	return result;
}

static bool is_meant(const struct spool_file *file, const struct trailer *trailer)
{
	return memcmp(trailer->magic, magic, sizeof magic) == 0 &&
	       memcmp(trailer->token, file->token, sizeof trailer->token) == 0 &&
	       trailer->number == file->number && trailer->bytes == file->bytes;
}

int spool_file_read(int directory, const struct spool_file *file, void *data, const char **reason)
{
	struct trailer trailer;
	int fd = open_file(directory, file, reason);
	if (fd < 0)
		return fd;
	*reason = "its file has another length";
	int result = read_all(fd, data, file->bytes, 0);
	if (result == 0)
		result = read_all(fd, &trailer, sizeof trailer, (off_t)file->bytes);
	close(fd);
	if (result != 0)
		return result;
	uint32_t crc = checksum_crc32c(0, data, file->bytes);
	if (is_meant(file, &trailer) &&
	    checksum_crc32c(crc, &trailer, offsetof(struct trailer, crc)) == trailer.crc)
		return 0;
	*reason = is_meant(file, &trailer) ? "its file was changed" : "its file is another one";
	return -ENOENT;
}

uint64_t spool_file_sequence(int directory, const struct spool_file *file)
{
	struct trailer trailer;
	const char *reason;
	int fd = open_file(directory, file, &reason);
	if (fd < 0)
		return 0;
	int result = read_all(fd, &trailer, sizeof trailer, (off_t)file->bytes);
	close(fd);
	return result == 0 && is_meant(file, &trailer) ? trailer.sequence : 0;
}

int spool_file_remove(int directory, const struct spool_file *file)
{
	char name[NAME_BYTES];
	return unlinkat(directory, name_of(file, name), 0) == 0 || errno == ENOENT ? 0 : -errno;
}
