#include "sink/tally/tally.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "shm/folder.h"

/* While records come more often than this, the stage sleeps so long after work and looks again by
 * itself. Only when nothing came does it ask to be woken, which costs the writer a system call.
 * README.md has what that saves. */
#define NAP_NS  (200 * NS_PER_US)
#define LOOK_NS NS_PER_SEC /* between looks at the files */

enum tally_metric {
#define METRIC(name, kind, help) TALLY_##name,
#include "sink/tally/metrics.def"
#undef METRIC
	TALLY_METRIC_COUNT
};
_Static_assert((int)TALLY_METRIC_COUNT <= (int)METRICS_MAX, "a control block holds them");

struct tally {
	struct counts counts;
	struct store *store;
	struct ports ports;
	struct topic_reader *reader; /* of topic ip */
	struct control *control;
	const char *data_dir;
	uint64_t interval_ns;
	uint64_t due_ns; /* when what is passed must be committed; UINT64_MAX while nothing is */
	uint64_t longest_ns;
	/* 0, or the -errno with which the last commit failed: the next is tried by tick */
	int failing;
	uint64_t look_ns;              /* when to look at the files again */
	struct store_log log;          /* as of the last look */
	char note[CONTROL_NOTE_BYTES]; /* what `stat` shows while all is well */
	bool worked;                   /* since the last idle */
	bool dense;                    /* the last time it asked to be woken it was, within NAP_NS */
};

/* ---- counting ---- */

/* The record that the batch gave last. */
static bool is_ip_event(const struct record_batch *batch)
{
	return batch->type == EVENT_IP && batch->length == sizeof(struct event_ip);
}

struct tally_taken tally_take(struct counts *counts, struct record_batch *batch, uint64_t max)
{
	struct tally_taken taken = {0};
	const struct record *record = NULL;
	do {
		const struct event_ip *run[COUNTS_RUN];
		unsigned n = 0;
		while (n < COUNTS_RUN && taken.records < max && (record = record_next(batch)) != NULL) {
			taken.records++;
			if (__builtin_expect(is_ip_event(batch), 1))
				run[n++] = (const struct event_ip *)(const void *)record->payload;
			else
				taken.bad++;
		}
		counts_add(counts, run, n);
	} while (record != NULL && taken.records < max && !counts_full(counts));
	return taken;
}

/* ---- committing ---- */

/* Bytes that a lane's cursor is behind what was counted. */
static uint64_t passed_bytes(const struct stream_reader *lane)
{
	return lane->position - atomic_load_explicit(&lane->cursor->position, memory_order_relaxed);
}

static unsigned list_cursors(const struct tally *tally, struct store_cursor cursor[STREAM_LANES_MAX])
{
	unsigned n = 0;
	for (unsigned i = 0; i < tally->reader->n_lanes; i++) {
		const struct stream_reader *lane = &tally->reader->lane[i];
		if (passed_bytes(lane) == 0)
			continue;
		cursor[n++] = (struct store_cursor){
		        .topic = TALLY_TOPIC,
		        .lane = i,
		        .generation = tally->reader->instance->generation,
		        .position = lane->position,
		        .records = lane->records,
		};
	}
	return n;
}

/* The reason without the folder, which everybody knows and which may be long. */
static const char *without_folder(const struct tally *tally, const char *reason)
{
	size_t n = strlen(tally->data_dir);
	return strncmp(reason, tally->data_dir, n) == 0 && reason[n] == '/' ? reason + n + 1 : reason;
}

static void note_failure(struct tally *tally, int result, const struct shm_error *error)
{
	metric_add(tally->control, TALLY_failed_commits, 1);
	control_note(tally->control, "cannot commit: %s", without_folder(tally, error->text));
	if (tally->failing != result)
		log_error("cannot commit, counts are kept in memory and in the lanes, trying again",
		          "reason=\"%s\"", error->text);
	tally->failing = result;
	metric_set(tally->control, TALLY_failing, 1);
}

static void note_success(struct tally *tally, uint64_t rows, uint64_t took_ns)
{
	if (took_ns > tally->longest_ns)
		tally->longest_ns = took_ns;
	metric_add(tally->control, TALLY_commits, 1);
	metric_add(tally->control, TALLY_rows_written, rows);
	metric_set(tally->control, TALLY_commit_last_us, took_ns / NS_PER_US);
	metric_set(tally->control, TALLY_commit_max_us, tally->longest_ns / NS_PER_US);
	if (tally->failing != 0) {
		log_info("committing again", "rows=%llu", (unsigned long long)rows);
		control_note(tally->control, "%s", tally->note);
	}
	tally->failing = 0;
	metric_set(tally->control, TALLY_failing, 0);
}

