#include "stage/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/capability.h"
#include "base/log.h"
#include "base/path.h"
#include "shm/folder.h"
#include "stage/calls.h"
#include "stage/landlock.h"
#include "stage/stage.h"
#include "stage/values.h"
#include "stage/written.h"

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SANITIZED true
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

/* When a stage looks whether what a rule is about was replaced. */
enum look {
	LOOK_NEVER,
	LOOK_RELOAD, /* when the supervisor has tried the file of an option, and found it good */
	LOOK_LINK,   /* when a link has come: a file would lie in a folder that can be read */
	LOOK_ALWAYS,
};

/* What a rule is about, for the look whether it still is. */
struct allowed {
	char *path;
	uint64_t device, inode; /* 0: nothing was there */
	bool written;           /* more than read */
	enum look look;
};

struct sandbox {
	const struct config *config;
	const struct sandbox_row *row;
	const struct stage_ops *stage;
	const char *section; /* while entering */
	const struct sandbox_place *place;
	struct landlock box;
	struct allowed *allowed;
	unsigned n_allowed;
	bool off, must; /* the option */
	unsigned in_force;
};

/* ---- the table ---- */

#define NAMES(...)               ((const char *const[]){__VA_ARGS__, NULL})
#define SANDBOX(name, bits, ...) {.stage = name, .grants = bits, __VA_ARGS__},
static const struct sandbox_row rows[] = {
#include "stage/sandbox.def"
};
#undef SANDBOX

const struct sandbox_row *sandbox_row(unsigned i)
{
	return i < sizeof rows / sizeof *rows ? &rows[i] : NULL;
}

const struct sandbox_row *sandbox_find(const char *stage)
{
	const struct sandbox_row *row;
	for (unsigned i = 0; (row = sandbox_row(i)) != NULL; i++)
		if (strcmp(row->stage, stage) == 0)
			return row;
	return NULL;
}

/* ---- privileges and capabilities ---- */

/* All five sets of this thread. The bounding set needs CAP_SETPCAP; without it there is nothing
 * that no_new_privs would not refuse as well. */
static int drop_capabilities(void)
{
	const struct capability_sets none = {0};
	struct capability_sets held;
	for (int i = 0; prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++)
		(void)prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	int result = capability_get(&held);
	if (result == 0)
		result = capability_set(&held, &none);
	if (result == 0)
		result = capability_get(&held);
	return result == 0 && memcmp(&held, &none, sizeof none) != 0 ? -EPERM : result;
}

/* A sanitizer traces its own process at the end. */
static int hide(void)
{
	return SANITIZED || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : -errno;
}

void sandbox_hide(const struct config *config)
{
	if (strcmp(config_string(config, "sandbox"), "off") != 0)
		(void)hide();
}

void sandbox_check(const struct config *config)
{
	if (strcmp(config_string(config, "sandbox"), "off") != 0)
		(void)drop_capabilities();
	sandbox_hide(config);
}

static int drop_privileges(struct sandbox *sandbox, struct shm_error *error)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
		shm_explain(error, "no new privileges: %s", strerror(errno));
		return -errno;
	}
	int result = drop_capabilities();
	if (result != 0) {
		shm_explain(error, "capabilities cannot be dropped: %s", strerror(-result));
		return result;
	}
	sandbox->in_force |= SANDBOX_PRIVILEGES | SANDBOX_CAPABILITIES;
	if (sandbox->row->grants & SANDBOX_SECRET && (result = hide()) != 0)
		shm_explain(error, "core dumps cannot be switched off: %s", strerror(-result));
	return result;
}

/* ---- paths ---- */

static int note(struct sandbox *sandbox, const char *path, const struct allowed *what)
{
	struct allowed *more = realloc(sandbox->allowed, (sandbox->n_allowed + 1) * sizeof *more);
	if (more == NULL)
		return -ENOMEM;
	sandbox->allowed = more;
	struct allowed *one = &more[sandbox->n_allowed];
	*one = *what;
	one->path = strdup(path);
	sandbox->n_allowed += one->path != NULL;
	return one->path != NULL ? 0 : -ENOMEM;
}

