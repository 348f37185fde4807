#include "cli/top/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "flow/flow.h"

#define RATES_MAX  4u
#define SILENT_NS  (5 * NS_PER_SEC) /* a stage sets its heartbeat at least once a second */
#define OLD_S      60.0             /* an event that waits longer is worth a colour */
#define FILL_WARN  0.75
#define FILL_BAD   0.95
#define ALL_ROWS   (INSTANCE_ROLES_MAX + 1u + MODEL_ROWS_MAX + INSTANCE_QUEUES_MAX + INSTANCE_TOPICS_MAX)
#define MEMORY_MAX (2 * ALL_ROWS) /* those of this sample, and those of the last that have gone */

enum { STAGE_CPU, STAGE_EVENTS };
enum { TOPIC_RECEIVED };
enum { GROUP_READ, GROUP_MISSED, GROUP_DAMAGED };
enum { QUEUE_PUT, QUEUE_DONE, QUEUE_REFUSED };
enum { LEDGER_RATE_DROPPED, LEDGER_RATE_REFUSED, LEDGER_RATE_KERNEL, LEDGER_RATE_REJECTED };

struct memory {
	enum table table;
	char name[SHM_NAME_MAX], topic[SHM_NAME_MAX];
	uint64_t sample; /* the last one that had the row */
	uint64_t life;   /* of a stage: its pid */
	struct average rate[RATES_MAX];
	/* of the columns that are watched */
	double number[COLUMNS_MAX];
	const char *text[COLUMNS_MAX]; /* constants */
	uint64_t changed_ns[COLUMNS_MAX];
};

struct model *model_new(void)
{
	struct model *model = calloc(1, sizeof *model);
	if (model != NULL)
		model->memory = calloc(MEMORY_MAX, sizeof *model->memory);
	if (model != NULL && model->memory == NULL) {
		free(model);
		return NULL;
	}
	return model;
}

void model_free(struct model *model)
{
	if (model != NULL)
		free(model->memory);
	free(model);
}

/* ---- rows and what they remember ---- */

/* Rows come in much the same order each time: the search begins after the one found last. */
static struct memory *remember(struct model *model, enum table table, const char *name, const char *topic)
{
	for (unsigned i = 0; i < model->n_memory; i++) {
		unsigned at = (model->next_memory + i) % model->n_memory;
		struct memory *memory = &model->memory[at];
		if (memory->table != table || strcmp(memory->name, name) != 0 ||
		    strcmp(memory->topic, topic) != 0)
			continue;
		model->next_memory = at + 1;
		return memory;
	}
	if (model->n_memory == MEMORY_MAX)
		abort(); /* forget has kept no more than the rows of one sample */
	struct memory *memory = &model->memory[model->n_memory++];
	*memory = (struct memory){.table = table};
	snprintf(memory->name, sizeof memory->name, "%s", name);
	snprintf(memory->topic, sizeof memory->topic, "%s", topic);
	return memory;
}

static void forget_gone(struct model *model)
{
	for (unsigned i = 0; i < model->n_memory;)
		if (model->memory[i].sample == model->sample)
			i++;
		else
			model->memory[i] = model->memory[--model->n_memory];
}

static struct row *add_row(struct model *model, enum table table, const char *name, const char *topic)
{
	struct rows *rows = &model->table[table];
	struct row *row = &rows->row[rows->n++];
	*row = (struct row){.name = name, .topic = topic};
	for (unsigned i = 0; i < COLUMNS_MAX; i++)
		row->cell[i] = (struct cell){.number = NAN, .text = ""};
	row->cell[0].text = name; /* the first column of each table is NAME */
	return row;
}

static void set_number(struct row *row, unsigned column, double number, enum tone tone)
{
	row->cell[column].number = number;
	row->cell[column].tone = tone;
}

static void set_text(struct row *row, unsigned column, const char *text, enum tone tone)
{
	row->cell[column].text = text;
	row->cell[column].tone = tone;
}

/* A number that ought to be 0. */
static void set_fault(struct row *row, unsigned column, double number, enum tone tone)
{
	set_number(row, column, number, number > 0 ? tone : TONE_DIM);
}

