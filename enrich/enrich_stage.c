#include <errno.h>
#include <stdlib.h>

#include "enrich/data/data_file.h"
#include "enrich/enrich.h"
#include "base/log.h"

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

/* geo.h reads it by itself, again and again: this one only tries. */
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

/* What geo.h has done with the database since the last look. */
static void report_database(struct stage *stage)
{
	struct enrich *enrich = stage->own;
	const struct geo_status *status = geo_status(enrich->enricher.geo);
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
	enrich_read_settings(&enrich->enricher.settings, stage->config);
	int result = enricher_open(&enrich->enricher, error);
	if (result != 0)
		return result;
	result = enrich_open(enrich, &stage->instance, stage->role, share, stage->control, error);
	if (result != 0)
		enricher_close(&enrich->enricher);
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
	tick(stage);
	const struct geo_status *status = geo_status(enrich->enricher.geo);
	log_info("enriching", "database=\"%s\" rules=%u", status->loaded ? status->type : "none",
	         agent_engine_rules(enrich->enricher.engine)->n);
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
	enricher_close(&enrich->enricher);
	free(enrich);
	stage->own = NULL;
}

/* ---- alone ---- */

/* 1: a record was read; 0: end of the file; -1: the file is not what it should be. */
static int read_record(FILE *input, char **buffer, size_t *room)
{
	struct record head;
	size_t n = fread(&head, 1, sizeof head, input);
	if (n == 0 && feof(input))
		return 0;
	size_t bytes = n == sizeof head ? record_bytes(head.length) : 0;
	if (bytes > *room) {
		char *larger = realloc(*buffer, bytes);
		if (larger == NULL)
			return -1;
		*buffer = larger;
		*room = bytes;
	}
	if (bytes < sizeof head)
		return -1;
	*(struct record *)(void *)*buffer = head;
	return fread(*buffer + sizeof head, 1, bytes - sizeof head, input) == bytes - sizeof head ? 1 : -1;
}

static bool write_event(struct enricher *enricher, const struct record *record, FILE *output)
{
	const struct event_track_raw *raw = (const void *)(record + 1);
	char *at = aligned_alloc(RECORD_ALIGN, record_bytes((uint32_t)track_room(raw)));
	if (at == NULL)
		return false;
	uint32_t length = enricher_run(enricher, raw, raw->arrival_ns, at + sizeof(struct record));
	(void)record_put(at, EVENT_TRACK, length);
	bool written = fwrite(at, 1, record_bytes(length), output) == record_bytes(length);
	free(at);
	return written;
}

/* Records of other topics stand between the calls in the file of ingest-http. */
static bool enrich_file(struct enricher *enricher, FILE *input, FILE *output)
{
	char *buffer = NULL;
	size_t room = 0;
	uint64_t malformed = 0;
	int more;
	bool written = true;
	while (written && (more = read_record(input, &buffer, &room)) > 0) {
		const struct record *record = (const void *)buffer;
		if (record->type != EVENT_TRACK_RAW)
			continue;
		if (event_check(record))
			written = write_event(enricher, record, output);
		else
			malformed++;
	}
	free(buffer);
	if (malformed != 0)
		log_warn("records that are no tracking call are left out", "records=%llu",
		         (unsigned long long)malformed);
	if (!written)
		log_error("cannot write the output", NULL);
	else if (more < 0)
		log_error(
		        "the input ends within a record, or is none; it is what ingest-http --output writes",
		        NULL);
	return written && more == 0;
}

int enrich_alone(const struct config *config, FILE *input, FILE *output)
{
	struct enricher *enricher = calloc(1, sizeof *enricher);
	struct shm_error error = {"no memory"};
	bool done = false;
	if (enricher != NULL)
		enrich_read_settings(&enricher->settings, config);
	if (enricher != NULL && enricher_open(enricher, &error) == 0) {
		done = enrich_file(enricher, input, output);
		enricher_close(enricher);
	} else {
		log_error("cannot start", "reason=\"%s\"", error.text);
	}
	free(enricher);
	return done ? 0 : 1;
}

static const struct metric_description metrics[] = {
#define METRIC(name, kind, help) {#name, METRIC_##kind, help},
#include "enrich/metrics.def"
#undef METRIC
};

const struct stage_ops enrich_stage = {
        .name = "enrich",
        .help = "adds country, city and device to tracking calls: reads the topic track.raw, writes the topic track",
        .metrics = metrics,
        .n_metrics = ENRICH_METRIC_COUNT,
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
