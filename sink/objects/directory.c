/* The store that is a directory.
 *
 *     CREATE   +open/TOKEN.part is made; its inode and time of birth go into the object's words
 *     PART     written at its offset, fsync; the same bytes at the same place as often as need be
 *     FINISH   fsync, renameat2(RENAME_NOREPLACE) to the object's name, fsync of both directories
 *     FIND     an object whose inode and time of birth are those of the words is ours (its token is found)
 *
 * So a life that was killed between the rename and its confirmation knows its own object again.
 * Each object goes this way: PUT is not needed. A thread does all that may wait for the disk; it
 * takes the requests in order.
 *
 *     loop    start --> waiting --.                 .--> done --> next       eventfd: done is not empty
 *     thread                      '-- one by one --'
 */
#include "sink/objects/store.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "sink/objects/asked.h"
#include "sink/objects/keep.h"
#include "sink/objects/tree.h"

#define REQUESTS         16u
#define WRITE_PIECES     64u /* of one pwritev */
#define KEEP_EVERY_NS    (60 * NS_PER_SEC)
#define PREFIX_BYTES_MAX 256u

enum { WORD_INODE, WORD_BORN };
_Static_assert(WORD_BORN < STORE_WORDS, "they are the store's");

struct line {
	struct store_request *first, **last;
};

struct store {
	struct store_traits traits;
	char name[PATH_MAX + 16];
	uint64_t min_free; /* percent */
	uint64_t keep_age_ns, keep_bytes;
	char prefix[PREFIX_BYTES_MAX]; /* of objects that keep may remove */
	unsigned n;                    /* started and not given back; the loop's */
	struct tree tree;              /* from here to the mutex: the thread's */
	uint64_t kept_ns;              /* when old objects were looked for last */
	int keep_failed;
	pthread_t thread;
	pthread_mutex_t mutex; /* of the queues and stop */
	pthread_cond_t wake;
	struct line waiting, done;
	bool stop;
	int event;
};

static int explain(struct store_request *request, int result, const char *what, const char *name)
{
	snprintf(request->reason, sizeof request->reason, "%s: %.160s: %s", what, name, strerror(-result));
	return result;
}

/* What an error of the file system means to the sink. */
static int told(struct store_request *request, int error, const char *what, const char *name)
{
	(void)explain(request, error, what, name);
	switch (-error) {
	case EACCES:
	case EPERM:
	case EROFS:
	case ENOTDIR:
	case EISDIR:
	case ELOOP:
	case EXDEV:
		return -EACCES;
	case ENAMETOOLONG:
	case EINVAL:
		return -EINVAL;
	default: /* ENOSPC, EDQUOT, EIO, EMFILE ... */
		return -EAGAIN;
	}
}

/* ---- what each request begins with ---- */

static int look_at_tree(struct store *store, struct store_request *request)
{
	int result = tree_look(&store->tree);
	if (result == 0)
		return 0;
	if (result != -ESTALE)
		return told(request, result, "cannot open the directory", store->tree.path);
	snprintf(request->reason, sizeof request->reason,
	         "%.160s was renamed, or another file system covers it: put it back", store->tree.path);
	return -EAGAIN;
}

static int look_at_room(struct store *store, struct store_request *request)
{
	struct statvfs room;
	if (fstatvfs(store->tree.fd, &room) != 0)
		return told(request, -errno, "cannot ask for free space", store->tree.path);
	if ((room.f_flag & ST_RDONLY) != 0)
		return told(request, -EROFS, "cannot write", store->tree.path);
	if (room.f_blocks == 0 ||
	    (double)room.f_bavail * 100 >= (double)room.f_blocks * (double)store->min_free)
		return 0;
	snprintf(request->reason, sizeof request->reason,
	         "%.120s: %.1f %% of the file system are free, store.min_free is %llu %%", store->tree.path,
	         (double)room.f_bavail * 100 / (double)room.f_blocks, (unsigned long long)store->min_free);
	return -EAGAIN;
}

static const char *part_name(char name[JOURNAL_TOKEN_BYTES + 8], const char *token)
{
	snprintf(name, JOURNAL_TOKEN_BYTES + 8, "%.*s.part", (int)JOURNAL_TOKEN_BYTES, token);
	return name;
}

