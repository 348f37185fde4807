#include "supervisor/plan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "shm/frames.h"

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

/* An address of the plan that would take what this one takes, or NULL. */
static const char *overlapping(const struct plan *plan, const struct plan_address *address)
{
	for (unsigned i = 0; i < plan->n_addresses; i++)
		if (plan->address[i].sockets == address->sockets &&
		    address_overlaps(&plan->address[i].address, &address->address))
			return plan->address[i].text;
	return NULL;
}

static void add_address(struct making *making, struct plan_listener *listener, const char *text)
{
	struct plan *plan = making->plan;
	bool datagrams = listener->sockets == PLAN_DATAGRAMS;
	struct plan_address address = {.sockets = listener->sockets};
	if (strlen(text) >= sizeof address.text || (datagrams ? address_parse : address_parse_stream)(
	                                                   &address.address, &address.length, text) != 0) {
		wrong(making, "%s.listen: \"%s\" is not an address and port; allowed: %s", listener->section,
		      text, datagrams ? ADDRESS_FORMS : ADDRESS_STREAM_FORMS);
		return;
	}
	snprintf(address.text, sizeof address.text, "%s", text);
	const char *other = overlapping(plan, &address);
	if (other != NULL) {
		wrong(making, "%s.listen: %s and %s would want the same %s; keep one of them",
		      listener->section, other, text, datagrams ? "datagrams" : "connections");
		return;
	}
	if (plan->n_addresses == PLAN_ADDRESSES_MAX || listener->n_addresses == STAGE_SOCKETS_MAX) {
		wrong(making, "%s.listen: too many addresses; at most %u in one entry and %u in all",
		      listener->section, STAGE_SOCKETS_MAX, PLAN_ADDRESSES_MAX);
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
		wrong(making,
		      "topics.%s: more than %u lanes; %s has no place (fewer processes of the listeners)",
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
			wrong(making, "topics.%s: not a name for a topic; allowed: " SHM_NAME_RULE, name);
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

/* ---- queues ---- */

int plan_queue_index(const struct plan *plan, const char *name)
{
	for (unsigned i = 0; i < plan->n_queues; i++)
		if (strcmp(plan->queue[i].page.name, name) == 0)
			return (int)i;
	return -1;
}

static void need_queue(struct making *making, const char *name)
{
	struct plan *plan = making->plan;
	if (plan_queue_index(plan, name) >= 0)
		return;
	if (plan->n_queues == INSTANCE_QUEUES_MAX) {
		wrong(making, "queues: more than %u queues; \"%s\" has no place", INSTANCE_QUEUES_MAX, name);
		return;
	}
	struct instance_queue *page = &plan->queue[plan->n_queues++].page;
	snprintf(page->name, sizeof page->name, "%s", name);
	page->slots = config_u64(making->config, "queues.%s.slots", name);
	page->slot_bytes = config_u64(making->config, "queues.%s.slot_size", name);
}

static void add_user(const char *queue, struct plan_role *role)
{
	for (unsigned i = 0; i < role->n_queues; i++)
		if (strcmp(role->queue[i], queue) == 0)
			return;
	if (role->n_queues < INSTANCE_QUEUES_MAX)
		snprintf(role->queue[role->n_queues++], SHM_NAME_MAX, "%s", queue);
}

/* ---- roles ---- */

int plan_role_index(const struct plan *plan, const char *name)
{
	for (unsigned i = 0; i < plan->n_roles; i++)
		if (strcmp(plan->role[i].page.name, name) == 0)
			return (int)i;
	return -1;
}

static bool takes_packets(const struct config *config, const char *section)
{
	return strcmp(config_string(config, "%s.backend", section), "xdp") == 0;
}

static unsigned frame_bytes(const struct config *config, const char *section)
{
	return (unsigned)strtoul(config_string(config, "%s.frame_bytes", section), NULL, 10);
}

/* name: the number or the name that comes after the stage's. */
static struct plan_role *add_role(struct making *making, const struct flow_stage *stage, const char *name,
                                  const char *section)
{
	struct plan *plan = making->plan;
	if (plan->n_roles == INSTANCE_ROLES_MAX) {
		wrong(making, "%s: more than %u processes in all", stage->section, INSTANCE_ROLES_MAX);
		return NULL;
	}
	if (strlen(stage->name) + 1 + strlen(name) >= SHM_NAME_MAX) {
		wrong(making, "%s.name: \"%s\" is too long for a process of %s", section, name, stage->name);
		return NULL;
	}
	struct plan_role *role = &plan->role[plan->n_roles++];
	snprintf(role->page.name, sizeof role->page.name, "%s.%s", stage->name, name);
	snprintf(role->page.program, sizeof role->page.program, "%s", stage->program);
	snprintf(role->section, sizeof role->section, "%s", section);
	role->stage = stage;
	role->rank = flow_rank(stage);
	role->listener = -1;
	role->private_bytes = stage->private_bytes;
	if (stage->private_each_bytes != 0)
		role->private_bytes += stage->private_each_bytes *
		                       config_u64(making->config, "%s.%s", section, stage->private_count);
	if (stage->private_size != NULL)
		role->private_bytes += config_u64(making->config, "%s.%s", section, stage->private_size);
	if (stage->private_frames && takes_packets(making->config, section))
		/* The area begins at a page, so what is before it is rounded up. */
		role->private_bytes = segment_file_bytes(role->private_bytes) - SEGMENT_HEADER_BYTES +
		                      frames_area_bytes(config_u64(making->config, "%s.frames", section),
		                                        frame_bytes(making->config, section));
	return role;
}

static struct plan_role *add_numbered(struct making *making, const struct flow_stage *stage, unsigned number,
                                      const char *section)
{
	char name[12];
	snprintf(name, sizeof name, "%u", number);
	return add_role(making, stage, name, section);
}

static void add_outputs(struct making *making, const char *format, struct plan_role *role)
{
	for (FLOW_EACH(topic, flow_writes(role->stage, format)))
		add_writer(making, *topic, role->page.name);
	for (FLOW_EACH(queue, role->stage->puts)) {
		need_queue(making, *queue);
		add_user(*queue, role);
	}
}

/* ---- stages that take in ---- */

static void list_written(const struct flow_stage *stage, struct plan_listener *listener)
{
	const char *const *lists[] = {flow_writes(stage, listener->format), stage->puts};
	size_t used = 0;
	for (size_t i = 0; i < LENGTH(lists); i++)
		for (FLOW_EACH(name, lists[i]))
			if (used < sizeof listener->writes)
				used += (size_t)snprintf(listener->writes + used,
				                         sizeof listener->writes - used, "%s%s",
				                         used == 0 ? "" : ", ", *name);
}

static void add_listener_roles(struct making *making, const struct flow_stage *stage, unsigned index,
                               unsigned *number)
{
	struct plan_listener *listener = &making->plan->listener[index];
	for (unsigned process = 0; process < listener->processes; process++) {
		struct plan_role *role = add_numbered(making, stage, (*number)++, listener->section);
		if (role == NULL)
			return;
		role->listener = (int)index;
		role->process = process;
		add_outputs(making, listener->format, role);
	}
}

static void read_packets(const struct config *config, struct plan_listener *listener)
{
	const char *section = listener->section;
	size_t used = 0;
	if (!takes_packets(config, section))
		return;
	snprintf(listener->interface, sizeof listener->interface, "%s",
	         config_string(config, "%s.interface", section));
	listener->frames = (unsigned)config_u64(config, "%s.frames", section);
	listener->frame_bytes = frame_bytes(config, section);
	size_t n = config_count(config, "%s.queues", section);
	for (size_t i = 0; i < n && used < sizeof listener->queues; i++)
		used += (size_t)snprintf(listener->queues + used, sizeof listener->queues - used, "%s%s",
		                         i == 0 ? "" : " ", config_item(config, i, "%s.queues", section));
}

/* Whether two listeners name a queue that is the same. */
static bool share_queue(const struct config *config, const char *one, const char *other)
{
	size_t n = config_count(config, "%s.queues", one), m = config_count(config, "%s.queues", other);
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < m; k++) {
			const char *a = config_item(config, i, "%s.queues", one);
			const char *b = config_item(config, k, "%s.queues", other);
			if (strcmp(a, "all") == 0 || strcmp(b, "all") == 0 ||
			    strtoul(a, NULL, 10) == strtoul(b, NULL, 10))
				return true;
		}
	return false;
}

/* A queue of an interface has one socket, and one program is on an interface. */
static void check_packets(struct making *making, unsigned index)
{
	const struct plan_listener *listener = &making->plan->listener[index];
	const struct config *config = making->config;
	for (unsigned i = 0; i < index && listener->interface[0] != '\0'; i++) {
		const struct plan_listener *other = &making->plan->listener[i];
		if (strcmp(other->interface, listener->interface) != 0)
			continue;
		if (share_queue(config, listener->section, other->section))
			wrong(making,
			      "%s.queues: %s takes packets of %s too; allowed: queues that no other listener has",
			      listener->section, other->section, listener->interface);
		if (strcmp(config_string(config, "%s.xdp_mode", listener->section),
		           config_string(config, "%s.xdp_mode", other->section)) != 0)
			wrong(making, "%s.xdp_mode: not that of %s, which takes packets of %s too",
			      listener->section, other->section, listener->interface);
	}
}

static void read_listener(const struct config *config, const struct flow_stage *stage, size_t entry,
                          struct plan_listener *listener)
{
	const char *section = listener->section;
	const char *dot = strrchr(stage->section, '.');
	snprintf(listener->section, sizeof listener->section, "%s[%zu]", stage->section, entry);
	snprintf(listener->protocol, sizeof listener->protocol, "%s", dot == NULL ? stage->section : dot + 1);
	if (stage->formats != NULL)
		snprintf(listener->format, sizeof listener->format, "%s",
		         config_string(config, "%s.format", section));
	list_written(stage, listener);
	listener->processes = (unsigned)config_u64(config, "%s.processes", section);
	if (stage->processes == FLOW_DATAGRAMS) {
		listener->sockets = PLAN_DATAGRAMS;
		listener->receive_buffer_bytes = config_u64(config, "%s.receive_buffer", section);
		if (stage->private_frames)
			read_packets(config, listener);
	} else {
		listener->sockets = PLAN_CONNECTIONS;
		listener->backlog = (unsigned)config_u64(config, "%s.backlog", section);
	}
}

static void add_listeners(struct making *making, const struct flow_stage *stage)
{
	const struct config *config = making->config;
	struct plan *plan = making->plan;
	size_t n = config_count(config, "%s", stage->section);
	unsigned number = 0;
	for (size_t entry = 0; entry < n; entry++) {
		if (plan->n_listeners == LENGTH(plan->listener)) {
			wrong(making, "%s: listeners in all are more than %zu", stage->section,
			      LENGTH(plan->listener));
			return;
		}
		unsigned index = plan->n_listeners++;
		struct plan_listener *listener = &plan->listener[index];
		read_listener(config, stage, entry, listener);
		check_packets(making, index);
		listener->first_address = plan->n_addresses;
		size_t addresses = config_count(config, "%s.listen", listener->section);
		for (size_t i = 0; i < addresses; i++)
			add_address(making, listener, config_item(config, i, "%s.listen", listener->section));
		add_listener_roles(making, stage, index, &number);
	}
}

static bool takes_in(const struct flow_stage *stage)
{
	return stage->processes == FLOW_DATAGRAMS || stage->processes == FLOW_CONNECTIONS;
}

/* ---- stages that read or take ---- */

/* The group of the role reads the topic. Processes that share a group come here one after the
 * other. */
static void add_group(struct making *making, struct plan_topic *topic, const struct plan_role *role)
{
	char group[SHM_NAME_MAX];
	flow_group(role->stage, role->page.name, group);
	for (unsigned i = 0; i < topic->n_required; i++)
		if (strcmp(topic->required[i], group) == 0) {
			if (role->stage->processes == FLOW_ENTRIES)
				wrong(making, "%s.topics: names %s twice", role->section, topic->page.name);
			return;
		}
	if (topic->n_required == PLAN_REQUIRED_MAX)
		wrong(making, "%s: topic %s has %u required groups already, which is the most", role->section,
		      topic->page.name, PLAN_REQUIRED_MAX);
	else
		snprintf(topic->required[topic->n_required++], SHM_NAME_MAX, "%s", group);
}

static void add_inputs(struct making *making, struct plan_role *role)
{
	struct plan *plan = making->plan;
	const struct flow_stage *stage = role->stage;
	const char *topic;
	for (size_t i = 0; (topic = flow_reads(stage, making->config, role->section, i)) != NULL; i++) {
		int index = plan_topic_index(plan, topic);
		if (index >= 0)
			add_group(making, &plan->topic[index], role);
		else if (stage->processes == FLOW_ENTRIES &&
		         config_written(making->config, "%s.topics", role->section))
			wrong(making,
			      "%s.topics: nothing writes \"%s\"; allowed: topics that a stage or an outside program of this configuration writes",
			      role->section, topic);
	}
	for (FLOW_EACH(queue, stage->takes))
		if (plan_queue_index(plan, *queue) >= 0)
			add_user(*queue, role);
}

/* Whether there is something to read or to take. */
static bool has_input(const struct plan *plan, const struct flow_stage *stage)
{
	for (FLOW_EACH(topic, stage->reads))
		if (plan_topic_index(plan, *topic) >= 0)
			return true;
	for (FLOW_EACH(queue, stage->takes))
		if (plan_queue_index(plan, *queue) >= 0)
			return true;
	return false;
}

/* A stage that binds its own sockets: is there an address, and is none a listener's? */
static bool listens(struct making *making, const struct flow_stage *stage)
{
	size_t n = config_count(making->config, "%s.listen", stage->section);
	for (size_t i = 0; i < n; i++) {
		struct plan_address own = {.sockets = PLAN_CONNECTIONS};
		const char *text = config_item(making->config, i, "%s.listen", stage->section);
		if (address_parse_stream(&own.address, &own.length, text) != 0)
			continue; /* said by its check */
		const char *other = overlapping(making->plan, &own);
		if (other != NULL)
			wrong(making,
			      "%s.listen: %s and %s would want the same connections; keep one of them",
			      stage->section, text, other);
	}
	return n > 0;
}

static void add_inner(struct making *making, const struct flow_stage *stage)
{
	uint64_t n = 1;
	if (stage->processes == FLOW_LISTENS)
		n = listens(making, stage) ? 1 : 0;
	else if (!has_input(making->plan, stage))
		n = 0;
	else if (stage->processes == FLOW_SHARED)
		n = config_u64(making->config, "%s.processes", stage->section);
	for (unsigned i = 0; i < n; i++) {
		struct plan_role *role = add_numbered(making, stage, i, stage->section);
		if (role == NULL)
			return;
		add_inputs(making, role);
		add_outputs(making, NULL, role);
	}
}

/* ---- stages with a process for each entry of a list ---- */

/* Whether there is something to read for an entry. One that somebody wrote has a process in any
 * case, as what is wrong with its topics is said then. */
static bool entry_has_input(const struct making *making, const struct flow_stage *stage, const char *section)
{
	const char *topic;
	for (size_t i = 0; (topic = flow_reads(stage, making->config, section, i)) != NULL; i++)
		if (plan_topic_index(making->plan, topic) >= 0)
			return true;
	return config_written(making->config, "%s.topics", section);
}

/* The name of an entry is that of its group: one that a stage has reads as that stage. */
static void check_entry_name(struct making *making, const char *name, const char *section)
{
	if (flow_stage_find(name) != NULL)
		wrong(making, "%s.name: \"%s\" is the name of a stage; allowed: any other", section, name);
}

static void add_entry(struct making *making, const struct flow_stage *stage, unsigned i)
{
	char section[48];
	struct plan_role *role;
	snprintf(section, sizeof section, "%s[%u]", stage->section, i);
	if (!entry_has_input(making, stage, section))
		return;
	if (stage->kinds != NULL) {
		const char *name = config_string(making->config, "%s.name", section);
		check_entry_name(making, name, section);
		role = add_role(making, stage, name, section);
	} else {
		role = add_numbered(making, stage, i, section);
	}
	if (role == NULL)
		return;
	add_inputs(making, role);
	add_outputs(making, NULL, role);
}

static void add_entries(struct making *making, const struct flow_stage *stage)
{
	size_t n = config_count(making->config, "%s", stage->section);
	for (unsigned i = 0; i < n; i++)
		if (flow_serves(stage, making->config, i))
			add_entry(making, stage, i);
}

/* An entry of a kind for which no stage stands would be passed over in silence. */
static void check_kinds(struct making *making, const struct flow_stage *stage)
{
	size_t n_stages, n = config_count(making->config, "%s", stage->section);
	const struct flow_stage *stages = flow_stages(&n_stages);
	for (size_t i = 0; i < n; i++) {
		bool served = false;
		for (size_t k = 0; k < n_stages; k++)
			served |= stages[k].kinds != NULL && strcmp(stages[k].section, stage->section) == 0 &&
			          flow_serves(&stages[k], making->config, i);
		if (!served)
			wrong(making, "%s[%zu].kind: this program has no stage of kind %s", stage->section, i,
			      config_string(making->config, "%s[%zu].kind", stage->section, i));
	}
}

static void add_all_entries(struct making *making)
{
	size_t n;
	const struct flow_stage *stage = flow_stages(&n), *with_kinds = NULL;
	for (size_t i = 0; i < n; i++) {
		if (stage[i].processes != FLOW_ENTRIES)
			continue;
		add_entries(making, &stage[i]);
		if (stage[i].kinds != NULL &&
		    (with_kinds == NULL || strcmp(with_kinds->section, stage[i].section) != 0)) {
			with_kinds = &stage[i];
			check_kinds(making, with_kinds);
		}
	}
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
		      "instance: \"%s\" is not a name for an instance; allowed: " SHM_NAME_RULE
		      " (and $MILLRACE_SHM of at most 96 bytes)",
		      instance);
	snprintf(plan->instance, sizeof plan->instance, "%s", instance);
	size_t n;
	const struct flow_stage *stage = flow_stages(&n);
	for (size_t i = 0; i < n; i++)
		if (takes_in(&stage[i]))
			add_listeners(&making, &stage[i]);
	add_outside_lanes(&making);
	for (size_t i = 0; i < n; i++)
		if (!takes_in(&stage[i]) && stage[i].processes != FLOW_ENTRIES)
			add_inner(&making, &stage[i]);
	add_all_entries(&making);
	for (unsigned i = 0; i < plan->n_roles; i++)
		plan->role[i].number = i + 1;
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
	const struct flow_stage *stage = flow_stage_of_role(role);
	char group[SHM_NAME_MAX];
	if (stage == NULL)
		return false;
	flow_group(stage, role, group);
	for (unsigned i = 0; i < topic->n_required; i++)
		if (strcmp(topic->required[i], group) == 0)
			return true;
	return false;
}
