#include "sink/objects/index.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "base/thread.h"

#define LINE_BYTES (8u * (2 * JOURNAL_KEY_MAX + JOURNAL_UPLOAD_MAX + 1024u))
#define LONG_BYTES (4u << 20) /* written anew when it is as long, and twice as long as after the last time */
#define AGAIN_NS   (5 * NS_PER_SEC) /* before a file that failed is written anew */

struct index {
	char folder[PATH_MAX], path[PATH_MAX + 8], fresh[PATH_MAX + 16];
	int lock, fd;
	int writing;          /* where lines go: fd, or that of the file that is written anew */
	uint64_t bytes, base; /* of the file; after it was last written anew */
	int failed;           /* -errno of a line that is missing */
	uint64_t tried_ns;    /* when it was written anew last */
	struct index_entry *left;
	unsigned n_left;
	/* the thread that makes it safe */
	pthread_t thread;
	bool threaded;
	pthread_mutex_t mutex; /* of fd and what follows */
	pthread_cond_t wake;
	bool dirty, stop;
};

/* ---- reading ---- */

static void free_entry(struct index_entry *entry)
{
	free(entry->key);
	free(entry->name);
	free(entry->upload);
	free(entry->encoding);
	free(entry->type);
	free(entry->part);
}

static struct index_entry *find_left(const struct index *index, const char *token)
{
	for (unsigned i = 0; i < index->n_left; i++)
		if (memcmp(index->left[i].token, token, JOURNAL_TOKEN_BYTES) == 0)
			return &index->left[i];
	return NULL;
}

void index_drop_left(struct index *index, const char *token)
{
	struct index_entry *entry = find_left(index, token);
	if (entry == NULL)
		return;
	free_entry(entry);
	index->n_left--;
	memmove(entry, entry + 1, (size_t)(index->left + index->n_left - entry) * sizeof *entry);
}

const struct index_entry *index_left(const struct index *index, unsigned i)
{
	return i < index->n_left ? &index->left[i] : NULL;
}

static char *copy_of(const json_t *line, const char *name)
{
	const char *text = json_string_value(json_object_get(line, name));
	return text == NULL ? NULL : strdup(text);
}

/* Returns false for a line that makes no sense, or without memory. */
static bool read_open(struct index *index, const json_t *line, const char *token)
{
	const json_t *words = json_object_get(line, "words");
	struct index_entry entry = {
	        .key = copy_of(line, "key"),
	        .name = copy_of(line, "name"),
	        .upload = copy_of(line, "upload"),
	        .encoding = copy_of(line, "encoding"),
	        .type = copy_of(line, "type"),
	};
	memcpy(entry.token, token, JOURNAL_TOKEN_BYTES);
	for (unsigned i = 0; i < STORE_WORDS; i++)
		entry.words[i] = (uint64_t)json_integer_value(json_array_get(words, i));
	struct index_entry *more = reallocarray(index->left, index->n_left + 1, sizeof *more);
	if (more != NULL)
		index->left = more;
	if (more == NULL || entry.key == NULL || entry.name == NULL || entry.upload == NULL ||
	    entry.encoding == NULL || entry.type == NULL || json_array_size(words) != STORE_WORDS ||
	    strlen(entry.name) == 0 || strlen(entry.name) > JOURNAL_KEY_MAX || strlen(entry.upload) == 0 ||
	    strlen(entry.upload) > JOURNAL_UPLOAD_MAX) {
		free_entry(&entry);
		return false;
	}
	index_drop_left(index, token);
	index->left[index->n_left++] = entry;
	return true;
}