/* Notes the counter for its rate, and returns the rate. */
static double rate_of(struct model *model, struct memory *memory, unsigned which, uint64_t counter)
{
	average_add(&memory->rate[which], model->at_ns, counter);
	return average_rate(&memory->rate[which], model->window);
}

/* The rate since the last sample, of a counter whose rate over the window was asked for. */
static double rate_now(const struct memory *memory, unsigned which)
{
	return average_rate(&memory->rate[which], AVERAGE_NOW);
}

static bool same_number(double a, double b)
{
	return a == b || (isnan(a) && isnan(b));
}

/* Compares what is watched with what the row showed last. */
static void watch(struct model *model, struct row *row, struct memory *memory)
{
	unsigned n;
	bool first = memory->sample == 0;
	const struct column *column = columns_of(memory->table, &n);
	for (unsigned i = 0; i < n; i++) {
		struct cell *cell = &row->cell[i];
		if (!column[i].watched)
			continue;
		if (!first && (!same_number(cell->number, memory->number[i]) ||
		               strcmp(cell->text, memory->text[i]) != 0))
			memory->changed_ns[i] = model->at_ns;
		cell->changed =
		        memory->changed_ns[i] != 0 && model->at_ns - memory->changed_ns[i] < MODEL_CHANGED_NS;
		memory->number[i] = cell->number;
		memory->text[i] = cell->text;
	}
	memory->sample = model->sample;
}

/* ---- stages ---- */

/* A stage's metric of what it put into a queue ("postbacks"), or with a suffix of what became of
 * that ("postbacks_refused"). 0 when it has none. */
static uint64_t put_metric(const struct snapshot_stage *stage, const char *queue, const char *suffix)
{
	char name[SHM_NAME_MAX + 16];
	snprintf(name, sizeof name, "%ss%s", queue, suffix);
	const struct snapshot_metric *found = snapshot_metric_find(stage, name);
	return found != NULL ? found->value : 0;
}

/* Events that a stage took in: what it received into its lanes and put into queues, or, of a stage
 * that has no lane, what its group has read. False when it has neither. */
static bool stage_events(const struct snapshot *snapshot, const struct snapshot_stage *stage,
                         uint64_t *events)
{
	const struct flow_stage *flow = flow_stage_of_role(stage->name);
	char group[SHM_NAME_MAX] = "";
	bool writes = false, reads = false;
	uint64_t received = 0, read = 0;
	if (flow != NULL)
		(void)flow_group(flow, stage->name, group);
	for (unsigned i = 0; i < snapshot->n_topics; i++)
		for (unsigned k = 0; k < snapshot->topic[i].n_lanes; k++) {
			const struct snapshot_lane *lane = &snapshot->topic[i].lane[k];
			if (strcmp(lane->role, stage->name) == 0) {
				writes = true;
				received += lane->ledger.received;
			}
			for (unsigned g = 0; g < lane->n_groups; g++)
				if (strcmp(lane->group[g].name, group) == 0) {
					reads = true;
					read += lane->group[g].read_records;
				}
		}
	for (FLOW_EACH(queue, flow != NULL ? flow->puts : NULL))
		received += put_metric(stage, *queue, "");
	*events = writes ? received : read;
	return writes || reads;
}

static void set_cost(struct model *model, struct row *row, struct memory *memory,
                     const struct process_cost *cost, uint32_t pid)
{
	if (memory->life != pid)
		memory->rate[STAGE_CPU] = (struct average){0};
	memory->life = pid;
	if (!cost->known)
		return;
	double percent = rate_of(model, memory, STAGE_CPU, cost->cpu_ns) / 1e7;
	set_number(row, STAGES_CPU, percent, percent > 90 ? TONE_WARN : TONE_PLAIN);
	set_number(row, STAGES_MEMORY, (double)cost->own_bytes, TONE_PLAIN);
	set_number(row, STAGES_SHARED, (double)cost->shared_bytes, TONE_DIM);
	set_number(row, STAGES_PID, pid, TONE_DIM);
	model->cpu_percent += percent;
	model->own_bytes += (double)cost->own_bytes;
}

