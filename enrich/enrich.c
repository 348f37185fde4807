#include "enrich/enrich.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "enrich/data/data_file.h"

#define FULL_WAIT_NS NS_PER_MS /* a reader that makes room rings no bell */

static const struct metric_description metrics[] = {
#define METRIC    METRIC_ROW
#define HISTOGRAM HISTOGRAM_ROW
#include "enrich/metrics.def"
#undef METRIC
#undef HISTOGRAM
};

/* ---- joining ---- */

int enrich_open(struct enrich *enrich, const struct instance *instance, const char *role,
                struct topic_share share, struct control *control, struct shm_error *error)
{
	struct ports_wanted wanted = ports_declared(instance, role, NULL);
	wanted.share = share;
	wanted.lane = &enrich->lane;
	wanted.redo = &enrich->redo;
	wanted.control = control;
	wanted.recovered_notes = ENRICH_recovered_notes;
	int result = ports_open(&enrich->ports, &wanted, error);
	if (result != 0) {
		enrich_close(enrich);
		return result;
	}
	enrich->control = control;
	enrich->taken_after = metric_row(metrics, ENRICH_taken_after_us);
	enrich->reader = &enrich->ports.reader[0];
	return 0;
}

void enrich_close(struct enrich *enrich)
{
	ports_close(&enrich->ports);
	enrich->reader = NULL;
	record_copy_fini(&enrich->copy);
}

/* ---- one batch ---- */

/* False when the lane has no room for it. */
static bool take(struct enrich *enrich, const struct record *record, uint64_t now_ns)
{
	struct lane *lane = &enrich->lane;
	if (record->type != EVENT_TRACK_RAW || !event_check(record)) {
		lane->received++;
		lane->rejected[LEDGER_MALFORMED]++;
		metric_add(enrich->control, ENRICH_malformed, 1);
		return true;
	}
	const struct event_track_raw *raw = (const void *)(record + 1);
	size_t room = record_bytes((uint32_t)track_room(raw));
	char *at = lane_room(lane, room);
	if (at == NULL && room <= lane->most)
		return false;
	lane->received++;
	if (at == NULL) {
		lane->rejected[LEDGER_TOO_LARGE]++;
		return true;
	}
	uint32_t length = lookup_event(&enrich->lookup, raw, now_ns, at + sizeof(struct record));
	(void)record_put(at, EVENT_TRACK, length);
	lane_keep(lane, record_bytes(length));
	return true;
}

/* Takes records of one batch until there are enough, or one finds no room. Returns how many were
 * taken; batch stands after the last. */
static uint64_t take_batch(struct enrich *enrich, struct record_batch *batch, uint64_t now_ns)
{
	uint64_t n = 0;
	while (n < ENRICH_BATCH) {
		struct record_batch before = *batch;
		const struct record *record = record_next(batch);
		if (record == NULL)
			break;
		/* The room for the event and the event itself are made from the same lengths: those
		 * of the copy. Without memory it is as without room: tried again. */
		record = record_copy(&enrich->copy, record->payload, batch->length, batch->type);
		if (record == NULL || !take(enrich, record, now_ns)) {
			*batch = before;
			enrich->full = true;
			break;
		}
		n++;
	}
	return n;
}

bool enrich_poll(struct enrich *enrich)
{
	unsigned lane;
	struct record_batch batch;
	enrich->full = false;
	if (!topic_peek(enrich->reader, &lane, &batch))
		return false;
	uint64_t now_ns = clock_real_ns(), arrival_ns = event_batch_arrival(&batch);
	uint64_t n = take_batch(enrich, &batch, now_ns);
	if (n == 0 && !batch.corrupt)
		return false;
	stream_pass(&enrich->reader->lane[lane], &batch, n);
	ports_note(&enrich->ports, 0, lane);
	ports_commit(&enrich->ports);
	metric_add(enrich->control, ENRICH_events, n);
	metric_add(enrich->control, ENRICH_commits, 1);
	if (arrival_ns != 0 && n != 0)
		metric_observe(enrich->control, enrich->taken_after, ENRICH_taken_after_us,
		               clock_since_ns(arrival_ns, now_ns) / NS_PER_US);
	enrich->commits++;
	return true;
}

