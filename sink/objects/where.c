#include "sink/objects/where.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "event/template.h"
#include "sink/objects/asked.h"
#include "sink/objects/lines.h"
#include "sink/objects/name.h"
#include "sink/objects/seen.h"

#define FILES_MAX 200000u /* entries of the object's directory that are looked at */
/* A file's time is that of the kernel's last tick: up to so much before the clock that gave the
 * arrival. */
#define TICK_MS 10u
/* Of what open.c makes, with "_" before it and ".N" after it. */
#define SUFFIX_MAX (2 * SHM_NAME_MAX + 60u)

enum kept { KEPT_OPEN, KEPT_FINISHING, KEPT_STORED };

/* An object that may have the event. */
struct candidate {
	char name[JOURNAL_KEY_MAX + 1];
	bool here; /* its first event is that at `position` of the event's lane */
	enum kept kept;
	uint64_t position;
	uint64_t lines;
	uint64_t opened_ms, stored_ms;
};

struct where {
	const struct where_question *question;
	uint64_t arrival_ms; /* 0: it does not say */
	char key[LINES_KEY_MAX + 1];
	char name[JOURNAL_KEY_MAX + 1]; /* in a directory, without a suffix */
	struct candidate candidate[WHERE_OBJECTS_MAX];
	unsigned n;
	bool more; /* there was no room for all */
	/* those that the journal has under a name: their files are looked at no more */
	char named[WHERE_OBJECTS_MAX][JOURNAL_KEY_MAX + 1];
	unsigned n_named;
	struct candidate latest; /* the last that began in the lane at or before the event */
	bool has_latest;
};

/* ---- the key ---- */

static int expand(struct where *where, const struct template *template)
{
	const struct where_question *question = where->question;
	char host[256] = "";
	if (gethostname(host, sizeof host - 1) != 0)
		host[0] = '\0';
	struct template_place place = {.topic = question->topic,
	                               .host = host,
	                               .instance = config_string(question->config, "instance")};
	size_t room = template_most(template) + 1;
	char *key = malloc(room);
	if (key == NULL)
		return -ENOMEM;
	int n = template_expand(template, key, room, question->record, &place);
	if (n > 0) {
		n = (int)name_shorten(key, (size_t)n, LINES_KEY_MAX);
		memcpy(where->key, key, (size_t)n);
		where->key[n] = '\0';
	}
	free(key);
	return n;
}

/* Returns the bytes of the key, or what says that there is none. */
static int make_key(struct where *where)
{
	char reason[300];
	struct template *template = NULL;
	const char *text = config_string(where->question->config, "%s.key", where->question->section);
	int result = template_compile(&template, text[0] == '\0' ? LINES_DEFAULT_KEY : text, NULL, reason,
	                              sizeof reason);
	if (result == 0)
		result = expand(where, template);
	template_free(template);
	return result;
}

/* ---- candidates ---- */

/* Keeps what can have the event. */
static void add(struct where *where, const struct candidate *candidate)
{
	if (candidate->here && candidate->position > where->question->position)
		return;
	if (candidate->kept == KEPT_STORED && candidate->stored_ms + TICK_MS < where->arrival_ms)
		return;
	if (candidate->here) {
		if (!where->has_latest || candidate->position >= where->latest.position)
			where->latest = *candidate;
		where->has_latest = true;
	} else if (where->n < WHERE_OBJECTS_MAX) {
		where->candidate[where->n++] = *candidate;
	} else {
		where->more = true;
	}
}

/* Whether the object is one of those before the latest, which began at or before the event. One
 * that is open has no later one. */
static bool is_earlier(const struct candidate *candidate, const struct candidate *latest)
{
	if (latest->kept == KEPT_OPEN)
		return true;
	if (latest->kept == KEPT_FINISHING)
		return (candidate->kept == KEPT_STORED ? candidate->stored_ms : candidate->opened_ms) <
		       latest->opened_ms;
	return candidate->kept == KEPT_STORED && candidate->stored_ms <= latest->stored_ms;
}

static void leave_out_earlier(struct where *where)
{
	unsigned n = 0;
	if (!where->has_latest)
		return;
	for (unsigned i = 0; i < where->n; i++)
		if (!is_earlier(&where->candidate[i], &where->latest))
			where->candidate[n++] = where->candidate[i];
	where->n = n;
	if (n == WHERE_OBJECTS_MAX) {
		where->more = true;
		n--;
	}
	memmove(&where->candidate[1], &where->candidate[0], n * sizeof where->candidate[0]);
	where->candidate[0] = where->latest;
	where->n = n + 1;
}

