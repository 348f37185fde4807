#include "look/prometheus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "look/exposition.h"

#define FIRST_BYTES (256u << 10) /* what a usual instance needs */

enum family {
#define FAMILY(symbol, name, type, labels, help) FAMILY_##symbol,
#include "look/prometheus.def"
#undef FAMILY
	FAMILY_COUNT
};

static const struct {
	const char *name;
	enum exposition_type type;
	const char *labels, *help;
} families[] = {
#define FAMILY(symbol, name, type, labels, help) {name, type, labels, help},
#include "look/prometheus.def"
#undef FAMILY
};

/* What is written, and of what. */
struct writer {
	struct exposition out;
	const struct prometheus *about;
	const struct snapshot *snapshot;
	uint32_t hash[INSTANCE_ROLES_MAX][METRICS_MAX]; /* of the metrics' names without routes */
};

static void open_fixed(struct writer *w, enum family family)
{
	exposition_family(&w->out, families[family].name, families[family].type, families[family].help,
	                  strlen(families[family].help));
}

/* ---- the instance ---- */

static void put_alone(struct writer *w, enum family family, uint64_t value, unsigned digits)
{
	open_fixed(w, family);
	exposition_begin(&w->out);
	exposition_end(&w->out, value, digits);
}

static void put_instance(struct writer *w)
{
	open_fixed(w, FAMILY_INSTANCE);
	exposition_begin(&w->out);
	exposition_label(&w->out, "name", w->about->instance);
	exposition_label(&w->out, "version", MILLRACE_VERSION);
	exposition_end(&w->out, 1, 0);
	put_alone(w, FAMILY_CREATED, w->snapshot->created_ns, 9);
	put_alone(w, FAMILY_DRAINING, w->snapshot->draining, 0);
	put_alone(w, FAMILY_SUPERVISOR_UP, snapshot_supervised(w->snapshot), 0);
}

struct room {
	const char *place, *path;
	struct statvfs status;
	bool known;
};

static void put_room(struct writer *w)
{
	char shm[128] = "";
	(void)segment_directory(shm, sizeof shm, w->about->instance);
	struct room room[] = {{.place = "shm", .path = shm}, {.place = "data", .path = w->about->data_dir}};
	const unsigned n = sizeof room / sizeof room[0];
	bool any = false;
	for (unsigned i = 0; i < n; i++) {
		room[i].known = room[i].path != NULL && statvfs(room[i].path, &room[i].status) == 0;
		any |= room[i].known;
	}
	for (unsigned family = FAMILY_ROOM; any && family <= FAMILY_ROOM_FREE; family++) {
		open_fixed(w, family);
		for (unsigned i = 0; i < n; i++) {
			if (!room[i].known)
				continue;
			const struct statvfs *status = &room[i].status;
			exposition_begin(&w->out);
			exposition_label(&w->out, "place", room[i].place);
			exposition_end(&w->out,
			               (family == FAMILY_ROOM ? status->f_blocks : status->f_bavail) *
			                       status->f_frsize,
			               0);
		}
	}
}

/* ---- roles ---- */

typedef uint64_t stage_value(const struct snapshot_stage *stage);

static uint64_t is_up(const struct snapshot_stage *stage)
{
	return stage->alive;
}

static uint64_t restarts(const struct snapshot_stage *stage)
{
	return stage->restarts;
}

static uint64_t heartbeat_age(const struct snapshot_stage *stage)
{
	return stage->heartbeat_age_ns;
}

static uint64_t started(const struct snapshot_stage *stage)
{
	return stage->started_ns;
}

static void put_by_role(struct writer *w, enum family family, stage_value *value, unsigned digits)
{
	open_fixed(w, family);
	for (unsigned i = 0; i < w->snapshot->n_stages; i++) {
		exposition_begin(&w->out);
		exposition_label(&w->out, "role", w->snapshot->stage[i].name);
		exposition_end(&w->out, value(&w->snapshot->stage[i]), digits);
	}
}

