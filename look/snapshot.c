#include "look/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "event/event.h"
#include "shm/folder.h"
#include "shm/topic.h"

#define LANE_TRIES    40 /* readings of one lane until two agree and add up */
#define LANE_PAUSE_NS 50000
#define NEVER_OPENED  0 /* in role_file: it holds descriptor + 1, so that 0 means none */

static uint64_t load(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

static const struct instance_page *page_of(const struct snapshot_source *source)
{
	return source->page.body;
}

static unsigned at_most(uint32_t n, unsigned limit)
{
	return n < limit ? n : limit;
}

/* ---- opening ---- */

/* Maps everything that exists now and is not mapped yet. On a failure the snapshot leaves that part
 * out. */
static void map_missing(struct snapshot_source *source)
{
	const struct instance_page *page = page_of(source);
	const char *directory = source->directory;
	char name[SEGMENT_NAME_MAX];
	struct shm_error ignored;
	int missing;
	for (unsigned i = 0; i < at_most(page->n_roles, INSTANCE_ROLES_MAX); i++)
		if (source->stage[i].header == NULL)
			(void)segment_attach(&source->stage[i], directory,
			                     instance_stage_name(name, page->role[i].name), SEGMENT_STAGE,
			                     SEGMENT_READ, &ignored);
	for (unsigned i = 0; i < at_most(page->n_topics, INSTANCE_TOPICS_MAX); i++) {
		const struct instance_topic *topic = &page->topic[i];
		for (unsigned k = 0; k < at_most(topic->n_lanes, STREAM_LANES_MAX); k++)
			if (source->lane[i][k] == NULL)
				source->lane[i][k] =
				        stream_head_map(directory, instance_lane_name(name, topic->name, k),
				                        SEGMENT_READ, &missing, &ignored);
		for (unsigned k = 0; k < STREAM_GROUPS_MAX; k++)
			if (source->group[i][k].header == NULL)
				(void)segment_attach(&source->group[i][k], directory,
				                     instance_group_name(name, topic->name, k), SEGMENT_GROUP,
				                     SEGMENT_READ, &ignored);
	}
	for (unsigned i = 0; i < at_most(page->n_queues, INSTANCE_QUEUES_MAX); i++)
		if (source->queue[i].shared == NULL)
			(void)queue_attach(&source->queue[i], directory,
			                   instance_queue_name(name, page->queue[i].name), SEGMENT_READ, 0,
			                   &ignored);
}

static bool page_file(const struct snapshot_source *source, struct stat *status)
{
	return folder_stat(source->directory, "instance", status) == 0;
}

int snapshot_open(struct snapshot_source *source, const char *instance, struct shm_error *error)
{
	memset(source, 0, sizeof *source);
	int result = segment_directory(source->directory, sizeof source->directory, instance);
	if (result != 0) {
		snprintf(error->text, sizeof error->text, "\"%.64s\" is no instance name", instance);
		return result;
	}
	snprintf(source->name, sizeof source->name, "%s", instance);
	struct stat status = {0};
	(void)page_file(source,
	                /* before mapping: the next take notices a page replaced in between */
	                &status);
	source->device = status.st_dev;
	source->inode = status.st_ino;
	result = segment_attach(&source->page, source->directory, "instance", SEGMENT_INSTANCE, SEGMENT_READ,
	                        error);
	if (result == 0)
		map_missing(source);
	return result;
}

static void close_file(int *kept)
{
	if (*kept != NEVER_OPENED)
		close(*kept - 1);
	*kept = NEVER_OPENED;
}

void snapshot_close(struct snapshot_source *source)
{
	for (unsigned i = 0; i < INSTANCE_ROLES_MAX; i++) {
		segment_detach(&source->stage[i]);
		close_file(&source->role_file[i]);
	}
	close_file(&source->supervisor_file);
	for (unsigned i = 0; i < INSTANCE_TOPICS_MAX; i++) {
		for (unsigned k = 0; k < STREAM_LANES_MAX; k++)
			stream_head_unmap(source->lane[i][k]);
		for (unsigned k = 0; k < STREAM_GROUPS_MAX; k++)
			segment_detach(&source->group[i][k]);
	}
	for (unsigned i = 0; i < INSTANCE_QUEUES_MAX; i++)
		if (source->queue[i].shared != NULL)
			queue_detach(&source->queue[i]);
	segment_detach(&source->page);
	memset(source, 0, sizeof *source);
}

/* ---- live processes ---- */

/* True when a live process holds the lock on directory/file. pid: the process that claims it, for
 * when the file cannot be opened. */
static bool has_holder(const char *directory, const char *file, int *kept, uint32_t pid)
{
	if (pid == (uint32_t)getpid())
		return true; /* F_GETLK does not report the process's own locks */
	if (*kept == NEVER_OPENED) {
		int fd = folder_open(directory, file, O_RDONLY, 0);
		if (fd == -ENOENT)
			return false;
		if (fd < 0)
			return pid != 0 && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
		*kept = fd + 1;
	}
	return instance_locked_fd(*kept - 1, NULL) != 0;
}

static bool has_reader(const struct snapshot_source *source, const char *topic, unsigned group, uint32_t pid)
{
	char file[SEGMENT_NAME_MAX];
	bool held = false;
	for (unsigned share = 0; !held && share < TOPIC_SHARES_MAX; share++) {
		int kept = NEVER_OPENED;
		held = has_holder(source->directory, topic_reader_file(file, topic, group, share), &kept,
		                  pid);
		close_file(&kept);
	}
	return held;
}

/* ---- taking ---- */

static void take_histogram(const _Atomic uint64_t *word, struct snapshot_metric *metric)
{
	metric->value = 0;
	metric->sum = load(&word[0]);
	for (unsigned i = 0; i <= metric->about.n_bounds; i++) {
		metric->bucket[i] = load(&word[1 + i]);
		metric->value += metric->bucket[i];
	}
}

static void take_metrics(const struct control *control, struct snapshot_stage *stage)
{
	uint64_t n = atomic_load_explicit(&control->n_metrics, memory_order_acquire);
	unsigned word = 0;
	stage->n_metrics = 0;
	while (stage->n_metrics < n && stage->n_metrics < METRICS_MAX) {
		struct snapshot_metric *metric = &stage->metric[stage->n_metrics];
		metric->about = control->description[stage->n_metrics];
		metric->about.name[sizeof metric->about.name - 1] = '\0';
		metric->about.help[sizeof metric->about.help - 1] = '\0';
		if (metric->about.kind != METRIC_HISTOGRAM)
			metric->about.n_bounds = 0;
		else if (metric->about.n_bounds > METRIC_BOUNDS_MAX)
			metric->about.n_bounds = METRIC_BOUNDS_MAX;
		unsigned words = metric_words(&metric->about);
		if (word + words > METRIC_WORDS_MAX)
			break;
		if (metric->about.kind == METRIC_HISTOGRAM)
			take_histogram(&control->metric[word], metric);
		else
			metric->value = load(&control->metric[word]);
		word += words;
		stage->n_metrics++;
	}
}

static void take_supervisor_metrics(const struct instance_page *page, struct snapshot *snapshot)
{
	static const struct metric_description table[] = {
#define METRIC METRIC_ROW
#include "stage/supervisor_metrics.def"
#undef METRIC
	};
	for (unsigned i = 0; i < SUPERVISOR_METRIC_COUNT; i++)
		snapshot->supervisor_metric[i] = (struct snapshot_metric){
		        .about = table[i], .value = load(&page->supervisor_metric[i])};
}

static void take_stage(struct snapshot_source *source, unsigned index, struct snapshot_stage *stage)
{
	const struct instance_role *role = &page_of(source)->role[index];
	const struct control *control = source->stage[index].body;
	char file[SEGMENT_NAME_MAX];
	memset(stage, 0, sizeof *stage);
	memcpy(stage->name, role->name, sizeof stage->name - 1);
	memcpy(stage->program, role->program, sizeof stage->program - 1);
	if (source->stage[index].header == NULL)
		return;
	stage->present = true;
	stage->pid = atomic_load_explicit(&control->pid, memory_order_relaxed);
	uint32_t state = atomic_load_explicit(&control->state, memory_order_relaxed);
	stage->state = state < STAGE_STATE_COUNT ? (enum stage_state)state : STAGE_NONE;
	stage->throttled = load(&control->throttled) != 0;
	stage->restarts = load(&control->restarts);
	stage->last_exit = atomic_load_explicit(&control->last_exit, memory_order_relaxed);
	stage->started_ns = load(&control->started_ns);
	uint64_t heartbeat = load(&control->heartbeat_ns), now = clock_monotonic_ns();
	stage->heartbeat_age_ns = heartbeat != 0 && now > heartbeat ? now - heartbeat : 0;
	snprintf(file, sizeof file, "%s.role", stage->name);
	stage->alive = has_holder(source->directory, file, &source->role_file[index], stage->pid);
	control_read_note(control, stage->note);
	stage->n_files = 0;
	for (unsigned i = 0; i < CONTROL_FILES_MAX; i++)
		if (control_read_file(control, i, &stage->file[stage->n_files]))
			stage->n_files++;
	take_metrics(control, stage);
}

static void read_lane(const struct stream_shared *shared, struct snapshot_lane *lane)
{
	/* acquire: pairs with the writer's release of the tail, so its earlier writes are
	 * visible */
	lane->written_bytes = atomic_load_explicit(&shared->tail, memory_order_acquire);
	lane->written_records = load(&shared->records);
	struct snapshot_ledger *ledger = &lane->ledger;
	ledger->received = load(&shared->ledger.received);
	ledger->kernel_dropped = load(&shared->ledger.kernel_dropped);
	ledger->dropped = load(&shared->ledger.dropped);
	ledger->refused = load(&shared->ledger.refused);
	for (unsigned i = 0; i < LEDGER_REASON_COUNT; i++)
		ledger->rejected[i] = load(&shared->ledger.rejected[i]);
	ledger->written = lane->written_records;
}

static void read_group(const struct stream_group *group, unsigned lane, struct snapshot_group *out)
{
	const struct stream_cursor *cursor = &group->cursor[lane];
	/* These are positions of the cursor; take_waiting turns them into distances. */
	out->waiting_bytes = atomic_load_explicit(&cursor->position, memory_order_acquire);
	out->waiting_records = load(&cursor->records);
	out->read_records = stream_cursor_read(cursor);
	out->missed_records = load(&cursor->missed_records);
	out->damaged = load(&cursor->damaged);
}

static void take_waiting(const struct snapshot_lane *lane, struct snapshot_group *group)
{
	uint64_t position = group->waiting_bytes, records = group->waiting_records;
	group->waiting_bytes = lane->written_bytes > position ? lane->written_bytes - position : 0;
	group->waiting_records = lane->written_records > records ? lane->written_records - records : 0;
}

/* What has been overwritten since is lost to a group that lapsed, and waits for it no longer. */
static void take_lost(const struct stream_shared *shared, uint64_t cursor_records,
                      struct snapshot_group *group)
{
	uint64_t oldest = stream_oldest_record(shared);
	uint64_t lost = oldest > cursor_records ? oldest - cursor_records : 0;
	if (lost > group->waiting_records)
		lost = group->waiting_records;
	group->missed_records += lost;
	group->waiting_records -= lost;
	if (group->waiting_bytes > shared->size_bytes)
		group->waiting_bytes = shared->size_bytes;
}

/* Reads cursors before the tail: then a reader that moves in between looks a little late, never
 * ahead of the writer. */
static void read_once(const struct snapshot_source *source, unsigned topic, unsigned index,
                      const uint32_t *reader, struct snapshot_lane *lane)
{
	lane->n_groups = 0;
	for (unsigned k = 0; k < STREAM_GROUPS_MAX; k++) {
		const struct stream_group *group = source->group[topic][k].body;
		if (source->group[topic][k].header == NULL)
			continue;
		uint32_t state = atomic_load_explicit(&group->state, memory_order_acquire);
		if (state == GROUP_FREE || state > GROUP_LAPSED)
			continue;
		struct snapshot_group *out = &lane->group[lane->n_groups++];
		out->required = state == GROUP_REQUIRED;
		out->lapsed = state == GROUP_LAPSED;
		out->configured = atomic_load_explicit(&group->configured, memory_order_relaxed) != 0;
		memcpy(out->name, group->name, sizeof out->name - 1);
		out->reader_pid = reader[k];
		read_group(group, index, out);
	}
	read_lane(source->lane[topic][index], lane);
}

/* The age of the record at a position, which lies before the tail. */
static uint64_t age_at(const struct snapshot_source *source, unsigned topic, unsigned index,
                       uint64_t position)
{
	union {
		struct record record;
		char bytes[sizeof(struct record) + sizeof(uint64_t)];
	} head;
	uint64_t arrival_ns; /* event.h: each event begins with it */
	char name[SEGMENT_NAME_MAX];
	instance_lane_name(name, page_of(source)->topic[topic].name, index);
	if (!stream_head_read(source->lane[topic][index], source->directory, name, position, head.bytes,
	                      sizeof head.bytes) ||
	    head.record.type == EVENT_NONE || head.record.type >= EVENT_OUTSIDE ||
	    head.record.length < sizeof(struct event_head))
		return SNAPSHOT_NO_AGE;
	memcpy(&arrival_ns, head.bytes + sizeof(struct record), sizeof arrival_ns);
	return clock_since_ns(arrival_ns, clock_real_ns());
}

static void take_lane(const struct snapshot_source *source, unsigned topic, unsigned index,
                      const uint32_t *reader, struct snapshot_lane *lane)
{
	const struct instance_topic *about = &page_of(source)->topic[topic];
	memset(lane, 0, sizeof *lane);
	memcpy(lane->role, about->lane_role[index], sizeof lane->role - 1);
	lane->size_bytes = about->size_bytes;
	if (source->lane[topic][index] == NULL)
		return;
	lane->present = true;
	lane->size_bytes = source->lane[topic][index]->size_bytes;
	read_once(source, topic, index, reader, lane);
	for (unsigned i = 0; i < LANE_TRIES; i++) {
		struct snapshot_ledger before = lane->ledger;
		uint64_t tail = lane->written_bytes;
		read_once(source, topic, index, reader, lane);
		if (tail == lane->written_bytes && memcmp(&before, &lane->ledger, sizeof before) == 0 &&
		    snapshot_balanced(&lane->ledger))
			break;
		nanosleep(&(struct timespec){.tv_nsec = i % 4 == 3 ? LANE_PAUSE_NS : 0}, NULL);
	}
	for (unsigned i = 0; i < lane->n_groups; i++) {
		uint64_t records = lane->group[i].waiting_records, position = lane->group[i].waiting_bytes;
		take_waiting(lane, &lane->group[i]);
		lane->group[i].oldest_age_ns =
		        lane->group[i].waiting_bytes == 0 ? 0 : age_at(source, topic, index, position);
		if (lane->group[i].lapsed)
			take_lost(source->lane[topic][index], records, &lane->group[i]);
	}
}

static void add_ledger(struct snapshot_ledger *sum, const struct snapshot_ledger *ledger)
{
	sum->received += ledger->received;
	sum->kernel_dropped += ledger->kernel_dropped;
	sum->dropped += ledger->dropped;
	sum->refused += ledger->refused;
	sum->written += ledger->written;
	for (unsigned i = 0; i < LEDGER_REASON_COUNT; i++)
		sum->rejected[i] += ledger->rejected[i];
}

/* Finds the process that reads each group now; 0: none. */
static void find_readers(const struct snapshot_source *source, unsigned topic,
                         uint32_t pid[STREAM_GROUPS_MAX])
{
	for (unsigned k = 0; k < STREAM_GROUPS_MAX; k++) {
		const struct stream_group *group = source->group[topic][k].body;
		pid[k] = source->group[topic][k].header == NULL
		                 ? 0
		                 : atomic_load_explicit(&group->pid, memory_order_relaxed);
		if (pid[k] != 0 && !has_reader(source, page_of(source)->topic[topic].name, k, pid[k]))
			pid[k] = 0;
	}
}

static void take_topic(const struct snapshot_source *source, unsigned index, struct snapshot_topic *topic)
{
	const struct instance_topic *about = &page_of(source)->topic[index];
	memset(topic->name, 0, sizeof topic->name);
	memcpy(topic->name, about->name, sizeof topic->name - 1);
	topic->when_full = about->when_full == WHEN_FULL_REFUSE ? WHEN_FULL_REFUSE : WHEN_FULL_DROP;
	topic->n_lanes = at_most(about->n_lanes, STREAM_LANES_MAX);
	topic->ledger = (struct snapshot_ledger){0};
	uint32_t reader[STREAM_GROUPS_MAX];
	find_readers(source, index, reader);
	for (unsigned i = 0; i < topic->n_lanes; i++) {
		take_lane(source, index, i, reader, &topic->lane[i]);
		add_ledger(&topic->ledger, &topic->lane[i].ledger);
	}
}

static void take_queue(const struct snapshot_source *source, unsigned index, struct snapshot_queue *queue)
{
	const struct instance_queue *about = &page_of(source)->queue[index];
	*queue = (struct snapshot_queue){.slot_bytes = about->slot_bytes, .counts.slots = about->slots};
	memcpy(queue->name, about->name, sizeof queue->name - 1);
	if (source->queue[index].shared == NULL)
		return;
	queue->present = true;
	queue_count(&source->queue[index], &queue->counts);
}

/* Opens the instance again when another has taken its name. */
static int follow(struct snapshot_source *source, struct shm_error *error)
{
	struct stat status;
	if (source->page.header != NULL && page_file(source, &status) && status.st_dev == source->device &&
	    status.st_ino == source->inode)
		return 0;
	char name[SHM_NAME_MAX];
	memcpy(name, source->name, sizeof name);
	snapshot_close(source);
	return snapshot_open(source, name, error);
}

int snapshot_take(struct snapshot_source *source, struct snapshot *snapshot, struct shm_error *error)
{
	int result = follow(source, error);
	if (result != 0)
		return result;
	map_missing(source);
	const struct instance_page *page = page_of(source);
	snapshot->generation = source->page.header->generation;
	snapshot->taken_ns = clock_monotonic_ns();
	snapshot->created_ns = page->created_ns;
	snapshot->supervisor_pid = atomic_load_explicit(&page->supervisor_pid, memory_order_relaxed);
	snapshot->supervisor_alive =
	        has_holder(source->directory, "lock", &source->supervisor_file, snapshot->supervisor_pid);
	snapshot->managed = atomic_load_explicit(&page->managed, memory_order_relaxed) != 0;
	take_supervisor_metrics(page, snapshot);
	snapshot->draining = atomic_load_explicit(&page->draining, memory_order_relaxed) != 0;
	snapshot->n_stages = at_most(page->n_roles, INSTANCE_ROLES_MAX);
	snapshot->n_topics = at_most(page->n_topics, INSTANCE_TOPICS_MAX);
	snapshot->n_queues = at_most(page->n_queues, INSTANCE_QUEUES_MAX);
	for (unsigned i = 0; i < snapshot->n_topics; i++)
		take_topic(source, i, &snapshot->topic[i]);
	for (unsigned i = 0; i < snapshot->n_queues; i++)
		take_queue(source, i, &snapshot->queue[i]);
	for (unsigned i = 0; i < snapshot->n_stages; i++)
		take_stage(source, i, &snapshot->stage[i]);
	return 0;
}

/* ---- queries ---- */

uint64_t snapshot_rejected(const struct snapshot_ledger *ledger)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < LEDGER_REASON_COUNT; i++)
		sum += ledger->rejected[i];
	return sum;
}

