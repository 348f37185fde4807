#include "stage/written.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/topic.h"

struct writing {
	const struct instance_page *page;
	const char *directory;
	const char *role;
	struct written file;
	written_each_fn *each;
	void *argument;
};

__attribute__((format(printf, 3, 4))) static void say(struct writing *writing, bool lock, const char *format,
                                                      ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(writing->file.name, sizeof writing->file.name, format, arguments);
	va_end(arguments);
	writing->file.lock = lock;
	writing->each(writing->argument, &writing->file);
}

/* Processes that share lanes have a lock each (topic.h): the number of the role is that of its
 * share. */
static unsigned share_of(const struct writing *writing)
{
	const char *dot = strrchr(writing->role, '.');
	return writing->file.stage->processes == FLOW_SHARED && dot != NULL
	               ? (unsigned)strtoul(dot + 1, NULL, 10)
	               : 0;
}

static void say_group(struct writing *writing, const char *topic, unsigned k)
{
	char name[SEGMENT_NAME_MAX];
	say(writing, false, "%s", instance_group_name(name, topic, k));
	say(writing, true, "%s", topic_reader_file(name, topic, k, 0));
	if (share_of(writing) != 0)
		say(writing, true, "%s", topic_reader_file(name, topic, k, share_of(writing)));
}

static void say_topics(struct writing *writing)
{
	char own[SHM_NAME_MAX], group[SHM_NAME_MAX], name[SEGMENT_NAME_MAX];
	const struct flow_stage *stage = writing->file.stage;
	bool reads = stage->reads != NULL || stage->processes == FLOW_ENTRIES;
	flow_group(stage, writing->role, own);
	for (unsigned i = 0; i < writing->page->n_topics; i++) {
		const struct instance_topic *topic = &writing->page->topic[i];
		for (unsigned lane = 0; lane < topic->n_lanes; lane++)
			if (strcmp(topic->lane_role[lane], writing->role) == 0)
				say(writing, false, "%s", instance_lane_name(name, topic->name, lane));
		for (unsigned k = 0; reads && k < STREAM_GROUPS_MAX; k++)
			if (topic_group_configured(writing->directory, topic->name, k, group) &&
			    strcmp(group, own) == 0)
				say_group(writing, topic->name, k);
	}
}

static bool listed(const char *const *names, const char *name)
{
	for (FLOW_EACH(at, names))
		if (strcmp(*at, name) == 0)
			return true;
	return false;
}

static void say_queues(struct writing *writing)
{
	char name[SEGMENT_NAME_MAX];
	writing->file.queue = true;
	for (unsigned i = 0; i < writing->page->n_queues; i++) {
		const char *queue = writing->page->queue[i].name;
		if (listed(writing->file.stage->puts, queue) || listed(writing->file.stage->takes, queue))
			say(writing, false, "%s", instance_queue_name(name, queue));
	}
	writing->file.queue = false;
}

/* Of the roles that it may ask. */
static void say_errands(struct writing *writing)
{
	char name[SEGMENT_NAME_MAX];
	for (unsigned i = 0; i < writing->page->n_roles; i++) {
		const struct instance_role *role = &writing->page->role[i];
		const struct flow_stage *asked = flow_stage_find(role->program);
		if (asked != NULL && asked->errands != NULL &&
		    strcmp(asked->errands, writing->file.stage->name) == 0)
			say(writing, false, "%s", instance_errand_name(name, role->name));
	}
}

static void say_role(struct writing *writing, const struct instance_role *role)
{
	char name[SEGMENT_NAME_MAX];
	writing->role = role->name;
	writing->file = (struct written){.stage = flow_stage_find(role->program)};
	if (writing->file.stage == NULL)
		return;
	say_topics(writing);
	say_queues(writing);
	say_errands(writing);
	say(writing, false, "%s", instance_stage_name(name, role->name));
	say(writing, false, "%s", instance_private_name(name, role->name));
	say(writing, true, "%s.role", role->name);
	if (writing->file.stage->processes == FLOW_DATAGRAMS)
		say(writing, false, "drops");
}

void written_each(const struct instance_page *page, const char *directory, const char *role,
                  written_each_fn *each, void *argument)
{
	struct writing writing = {.page = page, .directory = directory, .each = each, .argument = argument};
	for (unsigned i = 0; i < page->n_roles; i++)
		if (strcmp(page->role[i].name, role) == 0)
			say_role(&writing, &page->role[i]);
}

void written_each_role(const struct instance_page *page, const char *directory, written_each_fn *each,
                       void *argument)
{
	struct writing writing = {.page = page, .directory = directory, .each = each, .argument = argument};
	for (unsigned i = 0; i < page->n_roles; i++)
		say_role(&writing, &page->role[i]);
}
