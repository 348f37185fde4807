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
#define NAP_NS (200 * NS_PER_US)

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
	struct settle settle;
	struct topic_reader *reader; /* of topic ip */
	struct control *control;
	const char *data_dir;
	struct store_log log; /* as of the last look */
	bool worked;          /* since the last idle */
	bool dense;           /* the last time it asked to be woken it was, within NAP_NS */
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

/* ---- the database, as settle.h wants it ---- */

static int commit(void *sink, const struct settle_cursor *cursor, unsigned n, struct shm_error *error)
{
	struct tally *tally = sink;
	uint64_t rows;
	int result = store_commit(tally->store, &tally->counts, cursor, n, &rows, error);
	if (result == 0)
		metric_add(tally->control, TALLY_rows_written, rows);
	return result;
}

static int stored(void *sink, struct settle_cursor *cursor, struct shm_error *error)
{
	struct tally *tally = sink;
	return store_read_cursor(tally->store, cursor, error);
}

/* A database that vanishes while nothing comes in is noticed too, before the next event is
 * counted. */
static int look(void *sink, struct shm_error *error)
{
	struct tally *tally = sink;
	return store_check_files(tally->store, error);
}

static const struct settle_store database = {
        .name = "database", .commit = commit, .stored = stored, .look = look};

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
		shm_explain(
		        error,
		        "no address space for %llu bytes of counts: %s; lower tally.applications or tally.addresses",
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

/* Somebody deleted the database, put an older copy in its place or set another data_dir. Nobody can
 * count those records again. */
static void say_lost(struct tally *tally, uint64_t lost)
{
	settle_note(&tally->settle,
	            "counts are short of %llu records that were read before: not in this " STORE_FILE
	            " (deleted, an older copy, another data_dir?)",
	            (unsigned long long)lost);
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
	settle_init(&tally->settle, &database, tally, &tally->ports, tally->control, TALLY_waiting_records);
	tally->settle.interval_ns = config_ns(stage->config, "tally.commit_interval");
	tally->settle.folder = tally->data_dir;
	result = settle_take_up(&tally->settle, &lost, error);
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
	unsigned lane;
	settle_poll(&tally->settle, stage->now_ns);
	if (counts_full(&tally->counts) || !topic_peek(tally->reader, &lane, &batch))
		return false;
	struct tally_taken taken = tally_take(&tally->counts, &batch, TALLY_POLL_RECORDS);
	metric_add(tally->control, TALLY_events, taken.records - taken.bad);
	if (taken.bad != 0)
		metric_add(tally->control, TALLY_bad_records, taken.bad);
	bool wish = counts_full(&tally->counts) || counts_dirty_rows(&tally->counts) >= TALLY_COMMIT_ROWS;
	settle_pass(&tally->settle, 0, lane, &batch, taken.records, wish, stage->now_ns);
	tally->worked = true;
	return true;
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
	settle_tick(&tally->settle, stage->now_ns);
	look_at_log(tally);
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
	wait_for_records(tally, settle_timeout(&tally->settle, timeout_ns, stage->now_ns));
}

static bool drained(struct stage *stage)
{
	struct tally *tally = stage->own;
	return settle_drained(&tally->settle);
}

static void fini(struct stage *stage)
{
	struct tally *tally = stage->own;
	struct shm_error error;
	bool safe = settle_finish(&tally->settle);
	tick(stage);
	if (safe && store_empty_log(tally->store, &error) != 0)
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
