#include "supervisor/owners.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "shm/folder.h"
#include "stage/sandbox.h"
#include "stage/written.h"

#define FOLDER_MODE  0750
#define WRITTEN_MODE 0664
#define OTHER_MODE   0640
#define SECRETS_MODE 0640
#define DATA_MODE    02770
#define DEPTH_MAX    32u
#define HANDLE       (O_PATH | O_NOFOLLOW | O_CLOEXEC)

/* ---- giving ---- */

/* What a file or a folder is to be. */
struct wanted {
	uid_t uid;
	gid_t gid;
	mode_t mode;
};

static bool is_as_wanted(const struct stat *now, const struct wanted *wanted)
{
	return now->st_uid == wanted->uid && now->st_gid == wanted->gid &&
	       (now->st_mode & 07777) == wanted->mode;
}

/* fd is a handle (O_PATH): closing one frees no POSIX lock that this process has on the file, and
 * a link would be the link itself. Its mode can be changed by /proc alone. */
static int give(int fd, const struct stat *now, const struct wanted *wanted)
{
	char path[40];
	if (is_as_wanted(now, wanted))
		return 0;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if ((now->st_uid != wanted->uid || now->st_gid != wanted->gid) &&
	    fchownat(fd, "", wanted->uid, wanted->gid, AT_EMPTY_PATH) != 0)
		return -errno;
	if (chmod(path, wanted->mode) == 0)
		return 0;
	/* A service manager's sandbox lets nobody set that bit (RestrictSUIDSGID=). */
	if (errno == EPERM && (wanted->mode & S_ISGID) != 0 && chmod(path, wanted->mode & 0777) == 0)
		return 0;
	return -errno;
}

/* The file or folder is one of ours, and has no second name by which it is somebody else's. */
static bool is_ours(const struct users *users, const struct stat *now)
{
	return (now->st_uid == geteuid() || users_has(users, now->st_uid)) &&
	       (S_ISDIR(now->st_mode) || (S_ISREG(now->st_mode) && now->st_nlink == 1));
}

/* Where nothing is in force everything is the starter's. */
static struct wanted starters(mode_t mode)
{
	return (struct wanted){.uid = geteuid(), .gid = getegid(), .mode = mode};
}

/* ---- the instance's folders ---- */

static int give_folder(const struct users *users, const char *directory, struct shm_error *error)
{
	struct stat now;
	struct wanted wanted = starters(0700);
	if (users->in_force)
		wanted = (struct wanted){users->owner, users->group, FOLDER_MODE};
	int fd = folder_open(directory, ".", O_PATH | O_DIRECTORY, 0);
	int result = fd < 0 ? fd : fstat(fd, &now) != 0 ? -errno : 0;
	/* The group of a folder that nobody else may enter says nothing. */
	if (result == 0 && !users->in_force && now.st_uid == wanted.uid && (now.st_mode & 077) == 0)
		wanted = (struct wanted){now.st_uid, now.st_gid, now.st_mode & 07777};
	if (result == 0)
		result = give(fd, &now, &wanted);
	if (fd >= 0)
		close(fd);
	if (result != 0)
		shm_explain(error, "%s: cannot be given to its owner: %s", directory, strerror(-result));
	return result;
}

/* Of one who was to hold the folder of secrets. When there is none that could be trusted no role
 * has secrets there: who was to write them has refused it. */
static int without_secrets(int result, struct shm_error *error)
{
	if (result != -ENOENT && result != -ENOTDIR && result != -EPERM)
		return result;
	error->text[0] = '\0';
	return 0;
}

/* A stranger's is given to nobody. */
static int give_secrets_folder(const struct users *users, const char *path, struct shm_error *error)
{
	struct stat now;
	int result = folder_hold(path, error);
	if (result != 0)
		return without_secrets(result, error);
	result = folder_stat(path, ".", &now);
	if (result == 0 && is_ours(users, &now))
		result = give_folder(users, path, error);
	folder_release(path);
	return result;
}

int owners_of_folder(const struct users *users, const char *directory, struct shm_error *error)
{
	char path[FOLDER_PATH_MAX];
	int result = give_folder(users, directory, error);
	return result == 0 ? give_secrets_folder(users, instance_secrets_folder(path, directory), error)
	                   : result;
}

/* Files of which more is known than that they are the instance's. */
struct known {
	char name[SEGMENT_NAME_MAX];
	gid_t gid;
};