static bool read_part(struct index *index, const json_t *line, const char *token)
{
	struct index_entry *entry = find_left(index, token);
	const char *etag = json_string_value(json_object_get(line, "etag"));
	json_int_t number = json_integer_value(json_object_get(line, "number"));
	json_int_t bytes = json_integer_value(json_object_get(line, "bytes"));
	if (entry == NULL || etag == NULL || strlen(etag) >= JOURNAL_ETAG_MAX || bytes <= 0 || number <= 0 ||
	    number > JOURNAL_PARTS_MAX || entry->n_parts >= JOURNAL_PARTS_MAX ||
	    (entry->n_parts != 0 && number <= entry->part[entry->n_parts - 1].number))
		return false;
	struct store_part *more = reallocarray(entry->part, entry->n_parts + 1, sizeof *more);
	if (more == NULL)
		return false;
	entry->part = more;
	struct store_part *part = &entry->part[entry->n_parts++];
	*part = (struct store_part){.number = (uint32_t)number, .bytes = (uint64_t)bytes};
	snprintf(part->etag, sizeof part->etag, "%s", etag);
	return true;
}

static const char *token_of(const json_t *line, const char *name)
{
	const char *token = json_string_value(json_object_get(line, name));
	return token != NULL && strlen(token) == JOURNAL_TOKEN_BYTES ? token : NULL;
}

static bool read_line(struct index *index, const char *text, size_t bytes)
{
	json_t *line = json_loadb(text, bytes, 0, NULL);
	const char *token;
	bool good = false;
	if ((token = token_of(line, "open")) != NULL) {
		good = read_open(index, line, token);
	} else if ((token = token_of(line, "part")) != NULL) {
		good = read_part(index, line, token);
	} else if ((token = token_of(line, "done")) != NULL) {
		index_drop_left(index, token);
		good = true;
	}
	json_decref(line);
	return good;
}

static int read_file(struct index *index)
{
	char *line = NULL;
	size_t room = 0;
	uint64_t bad = 0;
	FILE *file = fopen(index->path, "re");
	if (file == NULL)
		return -errno;
	for (ssize_t n; (n = getline(&line, &room, file)) > 0;)
		bad += !read_line(index, line, (size_t)n);
	int result = ferror(file) ? -EIO : 0;
	free(line);
	fclose(file);
	if (bad != 0)
		log_warn("lines of the index of uploads make no sense and are left out", "file=%s lines=%llu",
		         index->path, (unsigned long long)bad);
	return result;
}

/* ---- writing ---- */

static void fail(struct index *index, int result)
{
	if (index->failed == 0)
		log_error(
		        "cannot write the index of uploads; after a reboot those that are open now would not be found",
		        "file=%s reason=\"%s\"", index->path, strerror(-result));
	index->failed = result;
}

static void write_line(struct index *index, const struct text *text, const char *line)
{
	size_t bytes = (size_t)(text->at - line);
	if (index->writing < 0 || index->failed != 0)
		return; /* it will be written anew */
	ssize_t written = text->full ? -1 : write(index->writing, line, bytes);
	if (written != (ssize_t)bytes) {
		fail(index, text->full ? -ENAMETOOLONG : written < 0 ? -errno : -ENOSPC);
		return;
	}
	index->bytes += bytes;
	if (index->writing != index->fd)
		return;
	pthread_mutex_lock(&index->mutex);
	index->dirty = true;
	pthread_cond_signal(&index->wake);
	pthread_mutex_unlock(&index->mutex);
}

void index_put(struct text *text, const char *name, const char *value, size_t bytes)
{
	text_literal(text, ", \"");
	text_put(text, name, strlen(name));
	text_literal(text, "\": ");
	text_string(text, (const unsigned char *)value, bytes);
}

static void put_number(struct text *text, const char *before, uint64_t number)
{
	text_put(text, before, strlen(before));
	text_unsigned(text, number);
}