static void put_states(struct writer *w)
{
	const char *state[STAGE_STATE_COUNT + 2];
	unsigned n = 0;
	while (n < STAGE_STATE_COUNT) {
		state[n] = stage_state_name(n);
		n++;
	}
	state[n++] = "dead";
	state[n++] = "throttled";
	open_fixed(w, FAMILY_STATE);
	for (unsigned i = 0; i < w->snapshot->n_stages; i++)
		for (unsigned k = 0; k < n; k++) {
			exposition_begin(&w->out);
			exposition_label(&w->out, "role", w->snapshot->stage[i].name);
			exposition_label(&w->out, "state", state[k]);
			exposition_end(&w->out, strcmp(snapshot_state(&w->snapshot->stage[i]), state[k]) == 0,
			               0);
		}
}

static void put_files(struct writer *w, enum family family)
{
	open_fixed(w, family);
	for (unsigned i = 0; i < w->snapshot->n_stages; i++)
		for (unsigned k = 0; k < w->snapshot->stage[i].n_files; k++) {
			const struct control_file *file = &w->snapshot->stage[i].file[k];
			exposition_begin(&w->out);
			exposition_label(&w->out, "role", w->snapshot->stage[i].name);
			exposition_label(&w->out, "option", file->option);
			if (family == FAMILY_FILE_SINCE)
				exposition_end(&w->out, file->in_force_ns, 9);
			else
				exposition_end(&w->out, file->refused_ns != 0, 0);
		}
}

static void put_roles(struct writer *w)
{
	put_by_role(w, FAMILY_UP, is_up, 0);
	put_states(w);
	put_by_role(w, FAMILY_RESTARTS, restarts, 0);
	put_by_role(w, FAMILY_HEARTBEAT, heartbeat_age, 9);
	put_by_role(w, FAMILY_STARTED, started, 9);
	put_files(w, FAMILY_FILE_SINCE);
	put_files(w, FAMILY_FILE_REFUSED);
}

/* ---- topics, groups, queues ---- */

static void begin_lane(struct writer *w, unsigned topic, unsigned lane)
{
	const char *role = w->snapshot->topic[topic].lane[lane].role;
	exposition_begin(&w->out);
	exposition_label(&w->out, "topic", w->snapshot->topic[topic].name);
	exposition_label_number(&w->out, "lane", lane);
	exposition_label(&w->out, "role",
	                 role[0] == '\0'          ? "outside"
	                 : strcmp(role, "-") == 0 ? "retired"
	                                          : role);
}

static void put_events(struct writer *w, unsigned topic, unsigned lane)
{
	const struct snapshot_ledger *ledger = &w->snapshot->topic[topic].lane[lane].ledger;
	const struct {
		const char *name;
		uint64_t events;
	} outcome[] = {{"received", ledger->received},
	               {"kernel_dropped", ledger->kernel_dropped},
	               {"dropped", ledger->dropped},
	               {"refused", ledger->refused},
	               {"written", ledger->written}};
	for (unsigned i = 0; i < sizeof outcome / sizeof outcome[0]; i++) {
		begin_lane(w, topic, lane);
		exposition_label(&w->out, "outcome", outcome[i].name);
		exposition_end(&w->out, outcome[i].events, 0);
	}
}

static void put_rejected(struct writer *w, unsigned topic, unsigned lane)
{
	for (unsigned i = 0; i < LEDGER_REASON_COUNT; i++) {
		begin_lane(w, topic, lane);
		exposition_label(&w->out, "reason", ledger_reason_name(i));
		exposition_end(&w->out, w->snapshot->topic[topic].lane[lane].ledger.rejected[i], 0);
	}
}

static void put_written(struct writer *w, unsigned topic, unsigned lane)
{
	begin_lane(w, topic, lane);
	exposition_end(&w->out, w->snapshot->topic[topic].lane[lane].written_bytes, 0);
}

static void put_size(struct writer *w, unsigned topic, unsigned lane)
{
	begin_lane(w, topic, lane);
	exposition_end(&w->out, w->snapshot->topic[topic].lane[lane].size_bytes, 0);
}

static void put_by_lane(struct writer *w, enum family family,
                        void put_lane(struct writer *w, unsigned topic, unsigned lane))
{
	open_fixed(w, family);
	for (unsigned i = 0; i < w->snapshot->n_topics; i++)
		for (unsigned k = 0; k < w->snapshot->topic[i].n_lanes; k++)
			if (w->snapshot->topic[i].lane[k].present)
				put_lane(w, i, k);
}

