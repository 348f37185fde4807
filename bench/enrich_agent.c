/* bench-enrich-agent: User-Agents alone, in memory, on one core.
 *
 *     never seen    each agent once (versions are changed so that no two are the same)    against all rules in order
 *     come back     1,000 agents in Zipf order through the cache                          against working each out
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/agents.h"
#include "bench/options.h"
#include "bench/turns.h"
#include "enrich/agent/cache.h"
#include "enrich/data/data_file.h"
#include "base/clock.h"

#define TURNS   15u
#define TURN_NS (40 * NS_PER_MS)
#define AGENTS  20000u /* never seen, a turn's stock */
#define POPULAR 1000u
#define DRAWN   (1u << 16)

static struct agents_text fresh[AGENTS], popular[POPULAR];
static uint32_t drawn[DRAWN]; /* indexes of popular agents, in Zipf order */
static struct agent_engine *engine;
static struct agent_cache *cache;

static void make_agents(void)
{
	for (unsigned i = 0; i < AGENTS; i++)
		agents_make(&fresh[i], i);
	memcpy(popular, fresh, sizeof popular);
	agents_draw_zipf(drawn, DRAWN, POPULAR);
}

/* One of the ways that are measured: works on the i-th text. */
typedef void work_fn(unsigned i);

static void work_out(unsigned i)
{
	static struct agent agent;
	agent_parse(engine, fresh[i % AGENTS].data, fresh[i % AGENTS].bytes, &agent);
}

static void work_out_popular(unsigned i)
{
	static struct agent agent;
	const struct agents_text *text = &popular[drawn[i % DRAWN]];
	agent_parse(engine, text->data, text->bytes, &agent);
}

static void look_up(unsigned i)
{
	static struct agent agent;
	const struct agents_text *text = &popular[drawn[i % DRAWN]];
	if (agent_cache_get(cache, text->data, text->bytes))
		return;
	agent_parse(engine, text->data, text->bytes, &agent);
	agent_cache_put(cache, text->data, text->bytes, &agent);
}

/* Agents a second, counted from where the last turn ended. */
static double rate(work_fn *work, unsigned *at, unsigned step)
{
	uint64_t begin = clock_monotonic_ns(), now;
	unsigned first = *at;
	do {
		for (unsigned i = 0; i < step; i++)
			work((*at)++);
		now = clock_monotonic_ns();
	} while (now - begin < TURN_NS);
	return (double)(*at - first) * NS_PER_SEC / (double)(now - begin);
}

static struct turns take_turns(work_fn *ours, work_fn *reference, bool filter)
{
	struct turns turns = {.n = 0};
	unsigned at = 0, reference_at = 0;
	for (unsigned i = 0; i < TURNS; i++) {
		double here = rate(ours, &at, 512);
		matcher_set_filter(agent_engine_matcher(engine), filter);
		turns_add(&turns, here, rate(reference, &reference_at, 16));
		matcher_set_filter(agent_engine_matcher(engine), true);
	}
	return turns;
}

static void print_json(const char *name, const struct turns *turns, bool last)
{
	printf("  \"%s\": {\"per_second\": %.0f, \"reference_per_second\": %.0f, \"ratio\": %.2f}%s\n", name,
	       turns_median(turns->ours, turns->n), turns_median(turns->reference, turns->n),
	       turns_ratio(turns), last ? "" : ",");
}

static void print_text(const char *what, const struct turns *turns, const char *ours, const char *reference)
{
	turns_print(turns, what, ours, reference);
	printf("  %s %.3f us each, %s %.2f us\n", ours, 1e6 / turns_median(turns->ours, turns->n), reference,
	       1e6 / turns_median(turns->reference, turns->n));
}

static int run(bool json, const char *source)
{
	uint64_t begin = clock_monotonic_ns();
	char path[4096], error[RULES_ERROR_BYTES];
	if (data_file_find(path, sizeof path, getenv("MILLRACE_REGEXES"), DATA_FILE_AGENTS) != 0) {
		fprintf(stderr, "bench-enrich-agent: no regexes.yaml (make data)\n");
		return 1;
	}
	engine = agent_engine_create(path, AGENT_LONGEST, error);
	cache = agent_cache_create(AGENT_CACHE_ENTRIES, 0);
	if (!engine || !cache) {
		fprintf(stderr, "bench-enrich-agent: %s\n", engine ? "out of memory" : error);
		return 1;
	}
	double start_ms = (double)(clock_monotonic_ns() - begin) / NS_PER_MS;
	if (!json)
		printf("%u different agents made from %s; start-up %.0f ms\n", AGENTS, source, start_ms);
	struct turns seen_once = take_turns(work_out, work_out, false);
	struct turns coming_back = take_turns(look_up, work_out_popular, true);
	if (json) {
		printf("{\n  \"start_up_ms\": %.1f,\n", start_ms);
		print_json("never_seen", &seen_once, false);
		print_json("come_back", &coming_back, true);
		printf("}\n");
	} else {
		print_text("never seen, one core", &seen_once, "literals first", "all rules in order");
		print_text("1,000 agents in Zipf order", &coming_back, "cache", "no cache");
	}
	agent_cache_destroy(cache);
	agent_engine_destroy(engine);
	return 0;
}

static void help(void)
{
	puts("usage: bench-enrich-agent [--json]");
}

int main(int argc, char **argv)
{
	bool json = false;
	const struct option_row rows[] = {{"json", OPTION_ON, &json, 0, 0}};
	int done = options_read(argc, argv, "bench-enrich-agent", rows, 1, help);
	if (done >= 0)
		return done;
	const char *source = agents_load();
	make_agents();
	return run(json, source);
}