/* What is missing is allowed from the next life on, which begins when it comes. */
static int allow(struct sandbox *sandbox, const char *path, enum landlock_access access, enum look look)
{
	struct stat about;
	struct allowed what = {.written = access != LANDLOCK_READ, .look = look};
	int result = landlock_path(&sandbox->box, path, access, &about);
	if (result == 0)
		what.device = about.st_dev, what.inode = about.st_ino;
	else if (result != -ENOENT && result != -ENOTDIR && result != -EACCES)
		return result;
	return look == LOOK_NEVER ? 0 : note(sandbox, path, &what);
}

/* A folder directly below the root (/etc, /tmp, somebody's home) is everybody's; that of
 * credentials has those of other stages where no unit of its own has given it to this one. */
static bool everybodys(const char *folder)
{
	const char *below = strncmp(folder, "/home/", 6) == 0 ? folder + 5 : folder;
	return strrchr(folder, '/') == below;
}

/* A file, and what may be put in its place: the folder that names it and, for a link, the one that
 * it is in. One that is not there yet may come as a link to anywhere. */
static int allow_file(struct sandbox *sandbox, const char *path)
{
	char folder[PATH_MAX], real[PATH_MAX];
	struct stat about;
	const char *name[] = {path, realpath(path, real)};
	enum look look = stat(path, &about) != 0 ? LOOK_ALWAYS : LOOK_NEVER;
	int result = 0;
	for (unsigned i = 0; i < 2 && name[i] != NULL && name[i][0] == '/' && result == 0; i++) {
		snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(name[i], '/') - name[i]), name[i]);
		if (folder[0] == '\0' || everybodys(folder) || path_is_credential(name[i])) {
			look = look == LOOK_NEVER ? LOOK_RELOAD : look;
			continue;
		}
		if (look == LOOK_ALWAYS && stat(folder, &about) == 0)
			look = LOOK_LINK;
		result = allow(sandbox, folder, LANDLOCK_READ, LOOK_RELOAD);
	}
	return result == 0 ? allow(sandbox, path, LANDLOCK_READ, look) : result;
}

/* A folder that the stage writes in, made with those above it when it is missing, as the stage
 * would. What fails is found by init, which knows what it means. */
static int allow_folder(struct sandbox *sandbox, const char *path)
{
	(void)path_make(path);
	return allow(sandbox, path, LANDLOCK_CHANGE, LOOK_ALWAYS);
}

static int allow_common(struct sandbox *sandbox)
{
	static const char *const read[] = {"/usr",
	                                   "/lib",
	                                   "/lib64",
	                                   "/etc/ld.so.cache",
	                                   "/etc/localtime",
	                                   "/etc/ssl/certs",
	                                   "/etc/ssl/openssl.cnf",
	                                   "/dev/urandom",
	                                   "/sys/devices/system",
	                                   "/sys/class/net",
	                                   "/proc/sys/vm"};
	/* Read again whenever a name is looked up. */
	static const char *const look_up[] = {"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf",
	                                      "/etc/host.conf", "/etc/gai.conf"};
	int result = allow(sandbox, "/dev/null", LANDLOCK_WRITE, LOOK_NEVER);
	for (unsigned i = 0; i < sizeof read / sizeof *read && result == 0; i++)
		result = allow(sandbox, read[i], LANDLOCK_READ, LOOK_NEVER);
	if (result == 0 && sandbox->row->grants & SANDBOX_PROC)
		result = allow(sandbox, "/proc", LANDLOCK_READ, LOOK_NEVER);
	for (unsigned i = 0; i < sizeof look_up / sizeof *look_up && result == 0; i++)
		if (sandbox->row->grants & SANDBOX_LOOK_UP)
			result = allow(sandbox, look_up[i], LANDLOCK_READ, LOOK_ALWAYS);
	return result;
}

/* Standard output and standard error: what they are (a terminal, a file) is opened again, to write
 * without waiting (base/output.h). */
static int allow_output(struct sandbox *sandbox)
{
	int result = landlock_descriptor(&sandbox->box, STDOUT_FILENO);
	return result == 0 ? landlock_descriptor(&sandbox->box, STDERR_FILENO) : result;
}

