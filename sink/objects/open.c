/* How a sink is put together from its options: for the stage, for --check and for the stage alone.
 * It is apart from objects.c, which is the loop. */
#include "sink/objects/objects.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/log.h"
#include "sink/objects/abandoned.h"

/* "INSTANCE-GENERATION-TOPIC-LANE-POSITION" of the object's first event. */
static void suffix(void *argument, const struct journal_view *object, char *out, size_t size)
{
	const struct objects *objects = argument;
	const char *topic = "records";
	for (unsigned i = 0; i < objects->lines.n_topics; i++)
		if (objects->lines.topic[i].number == object->first_topic)
			topic = objects->lines.topic[i].name;
	snprintf(out, size, "%s-%016llx-%s-%u-%llu", objects->lines.instance,
	         (unsigned long long)objects->generation, topic, object->first_lane,
	         (unsigned long long)object->first_position);
}

static void abandoned(void *argument, const struct journal_view *object, uint64_t bytes, const char *reason)
{
	const struct objects *objects = argument;
	int result = abandoned_add(config_string(objects->config, "data_dir"), objects->name,
	                           objects->ops->traits(objects->store)->name, object, bytes, reason);
	if (result != 0)
		log_error("cannot write down an upload that is lost", "reason=\"%s\"", strerror(-result));
}

static void read_options(struct objects *objects)
{
	const struct config *config = objects->config;
	const char *section = objects->section;
	uint64_t seed = 0;
	if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
		seed = clock_monotonic_ns();
	objects->options = (struct upload_options){
	        .part_bytes = config_u64(config, "%s.part_size", section),
	        .member_bytes = config_u64(config, "%s.member", section),
	        .finish_after_ns = config_ns(config, "%s.finish.after", section),
	        .finish_bytes = config_u64(config, "%s.finish.size", section),
	        .backoff_ns = config_ns(config, "%s.store.retry", section),
	        .backoff_max_ns = config_ns(config, "%s.store.retry_max", section),
	        .suffix_always = strcmp(config_string(config, "%s.suffix", section), "always") == 0,
	        .type = objects->lines.format == ENCODE_LINE ? "text/plain" : "application/x-ndjson",
	        .suffix = suffix,
	        .abandoned = abandoned,
	        .argument = objects,
	        .seed = seed,
	};
}

static int open_pack(struct objects *objects, struct shm_error *error)
{
	const char *method = config_string(objects->config, "%s.compression", objects->section);
	uint64_t member = config_u64(objects->config, "%s.member", objects->section);
	uint64_t tails = config_u64(objects->config, "%s.tails", objects->section);
	int result = pack_open(&objects->pack, method);
	if (result != 0) {
		objects->pack = NULL;
		if (result == -EINVAL)
			shm_explain(error, "%s.compression: \"%s\" is no method; allowed: " PACK_METHODS,
			            objects->section, method);
		else
			shm_explain(error, "%s.compression: %s", objects->section, strerror(-result));
		return result;
	}
	objects->bounds.open_most = member + objects->lines.longest + 1;
	objects->bounds.packed_most = pack_most(objects->pack, objects->bounds.open_most);
	uint64_t least = journal_tails_least(&objects->bounds);
	if (tails >= least)
		return 0;
	shm_explain(error, "%s.tails: %llu bytes; with this member and longest_line it needs at least %llu",
	            objects->section, (unsigned long long)tails, (unsigned long long)least);
	return -EINVAL;
}

static int prepare(struct objects *objects, const struct config *config, const char *section,
                   const char *const *topics, struct shm_error *error)
{
	*objects = (struct objects){.config = config, .name = config_string(config, "%s.name", section)};
	snprintf(objects->section, sizeof objects->section, "%s", section);
	int result = lines_open(&objects->lines, config, section, topics, error);
	if (result == 0)
		result = open_pack(objects, error);
	if (result == 0)
		result = store_choose(&objects->ops, config, section, error);
	return result;
}

int objects_open(struct objects *objects, const struct config *config, const char *section,
                 const char *const *topics, struct shm_error *error)
{
	int result = prepare(objects, config, section, topics, error);
	if (result == 0)
		result = objects->ops->open(&objects->store, config, section, error);
	if (result == 0)
		read_options(objects);
	else
		objects_close(objects);
	return result;
}