struct giving {
	const struct users *users;
	const char *directory;
	struct known *known;
	size_t n, room;
	bool secrets; /* the folder is that of secrets */
	int failed;   /* while making locks */
};

static void add_known(struct giving *giving, const char *name, gid_t gid)
{
	if (giving->n == giving->room) {
		giving->room = giving->room == 0 ? 256 : 2 * giving->room;
		giving->known = realloc(giving->known, giving->room * sizeof *giving->known);
		if (giving->known == NULL)
			abort();
	}
	struct known *known = &giving->known[giving->n++];
	snprintf(known->name, sizeof known->name, "%s", name);
	known->gid = gid;
}

static void make_lock(struct giving *giving, const char *name)
{
	struct stat status;
	if (folder_stat(giving->directory, name, &status) == 0)
		return;
	int fd = folder_open(giving->directory, name, O_RDWR | O_CREAT, OTHER_MODE);
	if (fd >= 0)
		close(fd);
	else if (giving->failed == 0)
		giving->failed = fd;
}

static void note_written(void *argument, const struct written *file)
{
	struct giving *giving = argument;
	const struct users_kind *kind = users_of(giving->users, file->stage->name);
	if (kind != NULL)
		add_known(giving, file->name, file->queue ? giving->users->queues : kind->gid);
	if (file->lock)
		make_lock(giving, file->name);
}

static void note_secrets(struct giving *giving, const struct instance_page *page)
{
	for (unsigned i = 0; i < page->n_roles; i++) {
		const struct users_kind *kind = users_of(giving->users, page->role[i].program);
		if (kind != NULL)
			add_known(giving, page->role[i].name, kind->gid);
	}
}

static int has_name(const void *name, const void *known)
{
	return strcmp(name, ((const struct known *)known)->name);
}

/* A file that several roles write is there as often, each time for the same group. */
static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct known *)a)->name, ((const struct known *)b)->name);
}

static struct wanted wanted_of(const struct giving *giving, const char *name)
{
	const struct users *users = giving->users;
	if (!users->in_force)
		return starters(0600);
	const struct known *known =
	        giving->n == 0 ? NULL
	                       : bsearch(name, giving->known, giving->n, sizeof *giving->known, has_name);
	if (known == NULL)
		return (struct wanted){users->owner, users->group, giving->secrets ? 0600 : OTHER_MODE};
	return (struct wanted){users->owner, known->gid, giving->secrets ? SECRETS_MODE : WRITTEN_MODE};
}

static int give_one(const struct giving *giving, const char *name)
{
	struct stat now;
	int fd = folder_open(giving->directory, name, O_PATH, 0);
	int result = fd < 0 ? fd : fstat(fd, &now) != 0 ? -errno : 0;
	if (result == 0 && S_ISREG(now.st_mode) && is_ours(giving->users, &now)) {
		struct wanted wanted = wanted_of(giving, name);
		if ((now.st_mode & S_IXUSR) != 0) /* a program (maker.h) is for nobody else */
			wanted.mode = now.st_mode & S_IRWXU;
		result = give(fd, &now, &wanted);
	}
	if (fd >= 0)
		close(fd);
	return result == -ENOENT || result == -ELOOP ? 0 : result; /* an answer may go at any time */
}