/* The words of a file; a file system without times of birth gives 0. */
static int words_of(int fd, const char *name, uint64_t words[STORE_WORDS], struct statx *status)
{
	if (statx(fd, name, AT_SYMLINK_NOFOLLOW | (name[0] == '\0' ? AT_EMPTY_PATH : 0),
	          STATX_BASIC_STATS | STATX_BTIME, status) != 0)
		return -errno;
	words[WORD_INODE] = status->stx_ino;
	words[WORD_BORN] =
	        (status->stx_mask & STATX_BTIME) == 0
	                ? 0
	                : (uint64_t)status->stx_btime.tv_sec * NS_PER_SEC + status->stx_btime.tv_nsec;
	return 0;
}

static bool is_ours(const struct store_request *request, const uint64_t words[STORE_WORDS])
{
	return request->words[WORD_INODE] != 0 && memcmp(request->words, words, sizeof request->words) == 0;
}

/* The part file of the request's upload, when it is the one that CREATE made. Returns the
 * descriptor, or what the request ends with. */
static int open_part(struct store *store, struct store_request *request, int flags, struct statx *status)
{
	char name[JOURNAL_TOKEN_BYTES + 8];
	uint64_t words[STORE_WORDS];
	int fd =
	        openat(store->tree.open_fd, part_name(name, request->upload), flags | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return explain(request, -ENOENT, "no such upload", name);
	if (fd < 0)
		return told(request, -errno, "cannot open", name);
	int result = words_of(fd, "", words, status);
	if (result != 0)
		result = told(request, result, "cannot look at", name);
	else if (!is_ours(request, words))
		result = explain(request, -ENOENT, "another file has the name", name);
	if (result == 0)
		return fd;
	close(fd);
	return result;
}

/* ---- the requests ---- */

static int probe(struct store *store, struct store_request *request)
{
	if (faccessat(store->tree.fd, ".", R_OK | W_OK | X_OK, AT_EACCESS) != 0)
		return told(request, -errno, "cannot write", store->tree.path);
	if (faccessat(store->tree.open_fd, ".", R_OK | W_OK | X_OK, AT_EACCESS) != 0)
		return told(request, -errno, "cannot write", TREE_OPEN);
	return look_at_room(store, request);
}

static int find(struct store *store, struct store_request *request)
{
	char last[NAME_MAX + 1];
	uint64_t words[STORE_WORDS];
	struct statx status;
	int fd = tree_parent(&store->tree, request->name, request->name_bytes, false, last);
	if (fd == -ENOENT)
		return explain(request, -ENOENT, "no such object", "directory");
	if (fd < 0)
		return told(request, fd, "cannot open the directory of", request->name);
	int result = words_of(fd, last, words, &status);
	if (result == -ENOENT)
		result = explain(request, -ENOENT, "no such object", last);
	else if (result != 0)
		result = told(request, result, "cannot look at", last);
	request->token_found[0] = '\0';
	request->bytes_found = status.stx_size;
	if (result == 0 && is_ours(request, words)) {
		memcpy(request->token_found, request->token, JOURNAL_TOKEN_BYTES);
		request->token_found[JOURNAL_TOKEN_BYTES] = '\0';
		/* its life may have been killed before it made the name durable */
		if (fsync(fd) != 0)
			result = told(request, -errno, "fsync of the directory of", last);
	}
	close(fd);
	return result;
}

static int create(struct store *store, struct store_request *request)
{
	char name[JOURNAL_TOKEN_BYTES + 8];
	struct statx status;
	int result = tree_name(request->name, request->name_bytes);
	if (result != 0)
		return told(request, result, "no name for a file", request->name);
	result = look_at_room(store, request);
	if (result != 0)
		return result;
	/* One that is there is ours, and nothing of it was ever confirmed. */
	int fd = openat(store->tree.open_fd, part_name(name, request->token),
	                O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0640);
	if (fd < 0)
		return told(request, -errno, "cannot make", name);
	if (fsync(store->tree.open_fd) != 0)
		result = told(request, -errno, "fsync of", TREE_OPEN);
	if (result == 0 && (result = words_of(fd, "", request->words, &status)) != 0)
		result = told(request, result, "cannot look at", name);
	close(fd);
	snprintf(request->upload_made, sizeof request->upload_made, "%.*s", (int)JOURNAL_TOKEN_BYTES,
	         request->token);
	return result;
}

/* Writes all pieces from offset on. Returns 0 or -errno. */
static int write_pieces(int fd, const struct iovec *piece, unsigned n, uint64_t offset)
{
	struct iovec some[WRITE_PIECES];
	size_t skip = 0; /* bytes of the first piece that are written */
	while (n > 0) {
		unsigned k = n < WRITE_PIECES ? n : WRITE_PIECES;
		memcpy(some, piece, k * sizeof *some);
		some[0].iov_base = (char *)some[0].iov_base + skip;
		some[0].iov_len -= skip;
		ssize_t written = pwritev(fd, some, (int)k, (off_t)offset);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -errno;
		offset += (uint64_t)written;
		skip += (size_t)written;
		while (n > 0 && skip >= piece->iov_len) {
			skip -= piece->iov_len;
			piece++;
			n--;
		}
	}
	return 0;
}

/* fsync, and the file still has a name: without one it keeps nothing. */
static int make_safe(struct store_request *request, int fd, const char *name)
{
	struct stat status;
	if (fsync(fd) != 0)
		return told(request, -errno, "fsync of", name);
	if (fstat(fd, &status) != 0)
		return told(request, -errno, "cannot look at", name);
	if (status.st_nlink == 0)
		return explain(request, -ENOENT, "it was deleted meanwhile", name);
	return 0;
}

static int put_part(struct store *store, struct store_request *request)
{
	struct statx status;
	int result = look_at_room(store, request);
	if (result != 0)
		return result;
	int fd = open_part(store, request, O_WRONLY, &status);
	if (fd < 0)
		return fd;
	if (status.stx_size < request->safe)
		result = explain(request, -ENOENT, "it is shorter than what was confirmed", request->upload);
	if (result == 0) {
		result = write_pieces(fd, request->piece, request->n_pieces, request->offset);
		result = result != 0 ? told(request, result, "cannot write", request->upload)
		                     : make_safe(request, fd, request->upload);
	}
	close(fd);
	snprintf(request->etag, sizeof request->etag, "%llu", (unsigned long long)request->bytes);
	return result;
}

static uint64_t parts_bytes(const struct store_request *request)
{
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < request->n_parts; i++)
		bytes += request->part[i].bytes;
	return bytes;
}