/* ---- in the journal ---- */

static void add_seen(void *argument, const struct seen_object *object)
{
	struct where *where = argument;
	const struct where_question *question = where->question;
	if (strcmp(object->key, where->key) != 0)
		return;
	struct candidate candidate = {.here = object->first_topic == question->topic_number &&
	                                      object->first_lane == question->lane,
	                              .kept = object->finishing ? KEPT_FINISHING : KEPT_OPEN,
	                              .position = object->first_position,
	                              .lines = object->lines,
	                              .opened_ms = object->opened_ns / NS_PER_MS};
	memcpy(candidate.name, object->name, sizeof candidate.name);
	if (object->name[0] != '\0' && where->n_named < WHERE_OBJECTS_MAX)
		memcpy(where->named[where->n_named++], object->name, sizeof where->named[0]);
	else if (object->name[0] != '\0')
		where->more = true;
	add(where, &candidate);
}

/* ---- in a directory ---- */

/* What a suffix (name.h) says of the object's first event: "_INSTANCE-GENERATION-TOPIC-LANE-
 * POSITION", perhaps with ".N". False: it is none of ours. */
static bool read_suffix(const struct where_question *question, const char *suffix,
                        struct candidate *candidate)
{
	char begin[3 * SHM_NAME_MAX];
	const char *instance = config_string(question->config, "instance");
	int n = snprintf(begin, sizeof begin, "_%s-", instance);
	if (n >= (int)sizeof begin || strncmp(suffix, begin, (size_t)n) != 0)
		return false;
	const char *id = suffix + n;
	n = snprintf(begin, sizeof begin, "%016" PRIx64 "-%s-%u-", question->generation, question->topic,
	             question->lane);
	if (strncmp(id, begin, (size_t)n) == 0) {
		candidate->here = true;
		candidate->position = strtoull(id + n, NULL, 10);
	}
	return true;
}

static bool in_journal(const struct where *where, const char *name)
{
	for (unsigned i = 0; i < where->n_named; i++)
		if (strcmp(where->named[i], name) == 0)
			return true;
	return false;
}

