#include "sink/objects/objects.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "shm/sleep_poll.h"

#define NAP_NS   NS_PER_MS         /* after work, before it asks to be woken: records come in crowds */
#define LOOK_NS  (250 * NS_PER_MS) /* between two walks over all objects */
#define REQUESTS 64u               /* more than any store has; for memory_max */

enum objects_metric {
#define METRIC(name, kind, help) OBJECTS_##name,
#define HISTOGRAM(name, help, ...) \
	OBJECTS_##name, OBJECTS_##name##_end = OBJECTS_##name + HISTOGRAM_WORDS(__VA_ARGS__) - 1,
#include "sink/objects/metrics.def"
#undef METRIC
#undef HISTOGRAM
	OBJECTS_METRIC_COUNT
};
_Static_assert((int)OBJECTS_METRIC_COUNT <= (int)METRIC_WORDS_MAX, "a control block holds them");

/* All objects shall be finished once the lanes are read up to here: a flush, or the drain. */
struct wish {
	bool open;
	uint64_t tail[PORTS_READS_MAX][STREAM_LANES_MAX];
};

struct sink {
	struct objects objects;
	struct control *control;
	const struct metric_description *taken_after; /* the row of taken_after_us */
	struct ports ports;
	struct redo redo;
	struct sleep_poll *sleep;
	unsigned next_topic;
	bool blocked;  /* tails is full: nothing is read */
	bool worked;   /* records were taken since the last idle */
	bool flushing; /* a wish is granted, and not everything is in the store yet */
	bool drain_wished;
	bool draining; /* all was finished because of the drain: no more is read */
	struct wish wish;
	uint64_t looked_ns;
	struct upload_counts told; /* in the metrics already */
	struct lines_counts told_lines;
	uint64_t told_spooled;
};

static const struct metric_description metrics[] = {
#define METRIC    METRIC_ROW
#define HISTOGRAM HISTOGRAM_ROW
#include "sink/objects/metrics.def"
#undef METRIC
#undef HISTOGRAM
};

/* ---- starting ---- */

static unsigned words(void *argument, struct sleep_word *word)
{
	return ports_words(&((struct sink *)argument)->ports, word);
}

static int open_sleep(struct sink *sink, struct shm_error *error)
{
	int result = sleep_poll_open(&sink->sleep, words, NULL, sink);
	if (result != 0)
		shm_explain(error, "cannot wait for records: %s", strerror(-result));
	return result;
}

/* The journal first, for its note is that of the ports. */
static int attach(struct sink *sink, struct stage *stage, struct journal **journal, struct shm_error *error)
{
	struct ports_wanted wanted = ports_declared(&stage->instance, stage->role, NULL);
	ports_declare_listed(&wanted, stage->config);
	wanted.redo = &sink->redo;
	wanted.control = stage->control;
	wanted.recovered_notes = OBJECTS_recovered_notes;
	int result = journal_attach(journal, &sink->redo, &stage->instance, stage->role, error);
	if (result == 0)
		result = ports_open(&sink->ports, &wanted, error);
	return result;
}

static int open_all(struct sink *sink, struct stage *stage, struct shm_error *error)
{
	struct objects *objects = &sink->objects;
	struct journal *journal = NULL;
	char section[SHM_NAME_MAX + 16];
	int result = stage_section(stage, section, sizeof section, error);
	if (result == 0)
		result = attach(sink, stage, &journal, error);
	if (result != 0) {
		journal_close(journal);
		return result;
	}
	result = objects_open(objects, stage->config, section, sink->ports.wanted.listed, error);
	for (unsigned i = 0; result == 0 && i < objects->lines.n_topics; i++)
		objects->lines.topic[i].number = (uint16_t)sink->ports.reader[i].topic;
	if (result == 0)
		result = journal_open(journal, &objects->bounds, error);
	if (result != 0) {
		journal_close(journal);
		return result;
	}
	result = index_open(&objects->index, config_string(stage->config, "data_dir"), objects->name, error);
	if (result != 0) {
		journal_close(journal);
		return result;
	}
	objects->journal = journal;
	result = objects_spool(objects, error);
	if (result == 0)
		result = objects_begin(objects, journal, stage->instance.generation, error);
	return result != 0 ? result : open_sleep(sink, error);
}

