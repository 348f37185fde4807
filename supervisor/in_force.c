#include "supervisor/in_force.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/folder.h"

/* Those who may look at the instance, where its folder is shared (folder.h), may read what is in
 * force; owners.h gives secrets to whom they are for. */
#define CONFIG_MODE  0640
#define SECRETS_MODE 0600

/* ---- writing ---- */

/* What is written: role is NULL for config.yaml. */
struct content {
	const struct config *config;
	const struct plan_role *role;
};

static int write_content(const struct content *content, FILE *out)
{
	const struct plan_role *role = content->role;
	return role == NULL ? config_write(content->config, NULL, out)
	                    : config_write_secrets(content->config, role->section, role->page.name, out);
}

static int write_new(const char *directory, const char *name, mode_t mode, const struct content *content)
{
	int fd = folder_open(directory, name, O_WRONLY | O_CREAT | O_EXCL, mode);
	FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
	int result = fd < 0 ? fd : out == NULL ? -errno : write_content(content, out);
	if (out != NULL && fclose(out) != 0 && result == 0)
		result = -errno;
	else if (out == NULL && fd >= 0)
		close(fd);
	return result;
}

static int write_file(const char *directory, const char *name, mode_t mode, const struct content *content,
                      struct shm_error *error)
{
	char next[SEGMENT_NAME_MAX + 1];
	snprintf(next, sizeof next, ".%s", name);
	(void)folder_unlink(directory, next); /* left by a supervisor that died here */
	int result = write_new(directory, next, mode, content);
	if (result == 0)
		result = folder_rename(directory, next, directory, name);
	if (result == 0)
		return 0;
	(void)folder_unlink(directory, next);
	shm_explain(error, "%s/%s: cannot write: %s", directory, name, strerror(-result));
	return result;
}

/* Holds the folder of secrets, made when it is missing. */
static int hold_secrets(char *path, const char *directory, struct shm_error *error)
{
	int result = instance_secrets_hold(path, directory, error);
	if (result != -ENOENT)
		return result;
	error->text[0] = '\0';
	result = folder_make_like(path, directory);
	if (result == 0 || result == -EEXIST)
		return instance_secrets_hold(path, directory, error);
	shm_explain(
	        error,
	        "%s: cannot be made: %s; secrets lie there: make it, for the owner of %s alone, or choose another root with MILLRACE_SHM",
	        path, strerror(-result), directory);
	return result;
}

static bool has_any(const struct plan *plan, const struct config *config)
{
	for (unsigned i = 0; i < plan->n_roles; i++)
		if (config_has_secrets(config, plan->role[i].section))
			return true;
	return false;
}

static int write_secrets(const struct plan *plan, const struct config *config, struct shm_error *error)
{
	char folder[FOLDER_PATH_MAX];
	if (!has_any(plan, config))
		return 0;
	int result = hold_secrets(folder, plan->directory, error);
	if (result != 0)
		return result;
	for (unsigned i = 0; i < plan->n_roles && result == 0; i++) {
		const struct plan_role *role = &plan->role[i];
		const struct content secrets = {config, role};
		if (config_has_secrets(config, role->section))
			result = write_file(folder, role->page.name, SECRETS_MODE, &secrets, error);
	}
	folder_release(folder);
	return result;
}

/* ---- removing ---- */

static bool has_secrets(const struct plan *plan, const struct config *config, const char *role)
{
	int index = plan == NULL ? -1 : plan_role_index(plan, role);
	return index >= 0 && config_has_secrets(config, plan->role[index].section);
}

/* Also files that were not finished, whose names begin with a dot as no role's does. plan NULL: all
 * files. */
static void remove_others(const struct plan *plan, const struct config *config, const char *directory)
{
	char path[FOLDER_PATH_MAX];
	struct shm_error ignored;
	struct dirent *entry;
	if (instance_secrets_hold(path, directory, &ignored) != 0)
		return;
	DIR *folder = folder_list(path);
	while (folder != NULL && (entry = readdir(folder)) != NULL)
		if (!has_secrets(plan, config, entry->d_name))
			(void)folder_unlink(path, entry->d_name);
	if (folder != NULL)
		closedir(folder);
	folder_release(path);
	if (plan == NULL || !has_any(plan, config))
		(void)folder_remove(path);
}

/* Those in the instance's folder. */
static void remove_old(const char *directory)
{
	static const char suffix[] = INSTANCE_OLD_SECRETS;
	struct dirent *entry;
	DIR *folder = folder_list(directory);
	while (folder != NULL && (entry = readdir(folder)) != NULL) {
		size_t n = strlen(entry->d_name), m = sizeof suffix - 1;
		if (n > m && strcmp(entry->d_name + n - m, suffix) == 0)
			(void)folder_unlink(directory, entry->d_name);
	}
	if (folder != NULL)
		closedir(folder);
}

void in_force_remove_secrets(const char *directory)
{
	remove_others(NULL, NULL, directory);
}

/* The folder that is held is the one that was removed; by its path there may be another. */
void in_force_remove_orphaned(const char *directory)
{
	struct stat there;
	if (lstat(directory, &there) != 0 && errno == ENOENT)
		in_force_remove_secrets(directory);
}

/* ---- all of it ---- */

int in_force_write(const struct plan *plan, const struct config *config, struct shm_error *error)
{
	int result = write_secrets(plan, config, error);
	const struct content all = {config, NULL};
	if (result == 0)
		result = write_file(plan->directory, CONFIG_INSTANCE_FILE, CONFIG_MODE, &all, error);
	if (result != 0)
		return result;
	remove_others(plan, config, plan->directory);
	remove_old(plan->directory);
	return 0;
}

int in_force_read_secrets(const struct plan *plan, struct config *config, char **errors)
{
	int result = 0;
	for (unsigned i = 0; i < plan->n_roles && result == 0; i++)
		result = config_read_secrets(config, plan->directory, plan->role[i].section,
		                             plan->role[i].page.name, errors);
	return result;
}