void index_opened(struct index *index, const struct journal_view *object, const char *encoding,
                  const char *type)
{
	char line[LINE_BYTES];
	struct text text = {.at = line, .end = line + sizeof line};
	text_literal(&text, "{\"open\": ");
	text_string(&text, (const unsigned char *)object->token, JOURNAL_TOKEN_BYTES);
	index_put(&text, "key", object->key, object->key_bytes);
	index_put(&text, "name", object->name, object->name_bytes);
	index_put(&text, "upload", object->upload, object->upload_bytes);
	index_put(&text, "encoding", encoding, strlen(encoding));
	index_put(&text, "type", type, strlen(type));
	for (unsigned i = 0; i < STORE_WORDS; i++)
		put_number(&text, i == 0 ? ", \"words\": [" : ", ", object->words[i]);
	text_literal(&text, "]}\n");
	write_line(index, &text, line);
}

void index_confirmed(struct index *index, const char *token, const struct store_part *part)
{
	char line[LINE_BYTES];
	struct text text = {.at = line, .end = line + sizeof line};
	text_literal(&text, "{\"part\": ");
	text_string(&text, (const unsigned char *)token, JOURNAL_TOKEN_BYTES);
	put_number(&text, ", \"number\": ", part->number);
	put_number(&text, ", \"bytes\": ", part->bytes);
	index_put(&text, "etag", part->etag, strlen(part->etag));
	text_literal(&text, "}\n");
	write_line(index, &text, line);
}

void index_done(struct index *index, const char *token)
{
	char line[64 + JOURNAL_TOKEN_BYTES];
	struct text text = {.at = line, .end = line + sizeof line};
	text_literal(&text, "{\"done\": ");
	text_string(&text, (const unsigned char *)token, JOURNAL_TOKEN_BYTES);
	text_literal(&text, "}\n");
	write_line(index, &text, line);
}

/* ---- writing anew ---- */

bool index_is_long(const struct index *index, uint64_t now_ns)
{
	if (index->failed != 0)
		return now_ns - index->tried_ns >= AGAIN_NS;
	return index->bytes >= LONG_BYTES && index->bytes >= 2 * index->base;
}

struct journal_view index_view(const struct index_entry *entry)
{
	struct journal_view view = {
	        .key = entry->key,
	        .key_bytes = strlen(entry->key),
	        .name = entry->name,
	        .name_bytes = strlen(entry->name),
	        .upload = entry->upload,
	        .upload_bytes = strlen(entry->upload),
	        .token = entry->token,
	};
	memcpy(view.words, entry->words, sizeof entry->words);
	return view;
}

static void write_left(struct index *index, const struct index_entry *entry)
{
	struct journal_view view = index_view(entry);
	index_opened(index, &view, entry->encoding, entry->type);
	for (uint32_t i = 0; i < entry->n_parts; i++)
		index_confirmed(index, entry->token, &entry->part[i]);
}

