/* bench-enrich-agent: User-Agents alone, in memory, on one core.
 *
 *     never seen    each agent once (versions are changed so that no two are the same)    beside all rules in order
 *     come back     1,000 agents in Zipf order through the cache                          beside working each out
 *
 * The agents are those of uap-core's own test files (MILLRACE_UAP_CORE, else ../shared/uap-core), or, where they are not, those below. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/turns.h"
#include "enrich/agent/cache.h"
#include "enrich/data/data_file.h"
#include "stage/clock.h"

#define TURNS       15u
#define TURN_NS     (40 * NS_PER_MS)
#define AGENTS      20000u /* never seen, a turn's stock */
#define AGENT_BYTES 600u
#define POPULAR     1000u
#define DRAWN       (1u << 16)
#define REAL_MOST   20000u

struct text {
	char data[AGENT_BYTES];
	size_t bytes;
};

static struct text fresh[AGENTS], popular[POPULAR];
static uint16_t drawn[DRAWN]; /* indexes of popular agents, in Zipf order */
static char *real[REAL_MOST]; /* agents of the test files */
static unsigned n_real;
static struct agent_engine *engine;
static struct agent_cache *cache;

static const char *const samples[] = {
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 "
        "Safari/537.36",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        "Version/17.1 "
        "Safari/605.1.15",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        "Version/17.1 "
        "Mobile/15E148 Safari/604.1",
        "Mozilla/5.0 (Linux; Android 13; SM-S911B) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/119.0.0.0 "
        "Mobile "
        "Safari/537.36",
        "Mozilla/5.0 (Linux; Android 10; HTC Desire 19+ Build/QP1A) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/118.0.5993.111 Mobile Safari/537.36",
        "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0",
        "Mozilla/5.0 (Windows NT 6.1; WOW64; Trident/7.0; rv:11.0) like Gecko",
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "curl/7.88.1",
        "Opera/9.80 (Android; Opera Mini/36.2.2254/119.132; U; id) Presto/2.12.423 Version/12.16",
        "NightstandPaid-iPad/1.3.1 CFNetwork/548.1.4 Darwin/11.0.0",
        "Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/79.0.3945.79 "
        "Safari/537.36",
};

/* The agent with its last number replaced by one that no other has. */
static struct text changed(const char *agent, unsigned n)
{
	struct text text;
	size_t end = strlen(agent);
	while (end > 0 && !(agent[end - 1] >= '0' && agent[end - 1] <= '9'))
		end--;
	size_t begin = end;
	while (begin > 0 && agent[begin - 1] >= '0' && agent[begin - 1] <= '9')
		begin--;
	text.bytes = (size_t)snprintf(text.data, sizeof text.data, "%.*s%u%s", (int)begin, agent, n,
	                              end > 0 ? agent + end : agent);
	if (text.bytes >= sizeof text.data)
		text.bytes = sizeof text.data - 1;
	return text;
}

/* Reads the agents of one of uap-core's test files: a line each, "- user_agent_string: 'it''s one'". */
static void read_agents(const char *name)
{
	static const char key[] = "- user_agent_string: '";
	char path[4096], line[4096];
	const char *folder = getenv("MILLRACE_UAP_CORE");
	snprintf(path, sizeof path, "%s/%s", folder ? folder : "../shared/uap-core", name);
	FILE *file = fopen(path, "r");
	while (file && n_real < REAL_MOST && fgets(line, sizeof line, file)) {
		const char *at = strstr(line, key), *end = strrchr(line, '\'');
		if (!at || end < at + sizeof key)
			continue;
		char *to = line;
		for (at += sizeof key - 1; at < end; at++) {
			*to++ = *at;
			at += *at == '\''; /* quotes are doubled */
		}
		*to = 0;
		real[n_real] = strdup(line);
		n_real += real[n_real] != NULL;
	}
	if (file)
		fclose(file);
}

/* Returns where they come from. */
static const char *make_agents(void)
{
	read_agents("test_ua.yaml");
	read_agents("test_os.yaml");
	read_agents("test_device.yaml");
	for (unsigned i = 0; i < AGENTS; i++) {
		unsigned at = (unsigned)random();
		fresh[i] = changed(
		        n_real > 0 ? real[at % n_real] : samples[at % (sizeof samples / sizeof *samples)], i);
	}
	memcpy(popular, fresh, sizeof popular);
	double sum = 0, upto[POPULAR];
	for (unsigned i = 0; i < POPULAR; i++)
		upto[i] = sum += 1.0 / (i + 1);
	for (unsigned i = 0; i < DRAWN; i++) {
		double at = sum * (double)random() / RAND_MAX;
		unsigned rank = 0;
		while (rank + 1 < POPULAR && upto[rank] < at)
			rank++;
		drawn[i] = (uint16_t)rank;
	}
	return n_real > 0 ? "uap-core's test files" : "samples";
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
	const struct text *text = &popular[drawn[i % DRAWN]];
	agent_parse(engine, text->data, text->bytes, &agent);
}

static void look_up(unsigned i)
{
	static struct agent agent;
	const struct text *text = &popular[drawn[i % DRAWN]];
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

int main(int argc, char **argv)
{
	static const struct option options[] = {
	        {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	bool json = false;
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (c != 'j') {
			fprintf(c == 'h' ? stdout : stderr, "usage: bench-enrich-agent [--json]\n");
			return c == 'h' ? 0 : 2;
		}
		json = true;
	}
	return run(json, make_agents());
}
