#include "shm/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "shm/folder.h"

int instance_attach(struct instance *instance, const char *name, enum segment_access access,
                    struct shm_error *error)
{
	struct instance found = {0};
	if (segment_directory(found.directory, sizeof found.directory, name) != 0) {
		shm_explain(error, "instance \"%s\": a name has " SHM_NAME_RULE, name);
		return -EINVAL;
	}
	int result = folder_hold(found.directory, error);
	bool held = result == 0;
	if (result == 0)
		result = segment_attach(&found.page_segment, found.directory, "instance", SEGMENT_INSTANCE,
		                        access, error);
	if (result != 0) {
		if (result == -ENOENT)
			shm_explain(
			        error,
			        "instance \"%s\" is not running (no segments in %s); start it with: millrace run --instance %s",
			        name, found.directory, name);
		segment_detach(&found.page_segment);
		if (held)
			folder_release(found.directory);
		return result;
	}
	found.page = found.page_segment.body;
	found.generation = found.page_segment.header->generation;
	*instance = found;
	return 0;
}

void instance_detach(struct instance *instance)
{
	segment_detach(&instance->page_segment);
	if (instance->directory[0] != '\0')
		folder_release(instance->directory);
	memset(instance, 0, sizeof *instance);
}

enum instance_place instance_look(const struct instance *instance)
{
	char path[256];
	struct stat status;
	snprintf(path, sizeof path, "%s/instance", instance->directory);
	if (stat(path, &status) != 0)
		return errno == ENOENT || errno == ENOTDIR ? INSTANCE_GONE : INSTANCE_IN_PLACE;
	bool same = status.st_dev == instance->page_segment.device &&
	            status.st_ino == instance->page_segment.inode;
	return same ? INSTANCE_IN_PLACE : INSTANCE_REPLACED;
}

int instance_follow(struct instance *instance, struct shm_error *error)
{
	struct segment page = {0};
	if (instance_look(instance) == INSTANCE_IN_PLACE)
		return 0;
	int result =
	        segment_attach(&page, instance->directory, "instance", SEGMENT_INSTANCE, SEGMENT_READ, error);
	if (result != 0)
		return result;
	/* The page that is mapped already: its folder has another place, and under its name lies
	 * something else. */
	bool same =
	        page.device == instance->page_segment.device && page.inode == instance->page_segment.inode;
	if (same || page.header->generation != instance->generation) {
		segment_detach(&page);
		shm_explain(error, "%s: another life of the instance has taken its place",
		            instance->directory);
		return -ESTALE;
	}
	segment_detach(&instance->page_segment);
	instance->page_segment = page;
	instance->page = page.body;
	return 0;
}

int instance_topic_index(const struct instance *instance, const char *name)
{
	for (unsigned i = 0; i < instance->page->n_topics; i++)
		if (strcmp(instance->page->topic[i].name, name) == 0)
			return (int)i;
	return -1;
}

int instance_queue_index(const struct instance *instance, const char *name)
{
	for (unsigned i = 0; i < instance->page->n_queues; i++)
		if (strcmp(instance->page->queue[i].name, name) == 0)
			return (int)i;
	return -1;
}

int instance_role_index(const struct instance *instance, const char *name)
{
	for (unsigned i = 0; i < instance->page->n_roles; i++)
		if (strcmp(instance->page->role[i].name, name) == 0)
			return (int)i;
	return -1;
}

static char *numbered(char *buffer, const char *owner, const char *what, unsigned number)
{
	snprintf(buffer, SEGMENT_NAME_MAX, "%s.%s.%u", owner, what, number);
	return buffer;
}

static char *suffixed(char *buffer, const char *owner, const char *what)
{
	snprintf(buffer, SEGMENT_NAME_MAX, "%s.%s", owner, what);
	return buffer;
}

char *instance_lane_name(char *buffer, const char *topic, unsigned lane)
{
	return numbered(buffer, topic, "lane", lane);
}

char *instance_group_name(char *buffer, const char *topic, unsigned group)
{
	return numbered(buffer, topic, "group", group);
}