int objects_spool(struct objects *objects, struct shm_error *error)
{
	char path[PATH_MAX], owner[300];
	struct shm_error why;
	int result = spool_path(path, objects->config, objects->section, error);
	if (result != 0)
		return result;
	snprintf(owner, sizeof owner, "instance %.100s sink %.100s\n",
	         config_string(objects->config, "instance"), objects->name);
	result = spool_open(&objects->spool, path, owner,
	                    config_u64(objects->config, "%s.spool.size", objects->section), objects->journal,
	                    &why);
	if (result != 0)
		shm_explain(error, "%s.spool.directory: %.400s", objects->section, why.text);
	objects->options.spool = objects->spool;
	return result;
}

int objects_begin(struct objects *objects, struct journal *journal, uint64_t generation,
                  struct shm_error *error)
{
	objects->journal = journal;
	objects->generation = generation;
	int result = lines_begin(&objects->lines, journal, generation);
	objects->options.index = objects->index;
	if (result == 0)
		result = upload_open(&objects->upload, &objects->options, journal, objects->pack,
		                     objects->ops, objects->store);
	if (result != 0)
		shm_explain(error, "no memory");
	return result;
}

bool objects_touch(struct objects *objects)
{
	struct journal_view view;
	bool due = false;
	for (unsigned i = 0; i < objects->lines.n_touched; i++) {
		journal_object object = objects->lines.touched[i];
		journal_look(objects->journal, object, &view);
		if (view.open_bytes < objects->options.member_bytes)
			continue;
		upload_touch(objects->upload, object);
		due = true;
	}
	objects->lines.n_touched = 0;
	return due;
}

void objects_close(struct objects *objects)
{
	if (objects->upload != NULL)
		upload_close(objects->upload);
	else if (objects->store != NULL)
		objects->ops->close(objects->store);
	spool_close(objects->spool);
	index_close(objects->index);
	journal_close(objects->journal);
	if (objects->pack != NULL)
		pack_close(objects->pack);
	lines_close(&objects->lines);
	*objects = (struct objects){0};
}

/* With the topics as the configuration has them. */
static int prepare_alone(struct objects *objects, const struct config *config, const char *section,
                         struct shm_error *error)
{
	const char *topics[LINES_TOPICS_MAX + 1] = {NULL};
	size_t n = config_count(config, "%s.topics", section);
	for (size_t i = 0; i < n && i < LINES_TOPICS_MAX; i++)
		topics[i] = config_item(config, i, "%s.topics", section);
	return prepare(objects, config, section, topics, error);
}

/* Whether parts are in the spool is in the journal. A note of the last life that is published and
 * not applied may say so as well; it is of the ports too, so only the next life's init reads it. */
static int look_at_spool(const struct objects *objects, const struct redo *redo, const char *path,
                         struct shm_error *error)
{
	struct shm_error why = {""};
	int result = 0;
	if (atomic_load_explicit(&redo->note->published, memory_order_acquire) != 0) {
		shm_explain(&why,
		            "%.300s: there is no such directory, and parts may be in the spool: put it back",
		            path);
		result = -ENOENT;
	} else if ((result = journal_open(objects->journal, &objects->bounds, error)) == 0) {
		result = spool_look(path, objects->journal, &why);
	}
	if (why.text[0] != '\0')
		shm_explain(error, "%s.spool.directory: %.400s", objects->section, why.text);
	return result;
}

int objects_before(const struct stage *stage, struct shm_error *error)
{
	char section[SHM_NAME_MAX + 16], path[PATH_MAX];
	struct objects objects;
	struct redo redo = {0};
	int result = stage_section(stage, section, sizeof section, error);
	if (result == 0)
		result = spool_path(path, stage->config, section, error);
	if (result != 0 || access(path, F_OK) == 0 || errno != ENOENT)
		return result;
	result = prepare_alone(&objects, stage->config, section, error);
	if (result == 0)
		result = journal_attach(&objects.journal, &redo, &stage->instance, stage->role, error);
	if (result == 0)
		result = look_at_spool(&objects, &redo, path, error);
	objects_close(&objects);
	return result;
}

int objects_check(const struct config *config, const char *section, struct shm_error *error)
{
	struct objects objects;
	int result = prepare_alone(&objects, config, section, error);
	if (result == 0 && objects.ops->check != NULL)
		result = objects.ops->check(config, section, error);
	if (result == 0)
		result = spool_check(config, section, error);
	objects_close(&objects);
	return result;
}