static void add_file(struct where *where, int fd, const char *file, const char *last)
{
	struct candidate candidate = {.kept = KEPT_STORED};
	struct stat status;
	size_t bytes = strlen(last);
	if (strncmp(file, last, bytes) != 0 ||
	    (file[bytes] != '\0' && !read_suffix(where->question, file + bytes, &candidate)))
		return;
	if (fstatat(fd, file, &status, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(status.st_mode))
		return;
	int n = snprintf(candidate.name, sizeof candidate.name, "%.*s%s", (int)(last - where->name),
	                 where->name, file);
	if (n >= (int)sizeof candidate.name || in_journal(where, candidate.name))
		return;
	candidate.stored_ms = (uint64_t)status.st_mtim.tv_sec * (NS_PER_SEC / NS_PER_MS) +
	                      (uint64_t)status.st_mtim.tv_nsec / NS_PER_MS;
	add(where, &candidate);
}

/* The files of the directory, of whose name `last` is the last part. Returns 0 or -errno. */
static int look_at_all(struct where *where, DIR *directory, const char *last)
{
	for (unsigned i = 0; i < FILES_MAX; i++) {
		errno = 0;
		const struct dirent *entry = readdir(directory);
		if (entry == NULL)
			return -errno;
		add_file(where, dirfd(directory), entry->d_name, last);
	}
	return -E2BIG;
}

/* Returns 0, or -errno: then there can be files that were not looked at. */
static int look_at_files(struct where *where)
{
	char path[PATH_MAX], folder[PATH_MAX + JOURNAL_KEY_MAX + 2];
	struct shm_error error;
	const struct where_question *question = where->question;
	const struct store_traits traits = {.name_max = JOURNAL_KEY_MAX, .component_max = NAME_MAX};
	size_t n = name_make(where->name, &traits, where->key, strlen(where->key), "", 0);
	if (n == 0 || asked_directory(path, question->config, question->section, &error) != 0)
		return -ENAMETOOLONG;
	where->name[n] = '\0';
	const char *slash = strrchr(where->name, '/');
	const char *last = slash != NULL ? slash + 1 : where->name;
	snprintf(folder, sizeof folder, "%s/%.*s", path, (int)(last - where->name), where->name);
	DIR *directory = opendir(folder);
	if (directory == NULL)
		return errno == ENOENT ? 0 : -errno;
	int result = look_at_all(where, directory, last);
	closedir(directory);
	/* With a suffix it was cut, and is not known by its beginning. */
	return result == 0 && strlen(last) + SUFFIX_MAX > NAME_MAX ? -ENAMETOOLONG : result;
}

/* ---- told ---- */

static void set_ms(json_t *json, const char *name, uint64_t ms)
{
	if (ms != 0)
		(void)json_object_set_new(json, name, json_integer((json_int_t)ms));
}

static json_t *candidate_json(const struct where *where, const struct candidate *candidate)
{
	struct shm_error error;
	const struct where_question *question = where->question;
	static const char *const states[] = {"open", "finishing", "stored"};
	char path[PATH_MAX + JOURNAL_KEY_MAX + 2], store[PATH_MAX];
	json_t *name = candidate->name[0] != '\0' ? json_string(candidate->name) : json_null();
	json_t *json = json_pack("{s:o, s:s}", "name", name, "state", states[candidate->kept]);
	if (json == NULL)
		return NULL;
	set_ms(json, "opened_ts", candidate->opened_ms);
	set_ms(json, "stored_ts", candidate->stored_ms);
	if (candidate->kept != KEPT_STORED) {
		(void)json_object_set_new(json, "lines", json_integer((json_int_t)candidate->lines));
	} else if (asked_directory(store, question->config, question->section, &error) == 0) {
		snprintf(path, sizeof path, "%s/%s", store, candidate->name);
		(void)json_object_set_new(json, "path", json_string(path));
	}
	return json;
}

static void note(json_t *json, const char *text)
{
	(void)json_object_set_new(json, "note", json_string(text));
}

static json_t *told(const struct where *where, const char *kind, bool whole)
{
	bool sure = where->n == 1 && !where->more &&
	            (whole || (where->has_latest && where->latest.kept == KEPT_OPEN));
	json_t *objects = json_array();
	for (unsigned i = 0; i < where->n; i++)
		(void)json_array_append_new(objects, candidate_json(where, &where->candidate[i]));
	json_t *json = json_pack("{s:s, s:s, s:b, s:o}", "key", where->key, "store", kind, "sure", (int)sure,
	                         "objects", objects);
	if (json == NULL)
		return NULL;
	if (strcmp(kind, "null") == 0)
		note(json, "store.discard: the objects are thrown away");
	else if (where->more)
		note(json, "there are more objects of this key than are listed");
	else if (!whole && !sure && strcmp(kind, "directory") == 0)
		note(json, "or in another one: not all that the sink has could be looked at");
	else if (!whole && !sure)
		note(json,
		     "or in one that is finished: it is called as the key, perhaps with _, the instance and the id of its first event after it; the store is not asked");
	else if (where->n == 0)
		note(json, "its object is gone from the store, or is being moved there");
	return json;
}

json_t *where_json(const struct where_question *question)
{
	struct shm_error error;
	struct where *where = calloc(1, sizeof *where);
	const char *kind = asked_kind(question->config, question->section);
	bool whole = false; /* all objects of the key that there are were looked at */
	if (where == NULL)
		return NULL;
	where->question = question;
	if (question->record->type < EVENT_OUTSIDE && question->record->length >= sizeof(struct event_head))
		where->arrival_ms =
		        ((const struct event_head *)(const void *)question->record->payload)->arrival_ns /
		        NS_PER_MS;
	json_t *json = NULL;
	int result = make_key(where);
	if (result > 0) {
		/* In this order: an object that goes from the one to the other is seen. */
		int seen = seen_journal(question->directory, question->role, add_seen, where, &error);
		bool journal = seen == 0 || seen == -ENOENT; /* the sink has not run yet */
		if (strcmp(kind, "directory") == 0)
			whole = look_at_files(where) == 0 && journal;
		leave_out_earlier(where);
		json = told(where, kind, whole);
	} else if (result != -ENOMEM) {
		json = json_pack("{s:s, s:b, s:[], s:s}", "store", kind, "sure", 0, "objects", "note",
		                 "no key can be made of it: the sink counted it as bad");
	}
	free(where);
	return json;
}