/* Frees what is known. */
static int give_all(struct giving *giving, struct shm_error *error)
{
	if (giving->n != 0)
		qsort(giving->known, giving->n, sizeof *giving->known, by_name);
	DIR *folder = folder_list(giving->directory);
	int result = folder == NULL ? -errno : 0;
	struct dirent *entry;
	while (folder != NULL && result == 0 && (entry = readdir(folder)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		    (result = give_one(giving, entry->d_name)) != 0)
			shm_explain(error, "%s/%s: cannot be given to its owner: %s", giving->directory,
			            entry->d_name, strerror(-result));
	if (folder != NULL)
		closedir(folder);
	else
		shm_explain(error, "%s: %s", giving->directory, strerror(-result));
	free(giving->known);
	return result;
}

static int give_secrets(const struct users *users, const char *directory, const struct instance_page *page,
                        struct shm_error *error)
{
	char path[FOLDER_PATH_MAX];
	struct giving giving = {.users = users, .directory = path, .secrets = true};
	int result = instance_secrets_hold(path, directory, error);
	if (result != 0)
		return without_secrets(result, error);
	note_secrets(&giving, page);
	result = give_all(&giving, error);
	folder_release(path);
	return result;
}

int owners_of_files(const struct users *users, const char *directory, const struct instance_page *page,
                    struct shm_error *error)
{
	struct giving giving = {.users = users, .directory = directory};
	written_each_role(page, directory, note_written, &giving);
	if (giving.failed != 0) {
		shm_explain(error, "%s: the locks of roles cannot be made: %s", directory,
		            strerror(-giving.failed));
		free(giving.known);
		return giving.failed;
	}
	int result = give_all(&giving, error);
	return result == 0 ? give_secrets(users, directory, page, error) : result;
}

/* ---- data ---- */

struct data {
	const struct users *users;
	const struct config *config;
	const char *path; /* data_dir */
	dev_t device;
	char what[NAME_MAX + 1]; /* that could not be given, or is not ours */
};

static struct wanted wanted_data(const struct data *data, const struct stat *now)
{
	const struct users *users = data->users;
	mode_t owners = now->st_mode & S_IRWXU, both = owners | owners >> 3;
	if (!users->in_force)
		return starters(both);
	/* What a user of a kind has made stays its own: the group's rights are enough. */
	uid_t uid = now->st_uid == 0 ? users->owner : now->st_uid;
	return (struct wanted){uid, users->data, S_ISDIR(now->st_mode) ? DATA_MODE : both};
}

static int give_within(struct data *data, int folder, unsigned depth);

/* What is in a folder is given before the folder itself: one that is as it should be has been dealt
 * with to its end. */
static int give_entry(struct data *data, int parent, const char *name, unsigned depth)
{
	struct stat now;
	int fd = openat(parent, name, HANDLE), result = 0;
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &now) != 0)
		result = -errno;
	struct wanted wanted = wanted_data(data, &now);
	bool may = geteuid() == 0 || now.st_uid == geteuid();
	bool give_it = result == 0 && now.st_dev == data->device && may && is_ours(data->users, &now) &&
	               !is_as_wanted(&now, &wanted);
	if (give_it && S_ISDIR(now.st_mode) && depth < DEPTH_MAX) {
		int inside = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		result = inside < 0 ? -errno : give_within(data, inside, depth + 1);
	}
	if (give_it && result == 0)
		result = give(fd, &now, &wanted);
	if (result != 0 && data->what[0] == '\0')
		snprintf(data->what, sizeof data->what, "%s", name);
	close(fd);
	return result;
}

/* Of data_dir itself: what the stages make there, by their rows, and the folders that the
 * configuration puts there. */
static bool is_named(const char *const *names, const char *name)
{
	for (FLOW_EACH(at, names)) {
		size_t n = strlen(*at);
		if ((*at)[n - 1] == '*' ? strncmp(*at, name, n - 1) == 0 : strcmp(*at, name) == 0)
			return true;
	}
	return false;
}

static bool is_configured(const struct config *config, const char *section, const struct sandbox_row *row,
                          const char *name)
{
	size_t n = strlen(name);
	for (FLOW_EACH(key, row->change)) {
		if (config_option_at(config, "%s.%s", section, *key) == NULL)
			continue;
		const char *path = config_string(config, "%s.%s", section, *key);
		if (strncmp(path, name, n) == 0 && (path[n] == '/' || path[n] == '\0'))
			return true;
	}
	return false;
}

static bool is_made_by(const struct config *config, const struct flow_stage *stage, const char *name)
{
	const struct sandbox_row *row = sandbox_find(stage->name);
	char section[SHM_NAME_MAX + 24];
	bool found = row != NULL && is_named(row->data, name);
	size_t n = stage->processes == FLOW_ENTRIES && row != NULL
	                   ? config_count(config, "%s", stage->section)
	                   : 0;
	for (size_t i = 0; i < n && !found; i++) {
		snprintf(section, sizeof section, "%s[%zu]", stage->section, i);
		found = flow_serves(stage, config, i) && is_configured(config, section, row, name);
	}
	return found;
}

static bool is_of_stages(const struct data *data, const char *name)
{
	size_t n;
	const struct flow_stage *stages = flow_stages(&n);
	for (size_t i = 0; i < n; i++)
		if (is_made_by(data->config, &stages[i], name))
			return true;
	return false;
}

