/* bench-enrich: the enrich stage's own loop on one core, from the lane of track.raw to the lane of
 * track: reader, lookup, lane, commit.
 *
 *   1. 1,000 agents in Zipf order, 100,000 clients the same      against the same loop that only copies the records
 *   2. agents never seen before                                  against the same loop with all rules tried in order
 *   3. memory before and after a flood of agents never seen
 *
 * Calls are put into their lane, and events thrown away, while the clock stands. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/agents.h"
#include "bench/enrich_channel.h"
#include "bench/options.h"
#include "bench/turns.h"
#include "enrich/data/data_file.h"
#include "event/event.h"
#include "base/log.h"
#include "base/output.h"

#define TURN_NS    (60 * NS_PER_MS)
#define POPULAR    1000u
#define CLIENTS    100000u
#define CALLS      16384u /* made beforehand for part 1 */
#define CALL_BYTES 1024u
#define SLOW_CALLS 64u /* at a time where each takes 100 us and more */

struct options {
	unsigned turns, agents;
	bool json;
};

static struct channel channel;
static struct enrich enrich;
static uint32_t client[CLIENTS];   /* IPv4 addresses */
static struct record *call[CALLS]; /* 1,000 agents in Zipf order */
static struct record *fresh[CHANNEL_CALLS];
static unsigned n_agents; /* made so far */

/* ---- calls ---- */

static void write_call(struct record *at, const struct agents_text *agent, uint32_t address)
{
	static const char type[] = "app_open", host[] = "track.example.com";
	char query[128];
	size_t n =
	        (size_t)snprintf(query, sizeof query,
	                         "deviceid=%ld&ts=1510826008003&referrer=website&text=shoes%%20%%26%%20%ld",
	                         random() % 100000, random() % 1000);
	size_t length = sizeof(struct event_track_raw) + sizeof type - 1 + n + agent->bytes + sizeof host - 1;
	struct event_track_raw *raw = record_put(at, EVENT_TRACK_RAW, (uint32_t)length);
	*raw = (struct event_track_raw){
	        .arrival_ns = clock_real_ns(),
	        .source = {[10] = 0xff, [11] = 0xff},
	        .type_bytes = sizeof type - 1,
	        .query_bytes = (uint32_t)n,
	        .agent_bytes = (uint16_t)agent->bytes,
	        .host_bytes = sizeof host - 1,
	};
	for (unsigned i = 0; i < 4; i++)
		raw->source[12 + i] = (uint8_t)(address >> (24 - 8 * i));
	char *to = mempcpy(raw->text, type, sizeof type - 1);
	to = mempcpy(to, query, n);
	to = mempcpy(to, agent->data, agent->bytes);
	memcpy(to, host, sizeof host - 1);
}

static struct record *new_record(void)
{
	struct record *record = aligned_alloc(RECORD_ALIGN, CALL_BYTES);
	if (record == NULL)
		exit(1);
	return record;
}

static void make_calls(void)
{
	static struct agents_text popular[POPULAR];
	static uint32_t agent_of[CALLS], client_of[CALLS];
	for (unsigned i = 0; i < POPULAR; i++)
		agents_make(&popular[i], n_agents++);
	for (unsigned i = 0; i < CLIENTS; i++)
		client[i] = (uint32_t)random() << 1 ^ (uint32_t)random();
	agents_draw_zipf(agent_of, CALLS, POPULAR);
	agents_draw_zipf(client_of, CALLS, CLIENTS);
	for (unsigned i = 0; i < CALLS; i++) {
		call[i] = new_record();
		write_call(call[i], &popular[agent_of[i]], client[client_of[i]]);
	}
	for (unsigned i = 0; i < CHANNEL_CALLS; i++)
		fresh[i] = new_record();
}

static void make_fresh(unsigned n)
{
	struct agents_text agent;
	for (unsigned i = 0; i < n; i++) {
		agents_make(&agent, n_agents++);
		write_call(fresh[i], &agent, client[random() % CLIENTS]);
	}
}

/* ---- turns ---- */

static bool poll_enrich(void)
{
	return enrich_poll(&enrich);
}

static bool poll_copy(void)
{
	return channel_copy(&channel);
}

/* Time in which one side takes all that lies in the lane. */
static uint64_t timed(bool (*poll)(void))
{
	uint64_t begin_ns = clock_monotonic_ns();
	while (poll())
		;
	return clock_monotonic_ns() - begin_ns;
}

static void check_count(uint64_t events, unsigned n)
{
	if (events == n)
		return;
	fprintf(stderr, "bench-enrich: %llu events of %u calls\n", (unsigned long long)events, n);
	exit(1);
}

