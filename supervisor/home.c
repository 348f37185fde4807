#include "supervisor/home.h"
#include "supervisor/lanes.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stage/log.h"

#define LOCK_TRIES 20 /* another supervisor may be removing the directory just now */

/* ---- the directory and the lock ---- */

static void root_of(const char *directory, char *root, size_t size)
{
	snprintf(root, size, "%s", directory);
	char *slash = strrchr(root, '/');
	if (slash != NULL && slash != root)
		*slash = '\0';
}

static int make_directories(const char *directory, bool *made_root)
{
	char root[160];
	struct stat status;
	root_of(directory, root, sizeof root);
	if (mkdir(root, 0700) == 0) {
		*made_root = true;
		(void)chmod(root, 01777);
	} else if (errno != EEXIST) {
		return -errno;
	}
	if (mkdir(directory, 0700) != 0 && errno != EEXIST)
		return -errno;
	if (lstat(directory, &status) != 0)
		return -errno;
	if (!S_ISDIR(status.st_mode))
		return -ENOTDIR;
	return status.st_uid == geteuid() ? 0 : -EACCES;
}

/* A lock on a file that has been removed meanwhile is worth nothing. */
static bool is_in_place(const char *directory, int lock)
{
	char path[200];
	struct stat held, there;
	snprintf(path, sizeof path, "%s/lock", directory);
	return fstat(lock, &held) == 0 && stat(path, &there) == 0 && held.st_ino == there.st_ino &&
	       held.st_dev == there.st_dev;
}

int home_lock(const char *directory, int *lock, bool *made_root, struct shm_error *error)
{
	int result = -ENOENT, owner = 0;
	*made_root = false;
	for (unsigned tries = 0; tries < LOCK_TRIES && (result == -ENOENT || result == -ESTALE); tries++) {
		result = make_directories(directory, made_root);
		if (result != 0)
			continue;
		*lock = instance_lock(directory, "lock", 0, &owner);
		result = *lock < 0 ? *lock : is_in_place(directory, *lock) ? 0 : -ESTALE;
		if (result == -ESTALE)
			close(*lock);
	}
	if (result == -EWOULDBLOCK)
		shm_explain(
		        error,
		        "the instance in %s is running already: its supervisor is process %d; end it (kill "
		        "%d), or choose another name with --instance",
		        directory, owner, owner);
	else if (result == -EACCES)
		shm_explain(error,
		            "%s belongs to another user; choose another name with --instance NAME (or "
		            "MILLRACE_INSTANCE=NAME)",
		            directory);
	else if (result != 0)
		shm_explain(error, "%s: cannot create: %s", directory, strerror(-result));
	if (result != 0)
		*lock = -1;
	return result;
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
	if (result == 0 && access(part, W_OK | X_OK) != 0)
		result = -errno;
	if (result != 0)
		shm_explain(
		        error,
		        "data_dir: %s: cannot be written: %s; choose another folder with --set data_dir=PATH",
		        path, strerror(-result));
	return result;
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

/* A former life may have left groups of outside programs. */
static bool is_kept(const struct plan *plan, const struct plan_topic *topic)
{
	struct lane_state state;
	struct shm_error ignored;
	return topic->n_required != 0 ||
	       (lane_look(plan->directory, topic->page.name, 0, &state, &ignored) == 0 &&
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
	fprintf(out, "to stop: Ctrl-C or kill %d (drains up to %llu s); to look: millrace stat\n",
	        (int)getpid(),
	        (unsigned long long)(config_ns(supervisor->config, "drain_timeout") / NS_PER_SEC));
}

static FILE *open_text(char **text, size_t *bytes)
{
	FILE *out = open_memstream(text, bytes);
	if (out == NULL)
		abort();
	return out;
}

static void announce(FILE *out, char **text)
{
	if (fclose(out) == 0)
		log_text(STDOUT_FILENO, *text);
	free(*text);
}

void home_announce(const struct supervisor *supervisor)
{
	char *text = NULL;
	size_t bytes;
	FILE *out = open_text(&text, &bytes);
	print_all(supervisor, out);
	announce(out, &text);
}

void home_announce_listeners(const struct supervisor *supervisor, const struct sockets *known)
{
	char *text = NULL;
	size_t bytes;
	FILE *out = open_text(&text, &bytes);
	print_listeners(&supervisor->sockets, supervisor->plan, known, out);
	announce(out, &text);
}