/* ---- what options say ---- */

struct gathering {
	struct sandbox *sandbox;
	int result;
};

static void gather_file(void *argument, const char *path)
{
	struct gathering *gathering = argument;
	if (gathering->result == 0)
		gathering->result = allow_file(gathering->sandbox, path);
}

static void gather_folder(void *argument, const char *path)
{
	struct gathering *gathering = argument;
	char whole[PATH_MAX];
	if (path[0] == '\0' || gathering->result != 0)
		return;
	snprintf(whole, sizeof whole, "%s%s%s",
	         path[0] == '/' ? "" : config_string(gathering->sandbox->config, "data_dir"),
	         path[0] == '/' ? "" : "/", path);
	gathering->result = allow_folder(gathering->sandbox, whole);
}

static void gather_beside(void *argument, const char *path)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX];
	if (slash == NULL)
		return;
	snprintf(folder, sizeof folder, "%.*s", slash == path ? 1 : (int)(slash - path), path);
	struct gathering *gathering = argument;
	if (gathering->result == 0)
		gathering->result = allow(gathering->sandbox, folder, LANDLOCK_CHANGE, LOOK_ALWAYS);
}

static void gather_bind(void *argument, const char *address)
{
	struct gathering *gathering = argument;
	if (strncmp(address, "unix:", 5) == 0)
		gather_beside(argument, address + 5);
	else if (gathering->result == 0)
		gathering->result = landlock_bind(&gathering->sandbox->box, values_port(address));
}

static void gather_connect(void *argument, const char *url)
{
	struct gathering *gathering = argument;
	if (url[0] != '\0' && gathering->result == 0)
		gathering->result = landlock_connect(&gathering->sandbox->box, values_port(url));
}

/* What SQLite sorts and finds no room for in memory goes to its own folder for such files: where
 * nobody has named one, that is data_dir. */
static void gather_data(struct gathering *gathering, const char *data_dir)
{
	const char *named = getenv("SQLITE_TMPDIR");
	if (named != NULL)
		gather_folder(gathering, named);
	else if (setenv("SQLITE_TMPDIR", data_dir, 1) != 0)
		gathering->result = -errno;
	gather_folder(gathering, data_dir);
}

static void gather_variable(void *argument, const char *name)
{
	const char *value = getenv(name);
	if (value != NULL && value[0] == '/')
		gather_file(argument, value);
	else if (value != NULL && strstr(value, "://") != NULL)
		gather_connect(argument, value);
}

/* The home is the variable's, or the user's where that is not set, as the AWS tools take it. */
static void gather_home(struct gathering *gathering, const char *name)
{
	char path[PATH_MAX];
	const char *home = getenv("HOME");
	const struct passwd *user = home == NULL || home[0] == '\0' ? getpwuid(geteuid()) : NULL;
	if (user != NULL)
		home = user->pw_dir;
	if (home == NULL || home[0] != '/' || gathering->result != 0)
		return;
	snprintf(path, sizeof path, "%s/%s", home, name);
	gathering->result = allow(gathering->sandbox, path, LANDLOCK_READ, LOOK_RELOAD);
}

/* Where everything is free to be connected to unless the row names what may be. */
static unsigned wanted(const struct sandbox_row *row)
{
	unsigned all =
	        LANDLOCK_HAS_PATHS | LANDLOCK_HAS_BINDING | LANDLOCK_HAS_CONNECTING | LANDLOCK_HAS_SIGNALS;
	return (row->grants & SANDBOX_CONNECT) != 0 && row->connect == NULL
	               ? all & ~(unsigned)LANDLOCK_HAS_CONNECTING
	               : all;
}