/* Both sides take the same calls, now one first, now the other. */
static void turn_of_popular(struct turns *turns)
{
	static unsigned at;
	uint64_t n = 0, ours_ns = 0, copy_ns = 0;
	for (unsigned round = 0; ours_ns + copy_ns < TURN_NS; round++) {
		channel_fill(&channel, (const struct record *const *)&call[at], CHANNEL_CALLS);
		at = (at + CHANNEL_CALLS) % CALLS;
		if (round % 2 == 0)
			copy_ns += timed(poll_copy);
		ours_ns += timed(poll_enrich);
		if (round % 2 != 0)
			copy_ns += timed(poll_copy);
		check_count(channel_empty(&channel), CHANNEL_CALLS);
		n += CHANNEL_CALLS;
	}
	turns_add(turns, (double)n * NS_PER_SEC / (double)ours_ns, (double)n * NS_PER_SEC / (double)copy_ns);
}

/* Enriches `n` calls at a time whose agents were never seen, for a turn. Returns the rate. */
static double rate_of_fresh(unsigned n)
{
	uint64_t done = 0, ns = 0;
	while (ns < TURN_NS) {
		make_fresh(n);
		channel_fill(&channel, (const struct record *const *)fresh, n);
		ns += timed(poll_enrich);
		(void)timed(poll_copy);
		check_count(channel_empty(&channel), n);
		done += n;
	}
	return (double)done * NS_PER_SEC / (double)ns;
}

static void turn_of_fresh(struct turns *turns)
{
	struct matcher *matcher = agent_engine_matcher(enrich.lookup.engine);
	double ours = rate_of_fresh(CHANNEL_CALLS);
	matcher_set_filter(matcher, false);
	double reference = rate_of_fresh(SLOW_CALLS);
	matcher_set_filter(matcher, true);
	turns_add(turns, ours, reference);
}

/* ---- memory ---- */

/* What the process has to itself, KiB: lanes are not in it. */
static unsigned long anonymous_kib(void)
{
	unsigned long kib = 0;
	char line[256];
	FILE *file = fopen("/proc/self/status", "re");
	while (file != NULL && fgets(line, sizeof line, file) != NULL)
		if (sscanf(line, "RssAnon: %lu", &kib) == 1)
			break;
	if (file != NULL)
		fclose(file);
	return kib;
}

struct memory {
	unsigned long before_kib, after_kib; /* before the first call */
	unsigned agents;
};

static void flood(struct memory *memory, unsigned agents)
{
	for (; memory->agents < agents; memory->agents += CHANNEL_CALLS) {
		make_fresh(CHANNEL_CALLS);
		channel_fill(&channel, (const struct record *const *)fresh, CHANNEL_CALLS);
		(void)timed(poll_enrich);
		(void)timed(poll_copy);
		check_count(channel_empty(&channel), CHANNEL_CALLS);
	}
	memory->after_kib = anonymous_kib();
}

/* ---- what comes out ---- */

static void print_text(const char *source, const struct turns *popular, const struct turns *seen_once,
                       const struct memory *memory)
{
	const struct geo_status *status = geo_status(enrich.lookup.geo);
	printf("agents made from %s; %u rules; countries: %s\n", source,
	       agent_engine_rules(enrich.lookup.engine)->n,
	       status->loaded ? status->type : "no database (make data), all are XX");
	turns_print(popular, "1,000 agents in Zipf order, one core", "enriched", "only copied");
	printf("  %.0f ns an event, %.0f ns a copy\n", 1e9 / turns_median(popular->ours, popular->n),
	       1e9 / turns_median(popular->reference, popular->n));
	turns_print(seen_once, "agents never seen before, one core", "enriched", "all rules in order");
	printf("  %.2f us an event, all rules in order %.1f us\n",
	       1e6 / turns_median(seen_once->ours, seen_once->n),
	       1e6 / turns_median(seen_once->reference, seen_once->n));
	if (memory->agents > 0)
		printf("memory of its own before the first call %.1f MiB (%.0f of them the calls of this benchmark), after %u agents never seen %.1f MiB; the cache may take %.1f MiB\n",
		       (double)memory->before_kib / 1024,
		       (double)CALL_BYTES * (CALLS + CHANNEL_CALLS) / (1 << 20), memory->agents,
		       (double)memory->after_kib / 1024,
		       (double)agent_cache_bytes(enrich.lookup.settings.agent_cache) / (1 << 20));
}