static void commit(struct tally *tally)
{
	struct store_cursor cursor[STREAM_LANES_MAX];
	struct shm_error error;
	uint64_t rows, begun_ns = clock_monotonic_ns();
	unsigned n = list_cursors(tally, cursor);
	int result = store_commit(tally->store, &tally->counts, cursor, n, &rows, &error);
	if (result != 0) {
		note_failure(tally, result, &error);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		stream_settle(&tally->reader->lane[cursor[i].lane]);
	tally->due_ns = UINT64_MAX;
	note_success(tally, rows, clock_monotonic_ns() - begun_ns);
}

/* A quarter of the lane is due; but where more is waiting (what came during the last commit) it is
 * counted first, and fewer commits of more records serve the lane better: with 100,000 applications
 * it then holds out at nearly twice the rate. */
static bool lane_is_due(const struct stream_reader *lane)
{
	uint64_t passed = passed_bytes(lane);
	return passed >= lane->size / 4 &&
	       (stream_waiting_bytes(lane) < lane->size / 16 || passed >= lane->size / 4 * 3);
}

static bool early_commit_is_due(const struct tally *tally, const struct stream_reader *lane)
{
	return lane_is_due(lane) || counts_full(&tally->counts) ||
	       counts_dirty_rows(&tally->counts) >= TALLY_COMMIT_ROWS;
}

/* ---- starting ---- */

struct counts_limits tally_limits(const struct config *config)
{
	return (struct counts_limits){
	        .applications = config_u64(config, "tally.applications"),
	        .addresses_per_application = config_u64(config, "tally.addresses_per_application"),
	        .addresses = config_u64(config, "tally.addresses"),
	};
}

/* Counts for what the database holds. */
static int init_counts(const struct config *config, struct counts *counts,
                       const struct counts_expected *expected, struct shm_error *error)
{
	struct counts_limits limits = tally_limits(config);
	int result = counts_init(counts, &limits, expected, 0);
	if (result != 0)
		shm_explain(error,
		            "no address space for %llu bytes of counts: %s; lower tally.applications or "
		            "tally.addresses",
		            (unsigned long long)counts_bytes_max(&limits), strerror(-result));
	return result;
}

int tally_open(const struct config *config, struct counts *counts, struct store **store,
               struct shm_error *error)
{
	struct counts_expected expected;
	int result = store_open(store, config_string(config, "data_dir"), error);
	if (result != 0)
		return result;
	store_limit_log(*store, config_u64(config, "tally.log_limit"));
	result = store_expected(*store, &expected, error);
	if (result == 0)
		result = init_counts(config, counts, &expected, error);
	if (result == 0) {
		result = store_load(*store, counts, error);
		if (result != 0)
			counts_fini(counts);
	}
	if (result != 0)
		store_close(*store);
	return result;
}

/* The process that has the role in the instance of this configuration, 0 for none. */
static int running(const struct config *config)
{
	char directory[FOLDER_PATH_MAX];
	int pid = 0;
	if (segment_directory(directory, sizeof directory, config_string(config, "instance")) != 0 ||
	    instance_locked(directory, TALLY_ROLE ".role", &pid) != 1)
		return 0;
	return pid;
}

int tally_check(const struct config *config, const char *section, struct shm_error *error)
{
	struct counts_expected expected;
	struct counts counts;
	struct shm_error why = {""};
	int result = store_try(config_string(config, "data_dir"), running(config), &expected, &why);
	if (result != 0) {
		shm_explain(error, "data_dir: %s", why.text);
		return result;
	}
	result = init_counts(config, &counts, &expected, &why);
	if (result == 0)
		counts_fini(&counts);
	else
		shm_explain(error, "%s: %s", section, why.text);
	return result;
}

/* One lane to the later of its cursor and the database's. *lost grows by the records that the
 * group has read and the database does not count. */
static int take_up_lane(struct tally *tally, unsigned i, uint64_t *lost, struct shm_error *error)
{
	struct stream_reader *lane = &tally->reader->lane[i];
	struct store_cursor stored = {.topic = TALLY_TOPIC, .lane = i};
	int result = store_read_cursor(tally->store, &stored, error);
	if (result == -ENOENT || (result == 0 && stored.generation != tally->reader->instance->generation)) {
		*lost += stream_cursor_read(lane->cursor); /* 0 in a lane that is younger than the database */
		return 0;
	}
	if (result != 0 || stored.position == lane->position)
		return result;
	if (stored.position < lane->position) {
		*lost += lane->records - stored.records;
		return 0;
	}
	result = stream_reader_seek(lane, stored.position, stored.records);
	if (result != 0)
		shm_explain(
		        error,
		        "lane %u of topic %s: the database is at position %llu, which the lane has not reached",
		        i, TALLY_TOPIC, (unsigned long long)stored.position);
	return result;
}

/* Somebody deleted the database, put an older copy in its place or set another data_dir. Nobody can
 * count those records again. */
static void say_lost(struct tally *tally, uint64_t lost)
{
	snprintf(tally->note, sizeof tally->note,
	         "counts are short of %llu records that were read before: not in this " STORE_FILE
	         " (deleted, an older copy, another data_dir?)",
	         (unsigned long long)lost);
	control_note(tally->control, "%s", tally->note);
	log_warn(
	        "the database lacks records that its group has read: deleted, an older copy, another data_dir? they are in no count",
	        "group=%s records=%llu applications_in_database=%llu database=%s/%s", TALLY_GROUP,
	        (unsigned long long)lost, (unsigned long long)tally->counts.n_applications, tally->data_dir,
	        STORE_FILE);
}

static int attach(struct tally *tally, struct stage *stage, struct shm_error *error)
{
	uint64_t lost = 0;
	struct ports_wanted wanted = ports_declared(&stage->instance, stage->role, NULL);
	int result = ports_open(&tally->ports, &wanted, error);
	if (result != 0)
		return result;
	tally->reader = ports_reader(&tally->ports, TALLY_TOPIC);
	for (unsigned i = 0; result == 0 && i < tally->reader->n_lanes; i++)
		result = take_up_lane(tally, i, &lost, error);
	metric_set(tally->control, TALLY_lost_records, lost);
	if (result == 0 && lost != 0)
		say_lost(tally, lost);
	return result;
}

static int init(struct stage *stage, struct shm_error *error)
{
	struct tally *tally = calloc(1, sizeof *tally);
	if (tally == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	struct counts_limits limits = tally_limits(stage->config);
	tally->control = stage->control;
	tally->data_dir = config_string(stage->config, "data_dir");
	tally->interval_ns = config_ns(stage->config, "tally.commit_interval");
	tally->due_ns = UINT64_MAX;
	int result = tally_open(stage->config, &tally->counts, &tally->store, error);
	if (result != 0) {
		free(tally);
		return result;
	}
	result = attach(tally, stage, error);
	if (result != 0) {
		ports_close(&tally->ports);
		counts_fini(&tally->counts);
		store_close(tally->store);
		free(tally);
		return result;
	}
	stage->own = tally;
	stage->ports = &tally->ports;
	metric_set(tally->control, TALLY_memory_max_bytes, counts_bytes_max(&limits));
	log_info("counting", "lanes=%u applications=%llu addresses=%llu database=%s/%s",
	         tally->reader->n_lanes, (unsigned long long)tally->counts.n_applications,
	         (unsigned long long)tally->counts.addresses, tally->data_dir, STORE_FILE);
	return 0;
}

/* ---- the loop ---- */

static bool poll_stage(struct stage *stage)
{
	struct tally *tally = stage->own;
	struct record_batch batch;
	unsigned i;
	if (stage->now_ns >= tally->due_ns && tally->failing == 0)
		commit(tally);
	if (counts_full(&tally->counts) || !topic_peek(tally->reader, &i, &batch))
		return false;
	struct stream_reader *lane = &tally->reader->lane[i];
	struct tally_taken taken = tally_take(&tally->counts, &batch, TALLY_POLL_RECORDS);
	stream_pass(lane, &batch, taken.records);
	metric_add(tally->control, TALLY_events, taken.records - taken.bad);
	if (taken.bad != 0)
		metric_add(tally->control, TALLY_bad_records, taken.bad);
	if (tally->due_ns == UINT64_MAX)
		tally->due_ns = stage->now_ns + tally->interval_ns;
	if (tally->failing == 0 && early_commit_is_due(tally, lane)) {
		metric_add(tally->control, TALLY_early_commits, 1);
		commit(tally);
	}
	tally->worked = true;
	return true;
}

/* A database that vanishes while nothing comes in is noticed too, before the next event is
 * counted. */
static void look_at_files(struct tally *tally, uint64_t now_ns)
{
	struct shm_error error;
	if (now_ns < tally->look_ns)
		return;
	tally->look_ns = now_ns + LOOK_NS;
	int result = store_check_files(tally->store, &error);
	if (result != 0)
		note_failure(tally, result, &error);
}

static void look_at_log(struct tally *tally)
{
	struct store_log log;
	store_look_at_log(tally->store, &log);
	metric_set(tally->control, TALLY_log_bytes, log.bytes);
	metric_add(tally->control, TALLY_checkpoints, log.checkpoints - tally->log.checkpoints);
	metric_add(tally->control, TALLY_failed_checkpoints, log.failed - tally->log.failed);
	if (log.reason[0] != '\0' && tally->log.reason[0] == '\0')
		log_error(
		        "cannot copy the database's log into the database, it grows until that works or tally.log_limit is reached",
		        "log_bytes=%llu reason=\"%s\"", (unsigned long long)log.bytes, log.reason);
	if (log.reason[0] == '\0' && tally->log.reason[0] != '\0')
		log_info("the database's log is copied again", "log_bytes=%llu",
		         (unsigned long long)log.bytes);
	tally->log = log;
}

static void tick(struct stage *stage)
{
	struct tally *tally = stage->own;
	struct control *control = tally->control;
	uint64_t waiting = 0, uncommitted = 0;
	if (tally->failing != 0)
		commit(tally);
	else
		look_at_files(tally, stage->now_ns);
	look_at_log(tally);
	for (unsigned i = 0; i < tally->reader->n_lanes; i++) {
		const struct stream_reader *lane = &tally->reader->lane[i];
		waiting += stream_waiting_records(lane);
		uncommitted +=
		        lane->records - atomic_load_explicit(&lane->cursor->records, memory_order_relaxed);
	}
	metric_set(control, TALLY_waiting_records, waiting);
	metric_set(control, TALLY_uncommitted_records, uncommitted);
	metric_set(control, TALLY_applications, tally->counts.n_applications);
	metric_set(control, TALLY_truncated_applications, tally->counts.n_truncated);
	metric_set(control, TALLY_addresses, tally->counts.addresses);
	metric_set(control, TALLY_networks, tally->counts.networks.n);
	metric_set(control, TALLY_beyond_events, tally->counts.beyond);
}

static void sleep_ns(uint64_t ns)
{
	struct timespec time = {.tv_sec = (time_t)(ns / NS_PER_SEC), .tv_nsec = (long)(ns % NS_PER_SEC)};
	(void)nanosleep(&time, NULL); /* a signal ends it early, and that is right */
}

static void wait_for_records(struct tally *tally, uint64_t timeout_ns)
{
	uint64_t begun_ns = clock_monotonic_ns();
	bool rung = topic_wait(tally->reader, timeout_ns);
	tally->dense = rung && clock_monotonic_ns() - begun_ns < NAP_NS;
	metric_add(tally->control, TALLY_waits, 1);
}

static void idle(struct stage *stage, uint64_t timeout_ns)
{
	struct tally *tally = stage->own;
	bool nap = tally->worked && tally->dense;
	tally->worked = false;
	if (nap) {
		metric_add(tally->control, TALLY_naps, 1);
		sleep_ns(timeout_ns < NAP_NS ? timeout_ns : NAP_NS);
		return;
	}
	if (counts_full(
	            /* the bell would ring on: there is something to read, and no room for it */
	            &tally->counts)) {
		sleep_ns(timeout_ns);
		return;
	}
	if (tally->due_ns != UINT64_MAX && tally->failing == 0) {
		uint64_t left_ns = tally->due_ns > stage->now_ns ? tally->due_ns - stage->now_ns : 0;
		timeout_ns = left_ns < timeout_ns ? left_ns : timeout_ns;
	}
	wait_for_records(tally, timeout_ns);
}

/* All is read: the rest is committed now. While that fails the stage stays, until whoever drains it
 * loses patience; the lanes then still hold what the database lacks. */
static bool drained(struct stage *stage)
{
	struct tally *tally = stage->own;
	if (tally->due_ns != UINT64_MAX && tally->failing == 0)
		commit(tally);
	return tally->due_ns == UINT64_MAX;
}

static void fini(struct stage *stage)
{
	struct tally *tally = stage->own;
	struct shm_error error;
	if (tally->due_ns != UINT64_MAX)
		commit(tally);
	tick(stage);
	if (tally->failing == 0 && store_empty_log(tally->store, &error) != 0)
		log_warn("cannot copy the database's log into the database; the next start does",
		         "reason=\"%s\"", error.text);
	ports_close(&tally->ports);
	counts_fini(&tally->counts);
	store_close(tally->store);
	free(tally);
	stage->own = NULL;
}

static uint64_t memory_max(const struct config *config, const char *section)
{
	struct counts_limits limits = tally_limits(config);
	(void)section;
	return counts_bytes_max(&limits);
}

static const struct metric_description metrics[] = {
#define METRIC METRIC_ROW
#include "sink/tally/metrics.def"
#undef METRIC
};

const struct stage_ops tally_stage = {
        .name = "tally",
        .help = "counts IpEvents per application and address, in memory and in SQLite",
        .metrics = metrics,
        .n_metrics = TALLY_METRIC_COUNT,
        .init = init,
        .poll = poll_stage,
        .tick = tick,
        .idle = idle,
        .drained = drained,
        .fini = fini,
        .alone = tally_alone,
        .check = tally_check,
        .memory_max = memory_max,
};
