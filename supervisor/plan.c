#include "supervisor/plan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum stage_instances { LISTENERS, READER };

static const struct stage_line {
	const char *base, *program;
	unsigned rank;
	enum stage_instances instances;
	const char *argument, *section;
	uint64_t private_bytes;
	const char *count_key;
	uint64_t each_bytes;
} stages[] = {
#define STAGE(base, program, rank, instances, argument, section, private_bytes, count_key, each_bytes) \
	{base, program, rank, instances, argument, section, private_bytes, count_key, each_bytes},
#include "supervisor/stages.def"
#undef STAGE
};

static const struct format_line {
	const char *format, *topic;
} formats[] = {
#define FORMAT(format, topic) {format, topic},
#include "supervisor/formats.def"
#undef FORMAT
};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* What plan_make works on. */
struct making {
	struct plan *plan;
	const struct config *config;
	FILE *errors;
	unsigned n_errors;
};

static void wrong(struct making *making, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void wrong(struct making *making, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vfprintf(making->errors, format, arguments);
	va_end(arguments);
	fputc('\n', making->errors);
	making->n_errors++;
}

/* ---- addresses ---- */

static void add_address(struct making *making, size_t entry, const char *text)
{
	struct plan *plan = making->plan;
	struct plan_listener *listener = &plan->listener[entry];
	struct plan_address address = {0};
	if (strlen(text) >= sizeof address.text ||
	    address_parse(&address.address, &address.length, text) != 0) {
		wrong(making,
		      "ingest.udp[%zu].listen: \"%s\" is not an address and port; allowed: " ADDRESS_FORMS,
		      entry, text);
		return;
	}
	snprintf(address.text, sizeof address.text, "%s", text);
	for (unsigned i = 0; i < plan->n_addresses; i++)
		if (address_overlaps(&plan->address[i].address, &address.address)) {
			wrong(making,
			      "ingest.udp[%zu].listen: %s and %s would want the same datagrams; keep one of "
			      "them",
			      entry, plan->address[i].text, text);
			return;
		}
	if (plan->n_addresses == PLAN_ADDRESSES_MAX || listener->n_addresses == STAGE_SOCKETS_MAX) {
		wrong(making,
		      "ingest.udp[%zu].listen: too many addresses; at most %u in one entry and %u in all",
		      entry, STAGE_SOCKETS_MAX, PLAN_ADDRESSES_MAX);
		return;
	}
	plan->address[plan->n_addresses++] = address;
	listener->n_addresses++;
}

/* ---- topics ---- */

int plan_topic_index(const struct plan *plan, const char *name)
{
	for (unsigned i = 0; i < plan->n_topics; i++)
		if (strcmp(plan->topic[i].page.name, name) == 0)
			return (int)i;
	return -1;
}

static uint64_t power_of_two(uint64_t bytes)
{
	uint64_t size = STREAM_SIZE_MIN;
	while (size < bytes && size < 1ull << 62)
		size <<= 1;
	return size;
}

static struct plan_topic *need_topic(struct making *making, const char *name)
{
	struct plan *plan = making->plan;
	int index = plan_topic_index(plan, name);
	if (index >= 0)
		return &plan->topic[index];
	/* clang-tidy's analyzer takes the variadic call for one that may clear making->plan. */
	// NOLINTNEXTLINE(clang-analyzer-core.NullDereference)
	if (plan->n_topics == INSTANCE_TOPICS_MAX) {
		wrong(making, "topics: more than %u topics; \"%s\" has no place", INSTANCE_TOPICS_MAX, name);
		return NULL;
	}
	struct plan_topic *topic = &plan->topic[plan->n_topics++];
	snprintf(topic->page.name, sizeof topic->page.name, "%s", name);
	topic->page.size_bytes = power_of_two(config_u64(making->config, "topics.%s.size", name));
	bool refuse = strcmp(config_string(making->config, "topics.%s.when_full", name), "refuse") == 0;
	topic->page.when_full = refuse ? WHEN_FULL_REFUSE : WHEN_FULL_DROP;
	return topic;
}

static bool add_lane(struct plan_topic *topic, const char *role)
{
	struct instance_topic *page = &topic->page;
	if (page->n_lanes == STREAM_LANES_MAX)
		return false;
	snprintf(page->lane_role[page->n_lanes++], SHM_NAME_MAX, "%s", role);
	return true;
}

static void add_writer(struct making *making, const char *topic_name, const char *role)
{
	struct plan_topic *topic = need_topic(making, topic_name);
	if (topic != NULL && !add_lane(topic, role))
		wrong(making, "topics.%s: more than %u lanes; %s has no place (fewer ingest.udp[].processes)",
		      topic_name, STREAM_LANES_MAX, role);
}

static bool name_allowed(const char *name)
{
	char path[SHM_NAME_MAX + 128];
	return segment_directory(path, sizeof path, name) != -EINVAL;
}

static void add_outside_lanes(struct making *making)
{
	size_t n = config_count(making->config, "topics");
	for (size_t i = 0; i < n; i++) {
		const char *name = config_item(making->config, i, "topics");
		if (!name_allowed(name)) {
			wrong(making,
			      "topics.%s: not a name for a topic; 1 to %u of the characters A-Z a-z 0-9 . _ "
			      "- "
			      "are allowed, not "
			      "beginning with a dot",
			      name, SHM_NAME_MAX - 1);
			continue;
		}
		uint64_t lanes = config_u64(making->config, "topics.%s.outside_lanes", name);
		for (uint64_t lane = 0; lane < lanes; lane++) {
			struct plan_topic *topic = need_topic(making, name);
			if (topic == NULL)
				break;
			if (!add_lane(topic, "")) {
				wrong(making,
				      "topics.%s.outside_lanes: %llu asked, the topic has %u lanes at most",
				      name, (unsigned long long)lanes, STREAM_LANES_MAX);
				break;
			}
		}
	}
}

/* ---- roles ---- */

int plan_role_index(const struct plan *plan, const char *name)
{
	for (unsigned i = 0; i < plan->n_roles; i++)
		if (strcmp(plan->role[i].page.name, name) == 0)
			return (int)i;
	return -1;
}

static struct plan_role *add_role(struct making *making, const struct stage_line *stage, unsigned number)
{
	struct plan *plan = making->plan;
	if (plan->n_roles == INSTANCE_ROLES_MAX) {
		wrong(making, "%s: more than %u processes in all", stage->section, INSTANCE_ROLES_MAX);
		return NULL;
	}
	struct plan_role *role = &plan->role[plan->n_roles++];
	snprintf(role->page.name, sizeof role->page.name, "%s.%u", stage->base, number);
	snprintf(role->page.program, sizeof role->page.program, "%s", stage->program);
	snprintf(role->section, sizeof role->section, "%s", stage->section);
	role->rank = stage->rank;
	role->listener = -1;
	role->private_bytes = stage->private_bytes;
	return role;
}

static void list_topics(struct plan_listener *listener)
{
	size_t used = 0;
	for (size_t i = 0; i < LENGTH(formats) && used < sizeof listener->topics; i++)
		if (strcmp(formats[i].format, listener->format) == 0)
			used += (size_t)snprintf(listener->topics + used, sizeof listener->topics - used,
			                         "%s%s", used == 0 ? "" : ", ", formats[i].topic);
}

static void add_listener_roles(struct making *making, const struct stage_line *stage, unsigned entry,
                               unsigned *number)
{
	struct plan_listener *listener = &making->plan->listener[entry];
	listener->first_role = making->plan->n_roles;
	for (unsigned process = 0; process < listener->processes; process++) {
		struct plan_role *role = add_role(making, stage, (*number)++);
		if (role == NULL)
			return;
		snprintf(role->section, sizeof role->section, "%s[%u]", stage->section, entry);
		role->listener = (int)entry;
		role->process = process;
		if (stage->each_bytes != 0)
			role->private_bytes +=
			        stage->each_bytes *
			        config_u64(making->config, "%s.%s", role->section, stage->count_key);
		for (size_t i = 0; i < LENGTH(formats); i++)
			if (strcmp(formats[i].format, listener->format) == 0)
				add_writer(making, formats[i].topic, role->page.name);
	}
}

static void add_listeners(struct making *making, const struct stage_line *stage)
{
	const struct config *config = making->config;
	struct plan *plan = making->plan;
	size_t n = config_count(config, "%s", stage->argument);
	unsigned number = 0;
	if (n > LENGTH(plan->listener)) {
		wrong(making, "%s: %zu entries, at most %zu are allowed", stage->argument, n,
		      LENGTH(plan->listener));
		n = LENGTH(plan->listener);
	}
	for (size_t entry = 0; entry < n; entry++) {
		struct plan_listener *listener = &plan->listener[plan->n_listeners++];
		snprintf(listener->format, sizeof listener->format, "%s",
		         config_string(config, "%s[%zu].format", stage->argument, entry));
		list_topics(listener);
		listener->processes =
		        (unsigned)config_u64(config, "%s[%zu].processes", stage->argument, entry);
		listener->receive_buffer_bytes =
		        config_u64(config, "%s[%zu].receive_buffer", stage->argument, entry);
		listener->first_address = plan->n_addresses;
		size_t addresses = config_count(config, "%s[%zu].listen", stage->argument, entry);
		for (size_t i = 0; i < addresses; i++)
			add_address(making, entry,
			            config_item(config, i, "%s[%zu].listen", stage->argument, entry));
		add_listener_roles(making, stage, (unsigned)entry, &number);
	}
}

static void add_reader(struct making *making, const struct stage_line *stage)
{
	int index = plan_topic_index(making->plan, stage->argument);
	if (index < 0 || add_role(making, stage, 0) == NULL)
		return;
	struct plan_topic *topic = &making->plan->topic[index];
	snprintf(topic->required[topic->n_required++], SHM_NAME_MAX, "%s", stage->base);
}

struct plan *plan_make(const struct config *config, char **errors)
{
	size_t size;
	struct making making = {.plan = calloc(1, sizeof *making.plan), .config = config};
	making.errors = open_memstream(errors, &size);
	if (making.plan == NULL || making.errors == NULL)
		abort();
	struct plan *plan = making.plan;
	const char *instance = config_string(config, "instance");
	if (segment_directory(plan->directory, sizeof plan->directory, instance) != 0)
		wrong(&making,
		      "instance: \"%s\" is not a name for an instance; 1 to %u of the characters A-Z a-z 0-9 "
		      ". "
		      "_ - are allowed, not "
		      "beginning with a dot (and $MILLRACE_SHM at most 96 bytes)",
		      instance, SHM_NAME_MAX - 1);
	snprintf(plan->instance, sizeof plan->instance, "%s", instance);
	for (size_t i = 0; i < LENGTH(stages); i++)
		if (stages[i].instances == LISTENERS)
			add_listeners(&making, &stages[i]);
	add_outside_lanes(&making);
	for (size_t i = 0; i < LENGTH(stages); i++)
		if (stages[i].instances == READER)
			add_reader(&making, &stages[i]);
	fclose(making.errors);
	if (making.n_errors != 0) {
		plan_free(plan);
		return NULL;
	}
	free(*errors);
	*errors = NULL;
	return plan;
}

void plan_free(struct plan *plan)
{
	free(plan);
}

bool plan_writes(const struct plan_topic *topic, const char *role)
{
	for (unsigned lane = 0; lane < topic->page.n_lanes; lane++)
		if (!topic->retired[lane] && strcmp(topic->page.lane_role[lane], role) == 0)
			return true;
	return false;
}

bool plan_reads(const struct plan_topic *topic, const char *role)
{
	size_t base = strcspn(role, ".");
	for (unsigned i = 0; i < topic->n_required; i++)
		if (strlen(topic->required[i]) == base && memcmp(topic->required[i], role, base) == 0)
			return true;
	return false;
}