char *instance_queue_name(char *buffer, const char *queue)
{
	return suffixed(buffer, queue, "queue");
}

char *instance_stage_name(char *buffer, const char *role)
{
	return suffixed(buffer, role, "stage");
}

char *instance_private_name(char *buffer, const char *role)
{
	return suffixed(buffer, role, "private");
}

char *instance_errand_name(char *buffer, const char *role)
{
	return suffixed(buffer, role, "errand");
}

char *instance_old_secrets_name(char *buffer, const char *role)
{
	snprintf(buffer, SEGMENT_NAME_MAX, "%s" INSTANCE_OLD_SECRETS, role);
	return buffer;
}

char *instance_secrets_folder(char *buffer, const char *directory)
{
	const char *slash = strrchr(directory, '/'), *name = slash == NULL ? directory : slash + 1;
	snprintf(buffer, FOLDER_PATH_MAX, "%.*s.%s.secrets", (int)(name - directory), directory, name);
	return buffer;
}

int instance_secrets_hold(char *path, const char *directory, struct shm_error *error)
{
	struct stat secrets, instance;
	int result = folder_hold(instance_secrets_folder(path, directory), error);
	if (result != 0)
		return result;
	result = folder_stat(path, ".", &secrets);
	if (result == 0)
		result = folder_stat(directory, ".", &instance);
	if (result != 0)
		shm_explain(error, "%s: %s", path, strerror(-result));
	else if (secrets.st_uid == instance.st_uid || secrets.st_uid == geteuid())
		return 0;
	else
		shm_explain(error,
		            "%s belongs to user %u, and %s to user %u: have it removed, secrets lie there",
		            path, secrets.st_uid, directory, instance.st_uid);
	folder_release(path);
	return result != 0 ? result : -EPERM;
}

static int open_lock(const char *directory, const char *file)
{
	return folder_open(directory, file, O_RDWR | O_CREAT, 0640);
}

int instance_hold_fd(int fd)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	if (fcntl(fd, F_OFD_SETLK, &whole) == 0)
		return 0;
	return errno == EACCES || errno == EAGAIN ? -EWOULDBLOCK : -errno;
}

int instance_hold(const char *directory, const char *file)
{
	int fd = open_lock(directory, file);
	int result = fd < 0 ? fd : instance_hold_fd(fd);
	if (result == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return result;
}

int instance_lock_fd(int fd, unsigned wait_ms, int *owner_pid)
{
	for (unsigned waited_ms = 0;; waited_ms++) {
		struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
		if (fcntl(fd, F_SETLK, &whole) == 0)
			return 0;
		int failed = errno;
		struct flock held = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
		if (owner_pid != NULL)
			*owner_pid =
			        fcntl(fd, F_GETLK, &held) == 0 && held.l_type != F_UNLCK ? held.l_pid : 0;
		if ((failed != EACCES && failed != EAGAIN && failed != EINTR) || waited_ms >= wait_ms)
			return failed == EACCES || failed == EAGAIN ? -EWOULDBLOCK : -failed;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
}

int instance_lock(const char *directory, const char *file, unsigned wait_ms, int *owner_pid)
{
	int fd = open_lock(directory, file);
	int result = fd < 0 ? fd : instance_lock_fd(fd, wait_ms, owner_pid);
	if (result == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return result;
}

int instance_locked_fd(int fd, int *pid)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	if (fcntl(fd, F_OFD_GETLK, &whole) != 0)
		return -errno;
	if (whole.l_type == F_UNLCK)
		return 0;
	if (pid != NULL)
		*pid = whole.l_pid;
	return 1;
}

int instance_locked(const char *directory, const char *file, int *pid)
{
	int fd = folder_open(directory, file, O_RDONLY | O_NONBLOCK, 0);
	/* Who locks a file opens it as we do: never through a link, and never a socket. */
	if (fd == -ENOENT || fd == -ELOOP || fd == -ENXIO)
		return 0;
	if (fd < 0)
		return fd;
	int locked = instance_locked_fd(fd, pid);
	close(fd);
	return locked;
}