void enrich_idle(struct enrich *enrich, uint64_t timeout_ns)
{
	if (!enrich->full) {
		metric_add(enrich->control, ENRICH_waits, 1);
		(void)topic_wait(enrich->reader, timeout_ns);
		return;
	}
	metric_add(enrich->control, ENRICH_full_waits, 1);
	clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = (long)FULL_WAIT_NS}, NULL);
}

bool enrich_drained(struct enrich *enrich, uint64_t now_ns)
{
	const struct instance_page *page = enrich->reader->instance->page;
	if (!enrich->full || atomic_load_explicit(&page->draining, memory_order_acquire) == 0)
		return true;
	if (enrich->stuck.since_ns == 0 || enrich->stuck.commits != enrich->commits) {
		enrich->stuck.since_ns = now_ns;
		enrich->stuck.commits = enrich->commits;
	}
	return now_ns - enrich->stuck.since_ns >= ENRICH_PATIENCE_NS;
}

/* ---- tick ---- */

/* Counters of parts that count for themselves: the metric becomes what a former life left plus what
 * this one has. */
static void count_on(struct enrich *enrich, enum enrich_metric metric, uint64_t now, uint64_t *seen)
{
	metric_add(enrich->control, metric, now - *seen);
	*seen = now;
}

static uint64_t age_s(const struct geo_status *status)
{
	uint64_t now_s = clock_real_ns() / NS_PER_SEC;
	return status->loaded && now_s > status->build_epoch ? now_s - status->build_epoch : 0;
}

static void show_database(struct enrich *enrich)
{
	const struct geo_status *status = geo_status(enrich->lookup.geo);
	metric_set(enrich->control, ENRICH_country_database_loaded, status->loaded);
	metric_set(enrich->control, ENRICH_country_database_nodes, status->nodes);
	metric_set(enrich->control, ENRICH_country_database_age_seconds, age_s(status));
	count_on(enrich, ENRICH_country_database_loads, status->loads, &enrich->seen.loads);
	count_on(enrich, ENRICH_country_database_refusals, status->refusals, &enrich->seen.refusals);
}

/* What metrics cannot say: which database it is, and what is wrong with a newer one. */
static void write_note(struct enrich *enrich)
{
	const struct geo_status *status = geo_status(enrich->lookup.geo);
	char database[128] = "no country database, all are XX", built[16] = "?";
	time_t epoch = (time_t)status->build_epoch;
	struct tm day;
	if (gmtime_r(&epoch, &day) != NULL)
		(void)strftime(built, sizeof built, "%F", &day);
	if (status->loaded)
		snprintf(database, sizeof database, "countries: %s of %s, %llu days old", status->type, built,
		         (unsigned long long)(age_s(status) / 86400));
	control_note(enrich->control, "%s; %u agent rules%s%s", database,
	             agent_engine_rules(enrich->lookup.engine)->n,
	             status->refusal[0] != '\0' ? "; refused a new file: " : "", status->refusal);
}

void enrich_tick(struct enrich *enrich, uint64_t now_ns)
{
	struct lookup *lookup = &enrich->lookup;
	(void)geo_check(lookup->geo, now_ns);
	show_database(enrich);
	write_note(enrich);
	const struct agent_cache_counts *cache = agent_cache_counts(lookup->cache);
	const struct matcher *matcher = agent_engine_matcher(lookup->engine);
	count_on(enrich, ENRICH_agent_cache_hits, cache->hits, &enrich->seen.hits);
	count_on(enrich, ENRICH_agent_cache_misses, cache->misses, &enrich->seen.misses);
	count_on(enrich, ENRICH_countries_unknown, lookup->countries_unknown, &enrich->seen.unknown);
	count_on(enrich, ENRICH_agent_rules_given_up, matcher_counts(matcher)->given_up,
	         &enrich->seen.given_up);
	metric_set(enrich->control, ENRICH_agent_cache_entries, cache->entries);
	metric_set(enrich->control, ENRICH_agent_rules, agent_engine_rules(lookup->engine)->n);
}

void enrich_replace_rules(struct enrich *enrich, struct agent_engine *engine)
{
	struct lookup *lookup = &enrich->lookup;
	count_on(enrich, ENRICH_agent_rules_given_up,
	         matcher_counts(agent_engine_matcher(lookup->engine))->given_up, &enrich->seen.given_up);
	enrich->seen.given_up = 0; /* the new one counts from 0 */
	agent_engine_destroy(lookup->engine);
	lookup->engine = engine;
	agent_cache_clear(lookup->cache);
}

