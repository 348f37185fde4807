#include "supervisor/home.h"
#include "supervisor/lane_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/folder.h"
#include "supervisor/owners.h"
#include "base/log.h"

#define LOCK_TRIES 20 /* another supervisor may be removing the directory just now */

/* ---- the directory and the lock ---- */

static void root_of(const char *directory, char *root, size_t size)
{
	snprintf(root, size, "%s", directory);
	char *slash = strrchr(root, '/');
	if (slash != NULL && slash != root)
		*slash = '\0';
}

int home_hold(const char *directory, struct shm_error *error)
{
	struct stat status;
	int result = folder_hold(directory, error);
	if (result != 0)
		return result;
	result = folder_stat(directory, ".", &status);
	if (result != 0)
		shm_explain(error, "%s: %s", directory, strerror(-result));
	else if (status.st_uid == geteuid() || (geteuid() == 0 && users_is_owner(status.st_uid)))
		return 0;
	else
		shm_explain(
		        error,
		        "%s belongs to another user; choose another name with --instance NAME (or MILLRACE_INSTANCE=NAME)",
		        directory);
	folder_release(directory);
	return result != 0 ? result : -EPERM;
}

/* Makes what is missing, and holds the instance's folder. Only this user may write in the root; a
 * root for several users has to be made before, with the sticky bit. */
static int make_folders(const char *directory, const struct users *users, bool *made_root,
                        struct shm_error *error)
{
	char root[160];
	root_of(directory, root, sizeof root);
	if (mkdir(root, 0755) == 0)
		*made_root = true;
	else if (errno != EEXIST)
		return -errno;
	int result = folder_make(directory), made = result;
	/* At once: in a root that is the owner's nobody else's folder is trusted. */
	if (result == 0 && users != NULL && users->in_force)
		result = owners_of_folder(users, directory, error);
	if (result == -EEXIST || result == 0 || result == -EACCES)
		result = home_hold(directory, error);
	return result == -ENOENT && made == -EACCES ? made : result;
}

/* A lock on a file that has been removed meanwhile, or that lies in a folder that has, is worth
 * nothing. */
static bool is_in_place(const char *directory, int lock)
{
	struct stat held, there;
	return fstat(lock, &held) == 0 && folder_stat(directory, "lock", &there) == 0 &&
	       held.st_ino == there.st_ino && held.st_dev == there.st_dev && folder_in_place(directory);
}

static int try_to_lock(const char *directory, int *lock, int *owner)
{
	*lock = instance_lock(directory, "lock", 0, owner);
	int result = *lock < 0 ? *lock : is_in_place(directory, *lock) ? 0 : -ESTALE;
	if (result == -ESTALE)
		close(*lock);
	if (result != 0)
		folder_release(directory);
	return result;
}

int home_lock(const char *directory, const struct users *users, int *lock, bool *made_root,
              struct shm_error *error)
{
	int result = -ENOENT, owner = 0;
	*made_root = false;
	for (unsigned tries = 0; tries < LOCK_TRIES && (result == -ENOENT || result == -ESTALE); tries++) {
		error->text[0] = '\0';
		result = make_folders(directory, users, made_root, error);
		if (result == 0)
			result = try_to_lock(directory, lock, &owner);
	}
	if (result == -EWOULDBLOCK)
		shm_explain(
		        error,
		        "the instance in %s is running already: its supervisor is process %d; end it (kill %d), or choose another name with --instance",
		        directory, owner, owner);
	else if (result == -EACCES)
		shm_explain(
		        error,
		        "%s: cannot be made or entered: the folder is another user's; choose a folder of your own with MILLRACE_SHM",
		        directory);
	else if (result != 0 && result != -EPERM && error->text[0] == '\0')
		shm_explain(error, "%s: cannot create: %s", directory, strerror(-result));
	if (result != 0)
		*lock = -1;
	return result;
}

/* ---- a second supervisor after the folder was removed ---- */

/* Where in the guard's file this user's instance of this name has its byte: FNV-1a. */
static off_t guarded_byte(const char *name)
{
	uint64_t hash = 0xcbf29ce484222325u ^ geteuid();
	for (; *name != '\0'; name++)
		hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
	return (off_t)(hash >> 2);
}

static bool is_ours(pid_t pid)
{
	char path[64];
	struct stat status;
	snprintf(path, sizeof path, "/proc/%d", (int)pid);
	return pid > 0 && stat(path, &status) == 0 && status.st_uid == geteuid();
}

/* A read lock can be taken on a folder that others own, and excludes no other; so it is taken
 * first, and then the kernel is asked which others there are. Any user may lock any byte there: the
 * locks of other users mean nothing. */