static void show_supervisor(struct model *model, const struct sample *sample)
{
	const struct snapshot *snapshot = &sample->snapshot;
	struct row *row = add_row(model, TABLE_STAGES, "supervisor", NULL);
	struct memory *memory = remember(model, TABLE_STAGES, row->name, "");
	model->supervised = snapshot_supervised(snapshot);
	model->draining = snapshot->draining;
	set_text(row, STAGES_STATE,
	         !model->supervised   ? "dead"
	         : snapshot->draining ? "draining"
	         : snapshot->managed  ? "managed"
	                              : "running",
	         !model->supervised   ? TONE_BAD
	         : snapshot->draining ? TONE_WARN
	                              : TONE_GOOD);
	set_cost(model, row, memory, &sample->supervisor, snapshot->supervisor_pid);
	watch(model, row, memory);
}

static void set_state(struct model *model, struct row *row, const struct snapshot_stage *stage)
{
	const char *state = snapshot_state(stage);
	enum tone tone = TONE_DIM;
	if (!stage->alive &&
	    (stage->throttled || stage->state == STAGE_FAILED || strcmp(state, "dead") == 0)) {
		tone = TONE_BAD;
		model->n_dead++;
	} else if (stage->alive && stage->heartbeat_age_ns > SILENT_NS) {
		state = "silent";
		tone = TONE_BAD;
		model->n_silent++;
	} else if (stage->alive) {
		tone = stage->state == STAGE_RUNNING ? TONE_GOOD : TONE_WARN;
	}
	set_text(row, STAGES_STATE, state, tone);
}

static void show_stage(struct model *model, const struct sample *sample, unsigned i)
{
	const struct snapshot_stage *stage = &sample->snapshot.stage[i];
	const struct snapshot_metric *failing = snapshot_metric_find(stage, "failing");
	struct row *row = add_row(model, TABLE_STAGES, stage->name, NULL);
	struct memory *memory = remember(model, TABLE_STAGES, stage->name, "");
	uint64_t events;
	model->n_stages++;
	set_state(model, row, stage);
	set_cost(model, row, memory, &sample->stage[i], stage->pid);
	set_fault(row, STAGES_RESTARTS, (double)stage->restarts, TONE_WARN);
	if (stage_events(&sample->snapshot, stage, &events))
		set_number(row, STAGES_RATE, rate_of(model, memory, STAGE_EVENTS, events), TONE_PLAIN);
	if (stage->alive && sample->real_ns > stage->started_ns)
		set_number(row, STAGES_UP, (double)(sample->real_ns - stage->started_ns) / 1e9, TONE_PLAIN);
	set_text(row, STAGES_NOTE, stage->note, failing != NULL && failing->value != 0 ? TONE_BAD : TONE_DIM);
	watch(model, row, memory);
}

/* ---- losses ---- */

/* Adds what was lost at one place. The place with most is named. */
static void add_loss(struct model *model, enum loss which, const char *where, double since, double now,
                     double *most)
{
	struct model_loss *loss = &model->loss[which];
	loss->since += since;
	loss->now += now;
	if (since <= 0)
		return;
	loss->n_where++;
	if (since <= most[which])
		return;
	most[which] = since;
	snprintf(loss->where, sizeof loss->where, "%s", where);
}

/* ---- topics ---- */

/* A group's figures over all lanes of its topic. */
struct group_sum {
	const struct snapshot_group *about; /* in the first lane that has it */
	uint64_t read, missed, waiting, waiting_bytes, damaged, oldest_ns;
	double fill; /* of the lane that it fills most */
};

static void add_group(struct group_sum *sum, const struct snapshot_lane *lane,
                      const struct snapshot_group *group)
{
	double fill = lane->size_bytes == 0 ? 0 : (double)group->waiting_bytes / (double)lane->size_bytes;
	sum->read += group->read_records;
	sum->missed += group->missed_records;
	sum->waiting += group->waiting_records;
	sum->waiting_bytes += group->waiting_bytes;
	sum->damaged += group->damaged;
	if (group->oldest_age_ns != SNAPSHOT_NO_AGE && group->oldest_age_ns > sum->oldest_ns)
		sum->oldest_ns = group->oldest_age_ns;
	sum->fill = fmax(sum->fill, fmin(fill, 1));
}

