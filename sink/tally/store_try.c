#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shm/instance.h"
#include "sink/tally/store_inside.h"
#include "stage/database.h"

static bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

/* A name for SQLite under which the database is opened without making a file. Where log and
 * index are both there they are read as they lie there (readonly_shm); else the database is read
 * alone, as a file that nobody changes, because SQLite would make what is missing. */
static void name_for_reading(const struct store *store, char uri[3 * STORE_PATH_MAX + 64])
{
	bool log = exists(store->log_path) && exists(store->index_path);
	char *at = uri + sprintf(uri, store->path[0] == '/' ? "file://" : "file:");
	for (const char *from = store->path; *from != '\0'; from++) {
		bool plain = isalnum((unsigned char)*from) || strchr("/._-", *from) != NULL;
		at += sprintf(at, plain ? "%c" : "%%%02X", (unsigned char)*from);
	}
	sprintf(at, log ? "?mode=ro&readonly_shm=1" : "?mode=ro&immutable=1");
}

/* Whether a process counts there now: 0 none, or own_pid (*own); -EBUSY another;
 * other -errno: it cannot be told. */
static int try_lock(const struct store *store, int own_pid, bool *own, struct shm_error *error)
{
	int owner = -1, fd = open(store->lock_path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int locked = fd < 0 ? 0 : instance_locked_fd(fd, &owner);
	if (fd >= 0)
		close(fd);
	if (locked < 0) {
		shm_explain(error, "%s: cannot tell who holds it: %s", store->lock_path, strerror(-locked));
		return locked;
	}
	*own = locked > 0 && owner == own_pid;
	return locked > 0 && !*own ? store_explain_busy(store, owner, error) : 0;
}

static int try_database(struct store *store, bool own, store_look *look, void *argument,
                        struct shm_error *error)
{
	char uri[3 * STORE_PATH_MAX + 64];
	struct store_tried tried = {.rows = !own};
	name_for_reading(store, uri);
	int result = sqlite3_open_v2(uri, &store->db,
	                             SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI, NULL);
	if (result != SQLITE_OK)
		return store_explain(store, result, error);
	sqlite3_busy_timeout(store->db, STORE_BUSY_MS);
	int state = database_check_versions(store->db, store->path, STORE_OLDEST, STORE_VERSION,
	                                    &tried.version, error);
	if (state != 0)
		return state == 1 ? 0 : state;
	int reported = store_prepare(store, error);
	tried.db = store->db;
	return reported == 0 ? look(argument, &tried, error) : reported;
}

int store_try(const char *data_dir, int own_pid, store_look *look, void *argument, struct shm_error *error)
{
	bool own = false;
	int result;
	struct store *tried = store_new(data_dir, &result, error);
	if (tried == NULL)
		return result;
	if (exists(data_dir)) {
		result = store_check_place(tried, data_dir, error);
		if (result == 0)
			result = try_lock(tried, own_pid, &own, error);
		if (result == 0 && exists(tried->path))
			result = try_database(tried, own, look, argument, error);
	}
	store_close(tried);
	return result == -EBUSY && own ? 0 : result; /* it commits just now */
}
