#include "sink/objects/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/path.h"
#include "base/thread.h"
#include "sink/objects/spool_file.h"
#include "sink/objects/tree.h"

#define OWNER        "owner" /* a file that says whose the directory is */
#define OWNER_MAX    512u
#define RETRY_NS     (NS_PER_SEC)      /* after a failed write; doubles */
#define RETRY_MAX_NS (60 * NS_PER_SEC) /* to this */
#define AGAIN_NS     (2 * NS_PER_SEC)  /* before a file that could not be read is read again */
#define IDLE_NS      NS_PER_SEC        /* what was read and is not sent meanwhile makes room for another */

enum spooled_state { WRITING, KEPT, READING, LOADED, IN_USE, GONE, REMOVING };

/* A part in the spool, or on its way. Between push and spool_next it is the thread's, but for
 * `dropped`, which is the loop's. */
struct spooled {
	struct spooled *older, *newer; /* in the order in which they were spooled */
	struct spooled *next;          /* in a queue */
	struct spool_file file;
	journal_object object;
	enum spooled_state state;
	bool dropped; /* nobody wants it: removed when the thread is through with it */
	void *data;
	struct iovec *piece; /* of one that is being written */
	unsigned n_pieces;
	int result;
	const char *reason; /* why it is gone */
	uint64_t since_ns;  /* LOADED: since then; KEPT: not read before */
};

struct line {
	struct spooled *first, **last;
};

struct spool {
	struct journal *journal;
	char path[PATH_MAX];
	int directory;
	uint64_t size, bytes, sequence;
	unsigned n, n_data, n_under_way; /* parts; of these in memory; with the thread */
	struct spooled *oldest, *newest;
	journal_object writing[SPOOL_WRITES]; /* JOURNAL_NONE: free */
	uint64_t written;
	uint64_t retry_ns, backoff_ns; /* nothing is written before; 0: it works */
	int write_failed, read_failed;
	char reason[256];
	pthread_t thread;
	bool started;
	pthread_mutex_t mutex; /* of the queues and stop */
	pthread_cond_t wake;
	struct line waiting, done;
	bool stop;
	int event;
};

/* ---- queues, and the thread ---- */

static void push(struct line *line, struct spooled *part)
{
	part->next = NULL;
	*line->last = part;
	line->last = &part->next;
}

static struct spooled *pop(struct line *line)
{
	struct spooled *part = line->first;
	if (part == NULL)
		return NULL;
	line->first = part->next;
	if (line->first == NULL)
		line->last = &line->first;
	return part;
}

static void serve(const struct spool *spool, struct spooled *part)
{
	if (part->state == WRITING)
		part->result = spool_file_write(spool->directory, &part->file, part->piece, part->n_pieces);
	else if (part->state == READING)
		part->result = spool_file_read(spool->directory, &part->file, part->data, &part->reason);
	else
		part->result = spool_file_remove(spool->directory, &part->file);
}

static void *run(void *argument)
{
	struct spool *spool = argument;
	const uint64_t one = 1;
	pthread_mutex_lock(&spool->mutex);
	while (!spool->stop) {
		struct spooled *part = pop(&spool->waiting);
		if (part == NULL) {
			pthread_cond_wait(&spool->wake, &spool->mutex);
			continue;
		}
		pthread_mutex_unlock(&spool->mutex);
		serve(spool, part);
		pthread_mutex_lock(&spool->mutex);
		push(&spool->done, part);
		/* it cannot be full: the count is far below 2^64 */
		ssize_t written = write(spool->event, &one, sizeof one);
		(void)written;
	}
	pthread_mutex_unlock(&spool->mutex);
	return NULL;
}

static void give_to_thread(struct spool *spool, struct spooled *part)
{
	spool->n_under_way++;
	pthread_mutex_lock(&spool->mutex);
	push(&spool->waiting, part);
	pthread_cond_signal(&spool->wake);
	pthread_mutex_unlock(&spool->mutex);
}

