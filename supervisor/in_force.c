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

/* ---- removing ---- */

/* Cuts the name of a file of secrets, finished or not, down to its role; NULL for other files. */
static const char *role_of(char *name)
{
	char *dot = strrchr(name, '.');
	if (dot == NULL || strcmp(dot, ".secrets") != 0)
		return NULL;
	*dot = '\0';
	return name[0] == '.' ? name + 1 : name;
}

static bool has_secrets(const struct plan *plan, const struct config *config, const char *role)
{
	int index = plan_role_index(plan, role);
	return index >= 0 && config_has_secrets(config, plan->role[index].section);
}

static void remove_others(const struct plan *plan, const struct config *config)
{
	struct dirent *entry;
	DIR *folder = folder_list(plan->directory);
	while (folder != NULL && (entry = readdir(folder)) != NULL) {
		char name[sizeof entry->d_name];
		snprintf(name, sizeof name, "%s", entry->d_name);
		const char *role = role_of(name);
		if (role != NULL && (name[0] == '.' || !has_secrets(plan, config, role)))
			(void)folder_unlink(plan->directory, entry->d_name);
	}
	if (folder != NULL)
		closedir(folder);
}

/* ---- all of it ---- */

int in_force_write(const struct plan *plan, const struct config *config, struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	int result = 0;
	for (unsigned i = 0; i < plan->n_roles && result == 0; i++) {
		const struct plan_role *role = &plan->role[i];
		const struct content secrets = {config, role};
		if (config_has_secrets(config, role->section))
			result = write_file(plan->directory, instance_secrets_name(name, role->page.name),
			                    SECRETS_MODE, &secrets, error);
	}
	const struct content all = {config, NULL};
	if (result == 0)
		result = write_file(plan->directory, CONFIG_INSTANCE_FILE, CONFIG_MODE, &all, error);
	if (result == 0)
		remove_others(plan, config);
	return result;
}

int in_force_read_secrets(const struct plan *plan, struct config *config, char **errors)
{
	int result = 0;
	for (unsigned i = 0; i < plan->n_roles && result == 0; i++)
		result = config_read_secrets(config, plan->directory, plan->role[i].section,
		                             plan->role[i].page.name, errors);
	return result;
}