static void put_kept(struct writer *w)
{
	open_fixed(w, FAMILY_KEPT);
	for (unsigned i = 0; i < w->snapshot->n_topics; i++) {
		exposition_begin(&w->out);
		exposition_label(&w->out, "topic", w->snapshot->topic[i].name);
		exposition_end(&w->out, snapshot_kept(&w->snapshot->topic[i]), 0);
	}
}

/* A tap's group has no series. */
static bool has_series(const struct snapshot_group *group)
{
	return group->required || group->lapsed;
}

static uint64_t group_value(const struct writer *w, enum family family, unsigned topic, unsigned lane,
                            const struct snapshot_group *group)
{
	switch (family) {
	case FAMILY_READ:
		return group->read_records;
	case FAMILY_MISSED:
		return group->missed_records;
	case FAMILY_DAMAGED:
		return group->damaged;
	case FAMILY_WAITING:
		return group->waiting_records;
	case FAMILY_WAITING_BYTES:
		return group->waiting_bytes;
	default:
		return peaks_of(w->about->peaks, w->snapshot, topic, lane, group);
	}
}

static void put_by_group_and_lane(struct writer *w, enum family family)
{
	open_fixed(w, family);
	for (unsigned i = 0; i < w->snapshot->n_topics; i++)
		for (unsigned k = 0; k < w->snapshot->topic[i].n_lanes; k++) {
			const struct snapshot_lane *lane = &w->snapshot->topic[i].lane[k];
			for (unsigned g = 0; g < lane->n_groups; g++) {
				if (!has_series(&lane->group[g]))
					continue;
				exposition_begin(&w->out);
				exposition_label(&w->out, "topic", w->snapshot->topic[i].name);
				exposition_label_number(&w->out, "lane", k);
				exposition_label(&w->out, "group", lane->group[g].name);
				exposition_end(&w->out, group_value(w, family, i, k, &lane->group[g]), 0);
			}
		}
}

/* Of all lanes; SNAPSHOT_NO_AGE when some lane does not say and none says more than 0. */
static uint64_t oldest_age(const struct snapshot_topic *topic, const char *group)
{
	uint64_t oldest = 0;
	bool unknown = false;
	for (unsigned k = 0; k < topic->n_lanes; k++)
		for (unsigned g = 0; g < topic->lane[k].n_groups; g++) {
			uint64_t age = topic->lane[k].group[g].oldest_age_ns;
			if (strcmp(topic->lane[k].group[g].name, group) != 0)
				continue;
			unknown |= age == SNAPSHOT_NO_AGE;
			if (age != SNAPSHOT_NO_AGE && age > oldest)
				oldest = age;
		}
	return unknown && oldest == 0 ? SNAPSHOT_NO_AGE : oldest;
}

static void put_of_group(struct writer *w, enum family family, const struct snapshot_topic *topic,
                         const struct snapshot_group *group)
{
	uint64_t value = family == FAMILY_AGE        ? oldest_age(topic, group->name)
	                 : family == FAMILY_REQUIRED ? group->required
	                                             : group->reader_pid != 0;
	if (family == FAMILY_AGE && value == SNAPSHOT_NO_AGE)
		return;
	exposition_begin(&w->out);
	exposition_label(&w->out, "topic", topic->name);
	exposition_label(&w->out, "group", group->name);
	exposition_end(&w->out, value, family == FAMILY_AGE ? 9 : 0);
}

/* Every lane has the groups of its topic: those of the first are listed. */
static void put_by_group(struct writer *w, enum family family)
{
	open_fixed(w, family);
	for (unsigned i = 0; i < w->snapshot->n_topics; i++) {
		const struct snapshot_topic *topic = &w->snapshot->topic[i];
		unsigned k = 0;
		while (k < topic->n_lanes && !topic->lane[k].present)
			k++;
		for (unsigned g = 0; k < topic->n_lanes && g < topic->lane[k].n_groups; g++)
			if (has_series(&topic->lane[k].group[g]))
				put_of_group(w, family, topic, &topic->lane[k].group[g]);
	}
}