static struct spooled *take_from_thread(struct spool *spool)
{
	uint64_t rung;
	if (spool->n_under_way == 0)
		return NULL;
	pthread_mutex_lock(&spool->mutex);
	struct spooled *part = pop(&spool->done);
	/* What is done after this rings again. */
	if (part == NULL && read(spool->event, &rung, sizeof rung) < 0)
		rung = 0;
	pthread_mutex_unlock(&spool->mutex);
	spool->n_under_way -= part != NULL;
	return part;
}

/* ---- parts ---- */

static uint64_t file_bytes(uint64_t bytes)
{
	return bytes + SPOOL_TRAILER_BYTES;
}

static struct spooled *add(struct spool *spool, journal_object object, const char *token, uint32_t number,
                           uint64_t bytes)
{
	struct spooled *part = calloc(1, sizeof *part);
	if (part == NULL)
		return NULL;
	part->object = object;
	memcpy(part->file.token, token, JOURNAL_TOKEN_BYTES);
	part->file.number = number;
	part->file.bytes = bytes;
	part->older = spool->newest;
	*(spool->newest != NULL ? &spool->newest->newer : &spool->oldest) = part;
	spool->newest = part;
	spool->bytes += file_bytes(bytes);
	spool->n++;
	return part;
}

static void free_part(struct spooled *part)
{
	free(part->data);
	free(part->piece);
	free(part);
}

static void forget(struct spool *spool, struct spooled *part)
{
	*(part->older != NULL ? &part->older->newer : &spool->oldest) = part->newer;
	*(part->newer != NULL ? &part->newer->older : &spool->newest) = part->older;
	spool->bytes -= file_bytes(part->file.bytes);
	spool->n--;
	free_part(part);
}

/* They are used in about the order of the list. */
static struct spooled *find(const struct spool *spool, journal_object object, uint32_t number)
{
	for (struct spooled *part = spool->oldest; part != NULL; part = part->newer)
		if (part->object == object && part->file.number == number && !part->dropped)
			return part;
	return NULL;
}

static void unload(struct spool *spool, struct spooled *part)
{
	spool->n_data -= part->data != NULL;
	free(part->data);
	part->data = NULL;
}

static void remove_file(struct spool *spool, struct spooled *part)
{
	unload(spool, part);
	part->dropped = true;
	part->state = REMOVING;
	give_to_thread(spool, part);
}

/* ---- what the thread has done ---- */

static void tell(struct spool *spool, int *failed, int result, const char *what)
{
	snprintf(spool->reason, sizeof spool->reason, "%s: %.160s: %s", what, spool->path, strerror(-result));
	if (*failed != result)
		log_error("the spool does not work", "reason=\"%s\"", spool->reason);
	*failed = result;
}

static void tell_works(struct spool *spool, int *failed)
{
	if (*failed == 0)
		return;
	*failed = 0;
	log_info("the spool works again", "directory=\"%s\"", spool->path);
	if (spool->write_failed == 0 && spool->read_failed == 0)
		spool->reason[0] = '\0';
}

static void handle_written(struct spool *spool, struct spooled *part, uint64_t now_ns)
{
	bool first = true;
	for (unsigned i = 0; i < SPOOL_WRITES && first; i++)
		if (spool->writing[i] == part->object) {
			spool->writing[i] = JOURNAL_NONE;
			first = false;
		}
	free(part->piece);
	part->piece = NULL;
	if (part->result != 0) {
		tell(spool, &spool->write_failed, part->result, "cannot write");
		spool->backoff_ns = spool->backoff_ns == 0 ? RETRY_NS : 2 * spool->backoff_ns;
		if (spool->backoff_ns > RETRY_MAX_NS)
			spool->backoff_ns = RETRY_MAX_NS;
		spool->retry_ns = now_ns + spool->backoff_ns;
		forget(spool, part);
		return;
	}
	tell_works(spool, &spool->write_failed);
	spool->backoff_ns = 0;
	spool->written++;
	part->state = KEPT;
	journal_spooled(spool->journal, part->object, part->file.number);
}