/* Returns the number of groups of the topic. */
static unsigned sum_groups(const struct sample *sample, unsigned index,
                           struct group_sum sums[STREAM_GROUPS_MAX])
{
	const struct snapshot_topic *topic = &sample->snapshot.topic[index];
	unsigned n = 0;
	for (unsigned k = 0; k < topic->n_lanes; k++)
		for (unsigned g = 0; g < topic->lane[k].n_groups; g++) {
			const struct snapshot_group *group = &topic->lane[k].group[g];
			unsigned i = 0;
			while (i < n && strcmp(sums[i].about->name, group->name) != 0)
				i++;
			if (i == STREAM_GROUPS_MAX)
				continue; /* it came while the lanes were read */
			if (i == n)
				sums[n++] = (struct group_sum){.about = group};
			add_group(&sums[i], &topic->lane[k], group);
		}
	return n;
}

static enum tone fill_tone(double fill, bool required)
{
	if (!required)
		return TONE_DIM;
	return fill >= FILL_BAD ? TONE_BAD : fill >= FILL_WARN ? TONE_WARN : TONE_PLAIN;
}

/* A group whose reader is a stage that writes topics: what it reads goes on. */
static bool goes_on(const struct snapshot_group *group)
{
	const struct flow_stage *stage = flow_stage_find(group->name);
	return stage != NULL && stage->writes != NULL && stage->writes[0] != NULL;
}

static void show_group(struct model *model, const struct snapshot_topic *topic, const struct group_sum *sum,
                       double *most)
{
	const struct snapshot_group *group = sum->about;
	struct row *row = add_row(model, TABLE_TOPICS, group->name, topic->name);
	struct memory *memory = remember(model, TABLE_TOPICS, group->name, topic->name);
	bool holds = group->required || group->lapsed;
	double rate = rate_of(model, memory, GROUP_READ, sum->read), oldest_s = (double)sum->oldest_ns / 1e9;
	(void)rate_of(model, memory, GROUP_MISSED, sum->missed);
	(void)rate_of(model, memory, GROUP_DAMAGED, sum->damaged);
	set_number(row, TOPICS_RATE, rate, TONE_PLAIN);
	set_number(row, TOPICS_FILL, sum->fill, fill_tone(sum->fill, group->required));
	set_number(row, TOPICS_WAITING, (double)sum->waiting, TONE_PLAIN);
	set_number(row, TOPICS_BYTES, (double)sum->waiting_bytes, TONE_PLAIN);
	set_number(row, TOPICS_TOTAL, (double)sum->read, TONE_PLAIN);
	set_fault(row, TOPICS_MISSED, (double)sum->missed, holds ? TONE_BAD : TONE_PLAIN);
	if (sum->oldest_ns != 0)
		set_number(row, TOPICS_OLDEST, oldest_s,
		           oldest_s >= OLD_S && group->required ? TONE_WARN : TONE_PLAIN);
	set_text(row, TOPICS_KIND,
	         group->required ? "required"
	         : group->lapsed ? "lapsed"
	                         : "optional",
	         group->lapsed ? TONE_BAD : TONE_DIM);
	if (group->reader_pid != 0)
		set_number(row, TOPICS_READER, group->reader_pid, TONE_DIM);
	else
		set_text(row, TOPICS_READER, "none", holds ? TONE_BAD : TONE_DIM);
	if (group->required && !goes_on(group))
		model->out += rate;
	if (holds)
		add_loss(model, LOSS_MISSED, topic->name, (double)sum->missed, rate_now(memory, GROUP_MISSED),
		         most);
	add_loss(model, LOSS_DAMAGED, topic->name, (double)sum->damaged, rate_now(memory, GROUP_DAMAGED),
	         most);
	watch(model, row, memory);
}