/* Those of the parts once confirmed that the file still has whole: it knows nothing of parts. */
static int list(struct store *store, struct store_request *request)
{
	struct statx status;
	uint64_t bytes = 0;
	int fd = open_part(store, request, O_RDONLY, &status);
	if (fd < 0)
		return fd;
	close(fd);
	request->n_found = 0;
	request->found = calloc(request->n_parts + 1, sizeof *request->found);
	if (request->found == NULL)
		return told(request, -ENOMEM, "cannot list", request->upload);
	for (uint32_t i = 0; i < request->n_parts; i++) {
		bytes += request->part[i].bytes;
		if (bytes > status.stx_size)
			break;
		request->found[request->n_found++] = request->part[i];
	}
	return 0;
}

/* The object takes its name. File systems without RENAME_NOREPLACE have link(2), which replaces
 * nothing either. */
static int take_name(const struct store *store, const char *part, int fd, const char *last)
{
	if (renameat2(store->tree.open_fd, part, fd, last, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	if (linkat(store->tree.open_fd, part, fd, last, 0) != 0)
		return -errno;
	return unlinkat(store->tree.open_fd, part, 0) == 0 ? 0 : -errno;
}

static int move_into_place(struct store *store, struct store_request *request)
{
	char last[NAME_MAX + 1], part[JOURNAL_TOKEN_BYTES + 8];
	int result = 0;
	int fd = tree_parent(&store->tree, request->name, request->name_bytes, true, last);
	if (fd < 0)
		return told(request, fd, "cannot make the directory of", request->name);
	result = take_name(store, part_name(part, request->upload), fd, last);
	if (result == -EEXIST)
		result = explain(request, -EEXIST, "cannot rename to", last);
	else if (result == -ENOENT)
		result = explain(request, -EAGAIN, "a directory was removed meanwhile", last);
	else if (result != 0)
		result = told(request, result, "cannot rename to", last);
	if (result == 0 && (fsync(fd) != 0 || fsync(store->tree.open_fd) != 0)) {
		result = -EINPROGRESS;
		(void)explain(request, -errno, "fsync of the directory of", last);
	}
	close(fd);
	return result;
}

static int finish(struct store *store, struct store_request *request)
{
	struct statx status;
	uint64_t bytes = parts_bytes(request);
	int result = 0;
	int fd = open_part(store, request, O_RDWR, &status);
	if (fd < 0)
		return fd;
	if (status.stx_size < bytes)
		result = explain(request, -ENOENT, "it is shorter than its parts", request->upload);
	/* after a reboot: what was written and not confirmed */
	else if (status.stx_size > bytes && ftruncate(fd, (off_t)bytes) != 0)
		result = told(request, -errno, "cannot cut", request->upload);
	if (result == 0)
		result = make_safe(request, fd, request->upload);
	close(fd);
	if (result == 0)
		result = move_into_place(store, request);
	if (result == 0 && look_at_tree(store, request) != 0)
		result = -EINPROGRESS; /* it was given a name in a directory that had just lost its own */
	return result;
}

static int serve(struct store *store, struct store_request *request)
{
	request->reason[0] = '\0';
	request->wait_ns = 0;
	int result = look_at_tree(store, request);
	if (result != 0)
		return result;
	switch (request->action) {
	case STORE_PROBE:
		return probe(store, request);
	case STORE_FIND:
		return find(store, request);
	case STORE_CREATE:
		return create(store, request);
	case STORE_PART:
		return put_part(store, request);
	case STORE_LIST:
		return list(store, request);
	case STORE_FINISH:
		return finish(store, request);
	default:
		snprintf(request->reason, sizeof request->reason, "a directory takes objects in parts");
		return -EINVAL;
	}
}

/* ---- old objects ---- */

static void remove_old(struct store *store)
{
	struct keep_counts counts;
	uint64_t now_ns = clock_monotonic_ns();
	if ((store->keep_age_ns == 0 && store->keep_bytes == 0) ||
	    (store->kept_ns != 0 && now_ns - store->kept_ns < KEEP_EVERY_NS) || tree_look(&store->tree) != 0)
		return;
	store->kept_ns = now_ns;
	int result = keep_remove(&store->tree, store->prefix, store->keep_age_ns, store->keep_bytes,
	                         clock_real_ns(), &counts);
	if (counts.removed != 0)
		log_info("old objects removed", "directory=%s objects=%llu bytes=%llu", store->tree.path,
		         (unsigned long long)counts.removed, (unsigned long long)counts.bytes);
	if (result != 0 && result != store->keep_failed)
		log_warn("cannot remove old objects", "directory=%s reason=\"%s\"", store->tree.path,
		         strerror(-result));
	store->keep_failed = result;
}

/* ---- the thread ---- */

static void push(struct line *line, struct store_request *request)
{
	request->next = NULL;
	*line->last = request;
	line->last = &request->next;
}

static struct store_request *pop(struct line *line)
{
	struct store_request *request = line->first;
	if (request == NULL)
		return NULL;
	line->first = request->next;
	if (line->first == NULL)
		line->last = &line->first;
	return request;
}

static void ring(const struct store *store)
{
	const uint64_t one = 1;
	/* it cannot be full: the count is far below 2^64 */
	ssize_t written = write(store->event, &one, sizeof one);
	(void)written;
}

/* The next request; NULL: stop. Looks for old objects while there is none. */
static struct store_request *wait_for_request(struct store *store)
{
	struct store_request *request;
	pthread_mutex_lock(&store->mutex);
	while ((request = pop(&store->waiting)) == NULL && !store->stop) {
		struct timespec until;
		pthread_mutex_unlock(&store->mutex);
		remove_old(store);
		pthread_mutex_lock(&store->mutex);
		if (store->stop || store->waiting.first != NULL)
			continue;
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += (time_t)(KEEP_EVERY_NS / NS_PER_SEC);
		(void)pthread_cond_timedwait(&store->wake, &store->mutex, &until);
	}
	if (store->stop)
		request = NULL;
	pthread_mutex_unlock(&store->mutex);
	return request;
}

static void *run(void *argument)
{
	struct store *store = argument;
	struct store_request *request;
	while ((request = wait_for_request(store)) != NULL) {
		request->result = serve(store, request);
		if (request->result == 0)
			request->reason[0] = '\0';
		remove_old(store);
		pthread_mutex_lock(&store->mutex);
		push(&store->done, request);
		pthread_mutex_unlock(&store->mutex);
		ring(store);
	}
	return NULL;
}

/* ---- the interface ---- */

static bool meant(const struct config *config, const char *section)
{
	(void)config;
	(void)section;
	return true;
}

static void read_options(struct store *store, const struct config *config, const char *section)
{
	const char *key = config_string(config, "%s.key", section);
	store->min_free = config_u64(config, "%s.store.min_free", section);
	store->keep_age_ns = config_ns(config, "%s.store.keep.age", section);
	store->keep_bytes = config_u64(config, "%s.store.keep.size", section);
	snprintf(store->prefix, sizeof store->prefix, "%.*s", (int)strcspn(key, "{"), key);
	snprintf(store->name, sizeof store->name, "directory %s", store->tree.path);
	store->traits = (struct store_traits){
	        .name = store->name,
	        .part_min = 1,
	        .part_max = INT64_MAX,
	        .parts_max = JOURNAL_PARTS_MAX,
	        .object_max = INT64_MAX,
	        .name_max = JOURNAL_KEY_MAX,
	        .component_max = NAME_MAX,
	        .requests = REQUESTS,
	        .keeps_token = true,
	        .late_name = true,
	};
}

static void free_store(struct store *store)
{
	tree_close(&store->tree);
	if (store->event >= 0)
		close(store->event);
	pthread_cond_destroy(&store->wake);
	pthread_mutex_destroy(&store->mutex);
	free(store);
}

static int open_store(struct store **made, const struct config *config, const char *section,
                      struct shm_error *error)
{
	pthread_condattr_t monotonic;
	struct store *store = calloc(1, sizeof *store);
	if (store == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	store->tree.fd = store->tree.open_fd = -1;
	store->waiting.last = &store->waiting.first;
	store->done.last = &store->done.first;
	pthread_mutex_init(&store->mutex, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&store->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	store->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int result = store->event < 0 ? -errno : asked_directory(store->tree.path, config, section, error);
	if (result == 0) {
		read_options(store, config, section);
		result = thread_start(&store->thread, 0, run, store);
	}
	if (result == 0) {
		*made = store;
		return 0;
	}
	if (result != -ENAMETOOLONG)
		shm_explain(error, "%s.store: %s", section, strerror(-result));
	free_store(store);
	return result;
}

/* Waits for the request that is under way. */
static void close_store(struct store *store)
{
	pthread_mutex_lock(&store->mutex);
	store->stop = true;
	pthread_cond_signal(&store->wake);
	pthread_mutex_unlock(&store->mutex);
	pthread_join(store->thread, NULL);
	free_store(store);
}

static const struct store_traits *traits(const struct store *store)
{
	return &store->traits;
}

static bool start(struct store *store, struct store_request *request)
{
	if (store->n == REQUESTS)
		return false;
	store->n++;
	pthread_mutex_lock(&store->mutex);
	push(&store->waiting, request);
	pthread_cond_signal(&store->wake);
	pthread_mutex_unlock(&store->mutex);
	return true;
}

static struct store_request *next(struct store *store, uint64_t now_ns)
{
	uint64_t rung;
	(void)now_ns;
	if (store->n == 0)
		return NULL;
	pthread_mutex_lock(&store->mutex);
	struct store_request *request = pop(&store->done);
	/* What is done after this rings again. */
	if (request == NULL && read(store->event, &rung, sizeof rung) < 0)
		rung = 0;
	pthread_mutex_unlock(&store->mutex);
	store->n -= request != NULL;
	return request;
}

static unsigned wait_for(struct store *store, struct store_wait *wait, unsigned n, uint64_t *timeout_ns)
{
	(void)timeout_ns;
	if (n == 0 || store->n == 0)
		return 0;
	wait[0] = (struct store_wait){.fd = store->event, .events = POLLIN};
	return 1;
}

static uint64_t memory_max(const struct config *config, const char *section)
{
	(void)config;
	(void)section;
	return sizeof(struct store) + KEEP_ONCE * (JOURNAL_KEY_MAX + 64);
}

static int check(const struct config *config, const char *section, struct shm_error *error)
{
	char path[PATH_MAX];
	int result = asked_directory(path, config, section, error);
	if (result != 0)
		return result;
	result = tree_could_write(path);
	if (result != 0)
		shm_explain(error, "%s.store.directory: %.300s: %s", section, path, strerror(-result));
	return result;
}

const struct store_ops store_directory = {
        .kind = "directory",
        .meant = meant,
        .open = open_store,
        .close = close_store,
        .traits = traits,
        .start = start,
        .next = next,
        .wait = wait_for,
        .memory_max = memory_max,
        .check = check,
};