/* Of the keys of the section, and where a stage looks by itself. */
static int gather(struct sandbox *sandbox)
{
	const struct sandbox_row *row = sandbox->row;
	struct gathering gathering = {.sandbox = sandbox};
	const struct values_place place = {sandbox->config, sandbox->section};
	stage_files_each(sandbox->stage, sandbox->config, sandbox->section, gather_file, &gathering);
	values_each(&place, row->read, gather_file, &gathering);
	values_each(&place, row->change, gather_folder, &gathering);
	values_each(&place, row->change_beside, gather_beside, &gathering);
	values_each(&place, row->bind, gather_bind, &gathering);
	values_each(&place, row->connect, gather_connect, &gathering);
	values_each_path(&place, row->values, gather_file, &gathering);
	for (const char *const *name = row->environment; name != NULL && *name != NULL; name++)
		gather_variable(&gathering, *name);
	for (const char *const *name = row->home; name != NULL && *name != NULL; name++)
		gather_home(&gathering, *name);
	static const uint16_t usual[] = {53, 80, 443};
	for (unsigned i = 0; i < 3 && row->connect != NULL && gathering.result == 0; i++)
		gathering.result = landlock_connect(&sandbox->box, usual[i]);
	if (gathering.result == 0 && row->grants & SANDBOX_DATA)
		gather_data(&gathering, config_string(sandbox->config, "data_dir"));
	return gathering.result;
}

/* ---- the instance's folder ---- */

/* A lock that nobody has held yet is made, so that a rule can be about it. */
static void gather_written(void *argument, const struct written *file)
{
	struct gathering *gathering = argument;
	const char *directory = gathering->sandbox->place->directory;
	char path[PATH_MAX];
	struct stat about;
	/* One that is there is not opened: to close it would give up a lock that we have. */
	bool missing = file->lock && folder_stat(directory, file->name, &about) == -ENOENT;
	int fd = missing ? folder_open(directory, file->name, O_RDWR | O_CREAT, 0600) : -1;
	if (fd >= 0)
		close(fd);
	snprintf(path, sizeof path, "%s/%s", directory, file->name);
	if (gathering->result == 0)
		gathering->result = allow(gathering->sandbox, path, LANDLOCK_WRITE, LOOK_NEVER);
}

/* Everything there can be read: lanes that come later too. */
static int allow_instance(struct sandbox *sandbox)
{
	const struct sandbox_place *place = sandbox->place;
	struct gathering gathering = {.sandbox = sandbox};
	int result = allow(sandbox, place->directory, LANDLOCK_READ, LOOK_NEVER);
	if (result != 0)
		return result;
	written_each(place->page, place->directory, place->role, gather_written, &gathering);
	return gathering.result;
}

/* ---- entering ---- */

static int enter_paths(struct sandbox *sandbox, struct shm_error *error)
{
	int result = landlock_begin(&sandbox->box, SANITIZED ? 0 : wanted(sandbox->row));
	unsigned has = sandbox->box.has;
	if (result == 0)
		result = allow_common(sandbox);
	if (result == 0)
		result = allow_output(sandbox);
	if (result == 0)
		result = allow_instance(sandbox);
	if (result == 0)
		result = gather(sandbox);
	if (result == 0)
		result = landlock_enforce(&sandbox->box);
	landlock_drop(&sandbox->box);
	if (result != 0) {
		shm_explain(error, "paths and ports: %s", strerror(-result));
		return result;
	}
	sandbox->in_force |= (has & LANDLOCK_HAS_PATHS ? SANDBOX_PATHS : 0) |
	                     (has & LANDLOCK_HAS_BINDING ? SANDBOX_PORTS : 0) |
	                     (has & LANDLOCK_HAS_SIGNALS ? SANDBOX_SIGNALS : 0);
	return 0;
}