int home_guard(const char *directory, int *guard, struct shm_error *error)
{
	char root[160], parent[160];
	root_of(directory, root, sizeof root);
	root_of(root, parent, sizeof parent);
	*guard = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*guard < 0 && errno == EACCES)
		return 0; /* a folder that cannot be read: the lock in the instance's own has to do */
	if (*guard < 0) {
		int failed = errno;
		shm_explain(error, "cannot tell whether the last instance in %s has ended: %s: %s", directory,
		            parent, strerror(failed));
		return -failed;
	}
	struct flock byte = {.l_type = F_RDLCK,
	                     .l_whence = SEEK_SET,
	                     .l_start = guarded_byte(directory + strlen(parent)),
	                     .l_len = 1};
	(void)fcntl(*guard, F_SETLK, &byte); /* a file system without locks: likewise */
	byte.l_type = F_WRLCK;
	if (fcntl(*guard, F_GETLK, &byte) != 0 || byte.l_type == F_UNLCK || !is_ours(byte.l_pid))
		return 0;
	shm_explain(
	        error,
	        "the last instance in %s has not ended yet: its folder was removed while it ran, and its supervisor, process %d, still drains; wait for its end, or kill %d",
	        directory, (int)byte.l_pid, (int)byte.l_pid);
	(void)folder_unlink(directory, "lock");
	(void)folder_remove(directory); /* stays when there is something in it */
	return -EBUSY;
}

/* ---- is it still there? ---- */

struct missing {
	const char *directory;
	char *name;
};

static void find_missing(void *argument, const char *name, uint64_t file_bytes)
{
	struct missing *missing = argument;
	struct stat status;
	(void)file_bytes;
	if (missing->name[0] == '\0' && folder_stat(missing->directory, name, &status) == -ENOENT)
		snprintf(missing->name, SEGMENT_NAME_MAX, "%s", name);
}

bool home_in_place(const struct supervisor *supervisor, char name[SEGMENT_NAME_MAX])
{
	const struct segment *page = &supervisor->segments.page;
	struct missing missing = {.directory = supervisor->plan->directory, .name = name};
	struct stat status;
	name[0] = '\0';
	if (!is_in_place(missing.directory, supervisor->lock))
		snprintf(name, SEGMENT_NAME_MAX, "lock");
	else if (folder_stat(missing.directory, "instance", &status) == 0 &&
	         (status.st_dev != page->device || status.st_ino != page->inode))
		snprintf(name, SEGMENT_NAME_MAX, "instance");
	else
		plan_each_segment(supervisor->plan, find_missing, &missing);
	return name[0] == '\0';
}

void home_remove_root(const char *directory, bool made_root)
{
	char root[160];
	const char *given = getenv("MILLRACE_SHM");
	root_of(directory, root, sizeof root);
	if (made_root || given == NULL || *given == '\0')
		(void)rmdir(root); /* fails when other instances are there, which is right */
}

/* ---- the data folder ---- */

static int explain_data_dir(const char *path, int result, struct shm_error *error)
{
	if (result != 0)
		shm_explain(
		        error,
		        "data_dir: %s: cannot be written: %s; choose another folder with --set data_dir=PATH",
		        path, strerror(-result));
	return result;
}

int home_try_data_dir(const char *path, struct shm_error *error)
{
	char part[PATH_MAX];
	struct stat status;
	int result = strlen(path) >= sizeof part ? -ENAMETOOLONG : 0;
	if (result == 0)
		snprintf(part, sizeof part, "%s", path);
	/* The nearest folder that exists: the missing ones would be made in it. */
	while (result == 0 && stat(part, &status) != 0) {
		char *slash = strrchr(part, '/');
		if (errno != ENOENT)
			result = -errno;
		else if (slash == NULL)
			snprintf(part, sizeof part, ".");
		else
			slash[slash == part ? 1 : 0] = '\0';
	}
	if (result == 0 && !S_ISDIR(status.st_mode))
		result = -ENOTDIR;
	if (result == 0 && access(part, W_OK | X_OK) != 0)
		result = -errno;
	return explain_data_dir(path, result, error);
}

int home_make_data_dir(const char *path, struct shm_error *error)
{
	char part[PATH_MAX];
	int result = strlen(path) >= sizeof part ? -ENAMETOOLONG : 0;
	if (result == 0)
		snprintf(part, sizeof part, "%s", path);
	for (char *at = part + 1; result == 0 && *at != '\0'; at++) {
		if (*at != '/')
			continue;
		*at = '\0';
		if (mkdir(part, 0755) != 0 && errno != EEXIST && errno != EACCES && errno != EROFS)
			result = -errno;
		*at = '/';
	}
	if (result == 0 && mkdir(part, 0750) != 0 && errno != EEXIST)
		result = -errno;
	return result == 0 ? home_try_data_dir(path, error) : explain_data_dir(path, result, error);
}

