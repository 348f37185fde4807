/* millrace clean: removes the shared memory of an instance that no longer runs. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/arguments.h"
#include "cli/command.h"
#include "base/log.h"
#include "shm/folder.h"
#include "supervisor/home.h"
#include "supervisor/segments.h"

struct options {
	const char *instance;
	bool force;
};

struct left {
	char *text; /* a line for each lane and queue with unread records or messages */
	uint64_t waiting;
	unsigned unfinished; /* roles whose private memory may hold events */
	unsigned files;
	uint64_t bytes;
};

/* ---- live processes ---- */

/* Every process that uses an instance holds a lock on a file in it: the supervisor, stages,
 * readers, outside writers. Returns 1 when one is alive: name is its file, *pid its process, or -1
 * when the kernel does not tell (a lock that belongs to an open file). A file with a known process
 * comes first. Returns 0 when none is alive, -errno when a file cannot be checked. */
static int find_live(const char *directory, char *name, size_t size, int *pid)
{
	int found = 0;
	struct dirent *entry;
	DIR *folder = folder_list(directory);
	*pid = -1;
	snprintf(name, size, ".");
	if (folder == NULL)
		return -errno;
	while (found >= 0 && *pid <= 0 && (entry = readdir(folder)) != NULL) {
		/* we hold "lock" now, and closing it would release it */
		if (entry->d_name[0] == '.' || strcmp(entry->d_name, "lock") == 0)
			continue;
		int held = instance_locked(directory, entry->d_name, pid);
		if (held == 0)
			continue;
		found = held;
		snprintf(name, size, "%s", entry->d_name);
	}
	closedir(folder);
	return found;
}

/* Secrets whose instance's folder was removed by hand lie under nobody's lock. The folder is made
 * again for it: then all is as with other instances. Returns 0, or -errno with the reason. */
static int make_for_secrets(const char *directory, struct shm_error *error)
{
	char secrets[FOLDER_PATH_MAX];
	int result = home_hold(instance_secrets_folder(secrets, directory), error);
	if (result != 0)
		return result;
	result = folder_make_like(directory, secrets);
	folder_release(secrets);
	if (result != 0 && result != -EEXIST)
		shm_explain(error, "%s: %s", directory, strerror(-result));
	return result == -EEXIST ? 0 : result;
}

/* Opens the folder and keeps it open. Returns 0, or 1 after it printed why it could not. */
static int hold(const char *directory, const char *instance)
{
	struct shm_error error = {""};
	int result = home_hold(directory, &error);
	if (result == -ENOENT && (result = make_for_secrets(directory, &error)) == 0)
		result = home_hold(directory, &error);
	if (result == -ENOENT)
		return command_fail("clean", "instance \"%s\" has left nothing: %s: %s", instance, directory,
		                    strerror(ENOENT));
	return result == 0 ? 0 : command_fail("clean", "%s", error.text);
}

/* Takes the supervisor's lock, so that no supervisor starts meanwhile. Returns its descriptor, or
 * -1 after it printed why it could not. */
static int take_over(const char *directory, const char *instance)
{
	char name[NAME_MAX + 1];
	int owner = 0;
	int pid;
	int lock = instance_lock(directory, "lock", 0, &owner);
	if (lock == -EWOULDBLOCK)
		command_fail("clean",
		             "instance \"%s\" is running: its supervisor is process %d; end it first",
		             instance, owner);
	else if (lock < 0)
		command_fail("clean", "%s/lock: %s", directory, strerror(-lock));
	if (lock < 0)
		return -1;
	int live = find_live(directory, name, sizeof name, &pid);
	if (live == 0)
		return lock;
	if (live < 0)
		command_fail("clean", "cannot tell whether somebody uses instance \"%s\": %s/%s: %s",
		             instance, directory, name, strerror(-live));
	else if (pid > 0)
		command_fail("clean", "instance \"%s\" is in use: process %d holds %s; end it first",
		             instance, pid, name);
	else
		command_fail("clean", "instance \"%s\" is in use: a reader or writer holds %s; end it first",
		             instance, name);
	close(lock);
	return -1;
}

/* ---- contents ---- */