/* ---- files ---- */

static int find_rules(char *path, size_t size, const char *configured)
{
	return data_file_find(path, size, configured, DATA_FILE_AGENTS);
}

static int find_database(char *path, size_t size, const char *configured)
{
	return data_file_find(path, size, configured, DATA_FILE_COUNTRY);
}

static int load_rules(const struct config *config, const char *path, void **loaded, struct shm_error *error)
{
	char reason[RULES_ERROR_BYTES];
	*loaded = agent_engine_create(path, config_u64(config, "enrich.agent_longest"), reason);
	if (*loaded != NULL)
		return 0;
	shm_explain(error, "%s", reason);
	return -EINVAL;
}

static void discard_rules(void *loaded)
{
	agent_engine_destroy(loaded);
}

/* Between two polls. */
static void replace_rules(struct stage *stage, void *loaded)
{
	enrich_replace_rules(stage->own, loaded);
}

/* geo.h watches and reads the file itself; this only tries it. */
static int load_database(const struct config *config, const char *path, void **loaded,
                         struct shm_error *error)
{
	(void)config;
	*loaded = NULL;
	return geo_try(path, error);
}

static const struct stage_file files[] = {
        {.option = "agent_rules",
         .find = find_rules,
         .load = load_rules,
         .discard = discard_rules,
         .replace = replace_rules},
        {.option = "country_database", .dispensable = true, .find = find_database, .load = load_database},
};

/* Reports what geo.h has done with the database since the last tick. */
static void report_database(struct stage *stage)
{
	struct enrich *enrich = stage->own;
	const struct geo_status *status = geo_status(enrich->lookup.geo);
	if (status->loads != enrich->reported.loads || status->refusals != enrich->reported.refusals)
		stage_file_report(stage, "country_database", status->loads != enrich->reported.loads,
		                  status->refusal);
	enrich->reported.loads = status->loads;
	enrich->reported.refusals = status->refusals;
}

/* ---- the stage ---- */

static int open_all(struct enrich *enrich, struct stage *stage, struct shm_error *error)
{
	struct topic_share share = {.index = stage->index,
	                            .n = (unsigned)config_u64(stage->config, "enrich.processes")};
	lookup_read_settings(&enrich->lookup.settings, stage->config);
	int result = lookup_open(&enrich->lookup, error);
	if (result != 0)
		return result;
	result = enrich_open(enrich, &stage->instance, stage->role, share, stage->control, error);
	if (result != 0)
		lookup_close(&enrich->lookup);
	return result;
}

static void tick(struct stage *stage)
{
	enrich_tick(stage->own, stage->now_ns);
	report_database(stage);
}

static int init(struct stage *stage, struct shm_error *error)
{
	struct enrich *enrich = calloc(1, sizeof *enrich);
	if (enrich == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	int result = open_all(enrich, stage, error);
	if (result != 0) {
		free(enrich);
		return result;
	}
	stage->own = enrich;
	stage->ports = &enrich->ports;
	tick(stage);
	const struct geo_status *status = geo_status(enrich->lookup.geo);
	log_info("enriching", "database=\"%s\" rules=%u", status->loaded ? status->type : "none",
	         agent_engine_rules(enrich->lookup.engine)->n);
	return 0;
}

static bool poll_stage(struct stage *stage)
{
	return enrich_poll(stage->own);
}

static void idle(struct stage *stage, uint64_t timeout_ns)
{
	enrich_idle(stage->own, timeout_ns);
}

static bool drained(struct stage *stage)
{
	return enrich_drained(stage->own, stage->now_ns);
}

static void fini(struct stage *stage)
{
	struct enrich *enrich = stage->own;
	enrich_tick(enrich, stage->now_ns);
	enrich_close(enrich);
	lookup_close(&enrich->lookup);
	free(enrich);
	stage->own = NULL;
}

const struct stage_ops enrich_stage = {
        .name = "enrich",
        .help = "adds country, city and device to tracking calls: reads the topic track.raw, writes the topic track",
        .metrics = metrics,
        .n_metrics = sizeof metrics / sizeof metrics[0],
        .init = init,
        .poll = poll_stage,
        .tick = tick,
        .idle = idle,
        .drained = drained,
        .fini = fini,
        .alone = enrich_alone,
        .files = files,
        .n_files = sizeof files / sizeof *files,
};