static void handle_read(struct spool *spool, struct spooled *part, uint64_t now_ns)
{
	part->since_ns = now_ns;
	part->state = LOADED;
	if (part->result == 0) {
		tell_works(spool, &spool->read_failed);
		return;
	}
	unload(spool, part);
	part->state = part->result == -ENOENT ? GONE : KEPT;
	part->since_ns = now_ns + AGAIN_NS;
	if (part->result != -ENOENT)
		tell(spool, &spool->read_failed, part->result, "cannot read a part");
}

journal_object spool_next(struct spool *spool, uint64_t now_ns)
{
	struct spooled *part;
	while ((part = take_from_thread(spool)) != NULL) {
		journal_object object = part->object;
		if (part->state == REMOVING) {
			if (part->result != 0) /* the next start removes it */
				log_warn("cannot remove a file of the spool",
				         "file=\"%.200s/%s.%u\" reason=\"%s\"", spool->path, part->file.token,
				         part->file.number, strerror(-part->result));
			forget(spool, part);
			continue;
		}
		if (part->dropped) {
			remove_file(spool, part);
			continue;
		}
		if (part->state == WRITING)
			handle_written(spool, part, now_ns);
		else
			handle_read(spool, part, now_ns);
		return object;
	}
	return JOURNAL_NONE;
}

/* ---- writing ---- */

static journal_object *free_writing(struct spool *spool)
{
	for (unsigned i = 0; i < SPOOL_WRITES; i++)
		if (spool->writing[i] == JOURNAL_NONE)
			return &spool->writing[i];
	return NULL;
}

bool spool_takes(const struct spool *spool, uint64_t bytes, uint64_t now_ns)
{
	return spool->n < SPOOL_PARTS_MAX && spool->bytes + file_bytes(bytes) <= spool->size &&
	       now_ns >= spool->retry_ns;
}

bool spool_idle(const struct spool *spool)
{
	return spool_busy(spool, JOURNAL_NONE);
}

bool spool_busy(const struct spool *spool, journal_object object)
{
	for (unsigned i = 0; i < SPOOL_WRITES; i++)
		if (spool->writing[i] == object)
			return true;
	return false;
}

bool spool_write(struct spool *spool, journal_object object, uint32_t number)
{
	struct journal_view view;
	struct journal_part of;
	journal_look(spool->journal, object, &view);
	if (!journal_part(spool->journal, object, number, &of))
		return false;
	unsigned n = journal_bytes(spool->journal, object, number, 0, NULL, 0);
	struct iovec *piece = calloc(n + 1, sizeof *piece);
	struct spooled *part = piece == NULL ? NULL : add(spool, object, view.token, number, of.bytes);
	if (part == NULL) {
		free(piece);
		return false;
	}
	part->piece = piece;
	part->n_pieces = journal_bytes(spool->journal, object, number, 0, piece, n);
	part->file.sequence = ++spool->sequence;
	part->state = WRITING;
	*free_writing(spool) = object;
	give_to_thread(spool, part);
	return true;
}

/* ---- reading ---- */

/* A place for the bytes of one more part: of one that was read and is not sent. */
static bool make_room(struct spool *spool, uint64_t now_ns)
{
	if (spool->n_data < SPOOL_READS)
		return true;
	for (struct spooled *part = spool->oldest; part != NULL; part = part->newer) {
		if (part->state != LOADED || now_ns - part->since_ns < IDLE_NS)
			continue;
		unload(spool, part);
		part->state = KEPT;
		return true;
	}
	return false;
}