static void count_files(const char *directory, struct left *left)
{
	struct dirent *entry;
	DIR *folder = folder_list(directory);
	while (folder != NULL && (entry = readdir(folder)) != NULL) {
		struct stat status;
		if (fstatat(dirfd(folder), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
		    !S_ISREG(status.st_mode))
			continue;
		left->files++;
		left->bytes += (uint64_t)status.st_size;
	}
	if (folder != NULL)
		closedir(folder);
}

/* Returns 0, or -errno with the reason when it cannot count the unread records. */
static int look(struct segments *segments, const char *directory, struct left *left, struct shm_error *error)
{
	size_t size;
	char secrets[FOLDER_PATH_MAX];
	FILE *text = open_memstream(&left->text, &size);
	if (text == NULL)
		abort();
	int result = segments_look(segments, directory, error);
	if (result == 0 && segments->old != NULL) {
		left->waiting = segments_waiting(segments, text);
		left->unfinished = segments_unfinished(segments);
	}
	fclose(text);
	count_files(directory, left);
	count_files(instance_secrets_folder(secrets, directory), left);
	return result;
}

/* Prints each line of the text, as " ip lane 0 group tally: 7 records". */
static void print_waiting(FILE *out, const struct left *left)
{
	char *rest = left->text;
	for (char *line; (line = strsep(&rest, "\n")) != NULL;)
		if (*line != '\0')
			fprintf(out, "  %s\n", line);
	if (left->unfinished != 0)
		fprintf(out, "  %u %s did not end in order and may have received more\n", left->unfinished,
		        left->unfinished == 1 ? "stage" : "stages");
}

/* Its stages may all be down for a moment: a service manager starts them again on this memory. */
static int refuse_managed(const char *instance)
{
	return command_fail(
	        "clean",
	        "instance \"%s\" is run by a service manager; stop it there, --force removes it all the same",
	        instance);
}

static int refuse(const char *instance, struct left *left, const char *unknown)
{
	if (unknown != NULL)
		return command_fail("clean",
		                    "what waits unread cannot be told: %s; --force removes it all the same",
		                    unknown);
	command_fail(
	        "clean",
	        "%llu unread records and messages wait; millrace run --instance %s takes them up, --force removes them:",
	        (unsigned long long)left->waiting, instance);
	print_waiting(stderr, left);
	return 1;
}

static int clean(const struct options *options, const char *directory)
{
	struct segments segments = {0};
	struct left left = {0};
	struct shm_error error = {""};
	if (hold(directory, options->instance) != 0)
		return 1;
	int lock = take_over(directory, options->instance), status = 0;
	if (lock < 0) {
		folder_release(directory);
		return 1;
	}
	log_init("millrace", LOG_ERROR,
	         LOG_TEXT); /* this command prints the supervisor's warnings in other words */
	int known = look(&segments, directory, &left, &error);
	if (!options->force && segments.old != NULL && segments.old->managed != 0) {
		status = refuse_managed(options->instance);
	} else if (!options->force && (known != 0 || left.waiting != 0 || left.unfinished != 0)) {
		status = refuse(options->instance, &left, known == 0 ? NULL : error.text);
	} else {
		snprintf(segments.directory, sizeof segments.directory, "%s", directory);
		int result = segments_remove(&segments);
		if (result != 0) {
			status = command_fail("clean", "%s: %s", directory, strerror(-result));
		} else {
			printf("removed %s: %u files, %llu bytes, ", directory, left.files,
			       (unsigned long long)left.bytes);
			if (known != 0)
				printf("unread records unknown\n");
			else
				printf("%llu unread records and messages\n",
				       (unsigned long long)left.waiting);
			print_waiting(stdout, &left);
		}
		home_remove_root(directory, false);
	}
	segments_fini(&segments);
	free(left.text);
	close(lock);
	folder_release(directory);
	return status;
}

int command_clean(int argc, char **argv)
{
	struct options options = {.instance = command_instance()};
	const struct argument table[] = {
	        {"instance", 0, ARGUMENT_STRING, "NAME",
	         "which instance (default: $MILLRACE_INSTANCE or default)", &options.instance, 0, 0, NULL},
	        {"force", 0, ARGUMENT_FLAG, NULL,
	         "also when records wait that nobody has read: they are lost", &options.force, 0, 0, NULL},
	};
	const struct arguments arguments = {
	        .command = "clean",
	        .usage = "[--instance NAME] [--force]",
	        .purpose =
	                "Removes what an instance that no longer runs has left in shared memory, and says what that was.\n"
	                "Refuses while anything of it lives: supervisor, stage, reader or writer. What lies in data_dir stays.",
	        .example = "  millrace clean --instance test",
	        .table = table,
	        .n = sizeof table / sizeof table[0],
	};
	struct operands operands;
	char directory[128];
	struct shm_error none = {""};
	int status = arguments_parse(&arguments, argc, argv, &operands);
	if (status != ARGUMENTS_GO_ON)
		return status;
	int result = segment_directory(directory, sizeof directory, options.instance);
	if (result != 0)
		return command_no_instance("clean", options.instance, result, &none);
	return clean(&options, directory);
}