/* ---- what is told at start ---- */

static bool listens(const struct sockets *sockets, const struct socket_entry *entry)
{
	for (unsigned i = 0; sockets != NULL && i < sockets->n; i++)
		if (sockets->entry[i].fd == entry->fd)
			return true;
	return false;
}

static void print_listeners(const struct sockets *sockets, const struct plan *plan,
                            const struct sockets *known, FILE *out)
{
	for (unsigned i = 0; i < sockets->n; i++) {
		const struct socket_entry *entry = &sockets->entry[i];
		const struct plan_listener *listener = &plan->listener[entry->listener];
		char address[ADDRESS_TEXT_MAX];
		if (!entry->kept || entry->process != 0 || listens(known, entry))
			continue;
		plan_print_listener(listener, address_format(address, &entry->bound), out);
		if (listener->processes > 1)
			fprintf(out, ", %u processes", listener->processes);
		fputc('\n', out);
	}
}

/* An earlier life may have left groups of outside programs. */
static bool is_kept(const struct plan *plan, const struct plan_topic *topic)
{
	struct lane_file_state state;
	struct shm_error ignored;
	return topic->n_required != 0 ||
	       (lane_file_look(plan->directory, topic->page.name, 0, &state, &ignored) == 0 &&
	        state.slowest[0] != '\0');
}

static void print_topics(const struct plan *plan, FILE *out)
{
	char size[32];
	for (unsigned i = 0; i < plan->n_topics; i++) {
		const struct plan_topic *topic = &plan->topic[i];
		unsigned n = 0;
		for (unsigned lane = 0; lane < topic->page.n_lanes; lane++)
			n += topic->retired[lane] ? 0 : 1;
		if (n == 0)
			continue;
		fprintf(out, "topic %s: %u %s of %s, when full: %s%s\n", topic->page.name, n,
		        n == 1 ? "lane" : "lanes", plan_size_text(size, topic->page.size_bytes),
		        topic->page.when_full == WHEN_FULL_DROP ? "drop" : "refuse",
		        is_kept(plan, topic) ? "" : "; " PLAN_NOBODY_KEEPS);
	}
}

static void print_all(const struct supervisor *supervisor, FILE *out)
{
	const struct plan *plan = supervisor->plan;
	fprintf(out, "millrace instance %s%s\n", plan->instance,
	        supervisor->segments.adopted ? ", going on where the last run ended" : "");
	print_listeners(&supervisor->sockets, plan, NULL, out);
	print_topics(plan, out);
	for (unsigned i = 0; i < plan->n_queues; i++)
		if (!plan->queue[i].retired)
			plan_print_queue(&plan->queue[i], out);
	fprintf(out, "data in %s\n", config_string(supervisor->config, "data_dir"));
	fprintf(out, "shared memory in %s, %llu bytes\n", plan->directory,
	        (unsigned long long)plan_bytes(plan));
	bool named = strcmp(plan->instance, segment_instance(NULL)) != 0;
	fprintf(out, "to stop: Ctrl-C or kill %d (drains up to %llu s); to look: millrace stat%s%s\n",
	        (int)getpid(),
	        (unsigned long long)(config_ns(supervisor->config, "drain_timeout") / NS_PER_SEC),
	        named ? " --instance " : "", named ? plan->instance : "");
}

static FILE *open_text(char **text, size_t *bytes)
{
	FILE *out = open_memstream(text, bytes);
	if (out == NULL)
		abort();
	return out;
}

int home_output(const struct supervisor *supervisor)
{
	const struct plan *plan = supervisor->plan;
	for (unsigned i = 0; i < plan->n_roles; i++)
		if (plan->role[i].stage->kinds != NULL &&
		    strcmp(config_string(supervisor->config, "%s.kind", plan->role[i].section), "stdout") ==
		            0)
			return STDERR_FILENO;
	return STDOUT_FILENO;
}

static void announce(const struct supervisor *supervisor, FILE *out, char **text)
{
	if (fclose(out) == 0)
		log_text(home_output(supervisor), *text);
	free(*text);
}

void home_announce(const struct supervisor *supervisor)
{
	char *text = NULL;
	size_t bytes;
	FILE *out = open_text(&text, &bytes);
	print_all(supervisor, out);
	announce(supervisor, out, &text);
}

void home_announce_listeners(const struct supervisor *supervisor, const struct sockets *known)
{
	char *text = NULL;
	size_t bytes;
	FILE *out = open_text(&text, &bytes);
	print_listeners(&supervisor->sockets, supervisor->plan, known, out);
	announce(supervisor, out, &text);
}