enum spool_fetched spool_fetch(struct spool *spool, journal_object object, uint32_t number, uint64_t now_ns,
                               const void **data, const char **reason)
{
	struct spooled *part = find(spool, object, number);
	if (part == NULL) {
		*reason = "it is not there";
		return SPOOL_GONE;
	}
	*data = part->data;
	*reason = part->reason;
	if (part->state == LOADED || part->state == GONE)
		return part->state == LOADED ? SPOOL_READY : SPOOL_GONE;
	if (part->state != KEPT || now_ns < part->since_ns || !make_room(spool, now_ns))
		return SPOOL_WAIT;
	part->data = malloc(part->file.bytes);
	if (part->data == NULL)
		return SPOOL_WAIT;
	spool->n_data++;
	part->state = READING;
	give_to_thread(spool, part);
	return SPOOL_WAIT;
}

void spool_use(struct spool *spool, journal_object object, uint32_t number)
{
	struct spooled *part = find(spool, object, number);
	if (part != NULL && part->state == LOADED)
		part->state = IN_USE;
}

void spool_free(struct spool *spool, journal_object object, uint32_t number)
{
	struct spooled *part = find(spool, object, number);
	if (part != NULL && part->state == IN_USE)
		part->state = LOADED;
}

void spool_drop(struct spool *spool, journal_object object, uint32_t number)
{
	struct spooled *part = find(spool, object, number);
	if (part == NULL)
		return;
	part->dropped = true;
	if (part->state != WRITING && part->state != READING)
		remove_file(spool, part);
}

unsigned spool_oldest(const struct spool *spool, journal_object *object, unsigned n)
{
	unsigned used = 0;
	for (const struct spooled *part = spool->oldest; part != NULL && used < n; part = part->newer) {
		bool there = part->dropped || part->state == WRITING;
		for (unsigned i = 0; i < used && !there; i++)
			there = object[i] == part->object;
		if (!there)
			object[used++] = part->object;
	}
	return used;
}

struct store_wait spool_wait(const struct spool *spool)
{
	return (struct store_wait){.fd = spool->event, .events = POLLIN};
}

void spool_count(const struct spool *spool, struct spool_counts *counts)
{
	*counts = (struct spool_counts){
	        .bytes = spool->bytes, .parts = spool->n, .spooled = spool->written, .reason = spool->reason};
}

uint64_t spool_memory(uint64_t size, uint64_t part_most)
{
	if (size == 0)
		return 0;
	return sizeof(struct spool) + SPOOL_PARTS_MAX * sizeof(struct spooled) + SPOOL_READS * part_most +
	       SPOOL_WRITES * (part_most / JOURNAL_BLOCK_BYTES + 2) * sizeof(struct iovec);
}

/* ---- opening ---- */

static int by_file(const void *a, const void *b)
{
	const struct spooled *x = *(struct spooled *const *)a, *y = *(struct spooled *const *)b;
	int order = strcmp(x->file.token, y->file.token);
	return order != 0 ? order : (x->file.number > y->file.number) - (x->file.number < y->file.number);
}

static int by_sequence(const void *a, const void *b)
{
	const struct spooled *x = *(struct spooled *const *)a, *y = *(struct spooled *const *)b;
	if (x->file.sequence != y->file.sequence)
		return x->file.sequence < y->file.sequence ? -1 : 1;
	return by_file(a, b);
}

/* All parts that the journal says are here, in its order. */
static int list_known(struct spool *spool)
{
	struct journal_view view;
	struct journal_part of;
	for (journal_object object = journal_next(spool->journal, JOURNAL_NONE); object != JOURNAL_NONE;
	     object = journal_next(spool->journal, object)) {
		journal_look(spool->journal, object, &view);
		for (uint32_t number = view.n_confirmed + 1; number <= view.n_parts; number++) {
			if (!journal_part(spool->journal, object, number, &of) || !of.spooled)
				continue;
			struct spooled *part = add(spool, object, view.token, number, of.bytes);
			if (part == NULL)
				return -ENOMEM;
			part->state = KEPT;
		}
	}
	return 0;
}

/* Files that no part has: a life was killed before it said that it is spooled, or after it was
 * confirmed. */