static void put_topics(struct writer *w)
{
	put_by_lane(w, FAMILY_EVENTS, put_events);
	put_by_lane(w, FAMILY_REJECTED, put_rejected);
	put_by_lane(w, FAMILY_WRITTEN, put_written);
	put_by_lane(w, FAMILY_SIZE, put_size);
	put_kept(w);
	for (unsigned family = FAMILY_READ; family <= FAMILY_PEAK; family++)
		if (family != FAMILY_PEAK || w->about->peaks != NULL)
			put_by_group_and_lane(w, family);
	for (unsigned family = FAMILY_AGE; family <= FAMILY_READER; family++)
		put_by_group(w, family);
}

static void put_slots(struct writer *w, const struct snapshot_queue *queue)
{
	const struct {
		const char *state;
		uint64_t slots;
	} of[] = {{"free", queue->counts.free},
	          {"filling", queue->counts.filling},
	          {"ready", queue->counts.ready},
	          {"taken", queue->counts.taken}};
	for (unsigned i = 0; i < sizeof of / sizeof of[0]; i++) {
		exposition_begin(&w->out);
		exposition_label(&w->out, "queue", queue->name);
		exposition_label(&w->out, "state", of[i].state);
		exposition_end(&w->out, of[i].slots, 0);
	}
}

static void put_queues(struct writer *w)
{
	open_fixed(w, FAMILY_SLOTS);
	for (unsigned i = 0; i < w->snapshot->n_queues; i++)
		if (w->snapshot->queue[i].present)
			put_slots(w, &w->snapshot->queue[i]);
	open_fixed(w, FAMILY_SLOT_BYTES);
	for (unsigned i = 0; i < w->snapshot->n_queues; i++) {
		exposition_begin(&w->out);
		exposition_label(&w->out, "queue", w->snapshot->queue[i].name);
		exposition_end(&w->out, w->snapshot->queue[i].slot_bytes, 0);
	}
}

/* ---- the stages' own metrics ---- */

static const struct metric_description common[] = {
#define METRIC METRIC_ROW
#include "stage/metrics.def"
#undef METRIC
};

static bool is_common(const struct metric_description *metric)
{
	for (unsigned i = 0; i < sizeof common / sizeof common[0]; i++)
		if (strcmp(common[i].name, metric->name) == 0)
			return true;
	return false;
}

/* The name without the route. */
static const char *bare_name(const struct metric_description *metric)
{
	size_t route = metric->route_bytes;
	return route != 0 && route + 1 < strlen(metric->name) ? metric->name + route + 1 : metric->name;
}

/* Units that become seconds. */
static const struct unit {
	const char *ending, *spoken; /* in names; at the end of help */
	unsigned digits;
} units[] = {{"_ns", ", nanoseconds", 9}, {"_us", ", microseconds", 6}, {"_ms", ", milliseconds", 3}};

static const struct unit *unit_of(const struct metric_description *metric)
{
	for (unsigned i = 0; i < sizeof units / sizeof units[0]; i++)
		if (text_ends_with(bare_name(metric), units[i].ending))
			return &units[i];
	return NULL;
}

static unsigned digits_of(const struct metric_description *metric)
{
	const struct unit *unit = unit_of(metric);
	return unit == NULL ? 0 : unit->digits;
}

/* "tally_commit_seconds". What shared memory says may be damaged: it comes out as a name. */
static void family_name(char name[PROMETHEUS_NAME_MAX], const char *program,
                        const struct metric_description *metric)
{
	const char *bare = bare_name(metric);
	const struct unit *unit = unit_of(metric);
	int kept = (int)(strlen(bare) - (unit == NULL ? 0 : strlen(unit->ending)));
	snprintf(name, PROMETHEUS_NAME_MAX, "%s_%.*s%s", program, kept, bare, unit == NULL ? "" : "_seconds");
	for (char *at = name; *at != '\0'; at++)
		if ((*at < 'a' || *at > 'z') && (*at < 'A' || *at > 'Z') && (*at < '0' || *at > '9'))
			*at = '_';
}

