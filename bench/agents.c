#include "bench/agents.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REAL_MOST 20000u

static char *real[REAL_MOST]; /* agents of the test files */
static unsigned n_real;

static const char *const samples[] = {
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Safari/605.1.15",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Mobile/15E148 Safari/604.1",
        "Mozilla/5.0 (Linux; Android 13; SM-S911B) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/119.0.0.0 Mobile Safari/537.36",
        "Mozilla/5.0 (Linux; Android 10; HTC Desire 19+ Build/QP1A) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/118.0.5993.111 Mobile Safari/537.36",
        "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0",
        "Mozilla/5.0 (Windows NT 6.1; WOW64; Trident/7.0; rv:11.0) like Gecko",
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "curl/7.88.1",
        "Opera/9.80 (Android; Opera Mini/36.2.2254/119.132; U; id) Presto/2.12.423 Version/12.16",
        "NightstandPaid-iPad/1.3.1 CFNetwork/548.1.4 Darwin/11.0.0",
        "Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/79.0.3945.79 Safari/537.36",
};

/* The agent with its last number replaced by one that no other has. */
static void change(struct agents_text *text, const char *agent, unsigned n)
{
	size_t end = strlen(agent);
	while (end > 0 && !(agent[end - 1] >= '0' && agent[end - 1] <= '9'))
		end--;
	size_t begin = end;
	while (begin > 0 && agent[begin - 1] >= '0' && agent[begin - 1] <= '9')
		begin--;
	text->bytes = (size_t)snprintf(text->data, sizeof text->data, "%.*s%u%s", (int)begin, agent, n,
	                               end > 0 ? agent + end : agent);
	if (text->bytes >= sizeof text->data)
		text->bytes = sizeof text->data - 1;
}

/* Reads the agents of one of uap-core's test files: a line each, "- user_agent_string: 'it''s
 * one'". */
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

const char *agents_load(void)
{
	read_agents("test_ua.yaml");
	read_agents("test_os.yaml");
	read_agents("test_device.yaml");
	return n_real > 0 ? "uap-core's test files" : "samples";
}

void agents_make(struct agents_text *text, unsigned n)
{
	unsigned at = (unsigned)random();
	change(text, n_real > 0 ? real[at % n_real] : samples[at % (sizeof samples / sizeof *samples)], n);
}

void agents_draw_zipf(uint32_t *drawn, unsigned draws, unsigned n)
{
	double sum = 0, *upto = calloc(n, sizeof *upto);
	if (!upto)
		abort();
	for (unsigned i = 0; i < n; i++)
		upto[i] = sum += 1.0 / (i + 1);
	for (unsigned i = 0; i < draws; i++) {
		double at = sum * (double)random() / RAND_MAX;
		unsigned low = 0, high = n - 1;
		while (low < high) {
			unsigned middle = (low + high) / 2;
			if (upto[middle] < at)
				low = middle + 1;
			else
				high = middle;
		}
		drawn[i] = low;
	}
	free(upto);
}