/* Whether events come into the topic from outside: by a stage that takes in, or another program. */
static bool from_outside(const struct snapshot_topic *topic)
{
	for (unsigned k = 0; k < topic->n_lanes; k++) {
		const char *role = topic->lane[k].role;
		const struct flow_stage *stage = flow_stage_of_role(role);
		if (role[0] == '\0' || (stage != NULL && flow_rank(stage) == 0))
			return true;
	}
	return false;
}

static void show_topic(struct model *model, const struct sample *sample, unsigned index, double *most)
{
	const struct snapshot_topic *topic = &sample->snapshot.topic[index];
	struct group_sum sums[STREAM_GROUPS_MAX];
	unsigned n = sum_groups(sample, index, sums);
	bool kept = snapshot_kept(topic);
	double fill = 0;
	struct row *row = add_row(model, TABLE_TOPICS, topic->name, NULL);
	struct memory *memory = remember(model, TABLE_TOPICS, topic->name, "");
	for (unsigned i = 0; i < n; i++)
		fill = sums[i].about->required ? fmax(fill, sums[i].fill) : fill;
	double rate = rate_of(model, memory, TOPIC_RECEIVED, topic->ledger.received);
	set_number(row, TOPICS_RATE, rate, TONE_PLAIN);
	set_number(row, TOPICS_FILL, kept ? fill : NAN, fill_tone(fill, kept));
	set_number(row, TOPICS_BYTES, topic->n_lanes > 0 ? (double)topic->lane[0].size_bytes : NAN, TONE_DIM);
	set_number(row, TOPICS_TOTAL, (double)topic->ledger.written, TONE_PLAIN);
	set_text(row, TOPICS_KIND,
	         !kept                                  ? "not kept"
	         : topic->when_full == WHEN_FULL_REFUSE ? "refuse"
	                                                : "drop",
	         TONE_DIM);
	if (from_outside(topic))
		model->in += rate;
	watch(model, row, memory);
	for (unsigned i = 0; i < n; i++)
		show_group(model, topic, &sums[i], most);
}

/* ---- queues, ledger ---- */

static void show_queue(struct model *model, const struct snapshot *snapshot, unsigned index, double *most)
{
	const struct snapshot_queue *queue = &snapshot->queue[index];
	const struct queue_counts *counts = &queue->counts;
	struct row *row = add_row(model, TABLE_QUEUES, queue->name, NULL);
	struct memory *memory = remember(model, TABLE_QUEUES, queue->name, "");
	uint64_t waiting = counts->ready + counts->taken, refused = 0;
	double fill = counts->slots == 0 ? 0 : (double)(counts->slots - counts->free) / (double)counts->slots;
	for (unsigned i = 0; i < snapshot->n_stages; i++)
		refused += put_metric(&snapshot->stage[i], queue->name, "_refused");
	double put = rate_of(model, memory, QUEUE_PUT, counts->used);
	double done = rate_of(model, memory, QUEUE_DONE, counts->used > waiting ? counts->used - waiting : 0);
	(void)rate_of(model, memory, QUEUE_REFUSED, refused);
	set_number(row, QUEUES_RATE, put, TONE_PLAIN);
	set_number(row, QUEUES_FILL, fill, fill_tone(fill, true));
	set_number(row, QUEUES_READY, (double)counts->ready, TONE_PLAIN);
	set_number(row, QUEUES_TAKEN, (double)counts->taken, TONE_PLAIN);
	set_number(row, QUEUES_FILLING, (double)counts->filling, TONE_DIM);
	set_number(row, QUEUES_DONE, done, TONE_PLAIN);
	set_number(row, QUEUES_SLOTS, (double)counts->slots, TONE_DIM);
	set_number(row, QUEUES_SIZE, (double)queue->slot_bytes, TONE_DIM);
	model->in += put;
	model->out += done;
	add_loss(model, LOSS_REFUSED, queue->name, (double)refused, rate_now(memory, QUEUE_REFUSED), most);
	watch(model, row, memory);
}