static void print_json(const struct turns *popular, const struct turns *seen_once,
                       const struct memory *memory)
{
	printf("{\"bench\":\"enrich\",\"rules\":%u,\"country_database\":%s,", //
	       agent_engine_rules(enrich.lookup.engine)->n,
	       geo_status(enrich.lookup.geo)->loaded ? "true" : "false");
	printf("\"zipf\":{\"per_s\":%.0f,\"copy_per_s\":%.0f,\"ratio\":%.3f},",
	       turns_median(popular->ours, popular->n), turns_median(popular->reference, popular->n),
	       turns_ratio(popular));
	printf("\"never_seen\":{\"per_s\":%.0f,\"all_rules_per_s\":%.0f,\"ratio\":%.2f},",
	       turns_median(seen_once->ours, seen_once->n), turns_median(seen_once->reference, seen_once->n),
	       turns_ratio(seen_once));
	printf("\"memory\":{\"agents\":%u,\"before_kib\":%lu,\"after_kib\":%lu,\"cache_bytes\":%zu}}\n",
	       memory->agents, memory->before_kib, memory->after_kib,
	       agent_cache_bytes(enrich.lookup.settings.agent_cache));
}

/* With the settings of the default configuration. */
static void open_lookup(void)
{
	struct shm_error error = {""};
	char *errors = NULL, path[4096];
	const char *database = getenv("MILLRACE_MMDB"), *rules = getenv("MILLRACE_REGEXES");
	struct config *config = config_load(NULL, NULL, 0, &errors);
	if (config == NULL) {
		fprintf(stderr, "bench-enrich: %s", errors);
		exit(1);
	}
	lookup_read_settings(&enrich.lookup.settings,
	                     config); /* the configuration stays: its texts are used */
	enrich.lookup.settings.database = database != NULL ? database : "";
	enrich.lookup.settings.rules = rules != NULL ? rules : "";
	if (data_file_find(path, sizeof path, rules, DATA_FILE_AGENTS) != 0) {
		fprintf(stderr,
		        "bench-enrich: there is no regexes.yaml, so there is nothing to measure; make data fetches it\n");
		exit(1);
	}
	if (lookup_open(&enrich.lookup, &error) != 0) {
		fprintf(stderr, "bench-enrich: %s\n", error.text);
		exit(1);
	}
}

static int run(const struct options *options)
{
	struct turns popular = {0}, seen_once = {0};
	const char *source = agents_load();
	turns_pin(0);
	open_lookup();
	channel_open(&channel, &enrich);
	make_calls();
	struct memory memory = {.before_kib = anonymous_kib()};
	turn_of_popular(&popular); /* not counted: caches fill */
	popular.n = 0;
	for (unsigned i = 0; i < options->turns; i++)
		turn_of_popular(&popular);
	for (unsigned i = 0; i < options->turns; i++)
		turn_of_fresh(&seen_once);
	flood(&memory, options->agents);
	if (options->json)
		print_json(&popular, &seen_once, &memory);
	else
		print_text(source, &popular, &seen_once, &memory);
	channel_close(&channel);
	lookup_close(&enrich.lookup);
	return 0;
}

static void help(void)
{
	puts("Usage: millrace bench enrich [options]\n"
	     "\n"
	     "Sends tracking calls through the enrich stage's own loop on one core, with the rules and the country\n"
	     "database that `make data` fetches ($MILLRACE_REGEXES, $MILLRACE_MMDB: others).\n"
	     "\n"
	     "  --turns N    turns of each side, 1 to 64 (default 15)\n"
	     "  --agents N   agents never seen for the measurement of memory (default 2000000, 0 for none)\n"
	     "  --json       one JSON object instead of text\n"
	     "\n"
	     "Exit status: 0 measured, 1 failed or there are no rules, 2 usage.");
}

static int run_bench(int argc, char **argv)
{
	struct options options = {.turns = 15, .agents = 2000000};
	const struct option_row rows[] = {
	        {"turns", OPTION_COUNT, &options.turns, 1, TURNS_MAX},
	        {"agents", OPTION_COUNT, &options.agents, 0, UINT32_MAX},
	        {"json", OPTION_ON, &options.json, 0, 0},
	};
	int done = options_read(argc, argv, "bench-enrich", rows, sizeof rows / sizeof *rows, help);
	if (done >= 0)
		return done;
	log_init("bench-enrich", LOG_ERROR, LOG_TEXT);
	return run(&options);
}

int main(int argc, char **argv)
{
	output_no_size_signal();
	int status = run_bench(argc, argv);
	return status != 0 ? status : output_finish("bench-enrich");
}