const struct snapshot_metric *snapshot_metric_find(const struct snapshot_stage *stage, const char *name)
{
	for (unsigned i = 0; i < stage->n_metrics; i++)
		if (strcmp(stage->metric[i].about.name, name) == 0)
			return &stage->metric[i];
	return NULL;
}

bool snapshot_kept(const struct snapshot_topic *topic)
{
	for (unsigned i = 0; i < topic->n_lanes; i++)
		for (unsigned k = 0; k < topic->lane[i].n_groups; k++)
			if (topic->lane[i].group[k].required)
				return true;
	return false;
}

const struct snapshot_group *snapshot_forgotten(const struct snapshot_topic *topic)
{
	for (unsigned i = 0; i < topic->n_lanes; i++) {
		const struct snapshot_lane *lane = &topic->lane[i];
		for (unsigned k = 0; k < lane->n_groups; k++)
			if (lane->group[k].required && !lane->group[k].configured &&
			    lane->group[k].reader_pid == 0 &&
			    lane->group[k].waiting_bytes > lane->size_bytes / 4 * 3)
				return &lane->group[k];
	}
	return NULL;
}

bool snapshot_balanced(const struct snapshot_ledger *ledger)
{
	return ledger->received ==
	       snapshot_rejected(ledger) + ledger->dropped + ledger->refused + ledger->written;
}

unsigned snapshot_percentile(const struct snapshot_metric *metric, double percent)
{
	unsigned i = 0;
	double within = (double)metric->bucket[0], wanted = percent / 100 * (double)metric->value;
	while (i < metric->about.n_bounds && within < wanted)
		within += (double)metric->bucket[++i];
	return i;
}

const char *snapshot_state(const struct snapshot_stage *stage)
{
	if (!stage->present || stage->alive || stage->state == STAGE_NONE)
		return stage_state_name(stage->state);
	if (stage->throttled)
		return "throttled";
	if (stage->state == STAGE_ENDED || stage->state == STAGE_FAILED)
		return stage_state_name(stage->state);
	return "dead";
}
