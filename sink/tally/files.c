#include "sink/tally/files.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int files_note(struct files *files, const char *path, struct shm_error *error)
{
	struct stat status;
	if (files->n == FILES_MAX)
		return -E2BIG;
	if (stat(path, &status) != 0) {
		int failed = errno;
		shm_explain(error, "%s: %s", path, strerror(failed));
		return -failed;
	}
	files->file[files->n].path = path;
	files->file[files->n].device = status.st_dev;
	files->file[files->n].inode = status.st_ino;
	files->n++;
	return 0;
}

int files_check_one(const struct files *files, unsigned i, struct shm_error *error)
{
	const char *path = files->file[i].path;
	struct stat status;
	int failed = stat(path, &status) == 0 ? 0 : errno;
	if (failed == 0 && status.st_dev == files->file[i].device && status.st_ino == files->file[i].inode)
		return 0;
	if (failed != 0 && failed != ENOENT && failed != ENOTDIR) {
		shm_explain(error, "%s: %s", path, strerror(failed));
		return -failed;
	}
	shm_explain(error, "%s: %s while in use; put it back, or kill -9 %d to go on with what is there then",
	            path, failed != 0 ? "deleted or moved away" : "replaced by another file", (int)getpid());
	return -ESTALE;
}

int files_check(const struct files *files, struct shm_error *error)
{
	int result = 0;
	for (unsigned i = 0; result == 0 && i < files->n; i++)
		result = files_check_one(files, i, error);
	return result;
}
