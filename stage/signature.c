#include "stage/signature.h"

#include <errno.h>

static int64_t nanoseconds(const struct timespec *time)
{
	return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

void signature_of(struct signature *signature, const struct stat *status)
{
	*signature = (struct signature){
	        .device = status->st_dev,
	        .inode = status->st_ino,
	        .bytes = (uint64_t)status->st_size,
	        .modified_ns = nanoseconds(&status->st_mtim),
	        .changed_ns = nanoseconds(&status->st_ctim),
	};
}

int signature_take(struct signature *signature, const char *path)
{
	struct stat status;
	if (stat(path, &status) != 0)
		return -errno;
	signature_of(signature, &status);
	return 0;
}

bool signature_same(const struct signature *a, const struct signature *b)
{
	return a->device == b->device && a->inode == b->inode && a->bytes == b->bytes &&
	       a->modified_ns == b->modified_ns && a->changed_ns == b->changed_ns;
}