static int remove_unknown(const struct spool *spool, struct spooled *const *known, size_t n)
{
	struct spooled wanted, *key = &wanted;
	int fd = openat(spool->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	if (directory == NULL) {
		int result = -errno;
		if (fd >= 0)
			close(fd);
		return result;
	}
	struct dirent *entry;
	uint64_t removed = 0;
	while ((entry = readdir(directory)) != NULL) {
		if (!spool_file_named(&wanted.file, entry->d_name) ||
		    (n != 0 && bsearch(&key, known, n, sizeof(void *), by_file) != NULL))
			continue;
		removed += spool_file_remove(spool->directory, &wanted.file) == 0;
	}
	closedir(directory);
	if (removed != 0)
		log_info("files of the spool that no object has are removed", "directory=\"%s\" files=%llu",
		         spool->path, (unsigned long long)removed);
	return 0;
}

/* Puts the parts into the order in which they were spooled. */
static int take_up(struct spool *spool)
{
	size_t n = 0;
	struct spooled **known = calloc(spool->n + 1, sizeof(struct spooled *));
	if (known == NULL)
		return -ENOMEM;
	for (struct spooled *part = spool->oldest; part != NULL; part = part->newer) {
		part->file.sequence = spool_file_sequence(spool->directory, &part->file);
		if (part->file.sequence > spool->sequence)
			spool->sequence = part->file.sequence;
		known[n++] = part;
	}
	qsort(known, n, sizeof(void *), by_file);
	int result = remove_unknown(spool, known, n);
	qsort(known, n, sizeof(void *), by_sequence);
	for (size_t i = 0; i < n; i++) {
		known[i]->older = i > 0 ? known[i - 1] : NULL;
		known[i]->newer = i + 1 < n ? known[i + 1] : NULL;
	}
	spool->oldest = n > 0 ? known[0] : NULL;
	spool->newest = n > 0 ? known[n - 1] : NULL;
	free(known);
	return result;
}

/* The directory is this sink's alone, or becomes it. */
static int claim(const struct spool *spool, const char *owner, struct shm_error *error)
{
	char there[OWNER_MAX + 1];
	if (flock(spool->directory, LOCK_EX | LOCK_NB) != 0) {
		shm_explain(error, "%.300s: another process uses it", spool->path);
		return -EBUSY;
	}
	int fd =
	        openat(spool->directory, OWNER, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0640);
	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, there, OWNER_MAX);
	int result = n < 0 ? -errno : 0;
	if (n == 0 && (write(fd, owner, strlen(owner)) != (ssize_t)strlen(owner) || fsync(fd) != 0))
		result = -EIO;
	if (n > 0 && ((size_t)n != strlen(owner) || memcmp(there, owner, (size_t)n) != 0)) {
		shm_explain(error,
		            "%.300s: it is the spool of another sink, which the file \"%s\" in it names",
		            spool->path, OWNER);
		result = -EEXIST;
	}
	close(fd);
	return result;
}

/* The directory is gone. */
static int may_make(const struct spool *spool, struct shm_error *error)
{
	if (spool->n == 0)
		return 0;
	shm_explain(
	        error,
	        "%.300s: there is no such directory, and %u parts are in the spool: put it back; an empty one gives them up",
	        spool->path, spool->n);
	return -ENOENT;
}

static int open_directory(struct spool *spool, struct shm_error *error)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
	spool->directory = open(spool->path, flags);
	if (spool->directory < 0 && errno == ENOENT) {
		int result = may_make(spool, error);
		if (result == 0)
			result = path_make(spool->path);
		if (result != 0)
			return result;
		spool->directory = open(spool->path, flags);
	}
	return spool->directory < 0 ? -errno : 0;
}

static int start_thread(struct spool *spool)
{
	spool->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (spool->event < 0)
		return -errno;
	int result = thread_start(&spool->thread, 0, run, spool);
	spool->started = result == 0;
	return result;
}