static void open_metric(struct writer *w, const char *program, const struct metric_description *metric)
{
	char name[PROMETHEUS_NAME_MAX];
	const struct unit *unit = unit_of(metric);
	size_t n = strlen(metric->help);
	if (unit != NULL && text_ends_with(metric->help, unit->spoken))
		n -= strlen(unit->spoken);
	family_name(name, program, metric);
	exposition_family(&w->out, name,
	                  metric->kind <= METRIC_HISTOGRAM ? (enum exposition_type)metric->kind : COUNTER,
	                  metric->help, n);
}

static void metric_labels(struct writer *w, const char *role, const struct metric_description *metric)
{
	if (role != NULL)
		exposition_label(&w->out, "role", role);
	if (bare_name(metric) == metric->name)
		return;
	exposition_begin_label(&w->out, "route");
	exposition_escaped(&w->out, metric->name, metric->route_bytes, true);
	text_literal(&w->out.text, "\"");
}

static void put_histogram(struct writer *w, const char *role, const struct snapshot_metric *metric)
{
	unsigned digits = digits_of(&metric->about);
	uint64_t within = 0;
	for (unsigned i = 0; i <= metric->about.n_bounds; i++) {
		within += metric->bucket[i];
		exposition_begin_ending(&w->out, "_bucket");
		metric_labels(w, role, &metric->about);
		exposition_begin_label(&w->out, "le");
		if (i < metric->about.n_bounds)
			exposition_bound(&w->out, metric->about.bound[i], digits);
		else
			exposition_put(&w->out, "+Inf");
		text_literal(&w->out.text, "\"");
		exposition_end(&w->out, within, 0);
	}
	exposition_begin_ending(&w->out, "_sum");
	metric_labels(w, role, &metric->about);
	exposition_end(&w->out, metric->sum, digits);
	exposition_begin_ending(&w->out, "_count");
	metric_labels(w, role, &metric->about);
	exposition_end(&w->out, within, 0);
}

static void put_metric(struct writer *w, const char *role, const struct snapshot_metric *metric)
{
	if (metric->about.kind == METRIC_HISTOGRAM) {
		put_histogram(w, role, metric);
		return;
	}
	exposition_begin(&w->out);
	metric_labels(w, role, &metric->about);
	exposition_end(&w->out, metric->value, digits_of(&metric->about));
}

/* Families are compared often: by a number first. */
static uint32_t hash_of(const char *name)
{
	uint32_t hash = 2166136261u; /* FNV-1a */
	for (; *name != '\0'; name++)
		hash = (hash ^ (unsigned char)*name) * 16777619u;
	return hash;
}

static void hash_names(struct writer *w)
{
	for (unsigned i = 0; i < w->snapshot->n_stages; i++)
		for (unsigned k = 0; k < w->snapshot->stage[i].n_metrics; k++)
			w->hash[i][k] = hash_of(bare_name(&w->snapshot->stage[i].metric[k].about));
}

/* Metric `place` of a role. */
struct metric_place {
	unsigned role, place;
};

static const struct snapshot_metric *metric_at(const struct writer *w, struct metric_place at)
{
	return &w->snapshot->stage[at.role].metric[at.place];
}

static bool same_family(const struct writer *w, struct metric_place one, struct metric_place other)
{
	return w->hash[one.role][one.place] == w->hash[other.role][other.place] &&
	       strcmp(bare_name(&metric_at(w, one)->about), bare_name(&metric_at(w, other)->about)) == 0;
}

/* Whether the role has a metric of the family before place `before`. Tables of one program are
 * usually the same: the place in which it would then be is looked at first. */
static bool has_family(const struct writer *w, unsigned role, struct metric_place metric, unsigned before)
{
	unsigned n = w->snapshot->stage[role].n_metrics;
	if (n > before)
		n = before;
	if (metric.place < n && same_family(w, (struct metric_place){role, metric.place}, metric))
		return true;
	for (unsigned i = 0; i < n; i++)
		if (same_family(w, (struct metric_place){role, i}, metric))
			return true;
	return false;
}

static bool same_program(const struct writer *w, unsigned one, unsigned other)
{
	return strcmp(w->snapshot->stage[one].program, w->snapshot->stage[other].program) == 0;
}