static void show_ledger(struct model *model, const struct snapshot_topic *topic, double *most)
{
	const struct snapshot_ledger *sum = &topic->ledger;
	struct row *row = add_row(model, TABLE_LEDGERS, topic->name, NULL);
	struct memory *memory = remember(model, TABLE_LEDGERS, topic->name, "");
	double dropping = rate_of(model, memory, LEDGER_RATE_DROPPED, sum->dropped);
	double refusing = rate_of(model, memory, LEDGER_RATE_REFUSED, sum->refused);
	double kernel = rate_of(model, memory, LEDGER_RATE_KERNEL, sum->kernel_dropped);
	double rejecting = rate_of(model, memory, LEDGER_RATE_REJECTED, snapshot_rejected(sum));
	set_number(row, LEDGERS_RECEIVED, (double)sum->received, TONE_PLAIN);
	set_number(row, LEDGERS_WRITTEN, (double)sum->written, TONE_PLAIN);
	set_fault(row, LEDGERS_REJECTED, (double)snapshot_rejected(sum), TONE_WARN);
	set_fault(row, LEDGERS_DROPPED, (double)sum->dropped, TONE_BAD);
	set_fault(row, LEDGERS_REFUSED, (double)sum->refused, TONE_BAD);
	set_fault(row, LEDGERS_KERNEL, (double)sum->kernel_dropped, TONE_BAD);
	set_fault(row, LEDGERS_LOST_RATE, dropping + refusing + kernel, TONE_BAD);
	set_fault(row, LEDGERS_REJECTED_RATE, rejecting, TONE_WARN);
	bool balanced = snapshot_balanced(sum);
	set_text(row, LEDGERS_BALANCED, balanced ? "yes" : "no", balanced ? TONE_DIM : TONE_WARN);
	add_loss(model, LOSS_DROPPED, topic->name, (double)sum->dropped,
	         rate_now(memory, LEDGER_RATE_DROPPED), most);
	add_loss(model, LOSS_REFUSED, topic->name, (double)sum->refused,
	         rate_now(memory, LEDGER_RATE_REFUSED), most);
	add_loss(model, LOSS_KERNEL, topic->name, (double)sum->kernel_dropped,
	         rate_now(memory, LEDGER_RATE_KERNEL), most);
	watch(model, row, memory);
}

/* ---- all of it ---- */

void model_show(struct model *model, const struct sample *sample, enum average_window window)
{
	const struct snapshot *snapshot = &sample->snapshot;
	double most[LOSSES] = {0};
	if (model->generation != snapshot->generation) {
		model->generation = snapshot->generation;
		model->n_memory = 0;
	}
	model->sample++;
	model->at_ns = snapshot->taken_ns;
	model->window = window;
	model->next_memory = 0;
	for (enum table table = 0; table < TABLES; table++)
		model->table[table].n = 0;
	memset(model->loss, 0, sizeof model->loss);
	model->in = model->out = model->cpu_percent = model->own_bytes = 0;
	model->n_stages = model->n_dead = model->n_silent = 0;
	model->uptime_s = sample->real_ns > snapshot->created_ns
	                          ? (double)(sample->real_ns - snapshot->created_ns) / 1e9
	                          : 0;
	show_supervisor(model, sample);
	for (unsigned i = 0; i < snapshot->n_stages; i++)
		show_stage(model, sample, i);
	for (unsigned i = 0; i < snapshot->n_topics; i++)
		show_topic(model, sample, i, most);
	for (unsigned i = 0; i < snapshot->n_queues; i++)
		show_queue(model, snapshot, i, most);
	for (unsigned i = 0; i < snapshot->n_topics; i++)
		show_ledger(model, &snapshot->topic[i], most);
	forget_gone(model);
}

const char *model_loss_name(enum loss loss)
{
	static const char *const names[LOSSES] = {
	        [LOSS_DROPPED] = "dropped", [LOSS_REFUSED] = "refused", [LOSS_KERNEL] = "kernel dropped",
	        [LOSS_MISSED] = "missed",   [LOSS_DAMAGED] = "damaged",
	};
	return names[loss];
}

bool model_lost(const struct model *model)
{
	for (enum loss loss = 0; loss < LOSSES; loss++)
		if (model->loss[loss].since > 0)
			return true;
	return false;
}