static void close_all(struct sink *sink)
{
	sleep_poll_close(sink->sleep);
	objects_close(&sink->objects);
	ports_close(&sink->ports);
	free(sink);
}

static uint64_t read_metric(const struct sink *sink, enum objects_metric metric)
{
	return atomic_load_explicit(&sink->control->metric[metric], memory_order_relaxed);
}

static int init(struct stage *stage, struct shm_error *error)
{
	struct sink *sink = calloc(1, sizeof *sink);
	struct journal_counts counts;
	if (sink == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	sink->control = stage->control;
	sink->taken_after = metric_row(metrics, OBJECTS_taken_after_us);
	int result = open_all(sink, stage, error);
	if (result != 0) {
		close_all(sink);
		return result;
	}
	stage->own = sink;
	stage->ports = &sink->ports;
	/* one that the last life was asked for and did not come to */
	if (read_metric(sink, OBJECTS_flushes_done) < read_metric(sink, OBJECTS_flushes_asked))
		sink->wish.open = true;
	journal_count(sink->objects.journal, &counts);
	log_info("keeping objects", "sink=%s store=\"%s\" open_objects=%llu waiting_bytes=%llu",
	         sink->objects.name, sink->objects.ops->traits(sink->objects.store)->name,
	         (unsigned long long)(counts.objects - counts.free_objects),
	         (unsigned long long)counts.waiting_bytes);
	return 0;
}

/* ---- records ---- */

static bool commit_batch(struct sink *sink, unsigned topic, unsigned lane, struct record_batch *batch,
                         uint64_t n)
{
	if (n == 0 && !batch->corrupt)
		return false;
	stream_pass(&sink->ports.reader[topic].lane[lane], batch, n);
	ports_note(&sink->ports, topic, lane);
	journal_commit(sink->objects.journal, &sink->ports);
	metric_add(sink->control, OBJECTS_commits, 1);
	return true;
}

/* False when there was nothing to take. */
static bool take_batch(struct sink *sink)
{
	struct objects *objects = &sink->objects;
	struct record_batch batch;
	unsigned lane, n = sink->ports.n_reads;
	for (unsigned i = 0; i < n; i++) {
		unsigned topic = (sink->next_topic + i) % n;
		if (!topic_peek(&sink->ports.reader[topic], &lane, &batch))
			continue;
		sink->next_topic = (topic + 1) % n;
		uint64_t now_ns = clock_real_ns(), arrival_ns = event_batch_arrival(&batch);
		uint64_t taken = lines_take(&objects->lines, topic, lane, &batch, now_ns);
		bool worked = commit_batch(sink, topic, lane, &batch, taken);
		if (arrival_ns != 0 && taken != 0)
			metric_observe(sink->control, sink->taken_after, OBJECTS_taken_after_us,
			               clock_since_ns(arrival_ns, now_ns) / NS_PER_US);
		if (!worked && journal_uncommitted(objects->journal)) /* an object that got no line */
			journal_commit(objects->journal, &sink->ports);
		worked |= objects_touch(objects);
		sink->worked |= worked;
		/* A line that finds no room although nothing is short waits for what is under
		 * way. */
		sink->blocked = objects->lines.full && !worked;
		if (worked || sink->blocked)
			return worked;
	}
	return false;
}

static bool read_records(struct sink *sink, uint64_t now_ns)
{
	bool relieved = upload_relieve(sink->objects.upload, now_ns);
	if (upload_short(sink->objects.upload)) {
		metric_add(sink->control, OBJECTS_blocked, !sink->blocked);
		sink->blocked = true;
		return relieved;
	}
	sink->blocked = false;
	return take_batch(sink) || relieved;
}

/* ---- what is told ---- */

static void count_on(struct sink *sink, enum objects_metric metric, uint64_t now, uint64_t *told)
{
	metric_add(sink->control, metric, now - *told);
	*told = now;
}

/* All 0 when there is none. */
static struct spool_counts count_spool(const struct sink *sink)
{
	struct spool_counts counts = {.reason = ""};
	if (sink->objects.spool != NULL)
		spool_count(sink->objects.spool, &counts);
	return counts;
}

static void tell_counters(struct sink *sink)
{
	const struct upload_counts *now = upload_counts(sink->objects.upload);
	const struct lines_counts *lines = &sink->objects.lines.counts;
	struct upload_counts *told = &sink->told;
	count_on(sink, OBJECTS_events, lines->events, &sink->told_lines.events);
	count_on(sink, OBJECTS_filtered, lines->filtered, &sink->told_lines.filtered);
	count_on(sink, OBJECTS_bad_records, lines->bad, &sink->told_lines.bad);
	count_on(sink, OBJECTS_long_lines, lines->too_long, &sink->told_lines.too_long);
	count_on(sink, OBJECTS_raw_bytes, now->raw_bytes, &told->raw_bytes);
	count_on(sink, OBJECTS_packed_bytes, now->packed_bytes, &told->packed_bytes);
	count_on(sink, OBJECTS_members, now->members, &told->members);
	count_on(sink, OBJECTS_parts, now->parts, &told->parts);
	count_on(sink, OBJECTS_objects, now->objects, &told->objects);
	count_on(sink, OBJECTS_object_bytes, now->object_bytes, &told->object_bytes);
	for (unsigned i = 0; i < HISTOGRAM_WORDS(OBJECT_TIMES_MS); i++)
		count_on(sink, OBJECTS_object_ms + i, now->object_ms[i], &told->object_ms[i]);
	count_on(sink, OBJECTS_requests, now->requests, &told->requests);
	count_on(sink, OBJECTS_retries, now->retries, &told->retries);
	count_on(sink, OBJECTS_unavailable, now->unavailable, &told->unavailable);
	count_on(sink, OBJECTS_refused, now->refused, &told->refused);
	count_on(sink, OBJECTS_unknown, now->unknown, &told->unknown);
	count_on(sink, OBJECTS_invalid, now->invalid, &told->invalid);
	count_on(sink, OBJECTS_abandoned, now->abandoned, &told->abandoned);
	count_on(sink, OBJECTS_recovered, now->recovered, &told->recovered);
	count_on(sink, OBJECTS_spooled, count_spool(sink).spooled, &sink->told_spooled);
}

static void tell_note(struct sink *sink)
{
	const struct upload_counts *counts = upload_counts(sink->objects.upload);
	const char *spool = count_spool(sink).reason;
	if (counts->failing_since_ns != 0)
		control_note(sink->control, "failing: %s%s%s", counts->reason,
		             spool[0] != '\0' ? "; spool: " : "", spool);
	else if (spool[0] != '\0')
		control_note(sink->control, "spool: %s", spool);
	else
		control_note(sink->control, "%s", sink->objects.ops->traits(sink->objects.store)->name);
}

/* In this order, so that what one gauge says is there when it is seen: of what is open how much it
 * is, of a failure since when. */
static void tell_gauges(struct sink *sink)
{
	const struct upload_counts *now = upload_counts(sink->objects.upload);
	struct journal_counts journal;
	uint64_t waiting = 0, real_ns = clock_real_ns();
	journal_count(sink->objects.journal, &journal);
	for (unsigned i = 0; i < sink->ports.n_reads; i++)
		for (unsigned k = 0; k < sink->ports.reader[i].n_lanes; k++)
			if (sink->ports.reader[i].lane[k].shared != NULL)
				waiting += stream_waiting_records(&sink->ports.reader[i].lane[k]);
	metric_set(sink->control, OBJECTS_waiting_records, waiting);
	metric_set(sink->control, OBJECTS_last_object_time, now->last_object_ns / NS_PER_SEC);
	metric_set(sink->control, OBJECTS_waiting_bytes, journal.waiting_bytes);
	metric_set(sink->control, OBJECTS_finishing_objects, journal.finishing);
	metric_set(sink->control, OBJECTS_open_objects, journal.objects - journal.free_objects);
	/* as of the last tick: what was open then may be complete by now */
	bool none =
	        now->oldest_ns == 0 || now->oldest_ns > real_ns || journal.free_objects == journal.objects;
	metric_set(sink->control, OBJECTS_oldest_unsafe_seconds,
	           none ? 0 : (real_ns - now->oldest_ns) / NS_PER_SEC);
	metric_set(sink->control, OBJECTS_left_uploads, now->left);
	metric_set(sink->control, OBJECTS_spool_bytes, count_spool(sink).bytes);
	metric_set(sink->control, OBJECTS_spool_parts, count_spool(sink).parts);
	metric_set(sink->control, OBJECTS_failing_since, now->failing_since_ns / NS_PER_SEC);
	metric_set(sink->control, OBJECTS_failing, now->failing_since_ns != 0);
}

/* The counters last: whoever waits for one looks at the rest next. */
static void tell(struct sink *sink)
{
	tell_note(sink);
	tell_gauges(sink);
	tell_counters(sink);
}

/* ---- flush and drain ---- */

static void make_wish(struct sink *sink)
{
	sink->wish.open = true;
	for (unsigned i = 0; i < sink->ports.n_reads; i++)
		for (unsigned k = 0; k < sink->ports.reader[i].n_lanes; k++) {
			const struct stream_reader *lane = &sink->ports.reader[i].lane[k];
			sink->wish.tail[i][k] =
			        lane->shared == NULL
			                ? 0
			                : atomic_load_explicit(&lane->shared->tail, memory_order_acquire);
		}
}

static bool has_read(const struct sink *sink)
{
	for (unsigned i = 0; i < sink->ports.n_reads; i++)
		for (unsigned k = 0; k < sink->ports.reader[i].n_lanes; k++) {
			const struct stream_reader *lane = &sink->ports.reader[i].lane[k];
			if (lane->shared != NULL && lane->position < sink->wish.tail[i][k])
				return false;
		}
	return true;
}

static void follow_wishes(struct sink *sink, struct stage *stage)
{
	if (stage->requested) {
		stage->requested = false;
		metric_add(sink->control, OBJECTS_flushes_asked, 1);
		make_wish(sink);
	}
	if (stage->draining && !sink->drain_wished) {
		sink->drain_wished = true;
		make_wish(sink);
	}
	if (sink->wish.open && has_read(sink)) {
		sink->wish.open = false;
		sink->flushing = true;
		sink->draining = sink->drain_wished;
		upload_finish_all(sink->objects.upload);
	}
	if (sink->flushing && !sink->wish.open && upload_unfinished(sink->objects.upload) == 0) {
		sink->flushing = false;
		tell(sink); /* who waits for the flush looks at it next */
		metric_add(sink->control, OBJECTS_flushes_done,
		           read_metric(sink, OBJECTS_flushes_asked) -
		                   read_metric(sink, OBJECTS_flushes_done));
	}
}

/* ---- the loop ---- */

static bool poll_stage(struct stage *stage)
{
	struct sink *sink = stage->own;
	bool worked = upload_work(sink->objects.upload, stage->now_ns);
	follow_wishes(sink, stage);
	if (!sink->draining)
		worked |= read_records(sink, stage->now_ns);
	return worked;
}

/* Whether a record waits that could be read. */
static bool has_records(struct sink *sink)
{
	struct record_batch batch;
	unsigned lane;
	for (unsigned i = 0; i < sink->ports.n_reads; i++)
		if (topic_peek(&sink->ports.reader[i], &lane, &batch))
			return true;
	return false;
}

static void idle(struct stage *stage, uint64_t timeout_ns)
{
	struct sink *sink = stage->own;
	struct store_wait wait[OBJECTS_WAITS_MAX];
	struct pollfd fd[OBJECTS_WAITS_MAX + 1];
	unsigned n = upload_wait(sink->objects.upload, wait, OBJECTS_WAITS_MAX, stage->now_ns, &timeout_ns);
	for (unsigned i = 0; i < n; i++)
		fd[i] = (struct pollfd){.fd = wait[i].fd, .events = wait[i].events};
	bool reads = !sink->blocked && !sink->draining, nap = sink->worked;
	sink->worked = false;
	if (reads && nap && timeout_ns > NAP_NS)
		timeout_ns = NAP_NS;
	if (reads && !nap) {
		sleep_poll_note(sink->sleep);
		if (has_records(sink) || sleep_poll_arm(sink->sleep))
			return;
		fd[n++] = (struct pollfd){.fd = sleep_poll_fd(sink->sleep), .events = POLLIN};
	}
	struct timespec time = {.tv_sec = (time_t)(timeout_ns / NS_PER_SEC),
	                        .tv_nsec = (long)(timeout_ns % NS_PER_SEC)};
	(void)ppoll(fd, n, &time, NULL); /* a signal ends it early, and that is right */
}

static void tick(struct stage *stage)
{
	struct sink *sink = stage->own;
	if (stage->now_ns - sink->looked_ns >= LOOK_NS) {
		sink->looked_ns = stage->now_ns;
		upload_tick(sink->objects.upload, stage->now_ns, clock_real_ns());
	}
	tell(sink);
}

/* Until all is in the store; the supervisor ends a drain that takes too long, and the next life
 * goes on with what is in the journal. */
static bool drained(struct stage *stage)
{
	const struct sink *sink = stage->own;
	struct journal_counts counts;
	journal_count(sink->objects.journal, &counts);
	return sink->draining && counts.free_objects == counts.objects;
}

static void fini(struct stage *stage)
{
	struct sink *sink = stage->own;
	tick(stage);
	close_all(sink);
	stage->own = NULL;
}

static uint64_t memory_max(const struct config *config, const char *section)
{
	const struct store_ops *ops;
	struct shm_error error;
	uint64_t tails = config_u64(config, "%s.tails", section);
	uint64_t bytes = sizeof(struct sink) + RECENT_ENTRIES_MAX * sizeof(struct recent_entry) +
	                 journal_memory(tails);
	bytes += upload_memory(tails / (3ull * JOURNAL_BLOCK_BYTES), REQUESTS,
	                       config_u64(config, "%s.part_size", section));
	bytes += spool_memory(config_u64(config, "%s.spool.size", section),
	                      config_u64(config, "%s.part_size", section) +
	                              2 * config_u64(config, "%s.member", section) +
	                              2 * config_u64(config, "%s.longest_line", section));
	bytes += pack_memory(config_string(config, "%s.compression", section));
	bytes += 8 * config_u64(config, "%s.longest_line", section);
	if (store_choose(&ops, config, section, &error) == 0)
		bytes += ops->memory_max(config, section);
	return bytes;
}

const struct stage_ops objects_stage = {
        .name = "objects",
        .help = "keeps events as lines of compressed objects, in a directory, on S3 or on Azure",
        .metrics = metrics,
        .n_metrics = sizeof metrics / sizeof metrics[0],
        .init = init,
        .poll = poll_stage,
        .tick = tick,
        .idle = idle,
        .drained = drained,
        .fini = fini,
        .alone = objects_alone,
        .before = objects_before,
        .check = objects_check,
        .memory_max = memory_max,
};