/* Closes folder. */
static int give_within(struct data *data, int folder, unsigned depth)
{
	DIR *list = fdopendir(folder);
	int result = list == NULL ? -errno : 0;
	struct dirent *entry;
	if (list == NULL)
		close(folder);
	while (list != NULL && result == 0 && (entry = readdir(list)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		    (depth != 0 || is_of_stages(data, entry->d_name)))
			result = give_entry(data, dirfd(list), entry->d_name, depth);
	if (list != NULL)
		closedir(list);
	return result;
}

/* Whether nothing but ours is in the folder, so that it is ours, too, although it is root's. */
static bool holds_ours_alone(struct data *data, int folder)
{
	int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;
	bool alone = list != NULL;
	if (list == NULL && copy >= 0)
		close(copy);
	while (alone && (entry = readdir(list)) != NULL) {
		alone = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		        strcmp(entry->d_name, "lost+found") == 0 || is_of_stages(data, entry->d_name);
		if (!alone)
			snprintf(data->what, sizeof data->what, "%s", entry->d_name);
	}
	if (list != NULL)
		closedir(list);
	return alone;
}

/* Users in force: data_dir itself and what is in it. */
static int give_data(struct data *data, int folder)
{
	struct stat now;
	if (fstat(folder, &now) != 0)
		return -errno;
	const struct users *users = data->users;
	struct wanted wanted = {users->owner, users->data, DATA_MODE};
	bool ours = now.st_uid == users->owner || (now.st_uid == geteuid() && (now.st_mode & S_ISVTX) == 0 &&
	                                           holds_ours_alone(data, folder));
	data->device = now.st_dev;
	int result = 0, inside = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (inside < 0)
		return -errno;
	if (ours || now.st_gid == users->data)
		result = give_within(data, inside, 0);
	else
		close(inside);
	if (result == 0 && ours)
		result = give(folder, &now, &wanted);
	if (result == 0 && fstat(folder, &now) == 0 && (now.st_mode & S_ISGID) == 0)
		log_warn(
		        "data_dir does not hand its group down: what a stage makes there no other stage can use",
		        "path=\"%s\" hint=\"chmod g+s, as root (under systemd: systemd-tmpfiles --create)\"",
		        data->path);
	return result;
}

/* Not in force, but it was when this folder was used last. */
static int take_back(struct data *data, int folder)
{
	struct stat now;
	if (fstat(folder, &now) != 0)
		return -errno;
	const struct users *users = data->users;
	if (geteuid() != 0 || users->owner == 0 || now.st_uid != users->owner || now.st_gid != users->data)
		return 0;
	struct wanted wanted = starters(0750);
	int inside = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	data->device = now.st_dev;
	int result = inside < 0 ? -errno : give_within(data, inside, 0);
	return result == 0 ? give(folder, &now, &wanted) : result;
}

static int explain_data(const struct data *data, const char *user, int failed, struct shm_error *error)
{
	if (user == NULL)
		shm_explain(error, "data_dir: %s/%s: cannot be given to the group " USERS_DATA ": %s",
		            data->path, data->what, strerror(-failed));
	else
		shm_explain(
		        error,
		        "data_dir: %s: the user %s cannot write there: %s%s%s; the folder wants: chown " USERS_OWNER
		        ":" USERS_DATA
		        " and chmod 2770, and those above it chmod o+x; or choose another folder, or users: off",
		        data->path, user, strerror(-failed),
		        data->what[0] == '\0' ? "" : "; it was not given away, because it also holds ",
		        data->what);
	return failed;
}

/* The users that write there must be able to. */
static int try_data(const struct data *data, struct shm_error *error)
{
	size_t n;
	const struct flow_stage *stages = flow_stages(&n);
	for (size_t i = 0; i < n; i++) {
		const struct users_kind *kind = users_of(data->users, stages[i].name);
		int result = kind == NULL || !kind->data
		                     ? 0
		                     : users_try(data->users, stages[i].name, data->path, R_OK | W_OK | X_OK);
		if (result != 0)
			return explain_data(data, kind->name, result, error);
	}
	return 0;
}

bool owners_has_data(const struct users *users, const struct config *config)
{
	struct stat now;
	return stat(config_string(config, "data_dir"), &now) != 0 || now.st_gid == users->data;
}

int owners_of_data(const struct users *users, const struct config *config, struct shm_error *error)
{
	struct data data = {
	        .users = users, .config = config, .path = config_string(config, "data_dir"), .what = ""};
	int folder = open(data.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int result = folder < 0        ? -errno
	             : users->in_force ? give_data(&data, folder)
	                               : take_back(&data, folder);
	if (folder >= 0)
		close(folder);
	if (result != 0)
		return explain_data(&data, NULL, result, error);
	return users->in_force ? try_data(&data, error) : 0;
}
