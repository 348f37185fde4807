#include "supervisor/maker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/folder.h"

#define MAKER_FILE     "maker"
#define MAKER_VARIABLE "MILLRACE_MAKER" /* set in the copy: it does not look for another */
#define PIECE_BYTES    (16u << 20)

/* Permission to execute it need not be asked for before Linux 6.3, where this flag is not known. */
#ifndef MFD_EXEC
#define MFD_EXEC 0x10u
#endif

static int copy_all(int from, int to)
{
	ssize_t n;
	do
		n = sendfile(to, from, NULL, PIECE_BYTES);
	while (n > 0 || (n < 0 && errno == EINTR));
	return n < 0 ? -errno : 0;
}

int maker_keep(const char *directory, struct shm_error *error)
{
	maker_forget(directory);
	int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int to = from < 0 ? -errno : folder_open(directory, MAKER_FILE, O_WRONLY | O_CREAT | O_EXCL, 0500);
	int result = to < 0 ? to : copy_all(from, to);
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	if (result == 0)
		return 0;
	shm_explain(error, "%s/" MAKER_FILE ": cannot keep a copy of this program: %s", directory,
	            strerror(-result));
	maker_forget(directory);
	return result;
}

bool maker_is_kept(const char *directory)
{
	struct stat status;
	return folder_stat(directory, MAKER_FILE, &status) == 0 && S_ISREG(status.st_mode);
}

bool maker_is_needed(const char *directory)
{
	uint64_t layout = segment_layout_of(directory, "instance");
	return layout != 0 && layout != segment_layout_hash() && maker_is_kept(directory);
}

void maker_forget(const char *directory)
{
	(void)folder_unlink(directory, MAKER_FILE);
}

static int open_in_memory(void)
{
	int fd = memfd_create("millrace-" MAKER_FILE, MFD_CLOEXEC | MFD_EXEC);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("millrace-" MAKER_FILE, MFD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Nobody but the user may have written it. */
static bool is_ours(int fd)
{
	struct stat status;
	return fstat(fd, &status) == 0 && status.st_uid == geteuid() &&
	       (status.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

int maker_become(const char *directory, char *const *argv, struct shm_error *error)
{
	if (getenv(MAKER_VARIABLE) != NULL) {
		shm_explain(error, "%s: the copy of the program that made it is of another build", directory);
		return -EPROTO;
	}
	int from = folder_open(directory, MAKER_FILE, O_RDONLY, 0);
	int result = from < 0 ? from : is_ours(from) ? 0 : -EPERM;
	int program = result == 0 ? open_in_memory() : result;
	result = program < 0 ? program : copy_all(from, program);
	if (from >= 0)
		close(from);
	if (result == 0 && setenv(MAKER_VARIABLE, "1", 1) == 0) {
		fexecve(program, argv, environ);
		result = -errno;
	}
	if (program >= 0)
		close(program);
	shm_explain(error, "%s/" MAKER_FILE ": the program that made it cannot be run: %s", directory,
	            strerror(-result));
	return result;
}