/* Whether the family was written for an earlier role of the program, or for an earlier route. */
static bool was_written(const struct writer *w, struct metric_place metric)
{
	for (unsigned i = 0; i < metric.role; i++)
		if (same_program(w, i, metric.role) && has_family(w, i, metric, METRICS_MAX))
			return true;
	return has_family(w, metric.role, metric, metric.place);
}

/* All that the role has of the family that `metric` begins. */
static void put_role_metrics(struct writer *w, unsigned role, struct metric_place metric)
{
	const struct snapshot_stage *stage = &w->snapshot->stage[role];
	for (unsigned i = 0; i < stage->n_metrics; i++)
		if (same_family(w, (struct metric_place){role, i}, metric) &&
		    stage->metric[i].about.kind == metric_at(w, metric)->about.kind)
			put_metric(w, stage->name, &stage->metric[i]);
}

static void put_programs(struct writer *w)
{
	const struct snapshot *snapshot = w->snapshot;
	hash_names(w);
	for (unsigned i = 0; i < snapshot->n_stages; i++)
		for (unsigned k = 0; k < snapshot->stage[i].n_metrics; k++) {
			const struct metric_description *about = &snapshot->stage[i].metric[k].about;
			struct metric_place metric = {.role = i, .place = k};
			if (is_common(about) || was_written(w, metric))
				continue;
			open_metric(w, snapshot->stage[i].program, about);
			for (unsigned other = i; other < snapshot->n_stages; other++)
				if (same_program(w, other, i))
					put_role_metrics(w, other, metric);
		}
}

static void put_common(struct writer *w)
{
	for (unsigned i = 0; i < sizeof common / sizeof common[0]; i++) {
		open_metric(w, "stage", &common[i]);
		for (unsigned k = 0; k < w->snapshot->n_stages; k++) {
			const struct snapshot_stage *stage = &w->snapshot->stage[k];
			const struct snapshot_metric *metric = snapshot_metric_find(stage, common[i].name);
			if (metric != NULL)
				put_metric(w, stage->name, metric);
		}
	}
}

static void put_supervisor(struct writer *w)
{
	for (unsigned i = 0; i < SUPERVISOR_METRIC_COUNT; i++) {
		open_metric(w, "supervisor", &w->snapshot->supervisor_metric[i].about);
		put_metric(w, NULL, &w->snapshot->supervisor_metric[i]);
	}
}

/* ---- all ---- */

static void put_all(struct writer *w)
{
	put_instance(w);
	put_supervisor(w);
	put_room(w);
	put_roles(w);
	put_common(w);
	put_topics(w);
	put_queues(w);
	put_programs(w);
	if (w->out.openmetrics)
		text_literal(&w->out.text, "# EOF\n");
}

char *prometheus_text(const struct prometheus *prometheus, size_t *bytes)
{
	for (size_t room = FIRST_BYTES;; room *= 2) {
		char *out = malloc(room);
		if (out == NULL)
			return NULL;
		struct writer w = {.out = {.text = {.at = out, .end = out + room},
		                           .openmetrics = prometheus->openmetrics},
		                   .about = prometheus,
		                   .snapshot = prometheus->snapshot};
		put_all(&w);
		if (!w.out.text.full) {
			*bytes = (size_t)(w.out.text.at - out);
			return out;
		}
		free(out);
	}
}

/* ---- names ---- */

void prometheus_name(char name[PROMETHEUS_NAME_MAX], const char *program,
                     const struct metric_description *metric)
{
	char family[PROMETHEUS_NAME_MAX];
	family_name(family, program == NULL ? "stage" : program, metric);
	snprintf(name, PROMETHEUS_NAME_MAX, "millrace_%.100s%s", family,
	         exposition_added(metric->kind == METRIC_COUNTER ? COUNTER : GAUGE));
}

bool prometheus_family(unsigned i, struct prometheus_family *family)
{
	if (i >= FAMILY_COUNT)
		return false;
	enum exposition_type type = families[i].type;
	snprintf(family->name, sizeof family->name, "millrace_%s%s", families[i].name,
	         exposition_added(type));
	family->type = exposition_type_name(type, false);
	family->labels = families[i].labels;
	family->help = families[i].help;
	return true;
}