int sandbox_enter(struct sandbox **entered, const struct stage_ops *stage, const struct config *config,
                  const char *section, const struct sandbox_place *place, struct shm_error *error)
{
	static const struct sandbox_row strictest = {.grants = 0};
	const struct sandbox_row *row = sandbox_find(stage->name);
	const char *option = config_string(config, "sandbox");
	struct sandbox *sandbox = calloc(1, sizeof *sandbox);
	*entered = sandbox;
	if (sandbox == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	sandbox->config = config;
	sandbox->row = row != NULL ? row : &strictest;
	sandbox->stage = stage;
	sandbox->section = section;
	sandbox->place = place;
	sandbox->box.fd = -1;
	sandbox->off = strcmp(option, "off") == 0;
	sandbox->must = strcmp(option, "on") == 0;
	if (sandbox->off)
		return 0;
	int result = drop_privileges(sandbox, error);
	if (result == 0)
		result = enter_paths(sandbox, error);
	/* Where there are no filters, sandbox_close says so. */
	if (result == 0 && !SANITIZED && !(sandbox->row->grants & SANDBOX_RING) &&
	    calls_refuse_rings(error) != 0)
		log_debug("rings of io_uring are not refused", "reason=\"%s\"", error->text);
	return result;
}

/* ---- what is in force ---- */

static const char *const part_name[] = {"privileges", "capabilities", "system calls",
                                        "paths",      "ports",        "signals"};

static void list_parts(char *text, size_t size, unsigned parts)
{
	size_t used = 0;
	text[0] = '\0';
	for (unsigned i = 0; i < sizeof part_name / sizeof *part_name; i++)
		if (parts & 1u << i && used < size)
			used += (size_t)snprintf(text + used, size - used, "%s%s", used == 0 ? "" : ", ",
			                         part_name[i]);
}

/* What the stage should have lost and has not. */
static unsigned missing_parts(const struct sandbox *sandbox)
{
	return SANDBOX_ALL & ~sandbox->in_force;
}

static int tell(const struct sandbox *sandbox, const char *role, struct shm_error *error)
{
	char has[128], lacks[128];
	unsigned missing = missing_parts(sandbox);
	list_parts(has, sizeof has, sandbox->in_force);
	list_parts(lacks, sizeof lacks, missing);
	const char *why = SANITIZED ? "built with a sanitizer" : "the kernel lacks it";
	if (sandbox->off) {
		log_warn("the sandbox is off", "role=%s", role);
	} else if (missing != 0 && sandbox->must) {
		shm_explain(error, "sandbox: is \"on\", but %s cannot be: %s; allowed: auto", lacks, why);
		return -EOPNOTSUPP;
	} else if (missing != 0) {
		log_info("the sandbox is not complete",
		         "role=%s in_force=\"%s\" missing=\"%s\" reason=\"%s\"", role, has, lacks, why);
	} else {
		log_debug("the sandbox is complete", "role=%s in_force=\"%s\"", role, has);
	}
	return 0;
}

int sandbox_close(struct sandbox *sandbox, const char *role, struct shm_error *error)
{
	if (sandbox->off || SANITIZED)
		return tell(sandbox, role, error);
	int result = calls_restrict(sandbox->row->grants, error);
	if (result == 0)
		sandbox->in_force |= SANDBOX_CALLS;
	else if (sandbox->must)
		return result;
	return tell(sandbox, role, error);
}

unsigned sandbox_in_force(const struct sandbox *sandbox)
{
	return sandbox->in_force;
}

uint64_t sandbox_refused(struct sandbox *sandbox)
{
	char names[512], name[32];
	size_t used = 0;
	(void)sandbox;
	/* What finds no room is told by the next call. */
	for (int number; used < sizeof names - sizeof name && (number = calls_next_refused()) >= 0;)
		used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used == 0 ? "" : " ",
		                         calls_name(number, name, sizeof name));
	if (used != 0)
		log_warn("the sandbox refused system calls", "calls=\"%s\"", names);
	return calls_refused();
}

bool sandbox_outdated(const struct sandbox *sandbox, bool reloaded, const char **path, bool *written)
{
	struct stat now;
	for (unsigned i = 0; sandbox->in_force & SANDBOX_PATHS && i < sandbox->n_allowed; i++) {
		const struct allowed *one = &sandbox->allowed[i];
		if (one->look == LOOK_RELOAD && !reloaded)
			continue;
		if (one->look == LOOK_LINK && (lstat(one->path, &now) != 0 || !S_ISLNK(now.st_mode)))
			continue;
		if (stat(one->path, &now) != 0 || (now.st_dev == one->device && now.st_ino == one->inode))
			continue;
		*path = one->path;
		*written = one->written;
		return true;
	}
	return false;
}

void sandbox_free(struct sandbox *sandbox)
{
	if (sandbox == NULL)
		return;
	for (unsigned i = 0; i < sandbox->n_allowed; i++)
		free(sandbox->allowed[i].path);
	free(sandbox->allowed);
	free(sandbox);
}