static struct spool *make(const char *directory, uint64_t size, struct journal *journal)
{
	struct spool *spool = calloc(1, sizeof *spool);
	if (spool == NULL)
		return NULL;
	spool->journal = journal;
	spool->size = size;
	spool->directory = spool->event = -1;
	spool->waiting.last = &spool->waiting.first;
	spool->done.last = &spool->done.first;
	for (unsigned i = 0; i < SPOOL_WRITES; i++)
		spool->writing[i] = JOURNAL_NONE;
	snprintf(spool->path, sizeof spool->path, "%s", directory);
	pthread_mutex_init(&spool->mutex, NULL);
	pthread_cond_init(&spool->wake, NULL);
	return spool;
}

int spool_look(const char *directory, struct journal *journal, struct shm_error *error)
{
	struct spool *spool = make(directory, 0, journal);
	int result = spool == NULL ? -ENOMEM : list_known(spool);
	if (result != 0)
		shm_explain(error, "no memory");
	else if (access(directory, F_OK) != 0 && errno == ENOENT)
		result = may_make(spool, error);
	spool_close(spool);
	return result;
}

int spool_open(struct spool **made, const char *directory, const char *owner, uint64_t size,
               struct journal *journal, struct shm_error *error)
{
	*made = NULL;
	shm_explain(error, "no memory");
	struct spool *spool = make(directory, size, journal);
	if (spool == NULL)
		return -ENOMEM;
	int result = list_known(spool);
	if (result == 0 && size == 0 && spool->n == 0) {
		spool_close(spool);
		return 0;
	}
	if (result == 0) {
		error->text[0] = '\0';
		result = open_directory(spool, error);
	}
	if (result == 0)
		result = claim(spool, owner, error);
	if (result == 0)
		result = take_up(spool);
	if (result == 0)
		result = start_thread(spool);
	if (result != 0) {
		if (error->text[0] == '\0')
			shm_explain(error, "%.300s: %s", directory, strerror(-result));
		spool_close(spool);
		return result;
	}
	*made = spool;
	return 0;
}

void spool_close(struct spool *spool)
{
	if (spool == NULL)
		return;
	if (spool->started) {
		pthread_mutex_lock(&spool->mutex);
		spool->stop = true;
		pthread_cond_signal(&spool->wake);
		pthread_mutex_unlock(&spool->mutex);
		pthread_join(spool->thread, NULL);
	}
	for (struct spooled *part = spool->oldest, *newer; part != NULL; part = newer) {
		newer = part->newer;
		free_part(part);
	}
	if (spool->event >= 0)
		close(spool->event);
	if (spool->directory >= 0)
		close(spool->directory);
	pthread_cond_destroy(&spool->wake);
	pthread_mutex_destroy(&spool->mutex);
	free(spool);
}

int spool_path(char path[], const struct config *config, const char *section, struct shm_error *error)
{
	const char *configured = config_string(config, "%s.spool.directory", section);
	const char *data_dir = config_string(config, "data_dir");
	int n;
	if (configured[0] == '\0')
		n = snprintf(path, PATH_MAX, "%s/spool/%s", data_dir,
		             config_string(config, "%s.name", section));
	else if (configured[0] == '/')
		n = snprintf(path, PATH_MAX, "%s", configured);
	else
		n = snprintf(path, PATH_MAX, "%s/%s", data_dir, configured);
	if (n < PATH_MAX)
		return 0;
	shm_explain(error, "%s.spool.directory: the path has %d bytes; allowed: %d", section, n,
	            PATH_MAX - 1);
	return -ENAMETOOLONG;
}

int spool_check(const struct config *config, const char *section, struct shm_error *error)
{
	char path[PATH_MAX];
	if (config_u64(config, "%s.spool.size", section) == 0)
		return 0;
	int result = spool_path(path, config, section, error);
	if (result != 0)
		return result;
	result = tree_could_write(path);
	if (result != 0)
		shm_explain(error, "%s.spool.directory: %.300s: %s", section, path, strerror(-result));
	return result;
}