void index_begin(struct index *index)
{
	index->failed = 0;
	index->bytes = 0;
	index->writing =
	        open(index->fresh, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (index->writing < 0)
		fail(index, -errno);
	for (unsigned i = 0; i < index->n_left; i++)
		write_left(index, &index->left[i]);
}

static int put_in_place(struct index *index)
{
	if (index->failed != 0)
		return index->failed;
	if (fsync(index->writing) != 0 || rename(index->fresh, index->path) != 0)
		return -errno;
	int folder = open(index->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int result = folder < 0 || fsync(folder) != 0 ? -errno : 0;
	if (folder >= 0)
		close(folder);
	return result;
}

void index_end(struct index *index, uint64_t now_ns)
{
	int result = put_in_place(index), fresh = index->writing;
	index->tried_ns = now_ns;
	index->base = index->bytes;
	if (result != 0) {
		index->failed = 0;
		fail(index, result);
		if (fresh >= 0)
			close(fresh);
		(void)unlink(index->fresh);
		index->writing = index->fd;
		return;
	}
	pthread_mutex_lock(&index->mutex);
	int old = index->fd;
	index->fd = fresh;
	index->dirty = false;
	pthread_mutex_unlock(&index->mutex);
	close(old);
}

/* ---- the thread ---- */

static void *run(void *argument)
{
	struct index *index = argument;
	pthread_mutex_lock(&index->mutex);
	while (!index->stop || index->dirty) {
		if (!index->dirty) {
			pthread_cond_wait(&index->wake, &index->mutex);
			continue;
		}
		index->dirty = false;
		int fd = dup(index->fd); /* the loop may put another in its place meanwhile */
		pthread_mutex_unlock(&index->mutex);
		/* A failure shows in the next write or in the next file. */
		if (fd >= 0 && fdatasync(fd) != 0)
			log_warn("cannot make the index of uploads safe", "file=%s reason=\"%s\"",
			         index->path, strerror(errno));
		if (fd >= 0)
			close(fd);
		pthread_mutex_lock(&index->mutex);
	}
	pthread_mutex_unlock(&index->mutex);
	return NULL;
}

static int start_thread(struct index *index)
{
	int result = thread_start(&index->thread, 0, run, index);
	index->threaded = result == 0;
	return result;
}

/* ---- opening ---- */

static int hold(struct index *index, const char *sink, struct shm_error *error)
{
	char path[PATH_MAX + 8];
	snprintf(path, sizeof path, "%s/%s.lock", index->folder, sink);
	index->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
	int result = index->lock < 0 || flock(index->lock, LOCK_EX | LOCK_NB) != 0 ? -errno : 0;
	if (result == -EWOULDBLOCK) {
		shm_explain(error,
		            "%s: another process keeps objects of a sink of this name in this data_dir",
		            path);
		return -EBUSY;
	}
	if (result != 0)
		shm_explain(error, "%s: %s", path, strerror(-result));
	return result;
}

static int open_file(struct index *index, const char *data_dir, const char *sink, struct shm_error *error)
{
	if (snprintf(index->folder, sizeof index->folder - JOURNAL_TOKEN_BYTES, "%s/sinks", data_dir) >=
	    (int)(sizeof index->folder - JOURNAL_TOKEN_BYTES)) {
		shm_explain(error, "data_dir: the path is too long");
		return -ENAMETOOLONG;
	}
	if ((mkdir(data_dir, 0750) != 0 && errno != EEXIST) ||
	    (mkdir(index->folder, 0770) != 0 && errno != EEXIST)) {
		int result = -errno;
		shm_explain(error, "%s: %s", index->folder, strerror(-result));
		return result;
	}
	int result = hold(index, sink, error);
	if (result != 0)
		return result;
	snprintf(index->path, sizeof index->path, "%s/%s.open", index->folder, sink);
	snprintf(index->fresh, sizeof index->fresh, "%s/%s.open.new", index->folder, sink);
	index->fd = open(index->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
	result = index->fd < 0 ? -errno : read_file(index);
	index->writing = index->fd;
	if (result != 0)
		shm_explain(error, "%s: %s", index->path, strerror(-result));
	return result;
}

int index_open(struct index **made, const char *data_dir, const char *sink, struct shm_error *error)
{
	struct index *index = calloc(1, sizeof *index);
	*made = NULL;
	if (index == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	index->lock = index->fd = index->writing = -1;
	pthread_mutex_init(&index->mutex, NULL);
	pthread_cond_init(&index->wake, NULL);
	int result = open_file(index, data_dir, sink, error);
	if (result == 0 && (result = start_thread(index)) != 0)
		shm_explain(error, "no thread: %s", strerror(-result));
	if (result != 0)
		index_close(index);
	else
		*made = index;
	return result;
}

void index_close(struct index *index)
{
	if (index == NULL)
		return;
	pthread_mutex_lock(&index->mutex);
	index->stop = true;
	pthread_cond_signal(&index->wake);
	pthread_mutex_unlock(&index->mutex);
	if (index->threaded)
		pthread_join(index->thread, NULL);
	while (index->n_left != 0)
		index_drop_left(index, index->left[0].token);
	free(index->left);
	if (index->fd >= 0)
		close(index->fd);
	if (index->lock >= 0)
		close(index->lock);
	pthread_cond_destroy(&index->wake);
	pthread_mutex_destroy(&index->mutex);
	free(index);
}
